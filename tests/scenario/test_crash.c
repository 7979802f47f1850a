/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: the daemon may die at every journal write (just before it is durable, or just after) and at every
 * effect on the provider, and after a restart: no acknowledged reservation is lost, no machine is in two
 * hands, ledger and provider agree, the pool is full again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

struct told {
	bool active, cancelled, cancel_asked;
	struct id id;
};

struct script {
	struct world w;
	struct told told[4], ignored;
	int crash_at_effect, effects;
	int stopped; /* in that tier */
	bool crashed;
};

static void
on_effect(void *arg, enum fake_op op, const char *token)
{
	struct script *s = arg;

	if (++s->effects == s->crash_at_effect) {
		s->w.cut.dead = true;
		fake_mute(s->w.fake);
	}
}

static void
told_active(void *arg, const struct reservation_view *v, int n, bool existed,
    const struct err *err)
{
	struct told *t = arg;

	if (err->code == ERR_NONE && n == 1) {
		t->id = v->r->id;
		t->active = true; /* durable, whatever its state: it must survive */
	}
}

static void
told_cancelled(void *arg, const struct reservation_view *v, const struct err *err)
{
	((struct told *)arg)->cancelled = err->code == ERR_NONE;
}

/* One minute of an ordinary life; stops where the crash strikes. */
static void
live(struct script *s)
{
	struct reserve_request req = world_request();

	for (int t = 0; t < 12000 && !s->w.cut.dead; t++) {
		if (t == 1500 || t == 1501 || t == 1502 || t == 4000)
			core_reserve(s->w.core, &alice, &req, told_active,
			    &s->told[t == 4000 ? 3 : t - 1500]);
		if (t == 6000 && s->told[0].active) {
			s->told[0].cancel_asked = true;
			core_cancel(s->w.core, &alice, s->told[0].id.s, true,
			    told_cancelled, &s->told[0]);
		}
		if (t == 7000 && s->told[1].active)
			core_extend(s->w.core, &alice, s->told[1].id.s, 1000,
			    told_cancelled, &s->ignored);
		world_run(&s->w, 1);
	}
	s->crashed = s->w.cut.dead;
}

static void
check(struct script *s)
{
	struct world *w = &s->w;
	struct answer a[4] = {0};
	int claimed = 0;

	for (int i = 0; i < 4; i++) {
		if (!s->told[i].active)
			continue;
		world_get(w, &alice, s->told[i].id.s, 30000, &a[i]);
		assert_int_equal(a[i].err.code, ERR_NONE);
		if (s->told[i].cancelled)
			assert_int_equal(a[i].r[0].state, RESERVATION_ENDED);
		else if (!s->told[i].cancel_asked)
			assert_int_equal(a[i].r[0].state, RESERVATION_ACTIVE);
		if (a[i].r[0].state != RESERVATION_ACTIVE)
			continue;
		claimed++;
		assert_true(fake_exists(w->fake, a[i].machine[0].s));
		assert_true(fake_ends_at(w->fake, a[i].machine[0].s) <=
			    a[i].r[0].expires_at + 1000);
		for (int j = 0; j < i; j++)
			if (a[j].r[0].state == RESERVATION_ACTIVE)
				assert_string_not_equal(
				    a[i].machine[0].s, a[j].machine[0].s);
	}
	world_run(w, 90000);
	world_audit_clean(w);
	/* a reservation may be stored and its reply lost: then it holds a machine that nobody was told of */
	assert_true(world_pool(w, "default").claimed >= claimed);
	assert_int_equal(world_pool(w, "default").launching, 0);
	assert_int_equal(
	    world_machines(w, "default", MACHINE_STOPPED, NULL, 0), s->stopped);
	assert_int_equal(fake_count_stopped(w->fake), s->stopped);
	assert_int_equal(fake_count(w->fake), world_pool(w, "default").ready +
						  world_pool(w, "default").claimed +
						  s->stopped);
	assert_int_equal(world_pool(w, "default").ready,
	    s->stopped == 0 && world_pool(w, "default").claimed > 4
		? 6 - world_pool(w, "default").claimed
		: 2);
	for (int i = 0; i < 4; i++)
		answer_fini(&a[i]);
}

/* Returns false when the crash point lies behind the end. */
static bool
run(int write, bool durable, int effect, int stopped)
{
	struct script s = {.crash_at_effect = effect, .stopped = stopped};
	bool crashed;

	world_init(&s.w);
	s.w.pools[0].max = stopped ? 10 : 6;
	s.w.pools[0].stopped = stopped;
	s.w.options.stop_ms = 300;
	s.w.options.start_ms = 200;
	s.w.cut = (struct cut){.at = write, .durable = durable};
	world_start(&s.w);
	fake_on_effect(s.w.fake, on_effect, &s);
	live(&s);
	crashed = s.crashed;
	if (crashed) {
		fake_mute(s.w.fake);
		world_kill(&s.w);
		world_run(&s.w, 700); /* it is down for a while */
		world_start(&s.w);
	}
	check(&s);
	world_fini(&s.w);
	return crashed;
}

static void
at_every_write(void **state)
{
	int n = 1;

	for (int durable = 0; durable < 2; durable++)
		for (n = 1; run(n, durable, 0, *state ? 2 : 0); n++)
			;
	print_message("crashed at %d writes, before and after each\n", n - 1);
	assert_true(n > 20);
}

static void
at_every_effect(void **state)
{
	int n = 1;

	while (run(0, false, n, *state ? 2 : 0))
		n++;
	print_message("crashed at %d effects\n", n - 1);
	assert_true(n > 8);
}

/* The same with a stopped tier: its stops and starts are effects like any other. */
static char tiers[] = "tiers";

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(at_every_write),
	    cmocka_unit_test(at_every_effect),
	    cmocka_unit_test_prestate(at_every_write, tiers),
	    cmocka_unit_test_prestate(at_every_effect, tiers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
