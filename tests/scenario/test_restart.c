/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: what a restart finds is adopted, ended or told, and nothing is lost. */
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

static void
again(bool kill)
{
	if (kill)
		world_kill(&w);
	else
		world_stop(&w);
	world_start(&w);
}

static void
all_is_adopted(void **state)
{
	struct answer b[6] = {0};
	int64_t ends;

	full();
	for (int i = 0; i < 6; i++)
		world_reserve(&w, &alice, world_request(), &b[i]);
	world_run(&w, 3000);
	for (int kill = 0; kill < 2; kill++) {
		again(kill);
		world_run(&w, 1000);
		world_check(&w);
		for (int i = 0; i < 4; i++) {
			world_get(&w, &alice, b[i].r[0].id.s, 0, &a);
			assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
			assert_int_equal(a.n_certificates[0], 1);
			if (b[i].has_machine[0])
				assert_string_equal(a.machine[0].s, b[i].machine[0].s);
			ends = fake_ends_at(w.fake, a.machine[0].s);
			assert_in_range(
			    ends, a.r[0].expires_at, a.r[0].expires_at + 1000);
		}
		for (int i = 4; i < 6; i++) { /* in the same order */
			world_get(&w, &alice, b[i].r[0].id.s, 0, &a);
			assert_int_equal(a.r[0].state, RESERVATION_QUEUED);
			assert_int_equal(a.position[0], i - 3);
		}
		assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
		assert_int_equal(fake_calls(w.fake, FAKE_TERMINATE), 0);
		world_audit_clean(&w);
	}
	world_cancel(&w, &alice, b[0].r[0].id.s, &a);
	world_run(&w, 1200);
	assert_int_equal(world_state(&w, &alice, b[4].r[0].id), RESERVATION_ACTIVE);
	assert_int_equal(world_state(&w, &alice, b[5].r[0].id), RESERVATION_QUEUED);
	for (int i = 0; i < 6; i++)
		answer_fini(&b[i]);
}

/* Nothing is handed out before it was seen: one of the spares died while we were away. */
/* A machine whose ssh nobody had looked at when the daemon died is looked at by the next one. */
static void
first_contact_is_made_up_for(void **state)
{
	struct id before;

	for (int ms = 0; ms <= 100;
	     ms += 100) { /* claim's row still open; then contact's */
		full();
		world_reserve(&w, &alice, world_request(), &a);
		before = a.machine[0];
		world_run(&w, ms);
		again(true);
		fake_fail_next(w.fake, FAKE_CONTACT, ERR_UNAVAILABLE, "no banner");
		world_run(&w, 3000);
		world_get(&w, &alice, a.r[0].id.s, 0, &a);
		assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
		assert_string_not_equal(a.machine[0].s, before.s);
		world_cancel(&w, &alice, a.r[0].id.s, &a);
		world_stop(&w);
	}
	world_start(&w);
}

static void
nothing_is_claimed_unseen(void **state)
{
	struct id id[2];

	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, id, 2), 2);
	fake_kill(w.fake, id[0].s);
	world_kill(&w);
	world_run(&w, 5000);
	world_start(&w);
	world_ask_reserve(
	    &w, &alice, world_request(), &a); /* before any inventory has come */
	world_await(&w, &a);
	world_get(&w, &alice, a.r[0].id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_equal(a.machine[0].s, id[1].s);
	assert_string_equal(a.r[0].miss_reason, "the provider's inventory is not in yet");
	world_run(&w, 3000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_audit_clean(&w);
}

struct settled {
	int64_t at_ms; /* -1: not yet */
	int ready;
	struct answer then;
};

/* Asks at once, as the first client behind an opening door. */
static void
on_settled(void *arg)
{
	struct settled *s = arg;

	assert_true(s->at_ms == -1); /* once */
	s->at_ms = clock_now_ms(w.clock);
	world_ask_reserve(&w, &alice, world_request(), &s->then);
}

/* Whoever is let in once all is settled is told the truth and served from what is warm, however soon. */
static void
settled_is_known(void **state)
{
	struct settled s = {.at_ms = -1};
	struct id spare[2], lost, kept;
	int64_t from;

	full();
	world_reserve(&w, &alice, world_request(), &a);
	kept = a.r[0].id;
	world_reserve(&w, &alice, world_request(), &a);
	lost = a.r[0].id;
	world_run(&w, 3000);
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, spare, 2), 2);
	fake_remove(w.fake, a.machine[0].s);
	fake_remove(w.fake, spare[0].s);
	world_kill(&w);
	w.boot_id = "boot-2";
	w.inventories_fail = 1;
	world_start(&w);
	from = clock_now_ms(w.clock);
	core_when_settled(w.core, on_settled, &s);
	world_run(&w, 999);
	assert_true(s.at_ms == -1);
	assert_int_equal(world_pool(&w, "default").ready, 2); /* which is not true */
	world_run(&w, 1);
	world_await(&w, &s.then);
	assert_int_equal(s.at_ms - from, 1000);
	assert_int_equal(s.then.at_ms - from, 1000);
	assert_int_equal(s.then.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(s.then.r[0].path, PATH_WARM);
	assert_null(s.then.r[0].miss_reason);
	assert_string_equal(s.then.machine[0].s, spare[1].s);
	assert_int_equal(world_state(&w, &alice, lost), RESERVATION_ENDED);
	assert_int_equal(world_state(&w, &alice, kept), RESERVATION_ACTIVE);
	answer_fini(&s.then);
	world_run(&w, 10000);
	world_check(&w);
}

