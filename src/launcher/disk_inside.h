/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_DISK_INSIDE_H
#define LAUNCHER_DISK_INSIDE_H

/*
 * What is done to a disk inside a running machine, with no more power than the machine's own root: by a process that has
 * joined its user and mount namespaces and nothing else, so that nobody in there can see or signal it. Whatever root inside
 * has put in the way, no symbolic link is followed.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Mounts it at /disk/NAME. */
ERR_CHECK int disk_inside_place(int pidfd, const char *name, int mount, struct err *err);

/* Whether what is at /disk/NAME is of this device. */
ERR_CHECK int disk_inside_look(
    int pidfd, const char *name, dev_t dev, bool *ret, struct err *err);

/* Unmounts /disk/NAME, if that is of this device, and removes the directory. Blocks until it is written back.
   ERR_CONFLICT: somebody uses it. */
ERR_CHECK int disk_inside_unmount(
    int pidfd, const char *name, dev_t dev, struct err *err);

/* Sends a signal to all processes with a user id of the machine's (root and 65,535 more) that use a file of the device or
   have it mounted, but to its first. Returns how many. */
int disk_inside_signal(pid_t first, uid_t root, dev_t dev, int sig);

#endif
