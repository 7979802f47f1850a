/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CORE_INTERNAL_H
#define CORE_CORE_INTERNAL_H

/*
 * What core's files share. Who moves what:
 *   machine.c      a machine's state, by its launch and its end; machine_tier.c by its tier's stops and starts,
 *                  machine_seen.c by sightings
 *   reservation.c  a reservation's state; reservation_plan.c its plan
 *   claim.c        the guarded transaction that joins the two
 *   pool.c         how many machines there are: reconcile, back-off, rotation, budget; pool_settings.c what
 *                  operators and the configuration change
 *   recover.c      the start: store, inventories, adoption
 *   gang.c         reservations made by one request: their name, their hosts files
 *   disk.c         disks and snapshots; disk_request.c what users ask of them
 *   turns.c        one thing at a time, where a pool is told so
 *   attach.c       the disks of a reservation; attach_check.c what of them may be asked for
 *   home.c         the shared home of a reservation's user
 *   write.c        transactions, events, what happens when the store cannot write
 */

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "core/core.h"
#include "core/plan.h"
#include "provider/provider.h"
#include "store/store.h"

struct cprovider;
struct cpool;

struct image {
	struct list in_core;
	struct cprovider *provider; /* borrowed */
	char *name;
	char *version; /* current; NULL: none yet */
	int percent;   /* of a build going on, else -1 */
	char *error;
};

struct cprovider {
	struct list in_core;
	struct core *core;
	char *name;
	struct provider *p;  /* owned */
	double usd_per_hour; /* its own, which views need longer than it lives */
	bool sees_death;
	int seen_within_ms; /* 0: the default */
	bool listed;	    /* the start's inventory has come */
	struct timer look;  /* next inventory */
	struct map
	    strays; /* ref → struct stray: seen in the last inventory, not ours by the ledger */
};

/* A machine as core drives it. Its list says where it stands in its pool. */
struct cmachine {
	struct machine m;
	struct core *core;
	struct cpool *pool;
	struct list in_pool;
	struct creservation *reservation; /* borrowed; NULL: none */
	struct plan_run *run;		  /* owned reference; NULL: at rest */
	int64_t born_ms;
	int64_t last_seen_ms;
	int sessions;	   /* -1: not known */
	bool gone;	   /* sighted GONE: nothing is left to undo */
	bool seen_ready;   /* sighted READY, maybe before `launch` answered */
	bool seen_stopped; /* in its tier: sighted there since it was sent */
	int end_attempts;
	struct timer timer; /* bounds the wait for ready, paces the end's retries */
	int setup_next;	    /* next setup command */
	bool claiming; /* READY, and a claim on its way to the store, or its verdict */
	bool for_miss; /* launched or started because a reservation found none ready */
	bool tiered;   /* counted in n_tiered */
	int64_t billed_from_at; /* wall ms: what it cost before is in its pool's sum */
	bool outdated;		/* made before its pool's settings changed */
};

/* A disk or a snapshot. */
struct cdisk {
	struct disk d;
	struct core *core;
	struct cprovider *provider;
	struct list in_core;
	struct plan_run *run; /* owned reference; NULL: at rest */
	struct timer timer;   /* bounds the waits of its plans, paces retries */
	int attempts;
	bool seen_ready, gone;
	bool held_back;	    /* to be made only when its reservation says so */
	struct list takers; /* of cattach: who waits for it, in order */
};

/* The reservations of one `--count`. */
struct gang {
	struct core *core;
	struct id id; /* its first reservation's */
	uint32_t uid;
	char *key;	     /* key in gang_names: "UID:NAME"; owned */
	struct list members; /* in order; ended ones until they are undone */
	bool looking;	     /* is about to be looked at */
};

struct certs;
struct reserve_op;

