/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

/*
 * The nouns, as they are stored and shown: plain data, no behaviour but their state tables. docs/
 * states.md draws the states. Strings are owned by the struct that holds them, and NULL where there
 * is nothing to say. Times named `_at` are wall-clock milliseconds, 0 for "not yet".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

enum machine_state {
	MACHINE_LAUNCHING,
	MACHINE_READY,
	MACHINE_CLAIMED,
	MACHINE_TERMINATING,
	MACHINE_TERMINATED,
	MACHINE_STOPPED,
	MACHINE_HIBERNATED,
	MACHINE_STARTING,
	MACHINE_FAILED, /* over, with the reason in `error`; what it had is undone like any other's */
	MACHINE_STATE_MAX,
};

enum tier { TIER_RUNNING, TIER_STOPPED, TIER_HIBERNATED, TIER_MAX };

struct machine {
	struct id
	    id; /* also the launch's idempotency token and the tag on what the provider made */
	char *pool;
	char *provider;
	char *provider_ref; /* the provider's own name for it */
	enum machine_state state;
	enum tier tier;
	char *image;
	char *image_version;
	char *address;
	int port;
	struct id
	    reservation; /* empty: none. While LAUNCHING: the one it is launched for */
	char *error;
	char *output; /* what a failing setup command printed */
	int64_t created_at;
	int64_t ready_at;
	int64_t claimed_at;
	int64_t ended_at;
};

enum reservation_state {
	RESERVATION_QUEUED,
	RESERVATION_PREPARING,
	RESERVATION_ACTIVE,
	RESERVATION_ENDED,
	RESERVATION_STATE_MAX,
};

enum end_reason { END_NONE, END_CANCELLED, END_EXPIRED, END_FAILED, END_REASON_MAX };

enum path {
	PATH_NONE,
	PATH_WARM,
	PATH_STOPPED,
	PATH_HIBERNATED,
	PATH_COLD,
	PATH_KIND_MAX
};

struct reservation {
	struct id id;
	char *name;
	uint32_t uid;
	char *user;
	char *pool;
	enum reservation_state state;
	enum end_reason reason;
	char *error; /* with END_FAILED: why, as in "host restarted" */
	enum path path;
	char *miss_reason; /* why the path was not warm */
	struct id machine; /* empty: none yet */
	char *
	    public_keys; /* one line each, joined by '\n'; NULL: they are being fetched */
	char *github;	 /* whose keys they are there; NULL: they were given */
	char *notice;	 /* what its user should know, as "keys from the cache: ..." */
	char *request_id;
	char *disks;	 /* see reservation_disk.h; NULL: none */
	struct id group; /* of `--count N`: the first one's id; empty: alone */
	bool no_warm;
	bool no_wait;
	int64_t hold_ms; /* how long it was asked for, with extensions */
	int64_t idle_ms; /* 0: never ends for being idle */
	uint64_t serial; /* of its certificates */
	int64_t created_at;
	int64_t ready_at;   /* first time active */
	int64_t expires_at; /* 0 until active */
	int64_t ended_at;
	double usd_per_hour;
};

enum step_state {
	STEP_OPEN, /* intent is durable; the effect may or may not have happened */
	STEP_DONE,
	STEP_FAILED,
	STEP_UNDONE,
	STEP_STATE_MAX,
};

enum disk_state {
	DISK_CREATING,
	DISK_AVAILABLE,
	DISK_ATTACHED,
	DISK_DELETING,
	DISK_DELETED,
	DISK_FAILED, /* could not be made, or was lost; `error` says why. Nothing is left of it but the row */
	DISK_STATE_MAX,
};

/* Named storage of a user, or a snapshot of one. */
struct disk {
	struct id
	    id; /* "d-", a snapshot's "s-"; also the idempotency token and the tag on what the provider made */
	char *name; /* NULL: a snapshot */
	uint32_t uid;
	char *user;
	char *provider;
	char *provider_ref;
	enum disk_state state;
	int64_t size_bytes;
	struct id
	    source; /* a disk's snapshot it was made from, a snapshot's disk; may be empty */
	bool
	    transient; /* a snapshot that goes when the disk is made for which it was taken */
	struct id holder;  /* the reservation that has it, or for which it is made */
	struct id machine; /* where it is, or may be, attached; empty: nowhere */
	bool lost; /* FAILED, because it is not there any more: it may turn up again */
	bool snapshot_due; /* when its holder lets it go */
	int64_t
	    expires_at; /* a snapshot taken of a disk as it was deleted; 0: it stays */
	char *error;
	int64_t created_at;
	int64_t ended_at;
};

