/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/rows.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/world_internal.h"

#define ROWS_VERSION 1 /* PRAGMA user_version */

struct rows {
	sqlite3 *db;
	sqlite3_stmt *put, *delete, *begin, *commit, *rollback;
};

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS objects ("
    " seq INTEGER PRIMARY KEY, region TEXT NOT NULL, kind TEXT NOT NULL,"
    " id TEXT NOT NULL, body TEXT NOT NULL);"
    "PRAGMA user_version = 1;"
    "COMMIT;";

static int
fail(struct rows *r, struct err *err, const char *what)
{
	int rc = sqlite3_errcode(r->db);

	err_set(err,
	    rc == SQLITE_BUSY				  ? ERR_CONFLICT
	    : rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT ? ERR_INTERNAL
							  : ERR_UNAVAILABLE,
	    "%s: %s", what, sqlite3_errmsg(r->db));
	if (rc == SQLITE_BUSY)
		return err_hint(err,
		    "another hearth-ec2 runs on this state: stop it, or give this one "
		    "a 'state' of its own");
	return err_hint(err, "see the file system that holds the state");
}

/* ---- opening ---- */

static int
get_int(struct rows *r, const char *sql, int *ret, struct err *err)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(r->db, sql, -1, &s, NULL) != SQLITE_OK ||
	    sqlite3_step(s) != SQLITE_ROW) {
		fail(r, err, "the state's version");
		sqlite3_finalize(s);
		return -1;
	}
	*ret = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return 0;
}

