/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: a store that refuses writes: requests fail clearly, nothing is half-made, and all is consistent after it. */
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

struct told {
	bool done;
	enum err_code code;
	struct id id;
};

static void
reserved(void *arg, const struct reservation_view *v, int n, bool existed,
    const struct err *err)
{
	*(struct told *)arg =
	    (struct told){true, err->code, n ? v->r->id : (struct id){{0}}};
}

static void
answered(void *arg, const struct reservation_view *v, const struct err *err)
{
	*(struct told *)arg =
	    (struct told){true, err->code, v ? v->r->id : (struct id){{0}}};
}

/* Twelve seconds of an ordinary life, in which whatever was asked gets an answer within two. */
static void
live(struct told told[4], struct told *cancelled, struct told *extended)
{
	struct reserve_request req = world_request();
	static const int when[4] = {1500, 1501, 1502, 4000};

	for (int t = 0; t < 12000; t++) {
		for (int i = 0; i < 4; i++) {
			if (t == when[i])
				core_reserve(w.core, &alice, &req, reserved, &told[i]);
			if (t == when[i] + 2000)
				assert_true(told[i].done);
		}
		if (t == 6000 && told[0].code == ERR_NONE)
			core_cancel(
			    w.core, &alice, told[0].id.s, false, answered, cancelled);
		if (t == 7000 && told[1].code == ERR_NONE)
			core_extend(
			    w.core, &alice, told[1].id.s, 60000, answered, extended);
		world_run(&w, 1);
		if (t % 50 == 0)
			world_check(&w);
	}
}

static int
refuse_from(int skip, int fail)
{
	struct told told[4] = {0}, cancelled = {0}, extended = {0};
	int claimed = 0, refused;

	w.pools[0].max = 6;
	world_start(&w);
	w.bad = (struct bad){.skip = skip, .fail = fail};
	live(told, &cancelled, &extended);
	refused = w.bad.refused;
	w.bad.fail = 0;
	world_run(&w, 5000);
	world_check(&w);
	for (int i = 0; i < 4; i++) {
		assert_true(told[i].code == ERR_NONE || told[i].code == ERR_UNAVAILABLE);
		if (told[i].code != ERR_NONE)
			continue;
		world_get(&w, &alice, told[i].id.s, 60000, &a);
		if (i > 0)
			assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
		else if (cancelled.done && cancelled.code == ERR_NONE)
			assert_int_equal(a.r[0].state, RESERVATION_ENDED);
		claimed += a.r[0].state == RESERVATION_ACTIVE;
		if (i == 1 && extended.done)
			assert_int_equal(a.r[0].hold_ms,
			    extended.code == ERR_NONE ? 3660000 : 3600000);
	}
	world_run(&w, 120000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").claimed,
	    claimed); /* none that nobody was told of */
	assert_int_equal(world_pool(&w, "default").ready, claimed > 4 ? 6 - claimed : 2);
	assert_int_equal(fake_count(w.fake), claimed + world_pool(&w, "default").ready);
	world_audit_clean(&w);
	world_same_after_restart(&w);
	world_run(&w, 2000);
	world_audit_clean(&w);
	world_check(&w);
	return refused;
}

static void
each_write_refused(int fail)
{
	int n = 0;

	while (refuse_from(n, fail) > 0) {
		n++;
		teardown(NULL);
		setup(NULL);
	}
	assert_true(n > 20);
}

static void
one_write_is_refused(void **state)
{
	each_write_refused(1);
}

static void
three_writes_are_refused(void **state)
{
	each_write_refused(3);
}

static void
all_writes_are_refused(void **state)
{
	for (int skip = 0; skip < 30; skip += 3) {
		refuse_from(skip, -1);
		teardown(NULL);
		setup(NULL);
	}
	world_start(&w);
}

