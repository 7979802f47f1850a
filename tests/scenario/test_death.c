/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: machines that die, at every moment of their life, and answers that are lost. */
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

static struct id
one(enum machine_state state)
{
	struct id id[8];

	assert_true(world_machines(&w, "default", state, id, 8) >= 1);
	return id[0];
}

static void
ready_one_dies(void **state)
{
	struct id dead;

	full();
	dead = one(MACHINE_READY);
	fake_kill(w.fake, dead.s);
	world_run(&w, 1);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	for (int i = 0; i < 2; i++) {
		world_reserve(&w, &alice, world_request(), &a);
		if (a.has_machine[0])
			assert_string_not_equal(a.machine[0].s, dead.s);
	}
	world_run(&w, 3000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_false(fake_exists(w.fake, dead.s));
	world_audit_clean(&w);
}

/* The moment between the choice and the answer of the store. */
static void
dies_while_claimed(void **state)
{
	struct id dead, id;

	full();
	w.bad.delay_ms = 5;
	dead = one(MACHINE_READY);
	world_ask_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 1);
	fake_kill(w.fake, dead.s); /* seen before the claim is durable */
	world_run(&w, 2);
	assert_false(a.done);
	world_await(&w, &a);
	id = a.r[0].id;
	world_check(&w);
	world_get(&w, &alice, id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_not_equal(a.machine[0].s, dead.s);
	world_check(&w);
	world_cancel(&w, &alice, id.s, &a);
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

/* As before, and the end of the dead one fails for so long that its reservation is gone first. */
static void
dies_while_claimed_and_lingers(void **state)
{
	struct id dead;

	full();
	w.bad.delay_ms = 5;
	dead = one(MACHINE_READY);
	world_ask_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 1);
	fake_kill(w.fake, dead.s);
	fake_fail_next(w.fake, FAKE_TERMINATE, ERR_UNAVAILABLE, "busy");
	world_await(&w, &a);
	world_run(&w, 50); /* refused: tried again in a second */
	world_cancel(&w, &alice, a.r[0].id.s, &a);
	assert_true(fake_exists(w.fake, dead.s));
	world_check(&w);
	for (int i = 0; i < 120; i++) {
		world_run(&w, 1000);
		world_check(&w);
	}
	assert_false(fake_exists(w.fake, dead.s));
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

static void
used_one_dies(void **state)
{
	struct id id, m;

	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	m = a.machine[0];
	fake_sessions(w.fake, m.s, 1);
	world_run(&w, 60000);
	fake_kill(w.fake, m.s);
	world_run(&w, 1);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_string_equal(a.r[0].error, "the machine ended by itself: died");
	world_run(&w, 3000);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

/* Nobody has been in it: another one takes its place, first in line, and the deadline stays. */
static void
unused_one_dies(void **state)
{
	struct id id, m;
	int64_t expires;

	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	m = a.machine[0];
	expires = a.r[0].expires_at;
	world_run(&w, 100);
	fake_kill(w.fake, m.s);
	world_run(&w, 10);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_not_equal(a.machine[0].s, m.s);
	assert_int_equal(a.r[0].expires_at, expires);
	assert_int_equal(a.n_certificates[0], 1);
	world_run(&w, 3000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(world_pool(&w, "default").claimed, 1);
	world_same_after_restart(&w);
	world_run(&w, 1000);
	world_audit_clean(&w);
}

static void
first_contact_fails(void **state)
{
	struct id id, m;

	full();
	fake_fail_next(w.fake, FAKE_CONTACT, ERR_UNAVAILABLE, "no SSH server answers");
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	m = a.machine[0];
	world_run(&w, 240);
	world_get(&w, &alice, id.s, 0, &a);
	assert_string_equal(a.machine[0].s, m.s);
	world_run(&w, 20);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_not_equal(a.machine[0].s, m.s);
	world_run(&w, 5000);
	assert_false(fake_exists(w.fake, m.s));
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	world_audit_clean(&w);
}

/* Who is in it before we look has proved that it works. */
static void
a_session_is_contact(void **state)
{
	full();
	world_reserve(&w, &alice, world_request(), &a);
	fake_sessions(w.fake, a.machine[0].s, 1);
	world_run(&w, 1000);
	assert_int_equal(fake_calls(w.fake, FAKE_CONTACT), 0);
}

static void
contact_never_works(void **state)
{
	struct id id;

	w.options.fail_contact = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 30000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_non_null(strstr(a.r[0].error, "no ssh at first contact"));
	assert_int_equal(
	    fake_calls(w.fake, FAKE_CONTACT), 4); /* the first one and three swaps */
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
}

/* The swapped one stays before those who came after it. */
static void
swapped_in_a_full_pool(void **state)
{
	struct answer b[5] = {0};
	struct id first;

	w.pools[0].running = w.pools[0].max = 2;
	full();
	fake_fail_next(w.fake, FAKE_CONTACT, ERR_UNAVAILABLE, "no SSH server answers");
	for (int i = 0; i < 4; i++)
		world_reserve(&w, &alice, world_request(), &b[i]);
	first = b[0].r[0].id;
	assert_int_equal(b[2].r[0].state, RESERVATION_QUEUED);
	world_run(&w, 2000);
	world_check(&w);
	assert_int_equal(world_state(&w, &alice, first), RESERVATION_ACTIVE);
	assert_int_equal(world_state(&w, &alice, b[2].r[0].id), RESERVATION_QUEUED);
	for (int i = 0; i < 5; i++)
		answer_fini(&b[i]);
}

/* A launch whose reply is lost has made a machine that nobody counts: it is ended at once. */
static void
lost_launch_leaves_nothing(void **state)
{
	w.pools[0].running = 1;
	w.options.lose_reply = 1;
	world_start(&w);
	for (int i = 0; i < 10 && !fake_count(w.fake); i++)
		world_run(&w, 1);
	w.options.lose_reply = 0;
	fake_set_options(w.fake, &w.options);
	world_run(&w, 300);
	assert_int_equal(world_pool(&w, "default").launching, 0);
	assert_int_equal(fake_count(w.fake), 0);
	world_run(&w, 3000);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	world_audit_clean(&w);
}

/* It is gone, and nobody said so: asked again after a minute. */
static void
gone_without_a_word(void **state)
{
	struct id m;
	int64_t before;

	full();
	world_reserve(&w, &alice, world_request(), &a);
	m = a.machine[0];
	before = clock_now_ms(w.clock);
	world_ask_cancel(&w, &alice, a.r[0].id.s, true, &a);
	world_run(&w, 50);
	fake_remove(w.fake, m.s);
	world_await(&w, &a);
	assert_in_range(clock_now_ms(w.clock) - before, 60000, 62000);
	world_check(&w);
	world_audit_clean(&w);
}

/* Replies are lost now and then: nothing leaks, and the pool works. */
static void
lost_replies(void **state)
{
	struct answer b = {0};

	w.options.lose_reply = 0.3;
	w.pools[0].max = 8;
	full();
	for (int i = 0; i < 40; i++) {
		world_reserve(&w, &alice, world_request(), &a);
		world_run(&w, 4000);
		world_check(&w);
		world_ask_cancel(&w, &alice, a.r[0].id.s, i % 2, &b);
		world_await(&w, &b);
		world_run(&w, 700 * (i % 5));
	}
	w.options.lose_reply = 0;
	fake_set_options(w.fake, &w.options);
	world_run(&w, 700000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(fake_count(w.fake), 2);
	world_audit_clean(&w);
	answer_fini(&b);
}

/* A launching one dies: its reservation gets another, the pool counts a failure. */
static void
launching_one_dies(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 500);
	fake_kill(w.fake, one(MACHINE_LAUNCHING).s);
	world_run(&w, 10);
	world_check(&w);
	assert_true(world_pool(&w, "default").backoff_until_at > 0);
	world_get(&w, &alice, id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_in_range(a.r[0].ready_at - a.r[0].created_at, 2500, 2520);
	world_audit_clean(&w);
}

/* A machine that ends by its own lease, with nobody asking for it. */
static void
spares_die_all_day(void **state)
{
	w.options.die_after_ms = 600000;
	full();
	world_run(&w, 24 * 3600000);
	assert_in_range(fake_calls(w.fake, FAKE_LAUNCH), 280, 290);
	assert_true(fake_count(w.fake) <= 4);
	world_check(&w);
	world_audit_clean(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(ready_one_dies),
	    TEST(dies_while_claimed),
	    TEST(dies_while_claimed_and_lingers),
	    TEST(used_one_dies),
	    TEST(unused_one_dies),
	    TEST(first_contact_fails),
	    TEST(a_session_is_contact),
	    TEST(contact_never_works),
	    TEST(swapped_in_a_full_pool),
	    TEST(lost_launch_leaves_nothing),
	    TEST(gone_without_a_word),
	    TEST(lost_replies),
	    TEST(launching_one_dies),
	    TEST(spares_die_all_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