struct creservation {
	struct reservation r;
	struct core *core;
	struct cpool *pool;
	struct list in_pool; /* waiting or served */
	struct list in_core;
	struct cmachine *machine; /* borrowed; NULL: none yet, or gone */
	struct cmachine
	    *launching;	      /* borrowed; the cold launch made for it, while it is one */
	struct plan_run *run; /* owned reference; NULL: at rest */
	struct list waiters;
	struct timer timer;   /* expiry or idleness, whichever is sooner */
	char *owner_name;     /* key in names: "UID:NAME"; owned */
	char *known_hosts;    /* owned: the line of the last view */
	char *request_key;    /* key in requests: "UID:REQUEST"; owned; NULL: none */
	bool contact_owed;    /* the daemon stopped before its first contact */
	struct timer contact; /* first contact is looked at a little after the claim */
	struct timer push_again;
	struct plan_run *home_run; /* owned reference: see home.h; NULL: none under way */
	char *home_ref;		   /* owned: what is, or will be, mounted */
	int home_attempts;
	bool home_over; /* it is there, or has failed */
	bool home_owed; /* the daemon stopped before it was there */
	struct plan_run
	    *push;	   /* owned reference: a deadline on its way after an extension */
	struct gang *gang; /* borrowed; NULL: none */
	struct list in_gang;
	struct plan_run *hosts; /* owned reference: its machine's hosts file is written */
	struct timer hosts_again;
	char *hosts_text; /* owned: as its machine has it, or is being told; NULL: none */
	size_t hosts_at;  /* up to where it is told */
	int hosts_tries;
	int64_t idle_since_ms;
	int64_t
	    pushed_offset_ms; /* wall clock less clock when the machine was told its deadline */
	int position;	      /* in line, 1 is next: as of the last look at the line */
	int launches;	      /* cold launches made for it that failed */
	int swaps;
	bool durable; /* the store has it */
	bool
	    opening; /* has its machine, but its keys are not known yet, or not there: not active yet */
	struct err *
	    keys_failed; /* owned: why they could not be had; NULL: they could, or are still fetched */
	bool claiming;	  /* a claim is on its way to the store */
	bool unsaved;	  /* changed while claiming: saved when the claim is over */
	bool end_durable; /* ENDED, and the store knows */
	struct reserve_op
	    *op;      /* borrowed: the request it was made by, until that is answered */
	bool settled; /* the request has counted it */
	bool taking_turns; /* not in line yet: see turns.c */
	struct list disks; /* of cattach; see attach.h */
	int disk_attempts; /* plans of its disks that were begun */
	int detaching;	   /* disks on their way back since it ended */
	struct timer detach_timer;
	bool telling, tell_again; /* the login message is being written, and is old */
	struct certs
	    *certs; /* owned: made by the step `certificate` for the first view */
};

/* Certificates are valid from this long ago: clocks differ. */
#define BACKDATE_S 300

#define LAUNCH_SAMPLES 15
#define SHAPE_MAX 20

struct cpool {
	struct pool p;	   /* settings in force */
	int configured[4]; /* running, stopped, hibernated, max of the file */
	int set[4];	   /* by an operator; -1: not */
	struct core *core;
	struct list in_core;
	struct cprovider *provider;
	struct image *image;
	enum provider_access access; /* the provider's answers for this pool's options */
	double usd_running, usd_stopped;
	bool gone;	      /* no longer in the configuration */
	struct list ready;    /* oldest first */
	struct list claiming; /* ready, a claim is on its way to the store */
	struct list launching;
	struct list claimed;
	struct list ending;
	struct list failed;  /* the last few, for `machine show` */
	struct list stopped; /* stopped and hibernated, or on their way there */
	int n_ready, n_claiming, n_launching, n_claimed, n_ending, n_failed,
	    n_stopped; /* n_ready counts claiming, n_launching those being started */
	int n_tiered;  /* ready ones that are to be kept in another tier */
	struct list waiting; /* reservations without a machine, in order */
	struct list served;
	int n_waiting;
	struct timer wake;
	bool look_for_old; /* some of the ready ones may have to be replaced */
	struct map homes;  /* of home.c, by uid: owned */
	int64_t *ends;	   /* owned: cache of view.c */
	int n_ends;
	int64_t ends_ms;
	int64_t start_after_ms; /* none is started before: there was no capacity */
	int failures;		/* launches in a row */
	int64_t backoff_until_ms;
	char *last_error;
	int64_t samples[LAUNCH_SAMPLES]; /* ms of the last launches */
	int n_samples;
	char shape[SHAPE_MAX]; /* of the settings that a machine is made by */
	int64_t
	    shaped_at; /* when the shape became what it is; older machines are replaced */
	int64_t spend_day; /* days since 1970 */
	double spent_usd;  /* that day, by machines that have ended */
};

