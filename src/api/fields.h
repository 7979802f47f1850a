/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_FIELDS_H
#define API_FIELDS_H

/*
 * What a request may say, as tables: one row for each field of a body, filled into a struct by offset.
 * Everything else is refused with a message that names the field, so that a misspelt one is not silently
 * without effect.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct json_t;

enum field_type {
	FIELD_BOOL,	 /* bool */
	FIELD_INT,	 /* int64_t, min to max; a whole number */
	FIELD_HOURS,	 /* int64_t ms: a number above 0, of hours, min to max hours */
	FIELD_DURATION,	 /* int64_t ms, min to max: "30m", or a number of seconds */
	FIELD_NAME,	 /* const char *: name_valid() */
	FIELD_PRINTABLE, /* const char *: min to max characters of printable ASCII */
	FIELD_STRING,	 /* const char *: min to max bytes */
	FIELD_ARRAY,	 /* const struct json_t *: min to max elements */
};

struct field {
	const char *name;
	enum field_type type;
	size_t offset; /* in the struct */
	double min;
	double max;
	bool required;
};

#define JSON_DEPTH_MAX 16

/* An object, with what its strings may not hold and how deep it may go checked. Empty text is an empty
   object. Owned by the caller: json_decref(). */
int fields_parse(
    const char *text, size_t len, struct json_t **ret_body, struct err *err) ERR_CHECK;

/* Fills *out, which holds the defaults; null counts as not given. Strings and arrays point into `body`. On
   failure some fields of *out may be filled. */
int fields_read(const struct json_t *body, const struct field *fields, int n, void *out,
    struct err *err) ERR_CHECK;

/* "50ms", "30s", "30m", "2h", "7d": a number, which may have decimals, and a unit. */
int duration_parse(const char *s, int64_t *ret_ms, struct err *err) ERR_CHECK;

/* "512M", "20G", a number of bytes: a number above 0, which may have decimals, and a unit or none. */
int size_parse(const char *s, int64_t *ret_bytes, struct err *err) ERR_CHECK;

/* Digits only, up to max. For what a query says. */
int number_parse(const char *s, int64_t max, int64_t *ret_n, struct err *err) ERR_CHECK;

#endif
