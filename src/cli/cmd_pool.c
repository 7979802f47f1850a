/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/simple.h"

static const struct view_column list_columns[] = {
    {"NAME", "name", VIEW_STR},
    {"PROVIDER", "provider", VIEW_STR},
    {"IMAGE", "image", VIEW_STR},
    {"READY", "ready", VIEW_INT},
    {"SPARE", "running", VIEW_INT},
    {"CLAIMED", "claimed", VIEW_INT},
    {"LAUNCHING", "launching", VIEW_INT},
    {"QUEUED", "queued", VIEW_INT},
    {"MAX", "max", VIEW_INT},
    {"PER HOUR", "usd_per_hour", VIEW_USD},
    {"LAST ERROR", "last_error", VIEW_STR},
    {NULL},
};

static const struct view_column show_columns[] = {
    {"name", "name", VIEW_STR},
    {"provider", "provider", VIEW_STR},
    {"image", "image", VIEW_STR},
    {"spare, running", "running", VIEW_INT},
    {"spare, stopped", "stopped", VIEW_INT},
    {"spare, hibernated", "hibernated", VIEW_INT},
    {"most in all", "max", VIEW_INT},
    {"ready", "ready", VIEW_INT},
    {"claimed", "claimed", VIEW_INT},
    {"launching", "launching", VIEW_INT},
    {"queued", "queued", VIEW_INT},
    {"cost per hour", "usd_per_hour", VIEW_USD},
    {"next try in", "backoff_until", VIEW_IN},
    {"last error", "last_error", VIEW_STR},
    {NULL},
};

int
cmd_pool_list(struct cli *cli, int argc, char **argv, struct err *err)
{
	return simple_list(cli, argc, argv, "/v1/pools", list_columns, err);
}

int
cmd_pool_show(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *pool = NULL;

	if (simple_get(cli, argc, argv, "pools", "pool", &pool, err) < 0)
		return -1;
	if (pool)
		simple_print(cli, pool, show_columns);
	return 0;
}

int
cmd_pool_set(struct cli *cli, int argc, char **argv, struct err *err)
{
	static const char *const keys[] = {"running", "stopped", "hibernated", "max"};
	int64_t value[] = {-1, -1, -1, -1};
	const struct opt table[] = {
	    {keys[0], OPT_COUNT, &value[0]},
	    {keys[1], OPT_COUNT, &value[1]},
	    {keys[2], OPT_COUNT, &value[2]},
	    {keys[3], OPT_COUNT, &value[3]},
	    {NULL},
	};
	AUTO_JSON json_t *body = json_object();
	AUTO_JSON json_t *pool = NULL;
	AUTO_FREE char *path = NULL;
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	for (int i = 0; i < 4; i++)
		if (value[i] >= 0)
			json_object_set_new(body, keys[i], json_integer(value[i]));
	if (json_object_size(body) == 0)
		return err_set(err, ERR_INVALID, "nothing to set");
	path = api_path("pools", args.operand[0], "");
	if (opts_ref("pool", args.operand[0], err) < 0 ||
	    api_call(cli, "PATCH", path, body, &pool, err) < 0)
		return -1;
	simple_print(cli, pool, show_columns);
	return 0;
}
