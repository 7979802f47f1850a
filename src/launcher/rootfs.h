/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_ROOTFS_H
#define LAUNCHER_ROOTFS_H

/*
 * The root file system of a machine: an overlay over a shared image. The image belongs to root on
 * disk; an idmapped mount of it shows it as the machine's own root's, so one copy serves all uid
 * ranges. New files belong to the shifted uids on disk.
 */

#include <sys/types.h>

#include "base/err.h"
#include "launcher/protocol.h"

/* What goes into the upper layer before the machine starts. All borrowed. */
struct rootfs_files {
	const char *id;
	const char *hostname;
	const char *resolv_conf;
	const char *host_key;
	const char *host_cert;
	const char *user_ca;
};

/* Makes upper and work directory in the machine's directory, with the machine's own files: owner
   `root`, the host's uid of root inside. */
ERR_CHECK int rootfs_prepare(
    int machine_fd, const struct rootfs_files *files, uid_t root, struct err *err);

/* Mounts the overlay, attached nowhere, for the user namespace. Leaves the process in machine_fd, with one
   descriptor more and, before Linux 6.8, in a mount namespace of its own: for a disposable process. */
ERR_CHECK int rootfs_mount(
    int machine_fd, int image_fd, int userns_fd, int *ret_mount, struct err *err);

#endif
