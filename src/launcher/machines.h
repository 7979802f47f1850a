/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_MACHINES_H
#define LAUNCHER_MACHINES_H

/*
 * Machines as directories: locking one, giving it its slot, ending it, listing all.
 *
 * A lock on the directory (flock) belongs to whoever creates or removes the machine; LIST waits for
 * it for a moment, so that it never reports a machine half-made. The kernel lets go of the lock when
 * its holder dies, whatever state things are in then: without its creator an unfinished machine ends
 * itself, and what is left is DEAD until somebody kills it.
 */

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/record.h"

/* Makes the machine's directory unless it is there, and locks it. Blocks while another process is
   creating or removing this machine. */
ERR_CHECK int machine_lock(
    const struct launcher *l, const char *id, int *ret_fd, struct err *err);

/* The slot becomes this machine's. ERR_CONFLICT when a machine that still has a directory has it. */
ERR_CHECK int machine_claim_slot(
    const struct launcher *l, const char *id, uint32_t slot, struct err *err);

/*
 * Ends the machine and removes all that belongs to it, its directory last: renamed into the trash, as
 * deleting may take long. `machine_fd` is locked. Waits at most 5 s for PID 1 to die. Can be repeated after a failure or a crash anywhere.
 */
ERR_CHECK int machine_remove(
    const struct launcher *l, const char *id, int machine_fd, struct err *err);

/* Ends the machine and removes what it has but its directory and its slot. As machine_remove() else. */
ERR_CHECK int machine_stop(
    const struct launcher *l, const char *id, int machine_fd, struct err *err);

/* Locks an instance's directory and reads its record. ret_pidfd is -1 where it does not run. ERR_NOT_FOUND when there is
   no instance of this id with a complete disk. */
ERR_CHECK int machine_open(const struct launcher *l, const char *id, int *ret_fd,
    struct record *ret_record, int *ret_pidfd, struct err *err);

/* The same for a machine of either kind that runs; ERR_CONFLICT when it does not. */
ERR_CHECK int machine_open_running(const struct launcher *l, const char *id, int *ret_fd,
    struct record *ret_record, int *ret_pidfd, struct err *err);

/* As that, with a lock that is shared: others may look at the machine meanwhile, and it may die, but nothing of it goes. ERR_NOT_FOUND: there is none; ERR_UNAVAILABLE: it has ended. */
ERR_CHECK int machine_open_alive(const struct launcher *l, const char *id, int *ret_fd,
    struct record *ret_record, int *ret_pidfd, struct err *err);

/* JOIN: from now on it reaches the living machines of that gang, and they reach it. On record before the firewall has it;
   ends with the machine. ERR_CONFLICT when it does not run or is of another gang. */
ERR_CHECK int machine_join(const struct launcher *l, const char *id, const char *gang,
    uint32_t number, struct err *err);

/* Whatever joined is let through again: the firewall is new. Logs failures. */
void machine_join_again(const struct launcher *l);

/* Deletes what machine_remove() and image_remove() left. Takes as long as it takes; one process at a time does, others
   wait for it. Logs failures. */
void machine_empty_trash(const struct launcher *l);
bool machine_trash_is_empty(const struct launcher *l);

/* All of the trash, and slots whose machine went with a crash just before it let go of them. */
void machine_sweep(const struct launcher *l);

/* KILL: locks and removes the machine, if there is one. */
ERR_CHECK int machine_kill(const struct launcher *l, const char *id, struct err *err);

/* One machine's record and whether its PID 1 lives; the record is zeros when there is none. Returns
   false when there is no such machine. */
bool machine_look(
    const struct launcher *l, const char *id, struct record *ret, bool *ret_alive);

/* Calls fn for every directory of a machine, until it returns non-zero; returns that, or 0. */
typedef int (*machine_fn)(void *arg, const char *id);
int machine_each(const struct launcher *l, machine_fn fn, void *arg);

#endif
