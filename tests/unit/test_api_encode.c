/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what we write parses as JSON whatever the strings hold, and the nouns have exactly the fields of
 * docs/api.md, null where there is nothing to say.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "api/encode.h"
#include "api/put.h"

static struct buf b = {0};

static json_t *
parsed(void)
{
	json_error_t je;
	json_t *v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, &je);

	if (!v)
		fail_msg("%s: %s", je.text, b.data);
	buf_reset(&b);
	return v;
}

/* The keys of an object, in their order, joined by spaces. */
static void
expect_keys(const json_t *v, const char *want)
{
	struct buf names = BUF_INIT(0);
	const char *key;
	json_t *each;

	json_object_foreach ((json_t *)v, key, each) {
		(void)each;
		buf_fmt(&names, "%s%s", names.len ? " " : "", key);
	}
	assert_string_equal(names.data, want);
	buf_fini(&names);
}

static const char *
text_of(const json_t *v, const char *key)
{
	return json_string_value(json_object_get(v, key));
}

static bool
is_null(const json_t *v, const char *key)
{
	return json_is_null(json_object_get(v, key));
}

static void
test_any_bytes_make_valid_json(void **state)
{
	char all[256];
	json_t *v;

	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	put_open(&b, NULL, '{');
	put_str(&b, "all", all);
	put_str(&b, "good", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	put_str(&b, "overlong", "\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf");
	put_str(&b, "surrogate", "\xed\xa0\x80");
	put_str(&b, "above", "\xf4\x90\x80\x80");
	put_str(&b, "cut", "a\xe2\x82");
	put_close(&b, '}');
	v = parsed();
	assert_string_equal(text_of(v, "good"), "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	assert_memory_equal(text_of(v, "all"), all, 0x7f);
	assert_string_equal(text_of(v, "cut"), "a\xef\xbf\xbd\xef\xbf\xbd");
	json_decref(v);
}

static void
test_commas_and_numbers(void **state)
{
	put_open(&b, NULL, '[');
	put_open(&b, NULL, '{');
	put_close(&b, '}');
	put_str(&b, NULL, "[");
	put_str(&b, NULL, "{");
	put_num(&b, NULL, 0.1);
	put_num(&b, NULL, 100);
	put_num(&b, NULL, -0.5);
	put_num(&b, NULL, NAN);
	put_num(&b, NULL, 1e300);
	put_int(&b, NULL, INT64_MIN);
	put_time(&b, NULL, 1795325553000);
	put_time(&b, NULL, 0);
	put_close(&b, ']');
	assert_string_equal(b.data,
	    "[{},\"[\",\"{\",0.1,100,-0.5,null,null,-9223372036854775808,"
	    "\"2026-11-22T05:32:33.000Z\",null]");
	json_decref(parsed());
}

#define RESERVATION_KEYS                                                                 \
	"id name user pool state reason error path miss_reason notice machine host "     \
	"port login "                                                                    \
	"certificates "                                                                  \
	"known_hosts disks queue_position eta cost_usd created_at ready_at expires_at "  \
	"ended_at"

static void
test_reservation(void **state)
{
	struct reservation r = {
	    .id = {"r-000000000001"}, .name = "n", .user = "u", .pool = "p"};
	struct machine m = {.id = {"m-000000000001"}, .address = "10.0.0.1", .port = 22};
	const char *certs[] = {"one", "two"};
	struct reservation_view view = {.r = &r, .login = "dev", .queue_position = 2};
	json_t *v;

	encode_reservation(&b, &view);
	v = parsed();
	expect_keys(v, RESERVATION_KEYS);
	assert_string_equal(text_of(v, "state"), "queued");
	assert_int_equal(json_integer_value(json_object_get(v, "queue_position")), 2);
	assert_true(is_null(v, "machine") && is_null(v, "host") && is_null(v, "port"));
	assert_true(is_null(v, "reason") && is_null(v, "path") && is_null(v, "ready_at"));
	assert_int_equal(json_array_size(json_object_get(v, "certificates")), 0);
	json_decref(v);

	r.state = RESERVATION_ACTIVE;
	r.path = PATH_WARM;
	r.machine = m.id;
	r.ready_at = 1795325553123;
	view = (struct reservation_view){.r = &r,
	    .machine = &m,
	    .certificates = certs,
	    .n_certificates = 2,
	    .login = "dev"};
	encode_reservation(&b, &view);
	v = parsed();
	expect_keys(v, RESERVATION_KEYS);
	assert_string_equal(text_of(v, "machine"), "m-000000000001");
	assert_string_equal(text_of(v, "path"), "warm");
	assert_string_equal(text_of(v, "ready_at"), "2026-11-22T05:32:33.123Z");
	assert_true(is_null(v, "queue_position"));
	assert_string_equal(
	    json_string_value(json_array_get(json_object_get(v, "certificates"), 1)),
	    "two");
	json_decref(v);
}

static void
test_machine_and_pool(void **state)
{
	struct machine m = {.id = {"m-000000000001"}, .pool = "p", .output = "E: \xff\n"};
	struct machine_view mv = {.m = &m};
	struct pool p = {.name = "p", .provider = "here", .image = "debian", .max = 3};
	struct pool_view pv = {.p = &p, .image_percent = -1};
	json_t *v;

	encode_machine(&b, &mv);
	v = parsed();
	expect_keys(v, "id pool provider provider_ref state tier image image_version "
		       "address port reservation "
		       "created_at ready_at last_seen_at error output");
	assert_true(is_null(v, "reservation") && is_null(v, "port") &&
		    is_null(v, "last_seen_at"));
	assert_string_equal(text_of(v, "output"), "E: \xef\xbf\xbd\n");
	json_decref(v);

	encode_pool(&b, &pv);
	v = parsed();
	expect_keys(v,
	    "name provider image image_version image_percent running stopped hibernated "
	    "max ready "
	    "claimed launching queued launch_ms usd_per_hour backoff_until last_error");
	assert_true(is_null(v, "image_percent") && is_null(v, "image_version") &&
		    is_null(v, "backoff_until"));
	json_decref(v);
}

static void
test_trace_and_why(void **state)
{
	struct reservation r = {
	    .id = {"r-000000000001"}, .path = PATH_COLD, .miss_reason = "empty"};
	struct step s[2] = {{.name = "launch", .attempt = 1, .started_at = 1},
	    {.name = "claim", .attempt = 1}};
	struct trace_step steps[2] = {
	    {.step = &s[0], .name = s[0].name, .critical = true},
	    {.step = &s[1], .name = s[1].name, .waits_for = {"launch"}, .n_waits = 1}};
	struct trace t = {.r = &r,
	    .steps = steps,
	    .n = 2,
	    .slowest = 0,
	    .summary = "cold",
	    .total_ms = 7};
	json_t *v, *step;

	encode_trace(&b, &t);
	v = parsed();
	expect_keys(v,
	    "reservation path total_ms longest_chain_ms one_at_a_time_ms saved_ms steps");
	step = json_array_get(json_object_get(v, "steps"), 1);
	expect_keys(step, "name started_at ended_at waits_for resolution_ms resource "
			  "attempt error critical");
	assert_string_equal(
	    json_string_value(json_array_get(json_object_get(step, "waits_for"), 0)),
	    "launch");
	json_decref(v);

	encode_why(&b, &t);
	v = parsed();
	expect_keys(v,
	    "reservation path miss_reason summary critical_path slowest_step cost_usd");
	assert_int_equal(json_array_size(json_object_get(v, "critical_path")), 1);
	assert_string_equal(text_of(v, "slowest_step"), "launch");
	json_decref(v);
}

static void
test_audit_event_error(void **state)
{
	struct audit_item item = {
	    .provider = "here", .ref = "x", .what = "not in the ledger"};
	struct audit a = {.provider_only = &item, .n_provider_only = 1, .open_steps = 2};
	struct event e = {.seq = 5,
	    .at = 1,
	    .kind = "machine",
	    .id = {"m-000000000001"},
	    .state = "ready"};
	struct err err;
	json_t *v;

	encode_audit(&b, &a);
	v = parsed();
	expect_keys(v, "ok provider_only ledger_only open_steps");
	expect_keys(json_array_get(json_object_get(v, "provider_only"), 0),
	    "provider machine provider_ref what repaired");
	json_decref(v);

	encode_event(&b, &e);
	v = parsed();
	expect_keys(v, "seq at kind id name state reservation detail");
	json_decref(v);

	err_set(&err, ERR_NO_CAPACITY, "pool \"p\" is full");
	encode_error(&b, &err);
	assert_string_equal(b.data, "{\"error\":{\"code\":\"no_capacity\",\"message\":"
				    "\"pool \\\"p\\\" is full\",\"hint\":\"\"}}");
	json_decref(parsed());
}

static int
free_buffer(void **state)
{
	buf_fini(&b);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_any_bytes_make_valid_json),
	    cmocka_unit_test(test_commas_and_numbers),
	    cmocka_unit_test(test_reservation),
	    cmocka_unit_test(test_machine_and_pool),
	    cmocka_unit_test(test_trace_and_why),
	    cmocka_unit_test(test_audit_event_error),
	};

	return cmocka_run_group_tests(tests, NULL, free_buffer);
}
