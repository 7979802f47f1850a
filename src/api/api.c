/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/encode.h"
#include "api/fields.h"
#include "api/internal.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "net/http_server.h"

#define WAIT_MAX_S 600

struct api *
api_new(const struct api_options *opt)
{
	struct api *api = xnew(struct api);
	const char *group = opt->admin_group ? opt->admin_group : "hearth-admin";

	api->core = opt->core;
	api->clock = opt->clock;
	api->callers = callers_new(opt->clock, group, opt->owner_uid);
	api->stats = stats_new();
	api->metrics = opt->metrics;
	api->metrics_arg = opt->metrics_arg;
	api->started_ms = clock_now_ms(opt->clock);
	list_init(&api->streams);
	return api;
}

void
api_stop(struct api *api)
{
	api->stopping = true;
	events_stop(api);
}

void
api_free(struct api *api)
{
	if (!api)
		return;
	callers_free(api->callers);
	stats_free(api->stats);
	free(api);
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- the end of a call ---- */

struct buf
call_buf(void)
{
	struct buf b = BUF_INIT(0);

	b.cap = 2048;
	b.data = xmalloc(b.cap);
	b.data[0] = '\0';
	return b;
}

static void
call_end(struct call *call, int status)
{
	int64_t took = now_ns() - call->started_ns;

	stats_count(call->api->stats, call->route, status, took);
	log_debug("%s %s %s: %d in %lld us, uid %u", call->request_id,
	    call->route ? call->route->method : "-",
	    call->route ? call->route->pattern : "-", status, (long long)took / 1000,
	    call->caller.uid);
	free(call);
}

static void
reply(
    struct call *call, int status, const char *type, const char *allow, struct buf *body)
{
	struct http_field headers[] = {
	    {"Content-Type", type}, {"X-Request-Id", call->request_id}, {"Allow", allow}};

	http_reply(call->http, status, headers, allow ? 3 : 2, body);
	call_end(call, status);
}

void
call_reply(struct call *call, int status, struct buf *body)
{
	bool text = call->route && call->route->handler == handle_metrics;

	if (!text)
		buf_char(body, '\n');
	reply(call, status, text ? "text/plain; version=0.0.4" : "application/json", NULL,
	    body);
}

static void
fail(struct call *call, const struct err *err, int status, const char *allow)
{
	struct buf b = call_buf();

	encode_error(&b, err);
	buf_char(&b, '\n');
	reply(call, status, "application/json", allow, &b);
}

void
call_fail(struct call *call, const struct err *err)
{
	if (err->code == ERR_INTERNAL)
		log_error("%s: %s", call->request_id, err->msg);
	fail(call, err, err_info[err->code].http_status, NULL);
}

void
call_became_stream(struct call *call, int status)
{
	call_end(call, status);
}

/* ---- the way to a handler ---- */

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One segment of a path. False: too long, or encoded wrongly, or a NUL. */
static bool
decode(const char *s, size_t n, char *out, size_t max)
{
	size_t o = 0;

	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (c == '%') {
			int hi = i + 2 < n ? hex(s[i + 1]) : -1,
			    lo = i + 2 < n ? hex(s[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return false;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		if (c == '\0' || o + 1 >= max)
			return false;
		out[o++] = c;
	}
	out[o] = '\0';
	return o > 0;
}

/* Whether the path is the pattern's; the segment that stands for {…} is then *ret_at, *ret_n. */
static bool
matches(const char *pattern, const char *path, const char **ret_at, size_t *ret_n)
{
	while (*pattern) {
		if (*pattern == '{') {
			*ret_at = path;
			*ret_n = strcspn(path, "/");
			if (*ret_n == 0)
				return false;
			path += *ret_n;
			pattern = strchr(pattern, '}') + 1;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}

/* Finds the call's route, or fails the call: 404, or 405 with what is allowed. */
static bool
find_route(struct call *call)
{
	const char *method = http_method(call->http), *path = http_path(call->http),
		   *at = NULL;
	AUTO_BUF struct buf allow = BUF_INIT(0);
	size_t n = 0;
	struct err err;

	if (strcmp(method, "HEAD") == 0) /* libmicrohttpd leaves the body out */
		method = "GET";
	for (int i = 0; i < n_routes; i++) {
		if (!matches(routes[i].pattern, path, &at, &n))
			continue;
		if (strcmp(routes[i].method, method) == 0) {
			call->route = &routes[i];
			break;
		}
		buf_fmt(&allow, "%s%s", allow.len ? ", " : "", routes[i].method);
	}
	if (!call->route && allow.len) {
		err_set(
		    &err, ERR_INVALID, "%.16s is not allowed on %.128s", method, path);
		err_hint(&err, "allowed: %s", allow.data);
		fail(call, &err, 405, allow.data);
		return false;
	}
	if (!call->route) {
		err_set(&err, ERR_NOT_FOUND, "no such route: %.16s %.128s", method, path);
		call_fail(call, &err);
		return false;
	}
	if (at && !decode(at, n, call->key, sizeof(call->key))) {
		err_set(&err, ERR_INVALID, "the path's '%.*s' is not an id or a name",
		    n < 64 ? (int)n : 64, at);
		call_fail(call, &err);
		return false;
	}
	return true;
}

struct query_read {
	struct call *call;
	struct err *err;
	int rc;
};

static int
read_argument(struct call *call, const char *name, const char *value, struct err *err)
{
	unsigned allowed = call->route->query;
	int64_t n;

	if (strcmp(name, "wait") == 0 && allowed & QUERY_WAIT) {
		if (number_parse(value, WAIT_MAX_S, &n, err) < 0)
			return -1;
		call->wait_ms = n * 1000;
		return 0;
	}
	if (strcmp(name, "since") == 0 && allowed & QUERY_SINCE)
		return number_parse(value, INT64_MAX, &call->since, err);
	if (strcmp(name, "all") == 0 && allowed & QUERY_ALL) {
		if (number_parse(*value ? value : "1", 1, &n, err) < 0)
			return -1;
		call->all = n == 1;
		return 0;
	}
	return err_set(err, ERR_INVALID, "not known here");
}

static bool
on_argument(void *arg, const char *name, const char *value)
{
	struct query_read *q = arg;

	q->rc = read_argument(q->call, name, value ? value : "", q->err);
	if (q->rc < 0)
		err_wrap(q->err, "query '%.32s'", name);
	return q->rc == 0;
}

static int
check_role(const struct call *call, struct err *err)
{
	if (call->route->role == ROLE_USER || call->caller.operator_)
		return 0;
	err_set(err, ERR_NOT_PERMITTED, "%s %s is for operators", call->route->method,
	    call->route->pattern);
	return err_hint(
	    err, "operators are root and the members of the group hearth-admin");
}

/* What every route has in common, before its handler. */
static int
prepare(struct call *call, json_t **ret_body, struct err *err)
{
	struct query_read q = {call, err, 0};
	size_t len;
	const char *text = http_body(call->http, &len);

	if (call->api->stopping)
		return err_set(err, ERR_UNAVAILABLE, "hearthd is stopping");
	if (http_body_too_large(call->http)) {
		err_set(err, ERR_TOO_LARGE, "the request's body is over 64 KiB");
		return err_hint(err, "send less");
	}
	if (check_role(call, err) < 0)
		return -1;
	http_query(call->http, on_argument, &q);
	if (q.rc < 0)
		return -1;
	return fields_parse(text, len, ret_body, err);
}

static bool
sane_request_id(const char *s)
{
	size_t n = s ? strnlen(s, 65) : 0;

	if (n < 1 || n > 64)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii((unsigned char)s[i]) ||
		    (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i])))
			return false;
	return true;
}

static struct call *
call_new(struct api *api, struct http_request *req)
{
	struct call *call = xnew(struct call);
	const char *given = http_header(req, "X-Request-Id");

	call->api = api;
	call->http = req;
	call->started_ns = now_ns();
	call->wait_ms = call->since = -1;
	if (sane_request_id(given))
		memcpy(call->request_id, given, strlen(given) + 1);
	else
		memcpy(call->request_id, id_new('q').s, ID_MAX);
	callers_get(api->callers, http_peer(req), &call->caller);
	return call;
}

void
api_handle(void *arg, struct http_request *req)
{
	struct call *call = call_new(arg, req);
	json_t *body = NULL;
	struct err err;

	if (!find_route(call))
		return;
	if (prepare(call, &body, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	call->body = body;
	call->route->handler(call);
	json_decref(body);
}
