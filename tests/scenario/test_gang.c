/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: `--count N`: one name and one cancel for all, and every machine's hosts file has all of them, whatever happens. */
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
	w.pools[0].running = 3;
	w.pools[0].max = 8;
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

static struct reserve_request
request(const char *name, int count)
{
	struct reserve_request req = world_request();

	req.name = name;
	req.count = count;
	return req;
}

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

struct ended {
	bool done;
	struct err err;
	int n;
	char names[16][64];
};

static void
gang_ended(void *arg, const struct reservation_view *v, int n, const struct err *err)
{
	struct ended *e = arg;

	assert_false(e->done);
	e->done = true;
	e->err = *err;
	e->n = n;
	for (int i = 0; i < n && i < 16; i++) {
		assert_int_equal(v[i].r->state, RESERVATION_ENDED);
		(void)snprintf(e->names[i], sizeof(e->names[i]), "%s", v[i].r->name);
	}
}

static struct ended
cancel(const struct core_caller *who, const char *name)
{
	struct ended e = {0};

	core_cancel_gang(w.core, who, name, true, gang_ended, &e);
	assert_false(e.done);
	for (int i = 0; !e.done && i < 60000; i++)
		world_run(&w, 1);
	assert_true(e.done);
	return e;
}

/* Whether the last command in r's machine told it the names and addresses of these, and no other. */
static bool
knows(struct id r, const struct answer *of, int from, int to)
{
	const char *text, *gang;
	int lines = 0;

	world_get(&w, &root, r.s, 0, &a);
	text = a.has_machine[0] ? fake_last_setup(w.fake, a.machine[0].s) : NULL;
	if (!text || !strstr(text, "/etc/hosts"))
		return false;
	gang = fake_gang(w.fake, a.machine[0].s);
	if (!gang || strcmp(gang, of->r[0].id.s) != 0)
		return false;
	for (int i = from; i < to; i++) {
		struct machine m = {0};
		char line[128];

		world_get(&w, &root, of->r[i].id.s, 0, &a);
		assert_true(world_machine(&w, a.machine[0].s, &m));
		(void)snprintf(line, sizeof(line), "\n%s %s\n", m.address, of->r[i].name);
		machine_fini(&m);
		if (!strstr(text, line))
			return false;
	}
	for (const char *at = text; (at = strstr(at, " box-")); at++)
		lines++;
	return lines == to - from;
}

static void
one_cancel_for_all(void **state)
{
	struct answer b = {0};
	struct ended e;

	full();
	world_reserve(&w, &alice, request("box", 3), &a);
	assert_int_equal(a.n, 3);
	assert_true(core_is_gang(w.core, &alice, "box"));
	assert_false(core_is_gang(w.core, &bob, "box"));
	assert_false(core_is_gang(w.core, &alice, "box-1"));
	world_run(&w, 3000);
	world_reserve(&w, &bob, request("box", 2), &b); /* his own */
	e = cancel(&root, "box");
	assert_int_equal(e.err.code, ERR_INVALID); /* whose? */
	e = cancel(&alice, "box");
	assert_int_equal(e.err.code, ERR_NONE);
	assert_int_equal(e.n, 3);
	assert_string_equal(e.names[2], "box-3");
	world_run(&w, 2000);
	assert_int_equal(world_pool(&w, "default").claimed, 2);
	e = cancel(&root, "box");
	assert_int_equal(e.n, 2);
	for (int i = 0; i < 2; i++) { /* what ended is found, also by the next daemon */
		e = cancel(&alice, "box");
		assert_int_equal(e.err.code, ERR_NONE);
		assert_int_equal(e.n, 3);
		world_kill(&w);
		world_start(&w);
	}
	answer_fini(&b);
	world_reserve(&w, &alice, request("tin", 2), &b);
	(void)cancel(&alice, "tin");
	world_run(&w, 5000);
	e = cancel(&bob, "tin"); /* another's, and no word of it */
	assert_int_equal(e.err.code, ERR_NOT_FOUND);
	e = cancel(&root, "tin");
	assert_int_equal(e.n, 2);
	e = cancel(&alice, "bo");
	assert_int_equal(e.err.code, ERR_NOT_FOUND);
	world_audit_clean(&w);
	answer_fini(&b);
}

