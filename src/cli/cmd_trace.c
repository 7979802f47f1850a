/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/trace_format.h"
#include "cli/view.h"

enum format { FORMAT_TEXT, FORMAT_CHROME, FORMAT_OTLP };

static int
parse_format(const char *s, enum format *ret, struct err *err)
{
	static const char *const names[] = {"text", "chrome", "otlp"};

	for (int i = 0; i < 3; i++)
		if (strcmp(s, names[i]) == 0) {
			*ret = (enum format)i;
			return 0;
		}
	return err_set(
	    err, ERR_INVALID, "--format: '%.40s' is not text, chrome or otlp", s);
}

static void
print(struct cli *cli, enum format format, const json_t *trace)
{
	AUTO_BUF struct buf text = BUF_INIT(0);
	AUTO_JSON json_t *doc = NULL;

	if (format == FORMAT_TEXT && !cli->json) {
		trace_text(&text, trace);
		fputs(text.data, stdout);
		return;
	}
	if (format != FORMAT_TEXT)
		doc = format == FORMAT_CHROME ? trace_chrome(trace) : trace_otlp(trace);
	view_json(doc ? doc : trace);
}

int
cmd_trace(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *name = "text";
	const struct opt table[] = {{"format", OPT_STRING, &name}, {NULL}};
	AUTO_FREE char *path = NULL;
	AUTO_JSON json_t *trace = NULL;
	enum format format = FORMAT_TEXT;
	struct args args;

	if (opts_parse(cli, table, argc, argv, 1, 1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	path = api_path("reservations", args.operand[0], "/trace");
	if (parse_format(name, &format, err) < 0 ||
	    opts_ref("reservation", args.operand[0], err) < 0 ||
	    api_call(cli, "GET", path, NULL, &trace, err) < 0)
		return -1;
	print(cli, format, trace);
	return 0;
}
