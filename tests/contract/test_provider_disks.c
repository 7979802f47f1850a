/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The contract of disks, for every provider that has any. What is in them is looked at where commands can be run in machines and
 * write to disks (`holds_data` of the kind); everywhere else it is the states and the rules.
 */

#include "test_provider_disks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "provider_fixture.h"

#define SIZE (INT64_C(64) << 20)

static struct provider_fixture fx;

static int
setup(void **state)
{
	return provider_fixture_open(&fx);
}

static int
teardown(void **state)
{
	provider_fixture_close(&fx);
	return 0;
}

static void
expect_ok(struct answer a)
{
	if (a.err.code != ERR_NONE)
		fail_msg("%s", a.err.msg);
}

static struct id
ready_machine(void)
{
	struct id token = id_new('m');

	expect_ok(provider_fixture_launch(&fx, token.s, 600));
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	return token;
}

static struct id
ready_disk(void)
{
	struct id token = id_new('d');

	expect_ok(provider_fixture_disk_make(&fx, token.s, SIZE, NULL));
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	return token;
}

static const char *
ref_of(struct id token)
{
	return provider_fixture_seen(&fx, token.s)->ref;
}

static void
remove_disk(struct id token)
{
	expect_ok(provider_fixture_disk_remove(&fx, token.s));
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
}

static void
end_machine(struct id token)
{
	expect_ok(provider_fixture_terminate(&fx, token.s));
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
}

static bool
can_attach(void)
{
	return fx.provider->ops->disk_attach != NULL && !fx.kind->no_devices;
}

/* Runs it as root in the machine; the output is what is expected. */
static void
expect_inside(struct id machine, const char *command, const char *output)
{
	struct answer a;

	if (!fx.kind->holds_data)
		return;
	a = provider_fixture_setup(&fx, machine.s, command, 20000);
	expect_ok(a);
	if (a.exit_code != 0)
		fail_msg("%s: %s", command, a.output);
	assert_string_equal(a.output, output);
}

/* ---- made and removed ---- */

static void
test_make(void **state)
{
	struct id token = id_new('d');
	struct answer a = provider_fixture_disk_make(&fx, token.s, SIZE, NULL), again;

	expect_ok(a);
	assert_true(a.ref[0] != '\0');
	assert_string_equal(
	    provider_fixture_await(&fx, token.s, SIGHTING_READY)->ref, a.ref);
	again = provider_fixture_disk_make(&fx, token.s, SIZE, NULL);
	expect_ok(again);
	assert_string_equal(a.ref, again.ref);
	assert_int_equal(provider_fixture_inventory(&fx), 1);
	assert_int_equal(provider_fixture_listed(&fx, token.s)->state, SIGHTING_READY);
	assert_string_equal(provider_fixture_listed(&fx, token.s)->ref, a.ref);
	remove_disk(token);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
	remove_disk(token); /* again is fine */
	remove_disk(id_new('d'));
}

