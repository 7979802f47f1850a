/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_INTERNAL_H
#define PROVIDER_EC2_INTERNAL_H

/*
 * What the files of the ec2 provider share:
 *
 *   ec2.c      the table, answers, opening and closing
 *   launch.c   machines that wait for a RunInstances
 *   place.c    where to try it
 *   keys.c     what machines are given, and how they are known before
 *   observe.c  the one DescribeInstances for all of them
 *   machine.c  what is believed of each machine, and what core is told
 *   access.c   from "an address is known" to "ssh works", and commands over ssh
 *   change.c   terminate, stop, start: gathered as launches are
 *   leftover.c volumes and interfaces that nothing uses any more
 *   spot.c     spot requests of machines that ended
 *   images.c   names to image ids
 *   connect.c  EC2 Instance Connect
 *   sessions.c who is logged in
 *   events.c   state-change events, as a hint
 *   efs*.c     shared homes: efs.h
 *   disk*.c    volumes and snapshots: disk.h
 */

#include <stdbool.h>
#include <stdint.h>

#include "aws/client.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/list.h"
#include "base/map.h"
#include "provider/ec2/ec2.h"
#include "provider/ec2/options.h"
#include "provider/provider.h"

struct credentials;
struct efs;
struct fetcher;
struct probe;
struct ssh_job;
struct ssh_runner;
struct xml;

#define EC2_REF_MAX 64
#define EC2_TOKEN_MAX 64
#define EC2_PORT 22
#define EC2_TICK_MS 1000     /* between two looks */
#define EC2_PROBE_MS 50	     /* between two visits of an ssh port */
#define EC2_GATHER_MS 5	     /* how long a launch waits for others of its kind */
#define EC2_ABSENT_MS 300000 /* unlisted for so long: it is gone, whatever happened */
#define EC2_ENDED_ABSENT_MS 10000 /* the same once its end was accepted */
#define EC2_UNSEEN_MS                                                                    \
	3000 /* nothing of ours bears this token; core looks again now and then */
#define EC2_UNSURE_MS 10000 /* a launch whose answer was lost may still turn up */
#define EC2_STALE_MS                                                                     \
	30000 /* how long what contradicts the last move is taken for old news */

/* ---- answers (ec2.c) ---- */

enum answer_kind {
	ANSWER_LAUNCH,
	ANSWER_DONE,
	ANSWER_SETUP,
	ANSWER_INVENTORY,
	ANSWER_ATTACH
};

/* A `done` that core waits for. All of them are on ec2.answers until they are given. */
struct ec2_answer {
	struct list in_ec2;
	struct list in_machine; /* what it waits for there; or on nothing */
	struct ec2 *e;
	enum answer_kind kind;
	union {
		provider_launch_fn launch;
		provider_done_fn done;
		provider_setup_fn setup;
		provider_inventory_fn inventory;
		provider_attach_fn attach;
	} fn;
	void *arg;
	struct timer timer; /* of one that is given later */
	struct err err;
	char ref[EC2_REF_MAX];
	struct ssh_job *job; /* a command under way for it */
	struct probe *probe; /* or a visit */
};

struct ec2_answer *ec2_answer_new(struct ec2 *e, enum answer_kind kind, void *arg);

/* Gives it (ref: of a launch) and frees it: from the loop only. The later one may be called from anywhere. */
void ec2_answer_give(struct ec2_answer *a, const char *ref, const struct err *err);
void ec2_answer_later(struct ec2_answer *a, const char *ref, const struct err *err);
void ec2_answer_setup(
    struct ec2_answer *a, int exit_code, const char *output, const struct err *err);

/* One of a disk that is there; warning: NULL or what is wrong with it. */
void ec2_answer_attached(struct ec2_answer *a, const char *warning);

/* Gives all of a machine's list. */
void ec2_answer_all(struct list *answers, const char *ref, const struct err *err);

