/* SPDX-License-Identifier: Apache-2.0 */
#include "host/command_line.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { OPT_CONFIG = 1, OPT_CHECK, OPT_HELP, OPT_VERSION, OPT_TEARDOWN };

static const struct option options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"check", no_argument, NULL, OPT_CHECK},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {"teardown", no_argument, NULL, OPT_TEARDOWN}, /* the last: not every program's */
    {NULL},
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

bool
command_line_read(struct command_line *c, int argc, char **argv, int *ret_exit)
{
	struct option known[N_OPTIONS];
	int opt;

	memcpy(known, options, sizeof(options));
	if (!c->has_teardown)
		known[N_OPTIONS - 2] = known[N_OPTIONS - 1];
	c->mode = RUN_SERVE;
	c->config = NULL;
	*ret_exit = 0;
	while ((opt = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (opt) {
		case OPT_CONFIG:
			c->config = optarg;
			break;
		case OPT_CHECK:
			c->mode = RUN_CHECK;
			break;
		case OPT_TEARDOWN:
			c->mode = RUN_TEARDOWN;
			break;
		case OPT_HELP:
			fputs(c->usage, stdout);
			return false;
		case OPT_VERSION:
			printf("%s " HEARTH_VERSION "\n", c->program);
			return false;
		default: /* getopt has said why */
			*ret_exit = EXIT_USAGE;
			return false;
		}
	if (c->config && optind == argc)
		return true;
	fprintf(stderr, "%s: expected %s; see '%s --help'\n", c->program, c->expected,
	    c->program);
	*ret_exit = EXIT_USAGE;
	return false;
}
