/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: max_usd_per_day bounds what a pool costs, over midnight and over a restart. */
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#define HOUR 3600000
#define DAY (24 * HOUR)

/* Starts a pool of two spares, 1 $ an hour each, with 6 $ a day, at midnight. */
static void
rich_for_three_hours(void)
{
	w.options.usd_per_hour = 1;
	w.pools[0].max_usd_per_day = 6;
	w.pools[0].max_age_ms = 0;
	world_run(&w, DAY - clock_wall_ms(w.clock) % DAY);
	world_start(&w);
}

static void
bounds_the_spares(void **state)
{
	rich_for_three_hours();
	world_run(&w, 3 * HOUR - 20000);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_null(world_pool(&w, "default").last_error);
	world_run(&w, 40000);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	assert_int_equal(fake_count(w.fake), 0);
	assert_string_equal(world_pool(&w, "default").last_error,
	    "the budget for today is spent; it starts again at 00:00 UTC");
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_QUEUED);
	world_run(&w, 20 * HOUR);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	world_run(&w, HOUR + 30000); /* a new day */
	assert_int_equal(world_state(&w, &alice, a.r[0].id), RESERVATION_ACTIVE);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_null(world_pool(&w, "default").last_error);
}

/* What a reservation uses counts, too; it is not taken away. */
static void
claimed_ones_count(void **state)
{
	struct reserve_request req = world_request();

	rich_for_three_hours();
	world_run(&w, 2000);
	req.hold_ms = 10 * HOUR;
	for (int i = 0; i < 2; i++)
		world_reserve(&w, &alice, req, &a);
	world_run(&w, 90 * 60000 - 30000); /* four machines: 1.5 h */
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_run(&w, 60000);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	assert_int_equal(world_pool(&w, "default").claimed, 2);
	assert_int_equal(world_state(&w, &alice, a.r[0].id), RESERVATION_ACTIVE);
}

/* Machines that are over before the restart have cost something, too. */
static void
kept_over_restarts(void **state)
{
	struct reserve_request req = world_request();

	rich_for_three_hours();
	world_run(&w, 2000);
	req.hold_ms = HOUR;
	world_reserve(&w, &alice, req, &a); /* 1 $, and its machine goes */
	world_run(&w, HOUR + 10000);
	for (int i = 0; i < 3; i++) {
		world_kill(&w);
		world_start(&w);
		world_run(&w, 20 * 60000);
	}
	/* two hours: 4 $ for the spares, 1 $ for what is gone; half an hour is left */
	world_run(&w, 20 * 60000);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_run(&w, 12 * 60000);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	world_kill(&w);
	world_start(&w); /* spent is spent */
	world_run(&w, 10000);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
	assert_int_equal(world_pool(&w, "default").ready, 0);
}

/* A budget that is raised is in force at once, and the complaint goes. */
static void
raised(void **state)
{
	struct err err;

	rich_for_three_hours();
	world_run(&w, 3 * HOUR + 20000);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	w.pools[0].max_usd_per_day = 100;
	assert_int_equal(core_set_pools(w.core, w.pools, 1, &err), 0);
	world_run(&w, 1500);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_null(world_pool(&w, "default").last_error);
}

/* The same where nothing needs to be launched. */
static void
raised_for_nobody(void **state)
{
	struct err err;

	rich_for_three_hours();
	world_run(&w, 3 * HOUR + 20000);
	assert_int_equal(world_pool_set(&w, &root, 0, -1), ERR_NONE);
	world_run(&w, 20000);
	assert_non_null(world_pool(&w, "default").last_error);
	w.pools[0].max_usd_per_day = 100;
	assert_int_equal(core_set_pools(w.core, w.pools, 1, &err), 0);
	world_run(&w, 1500);
	assert_null(world_pool(&w, "default").last_error);
	assert_int_equal(fake_count(w.fake), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(bounds_the_spares),
	    TEST(claimed_ones_count),
	    TEST(kept_over_restarts),
	    TEST(raised),
	    TEST(raised_for_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
