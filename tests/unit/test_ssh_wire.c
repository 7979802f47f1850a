/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: the reader never gives more than is there, base64 takes only what an encoder
   makes, and a secret's buffer never moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "ssh/wire.h"

static struct wire_str
str(const char *s)
{
	return (struct wire_str){(const uint8_t *)s, strlen(s)};
}

static void
reads_what_was_written(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	struct wire_reader r;
	size_t mark;

	wire_put_cstr(&b, "one");
	buf_u64be(&b, 0x0102030405060708);
	mark = wire_open(&b);
	wire_put_cstr(&b, "inner");
	wire_close(&b, mark);
	r = wire_reader(b.data, b.len);
	assert_true(wire_str_is(wire_get_str(&r), "one"));
	assert_true(wire_get_u64(&r) == 0x0102030405060708);
	assert_int_equal(wire_get_str(&r).n, 4 + 5);
	assert_false(r.bad);
	assert_int_equal(r.left, 0);
}

static void
every_cut_is_noticed(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	wire_put_cstr(&b, "abc");
	buf_u32be(&b, 7);
	for (size_t n = 0; n <= b.len; n++) {
		AUTO_FREE char *exact =
		    malloc(n ? n : 1); /* so that ASan sees a read past n */
		struct wire_reader r = wire_reader(exact, n);

		memcpy(exact, b.data, n);
		(void)wire_get_str(&r);
		(void)wire_get_u32(&r);
		assert_int_equal(r.bad, n < b.len);
	}
}

static void
a_huge_length_is_bad(void **state)
{
	struct wire_reader r = wire_reader("\xff\xff\xff\xff"
					   "abc",
	    7);

	assert_int_equal(wire_get_str(&r).n, 0);
	assert_true(r.bad);
	assert_int_equal(wire_get_u32(&r), 0);
}

static void
mpints_are_positive_and_short(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		bool bad;
	} cases[] = {
	    {"\0\0\0\1\1", 5, false}, {"\0\0\0\2\0\x80", 6, false},
	    {"\0\0\0\0", 4, true},     /* zero */
	    {"\0\0\0\1\0", 5, true},   /* zero, long */
	    {"\0\0\0\1\x80", 5, true}, /* negative */
	    {"\0\0\0\2\0\1", 6, true}, /* a zero too many */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wire_reader r = wire_reader(cases[i].bytes, cases[i].n);

		(void)wire_get_mpint(&r);
		assert_int_equal(r.bad, cases[i].bad);
	}
}

static void
base64_has_one_spelling(void **state)
{
	static const char *const good[][2] = {{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"},
	    {"Zm9v", "foo"}, {"Zm9vYmFy", "foobar"}};
	static const char *const bad[] = {"Z", "Zg",
	    "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "Zm 9", "Zm9v\n", "Zm-_",
	    "Zg==Zg==", "=Zg=", "Zm9\x80"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		AUTO_BUF struct buf out = BUF_INIT(64), back = BUF_INIT(64);

		assert_true(wire_base64_decode(str(good[i][0]), &out));
		assert_string_equal(out.data ? out.data : "", good[i][1]);
		wire_base64_encode(out.data, out.len, true, &back);
		assert_string_equal(back.data ? back.data : "", good[i][0]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		AUTO_BUF struct buf out = BUF_INIT(64);

		if (wire_base64_decode(str(bad[i]), &out))
			fail_msg("accepted '%s'", bad[i]);
	}
}

static void
base64_obeys_the_bound(void **state)
{
	AUTO_BUF struct buf out = BUF_INIT(3);

	assert_true(wire_base64_decode(str("Zm9v"), &out));
	assert_false(wire_base64_decode(str("Zm9v"), &out));
}

static void
a_secret_never_moves(void **state)
{
	AUTO_WIPE struct buf b = wire_secret(300);
	const char *before = b.data;

	for (int i = 0; i < 300; i++)
		buf_char(&b, 'x');
	assert_ptr_equal(b.data, before);
	assert_false(b.overflow);
	buf_char(&b, 'x');
	assert_true(b.overflow);
	assert_ptr_equal(b.data, before);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_what_was_written),
	    cmocka_unit_test(every_cut_is_noticed),
	    cmocka_unit_test(a_huge_length_is_bad),
	    cmocka_unit_test(mpints_are_positive_and_short),
	    cmocka_unit_test(base64_has_one_spelling),
	    cmocka_unit_test(base64_obeys_the_bound),
	    cmocka_unit_test(a_secret_never_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
