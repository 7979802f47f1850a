/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: the identification is found however the bytes arrive, and nothing unbounded,
   binary or of another protocol passes for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "ssh/banner.h"

static const char real[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n";

static void
found_however_it_is_cut(void **state)
{
	static const char text[] =
	    "Welcome\r\n\r\nto this host\nSSH-2.0-x y z\r\nbinary\0follows";
	struct err err;

	for (size_t step = 1; step < sizeof(text); step++) {
		struct ssh_banner b = {0};

		for (size_t i = 0; i < sizeof(text) - 1; i += step) {
			size_t n = sizeof(text) - 1 - i;

			assert_int_equal(
			    ssh_banner_feed(&b, text + i, n < step ? n : step, &err), 0);
		}
		assert_int_equal(b.state, SSH_BANNER_DONE);
		assert_string_equal(b.line, "SSH-2.0-x y z");
	}
}

static void
waits_for_the_end_of_the_line(void **state)
{
	struct ssh_banner b = {0};
	struct err err;

	assert_int_equal(ssh_banner_feed(&b, real, strlen(real) - 1, &err), 0);
	assert_int_equal(b.state, SSH_BANNER_READING);
	assert_int_equal(ssh_banner_feed(&b, "\n", 1, &err), 0);
	assert_int_equal(b.state, SSH_BANNER_DONE);
	assert_string_equal(b.line, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10");
}

static void
takes_both_protocol_numbers(void **state)
{
	struct ssh_banner b = {0};
	struct err err;

	assert_int_equal(ssh_banner_feed(&b, "SSH-1.99-Cisco\n", 15, &err), 0);
	assert_int_equal(b.state, SSH_BANNER_DONE);
}

static void
refused(const char *text, size_t n, const char *why)
{
	struct ssh_banner b = {0};
	struct err err = {0};

	if (ssh_banner_feed(&b, text, n, &err) == 0)
		fail_msg("accepted, wanted '%s'", why);
	assert_int_equal(b.state, SSH_BANNER_FAILED);
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	if (!strstr(err.msg, why))
		fail_msg("wanted '%s' and got '%s'", why, err.msg);
}

static void
refuses_other_servers(void **state)
{
	refused("SSH-1.5-old\r\n", 13, "does not speak SSH 2");
	refused("SSH-2.0\r\n", 9, "does not speak SSH 2");
	refused("SSH-2.0-\x1b[2J\r\n", 14, "printable");
	refused("SSH-2.0-x\0y\r\n", 13, "NUL");
	refused("\x16\x03\x01\0", 4, "NUL"); /* TLS */
}

static void
lines_are_bounded(void **state)
{
	for (int over = 0; over <= 1; over++) {
		AUTO_BUF struct buf text = BUF_INIT(0);
		struct ssh_banner b = {0};
		struct err err;

		buf_str(&text, "SSH-2.0-");
		while (text.len < (size_t)(SSH_BANNER_LINE_MAX - 2 + over))
			buf_char(&text, 'x');
		buf_str(&text, "\r\n");
		assert_int_equal(ssh_banner_feed(&b, text.data, text.len, &err), -over);
	}
}

static void
lines_in_front_are_counted(void **state)
{
	for (int over = 0; over <= 1; over++) {
		AUTO_BUF struct buf text = BUF_INIT(0);
		struct ssh_banner b = {0};
		struct err err;

		for (int i = 0; i < SSH_BANNER_LINES_MAX + over; i++)
			buf_str(&text, "hello\r\n");
		buf_str(&text, real);
		assert_int_equal(ssh_banner_feed(&b, text.data, text.len, &err), -over);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(found_however_it_is_cut),
	    cmocka_unit_test(waits_for_the_end_of_the_line),
	    cmocka_unit_test(takes_both_protocol_numbers),
	    cmocka_unit_test(refuses_other_servers),
	    cmocka_unit_test(lines_are_bounded),
	    cmocka_unit_test(lines_in_front_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
