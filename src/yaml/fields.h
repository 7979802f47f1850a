/* SPDX-License-Identifier: Apache-2.0 */
#ifndef YAML_FIELDS_H
#define YAML_FIELDS_H

/* Tables that say which keys a mapping takes, what each may hold, and where in a struct
 * it goes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct field;
struct tree;

/* Where in the file we are: its name, and the keys on the way, for messages. */
struct place {
	const char *file;
	const struct place *up; /* NULL at the top */
	const char *key;
};

/* Puts the value of `t` at `to`; ERR_INVALID with place and what was expected. */
typedef int (*field_fn)(const struct place *at, const struct field *f,
    const struct tree *t, void *to, struct err *err);

struct field {
	const char *name;
	field_fn parse;
	size_t offset;
	int64_t min,
	    max; /* of numbers, durations (ms) and sizes (bytes), both included */
	bool required;
};

#define FIELDS_MAX 64

/* Every child of the mapping `t` into the struct at `base`; keys that `fields` (ends with
   a NULL name) does not hold are refused. What was set before a failure stays: free it as
   usual. */
int yaml_fields_parse(const struct place *at, const struct tree *t,
    const struct field *fields, void *base, struct err *err) ERR_CHECK;

/* ERR_INVALID "FILE:LINE:COLUMN: the.key: message" about the value `t`. */
int place_err(struct err *err, const struct place *at, const struct tree *t,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Types, all of field_fn; `to` is: */
/* clang-format off */
#define FIELD_TYPE(name) \
	int name(const struct place *at, const struct field *f, const struct tree *t, void *to, struct err *err)
FIELD_TYPE(field_string);     /* char *, owned */
FIELD_TYPE(field_name);       /* char *, owned; see name_valid() */
FIELD_TYPE(field_path);       /* char *, owned; absolute, at most f->max long */
FIELD_TYPE(field_int);        /* int */
FIELD_TYPE(field_int64);      /* int64_t */
FIELD_TYPE(field_bool);       /* bool */
FIELD_TYPE(field_duration);   /* int64_t, ms */
FIELD_TYPE(field_hours);      /* int64_t, ms; written in hours */
FIELD_TYPE(field_size);       /* uint64_t, bytes */
FIELD_TYPE(field_usd);        /* double, from 0 */
FIELD_TYPE(field_share);      /* double, 0 to 1 */
FIELD_TYPE(field_cpus);       /* int, thousandths; written in CPUs */
FIELD_TYPE(field_mode);       /* int; written in octal */
FIELD_TYPE(field_url);        /* char *, owned; http or https, without user and password */
#undef FIELD_TYPE
/* clang-format on */

#endif
