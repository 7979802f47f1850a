/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_SCENARIO_H
#define EC2_SCENARIO_H

/*
 * How long things take, and what goes wrong: a YAML file, or a shipped one by name (`instant`, `aws`, `aws-fine`). Every
 * figure here is the scenario's: divide by the speed with scenario_delay(), which does it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct request;
struct scenario;
struct world;

/* Names in the file are these in lower case: `launch`, `stopped_start`, ... */
enum delay {
	DELAY_LAUNCH,		/* pending → running */
	DELAY_BOOT,		/* running → sshd accepts */
	DELAY_STOP,		/* stopping → stopped */
	DELAY_START,		/* pending → running of a stopped one */
	DELAY_START_BOOT,	/* running → sshd accepts, of a stopped one */
	DELAY_HIBERNATE,	/* stopping → stopped, memory written */
	DELAY_RESUME,		/* pending → running of a hibernated one */
	DELAY_RESUME_BOOT,	/* running → sshd accepts, of a hibernated one */
	DELAY_REBOOT,		/* sshd is away */
	DELAY_TERMINATE,	/* shutting-down → terminated */
	DELAY_TERMINATED_SHOWN, /* terminated → not described any more */
	DELAY_STATUS_CHECK,	/* running → status checks say ok */
	DELAY_SPOT_NOTICE,	/* between notice and interruption */
	DELAY_VOLUME_CREATE,	/* creating → available */
	DELAY_VOLUME_ATTACH,	/* attaching → attached */
	DELAY_VOLUME_DETACH,
	DELAY_VOLUME_DELETE,
	DELAY_VOLUME_MODIFY,
	DELAY_SNAPSHOT,	 /* pending → completed */
	DELAY_IMAGE,	 /* pending → available */
	DELAY_INTERFACE, /* attaching → attached, detaching → detached */
	DELAY_FILE_SYSTEM, /* creating → available, deleting → gone; so for the next two */
	DELAY_ACCESS_POINT,
	DELAY_MOUNT_TARGET,
	DELAY_EVENT, /* state change → message in the queue */
	DELAY_TOKEN, /* client tokens are forgotten */
	DELAY_MAX,
};

/* Draws one, in real ms: divided by the speed. */
int64_t scenario_delay(struct world *w, enum delay d);

/* How long a call of this action takes before it is answered; 0: no longer than it takes. */
int64_t scenario_call_delay(struct world *w, const char *action);

enum fault_kind {
	FAULT_THROTTLED,	/* RequestLimitExceeded though the bucket is not empty */
	FAULT_CAPACITY,		/* InsufficientInstanceCapacity */
	FAULT_UNAVAILABLE,	/* 503 */
	FAULT_INTERNAL,		/* 500 */
	FAULT_REPLY_LOST,	/* done, then the connection is dropped */
	FAULT_INVISIBLE,	/* what was made is not described for `seconds` */
	FAULT_STALE,		/* a describe shows the state before, for `seconds` */
	FAULT_ADDRESS_MISSING,	/* described without addresses for `seconds` */
	FAULT_DIES_PENDING,	/* pending → terminated, with `reason` */
	FAULT_NO_SSHD,		/* runs, but sshd never comes */
	FAULT_VOLUME_STUCK,	/* stays creating, attaching or detaching; or behind, when
				   its instance ends */
	FAULT_SPOT_INTERRUPTED, /* `seconds` after it runs */
	FAULT_MAX,
};

struct fault {
	enum fault_kind kind;
	char *action;	   /* NULL: all that the kind can strike */
	char *type, *zone; /* instance type, zone; NULL: any */
	char *reason;
	double probability; /* 1: always */
	int64_t count;	    /* strikes left; -1: no bound */
	int64_t after;	    /* chances to let pass first */
	double seconds;
	int64_t seen;
};

/* Whether a fault strikes now: draws, and counts. type and zone are NULL where there is none. */
const struct fault *scenario_strike(struct world *w, enum fault_kind kind,
    const char *action, const char *type, const char *zone);

/* `seconds` of a fault, in real ms. */
int64_t scenario_fault_ms(const struct world *w, const struct fault *f);

/* `name`: a shipped one, or a path. `speed` divides every delay and multiplies refills. ERR_INVALID with file, line and what was expected. */
int scenario_load(
    const char *name, double speed, struct scenario **ret, struct err *err) ERR_CHECK;
int scenario_parse(const char *file, const char *text, size_t n, double speed,
    struct scenario **ret, struct err *err) ERR_CHECK;
void scenario_free(struct scenario *s);

double scenario_speed(const struct scenario *s);
uint64_t scenario_seed(const struct scenario *s);
bool scenario_throttles(const struct scenario *s);

#endif
