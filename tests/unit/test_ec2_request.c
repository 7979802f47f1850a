/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: whatever bytes come as a form, what is taken is within the bounds, and each mistake is the error that AWS has for
   it; nothing that nobody has read is taken silently. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "ec2/request.h"

static struct request
decoded(const char *form)
{
	struct request q = {0};

	(void)request_decode(&q, form, strlen(form));
	return q;
}

static void
expect_refused(const char *form, size_t n)
{
	struct request q = {0};

	assert_int_equal(request_decode(&q, form, n), -1);
	assert_string_equal(q.code, "MalformedQueryString");
	assert_int_equal(q.status, 400);
	request_fini(&q);
}

static void
test_takes_a_form_apart(void **state)
{
	struct request q =
	    decoded("Action=A&Filter.1.Name=tag%3Aa%2Bb&Filter.1.Value.1=x+y&Filter.1."
		    "Value.2=%C3%A4&"
		    "Filter.2.Name=n&Empty=&Alone&Id.1=a&Id.2=b&Id.4=d&Idx.1=z");

	assert_false(request_failed(&q));
	assert_string_equal(request_text(&q, "Filter.%d.Name", 1), "tag:a+b");
	assert_string_equal(request_text(&q, "Filter.1.Value.1"), "x y");
	assert_string_equal(request_text(&q, "Filter.1.Value.2"), "\xc3\xa4");
	assert_int_equal(request_count(&q, "Filter"), 2);
	assert_int_equal(request_count(&q, "Filter.%d.Value", 1), 2);
	assert_int_equal(request_count(&q, "Id"), 2); /* the gap ends it */
	assert_string_equal(request_text(&q, "Empty"), "");
	assert_string_equal(request_text(&q, "Alone"), "");
	assert_null(request_text(&q, "Id"));
	assert_true(request_has(&q, "Id"));
	assert_false(request_has(&q, "I"));
	request_fini(&q);
}

static void
test_refuses_what_is_no_form(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	expect_refused("a=%", 3);
	expect_refused("a=%4", 4);
	expect_refused("a=%zz", 5);
	expect_refused("a=%00", 5);
	expect_refused("a=\0b", 4);
	expect_refused("=x", 2);
	expect_refused("a b=x", 5);
	expect_refused("%C3=x", 5);
	expect_refused("a=%C3", 5);	      /* cut off */
	expect_refused("a=%C0%80", 8);	      /* overlong */
	expect_refused("a=%ED%A0%80", 11);    /* a surrogate */
	expect_refused("a=%F4%90%80%80", 14); /* beyond Unicode */
	expect_refused("a=1&a=2", 7);
	expect_refused("1.2.3.4.5.6.7.8.9.10.11.12.13=x", 31);
	for (int i = 0; i <= REQUEST_NAME_MAX; i++)
		buf_char(&b, 'n');
	expect_refused(b.data, b.len);
	buf_reset(&b);
	buf_str(&b, "v=");
	for (unsigned i = 0; i <= REQUEST_VALUE_MAX; i++)
		buf_char(&b, 'v');
	expect_refused(b.data, b.len);
	buf_reset(&b);
	for (int i = 0; i <= REQUEST_PARAMS_MAX; i++)
		buf_fmt(&b, "&p%d=", i);
	expect_refused(b.data, b.len);
}

#define EXPECT_CODE(form, call, expected)                                                \
	do {                                                                             \
		struct request q = decoded(form);                                        \
		call;                                                                    \
		assert_string_equal(q.code, expected);                                   \
		request_fini(&q);                                                        \
	} while (0)

