/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Goal: every provider that has disks keeps what provider.h promises of them. Run as test_provider.c is; where nobody can be let into a
 * machine, what is on a disk is not looked at.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "provider_fixture.h"

#define MIB (INT64_C(1) << 20)
#define SIZE (64 * MIB)

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

/* ---- synchronous forms ---- */

static void
on_made(void *arg, const char *ref, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
	assert_true(err->code == ERR_NONE ? ref != NULL : ref == NULL);
	(void)snprintf(a->ref, sizeof(a->ref), "%s", ref ? ref : "");
}

static void
on_attached(void *arg, const char *warning, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
	(void)snprintf(a->output, sizeof(a->output), "%s", warning ? warning : "");
}

static struct answer
settle(struct answer *a)
{
	assert_int_equal(a->calls, 0); /* never from inside the operation */
	provider_fixture_wait_answer(&fx, a);
	return *a;
}

static void
start_make(const char *token, const char *source, struct answer *a)
{
	fx.provider->ops->disk_make(fx.provider,
	    &(struct disk_spec){
		.token = token,
		.size_bytes = SIZE,
		.source_ref = source,
		.options = fx.options,
	    },
	    on_made, a);
}

static struct answer
make(const char *token, const char *source)
{
	struct answer a = {0};

	start_make(token, source, &a);
	return settle(&a);
}

static struct answer
snapshot(const char *token, const char *disk_ref)
{
	struct answer a = {0};

	fx.provider->ops->disk_snapshot(fx.provider, token, disk_ref, on_made, &a);
	return settle(&a);
}

static struct answer
take_away(const char *token, const char *ref)
{
	struct answer a = {0};

	fx.provider->ops->disk_remove(
	    fx.provider, token, ref, provider_fixture_on_done, &a);
	return settle(&a);
}

static void
removed(const char *token)
{
	struct answer a = take_away(token, NULL);

	if (a.err.code != ERR_NONE)
		fail_msg("remove: %s", a.err.msg);
	provider_fixture_await(&fx, token, SIGHTING_GONE);
}

static struct attach_spec
spec_of(const char *disk, const char *machine, const char *name)
{
	const struct seen_machine *m = provider_fixture_seen(&fx, machine);
	const struct seen_machine *d = provider_fixture_seen(&fx, disk);

	return (struct attach_spec){.disk = disk,
	    .disk_ref = d ? d->ref : NULL,
	    .machine = machine,
	    .machine_ref = m ? m->ref : NULL,
	    .name = name};
}

static struct answer
attach(const char *disk, const char *machine, const char *name)
{
	struct attach_spec s = spec_of(disk, machine, name);
	struct answer a = {0};

	fx.provider->ops->disk_attach(fx.provider, &s, on_attached, &a);
	return settle(&a);
}

static struct answer
detach(const char *disk, const char *machine, const char *name)
{
	struct attach_spec s = spec_of(disk, machine, name);
	struct answer a = {0};

	fx.provider->ops->disk_detach(fx.provider, &s, provider_fixture_on_done, &a);
	return settle(&a);
}

static void
attached(const char *disk, const char *machine, const char *name)
{
	struct answer a = attach(disk, machine, name);

	if (a.err.code != ERR_NONE || a.output[0])
		fail_msg("attach: %s%s", a.err.msg, a.output);
}

static void
detached(const char *disk, const char *machine, const char *name)
{
	struct answer a = detach(disk, machine, name);

	if (a.err.code != ERR_NONE)
		fail_msg("detach: %s", a.err.msg);
}

static struct id
ready_disk(void)
{
	struct id token = id_new('d');
	struct answer a = make(token.s, NULL);

	if (a.err.code != ERR_NONE)
		fail_msg("make: %s", a.err.msg);
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	return token;
}

static struct id
ready_machine(void)
{
	struct id token = id_new('m');
	struct answer a = provider_fixture_launch(&fx, token.s, 600);

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	return token;
}

static void
ended(const char *machine)
{
	struct answer a = provider_fixture_terminate(&fx, machine);

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, machine, SIGHTING_GONE);
}

