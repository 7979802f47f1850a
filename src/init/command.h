/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_COMMAND_H
#define INIT_COMMAND_H

/* One command that somebody at the control socket runs as root in the machine: starts it,
   passes on its output, ends it at its time-out. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 *  NONE --start--> RUNS --reaped--> ENDED --output passed on--> NONE
 *                   '--time-out--> KILLED --reaped--^
 * ENDED waits for the client to take what is left of the output, until the time-out.
 */
enum command_state { COMMAND_NONE, COMMAND_RUNS, COMMAND_KILLED, COMMAND_ENDED };

struct command {
	enum command_state state;
	pid_t pid;  /* also its process group; 0 once it is reaped */
	int output; /* owned; the reading end of its stdout and stderr; -1 once closed */
	int exit_code;	  /* ENDED */
	bool reader_full; /* the client must take something before there is more to do */
	int64_t deadline_ms; /* of the command, then of the client's taking its output */
	int64_t passed_on;   /* bytes; at most CONTROL_OUTPUT_MAX */
};

/* Starts `sh -c text`. Returns -1 if the machine cannot. */
int command_start(struct command *c, const char *text, int64_t timeout_s);

/* Passes on output to `client` as "out BYTES" until there is none or the client is full,
   and throws away what is beyond the bound. Returns -1 if the client is gone, 1 if it is
   ENDED and nothing is left to pass on, else 0. */
int command_pump(struct command *c, int client);

/* The time-out has come. Returns -1 if the client, not the command, has used it up. */
int command_time_out(struct command *c);

/* It was reaped. */
void command_ended(struct command *c, int status);

/* Kills it if it runs, and releases what it holds: NONE. */
void command_stop(struct command *c);

#endif
