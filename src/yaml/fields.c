/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml/fields.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/xalloc.h"
#include "yaml/tree.h"

#define URL_MAX 1024
#define SHOWN_MAX 40 /* characters of a wrong value in a message */

static void
add_path(struct buf *b, const struct place *at)
{
	if (!at->up)
		return;
	add_path(b, at->up);
	if (b->len > 0 && at->key[0] != '[')
		buf_char(b, '.');
	buf_str(b, at->key);
}

int
place_err(
    struct err *err, const struct place *at, const struct tree *t, const char *fmt, ...)
{
	AUTO_BUF struct buf path = BUF_INIT(256);
	char msg[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	add_path(&path, at);
	if (path.len == 0)
		return tree_err(err, at->file, t->line, t->column, "%s", msg);
	return tree_err(err, at->file, t->line, t->column, "%s: %s", path.data, msg);
}

static int
expected(struct err *err, const struct place *at, const struct tree *t, const char *what)
{
	if (t->kind != TREE_SCALAR)
		return place_err(
		    err, at, t, "expected %s, got a %s", what, tree_kind_name(t->kind));
	return place_err(err, at, t, "expected %s, got '%.*s'%s", what, SHOWN_MAX,
	    t->text, strlen(t->text) > SHOWN_MAX ? "..." : "");
}

/* ---- tables ---- */

static const struct field *
find_field(const struct field *fields, const char *name)
{
	for (const struct field *f = fields; f->name; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static int
unknown_key(const struct place *at, const struct tree *t, const struct field *fields,
    struct err *err)
{
	struct tree where = {.line = t->key_line, .column = t->key_column};
	struct place here = {.file = at->file, .up = at, .key = t->key};
	AUTO_BUF struct buf names = BUF_INIT(512);

	for (const struct field *f = fields; f->name; f++)
		buf_fmt(&names, "%s%s", f == fields ? "" : ", ", f->name);
	return place_err(
	    err, &here, &where, "unknown key: expected one of %s", names.data);
}

static int
check_required(const struct place *at, const struct tree *t, const struct field *fields,
    uint64_t seen, struct err *err)
{
	for (int i = 0; fields[i].name; i++)
		if (fields[i].required && !(seen >> i & 1))
			return place_err(err, at, t, "'%s' is missing", fields[i].name);
	return 0;
}

int
yaml_fields_parse(const struct place *at, const struct tree *t,
    const struct field *fields, void *base, struct err *err)
{
	uint64_t seen = 0;

	if (t->kind != TREE_MAP)
		return expected(err, at, t, "a mapping, as in {key: value}");
	for (const struct tree *c = t->first; c; c = c->next) {
		const struct field *f = find_field(fields, c->key);
		struct place here = {.file = at->file, .up = at, .key = c->key};

		if (!f)
			return unknown_key(at, c, fields, err);
		assert(f - fields < FIELDS_MAX);
		seen |= UINT64_C(1) << (f - fields);
		if (f->parse(&here, f, c, (char *)base + f->offset, err) < 0)
			return -1;
	}
	return check_required(at, t, fields, seen, err);
}

/* ---- text ---- */

int
field_string(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	if (t->kind != TREE_SCALAR || t->text[0] == '\0')
		return expected(err, at, t, "text");
	xstrset(to, t->text);
	return 0;
}

int
field_name(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	if (t->kind != TREE_SCALAR || !name_valid(t->text))
		return expected(
		    err, at, t, "a name: 1 to 63 letters, digits, '.', '_' or '-'");
	xstrset(to, t->text);
	return 0;
}

int
field_path(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	size_t n;

	if (t->kind != TREE_SCALAR || t->text[0] != '/')
		return expected(err, at, t, "an absolute path");
	for (const char *c = t->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return expected(err, at, t, "a path without control characters");
	n = strlen(t->text);
	if (n > (size_t)f->max)
		return place_err(err, at, t,
		    "the path is %zu characters long: expected at most %d", n,
		    (int)f->max);
	while (n > 1 && t->text[n - 1] == '/')
		n--;
	free(*(char **)to);
	*(char **)to = xstrndup(t->text, n);
	return 0;
}

int
field_bool(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	bool yes = t->kind == TREE_SCALAR && t->plain && strcmp(t->text, "true") == 0;

	if (!yes &&
	    (t->kind != TREE_SCALAR || !t->plain || strcmp(t->text, "false") != 0))
		return expected(err, at, t, "true or false");
	*(bool *)to = yes;
	return 0;
}

/* ---- numbers ---- */

/* A decimal number at the start of `s`, digits and at most one point: nothing that only
   strtod takes (inf, nan, hexadecimal, exponents, signs, blanks). */
static bool
decimal(const char *s, double *ret, const char **ret_rest)
{
	size_t whole = strspn(s, "0123456789");
	size_t n = whole;

	if (whole == 0 || whole > 15)
		return false;
	if (s[n] == '.') {
		size_t digits = strspn(s + n + 1, "0123456789");

		if (digits == 0 || digits > 15)
			return false;
		n += 1 + digits;
	}
	*ret = strtod(s, NULL); /* the C locale: we never call setlocale() */
	*ret_rest = s + n;
	return true;
}

static bool
whole_decimal(const struct tree *t, double *ret)
{
	const char *rest;

	return t->kind == TREE_SCALAR && decimal(t->text, ret, &rest) && *rest == '\0';
}

static int
whole_number(const struct place *at, const struct field *f, const struct tree *t,
    int64_t *ret, struct err *err)
{
	double v = -1;
	char what[96];

	if (!whole_decimal(t, &v) || v != floor(v) || v < (double)f->min ||
	    v > (double)f->max) {
		(void)snprintf(what, sizeof(what), "a whole number from %lld to %lld",
		    (long long)f->min, (long long)f->max);
		return expected(err, at, t, what);
	}
	*ret = (int64_t)v;
	return 0;
}

int
field_int(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	int64_t v = 0;

	if (whole_number(at, f, t, &v, err) < 0)
		return -1;
	*(int *)to = (int)v;
	return 0;
}

int
field_int64(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	return whole_number(at, f, t, to, err);
}

int
field_usd(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	double v;

	if (!whole_decimal(t, &v) || v > 1e6)
		return expected(err, at, t, "an amount of dollars, as in 0.12");
	*(double *)to = v;
	return 0;
}

int
field_share(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	double v;

	if (!whole_decimal(t, &v) || v > 1)
		return expected(err, at, t, "a probability from 0 to 1");
	*(double *)to = v;
	return 0;
}

int
field_cpus(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	double v;

	if (!whole_decimal(t, &v) || v < 0.01 || v > 1024)
		return expected(err, at, t, "a number of CPUs from 0.01 to 1024");
	*(int *)to = (int)lround(v * 1000);
	return 0;
}

int
field_mode(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	if (t->kind != TREE_SCALAR || strspn(t->text, "01234567") != strlen(t->text) ||
	    strlen(t->text) < 3 || strlen(t->text) > 4 || strtol(t->text, NULL, 8) > 0777)
		return expected(err, at, t, "an octal mode, as in 0660");
	*(int *)to = (int)strtol(t->text, NULL, 8);
	return 0;
}

/* ---- numbers with a unit ---- */

struct unit {
	const char *name;
	double factor;
};

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}, {NULL, 0}};
static const struct unit sizes[] = {{"K", 1024.0}, {"M", 1048576.0}, {"G", 1073741824.0},
    {"T", 1099511627776.0}, {NULL, 0}};

/* False unless it is a number with one of the units, between f->min and f->max; a bare 0
 * needs no unit. */
static bool
with_unit(
    const struct field *f, const struct tree *t, const struct unit *units, double *ret)
{
	const char *unit;
	double v, factor = 0;

	if (t->kind != TREE_SCALAR || !decimal(t->text, &v, &unit))
		return false;
	if (*unit == '\0' && v == 0)
		factor = 1;
	for (const struct unit *u = units; u->name; u++)
		if (strcmp(u->name, unit) == 0)
			factor = u->factor;
	if (factor == 0)
		return false;
	*ret = round(v * factor);
	return *ret >= (double)f->min && *ret <= (double)f->max;
}

static void
add_with_unit(struct buf *b, int64_t v, const struct unit *units)
{
	const struct unit *best = units;

	for (const struct unit *u = units; u->name; u++)
		if (v > 0 && fmod((double)v, u->factor) == 0)
			best = u;
	if (v == 0)
		buf_char(b, '0');
	else
		buf_fmt(b, "%.0f%s", (double)v / best->factor, best->name);
}

static int
expected_unit(struct err *err, const struct place *at, const struct field *f,
    const struct tree *t, const char *what, const struct unit *units)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_fmt(&b, "%s from ", what);
	add_with_unit(&b, f->min, units);
	buf_str(&b, " to ");
	add_with_unit(&b, f->max, units);
	return expected(err, at, t, b.data);
}

int
field_duration(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	double v;

	if (!with_unit(f, t, durations, &v))
		return expected_unit(
		    err, at, f, t, "a duration (50ms, 30s, 5m, 2h, 7d)", durations);
	*(int64_t *)to = (int64_t)v;
	return 0;
}

int
field_size(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	double v;

	if (!with_unit(f, t, sizes, &v))
		return expected_unit(err, at, f, t, "a size (512M, 20G)", sizes);
	*(uint64_t *)to = (uint64_t)v;
	return 0;
}

int
field_hours(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	double v;

	if (!whole_decimal(t, &v) || v * 3600e3 < (double)f->min ||
	    v * 3600e3 > (double)f->max)
		return place_err(err, at, t,
		    "expected a number of hours, more than 0 and at most %lld",
		    (long long)(f->max / 3600000));
	*(int64_t *)to = (int64_t)(v * 3600e3);
	return 0;
}

int
field_url(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	if (t->kind != TREE_SCALAR ||
	    (strncmp(t->text, "http://", 7) != 0 &&
		strncmp(t->text, "https://", 8) != 0) ||
	    strlen(t->text) > URL_MAX || strpbrk(t->text, " \t\r\n@"))
		return place_err(err, at, t,
		    "expected a URL without a password, as in http://127.0.0.1:4566");
	xstrset(to, t->text);
	return 0;
}
