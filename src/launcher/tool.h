/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_TOOL_H
#define LAUNCHER_TOOL_H

/* Runs a program of e2fsprogs on a file of ours. */

#include <stdint.h>

#include "base/err.h"

struct tool_result {
	int status;	/* its exit status */
	char last[160]; /* the last line it said; may be empty */
};

/* Runs argv[0], found in /usr/sbin or /sbin, in directory `dirfd`, so that nobody's path is needed; with no input and an
   environment of its own. Blocks, for timeout_ms at most; then, or when the caller dies, it is killed.
   ERR_UNAVAILABLE: it could not be run, was killed, or took too long. */
ERR_CHECK int tool_run(int dirfd, const char *const argv[], int64_t timeout_ms,
    struct tool_result *ret, struct err *err);

#endif
