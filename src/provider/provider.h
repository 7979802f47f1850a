/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_PROVIDER_H
#define PROVIDER_PROVIDER_H

/*
 * Where machines come from. A provider is a table of operations; fake.c and local/ are two.
 *
 * The world is observed, not remembered: whatever a provider learns about a machine it reports as a
 * sighting, and core moves its states by sightings alone. Providers report what changes as soon as
 * they can know it. `inventory` reports everything there is, for recovery and audit.
 *
 * Machines are named by their token: the machine id, given to `launch`, set on the resource by the
 * create call itself, and found again in sightings and inventory. No operation blocks. Every operation
 * that takes a `done` calls it exactly once, later, from the loop, even when the provider closes
 * (ERR_CANCELLED).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "model/model.h"

struct clock;
struct provider;

enum sighting_state {
	SIGHTING_STARTING, /* exists, not usable yet */
	SIGHTING_READY, /* ssh works: banner and right host key, or the machine's own call home */
	SIGHTING_STOPPED, /* stopped or hibernated as asked, or found so */
	SIGHTING_GONE,	  /* does not exist (any more), and nothing of it is left */
	SIGHTING_DEAD,	  /* will never work again, but something is left: terminate it */
};

struct sighting {
	const char *
	    token; /* may be NULL in an inventory: something of ours that bears no known token */
	const char *ref; /* the provider's name for it; never NULL */
	enum sighting_state state;
	const char *address; /* NULL: not known */
	int port;
	int sessions;	    /* open ssh sessions; -1: not known */
	const char *error;  /* with DEAD or GONE: why, if known */
	int resolution_ms;  /* interval between looks; 0: told at once */
	int64_t created_at; /* wall ms; 0: not known */
};

/* What core gives a provider. Callbacks come from the loop only, never from inside an operation. */
struct provider_env {
	struct clock *clock;
	void *uv_loop; /* uv_loop_t; NULL for a provider that needs none (fake) */
	void *arg;
	void (*sighting)(void *arg, const struct sighting *s);

	/* An image became usable (version set), is being built (percent), or cannot be had (error). */
	void (*image)(void *arg, const char *image, const char *version, int percent,
	    const char *error);
};

/* All borrowed for the call. */
struct launch_spec {
	const char *token;
	const char *pool;
	const char *image;
	const char *image_version;
	uint64_t memory_bytes; /* 0: provider's default; so for the next two */
	int cpu_milli;
	int pids_max;
	bool nesting;
	int64_t
	    lease_s; /* the machine ends itself this long after birth, whatever becomes of us */
	const char *hostname;
	const char *host_key; /* OpenSSH private key: secret */
	const char *host_cert;
	const char *user_ca; /* public key line */
	enum tier tier;	     /* where it is to be kept: what it must be able to do */
	const char *options; /* the pool's, see `price`; NULL: none */
	const char *
	    authorized_keys; /* ACCESS_LAUNCH: the user's public keys, a line each; else NULL */
};

/* How a user gets into a machine. */
enum provider_access {
	ACCESS_CERTIFICATE, /* it trusts the user CA: a claim touches nothing but the store */
	ACCESS_AUTHORIZE, /* the user's keys are brought there at the claim, by `authorize` */
	ACCESS_LAUNCH, /* they are given at launch: every machine is launched for its user */
};

/* Borrowed for the call. */
struct disk_spec {
	const char *token;
	int64_t size_bytes;
	const char *source_ref; /* the snapshot it is made from; NULL: it is empty */
	const char *options;	/* of the pool it is made for, see `price`; NULL: none */
};

/* A disk in a machine. Borrowed for the call. */
struct attach_spec {
	const char *disk, *disk_ref;	   /* token, and the provider's name for it */
	const char *machine, *machine_ref; /* likewise */
	const char *name;		   /* it is found at /disk/NAME */
};

typedef void (*provider_done_fn)(void *arg, const struct err *err);

/* launch: `ref` is the provider's name for the new machine; NULL when err is set. */
typedef void (*provider_launch_fn)(void *arg, const char *ref, const struct err *err);

/* disk_attach: `warning` says what is wrong with a disk that is there all the same, read-only; NULL: nothing. */
typedef void (*provider_attach_fn)(void *arg, const char *warning, const struct err *err);

/* setup: what the command did. `output` is at most 64 KiB, NUL-terminated. err: it could not be run. */
typedef void (*provider_setup_fn)(
    void *arg, int exit_code, const char *output, const struct err *err);

/* inventory: all there is, in one call. */
typedef void (*provider_inventory_fn)(
    void *arg, const struct sighting *all, int n, const struct err *err);

struct provider_count {
	const char *action; /* the provider's */
	uint64_t calls;	    /* each attempt */
	uint64_t throttled; /* those that the service refused as too many */
};

struct provider_ops {
	const char *kind;

	/* Makes a machine. Idempotent by token: a second launch of a living token answers with its ref.
	   A definite failure leaves nothing behind or a DEAD sighting in the inventory. ERR_NO_CAPACITY:
	   no room (address, quota) now. ERR_UNAVAILABLE: unknown whether it happened; look at the inventory. */
	void (*launch)(struct provider *p, const struct launch_spec *spec,
	    provider_launch_fn done, void *arg);

	/* Ends a machine and removes all that belongs to it. Idempotent; an unknown token is not an error.
	   `done` means accepted; a GONE sighting (which may come before it) means gone. `ref` may be NULL. */
	void (*terminate)(struct provider *p, const char *token, const char *ref,
	    provider_done_fn done, void *arg);

