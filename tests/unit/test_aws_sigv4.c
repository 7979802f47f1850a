/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what AWS has published as signed requests is signed by us to the same byte, and is accepted; anything changed in
 * one, too old, too new, or of another's secret is refused, and for the right reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#include <jansson.h>

#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

#define SIGNED_AT 1440938160 /* 2015-08-30T12:36:00Z */

static json_t *doc;
static const char *secret;

struct vector {
	struct sigv4_request req;
	struct sigv4_header headers[SIGV4_HEADERS_MAX];
};

static const char *
str(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static void
take_vector(struct vector *v, const json_t *from, const char *method)
{
	json_t *headers = json_object_get(from, "headers"), *h;
	size_t i;

	memset(v, 0, sizeof(*v));
	v->req = (struct sigv4_request){
	    .method = method,
	    .path = str(from, "path"),
	    .query = str(from, "query"),
	    .headers = v->headers,
	    .body = str(from, "body"),
	    .body_len = strlen(str(from, "body")),
	};
	json_array_foreach (headers, i, h) {
		v->headers[i].name = json_string_value(json_array_get(h, 0));
		v->headers[i].value = json_string_value(json_array_get(h, 1));
	}
	v->req.n_headers = (int)json_array_size(headers);
}

/* Only what the suite signed: one vector has a token that is not. */
static void
keep_signed(struct vector *v, const char *list)
{
	int k = 0;

	for (int i = 0; i < v->req.n_headers; i++) {
		const char *at = strcasestr(list, v->headers[i].name);
		size_t n = strlen(v->headers[i].name);

		if (at && (at[n] == ';' || !at[n]))
			v->headers[k++] = v->headers[i];
	}
	v->req.n_headers = k;
}

static json_t *
vector_at(size_t i)
{
	return json_array_get(json_object_get(doc, "vectors"), i);
}

static size_t
n_vectors(void)
{
	size_t n = json_array_size(json_object_get(doc, "vectors"));

	assert_true(n >= 30);
	return n;
}

static void
test_signs_as_published(void **state)
{
	for (size_t i = 0; i < n_vectors(); i++) {
		json_t *j = vector_at(i);
		const struct sigv4_key key = {"AKIDEXAMPLE", secret, str(j, "token")};
		const char *service = *str(j, "service") ? str(j, "service") : "service";
		AUTO_BUF struct buf got = BUF_INIT(0);
		struct vector v;
		struct err err;

		print_message("%s\n", str(j, "name"));
		take_vector(&v, j, str(j, "method"));
		keep_signed(&v, str(j, "signed_headers"));
		assert_int_equal(
		    sigv4_sign(&v.req, &key, "us-east-1", service, &got, &err), 0);
		assert_string_equal(got.data, str(j, "authorization"));
	}
}

static void
test_accepts_what_is_published(void **state)
{
	for (size_t i = 0; i < n_vectors(); i++) {
		json_t *j = vector_at(i), *pre = json_object_get(j, "presigned");
		struct sigv4_claim claim;
		struct vector v;
		struct err err = {0};

		print_message("%s\n", str(j, "name"));
		take_vector(&v, j, str(j, "method"));
		assert_int_equal(sigv4_parse(str(j, "authorization"), "",
				     "20150830T123600Z", &claim, &err),
		    0);
		assert_string_equal(claim.access_key_id, "AKIDEXAMPLE");
		assert_string_equal(claim.region, "us-east-1");
		assert_int_equal(
		    sigv4_verify(&v.req, &claim, secret, SIGNED_AT + 299, &err), 0);
		/* A token may be added after signing, and is then in the query but not signed. */
		if (!pre || strcmp(str(j, "name"), "post-sts-header-after") == 0)
			continue;
		take_vector(&v, pre, str(j, "method"));
		if (sigv4_parse(NULL, v.req.query, NULL, &claim, &err) < 0 ||
		    sigv4_verify(&v.req, &claim, secret, SIGNED_AT + 3600, &err) < 0)
			fail_msg("presigned: %s", err.msg);
		assert_true(claim.presigned);
		assert_int_equal(claim.expires_s, 3600);
	}
}

/* ---- one request, and all that may be wrong with it ---- */

static struct sigv4_header headers[] = {
    {"Host", "ec2.us-east-1.amazonaws.com"},
    {"X-Amz-Date", "20150830T123600Z"},
    {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
    {"User-Agent", "not signed"},
};
static struct sigv4_request request;
static struct buf authorization;
static struct sigv4_claim claim;

static int
setup(void **state)
{
	const struct sigv4_key key = {"AKIDEXAMPLE", secret, NULL};
	struct err err;

	headers[1].value = "20150830T123600Z";
	request = (struct sigv4_request){
	    "POST", "/a%20b/", "b=2&a=1", headers, 3, "Action=DescribeInstances", 24};
	buf_fini(&authorization);
	assert_int_equal(
	    sigv4_sign(&request, &key, "us-east-1", "ec2", &authorization, &err), 0);
	assert_int_equal(
	    sigv4_parse(authorization.data, "", headers[1].value, &claim, &err), 0);
	request.n_headers = 4;
	return 0;
}

static enum err_code
verify_at(int64_t now_s)
{
	struct err err = {0};

	return sigv4_verify(&request, &claim, secret, now_s, &err) < 0 ? err.code
								       : ERR_NONE;
}

static void
test_what_was_changed_is_refused(void **state)
{
	struct err err;

	assert_int_equal(verify_at(SIGNED_AT), ERR_NONE);
	headers[3].value = "not signed, and so may change";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NONE);
	assert_int_equal(sigv4_verify(&request, &claim, "another", SIGNED_AT, &err), -1);
	assert_int_equal(err.code, ERR_NOT_PERMITTED);
	request.body = "Action=TerminateInstance";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	setup(state);
	request.path = "/a/";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	setup(state);
	request.query = "b=2&a=2";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	request.query = "a=1&b=2"; /* the same in another order */
	assert_int_equal(verify_at(SIGNED_AT), ERR_NONE);
	request.method = "GET";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	setup(state);
	headers[2].value = "text/plain";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	headers[2].value = " application/x-www-form-urlencoded;   charset=utf-8 ";
	assert_int_equal(verify_at(SIGNED_AT), ERR_NONE);
	memcpy(claim.region, "us-west-2", 10);
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	setup(state);
	memcpy(claim.service, "sts", 4);
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	setup(state);
	claim.signature[63] = claim.signature[63] == '0' ? '1' : '0';
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
	setup(state);
	claim.date[14] = '1'; /* a second later: another string to sign */
	assert_int_equal(verify_at(SIGNED_AT), ERR_NOT_PERMITTED);
}

static void
test_time(void **state)
{
	assert_int_equal(verify_at(SIGNED_AT + SIGV4_SKEW_S), ERR_NONE);
	assert_int_equal(verify_at(SIGNED_AT - SIGV4_SKEW_S), ERR_NONE);
	assert_int_equal(verify_at(SIGNED_AT + SIGV4_SKEW_S + 1), ERR_CONFLICT);
	assert_int_equal(verify_at(SIGNED_AT - SIGV4_SKEW_S - 1), ERR_CONFLICT);
	claim.presigned = true;
	claim.expires_s = 1000;
	assert_int_equal(verify_at(SIGNED_AT + 1001), ERR_CONFLICT);
	assert_int_equal(verify_at(SIGNED_AT + 1000), ERR_NONE);
	assert_int_equal(verify_at(SIGNED_AT - SIGV4_SKEW_S - 1), ERR_CONFLICT);
}

static void
test_what_is_signed(void **state)
{
	request.n_headers = 2; /* without the content type, which is signed */
	assert_int_equal(verify_at(SIGNED_AT), ERR_INVALID);
	setup(state);
	memcpy(claim.signed_headers, "x-amz-date", 11);
	assert_int_equal(verify_at(SIGNED_AT), ERR_INVALID); /* host is not signed */
	memcpy(claim.signed_headers, "hostess", 8);
	assert_int_equal(verify_at(SIGNED_AT), ERR_INVALID);
}

#define SIG "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CRED "AKID/20150830/us-east-1/ec2/aws4_request"

static void
test_headers_that_are_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "AWS4-HMAC-SHA256",
	    "Bearer x",
	    "AWS4-HMAC-SHA256 ",
	    "AWS4-HMAC-SHA256 Credential=" CRED ", SignedHeaders=host",
	    "AWS4-HMAC-SHA256 Credential=" CRED ", Signature=" SIG,
	    "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=" CRED ", SignedHeaders=host, Signature=" SIG
	    "0",
	    "AWS4-HMAC-SHA256 Credential=" CRED ", SignedHeaders=host, Signature=ABC",
	    "AWS4-HMAC-SHA256 Credential=" CRED ", SignedHeaders=Host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=" CRED ", SignedHeaders=, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=/20150830/us-east-1/ec2/aws4_request, "
	    "SignedHeaders=host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/aws4_request, "
	    "SignedHeaders=host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=A/20150831/us-east-1/ec2/aws4_request, "
	    "SignedHeaders=host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/ec2/aws3_request, "
	    "SignedHeaders=host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=A/20150830/us east/ec2/aws4_request, "
	    "SignedHeaders=host, Signature=" SIG,
	    "AWS4-HMAC-SHA256 Credential=" CRED ", Credential=" CRED
	    ", SignedHeaders=host, Signature=" SIG,
	};
	struct err err;

	assert_int_equal(sigv4_parse("AWS4-HMAC-SHA256 Credential=" CRED
				     ",SignedHeaders=host,Signature=" SIG,
			     "", "20150830T123600Z", &claim, &err),
	    0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (sigv4_parse(bad[i], "", "20150830T123600Z", &claim, &err) == 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static void
test_dates_that_are_refused(void **state)
{
	static const char *const bad[] = {"", "20150830", "20150830T123600",
	    "20151330T123600Z", "20150230T123600Z", "20150830T243600Z",
	    "20150830T126000Z", "2015-08-30T12:36:00Z", "20150830T12360 Z"};
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (sigv4_parse(authorization.data, "", bad[i], &claim, &err) == 0 ||
		    !strstr(err.msg, "ISO-8601"))
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(sigv4_parse(authorization.data, "", NULL, &claim, &err), -1);
}

static void
test_presigned_that_are_refused(void **state)
{
	static const char *const good =
	    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20150830%2Fus-east-"
	    "1%"
	    "2Fec2%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&"
	    "X-Amz-SignedHeaders=host&X-Amz-Signature=" SIG;
	static const char *const args[] = {"X-Amz-Algorithm", "X-Amz-Credential",
	    "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"};
	AUTO_FREE char *less_expires = strdup(good), *max = NULL;
	struct err err;

	assert_int_equal(sigv4_parse(NULL, good, NULL, &claim, &err), 0);
	assert_int_equal(claim.expires_s, 60);
	for (size_t i = 0; i < sizeof(args) / sizeof(args[0]); i++) {
		AUTO_FREE char *less = strdup(good);

		memcpy(strstr(less, args[i]), "Y", 1);
		assert_int_equal(sigv4_parse(NULL, less, NULL, &claim, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
	}
	assert_int_equal(sigv4_parse(NULL, "", NULL, &claim, &err), -1);
	memcpy(strstr(less_expires, "X-Amz-Expires"), "Y", 1);
	max = xasprintf("%s&X-Amz-Expires=604800", less_expires);
	assert_int_equal(sigv4_parse(NULL, max, NULL, &claim, &err), 0);
	for (size_t i = 0; i < 4; i++) {
		static const char *const seconds[] = {"00", "6x", "604801", ""};
		AUTO_FREE char *wrong =
		    xasprintf("%s&X-Amz-Expires=%s", less_expires, seconds[i]);

		assert_int_equal(sigv4_parse(NULL, wrong, NULL, &claim, &err), -1);
		assert_non_null(strstr(err.msg, "X-Amz-Expires"));
	}
}

static void
test_signing_needs_its_headers(void **state)
{
	const struct sigv4_key key = {"AKID", "s", NULL}, token = {"AKID", "s", "t"};
	AUTO_BUF struct buf out = BUF_INIT(0);
	struct err err;

	request.n_headers = 1;
	assert_int_equal(sigv4_sign(&request, &key, "r", "s", &out, &err), -1);
	request.n_headers = 2;
	assert_int_equal(sigv4_sign(&request, &token, "r", "s", &out, &err), -1);
	assert_int_equal(out.len, 0);
	assert_int_equal(sigv4_sign(&request, &key, "r", "s", &out, &err), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_signs_as_published),
	    cmocka_unit_test(test_accepts_what_is_published),
	    cmocka_unit_test_setup(test_what_was_changed_is_refused, setup),
	    cmocka_unit_test_setup(test_time, setup),
	    cmocka_unit_test_setup(test_what_is_signed, setup),
	    cmocka_unit_test(test_headers_that_are_refused),
	    cmocka_unit_test_setup(test_dates_that_are_refused, setup),
	    cmocka_unit_test(test_presigned_that_are_refused),
	    cmocka_unit_test_setup(test_signing_needs_its_headers, setup),
	};
	int failed;

	doc = argc > 1 ? json_load_file(argv[1], 0, NULL) : NULL;
	if (!doc) {
		fprintf(stderr, "usage: test_aws_sigv4 sigv4.json\n");
		return 2;
	}
	secret = str(doc, "secret_access_key");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_fini(&authorization);
	json_decref(doc);
	return failed;
}
