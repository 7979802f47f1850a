/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/trace_format.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "cli/text.h"
#include "cli/view.h"

#define BAR 40

struct step {
	const json_t *json; /* borrowed from the trace, like the strings */
	const char *name;
	int64_t start; /* wall ms */
	int64_t end;   /* of an open step: the end of all */
	bool open;
	bool critical;
	int row; /* in Chrome's view */
};

struct steps {
	struct step *s; /* owned */
	int n;
	int64_t start;
	int64_t end;
};

static int
by_start(const void *a, const void *b)
{
	const struct step *x = a;
	const struct step *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Those that have begun, in order of time. */
static struct steps
read_steps(const json_t *trace)
{
	const json_t *list = json_object_get(trace, "steps");
	struct steps all = {.s = xcalloc(json_array_size(list) + 1, sizeof(struct step))};
	size_t i;
	json_t *v;

	json_array_foreach (list, i, v) {
		struct step *s = &all.s[all.n];

		*s = (struct step){.json = v,
		    .name = view_str(v, "name"),
		    .critical = json_is_true(json_object_get(v, "critical"))};
		if (!view_time(v, "started_at", &s->start))
			continue;
		s->open = !view_time(v, "ended_at", &s->end);
		if (s->open || s->end < s->start)
			s->end = s->start;
		if (all.n == 0 || s->start < all.start)
			all.start = s->start;
		if (all.n == 0 || s->end > all.end)
			all.end = s->end;
		all.n++;
	}
	for (int k = 0; k < all.n; k++)
		if (all.s[k].open)
			all.s[k].end = all.end;
	if (all.n > 0)
		qsort(all.s, (size_t)all.n, sizeof(*all.s), by_start);
	return all;
}

static void
repeat(struct buf *b, char c, int64_t n)
{
	while (n-- > 0)
		buf_char(b, c);
}

/* Adds `text` in a field of `width` columns, to its left or right end. */
static void
field(struct buf *b, const char *text, size_t width, bool right)
{
	size_t w = text_width(text);
	int64_t gap = w < width ? (int64_t)(width - w) : 0;

	if (right)
		repeat(b, ' ', gap);
	buf_str(b, text);
	if (!right)
		repeat(b, ' ', gap);
}

static void
field_took(struct buf *b, double ms)
{
	AUTO_BUF struct buf t = BUF_INIT(0);

	text_took(&t, ms);
	field(b, t.data, 10, true);
}

static void
bar(struct buf *b, const struct steps *all, const struct step *s)
{
	int64_t span = all->end > all->start ? all->end - all->start : 1;
	int64_t from = (s->start - all->start) * BAR / span;
	int64_t len = (s->end - s->start) * BAR / span;

	if (from > BAR - 1)
		from = BAR - 1;
	if (len < 1)
		len = 1;
	if (len > BAR - from)
		len = BAR - from;
	buf_str(b, "  |");
	repeat(b, ' ', from);
	repeat(b, s->critical ? '#' : '=', len);
	repeat(b, ' ', BAR - from - len);
	buf_char(b, '|');
}

static void
notes(struct buf *b, const struct step *s)
{
	const json_t *waits = json_object_get(s->json, "waits_for");
	int64_t resolution = view_int(s->json, "resolution_ms", 0);
	int64_t attempt = view_int(s->json, "attempt", 1);
	size_t i;
	json_t *w;

	if (resolution > 0)
		buf_fmt(b, " ±%lld ms", (long long)resolution);
	if (attempt > 1)
		buf_fmt(b, " attempt %lld", (long long)attempt);
	if (s->open)
		buf_str(b, " still open");
	json_array_foreach (waits, i, w) {
		buf_str(b, i ? ", " : " after ");
		text_clean(b, json_string_value(w) ?: "");
	}
	if (view_str(s->json, "error")[0]) {
		buf_str(b, " error: ");
		text_clean(b, view_str(s->json, "error"));
	}
}

static void
line(struct buf *b, const struct steps *all, const struct step *s, size_t width)
{
	AUTO_BUF struct buf name = BUF_INIT(0);

	text_clean(&name, s->name);
	buf_str(b, s->critical ? "* " : "  ");
	field(b, name.data ? name.data : "", width, false);
	field_took(b, (double)(s->start - all->start));
	field_took(b, (double)(s->end - s->start));
	bar(b, all, s);
	notes(b, s);
	buf_char(b, '\n');
}

static void
totals(struct buf *b, const json_t *trace)
{
	static const struct {
		const char *label;
		const char *key;
	} sums[] = {{"in all ", "total_ms"}, {"; longest chain ", "longest_chain_ms"},
	    {"; one at a time ", "one_at_a_time_ms"},
	    {"; saved by overlap ", "saved_ms"}};

	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
		if (!json_is_number(json_object_get(trace, sums[i].key)))
			continue;
		buf_str(b, sums[i].label);
		text_took(b, view_num(trace, sums[i].key));
	}
	buf_str(b, "; * and # mark the critical path\n");
}