/* A provider that does not answer keeps nobody out for good. */
static void
settled_without_an_inventory(void **state)
{
	struct settled s = {.at_ms = -1};
	int64_t from;

	full();
	world_kill(&w);
	w.inventories_fail = 8;
	world_start(&w);
	from = clock_now_ms(w.clock);
	core_when_settled(w.core, on_settled, &s);
	world_run(&w, CORE_SETTLE_MS - 1);
	assert_true(s.at_ms == -1);
	world_run(&w, 1);
	assert_int_equal(s.at_ms - from, CORE_SETTLE_MS);
	world_run(&w, 5000); /* the inventory comes: the line is served from it */
	assert_true(s.then.done);
	world_get(&w, &alice, s.then.r[0].id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_equal(a.r[0].miss_reason, "the provider's inventory is not in yet");
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 1); /* the spare's successor */
	answer_fini(&s.then);
}

static void
settling_when_it_stops(void **state)
{
	struct settled s = {.at_ms = -1};

	full();
	for (int kill = 0; kill < 2; kill++) {
		again(kill);
		world_run(&w, kill * 100); /* about to be told, the second time */
		core_when_settled(w.core, on_settled, &s);
	}
	world_stop(&w);
	world_run(&w, 2 * CORE_SETTLE_MS);
	assert_true(s.at_ms == -1);
	world_start(&w);
}

