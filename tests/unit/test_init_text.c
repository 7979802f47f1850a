/* SPDX-License-Identifier: Apache-2.0 */
/* hearth-init's own text handling: what it takes from outside is read to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "init/text.h"

static void
expect_number(const char *s, int64_t max, int expected, int64_t n, const char *rest)
{
	const char *at = s;
	int64_t got = -7;

	assert_int_equal(text_number(&at, max, &got), expected);
	assert_int_equal(got, expected == 0 ? n : -7);
	assert_string_equal(at, expected == 0 ? rest : s);
}

static void
test_number(void **state)
{
	expect_number("0", 10, 0, 0, "");
	expect_number("10", 10, 0, 10, "");
	expect_number("007 x", 10, 0, 7, " x");
	expect_number("11", 10, -1, 0, NULL);
	expect_number("99999999999999999999999999", INT64_MAX / 16, -1, 0, NULL);
	expect_number("", 10, -1, 0, NULL);
	expect_number("-1", 10, -1, 0, NULL);
	expect_number("+1", 10, -1, 0, NULL);
	expect_number(" 1", 10, -1, 0, NULL);
	expect_number("x", 10, -1, 0, NULL);
}

static void
test_word(void **state)
{
	const char *args = "unset";

	assert_true(text_word("run 5 true", "run", &args));
	assert_string_equal(args, "5 true");
	assert_true(text_word("run ", "run", &args));
	assert_string_equal(args, "");
	assert_true(text_word("run", "run", &args));
	assert_null(args);
	assert_false(text_word("runs", "run", &args));
	assert_false(text_word("ru", "run", &args));
	assert_false(text_word("run\t5", "run", &args));
	assert_false(text_word("", "run", &args));
}

static void
test_building(void **state)
{
	char space[8];
	struct text t = TEXT(space);

	text_str(&t, "ab ");
	text_num(&t, 0);
	text_num(&t, 120);
	assert_int_equal(t.len, 7);
	assert_memory_equal(space, "ab 0120", 7);
	assert_false(t.full);
	text_str(&t, "xy"); /* one too many: left out whole */
	assert_true(t.full);
	assert_int_equal(t.len, 7);
	text_str(&t, "z");
	assert_int_equal(t.len, 8);
}

static void
test_largest_number(void **state)
{
	char space[32];
	struct text t = TEXT(space);

	text_num(&t, INT64_MAX);
	assert_int_equal(t.len, 19);
	assert_memory_equal(space, "9223372036854775807", 19);
}

static void
test_plain(void **state)
{
	char space[32];
	struct text t = TEXT(space);

	text_str(&t, "\n");
	text_plain(&t, "a\033[2J\r\n\x7f\tb\xc3\xbc");
	assert_int_equal(t.len, 13);
	assert_memory_equal(space, "\na?[2J????b\xc3\xbc", 13);
}

/* Fed whole and byte by byte: the answer must not depend on how a pipe cuts the stream.
 */
static void
expect_lines(const char *stream, int expected)
{
	int whole = 0, bytewise = 0, n = 0;

	assert_int_equal(
	    text_lines_with("Acc ", &whole, stream, strlen(stream)), expected);
	for (size_t i = 0; stream[i] != '\0'; i++)
		n += text_lines_with("Acc ", &bytewise, stream + i, 1);
	assert_int_equal(n, expected);
	assert_int_equal(whole, bytewise);
}

static void
test_lines_with(void **state)
{
	expect_lines("", 0);
	expect_lines("Acc x", 1);
	expect_lines("Acc x Acc y\r\n", 1);
	expect_lines("no Acc x\n", 0);
	expect_lines("AccAcc x\n", 0);
	expect_lines("A\nAcc x\nAc\nAcc \n\nAcc", 2);
	expect_lines("AAcc x\n", 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_number),
	    cmocka_unit_test(test_word),
	    cmocka_unit_test(test_building),
	    cmocka_unit_test(test_largest_number),
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_lines_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
