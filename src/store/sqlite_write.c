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

#define PRUNE_SLICE "64" /* rows whose steps go with them, per commit */
#define PRUNE_EVENTS 512 /* per commit */

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

/* Removes old rows of one table together with their steps; *ret_n grows by what was
 * removed. */
static int
prune_table(
    sqlite3 *db, const char *table, const char *over, int64_t before_at, int *ret_n)
{
	char *sql = sqlite3_mprintf(
	    "DELETE FROM steps WHERE subject IN (SELECT id FROM %s WHERE %s > 0 AND %s < "
	    "%lld"
	    " ORDER BY %s LIMIT " PRUNE_SLICE ");"
	    "DELETE FROM %s WHERE n IN (SELECT n FROM %s WHERE %s > 0 AND %s < %lld"
	    " ORDER BY %s LIMIT " PRUNE_SLICE ");",
	    table, over, over, (long long)before_at, over, table, table, over, over,
	    (long long)before_at, over);
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	sqlite3_free(sql);
	*ret_n += sqlite3_changes(db);
	return rc == SQLITE_OK ? 0 : -1;
}

static int
prune_events(sqlite3 *db, int keep, int *ret_n)
{
	char *sql = sqlite3_mprintf(
	    "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - %d"
	    " AND seq < (SELECT min(seq) FROM events) + %d",
	    keep, PRUNE_EVENTS);
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	sqlite3_free(sql);
	*ret_n += sqlite3_changes(db);
	return rc == SQLITE_OK ? 0 : -1;
}

static int
keep_high(sqlite3 *db)
{
	return sqlite3_exec(db,
		   "INSERT INTO high"
		   " SELECT 'step', max(id) FROM steps HAVING count(*) UNION ALL"
		   " SELECT 'serial', max(serial) FROM reservations HAVING count(*)"
		   " ON CONFLICT (what) DO UPDATE SET value = max(value, excluded.value)",
		   NULL, NULL, NULL) == SQLITE_OK
		   ? 0
		   : -1;
}

bool
sqlite_prune_slice(struct sqlite_conn *c, const struct sqlite_prune *p)
{
	struct err err = {0};
	int n = 0;

	if (begin(c, &err) == 0) {
		if (keep_high(c->db) == 0 &&
		    prune_table(c->db, "reservations",
			"iif(state = 'ended', max(ended_at, 1), 0)", p->before_at,
			&n) == 0 &&
		    prune_table(c->db, "machines",
			"iif(state IN ('terminated', 'failed'), max(ended_at, 1), 0)",
			p->before_at, &n) == 0 &&
		    prune_events(c->db, p->keep_events, &n) == 0) {
			if (commit(c, &err) == 0)
				return n > 0;
		} else {
			sqlite_fail(c->db, &err, "cannot remove old rows");
		}
		roll_back(c);
	}
	log_warn("%s; will be tried again with the next pruning", err.msg);
	return false;
}
