/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_COMMAND_LINE_H
#define HOST_COMMAND_LINE_H

/*
 * The command line that hearthd and hearth-ec2 share: PROGRAM --config FILE [--check | --teardown], --help, --version.
 */

#include <stdbool.h>

/* hearthd(8) and hearth-ec2(8), EXIT STATUS */
#define EXIT_USAGE 2

enum run_mode { RUN_SERVE, RUN_CHECK, RUN_TEARDOWN };

struct command_line {
	const char *program;
	const char *usage;    /* what --help prints */
	const char *expected; /* what wrong usage is told: "--config FILE and ..." */
	bool has_teardown;

	/* what command_line_read() sets */
	enum run_mode mode;
	const char *config; /* argv's */
};

/* True: mode and config are set. False: it was --help or --version, which have been answered on stdout, or wrong usage, which has
   been said on stderr; *ret_exit is the program's exit status. */
bool command_line_read(struct command_line *c, int argc, char **argv, int *ret_exit);

#endif
