/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: keys that have to be fetched are fetched beside the claim: the machine is held meanwhile, and
 * the reservation is active when both are there. Without them it fails, and nothing is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "ssh/pubkey.h"
#include "world.h"

static const char key_lines[2][128] = {
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMgfT3xyw8y6XM8J+UFn5F7309KjZXzOZCAqVKtgyuIT "
    "one",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHR3tJtmHXFvJgyn1fhFjkqhW9JhVHHsa3uYnhEtJrRX "
    "two"};

static struct world w;
static struct answer a;

/* A GitHub: answers after a while, with two keys, or with an error. */
static struct {
	int64_t delay_ms;
	enum err_code fails;
	const char *note;
	int asked;
	char user[40];
} hub;

struct asked {
	struct timer timer;
	core_keys_fn done;
	void *arg;
};

static void
hub_answers(void *arg)
{
	struct asked *q = arg;
	struct ssh_pubkey keys[2] = {0};
	struct err err = {0};

	for (int i = 0; i < 2; i++)
		if (ssh_pubkey_parse(key_lines[i], strlen(key_lines[i]), &keys[i], &err) <
		    0)
			fail_msg("%s", err.msg);
	if (hub.fails)
		err_set(&err, hub.fails, "GitHub: no user 'octocat'");
	q->done(q->arg, hub.fails ? NULL : keys, hub.fails ? 0 : 2, hub.note, &err);
	for (int i = 0; i < 2; i++)
		ssh_pubkey_fini(&keys[i]);
	free(q);
}

static void
hub_fetch(void *arg, const char *user, core_keys_fn done, void *done_arg)
{
	struct asked *q = xnew(struct asked);

	hub.asked++;
	(void)snprintf(hub.user, sizeof(hub.user), "%s", user);
	q->done = done;
	q->arg = done_arg;
	timer_set(w.clock, &q->timer, hub.delay_ms, hub_answers, q);
}

static const struct core_key_source source = {.fetch = hub_fetch};

static int
setup(void **state)
{
	memset(&hub, 0, sizeof(hub));
	hub.delay_ms = 2000;
	world_init(&w);
	w.github = &source;
	return 0;
}

static int
teardown(void **state)
{
	answer_fini(&a);
	world_run(&w, 5000); /* what was asked is answered, whoever is still there */
	world_fini(&w);
	return 0;
}

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

static struct reserve_request
request(void)
{
	struct reserve_request req = world_request();

	req.keys = NULL;
	req.n_keys = 0;
	req.github = "octocat";
	return req;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int
count(enum machine_state s)
{
	struct id ids[16];

	return world_machines(&w, "default", s, ids, 16);
}

static void
the_machine_is_held_meanwhile(void **state)
{
	int64_t before;

	full();
	before = clock_now_ms(w.clock);
	world_ask_reserve(&w, &alice, request(), &a);
	world_run(&w, 1000);
	world_check(&w);
	assert_false(a.done);
	assert_int_equal(hub.asked, 1);
	assert_string_equal(hub.user, "octocat");
	assert_int_equal(count(MACHINE_CLAIMED), 1);
	world_await(&w, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_WARM);
	assert_int_equal(a.n_certificates[0], 2); /* for each of their keys */
	assert_non_null(strstr(a.r[0].public_keys, " one\nssh-ed25519 "));
	assert_null(a.r[0].notice);
	assert_true(a.at_ms - before >= 2000 && a.at_ms - before < 2020);
	world_run(&w, 5000);
	world_audit_clean(&w);
	world_same_after_restart(&w);
}

static void
beside_a_cold_launch(void **state)
{
	struct reserve_request req = request();
	int64_t before;

	full();
	req.no_warm = true;
	hub.delay_ms = 900;
	before = clock_now_ms(w.clock);
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.n_certificates[0], 2);
	assert_true(clock_now_ms(w.clock) - before < 1150); /* not 900 + 1000 */
	world_check(&w);
}

static void
what_it_says_of_them_is_shown(void **state)
{
	hub.note = "keys from the cache";
	full();
	world_reserve(&w, &alice, request(), &a);
	assert_string_equal(a.r[0].notice, "keys from the cache");
	world_get(&w, &alice, a.r[0].id.s, 0, &a);
	assert_string_equal(a.r[0].notice, "keys from the cache");
}

