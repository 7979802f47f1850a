/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "daemon/config.h"
#include "daemon/daemon.h"
#include "host/command_line.h"

static const char usage[] =
    "usage: hearthd --config FILE [--check]\n"
    "\n"
    "Keeps machines warm and hands them out. Runs in the foreground and logs to stderr.\n"
    "\n"
    "  --config FILE  the configuration, see hearth.yaml(5)\n"
    "  --check        check the configuration and exit\n"
    "  --help, --version\n";

static int
complain(const struct err *err)
{
	fprintf(
	    stderr, "hearthd: %s%s%s\n", err->msg, err->hint[0] ? "; " : "", err->hint);
	return EXIT_USAGE;
}

static int
serve(struct config *config, const char *path)
{
	AUTO_FREE char *absolute = realpath(path, NULL);
	struct daemon *d = NULL;
	struct err err = {0};
	int rc;

	log_init("hearthd", config->log_level);
	umask(022);
	if (daemon_open(config, absolute ?: path, &d, &err) < 0) {
		log_error("%s%s%s", err.msg, err.hint[0] ? "; " : "", err.hint);
		return err.code == ERR_INVALID ? EXIT_USAGE : EXIT_FAILURE;
	}
	rc = daemon_run(d);
	daemon_close(d);
	return rc;
}

int
main(int argc, char **argv)
{
	struct command_line c = {.program = "hearthd",
	    .usage = usage,
	    .expected = "--config FILE and nothing else"};
	struct config *config = NULL;
	struct err err = {0};
	int status;

	if (!command_line_read(&c, argc, argv, &status))
		return status;
	if (config_load(c.config, &config, &err) < 0)
		return complain(&err);
	if (c.mode == RUN_SERVE)
		return serve(config, c.config);
	printf("%s: in order, %d providers, %d pools\nstate: %s\nsocket: %s\nruntime: "
	       "%s\nuser: %s\n",
	    c.config, config->n_providers, config->n_pools, config->state, config->socket,
	    config->runtime, config->user);
	config_free(config);
	return 0;
}
