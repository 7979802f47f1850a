/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_RECORD_H
#define LAUNCHER_RECORD_H

/*
 * STATE/machines/ID/state: what the launcher must know to find a machine again. Written twice: with
 * the slot before anything else is done for the machine, and with PID 1's identity before PID 1 is
 * let go. A process is known by its pid, its start time and the boot; a pid alone proves nothing.
 *
 * Never synced: a host that loses power loses all machines, and a directory without a readable
 * record is leftovers anyway.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"

struct record {
	uint32_t slot;	/* 0: no slot was claimed yet */
	pid_t pid;	/* 0: PID 1 was not made yet */
	uint64_t start; /* field 22 of /proc/PID/stat: clock ticks since boot */
	uint64_t created_at_ms;
	char gang[LAUNCHER_ID_MAX]; /* whose machines it reaches; empty: none */
	uint32_t gang_number;	    /* 0: none */
	bool keeps_disk;	    /* an instance whose root file system is complete */
	char boot_id[BOOT_ID_MAX];
	char image[LAUNCHER_NAME_MAX];
	char image_version[LAUNCHER_VERSION_MAX];
};

/* Writes the record over what is there, in one write(2): whoever reads it sees the one or the other. */
ERR_CHECK int record_write(int machine_fd, const struct record *r, struct err *err);

/* ERR_NOT_FOUND when there is none, ERR_INTERNAL when it makes no sense. */
ERR_CHECK int record_read(int machine_fd, struct record *ret, struct err *err);

/* A pidfd of the machine's PID 1 if that very process still lives, else -1. */
int record_open_process(const struct record *r, const char *boot_id);

/* As that, once it is decided whether the machine lives: when a creator was killed, its first process is
   about to die or to become hearth-init. -1 after 2 s of neither. The machine's lock must be held. */
int record_open_machine(const struct record *r, const char *boot_id);

/* Is this hearth-init by now? False for a dying process: it has lost its program before its descriptors. */
bool process_runs_init(pid_t pid);

/* Start time of the process; 0 when there is no such process. */
uint64_t process_start_time(pid_t pid);

#endif
