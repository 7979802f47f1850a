/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The store on one SQLite file.
 *
 * A writer thread takes everything that is queued, applies it as one SQLite transaction
 * (WAL, synchronous FULL: one fdatasync), and hands the completions to the loop. While it
 * commits, the next batch gathers. A reader thread with a connection of its own answers
 * queries, so that no list delays a claim, and copies the log back into the database:
 * only the end of such a checkpoint, a few pages, is left to the writer, which is the one
 * who can finish it under load.
 *
 * In inline mode there is neither thread nor second connection: transactions are applied
 * at once, and completions come as a timer of the clock that was given.
 */

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "store/sqlite_impl.h"

#define BATCH_MAX 256 /* transactions in one commit: bounds what the first one waits */
#define CHECKPOINT_FRAMES 2000 /* pages in the log from which it is copied back */
#define BUSY_MS 5000 /* for a person's sqlite3 shell; nobody else opens the file */

#define QUEUE(type)                                                                      \
	struct {                                                                         \
		type *first;                                                             \
		type **end;                                                              \
	}
#define QUEUE_INIT(q) ((q)->first = NULL, (q)->end = &(q)->first)
#define QUEUE_PUSH(q, item)                                                              \
	((item)->next = NULL, *(q)->end = (item), (q)->end = &(item)->next)

/* Apart from the store, because libuv gives it back only after the loop has turned. */
struct wakeup {
	uv_async_t async;
	struct sqlite_store *store; /* borrowed; NULL once it is closed */
};

enum checkpoint { CHECKPOINT_NONE, CHECKPOINT_WANTED, CHECKPOINT_COPIED };

struct sqlite_store {
	struct store base;
	struct sqlite_conn writer; /* of the writer thread, once it runs */
	struct sqlite_conn reader; /* of the reader thread */
	int lock_fd;		   /* -1 for ":memory:" */
	int log_frames;		   /* writer's: length of the write-ahead log */

	struct clock *clock; /* borrowed; NULL: threads */
	struct timer timer;
	struct wakeup *wakeup;
	bool running; /* the threads have been started */
	pthread_t write_thread;
	pthread_t read_thread;

	pthread_mutex_t mutex; /* for all that follows */
	pthread_cond_t write_cond;
	pthread_cond_t read_cond;
	pthread_cond_t idle_cond;
	bool stop;
	bool writing;
	bool reading;
	enum checkpoint checkpoint;
	struct sqlite_prune prune;
	QUEUE(struct store_tx) txs;
	QUEUE(struct sqlite_request) requests;
	QUEUE(struct store_tx) txs_done;
	QUEUE(struct sqlite_request) requests_done;
};

static struct sqlite_store *
store_of(struct store *st)
{
	return (struct sqlite_store *)st;
}

/* ---- completions, on the loop ---- */

static void
finish_txs(struct store_tx *tx)
{
	while (tx) {
		struct store_tx *next = tx->next;

		tx->done(tx->arg, &tx->err);
		store_tx_free(tx);
		tx = next;
	}
}

static void
finish_requests(struct sqlite_request *req)
{
	while (req) {
		struct sqlite_request *next = req->next;

		req->done(req->arg, &req->result, &req->err);
		sqlite_request_free(req);
		req = next;
	}
}

/* Calls what has completed; true when there was something. */
static bool
deliver(struct sqlite_store *st)
{
	struct store_tx *txs;
	struct sqlite_request *requests;

	pthread_mutex_lock(&st->mutex);
	txs = st->txs_done.first;
	requests = st->requests_done.first;
	QUEUE_INIT(&st->txs_done);
	QUEUE_INIT(&st->requests_done);
	pthread_mutex_unlock(&st->mutex);
	finish_txs(txs);
	finish_requests(requests);
	return txs || requests;
}

static void
on_wakeup(uv_async_t *async)
{
	struct wakeup *w = async->data;

	if (w->store)
		(void)deliver(w->store);
}

static void
on_timer(void *arg)
{
	(void)deliver(arg);
}

