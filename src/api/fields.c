/* SPDX-License-Identifier: Apache-2.0 */
#include "api/fields.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/id.h"

/* jansson recurses once for each level, up to 2048; its own bound cannot be set. */
static int
check_depth(const char *s, size_t len, struct err *err)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				in_string = false;
			continue;
		}
		if (s[i] == '"')
			in_string = true;
		else if (s[i] == '{' || s[i] == '[')
			depth++;
		else if (s[i] == '}' || s[i] == ']')
			depth--;
		if (depth > JSON_DEPTH_MAX)
			return err_set(err, ERR_INVALID,
			    "body: JSON nested more than %d deep", JSON_DEPTH_MAX);
	}
	return 0;
}

int
fields_parse(const char *text, size_t len, struct json_t **ret_body, struct err *err)
{
	json_error_t je;
	json_t *body;

	if (len == 0) {
		*ret_body = json_object();
		return 0;
	}
	if (check_depth(text, len, err) < 0)
		return -1;
	body = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!body)
		return err_set(err, ERR_INVALID,
		    "body: malformed JSON: line %d, column %d: %s", je.line, je.column,
		    je.text);
	if (!json_is_object(body)) {
		json_decref(body);
		return err_set(err, ERR_INVALID, "body: expected a JSON object");
	}
	*ret_body = body;
	return 0;
}

static const char *
kind_of(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	default:
		return "null";
	}
}

static int
wrong_kind(const struct field *f, const char *expected, const json_t *v, struct err *err)
{
	return err_set(err, ERR_INVALID, "field '%s': expected %s, not %s", f->name,
	    expected, kind_of(v));
}

static int
check_range(const struct field *f, double v, const char *unit, struct err *err)
{
	if (!(v >= f->min && v <= f->max))
		return err_set(err, ERR_INVALID,
		    "field '%s': expected %.15g to %.15g%s, not %.15g", f->name, f->min,
		    f->max, unit, v);
	return 0;
}

static int
read_int(const struct field *f, const json_t *v, void *to, struct err *err)
{
	if (!json_is_integer(v)) {
		if (json_is_real(v))
			return err_set(err, ERR_INVALID,
			    "field '%s': expected a whole number, not %.15g", f->name,
			    json_real_value(v));
		return wrong_kind(f, "a whole number", v, err);
	}
	if (check_range(f, (double)json_integer_value(v), "", err) < 0)
		return -1;
	*(int64_t *)to = json_integer_value(v);
	return 0;
}

static int
read_hours(const struct field *f, const json_t *v, void *to, struct err *err)
{
	double hours;

	if (!json_is_number(v))
		return wrong_kind(f, "a number of hours", v, err);
	hours = json_number_value(v);
	if (!(hours > 0))
		return err_set(err, ERR_INVALID,
		    "field '%s': expected a number of hours above 0, not %.15g", f->name,
		    hours);
	if (hours < f->min)
		return err_set(err, ERR_INVALID,
		    "field '%s': expected a second at least, not %.3g hours", f->name,
		    hours);
	if (hours > f->max)
		return err_set(err, ERR_INVALID,
		    "field '%s': expected %.15g hours at most, not %.15g", f->name,
		    f->max, hours);
	*(int64_t *)to = (int64_t)(hours * 3600000 + 0.5);
	return 0;
}

struct unit {
	const char *name;
	double factor;
};

/* A number, which may have decimals, and one of the units; up to 1e15 of what they are counted in. */
static bool
with_unit(const char *s, const struct unit *units, size_t n_units, int64_t *ret)
{
	size_t digits = strspn(s, "0123456789.");
	char *end = NULL;
	double v;

	/* strtod() knows more ways to write a number than we want: exponents, hex, "inf" */
	v = digits > 0 && digits <= 18 && isdigit((unsigned char)s[0]) ? strtod(s, &end)
								       : -1;
	if (v < 0 || end != s + digits)
		return false;
	for (size_t i = 0; i < n_units; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		v *= units[i].factor;
		if (v > 1e15)
			return false;
		*ret = (int64_t)(v + 0.5);
		return true;
	}
	return false;
}

