/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/opts.h"
#include "cli/reserve.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/text.h"
#include "cli/view.h"

static const struct view_column list_columns[] = {
    {"NAME", "name", VIEW_STR},
    {"ID", "id", VIEW_STR},
    {"STATE", "state", VIEW_STR},
    {"PATH", "path", VIEW_STR},
    {"MACHINE", "machine", VIEW_STR},
    {"HOST", "host", VIEW_HOST},
    {"AGE", "created_at", VIEW_AGO},
    {"EXPIRES", "expires_at", VIEW_IN},
    {"USER", "user", VIEW_STR},
    {NULL},
};

static const struct view_column list_all_columns[] = {
    {"NAME", "name", VIEW_STR},
    {"ID", "id", VIEW_STR},
    {"STATE", "state", VIEW_STR},
    {"REASON", "reason", VIEW_STR},
    {"PATH", "path", VIEW_STR},
    {"MACHINE", "machine", VIEW_STR},
    {"AGE", "created_at", VIEW_AGO},
    {"ENDED", "ended_at", VIEW_AGO},
    {"USER", "user", VIEW_STR},
    {NULL},
};

static const struct view_column show_columns[] = {
    {"name", "name", VIEW_STR},
    {"id", "id", VIEW_STR},
    {"user", "user", VIEW_STR},
    {"pool", "pool", VIEW_STR},
    {"state", "state", VIEW_STR},
    {"reason", "reason", VIEW_STR},
    {"error", "error", VIEW_STR},
    {"path", "path", VIEW_STR},
    {"not warm because", "miss_reason", VIEW_STR},
    {"notice", "notice", VIEW_STR},
    {"place in queue", "queue_position", VIEW_INT},
    {"ready in about", "eta", VIEW_IN},
    {"machine", "machine", VIEW_STR},
    {"host", "host", VIEW_HOST},
    {"login", "login", VIEW_STR},
    {"asked for", "created_at", VIEW_STR},
    {"ready", "ready_at", VIEW_STR},
    {"expires", "expires_at", VIEW_STR},
    {"expires in", "expires_at", VIEW_IN},
    {"ended", "ended_at", VIEW_STR},
    {"cost so far", "cost_usd", VIEW_USD},
    {"certificate", "certificate_file", VIEW_STR},
    {"log in", "ssh_command", VIEW_STR},
    {NULL},
};

static bool
has_ended(const json_t *r)
{
	return strcmp(view_str(r, "state"), "ended") == 0;
}

