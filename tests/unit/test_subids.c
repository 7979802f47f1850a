/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: ids that users of the host may use are not a machine's, to the id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "host/subids.h"

static char path[] = "/tmp/hearth-subids-XXXXXX";

/* 1000 ids from 10000 on, by a file of this text. */
static enum err_code
checked(const char *text, struct err *err)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	*err = (struct err){0};
	return subids_check(path, 10000, 1000, err) < 0 ? err->code : ERR_NONE;
}

static void
free_ids(void **state)
{
	static const char *const texts[] = {"", "\n", "bob:9000:1000\n", "bob:11000:1\n",
	    "bob:100000:65536\nalice:165536:65536\n", "bob:11000:4294967295\n"};
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(checked(texts[i], &err), ERR_NONE);
}

static void
ids_of_others(void **state)
{
	static const char *const texts[] = {"bob:9000:1001\n", "bob:10999:1",
	    "bob:0:4294967295\n", "bob:10500:1\n", "alice:1:2\n\nbob:10000:1000\n",
	    "1001:10000:1\n"};
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(checked(texts[i], &err), ERR_CONFLICT);
	assert_int_equal(checked("bob:10500:7\n", &err), ERR_CONFLICT);
	assert_non_null(strstr(err.msg, "machines have the ids 10000 to 10999, of which "
					"'bob' may use 10500 to 10506 by /tmp/"));
	assert_non_null(strstr(err.hint, "uid_base"));
}

static void
root_may_anyway(void **state)
{
	struct err err;

	assert_int_equal(checked("root:10000:1000\n0:10000:5\n", &err), ERR_NONE);
	assert_int_equal(
	    checked("root:10000:1000\nbob:10000:1000\n", &err), ERR_CONFLICT);
}

static void
lines_that_are_none(void **state)
{
	static const char *const texts[] = {"bob\n", "bob:\n", "bob:10000\n",
	    "bob:10000:\n", "bob::1000\n", ":10000:1000\n", "bob:x:1000\n",
	    "bob:10000:1000:1\n", "bob:10000:0\n", "bob:10000:-1\n", "bob:-5:20000\n",
	    "bob:10000:99999999999999999999\n", "bob:4294967296:10\n"};
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(checked(texts[i], &err), ERR_NONE);
	assert_int_equal(checked("bob:x:y\nbob:10000:1\n", &err), ERR_CONFLICT);
}

static void
no_file(void **state)
{
	struct err err = {0};

	assert_int_equal(subids_check("/nonexistent/subuid", 1, 1, &err), 0);
	assert_int_equal(subids_check("/etc/passwd/subuid", 1, 1, &err), -1);
	assert_non_null(strstr(err.msg, "/etc/passwd/subuid"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(free_ids),
	    cmocka_unit_test(ids_of_others),
	    cmocka_unit_test(root_may_anyway),
	    cmocka_unit_test(lines_that_are_none),
	    cmocka_unit_test(no_file),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	log_init("test", LOG_LEVEL_ERROR);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