/* Nobody waits for the store to come back, nothing spins, nothing is launched. */
static void
refuses_for_an_hour(void **state)
{
	struct reserve_request req = world_request();
	struct id id;
	int launches, asked = 0;

	full();
	req.hold_ms = 1800000;
	world_reserve(&w, &alice, req, &a);
	id = a.r[0].id;
	world_run(&w, 3000);
	launches = fake_calls(w.fake, FAKE_LAUNCH);
	w.bad.fail = -1;
	for (int i = 0; i < 60; i++, asked++) {
		int64_t before = clock_now_ms(w.clock);

		world_reserve(&w, &bob, world_request(), &a);
		assert_int_equal(a.err.code, ERR_UNAVAILABLE);
		assert_non_null(strstr(a.err.msg, "no space left on device"));
		assert_true(a.at_ms - before <= 1001);
		world_extend(&w, &alice, id.s, 60000, &a);
		assert_int_not_equal(a.err.code, ERR_NONE);
		assert_int_not_equal(world_pool_set(&w, &root, 1, -1), ERR_NONE);
		assert_int_equal(world_pool(&w, "default").p->running, 2);
		world_run(&w, 58000);
		world_check(&w);
	}
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), launches);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_true(w.bad.refused < 2 * 3700);
	w.bad.fail = 0;
	world_run(&w, 70000);
	world_get(&w, &alice, id.s, 0, &a); /* it ran out meanwhile */
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_EXPIRED);
	assert_int_equal(fake_count(w.fake), 2);
	world_reserve(&w, &bob, world_request(), &a);
	assert_int_equal(a.r[0].path, PATH_WARM);
	world_audit_clean(&w);
	world_same_after_restart(&w);
}

static void
in_order(void *arg, const struct event *e)
{
	int64_t *last = arg;

	assert_true(e->seq > *last);
	*last = e->seq;
}

/* Events keep their order, and what memory has forgotten (ended machines) is stored all the same. */
static void
events_keep_their_order(void **state)
{
	for (int skip = 0; skip < 12; skip++) {
		struct core_subscription *s;
		struct id id, m;
		struct machine row;
		int64_t last = 0;

		full();
		s = core_subscribe(w.core, in_order, &last);
		world_reserve(&w, &alice, world_request(), &a);
		id = a.r[0].id;
		m = a.machine[0];
		world_run(&w, 50);
		world_ask_cancel(&w, &alice, id.s, true, &a);
		w.bad.skip = skip;
		w.bad.fail = 1 + skip % 3;
		world_run(&w, 90000);
		assert_true(a.done);
		assert_true(last > 5);
		core_unsubscribe(s);
		w.bad.fail = 0;
		world_kill(&w);
		world_start(&w);
		assert_true(world_machine(&w, m.s, &row));
		assert_int_equal(row.state, MACHINE_TERMINATED);
		machine_fini(&row);
		assert_int_equal(world_state(&w, &alice, id), RESERVATION_ENDED);
		teardown(NULL);
		setup(NULL);
	}
	world_start(&w);
}

/* The same with a slow store, so that claims are on their way while other writes fail. */
static void
slow_and_refusing(void **state)
{
	for (int skip = 0; skip < 40; skip++) {
		static struct told other[6];

		w.bad.delay_ms = skip % 2 ? 1400 : 3 + skip % 5;
		w.pools[0].max = 6;
		full();
		w.bad.skip = skip;
		w.bad.fail = 1;
		for (int i = 0; i < 6; i++) {
			struct told t = {0};
			struct reserve_request req = world_request();

			core_reserve(w.core, &alice, &req, reserved, &t);
			world_run(&w, 1);
			core_reserve(w.core, &bob, &req, reserved, &other[i]);
			for (int ms = 0; ms < 9000 && (!t.done || ms < 30); ms++)
				world_run(&w, 1);
			world_check(&w);
			assert_true(t.done);
		}
		world_run(&w, 9000);
		world_check(&w);
		w.bad = (struct bad){0};
		world_run(&w, 5000);
		world_check(&w);
		world_audit_clean(&w);
		world_same_after_restart(&w);
		teardown(NULL);
		setup(NULL);
	}
	world_start(&w);
}

