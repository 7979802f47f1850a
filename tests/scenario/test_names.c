/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: names, prefixes, who may see what, and request ids: the same answer, whatever became of it. */
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
named(const struct core_caller *who, const char *name)
{
	struct reserve_request req = world_request();

	req.name = name;
	world_reserve(&w, who, req, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	return a.r[0].id;
}

static void
names_are_unique_while_they_live(void **state)
{
	struct reserve_request req = world_request();
	struct id first, second, bobs;

	full();
	first = named(&alice, "box");
	req.name = "box";
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_CONFLICT);
	bobs = named(&bob, "box"); /* another user's is another name */
	world_get(&w, &alice, "box", 0, &a);
	assert_string_equal(a.r[0].id.s, first.s);
	world_get(&w, &bob, "box", 0, &a);
	assert_string_equal(a.r[0].id.s, bobs.s);
	world_get(&w, &root, "box", 0, &a);
	assert_int_equal(a.err.code, ERR_INVALID); /* ambiguous */
	world_cancel(&w, &alice, "box", &a);
	world_get(&w, &alice, "box", 0, &a); /* the ended one, as there is no other */
	assert_string_equal(a.r[0].id.s, first.s);
	second = named(&alice, "box");
	world_get(&w, &alice, "box", 0, &a);
	assert_string_equal(a.r[0].id.s, second.s);
	world_get(&w, &alice, first.s, 0, &a); /* the id still names the first */
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	req.name = "../x";
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.err.code, ERR_INVALID);
}

