/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/scenario.h"
#include "ec2/server.h"
#include "host/command_line.h"

static const char usage[] =
    "usage: hearth-ec2 --config FILE [--check | --teardown]\n"
    "\n"
    "Speaks EC2 over machines of this host, or over fake ones. Runs in the foreground "
    "and logs to stderr.\n"
    "\n"
    "  --config FILE  the configuration, see hearth-ec2.yaml(5)\n"
    "  --check        check the configuration and exit\n"
    "  --teardown     end every local machine, put the host back, and exit\n"
    "  --help, --version\n";

static int
complain(const struct err *err)
{
	fprintf(stderr, "hearth-ec2: %s%s%s\n", err->msg, err->hint[0] ? "; " : "",
	    err->hint);
	return err->code == ERR_INVALID || err->code == ERR_NOT_FOUND ? EXIT_USAGE
								      : EXIT_FAILURE;
}

static int
check(const struct config *c, struct err *err)
{
	struct scenario *s = NULL;

	if (scenario_load(c->scenario, c->speed, &s, err) < 0)
		return err_wrap(err, "%s: scenario", c->file);
	scenario_free(s);
	return 0;
}

/* The secrets in it are as good as the machines. */
static void
warn_of_readers(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && (st.st_mode & (S_IRGRP | S_IROTH)))
		log_warn("others can read the secret keys in %s: 'chmod 600' keeps them",
		    path);
}

static int
serve(struct config *c, const char *path)
{
	AUTO_FREE char *absolute = realpath(path, NULL);
	struct server *s = NULL;
	struct err err = {0};
	int rc;

	log_init("hearth-ec2", c->log_level);
	umask(022);
	warn_of_readers(path);
	if (server_open(c, absolute ?: path, &s, &err) < 0) {
		log_error("%s%s%s", err.msg, err.hint[0] ? "; " : "", err.hint);
		return err.code == ERR_INVALID ? EXIT_USAGE : EXIT_FAILURE;
	}
	rc = server_run(s);
	server_close(s);
	return rc;
}

static int
run(enum run_mode mode, const char *path)
{
	struct config *c = NULL;
	struct err err = {0};

	if (config_load(path, &c, &err) < 0)
		return complain(&err);
	if (mode == RUN_SERVE)
		return serve(c, path);
	if (mode == RUN_TEARDOWN ? server_teardown(c, &err) < 0 : check(c, &err) < 0) {
		config_free(c);
		return complain(&err);
	}
	if (mode == RUN_CHECK)
		printf("%s: in order\nlisten: %s:%d\nstate: %s\nruntime: %s\nuser: %s\n"
		       "machines: %s\nscenario: %s\nspeed: %g\n",
		    path, c->listen_host, c->listen_port, c->state, c->runtime, c->user,
		    c->local ? "local" : "fake", c->scenario, c->speed);
	config_free(c);
	return 0;
}

int
main(int argc, char **argv)
{
	struct command_line c = {.program = "hearth-ec2",
	    .usage = usage,
	    .expected = "--config FILE and at most one of --check and --teardown",
	    .has_teardown = true};
	int status;

	if (!command_line_read(&c, argc, argv, &status))
		return status;
	return run(c.mode, c.config);
}
