/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
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

#define LOOK_MS 500
#define BEGIN_MS                                                                         \
	5000 /* an order that has not begun by then was for what is there already */

static const json_t *
find(const json_t *images, const char *name)
{
	size_t i;
	json_t *image;

	json_array_foreach (images, i, image)
		if (strcmp(view_str(image, "name"), name) == 0)
			return image;
	return NULL;
}

static void
show_percent(const char *name, int64_t percent)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s: %3lld %% [%-30.*s]", name,
		    (long long)percent, (int)(percent * 30 / 100),
		    "##############################");
}

/* Until *image (replaced) is not being built any more: a new version, or an error. */
static int
wait_built(struct cli *cli, const char *name, json_t **image, struct err *err)
{
	AUTO_FREE char *before = xstrdup(view_str(*image, "version"));
	int64_t began = clock_real_now_ms();
	bool building = false;

	for (;;) {
		AUTO_JSON json_t *images = NULL;
		int64_t percent = view_int(*image, "percent", -1);

		building |= percent >= 0;
		if (percent < 0 &&
		    (building || strcmp(before, view_str(*image, "version")) != 0 ||
			clock_real_now_ms() - began > BEGIN_MS))
			break;
		show_percent(name, percent > 0 ? percent : 0);
		(void)poll(NULL, 0, LOOK_MS);
		if (api_call_patient(
			cli, "GET", "/v1/images", API_TIMEOUT_MS, &images, err) < 0)
			return -1;
		if (!find(images, name))
			return err_set(err, ERR_NOT_FOUND, "image '%s' is gone", name);
		json_decref(*image);
		*image = json_incref((json_t *)find(images, name));
	}
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	if (strcmp(before, view_str(*image, "version")) == 0 &&
	    view_str(*image, "error")[0])
		return err_set(
		    err, ERR_INTERNAL, "build '%s': %s", name, view_str(*image, "error"));
	return 0;
}

int
cmd_image_build(struct cli *cli, int argc, char **argv, struct err *err)
{
	bool no_wait = false;
	const struct opt table[] = {{"no-wait", OPT_FLAG, &no_wait}, {NULL}};
	AUTO_JSON json_t *body = json_object();
	AUTO_JSON json_t *image = NULL;
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (opts_ref("image", args.operand[0], err) < 0 ||
	    api_set_str(body, "name", args.operand[0], "the image's name", err) < 0 ||
	    api_call(cli, "POST", "/v1/images", body, &image, err) < 0 ||
	    (!no_wait && wait_built(cli, args.operand[0], &image, err) < 0))
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
