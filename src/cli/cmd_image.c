/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/simple.h"

static const struct view_column columns[] = {
    {"NAME", "name", VIEW_STR},
    {"PROVIDER", "provider", VIEW_STR},
    {"VERSION", "version", VIEW_STR},
    {"PERCENT", "percent", VIEW_INT},
    {"MACHINES", "machines", VIEW_INT},
    {"ERROR", "error", VIEW_STR},
    {NULL},
};

int
cmd_image_list(struct cli *cli, int argc, char **argv, struct err *err)
{
	return simple_list(cli, argc, argv, "/v1/images", columns, err);
}

/* The daemon answers an order for an image when it has taken it, or when it is done:
 * minutes. */
#define BUILD_TIMEOUT_MS 1800000

int
cmd_image_build(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *body = json_object();
	AUTO_JSON json_t *image = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (opts_ref("image", args.operand[0], err) < 0 ||
	    api_set_str(body, "name", args.operand[0], "the image's name", err) < 0 ||
	    api_call_for(cli, "POST", "/v1/images", body, BUILD_TIMEOUT_MS, &image, err) <
		0)
		return -1;
	simple_print(cli, image, columns);
	return 0;
}

int
cmd_image_delete(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *image = NULL;
	AUTO_FREE char *path = NULL;
	struct args args;

	if (opts_parse(cli, NULL, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("images", args.operand[0], "");
	if (opts_ref("image", args.operand[0], err) < 0 ||
	    api_call(cli, "DELETE", path, NULL, &image, err) < 0)
		return -1;
	simple_print(cli, image, columns);
	return 0;
}