static void
no_keys_no_reservation(void **state)
{
	hub.fails = ERR_NOT_FOUND;
	full();
	world_reserve(&w, &alice, request(), &a);
	assert_int_equal(a.err.code, ERR_NOT_FOUND);
	assert_string_equal(a.err.msg, "GitHub: no user 'octocat'");
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(count(MACHINE_CLAIMED), 0);
	assert_int_equal(count(MACHINE_READY), 2);
	world_audit_clean(&w);
}

/* Faster than the store. */
static void
no_keys_before_the_claim_is_durable(void **state)
{
	hub.fails = ERR_NOT_FOUND;
	hub.delay_ms = 0;
	w.bad.delay_ms = 20;
	full();
	world_reserve(&w, &alice, request(), &a);
	assert_int_equal(a.err.code, ERR_NOT_FOUND);
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(count(MACHINE_CLAIMED), 0);
	world_audit_clean(&w);
}

static void
no_keys_for_one_in_line(void **state)
{
	struct reserve_request req = request();

	full();
	req.no_warm = true;
	hub.fails = ERR_UNAVAILABLE;
	hub.delay_ms = 500;
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.r[0].state, RESERVATION_PREPARING);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_string_equal(a.r[0].error, "GitHub: no user 'octocat'");
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(count(MACHINE_CLAIMED), 0);
	world_audit_clean(&w);
}

static void
cancelled_meanwhile(void **state)
{
	struct reserve_request req = request();
	struct answer b = {0};

	full();
	req.name = "mine";
	world_ask_reserve(&w, &alice, req, &a);
	world_run(&w, 100);
	world_cancel(&w, &alice, "mine", &b);
	world_await(&w, &a);
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(world_state(&w, &alice, b.r[0].id), RESERVATION_ENDED);
	assert_int_equal(count(MACHINE_CLAIMED), 0);
	world_audit_clean(&w);
	answer_fini(&b);
}

static void
killed_meanwhile_they_are_fetched_again(void **state)
{
	struct reserve_request req = request();
	struct answer b = {0};

	full();
	req.name = "mine";
	world_ask_reserve(&w, &alice, req, &a);
	world_run(&w, 100);
	fake_mute(w.fake);
	world_kill(&w);
	answer_fini(&a);
	world_start(&w);
	world_get(&w, &alice, "mine", 10000, &b);
	assert_int_equal(b.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(b.n_certificates[0], 2);
	assert_int_equal(hub.asked, 2);
	assert_string_equal(hub.user, "octocat");
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(count(MACHINE_CLAIMED), 1);
	world_audit_clean(&w);
	answer_fini(&b);
}

static void
given_at_launch_the_launch_waits_for_them(void **state)
{
	w.options.access = ACCESS_LAUNCH;
	full();
	world_reserve(&w, &alice, request(), &a);
	world_run(&w, 1900);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
	world_get(&w, &alice, a.r[0].id.s, 5000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_equal(fake_last_keys(w.fake), a.r[0].public_keys);
}

static void
brought_by_access_when_they_are_known(void **state)
{
	w.options.access = ACCESS_AUTHORIZE;
	w.options.authorize_ms = 500;
	full();
	world_reserve(&w, &alice, request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_equal(fake_last_keys(w.fake), a.r[0].public_keys);
	world_check(&w);
}

static void
without_a_source_it_is_refused(void **state)
{
	w.github = NULL;
	full();
	world_reserve(&w, &alice, request(), &a);
	assert_int_equal(a.err.code, ERR_UNAVAILABLE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_machine_is_held_meanwhile),
	    TEST(beside_a_cold_launch),
	    TEST(what_it_says_of_them_is_shown),
	    TEST(no_keys_no_reservation),
	    TEST(no_keys_before_the_claim_is_durable),
	    TEST(no_keys_for_one_in_line),
	    TEST(cancelled_meanwhile),
	    TEST(killed_meanwhile_they_are_fetched_again),
	    TEST(given_at_launch_the_launch_waits_for_them),
	    TEST(brought_by_access_when_they_are_known),
	    TEST(without_a_source_it_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
