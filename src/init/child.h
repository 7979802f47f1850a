/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_CHILD_H
#define INIT_CHILD_H

/* Starting programs from PID 1. */

#include <sys/types.h>

/*
 * Starts argv[0] in a session of its own, in directory `dir` (or / if that cannot be
 * entered), with the given descriptors, all above 2, as 0, 1 and 2, no other descriptor,
 * default signals, and no protection from the OOM killer. Returns its pid, which is also
 * its process group; -1 with errno if none could be made. A program that cannot be
 * executed exits with 127.
 */
pid_t child_spawn(const char *const argv[], const char *const envp[], const char *dir,
    int in, int out, int err);

/* A pipe whose reading end does not block; both ends close on exec. Returns -1 with
 * errno. */
int child_pipe(int ret_ends[2]);

/* "hearth-init: WHY" on stderr, exit code 2; for what makes it impossible to begin. */
_Noreturn void child_die(const char *why);

#endif
