/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: what a reservation's row says of its disks is read as it was written, and anything else is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "model/reservation_disk.h"

static void
test_there_and_back(void **state)
{
	struct reservation_disk in[ATTACH_STATE_MAX], out;
	AUTO_BUF struct buf b = BUF_INIT(0);
	const char *at;

	for (int i = 0; i < ATTACH_STATE_MAX; i++) {
		in[i] = (struct reservation_disk){.state = (enum attach_state)i,
		    .wait = i & 1,
		    .required = i & 2,
		    .made = i & 4,
		    .snapshot = !(i & 1)};
		if (i != 2)
			(void)snprintf(
			    in[i].disk.s, sizeof(in[i].disk.s), "d-00000000000%d", i);
		(void)snprintf(in[i].error, sizeof(in[i].error), "%s",
		    i == 3 ? "no room, in 'a' zone: try  again" : "");
		memset(in[i].name, 'n', DISK_NAME_MAX);
		in[i].name[i + 1] = '\0';
	}
	memset(in[1].name, 'x', DISK_NAME_MAX);
	memset(in[1].error, 'e', DISK_ERROR_MAX - 1);
	in[1].error[DISK_ERROR_MAX - 1] = in[1].name[DISK_NAME_MAX] = '\0';
	for (int i = 0; i < ATTACH_STATE_MAX; i++)
		reservation_disk_put(&b, &in[i]);
	at = b.data;
	for (int i = 0; i < ATTACH_STATE_MAX; i++) {
		assert_true(reservation_disk_next(&at, &out));
		assert_int_equal(out.state, in[i].state);
		assert_string_equal(out.name, in[i].name);
		assert_string_equal(out.disk.s, in[i].disk.s);
		assert_string_equal(out.error, in[i].error);
		assert_true(out.wait == in[i].wait && out.required == in[i].required &&
			    out.made == in[i].made && out.snapshot == in[i].snapshot);
	}
	assert_false(reservation_disk_next(&at, &out));
}

static void
test_anything_else(void **state)
{
	static const char *const lines[] = {"", "attached", "attached ---- data",
	    "gone ---- data d-000000000001", "attached --- data d-000000000001",
	    "attached ---- data d-0000000000001234", NULL};
	struct reservation_disk d;

	for (int i = 0; i < 7; i++) {
		const char *at = lines[i];

		assert_false(reservation_disk_next(&at, &d));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_anything_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
