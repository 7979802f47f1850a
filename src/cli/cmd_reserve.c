/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/reserve.h"
#include "cli/saved.h"
#include "cli/text.h"
#include "cli/trace_format.h"
#include "cli/view.h"
#include "cli/wiring.h"

static void
print_expiry(const json_t *r)
{
	AUTO_BUF struct buf left = BUF_INIT(0);
	int64_t at;

	if (!view_time(r, "expires_at", &at))
		return;
	text_span(&left, at - clock_real_wall_ms());
	view_line("  expires  in %s", left.data);
}

/* Where each disk stands, as the login message has it. */
static void
print_disks(const json_t *r)
{
	size_t i;
	json_t *d;

	json_array_foreach (json_object_get(r, "disks"), i, d) {
		const char *name = view_str(d, "name"), *path = view_str(d, "path");
		const char *state = view_str(d, "state"), *error = view_str(d, "error");

		if (strcmp(state, "failed") == 0)
			view_line("  disk     %s failed: %s; %s ends with the machine",
			    name, error, path);
		else if (strcmp(state, "attached") == 0)
			view_line("  disk     %s at %s%s%s", name, path,
			    error[0] ? ", read-only: " : "", error);
		else
			view_line("  disk     %s is on its way to %s", name, path);
	}
}

static void
print_one(const json_t *r, bool wired)
{
	const char *name = view_str(r, "name");
	const char *miss = view_str(r, "miss_reason");
	const char *notice = view_str(r, "notice");

	view_line("%s  %s", name, view_str(r, "id"));
	if (strcmp(view_str(r, "state"), "active") != 0) {
		view_line("  %s: %s", view_str(r, "state"), view_str(r, "reason"));
		return;
	}
	view_line("  machine  %s (%s%s%s)", view_str(r, "machine"), view_str(r, "path"),
	    miss[0] ? ": " : "", miss);
	view_line("  host     %s port %lld", view_str(r, "host"),
	    (long long)view_int(r, "port", 22));
	print_expiry(r);
	if (notice[0])
		view_line("  notice   %s", notice);
	print_disks(r);
	view_line("  log in   %s%s%s", wired ? "ssh " : "hearth ssh ", name,
	    wired ? ".hearth" : "");
	if (!wired)
		view_line("           or ssh %s.hearth, after 'hearth ssh-config'", name);
}

static int
print_traces(struct cli *cli, const json_t *reservations, struct err *err)
{
	size_t i;
	json_t *r;

	json_array_foreach (reservations, i, r) {
		AUTO_FREE char *path =
		    api_path("reservations", view_str(r, "id"), "/trace");
		AUTO_JSON json_t *trace = NULL;
		AUTO_BUF struct buf text = BUF_INIT(0);

		if (api_call(cli, "GET", path, NULL, &trace, err) < 0)
			return -1;
		trace_text(&text, trace);
		fputs(text.data, cli->json ? stderr : stdout);
	}
	return 0;
}

static void
print_all(struct cli *cli, const struct reserve *o)
{
	AUTO_FREE char *top = NULL;
	struct err ignored;
	bool wired =
	    saved_top_file(o->state_dir, &top, &ignored) == 0 && wiring_is_made(top);
	size_t i;
	json_t *r;

	json_array_foreach (o->reservations, i, r)
		saved_decorate(o->state_dir, r);
	if (cli->json) {
		view_json(
		    o->count > 0 ? o->reservations : json_array_get(o->reservations, 0));
		return;
	}
	json_array_foreach (o->reservations, i, r)
		print_one(r, wired);
}

static int
reserve(struct cli *cli, struct reserve *o, struct err *err)
{
	if (reserve_get(cli, o, err) < 0)
		return -1;
	print_all(cli, o);
	return o->trace ? print_traces(cli, o->reservations, err) : 0;
}

int
cmd_reserve(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct reserve o = RESERVE_INIT;
	const struct opt table[] = {RESERVE_OPTIONS(o), {NULL}};
	struct args args;
	int ret;

	if (opts_parse(cli, table, argc, argv, 0, 0, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	ret = reserve(cli, &o, err);
	reserve_fini(&o);
	return ret;
}
