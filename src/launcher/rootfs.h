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

#define ROOTFS_UIDS 65536u /* ids of a machine */

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

/* The same for an instance: of `files` it gets the host's name and the resolvers; the rest is the guest's part,
   which makes everything else at its first boot (guest/boot). */
ERR_CHECK int rootfs_prepare_instance(
    int machine_fd, const struct rootfs_files *files, uid_t root, struct err *err);

/* Makes what rootfs_prepare_instance() once made, and an instance has changed since, fit to be mounted again. The host's
   resolvers may be others by now: written where the instance has left a file for them. */
ERR_CHECK int rootfs_renew(int machine_fd, const char *resolv_conf, struct err *err);

/* Mounts the overlay, attached nowhere, for the user namespace. Leaves the process in machine_fd, with one
   descriptor more and, before Linux 6.8, in a mount namespace of its own: for a disposable process. */
ERR_CHECK int rootfs_mount(
    int machine_fd, int image_fd, int userns_fd, int *ret_mount, struct err *err);

/* Mounts what the machine sees, with the owners of an image, read-only at ROOTFS_MERGED in the machine's directory. `root` is
   the host's uid of root inside. For a disposable process with a mount namespace of its own, in which it ends up; what it
   leaves in the directory rootfs_forget_merged() removes, from outside of that namespace. */
#define ROOTFS_MERGED "merged"
ERR_CHECK int rootfs_mount_merged(
    int machine_fd, int image_fd, uid_t root, struct err *err);
void rootfs_forget_merged(int machine_fd);

#endif
