/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/api.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "cli/interrupt.h"
#include "cli/text.h"
#include "cli/view.h"
#include "net/client.h"

#define RESTART_MS 30000 /* a daemon that restarts is back well before */
#define RETRY_MS 200

struct client *
api_client(struct cli *cli)
{
	if (!cli->client)
		cli->client = client_new(cli->socket_path);
	return cli->client;
}

static enum err_code
code_of_status(int status)
{
	for (int i = ERR_NONE + 1; i < ERR_CODE_MAX; i++)
		if (err_info[i].http_status == status)
			return (enum err_code)i;
	return status < 500 ? ERR_INVALID : ERR_INTERNAL;
}

static int
refused(int status, const json_t *reply, struct err *err)
{
	const json_t *e = json_object_get(reply, "error");
	const char *code = view_str(e, "code");
	const char *message = view_str(e, "message");

	if (!message[0])
		return err_set(err, code_of_status(status),
		    "hearthd answered %d without a reason", status);
	err_set(err, code[0] ? err_code_from_name(code) : code_of_status(status), "%s",
	    message);
	return err_hint(err, "%s", view_str(e, "hint"));
}

int
api_call_for(struct cli *cli, const char *method, const char *path, const json_t *body,
    int timeout_ms, json_t **ret, struct err *err)
{
	AUTO_FREE char *text =
	    body ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
	AUTO_BUF struct buf reply = BUF_INIT(CLIENT_REPLY_MAX);
	AUTO_JSON json_t *v = NULL;
	json_error_t why;
	int status;

	if (client_call(api_client(cli), method, path, text, timeout_ms, &status, &reply,
		err) < 0)
		return -1;
	if (reply.len > 0)
		v = json_loadb(reply.data, reply.len, JSON_REJECT_DUPLICATES, &why);
	if (status >= 400)
		return refused(status, v, err);
	if (!v && (reply.len > 0 || status != 204))
		return err_set(err, ERR_INTERNAL, "hearthd's reply is not JSON: %s",
		    reply.len > 0 ? why.text : "it is empty");
	if (ret)
		*ret = v ? TAKE(v) : json_null();
	return 0;
}

int
api_call(struct cli *cli, const char *method, const char *path, const json_t *body,
    json_t **ret, struct err *err)
{
	return api_call_for(cli, method, path, body, API_TIMEOUT_MS, ret, err);
}

/* Whether another try makes sense. A daemon on its way down says "unavailable" once, and then is gone;
   one that says so twice has another reason. */
static bool
may_return(struct client *c, const struct err *err, int *refusals)
{
	if (err->code != ERR_UNAVAILABLE)
		return false;
	return client_unreachable(c) ? client_met(c) : ++*refusals < 2;
}

int
api_call_patient(struct cli *cli, const char *method, const char *path, int timeout_ms,
    json_t **ret, struct err *err)
{
	int64_t until_ms = 0;
	int refusals = 0;

	while (api_call_for(cli, method, path, NULL, timeout_ms, ret, err) < 0) {
		if (until_ms == 0)
			until_ms = clock_real_now_ms() + RESTART_MS;
		if (!may_return(api_client(cli), err, &refusals) ||
		    clock_real_now_ms() > until_ms)
			return -1;
		if (!interrupt_sleep(RETRY_MS))
			return err_set(err, ERR_CANCELLED, "interrupted");
	}
	return 0;
}

int
api_list(struct cli *cli, const char *path, json_t **ret, struct err *err)
{
	AUTO_JSON json_t *v = NULL;

	if (api_call(cli, "GET", path, NULL, &v, err) < 0)
		return -1;
	if (!json_is_array(v))
		return err_set(err, ERR_INTERNAL, "hearthd's reply is not a list");
	*ret = TAKE(v);
	return 0;
}

char *
api_path(const char *kind, const char *ref, const char *tail)
{
	struct buf b = BUF_INIT(0);

	buf_fmt(&b, "/v1/%s/", kind);
	text_url(&b, ref);
	buf_str(&b, tail);
	return buf_take(&b);
}

int
api_set_str(
    json_t *body, const char *key, const char *value, const char *what, struct err *err)
{
	json_t *s = json_string(value);

	if (!s)
		return err_set(err, ERR_INVALID, "%s is not UTF-8", what);
	json_object_set_new(body, key, s);
	return 0;
}