/* The write that says it waits is refused, and before anybody knows, a machine is ready that it could have. */
static void
refused_while_a_spare_comes(void **state)
{
	w.pools[0].running = 1;
	for (int at = 980; at < 1004; at++) {
		struct told t = {0};
		struct reserve_request req = world_request();

		world_start(&w);
		world_run(&w, at);
		w.bad = (struct bad){.fail = 1, .delay_ms = 8};
		core_reserve(w.core, &alice, &req, reserved, &t);
		for (int i = 0; i < 2000; i++) {
			world_run(&w, 1);
			world_check(&w);
		}
		assert_true(t.done);
		w.bad = (struct bad){0};
		world_run(&w, 5000);
		assert_int_equal(world_pool(&w, "default").claimed, t.code == ERR_NONE);
		assert_int_equal(world_pool(&w, "default").ready, 1);
		world_audit_clean(&w);
		teardown(NULL);
		setup(NULL);
		w.pools[0].running = 1;
	}
	world_start(&w);
}

/* Somebody waits for a reservation that turns out not to be stored. */
static void
waiting_for_what_is_refused(void **state)
{
	struct reserve_request req = world_request();
	struct told first = {0}, other = {0};

	w.pools[0].running = 0;
	full();
	w.bad = (struct bad){.fail = 1, .delay_ms = 5};
	req.name = "box";
	core_reserve(w.core, &alice, &req, reserved, &first);
	core_get(w.core, &alice, "box", 60000, answered, &other);
	world_run(&w, 1500);
	assert_true(first.done && other.done);
	assert_int_equal(first.code, ERR_UNAVAILABLE);
	assert_int_equal(other.code, ERR_UNAVAILABLE);
	world_check(&w);
	w.bad = (struct bad){0};
	world_get(&w, &alice, "box", 0, &a);
	assert_int_equal(a.err.code, ERR_NOT_FOUND);
	world_run(&w, 5000);
	assert_int_equal(fake_count(w.fake), 0);
}

/* The request hears of its reservation what the store has: neither its claim nor its end got there. */
static void
cancelled_before_its_claim_is_refused(void **state)
{
	struct reserve_request req = world_request();
	struct told first = {0}, other = {0};

	full();
	w.bad = (struct bad){.fail = -1, .delay_ms = 5};
	req.name = "box";
	core_reserve(w.core, &alice, &req, reserved, &first);
	core_cancel(w.core, &alice, "box", true, answered, &other);
	world_run(&w, 1500);
	assert_true(first.done && other.done);
	assert_int_equal(first.code, ERR_UNAVAILABLE);
	assert_int_equal(other.code, ERR_UNAVAILABLE);
	world_check(&w);
	w.bad = (struct bad){0};
	world_run(&w, 5000);
	world_check(&w);
	world_same_after_restart(&w);
	world_run(&w, 5000);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	world_audit_clean(&w);
}

/* Whatever was told before the end, the next daemon knows. */
static void
cancelled_before_its_claim_and_killed(void **state)
{
	struct reserve_request req = world_request();
	int known = 0;

	for (int ms = 0; ms < 60; ms++) {
		struct told first = {0}, other = {0};

		full();
		w.bad = (struct bad){.delay_ms = 20};
		req.name = "box";
		core_reserve(w.core, &alice, &req, reserved, &first);
		core_cancel(w.core, &alice, "box", true, answered, &other);
		world_run(&w, ms);
		world_kill(&w);
		assert_true(first.done && other.done);
		w.bad = (struct bad){0};
		world_start(&w);
		if (first.code == ERR_NONE) {
			world_get(&w, &alice, first.id.s, 0, &a);
			assert_int_equal(a.err.code, ERR_NONE);
			known++;
		}
		world_run(&w, 5000);
		world_audit_clean(&w);
		teardown(NULL);
		setup(NULL);
	}
	assert_in_range(known, 1, 59);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(one_write_is_refused),
	    TEST(three_writes_are_refused),
	    TEST(all_writes_are_refused),
	    TEST(refuses_for_an_hour),
	    TEST(events_keep_their_order),
	    TEST(slow_and_refusing),
	    TEST(refused_while_a_spare_comes),
	    TEST(waiting_for_what_is_refused),
	    TEST(cancelled_before_its_claim_is_refused),
	    TEST(cancelled_before_its_claim_and_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
