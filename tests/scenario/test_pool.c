/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: pools keep their spares and hand them out: states and times, on simulated time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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
	assert_int_equal(world_pool(&w, "default").launching, 1);
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

static void
expires_and_extends(void **state)
{
	struct world w;
	struct answer a = {0};
	struct id id;

	world_init(&w);
	world_start(&w);
	world_run(&w, 1500);
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 3590 * 1000);
	world_extend(&w, &alice, id.s, 3600000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	world_run(&w, 3600 * 1000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	world_run(&w, 11 * 1000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_EXPIRED);
	world_run(&w, 2000);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	world_audit_clean(&w);
	answer_fini(&a);
	world_fini(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fills_claims_refills),
	    cmocka_unit_test(overflow_is_cold_then_queued),
	    cmocka_unit_test(expires_and_extends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
