/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transactions into the database. A batch is one SQLite transaction, so one fsync serves
 * all of it; each of ours within is whole or absent. One that cannot fail after its first
 * row needs no savepoint, which is most of them.
 */

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "store/sqlite_impl.h"

/* Rows per commit: what a claim may have to wait for. */
#define PRUNE_SLICE "16"
#define PRUNE_EVENTS "128"

enum outcome { APPLIED, REFUSED, BROKEN };

static int
run(struct sqlite_conn *c, enum stmt_id id, const char *sql, struct err *err)
{
	sqlite3_stmt *stmt = sqlite_stmt(c, id, sql, err);
	int rc;

	if (!stmt)
		return -1;
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_DONE)
		sqlite_fail(
		    c->db, err, "cannot save"); /* before the reset, which may hide it */
	sqlite3_reset(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
begin(struct sqlite_conn *c, struct err *err)
{
	return run(c, STMT_BEGIN, "BEGIN IMMEDIATE", err);
}

static int
commit(struct sqlite_conn *c, struct err *err)
{
	return run(c, STMT_COMMIT, "COMMIT", err);
}

/* SQLite has rolled back by itself after some errors. */
static void
roll_back(struct sqlite_conn *c)
{
	struct err ignored;

	if (!sqlite3_get_autocommit(c->db))
		(void)run(c, STMT_ROLLBACK, "ROLLBACK", &ignored);
}

/* Runs a bound statement that writes one row. */
static enum outcome
put_row(struct sqlite_conn *c, sqlite3_stmt *stmt, struct err *err)
{
	int rc = sqlite3_step(stmt);
	enum outcome out = APPLIED;

	/* a taken id is an update: it can only be the other one */
	if (rc == SQLITE_CONSTRAINT_UNIQUE) {
		err_set(err, ERR_CONFLICT, "request_id");
		out = REFUSED;
	} else if (rc != SQLITE_DONE) {
		sqlite_fail(c->db, err, "cannot save");
		out = BROKEN;
	}
	sqlite3_reset(stmt);
	return out;
}

static enum outcome
put(struct sqlite_conn *c, enum table_id table, const void *row, struct err *err)
{
	sqlite3_stmt *stmt = sqlite_stmt(c, STMT_PUT + table, NULL, err);

	if (!stmt)
		return BROKEN;
	sqlite_row_bind(stmt, table, row);
	return put_row(c, stmt, err);
}

static enum outcome
put_machine_if(struct sqlite_conn *c, const struct store_rec *rec, struct err *err)
{
	sqlite3_stmt *stmt = sqlite_stmt(c, STMT_MACHINE_IF, NULL, err);
	const char *expect = machine_state_name((enum machine_state)rec->expect);
	enum outcome out;
	int n;

	if (!stmt)
		return BROKEN;
	n = sqlite_row_bind(stmt, TABLE_MACHINES, &rec->machine);
	sqlite3_bind_text(stmt, n + 1, expect, -1, SQLITE_STATIC);
	out = put_row(c, stmt, err);
	if (out == APPLIED && sqlite3_changes(c->db) == 0) {
		err_set(err, ERR_CONFLICT, "machine %s is not %s any more",
		    rec->machine.id.s, expect);
		return REFUSED;
	}
	return out;
}

static enum outcome
put_pool(struct sqlite_conn *c, const struct store_rec *rec, struct err *err)
{
	sqlite3_stmt *stmt = sqlite_stmt(c, STMT_POOL,
	    "INSERT OR REPLACE INTO pools VALUES (?1, ?2, ?3, ?4, ?5)", err);

	if (!stmt)
		return BROKEN;
	sqlite3_bind_text(stmt, 1, rec->pool.name, -1, SQLITE_STATIC);
	for (int i = 0; i < 4; i++)
		sqlite3_bind_int(stmt, i + 2, rec->pool.settings[i]);
	return put_row(c, stmt, err);
}

static enum outcome
put_meta(struct sqlite_conn *c, const struct store_rec *rec, struct err *err)
{
	sqlite3_stmt *stmt =
	    sqlite_stmt(c, STMT_META, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", err);

	if (!stmt)
		return BROKEN;
	sqlite3_bind_text(stmt, 1, rec->meta.key, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, rec->meta.value, -1, SQLITE_STATIC);
	return put_row(c, stmt, err);
}

static enum outcome
put_rec(struct sqlite_conn *c, const struct store_rec *rec, struct err *err)
{
	switch (rec->kind) {
	case REC_MACHINE:
		if (rec->expect >= 0)
			return put_machine_if(c, rec, err);
		return put(c, TABLE_MACHINES, &rec->machine, err);
	case REC_RESERVATION:
		return put(c, TABLE_RESERVATIONS, &rec->reservation, err);
	case REC_DISK:
		return put(c, TABLE_DISKS, &rec->disk, err);
	case REC_STEP:
		return put(c, TABLE_STEPS, &rec->step, err);
	case REC_EVENT:
		return put(c, TABLE_EVENTS, &rec->event, err);
	case REC_POOL:
		return put_pool(c, rec, err);
	case REC_META:
		return put_meta(c, rec, err);
	}
	assert(!"a kind of record");
	return BROKEN;
}

/* Whether the reservation's request id is another's already. */
static enum outcome
check_request(struct sqlite_conn *c, const struct reservation *r, struct err *err)
{
	sqlite3_stmt *stmt = sqlite_stmt(c, STMT_REQUEST_TAKEN,
	    "SELECT 1 FROM reservations WHERE uid = ?1 AND request_id = ?2 AND id <> ?3",
	    err);
	enum outcome out = APPLIED;
	int rc;

	if (!stmt)
		return BROKEN;
	sqlite3_bind_int64(stmt, 1, r->uid);
	sqlite3_bind_text(stmt, 2, r->request_id, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, r->id.s, -1, SQLITE_STATIC);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		err_set(err, ERR_CONFLICT, "request_id");
		out = REFUSED;
	} else if (rc != SQLITE_DONE) {
		sqlite_fail(c->db, err, "cannot save");
		out = BROKEN;
	}
	sqlite3_reset(stmt);
	return out;
}

/* What can be refused before anything is written is, and a guard that comes first writes nothing when it
   fails: such a transaction, a claim for one, needs no savepoint, which would copy every page it
   touches. */
static enum outcome
check(struct sqlite_conn *c, struct store_tx *tx, bool *ret_savepoint)
{
	int requests = 0, late_guards = 0;

	for (const struct store_rec *rec = tx->first; rec; rec = rec->next) {
		if (rec->kind == REC_RESERVATION && rec->reservation.request_id) {
			enum outcome out = check_request(c, &rec->reservation, &tx->err);

			if (out != APPLIED)
				return out;
			requests++;
		}
		late_guards +=
		    rec != tx->first && rec->kind == REC_MACHINE && rec->expect >= 0;
	}
	*ret_savepoint = late_guards > 0 || requests > 1; /* two may be the same */
	return APPLIED;
}

static enum outcome
put_all(struct sqlite_conn *c, struct store_tx *tx)
{
	enum outcome out = APPLIED;

	for (const struct store_rec *rec = tx->first; rec && out == APPLIED;
	     rec = rec->next)
		out = put_rec(c, rec, &tx->err);
	return out;
}

static enum outcome
put_all_or_none(struct sqlite_conn *c, struct store_tx *tx)
{
	enum outcome out;
	struct err err;

	if (run(c, STMT_SAVEPOINT, "SAVEPOINT tx", &tx->err) < 0)
		return BROKEN;
	out = put_all(c, tx);
	if (out == BROKEN)
		return BROKEN;
	if ((out == REFUSED && run(c, STMT_ROLLBACK_TO, "ROLLBACK TO tx", &err) < 0) ||
	    run(c, STMT_RELEASE, "RELEASE tx", &err) < 0) {
		tx->err = err;
		return BROKEN;
	}
	return out;
}

static enum outcome
apply(struct sqlite_conn *c, struct store_tx *tx)
{
	bool savepoint;
	enum outcome out = check(c, tx, &savepoint);

	if (out != APPLIED)
		return out;
	return savepoint ? put_all_or_none(c, tx) : put_all(c, tx);
}

/* Conflicts too: they may have been with a row that is rolled back now. */
static void
fail_all(struct store_tx *first, const struct err *err)
{
	const struct err why = *err;

	for (struct store_tx *tx = first; tx; tx = tx->next)
		tx->err = why;
}

void
sqlite_write_batch(struct sqlite_conn *c, struct store_tx *first)
{
	struct err err = {0};

	if (begin(c, &err) < 0) {
		fail_all(first, &err);
		return;
	}
	for (struct store_tx *tx = first; tx; tx = tx->next) {
		if (apply(c, tx) != BROKEN)
			continue;
		roll_back(c);
		fail_all(first, &tx->err);
		return;
	}
	if (commit(c, &err) < 0) {
		roll_back(c);
		fail_all(first, &err);
	}
}

/* The oldest of what is over, in the order of the index on it. */
#define OLDEST(what, table, over)                                                        \
	"(SELECT " what " FROM " table " WHERE " over                                    \
	" BETWEEN 1 AND ?1 - 1 ORDER BY " over " LIMIT " PRUNE_SLICE ")"
#define PRUNE_TABLE(table, over)                                                         \
	"DELETE FROM steps WHERE subject IN " OLDEST("id", table, over),                 \
	    "DELETE FROM " table " WHERE n IN " OLDEST("n", table, over)

/* In this order: steps go with the row they belong to. */
static const char *const prune_statements[] = {
    "INSERT INTO high SELECT 'step', max(id) FROM steps HAVING count(*)"
    " ON CONFLICT (what) DO UPDATE SET value = max(value, excluded.value)",
    "INSERT INTO high SELECT 'serial', max(serial) FROM " OLDEST(
	"serial", "reservations", RESERVATION_OVER) " HAVING count(*)"
						    " ON CONFLICT (what) DO UPDATE SET "
						    "value = max(value, excluded.value)",
    PRUNE_TABLE("reservations", RESERVATION_OVER),
    PRUNE_TABLE("machines", MACHINE_OVER),
    PRUNE_TABLE("disks", DISK_OVER),
    "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?2"
    " AND seq < (SELECT min(seq) FROM events) + " PRUNE_EVENTS,
};

#define PRUNE_STATEMENTS (sizeof(prune_statements) / sizeof(prune_statements[0]))
#define PRUNE_FIRST_DELETE 2

static int
prune_all(sqlite3 *db, const struct sqlite_prune *p, int *ret_n, struct err *err)
{
	for (size_t i = 0; i < PRUNE_STATEMENTS; i++) {
		sqlite3_stmt *stmt;
		int rc = sqlite3_prepare_v2(db, prune_statements[i], -1, &stmt, NULL);

		if (rc == SQLITE_OK) {
			/* a parameter that a statement does not have is refused, harmlessly */
			sqlite3_bind_int64(stmt, 1, p->before_at);
			sqlite3_bind_int(stmt, 2, p->keep_events);
			rc = sqlite3_step(stmt);
		}
		if (rc != SQLITE_DONE)
			sqlite_fail(db, err, "cannot remove old rows");
		sqlite3_finalize(stmt);
		if (rc != SQLITE_DONE)
			return -1;
		if (i >= PRUNE_FIRST_DELETE)
			*ret_n += sqlite3_changes(db);
	}
	return 0;
}

bool
sqlite_prune_slice(struct sqlite_conn *c, const struct sqlite_prune *p)
{
	struct err err = {0};
	int n = 0;

	if (begin(c, &err) == 0 && prune_all(c->db, p, &n, &err) == 0 &&
	    commit(c, &err) == 0)
		return n > 0;
	roll_back(c);
	log_warn("%s; will be tried again with the next pruning", err.msg);
	return false;
}
