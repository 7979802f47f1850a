/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: spares in the stopped and hibernated tiers are made, kept, started two at a time for a miss, and put back. */
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
	w.options.stop_ms = 500;
	w.options.start_ms = 300;
	w.pools[0].running = 1;
	w.pools[0].stopped = 2;
	w.pools[0].max = 6;
	return 0;
}

static int
teardown(void **state)
{
	answer_fini(&a);
	world_fini(&w);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int
count(enum machine_state s)
{
	struct id ids[16];

	return world_machines(&w, "default", s, ids, 16);
}

static void
run_checked(int64_t ms)
{
	for (int64_t t = 0; t < ms; t += 20) {
		world_run(&w, 20);
		world_check(&w);
		assert_true(fake_count(w.fake) <= world_pool(&w, "default").p->max);
	}
}

static void
full(void)
{
	world_start(&w);
	run_checked(3000);
}

/* Takes the one running spare, so that the next one misses. */
static void
take_running(void)
{
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_WARM);
}

static void
wait_active(const char *id, int64_t within_ms)
{
	int64_t before = clock_now_ms(w.clock);

	world_get(&w, &alice, id, within_ms, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_true(clock_now_ms(w.clock) - before <= within_ms);
}

static void
a_pool_fills_its_tiers(void **state)
{
	struct id ids[4];
	struct machine m;

	full();
	assert_int_equal(count(MACHINE_READY), 1);
	assert_int_equal(world_machines(&w, "default", MACHINE_STOPPED, ids, 4), 2);
	assert_true(world_machine(&w, ids[0].s, &m));
	assert_int_equal(m.tier, TIER_STOPPED);
	machine_fini(&m);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3);
	assert_int_equal(fake_calls(w.fake, FAKE_STOP), 2);
	run_checked(60000); /* and stays so */
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3);
	assert_int_equal(fake_calls(w.fake, FAKE_STOP), 2);
	assert_int_equal(fake_calls(w.fake, FAKE_START), 0);
	world_audit_clean(&w);
}

static void
a_miss_starts_two_and_keeps_the_first(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	full();
	assert_int_equal(count(MACHINE_READY), 0);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	world_run(&w, 10);
	world_check(&w);
	assert_int_equal(fake_calls(w.fake, FAKE_START), 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3); /* refilled at once */
	assert_int_equal(count(MACHINE_STARTING), 2);
	wait_active(id.s, 310);
	assert_int_equal(a.r[0].path, PATH_STOPPED);
	assert_string_equal(a.r[0].miss_reason, "the pool keeps no spare machines");
	run_checked(5000);
	assert_int_equal(count(MACHINE_STOPPED), 2); /* one back, one made anew */
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3);
	assert_int_equal(count(MACHINE_READY), 0);
	world_audit_clean(&w);
}

/* Whichever of the two it is, the path tells. */
static void
the_one_that_is_not_its_own_counts_as_started(void **state)
{
	struct id ids[2], id;

	w.pools[0].running = 0;
	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_STOPPED, ids, 2), 2);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 10);
	assert_int_equal(world_machines(&w, "default", MACHINE_STARTING, ids, 2), 2);
	fake_kill(w.fake, ids[0].s); /* the one that was started for it */
	wait_active(id.s, 400);
	assert_string_equal(a.machine[0].s, ids[1].s);
	assert_int_equal(a.r[0].path, PATH_STOPPED);
	world_check(&w);
}

static void
the_second_becomes_a_running_spare_where_one_is_missing(void **state)
{
	full();
	take_running();
	world_reserve(
	    &w, &alice, world_request(), &a); /* the refill is still launching */
	run_checked(320);
	assert_int_equal(count(MACHINE_CLAIMED), 2);
	assert_int_equal(count(MACHINE_READY), 1); /* the second one */
	run_checked(5000);
	assert_int_equal(count(MACHINE_READY), 1);
	assert_int_equal(count(MACHINE_STOPPED), 2);
	assert_int_equal(count(MACHINE_CLAIMED), 2);
	world_audit_clean(&w);
}

static void
hibernated_are_started_when_no_stopped_is_left(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	w.pools[0].stopped = 0;
	w.pools[0].hibernated = 1;
	full();
	assert_int_equal(count(MACHINE_HIBERNATED), 1);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	wait_active(id.s, 320);
	assert_int_equal(a.r[0].path, PATH_HIBERNATED);
	run_checked(5000);
	assert_int_equal(count(MACHINE_HIBERNATED), 1);
}

