/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: what fails is tried again at growing distances, says why, spends nothing meanwhile, and recovers. */
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
backs_off_and_recovers(void **state)
{
	int launches[7], n = 0;

	w.options.fail_launch = 1;
	w.options.usd_per_hour = 1;
	world_start(&w);
	for (int64_t at = 900; n < 7;
	     at *= 2) { /* just before each next attempt: 1 s, 2 s, 4 s, ... */
		world_run(&w, at - 100);
		launches[n++] = fake_calls(w.fake, FAKE_LAUNCH);
		world_run(&w, 200);
		assert_int_equal(fake_count(w.fake), 0);
	}
	for (int i = 1; i < n; i++)
		assert_in_range(launches[i] - launches[i - 1], 1, 4);
	assert_int_equal(world_pool(&w, "default").usd_per_hour > 0, 0);
	assert_string_equal(world_pool(&w, "default").last_error,
	    "the machine could not be made (fake failure)");
	assert_true(world_pool(&w, "default").backoff_until_at > clock_wall_ms(w.clock));
	world_run(&w, 3600000); /* at most one attempt each five minutes */
	n = fake_calls(w.fake, FAKE_LAUNCH);
	world_run(&w, 3600000);
	assert_in_range(fake_calls(w.fake, FAKE_LAUNCH) - n, 12, 26);
	w.options.fail_launch = 0;
	fake_set_options(w.fake, &w.options);
	world_run(&w, 302000);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_null(world_pool(&w, "default").last_error);
	assert_int_equal(world_pool(&w, "default").backoff_until_at, 0);
	world_audit_clean(&w);
}

static void
three_launches_fail(void **state)
{
	struct id id;
	struct machine m;

	w.pools[0].running = 0;
	w.options.fail_launch = 1;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	world_run(&w, 2000);
	world_get(&w, &alice, id.s, 0, &a);
	assert_int_not_equal(a.r[0].state, RESERVATION_ENDED);
	world_get(&w, &alice, id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
	assert_int_equal(a.r[0].reason, END_FAILED);
	assert_string_equal(a.r[0].error, "3 launches failed, the last one: the machine "
					  "could not be made (fake failure)");
	assert_in_range(a.r[0].ended_at - a.r[0].created_at, 3000, 3100);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 3);
	assert_int_equal(fake_count(w.fake), 0);
	world_run(&w, 1000);
	assert_int_equal(world_machines(&w, "default", MACHINE_FAILED, &id, 1), 3);
	assert_true(world_machine(&w, id.s, &m));
	assert_string_equal(m.error, "the machine could not be made (fake failure)");
	machine_fini(&m);
}

static void
no_room_at_the_provider(void **state)
{
	w.options.capacity = 3;
	full();
	for (int i = 0; i < 2; i++)
		world_reserve(&w, &alice, world_request(), &a);
	world_run(&w, 20000);
	assert_int_equal(world_pool(&w, "default").claimed, 2);
	assert_int_equal(world_pool(&w, "default").ready, 1);
	assert_string_equal(
	    world_pool(&w, "default").last_error, "no room for more than 3 machines");
	world_cancel(&w, &alice, a.r[0].id.s, &a);
	world_run(&w, 120000);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	world_audit_clean(&w);
}

static void
image_cannot_be_had(void **state)
{
	static char name[80];

	memset(name, 'i', 70); /* longer than any image there can be */
	w.pools[0].image = name;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.r[0].state, RESERVATION_QUEUED);
	assert_string_equal(
	    world_pool(&w, "default").last_error, "too many images, or too long a name");
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
	world_run(&w, 600000);
	assert_int_equal(fake_calls(w.fake, FAKE_LAUNCH), 0);
	world_cancel(&w, &alice, a.r[0].id.s, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ENDED);
}

static void
image_is_being_built(void **state)
{
	struct reserve_request req = world_request();

	w.options.image_ms = 30000;
	world_start(&w);
	world_run(&w, 5000);
	world_reserve(&w, &alice, req, &a);
	assert_int_equal(a.r[0].state, RESERVATION_QUEUED);
	req.no_wait = true;
	world_reserve(&w, &bob, req, &a);
	assert_int_equal(a.err.code, ERR_NO_CAPACITY);
	assert_non_null(strstr(a.err.msg, "its image is being built"));
	world_run(&w, 27000);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(world_pool(&w, "default").claimed, 1);
}

