/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: one trace comes out right in each of its three forms: bars where the time went, Chrome events that
   do not overlap on a row, OTLP spans with valid ids, parents and links; and an odd trace breaks none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/api.h"
#include "cli/trace_format.h"
#include "cli/view.h"

static const char cold[] =
    "{'reservation': 'r-000000000001', 'path': 'cold', 'total_ms': 100, "
    "'longest_chain_ms': 90,"
    " 'one_at_a_time_ms': 140, 'saved_ms': 50, 'steps': ["
    "{'name': 'certificate', 'started_at': '2026-01-01T00:00:00.020Z',"
    " 'ended_at': '2026-01-01T00:00:00.060Z', 'waits_for': ['claim'], 'resolution_ms': 0,"
    " 'resource': null, 'attempt': 1, 'error': 'no key', 'critical': false},"
    "{'name': 'claim', 'started_at': '2026-01-01T00:00:00.000Z',"
    " 'ended_at': '2026-01-01T00:00:00.020Z', 'waits_for': [], 'resolution_ms': 0,"
    " 'resource': null, 'attempt': 1, 'error': null, 'critical': true},"
    "{'name': 'launch', 'started_at': '2026-01-01T00:00:00.020Z',"
    " 'ended_at': '2026-01-01T00:00:00.100Z', 'waits_for': ['claim'], 'resolution_ms': 5,"
    " 'resource': 'm-1', 'attempt': 2, 'error': null, 'critical': true},"
    "{'name': 'later', 'started_at': null, 'ended_at': null},"
    "{'name': 'deadline', 'started_at': '2026-01-01T00:00:00.090Z', 'ended_at': null,"
    " 'waits_for': ['launch', 'nothing']}]}";

static json_t *
parse(const char *text)
{
	char *copy = strdup(text);
	json_error_t why;
	json_t *v;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	v = json_loads(copy, JSON_DECODE_ANY, &why);
	free(copy);
	assert_non_null(v);
	return v;
}

static void
test_text(void **state)
{
	AUTO_JSON json_t *trace = parse(cold);
	AUTO_BUF struct buf b = BUF_INIT(0);

	(void)state;
	trace_text(&b, trace);
	assert_string_equal(b.data, "reservation r-000000000001, path cold\n"
				    "  STEP            START      TOOK\n"
				    "* claim          0.0 ms     20 ms  |########        "
				    "                        |\n"
				    "  certificate     20 ms     40 ms  |        "
				    "================                |"
				    " after claim error: no key\n"
				    "* launch          20 ms     80 ms  |        "
				    "################################|"
				    " ±5 ms attempt 2 after claim\n"
				    "  deadline        90 ms     10 ms  |                "
				    "                    ====|"
				    " still open after launch, nothing\n"
				    "in all 100 ms; longest chain 90 ms; one at a time "
				    "140 ms; saved by overlap 50 ms;"
				    " * and # mark the critical path\n");
}

static const json_t *
named(const json_t *list, const char *name)
{
	size_t i;
	json_t *v;

	json_array_foreach (list, i, v)
		if (strcmp(view_str(v, "name"), name) == 0)
			return v;
	fail_msg("no '%s'", name);
	return NULL;
}

static void
test_chrome(void **state)
{
	AUTO_JSON json_t *trace = parse(cold);
	AUTO_JSON json_t *doc = trace_chrome(trace);
	const json_t *events = json_object_get(doc, "traceEvents");
	const json_t *claim = named(events, "claim");
	const json_t *launch = named(events, "launch");
	const json_t *certificate = named(events, "certificate");

	(void)state;
	assert_int_equal(json_array_size(events), 5); /* one names the process */
	assert_string_equal(view_str(claim, "ph"), "X");
	assert_true(view_int(claim, "ts", 0) == INT64_C(1767225600000000));
	assert_int_equal(view_int(claim, "dur", 0), 20000);
	assert_int_equal(view_int(launch, "ts", 0) - view_int(claim, "ts", 0), 20000);
	assert_int_not_equal(view_int(launch, "tid", 0), view_int(certificate, "tid", 0));
	assert_string_equal(view_str(json_object_get(launch, "args"), "resource"), "m-1");
	assert_true(json_is_true(
	    json_object_get(json_object_get(named(events, "deadline"), "args"), "open")));
}

static void
assert_hex(const char *s, size_t n)
{
	assert_int_equal(strlen(s), n);
	assert_int_equal(strspn(s, "0123456789abcdef"), n);
	assert_int_not_equal(strspn(s, "0"), n);
}

static void
test_otlp(void **state)
{
	AUTO_JSON json_t *trace = parse(cold);
	AUTO_JSON json_t *doc = trace_otlp(trace);
	AUTO_JSON json_t *again = trace_otlp(trace);
	const json_t *resource = json_array_get(json_object_get(doc, "resourceSpans"), 0);
	const json_t *scope = json_array_get(json_object_get(resource, "scopeSpans"), 0);
	const json_t *spans = json_object_get(scope, "spans");
	const json_t *root = named(spans, "reservation");
	const json_t *launch = named(spans, "launch");
	const json_t *link = json_array_get(json_object_get(launch, "links"), 0);
	size_t i;
	json_t *span;

	(void)state;
	assert_int_equal(json_array_size(spans), 5);
	json_array_foreach (spans, i, span) {
		assert_hex(view_str(span, "traceId"), 32);
		assert_hex(view_str(span, "spanId"), 16);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(view_str(span, "spanId"),
			    view_str(json_array_get(spans, k), "spanId"));
	}
	assert_null(json_object_get(root, "parentSpanId"));
	assert_string_equal(view_str(launch, "parentSpanId"), view_str(root, "spanId"));
	assert_string_equal(view_str(launch, "startTimeUnixNano"), "1767225600020000000");
	assert_string_equal(view_str(launch, "endTimeUnixNano"), "1767225600100000000");
	assert_string_equal(
	    view_str(link, "spanId"), view_str(named(spans, "claim"), "spanId"));
	assert_int_equal(
	    view_int(json_object_get(named(spans, "certificate"), "status"), "code", 0),
	    2);
	assert_null(json_object_get(launch, "status"));
	assert_true(json_equal(doc, again));
}

static void
test_odd_traces(void **state)
{
	static const char *const odd[] = {"{}", "[]", "null", "3", "{'steps': 3}",
	    "{'steps': [1, null, []]}", "{'steps': [{'name': 4, 'started_at': 'x'}]}",
	    ("{'steps': [{'started_at': '2026-01-01T00:00:00Z', 'ended_at': "
	     "'2025-01-01T00:00:00Z',"
	     " 'waits_for': [1, 'a']}]}")};

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		AUTO_JSON json_t *trace = parse(odd[i]);
		AUTO_JSON json_t *chrome = trace_chrome(trace);
		AUTO_JSON json_t *otlp = trace_otlp(trace);
		AUTO_BUF struct buf b = BUF_INIT(0);

		trace_text(&b, trace);
		assert_non_null(b.data);
		assert_non_null(chrome);
		assert_non_null(otlp);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_chrome),
	    cmocka_unit_test(test_otlp),
	    cmocka_unit_test(test_odd_traces),
	};

	return cmocka_run_group_tests_name("cli trace", tests, NULL, NULL);
}
