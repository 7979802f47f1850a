/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/simple.h"

#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/opts.h"

int
simple_list(struct cli *cli, int argc, char **argv, const char *path,
    const struct view_column *cols, struct err *err)
{
	AUTO_JSON json_t *list = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 0, 0, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (api_list(cli, path, &list, err) < 0)
		return -1;
	if (cli->json)
		view_json(list);
	else
		view_list(list, cols);
	return 0;
}

int
simple_get(struct cli *cli, int argc, char **argv, const char *kind, const char *what,
    json_t **ret, struct err *err)
{
	AUTO_FREE char *path = NULL;
	struct args args;

	*ret = NULL;
	if (opts_parse(cli, NULL, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path(kind, args.operand[0], "");
	if (opts_ref(what, args.operand[0], err) < 0)
		return -1;
	return api_call(cli, "GET", path, NULL, ret, err);
}

void
simple_print(struct cli *cli, const json_t *obj, const struct view_column *cols)
{
	if (cli->json)
		view_json(obj);
	else
		view_object(obj, cols);
}
