/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

/*
 * From the API's JSON to a terminal: a table of columns says which field goes where and how it is
 * written; the same table serves a list (one line each) and a single object (one line a field).
 * Nothing from the daemon reaches the terminal but through here or text_clean().
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum view_kind {
	VIEW_STR,
	VIEW_INT,
	VIEW_IN,   /* a time, as what is left until then */
	VIEW_AGO,  /* a time, as what has gone by since */
	VIEW_SIZE, /* bytes */
	VIEW_USD,
	VIEW_HOST, /* host:port, the port from the field "port" */
};

struct view_column {
	const char *title; /* NULL ends the table */
	const char *key;
	enum view_kind kind;
};

/* The field's text or number; "" or `absent` where it is missing, null or of another type. */
const char *view_str(const json_t *obj, const char *key);
int64_t view_int(const json_t *obj, const char *key, int64_t absent);
double view_num(const json_t *obj, const char *key);
bool view_time(const json_t *obj, const char *key, int64_t *ret_wall_ms);

/* One field as its column has it; "-" where there is nothing. */
void view_field(
    struct buf *b, const json_t *obj, const struct view_column *col, int64_t wall_ms);

/* To stdout. A list has its header line also when it is empty; an object's empty fields are left out. */
void view_list(const json_t *array, const struct view_column *cols);
void view_object(const json_t *obj, const struct view_column *cols);

/* One JSON document and a newline, to stdout. */
void view_json(const json_t *v);

/* A line to stdout, cleaned. */
void view_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