/* One that waits is cancelled with the others, and a made-up name serves as well. */
static void
cancelled_while_some_wait(void **state)
{
	struct ended e;
	char name[64];

	full();
	world_reserve(&w, &alice, request(NULL, 6), &a);
	assert_int_equal(a.r[5].state, RESERVATION_PREPARING);
	(void)snprintf(name, sizeof(name), "%s", a.r[5].name);
	assert_string_equal(strrchr(name, '-'), "-6");
	*strrchr(name, '-') = '\0';
	e = cancel(&alice, name);
	assert_int_equal(e.n, 6);
	world_run(&w, 5000);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	assert_int_equal(world_pool(&w, "default").queued, 0);
	assert_int_equal(fake_count(w.fake), 3);
	world_audit_clean(&w);
}

static void
one_name_for_one_thing(void **state)
{
	char name[64];

	full();
	world_reserve(&w, &alice, request("box", 2), &a);
	world_reserve(&w, &alice, request("box", 1), &a);
	assert_int_equal(a.err.code, ERR_CONFLICT);
	world_reserve(&w, &alice, request("box-2", 1), &a);
	assert_int_equal(a.err.code, ERR_CONFLICT);
	world_reserve(&w, &alice, request("box", 3), &a);
	assert_int_equal(a.err.code, ERR_CONFLICT);
	(void)cancel(&alice, "box");
	world_reserve(&w, &alice, request("box", 1), &a);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_false(core_is_gang(w.core, &alice, "box"));
	world_reserve(&w, &alice, request("box", 2), &a);
	assert_int_equal(a.err.code, ERR_CONFLICT);
	memset(name, 'x', sizeof(name));
	name[59] = '\0';
	world_reserve(&w, &alice, request(name, 2), &a); /* no room for the number */
	assert_int_equal(a.err.code, ERR_INVALID);
	name[58] = '\0';
	world_reserve(&w, &alice, request(name, 2), &a);
	assert_int_equal(a.err.code, ERR_NONE);
}

static void
hosts_files_have_all(void **state)
{
	struct answer b = {0};
	int64_t asked;
	int told;

	w.options.setup_ms = 700;
	w.pools[0].running = 2;
	full();
	world_run(&w, 3000);
	asked = clock_now_ms(w.clock);
	world_reserve(&w, &alice, request("box", 3), &b);
	assert_true(b.at_ms - asked < 50); /* the reply waits for none of it */
	told = fake_calls(w.fake, FAKE_SETUP);
	world_run(&w, 900);
	assert_int_equal(fake_calls(w.fake, FAKE_SETUP), told); /* one is missing yet */
	world_run(&w, 5000);
	for (int i = 0; i < 3; i++)
		assert_true(knows(b.r[i].id, &b, 0, 3));
	world_cancel(&w, &alice, "box-1", &a); /* it leaves: the others forget it */
	world_run(&w, 5000);
	assert_true(knows(b.r[1].id, &b, 1, 3));
	assert_true(knows(b.r[2].id, &b, 1, 3));
	assert_int_equal(world_state(&w, &alice, b.r[1].id), RESERVATION_ACTIVE);
	assert_int_equal(cancel(&alice, "box").n, 2);
	answer_fini(&b);
}

/* One machine fails at first contact: all are told of the one that takes its place. */
static void
told_again_after_a_swap(void **state)
{
	struct answer b = {0};
	int told;

	full();
	fake_fail_next(w.fake, FAKE_CONTACT, ERR_UNAVAILABLE, "no banner");
	told = fake_calls(w.fake, FAKE_SETUP);
	world_reserve(&w, &alice, request("box", 2), &b);
	world_run(&w, 8000);
	assert_true(fake_calls(w.fake, FAKE_SETUP) >= told + 3);
	for (int i = 0; i < 2; i++)
		assert_true(knows(b.r[i].id, &b, 0, 2));
	answer_fini(&b);
}

