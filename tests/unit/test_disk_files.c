/* SPDX-License-Identifier: Apache-2.0 */

/* What the launcher keeps of a disk on disk, without mounting anything: a record is read as it was written or not at all, a
   copy has the same contents and the same holes, and ends when it is told to. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "launcher/disk_copy.h"
#include "launcher/disk_mount.h"
#include "launcher/disk_record.h"
#include "launcher/file.h"
#include "launcher/tool.h"

static char directory[64];
static int dirfd_;

static int
enter(void **state)
{
	strcpy(directory, "/tmp/hearth-disk-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	dirfd_ = open(directory, O_RDONLY | O_DIRECTORY);
	return dirfd_ < 0;
}

static int
leave(void **state)
{
	struct err err;

	close(dirfd_);
	return tree_remove_at(AT_FDCWD, directory, &err);
}

static int
new_file(const char *name)
{
	int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* ---- the record ---- */

static void
a_record_is_read_as_written(void **state)
{
	struct disk_record w = {.size_bytes = 20ull << 30,
	    .created_at_ms = 1790000000000,
	    .machine = "m-0123456789ab",
	    .name = "data.1",
	    .seen_s = 1790000001,
	    .seen_ns = 999999999,
	    .damage = "its file was cut short, to 3 of 4 bytes"};
	struct disk_record r;
	struct err err;

	assert_int_equal(disk_record_write(dirfd_, &w, &err), 0);
	assert_int_equal(disk_record_read(dirfd_, &r, &err), 0);
	assert_memory_equal(&w, &r, sizeof(w));
	w.machine[0] = w.name[0] = w.damage[0] = '\0';
	w.seen_s = w.seen_ns = 0;
	assert_int_equal(disk_record_write(dirfd_, &w, &err), 0);
	assert_int_equal(disk_record_read(dirfd_, &r, &err), 0);
	assert_string_equal(r.machine, "");
	assert_string_equal(r.damage, "");
	assert_int_equal(r.seen_s, 0);
}

static void
expect_unreadable(const char *text)
{
	struct disk_record r;
	struct err err;
	int fd;

	(void)unlinkat(dirfd_, "state", 0);
	fd = new_file("state");
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	assert_int_equal(disk_record_read(dirfd_, &r, &err), -1);
}