/* As aws_query() of e's client; err and aws are never NULL in `done`. */
void ec2_query(struct ec2 *e, const char *action, struct aws_form *form,
    const struct aws_call_options *opt, aws_query_fn done, void *arg);

/* Puts the hint behind the message, for where only that is kept. */
void ec2_say_hint(struct err *err);

/* ---- machines ---- */

/* What EC2 has of it, as far as it is believed. Moves by machine_move() in machine.c alone:
 *
 *   GATHERED ─▶ REQUESTED ─▶ PENDING ─▶ RUNNING ─▶ STOPPING ─▶ STOPPED ─▶ (start) PENDING
 *   UNKNOWN: named by core, not seen by us          any of them ─▶ SHUTTING_DOWN ─▶ TERMINATED ─▶ freed
 */
enum ec2_state {
	EC2_GATHERED,  /* waits for the call that makes it */
	EC2_REQUESTED, /* waits for that call's answer */
	EC2_UNKNOWN, /* waits for a look that shows it, or for the time when it would have */
	EC2_PENDING,
	EC2_RUNNING,
	EC2_STOPPING,
	EC2_STOPPED,
	EC2_SHUTTING_DOWN,
	EC2_TERMINATED, /* waits until nothing of it is left */
	EC2_STATE_MAX,
};

/* How far we are with coming in. Moves in access.c alone. */
enum ec2_way {
	WAY_NONE,
	WAY_PROBING,	/* waits for sshd to say that the user data has run */
	WAY_INSTALLING, /* our ssh connection gives it its keys */
	WAY_CONFIRMING, /* waits for sshd to say that it uses them */
	WAY_CHECKING,	/* a machine found at the start: does it show its key? */
	WAY_PAUSED,	/* something failed; waits a moment */
	WAY_READY,
};

/* The host key that one launch's machines share until each has its own: a known-hosts file, removed with the last. */
struct ec2_first {
	int refs;
	char *known_hosts; /* path, owned */
};

/* What a machine is to be given over the first connection; wiped after. */
struct ec2_keys {
	char *host_key; /* secret */
	char *host_cert;
	char *hostname;
	int64_t lease_s;
};

struct ec2_machine {
	struct ec2 *e;
	char
	    token[EC2_TOKEN_MAX]; /* key in e->machines; "" where it bears none of ours */
	char ref[EC2_REF_MAX];	  /* key in e->refs; "" not known yet */
	enum ec2_state state;
	enum ec2_way way;
	int64_t moved_ms;
	bool ending;	 /* core wants it gone */
	bool end_asked;	 /* the call that ends it has been accepted */
	bool stop_asked; /* we stopped it: that it runs is old news */
	bool told_dead;
	bool
	    concluded; /* TERMINATED because nothing is listed, or its launch failed: no reply has said so */
	int64_t end_sent_ms;
	int64_t start_ms; /* when a start was accepted; 0: never */
	bool unsure;	  /* its launch was asked for, by us or before */
	int missed_looks;
	int64_t absent_ms; /* since when it is not listed; 0: it is */
	uint64_t seen_look;
	int64_t born_ms; /* when we first knew of it */

	struct ec2_options opt; /* of its pool; empty where it was found */
	bool have_opt;
	char *
	    kind; /* owned: what machines launched together have in common; NULL: not launched here */
	char *pool;	 /* owned */
	char *image_id;	 /* owned */
	char *login;	 /* owned; NULL: not known */
	char *user_ca;	 /* owned */
	char *user_keys; /* owned: of the one user it is launched for; NULL: of nobody */
	enum tier tier;
	int place;	       /* of opt's types and zones: where it is tried */
	struct list in_gather; /* e->gathered or a batch */
	struct list in_change; /* e->to_terminate or its like */
	struct ec2_keys *keys;
	struct ec2_first *first;
	bool installed; /* it shows a host certificate of ours */
	int installs;	/* attempts to install that failed */
	bool hibernate;