struct event_node;

/* The transaction that gathers what this round of the loop changes. */
struct cwrite {
	uint64_t serial;     /* order of beginning */
	struct cwrite *next; /* of those that failed */
	struct store_tx *tx; /* a reference, until it is durable */
	struct event_node *events;
	struct event_node **events_end;
	struct cthen *thens;
	struct cthen **thens_end;
};

struct counters {
	uint64_t reservations[PATH_KIND_MAX]; /* by path, when first active */
	uint64_t ended[END_REASON_MAX];
	uint64_t conflicts, swaps, deaths, launches, launch_failures, strays_ended,
	    write_failures;
	uint64_t active_ms_sum, active_ms_n;
	uint64_t active_ms_bucket[10];
};

/* After a refused write nothing but one rewrite of all that is known is sent to the store, once a second:
   what the store has is then consistent, if old, and events keep their order. */
enum store_health { STORE_WRITES, STORE_REFUSES, STORE_REWRITES };

struct core {
	struct core_options opt;
	struct clock *clock;
	struct store *store;
	struct list disks; /* oldest first */
	struct map disks_by_id;
	struct list providers, pools, images, subscriptions, audits;
	struct list live;	 /* reservations, oldest first */
	struct map machines;	 /* id → cmachine */
	struct map reservations; /* id → creservation */
	struct map names;	 /* "UID:NAME" → creservation, not ended */
	struct map requests;	 /* "UID:REQUEST" → creservation */
	struct map gangs;	 /* id of the first one → struct gang */
	struct map gang_names;	 /* "UID:NAME" → struct gang, the latest of that name */
	struct map pools_by_name;
	int64_t last_step, last_event;
	uint64_t last_write;
	uint64_t last_serial;
	struct cwrite *pending;
	struct timer flush;
	enum store_health health;
	struct timer rewrite;  /* on while STORE_REFUSES */
	struct cwrite *failed; /* gathered ones that the store refused, oldest first */
	struct err refused;    /* why */
	struct list deferred;
	struct timer defer;
	struct counters n;
	void (*settled)(void *arg); /* whom to tell; NULL: told, or nobody asked */
	void *settled_arg;
	struct timer settle;
	struct core_key_source github; /* fetch NULL: none */
	bool host_restarted;	       /* the boot id differs from the stored one */
	bool started;
	bool closing;
	char *user_ca_line; /* public */
};

/* For an answer that must find its object anew: it may be gone by then. */
struct id_of {
	struct core *core;
	struct id id;
};

/* ---- write.c ---- */

/* The transaction that gathers changes: submitted in this round of the loop if somebody waits for it, else
   within milliseconds. Rows put into it are
   written even when the store fails for a while. */
struct store_tx *core_tx(struct core *c);

/* Called when that transaction is durable, or has failed. */
void core_tx_then(struct core *c, core_done_fn fn, void *arg);

/* Submits what is gathered; a transaction of one's own must come behind it. */
void core_flush(struct core *c);

/* A transaction of its own, for a claim: fails alone. Events put with core_event_in() are published when
   it is durable. */
struct cwrite *cwrite_new(struct core *c);
void cwrite_submit(struct core *c, struct cwrite *w, core_done_fn fn, void *arg);

/* As the store's query; answers with an error once the store is closed. */
void core_query(
    struct core *c, const struct store_query *q, store_query_fn done, void *arg);

/* False while the store refuses writes. */
bool core_can_write(const struct core *c);

/* Puts the event of a change into a write (NULL: core_tx's). */
void core_event_machine_as(struct core *c, struct cwrite *w, const struct cmachine *m,
    const struct machine *row);
void core_event_reservation(
    struct core *c, struct cwrite *w, const struct reservation *row, const char *detail);