int
cmd_list(struct cli *cli, int argc, char **argv, struct err *err)
{
	bool all = false;
	const struct opt table[] = {{"all", OPT_FLAG, &all}, {NULL}};
	AUTO_FREE char *state_dir = NULL;
	AUTO_JSON json_t *saved = NULL;
	AUTO_JSON json_t *list = NULL;
	struct args args;
	size_t i;
	json_t *r;

	if (opts_parse(cli, table, argc, argv, 0, 0, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (files_state_dir(&state_dir, err) < 0)
		return -1;
	saved = saved_ids(state_dir);
	if (api_list(
		cli, all ? "/v1/reservations?all=1" : "/v1/reservations", &list, err) < 0)
		return -1;
	saved_prune(state_dir, saved, list, cli->socket_path);
	json_array_foreach (list, i, r)
		saved_decorate(state_dir, r);
	if (cli->json)
		view_json(list);
	else
		view_list(list, all ? list_all_columns : list_columns);
	return 0;
}

static void
print_object(struct cli *cli, const json_t *r, const struct view_column *cols)
{
	if (cli->json)
		view_json(r);
	else
		view_object(r, cols);
}

static void
print_disks(const json_t *r)
{
	size_t i;
	json_t *d;

	json_array_foreach (json_object_get(r, "disks"), i, d)
		view_line("disk %s: %s %s %s", view_str(d, "name"), view_str(d, "state"),
		    view_str(d, "path"), view_str(d, "error"));
}

int
cmd_show(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_FREE char *state_dir = NULL;
	AUTO_FREE char *path = NULL;
	AUTO_JSON json_t *r = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("reservations", args.operand[0], "");
	if (opts_ref("reservation", args.operand[0], err) < 0 ||
	    files_state_dir(&state_dir, err) < 0 ||
	    api_call(cli, "GET", path, NULL, &r, err) < 0)
		return -1;
	if (has_ended(r))
		saved_remove(state_dir, view_str(r, "id"));
	saved_decorate(state_dir, r);
	if (has_ended(r) && !cli->json)
		json_object_del(r, "expires_at"); /* nobody waits for it any more */
	print_object(cli, r, show_columns);
	if (!cli->json)
		print_disks(r);
	return 0;
}

/* The certificates that came with a longer deadline, for the key that is in use here; a
   reservation made on another computer has no files here, and gets none. */
static int
keep_certificates(struct cli *cli, const char *state_dir, json_t **r, struct err *err)
{
	struct saved s = {0};
	bool ours = saved_load(state_dir, view_str(*r, "id"), &s);

	saved_fini(&s);
	if (!ours || strcmp(view_str(*r, "state"), "active") != 0)
		return 0;
	if (session_refresh(cli, state_dir, NULL, true, r, err) < 0)
		return err_wrap(err, "it is extended, but its certificate is not");
	return 0;
}

int
cmd_extend(struct cli *cli, int argc, char **argv, struct err *err)
{
	double hours = 0;
	const struct opt table[] = {{"hours", OPT_HOURS, &hours}, {NULL}};
	AUTO_FREE char *state_dir = NULL;
	AUTO_FREE char *path = NULL;
	AUTO_JSON json_t *body = NULL;
	AUTO_JSON json_t *r = NULL;
	AUTO_BUF struct buf left = BUF_INIT(0);
	const struct view_column expires = {"", "expires_at", VIEW_IN};
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (hours <= 0)
		return err_set(err, ERR_INVALID, "--hours is missing: by how many?");
	path = api_path("reservations", args.operand[0], "");
	body = json_pack("{sf}", "hours", hours);
	if (opts_ref("reservation", args.operand[0], err) < 0 ||
	    files_state_dir(&state_dir, err) < 0 ||
	    api_call(cli, "PATCH", path, body, &r, err) < 0 ||
	    keep_certificates(cli, state_dir, &r, err) < 0)
		return -1;
	saved_decorate(state_dir, r);
	if (cli->json) {
		view_json(r);
		return 0;
	}
	view_field(&left, r, &expires, clock_real_wall_ms());
	view_line("%s expires in %s", view_str(r, "name"), left.data);
	return 0;
}

/* One, or (an array) those of one request with --count. Takes it over, into `done`. */
static void
note_cancelled(struct cli *cli, const char *state_dir, json_t *reply, json_t *done)
{
	json_t *all = json_is_array(reply) ? reply : json_pack("[o]", reply);
	size_t i;
	json_t *r;

	json_array_foreach (all, i, r) {
		saved_remove(state_dir, view_str(r, "id"));
		saved_decorate(state_dir, r);
		if (!cli->json)
			view_line("%s %s", view_str(r, "name"),
			    has_ended(r) ? "has ended" : "is being ended");
	}
	json_array_extend(done, all);
	json_decref(all);
}

int
cmd_cancel(struct cli *cli, int argc, char **argv, struct err *err)
{
	bool no_wait = false, many;
	const struct opt table[] = {{"no-wait", OPT_FLAG, &no_wait}, {NULL}};
	AUTO_FREE char *state_dir = NULL;
	AUTO_JSON json_t *done = json_array();
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, -1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (files_state_dir(&state_dir, err) < 0)
		return -1;
	many = args.n > 1;
	for (int i = 0; i < args.n; i++)
		if (opts_ref("reservation", args.operand[i], err) < 0)
			return -1;
	for (int i = 0; i < args.n; i++) {
		json_t *r;

		if (reserve_end(cli, args.operand[i], !no_wait, &r, err) < 0)
			return -1;
		many = many || json_is_array(r);
		note_cancelled(cli, state_dir, r, done);
	}
	if (cli->json)
		view_json(many ? done : json_array_get(done, 0));
	return 0;
}

static const struct view_column why_columns[] = {
    {"path", "path", VIEW_STR},
    {"not warm because", "miss_reason", VIEW_STR},
    {"slowest step", "slowest_step", VIEW_STR},
    {"cost so far", "cost_usd", VIEW_USD},
    {NULL},
};

/* A step as a word, or as an object with a name. */
static const char *
step_name(const json_t *step)
{
	return json_is_string(step) ? json_string_value(step) : view_str(step, "name");
}

static void
print_why(const json_t *why)
{
	AUTO_BUF struct buf path = BUF_INIT(0);
	size_t i;
	json_t *step;

	view_line("%s", view_str(why, "summary"));
	view_object(why, why_columns);
	json_array_foreach (json_object_get(why, "critical_path"), i, step)
		buf_fmt(&path, "%s%s", i ? " → " : "", step_name(step));
	if (path.len > 0)
		view_line("critical path     %s", path.data);
}

int
cmd_why(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_FREE char *path = NULL;
	AUTO_JSON json_t *why = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("reservations", args.operand[0], "/why");
	if (opts_ref("reservation", args.operand[0], err) < 0 ||
	    api_call(cli, "GET", path, NULL, &why, err) < 0)
		return -1;
	if (cli->json)
		view_json(why);
	else
		print_why(why);
	return 0;
}