	char address[64];
	char shown_address[64]; /* what access works with */
	char private_address[64], public_address[64];
	char *why; /* owned: EC2's state reason */
	char spot_request[32];
	char zone[32], subnet[32], vpc[32];
	bool
	    spot_over; /* it was seen to make no other instance, and what it made is ended */
	int64_t spot_seen_ms;	      /* when it was last listed; 0: never */
	int64_t created_at, lease_at; /* wall ms; 0: not known */
	char *volumes[4];	      /* owned */
	char *interfaces[4];
	uint64_t sweep;	     /* the sweep that looks after it */
	uint64_t swept_look; /* the look after which it was last looked after */
	bool left;	     /* something of it is */
	int64_t pushed_ms;   /* when what is stuck was last asked to go */
	bool sought;	     /* by its token among the interfaces: none was seen at it */
	bool sought_volumes; /* and among the volumes */

	struct probe *probe;
	struct ssh_job *job;
	char mark[32]; /* what its sshd is to say */
	struct timer pause;
	bool watched; /* its sessions are counted */
	int sessions; /* -1: not known */
	struct timer count_again;
	struct ssh_job *count_job;
	struct timer end_at; /* readiness `running`: nobody inside keeps the deadline */

	struct list launches; /* answers, as the next three */
	struct list terminates;
	struct list stops;
	struct list starts;
};

struct ec2_disk;
typedef void (*ec2_disks_fn)(struct ec2 *e, const struct err *err);

/* What disk*.c keep. */
struct ec2_disks {
	struct map by_token;
	int64_t opened_ms;
	int64_t listed_ms; /* when an inventory first had them; 0: none yet */
	uint64_t look;	   /* its number; 0: none yet */
	bool looking, look_again;
	bool with_snapshots; /* the look that is under way */
	struct timer timer;
	int64_t began_ms, snapshots_ms;
	int64_t failed_ms; /* of the first of a row of failures; 0: none */
	ec2_disks_fn then_next, then_now;
	char **
	    strays; /* owned, as its texts: ids of what bears a token that is another's */
	int n_strays;
	char *zone;	    /* owned: the region's first; NULL: not asked yet */
	char *subnet[2];    /* owned: the last one that was asked about, and its zone */
	struct list zoning; /* questions about zones */
};

struct ec2 {
	struct provider p;
	struct provider_env env;
	struct ec2_settings settings;
	char *dir; /* owned, as the next three */
	char *owner;
	char *control_line;
	char *
	    known_hosts; /* path: the host CA that machines' certificates are checked by */
	struct credentials *credentials;
	struct fetcher *fetcher;
	struct aws_client *aws;
	struct aws_client *sqs; /* NULL: no queue */
	struct aws_client *eic; /* NULL until a pool needs it */
	struct ssh_runner *ssh;
	struct map machines; /* token → machine */
	struct map refs;     /* ref → machine */
	struct list answers;
	struct list images;
	bool closing;

	struct list gathered; /* machines */
	struct timer gather;
	struct map cooled; /* "type zone" → struct cooled: no capacity there lately */

	/* changes that wait to go out together, each a list of machines by in_change */
	struct list to_terminate, to_stop, to_hibernate, to_start;
	struct timer change;

	/* the look */
	uint64_t look; /* its number; 0: none yet */
	bool looking;
	int page;	 /* instances of one reply; fewer once one was too large */
	bool look_again; /* somebody asked while one was under way */
	struct timer look_timer;
	struct list inventories_next, inventories_now; /* answers, by in_machine */
	int64_t look_failed_ms; /* of the first of a row of failures; 0: none */
	int64_t look_began_ms;
	struct timer hint;
	bool events_failed;
	bool sweeping;
	uint64_t sweep;
	int n_probing, n_watched;
	struct efs *efs;    /* NULL until somebody needs a shared home */
	char *efs_endpoint; /* owned; NULL: the region's */
	struct ec2_disks disks;
};

