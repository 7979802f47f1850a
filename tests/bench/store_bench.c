/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a claim costs in the SQLite store: one after the other, and with 16 in flight,
 * beside bare one-row commits of SQLite with the same durability on the same disk.
 * Prints; asserts nothing.
 *
 *   store_bench [DIRECTORY [SECONDS]]
 */

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "store/store.h"

#define MACHINES 300
#define IN_FLIGHT 16
#define SAMPLES_MAX 2000000

struct bench;

struct claim {
	struct bench *bench;
	int64_t began_ns;
	struct machine *machine;
};

struct bench {
	struct store *store;
	struct machine machines[MACHINES];
	struct claim claims[IN_FLIGHT];
	int64_t end_ns;
	int64_t step_id;
	int64_t event_seq;
	uint64_t serial;
	int next_machine;
	bool request_ids;
	int n;
	int64_t *samples; /* owned: ns */
};

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
die(const char *what, const char *why)
{
	log_error("%s: %s", what, why);
	exit(1);
}

static int64_t
cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000) +
	       u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void
report(const char *what, int64_t *samples, int n, int64_t took_ns, int64_t took_cpu_us)
{
	qsort(samples, (size_t)n, sizeof(*samples), clock_by_time);
	printf(
	    "%-26s %6.0f /s   p50 %.3f   p99 %.3f   max %.3f ms   CPU %.0f us   (n=%d)\n",
	    what, n / (took_ns / 1e9), samples[n / 2] / 1e6,
	    samples[(int64_t)n * 99 / 100] / 1e6, samples[n - 1] / 1e6,
	    (double)took_cpu_us / n, n);
}

static void
bare(const char *dir, int seconds, int64_t *samples)
{
	AUTO_FREE char *path = xasprintf("%s/bare.db", dir);
	int64_t start, end, cpu;
	sqlite3_stmt *stmt;
	sqlite3 *db;
	int n = 0;

	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		"CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)",
		NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "INSERT INTO t (x) VALUES ('x')", -1, &stmt, NULL) !=
		SQLITE_OK)
		die("bare SQLite", sqlite3_errmsg(db));
	cpu = cpu_us();
	start = now_ns();
	end = start + seconds * INT64_C(1000000000);
	while (now_ns() < end && n < SAMPLES_MAX) {
		int64_t t = now_ns();

		if (sqlite3_step(stmt) != SQLITE_DONE)
			die("bare SQLite", sqlite3_errmsg(db));
		sqlite3_reset(stmt);
		samples[n++] = now_ns() - t;
	}
	report("bare SQLite FULL, one row", samples, n, now_ns() - start, cpu_us() - cpu);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

static void on_claimed(void *arg, const struct err *err);

static void
add_step(struct bench *b, struct store_tx *tx, const struct id *subject, const char *name,
    enum step_state state)
{
	struct step s = {
	    .id = ++b->step_id,
	    .subject = *subject,
	    .name = name,
	    .attempt = 1,
	    .state = state,
	    .started_at = 1790000000000,
	    .ended_at = state == STEP_DONE ? 1790000000001 : 0,
	};

	store_tx_step(tx, &s);
}

static void
claim(struct claim *c)
{
	struct bench *b = c->bench;
	struct store_tx *tx = store_tx_new();
	enum machine_state was = c->machine->state;
	struct id name = id_new('n'), request = id_new('q');
	struct reservation r = {
	    .id = id_new('r'),
	    .name = name.s, /* as those that are made: no two alike */
	    .uid = 1000,
	    .user = (char[]){"somebody"},
	    .pool = c->machine->pool,
	    .state = RESERVATION_ACTIVE,
	    .path = PATH_WARM,
	    .machine = c->machine->id,
	    .public_keys =
		(char[]){
		    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERIT"
		    "FBUWFxgZGhscHR4f somebody@somewhere"},
	    .request_id = b->request_ids ? request.s : NULL,
	    .hold_ms = 28800000,
	    .serial = ++b->serial,
	    .created_at = 1790000000000,
	    .ready_at = 1790000000001,
	    .expires_at = 1790028800001,
	};
	struct event e = {.at = 1790000000000, .kind = "machine", .uid = 1000};

	c->machine->state = was == MACHINE_READY ? MACHINE_CLAIMED : MACHINE_READY;
	c->machine->reservation = r.id;
	c->began_ns = now_ns();
	store_tx_machine_if(tx, c->machine, was);
	store_tx_reservation(tx, &r);
	add_step(b, tx, &r.id, "claim", STEP_DONE);
	add_step(b, tx, &r.id, "certificate", STEP_DONE);
	add_step(b, tx, &r.id, "deadline", STEP_OPEN);
	e.seq = ++b->event_seq;
	e.id = c->machine->id;
	e.state = "claimed";
	store_tx_event(tx, &e);
	e.seq = ++b->event_seq;
	e.id = r.id;
	e.kind = "reservation";
	e.state = "active";
	store_tx_event(tx, &e);
	b->store->ops->submit(b->store, tx, on_claimed, c);
}

