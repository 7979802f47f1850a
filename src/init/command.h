/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_COMMAND_H
#define INIT_COMMAND_H

/* One command that somebody at the control socket runs as root in the machine: starts it,
   passes on its output, ends it at its time-out. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct command {
	pid_t pid;  /* 0: none runs */
	int output; /* owned; the reading end of its stdout and stderr */
	int64_t deadline_ms;
	int64_t passed_on; /* bytes; at most CONTROL_OUTPUT_MAX */
	bool timed_out;
	bool reader_full; /* wait for the client before reading on */
};

/* Starts `sh -c text`. Returns -1 with errno; c->pid is 0 then. */
int command_start(struct command *c, const char *text, int64_t timeout_s);

/*
 * Passes on what is there to `client`, as "out BYTES", and throws away what is beyond the
 * bound, or, with `drain`, beyond what the client takes now. Returns -1 if the client is
 * gone.
 */
int command_pump(struct command *c, int client, bool drain);

/* The time-out: kills it and its process group. Its exit is still to come. */
void command_kill(struct command *c);

/* After it was reaped, or to forget it (it is killed then): releases what it holds. */
void command_stop(struct command *c);

/* "exit N" of a wait status. */
int command_exit_code(const struct command *c, int status);

#endif
