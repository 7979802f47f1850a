/* SPDX-License-Identifier: Apache-2.0 */

/* Queries, and what a daemon reads at its start. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "store/arena.h"
#include "store/sqlite_impl.h"

/* A prefix of an id, as a range that the index can serve: '{' follows 'z'. */
#define BY_KEY "id >= ?1 AND id < ?1 || '{'"

/* ?1 key, ?2 key2, ?3 uid, ?4 since, ?5 limit. */
static const struct {
	enum table_id table;
	const char *where;
} queries[] = {
    [QUERY_RESERVATIONS] = {TABLE_RESERVATIONS,
	"WHERE ?3 IN (uid, 4294967295) ORDER BY n DESC LIMIT ?5"},
    [QUERY_GROUP] = {TABLE_RESERVATIONS,
	"WHERE \"group\" = ?1 AND ?3 IN (uid, 4294967295) ORDER BY n"},
    [QUERY_RESERVATION] = {TABLE_RESERVATIONS,
	"WHERE (" BY_KEY ") OR name = ?1"
	" ORDER BY id = ?1 DESC, uid = ?3 DESC, name = ?1 DESC, n DESC LIMIT ?5"},
    [QUERY_REQUEST] = {TABLE_RESERVATIONS, "WHERE uid = ?3 AND request_id = ?1"},
    [QUERY_MACHINES] = {TABLE_MACHINES,
	"WHERE " BY_KEY " ORDER BY id = ?1 DESC, n DESC LIMIT ?5"},
    [QUERY_DISKS] = {TABLE_DISKS, "WHERE id = ?1"},
    [QUERY_STEPS] = {TABLE_STEPS, "WHERE subject IN (?1, ?2) ORDER BY id LIMIT ?5"},
    [QUERY_EVENTS] = {TABLE_EVENTS, "WHERE seq > ?4 ORDER BY seq LIMIT ?5"},
};

static sqlite3_stmt *
query_stmt(struct sqlite_conn *c, enum store_query_kind kind, struct err *err)
{
	AUTO_FREE char *select = NULL, *sql = NULL;

	if (c->stmts[STMT_QUERY + kind])
		return c->stmts[STMT_QUERY + kind];
	select = sqlite_row_select(queries[kind].table);
	sql = xasprintf("%s %s", select, queries[kind].where);
	return sqlite_stmt(c, STMT_QUERY + kind, sql, err);
}

/* Every bind of a parameter that the statement does not have is refused, harmlessly. */
static void
bind_query(sqlite3_stmt *stmt, const struct store_query *q)
{
	sqlite3_bind_text(stmt, 1, q->key, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, q->key2, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 3, q->uid);
	sqlite3_bind_int64(stmt, 4, q->since);
	sqlite3_bind_int(stmt, 5, q->limit > 0 ? q->limit : -1);
}

static void
set_result(struct store_result *res, enum table_id table, void *rows, int n)
{
	res->n = n;
	switch (table) {
	case TABLE_MACHINES:
		res->machines = rows;
		break;
	case TABLE_RESERVATIONS:
		res->reservations = rows;
		break;
	case TABLE_DISKS:
		res->disks = rows;
		break;
	case TABLE_STEPS:
		res->steps = rows;
		break;
	default:
		res->events = rows;
		break;
	}
}

static int
read_all(struct sqlite_conn *c, sqlite3_stmt *stmt, struct sqlite_request *req)
{
	enum table_id table = queries[req->query.kind].table;
	size_t size = sqlite_row_size(table);
	int n = 0, room = 0, rc;
	char *rows = NULL;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (n == room) {
			room = room ? 2 * room : 8;
			rows = xrealloc(rows, (size_t)room * size);
		}
		set_result(&req->result, table, rows, n);
		if (sqlite_row_read(
			stmt, table, &req->arena, rows + (size_t)n * size, &req->err) < 0)
			return -1;
		n++;
	}
	set_result(&req->result, table, rows, n);
	return rc == SQLITE_DONE
		   ? 0
		   : sqlite_fail(c->db, &req->err, "cannot read the database");
}

void
sqlite_read(struct sqlite_conn *c, struct sqlite_request *req)
{
	sqlite3_stmt *stmt = query_stmt(c, req->query.kind, &req->err);

	if (!stmt)
		return;
	bind_query(stmt, &req->query);
	if (read_all(c, stmt, req) < 0)
		req->result.n = 0;
	sqlite3_reset(stmt);
}

void
sqlite_request_free(struct sqlite_request *req)
{
	/* only one of them is set */
	free(req->result.machines);
	free(req->result.reservations);
	free(req->result.disks);
	free(req->result.steps);
	free(req->result.events);
	arena_free(&req->arena);
	free(req);
}