static void
claim_next(struct claim *c)
{
	struct bench *b = c->bench;

	/* machines in flight are IN_FLIGHT apart at most, so no two claims meet */
	c->machine = &b->machines[b->next_machine];
	b->next_machine = (b->next_machine + 1) % MACHINES;
	claim(c);
}

static void
on_claimed(void *arg, const struct err *err)
{
	struct claim *c = arg;
	struct bench *b = c->bench;
	int64_t now = now_ns();

	if (err->code != ERR_NONE)
		die("claim", err->msg);
	b->samples[b->n++] = now - c->began_ns;
	if (now < b->end_ns && b->n < SAMPLES_MAX - IN_FLIGHT)
		claim_next(c);
}

static void
on_filled(void *arg, const struct err *err)
{
	if (err->code != ERR_NONE)
		die("fill", err->msg);
}

static void
fill(struct bench *b)
{
	static char pool[] = "default", provider[] = "sim", ref[] = "fake-0123456789",
		    image[] = "debian", version[] = "1", address[] = "192.0.2.17";
	struct store_tx *tx = store_tx_new();

	for (int i = 0; i < MACHINES; i++) {
		b->machines[i] = (struct machine){
		    .id = id_new('m'),
		    .pool = pool,
		    .provider = provider,
		    .provider_ref = ref,
		    .state = MACHINE_READY,
		    .image = image,
		    .image_version = version,
		    .address = address,
		    .port = 22,
		    .created_at = 1790000000000,
		    .ready_at = 1790000000050,
		};
		store_tx_machine(tx, &b->machines[i]);
	}
	b->store->ops->submit(b->store, tx, on_filled, NULL);
}

static void
remove_files(const char *dir)
{
	static const char *const names[] = {"hearth.db", "hearth.db-wal", "hearth.db-shm",
	    "hearth.db.lock", "bare.db", "bare.db-wal", "bare.db-shm"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		AUTO_FREE char *file = xasprintf("%s/%s", dir, names[i]);

		(void)unlink(file);
	}
	(void)rmdir(dir);
}

static void
run(struct bench *b, uv_loop_t *loop, const char *what, int in_flight, int seconds)
{
	int64_t start = now_ns(), cpu = cpu_us();

	b->n = 0;
	b->end_ns = start + seconds * INT64_C(1000000000);
	for (int i = 0; i < in_flight; i++) {
		b->claims[i].bench = b;
		claim_next(&b->claims[i]);
	}
	while (now_ns() < b->end_ns)
		uv_run(loop, UV_RUN_ONCE);
	report(what, b->samples, b->n, now_ns() - start, cpu_us() - cpu);
}

int
main(int argc, char **argv)
{
	const char *base = argc > 1 ? argv[1] : "/var/tmp";
	int seconds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
	AUTO_FREE char *dir = xasprintf("%s/hearth-store-bench.XXXXXX", base);
	AUTO_FREE char *path = NULL;
	struct sqlite_options opt = {0};
	static struct bench b;
	uv_loop_t loop;
	struct err err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!mkdtemp(dir))
		die(dir, strerror(errno));
	path = xasprintf("%s/hearth.db", dir);
	b.samples = xcalloc(SAMPLES_MAX, sizeof(*b.samples));
	uv_loop_init(&loop);
	opt.path = path;
	opt.uv_loop = &loop;
	if (sqlite_store_open(&opt, &b.store, &err) < 0)
		die("open", err.msg);
	fill(&b);
	run(&b, &loop, "claims, one at a time", 1, seconds);
	run(&b, &loop, "claims, 16 in flight", IN_FLIGHT, seconds);
	b.request_ids = true;
	run(&b, &loop, "the same with request ids", IN_FLIGHT, seconds);
	b.end_ns = 0;
	b.store->ops->close(b.store);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	bare(dir, seconds, b.samples);
	free(b.samples);
	remove_files(dir);
	return 0;
}
