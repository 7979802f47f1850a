/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_DISK_MOUNT_H
#define LAUNCHER_DISK_MOUNT_H

/*
 * A disk's file as a block device and a mounted file system. Devices are cleared by the kernel when their last user is gone
 * (autoclear), so neither a device nor a mount outlives both machine and launcher. A mount made here is attached nowhere:
 * it is a descriptor, and goes when that is closed or moved into a machine.
 */

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* ---- block devices ---- */

/* Which loop device has this very file: its number, or -1. */
int loop_find(const struct stat *file);

/* What stat(2) says of files on it. With partitions (max_part of the module) that is not its number. */
dev_t loop_device(int number);

/* All that are in use, for who asks about many files. */
struct loop_use {
	dev_t dev;
	ino_t ino;
	int number;
};
struct loop_table {
	struct loop_use *all; /* owned */
	int n;
};
void loop_table_read(struct loop_table *ret);
int loop_table_find(const struct loop_table *t, const struct stat *file);
void loop_table_fini(struct loop_table *t);

/* Makes the file a device, which stays while ret_fd is open or something of it is mounted. */
ERR_CHECK int loop_attach(
    int file_fd, bool read_only, int *ret_fd, int *ret_number, struct err *err);

/* ---- file systems ---- */

enum fs_how {
	FS_WRITABLE,
	FS_READ_ONLY,	  /* its journal is replayed all the same */
	FS_READ_ONLY_RAW, /* nothing at all is written, whatever state it is in */
};

/* Mounts device `number`: without device files and set-user-id programs. What is mounted already is the same file system
   again, with what options it has. */
ERR_CHECK int fs_mount(int number, enum fs_how how, int *ret_mount, struct err *err);

/* The same from the first copy of the superblock that works, FS_READ_ONLY_RAW: for one whose beginning is damaged. */
ERR_CHECK int fs_mount_backup(int number, int *ret_mount, struct err *err);

/* Shows its files' owners as they are inside the user namespace. The mount must not be attached. */
ERR_CHECK int fs_map_owners(int mount, int userns_fd, struct err *err);

/* Whether the file holds a file system: 1, and whether that was unmounted in order and without errors; 0: none. */
int fs_look(int file_fd, bool *ret_clean);

/*
 * Halts all writing to what is mounted of the device; what is on it then is as if it had been unmounted. It goes on at
 * fs_thaw(), at the end of this process, or after at most `ms`.
 */
struct frozen_fs {
	int pipe; /* owned; its end lets go */
	pid_t guard;
};
ERR_CHECK int fs_freeze(int number, int ms, struct frozen_fs *ret, struct err *err);

/* ERR_RATE_LIMITED: it was over before. Consumes f. */
ERR_CHECK int fs_thaw(struct frozen_fs *f, struct err *err);

/* Ends a halt that somebody who is gone may have left. */
void fs_thaw_any(int number);

/* Nothing more is written to it, by whoever has it open; what was written is on the device. For what cannot be unmounted. */
ERR_CHECK int fs_shut_down(int number, struct err *err);

#endif
