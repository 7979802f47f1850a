/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_DISK_RECORD_H
#define LAUNCHER_DISK_RECORD_H

/*
 * STATE/disks/ID/state: what is known of a disk or snapshot beside its file. Written to a file of its own and renamed, and
 * synced: it must outlive the host's end as the disk does. Where a disk is attached is only a claim: the kernel's
 * loop devices say whether it still is (disk_mount.h).
 */

#include <stdint.h>

#include "base/err.h"
#include "launcher/protocol.h"

struct disk_record {
	uint64_t size_bytes; /* as it was made: a shorter file has lost its end */
	uint64_t created_at_ms;
	char machine
	    [LAUNCHER_ID_MAX]; /* the last it was attached to and not detached from; or empty */
	char name[LAUNCHER_NAME_MAX]; /* at /disk/NAME there */
	int64_t seen_s,
	    seen_ns; /* the file's time of modification when it was last looked at; 0: never */
	char damage[120]; /* what was wrong with it then; empty: nothing */
};

/* Blocks until it is on the disk. */
ERR_CHECK int disk_record_write(
    int disk_fd, const struct disk_record *r, struct err *err);

/* ERR_NOT_FOUND when there is none, ERR_INTERNAL when it makes no sense. */
ERR_CHECK int disk_record_read(int disk_fd, struct disk_record *ret, struct err *err);

#endif