static void
test_says_what_is_wrong_with_a_value(void **state)
{
	static const char *const ab[] = {"a", "b", NULL};
	size_t n;

	EXPECT_CODE("N=5", assert_int_equal(request_int(&q, 1, 5, 9, "N"), 5), "");
	EXPECT_CODE("", assert_int_equal(request_int(&q, 1, 5, 9, "N"), 1), "");
	EXPECT_CODE("N=4", request_int(&q, 1, 5, 9, "N"), "InvalidParameterValue");
	EXPECT_CODE("N=10", request_int(&q, 1, 5, 9, "N"), "InvalidParameterValue");
	EXPECT_CODE("N=5x", request_int(&q, 1, 5, 9, "N"), "InvalidParameterValue");
	EXPECT_CODE("N=+5", request_int(&q, 1, 5, 9, "N"), "InvalidParameterValue");
	EXPECT_CODE("N=", request_int(&q, 1, 5, 9, "N"), "InvalidParameterValue");
	EXPECT_CODE("N=99999999999999999999", request_int(&q, 1, 5, INT64_MAX, "N"),
	    "InvalidParameterValue");
	EXPECT_CODE("B=True", assert_true(request_bool(&q, false, "B")), "");
	EXPECT_CODE("B=no", request_bool(&q, false, "B"), "InvalidParameterValue");
	EXPECT_CODE(
	    "C=b", assert_ptr_equal(request_choice(&q, ab, NULL, "C"), ab[1]), "");
	EXPECT_CODE("C=c", request_choice(&q, ab, NULL, "C"), "InvalidParameterValue");
	EXPECT_CODE("", request_need(&q, "X"), "MissingParameter");
	EXPECT_CODE("X=", request_need(&q, "X"), "MissingParameter");
	EXPECT_CODE(
	    "U=YQ%3D%3D&V=YWI%3D&W=YWJj%0AYWJj",
	    {
		    char *a = request_base64(&q, 9, &n, "U");
		    char *b = request_base64(&q, 9, &n, "V");
		    char *c = request_base64(&q, 9, &n, "W");

		    assert_string_equal(a, "a");
		    assert_string_equal(b, "ab");
		    assert_string_equal(c, "abcabc");
		    free(a);
		    free(b);
		    free(c);
	    },
	    "");
	EXPECT_CODE("U=YWJj", request_base64(&q, 2, &n, "U"), "InvalidParameterValue");
	EXPECT_CODE("U=Y", request_base64(&q, 9, &n, "U"), "InvalidParameterValue");
	EXPECT_CODE("U=Y%21", request_base64(&q, 9, &n, "U"), "InvalidParameterValue");
	EXPECT_CODE(
	    "U=YQ%3D%3DYQ", request_base64(&q, 9, &n, "U"), "InvalidParameterValue");
}

static void
test_the_first_mistake_counts(void **state)
{
	struct request q = decoded("N=x&B=y");

	request_int(&q, 0, 0, 1, "N");
	request_bool(&q, false, "B");
	assert_non_null(strstr(q.message, "parameter N "));
	request_fini(&q);
}

static void
test_acts_only_on_what_was_read(void **state)
{
	EXPECT_CODE(
	    "Action=A&Version=2016-11-15&X=1",
	    {
		    request_text(&q, "X");
		    assert_true(request_ready(&q));
	    },
	    "");
	EXPECT_CODE(
	    "X=1&Y.1=2",
	    {
		    request_text(&q, "X");
		    assert_false(request_ready(&q));
	    },
	    "UnknownParameter");
	EXPECT_CODE(
	    "Y.1=2&Y.2.Z=3",
	    {
		    request_ignore(&q, "Y");
		    assert_true(request_ready(&q));
	    },
	    "");
	EXPECT_CODE("DryRun=true", assert_false(request_ready(&q)), "DryRunOperation");
	EXPECT_CODE(
	    "DryRun=true&X=1", assert_false(request_ready(&q)), "UnknownParameter");
	EXPECT_CODE(
	    "DryRun=maybe", assert_false(request_ready(&q)), "InvalidParameterValue");
}

static void
test_a_digest_is_of_what_makes_a_request(void **state)
{
	struct request a = decoded("X=1&ClientToken=t&NextToken=5&MaxResults=5&Y=2");
	struct request b = decoded("Y=2&X=1&DryRun=false&Signature=s");
	struct request c = decoded("X=1&Y=3");
	struct request d = decoded("X=1&Y2="); /* the same bytes, parted otherwise */
	char da[REQUEST_DIGEST_MAX], db[REQUEST_DIGEST_MAX], dc[REQUEST_DIGEST_MAX],
	    dd[REQUEST_DIGEST_MAX];

	request_digest(&a, da);
	request_digest(&b, db);
	request_digest(&c, dc);
	request_digest(&d, dd);
	assert_string_equal(da, db);
	assert_string_not_equal(da, dc);
	assert_string_not_equal(da, dd);
	request_fini(&a);
	request_fini(&b);
	request_fini(&c);
	request_fini(&d);
}

static void
test_replies_are_escaped(void **state)
{
	struct reply r = {0};

	reply_open(&r, "a");
	reply_text(&r, "b", "<&>\"\r\x01\xc3\xa4");
	reply_text(&r, "none", NULL);
	reply_time(&r, "t", INT64_C(1790000000123));
	reply_close(&r);
	assert_string_equal(r.body.data, "<a><b>&lt;&amp;&gt;&quot;&#13;?\xc3\xa4</"
					 "b><t>2026-09-21T14:13:20.000Z</t></a>");
	reply_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_takes_a_form_apart),
	    cmocka_unit_test(test_refuses_what_is_no_form),
	    cmocka_unit_test(test_says_what_is_wrong_with_a_value),
	    cmocka_unit_test(test_the_first_mistake_counts),
	    cmocka_unit_test(test_acts_only_on_what_was_read),
	    cmocka_unit_test(test_a_digest_is_of_what_makes_a_request),
	    cmocka_unit_test(test_replies_are_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