void core_event_pool(
    struct core *c, const struct cpool *p, const char *state, const char *detail);

void core_save_machine(struct cmachine *m); /* row and event into core_tx */
void core_save_disk(struct cdisk *d);	    /* likewise */
void core_save_reservation(
    struct creservation *r); /* likewise; while a claim is under way, after it */

int64_t core_next_step(struct core *c);

/* Calls fn later. */
void core_defer(struct core *c, void (*fn)(void *arg), void *arg);
void core_write_close(struct core *c);

/* ---- machine.c ---- */

enum { LAUNCH_STEP_LAUNCH, LAUNCH_STEP_READY, LAUNCH_STEP_SETUP };
enum { START_STEP_START, START_STEP_READY };
enum { STOP_STEP_STOP, STOP_STEP_STOPPED };
enum { END_STEP_TERMINATE, END_STEP_GONE };

/* Begins a launch of a machine that is to be kept in `tier`; `r` may be NULL. */
struct cmachine *machine_launch(struct cpool *p, struct creservation *r, enum tier tier);

/* Ready, and kept for its tier or (running) for whoever comes. */
void machine_keep_running(struct cmachine *m);

/* A ready spare goes to its tier. */
void machine_stop(struct cmachine *m);

/* One that rests in its tier runs again; `r` may be NULL. */
void machine_start(struct cmachine *m, struct creservation *r);
bool machine_at_rest(
    const struct cmachine *m); /* stopped or hibernated, and may be started */

/* The start: one the store has in its tier, as its provider has it. */
void machine_adopt_at_rest(struct cmachine *m, const struct sighting *s);

/* Ends it, whatever it is doing; `why` (may be NULL) becomes its error. Idempotent. */
void machine_end(struct cmachine *m, const char *why);
void machine_move(struct cmachine *m, enum machine_state to);

/* The start: it was ending when the daemon stopped. */
void machine_end_again(struct cmachine *m);

/* The plan a machine's step of that name is in; `started`: where both have it, that of the start. */
const struct plan *machine_plan_of(const char *step, bool started);

/* The claim is durable: from the claiming list to the claimed one. The row is the claim's own. */
void machine_claimed(struct cmachine *m, struct creservation *r);
void machine_set_claiming(
    struct cmachine *m, bool claiming); /* READY: between the two lists */

/* Its reservation no longer waits for it, or has not got it: a spare again. */
void machine_unreserve(struct cmachine *m);
void machine_sighted(struct cmachine *m, const struct sighting *s);
struct cmachine *machine_new(
    struct cpool *p, const struct machine *row); /* in memory; row copied */
void machine_free(struct cmachine *m);
bool machine_healthy(const struct cmachine *m);
bool machine_current(const struct cmachine *m); /* right image version, not too old */
struct list *machine_place(struct cmachine *m);

/* What a machine costs in that time: running, or (stopped) resting in its tier. */
double machine_cost(const struct cpool *p, bool stopped, int64_t from_at, int64_t to_at);
int64_t machine_lease_s(const struct cpool *p);

/* For machine.c, machine_tier.c and machine_seen.c among themselves. */
extern const struct plan machine_launch_plan, machine_start_plan, machine_stop_plan,
    machine_end_plan;

void machine_moved_place(struct cmachine *m, struct list *was); /* its state changed */
void machine_count_tiered(struct cmachine *m, bool tiered);
void machine_begin_end(struct cmachine *m); /* starts the end plan */
int machine_ready_step(const struct plan_run *run);
void machine_ready_start(struct plan_run *run, int i);
void machine_stop_begin(struct cmachine *m);

/* ---- claim.c ---- */

/* The oldest ready machine a claim may take now, or NULL and why not. */
struct cmachine *claim_candidate(struct cpool *p, const char **ret_why);

/* Joins r and a ready machine in one guarded transaction; then reservation_claimed() or, when it could
   not be written, reservation_claim_failed(). A machine lost to another daemon is given up by itself. */
void claim_start(struct creservation *r, struct cmachine *m);

/* ---- reservation.c ---- */

