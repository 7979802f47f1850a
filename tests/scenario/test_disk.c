/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: disks and snapshots are made and removed whatever happens: failures, lost replies, a daemon that is killed
 * at any write or effect. Afterwards ledger and provider agree, and no disk is lost that its user was told of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#define GIB (INT64_C(1) << 30)

static struct world w;

struct got {
	bool done;
	struct err err;
	int n;
	struct disk d[8]; /* owned copies */
	int snapshots;
	struct id snapshot;
};
static struct got g;

static void
got_fini(struct got *to)
{
	for (int i = 0; i < to->n; i++)
		disk_fini(&to->d[i]);
	*to = (struct got){0};
}

static void
take(void *arg, const struct disk_view *views, int n, const struct err *err)
{
	struct got *to = arg;

	assert_false(to->done);
	to->done = true;
	to->err = *err;
	for (int i = 0; i < n && i < 8; i++, to->n++)
		disk_copy(&to->d[i], views[i].d);
	if (n > 0) {
		to->snapshots = views[0].n_snapshots;
		to->snapshot = views[0].snapshots[0];
	}
}

static void
await(void)
{
	assert_false(g.done);
	for (int i = 0; i < 10000 && !g.done; i++)
		world_run(&w, 1);
	assert_true(g.done);
}

static enum err_code
create(const struct core_caller *who, const char *name, int64_t size, const char *from)
{
	got_fini(&g);
	core_disk_create(w.core, who, name, size, from, take, &g);
	await();
	return g.err.code;
}

static enum err_code
get(const struct core_caller *who, const char *of)
{
	char key[64]; /* it may be what the last answer held */

	(void)snprintf(key, sizeof(key), "%s", of);
	got_fini(&g);
	core_disk_get(w.core, who, key, take, &g);
	await();
	return g.err.code;
}

static enum err_code delete (const struct core_caller *who, const char *key) {
	got_fini(&g); core_disk_delete(w.core, who, key, take, &g); await();
	return g.err.code;
}

static enum err_code
snapshot(const struct core_caller *who, const char *key)
{
	got_fini(&g);
	core_disk_snapshot(w.core, who, key, take, &g);
	await();
	return g.err.code;
}

static enum err_code
clone_disk(const struct core_caller *who, const char *key, const char *name)
{
	got_fini(&g);
	core_disk_clone(w.core, who, key, name, take, &g);
	await();
	return g.err.code;
}

static int
list(const struct core_caller *who)
{
	got_fini(&g);
	core_disks(w.core, who, false, take, &g);
	await();
	return g.n;
}

static void
assert_state(const char *key, enum disk_state state)
{
	assert_int_equal(get(&root, key), ERR_NONE);
	assert_int_equal(g.d[0].state, state);
}

static int
setup(void **state)
{
	world_init(&w);
	w.options.disk_ms = 5000;
	w.options.snapshot_ms = 2000;
	w.pools[0].running = 0;
	return 0;
}

static int
teardown(void **state)
{
	got_fini(&g);
	world_fini(&w);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void
a_disk_lives_and_goes(void **state)
{
	world_start(&w);
	assert_int_equal(create(&alice, "work", 20 * GIB, NULL), ERR_NONE);
	assert_int_equal(g.d[0].state, DISK_CREATING);
	assert_true(g.d[0].size_bytes == 20 * GIB);
	world_run(&w, 4900);
	assert_state("work", DISK_CREATING);
	world_run(&w, 200);
	assert_state("work", DISK_AVAILABLE);
	assert_int_equal(fake_count_disks(w.fake), 1);
	assert_int_equal(fake_calls(w.fake, FAKE_DISK_MAKE), 1);
	world_audit_clean(&w);
	assert_int_equal(delete (&alice, "work"), ERR_NONE);
	assert_int_equal(g.d[0].state, DISK_DELETING);
	world_run(&w, 1000);
	assert_int_equal(get(&alice, "work"), ERR_NOT_FOUND);
	assert_int_equal(fake_count_disks(w.fake), 0);
	assert_int_equal(
	    create(&alice, "work", GIB, NULL), ERR_NONE); /* the name is free */
	world_run(&w, 6000);
	world_audit_clean(&w);
}

static void
what_is_refused(void **state)
{
	static const char *const names[] = {"", "a/b", "..", "-x", "a b"};

	world_start(&w);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(create(&alice, names[i], GIB, NULL), ERR_INVALID);
	assert_int_equal(create(&alice, "a", 0, NULL), ERR_INVALID);
	assert_int_equal(create(&alice, "a", -1, NULL), ERR_INVALID);
	assert_int_equal(create(&alice, "a", INT64_MAX, NULL), ERR_INVALID);
	assert_int_equal(create(&alice, "a", GIB, "s-000000000000"), ERR_NOT_FOUND);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_CONFLICT);
	assert_int_equal(
	    create(&bob, "a", GIB, NULL), ERR_NONE); /* names are a user's own */
	assert_int_equal(snapshot(&alice, "a"), ERR_CONFLICT); /* it is not there yet */
	world_run(&w, 6000);
	assert_int_equal(create(&alice, "b", GIB, "a"), ERR_INVALID); /* no snapshot */
	assert_int_equal(snapshot(&alice, "nope"), ERR_NOT_FOUND);
	assert_int_equal(clone_disk(&alice, "a", "a"), ERR_CONFLICT);
	assert_int_equal(list(&alice), 1);
	assert_int_equal(list(&root), 2);
	assert_int_equal(get(&bob, g.d[0].id.s), ERR_NOT_PERMITTED);
	assert_int_equal(delete (&bob, "nope"), ERR_NOT_FOUND);
	assert_int_equal(fake_count_disks(w.fake), 2);
}

