/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: every reservation explains itself: its steps, what was critical, and why it was not warm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;
static struct answer a;

static int
setup(void **state)
{
	world_init(&w);
	return 0;
}

static int
teardown(void **state)
{
	answer_fini(&a);
	world_fini(&w);
	return 0;
}

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#include "core/core_internal.h"

#define STEPS 16

static struct told {
	bool done;
	enum err_code code;
	int n;
	struct {
		char name[32];
		bool critical, open;
		int64_t started_at, ended_at;
		char error[128];
		int attempt;
	} steps[STEPS];
	int64_t total_ms, chain_ms, sum_ms, saved_ms;
	char slowest[32], summary[256];
	double cost_usd;
} t;

static void
traced(void *arg, const struct trace *tr, const struct err *err)
{
	t = (struct told){.done = true, .code = err->code};
	if (err->code != ERR_NONE)
		return;
	assert_true(tr->n <= STEPS);
	t.n = tr->n;
	for (int i = 0; i < tr->n; i++) {
		const struct step *s = tr->steps[i].step;

		(void)snprintf(t.steps[i].name, sizeof(t.steps[i].name), "%s", s->name);
		(void)snprintf(t.steps[i].error, sizeof(t.steps[i].error), "%s",
		    s->error ? s->error : "");
		t.steps[i].critical = tr->steps[i].critical;
		t.steps[i].open = s->state == STEP_OPEN;
		t.steps[i].started_at = s->started_at;
		t.steps[i].ended_at = s->ended_at;
		t.steps[i].attempt = s->attempt;
	}
	t.total_ms = tr->total_ms;
	t.chain_ms = tr->longest_chain_ms;
	t.sum_ms = tr->one_at_a_time_ms;
	t.saved_ms = tr->saved_ms;
	t.cost_usd = tr->cost_usd;
	if (tr->slowest >= 0)
		(void)snprintf(t.slowest, sizeof(t.slowest), "%s",
		    tr->steps[tr->slowest].step->name);
	(void)snprintf(t.summary, sizeof(t.summary), "%s", tr->summary);
	if (getenv("WORLD_LOG")) {
		for (int i = 0; i < t.n; i++)
			print_message("%-12s %d%s %lld..%lld %s\n", t.steps[i].name,
			    t.steps[i].attempt, t.steps[i].critical ? " *" : "",
			    (long long)(t.steps[i].started_at - tr->r->created_at),
			    (long long)(t.steps[i].ended_at
					    ? t.steps[i].ended_at - tr->r->created_at
					    : -1),
			    t.steps[i].error);
		print_message(
		    "total %lld chain %lld sum %lld saved %lld slowest %s: %s\n",
		    (long long)t.total_ms, (long long)t.chain_ms, (long long)t.sum_ms,
		    (long long)t.saved_ms, t.slowest, t.summary);
	}
}

static void
trace(struct id id)
{
	t.done = false;
	core_trace(w.core, &alice, id.s, traced, NULL);
	assert_false(t.done);
	for (int i = 0; i < 100 && !t.done; i++)
		world_run(&w, 1);
	assert_true(t.done);
}

static int
step(const char *name)
{
	for (int i = 0; i < t.n; i++)
		if (strcmp(t.steps[i].name, name) == 0)
			return i;
	fail_msg("no step %s", name);
	return -1;
}

static bool
critical(const char *name)
{
	return t.steps[step(name)].critical;
}

static void
warm(void **state)
{
	struct id id;

	full();
	w.bad.delay_ms = 2;
	world_reserve(&w, &alice, world_request(), &a);
	assert_null(a.r[0].miss_reason);
	id = a.r[0].id;
	trace(id); /* right after the reply */
	assert_false(t.steps[step("claim")].open);
	w.bad.delay_ms = 0;
	world_run(&w, 1000);
	trace(id);
	assert_int_equal(t.n, 4); /* nothing of the machine's launch, long ago */
	assert_true(critical("claim") && critical("certificate"));
	assert_false(critical("contact") || critical("deadline"));
	for (int i = 0; i < t.n; i++)
		assert_false(t.steps[i].open);
	assert_in_range(t.total_ms, 2, 3); /* as long as the store took */
	assert_true(t.chain_ms <= t.total_ms);
	assert_int_equal(strncmp(t.summary, "served warm in ", 15), 0);
}

