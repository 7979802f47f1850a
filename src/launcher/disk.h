/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_DISK_H
#define LAUNCHER_DISK_H

/*
 * Users' disks and snapshots:
 *
 *   STATE/disks/          root, 0700
 *   STATE/disks/ID/       state (disk_record.h); making, and from when it is complete: image, the file system's file
 *
 * The directory's lock (flock) is exclusive for whoever makes, removes, attaches or detaches it or takes a snapshot of it,
 * and shared for whoever makes a disk from it. A snapshot's image never changes. All of this blocks, copies for as long as they take: the process that
 * serves the request is the background.
 */

#include <stdbool.h>

#include "base/err.h"
#include "launcher/disk_record.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"

#define DISK_IMAGE "image"
#define DISK_MAKING "making"

/* `requester` is the connection that asked: ERR_CANCELLED, and nothing is made, where its other end is gone before this has
   the disk to itself. A failure leaves nothing. ERR_NO_CAPACITY: beyond the limit of all disks, or no room on the host. */
ERR_CHECK int disk_make(const struct launcher *l, const struct launcher_request *q,
    int requester, struct err *err);
ERR_CHECK int disk_snapshot(const struct launcher *l, const struct launcher_request *q,
    int requester, struct err *err);

/* ERR_CONFLICT while it is attached. The file goes to the trash. */
ERR_CHECK int disk_remove(const struct launcher *l, const char *id, struct err *err);

/* A reply for each disk and snapshot: all of them, or an error. ERR_CANCELLED: fn returned non-zero. */
typedef int (*disk_fn)(void *arg, const struct launcher_reply *reply);
ERR_CHECK int disk_each(const struct launcher *l, disk_fn fn, void *arg, struct err *err);

/* ---- for disk_attach.c ---- */

/* Opens and locks it (LOCK_EX or LOCK_SH). ERR_NOT_FOUND: there is none, or it is not complete. */
ERR_CHECK int disk_open(const struct launcher *l, const char *id, int how, int *ret_fd,
    struct disk_record *ret, struct err *err);

/* Notes that r->damage is said of the file as it stands, so that the next attach need not look again. */
ERR_CHECK int disk_note_seen(
    int disk_fd, int image_fd, struct disk_record *r, struct err *err);

#endif
