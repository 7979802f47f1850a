/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/view.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "cli/text.h"

#define GAP 2

const char *
view_str(const json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key)) ?: "";
}

int64_t
view_int(const json_t *obj, const char *key, int64_t absent)
{
	const json_t *v = json_object_get(obj, key);

	return json_is_integer(v) ? json_integer_value(v) : absent;
}

double
view_num(const json_t *obj, const char *key)
{
	return json_number_value(json_object_get(obj, key));
}

bool
view_time(const json_t *obj, const char *key, int64_t *ret_wall_ms)
{
	return text_parse_time(view_str(obj, key), ret_wall_ms);
}

static void
field_time(struct buf *b, const json_t *v, enum view_kind kind, int64_t wall_ms)
{
	int64_t at;

	if (!json_is_string(v) || !text_parse_time(json_string_value(v), &at))
		return;
	text_span(b, kind == VIEW_IN ? at - wall_ms : wall_ms - at);
}

static void
field_host(struct buf *b, const json_t *obj, const json_t *host)
{
	int64_t port = view_int(obj, "port", 22);

	if (!json_is_string(host) || !json_string_length(host))
		return;
	text_clean(b, json_string_value(host));
	if (port != 22)
		buf_fmt(b, ":%lld", (long long)port);
}

void
view_field(
    struct buf *b, const json_t *obj, const struct view_column *col, int64_t wall_ms)
{
	const json_t *v = json_object_get(obj, col->key);
	size_t before = b->len;

	switch (col->kind) {
	case VIEW_STR:
		if (json_is_boolean(v))
			buf_str(b, json_is_true(v) ? "yes" : "no");
		else if (json_is_string(v))
			text_clean(b, json_string_value(v));
		break;
	case VIEW_INT:
		if (json_is_number(v))
			buf_fmt(b, "%.15g", json_number_value(v));
		break;
	case VIEW_SIZE:
		if (json_is_integer(v))
			text_size(b, json_integer_value(v));
		break;
	case VIEW_USD:
		if (json_is_number(v) && json_number_value(v) != 0)
			buf_fmt(b, json_number_value(v) < 1 ? "$%.4f" : "$%.2f",
			    json_number_value(v));
		break;
	case VIEW_HOST:
		field_host(b, obj, v);
		break;
	case VIEW_IN:
	case VIEW_AGO:
		field_time(b, v, col->kind, wall_ms);
		break;
	}
	if (b->len == before)
		buf_char(b, '-');
}

static void
pad(struct buf *line, size_t n)
{
	while (n-- > 0)
		buf_char(line, ' ');
}

static void
put(struct buf *line)
{
	while (line->len > 0 && line->data[line->len - 1] == ' ')
		line->data[--line->len] = '\0';
	buf_char(line, '\n');
	fwrite(line->data, 1, line->len, stdout);
	buf_reset(line);
}

static size_t
count(const struct view_column *cols)
{
	size_t n = 0;

	while (cols[n].title)
		n++;
	return n;
}

void
view_list(const json_t *array, const struct view_column *cols)
{
	size_t n_cols = count(cols);
	size_t n_rows = json_array_size(array) + 1;
	char **cells = xcalloc(n_rows * n_cols, sizeof(*cells));
	size_t *width = xcalloc(n_cols, sizeof(*width));
	int64_t now = clock_real_wall_ms();
	AUTO_BUF struct buf line = BUF_INIT(0);

	assert(n_cols > 0);
	for (size_t i = 0; i < n_rows * n_cols; i++) {
		const struct view_column *col = &cols[i % n_cols];
		size_t w;

		if (i < n_cols)
			buf_str(&line, col->title);
		else
			view_field(
			    &line, json_array_get(array, i / n_cols - 1), col, now);
		cells[i] = buf_take(&line);
		w = text_width(cells[i]);
		if (w > width[i % n_cols])
			width[i % n_cols] = w;
	}
	for (size_t i = 0; i < n_rows * n_cols; i++) {
		buf_str(&line, cells[i]);
		pad(&line, width[i % n_cols] - text_width(cells[i]) + GAP);
		if (i % n_cols == n_cols - 1)
			put(&line);
		free(cells[i]);
	}
	free(cells);
	free(width);
}

void
view_object(const json_t *obj, const struct view_column *cols)
{
	int64_t now = clock_real_wall_ms();
	AUTO_BUF struct buf line = BUF_INIT(0);
	AUTO_BUF struct buf value = BUF_INIT(0);
	size_t width = 0;

	for (size_t i = 0; cols[i].title; i++)
		if (strlen(cols[i].title) > width)
			width = strlen(cols[i].title);
	for (size_t i = 0; cols[i].title; i++) {
		buf_reset(&value);
		view_field(&value, obj, &cols[i], now);
		if (strcmp(value.data, "-") == 0)
			continue;
		buf_str(&line, cols[i].title);
		pad(&line, width - strlen(cols[i].title) + GAP);
		buf_str(&line, value.data);
		put(&line);
	}
}

void
view_json(const json_t *v)
{
	json_dumpf(v, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY);
	putchar('\n');
}

void
view_line(const char *fmt, ...)
{
	AUTO_BUF struct buf clean = BUF_INIT(0);
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	text_clean(&clean, text);
	buf_char(&clean, '\n');
	fwrite(clean.data, 1, clean.len, stdout);
	free(text);
}