void
trace_text(struct buf *b, const json_t *trace)
{
	struct steps all = read_steps(trace);
	size_t width = 4;

	buf_str(b, "reservation ");
	text_clean(b, view_str(trace, "reservation"));
	if (view_str(trace, "path")[0]) {
		buf_str(b, ", path ");
		text_clean(b, view_str(trace, "path"));
	}
	buf_char(b, '\n');
	for (int i = 0; i < all.n; i++)
		if (text_width(all.s[i].name) > width)
			width = text_width(all.s[i].name);
	buf_str(b, "  ");
	field(b, "STEP", width, false);
	field(b, "START", 10, true);
	field(b, "TOOK", 10, true);
	buf_char(b, '\n');
	for (int i = 0; i < all.n; i++)
		line(b, &all, &all.s[i], width);
	totals(b, trace);
	free(all.s);
}

/* The first row that is free when each step starts. */
static void
place(struct steps *all)
{
	int64_t *busy = xcalloc((size_t)all->n + 1, sizeof(*busy));

	for (int i = 0; i < all->n; i++) {
		int row = 0;

		while (busy[row] > all->s[i].start)
			row++;
		all->s[i].row = row;
		busy[row] = all->s[i].end;
	}
	free(busy);
}

static json_t *
copy_of(const json_t *obj, const char *key)
{
	return json_deep_copy(json_object_get(obj, key)) ?: json_null();
}

