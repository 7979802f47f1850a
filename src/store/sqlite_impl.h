/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SQLITE_IMPL_H
#define STORE_SQLITE_IMPL_H

/*
 * The inside of the SQLite store, for its own files: sqlite.c has the threads and the
 * queues, sqlite_write.c applies transactions, sqlite_read.c answers queries,
 * sqlite_rows.c knows the columns, sqlite_schema.c the tables. A connection is used by
 * one thread at a time.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <sys/types.h>

#include "store/store.h"
#include "store/tx.h"

enum table_id {
	TABLE_MACHINES,
	TABLE_RESERVATIONS,
	TABLE_DISKS,
	TABLE_STEPS,
	TABLE_EVENTS,
	TABLE_MAX
};

enum stmt_id {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_ROLLBACK,
	STMT_SAVEPOINT,
	STMT_RELEASE,
	STMT_ROLLBACK_TO,
	STMT_PUT, /* one for each table */
	STMT_MACHINE_IF = STMT_PUT + TABLE_MAX,
	STMT_REQUEST_TAKEN,
	STMT_POOL,
	STMT_META,
	STMT_QUERY, /* one for each kind of query */
	STMT_MAX = STMT_QUERY + QUERY_EVENTS + 1,
};

struct sqlite_conn {
	sqlite3 *db;		       /* owned */
	sqlite3_stmt *stmts[STMT_MAX]; /* owned; prepared at first use */
};

/* One query on its way to the reader and back. */
struct sqlite_request {
	struct sqlite_request *next;
	struct store_query query;
	store_query_fn done;
	void *arg;
	struct store_result result;
	struct arena_block *arena; /* owned: what `result` points to */
	struct err err;
};

/* What has been left to prune, and the bounds; see store_ops.prune. */
struct sqlite_prune {
	bool wanted;
	int64_t before_at;
	int keep_events;
};

/* ---- sqlite_conn.c ---- */

/* Fills `err` from the connection's last error: a full or failing disk is ERR_UNAVAILABLE. Returns -1. */
int sqlite_fail(sqlite3 *db, struct err *err, const char *what);
int sqlite_exec(sqlite3 *db, const char *sql, struct err *err) ERR_CHECK;

/* The statement, prepared from `sql` (or, with NULL, from sqlite_row_put()) the first time; NULL and
   *err when it cannot be. */
sqlite3_stmt *sqlite_stmt(
    struct sqlite_conn *c, enum stmt_id id, const char *sql, struct err *err);

/* On failure too, the connection is to be closed. */
int sqlite_conn_open(
    struct sqlite_conn *c, const struct sqlite_options *opt, struct err *err) ERR_CHECK;
void sqlite_conn_close(struct sqlite_conn *c);

/* flock on `path`.lock. The kernel gives it up when the process ends, however it ends. */
int sqlite_take_lock(const char *path, int *ret_fd, struct err *err) ERR_CHECK;

/* Root opens the files as the owner of their directory, who could otherwise plant a symbolic link there
   and have root write to, or give away, what it points to. The way down to the directory may be
   closed to that user: reading and searching stay allowed. No effect where we are not root. */
struct sqlite_identity {
	bool changed;
	gid_t gid;
};
int sqlite_become_owner(
    const char *path, struct sqlite_identity *ret_was, struct err *err) ERR_CHECK;
void sqlite_be_again(const struct sqlite_identity *was);

/* ---- sqlite_rows.c ---- */

/* "SELECT columns FROM table": owned. */
char *sqlite_row_select(enum table_id table);

/* INSERT or update of a whole row; `guarded`: an UPDATE of the row if its state is the
   last parameter's. Owned. */
char *sqlite_row_put(enum table_id table, bool guarded);

/* Number of the last bound parameter. */
int sqlite_row_bind(sqlite3_stmt *stmt, enum table_id table, const void *row);

/* Reads the current row into `row`; strings are the arena's. ERR_INTERNAL for a value we
 * never write. */
int sqlite_row_read(sqlite3_stmt *stmt, enum table_id table, struct arena_block **arena,
    void *row, struct err *err) ERR_CHECK;
size_t sqlite_row_size(enum table_id table);

/* ---- sqlite_schema.c ---- */

/* When a row was over, at least 1; 0 while it is live. Both have an index. */
#define MACHINE_OVER "iif(state IN ('terminated', 'failed'), max(ended_at, 1), 0)"
#define DISK_OVER "iif(state = 'deleted', max(ended_at, 1), 0)"
#define RESERVATION_OVER "iif(state = 'ended', max(ended_at, 1), 0)"

/* Creates the tables or brings them up to date, each version in a transaction of its own.
 */
int sqlite_schema_prepare(sqlite3 *db, struct err *err) ERR_CHECK;

/* ---- sqlite_write.c ---- */

/* Applies the list in one commit and sets the err of each. */
void sqlite_write_batch(struct sqlite_conn *c, struct store_tx *first);

/* Removes a slice; false when nothing was left to remove, or on an error, which is
 * logged. */
bool sqlite_prune_slice(struct sqlite_conn *c, const struct sqlite_prune *p);

/* ---- sqlite_read.c ---- */

/* Fills result and err. */
void sqlite_read(struct sqlite_conn *c, struct sqlite_request *req);
void sqlite_request_free(struct sqlite_request *req);
int sqlite_load(
    struct sqlite_conn *c, const struct store_loader *to, struct err *err) ERR_CHECK;

#endif