union any_row {
	struct machine machine;
	struct reservation reservation;
	struct disk disk;
	struct step step;
};

typedef void (*row_fn)(const struct store_loader *to, const union any_row *row);

static void
give_machine(const struct store_loader *to, const union any_row *row)
{
	if (to->machine)
		to->machine(to->arg, &row->machine);
}

static void
give_reservation(const struct store_loader *to, const union any_row *row)
{
	if (to->reservation)
		to->reservation(to->arg, &row->reservation);
}

static void
give_disk(const struct store_loader *to, const union any_row *row)
{
	if (to->disk)
		to->disk(to->arg, &row->disk);
}

static void
give_step(const struct store_loader *to, const union any_row *row)
{
	if (to->step)
		to->step(to->arg, &row->step);
}

static sqlite3_stmt *
prepare(struct sqlite_conn *c, const char *sql, struct err *err)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL) == SQLITE_OK)
		return stmt;
	sqlite_fail(c->db, err, "cannot read the database");
	return NULL;
}

static int
load_rows(struct sqlite_conn *c, enum table_id table, const char *where, row_fn give,
    const struct store_loader *to, struct err *err)
{
	AUTO_FREE char *select = sqlite_row_select(table);
	AUTO_FREE char *sql = xasprintf("%s %s", select, where);
	sqlite3_stmt *stmt = prepare(c, sql, err);
	struct arena_block *arena = NULL;
	union any_row row;
	int rc = SQLITE_ERROR, bad = -1;

	if (!stmt)
		return -1;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		bad = sqlite_row_read(stmt, table, &arena, &row, err);
		if (bad < 0)
			break;
		give(to, &row);
		arena_reset(&arena);
	}
	if (rc == SQLITE_DONE)
		bad = 0;
	else if (rc != SQLITE_ROW)
		bad = sqlite_fail(c->db, err, "cannot read the database");
	arena_free(&arena);
	sqlite3_finalize(stmt);
	return bad;
}

static void
give_pool(const struct store_loader *to, sqlite3_stmt *stmt)
{
	int settings[4];

	for (int i = 0; i < 4; i++)
		settings[i] = sqlite3_column_int(stmt, i + 1);
	if (to->pool)
		to->pool(to->arg, (const char *)sqlite3_column_text(stmt, 0), settings);
}

static void
give_meta(const struct store_loader *to, sqlite3_stmt *stmt)
{
	if (to->meta)
		to->meta(to->arg, (const char *)sqlite3_column_text(stmt, 0),
		    (const char *)sqlite3_column_text(stmt, 1));
}

static void
give_last(const struct store_loader *to, sqlite3_stmt *stmt)
{
	if (to->last)
		to->last(to->arg, sqlite3_column_int64(stmt, 0),
		    sqlite3_column_int64(stmt, 1),
		    (uint64_t)sqlite3_column_int64(stmt, 2));
}

static int
load_other(struct sqlite_conn *c, const char *sql,
    void (*give)(const struct store_loader *, sqlite3_stmt *),
    const struct store_loader *to, struct err *err)
{
	sqlite3_stmt *stmt = prepare(c, sql, err);
	int rc;

	if (!stmt)
		return -1;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		give(to, stmt);
	if (rc != SQLITE_DONE)
		sqlite_fail(c->db, err, "cannot read the database");
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

#define HIGH(what) "(SELECT value FROM high WHERE what = '" what "')"
#define LAST(column, table, what)                                                        \
	"max(ifnull((SELECT max(" column ") FROM " table                                 \
	"), 0), ifnull(" HIGH(what) ", 0))"

int
sqlite_load(struct sqlite_conn *c, const struct store_loader *to, struct err *err)
{
	if (load_other(c, "SELECT key, value FROM meta", give_meta, to, err) < 0 ||
	    load_other(c, "SELECT name, running, stopped, hibernated, max FROM pools",
		give_pool, to, err) < 0 ||
	    load_rows(c, TABLE_MACHINES, "WHERE " MACHINE_OVER " = 0 ORDER BY n",
		give_machine, to, err) < 0 ||
	    load_rows(c, TABLE_RESERVATIONS, "WHERE " RESERVATION_OVER " = 0 ORDER BY n",
		give_reservation, to, err) < 0 ||
	    load_rows(c, TABLE_DISKS, "WHERE " DISK_OVER " = 0 ORDER BY n", give_disk, to,
		err) < 0 ||
	    load_rows(c, TABLE_STEPS, "WHERE state = 'open' ORDER BY id", give_step, to,
		err) < 0)
		return -1;
	return load_other(c,
	    "SELECT " LAST("id", "steps", "step") ", " LAST(
		"seq", "events", "event") ", " LAST("serial", "reservations", "serial"),
	    give_last, to, err);
}
