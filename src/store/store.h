/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

/*
 * Where machines, reservations, the journal and the events are kept. A backend is a table of
 * operations; sqlite.c is the one for a single host.
 *
 * Writes: a transaction is a list of whole rows, some of them guarded by the state the row must have
 * at that moment. All of it happens, durably, or none of it: `done` with 0 means it survives kill -9
 * and power loss. Transactions are applied in the order of submission; a backend may commit several
 * at once (each still succeeds or fails alone).
 *
 * Reads: `load` is for the start; `query` for what the daemon does not keep in memory. A query sees
 * every transaction whose `done` has been called.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/model.h"

struct clock;
struct store;
struct store_tx;

/* Exactly once, later, from the loop. err->code is ERR_NONE, ERR_CONFLICT (a guard did not hold, or a
   unique key is taken: err->msg names it), ERR_UNAVAILABLE (disk full, ...) or ERR_INTERNAL. */
typedef void (*store_done_fn)(void *arg, const struct err *err);

/* Building a transaction. Every put copies what it is given and replaces the whole row with that id, but for
   what names it and never changes: a reservation's uid, name and request id, a step's subject.
   store_tx_new never fails; store_submit takes the transaction, store_tx_free is for one unsubmitted. */
struct store_tx *store_tx_new(void);
void store_tx_free(struct store_tx *tx);

/* Whoever holds a reference has it freed with one more store_tx_free(). On the loop's thread only. */
struct store_tx *store_tx_ref(struct store_tx *tx);

/* Puts what `from` has of steps, events, pools and named values: all that is not a row with a state of its own. */
void store_tx_absorb(struct store_tx *tx, const struct store_tx *from);
void store_tx_machine(struct store_tx *tx, const struct machine *m);

/* As store_tx_machine, and the transaction fails with ERR_CONFLICT unless the stored row is in `expect`:
   the claim's guard. */
void store_tx_machine_if(
    struct store_tx *tx, const struct machine *m, enum machine_state expect);

/* (uid, request_id) is unique where request_id is set: ERR_CONFLICT, message "request_id". */
void store_tx_reservation(struct store_tx *tx, const struct reservation *r);
void store_tx_disk(struct store_tx *tx, const struct disk *d);
void store_tx_step(struct store_tx *tx, const struct step *s);
void store_tx_event(struct store_tx *tx, const struct event *e);

/* A pool's settings changed by an operator, kept over restarts: running, stopped, hibernated, max. */
void store_tx_pool(struct store_tx *tx, const char *pool, const int settings[4]);

/* A named value of the deployment (schema-free, a few dozen bytes), for instance the boot id. */
void store_tx_meta(struct store_tx *tx, const char *key, const char *value);

enum store_query_kind {
	QUERY_RESERVATIONS, /* ended ones too, newest first; uid or STORE_ANY_UID; at most `limit` */
	QUERY_GROUP, /* `key` = group's id, of `uid`; in order */
	QUERY_RESERVATION, /* `key` is an id, a name or a prefix of an id; `uid`'s before others'; at most `limit` */
	QUERY_REQUEST,	/* `uid`, `key` = request_id: 0 or 1 */
	QUERY_MACHINES, /* `key` as above; ended ones too */
	QUERY_DISKS,	/* `key` is an id; deleted ones too */
	QUERY_STEPS,  /* `key` = subject's id, in order of id; `key2` likewise or NULL */
	QUERY_EVENTS, /* seq > `since`, ascending, at most `limit` */
};

#define STORE_ANY_UID UINT32_MAX

struct store_query {
	enum store_query_kind kind;
	uint32_t uid;
	char key[128];
	char key2[ID_MAX];
	int64_t since;
	int limit; /* 0: no bound */
};

/* What a query found: only the array of its kind is filled. Strings are the result's, `name` of steps
   and static strings of events included. Valid only during the callback. */
struct store_result {
	struct reservation *reservations;
	struct machine *machines;
	struct disk *disks;
	struct step *steps;
	struct event *events;
	int n;
};

typedef void (*store_query_fn)(
    void *arg, const struct store_result *res, const struct err *err);

/* What `load` hands over, row by row; each row is valid during its call only. NULL members are skipped. */
struct store_loader {
	void *arg;

	/* Not terminated nor failed. */
	void (*machine)(void *arg, const struct machine *m);

	/* Not ended. */
	void (*reservation)(void *arg, const struct reservation *r);

	/* Not deleted. */
	void (*disk)(void *arg, const struct disk *d);

	/* Open, in order of id. */
	void (*step)(void *arg, const struct step *s);
	void (*pool)(void *arg, const char *name, const int settings[4]);
	void (*meta)(void *arg, const char *key, const char *value);

	/* The highest ever stored. */
	void (*last)(void *arg, int64_t step_id, int64_t event_seq, uint64_t serial);
};

struct store_ops {
	const char *name;

	/* Reads everything a daemon starts from. Blocks; before the loop runs. */
	int (*load)(struct store *st, const struct store_loader *to, struct err *err);

	/* Takes `tx`. Never blocks. */
	void (*submit)(
	    struct store *st, struct store_tx *tx, store_done_fn done, void *arg);

	/* Never blocks. */
	void (*query)(struct store *st, const struct store_query *q, store_query_fn done,
	    void *arg);

	/* Removes ended reservations, machines, disks and their steps older than `before_at`, and all but the last
	   `keep_events` events, in small transactions. */
	void (*prune)(struct store *st, int64_t before_at, int keep_events);

	/* Finishes what was submitted, also by the `done`s it calls before it returns, then frees. Blocks. The
	   loop must run once more, to let go of the store's handle, before it is closed. */
	void (*close)(struct store *st);
};

struct store {
	const struct store_ops *ops;
};

/* How the SQLite store runs. */
struct sqlite_options {
	const char *path; /* ":memory:" for tests */
	const char *vfs;  /* sqlite VFS to open with; NULL: the default */

	/* Inline mode: completions come as timers of this clock, and there is no thread. */
	struct clock *clock;

	/* Threaded mode (clock is NULL): the uv_loop_t on which completions are called. */
	void *uv_loop;
};

/* Opens, creating file (0600) and schema; refuses a newer schema, and a database that another hearthd
   has open (ERR_CONFLICT: an flock on `path`.lock held for the process's life; not for ":memory:"). Blocks. */
int sqlite_store_open(
    const struct sqlite_options *opt, struct store **ret, struct err *err) ERR_CHECK;

#endif
