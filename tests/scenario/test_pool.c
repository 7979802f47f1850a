/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: pools keep their spares and hand them out: states and times, on simulated time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static void
fills_claims_refills(void **state)
{
	struct world w;
	struct answer a = {0};

	world_init(&w);
	world_start(&w);
	world_run(&w, 500);
	assert_int_equal(world_pool(&w, "default").launching, 2);
	world_run(&w, 600);
	assert_int_equal(world_pool(&w, "default").ready, 2);

	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_WARM);
	assert_int_equal(a.n_certificates[0], 1);
	assert_true(a.r[0].expires_at - a.r[0].created_at >= 3600000);
	world_run(&w, 10); /* refill at once */
	assert_int_equal(
	    world_pool(&w, "default").launching, 1); /* two spare, not two in all */
	assert_int_equal(world_pool(&w, "default").claimed, 1);
	world_run(&w, 1100);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_audit_clean(&w);

	world_cancel(&w, &alice, a.r[0].id.s, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_CANCELLED);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	world_run(&w, 3600 * 1000); /* constant demand: nothing comes and goes */
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3);
	answer_fini(&a);
	world_fini(&w);
}

static void
overflow_is_cold_then_queued(void **state)
{
	struct world w;
	struct answer a[6] = {0};
	struct reserve_request req = world_request();

	world_init(&w);
	world_start(&w);
	world_run(&w, 1500);
	for (int i = 0; i < 5; i++)
		world_reserve(&w, &alice, req, &a[i]);
	assert_int_equal(a[1].r[0].path, PATH_WARM);
	assert_int_equal(a[2].r[0].state, RESERVATION_PREPARING);
	assert_non_null(a[2].r[0].miss_reason);
	assert_int_equal(a[4].r[0].state, RESERVATION_QUEUED);
	assert_int_equal(a[4].position[0], 1);
	req.no_wait = true;
	world_reserve(&w, &bob, req, &a[5]);
	assert_int_equal(a[5].err.code, ERR_NO_CAPACITY);

	struct id third = a[2].r[0].id, fifth = a[4].r[0].id;
	world_get(&w, &alice, third.s, 60000, &a[2]);
	assert_int_equal(a[2].r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a[2].r[0].path, PATH_COLD);
	world_cancel(&w, &alice, a[0].r[0].id.s, &a[0]);
	world_get(&w, &alice, fifth.s, 60000, &a[4]);
	assert_int_equal(a[4].r[0].state, RESERVATION_ACTIVE);
	world_get(&w, &bob, fifth.s, 0, &a[5]);
	assert_int_equal(a[5].err.code, ERR_NOT_PERMITTED);
	world_audit_clean(&w);
	for (int i = 0; i < 6; i++)
		answer_fini(&a[i]);
	world_fini(&w);
}

/* The line: in order, with a position and an estimate that is neither past nor beyond what can be known. */
static void
line_keeps_order(void **state)
{
	struct world w;
	struct answer a[8] = {0};
	int64_t eta[8], wall;
	struct id id[8];

	world_init(&w);
	world_start(&w);
	world_run(&w, 1500);
	for (int i = 0; i < 8; i++) {
		world_reserve(&w, &alice, world_request(), &a[i]);
		id[i] = a[i].r[0].id;
		eta[i] = a[i].eta_at;
		world_run(&w, 1000);
		world_check(&w);
	}
	wall = clock_wall_ms(w.clock);
	for (int i = 4; i < 8; i++) {
		assert_int_equal(a[i].r[0].state, RESERVATION_QUEUED);
		assert_int_equal(a[i].position[0], i - 3);
		assert_true(eta[i] > wall && eta[i] <= wall + 3600000 + 2000);
		assert_true(i == 4 || eta[i] >= eta[i - 1]);
	}
	world_cancel(&w, &alice, id[5].s, &a[5]); /* from the middle of the line */
	world_run(&w, 10);
	world_get(&w, &alice, id[7].s, 0, &a[7]);
	assert_int_equal(a[7].position[0], 3);
	for (int served = 0; served < 3; served++) {
		static const int next[] = {4, 6, 7};

		world_cancel(&w, &alice, id[served].s, &a[served]);
		world_run(&w, 1200);
		world_check(&w);
		for (int i = 0; i < 3; i++)
			assert_int_equal(world_state(&w, &alice, id[next[i]]),
			    i <= served ? RESERVATION_ACTIVE : RESERVATION_QUEUED);
	}
	world_run(&w, 3000);
	world_audit_clean(&w);
	for (int i = 0; i < 8; i++)
		answer_fini(&a[i]);
	world_fini(&w);
}

