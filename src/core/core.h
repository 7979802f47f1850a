/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

/*
 * The decisions: pools, claims, reservations, plans, recovery, audit. Everything here runs on one
 * thread, never blocks, and takes time, store and machines from what core_new() was given, so that
 * a test can run all of it on simulated time.
 *
 * Callbacks marked "later" are called exactly once, from the loop, never from inside the call; the
 * views they get are valid only during the call.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/model.h"

struct clock;
struct core;
struct provider;
struct provider_env;
struct ssh_ca;
struct ssh_pubkey;
struct store;

#define CORE_KEYS_MAX 16    /* public keys a reservation may have */
#define CORE_COUNT_MAX 1000 /* of one `--count` */
#define CORE_WAITING_MAX                                                                 \
	1000 /* without a machine at a time, of one user who is no operator, per pool */

/* The public keys that a user has published somewhere, by the user's name there. `fetch` answers once, later:
   with one key at least, or with err (ERR_NOT_FOUND: no such user, or no key that can be used;
   ERR_UNAVAILABLE: nobody answers). `note`: what the user should know of it, NULL for nothing. */
typedef void (*core_keys_fn)(void *arg, const struct ssh_pubkey *keys, int n,
    const char *note, const struct err *err);
struct core_key_source {
	void *arg;
	void (*fetch)(void *arg, const char *user, core_keys_fn done, void *done_arg);
};

struct core_options {
	struct clock *clock; /* borrowed, as all that follows */
	struct store *store;
	struct ssh_ca *user_ca;
	struct ssh_ca *host_ca;
	const struct core_key_source *github; /* NULL: there is none; copied */
	const char *login;		      /* "dev" */
	const char *boot_id; /* of the host: tells a reboot from a restart; copied */
	int64_t default_hold_ms;
	int64_t max_hold_ms;	 /* longest a reservation may last, extensions included */
	int64_t keep_deleted_ms; /* a deleted disk's last snapshot; 0: none is taken */
};

/* Who asks. */
struct core_caller {
	uint32_t uid;
	const char *user;
	bool operator_;
};

struct core *core_new(const struct core_options *opt);

/* Before core_start(). `name` is the configuration's. The environment to open the provider with comes
   from core_provider_env(), which must be asked for under the same name first. */
struct provider_env core_provider_env(struct core *c, const char *name, void *uv_loop);
void core_add_provider(struct core *c, const char *name, struct provider *p);

/* The pools of the configuration; again on reload. A pool that is gone gives up its spares and takes no
   more reservations; those it has run out. Pools are copied. ERR_INVALID, and nothing changed, where a pool
   names a provider that was not added. */
int core_set_pools(
    struct core *c, const struct pool *pools, int n, struct err *err) ERR_CHECK;

/* Loads the store (blocks for that), then asks every provider for its inventory, adopts what is there,
   goes on with open steps, and begins to fill the pools. Requests are served from the return on, but by what
   the store remembers: see core_when_settled(). */
int core_start(struct core *c, struct err *err) ERR_CHECK;

/* After core_start(), once: `fn` is called when the store has been held against every provider's inventory.
   Until then a pool may show machines as ready that no claim takes, and a reservation as active whose machine is
   gone. Where a provider does not answer it is called after CORE_SETTLE_MS all the same. Later; not at all
   once the core closes. */
#define CORE_SETTLE_MS 5000
void core_when_settled(struct core *c, void (*fn)(void *arg), void *arg);

/* New limits, from a reloaded configuration. */
void core_set_limits(struct core *c, int64_t default_hold_ms, int64_t max_hold_ms);

/* Ends waits with ERR_UNAVAILABLE, closes providers, then the store, then frees. Machines stay. */
void core_close(struct core *c);

/* ---- reservations ---- */

struct reserve_disk {
	char name[64];
	int64_t size_bytes; /* 0: it must be there */
};

struct reserve_request {
	const char *pool; /* NULL: "default" */
	const char *name; /* NULL: one is made */
	int64_t hold_ms;  /* 0: the default */
	int64_t idle_ms;  /* 0: none */
	const struct ssh_pubkey *keys;
	int n_keys;		/* 0 with github */
	const char *github;	/* a user there, whose keys are fetched; NULL: none */
	const char *request_id; /* NULL: none */
	int count; /* 1 .. CORE_COUNT_MAX; all or none. Above 1 they are called NAME-1 ... */
	bool no_wait;
	bool no_warm;
	const struct reserve_disk *disks;
	int n_disks;	     /* up to RESERVATION_DISKS_MAX */
	bool wait_disk;	     /* for one that somebody has */
	bool require_disk;   /* without its disks it fails */
	bool snapshot_disks; /* when they are released */
};

