/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_BACKEND_H
#define EC2_BACKEND_H

/*
 * What stands behind an instance id: a machine of this host (local.c), or nothing (fake.c). The world (instance.c)
 * owns every state that the API shows and all of the scenario's delays; a backend only does what it is told and
 * says what has happened:
 *
 *   place ──▶ PLACED   there is room, and what it boots from is there: `pending` may end
 *   on ─────▶ UP       it has booted: sshd accepts
 *   off ────▶ OFF      PID 1 is gone or frozen; disk and address are kept. Also unasked, when the machine
 *                      shut itself down
 *   reboot ─▶ UP
 *   remove ─▶ GONE     nothing is left of it
 *   any ────▶ FAILED   it cannot be done, `reason` says why: the instance ends with it as its stateReason
 *
 * One operation at a time is under way for an instance, but `remove` comes at any time and makes the one under way
 * void. No operation blocks. Events come from the loop, never from inside an operation. Every operation is
 * idempotent: after a restart `adopt` is called for each instance that is not terminated, and then the operation
 * that was under way is asked for again.
 *
 * Addresses are the backend's to give, because they must be such that ssh reaches the machine. A network interface
 * takes one when it is made, be that before its instance.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct backend;
struct clock;
struct image;
struct instance;
struct loop;
struct subnet;

#define BACKEND_ADDRESS_MAX 16 /* dotted IPv4 and the NUL */

enum backend_event_kind {
	BACKEND_PLACED,
	BACKEND_UP,
	BACKEND_OFF,
	BACKEND_GONE,
	BACKEND_FAILED,
	BACKEND_REBOOTED, /* unasked: the machine has rebooted itself */
};

struct backend_event {
	enum backend_event_kind kind;
	const char *
	    reason; /* of FAILED; of an unasked OFF NULL: its own shutdown, else how it died */
};

struct backend_env {
	struct loop *loop; /* borrowed, as all */
	struct clock *clock;
	void *arg;
	void (*event)(void *arg, struct instance *i, const struct backend_event *e);
};

enum backend_on {
	BACKEND_ON_FIRST,  /* first boot: host keys are made, user data runs */
	BACKEND_ON_AGAIN,  /* boots from the disk it has */
	BACKEND_ON_RESUME, /* hibernated: its processes go on */
};

/* err is NULL when it worked. */
typedef void (*backend_done_fn)(void *arg, const struct err *err);

struct backend_ops {
	const char *name;

	/* An address in the subnet: `wanted`, or any when it is NULL. ERR_NO_CAPACITY: none is free; ERR_CONFLICT:
	   wanted is taken; ERR_INVALID: it is not in the subnet, or not one that this backend can give. At a start
	   the world takes again what it has given. */
	int (*address_take)(struct backend *b, const struct subnet *s, const char *wanted,
	    char ret[BACKEND_ADDRESS_MAX], struct err *err) ERR_CHECK;
	void (*address_free)(
	    struct backend *b, const struct subnet *s, const char *address);

	/* A public address for a private one, or an elastic one (private NULL); `wanted` at a start, as above. A backend
	   whose private addresses are reached as they are answers with the private one. */
	int (*public_take)(struct backend *b, const char *private_address,
	    const char *wanted, char ret[BACKEND_ADDRESS_MAX], struct err *err) ERR_CHECK;
	void (*public_free)(struct backend *b, const char *address);

	void (*place)(struct backend *b, struct instance *i);
	void (*on)(struct backend *b, struct instance *i, enum backend_on how);
	void (*off)(struct backend *b, struct instance *i, bool hibernate, bool force);
	void (*reboot)(struct backend *b, struct instance *i);
	void (*remove)(struct backend *b, struct instance *i);

	/* At a start, for every instance that is not terminated: find the machine of i->backend_ref again. What it
	   finds changed (dead, shut down) it says by events; UP for one that runs. */
	void (*adopt)(struct backend *b, struct instance *i);

	/* Appends what the machine's console has said, the last 64 KiB of it at most. */
	void (*console)(struct backend *b, struct instance *i, struct buf *to);

	/* A new image from the instance's disk; NULL in image->backend_ref of one that is in the catalogue. `image` lives
	   until `done`, which is called exactly once, later. */
	void (*save_image)(struct backend *b, struct instance *i, struct image *image,
	    backend_done_fn done, void *arg);
	void (*remove_image)(struct backend *b, struct image *image);

	/* Lets `key` (a line as in authorized_keys) in as `user` for `seconds`. */
	void (*push_key)(struct backend *b, struct instance *i, const char *user,
	    const char *key, int seconds, backend_done_fn done, void *arg);

	/* The instance's memory is about to go: drop i->backend_data. */
	void (*forget)(struct backend *b, struct instance *i);

	/* Machines stay. Pending `done`s are called with ERR_CANCELLED. */
	void (*close)(struct backend *b);
};

struct backend {
	const struct backend_ops *ops;
};

/* Machines that are nothing: every operation is done at once. */
struct backend *fake_backend_new(const struct backend_env *env);

#endif