/* Behind more waiting ones than machines, the estimate counts whole reservations. */
static void
estimate_counts_turns(void **state)
{
	struct world w;
	struct answer a = {0};
	int64_t first = 0;

	world_init(&w);
	w.pools[0].running = w.pools[0].max = 1;
	world_start(&w);
	world_run(&w, 1500);
	for (int i = 0; i < 4; i++) {
		world_reserve(&w, &alice, world_request(), &a);
		if (i == 1)
			first = a.eta_at;
		if (i > 1)
			assert_true(a.eta_at >= first + (i - 1) * 3600000);
	}
	answer_fini(&a);
	world_fini(&w);
}

static void
no_warm_launches_its_own(void **state)
{
	struct world w;
	struct answer a = {0}, b = {0};
	struct reserve_request req = world_request();
	struct id spare[2], own;

	world_init(&w);
	world_start(&w);
	world_run(&w, 1500);
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, spare, 2), 2);
	req.no_warm = true;
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	assert_string_equal(a.r[0].miss_reason, "asked for a cold launch (no_warm)");
	own = a.r[0].id;
	world_run(&w, 500);
	world_reserve(
	    &w, &bob, world_request(), &b); /* the spares are not held back meanwhile */
	assert_int_equal(b.r[0].path, PATH_WARM);
	world_run(&w, 10);
	assert_int_equal(
	    world_pool(&w, "default").launching, 2); /* and refilled at once */
	world_get(&w, &alice, own.s, 60000, &a);
	assert_int_equal(a.r[0].path, PATH_COLD);
	assert_string_not_equal(a.machine[0].s, spare[0].s);
	assert_string_not_equal(a.machine[0].s, spare[1].s);
	assert_in_range(a.r[0].ready_at - a.r[0].created_at, 1000, 1010);
	answer_fini(&a);
	answer_fini(&b);
	world_fini(&w);
}

/* A pool whose spares are all it may have makes room for who wants none of them. */
static void
no_warm_in_a_full_pool(void **state)
{
	struct world w;
	struct answer a = {0};
	struct reserve_request req = world_request();

	world_init(&w);
	w.pools[0].running = w.pools[0].max = 2;
	world_start(&w);
	world_run(&w, 1500);
	req.no_warm = true;
	world_reserve(&w, &alice, req, &a);
	world_get(&w, &alice, a.r[0].id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_COLD);
	assert_in_range(a.r[0].ready_at - a.r[0].created_at, 1100, 1200);
	world_run(&w, 5000);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	answer_fini(&a);
	world_fini(&w);
}

/* Two wait, one spare is on its way: the one that came first gets it. */
static void
spare_serves_the_oldest(void **state)
{
	struct world w;
	struct answer a = {0}, b = {0};

	world_init(&w);
	w.pools[0].running = 1;
	w.pools[0].max = 1;
	world_start(&w);
	world_run(&w, 500);
	world_reserve(&w, &alice, world_request(), &a);
	world_reserve(&w, &bob, world_request(), &b);
	assert_int_equal(b.r[0].state, RESERVATION_QUEUED);
	world_get(&w, &alice, a.r[0].id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_in_range(a.r[0].ready_at - a.r[0].created_at, 490, 501);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 1);
	assert_int_equal(world_state(&w, &bob, b.r[0].id), RESERVATION_QUEUED);
	answer_fini(&a);
	answer_fini(&b);
	world_fini(&w);
}

/* A day of people who come at random and stay for twenty minutes: every machine launched is claimed or still a
   spare, so nothing is made to be thrown away. */
static void
a_day_without_churn(void **state)
{
	struct world w;
	struct answer a = {0};
	struct reserve_request req = world_request();
	unsigned seed = 7;
	int claims = 0;

	world_init(&w);
	w.pools[0].running = 3;
	w.pools[0].max = 60;
	w.pools[0].max_age_ms = 0;
	world_start(&w);
	world_run(&w, 5000);
	req.hold_ms = 20 * 60000;
	for (int64_t left = 24 * 3600000; left > 0;) {
		int64_t pause = 1 + rand_r(&seed) % 600000;

		world_run(&w, pause);
		left -= pause;
		for (int n = rand_r(&seed) % 4; n > 0; n--, claims++) {
			world_reserve(&w, &alice, req, &a);
			assert_int_equal(a.err.code, ERR_NONE);
			assert_int_not_equal(a.r[0].state, RESERVATION_QUEUED);
		}
		world_check(&w);
	}
	world_run(&w, 3600000);
	assert_true(claims > 200);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), claims + 3);
	assert_int_equal(fake_calls(w.fake, FAKE_TERMINATE), claims);
	assert_int_equal(world_pool(&w, "default").ready, 3);
	world_audit_clean(&w);
	answer_fini(&a);
	world_fini(&w);
}

