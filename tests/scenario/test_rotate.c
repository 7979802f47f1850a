/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: spares are replaced when they are old, of an old image, of other settings, too many or too few. */
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

/* From here on the pool must never have fewer than `least` machines that can be claimed. */
static void
run_watching(int64_t ms, int least)
{
	for (int64_t t = 0; t < ms; t += 50) {
		world_run(&w, 50);
		world_check(&w);
		assert_true(world_pool(&w, "default").ready >= least);
		assert_true(fake_count(w.fake) <= world_pool(&w, "default").p->max);
	}
}

static void
max_age_replaces_first(void **state)
{
	struct id before[2], after[2];

	w.pools[0].max_age_ms = 3600000;
	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, before, 2), 2);
	world_run(&w, 3600000 - 2000);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	run_watching(6000, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 4);
	assert_int_equal(fake_calls(w.fake, FAKE_TERMINATE), 2);
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, after, 2), 2);
	for (int i = 0; i < 4; i++)
		assert_string_not_equal(before[i / 2].s, after[i % 2].s);
	world_audit_clean(&w);
}

/* What is handed out is of the new image, from the moment there is one. */
static void
new_image_rotates(void **state)
{
	struct id id;
	struct machine m;

	full();
	fake_set_image_version(w.fake, "debian", "2");
	world_run(&w, 10);
	world_reserve(&w, &alice, world_request(), &a); /* two old ones are ready */
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	assert_string_equal(
	    a.r[0].miss_reason, "only machines of an old image or age are ready");
	id = a.r[0].id;
	run_watching(10000, 1);
	world_get(&w, &alice, id.s, 0, &a);
	assert_true(world_machine(&w, a.machine[0].s, &m));
	assert_string_equal(m.image_version, "2");
	machine_fini(&m);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 5);
	assert_int_equal(fake_count(w.fake), 3);
	for (int i = 0; i < 2; i++) {
		world_reserve(&w, &alice, world_request(), &a);
		assert_int_equal(a.r[0].path, PATH_WARM);
		assert_true(world_machine(&w, a.machine[0].s, &m));
		assert_string_equal(m.image_version, "2");
		machine_fini(&m);
	}
}

/* No room for a replacement: one after the other, never none. */
static void
new_image_in_a_full_pool(void **state)
{
	w.pools[0].running = w.pools[0].max = 3;
	full();
	fake_set_image_version(w.fake, "debian", "2");
	run_watching(20000, 2);
	assert_int_equal(world_pool(&w, "default").ready, 3);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 6);
	assert_int_equal(fake_calls(w.fake, FAKE_TERMINATE), 3);
}

/* The new image does not launch: the old spares stay. */
static void
bad_image_keeps_the_old(void **state)
{
	full();
	w.options.fail_launch = 1;
	fake_set_options(w.fake, &w.options);
	fake_set_image_version(w.fake, "debian", "2");
	run_watching(600000, 2);
	assert_int_equal(
	    fake_calls(w.fake, FAKE_TERMINATE), fake_calls(w.fake, FAKE_LAUNCH) - 2);
	assert_int_equal(fake_count(w.fake), 2);
	assert_non_null(world_pool(&w, "default").last_error);
}

static void
pool_set_raises_and_lowers(void **state)
{
	full();
	assert_int_equal(world_pool_set(&w, &alice, 3, -1), ERR_NOT_PERMITTED);
	assert_int_equal(world_pool_set(&w, &root, 5, -1), ERR_INVALID); /* above max */
	assert_int_equal(world_pool(&w, "default").p->running, 2);
	assert_int_equal(world_pool_set(&w, &root, 4, -1), ERR_NONE);
	world_run(&w, 1200);
	assert_int_equal(world_pool(&w, "default").ready, 4);
	assert_int_equal(world_pool_set(&w, &root, 1, 2), ERR_NONE);
	world_run(&w, 500);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	assert_int_equal(fake_count(w.fake), 1);
	world_kill(&w);
	world_start(&w); /* the file still says 2 and 4 */
	world_run(&w, 3000);
	assert_int_equal(world_pool(&w, "default").p->running, 1);
	assert_int_equal(world_pool(&w, "default").p->max, 2);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	world_audit_clean(&w);
}