/* Commands run, one after the other, before a machine counts as ready. */
static void
setup_comes_before_ready(void **state)
{
	static char one[] = "echo one", two[] = "sleep 2";

	w.pools[0].setup[0] = one;
	w.pools[0].setup[1] = two;
	w.pools[0].n_setup = 2;
	world_start(&w);
	world_run(&w, 1000 + 100 + 2100 - 20);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	world_run(&w, 40);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_int_equal(fake_calls(w.fake, FAKE_SETUP), 4);
}

static void
setup_fails(void **state)
{
	static char bad[] = "exit 7";
	struct id id[8];
	struct machine m;

	w.pools[0].setup[0] = bad;
	w.pools[0].n_setup = 1;
	world_start(&w);
	world_run(&w, 1500);
	assert_int_equal(world_pool(&w, "default").ready, 0);
	assert_int_equal(world_machines(&w, "default", MACHINE_FAILED, id, 8), 2);
	assert_true(world_machine(&w, id[0].s, &m));
	assert_string_equal(m.error, "setup command 1 exited 7: exit 7");
	machine_fini(&m);
	assert_true(world_pool(&w, "default").backoff_until_at > 0);
	assert_string_equal(
	    world_pool(&w, "default").last_error, "setup command 1 exited 7: exit 7");
	world_run(&w, 3600000);
	assert_true(fake_calls(w.fake, FAKE_LAUNCH) < 60);
	assert_true(fake_count(w.fake) <= 2);
	assert_int_equal(
	    world_machines(&w, "default", MACHINE_FAILED, id, 8), 5); /* the last few */
	world_check(&w);
	world_audit_clean(&w);
}

/* What it printed is kept, and shown, also when the machine is out of memory. */
static void
setup_output_is_kept(void **state)
{
	static char good[] = "echo fine";
	struct id id;
	struct machine m;

	w.pools[0].running = 1;
	w.pools[0].setup[0] = good;
	w.pools[0].n_setup = 1;
	w.options.fail_setup = 1;
	world_start(&w);
	world_run(&w, 1500);
	assert_int_equal(world_machines(&w, "default", MACHINE_FAILED, &id, 1), 1);
	assert_true(world_machine(&w, id.s, &m));
	assert_string_equal(m.output, "fake failure\n");
	machine_fini(&m);
	world_kill(&w);
	world_start(&w);
	world_run(&w, 100);
	assert_true(world_machine(&w, id.s, &m));
	assert_int_equal(m.state, MACHINE_FAILED);
	assert_string_equal(m.output, "fake failure\n");
	machine_fini(&m);
}

static void
setup_takes_too_long(void **state)
{
	static char slow[] = "sleep 100";
	struct id id[2];
	struct machine m;

	w.pools[0].setup[0] = slow;
	w.pools[0].n_setup = 1;
	w.pools[0].setup_timeout_ms = 10000;
	world_start(&w);
	world_run(&w, 10950);
	assert_int_equal(world_pool(&w, "default").launching, 2);
	world_run(&w, 100);
	assert_int_equal(world_machines(&w, "default", MACHINE_FAILED, id, 2), 2);
	assert_true(world_machine(&w, id[0].s, &m));
	assert_string_equal(
	    m.error, "setup command 1: the command took too long and was ended");
	machine_fini(&m);
}

/* The machine never comes up. */
static void
never_ready(void **state)
{
	struct id id[2];

	w.options.launch_ms = 3600000;
	w.pools[0].ready_timeout_ms = 20000;
	world_start(&w);
	world_run(&w, 19000);
	assert_int_equal(world_pool(&w, "default").launching, 2);
	world_run(&w, 2000);
	assert_int_equal(world_machines(&w, "default", MACHINE_FAILED, id, 2), 2);
	assert_non_null(
	    strstr(world_pool(&w, "default").last_error, "no ssh within 20 s"));
	world_run(&w, 1000);
	world_audit_clean(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(backs_off_and_recovers),
	    TEST(three_launches_fail),
	    TEST(no_room_at_the_provider),
	    TEST(image_cannot_be_had),
	    TEST(image_is_being_built),
	    TEST(setup_comes_before_ready),
	    TEST(setup_fails),
	    TEST(setup_output_is_kept),
	    TEST(setup_takes_too_long),
	    TEST(never_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
