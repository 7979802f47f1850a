/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/api.h"
#include "cli/cli.h"
#include "cli/opts.h"
#include "cli/view.h"

/* An item is a string, or an object that says what it is; its fields as they come. */
static void
print_item(const char *where, const json_t *item)
{
	AUTO_BUF struct buf text = BUF_INIT(0);
	const char *key;
	json_t *v;

	if (json_is_string(item))
		buf_str(&text, json_string_value(item));
	json_object_foreach ((json_t *)item, key, v) {
		if (json_is_string(v))
			buf_fmt(&text, "%s%s %s", text.len ? ", " : "", key,
			    json_string_value(v));
		else if (json_is_true(v))
			buf_fmt(&text, "%s%s", text.len ? ", " : "", key);
	}
	view_line("%s: %s", where, text.data ? text.data : "?");
}

static void
print_items(const char *where, const json_t *items)
{
	size_t i;
	json_t *item;

	json_array_foreach (items, i, item)
		print_item(where, item);
}

static void
print_audit(const json_t *audit, bool ok)
{
	print_items("only at the provider", json_object_get(audit, "provider_only"));
	print_items("only in the ledger", json_object_get(audit, "ledger_only"));
	view_line("%s; %lld steps open", ok ? "no differences" : "there are differences",
	    (long long)view_int(audit, "open_steps", 0));
	if (!ok)
		view_line("mend them with 'hearth audit --repair'");
}

int
cmd_audit(struct cli *cli, int argc, char **argv, struct err *err)
{
	bool repair = false;
	const struct opt table[] = {{"repair", OPT_FLAG, &repair}, {NULL}};
	AUTO_JSON json_t *audit = NULL;
	AUTO_JSON json_t *body = NULL;
	struct args args;
	bool ok;

	if (opts_parse(cli, table, argc, argv, 0, 0, false, &args, err) < 0)
		return -1;
	if (cli->help)
		return 0;
	body = repair ? json_pack("{sb}", "repair", 1) : NULL;
	if (api_call(cli, repair ? "POST" : "GET", "/v1/audit", body, &audit, err) < 0)
		return -1;
	ok = json_is_true(json_object_get(audit, "ok"));
	if (cli->json)
		view_json(audit);
	else
		print_audit(audit, ok);
	return ok ? 0 : 1;
}
