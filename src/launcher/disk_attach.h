/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_DISK_ATTACH_H
#define LAUNCHER_DISK_ATTACH_H

/*
 * A disk comes into a running machine and leaves it again. The kernel knows where a disk is: as long as its file has a loop
 * device it is in use, and when that is gone everything has been written to the file.
 */

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"

/* The reply's message is what is wrong with the disk, which is read-only then; or empty. ERR_CONFLICT: it is somewhere else. */
ERR_CHECK int disk_attach(const struct launcher *l, const struct launcher_request *q,
    struct launcher_reply *reply, struct err *err);

/* Whoever uses it in there is asked to end, then killed. ERR_UNAVAILABLE: it still is in use. */
ERR_CHECK int disk_detach(
    const struct launcher *l, const struct launcher_request *q, struct err *err);

/* Waits, some seconds for each, until no disk is in use and all is written: for when all machines have ended. */
void disk_settle_all(const struct launcher *l);

#endif