/* max is lowered below what there is: spares go, claimed ones stay. */
static void
max_below_the_claimed(void **state)
{
	full();
	for (int i = 0; i < 2; i++)
		world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 1500);
	assert_int_equal(fake_count(w.fake), 4);
	assert_int_equal(world_pool_set(&w, &root, 1, 3), ERR_NONE);
	world_run(&w, 500);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	assert_int_equal(world_pool_set(&w, &root, 1, 1), ERR_NONE);
	world_run(&w, 500);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	assert_int_equal(world_pool(&w, "default").claimed, 2);
	world_audit_clean(&w);
}

static void
reload(int n)
{
	struct err err;

	if (core_set_pools(w.core, w.pools, n, &err) < 0)
		fail_msg("%s", err.msg);
}

/* It leaves the configuration: spares go at once, who waits is told, who has a machine keeps it. */
static void
pool_is_removed(void **state)
{
	struct answer b[5] = {0};

	full();
	for (int i = 0; i < 5; i++)
		world_reserve(&w, &alice, world_request(), &b[i]);
	world_run(&w, 3000);
	reload(0);
	world_run(&w, 500);
	world_check(&w);
	world_get(&w, &alice, b[4].r[0].id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_string_equal(a.r[0].error, "its pool is no longer configured");
	assert_int_equal(world_state(&w, &alice, b[0].r[0].id), RESERVATION_ACTIVE);
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.err.code, ERR_NOT_FOUND);
	world_cancel(&w, &alice, b[1].r[0].id.s, &a);
	world_run(&w, 3000);
	assert_int_equal(fake_count(w.fake), 3);
	w.n_pools = 0;
	world_same_after_restart(&w);
	world_run(&w, 3000);
	assert_int_equal(world_state(&w, &alice, b[0].r[0].id), RESERVATION_ACTIVE);
	assert_int_equal(fake_count(w.fake), 3);
	world_run(&w, 3600000);
	assert_int_equal(world_state(&w, &alice, b[0].r[0].id), RESERVATION_ENDED);
	assert_int_equal(fake_count(w.fake), 0);
	world_audit_clean(&w);
	for (int i = 0; i < 5; i++)
		answer_fini(&b[i]);
}

/* Removed while the daemon was down: the spares go, and who was in line is told. */
static void
pool_is_removed_over_a_restart(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	w.pools[0].max = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 3000);
	world_cancel(&w, &alice, a.r[0].id.s, &a);
	w.options.fail_launch = 1;
	fake_set_options(w.fake, &w.options);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 200);
	world_kill(&w);
	w.n_pools = 0;
	world_start(&w);
	world_run(&w, 500);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_string_equal(a.r[0].error, "its pool is no longer configured");
	assert_int_equal(fake_count(w.fake), 0);
}

static void
changed_setup_rotates(void **state)
{
	static char first[] = "echo one", second[] = "echo two";

	w.pools[0].setup[0] = first;
	w.pools[0].n_setup = 1;
	full();
	world_run(&w, 500);
	assert_int_equal(fake_calls(w.fake, FAKE_SETUP), 2);
	reload(1); /* nothing has changed */
	run_watching(5000, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	w.pools[0].setup[0] = second;
	reload(1);
	run_watching(5000, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 4);
	assert_int_equal(fake_count(w.fake), 2);
	world_kill(&w);
	world_start(&w); /* nothing has changed over the restart */
	world_run(&w, 10);
	run_watching(5000, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
	world_kill(&w);
	w.pools[0].setup[0] = first;
	world_start(&w);
	world_run(&w, 10);
	run_watching(5000, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

/* The settings change, and then the wall clock is set back: that makes no machine old again. */
static void
setup_and_a_wall_clock_set_back(void **state)
{
	static char first[] = "echo one";

	full();
	w.pools[0].setup[0] = first;
	w.pools[0].n_setup = 1;
	reload(1);
	world_run(&w, 5000);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 4);
	clock_sim_step_wall(w.clock, -7200000);
	world_run(&w, 60000);
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].path, PATH_WARM);
	world_run(&w, 600000);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(max_age_replaces_first),
	    TEST(new_image_rotates),
	    TEST(new_image_in_a_full_pool),
	    TEST(bad_image_keeps_the_old),
	    TEST(pool_set_raises_and_lowers),
	    TEST(max_below_the_claimed),
	    TEST(pool_is_removed),
	    TEST(pool_is_removed_over_a_restart),
	    TEST(changed_setup_rotates),
	    TEST(setup_and_a_wall_clock_set_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