static json_t *
chrome_event(const struct step *s)
{
	json_t *args = json_object();
	static const char *const keys[] = {
	    "waits_for", "resolution_ms", "resource", "attempt", "error", "critical"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_set_new(args, keys[i], copy_of(s->json, keys[i]));
	json_object_set_new(args, "open", json_boolean(s->open));
	return json_pack("{ss ss ss sI sI si si so}", "name", s->name, "cat",
	    s->critical ? "critical" : "step", "ph", "X", "ts",
	    (json_int_t)s->start * 1000, "dur", ((json_int_t)s->end - s->start) * 1000,
	    "pid", 1, "tid", s->row + 1, "args", args);
}

json_t *
trace_chrome(const json_t *trace)
{
	struct steps all = read_steps(trace);
	json_t *events = json_array();

	place(&all);
	json_array_append_new(
	    events, json_pack("{ss ss si s{ss}}", "name", "process_name", "ph", "M",
			"pid", 1, "args", "name", view_str(trace, "reservation")));
	for (int i = 0; i < all.n; i++)
		json_array_append_new(events, chrome_event(&all.s[i]));
	free(all.s);
	return json_pack("{so ss s{so so}}", "traceEvents", events, "displayTimeUnit",
	    "ms", "otherData", "path", copy_of(trace, "path"), "saved_ms",
	    copy_of(trace, "saved_ms"));
}

/* FNV-1a: an id needs to be the same each time, and different from others. */
static uint64_t
hash(const char *s, uint64_t salt)
{
	uint64_t h = 0xcbf29ce484222325u ^ salt * 0x9e3779b97f4a7c15u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h ? h : 1;
}

struct otlp {
	const char *reservation;
	char trace_id[40];
	char root_id[24];
};

static void
span_id(const struct otlp *o, int i, char out[24])
{
	struct buf b = BUF_INIT(0);

	buf_fmt(&b, "%016llx", (unsigned long long)hash(o->reservation, (uint64_t)i + 3));
	memcpy(out, b.data, b.len + 1);
	buf_fini(&b);
}

static json_t *
nanoseconds(int64_t wall_ms)
{
	return json_sprintf("%lld000000", (long long)wall_ms);
}

static void
attribute(json_t *list, const char *key, const json_t *v)
{
	json_t *value =
	    json_is_string(v)	 ? json_pack("{ss}", "stringValue", json_string_value(v))
	    : json_is_boolean(v) ? json_pack("{sb}", "boolValue", json_is_true(v))
	    : json_is_number(v)	 ? json_pack("{so}", "intValue",
				       json_sprintf("%.0f", json_number_value(v)))
				 : NULL;

	if (value)
		json_array_append_new(
		    list, json_pack("{ss so}", "key", key, "value", value));
}

/* Index of the step with this name, -1 for none. */
static int
find(const struct steps *all, const char *name)
{
	for (int i = 0; i < all->n; i++)
		if (strcmp(all->s[i].name, name) == 0)
			return i;
	return -1;
}

static json_t *
links(const struct otlp *o, const struct steps *all, const struct step *s)
{
	json_t *list = json_array();
	size_t i;
	json_t *w;

	json_array_foreach (json_object_get(s->json, "waits_for"), i, w) {
		int at = json_is_string(w) ? find(all, json_string_value(w)) : -1;
		char id[24];

		if (at < 0)
			continue;
		span_id(o, at, id);
		json_array_append_new(
		    list, json_pack("{ss ss}", "traceId", o->trace_id, "spanId", id));
	}
	return list;
}

static json_t *
step_span(const struct otlp *o, const struct steps *all, int i)
{
	static const char *const keys[] = {
	    "resource", "attempt", "resolution_ms", "critical"};
	const struct step *s = &all->s[i];
	const char *error = view_str(s->json, "error");
	json_t *attributes = json_array();
	char id[24];
	json_t *span;

	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
		attribute(attributes, keys[k], json_object_get(s->json, keys[k]));
	span_id(o, i, id);
	span = json_pack("{ss ss ss ss si so so so so}", "traceId", o->trace_id, "spanId",
	    id, "parentSpanId", o->root_id, "name", s->name, "kind", 1,
	    "startTimeUnixNano", nanoseconds(s->start), "endTimeUnixNano",
	    nanoseconds(s->end), "attributes", attributes, "links", links(o, all, s));
	if (error[0])
		json_object_set_new(span, "status",
		    json_pack(
			"{si ss}", "code", 2 /* STATUS_CODE_ERROR */, "message", error));
	return span;
}

static json_t *
root_span(const struct otlp *o, const struct steps *all, const json_t *trace)
{
	static const char *const keys[] = {
	    "path", "total_ms", "longest_chain_ms", "one_at_a_time_ms", "saved_ms"};
	json_t *attributes = json_array();

	attribute(attributes, "reservation", json_object_get(trace, "reservation"));
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
		attribute(attributes, keys[k], json_object_get(trace, keys[k]));
	return json_pack("{ss ss ss si so so so}", "traceId", o->trace_id, "spanId",
	    o->root_id, "name", "reservation", "kind", 1, "startTimeUnixNano",
	    nanoseconds(all->start), "endTimeUnixNano", nanoseconds(all->end),
	    "attributes", attributes);
}

json_t *
trace_otlp(const json_t *trace)
{
	struct steps all = read_steps(trace);
	struct otlp o = {.reservation = view_str(trace, "reservation")};
	json_t *spans = json_array();
	json_t *service = json_array();
	char low[24];

	span_id(&o, -3, o.trace_id);
	span_id(&o, -2, low);
	memcpy(o.trace_id + 16, low, 17);
	span_id(&o, -1, o.root_id);
	json_array_append_new(spans, root_span(&o, &all, trace));
	for (int i = 0; i < all.n; i++)
		json_array_append_new(spans, step_span(&o, &all, i));
	free(all.s);
	json_array_append_new(service, json_pack("{ss s{ss}}", "key", "service.name",
					   "value", "stringValue", "hearthd"));
	return json_pack("{s[{s{so} s[{s{ss} so}]}]}", "resourceSpans", "resource",
	    "attributes", service, "scopeSpans", "scope", "name", "hearth", "spans",
	    spans);
}
