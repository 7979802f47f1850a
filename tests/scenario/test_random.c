/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: whatever is asked, fails, dies and crashes, in any order: what must hold at any time holds after each
 * step, every question is answered exactly once, and after some quiet nothing is lost and nothing leaks.
 *
 * Each run has a seed of its own, which a failure names: HEARTH_TEST_SEED=N repeats that run first. HEARTH_SOAK=1
 * makes it many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ssh/pubkey.h"
#include "world.h"

#define STEPS 2000
#define RUNS 4
#define RUNS_SOAK 1000

struct question {
	struct question *next;
	int answers;
};

static struct world w;
static struct question *questions;
static struct id known[STEPS * 4]; /* acknowledged: must never be lost */
static int n_known;
static int64_t last_event;
static uint64_t rng;
static uint64_t living; /* the seed of the run going on; 0: none */

static uint64_t
rnd(uint64_t n)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (rng >> 33) % n;
}

static struct question *
question(void)
{
	struct question *q = xnew(struct question);

	q->next = questions;
	questions = q;
	return q;
}

static void
answered(void *arg)
{
	assert_int_equal(((struct question *)arg)->answers++, 0);
}

static void
reserved(void *arg, const struct reservation_view *v, int n, bool existed,
    const struct err *err)
{
	answered(arg);
	for (int i = 0; err->code == ERR_NONE && i < n && n_known < STEPS * 4; i++)
		known[n_known++] = v[i].r->id;
}

static void
viewed(void *arg, const struct reservation_view *v, const struct err *err)
{
	answered(arg);
	assert_true(err->code == ERR_NONE ? v != NULL : v == NULL);
}

static void
listed(void *arg, const struct reservation_view *v, int n, const struct err *err)
{
	answered(arg);
}

static void
machines(void *arg, const struct machine_view *v, int n, const struct err *err)
{
	answered(arg);
}

static void
done(void *arg, const struct err *err)
{
	answered(arg);
}

static void
traced(void *arg, const struct trace *t, const struct err *err)
{
	answered(arg);
}

static void
audited(void *arg, const struct audit *a, const struct err *err)
{
	answered(arg);
}

static const struct core_caller *
somebody(void)
{
	return rnd(2) ? &alice : &bob;
}

static const char *
some_reservation(void)
{
	static char name[16];

	if (n_known && rnd(8))
		return known[rnd(4) ? n_known - 1 -
					  (int)rnd(n_known < 12 ? (uint64_t)n_known : 12)
				    : (int)rnd((uint64_t)n_known)]
		    .s;
	(void)snprintf(name, sizeof(name), "n%d", (int)rnd(5));
	return name;
}

static const char *
some_machine(enum machine_state state)
{
	static struct id id[16];
	int n = world_machines(&w, "default", state, id, 16);

	return n ? id[rnd(n < 16 ? (uint64_t)n : 16)].s : "m-000000000000";
}

static void
ask_reserve(void)
{
	struct reserve_request req = world_request();
	char name[16], request_id[16];

	(void)snprintf(name, sizeof(name), "n%d", (int)rnd(5));
	(void)snprintf(request_id, sizeof(request_id), "q%d", (int)rnd(40));
	req.hold_ms = 10000 + (int64_t)rnd(600000);
	req.count = rnd(6) ? 1 : 1 + (int)rnd(5);
	req.no_wait = !rnd(6);
	req.no_warm = !rnd(6);
	req.idle_ms = rnd(5) ? 0 : 5000 + (int64_t)rnd(60000);
	req.name = rnd(4) ? NULL : name;
	req.request_id = rnd(4) ? NULL : request_id;
	core_reserve(w.core, somebody(), &req, reserved, question());
}

