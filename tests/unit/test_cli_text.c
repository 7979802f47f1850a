/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: what `hearth` prints, and what it takes for a number, a time or a name, is exactly as documented:
   the words of a table of cases, and for sh and ssh the rules of their manuals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/ssh_options.h"
#include "cli/text.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static void
test_span(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
	} cases[] = {{-5, "0s"}, {0, "0s"}, {999, "0s"}, {1000, "1s"}, {59999, "59s"},
	    {60000, "1m"}, {61000, "1m1s"}, {3599999, "59m59s"}, {3600000, "1h"},
	    {3601000, "1h"}, {14399000, "3h59m"}, {86400000, "1d"}, {187200000, "2d4h"},
	    {86460000, "1d"}, {INT64_C(86400000) * 400, "400d"}};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		AUTO_BUF struct buf b = BUF_INIT(0);

		text_span(&b, cases[i].ms);
		assert_string_equal(b.data, cases[i].want);
	}
}

static void
test_took(void **state)
{
	static const struct {
		double ms;
		const char *want;
	} cases[] = {{-1, "0.0 ms"}, {0.44, "0.4 ms"}, {9.94, "9.9 ms"}, {12, "12 ms"},
	    {999.4, "999 ms"}, {999.6, "1.00 s"}, {1240, "1.24 s"}, {130000, "2m10s"}};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		AUTO_BUF struct buf b = BUF_INIT(0);

		text_took(&b, cases[i].ms);
		assert_string_equal(b.data, cases[i].want);
	}
}

static void
test_size_out_and_in(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} cases[] = {{"512B", 512}, {"1K", 1024}, {"1.5K", 1536},
	    {"512M", INT64_C(512) << 20}, {"20G", INT64_C(20) << 30},
	    {"2T", INT64_C(2) << 40}};
	struct err err;
	int64_t v = -7;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		AUTO_BUF struct buf b = BUF_INIT(0);

		text_size(&b, cases[i].bytes);
		assert_string_equal(b.data, cases[i].text);
	}
	assert_int_equal(opts_size("20G", &v, &err), 0);
	assert_int_equal(v, INT64_C(20) << 30);
	assert_int_equal(opts_size("4096", &v, &err), 0);
	assert_int_equal(v, 4096);
	for (const char *const *s = (const char *const[]){"", "G", "0", "0G", "-1G",
		 "1.5G", "1 G", "1g", "1GB", "9999999999T", "99999999999999999999", NULL};
	     *s; s++) {
		v = -7;
		assert_int_equal(opts_size(*s, &v, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
		assert_int_equal(v, -7);
	}
}

static void
test_duration_and_decimal(void **state)
{
	struct err err;
	int64_t ms = -7;
	double d = -7;

	(void)state;
	assert_int_equal(opts_duration("50ms", &ms, &err), 0);
	assert_int_equal(ms, 50);
	assert_int_equal(opts_duration("2h", &ms, &err), 0);
	assert_int_equal(ms, 7200000);
	assert_int_equal(opts_duration("1d", &ms, &err), 0);
	assert_int_equal(ms, 86400000);
	for (const char *const *s = (const char *const[]){"", "5", "0s", "-1s", "1.5h",
		 "1 h", "1H", "h", "1h30m", "106751991168d", NULL};
	     *s; s++)
		assert_int_equal(opts_duration(*s, &ms, &err), -1);
	assert_int_equal(opts_decimal("0.5", &d, &err), 0);
	assert_true(d == 0.5);
	assert_int_equal(opts_decimal(".5", &d, &err), 0);
	assert_int_equal(opts_decimal("4.", &d, &err), 0);
	assert_true(d == 4);
	for (const char *const *s = (const char *const[]){"", ".", "-1", "+1", "1e3",
		 "0x10", "inf", "nan", "1 ", " 1", "1,5", "1.2.3",
		 "111111111111111111111111111111111", NULL};
	     *s; s++)
		assert_int_equal(opts_decimal(*s, &d, &err), -1);
}

static void
test_time(void **state)
{
	int64_t at = -7;

	(void)state;
	assert_true(text_parse_time("2026-11-22T05:42:33.000Z", &at));
	assert_int_equal(at, INT64_C(1795326153000));
	assert_true(text_parse_time("1970-01-01T00:00:00Z", &at));
	assert_int_equal(at, 0);
	assert_true(text_parse_time("1970-01-01T00:00:00.0123456Z", &at));
	assert_int_equal(at, 12);
	for (const char *const *s = (const char *const[]){"", "now", "2026-11-22",
		 "2026-11-22T05:42:33", "2026-11-22T05:42:33+01:00",
		 "2026-13-22T05:42:33Z", "2026-11-32T05:42:33Z", "2026-11-22T24:00:00Z",
		 "2026-11-22 05:42:33Z", "2026-11-22T05:42:33.000ZZ",
		 "26-11-22T05:42:33Z", "2026-1-22T05:42:33Z", NULL};
	     *s; s++) {
		at = -7;
		assert_false(text_parse_time(*s, &at));
		assert_int_equal(at, -7);
	}
}

static void
test_clean(void **state)
{
	static const struct {
		const char *in;
		const char *want;
		size_t width;
	} cases[] = {{"plain", "plain", 5}, {"ünï→", "ünï→", 4},
	    {"a\nb\tc\r", "a?b?c?", 6}, {"\x1b[31m", "?[31m", 5},
	    {"\xc2\x9b"
	     "31m",
		"?31m", 4},
	    {"\x9b"
	     "31m",
		"?31m", 4},
	    {"\xe2\x80\xaex", "?x", 2}, {"\xe2\x81\xa6x", "?x", 2}, {"\x7f", "?", 1},
	    {"\xc0\x8a", "??", 2}, {"\xe2\x82", "??", 2}, {"\xf5\x80\x80\x80", "?", 1},
	    {"\xff", "?", 1}, {"\U0001F525", "\U0001F525", 1}};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		AUTO_BUF struct buf b = BUF_INIT(0);

		text_clean(&b, cases[i].in);
		assert_string_equal(b.data, cases[i].want);
		assert_int_equal(text_width(b.data), cases[i].width);
	}
}