/* Made by this version, or empty. Rows of another one could be read wrongly, and what they stand for is real. */
static int
check_version(struct rows *r, struct err *err)
{
	int version = 0, tables = 0;

	if (get_int(r, "PRAGMA user_version", &version, err) < 0 ||
	    get_int(r, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
		return -1;
	if (version == ROWS_VERSION || (version == 0 && tables == 0))
		return 0;
	if (version == 0)
		err_set(err, ERR_INVALID, "the database belongs to another program");
	else
		err_set(err, ERR_INVALID,
		    "the state is of another hearth-ec2 (schema %d; this program knows "
		    "%d)",
		    version, ROWS_VERSION);
	return err_hint(err, "start the program that made it, or give this one a 'state' "
			     "of its own");
}

/* Exclusive: one process at a time, and no shared memory file beside the database. */
static int
set_up(struct rows *r, struct err *err)
{
	if (sqlite3_exec(r->db, "PRAGMA locking_mode = EXCLUSIVE;", NULL, NULL, NULL) !=
	    SQLITE_OK)
		return fail(r, err, "open the state");
	if (check_version(r, err) < 0)
		return -1;
	if (sqlite3_exec(r->db,
		"PRAGMA journal_mode = WAL;"
		"PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384;",
		NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(r->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		return fail(r, err, "open the state");
	return 0;
}

static int
prepare(struct rows *r, const char *sql, sqlite3_stmt **ret, struct err *err)
{
	if (sqlite3_prepare_v3(r->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) !=
	    SQLITE_OK)
		return fail(r, err, "open the state");
	return 0;
}

int
rows_open(const char *path, struct rows **ret, struct err *err)
{
	struct rows *r = xnew(struct rows);

	if (sqlite3_open_v2(path ?: ":memory:", &r->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
		    SQLITE_OPEN_NOFOLLOW,
		NULL) != SQLITE_OK) {
		fail(r, err, path ?: "memory");
	} else if (set_up(r, err) < 0 ||
		   prepare(r, "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
		       &r->put, err) < 0 ||
		   prepare(r, "DELETE FROM objects WHERE seq = ?", &r->delete, err) < 0 ||
		   prepare(r, "BEGIN IMMEDIATE", &r->begin, err) < 0 ||
		   prepare(r, "COMMIT", &r->commit, err) < 0 ||
		   prepare(r, "ROLLBACK", &r->rollback, err) < 0) {
		err_wrap(err, "%s", path ?: "memory");
	} else {
		*ret = r;
		return 0;
	}
	rows_close(r);
	return -1;
}

void
rows_close(struct rows *r)
{
	if (!r)
		return;
	sqlite3_finalize(r->put);
	sqlite3_finalize(r->delete);
	sqlite3_finalize(r->begin);
	sqlite3_finalize(r->commit);
	sqlite3_finalize(r->rollback);
	sqlite3_close(r->db);
	free(r);
}

/* ---- writing ---- */

static int
run(struct rows *r, sqlite3_stmt *s, struct err *err)
{
	int rc = sqlite3_step(s);

	sqlite3_reset(s);
	return rc == SQLITE_DONE ? 0 : fail(r, err, "write the state");
}

int
rows_begin(struct rows *r, struct err *err)
{
	return run(r, r->begin, err);
}

int
rows_commit(struct rows *r, struct err *err)
{
	return run(r, r->commit, err);
}

void
rows_rollback(struct rows *r)
{
	sqlite3_step(r->rollback);
	sqlite3_reset(r->rollback);
}

static json_t *
text_list(const struct texts *t)
{
	json_t *list = json_array();

	for (int i = 0; i < t->n; i++)
		json_array_append_new(list, json_string(t->v[i]));
	return list;
}

/* NULL: what it has anyway when it is made. */
static json_t *
attr_value(const struct object *o, const struct attr *a)
{
	const void *at = (const char *)o + a->offset;

	switch (a->type) {
	case ATTR_TEXT:
		return *(char *const *)at ? json_string(*(char *const *)at) : NULL;
	case ATTR_INT:
		return *(const int64_t *)at ? json_integer(*(const int64_t *)at) : NULL;
	case ATTR_BOOL:
		return *(const bool *)at ? json_true() : NULL;
	case ATTR_LIST:
		return ((const struct texts *)at)->n ? text_list(at) : NULL;
	case ATTR_JSON:
		return *(json_t *const *)at ? json_incref(*(json_t *const *)at) : NULL;
	}
	return NULL;
}

static void
set(json_t *j, const char *name, json_t *value)
{
	if (value)
		json_object_set_new(j, name, value);
}

static char *
encode(const struct object *o)
{
	json_t *j = json_object(), *tags = json_object();
	char *s;

	for (const struct attr *a = o->kind->attrs; a->name; a++)
		set(j, a->name, attr_value(o, a));
	set(j, "_created", json_integer(o->created_at));
	if (o->visible_at)
		set(j, "_visible", json_integer(o->visible_at));
	if (o->due_at)
		set(j, "_due", json_integer(o->due_at));
	for (int i = 0; i < o->n_tags; i++)
		set(tags, o->tags[i].key, json_string(o->tags[i].value));
	if (o->n_tags)
		json_object_set(j, "_tags", tags);
	s = json_dumps(j, JSON_COMPACT);
	json_decref(tags);
	json_decref(j);
	if (!s)
		abort(); /* only when memory runs out: texts are UTF-8 by form.c */
	return s;
}

int
rows_put(struct rows *r, const struct object *o, struct err *err)
{
	AUTO_FREE char *body = encode(o);

	sqlite3_bind_int64(r->put, 1, (sqlite3_int64)o->seq);
	sqlite3_bind_text(r->put, 2, o->region->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(r->put, 3, o->kind->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(r->put, 4, o->id, -1, SQLITE_STATIC);
	sqlite3_bind_text(r->put, 5, body, -1, SQLITE_STATIC);
	return run(r, r->put, err);
}

int
rows_delete(struct rows *r, uint64_t seq, struct err *err)
{
	sqlite3_bind_int64(r->delete, 1, (sqlite3_int64)seq);
	return run(r, r->delete, err);
}

/* ---- loading ---- */

static void
load_texts(struct texts *t, const json_t *list)
{
	size_t i;
	json_t *s;

	json_array_foreach (list, i, s)
		if (json_is_string(s))
			texts_add(t, json_string_value(s));
}

static void
load_attr(struct object *o, const struct attr *a, json_t *v)
{
	void *at = (char *)o + a->offset;

	switch (a->type) {
	case ATTR_TEXT:
		xstrset(at, json_string_value(v));
		break;
	case ATTR_INT:
		*(int64_t *)at = json_integer_value(v);
		break;
	case ATTR_BOOL:
		*(bool *)at = json_is_true(v);
		break;
	case ATTR_LIST:
		load_texts(at, v);
		break;
	case ATTR_JSON:
		*(json_t **)at = json_incref(v);
		break;
	}
}

static void
decode(struct object *o, json_t *j)
{
	const char *key;
	json_t *v;

	for (const struct attr *a = o->kind->attrs; a->name; a++) {
		v = json_object_get(j, a->name);
		if (v)
			load_attr(o, a, v);
	}
	o->created_at = json_integer_value(json_object_get(j, "_created"));
	o->visible_at = json_integer_value(json_object_get(j, "_visible"));
	o->due_at = json_integer_value(json_object_get(j, "_due"));
	json_object_foreach (json_object_get(j, "_tags"), key, v)
		object_set_tag(o, key, json_string_value(v) ?: "");
}

static const struct kind *
kind_named(const char *name)
{
	for (int i = 0; kinds[i]; i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

static int
load_row(struct world *w, sqlite3_stmt *s, struct err *err)
{
	const char *region_name = (const char *)sqlite3_column_text(s, 0);
	const char *id = (const char *)sqlite3_column_text(s, 1);
	const char *kind_name = (const char *)sqlite3_column_text(s, 2);
	const struct kind *k = kind_named(kind_name);
	struct region *r = world_region_bare(w, region_name);
	json_error_t why;
	json_t *j;

	if (!r || !k)
		return err_set(err, ERR_INVALID,
		    "the state holds %s, a %s of %s: this hearth-ec2 does not know such",
		    id, kind_name, region_name);
	j = json_loads((const char *)sqlite3_column_text(s, 4), 0, &why);
	if (!j)
		return err_set(
		    err, ERR_INTERNAL, "the state of %s is damaged: %s", id, why.text);
	decode(object_restore(r, k, id, (uint64_t)sqlite3_column_int64(s, 3)), j);
	json_decref(j);
	return 0;
}

int
rows_load(struct rows *r, struct world *w, struct err *err)
{
	sqlite3_stmt *s = NULL;
	int rc, failed = 0;

	if (sqlite3_prepare_v2(r->db,
		"SELECT region, id, kind, seq, body FROM objects ORDER BY seq", -1, &s,
		NULL) != SQLITE_OK)
		return fail(r, err, "read the state");
	while ((rc = sqlite3_step(s)) == SQLITE_ROW && !failed)
		failed = load_row(w, s, err) < 0;
	sqlite3_finalize(s);
	if (failed)
		return -1;
	return rc == SQLITE_DONE ? 0 : fail(r, err, "read the state");
}