static void
without_capacity_they_go_back_and_the_launch_is_cold(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	full();
	w.options.fail_start = 1;
	fake_set_options(w.fake, &w.options);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	wait_active(id.s, 1200);
	assert_int_equal(a.r[0].path, PATH_COLD);
	assert_int_equal(count(MACHINE_STOPPED), 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3); /* the same two */
	run_checked(5000);
	assert_int_equal(fake_calls(w.fake, FAKE_START), 2); /* not again and again */
	assert_int_equal(count(MACHINE_STOPPED), 2);
	w.options.fail_start = 0;
	fake_set_options(w.fake, &w.options);
	world_run(&w, 60000); /* after a minute they are tried again */
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	wait_active(id.s, 320);
	assert_int_equal(a.r[0].path, PATH_STOPPED);
}

static void
asked_for_cold_none_is_started(void **state)
{
	struct reserve_request req = world_request();
	struct id id;

	w.pools[0].running = 0;
	w.pools[0].max = 2; /* the stopped ones fill it */
	full();
	req.no_warm = true;
	world_reserve(&w, &alice, req, &a);
	id = a.r[0].id;
	wait_active(id.s, 3000);
	assert_int_equal(a.r[0].path, PATH_COLD);
	assert_int_equal(fake_calls(w.fake, FAKE_START), 0);
	world_check(&w);
}

static void
no_wait_counts_those_at_rest(void **state)
{
	struct reserve_request req = world_request();

	w.pools[0].running = 0;
	w.pools[0].max = 2;
	full();
	req.no_wait = true;
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_NO_CAPACITY);
	world_run(&w, 1000);
	assert_int_equal(count(MACHINE_CLAIMED), 2);
}

static void
one_that_is_still_stopping_is_not_started(void **state)
{
	w.pools[0].running = 0;
	world_start(&w);
	world_run(&w, 1200);
	assert_int_equal(count(MACHINE_STOPPED), 2);
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 100);
	assert_int_equal(fake_calls(w.fake, FAKE_START), 0);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3);
	run_checked(5000);
	assert_int_equal(count(MACHINE_CLAIMED), 1);
	assert_int_equal(count(MACHINE_STOPPED), 2);
	world_audit_clean(&w);
}

static void
cancelled_while_it_starts(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 100);
	world_cancel(&w, &alice, id.s, &a);
	run_checked(5000);
	assert_int_equal(count(MACHINE_STOPPED), 2);
	assert_int_equal(
	    count(MACHINE_STARTING) + count(MACHINE_READY) + count(MACHINE_CLAIMED), 0);
	world_audit_clean(&w);
}

static void
tiers_follow_pool_set(void **state)
{
	full();
	assert_int_equal(world_pool_set_tiers(&w, &root, 0, 0), ERR_NONE);
	run_checked(3000);
	assert_int_equal(count(MACHINE_STOPPED), 0);
	assert_int_equal(fake_count(w.fake), 1);
	assert_int_equal(world_pool_set_tiers(&w, &root, 1, 2), ERR_NONE);
	run_checked(5000);
	assert_int_equal(count(MACHINE_STOPPED), 1);
	assert_int_equal(count(MACHINE_HIBERNATED), 2);
	assert_int_equal(count(MACHINE_READY), 1);
	assert_int_equal(
	    world_pool_set_tiers(&w, &root, 6, 0), ERR_INVALID); /* above max */
	assert_int_equal(world_pool_set_tiers(&w, &alice, 0, 0), ERR_NOT_PERMITTED);
}

static void
a_pool_that_goes_leaves_no_tier(void **state)
{
	struct err err;

	full();
	assert_int_equal(core_set_pools(w.core, w.pools, 0, &err), 0);
	world_run(&w, 5000);
	assert_int_equal(fake_count(w.fake), 0);
}

static void
old_ones_in_a_tier_are_replaced(void **state)
{
	struct id before[2], after[2];

	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_STOPPED, before, 2), 2);
	fake_set_image_version(w.fake, "debian", "2");
	run_checked(8000);
	assert_int_equal(world_machines(&w, "default", MACHINE_STOPPED, after, 2), 2);
	for (int i = 0; i < 4; i++)
		assert_string_not_equal(before[i / 2].s, after[i % 2].s);
	assert_int_equal(count(MACHINE_READY), 1);
	world_audit_clean(&w);
}