static void
nonsense_is_no_record(void **state)
{
	char long_text[700];
	struct disk_record r;
	struct err err;

	assert_int_equal(disk_record_read(dirfd_, &r, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	expect_unreadable("");
	expect_unreadable("created 5\n");
	expect_unreadable("size\n");
	expect_unreadable("size -1\n");
	expect_unreadable("size 99999999999999999999\n");
	expect_unreadable("size 4096\nowner me\n");
	expect_unreadable("size 4096\nmachine ../../etc\nname x\n");
	expect_unreadable("size 4096\nmachine m-0123456789ab\nname ../x\n");
	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	expect_unreadable(long_text);
}

/* ---- copies ---- */

#define MIB (1l << 20)
#define SIZE (64 * MIB)

/* Data at the beginning, across a chunk's border, and just before the end. */
static int
file_with_holes(void)
{
	static const off_t places[] = {0, 5 * MIB - 3000, 40 * MIB, SIZE - 6000};
	int fd = new_file("from");
	char text[6000];

	assert_int_equal(ftruncate(fd, SIZE), 0);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		memset(text, 'a' + (int)i, sizeof(text));
		assert_int_equal(pwrite(fd, text, sizeof(text), places[i]), sizeof(text));
	}
	return fd;
}

static void
expect_same(int a, int b)
{
	static char x[MIB], y[MIB];

	for (off_t at = 0; at < SIZE; at += MIB) {
		assert_int_equal(pread(a, x, MIB, at), MIB);
		assert_int_equal(pread(b, y, MIB, at), MIB);
		assert_memory_equal(x, y, MIB);
	}
}

static void
a_copy_is_the_same_holes_and_all(void **state)
{
	int from = file_with_holes(), to = new_file("to");
	struct stat st;
	struct err err;

	assert_int_equal(pwrite(to, "what was there", 14, 100 * MIB), 14);
	assert_int_equal(copy_sparse(from, to, &(struct copy_limits){0}, &err), 0);
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_true(st.st_blocks * 512 < MIB);
	expect_same(from, to);
	close(from);
	close(to);
}

static void
a_copy_ends_when_its_file_is_removed(void **state)
{
	int from = file_with_holes(), to = new_file("to");
	struct err err;

	assert_int_equal(unlinkat(dirfd_, "to", 0), 0);
	assert_int_equal(copy_sparse(from, to, &(struct copy_limits){0}, &err), -1);
	assert_int_equal(err.code, ERR_CANCELLED);
	close(from);
	close(to);
}

static void
a_copy_ends_when_its_time_is_up(void **state)
{
	int from = file_with_holes(), to = new_file("to");
	struct copy_limits over = {.until_ms = clock_real_now_ms()};
	struct err err;

	assert_int_equal(copy_sparse(from, to, &over, &err), -1);
	assert_int_equal(err.code, ERR_RATE_LIMITED);
	close(from);
	close(to);
}

/* ---- file systems ---- */

static int
status_of(const char *const argv[])
{
	struct tool_result r;
	struct err err;

	if (tool_run(dirfd_, argv, 60000, &r, &err) < 0)
		fail_msg("%s", err.msg);
	return r.status;
}

static void
what_a_file_holds_is_seen(void **state)
{
	int fd = new_file("image");
	bool clean = false;

	assert_int_equal(fs_look(fd, &clean), 0);
	assert_int_equal(ftruncate(fd, 16 * MIB), 0);
	assert_int_equal(fs_look(fd, &clean), 0);
	assert_int_equal(
	    status_of((const char *[]){"mke2fs", "-q", "-t", "ext4", "image", NULL}), 0);
	assert_int_equal(fs_look(fd, &clean), 1);
	assert_true(clean);
	/* feature needs_recovery: a journal that was not replayed */
	assert_int_equal(pwrite(fd, "\x46", 1, 1024 + 0x60), 1);
	assert_int_equal(fs_look(fd, &clean), 1);
	assert_false(clean);
	close(fd);
}

static void
a_tool_is_bounded_and_heard(void **state)
{
	struct tool_result r;
	struct err err;

	assert_int_equal(
	    tool_run(dirfd_, (const char *[]){"e2fsck", "-n", "nothing-here", NULL},
		60000, &r, &err),
	    0);
	assert_int_equal(r.status, 8); /* e2fsck(8): operational error */
	assert_true(r.last[0] != '\0');
	assert_int_equal(
	    tool_run(dirfd_, (const char *[]){"no-such-tool", NULL}, 60000, &r, &err),
	    -1);
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	assert_int_equal(
	    tool_run(dirfd_, (const char *[]){"e2fsck", "-n", "nothing-here", NULL}, 0,
		&r, &err),
	    -1);
	assert_int_equal(err.code, ERR_UNAVAILABLE);
}

int
main(void)
{
#define IN_DIRECTORY(fn) cmocka_unit_test_setup_teardown(fn, enter, leave)
	const struct CMUnitTest tests[] = {
	    IN_DIRECTORY(a_record_is_read_as_written),
	    IN_DIRECTORY(nonsense_is_no_record),
	    IN_DIRECTORY(a_copy_is_the_same_holes_and_all),
	    IN_DIRECTORY(a_copy_ends_when_its_file_is_removed),
	    IN_DIRECTORY(a_copy_ends_when_its_time_is_up),
	    IN_DIRECTORY(what_a_file_holds_is_seen),
	    IN_DIRECTORY(a_tool_is_bounded_and_heard),
	};

	return cmocka_run_group_tests_name("disk files", tests, NULL, NULL);
}