enum {
	HOLD_STEP_MACHINE,
	HOLD_STEP_KEYS,
	HOLD_STEP_CLAIM,
	HOLD_STEP_CERTIFICATE,
	HOLD_STEP_ACCESS,
	HOLD_STEP_DEADLINE,
	HOLD_STEP_CONTACT
};

struct creservation *reservation_new(struct core *c, const struct reservation *row);
void reservation_free(struct creservation *r);

/* Nothing ready for it: waits in its pool's line, where pool.c serves it. */
void reservation_line_up(struct creservation *r); /* after its turns */
void reservation_wait_in_line(struct creservation *r, const char *miss_reason);
void reservation_moved(
    struct creservation *r, enum reservation_state to); /* row, event, waiters */
void reservation_claimed(
    struct creservation *r, bool first); /* first: it was never active before */
void reservation_claim_failed(struct creservation *r, const struct err *err);
void reservation_machine_gone(
    struct creservation *r, const char *why); /* its machine died */
void reservation_launch_failed(struct creservation *r, const struct err *why);
void reservation_end(struct creservation *r, enum end_reason reason, const char *error);
void reservation_undone(struct creservation *r); /* its machine is gone; may free r */
void reservation_set_timer(struct creservation *r);
void reservation_count_active(struct creservation *r); /* when it first is */
void reservation_swap(
    struct creservation *r, const char *why); /* its machine does not serve: another */
void reservation_fail_for_keys(struct creservation *r);
int64_t reservation_wall_offset(const struct core *c); /* wall clock less clock */
void reservation_push_deadline(struct creservation *r);
void reservation_contact(struct creservation *r); /* alone, after a restart */
void reservation_plan_new(struct creservation *r);
const struct plan *reservation_plan(void);
void reservation_take(struct creservation *r, struct cmachine *m); /* begins the claim */
void reservation_discard(
    struct creservation *r, const struct err *why); /* not stored, not to be */
void reservation_let_go(
    struct creservation *r); /* frees it if nothing holds it any more */

/* ---- gang.c ---- */

/* A new reservation of a gang, or of none; one that is freed. */
void gang_join(struct creservation *r);
void gang_leave(struct creservation *r);

/* The core closes: nothing more is told, until the next start. */
void gang_close(struct creservation *r);

/* Whether one of that user's gang of that name has not ended. */
bool gang_lives(struct core *c, uint32_t uid, const char *name);

/* r, which may be in none, got a machine or has ended: soon every machine of the gang is told the names of all, once none of
   them waits. */
void gang_changed(struct creservation *r);

/* It lost its machine: the next one knows nothing. */
void gang_machine_left(struct creservation *r);

/* ---- view.c ---- */

struct certs {
	struct id machine;  /* for which they are, */
	int64_t expires_at; /* and until when */
	char *lines[CORE_KEYS_MAX];
	int n;
};
void certs_free(struct certs **cs); /* sets it to NULL; NULL is fine */

/* Signs a certificate for each key (n = 0: the reservation's own) until its deadline. *ret is new. */
int certs_make(struct creservation *r, const struct ssh_pubkey *keys, int n,
    struct certs **ret, struct err *err) ERR_CHECK;

/* The same for a claim that is on its way to the store, and so not in r yet. */
int certs_make_for(struct creservation *r, struct id machine, int64_t expires_at,
    const struct ssh_pubkey *keys, int n, struct certs **ret, struct err *err) ERR_CHECK;

/* A view of a live reservation, or (m = NULL) of a stored row. `certs` may be NULL. All is borrowed. */
struct reservation_view view_of(struct creservation *r, const struct certs *certs);
struct reservation_view view_of_row(const struct reservation *row);

/* ---- pool.c ---- */

void pool_wake(struct cpool *p); /* reconciles later in this round of the loop */
void pool_launch_ok(struct cpool *p, int64_t ms); /* -1: no measure of a launch */
void pool_launch_failed(struct cpool *p, const char *why);
bool pool_may_launch(struct cpool *p, const char **ret_why);

/* Its provider or its options were set: keeps what the provider says of them, which is asked for even when the
   provider is closed. */