	/* The machine ends itself `seconds` from now, replacing lease or earlier deadline, and shows
	   `warning` on its terminals five minutes before. Idempotent. */
	void (*deadline)(struct provider *p, const char *token, const char *ref,
	    int64_t seconds, const char *warning, provider_done_fn done, void *arg);

	/* Runs a command as root in a machine that was sighted READY. Not idempotent. */
	void (*setup)(struct provider *p, const char *token, const char *ref,
	    const char *command, int64_t timeout_ms, provider_setup_fn done, void *arg);

	/* First contact: is there an SSH server at the address, the way a user would reach it? */
	void (*contact)(struct provider *p, const char *token, const char *address,
	    int port, provider_done_fn done, void *arg);

	/* Everything the provider has that is ours. Also starts watching what it finds. */
	void (*inventory)(struct provider *p, provider_inventory_fn done, void *arg);

	/* Makes sure the image exists; progress and result come by env->image, now and whenever a new
	   version becomes current. Idempotent. */
	void (*image)(struct provider *p, const char *image);

	/* Builds a new version of the image and makes it current; result by env->image. */
	void (*image_build)(
	    struct provider *p, const char *image, provider_done_fn done, void *arg);

	/* Removes a version no machine uses. NULL where images are not ours to remove. */
	void (*image_remove)(struct provider *p, const char *image, const char *version,
	    provider_done_fn done, void *arg);

	/* Tiers; all three NULL where a provider has no such machines. stop: a ready machine is stopped, or
	   hibernated, and keeps its disk; `done` means accepted, a STOPPED sighting means stopped. start: the machine runs
	   again, under the same token, with spec's lease; without keys in the spec it keeps its own. As launch, but
	   that ERR_NO_CAPACITY leaves it stopped. Its address may be another afterwards. Both idempotent. */
	void (*stop)(struct provider *p, const char *token, const char *ref,
	    bool hibernate, provider_done_fn done, void *arg);
	void (*start)(struct provider *p, const char *ref, const struct launch_spec *spec,
	    provider_done_fn done, void *arg);

	/* Disks and snapshots; all NULL where a provider has none. Their tokens are their ids, "d-..." and "s-..."; they are
	   sighted and listed as machines are: STARTING while they are made, READY when they can be used, DEAD, GONE. Made
	   under the rules of `launch`; disk_remove as terminate. A snapshot holds what the disk had when it was asked
	   for, whether somebody writes to it or not. */
	void (*disk_make)(struct provider *p, const struct disk_spec *spec,
	    provider_launch_fn done, void *arg);
	void (*disk_snapshot)(struct provider *p, const char *token, const char *disk_ref,
	    provider_launch_fn done, void *arg);
	void (*disk_remove)(struct provider *p, const char *token, const char *ref,
	    provider_done_fn done, void *arg);

	/* attach: the disk appears at /disk/NAME in a machine that was sighted READY, writable for its login user; a file
	   system is made only where there is none, and one that is damaged is mounted read-only. An error says nothing of
	   whether it is there: detach makes sure. detach: written back, unmounted whoever uses it, and free for another
	   machine; this one may be gone. Both idempotent; NULL where disk_make is. */
	void (*disk_attach)(struct provider *p, const struct attach_spec *spec,
	    provider_attach_fn done, void *arg);
	void (*disk_detach)(struct provider *p, const struct attach_spec *spec,
	    provider_done_fn done, void *arg);

	/* A user's shared home, the same on all machines of theirs; both NULL where there is none. home_make: it is there, made
	   if need be; `done` has its ref. home_attach: it appears at /shared in a machine that was sighted READY. Both
	   idempotent. */
	void (*home_make)(struct provider *p, uint32_t uid, const char *options,
	    provider_launch_fn done, void *arg);
	void (*home_attach)(struct provider *p, const char *token, const char *ref,
	    const char *home_ref, provider_done_fn done, void *arg);

	/* The machine and those others that joined `gang`, which is the id of a reservation, reach each other from now on, and no
	   more machines than these; it ends with the machine. A machine joins one gang only. Idempotent. NULL: who reaches whom is
	   not ours to say. */
	void (*join)(struct provider *p, const char *token, const char *ref,
	    const char *gang, provider_done_fn done, void *arg);

	/* List prices per hour of a machine made with these options, while it runs and while it is stopped; 0: not
	   known. NULL: every machine costs usd_per_hour, and a stopped one nothing. `options` is the text that the
	   configuration made of a pool's own settings for this kind of provider; core only keeps it. */
	void (*price)(struct provider *p, const char *options, double *ret_running,
	    double *ret_stopped);

	/* NULL: certificates. */
	enum provider_access (*access)(struct provider *p, const char *options);

	/* ACCESS_AUTHORIZE: lets these public keys (a line each) in. Idempotent. */
	void (*authorize)(struct provider *p, const char *token, const char *ref,
	    const char *keys, provider_done_fn done, void *arg);

	/* What it has asked of its service so far, an action each: up to max into ret. Returns how many. For metrics; NULL
	   where there is no service. */
	int (*counts)(const struct provider *p, struct provider_count *ret, int max);

	/* Calls the pending `done`s with ERR_CANCELLED and frees. Machines stay. */
	void (*close)(struct provider *p);
};

struct provider {
	const struct provider_ops *ops;
	double usd_per_hour; /* list price of a machine; 0: costs nothing or not known */
	bool
	    sees_death; /* a death is sighted at once: no need to have looked within the last second */
	int launches_max; /* of one pool under way at a time; 0: 128, where more do not help it */
	int seen_within_ms; /* without sees_death: how fresh a sighting must be for a claim; 0: 1000 */
};

#endif
