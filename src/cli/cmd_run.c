/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/api.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/reserve.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/trace_format.h"
#include "cli/view.h"

/* The command has had its say: what fails here is told, and does not change the exit
 * code. */
static void
end(struct cli *cli, const struct reserve *o, const char *id)
{
	struct err err = {0};
	int r;

	interrupt_clear();
	r = reserve_end(cli, id, true, NULL, &err);
	saved_remove(o->state_dir, id);
	if (r < 0 && err.code != ERR_CANCELLED && err.code != ERR_NOT_FOUND)
		fprintf(stderr,
		    "hearth: run: end reservation %s: %s; use 'hearth cancel %s'\n", id,
		    err.msg, id);
}

static void
print_trace(struct cli *cli, const char *id)
{
	char *path = api_path("reservations", id, "/trace");
	AUTO_JSON json_t *trace = NULL;
	AUTO_BUF struct buf text = BUF_INIT(0);
	struct err err;

	if (api_call(cli, "GET", path, NULL, &trace, &err) == 0) {
		trace_text(&text, trace);
		fputs(text.data, stderr);
	}
	free(path);
}

static int
run(struct cli *cli, struct reserve *o, char *const *cmd, struct err *err)
{
	/* one command on a machine of its own: a shared connection would outlive it */
	const char *const plain[] = {
	    "-o", "ControlMaster=no", "-o", "ControlPath=none", NULL};
	const char *const tty[] = {
	    "-o", "ControlMaster=no", "-o", "ControlPath=none", "-t", NULL};
	json_t *r;
	int code;
	int ret;

	if (reserve_get(cli, o, err) < 0)
		return -1;
	r = json_incref(json_array_get(o->reservations, 0));
	if (strcmp(view_str(r, "state"), "active") != 0) {
		json_decref(r);
		return err_set(
		    err, ERR_CONFLICT, "the reservation of this --request-id has ended");
	}
	ret = session_run(
	    cli, o->state_dir, &r, isatty(0) && isatty(1) ? tty : plain, cmd, &code, err);
	if (o->trace)
		print_trace(cli, view_str(r, "id"));
	end(cli, o, view_str(r, "id"));
	json_decref(r);
	return ret < 0 ? -1 : code;
}

int
cmd_run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct reserve o = RESERVE_INIT;
	const struct opt table[] = {RESERVE_OPTIONS(o), {NULL}};
	struct args args;
	int ret;

	if (opts_parse(cli, table, argc, argv, 0, 0, true, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (!args.rest || !args.rest[0])
		return err_set(err, ERR_INVALID, "no command given: put it behind '--'");
	if (o.count >= 0)
		return err_set(
		    err, ERR_INVALID, "--count: one command runs on one machine");
	ret = run(cli, &o, args.rest, err);
	reserve_fini(&o);
	return ret;
}