static void
test_quoting(void **state)
{
	static const struct {
		const char *in;
		const char *sh;
		const char *ssh; /* NULL: cannot be told */
	} cases[] = {{"/a/b-c_d.e", "/a/b-c_d.e", "/a/b-c_d.e"},
	    {"/a b", "'/a b'", "\"/a b\""}, {"/it's", "'/it'\\''s'", "\"/it's\""},
	    {"/\"q\"", "'/\"q\"'", "\"/\\\"q\\\"\""}, {"/b\\c", "'/b\\c'", "\"/b\\\\c\""},
	    {"/p%c", "/p%c", "/p%%c"}, {"", "''", "\"\""}, {"/$x", "'/$x'", "/$x"},
	    {"/${x}", "'/${x}'", NULL}, {"/a\nb", "'/a\nb'", NULL}, {"~x", "'~x'", "~x"},
	    {"/#", "'/#'", "\"/#\""}};
	struct err err;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		AUTO_BUF struct buf sh = BUF_INIT(0);
		AUTO_BUF struct buf ssh = BUF_INIT(0);

		text_sh(&sh, cases[i].in);
		assert_string_equal(sh.data, cases[i].sh);
		if (!cases[i].ssh) {
			assert_int_equal(text_ssh(&ssh, cases[i].in, &err), -1);
			continue;
		}
		assert_int_equal(text_ssh(&ssh, cases[i].in, &err), 0);
		assert_string_equal(ssh.data, cases[i].ssh);
	}
}

