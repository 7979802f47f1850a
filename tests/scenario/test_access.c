/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: where machines cannot take certificates, a reservation is active when its user's keys are there, not before. */
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
	w.options.access = ACCESS_AUTHORIZE;
	w.options.authorize_ms = 800;
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

static int
count(enum machine_state s)
{
	struct id ids[16];

	return world_machines(&w, "default", s, ids, 16);
}

static void
the_reply_waits_for_the_keys(void **state)
{
	int64_t before;

	full();
	before = clock_now_ms(w.clock);
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_WARM);
	assert_true(a.at_ms - before >= 800 && a.at_ms - before <= 810);
	assert_true(a.r[0].ready_at - a.r[0].created_at >= 800);
	assert_int_equal(fake_calls(w.fake, FAKE_AUTHORIZE), 1);
	assert_string_equal(fake_last_keys(w.fake), a.r[0].public_keys);
	world_check(&w);
	world_run(&w, 5000);
	assert_int_equal(count(MACHINE_READY), 2);
	world_audit_clean(&w);
	world_same_after_restart(&w);
}

static void
until_then_it_is_preparing(void **state)
{
	struct answer b = {0};

	full();
	world_ask_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 400);
	world_check(&w);
	assert_false(a.done);
	assert_int_equal(count(MACHINE_CLAIMED), 1);
	world_await(&w, &a);
	world_get(&w, &alice, a.r[0].id.s, 0, &b);
	assert_int_equal(b.r[0].state, RESERVATION_ACTIVE);
	answer_fini(&b);
}

static void
a_machine_that_takes_no_keys_is_swapped(void **state)
{
	full();
	fake_fail_next(w.fake, FAKE_AUTHORIZE, ERR_UNAVAILABLE, "no route");
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(fake_calls(w.fake, FAKE_AUTHORIZE), 2);
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(count(MACHINE_CLAIMED), 1);
	assert_int_equal(fake_count(w.fake), 3);
	world_audit_clean(&w);
}

static void
none_takes_keys(void **state)
{
	w.options.fail_authorize = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_get(&w, &alice, a.r[0].id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_non_null(strstr(a.r[0].error, "keys could not be brought"));
	world_run(&w, 5000);
	assert_int_equal(count(MACHINE_CLAIMED), 0);
	world_audit_clean(&w);
}

static void
it_dies_meanwhile(void **state)
{
	struct id ids[2];

	full();
	world_ask_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 100);
	assert_int_equal(world_machines(&w, "default", MACHINE_CLAIMED, ids, 2), 1);
	fake_kill(w.fake, ids[0].s);
	world_await(&w, &a);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_not_equal(a.machine[0].s, ids[0].s);
	world_run(&w, 5000);
	world_check(&w);
	world_audit_clean(&w);
}

static void
cancelled_meanwhile(void **state)
{
	struct reserve_request req = world_request();
	struct answer b = {0};

	full();
	req.name = "mine";
	world_ask_reserve(&w, &alice, req, &a);
	world_run(&w, 100);
	world_cancel(&w, &alice, "mine", &b);
	world_check(&w);
	world_await(&w, &a);
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(count(MACHINE_CLAIMED), 0);
	assert_int_equal(count(MACHINE_READY), 2);
	assert_int_equal(world_state(&w, &alice, b.r[0].id), RESERVATION_ENDED);
	world_audit_clean(&w);
	answer_fini(&b);
}

/* Its machine may have the keys or not: it is given another, with them. */
static void
killed_meanwhile(void **state)
{
	struct reserve_request req = world_request();
	struct answer b = {0};

	for (int at = 1; at < 1000; at += 90) {
		world_start(&w);
		world_run(&w, 3000);
		req.name = "mine";
		world_ask_reserve(&w, &alice, req, &a);
		world_run(&w, at);
		fake_mute(w.fake);
		world_kill(&w);
		answer_fini(&a);
		world_start(&w);
		world_get(&w, &alice, "mine", 10000, &b);
		assert_int_equal(b.r[0].state, RESERVATION_ACTIVE);
		assert_true(at > 810 || fake_calls(w.fake, FAKE_AUTHORIZE) == 1);
		world_run(&w, 5000);
		world_check(&w);
		assert_int_equal(count(MACHINE_CLAIMED), 1);
		world_audit_clean(&w);
		world_cancel(&w, &alice, "mine", &b);
		world_stop(&w);
	}
	answer_fini(&b);
}

/* Told that it may have failed, and found active after the restart. */
static void
stopped_meanwhile(void **state)
{
	struct reserve_request req = world_request();
	struct answer b = {0};

	full();
	req.name = "mine";
	world_ask_reserve(&w, &alice, req, &a);
	world_run(&w, 100);
	world_stop(&w);
	assert_true(a.done);
	assert_int_equal(a.err.code, ERR_UNAVAILABLE);
	world_start(&w);
	world_get(&w, &alice, "mine", 10000, &b);
	assert_int_equal(b.r[0].state, RESERVATION_ACTIVE);
	world_run(&w, 5000);
	world_audit_clean(&w);
	answer_fini(&b);
}

static void
keys_at_launch_mean_one_launch_for_each(void **state)
{
	struct answer b = {0};

	w.options.access = ACCESS_LAUNCH;
	w.pools[0].hedge = true;
	full();
	assert_int_equal(fake_count(w.fake), 0); /* a spare would be nobody's */
	world_ask_reserve(&w, &alice, world_request(), &a);
	world_ask_reserve(&w, &bob, world_request(), &b);
	world_await(&w, &a);
	world_await(&w, &b);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	world_get(&w, &bob, b.r[0].id.s, 5000, &b);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(b.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_COLD);
	assert_string_equal(
	    a.r[0].miss_reason, "its machines get their user's keys at launch");
	assert_string_equal(fake_last_keys(w.fake), b.r[0].public_keys);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	assert_int_equal(fake_calls(w.fake, FAKE_AUTHORIZE), 0);
	world_check(&w);
	answer_fini(&b);
}

/* The launch of one who has gone must not serve another: it has the wrong keys. */
static void
a_launch_with_keys_serves_nobody_else(void **state)
{
	struct answer b = {0};

	w.options.access = ACCESS_LAUNCH;
	full();
	world_ask_reserve(&w, &alice, world_request(), &a);
	world_await(&w, &a);
	world_run(&w, 500);
	world_ask_cancel(&w, &alice, a.r[0].id.s, false, &a);
	world_ask_reserve(&w, &bob, world_request(), &b);
	world_await(&w, &b);
	world_get(&w, &bob, b.r[0].id.s, 5000, &b);
	assert_int_equal(b.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 2);
	world_run(&w, 5000);
	assert_int_equal(fake_count(w.fake), 1);
	world_audit_clean(&w);
	answer_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_reply_waits_for_the_keys),
	    TEST(until_then_it_is_preparing),
	    TEST(a_machine_that_takes_no_keys_is_swapped),
	    TEST(none_takes_keys),
	    TEST(it_dies_meanwhile),
	    TEST(cancelled_meanwhile),
	    TEST(killed_meanwhile),
	    TEST(stopped_meanwhile),
	    TEST(keys_at_launch_mean_one_launch_for_each),
	    TEST(a_launch_with_keys_serves_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
