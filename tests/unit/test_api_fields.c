/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a body is taken exactly as its table says, and everything else is refused by name: unknown fields, wrong
 * kinds, numbers out of range, JSON that is deep, doubled, cut, or holds a NUL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "api/fields.h"
#include "api/reserve_body.h"

#define KEY                                                                              \
	"ssh-ed25519 "                                                                   \
	"AAAAC3NzaC1lZDI1NTE5AAAAIIVMQXWSoJvgyNbuFwDAF/rXI/Uz1DfH9ktZExhBSyvi "          \
	"test@hearth"
#define KEYS "\"public_keys\":[\"" KEY "\"]"

static struct reserve_body r;
static struct keys keys;
static json_t *body;
static struct err err;

static int
read_body(const char *text)
{
	keys_fini(&keys);
	keys.n = 0;
	json_decref(body);
	body = NULL;
	err = (struct err){0};
	if (fields_parse(text, strlen(text), &body, &err) < 0)
		return -1;
	return reserve_body_read(body, &r, &keys, &err);
}

static int
teardown(void **state)
{
	keys_fini(&keys);
	keys.n = 0;
	json_decref(body);
	body = NULL;
	return 0;
}

static void
test_reads_all_there_is(void **state)
{
	assert_int_equal(
	    read_body(
		"{" KEYS
		",\"pool\":\"build\",\"hours\":1.5,\"name\":\"a.b-c\",\"disks\":[],"
		"\"count\":3,\"idle\":\"30m\",\"request_id\":\"x y\",\"no_wait\":true,"
		"\"no_warm\":true,\"require_disk\":false,\"github\":null}"),
	    0);
	assert_string_equal(r.pool, "build");
	assert_int_equal(r.hold_ms, 5400000);
	assert_string_equal(r.name, "a.b-c");
	assert_int_equal(r.count, 3);
	assert_int_equal(r.idle_ms, 1800000);
	assert_string_equal(r.request_id, "x y");
	assert_true(r.no_wait && r.no_warm && !r.require_disk);
	assert_int_equal(keys.n, 1);
	assert_string_equal(keys.key[0].comment, "test@hearth");
	assert_int_equal(
	    read_body("{" KEYS ",\"disks\":[\"a\",\"b:20G\",{\"name\":\"c\"},"
		      "{\"name\":\"d\",\"size\":\"1.5K\"},{\"name\":\"e\","
		      "\"size_bytes\":7}],\"wait_disk\":true,\"snapshot_disks\":true}"),
	    0);
	assert_int_equal(r.n_disks, 5);
	assert_true(r.wait_disk && r.snapshot_disks);
	assert_string_equal(r.disk[1].name, "b");
	assert_true(r.disk[1].size_bytes == INT64_C(20) << 30);
	assert_int_equal(r.disk[0].size_bytes, 0);
	assert_int_equal(r.disk[3].size_bytes, 1536);
	assert_int_equal(r.disk[4].size_bytes, 7);
	assert_int_equal(read_body("{" KEYS "}"), 0);
	assert_int_equal(r.count, -1);
	assert_int_equal(r.hold_ms, 0);
	assert_null(r.pool);
}