/* However many others had one of that name since. */
static void
own_name_is_found_among_many(void **state)
{
	struct id mine, bobs;

	full();
	mine = named(&alice, "box");
	world_cancel(&w, &alice, "box", &a);
	for (int i = 0; i < 60; i++) {
		bobs = named(&bob, "box");
		world_cancel(&w, &bob, "box", &a);
		world_run(&w, 1500);
	}
	world_get(&w, &alice, "box", 0, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_string_equal(a.r[0].id.s, mine.s);
	world_get(&w, &root, "box", 0, &a); /* operators: whoever's, the newest */
	assert_string_equal(a.r[0].id.s, bobs.s);
}

/* The name is free as soon as the cancel is answered, long before the machine is gone. */
static void
a_name_is_free_at_once(void **state)
{
	struct answer b = {0};

	w.options.terminate_ms = 60000;
	full();
	named(&alice, "box");
	world_ask_cancel(&w, &alice, "box", false, &b);
	world_await(&w, &b);
	named(&alice, "box");
	world_get(&w, &alice, "box", 0, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	answer_fini(&b);
}

/* Two of the living begin alike. */
static void
ambiguous_prefix(void **state)
{
	char seen[128] = {0}, prefix[4] = "r-";

	full();
	for (;;) {
		world_reserve(&w, &alice, world_request(), &a);
		prefix[2] = a.r[0].id.s[2];
		if (seen[(int)prefix[2]]++)
			break;
	}
	world_get(&w, &alice, prefix, 0, &a);
	assert_int_equal(a.err.code, ERR_INVALID);
	assert_non_null(strstr(a.err.msg, "is ambiguous"));
}

static void
prefixes(void **state)
{
	struct id id;
	char prefix[8];

	full();
	id = named(&alice, "one");
	named(&alice, "two");
	(void)snprintf(prefix, sizeof(prefix), "%.6s", id.s);
	world_get(&w, &alice, prefix, 0, &a);
	assert_string_equal(a.r[0].id.s, id.s);
	named(&alice, prefix); /* a name beats a prefix */
	world_get(&w, &alice, prefix, 0, &a);
	assert_string_equal(a.r[0].name, prefix);
	world_get(&w, &alice, "r-", 0, &a);
	assert_int_equal(a.err.code, ERR_INVALID);
	world_get(&w, &alice, "r-nonesuch", 0, &a);
	assert_int_equal(a.err.code, ERR_NOT_FOUND);
	world_get(&w, &alice, "", 0, &a);
	assert_int_not_equal(a.err.code, ERR_NONE);
}

static void
others_are_not_shown(void **state)
{
	struct id id;

	full();
	id = named(&alice, "mine");
	for (int ended = 0; ended < 2; ended++) {
		world_get(&w, &bob, id.s, 0, &a);
		assert_int_equal(a.err.code, ERR_NOT_PERMITTED);
		world_get(&w, &bob, "mine", 0, &a);
		assert_true(
		    a.err.code == ERR_NOT_PERMITTED || a.err.code == ERR_NOT_FOUND);
		world_ask_cancel(&w, &bob, id.s, true, &a);
		world_await(&w, &a);
		assert_int_equal(a.err.code, ERR_NOT_PERMITTED);
		world_get(&w, &root, id.s, 0, &a);
		assert_int_equal(a.err.code, ERR_NONE);
		assert_int_equal(
		    a.r[0].state, ended ? RESERVATION_ENDED : RESERVATION_ACTIVE);
		if (!ended)
			world_cancel(&w, &root, "mine", &a); /* operators may */
	}
}

static struct reserve_request
again(const char *request_id, int count)
{
	struct reserve_request req = world_request();

	req.request_id = request_id;
	req.count = count;
	return req;
}

static void
same_request_same_answer(void **state)
{
	struct id id;

	full();
	world_reserve(&w, &alice, again("req-1", 1), &a);
	id = a.r[0].id;
	assert_false(a.existed);
	for (int i = 0; i < 4; i++) {
		if (i == 1)
			world_cancel(&w, &alice, id.s, &a);
		if (i == 2)
			world_run(&w, 10000);
		if (i == 3) {
			world_kill(&w);
			world_start(&w);
		}
		world_reserve(&w, &alice, again("req-1", 1), &a);
		assert_int_equal(a.err.code, ERR_NONE);
		assert_true(a.existed);
		assert_int_equal(a.n, 1);
		assert_string_equal(a.r[0].id.s, id.s);
		assert_int_equal(
		    a.r[0].state, i ? RESERVATION_ENDED : RESERVATION_ACTIVE);
		assert_int_equal(a.n_certificates[0], i ? 0 : 1);
	}
	world_reserve(&w, &bob, again("req-1", 1), &a); /* another user's */
	assert_false(a.existed);
	assert_string_not_equal(a.r[0].id.s, id.s);
}

/* Three at the same moment: one reservation, and nobody is answered before it is durable. */
static void
same_request_at_once(void **state)
{
	struct answer b[3] = {0};

	full();
	for (int i = 0; i < 3; i++)
		world_ask_reserve(&w, &alice, again("req-1", 1), &b[i]);
	for (int i = 0; i < 3; i++) {
		world_await(&w, &b[i]);
		assert_int_equal(b[i].err.code, ERR_NONE);
		assert_int_equal(b[i].n, 1);
		assert_string_equal(b[i].r[0].id.s, b[0].r[0].id.s);
		assert_int_equal(b[i].r[0].state, RESERVATION_ACTIVE);
		assert_int_equal(b[i].n_certificates[0], 1);
	}
	assert_int_equal(b[0].existed + b[1].existed + b[2].existed, 2);
	world_run(&w, 3000);
	assert_int_equal(world_pool(&w, "default").claimed, 1);
	for (int i = 0; i < 3; i++)
		answer_fini(&b[i]);
}

/* A group is answered whole, also when some of it has ended and after a restart. */
static void
same_request_of_many(void **state)
{
	struct id id[3];

	full();
	world_reserve(&w, &alice, again("three", 3), &a);
	assert_int_equal(a.n, 3);
	for (int i = 0; i < 3; i++)
		id[i] = a.r[i].id;
	world_run(&w, 3000);
	for (int i = 0; i < 4; i++) {
		if (i == 1) {
			world_cancel(&w, &alice, id[0].s, &a);
			world_run(&w, 3000);
		}
		if (i == 2) {
			world_kill(&w);
			world_start(&w);
			world_run(&w, 3000);
		}
		if (i == 3)
			for (int j = 1; j < 3; j++)
				world_cancel(&w, &alice, id[j].s, &a);
		world_reserve(&w, &alice, again("three", 3), &a);
		assert_int_equal(a.err.code, ERR_NONE);
		assert_true(a.existed);
		assert_int_equal(a.n, 3);
		for (int j = 0; j < 3; j++) {
			bool ended = i == 3 || (i >= 1 && j == 0);

			assert_string_equal(a.r[j].id.s, id[j].s);
			assert_int_equal(
			    a.r[j].state, ended ? RESERVATION_ENDED : RESERVATION_ACTIVE);
			assert_int_equal(a.n_certificates[j], !ended);
		}
	}
}

static void
listed(void *arg, const struct reservation_view *v, int n, const struct err *err)
{
	++*(int *)arg;
}

static void
machines(void *arg, const struct machine_view *v, int n, const struct err *err)
{
	++*(int *)arg;
}

/* Whoever asks while the daemon stops gets an answer, and nothing is left behind. */
static void
asked_while_stopping(void **state)
{
	int lists = 0;
	struct answer b[6] = {0};

	full();
	named(&alice, "box");
	world_ask_reserve(&w, &alice, world_request(), &b[0]);
	world_ask_reserve(&w, &alice, again("req-9", 1), &b[1]);
	world_ask_cancel(&w, &alice, "box", true, &b[2]);
	world_ask_extend(&w, &alice, "box", 60000, &b[3]);
	world_ask_cancel(&w, &alice, "nonesuch", true, &b[4]);
	core_list(w.core, &alice, true, listed, &lists);
	core_list(w.core, &alice, false, listed, &lists);
	core_machines(w.core, &alice, machines, &lists);
	core_machine_get(w.core, &root, "m-nonesuch", machines, &lists);
	world_stop(&w);
	for (int i = 0; i < 5; i++)
		assert_true(b[i].done);
	assert_int_equal(lists, 4);
	world_start(&w);
	world_run(&w, 90000);
	world_audit_clean(&w);
	for (int i = 0; i < 6; i++)
		answer_fini(&b[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(names_are_unique_while_they_live),
	    TEST(own_name_is_found_among_many),
	    TEST(a_name_is_free_at_once),
	    TEST(ambiguous_prefix),
	    TEST(prefixes),
	    TEST(others_are_not_shown),
	    TEST(same_request_same_answer),
	    TEST(same_request_at_once),
	    TEST(same_request_of_many),
	    TEST(asked_while_stopping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