static inline struct ec2 *
ec2_of(struct provider *p)
{
	return (struct ec2 *)p;
}

/* ---- machine.c ---- */

/* An instance as a reply shows it; strings are the reply's. */
struct ec2_instance {
	const char *ref;
	enum ec2_state state;
	const char *private_address, *public_address, *reason, *spot_request, *options;
	const char *zone, *subnet, *vpc;
	int launch_index;
	int64_t created_at, lease_at;
	struct id token; /* empty: bears none of ours */
	const char *volumes[4], *interfaces[4];
};

struct ec2_machine *ec2_machine_new(struct ec2 *e, const char *token);
struct ec2_machine *ec2_machine_find(
    const struct ec2 *e, const char *token, const char *ref);
void ec2_machine_set_ref(struct ec2_machine *m, const char *ref);
void ec2_machine_free(struct ec2_machine *m);
const char *ec2_state_name(enum ec2_state s);

/* Takes in what a reply shows, tells core, goes on with access. */
void ec2_machine_observe(struct ec2_machine *m, const struct ec2_instance *i);

/* One that a complete look did not show. May free it. */
void ec2_machine_missed(struct ec2_machine *m);

/* A move that we made ourselves: a stop or a start was accepted, the end was. */
void ec2_machine_move(struct ec2_machine *m, enum ec2_state to);

/* Over, as far as can be told from what EC2 does not say. A reply that shows it after all is believed, whatever it shows. */
void ec2_machine_conclude(struct ec2_machine *m);

/* Tells core how it stands. */
void ec2_machine_sight(struct ec2_machine *m);
struct sighting ec2_machine_look(const struct ec2_machine *m);

/* Nothing of it is left: GONE, answers given, freed. */
void ec2_machine_gone(struct ec2_machine *m);

/* readiness `running`: ends it at this time, wall ms. */
void ec2_machine_end_at(struct ec2_machine *m, int64_t wall_ms);

/* ---- observe.c ---- */

/* Reads one <item> of an instancesSet. False where it is none. `pool_of` tags are read, too. */
bool ec2_instance_read(const struct xml *item, struct ec2_instance *ret);

/* A look within so many ms at the latest. */
void ec2_look_within(struct ec2 *e, int64_t ms);
void ec2_inventory(struct provider *p, provider_inventory_fn done, void *arg);

/* For `for` loops over the <item>s of a set: xml_item(x, "path/set"), then xml_item_next(). */
const struct xml *ec2_items(const struct xml *x, const char *path);
const struct xml *ec2_item_next(const struct xml *item);

/* ---- launch.c ---- */

void ec2_launch(struct provider *p, const struct launch_spec *spec,
    provider_launch_fn done, void *arg);

/* ---- place.c ---- */

/* Type and zone (or subnet; NULL: EC2's choice) of a place; the type is NULL behind the last. */
const char *ec2_place_type(const struct ec2_options *o, int place);
const char *ec2_place_zone(const struct ec2_options *o, int place);

/* Appends a name for it that no other place has. */
struct buf;
void ec2_place_key(const struct ec2_machine *m, int place, struct buf *b);

/* The machine's place had no capacity; and the first place from `from` on that is worth a call, or -1. */
void ec2_place_cool(const struct ec2_machine *m);
int ec2_place_next(const struct ec2_machine *m, int from);
void ec2_cooled_free(struct ec2 *e);

/* ---- keys.c ---- */

struct ec2_keys *ec2_keys_new(const struct launch_spec *spec);

/* Wipes the secret. NULL is nothing. */
void ec2_keys_free(struct ec2_keys *k);

/* Writes the known-hosts file of a launch, named after it; its machines hold references. */
struct ssh_hostkey;
int ec2_first_new(struct ec2 *e, const struct ssh_hostkey *key, const char *name,
    struct ec2_first **ret, struct err *err) ERR_CHECK;
void ec2_first_unref(struct ec2_machine *m);

