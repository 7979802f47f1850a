/* SPDX-License-Identifier: Apache-2.0 */

/* The launcher's parts that need no root: what it lets in, what it remembers, what it deletes, and what its
   filter refuses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/file.h"
#include "launcher/record.h"
#include "launcher/request.h"
#include "launcher/syscalls.h"

static int
enter_fresh_directory(void **state)
{
	static char path[64];

	strcpy(path, "/tmp/hearth-launcher-XXXXXX");
	if (!mkdtemp(path))
		return -1;
	*state = path;
	return 0;
}

static int
leave_directory(void **state)
{
	struct err err;

	return tree_remove_at(AT_FDCWD, *state, &err);
}

static struct launcher_request
good_request(void)
{
	return (struct launcher_request){
	    .magic = LAUNCHER_MAGIC,
	    .version = LAUNCHER_VERSION,
	    .op = LAUNCHER_CREATE,
	    .id = "m-0123456789ab",
	    .image = "debian",
	    .slot = 1,
	    .lease_s = 60,
	    .host_key = "key\nof two lines\n",
	    .host_cert = "cert",
	    .user_ca = "ca",
	};
}

static void
expect_refused(const struct launcher_request *q, const char *field)
{
	struct err err;
	char message[64];

	(void)snprintf(message, sizeof(message), "request: wrong %s", field);
	assert_int_equal(request_check(q, sizeof(*q), &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_string_equal(err.msg, message);
}

static void
a_good_request_passes(void **state)
{
	struct launcher_request q = good_request();
	struct err err;

	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	q.slot = LAUNCHER_SLOT_MAX;
	q.memory_bytes = 16 << 20;
	q.pids_max = 16;
	q.cpu_milli = 10;
	q.allow_nesting = 1;
	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	assert_int_equal(request_check(&q, sizeof(q) - 1, &err), -1);
}

/* Every string filled to its last byte: without a terminator nothing may read on. */
static void
unterminated_strings_are_refused(void **state)
{
	const struct launcher_request good = good_request();
	struct launcher_request q;

#define FILL(field)                                                                      \
	q = good;                                                                        \
	memset(q.field, 'a', sizeof(q.field));                                           \
	expect_refused(&q, #field)
	FILL(id);
	FILL(image);
	FILL(image_version);
	FILL(hostname);
	FILL(host_key);
	FILL(host_cert);
	FILL(user_ca);
#undef FILL
}

/* A request for one operation may hold anything in the fields of another. */
static void
only_the_operations_own_fields_count(void **state)
{
	struct launcher_request q = good_request();
	struct err err;

	memset(q.host_key, 'a', sizeof(q.host_key));
	memset(q.image, '/', sizeof(q.image));
	q.op = LAUNCHER_KILL;
	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	q.op = LAUNCHER_LIST;
	memset(q.id, '/', sizeof(q.id));
	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	q.op = LAUNCHER_BUILD_IMAGE;
	expect_refused(&q, "image");
}

static void
a_home_is_a_number(void **state)
{
	struct launcher_request q = {.magic = LAUNCHER_MAGIC,
	    .version = LAUNCHER_VERSION,
	    .op = LAUNCHER_MAKE_HOME};
	struct err err;

	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	q.home_uid = UINT32_MAX;
	expect_refused(&q, "home_uid");
	q.op = LAUNCHER_MOUNT_HOME;
	strcpy(q.id, "m-000000000001");
	expect_refused(&q, "home_uid");
	q.home_uid = UINT32_MAX - 1;
	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	strcpy(q.id, "m-../../../../");
	expect_refused(&q, "id");
}

/* An instance has neither keys nor a lease of the request's. */
static void
starting_an_instance_takes_what_it_needs(void **state)
{
	static const uint32_t with_id[] = {LAUNCHER_START, LAUNCHER_STOP, LAUNCHER_FREEZE,
	    LAUNCHER_THAW, LAUNCHER_SAVE_IMAGE, LAUNCHER_CONSOLE, LAUNCHER_OPEN_METADATA};
	static const uint32_t with_image[] = {
	    LAUNCHER_START, LAUNCHER_SAVE_IMAGE, LAUNCHER_DROP_IMAGE};
	struct launcher_request q = good_request();
	struct err err;

	q.op = LAUNCHER_START;
	q.lease_s = 0;
	q.host_key[0] = q.host_cert[0] = q.user_ca[0] = '\0';
	q.needs_disk = 1;
	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	q.needs_disk = 2;
	expect_refused(&q, "needs_disk");
	q.needs_disk = 0;
	q.slot = 0;
	expect_refused(&q, "slot");
	for (size_t i = 0; i < sizeof(with_id) / sizeof(with_id[0]); i++) {
		q = good_request();
		q.op = with_id[i];
		strcpy(q.id, "m-../../../../");
		expect_refused(&q, "id");
	}
	for (size_t i = 0; i < sizeof(with_image) / sizeof(with_image[0]); i++) {
		q = good_request();
		q.op = with_image[i];
		strcpy(q.image, "../etc");
		expect_refused(&q, "image");
	}
	q.op = LAUNCHER_OP_END;
	expect_refused(&q, "op");
}

static void
a_disk_is_asked_for_by_ids(void **state)
{
	static const uint32_t ops[] = {LAUNCHER_DISK_MAKE, LAUNCHER_DISK_SNAPSHOT,
	    LAUNCHER_DISK_REMOVE, LAUNCHER_DISK_ATTACH, LAUNCHER_DISK_DETACH};
	struct launcher_request q;
	struct err err;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		bool snapshot = ops[i] == LAUNCHER_DISK_SNAPSHOT;

		q = good_request();
		q.op = ops[i];
		q.size_bytes = LAUNCHER_DISK_MIN;
		strcpy(q.disk, snapshot ? "s-0123456789ab" : "d-0123456789ab");
		strcpy(q.source, snapshot ? "d-0123456789ab" : "");
		strcpy(q.disk_name, "data");
		assert_int_equal(request_check(&q, sizeof(q), &err), 0);
		strcpy(q.disk, "m-0123456789ab");
		expect_refused(&q, "disk");
		memset(q.disk, 'd', sizeof(q.disk));
		expect_refused(&q, "disk");
		strcpy(q.disk, "d-../../../../");
		expect_refused(&q, "disk");
	}
	q = good_request();
	q.op = LAUNCHER_DISK_MAKE;
	strcpy(q.disk, "d-0123456789ab");
	expect_refused(&q, "size_bytes");
	q.size_bytes = LAUNCHER_DISK_MAX + 1;
	expect_refused(&q, "size_bytes");
	q.size_bytes = LAUNCHER_DISK_MAX;
	strcpy(q.source, "d-0123456789ab"); /* a disk is made from a snapshot only */
	expect_refused(&q, "source");
	q.op = LAUNCHER_DISK_SNAPSHOT;
	strcpy(q.disk, "s-0123456789ab");
	strcpy(q.source, "s-0123456789ab");
	expect_refused(&q, "source");
	q.op = LAUNCHER_DISK_REMOVE;
	assert_int_equal(request_check(&q, sizeof(q), &err), 0);
	q.op = LAUNCHER_DISK_ATTACH;
	expect_refused(&q, "disk");
	strcpy(q.disk, "d-0123456789ab");
	strcpy(q.disk_name, "..");
	expect_refused(&q, "disk_name");
	memset(q.disk_name, 'x', sizeof(q.disk_name));
	expect_refused(&q, "disk_name");
	strcpy(q.id, "m-");
	expect_refused(&q, "id");
}