static void
count_is_all_or_none(void **state)
{
	struct world w;
	struct answer a = {0}, b = {0};
	struct reserve_request req = world_request();

	world_init(&w);
	world_start(&w);
	world_run(&w, 1500);
	req.count = 5;
	world_reserve(&w, &alice, req, &a); /* more than there can ever be */
	assert_int_equal(a.err.code, ERR_NO_CAPACITY);
	assert_int_equal(a.n, 0);
	req.count = 3;
	req.name = "trio";
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.n, 3);
	assert_string_equal(a.r[2].name, "trio-3");
	assert_int_equal(a.r[1].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[2].state, RESERVATION_PREPARING);
	req.count = 2;
	req.name = NULL;
	req.no_wait = true;
	world_reserve(&w, &bob, req, &b); /* there is room for one */
	assert_int_equal(b.err.code, ERR_NO_CAPACITY);
	world_run(&w, 2000);
	assert_int_equal(world_state(&w, &alice, a.r[2].id), RESERVATION_ACTIVE);
	assert_int_equal(world_pool(&w, "default").claimed, 3);
	answer_fini(&a);
	answer_fini(&b);
	world_fini(&w);
}

/* When the launch for one of three keeps failing, the other two, already in use, end with it. */
static void
group_fails_together(void **state)
{
	struct world w;
	struct answer a = {0}, b = {0};
	struct reserve_request req = world_request();

	world_init(&w);
	world_start(&w);
	world_run(&w, 1500);
	w.options.fail_launch = 1;
	fake_set_options(w.fake, &w.options);
	req.count = 3;
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.n, 3);
	world_get(&w, &alice, a.r[2].id.s, 300000, &b);
	assert_int_equal(b.r[0].reason, END_FAILED);
	for (int i = 0; i < 2; i++) {
		world_get(&w, &alice, a.r[i].id.s, 0, &b);
		assert_int_equal(b.r[0].state, RESERVATION_ENDED);
		assert_string_equal(b.r[0].error, "another of the same request failed");
	}
	world_run(&w, 2000);
	assert_int_equal(fake_count(w.fake), 0);
	world_audit_clean(&w);
	answer_fini(&a);
	answer_fini(&b);
	world_fini(&w);
}

/* Nobody can fill the line, and memory, for all: a user's part of it is bounded, and another user's is not
   taken by it. */
static void
line_is_bounded_for_a_user(void **state)
{
	struct world w;
	struct answer a = {0};
	struct reserve_request req = world_request();
	int waiting = 0;

	world_init(&w);
	w.pools[0].running = 0;
	w.pools[0].max = 50;
	w.options.launch_ms = 3600 * 1000;
	world_start(&w);
	for (req.count = 50; waiting < CORE_WAITING_MAX; waiting += req.count) {
		world_reserve(&w, &alice, req, &a);
		assert_int_equal(a.err.code, ERR_NONE);
		answer_fini(&a);
	}
	req.count = 1;
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_RATE_LIMITED);
	answer_fini(&a);
	world_reserve(&w, &bob, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	answer_fini(&a);
	world_reserve(&w, &root, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	answer_fini(&a);
	world_fini(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fills_claims_refills),
	    cmocka_unit_test(overflow_is_cold_then_queued),
	    cmocka_unit_test(line_keeps_order),
	    cmocka_unit_test(estimate_counts_turns),
	    cmocka_unit_test(no_warm_launches_its_own),
	    cmocka_unit_test(no_warm_in_a_full_pool),
	    cmocka_unit_test(spare_serves_the_oldest),
	    cmocka_unit_test(a_day_without_churn),
	    cmocka_unit_test(count_is_all_or_none),
	    cmocka_unit_test(group_fails_together),
	    cmocka_unit_test(line_is_bounded_for_a_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
