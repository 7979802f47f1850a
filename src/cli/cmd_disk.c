/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/simple.h"

static const struct view_column columns[] = {
    {"NAME", "name", VIEW_STR},
    {"ID", "id", VIEW_STR},
    {"SIZE", "size_bytes", VIEW_SIZE},
    {"STATE", "state", VIEW_STR},
    {"ATTACHED TO", "attached_to", VIEW_STR},
    {"FROM", "from_snapshot", VIEW_STR},
    {"AGE", "created_at", VIEW_AGO},
    {"USER", "user", VIEW_STR},
    {"ERROR", "error", VIEW_STR},
    {NULL},
};

int
cmd_disk_list(struct cli *cli, int argc, char **argv, struct err *err)
{
	bool all = false;
	const struct opt table[] = {{"all", OPT_FLAG, &all}, {NULL}};
	struct args args;

	if (opts_parse(cli, table, argc, argv, 0, 0, false, &args, err) < 0)
		return -1;
	return cli->help ? 0
			 : simple_list(cli, 0, argv,
			       all ? "/v1/disks?all=1" : "/v1/disks", columns, err);
}

int
cmd_disk_show(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *disk = NULL;

	if (simple_get(cli, argc, argv, "disks", "disk", &disk, err) < 0)
		return -1;
	if (disk)
		simple_print(cli, disk, columns);
	return 0;
}

/* Sends `body` (borrowed, or NULL) and shows the disk, or the snapshot, that comes back.
 */
static int
change(struct cli *cli, const char *method, const char *path, const json_t *body,
    struct err *err)
{
	AUTO_JSON json_t *disk = NULL;

	if (api_call(cli, method, path, body, &disk, err) < 0)
		return -1;
	simple_print(cli, disk, columns);
	return 0;
}

int
cmd_disk_create(struct cli *cli, int argc, char **argv, struct err *err)
{
	int64_t size = 0;
	const char *from = NULL;
	const struct opt table[] = {
	    {"size", OPT_SIZE, &size}, {"from", OPT_STRING, &from}, {NULL}};
	AUTO_JSON json_t *body = json_object();
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (size == 0)
		return err_set(err, ERR_INVALID, "--size is missing, as in --size 20G");
	json_object_set_new(body, "size_bytes", json_integer(size));
	if (api_set_str(body, "name", args.operand[0], "the disk's name", err) < 0 ||
	    (from && api_set_str(body, "from_snapshot", from, "--from", err) < 0))
		return -1;
	return change(cli, "POST", "/v1/disks", body, err);
}

int
cmd_disk_snapshot(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *body = json_object();
	AUTO_FREE char *path = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("disks", args.operand[0], "/snapshots");
	if (opts_ref("disk", args.operand[0], err) < 0)
		return -1;
	return change(cli, "POST", path, body, err);
}

int
cmd_disk_clone(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *body = json_object();
	AUTO_FREE char *path = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 2, 2, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("disks", args.operand[0], "/clone");
	if (opts_ref("disk", args.operand[0], err) < 0 ||
	    api_set_str(body, "name", args.operand[1], "the new disk's name", err) < 0)
		return -1;
	return change(cli, "POST", path, body, err);
}

/* A person types the name, a script says --yes. */
static int
confirm(const char *name, struct err *err)
{
	char answer[80] = "";

	if (!isatty(STDIN_FILENO)) {
		err_set(
		    err, ERR_INVALID, "disk '%s' and what is on it would be gone", name);
		return err_hint(err, "confirm with --yes");
	}
	fprintf(stderr,
	    "This deletes the disk and all that is on it. Its name, to confirm: ");
	if (!fgets(answer, sizeof(answer), stdin))
		return err_set(err, ERR_CANCELLED, "not deleted");
	answer[strcspn(answer, "\r\n")] = '\0';
	return strcmp(answer, name) == 0
		   ? 0
		   : err_set(err, ERR_CANCELLED, "not deleted: '%.64s' is not its name",
			 answer);
}

int
cmd_disk_delete(struct cli *cli, int argc, char **argv, struct err *err)
{
	bool yes = false;
	const struct opt table[] = {{"yes", OPT_FLAG, &yes}, {NULL}};
	AUTO_FREE char *path = NULL;
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("disks", args.operand[0], "");
	if (opts_ref("disk", args.operand[0], err) < 0 ||
	    (!yes && confirm(args.operand[0], err) < 0))
		return -1;
	return change(cli, "DELETE", path, NULL, err);
}
