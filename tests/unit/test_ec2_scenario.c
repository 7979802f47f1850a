/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: a scenario's delays are what it says, divided by the speed; its faults strike as often as it says, and at the same
   places for the same seed; and whatever is wrong in a file is said with its line. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/ec2_world.h"
#include "ec2/scenario.h"
#include "ec2/world.h"

static void
test_delays(void **state)
{
	static int64_t drawn[10001];
	struct ec2_world t;

	ec2_world_open(&t,
	    "delays:\n"
	    "  launch: 16400ms\n"
	    "  boot: {uniform: [5s, 30s]}\n"
	    "  stop: {median: 10s, p90: 20s}\n",
	    2, NULL, EC2_WORLD_WALL);
	assert_int_equal(scenario_delay(t.world, DELAY_LAUNCH), 8200);
	assert_int_equal(scenario_delay(t.world, DELAY_REBOOT), 0);
	assert_int_equal(scenario_delay(t.world, DELAY_TERMINATED_SHOWN), 1800 * 1000);
	for (int i = 0; i < 10001; i++) {
		drawn[i] = scenario_delay(t.world, DELAY_BOOT);
		assert_in_range(drawn[i], 2500, 15000);
	}
	qsort(drawn, 10001, sizeof(drawn[0]), clock_by_time);
	assert_in_range(drawn[5000], 8400, 9100); /* the middle: 8750 */
	for (int i = 0; i < 10001; i++)
		drawn[i] = scenario_delay(t.world, DELAY_STOP);
	qsort(drawn, 10001, sizeof(drawn[0]), clock_by_time);
	assert_in_range(drawn[5000], 4850, 5150);
	assert_in_range(drawn[9000], 9600, 10400);
	ec2_world_close(&t);
}

/* The first twenty outcomes as a word. */
static void
outcomes(const char *scenario, char ret[21])
{
	struct ec2_world t;

	ec2_world_open(&t, scenario, 1, NULL, EC2_WORLD_WALL);
	for (int i = 0; i < 20; i++)
		ret[i] =
		    scenario_strike(t.world, FAULT_THROTTLED, "RunInstances", NULL, NULL)
			? 'x'
			: '.';
	ret[20] = '\0';
	assert_null(scenario_strike(t.world, FAULT_INTERNAL, "RunInstances", NULL, NULL));
	ec2_world_close(&t);
}

static void
test_faults(void **state)
{
	char a[21], b[21], c[21];

	outcomes("faults: [{fault: throttled, count: 2, after: 3}]\n", a);
	assert_string_equal(a, "...xx...............");
	outcomes("faults: [{fault: throttled, action: StopInstances}]\n", a);
	assert_string_equal(a, "....................");
	outcomes("faults: [{fault: throttled, type: t3.micro}]\n", a);
	assert_string_equal(a, "....................");
	outcomes("seed: 7\nfaults: [{fault: throttled, probability: 0.5}]\n", a);
	outcomes("seed: 7\nfaults: [{fault: throttled, probability: 0.5}]\n", b);
	outcomes("seed: 8\nfaults: [{fault: throttled, probability: 0.5}]\n", c);
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
	assert_non_null(strchr(a, 'x'));
	assert_non_null(strchr(a, '.'));
}

static void
expect_wrong(const char *text, const char *message)
{
	struct scenario *s = NULL;
	struct err err = {0};

	assert_int_equal(scenario_parse("f", text, strlen(text), 1, &s, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	if (!strstr(err.msg, message))
		fail_msg("'%s' is not in '%s'", message, err.msg);
}

static void
test_wrong_files(void **state)
{
	expect_wrong("nonsense: 1\n", "f:1:1: nonsense: unknown key");
	expect_wrong(
	    "delays: {launch: 5}\n", "f:1:18: delays.launch: expected a duration");
	expect_wrong("delays: {lunch: 5s}\n", "delays.lunch: unknown key");
	expect_wrong("delays: {launch: {uniform: [5s]}}\n", "expected two durations");
	expect_wrong("delays: {launch: {uniform: [5s, 1s]}}\n", "longer than the second");
	expect_wrong("delays: {launch: {median: 5s}}\n", "'p90' is missing");
	expect_wrong("delays: {launch: {median: 5s, p90: 4s}}\n", "p90 of at least that");
	expect_wrong("delays: {launch: {median: 0s, p90: 4s}}\n", "more than nothing");
	expect_wrong("faults: {}\n", "expected a list");
	expect_wrong("faults: [{count: 1}]\n", "'fault' is missing");
	expect_wrong("faults: [{fault: fire}]\n", "expected one of throttled");
	expect_wrong("faults: [{fault: throttled, probability: 2}]\n", "probability");
	expect_wrong("base: no-such\n", "there is no scenario 'no-such'");
	expect_wrong("base: [a]\n", "expected a scenario's name");
	expect_wrong("calls: 5\n", "expected actions");
	expect_wrong("calls: {RunInstances: fast}\n", "calls.RunInstances");
	expect_wrong("throttle: perhaps\n", "throttle");
}

static int64_t
median_of(struct ec2_world *t, enum delay d)
{
	static int64_t drawn[2001];

	for (int i = 0; i < 2001; i++)
		drawn[i] = scenario_delay(t->world, d);
	qsort(drawn, 2001, sizeof(drawn[0]), clock_by_time);
	return drawn[1000];
}

/* Run where the shipped ones lie beside the program, as for hearth-ec2 in a build tree. */
static void
test_shipped_ones(void **state)
{
	struct ec2_world t;

	ec2_world_open(&t, "base: aws\n", 1, NULL, EC2_WORLD_WALL);
	assert_in_range(median_of(&t, DELAY_LAUNCH), 16400, 16800);
	assert_in_range(median_of(&t, DELAY_RESUME_BOOT), 2300, 2500);
	assert_true(scenario_throttles(t.scenario));
	ec2_world_close(&t);
	ec2_world_open(&t, "base: aws-fine\n", 1, NULL, EC2_WORLD_WALL);
	assert_in_range(median_of(&t, DELAY_LAUNCH), 4800, 5000);
	assert_in_range(median_of(&t, DELAY_STOP), 19500, 20500); /* of its own base */
	assert_int_equal(scenario_call_delay(t.world, "RunInstances"), 1540);
	ec2_world_close(&t);
	ec2_world_open(&t, "base: instant\n", 1, NULL, EC2_WORLD_WALL);
	assert_int_equal(scenario_delay(t.world, DELAY_LAUNCH), 0);
	assert_false(scenario_throttles(t.scenario));
	ec2_world_close(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_delays),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_wrong_files),
	    cmocka_unit_test(test_shipped_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