static void
told_again_after_a_failure(void **state)
{
	struct answer b = {0};

	full();
	for (int i = 0; i < 3; i++)
		fake_fail_next(
		    w.fake, i ? FAKE_SETUP : FAKE_JOIN, ERR_UNAVAILABLE, "no answer");
	world_reserve(&w, &alice, request("box", 2), &b);
	world_run(&w, 20000);
	for (int i = 0; i < 2; i++)
		assert_true(knows(b.r[i].id, &b, 0, 2));
	answer_fini(&b);
}

/* It is given up in the end, and disturbs nobody. */
static void
never_told(void **state)
{
	int told;

	full();
	w.options.fail_setup = 1;
	fake_set_options(w.fake, &w.options);
	told = fake_calls(w.fake, FAKE_SETUP);
	w.pools[0].n_setup = 0;
	world_reserve(&w, &alice, request("box", 2), &a);
	world_run(&w, 600000);
	assert_int_equal(fake_calls(w.fake, FAKE_SETUP), told + 2 * 5);
	assert_int_equal(world_state(&w, &alice, a.r[0].id), RESERVATION_ACTIVE);
	world_audit_clean(&w);
}

/* Killed at any moment: the next daemon makes up for it, and one cancel still ends all. */
static void
killed_at_any_moment(void **state)
{
	for (int64_t ms = 1; ms < 2500; ms += 83) {
		struct answer b = {0};
		int n;

		w.pools[0].running = 2;
		full();
		w.bad.delay_ms = ms % 2 ? 60 : 0;
		world_ask_reserve(&w, &alice, request("box", 3), &b);
		world_run(&w, ms);
		if (ms %
		    2) { /* stopped while a step's intent is on its way to the store */
			world_stop(&w);
		} else {
			fake_mute(w.fake);
			world_kill(&w);
		}
		w.bad = (struct bad){0};
		world_start(&w);
		world_run(&w, 8000);
		n = b.done && b.err.code == ERR_NONE ? 3 : 0;
		for (int i = 0; i < n; i++)
			assert_true(knows(b.r[i].id, &b, 0, 3));
		if (n)
			assert_int_equal(cancel(&alice, "box").n, 3);
		world_run(&w, 2000);
		world_check(&w);
		world_audit_clean(&w);
		answer_fini(&b);
		teardown(NULL);
		setup(NULL);
	}
}

/* More lines than one command takes: they come in parts, the last of which has the end. */
static void
a_long_file_comes_in_parts(void **state)
{
	char name[59];
	struct answer b = {0};
	int told;

	w.pools[0].running = 60;
	w.pools[0].max = 64;
	full();
	memset(name, 'y', sizeof(name));
	name[58] = '\0';
	told = fake_calls(w.fake, FAKE_SETUP);
	world_reserve(&w, &alice, request(name, 60), &b);
	world_run(&w, 5000);
	assert_int_equal(fake_calls(w.fake, FAKE_SETUP), told + 60 * 2);
	for (int i = 0; i < 60; i += 59) {
		const char *last;

		world_get(&w, &alice, b.r[i].id.s, 0, &a);
		last = fake_last_setup(w.fake, a.machine[0].s);
		assert_non_null(strstr(last, b.r[59].name));
		assert_null(strstr(last, b.r[0].name));
		assert_true(strlen(last) < 4000);
		assert_non_null(strstr(last, "cat /etc/hosts.hearth >/etc/hosts"));
	}
	answer_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(one_cancel_for_all),
	    TEST(cancelled_while_some_wait),
	    TEST(one_name_for_one_thing),
	    TEST(hosts_files_have_all),
	    TEST(told_again_after_a_swap),
	    TEST(told_again_after_a_failure),
	    TEST(never_told),
	    TEST(killed_at_any_moment),
	    TEST(a_long_file_comes_in_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