void pool_ask_provider(struct cpool *p);
int pool_total(const struct cpool *p);
int pool_at_rest(struct cpool *p); /* that could be started now */

/* Machines the pool could still launch, or is launching for nobody, less those who wait for one; below 0
   the last in line have to queue. */
int pool_room(struct cpool *p);
int pool_line_without_launch(
    const struct cpool *p); /* waiting ones that no launch is made for */
int64_t pool_launch_ms(const struct cpool *p);
double pool_usd_per_hour(const struct cpool *p);

/* Adds what it has cost since m->billed_from_at to the pool's sum; from here on it costs otherwise, or nothing. */
void pool_spent(struct cmachine *m);
void pool_restore_settings(struct core *c, const char *name, const int settings[4]);
void pool_restore_shape(struct core *c, const char *name, const char *value);
void pool_restore_spent(struct core *c, const char *name, const char *value);
void pool_save_shape(struct cpool *p);
struct cpool *pool_find(struct core *c, const char *name);
struct cpool *pool_new(struct core *c, const struct pool *settings);
void pool_free(struct cpool *p);

/* ---- recover.c ---- */

void core_sighting(void *arg, const struct sighting *s);
void core_image(
    void *arg, const char *name, const char *version, int percent, const char *error);
void provider_look(void *arg); /* one inventory, and what follows from it */

void strays_free(struct cprovider *pr);

/* ---- turns.c ---- */

/* The reservation, whose plan is new, gets in line when all that can be made without a machine is. turns_go_on: something
   of it is over; does nothing for one that is not taking turns. */
void turns_begin(struct creservation *r);
void turns_go_on(struct creservation *r);

/* ---- disk.c ---- */

struct cdisk *disk_new(struct core *c, struct cprovider *pr, const struct disk *row);
void disk_free(struct cdisk *d);
static inline bool
disk_is_snapshot(const struct cdisk *d)
{
	return d->d.id.s[0] == 's';
}
void disk_make(struct cdisk *d);		      /* its row is durable */
void disk_moved(struct cdisk *d, enum disk_state to); /* asserts that it may */
void disk_remove(struct cdisk *d); /* by its user, or for good reason; idempotent */
void disk_sighted(struct cdisk *d, const struct sighting *s);
void disk_adopt(struct cdisk *d, const struct sighting *s);

/* ---- disk_request.c ---- */

/* The user's disk of that name, whatever its state; NULL: none. */
struct cdisk *disk_own(struct core *c, uint32_t uid, const char *name);

/* Whether this caller may make a disk of that name and size. */
int disk_check_new(struct core *c, const struct core_caller *who, const char *name,
    int64_t size_bytes, struct err *err) ERR_CHECK;

/* Makes it once its row is durable, held back or not. */
void disk_make_when_durable(struct cdisk *d);

/* A disk made for a reservation, which holds it from the start; held back where that takes turns. */
struct cdisk *disk_create_for(
    struct creservation *r, const char *name, int64_t size_bytes);

/* One that its user will see, of what the disk holds now. */
void disk_take_snapshot(struct cdisk *d);

/* One that outlives the disk, which is being deleted, until then. */
void disk_take_last_snapshot(struct cdisk *d, int64_t expires_at);

/* Whether a token is one of a disk or a snapshot. */
static inline bool
is_disk_token(const char *token)
{
	return token && (id_valid(token, 'd') || id_valid(token, 's'));
}

/* Whose token that is, borrowed; NULL: of none in memory. `token` may be NULL. */
static inline struct cdisk *
disk_of_token(struct core *c, const char *token)
{
	return is_disk_token(token) ? map_get(&c->disks_by_id, token) : NULL;
}

/* ---- request.c ---- */

/* As core_get, at once and without certificates. */
void core_show(struct core *c, const struct core_caller *who, const char *key,
    core_view_fn done, void *arg);

/* ---- audit.c ---- */

void audits_close(struct core *c, const struct err *err);

/* ---- core.c ---- */

struct image *image_get(struct cprovider *pr, const char *name);

#endif
