/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a bucket gives what it holds and then its rate, never more, and says to the millisecond when the next token is
 * there; each action has the bucket that AWS publishes for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aws/bucket.h"

static void
test_take(void **state)
{
	struct bucket b;
	int64_t now = 1000;
	int n = 0;

	bucket_init(&b, 5, 2, now);
	while (bucket_take(&b, 1, now))
		n++;
	assert_int_equal(n, 5);
	assert_int_equal(bucket_wait_ms(&b, 1, now), 500);
	assert_false(bucket_take(&b, 1, now + 499));
	assert_true(bucket_take(&b, 1, now + 500));
	assert_false(bucket_take(&b, 1, now + 500));
	assert_int_equal(bucket_wait_ms(&b, 3, now + 500), 1500);
	assert_int_equal(
	    bucket_wait_ms(&b, 50, now + 500), 2500); /* as many as it holds */
	assert_false(bucket_take(&b, 50, now + 100000));
	for (n = 0; bucket_take(&b, 1, now + 100000);)
		n++;
	assert_int_equal(
	    n, 5); /* no more than it holds, however long it was left alone */
}

/* What it says is what it does, also where no sum is round. */
static void
test_wait_is_enough_and_no_more(void **state)
{
	struct bucket b;
	int64_t now = 0;

	bucket_init(&b, 3.5, 1.4, now);
	for (int i = 0; i < 10000; i++) {
		int64_t wait = bucket_wait_ms(&b, 1, now);

		assert_true(wait == 0 || !bucket_take(&b, 1, now + wait - 1));
		now += wait;
		assert_true(bucket_take(&b, 1, now));
	}
	assert_in_range(now, 9996.5 / 1.4 * 1000 - 10, 9996.5 / 1.4 * 1000 + 10001);
}

static void
test_drain(void **state)
{
	struct bucket b;

	bucket_init(&b, 100, 10, 0);
	bucket_drain(&b, 50);
	assert_false(bucket_take(&b, 1, 50));
	assert_int_equal(bucket_wait_ms(&b, 1, 50), 100);
	assert_false(bucket_take(&b, 1, 0)); /* time that goes back gives nothing */
	assert_true(bucket_take(&b, 1, 150));
	bucket_init(&b, 1, 0, 0);
	assert_true(bucket_take(&b, 1, 0));
	assert_true(
	    bucket_wait_ms(&b, 1, 0) > 1000000); /* never, without a division by zero */
}

static const struct {
	const char *action;
	struct bucket_limits limits;
} rows[] = {
    {"RunInstances", {5, 2, 1000, 2}},
    {"StartInstances", {5, 2, 1000, 2}},
    {"StopInstances", {50, 5, 1000, 20}},
    {"TerminateInstances", {100, 5, 1000, 20}},
    {"CreateVolume", {100, 5}},
    {"DeleteNetworkInterface", {100, 5}},
    {"CreateTags", {100, 10}},
    {"DescribeInstances", {100, 20, 0, 0, 50, 10}},
    {"DescribeVolumes", {100, 20, 0, 0, 50, 10}},
    {"DescribeImages", {100, 20}},
    {"DescribeInstanceTypes", {100, 20}},
    {"AttachVolume", {50, 5}},
    {"CreateKeyPair", {50, 5}},
    {"RunInstancesX", {50, 5}},
    {"GetConsoleOutput", {100, 20}},
    {"", {50, 5}},
};

static void
test_limits(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bucket_limits got = bucket_limits_of(rows[i].action);

		assert_memory_equal(&got, &rows[i].limits, sizeof(got));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_take),
	    cmocka_unit_test(test_wait_is_enough_and_no_more),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
