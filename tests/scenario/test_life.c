/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: a reservation's life: deadlines to the millisecond, extension, idleness, cancel in every state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#define HOUR 3600000

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

static struct id
active(struct reserve_request req)
{
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	return a.r[0].id;
}

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

static void
expires_to_the_millisecond(void **state)
{
	struct reserve_request req = world_request();
	struct id id;
	int64_t left;

	full();
	req.hold_ms = HOUR - 12345;
	id = active(req);
	assert_int_equal(a.r[0].expires_at, a.r[0].ready_at + HOUR - 12345);
	left = a.r[0].expires_at - clock_wall_ms(w.clock);
	world_run(&w, left - 2);
	assert_int_equal(world_state(&w, &alice, id), RESERVATION_ACTIVE);
	world_run(&w, 3);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_EXPIRED);
	assert_null(a.r[0].error);
	assert_int_equal(a.r[0].ended_at, a.r[0].expires_at);
	world_run(&w, 2000);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

/* The provider's machine follows: it ends itself at the deadline, rounded up to a second. */
static void
extend_reaches_the_machine(void **state)
{
	struct id id, m;
	int64_t expires;

	full();
	id = active(world_request());
	m = a.machine[0];
	expires = a.r[0].expires_at;
	world_run(&w, 300);
	assert_in_range(fake_ends_at(w.fake, m.s), expires, expires + 1000);
	world_extend(&w, &alice, id.s, 2 * HOUR, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.r[0].expires_at, expires + 2 * HOUR);
	assert_int_equal(a.n_certificates[0], 1);
	world_run(&w, 300);
	assert_in_range(
	    fake_ends_at(w.fake, m.s), expires + 2 * HOUR, expires + 2 * HOUR + 1000);
	world_extend(
	    &w, &alice, id.s, 22 * HOUR, &a); /* 25 in all: more than the longest */
	assert_int_equal(a.err.code, ERR_INVALID);
	world_extend(&w, &alice, id.s, -HOUR, &a);
	assert_int_equal(a.err.code, ERR_INVALID);
	world_extend(&w, &bob, id.s, HOUR, &a);
	assert_int_equal(a.err.code, ERR_NOT_PERMITTED);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].expires_at, expires + 2 * HOUR);
	world_cancel(&w, &alice, id.s, &a);
	world_extend(&w, &alice, id.s, HOUR, &a);
	assert_int_equal(a.err.code, ERR_CONFLICT);
}

/* The first push of a deadline may fail: it is tried until the machine has it. */
static void
deadline_is_pushed_until_it_holds(void **state)
{
	struct id m;
	int64_t expires;

	full();
	for (int i = 0; i < 3; i++)
		fake_fail_next(w.fake, FAKE_DEADLINE, ERR_UNAVAILABLE, "busy");
	active(world_request());
	m = a.machine[0];
	expires = a.r[0].expires_at;
	world_run(&w, 900);
	assert_true(fake_ends_at(w.fake, m.s) > expires + HOUR); /* its lease */
	world_run(&w, 3000);
	assert_in_range(fake_ends_at(w.fake, m.s), expires, expires + 1000);
	assert_int_equal(fake_calls(w.fake, FAKE_DEADLINE), 4);
}

static void
idle_ends_it(void **state)
{
	struct reserve_request req = world_request();
	struct id id, m;

	full();
	req.idle_ms = 600000;
	id = active(req);
	m = a.machine[0];
	world_run(&w, 500000);
	fake_sessions(w.fake, m.s, 1); /* in use: no end, however long */
	world_run(&w, 1200000);
	assert_int_equal(world_state(&w, &alice, id), RESERVATION_ACTIVE);
	fake_sessions(w.fake, m.s, 0);
	world_run(&w, 599000);
	assert_int_equal(world_state(&w, &alice, id), RESERVATION_ACTIVE);
	world_run(&w, 1100);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].reason, END_EXPIRED);
	assert_string_equal(a.r[0].error, "idle");
}

/* Never used at all: the time counts from when it was given. */
static void
idle_from_the_start(void **state)
{
	struct reserve_request req = world_request();
	struct id id;

	full();
	req.idle_ms = 600000;
	id = active(req);
	world_run(&w, 599900);
	assert_int_equal(world_state(&w, &alice, id), RESERVATION_ACTIVE);
	world_run(&w, 200);
	assert_int_equal(world_state(&w, &alice, id), RESERVATION_ENDED);
}

static void
cancelled(struct id id, bool wait)
{
	world_ask_cancel(&w, &alice, id.s, wait, &a);
	world_await(&w, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_CANCELLED);
	if (wait)
		assert_false(a.has_machine[0]);
	world_check(&w);
}

/* Queued, preparing, active and ended, with and without waiting; twice each. */
static void
cancel_in_every_state(void **state)
{
	struct answer b[4] = {0};

	full();
	for (int wait = 0; wait < 2; wait++) {
		struct id id[5];
		int64_t before;

		for (int i = 0; i < 5; i++) {
			world_reserve(&w, &alice, world_request(), &a);
			id[i] = a.r[0].id;
		}
		assert_int_equal(world_state(&w, &alice, id[4]), RESERVATION_QUEUED);
		assert_int_equal(world_state(&w, &alice, id[3]), RESERVATION_PREPARING);
		cancelled(id[4], wait);
		cancelled(id[3], wait);
		before = clock_now_ms(w.clock);
		cancelled(id[0], wait);
		if (wait) /* undone: the machine is gone */
			assert_in_range(clock_now_ms(w.clock) - before, 100, 110);
		else
			assert_in_range(clock_now_ms(w.clock) - before, 0, 2);
		cancelled(id[0], wait);
		cancelled(id[4], wait);
		cancelled(id[1], wait);
		cancelled(id[2], wait);
		world_run(&w, 5000);
		assert_int_equal(world_pool(&w, "default").ready, 2);
		assert_int_equal(world_pool(&w, "default").claimed, 0);
		assert_int_equal(fake_count(w.fake), 2);
		world_audit_clean(&w);
	}
	for (int i = 0; i < 4; i++)
		answer_fini(&b[i]);
}