static void
cold(void **state)
{
	static char one[] = "sleep 3";
	struct id id;

	w.pools[0].running = 0;
	w.pools[0].setup[0] = one;
	w.pools[0].n_setup = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	assert_string_equal(a.r[0].miss_reason, "the pool keeps no spare machines");
	world_run(&w, 2000);
	trace(id); /* on its way */
	assert_true(t.steps[step("setup")].open && t.steps[step("machine")].open);
	assert_int_equal(strncmp(t.summary, "preparing after ", 16), 0);
	world_get(&w, &alice, id.s, 60000, &a);
	world_run(&w, 2000);
	trace(id);
	for (const char *const *name = (const char *const[]){"launch", "ready", "setup",
		 "claim", "certificate", NULL};
	     *name; name++)
		assert_true(critical(*name));
	assert_in_range(t.total_ms, 4100, 4110);
	assert_in_range(t.chain_ms, 4090, t.total_ms);
	assert_true(t.sum_ms >= t.chain_ms);
	assert_int_equal(t.saved_ms, t.sum_ms - t.chain_ms);
	assert_string_equal(t.slowest, "setup");
	assert_true(
	    t.steps[step("setup")].ended_at - t.steps[step("setup")].started_at >= 3100);
	assert_true(
	    t.steps[step("contact")].started_at >= t.steps[step("claim")].ended_at);
	assert_non_null(strstr(t.summary, "served cold in 4"));
	assert_non_null(strstr(t.summary, "the pool keeps no spare machines"));
	assert_non_null(strstr(t.summary, "'setup'"));
}

static void
queued(void **state)
{
	struct id first, id;

	w.pools[0].running = w.pools[0].max = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	first = a.r[0].id;
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 10000);
	trace(id);
	assert_int_equal(strncmp(t.summary, "queued after 100", 16), 0);
	assert_in_range(t.total_ms, 10000, 10010);
	world_cancel(&w, &alice, first.s, &a);
	world_get(&w, &alice, id.s, 60000, &a);
	world_run(&w, 1000);
	trace(id);
	assert_in_range(t.total_ms, 11100, 11120);
	assert_in_range(t.chain_ms, 11090, t.total_ms);
	assert_true(critical("machine") && critical("ready"));
	assert_string_equal(
	    t.slowest, "machine"); /* the wait in line, without the launch */
	assert_non_null(strstr(t.summary, "'machine' (101"));
}

static void
failed(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	w.options.fail_launch = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 60000);
	trace(id);
	assert_int_equal(strncmp(t.summary, "ended after 30", 14), 0);
	assert_non_null(strstr(t.summary, "3 launches failed"));
	assert_in_range(t.total_ms, 3000, 3010);
	for (int i = 0; i < t.n; i++)
		assert_false(t.steps[i].open);
}

static int n_open;

static void
steps_in(void *arg, const struct store_result *res, const struct err *err)
{
	n_open = 0;
	for (int i = 0; i < res->n; i++)
		n_open += res->steps[i].state == STEP_OPEN;
}

/* In the journal, of all attempts. */
static int
open_rows(struct id id)
{
	struct store_query q = {.kind = QUERY_STEPS};

	n_open = -1;
	(void)snprintf(q.key, sizeof(q.key), "%s", id.s);
	core_query(w.core, &q, steps_in, NULL);
	world_run(&w, 10);
	assert_true(n_open >= 0);
	return n_open;
}

/* The steps are those of the machine it has in the end; the swap is told. */
static void
swapped(void **state)
{
	struct id id;

	w.options.deadline_ms = 300;
	full();
	fake_fail_next(w.fake, FAKE_CONTACT, ERR_UNAVAILABLE, "no SSH server answers");
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 5000);
	trace(id);
	assert_int_equal(t.steps[step("contact")].attempt, 2);
	assert_string_equal(t.steps[step("contact")].error, "");
	world_get(&w, &alice, id.s, 0, &a);
	assert_non_null(strstr(a.r[0].miss_reason, "swapped: no ssh at first contact"));
	world_extend(&w, &alice, id.s, 1000, &a); /* two deadlines at once */
	world_extend(&w, &alice, id.s, 1000, &a);
	world_run(&w, 1000);
	assert_int_equal(open_rows(id), 0); /* none was left open on the way */
}

static void
who_may(void **state)
{
	struct id id;

	full();
	world_reserve(&w, &bob, world_request(), &a);
	id = a.r[0].id;
	trace(id);
	assert_int_equal(t.code, ERR_NOT_PERMITTED);
	trace((struct id){"r-000000000000"});
	assert_int_equal(t.code, ERR_NOT_FOUND);
}

/* By the hour of the machine, from when it was given to now. */
static void
cost(void **state)
{
	w.options.usd_per_hour = 2;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 1800000);
	trace(a.r[0].id);
	assert_true(t.cost_usd > 0.999 && t.cost_usd < 1.001);
	world_run(&w, 7200000);
	trace(a.r[0].id);
	assert_true(t.cost_usd > 1.999 && t.cost_usd < 2.001);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(warm),
	    TEST(cold),
	    TEST(queued),
	    TEST(failed),
	    TEST(swapped),
	    TEST(who_may),
	    TEST(cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
