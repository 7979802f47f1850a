/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdbool.h>
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

/* hearthd(8), EXIT STATUS */
#define EXIT_USAGE 2

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
	enum { OPT_CONFIG = 1, OPT_CHECK, OPT_HELP, OPT_VERSION };
	static const struct option options[] = {
	    {"config", required_argument, NULL, OPT_CONFIG},
	    {"check", no_argument, NULL, OPT_CHECK},
	    {"help", no_argument, NULL, OPT_HELP},
	    {"version", no_argument, NULL, OPT_VERSION},
	    {NULL},
	};
	const char *path = NULL;
	bool check = false;
	struct config *config = NULL;
	struct err err = {0};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (opt) {
		case OPT_CONFIG:
			path = optarg;
			break;
		case OPT_CHECK:
			check = true;
			break;
		case OPT_HELP:
			fputs(usage, stdout);
			return 0;
		case OPT_VERSION:
			puts("hearthd " HEARTH_VERSION);
			return 0;
		default:
			return EXIT_USAGE;
		}
	if (!path || optind < argc) {
		fputs("hearthd: expected --config FILE and nothing else; see 'hearthd "
		      "--help'\n",
		    stderr);
		return EXIT_USAGE;
	}
	if (config_load(path, &config, &err) < 0)
		return complain(&err);
	if (!check)
		return serve(config, path);
	printf("%s: in order, %d providers, %d pools\nstate: %s\nsocket: %s\nruntime: "
	       "%s\nuser: %s\n",
	    path, config->n_providers, config->n_pools, config->state, config->socket,
	    config->runtime, config->user);
	config_free(config);
	return 0;
}
