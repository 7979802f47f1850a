/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credtool [PROFILE]: which key would be used, as JSON: the plan that environment and files lead to, or
 * "error". Asks nobody. tests/e2e/test_credentials.py compares it with botocore's choice.
 */
#include <jansson.h>
#include <stdio.h>

#include "aws/credentials_internal.h"

static json_t *
text(const char *s)
{
	return s ? json_string(s) : json_null();
}

static json_t *
role_json(const struct credentials_role *r)
{
	return json_pack("{s:o, s:o, s:o, s:I}", "arn", text(r->arn), "session",
	    text(r->session_name), "external_id", text(r->external_id), "duration",
	    (json_int_t)r->duration_s);
}

static json_t *
words_json(const struct credentials_words *w)
{
	json_t *list = w->n ? json_array() : json_null();

	for (int i = 0; i < w->n; i++)
		json_array_append_new(list, json_string(w->argv[i]));
	return list;
}

static json_t *
plan_json(const struct credentials_plan *p)
{
	static const char *const bases[] = {
	    [CREDENTIALS_STATIC] = "static",
	    [CREDENTIALS_PROCESS] = "process",
	    [CREDENTIALS_WEB_IDENTITY] = "web",
	    [CREDENTIALS_CONTAINER] = "container",
	    [CREDENTIALS_IMDS] = "imds",
	};
	json_t *roles = json_array();

	for (int i = 0; i < p->n_roles; i++)
		json_array_append_new(roles, role_json(&p->roles[i]));
	return json_pack(
	    "{s:s, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o}", "base",
	    bases[p->base], "id", text(p->key.access_key_id), "secret",
	    text(p->key.secret_access_key), "token", text(p->key.session_token),
	    "expires", (json_int_t)p->key.expires_at, "command", words_json(&p->command),
	    "web", p->web.arn ? role_json(&p->web) : json_null(), "token_file",
	    text(p->token_file), "auth", text(p->token), "url", text(p->url), "timeout",
	    p->timeout_ms, "attempts", p->attempts, "roles", roles);
}

static json_t *
run(const char *profile, struct err *err)
{
	struct credentials_view v;
	struct credentials_plan *plan;
	json_t *o = NULL;

	if (credentials_view_load(profile, NULL, NULL, NULL, &v, err) < 0)
		return NULL;
	if (credentials_plan_make(&v, &plan, err) == 0) {
		o = plan_json(plan);
		json_object_set_new(o, "region", text(credentials_view_region(&v)));
		json_object_set_new(
		    o, "endpoint", text(credentials_view_endpoint_url(&v, "ec2")));
		credentials_plan_free(plan);
	}
	credentials_view_fini(&v);
	return o;
}

int
main(int argc, char **argv)
{
	struct err err = {0};
	json_t *o = run(argc > 1 ? argv[1] : NULL, &err);

	if (!o)
		o = json_pack("{s:s, s:s, s:s}", "error", err_info[err.code].name,
		    "message", err.msg, "hint", err.hint);
	json_dumpf(o, stdout, JSON_COMPACT | JSON_SORT_KEYS);
	putchar('\n');
	json_decref(o);
	return 0;
}
