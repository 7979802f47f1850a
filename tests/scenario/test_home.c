/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a user's shared home is made beside the machine and mounted when both are there; nobody waits for it, nobody
 * fails for want of it, it is made once, and a daemon that dies anywhere makes up for it.
 */
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
	w.pools[0].shared_home = true;
	w.options.home_ms = 5000;
	w.options.mount_ms = 300;
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

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

static void
cold(const struct core_caller *who)
{
	struct reserve_request req = world_request();

	req.no_warm = true;
	world_reserve(&w, who, req, &a);
}

static int64_t
home_of(const struct answer *of)
{
	return fake_home_in(w.fake, of->machine[0].s);
}

static const char *
notice_now(void)
{
	char key[ID_MAX];

	memcpy(key, a.r[0].id.s, sizeof(key));
	world_get(&w, &alice, key, 0, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	return a.r[0].notice;
}

static void
a_warm_claim_waits_for_nothing(void **state)
{
	int64_t before;

	full();
	before = clock_now_ms(w.clock);
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_WARM);
	assert_true(a.at_ms - before < 20);
	world_run(&w, 4900);
	assert_int_equal(home_of(&a), -1);
	world_run(&w, 500);
	assert_int_equal(home_of(&a), 1001);
	assert_null(notice_now());
	world_check(&w);
	world_audit_clean(&w);
	world_same_after_restart(&w);
}

static void
beside_a_cold_launch(void **state)
{
	full();
	cold(&alice);
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	world_run(&w, 5350 - 1000); /* not 1000 + 5000 */
	assert_int_equal(home_of(&a), 1001);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_MAKE), 1);
	world_check(&w);
	world_audit_clean(&w);
}

static void
it_is_known_from_then_on_and_each_has_their_own(void **state)
{
	struct answer b = {0};

	full();
	w.options.home_ms = 100;
	fake_set_options(w.fake, &w.options);
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 1000);
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 500);
	assert_int_equal(home_of(&a), 1001);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_MAKE), 1);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_ATTACH), 2);
	world_run(&w, 5000);
	world_reserve(&w, &bob, world_request(), &b);
	world_run(&w, 1000);
	assert_int_equal(home_of(&b), 1002);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_MAKE), 2);
	answer_fini(&b);
}

/* It was there once, and somebody has taken it away since. */
static void
known_but_gone_it_is_made_again(void **state)
{
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 6000);
	fake_fail_next(w.fake, FAKE_HOME_ATTACH, ERR_NOT_FOUND, "no such home");
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 6000);
	assert_int_equal(home_of(&a), 1001);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_MAKE), 2);
	assert_null(notice_now());
	world_check(&w);
	world_audit_clean(&w);
}

static void
without_it_the_reservation_goes_on_and_says_so(void **state)
{
	w.options.fail_home = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 6000);
	assert_string_equal(notice_now(),
	    "no shared home: the shared home could not be made (fake failure)");
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_MAKE), 1);
	world_check(&w);
	world_audit_clean(&w);
	world_same_after_restart(&w);
}

static void
a_mount_that_fails_is_said_too(void **state)
{
	w.options.fail_mount = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 6000);
	assert_non_null(strstr(notice_now(), "could not be mounted"));
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_ATTACH), 1);
	world_check(&w);
}

/* The notice of a machine that was given up does not stay with the one that took its place. */
static void
a_swap_mounts_it_again(void **state)
{
	w.options.home_ms = 10;
	w.options.mount_ms = 10;
	full();
	fake_fail_next(
	    w.fake, FAKE_HOME_ATTACH, ERR_UNAVAILABLE, "machine does not answer");
	fake_fail_next(w.fake, FAKE_CONTACT, ERR_UNAVAILABLE, "no ssh");
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 100);
	assert_non_null(notice_now());
	world_run(&w, 3000);
	assert_null(notice_now());
	assert_int_equal(home_of(&a), 1001);
	world_check(&w);
	world_audit_clean(&w);
}