static void
a_snapshot_and_a_disk_from_it(void **state)
{
	struct id snap;

	world_start(&w);
	assert_int_equal(create(&alice, "a", 4 * GIB, NULL), ERR_NONE);
	world_run(&w, 6000);
	assert_int_equal(snapshot(&alice, "a"), ERR_NONE);
	snap = g.d[0].id;
	assert_int_equal(snap.s[0], 's');
	assert_int_equal(g.d[0].state, DISK_CREATING);
	assert_int_equal(get(&bob, snap.s), ERR_NOT_PERMITTED);
	assert_int_equal(create(&alice, "small", GIB, snap.s), ERR_INVALID);
	assert_int_equal(create(&alice, "b", 8 * GIB, snap.s), ERR_NONE);
	world_run(&w, 1000);
	assert_int_equal(fake_calls(w.fake, FAKE_DISK_MAKE), 1); /* b waits for it */
	world_run(&w, 7000);
	assert_state("b", DISK_AVAILABLE);
	assert_string_equal(g.d[0].source.s, snap.s);
	assert_state(snap.s, DISK_AVAILABLE);
	assert_int_equal(get(&alice, "a"), ERR_NONE);
	assert_int_equal(g.snapshots, 1);
	assert_string_equal(g.snapshot.s, snap.s);
	assert_int_equal(list(&alice), 2); /* snapshots are not disks */
	assert_int_equal(delete (&alice, snap.s), ERR_NONE);
	world_run(&w, 1000);
	assert_int_equal(fake_count_disks(w.fake), 2);
	world_audit_clean(&w);
}

static void
a_clone_leaves_no_snapshot(void **state)
{
	world_start(&w);
	assert_int_equal(create(&alice, "a", 4 * GIB, NULL), ERR_NONE);
	world_run(&w, 6000);
	assert_int_equal(clone_disk(&alice, "a", "b"), ERR_NONE);
	assert_int_equal(g.d[0].state, DISK_CREATING);
	world_run(&w, 6900);
	assert_int_equal(fake_count_disks(w.fake), 3);
	world_run(&w, 1000);
	assert_state("b", DISK_AVAILABLE);
	assert_true(g.d[0].size_bytes == 4 * GIB);
	assert_int_equal(fake_calls(w.fake, FAKE_DISK_SNAPSHOT), 1);
	assert_int_equal(fake_count_disks(w.fake), 2);
	assert_int_equal(get(&alice, "a"), ERR_NONE);
	assert_int_equal(g.snapshots, 0);
	world_audit_clean(&w);
}

static void
one_that_cannot_be_made_says_why(void **state)
{
	world_start(&w);
	fake_fail_next(w.fake, FAKE_DISK_MAKE, ERR_INTERNAL, "no room in the zone");
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	world_run(&w, 1000);
	assert_state("a", DISK_FAILED);
	assert_string_equal(g.d[0].error, "no room in the zone");
	assert_int_equal(fake_count_disks(w.fake), 0);
	world_audit_clean(&w);
	world_kill(&w);
	world_start(&w);
	world_run(&w, 1000);
	assert_state("a", DISK_FAILED); /* until its user has seen it */
	assert_int_equal(delete (&alice, "a"), ERR_NONE);
	world_run(&w, 1000);
	assert_int_equal(get(&alice, "a"), ERR_NOT_FOUND);
}