static void
test_include_is_escaped_for_glob_and_for_quotes(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	struct err err;

	(void)state;
	assert_int_equal(ssh_include_line(&b, "/a b/[x]*\\\"", "/*/c", &err), 0);
	assert_string_equal(b.data, "Include \"/a b/\\\\[x\\\\]\\\\*\\\\\\\\\\\"/*/c\"");
	assert_int_equal(ssh_include_line(&b, "/a\nb", "", &err), -1);
}

static void
test_url(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	(void)state;
	text_url(&b, "a/b?c#d e%ü.~_-Z9");
	assert_string_equal(b.data, "a%2Fb%3Fc%23d%20e%25%C3%BC.~_-Z9");
}

static void
test_options(void **state)
{
	const char *name = NULL;
	double hours = 0;
	int64_t count = -1;
	bool flag = false;
	struct strings list = {.n = 0};
	const struct opt table[] = {{"name", OPT_STRING, &name},
	    {"hours", OPT_HOURS, &hours}, {"count", OPT_COUNT, &count},
	    {"flag", OPT_FLAG, &flag}, {"disk", OPT_STRINGS, &list}, {NULL}};
	char *argv[] = {"one", "--name", "--flag", "two", "--hours=1.5", "--disk", "a",
	    "--disk=b", "-", "--json", "--count", "3", "--", "--flag", "x", NULL};
	struct cli cli = {0};
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(opts_parse(&cli, table, 15, argv, 1, -1, true, &args, &err), 0);
	assert_string_equal(name, "--flag"); /* a value may look like an option */
	assert_false(flag);
	assert_true(cli.json && hours == 1.5);
	assert_int_equal(count, 3);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.s[1], "b");
	assert_int_equal(args.n, 3);
	assert_string_equal(args.operand[2], "-");
	assert_string_equal(args.rest[0], "--flag");
	assert_null(args.rest[2]);
}

static void
test_options_that_are_wrong(void **state)
{
	const char *name = NULL;
	int64_t count = -1;
	bool flag = false;
	struct strings list = {.n = 0};
	const struct opt table[] = {{"name", OPT_STRING, &name},
	    {"count", OPT_COUNT, &count}, {"flag", OPT_FLAG, &flag},
	    {"disk", OPT_STRINGS, &list}, {NULL}};
	static const char *const wrong[] = {"--nam", "--names", "-n", "--name",
	    "--name=", "--flag=1", "--count=-1", "--count=1e3", "--count=1000001",
	    "--count=+1", "---flag", "--=x"};

	(void)state;
	for (size_t i = 0; i < N(wrong); i++) {
		char *argv[] = {(char *)wrong[i], NULL};
		struct cli cli = {0};
		struct args args;
		struct err err;

		assert_int_equal(
		    opts_parse(&cli, table, 1, argv, 0, 0, false, &args, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
	}
	assert_null(name);
	assert_false(flag);
	assert_int_equal(count, -1);
}

static void
test_refs(void **state)
{
	struct err err;
	char longest[65];

	(void)state;
	memset(longest, 'a', 64);
	longest[64] = '\0';
	assert_int_equal(opts_ref("pool", longest, &err), -1);
	longest[63] = '\0';
	assert_int_equal(opts_ref("pool", longest, &err), 0);
	assert_int_equal(opts_ref("pool", "r-", &err), 0); /* the beginning of an id */
	for (const char *const *s = (const char *const[]){"", "..", "a..b", "a/b", "a b",
		 "a\n", "ä", "%2e", NULL};
	     *s; s++)
		assert_int_equal(opts_ref("pool", *s, &err), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_span),
	    cmocka_unit_test(test_took),
	    cmocka_unit_test(test_size_out_and_in),
	    cmocka_unit_test(test_duration_and_decimal),
	    cmocka_unit_test(test_time),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_quoting),
	    cmocka_unit_test(test_include_is_escaped_for_glob_and_for_quotes),
	    cmocka_unit_test(test_url),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_options_that_are_wrong),
	    cmocka_unit_test(test_refs),
	};

	return cmocka_run_group_tests_name("cli text", tests, NULL, NULL);
}