/* Removed before its making is answered: nothing comes of it. */
static void
test_remove_while_making(void **state)
{
	struct id token = id_new('d');
	struct answer made = {0}, removed = {0};

	provider_fixture_start_disk_make(&fx, token.s, SIZE, NULL, &made);
	fx.provider->ops->disk_remove(
	    fx.provider, token.s, NULL, provider_fixture_on_done, &removed);
	provider_fixture_wait_answer(&fx, &made);
	provider_fixture_wait_answer(&fx, &removed);
	if (removed.err.code != ERR_NONE)
		fail_msg("%s", removed.err.msg);
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

static void
test_make_from_nothing(void **state)
{
	struct id token = id_new('d'), snapshot = id_new('s');
	struct answer a;

	if (fx.lax_disks)
		skip();
	a = provider_fixture_disk_make(&fx, token.s, SIZE, snapshot.s);
	assert_int_not_equal(a.err.code, ERR_NONE);
	a = provider_fixture_disk_snapshot(&fx, snapshot.s, token.s);
	assert_int_not_equal(a.err.code, ERR_NONE);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

/* A snapshot has what the disk had, and outlives it. */
static void
test_snapshot(void **state)
{
	struct id disk = ready_disk(), snapshot = id_new('s'), copy = id_new('d');
	struct answer a = provider_fixture_disk_snapshot(&fx, snapshot.s, ref_of(disk));

	expect_ok(a);
	provider_fixture_await(&fx, snapshot.s, SIGHTING_READY);
	assert_string_equal(ref_of(snapshot), a.ref);
	assert_int_equal(provider_fixture_inventory(&fx), 2);
	remove_disk(disk);
	expect_ok(provider_fixture_disk_make(&fx, copy.s, 2 * SIZE, ref_of(snapshot)));
	provider_fixture_await(&fx, copy.s, SIGHTING_READY);
	remove_disk(snapshot);
	assert_int_equal(provider_fixture_inventory(&fx), 1);
	assert_int_equal(provider_fixture_listed(&fx, copy.s)->state, SIGHTING_READY);
	remove_disk(copy);
}

/* ---- in machines ---- */

static void
test_attach(void **state)
{
	struct id disk, one, two;

	if (!can_attach() || fx.lax_disks)
		skip();
	disk = ready_disk();
	one = ready_machine();
	two = ready_machine();
	for (int i = 0; i < 2; i++) { /* the second time is no news */
		struct answer a =
		    provider_fixture_disk_attach(&fx, disk.s, one.s, "data");

		expect_ok(a);
		assert_string_equal(a.warning, "");
	}
	expect_inside(one,
	    "echo kept > /disk/data/file && sync /disk/data/file && stat -c %U "
	    "/disk/data",
	    "dev\n");
	assert_int_not_equal(
	    provider_fixture_disk_attach(&fx, disk.s, two.s, "data").err.code, ERR_NONE);
	expect_ok(
	    provider_fixture_disk_detach(&fx, disk.s, two.s, "data")); /* not there */
	expect_inside(one, "cat /disk/data/file", "kept\n");
	for (int i = 0; i < 2; i++)
		expect_ok(provider_fixture_disk_detach(&fx, disk.s, one.s, "data"));
	expect_inside(one, "test ! -e /disk/data/file", "");
	expect_ok(provider_fixture_disk_attach(&fx, disk.s, two.s, "other"));
	expect_inside(two, "cat /disk/other/file", "kept\n");
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, two.s, "other"));
	end_machine(one);
	end_machine(two);
	remove_disk(disk);
}

/* Whoever uses it, it is detached; and the machine goes on. */
static void
test_detach_in_use(void **state)
{
	struct id disk, machine;

	if (!can_attach())
		skip();
	disk = ready_disk();
	machine = ready_machine();
	expect_ok(provider_fixture_disk_attach(&fx, disk.s, machine.s, "data"));
	expect_inside(machine,
	    "cd /disk/data; echo kept > file; setsid sh -c 'exec 5>open; trap \"\" HUP "
	    "TERM; sleep 1000' "
	    ">/dev/null 2>&1 & sleep 0.5; echo on",
	    "on\n");
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	expect_ok(provider_fixture_disk_attach(&fx, disk.s, machine.s, "data"));
	expect_inside(machine, "cat /disk/data/file", "kept\n");
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	end_machine(machine);
	remove_disk(disk);
}

/* A machine's end lets go of its disk, which has all that was written. */
static void
test_outlives_machine(void **state)
{
	struct id disk, one, two;

	if (!can_attach())
		skip();
	disk = ready_disk();
	one = ready_machine();
	two = ready_machine();
	expect_ok(provider_fixture_disk_attach(&fx, disk.s, one.s, "data"));
	expect_inside(one, "echo kept > /disk/data/file && sync /disk/data/file", "");
	end_machine(one);
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, one.s, "data"));
	expect_ok(provider_fixture_disk_attach(&fx, disk.s, two.s, "data"));
	expect_inside(two, "cat /disk/data/file", "kept\n");
	end_machine(two);
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, two.s, "data"));
	remove_disk(disk);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

/* A copy of a disk in use has what was synced when it was asked for, and what is written later is not in it. */
static void
test_snapshot_in_use(void **state)
{
	struct id disk, machine, snapshot = id_new('s'), copy = id_new('d');

	if (!can_attach())
		skip();
	disk = ready_disk();
	machine = ready_machine();
	expect_ok(provider_fixture_disk_attach(&fx, disk.s, machine.s, "data"));
	expect_inside(machine, "echo then > /disk/data/file && sync /disk/data/file", "");
	expect_ok(provider_fixture_disk_snapshot(&fx, snapshot.s, ref_of(disk)));
	expect_inside(machine, "echo now > /disk/data/file && sync /disk/data/file", "");
	provider_fixture_await(&fx, snapshot.s, SIGHTING_READY);
	expect_ok(provider_fixture_disk_make(&fx, copy.s, SIZE, ref_of(snapshot)));
	provider_fixture_await(&fx, copy.s, SIGHTING_READY);
	expect_ok(provider_fixture_disk_attach(&fx, copy.s, machine.s, "copy"));
	expect_inside(machine, "cat /disk/copy/file /disk/data/file", "then\nnow\n");
	end_machine(machine);
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	expect_ok(provider_fixture_disk_detach(&fx, copy.s, machine.s, "copy"));
	remove_disk(disk);
	remove_disk(copy);
	remove_disk(snapshot);
}

