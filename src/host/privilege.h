/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PRIVILEGE_H
#define HOST_PRIVILEGE_H

/*
 * How hearthd, started as root, stops being root. Three steps, because files must be
 * opened in between:
 *
 *   privilege_lower()    effective user: ours. What is opened or made now is ours, and a
 * path that our user could have planted leads to nothing that our user could not write
 * anyway. One capability stays, to walk through directories above the state that are
 * closed to us. privilege_raise()    root again, for sockets in directories of root.
 *   privilege_drop()     for good: no user id, group or capability is left to return by.
 *
 * All three hold for every thread of the process.
 */

#include <sys/types.h>

#include "base/err.h"

struct identity {
	uid_t uid;
	gid_t gid;
};

/* The user to serve as: `user`, or `nobody` (with a warning) where the default user,
   "hearth", does not exist; ourselves unless we are root. */
int identity_find(const char *user, struct identity *ret, struct err *err) ERR_CHECK;

int privilege_lower(const struct identity *id, struct err *err) ERR_CHECK;
int privilege_raise(struct err *err) ERR_CHECK;
int privilege_drop(const struct identity *id, struct err *err) ERR_CHECK;

/* From here on no program that we start can gain privileges. Before the first thread. */
void privilege_no_new(void);

/* Descriptors up to what the system allows us: every client holds one. */
void privilege_raise_files(void);

#endif
