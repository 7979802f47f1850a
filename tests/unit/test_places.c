/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: a runtime directory has one hearthd or one hearth-ec2, each by a lock of its own name, and whoever comes second is told who
   has it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/places.h"

static char dir[64];

static int
make_dir(void **state)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/hearth-places-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int
remove_dir(void **state)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)unlinkat(fd, "hearthd.lock", 0);
	(void)unlinkat(fd, "hearth-ec2.lock", 0);
	close(fd);
	return rmdir(dir);
}

static bool
is_there(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static void
assert_refused(const char *program, const char *why)
{
	char want[128];
	struct err err;
	int fd;

	(void)snprintf(
	    want, sizeof(want), "%s (pid %ld) runs in %s", why, (long)getpid(), dir);
	assert_int_equal(places_lock_runtime(program, dir, &fd, &err), -1);
	assert_int_equal(err.code, ERR_CONFLICT);
	assert_string_equal(err.msg, want);
	assert_non_null(strstr(err.hint, "stop it first"));
	assert_int_equal(strstr(err.hint, "'socket'") != NULL,
	    strcmp(program, "hearthd") == 0); /* hearth-ec2 has no such key */
}

static void
each_has_its_own_lock(void **state)
{
	const char *program = *state;
	char file[64];
	struct err err;
	int fd;

	(void)snprintf(file, sizeof(file), "%s.lock", program);
	assert_int_equal(places_lock_runtime(program, dir, &fd, &err), 0);
	assert_true(is_there(file));
	assert_int_equal(is_there("hearthd.lock") + is_there("hearth-ec2.lock"), 1);
	close(fd);
}

static void
there_is_one_of_both(void **state)
{
	struct err err;
	int fd;

	assert_int_equal(places_lock_runtime("hearthd", dir, &fd, &err), 0);
	assert_refused("hearthd", "another hearthd");
	assert_refused("hearth-ec2", "hearthd");
	close(fd);

	assert_int_equal(places_lock_runtime("hearth-ec2", dir, &fd, &err), 0);
	assert_refused("hearth-ec2", "another hearth-ec2");
	assert_refused("hearthd", "hearth-ec2");
	close(fd);

	/* what was refused has kept nothing, and files that nobody holds are nobody's */
	assert_int_equal(places_lock_runtime("hearthd", dir, &fd, &err), 0);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    {"each_has_its_own_lock: hearthd", each_has_its_own_lock, make_dir,
		remove_dir, "hearthd"},
	    {"each_has_its_own_lock: hearth-ec2", each_has_its_own_lock, make_dir,
		remove_dir, "hearth-ec2"},
	    cmocka_unit_test_setup_teardown(there_is_one_of_both, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
