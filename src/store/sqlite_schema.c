/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tables and their history. A version, once released, never changes: what is new is a new
 * entry at the end, run on every database that is older.
 *
 * What is indexed as "over" is 0 while a row is live: one index finds the live rows at start and
 * the old ones to prune. Its expression stands in the schema: to change it is a new version.
 */

#include "base/log.h"
#include "store/sqlite_impl.h"

#define APPLICATION_ID 0x48727468 /* "Hrth" */

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

/* clang-format off */
static const char version_1[] =
    "CREATE TABLE machines ("
    " n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pool TEXT, provider TEXT,"
    " provider_ref TEXT, state TEXT NOT NULL, tier TEXT NOT NULL, image TEXT,"
    " image_version TEXT, address TEXT, port INTEGER, reservation TEXT, error TEXT,"
    " output TEXT, created_at INTEGER, ready_at INTEGER, claimed_at INTEGER,"
    " ended_at INTEGER);"
    "CREATE INDEX machines_over ON machines (" MACHINE_OVER ");"

    "CREATE TABLE reservations ("
    " n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT, uid INTEGER NOT NULL,"
    " user TEXT, pool TEXT, state TEXT NOT NULL, reason TEXT, error TEXT, path TEXT,"
    " miss_reason TEXT, machine TEXT, public_keys TEXT, request_id TEXT, \"group\" TEXT,"
    " no_warm INTEGER, no_wait INTEGER, hold_ms INTEGER, idle_ms INTEGER, serial INTEGER,"
    " created_at INTEGER, ready_at INTEGER, expires_at INTEGER, ended_at INTEGER,"
    " usd_per_hour REAL);"
    "CREATE INDEX reservations_over ON reservations (" RESERVATION_OVER ");"
    "CREATE UNIQUE INDEX reservations_request ON reservations (uid, request_id)"
    " WHERE request_id IS NOT NULL;"
    "CREATE INDEX reservations_name ON reservations (name);"
    "CREATE INDEX reservations_group ON reservations (\"group\") WHERE \"group\" IS NOT NULL;"

    "CREATE TABLE steps ("
    " id INTEGER PRIMARY KEY, subject TEXT NOT NULL, name TEXT NOT NULL, attempt INTEGER,"
    " state TEXT NOT NULL, token TEXT, resource TEXT, error TEXT, waits_for INTEGER,"
    " started_at INTEGER, ended_at INTEGER, resolution_ms INTEGER);"
    "CREATE INDEX steps_subject ON steps (subject);"
    "CREATE INDEX steps_open ON steps (state) WHERE state = 'open';"

    "CREATE TABLE events ("
    " seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT NOT NULL, id TEXT, name TEXT,"
    " state TEXT, other TEXT, uid INTEGER, detail TEXT);"

    "CREATE TABLE pools ("
    " name TEXT PRIMARY KEY, running INTEGER, stopped INTEGER, hibernated INTEGER,"
    " max INTEGER) WITHOUT ROWID;"
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"

    /* Highest numbers that rows now pruned had: they are never given out again. */
    "CREATE TABLE high (what TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;";
/* clang-format on */

static const char version_2[] = "ALTER TABLE reservations ADD COLUMN github TEXT;"
				"ALTER TABLE reservations ADD COLUMN notice TEXT;";

static const char version_3[] =
    "CREATE TABLE disks ("
    " n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT, uid INTEGER NOT NULL,"
    " user TEXT, provider TEXT, provider_ref TEXT, state TEXT NOT NULL,"
    " size_bytes INTEGER, source TEXT, transient INTEGER, error TEXT,"
    " created_at INTEGER, ended_at INTEGER);"
    "CREATE INDEX disks_over ON disks (" DISK_OVER ");";

static const char version_4[] = "ALTER TABLE reservations ADD COLUMN disks TEXT;"
				"ALTER TABLE disks ADD COLUMN holder TEXT;"
				"ALTER TABLE disks ADD COLUMN machine TEXT;"
				"ALTER TABLE disks ADD COLUMN lost INTEGER;"
				"ALTER TABLE disks ADD COLUMN snapshot_due INTEGER;"
				"ALTER TABLE disks ADD COLUMN expires_at INTEGER;";

static const char *const versions[] = {version_1, version_2, version_3, version_4};

#define VERSION ((int)(sizeof(versions) / sizeof(versions[0])))

static int
pragma_int(sqlite3 *db, const char *sql, int *ret, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		*ret = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW ? 0 : sqlite_fail(db, err, "cannot read the database");
}

static int
migrate(sqlite3 *db, int from, struct err *err)
{
	char set_version[64];

	sqlite3_snprintf(
	    sizeof(set_version), set_version, "PRAGMA user_version = %d", from + 1);
	if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, versions[from], NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "PRAGMA application_id = " TEXT(APPLICATION_ID), NULL, NULL,
		NULL) != SQLITE_OK ||
	    sqlite3_exec(db, set_version, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		sqlite_fail(db, err, "cannot bring the database up to date");
		if (!sqlite3_get_autocommit(db))
			(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		return -1;
	}
	return 0;
}

int
sqlite_schema_prepare(sqlite3 *db, struct err *err)
{
	int version = 0, application = 0, tables = 0;

	if (pragma_int(db, "PRAGMA user_version", &version, err) < 0 ||
	    pragma_int(db, "PRAGMA application_id", &application, err) < 0 ||
	    pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
		return -1;
	if (application != APPLICATION_ID && (application || version || tables)) {
		err_set(err, ERR_INVALID, "the database belongs to another program");
		return err_hint(err, "give hearthd a state directory of its own");
	}
	if (version > VERSION) {
		err_set(err, ERR_INVALID,
		    "the database is of a newer hearthd (schema %d; this program knows "
		    "%d)",
		    version, VERSION);
		return err_hint(err, "install the newer hearthd again");
	}
	for (; version < VERSION; version++) {
		if (tables > 0)
			log_info("database: from schema %d to %d", version, version + 1);
		if (migrate(db, version, err) < 0)
			return -1;
	}
	return 0;
}
