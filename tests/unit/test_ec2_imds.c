/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: the metadata service's paths, tokens and their ends, spot notices, and whatever a process in an instance may send it. Values of a
   real machine are in tests/e2e/test_ec2_local.py. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/ec2_world.h"
#include "base/xalloc.h"
#include "ec2/imds.h"
#include "ec2/instance.h"

#define R "us-west-2"
#define NOW INT64_C(1000000)

static struct ec2_world t;
static struct instance *instance;
static struct imds_tokens tokens;
static struct imds_reply reply;
static char token[IMDS_TOKEN_MAX];

static int
status(const struct imds_request *q, int64_t now_ms)
{
	buf_fini(&reply.body);
	imds_answer(instance, &tokens, now_ms, q, &reply);
	return reply.status;
}

static int
put(const char *path, const char *ttl)
{
	return status(
	    &(struct imds_request){.method = "PUT", .path = path, .ttl = ttl}, NOW);
}

static int
get_at(const char *path, const char *with, int64_t now_ms)
{
	return status(
	    &(struct imds_request){.method = "GET", .path = path, .token = with}, now_ms);
}

static const char *
get(const char *path)
{
	return get_at(path, token, NOW) == 200 ? reply.body.data : "none";
}

static int
open_world(void **state)
{
	char form[256];

	ec2_world_open(&t, "throttle: false\n", 1, NULL, EC2_WORLD_WALL);
	ec2_world_call(&t, R, "DescribeImages",
	    "Filter.1.Name=name&Filter.1.Value.1=al2023-ami-2023.*-x86_64");
	(void)snprintf(form, sizeof(form),
	    "ImageId=%s&InstanceType=t3.micro&MinCount=1&MaxCount=1&UserData=aGVsbG8=",
	    ec2_world_text(&t, "imageId"));
	ec2_world_call(&t, R, "RunInstances", form);
	instance = region_find(
	    world_region(t.world, R), &kind_instance, ec2_world_text(&t, "instanceId"));
	assert_non_null(instance);
	instance->imds_token_required = true;
	tokens = (struct imds_tokens){0};
	assert_int_equal(put("/latest/api/token", "21600"), 200);
	assert_int_equal(reply.ttl_s, 21600);
	(void)snprintf(token, sizeof(token), "%s", reply.body.data);
	return 0;
}

static int
close_world(void **state)
{
	buf_fini(&reply.body);
	reply = (struct imds_reply){0};
	ec2_world_close(&t);
	return 0;
}

static void
paths_are_as_on_aws(void **state)
{
	assert_string_equal(get("/latest/meta-data/instance-id"), instance->o.id);
	assert_string_equal(get("/latest/meta-data/instance-id/"), instance->o.id);
	assert_string_equal(get("/2021-07-15/meta-data/placement/region"), R);
	assert_string_equal(get("/latest/user-data"), "hello");
	assert_string_equal(get("/latest/"), "dynamic/\nmeta-data/\nuser-data");
	assert_string_equal(get("/latest"), "dynamic/\nmeta-data/\nuser-data");
	assert_string_equal(get("/latest/meta-data/placement"),
	    "availability-zone\navailability-zone-id\nregion");
	assert_string_equal(
	    get("/latest/meta-data/placement/availability-zone-id"), "usw2-az1");
	assert_string_equal(get("/latest/dynamic/"), "instance-identity/");
	/* without a key pair there is no directory of keys */
	assert_string_equal(get("/latest/meta-data/public-keys/"), "none");
	assert_string_equal(get("/latest/meta-data/public-keys/0/openssh-key"), "none");
	assert_string_equal(get("/"), "1.0\n2021-07-15\nlatest");
}

static void
what_is_no_path_is_not_found(void **state)
{
	static const char *const wrong[] = {"", "latest", "//", "/late",
	    "/latestx/meta-data", "/latest/meta-dat", "/latest/meta-datax",
	    "/latest/meta-data/instance-idx", "/latest/meta-data/../user-data",
	    "/latest/%6deta-data", "/latest/meta-data/*",
	    "/latest/meta-data/network/interfaces/macs/*/mac", "/latest/meta-data//mac",
	    "/latest/meta-data/iam/info", "/2021/nonsense"};
	char longest[4096];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(get_at(wrong[i], token, NOW), 404);
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "/latest/", 8);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(get_at(longest, token, NOW), 404);
}