static void
a_record_is_read_as_written(void **state)
{
	int dir = open(*state, O_RDONLY | O_DIRECTORY);
	struct record r = {.slot = 7, .boot_id = "some-boot", .image = "debian"}, back;
	struct err err;

	assert_int_equal(record_read(dir, &back, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_int_equal(record_write(dir, &r, &err), 0);
	r.pid = 4194304;
	r.start = UINT64_MAX;
	r.created_at_ms = 1790000000000;
	strcpy(r.image_version, "20261122T112233Z");
	r.keeps_disk = true;
	assert_int_equal(record_write(dir, &r, &err), 0);
	assert_int_equal(record_read(dir, &back, &err), 0);
	assert_memory_equal(&back, &r, sizeof(r));
	/* and over a longer one */
	r.pid = 0;
	r.start = 0;
	assert_int_equal(record_write(dir, &r, &err), 0);
	assert_int_equal(record_read(dir, &back, &err), 0);
	assert_memory_equal(&back, &r, sizeof(r));
	close(dir);
}

static void
damaged_records_are_errors(void **state)
{
	static const char *const damaged[] = {"slot", "slot -1\n", "slot 1x\n",
	    "slot 32001\n", "pid 99999999999\n", "start 18446744073709551616\n",
	    "other 1\n", "disk 2\n", "\nslot 1\n x",
	    "image aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"};
	int dir = open(*state, O_RDONLY | O_DIRECTORY);
	struct record back;
	struct err err;

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		(void)unlinkat(dir, "state", 0);
		assert_int_equal(file_create_at(dir, "state", damaged[i],
				     strlen(damaged[i]), 0600, 0, &err),
		    0);
		if (damaged[i][0] == '\n') /* an empty line ends it */
			assert_int_equal(record_read(dir, &back, &err), 0);
		else
			assert_int_equal(record_read(dir, &back, &err), -1);
	}
	close(dir);
}

/* We are a process with a start time, but not a machine. */
static void
a_process_is_known_by_its_start(void **state)
{
	struct record r = {
	    .pid = getpid(), .start = process_start_time(getpid()), .boot_id = "this"};
	int fd = record_open_process(&r, "this");

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(record_open_process(&r, "that"), -1);
	r.start++;
	assert_int_equal(record_open_process(&r, "this"), -1);
	r.start--;
	r.pid = fork();
	if (r.pid == 0)
		_exit(0);
	r.start = process_start_time(r.pid);
	assert_int_equal(
	    waitid(P_PID, (id_t)r.pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_int_equal(record_open_process(&r, "this"), -1); /* a zombie is dead */
	assert_int_equal(waitpid(r.pid, NULL, 0), r.pid);
	assert_false(process_runs_init(getpid()));
}

/* Deeper than PATH_MAX allows a name for, and than there are descriptors; with a link out of it. */
static void
a_tree_goes_however_deep(void **state)
{
	int top = open(*state, O_RDONLY | O_DIRECTORY), at;
	struct stat st;
	struct err err;

	assert_int_equal(mkdirat(top, "tree", 0700), 0);
	assert_int_equal(mkdirat(top, "outside", 0700), 0);
	at = openat(top, "tree", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 3000; i++) {
		int next;

		assert_int_equal(mkdirat(at, "directory", i % 2 ? 0700 : 0755), 0);
		assert_int_equal(symlinkat("../outside", at, "link"), 0);
		assert_int_equal(file_create_at(at, "file", "x", 1, 0644, 0, &err), 0);
		next = openat(at, "directory", O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(tree_remove_at(top, "tree", &err), 0);
	assert_int_equal(fstatat(top, "tree", &st, 0), -1);
	assert_int_equal(fstatat(top, "outside", &st, 0), 0);
	assert_int_equal(tree_remove_at(top, "tree", &err), 0); /* gone is fine */
	close(top);
}

static int
errno_of(long rc)
{
	return rc < 0 ? errno : 0;
}

/* In a process of its own, which no_new_privs lets load the filter without privileges. */
static int
probe_filter(const struct syscalls_filter *f, bool nesting)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscalls_load(f) != 0)
		return 1;
	if (errno_of(syscall(SYS_bpf, 0, NULL, 0)) != EPERM ||
	    errno_of(syscall(SYS_keyctl, 0, 0, 0)) != EPERM)
		return 2;
	if (errno_of(socket(40 /* vsock */, SOCK_STREAM, 0)) != ENOSYS ||
	    errno_of(syscall(9999)) != ENOSYS)
		return 3;
	if (errno_of(syscall(SYS_clone3, NULL, 0)) != (nesting ? EINVAL : ENOSYS))
		return 4;
	if (!nesting && (errno_of(unshare(CLONE_NEWUSER)) != EPERM ||
			    errno_of(umount2("/nowhere", 0)) != EPERM))
		return 6;
	pid_t pid = fork(); /* clone without namespaces goes through */
	if (pid == 0)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid && getppid() > 0 ? 0 : 7;
}

static void
check_filter(bool nesting)
{
	struct syscalls_filter f;
	struct err err;
	int status;
	pid_t pid;

	assert_int_equal(syscalls_build(nesting, &f, &err), 0);
	assert_in_range(f.n, 100, 4096);
	pid = fork();
	if (pid == 0)
		_exit(probe_filter(&f, nesting));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	syscalls_fini(&f);
}

static void
the_filter_refuses(void **state)
{
	check_filter(false);
}

static void
the_nesting_filter_allows_namespaces(void **state)
{
	check_filter(true);
}

int
main(void)
{
#define IN_DIRECTORY(f)                                                                  \
	cmocka_unit_test_setup_teardown(f, enter_fresh_directory, leave_directory)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_good_request_passes),
	    cmocka_unit_test(unterminated_strings_are_refused),
	    cmocka_unit_test(only_the_operations_own_fields_count),
	    cmocka_unit_test(a_home_is_a_number),
	    cmocka_unit_test(starting_an_instance_takes_what_it_needs),
	    cmocka_unit_test(a_disk_is_asked_for_by_ids),
	    IN_DIRECTORY(a_record_is_read_as_written),
	    IN_DIRECTORY(damaged_records_are_errors),
	    cmocka_unit_test(a_process_is_known_by_its_start),
	    IN_DIRECTORY(a_tree_goes_however_deep),
	    cmocka_unit_test(the_filter_refuses),
	    cmocka_unit_test(the_nesting_filter_allows_namespaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
