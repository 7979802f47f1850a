/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* What every command of `hearth` is given, and the table they are listed in (main.c). */

#include <stdbool.h>

#include "base/err.h"

struct args;
struct client;

struct cli {
	const char *socket_path; /* borrowed from argv or the environment */
	bool json;
	bool help;    /* --help or --version was given: a command does nothing else */
	bool version; /* --version */
	const struct command *command;
	struct client *client; /* owned; made by the first call */
};

/* Returns the exit code, or -1 with `err`, which main() prints as one line and turns into the exit code.
   `argv` begins behind the command's name. */
typedef int (*command_fn)(struct cli *cli, int argc, char **argv, struct err *err);

struct command {
	const char *name; /* one or two words, as typed */
	command_fn run;
	const char *args;    /* of the synopsis */
	const char *summary; /* one line */
	const char *help;    /* its options, one a line; may be NULL */
	bool wraps; /* exits as another program does: 125 for failures of our own */
};

/* clang-format off */
int cmd_reserve(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_run(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_list(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_show(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_ssh(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_cert(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_extend(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_cancel(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_why(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_trace(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_pool_list(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_pool_show(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_pool_set(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_machine_list(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_machine_show(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_disk_create(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_disk_list(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_disk_show(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_disk_snapshot(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_disk_clone(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_disk_delete(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_image_build(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_image_list(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_image_delete(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_audit(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_bench(struct cli *cli, int argc, char **argv, struct err *err);
int cmd_ssh_config(struct cli *cli, int argc, char **argv, struct err *err);
/* clang-format on */

#endif
