/* SPDX-License-Identifier: Apache-2.0 */

/* Which column holds which member: the one place to extend when a row grows (with a new
   schema version). States are stored by name, so that a new state needs no migration and
   a person can read the tables. */

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "store/arena.h"
#include "store/sqlite_impl.h"

enum field_type {
	F_STR,
	F_ID,
	F_INT,
	F_I64, /* int64_t; uint64_t with its bits as they are */
	F_U32,
	F_BOOL,
	F_DOUBLE,
	F_MACHINE_STATE,
	F_TIER,
	F_RESERVATION_STATE,
	F_END_REASON,
	F_PATH,
	F_STEP_STATE,
	F_DISK_STATE,
};

struct field {
	const char *column;
	enum field_type type;
	size_t offset;
	bool fixed; /* never changes after the first put: left alone by updates, with its
		       index */
};

#define M(member, type) #member, type, offsetof(struct machine, member)
#define R(member, type) #member, type, offsetof(struct reservation, member)
#define D(member, type) #member, type, offsetof(struct disk, member)
#define S(member, type) #member, type, offsetof(struct step, member)
#define E(member, type) #member, type, offsetof(struct event, member)

/* clang-format off */
static const struct field machine_fields[] = {
	{ M(id, F_ID), .fixed = true },
	{ M(pool, F_STR) },
	{ M(provider, F_STR) },
	{ M(provider_ref, F_STR) },
	{ M(state, F_MACHINE_STATE) },
	{ M(tier, F_TIER) },
	{ M(image, F_STR) },
	{ M(image_version, F_STR) },
	{ M(address, F_STR) },
	{ M(port, F_INT) },
	{ M(reservation, F_ID) },
	{ M(error, F_STR) },
	{ M(output, F_STR) },
	{ M(created_at, F_I64) },
	{ M(ready_at, F_I64) },
	{ M(claimed_at, F_I64) },
	{ M(ended_at, F_I64) },
};

static const struct field reservation_fields[] = {
	{ R(id, F_ID), .fixed = true },
	{ R(name, F_STR), .fixed = true },
	{ R(uid, F_U32), .fixed = true },
	{ R(user, F_STR) },
	{ R(pool, F_STR) },
	{ R(state, F_RESERVATION_STATE) },
	{ R(reason, F_END_REASON) },
	{ R(error, F_STR) },
	{ R(path, F_PATH) },
	{ R(miss_reason, F_STR) },
	{ R(machine, F_ID) },
	{ R(public_keys, F_STR) },
	{ R(github, F_STR) },
	{ R(notice, F_STR) },
	{ R(disks, F_STR) },
	{ R(request_id, F_STR), .fixed = true },
	{ "\"group\"", F_ID, offsetof(struct reservation, group) },
	{ R(no_warm, F_BOOL) },
	{ R(no_wait, F_BOOL) },
	{ R(hold_ms, F_I64) },
	{ R(idle_ms, F_I64) },
	{ R(serial, F_I64) },
	{ R(created_at, F_I64) },
	{ R(ready_at, F_I64) },
	{ R(expires_at, F_I64) },
	{ R(ended_at, F_I64) },
	{ R(usd_per_hour, F_DOUBLE) },
};

static const struct field disk_fields[] = {
	{ D(id, F_ID), .fixed = true },
	{ D(name, F_STR), .fixed = true },
	{ D(uid, F_U32), .fixed = true },
	{ D(user, F_STR) },
	{ D(provider, F_STR) },
	{ D(provider_ref, F_STR) },
	{ D(state, F_DISK_STATE) },
	{ D(size_bytes, F_I64) },
	{ D(source, F_ID) },
	{ D(transient, F_BOOL) },
	{ D(holder, F_ID) },
	{ D(machine, F_ID) },
	{ D(lost, F_BOOL) },
	{ D(snapshot_due, F_BOOL) },
	{ D(expires_at, F_I64) },
	{ D(error, F_STR) },
	{ D(created_at, F_I64) },
	{ D(ended_at, F_I64) },
};

