/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/api.h"
#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/view.h"

#define BENCH_TIMEOUT_MS (24 * 3600 * 1000)

static const struct view_column columns[] = {
    {"TECHNIQUE", "name", VIEW_STR},
    {"PROVIDER", "provider", VIEW_STR},
    {"N", "n", VIEW_INT},
    {"MEDIAN MS", "median_ms", VIEW_INT},
    {"P90 MS", "p90_ms", VIEW_INT},
    {"MIN MS", "min_ms", VIEW_INT},
    {"MAX MS", "max_ms", VIEW_INT},
    {"SIMULATED", "simulated", VIEW_STR},
    {NULL},
};

/* `report` shows what was measured; anything else names techniques to measure. */
static int
ask(struct cli *cli, const struct args *args, double max_cost, json_t **ret,
    struct err *err)
{
	AUTO_JSON json_t *body = json_object();
	json_t *techniques = json_array();

	if (args->n == 1 && strcmp(args->operand[0], "report") == 0) {
		json_decref(techniques);
		return api_call(cli, "GET", "/v1/bench", NULL, ret, err);
	}
	json_object_set_new(body, "techniques", techniques);
	for (int i = 0; i < args->n; i++) {
		if (opts_ref("technique", args->operand[i], err) < 0)
			return -1;
		json_array_append_new(techniques, json_string(args->operand[i]));
	}
	if (max_cost >= 0)
		json_object_set_new(body, "max_cost_usd", json_real(max_cost));
	return api_call_for(cli, "POST", "/v1/bench", body, BENCH_TIMEOUT_MS, ret, err);
}

int
cmd_bench(struct cli *cli, int argc, char **argv, struct err *err)
{
	double max_cost = -1;
	const struct opt table[] = {{"max-cost", OPT_USD, &max_cost}, {NULL}};
	AUTO_JSON json_t *bench = NULL;
	struct args args;
	size_t i;
	json_t *note;

	if (opts_parse(cli, table, argc, argv, 1, -1, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	if (ask(cli, &args, max_cost, &bench, err) < 0)
		return -1;
	if (cli->json) {
		view_json(bench);
		return 0;
	}
	view_list(json_object_get(bench, "techniques"), columns);
	json_array_foreach (json_object_get(bench, "notes"), i, note)
		view_line("%s", json_string_value(note) ?: "");
	return 0;
}