/* Writes the CA of a host certificate into the known hosts, once. */
int ec2_trust_host_ca(struct ec2 *e, const char *host_cert, struct err *err) ERR_CHECK;

/* ---- access.c ---- */

/* Goes on from where it is, now that something may have changed. */
void ec2_access_go(struct ec2_machine *m);

/* Stops all that is under way; it begins anew with the next ec2_access_go(). */
void ec2_access_reset(struct ec2_machine *m);
void ec2_deadline(struct provider *p, const char *token, const char *ref, int64_t seconds,
    const char *warning, provider_done_fn done, void *arg);
void ec2_setup(struct provider *p, const char *token, const char *ref,
    const char *command, int64_t timeout_ms, provider_setup_fn done, void *arg);
void ec2_contact(struct provider *p, const char *token, const char *address, int port,
    provider_done_fn done, void *arg);
void ec2_authorize(struct provider *p, const char *token, const char *ref,
    const char *keys, provider_done_fn done, void *arg);

/* Has EC2 Instance Connect let these public keys in for its minute (connect.c); one call for each. */
void ec2_connect_keys(struct ec2_machine *m, const char *keys, struct ec2_answer *a);

/* Whether commands can be run in it; machine may be NULL. Those of readiness `running` have nobody inside. */
bool ec2_enterable(const struct ec2_machine *m);

/* Answers, later, that it cannot: why. m may be NULL. */
void ec2_refuse(struct ec2_answer *a, const struct ec2_machine *m);

struct ssh_command;
struct ssh_command ec2_command_for(const struct ec2_machine *m, const char *command);

/* ---- sessions.c ---- */

/* From now on, until the machine is no longer reached. */
void ec2_sessions_watch(struct ec2_machine *m);
void ec2_sessions_forget(struct ec2_machine *m);

/* ---- change.c ---- */

void ec2_terminate(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg);
void ec2_stop(struct provider *p, const char *token, const char *ref, bool hibernate,
    provider_done_fn done, void *arg);
void ec2_start(struct provider *p, const char *ref, const struct launch_spec *spec,
    provider_done_fn done, void *arg);

/* Puts a machine whose id has become known on its way out. */
void ec2_terminate_now(struct ec2_machine *m);

/* ---- leftover.c ---- */

/* Looks after what ended machines have left, if any have ended. */
void ec2_sweep(struct ec2 *e);

/* Calls fn with each machine that the sweep under way looks after; fn may free it. */
void ec2_each_swept(
    struct ec2 *e, void (*fn)(struct ec2_machine *m, void *arg), void *arg);

/* The rest of a sweep, for what it begins with: volumes, interfaces. */
void ec2_sweep_rest(struct ec2 *e);

/* Lists what of ours nothing uses. */
typedef void (*ec2_leftovers_fn)(
    struct ec2 *e, const struct sighting *all, int n, const struct err *err);
void ec2_leftovers(struct ec2 *e, ec2_leftovers_fn done);

/* Ends a volume or an interface by its id. */
void ec2_leftover_end(struct ec2 *e, const char *ref, struct ec2_answer *a);
bool ec2_is_leftover(const char *ref);

/* ---- spot.c ---- */

/* The beginning of a sweep. False: there are no requests to look after. Else it goes on with ec2_sweep_rest(), later. */
bool ec2_spot_sweep(struct ec2 *e);

/* ---- events.c ---- */

/* Begins to listen, where a queue is configured. */
int ec2_events_open(struct ec2 *e, struct err *err) ERR_CHECK;

/* ---- images.c ---- */

void ec2_image(struct provider *p, const char *image);
void ec2_image_build(
    struct provider *p, const char *image, provider_done_fn done, void *arg);
void ec2_images_close(struct ec2 *e);

/* Device name of the root volume of an image that was looked up; NULL: not known. */
const char *ec2_image_root_device(const struct ec2 *e, const char *image_id);

#endif