static void
a_clone_of_which_the_snapshot_fails(void **state)
{
	world_start(&w);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	world_run(&w, 6000);
	fake_fail_next(w.fake, FAKE_DISK_SNAPSHOT, ERR_INTERNAL, "too many snapshots");
	assert_int_equal(clone_disk(&alice, "a", "b"), ERR_NONE);
	world_run(&w, 3000);
	assert_state("b", DISK_FAILED);
	assert_string_equal(g.d[0].error, "too many snapshots");
	world_run(&w, 3000);
	assert_int_equal(fake_count_disks(w.fake), 1);
	assert_int_equal(delete (&alice, "b"), ERR_NONE);
	world_run(&w, 3000);
	world_audit_clean(&w);
}

static void
a_lost_reply_leaks_nothing(void **state)
{
	world_start(&w);
	w.options.lose_reply = 1;
	fake_set_options(w.fake, &w.options);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	world_run(&w, 100);
	assert_state("a", DISK_FAILED);
	w.options.lose_reply = 0;
	fake_set_options(w.fake, &w.options);
	world_run(&w, 120000);
	assert_int_equal(fake_count_disks(w.fake), 0);
	world_audit_clean(&w);
}

static void
deleted_while_it_is_made(void **state)
{
	world_start(&w);
	for (int ms = 0; ms < 12; ms += 3) {
		assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
		world_run(&w, ms);
		assert_int_equal(delete (&alice, "a"), ERR_NONE);
		world_run(&w, 10000);
		assert_int_equal(get(&alice, "a"), ERR_NOT_FOUND);
		assert_int_equal(fake_count_disks(w.fake), 0);
	}
	world_audit_clean(&w);
}

static void
deleted_it_leaves_a_snapshot(void **state)
{
	struct id snap;

	w.keep_deleted_ms = 3600000;
	world_start(&w);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	world_run(&w, 6000);
	assert_int_equal(delete (&alice, "a"), ERR_NONE);
	assert_int_equal(g.snapshots, 1);
	snap = g.snapshot;
	world_run(&w, 1000);
	assert_int_equal(
	    fake_calls(w.fake, FAKE_DISK_REMOVE), 0); /* first the snapshot */
	world_kill(&w);
	world_run(&w, 500);
	world_start(&w);
	world_run(&w, 3000);
	assert_int_equal(get(&alice, "a"), ERR_NOT_FOUND);
	assert_int_equal(fake_count_disks(w.fake), 1);
	assert_int_equal(list(&alice), 0);
	got_fini(&g);
	core_disks(w.core, &alice, true, take, &g);
	await();
	assert_int_equal(g.n, 1);
	assert_string_equal(g.d[0].id.s, snap.s);
	assert_int_equal(create(&alice, "back", GIB, snap.s), ERR_NONE);
	world_run(&w, 6000);
	assert_state("back", DISK_AVAILABLE);
	world_run(&w, 3600000);
	assert_int_equal(fake_count_disks(w.fake), 1);
	assert_int_equal(get(&alice, snap.s), ERR_NOT_FOUND);
	world_audit_clean(&w);
}

static void
without_its_last_snapshot_it_stays(void **state)
{
	w.keep_deleted_ms = 3600000;
	world_start(&w);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	world_run(&w, 6000);
	fake_fail_next(w.fake, FAKE_DISK_SNAPSHOT, ERR_INTERNAL, "too many");
	assert_int_equal(delete (&alice, "a"), ERR_NONE);
	world_run(&w, 3000);
	assert_state("a", DISK_AVAILABLE);
	assert_string_equal(
	    g.d[0].error, "not deleted: its last snapshot failed: too many");
	assert_int_equal(delete (&alice, "a"), ERR_NONE);
	world_run(&w, 5000);
	assert_int_equal(get(&alice, "a"), ERR_NOT_FOUND);
	world_audit_clean(&w);
}

static void
lost_at_the_provider(void **state)
{
	struct id id;

	world_start(&w);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	id = g.d[0].id;
	world_run(&w, 6000);
	fake_remove(w.fake, id.s);
	assert_false(world_audit(&w, false).ok);
	assert_true(world_audit(&w, true).repaired > 0);
	assert_state("a", DISK_FAILED);
	world_audit_clean(&w);
}