static void
test_attach_nothing(void **state)
{
	struct id disk = id_new('d'), machine = id_new('m');

	if (!can_attach())
		skip();
	assert_int_not_equal(
	    provider_fixture_disk_attach(&fx, disk.s, machine.s, "data").err.code,
	    ERR_NONE);
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	disk = ready_disk();
	assert_int_not_equal(
	    provider_fixture_disk_attach(&fx, disk.s, machine.s, "data").err.code,
	    ERR_NONE);
	expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	remove_disk(disk);
}

/* ---- the provider goes ---- */

static void
test_restart(void **state)
{
	struct id disk = ready_disk(), machine = ready_machine();
	char ref[64];

	strcpy(ref, ref_of(disk));
	if (can_attach())
		expect_ok(provider_fixture_disk_attach(&fx, disk.s, machine.s, "data"));
	expect_inside(machine,
	    "test ! -d /disk/data || (echo kept > /disk/data/file && sync "
	    "/disk/data/file)",
	    "");
	provider_fixture_restart(&fx, 500);
	(void)provider_fixture_inventory(&fx);
	assert_int_equal(provider_fixture_listed(&fx, disk.s)->state, SIGHTING_READY);
	assert_string_equal(provider_fixture_listed(&fx, disk.s)->ref, ref);
	if (provider_fixture_listed(&fx, machine.s)->state != SIGHTING_READY)
		provider_fixture_await(&fx, machine.s, SIGHTING_READY);
	if (can_attach()) {
		expect_inside(machine, "cat /disk/data/file", "kept\n");
		expect_ok(provider_fixture_disk_attach(&fx, disk.s, machine.s, "data"));
		expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	}
	end_machine(machine);
	remove_disk(disk);
}

/* What is under way when it closes is answered, once, with ERR_CANCELLED. */
static void
test_close_answers(void **state)
{
	struct id disk = ready_disk(), machine = ready_machine(), other = id_new('d');
	struct answer make = {0}, remove = {0}, attach = {0}, detach = {0};
	struct answer *const all[] = {&make, &remove, &attach, &detach};
	const struct attach_spec spec = {
	    .disk = disk.s,
	    .disk_ref = ref_of(disk),
	    .machine = machine.s,
	    .machine_ref = ref_of(machine),
	    .name = "data",
	};
	const struct provider_ops *ops = fx.provider->ops;
	size_t n = can_attach() ? 4 : 2;

	provider_fixture_start_disk_make(&fx, other.s, SIZE, NULL, &make);
	ops->disk_remove(fx.provider, other.s, NULL, provider_fixture_on_done, &remove);
	if (can_attach()) {
		ops->disk_attach(
		    fx.provider, &spec, provider_fixture_on_attached, &attach);
		ops->disk_detach(fx.provider, &spec, provider_fixture_on_done, &detach);
	}
	ops->close(fx.provider);
	fx.provider = NULL;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(all[i]->calls, 1);
		assert_int_equal(all[i]->err.code, ERR_CANCELLED);
	}
	provider_fixture_restart(&fx, 0);
	(void)provider_fixture_inventory(&fx);
	end_machine(machine);
	if (can_attach())
		expect_ok(provider_fixture_disk_detach(&fx, disk.s, machine.s, "data"));
	remove_disk(disk);
	remove_disk(other);
}

int
provider_disks_run(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_make),
	    TEST(test_remove_while_making),
	    TEST(test_make_from_nothing),
	    TEST(test_snapshot),
	    TEST(test_attach),
	    TEST(test_detach_in_use),
	    TEST(test_outlives_machine),
	    TEST(test_snapshot_in_use),
	    TEST(test_attach_nothing),
	    TEST(test_restart),
	    TEST(test_close_answers),
	};
	bool any;

	if (provider_fixture_open(&fx) < 0)
		return 1;
	any = fx.provider->ops->disk_make != NULL;
	provider_fixture_close(&fx);
	return any ? cmocka_run_group_tests_name("provider disks", tests, NULL, NULL) : 0;
}