static void
cancelled_meanwhile(void **state)
{
	struct answer b = {0};
	char key[ID_MAX];

	for (int i = 0; i < 8; i++) { /* in the claim, at home, at mount */
		static const int64_t at[] = {0, 1, 2, 10, 4999, 5001, 5100, 5400};

		if (i == 0)
			full();
		world_reserve(&w, &alice, world_request(), &a);
		memcpy(key, a.r[0].id.s, sizeof(key));
		world_run(&w, at[i]);
		world_cancel(&w, &alice, key, &b);
		assert_int_equal(world_state(&w, &alice, a.r[0].id), RESERVATION_ENDED);
		world_run(&w, 7000);
		world_check(&w);
		world_audit_clean(&w);
		answer_fini(&b);
	}
	assert_int_equal(world_audit(&w, false).open_steps, 0);
}

static void
a_pool_without_asks_for_none(void **state)
{
	w.pools[0].shared_home = false;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 6000);
	assert_int_equal(fake_calls(w.fake, FAKE_HOME_MAKE), 0);
	assert_int_equal(home_of(&a), -1);
}

/* The claim is not written, so neither is what goes with it. */
static void
a_claim_that_cannot_be_written(void **state)
{
	full();
	w.bad.fail = 1;
	world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 20000);
	world_check(&w);
	world_audit_clean(&w);
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	world_run(&w, 6000);
	assert_int_equal(home_of(&a), 1001);
}

/* ---- crashes ---- */

struct script {
	int crash_at, effects;
};

static void
on_effect(void *arg, enum fake_op op, const char *token)
{
	struct script *s = arg;

	if (++s->effects == s->crash_at) {
		w.cut.dead = true;
		fake_mute(w.fake);
	}
}

/* Told of the reservation or not: whoever has a machine has the home. */
static bool
crash(bool cold_one, int write, bool durable, int effect)
{
	struct script s = {.crash_at = effect};
	struct reserve_request req = world_request();
	struct id ids[8];
	bool crashed;
	int n;

	(void)setup(NULL);
	w.options.home_ms = 1500;
	w.cut = (struct cut){.at = write, .durable = durable};
	world_start(&w);
	fake_on_effect(w.fake, on_effect, &s);
	for (int t = 0; t < 6000 && !w.cut.dead; t++) {
		if (t == 1500) {
			req.no_warm = cold_one;
			req.name = "mine";
			world_ask_reserve(&w, &alice, req, &a);
		}
		world_run(&w, 1);
	}
	crashed = w.cut.dead;
	if (crashed) {
		fake_mute(w.fake);
		world_kill(&w);
		world_run(&w, 300);
		world_start(&w);
	}
	world_run(&w, 60000);
	n = world_machines(&w, "default", MACHINE_CLAIMED, ids, 8);
	for (int i = 0; i < n; i++)
		assert_int_equal(fake_home_in(w.fake, ids[i].s), 1001);
	world_check(&w);
	world_audit_clean(&w);
	assert_int_equal(world_audit(&w, false).open_steps, 0);
	(void)teardown(NULL);
	return crashed;
}

static void
at_every_write(void **state)
{
	int n, all = 0;

	for (int cold_one = 0; cold_one < 2; cold_one++)
		for (int durable = 0; durable < 2; durable++, all += n)
			for (n = 1; crash(cold_one, n, durable, 0); n++)
				;
	print_message("crashed at %d writes\n", all);
	assert_true(all > 40);
}

static void
at_every_effect(void **state)
{
	int n, all = 0;

	for (int cold_one = 0; cold_one < 2; cold_one++, all += n)
		for (n = 1; crash(cold_one, 0, false, n); n++)
			;
	print_message("crashed at %d effects\n", all);
	assert_true(all > 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_warm_claim_waits_for_nothing),
	    TEST(beside_a_cold_launch),
	    TEST(it_is_known_from_then_on_and_each_has_their_own),
	    TEST(known_but_gone_it_is_made_again),
	    TEST(without_it_the_reservation_goes_on_and_says_so),
	    TEST(a_mount_that_fails_is_said_too),
	    TEST(a_swap_mounts_it_again),
	    TEST(cancelled_meanwhile),
	    TEST(a_pool_without_asks_for_none),
	    TEST(a_claim_that_cannot_be_written),
	    cmocka_unit_test(at_every_write),
	    cmocka_unit_test(at_every_effect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
