/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/simple.h"

static const struct view_column list_columns[] = {
    {"ID", "id", VIEW_STR},
    {"POOL", "pool", VIEW_STR},
    {"PROVIDER", "provider", VIEW_STR},
    {"STATE", "state", VIEW_STR},
    {"ADDRESS", "address", VIEW_HOST},
    {"RESERVATION", "reservation", VIEW_STR},
    {"AGE", "created_at", VIEW_AGO},
    {"SEEN", "last_seen_at", VIEW_AGO},
    {"ERROR", "error", VIEW_STR},
    {NULL},
};

static const struct view_column show_columns[] = {
    {"id", "id", VIEW_STR},
    {"pool", "pool", VIEW_STR},
    {"provider", "provider", VIEW_STR},
    {"provider's name", "provider_ref", VIEW_STR},
    {"state", "state", VIEW_STR},
    {"tier", "tier", VIEW_STR},
    {"image", "image", VIEW_STR},
    {"image version", "image_version", VIEW_STR},
    {"address", "address", VIEW_HOST},
    {"reservation", "reservation", VIEW_STR},
    {"created", "created_at", VIEW_STR},
    {"ready", "ready_at", VIEW_STR},
    {"last seen", "last_seen_at", VIEW_STR},
    {"error", "error", VIEW_STR},
    {NULL},
};

int
cmd_machine_list(struct cli *cli, int argc, char **argv, struct err *err)
{
	return simple_list(cli, argc, argv, "/v1/machines", list_columns, err);
}

/* What a setup command printed, line by line: only the line breaks are let through. */
static void
print_output(const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		char *line = xstrndup(text, n);

		view_line("  | %s", line);
		free(line);
		text += n + (text[n] == '\n');
	}
}

int
cmd_machine_show(struct cli *cli, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *m = NULL;

	if (simple_get(cli, argc, argv, "machines", "machine", &m, err) < 0)
		return -1;
	if (!m)
		return 0;
	simple_print(cli, m, show_columns);
	if (!cli->json)
		print_output(view_str(m, "output"));
	return 0;
}
