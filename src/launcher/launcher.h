/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_LAUNCHER_H
#define LAUNCHER_LAUNCHER_H

/*
 * What the launcher knows: set once at start, then only read, by request processes that inherit it
 * by fork. Nothing about any machine is kept in memory; that is all on disk:
 *
 *   STATE/machines/ID/   root, 0700   u (overlay's upper), w (its work), state (record.h); console of an instance
 *   STATE/slots/N        symlink to the ID that has slot N
 *   STATE/trash/         what is being deleted, by one process at a time
 *   STATE/images/NAME/VERSION/        Debian roots; NAME/current is a symlink to a VERSION
 *   STATE/homes/UID/     shared homes, see home.h
 *   STATE/disks/ID/      users' disks and snapshots: disk.h
 *   RUNTIME/machines/ID/ root, 0711   ssh.sock, control.sock
 *
 * A machine's directory is made first and removed last, so as long as anything of a machine exists,
 * its directory does.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "launcher/cgroup.h"
#include "launcher/network.h"
#include "launcher/syscalls.h"

#define BOOT_ID_MAX 40
#define INIT_MEMFD_NAME "hearth-init"

struct launcher {
	int state_fd;
	int machines_fd;
	int slots_fd;
	int trash_fd;
	int images_fd;
	int homes_fd;
	int disks_fd;	/* -1: none are kept here */
	int runtime_fd; /* RUNTIME/machines */
	int init_fd;	/* sealed memfd of hearth-init */
	uid_t uid;	/* the daemon's user */
	gid_t gid;
	uint32_t uid_base;
	bool serves_machines; /* there is a --network; else only OPEN_CONFIG */
	bool instances;	      /* machines keep their disks: see protocol.h */
	struct network network;
	struct cgroups cgroups;
	struct syscalls_filter filter;
	struct syscalls_filter filter_nesting;
	uint64_t memory_default;
	uint64_t disks_max; /* bytes of all disks together; 0: no limit */
	char boot_id[BOOT_ID_MAX];
	const char *state_path;	   /* borrowed from argv, as the next ones */
	const char *config_path;   /* NULL: none */
	const char *image_builder; /* NULL: none */
};

#endif
