/* SPDX-License-Identifier: Apache-2.0 */

/* A connection to the database file, its errors, and the lock that keeps a second hearthd out. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "store/sqlite_impl.h"

#define BUSY_MS 5000 /* for a person's sqlite3 shell; nobody else opens the file */

int
sqlite_fail(sqlite3 *db, struct err *err, const char *what)
{
	int rc = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
	const char *why = db ? sqlite3_errmsg(db) : "out of memory";

	switch (rc & 0xff) {
	case SQLITE_FULL:
		err_set(err, ERR_UNAVAILABLE, "%s: no space left where the state is kept",
		    what);
		return err_hint(err, "free space there; nothing was lost");
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_NOMEM:
		err_set(err, ERR_UNAVAILABLE, "%s: %s (%d)", what, why, rc);
		return err_hint(err, "see the file system that holds the state");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		err_set(err, ERR_INTERNAL, "%s: the database is damaged: %s", what, why);
		return err_hint(
		    err, "restore it from a backup, or move it away to start empty");
	default:
		return err_set(err, ERR_INTERNAL, "%s: %s (%d)", what, why, rc);
	}
}

static char *
row_sql(enum stmt_id id)
{
	if (id == STMT_MACHINE_IF)
		return sqlite_row_put(TABLE_MACHINES, true);
	assert(id >= STMT_PUT && id < STMT_PUT + TABLE_MAX);
	return sqlite_row_put((enum table_id)(id - STMT_PUT), false);
}

sqlite3_stmt *
sqlite_stmt(struct sqlite_conn *c, enum stmt_id id, const char *sql, struct err *err)
{
	AUTO_FREE char *generated = NULL;

	if (c->stmts[id])
		return c->stmts[id];
	if (!sql)
		sql = generated = row_sql(id);
	if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->stmts[id],
		NULL) == SQLITE_OK)
		return c->stmts[id];
	sqlite_fail(c->db, err, "cannot use the database");
	return NULL;
}

void
sqlite_conn_close(struct sqlite_conn *c)
{
	for (int i = 0; i < STMT_MAX; i++)
		sqlite3_finalize(c->stmts[i]);
	sqlite3_close(c->db);
	*c = (struct sqlite_conn){0};
}

int
sqlite_exec(sqlite3 *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return sqlite_fail(db, err, "cannot set up the database");
}

/* EXTRA, before WAL: else the rollback journal of the file's first page, whose removal
   was not synced, can come back after a power cut and undo all. In WAL mode it is the
   same as FULL. */
int
sqlite_conn_open(struct sqlite_conn *c, const struct sqlite_options *opt, struct err *err)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
		    SQLITE_OPEN_NOFOLLOW;

	if (sqlite3_open_v2(opt->path, &c->db, flags, opt->vfs) != SQLITE_OK)
		return sqlite_fail(c->db, err, "cannot open the database");
	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_busy_timeout(c->db, BUSY_MS);
	return sqlite_exec(c->db,
	    "PRAGMA temp_store = MEMORY;"
	    "PRAGMA secure_delete = OFF;"
	    "PRAGMA synchronous = EXTRA;"
	    "PRAGMA journal_mode = WAL;",
	    err);
}

static int
lock_refused(int fd, struct err *err)
{
	char pid[16] = "";
	ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
	err_set(err, ERR_CONFLICT, "another hearthd (pid %s) uses this state",
	    *pid ? pid : "unknown");
	return err_hint(err, "stop it, or give this one a state directory of its own");
}

/* The kernel gives the lock up when the process ends, however it ends. */
int
sqlite_take_lock(const char *path, int *ret_fd, struct err *err)
{
	AUTO_FREE char *name = xasprintf("%s.lock", path);
	AUTO_CLOSE int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(err, errno, "cannot open %s", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			   ? lock_refused(fd, err)
			   : err_errno(err, errno, "cannot lock %s", name);
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return err_errno(err, errno, "cannot write %s", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Linux keeps the permitted set of a root process that only changed its effective uid. */
static int
raise_read_search(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return -1;
	data[0].effective |= data[0].permitted & (1u << CAP_DAC_READ_SEARCH);
	return (int)syscall(SYS_capset, &head, data);
}

int
sqlite_become_owner(const char *path, struct sqlite_identity *ret_was, struct err *err)
{
	AUTO_FREE char *copy = xstrdup(path);
	struct stat st;

	*ret_was = (struct sqlite_identity){.changed = false};
	if (geteuid() != 0 || strcmp(path, ":memory:") == 0)
		return 0;
	if (stat(dirname(copy), &st) < 0)
		return err_errno(err, errno, "cannot see the directory");
	if (st.st_uid == 0)
		return 0;
	*ret_was = (struct sqlite_identity){.changed = true, .gid = getegid()};
	if (setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0 || raise_read_search() < 0) {
		err_errno(err, errno, "cannot become the directory's owner");
		sqlite_be_again(ret_was);
		return -1;
	}
	return 0;
}

void
sqlite_be_again(const struct sqlite_identity *was)
{
	if (was->changed && (seteuid(0) < 0 || setegid(was->gid) < 0))
		abort(); /* running on as a mixture is worse */
}