/* The cancel comes while the claim is on its way to the store: the request is answered all the same, and the
   machine it took is ended. */
static void
cancel_while_claiming(void **state)
{
	struct reserve_request req = world_request();
	struct answer reserved = {0};

	full();
	w.bad.delay_ms = 5;
	req.name = "quick";
	world_ask_reserve(&w, &alice, req, &reserved);
	world_run(&w, 1);
	world_ask_cancel(&w, &alice, "quick", true, &a);
	world_run(&w, 2);
	assert_false(reserved.done); /* still on its way */
	world_check(&w);
	world_await(&w, &reserved);
	world_await(&w, &a);
	assert_int_equal(reserved.err.code, ERR_NONE);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_CANCELLED);
	world_run(&w, 3000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
	answer_fini(&reserved);
}

/* The daemon dies right after such a claim: nobody holds that machine, and it goes. */
static void
crash_after_a_cancelled_claim(void **state)
{
	struct reserve_request req = world_request();
	struct answer reserved = {0};

	for (int writes = 1; writes <= 6; writes++) {
		world_start(&w);
		world_run(&w, 3000);
		req.name = "quick";
		w.cut.writes = 0;
		w.cut.at = writes;
		w.cut.durable = true;
		w.bad.delay_ms = 5;
		world_ask_reserve(&w, &alice, req, &reserved);
		world_run(&w, 1);
		world_ask_cancel(&w, &alice, "quick", true, &a);
		world_run(&w, 30);
		world_kill(&w);
		w.bad.delay_ms = 0;
		world_start(&w);
		world_run(&w, 90000);
		world_get(&w, &alice, "quick", 0, &a);
		if (a.err.code == ERR_NONE && a.r[0].state != RESERVATION_ENDED)
			world_cancel(&w, &alice, "quick", &a);
		world_run(&w, 5000);
		world_check(&w);
		assert_int_equal(world_pool(&w, "default").claimed, 0);
		assert_int_equal(fake_count(w.fake), 2);
		world_audit_clean(&w);
		world_stop(&w);
	}
	answer_fini(&reserved);
}

/* An extension while the claim is on its way: neither row overwrites the other. */
static void
extend_while_claiming(void **state)
{
	struct reserve_request req = world_request();
	struct answer reserved = {0};
	struct id id;

	full();
	w.bad.delay_ms = 5;
	req.name = "quick";
	world_ask_reserve(&w, &alice, req, &reserved);
	world_run(&w, 1);
	world_ask_extend(&w, &alice, "quick", HOUR, &a);
	world_await(&w, &reserved);
	world_await(&w, &a);
	id = reserved.r[0].id;
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].expires_at, a.r[0].ready_at + 2 * HOUR);
	world_same_after_restart(&w);
	world_run(&w, 2000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].expires_at, a.r[0].ready_at + 2 * HOUR);
	answer_fini(&reserved);
}

/* Somebody sets the wall clock: the shown deadline holds, by that clock; the machine is told anew, and spares are
   neither old nor replaced. */
static void
wall_clock_is_set(void **state)
{
	struct id id, m;
	int64_t expires;

	full();
	id = active(world_request());
	m = a.machine[0];
	expires = a.r[0].expires_at;
	world_run(&w, 60000);
	clock_sim_step_wall(w.clock, -1800000);
	world_run(&w, 3590000); /* by the clock 1700 s are left */
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].expires_at, expires);
	assert_in_range(fake_ends_at(w.fake, m.s), expires, expires + 1000);
	assert_int_equal(fake_calls(w.fake, FAKE_DEADLINE),
	    2); /* a real machine counts by its own clock */
	world_run(&w, 1800000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].reason, END_EXPIRED);

	world_run(&w, 2000);
	id = active(world_request());
	clock_sim_step_wall(w.clock, 2 * HOUR);
	world_run(&w, 61000); /* seen within a minute */
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_EXPIRED);
	world_run(&w, 5000);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 4);
	world_audit_clean(&w);
}

/* A deadline that has gone by while there was no daemon. */
static void
expired_while_down(void **state)
{
	struct id id;

	full();
	id = active(world_request());
	world_run(&w, 1000);
	world_kill(&w);
	world_run(&w, 2 * HOUR);
	world_start(&w);
	world_run(&w, 3000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_EXPIRED);
	world_audit_clean(&w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(expires_to_the_millisecond),
	    TEST(extend_reaches_the_machine),
	    TEST(deadline_is_pushed_until_it_holds),
	    TEST(idle_ends_it),
	    TEST(idle_from_the_start),
	    TEST(cancel_in_every_state),
	    TEST(cancel_while_claiming),
	    TEST(crash_after_a_cancelled_claim),
	    TEST(extend_while_claiming),
	    TEST(wall_clock_is_set),
	    TEST(expired_while_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