/* A reservation as its owner sees it. */
struct reservation_view {
	const struct reservation *r;
	const struct machine *machine; /* NULL: none */
	const char *const
	    *certificates; /* n_certificates lines; only where the callback says so */
	int n_certificates;
	const char *known_hosts; /* one line, or NULL */
	const char *login;
	int queue_position; /* 1 is next; 0: not queued */
	int64_t eta_at;	    /* wall ms; 0: not known */
	double cost_usd;    /* so far */
};

/* With certificates. `existed`: the request id was known, these are its reservations. */
typedef void (*core_reserve_fn)(void *arg, const struct reservation_view *views, int n,
    bool existed, const struct err *err);
void core_reserve(struct core *c, const struct core_caller *who,
    const struct reserve_request *req, core_reserve_fn done,
    void *arg); /* later; `req` is read before this returns */

/* `key` is an id, a name, or a unique prefix of an id, here and below; a name beats a prefix; a live
   reservation beats an ended one. Users see their own; operators all. Not there: ERR_NOT_FOUND; another's:
   ERR_NOT_PERMITTED; ambiguous: ERR_INVALID. */
typedef void (*core_view_fn)(
    void *arg, const struct reservation_view *view, const struct err *err);

/* With certificates while it is active. wait_ms > 0: answers when it is active or ended, or after wait_ms. Later. */
void core_get(struct core *c, const struct core_caller *who, const char *key,
    int64_t wait_ms, core_view_fn done, void *arg);

typedef void (*core_views_fn)(
    void *arg, const struct reservation_view *views, int n, const struct err *err);

/* Without certificates; newest last. `all`: ended ones too (at most 1,000). Later. */
void core_list(struct core *c, const struct core_caller *who, bool all,
    core_views_fn done, void *arg);

/* Ends it: `done` when everything is undone (wait) or when the end is durable. An ended one is not an
   error. Later. */
void core_cancel(struct core *c, const struct core_caller *who, const char *key,
    bool wait, core_view_fn done, void *arg);

/* Whether `name` is that of reservations made by one request with a count, and of no single one: NAME for those
   that are called NAME-1 and so on. */
bool core_is_gang(struct core *c, const struct core_caller *who, const char *name);

/* Ends all of them, as core_cancel() does each; the views are without certificates, in order. Those that ended long ago
   are found, too. Later. */
void core_cancel_gang(struct core *c, const struct core_caller *who, const char *name,
    bool wait, core_views_fn done, void *arg);

/* Moves the deadline by add_ms; with new certificates. Later. */
void core_extend(struct core *c, const struct core_caller *who, const char *key,
    int64_t add_ms, core_view_fn done, void *arg);

/* Certificates for other keys, or (n = 0) the same ones anew. Later. */
void core_certify(struct core *c, const struct core_caller *who, const char *key,
    const struct ssh_pubkey *keys, int n, core_view_fn done, void *arg);

/* ---- trace and why ---- */

struct trace_step {
	const struct step *step;
	const char *
	    name; /* the step's; one of a disk's plan has that of the disk, too: "attach data" */
	const char *waits_for[8]; /* names */
	int n_waits;
	bool critical;
};

struct trace {
	const struct reservation *r;
	const struct trace_step *steps;
	int n;
	int64_t total_ms; /* asked for → active, with its disks (or ended, or now) */
	int64_t longest_chain_ms; /* the critical path's steps, added up */
	int64_t one_at_a_time_ms; /* all steps before it was active, added up */
	int64_t saved_ms;
	int slowest; /* index into steps, -1: none */
	double cost_usd;
	const char *summary; /* one sentence: path, why, what took longest */
};

typedef void (*core_trace_fn)(void *arg, const struct trace *t, const struct err *err);
void core_trace(struct core *c, const struct core_caller *who, const char *key,
    core_trace_fn done, void *arg); /* later */

/* ---- pools and machines ---- */

struct pool_view {
	const struct pool *p; /* settings in force */
	int ready, claimed, launching, queued;
	double usd_per_hour;	   /* of all its machines now */
	int64_t backoff_until_at;  /* 0: none */
	const char *last_error;	   /* NULL: none */
	const char *image_version; /* NULL: not built yet */
	int image_percent;	   /* while it is being built, else -1 */
	int64_t launch_ms;	   /* median of the recent ones; 0: not known */
};

/* The i-th pool in order of configuration; false behind the last. Valid until the loop runs again. */
bool core_pool_at(struct core *c, int i, struct pool_view *ret);
int core_pool_find(
    struct core *c, const char *key, struct pool_view *ret, struct err *err) ERR_CHECK;