static void
tokens_end(void **state)
{
	char second[IMDS_TOKEN_MAX];

	assert_int_equal(put("/latest/api/token", "1"), 200);
	(void)snprintf(second, sizeof(second), "%s", reply.body.data);
	assert_string_not_equal(second, token);
	assert_int_equal(get_at("/latest/user-data", second, NOW + 999), 200);
	assert_int_equal(get_at("/latest/user-data", second, NOW + 1000), 401);
	assert_int_equal(get_at("/latest/user-data", token, NOW + 1000), 200);
	assert_int_equal(get_at("/latest/user-data", "", NOW), 401);
	assert_int_equal(get_at("/latest/user-data", NULL, NOW), 401);
	instance->imds_token_required = false;
	assert_int_equal(get_at("/latest/user-data", NULL, NOW), 200);
	assert_int_equal(get_at("/latest/user-data", "wrong", NOW), 401);
	instance->imds_disabled = true;
	assert_int_equal(get_at("/latest/user-data", token, NOW), 403);
	assert_int_equal(put("/latest/api/token", "60"), 403);
}

static void
token_requests_are_checked(void **state)
{
	static const char *const wrong[] = {
	    NULL, "", "0", "-1", "21601", "1x", " 1", "1 ", "99999999999999999999999"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(put("/latest/api/token", wrong[i]), 400);
	assert_int_equal(put("/latest/api/tokens", "60"), 405);
	assert_int_equal(status(&(struct imds_request){.method = "PUT",
				    .path = "/latest/api/token",
				    .ttl = "60",
				    .forwarded_for = "1.2.3.4"},
			     NOW),
	    403);
	assert_int_equal(
	    status(&(struct imds_request){.method = "POST", .path = "/", .token = token},
		NOW),
	    405);
}

/* Who asks for more than are kept loses their own first ones. */
static void
tokens_are_bounded(void **state)
{
	for (int i = 0; i < IMDS_TOKENS_MAX - 1; i++)
		assert_int_equal(put("/latest/api/token", "60"), 200);
	assert_int_equal(get_at("/latest/user-data", token, NOW), 200);
	assert_int_equal(put("/latest/api/token", "60"), 200);
	assert_int_equal(get_at("/latest/user-data", token, NOW), 401);
}

static void
a_spot_notice_shows(void **state)
{
	assert_string_equal(get("/latest/meta-data/spot/instance-action"), "none");
	instance->spot_notice_at = INT64_C(1790000000999);
	assert_string_equal(get("/latest/meta-data/spot/instance-action"),
	    "{\"action\": \"terminate\", \"time\": \"2026-09-21T14:13:20Z\"}");
	assert_string_equal(
	    get("/latest/meta-data/spot/termination-time"), "2026-09-21T14:13:20Z");
	xstrset(&instance->spot_action, "stop");
	assert_string_equal(get("/latest/meta-data/spot/"), "instance-action");
}

/* Anything at all: no crash, and never more than is there. */
static void
noise_does_no_harm(void **state)
{
	static const char bytes[] =
	    "/latest/meta-data/network/interfaces/macs/*%0.-\x01\xff";
	char path[700];

	srand(7);
	for (int i = 0; i < 20000; i++) {
		size_t n = (size_t)rand() % (sizeof(path) - 1);

		for (size_t k = 0; k < n; k++)
			path[k] = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
		path[n] = '\0';
		if (i % 2)
			memcpy(path, "/latest/meta-data/", n < 18 ? n : 18);
		(void)get_at(path, token, NOW);
		assert_true(reply.body.len < 8192);
	}
}

int
main(void)
{
#define IN_A_WORLD(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)
	const struct CMUnitTest tests[] = {
	    IN_A_WORLD(paths_are_as_on_aws),
	    IN_A_WORLD(what_is_no_path_is_not_found),
	    IN_A_WORLD(tokens_end),
	    IN_A_WORLD(token_requests_are_checked),
	    IN_A_WORLD(tokens_are_bounded),
	    IN_A_WORLD(a_spot_notice_shows),
	    IN_A_WORLD(noise_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
