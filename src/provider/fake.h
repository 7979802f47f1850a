/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_FAKE_H
#define PROVIDER_FAKE_H

/*
 * A provider whose machines cost nothing and do not exist: for tests, for trying policies, for scale.
 * It lives on the clock alone, so it runs in simulated time as in the daemon, and with one seed it
 * always behaves the same. What "exists" is kept in a file that survives kill -9 of the daemon;
 * machines there end at their lease or deadline whether or not a daemon looks.
 *
 * `setup` understands `echo TEXT`, `exit N` and `sleep SECONDS`; every other command succeeds and prints
 * nothing.
 */

#include <stdint.h>

#include "provider/provider.h"

/* All zero is a provider that does everything at once and well. Probabilities are 0 to 1. */
struct fake_options {
	int64_t launch_ms;	  /* from the request until ssh works */
	int64_t launch_jitter_ms; /* that much more or less */
	int64_t terminate_ms;
	int64_t stop_ms;  /* until a stopped or hibernated machine is */
	int64_t start_ms; /* from the request until ssh works again */
	int64_t deadline_ms;
	int64_t setup_ms; /* of each command */
	int64_t contact_ms;
	int64_t authorize_ms;
	int64_t disk_ms; /* until a disk can be used */
	int64_t snapshot_ms;
	int64_t attach_ms;
	int64_t detach_ms;
	int64_t home_ms;       /* until a user's shared home is there */
	int64_t mount_ms;      /* until it is in a machine */
	int64_t image_ms;      /* until an image is there; builds too */
	double fail_launch;    /* with nothing left behind */
	int fail_launch_first; /* that many launches fail, then `fail_launch` counts */
	int64_t die_after_ms;  /* after it was ready; 0: never */
	double fail_setup;
	double fail_contact;
	double fail_disk;   /* with nothing left behind; snapshots, too */
	double fail_attach; /* with the disk as it was */
	double fail_home;
	double fail_mount;
	double fail_authorize;
	double
	    lose_reply; /* of launch, terminate, and all that disks have: it is done, the answer is ERR_UNAVAILABLE */
	int capacity;	/* machines; 0: no bound */
	double fail_start; /* ERR_NO_CAPACITY: it stays stopped */
	double usd_per_hour;
	double usd_per_hour_stopped;
	enum provider_access access;
	uint64_t seed;
	const char *world; /* file that holds what exists; NULL: memory */
};

/* Blocks for a file's size at most. `env` is copied. ERR_INVALID for a file that is something else. */
int fake_provider_open(const struct fake_options *opt, const struct provider_env *env,
    struct provider **ret, struct err *err) ERR_CHECK;

/* ---- for tests ---- */

enum fake_op {
	FAKE_LAUNCH,
	FAKE_TERMINATE,
	FAKE_DEADLINE,
	FAKE_SETUP,
	FAKE_CONTACT,
	FAKE_INVENTORY,
	FAKE_IMAGE,
	FAKE_IMAGE_BUILD,
	FAKE_IMAGE_REMOVE,
	FAKE_STOP,
	FAKE_START,
	FAKE_AUTHORIZE,
	FAKE_JOIN,
	FAKE_DISK_MAKE,
	FAKE_DISK_SNAPSHOT,
	FAKE_DISK_REMOVE,
	FAKE_DISK_ATTACH,
	FAKE_DISK_DETACH,
	FAKE_HOME_MAKE,
	FAKE_HOME_ATTACH,
	FAKE_OP_MAX,
};

/* How often an operation was called. */
int fake_calls(const struct provider *p, enum fake_op op);

/* Changes what the options said; from now on. `world`, `seed` and `usd_per_hour` stay. */
void fake_set_options(struct provider *p, const struct fake_options *opt);

/* The next call of `op` fails with this error and does nothing. Several add up, first come first served. */
void fake_fail_next(
    struct provider *p, enum fake_op op, enum err_code code, const char *message);

/* Called right after the world has changed by an operation, before anybody is told. */
typedef void (*fake_effect_fn)(void *arg, enum fake_op op, const char *token);
void fake_on_effect(struct provider *p, fake_effect_fn fn, void *arg);

/* As if the daemon were killed now: nothing happens and nothing is called any more, until close has what
   is pending answered ERR_CANCELLED. The world stays. */
void fake_mute(struct provider *p);

/* A machine dies: sighted DEAD, and left to be terminated. */
void fake_kill(struct provider *p, const char *token);

/* A machine is taken away behind the provider's back: only the inventory shows that it is not there. */
void fake_remove(struct provider *p, const char *token);

/* A machine that nobody launched, ready, without lease; token NULL: it bears none. Its ref is valid until
   the next call. */
const char *fake_add_stray(struct provider *p, const char *token);

/* Open ssh sessions, sighted at once (later, from the loop). */
void fake_sessions(struct provider *p, const char *token, int n);

/* A new version is current, reported from the loop. */
void fake_set_image_version(struct provider *p, const char *image, const char *version);

/* How many machines exist, dead ones included, how many disks and snapshots, and whether this one does. */
int fake_count(const struct provider *p);
int fake_count_disks(const struct provider *p);

/* The token of the machine that has this disk; NULL: none. */
const char *fake_attached_to(const struct provider *p, const char *disk);
bool fake_exists(const struct provider *p, const char *token);

/* Whose shared home is in this machine; -1: nobody's. */
int64_t fake_home_in(const struct provider *p, const char *token);

/* The keys the last launch or authorize brought; NULL: none yet. */
const char *fake_last_keys(const struct provider *p);

/* The last command that ran in a machine; NULL: none, or there is no such machine. Since this provider was opened. */
const char *fake_last_setup(const struct provider *p, const char *token);

/* The gang that a machine has joined; NULL: none. Since this provider was opened. */
const char *fake_gang(const struct provider *p, const char *token);

/* How many are stopped or hibernated, or on their way there. */
int fake_count_stopped(const struct provider *p);

/* When its lease or deadline ends it, wall ms; 0 where there is no such machine or no end. */
int64_t fake_ends_at(const struct provider *p, const char *token);

#endif
