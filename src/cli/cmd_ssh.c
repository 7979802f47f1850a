/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/keys.h"
#include "cli/opts.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/view.h"

/* The reservation `ref`, with files for it. */
static int
get(struct cli *cli, const char *state_dir, const char *ref, const struct key *key,
    bool force, json_t **ret, struct err *err)
{
	AUTO_FREE char *path = api_path("reservations", ref, "");

	if (opts_ref("reservation", ref, err) < 0 ||
	    api_call(cli, "GET", path, NULL, ret, err) < 0)
		return -1;
	return session_refresh(cli, state_dir, key, force, ret, err);
}

int
cmd_ssh(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *const no_options[] = {NULL};
	AUTO_FREE char *state_dir = NULL;
	AUTO_JSON json_t *r = NULL;
	struct args args;
	int code;

	if (opts_parse(cli, NULL, argc, argv, 1, 1, true, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (files_state_dir(&state_dir, err) < 0 ||
	    get(cli, state_dir, args.operand[0], NULL, false, &r, err) < 0 ||
	    session_run(cli, state_dir, &r, no_options, args.rest, &code, err) < 0)
		return -1;
	return code;
}

static void
print_cert(struct cli *cli, const char *state_dir, json_t *r)
{
	saved_decorate(state_dir, r);
	if (cli->json) {
		view_json(r);
		return;
	}
	view_line("certificate  %s", view_str(r, "certificate_file"));
	view_line("known hosts  %s", view_str(r, "known_hosts_file"));
	view_line("log in       %s", view_str(r, "ssh_command"));
}

int
cmd_cert(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *key_file = NULL;
	const struct opt table[] = {{"key", OPT_STRING, &key_file}, {NULL}};
	AUTO_FREE char *state_dir = NULL;
	AUTO_JSON json_t *r = NULL;
	struct key key = {0};
	struct args args;
	int ret;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (files_state_dir(&state_dir, err) < 0 ||
	    (key_file && key_from_file(key_file, &key, err) < 0))
		return -1;
	ret = get(cli, state_dir, args.operand[0], key_file ? &key : NULL, true, &r, err);
	if (ret == 0)
		print_cert(cli, state_dir, r);
	key_fini(&key);
	return ret;
}