/* Runs it as root in the machine; it must succeed. Nothing where nobody can be let in. */
static void
run(const char *machine, const char *command, const char *says)
{
	struct answer a;

	if (!fx.kind->holds_data)
		return;
	a = provider_fixture_setup(&fx, machine, command, 15000);
	if (a.err.code != ERR_NONE || a.exit_code != 0)
		fail_msg("%s: %s%s", command, a.err.msg, a.output);
	if (says)
		assert_string_equal(a.output, says);
}

static bool
can_attach(void)
{
	return fx.provider->ops->disk_attach && !fx.kind->no_devices;
}

static void
needs_attach(void)
{
	if (!can_attach())
		skip();
}

/* ---- being ---- */

static void
test_make(void **state)
{
	struct id token = id_new('d');
	struct answer a = {0}, b = {0};

	start_make(token.s, NULL, &a);
	start_make(token.s, NULL, &b);
	assert_int_equal(a.calls + b.calls, 0);
	provider_fixture_wait_answer(&fx, &a);
	provider_fixture_wait_answer(&fx, &b);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(b.err.code, ERR_NONE);
	assert_string_equal(a.ref, b.ref);
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	assert_string_equal(provider_fixture_seen(&fx, token.s)->ref, a.ref);
	b = make(token.s, NULL);
	assert_int_equal(b.err.code, ERR_NONE);
	assert_string_equal(a.ref, b.ref);
	assert_int_equal(provider_fixture_inventory(&fx), 1);
	assert_int_equal(provider_fixture_listed(&fx, token.s)->state, SIGHTING_READY);
	removed(token.s);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

static void
test_remove(void **state)
{
	struct id token = ready_disk(), unknown = id_new('d'), snap = id_new('s');

	removed(token.s);
	removed(token.s); /* again */
	removed(unknown.s);
	removed(snap.s);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

#define AT_ONCE 6

/* Removed before its making is answered, and right after: nothing is left of it either way. */
static void
test_remove_while_made(void **state)
{
	struct id tokens[AT_ONCE];
	struct answer made[AT_ONCE] = {0}, gone[AT_ONCE] = {0};

	for (int i = 0; i < AT_ONCE; i++) {
		tokens[i] = id_new('d');
		start_make(tokens[i].s, NULL, &made[i]);
		if (i % 2)
			provider_fixture_wait_answer(&fx, &made[i]);
	}
	for (int i = 0; i < AT_ONCE; i++)
		fx.provider->ops->disk_remove(
		    fx.provider, tokens[i].s, NULL, provider_fixture_on_done, &gone[i]);
	for (int i = 0; i < AT_ONCE; i++) {
		provider_fixture_wait_answer(&fx, &made[i]);
		provider_fixture_wait_answer(&fx, &gone[i]);
		assert_int_equal(gone[i].err.code, ERR_NONE);
		provider_fixture_await(&fx, tokens[i].s, SIGHTING_GONE);
	}
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

static void
test_snapshot(void **state)
{
	struct id disk = ready_disk(), snap = id_new('s'), copy = id_new('d');
	const struct seen_machine *d = provider_fixture_seen(&fx, disk.s);
	struct answer a = snapshot(snap.s, d->ref), b;

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, snap.s, SIGHTING_READY);
	b = snapshot(snap.s, d->ref); /* the same one */
	assert_int_equal(b.err.code, ERR_NONE);
	assert_string_equal(a.ref, b.ref);
	removed(disk.s); /* what was taken of it stays */
	b = make(copy.s, a.ref);
	assert_int_equal(b.err.code, ERR_NONE);
	provider_fixture_await(&fx, copy.s, SIGHTING_READY);
	assert_int_equal(provider_fixture_inventory(&fx), 2);
	removed(snap.s);
	removed(copy.s);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

/* ---- in machines ---- */

/* What was written is there in the next machine, be it as the login user's or as root's; a second file system is not made. */
static void
test_attach(void **state)
{
	struct id disk, first, second;

	needs_attach();
	disk = ready_disk();
	first = ready_machine();
	second = ready_machine();
	attached(disk.s, first.s, "data");
	attached(disk.s, first.s, "data"); /* again */
	run(first.s, "echo one >/disk/data/f && sync && cat /disk/data/f", "one\n");
	run(first.s, "test $(stat -c %u /disk/data) -ge 1000 && echo users", "users\n");
	detached(disk.s, first.s, "data");
	detached(disk.s, first.s, "data"); /* again */
	run(first.s, "test ! -e /disk/data/f && echo away", "away\n");
	attached(disk.s, second.s, "other.name");
	run(second.s, "cat /disk/other.name/f", "one\n");
	detached(disk.s, second.s, "other.name");
	removed(disk.s);
	ended(first.s);
	ended(second.s);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

static void
test_attach_exclusive(void **state)
{
	struct id disk, first, second;
	struct answer a;

	needs_attach();
	disk = ready_disk();
	first = ready_machine();
	second = ready_machine();
	attached(disk.s, first.s, "data");
	a = attach(disk.s, second.s, "data");
	assert_int_not_equal(a.err.code, ERR_NONE);
	run(first.s, "echo still >/disk/data/f && cat /disk/data/f", "still\n");
	detached(disk.s, first.s, "data");
	attached(disk.s, second.s, "data");
	detached(disk.s, second.s, "data");
}

static void
test_attach_two(void **state)
{
	struct id disks[2], machine;
	struct answer a[2] = {0};
	struct attach_spec specs[2];

	needs_attach();
	for (int i = 0; i < 2; i++)
		disks[i] = ready_disk();
	machine = ready_machine();
	for (int i = 0; i < 2; i++) {
		specs[i] = spec_of(disks[i].s, machine.s, i ? "b" : "a");
		fx.provider->ops->disk_attach(fx.provider, &specs[i], on_attached, &a[i]);
	}
	for (int i = 0; i < 2; i++) {
		provider_fixture_wait_answer(&fx, &a[i]);
		if (a[i].err.code != ERR_NONE)
			fail_msg("attach: %s", a[i].err.msg);
	}
	run(machine.s,
	    "echo a >/disk/a/f && echo b >/disk/b/f && cat /disk/a/f /disk/b/f",
	    "a\nb\n");
	for (int i = 0; i < 2; i++)
		detached(disks[i].s, machine.s, i ? "b" : "a");
}

/* In use, and detached all the same, with what was written. */
static void
test_detach_busy(void **state)
{
	struct id disk, machine;

	needs_attach();
	disk = ready_disk();
	machine = ready_machine();
	attached(disk.s, machine.s, "data");
	run(machine.s,
	    "cd /disk/data && echo kept >f && (sleep 1000 >g & exec sleep 1000) "
	    "</dev/null >/dev/null 2>&1 &",
	    NULL);
	detached(disk.s, machine.s, "data");
	attached(disk.s, machine.s, "data");
	run(machine.s, "cat /disk/data/f", "kept\n");
	detached(disk.s, machine.s, "data");
}

/* The machine ends with the disk in it: the disk stays, and is free for the next. */
static void
test_machine_ends(void **state)
{
	struct id disk, machine, next;

	needs_attach();
	disk = ready_disk();
	machine = ready_machine();
	next = ready_machine();
	attached(disk.s, machine.s, "data");
	run(machine.s, "echo kept >/disk/data/f && sync", NULL);
	ended(machine.s);
	detached(disk.s, machine.s, "data");
	attached(disk.s, next.s, "data");
	run(next.s, "cat /disk/data/f", "kept\n");
	detached(disk.s, next.s, "data");
	(void)provider_fixture_inventory(&fx);
	assert_int_equal(provider_fixture_listed(&fx, disk.s)->state, SIGHTING_READY);
}

static void
test_attach_refuses(void **state)
{
	static const char *const names[] = {"..", "a/b", "", "a..b", "-a", "a b", "a'b"};
	struct id disk, machine, unknown = id_new('d'), nowhere = id_new('m');
	struct answer a;

	needs_attach();
	disk = ready_disk();
	machine = ready_machine();
	/* core lets no such name through; what does something with it looks again */
	for (size_t i = 0;
	     i < sizeof(names) / sizeof(names[0]) && strcmp(fx.kind->name, "fake") != 0;
	     i++) {
		a = attach(disk.s, machine.s, names[i]);
		assert_int_not_equal(a.err.code, ERR_NONE);
	}
	a = attach(unknown.s, machine.s, "data");
	assert_int_not_equal(a.err.code, ERR_NONE);
	a = attach(disk.s, nowhere.s, "data");
	assert_int_not_equal(a.err.code, ERR_NONE);
	detached(unknown.s, machine.s, "data");
	detached(disk.s, machine.s, "data"); /* it was never there */
}

/* ---- restarts ---- */

static void
test_restart(void **state)
{
	struct id disk = ready_disk(), free = ready_disk(), snap = id_new('s');
	struct id machine = ready_machine();
	struct answer a;
	char ref[64];

	strcpy(ref, provider_fixture_seen(&fx, disk.s)->ref);
	a = snapshot(snap.s, ref);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, snap.s, SIGHTING_READY);
	if (can_attach())
		attached(disk.s, machine.s, "data");
	provider_fixture_restart(&fx, 0);
	assert_int_equal(provider_fixture_inventory(&fx), 4);
	assert_string_equal(provider_fixture_listed(&fx, disk.s)->ref, ref);
	assert_int_equal(provider_fixture_listed(&fx, disk.s)->state, SIGHTING_READY);
	assert_int_equal(provider_fixture_listed(&fx, free.s)->state, SIGHTING_READY);
	assert_int_equal(provider_fixture_listed(&fx, snap.s)->state, SIGHTING_READY);
	a = make(free.s, NULL); /* core asks again for what it has no answer to */
	assert_int_equal(a.err.code, ERR_NONE);
	assert_string_equal(a.ref, provider_fixture_listed(&fx, free.s)->ref);
	a = snapshot(snap.s, ref);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_string_equal(a.ref, provider_fixture_listed(&fx, snap.s)->ref);
	if (provider_fixture_listed(&fx, machine.s)->state != SIGHTING_READY)
		provider_fixture_await(&fx, machine.s, SIGHTING_READY);
	if (can_attach()) {
		attached(disk.s, machine.s, "data"); /* it still is */
		detached(disk.s, machine.s, "data");
	}
	removed(snap.s);
	removed(disk.s);
	removed(free.s);
	ended(machine.s);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

/* What is under way when it closes is answered, once, with ERR_CANCELLED; whatever was begun can be found and ended. */
static void
test_close_answers(void **state)
{
	struct id disk = ready_disk(), made = id_new('d'), snap = id_new('s');
	struct id machine = ready_machine();
	struct answer make_it = {0}, snap_it = {0}, attach_it = {0}, remove_it = {0};
	struct answer *const all[] = {&make_it, &snap_it, &remove_it, &attach_it};
	struct attach_spec s = spec_of(disk.s, machine.s, "data");
	const struct provider_ops *ops = fx.provider->ops;
	int n = can_attach() ? 4 : 3;

	start_make(made.s, NULL, &make_it);
	ops->disk_snapshot(fx.provider, snap.s, s.disk_ref, on_made, &snap_it);
	ops->disk_remove(
	    fx.provider, id_new('d').s, NULL, provider_fixture_on_done, &remove_it);
	if (n == 4)
		ops->disk_attach(fx.provider, &s, on_attached, &attach_it);
	for (int i = 0; i < n; i++)
		assert_int_equal(all[i]->calls, 0);
	ops->close(fx.provider);
	fx.provider = NULL;
	for (int i = 0; i < n; i++) {
		assert_int_equal(all[i]->calls, 1);
		assert_int_equal(all[i]->err.code, ERR_CANCELLED);
	}
	provider_fixture_restart(&fx, 0);
	for (int i = 0; i < n; i++)
		assert_int_equal(all[i]->calls, 1);
	(void)provider_fixture_inventory(&fx);
	if (n == 4)
		detached(disk.s, machine.s, "data");
	removed(made.s);
	removed(snap.s);
	removed(disk.s);
	ended(machine.s);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_make),
	    TEST(test_remove),
	    TEST(test_remove_while_made),
	    TEST(test_snapshot),
	    TEST(test_attach),
	    TEST(test_attach_exclusive),
	    TEST(test_attach_two),
	    TEST(test_detach_busy),
	    TEST(test_machine_ends),
	    TEST(test_attach_refuses),
	    TEST(test_restart),
	    TEST(test_close_answers),
	};

	if (!provider_fixture_possible())
		return 77;
	if (provider_fixture_open(&fx) != 0)
		return 1;
	bool any = fx.provider->ops->disk_make != NULL;
	provider_fixture_close(&fx);
	if (!any) {
		printf("SKIP: this provider has no disks\n");
		return 77;
	}
	return cmocka_run_group_tests_name("disks", tests, NULL, NULL);
}