int
duration_parse(const char *s, int64_t *ret_ms, struct err *err)
{
	static const struct unit units[] = {
	    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

	if (with_unit(s, units, sizeof(units) / sizeof(units[0]), ret_ms))
		return 0;
	return err_set(err, ERR_INVALID,
	    "expected a duration like '90s', '30m' or '2h', not '%.40s'", s);
}

int
size_parse(const char *s, int64_t *ret_bytes, struct err *err)
{
	static const struct unit units[] = {
	    {"", 1}, {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}, {"T", 0x1p40}};

	if (with_unit(s, units, sizeof(units) / sizeof(units[0]), ret_bytes) &&
	    *ret_bytes > 0)
		return 0;
	return err_set(
	    err, ERR_INVALID, "expected a size like '512M' or '20G', not '%.40s'", s);
}

int
number_parse(const char *s, int64_t max, int64_t *ret_n, struct err *err)
{
	size_t n = strlen(s);
	int64_t v;

	if (n == 0 || n > 18 || strspn(s, "0123456789") != n)
		return err_set(
		    err, ERR_INVALID, "expected a whole number, not '%.40s'", s);
	v = strtoll(s, NULL, 10);
	if (v > max)
		return err_set(err, ERR_INVALID, "expected %lld at most, not %lld",
		    (long long)max, (long long)v);
	*ret_n = v;
	return 0;
}

static int
read_duration(const struct field *f, const json_t *v, void *to, struct err *err)
{
	int64_t ms = 0;

	if (json_is_number(v)) {
		double s = json_number_value(v);

		if (!(s >= 0 && s < 1e12))
			return err_set(err, ERR_INVALID,
			    "field '%s': expected a duration, not %.15g seconds", f->name,
			    s);
		ms = (int64_t)(s * 1000 + 0.5);
	} else if (!json_is_string(v)) {
		return wrong_kind(
		    f, "a duration like \"30m\" or a number of seconds", v, err);
	} else if (duration_parse(json_string_value(v), &ms, err) < 0) {
		return err_wrap(err, "field '%s'", f->name);
	}
	if ((double)ms < f->min || (double)ms > f->max)
		return err_set(err, ERR_INVALID,
		    "field '%s': expected %.15g to %.15g seconds, not %.15g", f->name,
		    f->min / 1000, f->max / 1000, (double)ms / 1000);
	*(int64_t *)to = ms;
	return 0;
}

static bool
printable(const char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			return false;
	return true;
}

static int
read_string(const struct field *f, const json_t *v, void *to, struct err *err)
{
	const char *s = json_string_value(v);

	if (!s)
		return wrong_kind(f, "a string", v, err);
	if (f->type == FIELD_NAME && !name_valid(s)) {
		err_set(
		    err, ERR_INVALID, "field '%s': '%.64s' is not a name", f->name, s);
		return err_hint(err,
		    "a name is 1 to 63 of A-Z a-z 0-9 . _ -, begins and ends with a "
		    "letter or digit, and has no '..'");
	}
	if (f->type == FIELD_PRINTABLE && !printable(s))
		return err_set(
		    err, ERR_INVALID, "field '%s': expected printable ASCII", f->name);
	if (f->type != FIELD_NAME &&
	    check_range(f, (double)strlen(s), " characters", err) < 0)
		return -1;
	*(const char **)to = s;
	return 0;
}

static int
read_array(const struct field *f, const json_t *v, void *to, struct err *err)
{
	if (!json_is_array(v))
		return wrong_kind(f, "an array", v, err);
	if (check_range(f, (double)json_array_size(v), " elements", err) < 0)
		return -1;
	*(const json_t **)to = v;
	return 0;
}

static int
read_bool(const struct field *f, const json_t *v, void *to, struct err *err)
{
	if (!json_is_boolean(v))
		return wrong_kind(f, "true or false", v, err);
	*(bool *)to = json_is_true(v);
	return 0;
}

static int
read_field(const struct field *f, const json_t *v, void *to, struct err *err)
{
	switch (f->type) {
	case FIELD_BOOL:
		return read_bool(f, v, to, err);
	case FIELD_INT:
		return read_int(f, v, to, err);
	case FIELD_HOURS:
		return read_hours(f, v, to, err);
	case FIELD_DURATION:
		return read_duration(f, v, to, err);
	case FIELD_ARRAY:
		return read_array(f, v, to, err);
	default:
		return read_string(f, v, to, err);
	}
}

static int
unknown_field(const char *name, const struct field *fields, int n, struct err *err)
{
	AUTO_BUF struct buf known = BUF_INIT(150); /* fits a hint */

	for (int i = 0; i < n; i++)
		buf_fmt(&known, "%s%s", i ? ", " : "", fields[i].name);
	err_set(err, ERR_INVALID, "unknown field '%.64s'", name);
	return err_hint(err, "known here: %s%s", n ? known.data : "none",
	    known.overflow ? ", …" : "");
}

int
fields_read(const struct json_t *body, const struct field *fields, int n, void *out,
    struct err *err)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)body, key, v) {
		int i = 0;

		while (i < n && strcmp(fields[i].name, key) != 0)
			i++;
		if (i == n)
			return unknown_field(key, fields, n, err);
		if (!json_is_null(v) &&
		    read_field(&fields[i], v, (char *)out + fields[i].offset, err) < 0)
			return -1;
	}
	for (int i = 0; i < n; i++) {
		v = fields[i].required ? json_object_get(body, fields[i].name) : NULL;
		if (fields[i].required && (!v || json_is_null(v)))
			return err_set(
			    err, ERR_INVALID, "field '%s' is missing", fields[i].name);
	}
	return 0;
}