/* One row of the journal. */
struct step {
	int64_t id;	   /* 0 until stored; given out by core, increasing */
	struct id subject; /* the machine or reservation whose plan it is in */
	const char *
	    name; /* borrowed from the plan's table, or from the store's reply (see store.h) */
	int attempt;
	enum step_state state;
	char *token;
	char *resource;
	char *error;
	uint32_t waits_for; /* bit i: the plan's step i */
	int64_t started_at; /* wall ms with microseconds lost: steps are ms things */
	int64_t ended_at;
	int resolution_ms; /* interval at which the end was observed; 0: it was told at once */
};

/* What GET /v1/events streams: written in the same transaction as the change it tells of. */
struct event {
	int64_t seq;
	int64_t at;
	const char *kind;  /* "machine", "reservation", "disk", "pool": static */
	struct id id;	   /* of machine, reservation or disk */
	char *name;	   /* of the pool */
	const char *state; /* static */
	struct id
	    other;    /* a machine's reservation, a reservation's machine; may be empty */
	uint32_t uid; /* whose; UINT32_MAX: nobody's */
	char *detail;
};

#define POOL_SETUP_MAX 32

/* A pool as configured. */
struct pool {
	char *name;
	char *provider;
	char *image;
	int running, stopped, hibernated; /* how many spare machines to keep, per tier */
	int max;			  /* machines in all, claimed ones included */
	uint64_t memory_bytes; /* 0: the provider's default; so for the next two */
	int cpu_milli;
	int pids_max;
	bool nesting;		/* user namespaces may be made inside */
	int64_t max_age_ms;	/* spares older than this are replaced */
	double usd_per_hour;	/* per machine; 0: the provider's own price */
	double max_usd_per_day; /* 0: no bound */
	bool one_at_a_time;	/* keys, home, disks and machine one after the other */
	bool hedge; /* a cold launch for somebody is made twice: the first one wins */
	bool
	    shared_home; /* its user's is mounted on its machines, where the provider has such */
	char *login; /* user name on its machines; NULL: the daemon's default */
	char *
	    options; /* what only its kind of provider understands: see provider.h; NULL: none */
	char *setup[POOL_SETUP_MAX];
	int n_setup;
	int64_t setup_timeout_ms;
	int64_t
	    ready_timeout_ms; /* from its launch or start to the first sight of it as ready */
};

void machine_fini(struct machine *m);
void machine_copy(struct machine *to, const struct machine *from);
void reservation_fini(struct reservation *r);
void reservation_copy(struct reservation *to, const struct reservation *from);
void disk_fini(struct disk *d);
void disk_copy(struct disk *to, const struct disk *from);
void step_fini(struct step *s);
void event_fini(struct event *e);
void pool_fini(struct pool *p);
void pool_copy(struct pool *to, const struct pool *from);

const char *machine_state_name(enum machine_state s);
const char *tier_name(enum tier t);
const char *reservation_state_name(enum reservation_state s);
const char *end_reason_name(enum end_reason r); /* NULL for END_NONE */
const char *path_name(enum path p);		/* NULL for PATH_NONE */
const char *disk_state_name(enum disk_state s);
const char *step_state_name(enum step_state s);

/* The value with this name, or -1. */
int machine_state_from(const char *name);
int tier_from(const char *name);
int reservation_state_from(const char *name);
int end_reason_from(const char *name);
int path_from(const char *name);
int disk_state_from(const char *name);
int step_state_from(const char *name);

/* Whether the table of states allows this move. */
bool machine_may_move(enum machine_state from, enum machine_state to);
bool reservation_may_move(enum reservation_state from, enum reservation_state to);
bool disk_may_move(enum disk_state from, enum disk_state to);

static inline bool
id_empty(const struct id *id)
{
	return id->s[0] == '\0';
}
bool id_equal(const struct id *a, const struct id *b);

#endif
