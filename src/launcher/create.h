/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_CREATE_H
#define LAUNCHER_CREATE_H

/*
 * CREATE: a machine from nothing to its PID 1, in about 10 ms.
 *
 * Three processes: this one (disposable: it serves one request) does what needs the host's root; the
 * machine's first process sets itself up inside (inside.h) at the same time; and where limits are of
 * cgroup version 1, an attacher waits out the kernel's slow first move. Everything is on record before
 * it happens (record.h), so a crash at any point leaves what LIST shows as dead and KILL removes.
 * A failure removes what was made.
 */

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"
#include "launcher/record.h"

/* Fills in the reply; after an error, at least whether anything is left. The request has been checked. Idempotent: a machine that lives is answered with
   as it is; what is left of a dead one of the same id is removed first, but for an instance, which starts from the disk
   that it has, with the image that it was made of. Ends up in another working
   directory: for a disposable process. ERR_CANCELLED, and nothing is made, when `requester`, the connection
   that the request came by, has lost its other end before this has the machine to itself. */
ERR_CHECK int create_machine(const struct launcher *l, const struct launcher_request *q,
    int requester, struct launcher_reply *reply, struct err *err);

/* Fills in what the record says of a machine. */
void reply_from_record(const struct launcher *l, const char *id, const struct record *r,
    bool alive, struct launcher_reply *reply);

#endif