/* ---- the writer ---- */

static int
on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
	((struct sqlite_store *)arg)->log_frames = frames;
	return SQLITE_OK;
}

/* Takes up to BATCH_MAX transactions off the queue. */
static struct store_tx *
take_batch(struct sqlite_store *st, struct store_tx **ret_last)
{
	struct store_tx *first = st->txs.first, *last = first;

	for (int n = 1; n < BATCH_MAX && last->next; n++)
		last = last->next;
	st->txs.first = last->next;
	if (!st->txs.first)
		QUEUE_INIT(&st->txs);
	last->next = NULL;
	*ret_last = last;
	return first;
}

/* Under load the reader's copy never reaches the end of the log, so that the log could
   not start over: the writer, who alone can, copies the rest. */
static void
finish_checkpoint(struct sqlite_store *st)
{
	(void)sqlite3_wal_checkpoint_v2(
	    st->writer.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	st->log_frames = 0;
}

static void
write_once(struct sqlite_store *st)
{
	struct store_tx *last, *first = take_batch(st, &last);
	bool copied = st->checkpoint == CHECKPOINT_COPIED;

	if (copied)
		st->checkpoint = CHECKPOINT_NONE;
	pthread_mutex_unlock(&st->mutex);
	sqlite_write_batch(&st->writer, first);
	pthread_mutex_lock(&st->mutex);
	*st->txs_done.end = first;
	st->txs_done.end = &last->next;
	uv_async_send(&st->wakeup->async);
	if (copied) {
		pthread_mutex_unlock(&st->mutex);
		finish_checkpoint(st);
		pthread_mutex_lock(&st->mutex);
	} else if (st->log_frames >= CHECKPOINT_FRAMES &&
		   st->checkpoint == CHECKPOINT_NONE) {
		st->checkpoint = CHECKPOINT_WANTED;
		pthread_cond_signal(&st->read_cond);
	}
}

static void
prune_once(struct sqlite_store *st)
{
	struct sqlite_prune p = st->prune;
	bool more;

	pthread_mutex_unlock(&st->mutex);
	more = sqlite_prune_slice(&st->writer, &p);
	pthread_mutex_lock(&st->mutex);
	if (!more)
		st->prune.wanted = false;
}

static void *
write_main(void *arg)
{
	struct sqlite_store *st = arg;

	pthread_mutex_lock(&st->mutex);
	for (;;) {
		if (st->txs.first || (st->prune.wanted && !st->stop)) {
			st->writing = true;
			if (st->txs.first)
				write_once(st);
			else
				prune_once(st);
			st->writing = false;
			continue;
		}
		pthread_cond_signal(&st->idle_cond);
		if (st->stop)
			break;
		pthread_cond_wait(&st->write_cond, &st->mutex);
	}
	pthread_mutex_unlock(&st->mutex);
	return NULL;
}

/* ---- the reader ---- */

static void
read_once(struct sqlite_store *st)
{
	struct sqlite_request *req = st->requests.first;

	st->requests.first = req->next;
	if (!st->requests.first)
		QUEUE_INIT(&st->requests);
	pthread_mutex_unlock(&st->mutex);
	sqlite_read(&st->reader, req);
	pthread_mutex_lock(&st->mutex);
	QUEUE_PUSH(&st->requests_done, req);
	uv_async_send(&st->wakeup->async);
}

static void
copy_log(struct sqlite_store *st)
{
	pthread_mutex_unlock(&st->mutex);
	(void)sqlite3_wal_checkpoint_v2(
	    st->reader.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	pthread_mutex_lock(&st->mutex);
	st->checkpoint = CHECKPOINT_COPIED;
}

static void *
read_main(void *arg)
{
	struct sqlite_store *st = arg;

	pthread_mutex_lock(&st->mutex);
	for (;;) {
		if (st->requests.first) {
			st->reading = true;
			read_once(st);
			st->reading = false;
			continue;
		}
		if (st->checkpoint == CHECKPOINT_WANTED) {
			copy_log(st);
			continue;
		}
		pthread_cond_signal(&st->idle_cond);
		if (st->stop)
			break;
		pthread_cond_wait(&st->read_cond, &st->mutex);
	}
	pthread_mutex_unlock(&st->mutex);
	return NULL;
}

/* ---- the table ---- */

/* Not before the first use, so that the threads are born with the privileges the process
 * keeps. */
static void
start_threads(struct sqlite_store *st)
{
	sigset_t all, before;

	if (st->running)
		return;
	st->running = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
	if (pthread_create(&st->write_thread, NULL, write_main, st) != 0 ||
	    pthread_create(&st->read_thread, NULL, read_main, st) != 0) {
		log_error(
		    "cannot start the store's threads; raise the limit on processes");
		abort();
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int
load(struct store *base, const struct store_loader *to, struct err *err)
{
	struct sqlite_store *st = store_of(base);

	assert(!st->running);
	return sqlite_load(&st->writer, to, err);
}

static void
submit(struct store *base, struct store_tx *tx, store_done_fn done, void *arg)
{
	struct sqlite_store *st = store_of(base);

	tx->done = done;
	tx->arg = arg;
	tx->next = NULL;
	if (st->clock) {
		sqlite_write_batch(&st->writer, tx);
		QUEUE_PUSH(&st->txs_done, tx);
		if (!timer_is_on(&st->timer))
			timer_set(st->clock, &st->timer, 0, on_timer, st);
		return;
	}
	start_threads(st);
	pthread_mutex_lock(&st->mutex);
	QUEUE_PUSH(&st->txs, tx);
	if (!st->writing)
		pthread_cond_signal(&st->write_cond);
	pthread_mutex_unlock(&st->mutex);
}

static void
query(struct store *base, const struct store_query *q, store_query_fn done, void *arg)
{
	struct sqlite_store *st = store_of(base);
	struct sqlite_request *req = xnew(struct sqlite_request);

	req->query = *q;
	req->done = done;
	req->arg = arg;
	if (st->clock) {
		sqlite_read(&st->writer, req);
		QUEUE_PUSH(&st->requests_done, req);
		if (!timer_is_on(&st->timer))
			timer_set(st->clock, &st->timer, 0, on_timer, st);
		return;
	}
	start_threads(st);
	pthread_mutex_lock(&st->mutex);
	QUEUE_PUSH(&st->requests, req);
	if (!st->reading)
		pthread_cond_signal(&st->read_cond);
	pthread_mutex_unlock(&st->mutex);
}

static void
prune(struct store *base, int64_t before_at, int keep_events)
{
	struct sqlite_store *st = store_of(base);
	struct sqlite_prune p = {
	    .wanted = true, .before_at = before_at, .keep_events = keep_events};

	if (st->clock) {
		while (sqlite_prune_slice(&st->writer, &p))
			;
		return;
	}
	start_threads(st);
	pthread_mutex_lock(&st->mutex);
	st->prune = p;
	pthread_cond_signal(&st->write_cond);
	pthread_mutex_unlock(&st->mutex);
}

static void
on_wakeup_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* Everything submitted is done when this returns, also what its callbacks submitted. Pruning can wait. */
static void
drain(struct sqlite_store *st)
{
	do {
		pthread_mutex_lock(&st->mutex);
		st->prune.wanted = false;
		while (st->running && (st->txs.first || st->writing ||
					  st->requests.first || st->reading))
			pthread_cond_wait(&st->idle_cond, &st->mutex);
		pthread_mutex_unlock(&st->mutex);
	} while (deliver(st));
}

static void
stop_threads(struct sqlite_store *st)
{
	if (!st->running)
		return;
	pthread_mutex_lock(&st->mutex);
	st->stop = true;
	pthread_cond_signal(&st->write_cond);
	pthread_cond_signal(&st->read_cond);
	pthread_mutex_unlock(&st->mutex);
	pthread_join(st->write_thread, NULL);
	pthread_join(st->read_thread, NULL);
}

static void
store_free(struct sqlite_store *st)
{
	timer_off(&st->timer);
	if (st->wakeup) {
		st->wakeup->store = NULL;
		uv_close((uv_handle_t *)&st->wakeup->async, on_wakeup_closed);
	}
	sqlite_conn_close(&st->reader);
	sqlite_conn_close(&st->writer);
	if (st->lock_fd >= 0)
		close(st->lock_fd);
	pthread_cond_destroy(&st->write_cond);
	pthread_cond_destroy(&st->read_cond);
	pthread_cond_destroy(&st->idle_cond);
	pthread_mutex_destroy(&st->mutex);
	free(st);
}

static void
store_close(struct store *base)
{
	struct sqlite_store *st = store_of(base);

	drain(st);
	stop_threads(st);
	store_free(st);
}

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .load = load,
    .submit = submit,
    .query = query,
    .prune = prune,
    .close = store_close,
};

/* ---- opening ---- */

/* Opens the log and its index now, while the process still may. */
static int
reader_open(struct sqlite_store *st, const struct sqlite_options *opt, struct err *err)
{
	if (sqlite_conn_open(&st->reader, opt, err) < 0)
		return -1;
	return sqlite_exec(
	    st->reader.db, "PRAGMA cache_size = -512; SELECT count(*) FROM meta;", err);
}

static int
writer_open(struct sqlite_store *st, const struct sqlite_options *opt, struct err *err)
{
	if (sqlite_conn_open(&st->writer, opt, err) < 0 ||
	    sqlite_schema_prepare(st->writer.db, err) < 0)
		return -1;
	if (opt->clock)
		return 0;
	sqlite3_wal_hook(
	    st->writer.db, on_commit, st); /* in the place of SQLite's own checkpoints */
	return 0;
}

static int
start_wakeup(struct sqlite_store *st, void *loop, struct err *err)
{
	struct wakeup *w = xnew(struct wakeup);
	int rc = uv_async_init(loop, &w->async, on_wakeup);

	if (rc < 0) {
		free(w);
		return err_set(
		    err, ERR_UNAVAILABLE, "cannot watch the store: %s", uv_strerror(rc));
	}
	w->async.data = w;
	w->store = st;
	st->wakeup = w;
	return 0;
}

static int
open_all(struct sqlite_store *st, const struct sqlite_options *opt, struct err *err)
{
	if (strcmp(opt->path, ":memory:") != 0 &&
	    sqlite_take_lock(opt->path, &st->lock_fd, err) < 0)
		return -1;
	if (writer_open(st, opt, err) < 0)
		return -1;
	if (opt->clock)
		return 0;
	if (reader_open(st, opt, err) < 0)
		return -1;
	return start_wakeup(st, opt->uv_loop, err);
}

int
sqlite_store_open(const struct sqlite_options *opt, struct store **ret, struct err *err)
{
	struct sqlite_store *st;
	struct sqlite_identity was;
	mode_t mask = umask(0077);
	int rc;

	/* Its statistics cost a global lock per allocation. Refused once SQLite is in
	 * use: no matter. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	st = xnew(struct sqlite_store);
	st->base.ops = &sqlite_ops;
	st->lock_fd = -1;
	st->clock = opt->clock;
	pthread_mutex_init(&st->mutex, NULL);
	pthread_cond_init(&st->write_cond, NULL);
	pthread_cond_init(&st->read_cond, NULL);
	pthread_cond_init(&st->idle_cond, NULL);
	QUEUE_INIT(&st->txs);
	QUEUE_INIT(&st->requests);
	QUEUE_INIT(&st->txs_done);
	QUEUE_INIT(&st->requests_done);
	rc = sqlite_become_owner(opt->path, &was, err);
	if (rc == 0) {
		rc = open_all(st, opt, err);
		sqlite_be_again(&was);
	}
	umask(mask);
	if (rc < 0) {
		store_free(st);
		return err_wrap(err, "%s", opt->path);
	}
	*ret = &st->base;
	return 0;
}