static void
test_refuses_by_name(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"{\"hours\":1}", "'public_keys' is missing"},
	    {"{\"public_keys\":[]}", "'public_keys': expected 1 to 16 elements"},
	    {"{\"public_keys\":\"" KEY "\"}",
		"'public_keys': expected an array, not a string"},
	    {"{\"public_keys\":[7]}", "'public_keys[0]': expected a string"},
	    {"{\"public_keys\":[\"" KEY "\",\"x\"]}", "'public_keys[1]'"},
	    {"{" KEYS ",\"hourz\":1}", "unknown field 'hourz'"},
	    {"{" KEYS ",\"hours\":0}",
		"'hours': expected a number of hours above 0, not 0"},
	    {"{" KEYS ",\"hours\":-1}",
		"'hours': expected a number of hours above 0, not -1"},
	    {"{" KEYS ",\"hours\":1e300}", "'hours': expected 876000 hours at most"},
	    {"{" KEYS ",\"hours\":1e999}", "malformed JSON"},
	    {"{" KEYS ",\"hours\":0.0001}", "'hours': expected a second at least"},
	    {"{" KEYS ",\"hours\":\"1\"}",
		"'hours': expected a number of hours, not a string"},
	    {"{" KEYS ",\"hours\":true}",
		"'hours': expected a number of hours, not true or false"},
	    {"{" KEYS ",\"count\":0}", "'count': expected 1 to 1000, not 0"},
	    {"{" KEYS ",\"count\":-5}", "'count': expected 1 to 1000, not -5"},
	    {"{" KEYS ",\"count\":1001}", "'count': expected 1 to 1000, not 1001"},
	    {"{" KEYS ",\"count\":1.5}", "'count': expected a whole number, not 1.5"},
	    {"{" KEYS ",\"count\":99999999999999999999}", "malformed JSON"},
	    {"{" KEYS ",\"name\":\"a/b\"}", "'name': 'a/b' is not a name"},
	    {"{" KEYS ",\"name\":\"..\"}", "'name'"},
	    {"{" KEYS ",\"name\":\"a\\nb\"}", "'name'"},
	    {"{" KEYS ",\"name\":\"\\u00e9\"}", "'name'"},
	    {"{" KEYS ",\"name\":\"\"}", "'name'"},
	    {"{" KEYS ",\"name\":\"a\\u0000b\"}", "malformed JSON"},
	    {"{" KEYS ",\"idle\":\"soon\"}", "'idle': expected a duration like '90s'"},
	    {"{" KEYS ",\"idle\":-1}", "'idle'"},
	    {"{" KEYS ",\"idle\":\"1e3s\"}", "'idle'"},
	    {"{" KEYS ",\"idle\":\"10ms\"}", "'idle': expected 1 to"},
	    {"{" KEYS ",\"request_id\":\"\"}",
		"'request_id': expected 1 to 128 characters"},
	    {"{" KEYS ",\"request_id\":\"a\\tb\"}",
		"'request_id': expected printable ASCII"},
	    {"{" KEYS ",\"no_wait\":1}",
		"'no_wait': expected true or false, not a number"},
	    {"{" KEYS ",\"disks\":[7]}", "'disks[0]': expected an object with a name"},
	    {"{" KEYS ",\"disks\":[{\"size\":\"1G\"}]}", "'disks[0]': field 'name'"},
	    {"{" KEYS ",\"disks\":[\"a\",{\"name\":\"../b\"}]}",
		"'disks[1]': field 'name'"},
	    {"{" KEYS ",\"disks\":[{\"name\":\"d\",\"size\":\"0\"}]}",
		"'disks[0]': expected a size"},
	    {"{" KEYS ",\"disks\":[{\"name\":\"d\",\"size\":\"-1G\"}]}",
		"'disks[0]': expected a size"},
	    {"{" KEYS ",\"disks\":[{\"name\":\"d\",\"size\":\"1e9\"}]}",
		"'disks[0]': expected a size"},
	    {"{" KEYS ",\"disks\":[{\"name\":\"d\",\"size_bytes\":0}]}",
		"'disks[0]': field 'size_bytes'"},
	    {"{" KEYS ",\"disks\":[{\"name\":\"d\",\"size\":\"1G\",\"size_bytes\":5}]}",
		"exclude each other"},
	    {"{" KEYS ",\"disks\":[\"d:\"]}", "'disks[0]': expected a size"},
	    {"{" KEYS ",\"disks\":[\"d:9999T\"]}", "'disks[0]': expected a size"},
	    {"{" KEYS ",\"github\":\"someone\"}", "exclude each other"},
	    {"{\"github\":\"\"}", "'github': expected"},
	    {"{" KEYS ",\"hours\":1,\"hours\":2}", "malformed JSON"},
	    {"[]", "expected a JSON object"},
	    {"7", "malformed JSON"},
	    {"{", "malformed JSON"},
	    {"{} {}", "malformed JSON"},
	    {"\xff", "malformed JSON"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(read_body(cases[i].text), -1);
		assert_int_equal(err.code, ERR_INVALID);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("%s\n  says: %s\n  not:  %s", cases[i].text, err.msg,
			    cases[i].says);
	}
}

static void
test_bounds_depth(void **state)
{
	static const char in_string[] = "{\"a\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[\"}";
	char text[200002];
	size_t n = sizeof(text) / 2;

	memset(text, '[', n);
	memset(text + n, ']', n);
	assert_int_equal(fields_parse(text, sizeof(text), &body, &err), -1);
	assert_non_null(strstr(err.msg, "nested more than 16 deep"));
	assert_int_equal(read_body(in_string), -1);
	assert_non_null(strstr(err.msg, "unknown field 'a'"));
}

static void
test_empty_is_an_object(void **state)
{
	struct keys none = {.n = 0};
	int64_t ms = 0;

	json_decref(body);
	assert_int_equal(fields_parse("", 0, &body, &err), 0);
	assert_int_equal(certify_body_read(body, &none, &err), 0);
	assert_int_equal(none.n, 0);
	assert_int_equal(extend_body_read(body, &ms, &err), -1);
	assert_non_null(strstr(err.msg, "'hours' is missing"));
}

static void
test_durations_and_numbers(void **state)
{
	static const char *const bad[] = {"", "5", "m", "5 m", "-5m", "5mm", "0x5m",
	    "1.2.3s", ".5h", "infs", "99999999999999999999s", "99999999999999d"};
	int64_t v = 0;

	assert_int_equal(duration_parse("50ms", &v, &err), 0);
	assert_int_equal(v, 50);
	assert_int_equal(duration_parse("1.5h", &v, &err), 0);
	assert_int_equal(v, 5400000);
	assert_int_equal(duration_parse("7d", &v, &err), 0);
	assert_int_equal(v, 7 * 86400000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (duration_parse(bad[i], &v, &err) == 0)
			fail_msg("'%s' is taken for a duration", bad[i]);
	assert_int_equal(v, 7 * 86400000);
	assert_int_equal(number_parse("600", 600, &v, &err), 0);
	assert_int_equal(v, 600);
	assert_int_equal(number_parse("601", 600, &v, &err), -1);
	assert_int_equal(number_parse("-1", 600, &v, &err), -1);
	assert_int_equal(number_parse("", 600, &v, &err), -1);
	assert_int_equal(number_parse("1 ", 600, &v, &err), -1);
	assert_int_equal(number_parse("99999999999999999999", INT64_MAX, &v, &err), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_all_there_is),
	    cmocka_unit_test(test_refuses_by_name),
	    cmocka_unit_test(test_bounds_depth),
	    cmocka_unit_test(test_empty_is_an_object),
	    cmocka_unit_test(test_durations_and_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