/* One that was not listed at a start is its user's still, and never removed for it. */
static void
lost_and_found(void **state)
{
	struct id id;

	world_start(&w);
	assert_int_equal(create(&alice, "a", GIB, NULL), ERR_NONE);
	id = g.d[0].id;
	world_run(&w, 6000);
	world_kill(&w);
	world_start(&w);
	fake_remove(w.fake, id.s);
	world_run(&w, 1000);
	assert_state("a", DISK_FAILED);
	world_kill(&w);
	world_start(&w);
	(void)fake_add_stray(w.fake, id.s);
	world_run(&w, 1000);
	assert_state("a", DISK_AVAILABLE);
	assert_null(g.d[0].error);
	assert_int_equal(fake_calls(w.fake, FAKE_DISK_REMOVE), 0);
	world_audit_clean(&w);
}

static void
what_nobody_knows_is_a_difference(void **state)
{
	world_start(&w);
	(void)fake_add_stray(w.fake, "d-aaaaaaaaaaaa");
	world_run(&w, 100);
	assert_false(world_audit(&w, false).ok);
	assert_int_equal(fake_count_disks(w.fake), 1); /* audit alone ends nothing */
	assert_true(world_audit(&w, true).repaired > 0);
	world_run(&w, 1000);
	assert_int_equal(fake_count_disks(w.fake), 0);
}

/* ---- a crash anywhere ---- */

struct script {
	int crash_at_effect, effects;
	bool told_a, told_clone;
};
static struct script s;

static void
on_effect(void *arg, enum fake_op op, const char *token)
{
	if (++s.effects == s.crash_at_effect) {
		w.cut.dead = true;
		fake_mute(w.fake);
	}
}

static void
told(void *arg, const struct disk_view *views, int n, const struct err *err)
{
	*(bool *)arg = err->code == ERR_NONE;
}

static void
ignored(void *arg, const struct disk_view *views, int n, const struct err *err)
{
}

static void
live(void)
{
	for (int t = 0; t < 20000 && !w.cut.dead; t++) {
		if (t == 100)
			core_disk_create(w.core, &alice, "a", GIB, NULL, told, &s.told_a);
		if (t == 6000)
			core_disk_clone(
			    w.core, &alice, "a", "clone", told, &s.told_clone);
		if (t == 7000)
			core_disk_create(
			    w.core, &alice, "gone", GIB, NULL, ignored, NULL);
		if (t == 9000)
			core_disk_delete(w.core, &alice, "gone", ignored, NULL);
		world_run(&w, 1);
	}
}

static bool
run(int write, bool durable, int effect)
{
	bool crashed;

	s = (struct script){.crash_at_effect = effect};
	(void)setup(NULL);
	w.cut = (struct cut){.at = write, .durable = durable};
	world_start(&w);
	fake_on_effect(w.fake, on_effect, NULL);
	live();
	crashed = w.cut.dead;
	if (crashed) {
		fake_mute(w.fake);
		world_kill(&w);
		world_run(&w, 700);
		world_start(&w);
	}
	world_run(&w, 120000);
	world_audit_clean(&w);
	if (s.told_a)
		assert_state("a", DISK_AVAILABLE);
	if (s.told_clone)
		assert_state("clone", DISK_AVAILABLE);
	(void)list(&alice);
	for (int i = 0; i < g.n; i++)
		assert_int_equal(g.d[i].state, DISK_AVAILABLE);
	assert_int_equal(fake_count_disks(w.fake), g.n); /* no snapshot is left either */
	(void)teardown(NULL);
	return crashed;
}

static void
at_every_write(void **state)
{
	int n = 1;

	for (int durable = 0; durable < 2; durable++)
		for (n = 1; run(n, durable, 0); n++)
			;
	print_message("crashed at %d writes, before and after each\n", n - 1);
	assert_true(n > 10);
}

static void
at_every_effect(void **state)
{
	int n = 1;

	while (run(0, false, n))
		n++;
	print_message("crashed at %d effects\n", n - 1);
	assert_true(n > 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_disk_lives_and_goes),
	    TEST(what_is_refused),
	    TEST(a_snapshot_and_a_disk_from_it),
	    TEST(a_clone_leaves_no_snapshot),
	    TEST(one_that_cannot_be_made_says_why),
	    TEST(a_clone_of_which_the_snapshot_fails),
	    TEST(a_lost_reply_leaks_nothing),
	    TEST(deleted_while_it_is_made),
	    TEST(deleted_it_leaves_a_snapshot),
	    TEST(without_its_last_snapshot_it_stays),
	    TEST(lost_at_the_provider),
	    TEST(lost_and_found),
	    TEST(what_nobody_knows_is_a_difference),
	    cmocka_unit_test(at_every_write),
	    cmocka_unit_test(at_every_effect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
