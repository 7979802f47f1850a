/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_GRAFT_H
#define LAUNCHER_GRAFT_H

/*
 * A mount of the host's put into a machine that runs: owners shifted into its ids, placed in its mount namespace. It goes
 * with that. Nothing of what the machine's root has put at the place is followed.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* A machine's namespaces. */
struct graft {
	int userns, mntns; /* owned */
};

/* `pid` is the machine's PID 1, `pidfd` the same. ERR_CONFLICT when it has just ended. */
ERR_CHECK int graft_open(pid_t pid, int pidfd, struct graft *ret, struct err *err);
void graft_close(struct graft *g);

/* Makes a mount that is attached nowhere show its files to the machine: what belongs to uid 1000 on disk belongs to uid 1000
   inside. No set-user-id programs, no devices. Needs Linux 5.12 and a file system that can (ext4, xfs, btrfs). */
ERR_CHECK int graft_map_owners(const struct graft *g, int mount, struct err *err);

/* Attaches the mount at `path` (relative to the machine's root, no ".."), made unless it is there, for `root`, the host's uid of
   root inside. Fine when the same directory is mounted there already; ERR_CONFLICT for anything else. Leaves the
   process in the machine's mount namespace: for a disposable one, as its last deed. */
ERR_CHECK int graft_place(
    const struct graft *g, int mount, const char *path, uid_t root, struct err *err);

#endif
