/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/opts.h"
#include "cli/saved.h"
#include "cli/view.h"
#include "cli/wiring.h"

int
cmd_ssh_config(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_FREE char *state_dir = NULL;
	AUTO_FREE char *top = NULL;
	AUTO_FREE char *path = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct args args;
	bool changed;

	if (opts_parse(cli, NULL, argc, argv, 0, 0, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (files_state_dir(&state_dir, err) < 0 ||
	    saved_top_file(state_dir, &top, err) < 0 ||
	    wiring_make(top, &path, &changed, err) < 0)
		return -1;
	if (!wiring_is_read())
		fprintf(stderr, "hearth: ssh-config: HOME is not this user's home: ssh "
				"does not read the file there; "
				"use ssh -F\n");
	if (cli->json) {
		doc = json_pack(
		    "{ss* ss* sb}", "config", path, "include", top, "changed", changed);
		view_json(doc);
		return 0;
	}
	view_line(changed ? "%s now includes %s" : "%s includes %s already", path, top);
	view_line("from now on `ssh NAME.hearth` reaches a reservation by its name");
	return 0;
}