static const struct field step_fields[] = {
	{ S(id, F_I64), .fixed = true },
	{ S(subject, F_ID), .fixed = true },
	{ S(name, F_STR) },
	{ S(attempt, F_INT) },
	{ S(state, F_STEP_STATE) },
	{ S(token, F_STR) },
	{ S(resource, F_STR) },
	{ S(error, F_STR) },
	{ S(waits_for, F_U32) },
	{ S(started_at, F_I64) },
	{ S(ended_at, F_I64) },
	{ S(resolution_ms, F_INT) },
};

static const struct field event_fields[] = {
	{ E(seq, F_I64), .fixed = true },
	{ E(at, F_I64) },
	{ E(kind, F_STR) },
	{ E(id, F_ID) },
	{ E(name, F_STR) },
	{ E(state, F_STR) },
	{ E(other, F_ID) },
	{ E(uid, F_U32) },
	{ E(detail, F_STR) },
};

#define FIELDS(f) f, sizeof(f) / sizeof((f)[0])

static const struct table {
	const char *name;
	size_t row_size;
	const struct field *fields; /* the first one is the key */
	size_t n;
} tables[TABLE_MAX] = {
	[TABLE_MACHINES]     = { "machines", sizeof(struct machine), FIELDS(machine_fields) },
	[TABLE_RESERVATIONS] = { "reservations", sizeof(struct reservation), FIELDS(reservation_fields) },
	[TABLE_DISKS]        = { "disks", sizeof(struct disk), FIELDS(disk_fields) },
	[TABLE_STEPS]        = { "steps", sizeof(struct step), FIELDS(step_fields) },
	[TABLE_EVENTS]       = { "events", sizeof(struct event), FIELDS(event_fields) },
};
/* clang-format on */

static const char *
state_name(enum field_type type, int value)
{
	switch (type) {
	case F_MACHINE_STATE:
		return machine_state_name((enum machine_state)value);
	case F_TIER:
		return tier_name((enum tier)value);
	case F_RESERVATION_STATE:
		return reservation_state_name((enum reservation_state)value);
	case F_END_REASON:
		return end_reason_name((enum end_reason)value);
	case F_PATH:
		return path_name((enum path)value);
	case F_STEP_STATE:
		return step_state_name((enum step_state)value);
	case F_DISK_STATE:
		return disk_state_name((enum disk_state)value);
	default:
		assert(!"a type with names");
		return NULL;
	}
}

static int
state_from(enum field_type type, const char *name)
{
	switch (type) {
	case F_MACHINE_STATE:
		return machine_state_from(name);
	case F_TIER:
		return tier_from(name);
	case F_RESERVATION_STATE:
		return reservation_state_from(name);
	case F_END_REASON:
		return end_reason_from(name);
	case F_PATH:
		return path_from(name);
	case F_STEP_STATE:
		return step_state_from(name);
	case F_DISK_STATE:
		return disk_state_from(name);
	default:
		assert(!"a type with names");
		return -1;
	}
}

size_t
sqlite_row_size(enum table_id table)
{
	return tables[table].row_size;
}

static void
add_columns(struct buf *sql, const struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		buf_fmt(sql, "%s%s", i ? ", " : "", t->fields[i].column);
}

char *
sqlite_row_select(enum table_id table)
{
	const struct table *t = &tables[table];
	AUTO_BUF struct buf sql = BUF_INIT(0);

	buf_str(&sql, "SELECT ");
	add_columns(&sql, t);
	buf_fmt(&sql, " FROM %s", t->name);
	return buf_take(&sql);
}

static void
add_settings(struct buf *sql, const struct table *t)
{
	const char *comma = "";

	for (size_t i = 0; i < t->n; i++) {
		if (t->fields[i].fixed)
			continue;
		buf_fmt(sql, "%s%s = ?%zu", comma, t->fields[i].column, i + 1);
		comma = ", ";
	}
}

char *
sqlite_row_put(enum table_id table, bool guarded)
{
	const struct table *t = &tables[table];
	const char *key = t->fields[0].column;
	AUTO_BUF struct buf sql = BUF_INIT(0);

	if (guarded) {
		buf_fmt(&sql, "UPDATE %s SET ", t->name);
		add_settings(&sql, t);
		buf_fmt(&sql, " WHERE %s = ?1 AND state = ?%zu", key, t->n + 1);
		return buf_take(&sql);
	}
	buf_fmt(&sql, "INSERT INTO %s (", t->name);
	add_columns(&sql, t);
	buf_str(&sql, ") VALUES (");
	for (size_t i = 0; i < t->n; i++)
		buf_fmt(&sql, "%s?%zu", i ? ", " : "", i + 1);
	buf_fmt(&sql, ") ON CONFLICT (%s) DO UPDATE SET ", key);
	add_settings(&sql, t);
	return buf_take(&sql);
}