static void
ask_something(void)
{
	struct core *c = w.core;

	switch (rnd(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		ask_reserve();
		break;
	case 5:
	case 6:
	case 7:
		core_cancel(
		    c, somebody(), some_reservation(), rnd(2), viewed, question());
		break;
	case 8:
		core_extend(c, somebody(), some_reservation(), (int64_t)rnd(600000),
		    viewed, question());
		break;
	case 9:
		core_get(c, somebody(), some_reservation(), (int64_t)rnd(20000), viewed,
		    question());
		break;
	case 10:
		core_list(c, rnd(2) ? &root : somebody(), rnd(2), listed, question());
		break;
	case 11:
		core_machines(c, somebody(), machines, question());
		break;
	case 12:
		core_trace(c, somebody(), some_reservation(), traced, question());
		break;
	case 13:
		core_certify(
		    c, somebody(), some_reservation(), NULL, 0, viewed, question());
		break;
	case 14:
		core_audit(c, &root, rnd(2), audited, question());
		break;
	case 15: {
		int running = (int)rnd(5), stopped = rnd(2) ? 0 : (int)rnd(4);
		int hibernated = rnd(3) ? 0 : (int)rnd(3);

		core_pool_set(c, &root, "default", running, stopped, hibernated,
		    running + stopped + hibernated + (int)rnd(8), done, question());
		break;
	}
	}
}

static void
reload(int n_pools)
{
	struct err err;

	w.n_pools = n_pools;
	assert_int_equal(core_set_pools(w.core, w.pools, w.n_pools, &err), 0);
}

static void
ail(void)
{
	struct fake_options *o = &w.options;
	char version[8];

	switch (rnd(15)) {
	case 13:
		fake_kill(
		    w.fake, some_machine(rnd(2) ? MACHINE_STOPPED : MACHINE_STARTING));
		break;
	case 14:
		o->fail_start = rnd(3) ? 0 : 0.5;
		o->stop_ms = (int64_t)rnd(3) * 700;
		o->start_ms = (int64_t)rnd(3) * 500;
		w.pools[0].hedge = rnd(2);
		fake_set_options(w.fake, o);
		break;
	case 0:
		fake_kill(w.fake, some_machine(MACHINE_READY));
		break;
	case 1:
		fake_kill(w.fake, some_machine(MACHINE_CLAIMED));
		break;
	case 2:
		fake_kill(w.fake, some_machine(MACHINE_LAUNCHING));
		break;
	case 3:
		o->lose_reply = rnd(2) ? 0.3 : 0;
		o->fail_launch = rnd(3) ? 0 : 0.5;
		fake_set_options(w.fake, o);
		break;
	case 4:
		o->fail_contact = rnd(3) ? 0 : 0.5;
		o->launch_jitter_ms = rnd(2) ? 900 : 0;
		o->deadline_ms = (int64_t)rnd(3) * 500;
		fake_set_options(w.fake, o);
		break;
	case 5:
		w.bad.delay_ms = rnd(2) ? 0 : (int64_t)rnd(20);
		w.bad.skip = (int)rnd(4);
		w.bad.fail = (int)rnd(4);
		break;
	case 6:
		(void)snprintf(version, sizeof(version), "%d", (int)rnd(9));
		fake_set_image_version(w.fake, "debian", version);
		break;
	case 7:
		fake_sessions(w.fake, some_machine(MACHINE_CLAIMED), (int)rnd(2));
		break;
	case 8:
		clock_sim_step_wall(w.clock, (int64_t)rnd(20000) - 10000);
		break;
	case 9:
		fake_remove(w.fake, some_machine(rnd(2)	  ? MACHINE_READY
						 : rnd(2) ? MACHINE_STOPPED
							  : MACHINE_CLAIMED));
		break;
	case 10:
		(void)fake_add_stray(w.fake, NULL);
		break;
	case 11: /* the pool leaves the configuration, or comes back */
		reload(!rnd(3) ? 0 : 1);
		break;
	case 12:
		w.pools[0].n_setup = (int)rnd(3);
		reload(w.n_pools);
		break;
	}
}

static void
in_order(void *arg, const struct event *e)
{
	assert_true(e->seq > last_event);
	last_event = e->seq;
}

static void
restart(void)
{
	if (rnd(3)) {
		fake_mute(w.fake);
		world_kill(&w);
	} else {
		world_stop(&w);
	}
	if (!rnd(3))
		world_run(&w, (int64_t)rnd(30000));
	world_start(&w);
	last_event = 0;
	core_subscribe(w.core, in_order, NULL);
}

/* All that ails is mended; then nothing may be left of it. */
static void
quiet(void)
{
	struct answer a = {0};
	struct pool_view p;

	w.bad = (struct bad){0};
	reload(1);
	w.options.lose_reply = w.options.fail_launch = w.options.fail_contact = 0;
	fake_set_options(w.fake, &w.options);
	world_run(&w, 3000); /* the store may still be asked once a second */
	assert_int_equal(world_pool_set_tiers(&w, &root, 0, 0), ERR_NONE);
	assert_int_equal(world_pool_set(&w, &root, 2, 8), ERR_NONE);
	world_run(&w, 1800000);
	world_check(&w);
	assert_true(
	    world_audit(&w, true).ok); /* what was put there or taken away by hand */
	world_run(&w, 60000);
	world_audit_clean(&w);
	p = world_pool(&w, "default");
	for (int i = 0; i < 100 && fake_count(w.fake) != p.ready + p.claimed; i++) {
		world_run(&w, 100); /* a spare may just be replaced for its age */
		p = world_pool(&w, "default");
	}
	assert_int_equal(p.launching, 0);
	assert_int_equal(fake_count(w.fake), p.ready + p.claimed);
	assert_int_equal(p.ready, p.claimed > 6 ? 8 - p.claimed : 2);
	for (int i = 0; i < n_known; i++) {
		world_get(&w, &root, known[i].s, 0, &a);
		if (a.err.code != ERR_NONE)
			fail_msg("%s is lost: %s", known[i].s, a.err.msg);
	}
	world_same_after_restart(&w);
	answer_fini(&a);
}

static void
live(uint64_t seed)
{
	static char one[] = "echo one", two[] = "sleep 1";

	rng = seed;
	n_known = 0;
	id_seed(seed);
	world_init(&w);
	w.pools[0].max = 8;
	w.pools[0].max_age_ms = 120000;
	w.pools[0].setup[0] = one;
	w.pools[0].setup[1] = two;
	w.options.seed = seed;
	world_start(&w);
	for (int i = 0; i < STEPS; i++) {
		uint64_t what = rnd(100);

		if (what < 50)
			ask_something();
		else if (what < 65)
			ail();
		else if (what < 67)
			restart();
		else
			world_run(&w, rnd(3) ? (int64_t)rnd(50) : (int64_t)rnd(3000));
		world_check(&w);
	}
	quiet();
	world_fini(&w);
	while (questions) {
		struct question *q = questions;

		assert_int_equal(q->answers, 1);
		questions = q->next;
		free(q);
	}
}

static void
anything_at_all(void **state)
{
	const char *given = getenv("HEARTH_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	int runs = getenv("HEARTH_SOAK") ? RUNS_SOAK : RUNS;

	for (int i = 0; i < runs; i++) {
		living = seed + (uint64_t)i;
		print_message("HEARTH_TEST_SEED=%llu\n", (unsigned long long)living);
		(void)fflush(stdout);
		live(living);
	}
	living = 0;
}

static int
name_the_run(void **state)
{
	if (living)
		print_error("this run alone: HEARTH_TEST_SEED=%llu\n",
		    (unsigned long long)living);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(anything_at_all, name_the_run)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
