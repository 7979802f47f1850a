/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Goal: what is acknowledged survives kill -9 and a power cut at any write, whole;
 * nothing else shows in part. The same test fails where syncs are lies, so it can fail. A
 * full disk is an error and not the end. What is not our database is refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/id.h"
#include "powerloss_vfs.h"
#include "store_fixture.h"

#define CLAIMS_MAX 4000
#define KILL_CLAIMS 400 /* at most, before each kill */

static struct store_fixture fx;
static uint64_t seed;

static int
setup(void **state)
{
	store_fixture_init(&fx);
	return 0;
}

static int
teardown(void **state)
{
	store_fixture_fini(&fx);
	return 0;
}

static unsigned
random_below(unsigned n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % n;
}

/* ---- a load of claims, and what is left of it ---- */

/* Claim i is machine i (guarded), reservation i, steps 2i+1 and 2i+2, event i+1. */
static void
submit_claim(struct store *st, int i, store_done_fn done, void *arg)
{
	struct store_tx *tx = store_tx_new();
	char m_id[16], r_id[16];

	(void)snprintf(m_id, sizeof(m_id), "m-%012d", i);
	(void)snprintf(r_id, sizeof(r_id), "r-%012d", i);
	struct machine m = sample_machine(m_id, MACHINE_CLAIMED);
	struct reservation r = sample_reservation(r_id, r_id);
	struct step s = sample_step(2 * i + 1, r_id);
	struct event e = sample_event(i + 1, r_id);

	store_tx_machine_if(tx, &m, MACHINE_READY);
	store_tx_reservation(tx, &r);
	store_tx_step(tx, &s);
	s.id++;
	store_tx_step(tx, &s);
	store_tx_event(tx, &e);
	st->ops->submit(st, tx, done, arg);
}

static enum err_code
put_machines(int n)
{
	struct store_tx *tx = store_tx_new();

	for (int i = 0; i < n; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "m-%012d", i);
		struct machine m = sample_machine(id, MACHINE_READY);
		store_tx_machine(tx, &m);
	}
	return store_fixture_put(&fx, tx, NULL);
}

/* How many parts of each claim are there. */
struct left {
	unsigned char parts[CLAIMS_MAX];
};

static int
index_of(const char *id)
{
	long i = strtol(id + 2, NULL, 10);

	assert_in_range(i, 0, CLAIMS_MAX - 1);
	return (int)i;
}

static void
count_parts(void *arg, const struct store_result *res)
{
	struct left *left = arg;

	for (int i = 0; i < res->n; i++)
		if (res->machines)
			left->parts[index_of(res->machines[i].id.s)] +=
			    res->machines[i].state == MACHINE_CLAIMED;
		else if (res->reservations)
			left->parts[index_of(res->reservations[i].id.s)]++;
		else if (res->events)
			left->parts[(res->events[i].seq - 1)]++;
}

static void
count_step(void *arg, const struct step *s)
{
	((struct left *)arg)->parts[(s->id - 1) / 2]++;
}

#define PARTS 5

/* Opens the store anew and looks; how many of the acknowledged claims are not all there,
   and (asserted) none is there in part. */
static int
count_lost(const bool *acked)
{
	struct store_query queries[] = {{.kind = QUERY_MACHINES},
	    {.kind = QUERY_RESERVATIONS, .uid = STORE_ANY_UID}, {.kind = QUERY_EVENTS}};
	struct left left = {{0}};
	struct store_loader to = {.arg = &left, .step = count_step};
	struct err err = {0};
	int lost = 0;

	assert_int_equal(fx.store->ops->load(fx.store, &to, &err), 0);
	for (int i = 0; i < 3; i++)
		store_fixture_query(&fx, &queries[i], count_parts, &left);
	for (int i = 0; i < CLAIMS_MAX; i++) {
		if (left.parts[i] != 0 && left.parts[i] != PARTS)
			fail_msg("claim %d is there in part: %d of %d", i, left.parts[i],
			    PARTS);
		if (acked[i] && !left.parts[i])
			lost++;
	}
	return lost;
}