/* A setting of -1 stays. Operators only. Kept over restarts. Later. */
typedef void (*core_done_fn)(void *arg, const struct err *err);
void core_pool_set(struct core *c, const struct core_caller *who, const char *key,
    int running, int stopped, int hibernated, int max, core_done_fn done, void *arg);

struct machine_view {
	const struct machine *m;
	int64_t last_seen_at; /* wall ms; 0: never */
};

/* Live machines and, per pool, the last few failed ones; users see their own and the spares, operators
   all. Later. */
typedef void (*core_machines_fn)(
    void *arg, const struct machine_view *views, int n, const struct err *err);
void core_machines(
    struct core *c, const struct core_caller *who, core_machines_fn done, void *arg);
void core_machine_get(struct core *c, const struct core_caller *who, const char *key,
    core_machines_fn done, void *arg); /* n is 1 */

struct image_view {
	const char *provider;
	const char *name;
	const char *version; /* NULL: none yet */
	int percent;	     /* while building, else -1 */
	const char *error;
	int machines; /* that use the image */
};
bool core_image_at(struct core *c, int i, struct image_view *ret);

/* Builds a new version with the first provider that has this image in a pool. Operators only. Later. */
void core_image_build(struct core *c, const struct core_caller *who, const char *name,
    core_done_fn done, void *arg);

/* ---- disks ---- */

#define DISK_SNAPSHOTS_SHOWN 64

struct disk_view {
	const struct disk *d;
	struct id snapshots[DISK_SNAPSHOTS_SHOWN]; /* of a disk, oldest first */
	int n_snapshots;
};

/* Keys are as for reservations; snapshots are named by their ids. Users see their own, operators all. Later. */
typedef void (*core_disks_fn)(
    void *arg, const struct disk_view *views, int n, const struct err *err);

/* Disks, without snapshots and without what is deleted; `all`: also the snapshots that deleted ones left. */
void core_disks(struct core *c, const struct core_caller *who, bool all,
    core_disks_fn done, void *arg);
void core_disk_get(struct core *c, const struct core_caller *who, const char *key,
    core_disks_fn done, void *arg); /* n is 1 */

/* These answer when what was asked for is durable: it is then made, or removed, by itself. A disk is the provider's of
   the pool `default`, one from a snapshot (`from`, NULL: empty) that snapshot's. */
void core_disk_create(struct core *c, const struct core_caller *who, const char *name,
    int64_t size_bytes, const char *from, core_disks_fn done, void *arg);
void core_disk_snapshot(struct core *c, const struct core_caller *who, const char *key,
    core_disks_fn done, void *arg); /* the view is the snapshot's */
void core_disk_clone(struct core *c, const struct core_caller *who, const char *key,
    const char *name, core_disks_fn done, void *arg); /* the new disk's */
void core_disk_delete(struct core *c, const struct core_caller *who, const char *key,
    core_disks_fn done, void *arg);

/* ---- audit ---- */

struct audit_item {
	const char *provider;
	const char *token; /* machine id; NULL: bears none */
	const char *ref;
	const char *what; /* "not in the ledger", "not at the provider", ... */
	bool repaired;
};

struct audit {
	bool ok;
	const struct audit_item *provider_only;
	int n_provider_only;
	const struct audit_item *ledger_only;
	int n_ledger_only;
	int open_steps;
};

/* The ledger against every provider's inventory, twice, so that what is on its way is no difference.
   `repair` ends what only a provider has and closes what only the ledger has. Operators only. Later. */
typedef void (*core_audit_fn)(void *arg, const struct audit *a, const struct err *err);
void core_audit(struct core *c, const struct core_caller *who, bool repair,
    core_audit_fn done, void *arg);

/* ---- events and numbers ---- */

/* Called for every durable event from then on, in order of seq. */
typedef void (*core_event_fn)(void *arg, const struct event *e);
struct core_subscription;
struct core_subscription *core_subscribe(struct core *c, core_event_fn fn, void *arg);
void core_unsubscribe(struct core_subscription *s);

/* Events with seq > since, at most `limit`, oldest first. Later. */
typedef void (*core_events_fn)(
    void *arg, const struct event *events, int n, const struct err *err);
void core_events_since(
    struct core *c, int64_t since, int limit, core_events_fn done, void *arg);
int64_t core_last_event(const struct core *c);

/* May this caller see this event? */
bool core_event_visible(const struct event *e, const struct core_caller *who);

/* Prometheus text of everything core counts. */
void core_metrics(struct core *c, struct buf *out);

#endif