static void
bind_text(sqlite3_stmt *stmt, int i, const char *s)
{
	if (s)
		sqlite3_bind_text(stmt, i, s, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(stmt, i);
}

/* Binding fails only for an index out of range or a string over a gigabyte: a bug of
   ours, and the statement would then fail or store NULL. */
static void
bind_field(sqlite3_stmt *stmt, int i, const struct field *f, const void *row)
{
	const void *p = (const char *)row + f->offset;

	switch (f->type) {
	case F_STR:
		bind_text(stmt, i, *(char *const *)p);
		break;
	case F_ID:
		bind_text(stmt, i, id_empty(p) ? NULL : ((const struct id *)p)->s);
		break;
	case F_INT:
		sqlite3_bind_int(stmt, i, *(const int *)p);
		break;
	case F_I64:
		sqlite3_bind_int64(stmt, i, *(const int64_t *)p);
		break;
	case F_U32:
		sqlite3_bind_int64(stmt, i, *(const uint32_t *)p);
		break;
	case F_BOOL:
		sqlite3_bind_int(stmt, i, *(const bool *)p);
		break;
	case F_DOUBLE:
		sqlite3_bind_double(stmt, i, *(const double *)p);
		break;
	default:
		bind_text(stmt, i, state_name(f->type, *(const int *)p));
		break;
	}
}

int
sqlite_row_bind(sqlite3_stmt *stmt, enum table_id table, const void *row)
{
	const struct table *t = &tables[table];

	for (size_t i = 0; i < t->n; i++)
		bind_field(stmt, (int)i + 1, &t->fields[i], row);
	return (int)t->n;
}

static int
read_state(const struct field *f, const char *text, int *ret, struct err *err)
{
	int value;

	if (!text) {
		*ret = 0;
		return 0;
	}
	value = state_from(f->type, text);
	if (value < 0)
		return err_set(err, ERR_INTERNAL,
		    "the database has the unknown %s '%.32s'", f->column, text);
	*ret = value;
	return 0;
}

static int
read_field(sqlite3_stmt *stmt, int i, const struct field *f, struct arena_block **arena,
    void *row, struct err *err)
{
	void *p = (char *)row + f->offset;
	const char *text;

	switch (f->type) {
	case F_INT:
		*(int *)p = sqlite3_column_int(stmt, i);
		return 0;
	case F_I64:
		*(int64_t *)p = sqlite3_column_int64(stmt, i);
		return 0;
	case F_U32:
		*(uint32_t *)p = (uint32_t)sqlite3_column_int64(stmt, i);
		return 0;
	case F_BOOL:
		*(bool *)p = sqlite3_column_int(stmt, i) != 0;
		return 0;
	case F_DOUBLE:
		*(double *)p = sqlite3_column_double(stmt, i);
		return 0;
	default:
		break;
	}
	text = (const char *)sqlite3_column_text(stmt, i);
	if (f->type == F_STR) {
		*(char **)p =
		    arena_strn(arena, text, (size_t)sqlite3_column_bytes(stmt, i));
		return 0;
	}
	if (f->type != F_ID)
		return read_state(f, text, p, err);
	if (text && strlen(text) >= ID_MAX)
		return err_set(
		    err, ERR_INTERNAL, "the database has the overlong id '%.32s'", text);
	*(struct id *)p = (struct id){0};
	if (text)
		memcpy(((struct id *)p)->s, text, strlen(text));
	return 0;
}

int
sqlite_row_read(sqlite3_stmt *stmt, enum table_id table, struct arena_block **arena,
    void *row, struct err *err)
{
	const struct table *t = &tables[table];

	memset(row, 0, t->row_size);
	for (size_t i = 0; i < t->n; i++)
		if (read_field(stmt, (int)i, &t->fields[i], arena, row, err) < 0)
			return -1;
	return 0;
}