/* Those of an old image fill the pool at the moment somebody asks: they make place. */
static void
old_ones_in_a_tier_make_place(void **state)
{
	w.pools[0].running = 0;
	w.pools[0].max = 2;
	full();
	assert_int_equal(count(MACHINE_STOPPED), 2);
	fake_set_image_version(w.fake, "debian", "2");
	world_reserve(&w, &alice, world_request(), &a);
	wait_active(a.r[0].id.s, 5000);
}

/* A new image comes while two are being started for a miss: both are too old when they are ready, and go. */
static void
old_ones_that_were_started_go(void **state)
{
	struct id before[2], id;

	w.pools[0].running = 0;
	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_STOPPED, before, 2), 2);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 10);
	assert_int_equal(count(MACHINE_STARTING), 2);
	fake_set_image_version(w.fake, "debian", "2");
	run_checked(10000);
	assert_int_equal(world_state(&w, &alice, id), RESERVATION_ACTIVE);
	assert_int_equal(count(MACHINE_READY), 0);
	assert_int_equal(count(MACHINE_STOPPED), 2);
	assert_int_equal(fake_count(w.fake), 3);
	world_audit_clean(&w);
}

/* The daemon is killed at every moment of filling, stopping and starting. */
static void
killed_at_any_moment_nothing_is_lost(void **state)
{
	for (int64_t at = 0; at < 3000; at += 130) {
		world_start(&w);
		world_run(&w, at);
		world_reserve(&w, &alice, world_request(), &a);
		world_run(&w, at % 400);
		world_kill(&w);
		world_start(&w);
		run_checked(10000);
		assert_int_equal(count(MACHINE_CLAIMED), 1);
		assert_int_equal(count(MACHINE_STOPPED), 2);
		assert_int_equal(count(MACHINE_READY), 1);
		world_audit_clean(&w);
		world_cancel(&w, &alice, a.r[0].id.s, &a);
		world_stop(&w);
	}
}

/* Found running although it is kept stopped: stopped again, once. */
static void
a_stopped_one_is_adopted_and_watched(void **state)
{
	struct id ids[2];

	full();
	world_kill(&w);
	world_start(&w);
	run_checked(2000);
	assert_int_equal(world_machines(&w, "default", MACHINE_STOPPED, ids, 2), 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
	assert_int_equal(fake_calls(w.fake, FAKE_STOP), 0);
	fake_remove(w.fake, ids[0].s); /* somebody terminated it by hand */
	world_run(&w, 65000);
	assert_true(fake_count(w.fake) >= 2);
}

static void
stopped_machines_cost_their_own_price(void **state)
{
	w.options.usd_per_hour = 1;
	w.options.usd_per_hour_stopped = 0.1;
	full();
	assert_true(world_pool(&w, "default").usd_per_hour > 1.1999 &&
		    world_pool(&w, "default").usd_per_hour < 1.2001);
	take_running();
	assert_true(a.r[0].usd_per_hour > 0.9999);
}

static void
a_hedge_launches_two_and_keeps_one(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	w.pools[0].stopped = 0;
	w.pools[0].hedge = true;
	w.options.launch_jitter_ms = 600;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 50);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	assert_int_equal(count(MACHINE_LAUNCHING), 2);
	wait_active(id.s, 1700);
	assert_int_equal(a.r[0].path, PATH_COLD);
	run_checked(5000);
	assert_int_equal(fake_count(w.fake), 1);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	world_audit_clean(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_pool_fills_its_tiers),
	    TEST(a_miss_starts_two_and_keeps_the_first),
	    TEST(the_one_that_is_not_its_own_counts_as_started),
	    TEST(the_second_becomes_a_running_spare_where_one_is_missing),
	    TEST(hibernated_are_started_when_no_stopped_is_left),
	    TEST(without_capacity_they_go_back_and_the_launch_is_cold),
	    TEST(asked_for_cold_none_is_started),
	    TEST(no_wait_counts_those_at_rest),
	    TEST(one_that_is_still_stopping_is_not_started),
	    TEST(cancelled_while_it_starts),
	    TEST(tiers_follow_pool_set),
	    TEST(a_pool_that_goes_leaves_no_tier),
	    TEST(old_ones_in_a_tier_are_replaced),
	    TEST(old_ones_in_a_tier_make_place),
	    TEST(old_ones_that_were_started_go),
	    TEST(killed_at_any_moment_nothing_is_lost),
	    TEST(a_stopped_one_is_adopted_and_watched),
	    TEST(stopped_machines_cost_their_own_price),
	    TEST(a_hedge_launches_two_and_keeps_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
