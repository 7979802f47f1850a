/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: filters find what AWS's find, and pages hold everything once, in order, also while things come and go; a token is
   good for its own question only. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/ec2_world.h"
#include "base/clock.h"
#include "ec2/describe.h"
#include "ec2/instance.h"

#define R "us-east-1"

static struct ec2_world t;

static int
open_world(void **state)
{
	ec2_world_open(&t, "throttle: false\n", 1, NULL, EC2_WORLD_WALL);
	return 0;
}

static int
close_world(void **state)
{
	ec2_world_close(&t);
	return 0;
}

/* Volumes in a zone, tagged n=FROM, n=FROM+1, ... */
static void
make_volumes(int from, int n)
{
	char form[256];

	for (int i = from; i < from + n; i++) {
		(void)snprintf(form, sizeof(form),
		    "AvailabilityZone=us-east-1a&Size=1&TagSpecification.1.ResourceType="
		    "volume&TagSpecification.1.Tag.1.Key=n&TagSpecification.1.Tag.1."
		    "Value=%d",
		    i);
		ec2_world_call(&t, R, "CreateVolume", form);
		assert_string_equal(t.code, "");
	}
	ec2_world_pass(&t, 1);
}

static int
found(const char *form)
{
	ec2_world_call(&t, R, "DescribeVolumes", form);
	return t.code[0]
		   ? -1
		   : ec2_world_count(&t, "volumeId") - ec2_world_count(&t, "instanceId");
}

static void
test_patterns(void **state)
{
	static const struct {
		const char *pattern, *value;
		bool matches;
	} rows[] = {
	    {"", "", true},
	    {"", "a", false},
	    {"a", "a", true},
	    {"a", "A", false},
	    {"*", "", true},
	    {"*", "anything", true},
	    {"t3.*", "t3.micro", true},
	    {"t3.*", "t30micro", false},
	    {"t?.micro", "t3.micro", true},
	    {"t?.micro", "t.micro", false},
	    {"*a*b", "xaxbxb", true},
	    {"*a*b", "xaxbxc", false},
	    {"a**b", "ab", true},
	    {"*ab", "aab", true},
	    {"\\*", "*", true},
	    {"\\*", "x", false},
	    {"\\?x", "?x", true},
	    {"a\\", "a", false},
	    {"???", "ab", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (pattern_match(rows[i].pattern, rows[i].value) != rows[i].matches)
			fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].value);
}

/* Against a pattern made to backtrack. */
static void
test_patterns_take_no_more_than_their_product(void **state)
{
	char value[20001], pattern[2001];

	memset(value, 'a', 20000);
	value[20000] = '\0';
	for (int i = 0; i < 2000; i += 2)
		memcpy(pattern + i, "*a", 2);
	memcpy(pattern + 1998, "*b", 3);
	assert_false(pattern_match(pattern, value));
}

static void
test_filters(void **state)
{
	make_volumes(0, 12);
	assert_int_equal(found(""), 12);
	assert_int_equal(found("Filter.1.Name=tag:n&Filter.1.Value.1=3"), 1);
	assert_int_equal(found("Filter.1.Name=tag:n&Filter.1.Value.1=1*"), 3);
	assert_int_equal(
	    found("Filter.1.Name=tag:n&Filter.1.Value.1=1&Filter.1.Value.2=2"), 2);
	assert_int_equal(found("Filter.1.Name=tag-key&Filter.1.Value.1=n"), 12);
	assert_int_equal(found("Filter.1.Name=tag:other&Filter.1.Value.1=*"), 0);
	assert_int_equal(
	    found("Filter.1.Name=tag:n&Filter.1.Value.1=*&Filter.2.Name=size&"
		  "Filter.2.Value.1=2"),
	    0);
	assert_int_equal(found("Filter.1.Name=no-such&Filter.1.Value.1=1"), -1);
	assert_string_equal(t.code, "InvalidParameterValue");
	assert_int_equal(found("Filter.1.Name=size"), -1);
	assert_int_equal(found("VolumeId.1=vol-nonsense"), -1);
	assert_string_equal(t.code, "InvalidVolumeID.Malformed");
	assert_int_equal(found("VolumeId.1=vol-0123456789abcdef0"), -1);
	assert_string_equal(t.code, "InvalidVolume.NotFound");
}

static void
page(char *token, size_t size, const char *more, int expected)
{
	char form[512];

	(void)snprintf(form, sizeof(form), "MaxResults=5%s%s%s", more,
	    token[0] ? "&NextToken=" : "", token);
	assert_int_equal(found(form), expected);
	(void)snprintf(token, size, "%s", ec2_world_text(&t, "nextToken"));
}

static void
test_pages(void **state)
{
	char token[300] = "", form[400];

	make_volumes(0, 12);
	page(token, sizeof(token), "", 5);
	make_volumes(12, 1); /* comes at the end */
	page(token, sizeof(token), "", 5);
	page(token, sizeof(token), "", 3);
	assert_string_equal(token, "");
	assert_int_equal(found("MaxResults=4"), -1);
	assert_string_equal(t.code, "InvalidParameterValue");
	(void)snprintf(form, sizeof(form), "MaxResults=1001");
	assert_int_equal(found(form), -1);
}

static void
test_a_token_is_of_its_question(void **state)
{
	char token[300] = "", form[512];

	make_volumes(0, 12);
	page(token, sizeof(token), "", 5);
	(void)snprintf(form, sizeof(form),
	    "MaxResults=5&Filter.1.Name=size&Filter.1.Value.1=1&NextToken=%s", token);
	assert_int_equal(found(form), -1);
	assert_string_equal(t.code, "InvalidNextToken");
	assert_int_equal(found("MaxResults=5&NextToken=x"), -1);
	assert_string_equal(t.code, "InvalidNextToken");
}

/* The object that the next page begins at is removed before it is asked for. */
static void
test_a_page_that_lost_its_beginning(void **state)
{
	char token[300] = "", form[512], id[64];

	make_volumes(0, 12);
	found("Filter.1.Name=tag:n&Filter.1.Value.1=5");
	(void)snprintf(id, sizeof(id), "%s", ec2_world_text(&t, "volumeId"));
	page(token, sizeof(token), "", 5);
	(void)snprintf(form, sizeof(form), "VolumeId=%s", id);
	ec2_world_call(&t, R, "DeleteVolume", form);
	assert_string_equal(t.code, "");
	ec2_world_pass(&t, 1);
	page(token, sizeof(token), "", 5);
	page(token, sizeof(token), "", 1);
	assert_string_equal(token, "");
}

static void
test_regions_share_nothing(void **state)
{
	make_volumes(0, 3);
	ec2_world_call(&t, "eu-west-1", "DescribeVolumes", "");
	assert_int_equal(ec2_world_count(&t, "volumeId"), 0);
	ec2_world_call(&t, "eu-west-1", "DescribeSubnets", "");
	assert_int_equal(ec2_world_count(&t, "subnetId"), 3);
	ec2_world_call(&t, R, "DescribeSubnets", "");
	assert_int_equal(ec2_world_count(&t, "subnetId"), 6);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_patterns),
	    cmocka_unit_test(test_patterns_take_no_more_than_their_product),
	    cmocka_unit_test_setup_teardown(test_filters, open_world, close_world),
	    cmocka_unit_test_setup_teardown(test_pages, open_world, close_world),
	    cmocka_unit_test_setup_teardown(
		test_a_token_is_of_its_question, open_world, close_world),
	    cmocka_unit_test_setup_teardown(
		test_a_page_that_lost_its_beginning, open_world, close_world),
	    cmocka_unit_test_setup_teardown(
		test_regions_share_nothing, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