static void
check_integrity(void)
{
	sqlite3 *db;
	sqlite3_stmt *stmt;

	assert_int_equal(
	    sqlite3_open_v2(fx.path, &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
	assert_int_equal(
	    sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

/* ---- kill -9 ---- */

static int ack_pipe;

static void
on_acked(void *arg, const struct err *err)
{
	int i = (int)(intptr_t)arg;

	if (err->code == ERR_NONE && write(ack_pipe, &i, sizeof(i)) != sizeof(i))
		_exit(1);
}

/* Claims, eight at a time; then waits to be killed. */
static _Noreturn void
child_claims(int first)
{
	struct err err;

	if (store_fixture_open(&fx, &err) < 0)
		_exit(1);
	for (int i = first; i < first + KILL_CLAIMS; i++) {
		submit_claim(fx.store, i, on_acked, (void *)(intptr_t)i);
		if (i % 8 == 7)
			uv_run(&fx.loop, UV_RUN_ONCE);
	}
	for (;;)
		uv_run(&fx.loop, UV_RUN_ONCE);
}

static void
kill_once(int first, bool *acked)
{
	int pipes[2], i;
	pid_t pid;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	ack_pipe = pipes[1];
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child_claims(first);
	close(pipes[1]);
	for (unsigned n = 0, stop = random_below(KILL_CLAIMS); n < stop; n++) {
		assert_int_equal(read(pipes[0], &i, sizeof(i)), sizeof(i));
		acked[i] = true;
	}
	kill(pid, SIGKILL);
	/* what it had said before it died */
	while (read(pipes[0], &i, sizeof(i)) == sizeof(i))
		acked[i] = true;
	waitpid(pid, NULL, 0);
	close(pipes[0]);
}

static void
test_kill(void **state)
{
	static bool acked[CLAIMS_MAX];
	struct err err;

	if (fx.inline_mode)
		skip();
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(put_machines(CLAIMS_MAX), ERR_NONE);
	store_fixture_close(&fx);
	for (int first = 0; first + KILL_CLAIMS <= CLAIMS_MAX; first += KILL_CLAIMS) {
		kill_once(first, acked);
		/* the lock went with the child */
		assert_int_equal(store_fixture_open(&fx, &err), 0);
		assert_int_equal(count_lost(acked), 0);
		store_fixture_close(&fx);
	}
	check_integrity();
}

/* ---- power cuts ---- */

struct load {
	bool acked[CLAIMS_MAX];
	int in_flight;
	int next;
};

static struct load load;

static void
on_load_done(void *arg, const struct err *err)
{
	int i = (int)(intptr_t)arg;

	load.in_flight--;
	if (err->code == ERR_NONE)
		load.acked[i] = true;
	else
		assert_true(powerloss_is_cut());
}

static void
claim_until_cut(int in_flight)
{
	while (!powerloss_is_cut() && load.next < CLAIMS_MAX) {
		while (load.in_flight < in_flight && load.next < CLAIMS_MAX) {
			load.in_flight++;
			submit_claim(fx.store, load.next, on_load_done,
			    (void *)(intptr_t)load.next);
			load.next++;
		}
		store_fixture_turn(&fx);
	}
	while (load.in_flight > 0)
		store_fixture_turn(&fx);
}

static void
remove_database(void)
{
	static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
	char name[128];

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", fx.path, ends[i]);
		(void)unlink(name);
	}
}

/* Power goes at a random write of the load; sometimes again while the store is being
   opened. Returns how many acknowledged claims were lost, or -1 where the database did
   not even open. */
static int
cut_once(uint64_t round_seed, bool lie)
{
	struct err err = {0};
	int lost;

	remove_database();
	powerloss_reset(round_seed, lie);
	seed = round_seed;
	load = (struct load){.next = 0};
	fx.vfs = POWERLOSS_VFS;
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(put_machines(CLAIMS_MAX), ERR_NONE);
	powerloss_cut_after(1 + random_below(random_below(3) ? 3000 : 40000));
	claim_until_cut(1 + (int)random_below(16));
	if (!powerloss_is_cut())
		powerloss_cut_after(1);
	store_fixture_close(&fx);
	powerloss_restore();
	for (;;) {
		powerloss_cut_after(random_below(3) ? 0 : 1 + random_below(30));
		if (store_fixture_open(&fx, &err) == 0)
			break;
		if (!powerloss_is_cut())
			return -1;
		powerloss_restore();
	}
	powerloss_cut_after(0);
	if (powerloss_is_cut()) {
		store_fixture_close(&fx);
		powerloss_restore();
		assert_int_equal(store_fixture_open(&fx, &err), 0);
	}
	lost = count_lost(load.acked);
	if (!lie) /* it goes on as before */
		assert_int_equal(put_machines(1), ERR_NONE);
	store_fixture_close(&fx);
	if (!lie)
		check_integrity();
	return lost;
}

static int
rounds(int sampled)
{
	return getenv("HEARTH_SOAK") ? 50 * sampled : sampled;
}

static uint64_t
first_seed(void)
{
	const char *s = getenv("HEARTH_TEST_SEED");

	return s ? strtoull(s, NULL, 10) : 1;
}

static void
test_power_cut(void **state)
{
	int acked = 0;

	for (int i = 0; i < rounds(40); i++) {
		uint64_t s = first_seed() * 1000 + (uint64_t)i;
		int lost = cut_once(s, false);

		for (int k = 0; k < CLAIMS_MAX; k++)
			acked += load.acked[k];
		if (lost != 0)
			fail_msg("seed %llu: %d acknowledged claims lost",
			    (unsigned long long)s, lost);
	}
	assert_true(acked > 40);
}

/* The control: with syncs that do nothing (as with synchronous=OFF) claims must get lost.
 */
static void
test_power_cut_with_lying_syncs(void **state)
{
	int bad = 0;

	for (int i = 0; i < 10; i++) {
		struct store_fixture *f = &fx;

		remove_database();
		powerloss_reset((uint64_t)i + 1, true);
		load = (struct load){.next = 0};
		seed = (uint64_t)i + 1;
		fx.vfs = POWERLOSS_VFS;
		struct err err = {0};
		assert_int_equal(store_fixture_open(f, &err), 0);
		assert_int_equal(put_machines(CLAIMS_MAX), ERR_NONE);
		powerloss_cut_after(1 + random_below(3000));
		claim_until_cut(4);
		store_fixture_close(f);
		powerloss_restore();
		if (store_fixture_open(f, &err) < 0) {
			bad++; /* not even a database any more */
			continue;
		}
		bad += count_lost(load.acked) > 0;
		store_fixture_close(f);
	}
	assert_true(bad >= 8);
}

/* ---- a full disk ---- */

static enum err_code
claim_one(int i, struct err *err)
{
	struct store_tx *tx = store_tx_new();
	char id[16];

	(void)snprintf(id, sizeof(id), "r-%012d", i);
	struct reservation r = sample_reservation(id, id);
	struct event e = sample_event(i + 1, id);

	store_tx_reservation(tx, &r);
	store_tx_event(tx, &e);
	return store_fixture_put(&fx, tx, err);
}

static void
count_rows(void *arg, const struct store_result *res)
{
	*(int *)arg += res->n;
}

static int
rows_left(void)
{
	struct store_query reservations = {
	    .kind = QUERY_RESERVATIONS, .uid = STORE_ANY_UID};
	struct store_query events = {.kind = QUERY_EVENTS};
	int n = 0;

	store_fixture_query(&fx, &reservations, count_rows, &n);
	store_fixture_query(&fx, &events, count_rows, &n);
	return n;
}

static void
test_disk_full(void **state)
{
	struct err err = {0};

	powerloss_reset(1, false);
	fx.vfs = POWERLOSS_VFS;
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(claim_one(0, &err), ERR_NONE);
	for (int all = 0; all < 2; all++) {
		powerloss_disk_full(true, all);
		assert_int_equal(claim_one(1 + all, &err), ERR_UNAVAILABLE);
		assert_non_null(strstr(err.msg, "no space left"));
		assert_true(err.hint[0] != '\0');
		assert_int_equal(claim_one(1 + all, &err), ERR_UNAVAILABLE);
		assert_int_equal(
		    rows_left(), 2 + 2 * all); /* nothing half there, reads go on */
		powerloss_disk_full(false, false);
		assert_int_equal(claim_one(1 + all, &err), ERR_NONE);
		assert_int_equal(rows_left(), 4 + 2 * all);
	}
	store_fixture_reopen(&fx);
	assert_int_equal(rows_left(), 6);
	store_fixture_close(&fx);
	check_integrity();
}

/* On a real file system of 1 MB, mounted where only this process sees it. */
static int
fill_tmpfs(void)
{
	struct err err = {0};
	int i = 0, had;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", fx.dir, "tmpfs", 0, "size=1m") < 0)
		return 77;
	if (store_fixture_open(&fx, &err) < 0)
		return 2;
	while (claim_one(i, &err) == ERR_NONE && i < 100000)
		i++;
	had = rows_left();
	if (err.code != ERR_UNAVAILABLE || !strstr(err.msg, "no space left") ||
	    had != 2 * i)
		return 3;
	if (mount(NULL, fx.dir, NULL, MS_REMOUNT, "size=4m") < 0)
		return 4;
	if (claim_one(i, &err) != ERR_NONE || rows_left() != had + 2)
		return 5;
	store_fixture_reopen(&fx);
	return rows_left() == had + 2 ? 0 : 6;
}

static void
test_real_disk_full(void **state)
{
	pid_t pid;
	int status;

	if (geteuid() != 0) {
		print_message("SKIP: a small file system needs root\n");
		skip();
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fill_tmpfs());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("SKIP: no mount namespace here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- what is refused ---- */

static void
assert_refused(enum err_code code, const char *text)
{
	struct err err = {0};

	if (store_fixture_open(&fx, &err) == 0)
		fail_msg("was opened");
	if (err.code != code || !strstr(err.msg, text))
		fail_msg("'%s' is not '%s'", err.msg, text);
	assert_null(strchr(err.msg, '\n'));
}

static void
test_second_opener(void **state)
{
	struct store_fixture other;
	char want[64];
	struct err err = {0};

	assert_int_equal(store_fixture_open(&fx, &err), 0);
	store_fixture_init(&other);
	memcpy(other.path, fx.path, sizeof(fx.path));
	assert_int_equal(store_fixture_open(&other, &err), -1);
	assert_int_equal(err.code, ERR_CONFLICT);
	(void)snprintf(want, sizeof(want), "another hearthd (pid %d) uses this state",
	    (int)getpid());
	assert_non_null(strstr(err.msg, want));
	assert_true(err.hint[0] != '\0');
	store_fixture_close(&fx);
	assert_int_equal(store_fixture_open(&other, &err), 0);
	store_fixture_close(&other);
	store_fixture_fini(&other);
}

static void
exec_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(fx.path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void
test_not_ours(void **state)
{
	struct err err = {0};

	assert_int_equal(store_fixture_open(&fx, &err), 0);
	store_fixture_close(&fx);
	exec_sql("PRAGMA user_version = 1000");
	assert_refused(ERR_INVALID, "newer hearthd");
	remove_database();
	exec_sql("CREATE TABLE recipes (x)");
	assert_refused(ERR_INVALID, "another program");
}

static void
overwrite(off_t at, size_t n)
{
	int fd = open(fx.path, O_WRONLY | O_CLOEXEC);
	char *junk = malloc(n);

	memset(junk, 0x5a, n);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, n, at), n);
	close(fd);
	free(junk);
}

static void
test_damaged(void **state)
{
	struct err err = {0};

	assert_int_equal(store_fixture_open(&fx, &err), 0);
	store_fixture_close(&fx);
	overwrite(0, 100);
	assert_refused(ERR_INTERNAL, "damaged");
	remove_database();
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	store_fixture_close(&fx);
	overwrite(100, 3000); /* the list of tables */
	assert_refused(ERR_INTERNAL, "damaged");
}

static void
test_unknown_state(void **state)
{
	struct store_loader to = {.arg = NULL};
	struct err err = {0};

	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(put_machines(1), ERR_NONE);
	store_fixture_close(&fx);
	exec_sql("UPDATE machines SET state = 'melted'");
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(fx.store->ops->load(fx.store, &to, &err), -1);
	assert_non_null(strstr(err.msg, "melted"));
}

static void
test_no_directory(void **state)
{
	strcat(fx.path, "/none");
	assert_refused(ERR_NOT_FOUND, "No such file");
	*strrchr(fx.path, '/') = '\0';
}

static void
test_modes(void **state)
{
	static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
	struct err err = {0};

	umask(0);
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(umask(022), 0); /* put back */
	for (int i = 0; i < 4; i++) {
		char name[128];
		struct stat st;

		(void)snprintf(name, sizeof(name), "%s%s", fx.path, ends[i]);
		if (stat(name, &st) < 0 && fx.inline_mode && i > 0)
			continue;
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

/* Root opens the files as the directory's owner, even where that user could not get to the directory;
   a link planted there leads root nowhere. */
static void
test_owner(void **state)
{
	char dir[80], target[80], name[128];
	struct err err = {0};
	struct stat st;

	if (geteuid() != 0) {
		print_message("SKIP: needs root\n");
		skip();
	}
	(void)snprintf(dir, sizeof(dir), "%s/db", fx.dir);
	(void)snprintf(target, sizeof(target), "%s/target", fx.dir);
	(void)snprintf(fx.path, sizeof(fx.path), "%s/hearth.db", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(
	    chown(dir, 65534, 65534), 0); /* inside fx.dir, which is root's and 0700 */
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(geteuid(), 0);
	assert_int_equal(getegid(), 0);
	assert_int_equal(claim_one(0, &err), ERR_NONE);
	assert_int_equal(stat(fx.path, &st), 0);
	assert_int_equal(st.st_uid, 65534);
	store_fixture_close(&fx);

	(void)snprintf(name, sizeof(name), "%s-wal", fx.path);
	assert_int_equal(close(open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
	(void)unlink(name);
	assert_int_equal(symlink(target, name), 0);
	if (store_fixture_open(&fx, &err) == 0)
		store_fixture_close(&fx);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_size, 0);
}

/* ---- the log does not grow for ever ---- */

/* How often the log has been started over: in its header, from byte 12. */
static unsigned
log_restarts(void)
{
	unsigned char n[4] = {0};
	char name[128];
	int fd;

	(void)snprintf(name, sizeof(name), "%s-wal", fx.path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, n, sizeof(n), 12), sizeof(n));
	close(fd);
	return (unsigned)n[0] << 24 | (unsigned)n[1] << 16 | (unsigned)n[2] << 8 | n[3];
}

/* A row anywhere in the table, so that the pages are many. */
static void
submit_some_machine(struct store *st, store_done_fn done, void *arg)
{
	struct store_tx *tx = store_tx_new();
	char id[16];

	(void)snprintf(id, sizeof(id), "m-%012u", random_below(CLAIMS_MAX));
	struct machine m = sample_machine(id, MACHINE_READY);
	store_tx_machine(tx, &m);
	st->ops->submit(st, tx, done, arg);
}

static void
on_machine_kept(void *arg, const struct err *err)
{
	assert_int_equal(err->code, ERR_NONE);
	(*(int *)arg)--;
}

/* With writes that never pause. */
static void
test_log_is_bounded(void **state)
{
	struct err err = {0};
	int in_flight = 0, n = 0;

	if (fx.inline_mode)
		skip();
	fx.vfs = POWERLOSS_VFS; /* for its speed: it does not really sync */
	powerloss_reset(1, true);
	assert_int_equal(store_fixture_open(&fx, &err), 0);
	assert_int_equal(put_machines(CLAIMS_MAX), ERR_NONE);
	while (log_restarts() < 2) {
		assert_in_range(n, 0, 200000);
		for (int i = 0; i < 10; i++) {
			while (in_flight < 500) {
				in_flight++;
				n++;
				submit_some_machine(
				    fx.store, on_machine_kept, &in_flight);
			}
			store_fixture_turn(&fx);
		}
	}
	while (in_flight > 0)
		store_fixture_turn(&fx);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_power_cut, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_power_cut_with_lying_syncs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_real_disk_full, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_second_opener, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_ours, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unknown_state, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_directory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_owner, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_log_is_bounded, setup, teardown),
	};

	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	powerloss_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