static void
machines_removed_meanwhile(bool host_restarted, const char *error)
{
	struct id id[2], spare;

	full();
	for (int i = 0; i < 2; i++) {
		world_reserve(&w, &alice, world_request(), &a);
		id[i] = a.r[0].id;
		fake_remove(w.fake, i ? "" : a.machine[0].s);
	}
	world_run(&w, 100);
	assert_true(world_machines(&w, "default", MACHINE_CLAIMED, &spare, 1) >= 1);
	world_kill(&w);
	if (host_restarted)
		w.boot_id = "boot-2";
	world_start(&w);
	world_run(&w, 3000);
	world_check(&w);
	world_get(&w, &alice, id[0].s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_string_equal(a.r[0].error, error);
	assert_int_equal(world_state(&w, &alice, id[1]), RESERVATION_ACTIVE);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_audit_clean(&w);
}

static void
removed_while_down(void **state)
{
	machines_removed_meanwhile(false, "it ended while the daemon was down");
}

static void
host_restarted(void **state)
{
	machines_removed_meanwhile(true, "host restarted");
}

/* Launches that were under way are made anew; whoever waited for them still gets a machine. */
static void
launching_at_the_restart(void **state)
{
	struct id id;

	w.pools[0].running = 1;
	world_start(&w);
	world_run(&w, 500);
	for (int i = 0; i < 2; i++)
		world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	world_kill(&w);
	world_run(&w, 100);
	world_start(&w);
	world_get(&w, &alice, id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	world_run(&w, 3000);
	assert_int_equal(fake_count(w.fake), 3);
	assert_int_equal(world_pool(&w, "default").claimed, 2);
	world_audit_clean(&w);
}

/* What the ledger never had is audit's to show, and to end when told to. */
static void
strays(void **state)
{
	struct audit_sum sum;

	full();
	assert_non_null(fake_add_stray(w.fake, "m-000000000000"));
	assert_non_null(fake_add_stray(w.fake, NULL));
	world_run(&w, 200000);
	assert_int_equal(
	    fake_count(w.fake), 4); /* not ended by itself: it may be somebody's */
	sum = world_audit(&w, false);
	assert_false(sum.ok);
	assert_int_equal(sum.provider_only, 2);
	assert_int_equal(sum.repaired, 0);
	sum = world_audit(&w, true);
	assert_true(sum.ok);
	assert_int_equal(sum.repaired, 2);
	world_run(&w, 500);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

/* What the ledger has as ended, and the provider has not, is ended again without being asked. */
static void
ended_but_still_there(void **state)
{
	struct id m;

	full();
	world_reserve(&w, &alice, world_request(), &a);
	m = a.machine[0];
	world_cancel(&w, &alice, a.r[0].id.s, &a);
	world_run(&w, 2000);
	assert_false(fake_exists(w.fake, m.s));
	assert_non_null(fake_add_stray(w.fake, m.s)); /* it comes back */
	assert_false(world_audit(&w, false).ok);
	world_run(&w, 91000);
	assert_false(fake_exists(w.fake, m.s));
	world_audit_clean(&w);
}

/* One whose launch failed, and that turns up when its end is over: the ledger still shows why it failed. */
static void
failed_but_still_there(void **state)
{
	struct id m;

	w.options.fail_launch_first = 1;
	full();
	world_run(&w, 3000);
	assert_int_equal(world_machines(&w, "default", MACHINE_FAILED, &m, 1), 1);
	assert_false(fake_exists(w.fake, m.s));
	assert_non_null(fake_add_stray(w.fake, m.s));
	world_run(&w, 91000);
	assert_false(fake_exists(w.fake, m.s));
	world_audit_clean(&w);
}

static void
only_in_the_ledger(void **state)
{
	struct audit_sum sum;
	struct id spare, id;

	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	fake_sessions(w.fake, a.machine[0].s, 1);
	world_run(&w, 3000);
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, &spare, 1), 2);
	fake_remove(w.fake, spare.s);
	fake_remove(w.fake, a.machine[0].s);
	sum = world_audit(&w, false);
	assert_false(sum.ok);
	assert_int_equal(sum.ledger_only, 2);
	sum = world_audit(&w, true);
	assert_int_equal(sum.repaired, 2);
	world_run(&w, 3000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_check(&w);
	world_audit_clean(&w);
}

static void
refused(void *arg, const struct audit *sum, const struct err *err)
{
	*(enum err_code *)arg = err->code;
}

static void
audit_is_for_operators(void **state)
{
	enum err_code code = ERR_NONE;

	full();
	core_audit(w.core, &alice, true, refused, &code);
	world_run(&w, 10);
	assert_int_equal(code, ERR_NOT_PERMITTED);
	core_audit(
	    w.core, &root, true, refused, &code); /* and the daemon stops at once */
	world_stop(&w);
	assert_int_equal(code, ERR_UNAVAILABLE);
	world_start(&w);
}

/* A hundred restarts in the middle of whatever goes on. */
static void
a_hundred_restarts(void **state)
{
	struct answer b = {0};

	w.pools[0].max = 6;
	full();
	for (int i = 0; i < 100; i++) {
		world_ask_reserve(&w, &alice, world_request(), &a);
		world_run(&w, i * 17 % 1300);
		if (a.done && a.n && i % 3) {
			world_ask_cancel(&w, &alice, a.r[0].id.s, true, &b);
			world_run(&w, i % 7);
		}
		again(i % 4 != 0);
		world_run(&w, i * 31 % 400);
		world_check(&w);
	}
	world_run(&w, 24 * 3600000); /* until the last in line has had its hour */
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_audit_clean(&w);
	answer_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(all_is_adopted),
	    TEST(first_contact_is_made_up_for),
	    TEST(nothing_is_claimed_unseen),
	    TEST(settled_is_known),
	    TEST(settled_without_an_inventory),
	    TEST(settling_when_it_stops),
	    TEST(removed_while_down),
	    TEST(host_restarted),
	    TEST(launching_at_the_restart),
	    TEST(strays),
	    TEST(ended_but_still_there),
	    TEST(failed_but_still_there),
	    TEST(only_in_the_ledger),
	    TEST(audit_is_for_operators),
	    TEST(a_hundred_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
