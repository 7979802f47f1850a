/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_RESERVATION_DISK_H
#define MODEL_RESERVATION_DISK_H

/*
 * The disks of a reservation, as its row tells of them: `disks` there is a line for each, so that a
 * reservation that has ended still says what became of them. docs/states.md draws the states.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/id.h"

struct buf;

#define RESERVATION_DISKS_MAX 16
#define DISK_NAME_MAX 63
#define DISK_ERROR_MAX 160

enum attach_state {
	ATTACH_WAITING,	  /* for the disk, or for the machine */
	ATTACH_ATTACHING, /* the provider was asked */
	ATTACH_ATTACHED,  /* at /disk/NAME; `error`, if any, says why it is read-only */
	ATTACH_DETACHED,
	ATTACH_FAILED, /* /disk/NAME is the machine's own, and ends with it */
	ATTACH_STATE_MAX,
};

struct reservation_disk {
	struct id disk; /* empty: it could not even be begun */
	char name[DISK_NAME_MAX + 1];
	enum attach_state state;
	bool wait;		    /* for whoever has the disk */
	bool required;		    /* the reservation fails without it */
	bool made;		    /* for this reservation */
	bool snapshot;		    /* when it is released */
	char error[DISK_ERROR_MAX]; /* one line; "": none */
};

const char *attach_state_name(enum attach_state s);

/* Appends its line. */
void reservation_disk_put(struct buf *b, const struct reservation_disk *d);

/* The first line of *at, which moves on to the next. False at the end (and for NULL), or at a line that says nothing that
   it may. */
bool reservation_disk_next(const char **at, struct reservation_disk *ret);

#endif
