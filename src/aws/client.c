/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/client.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/client_internal.h"
#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

#define SHARE 0.7
#define ATTEMPTS_MAX 8
#define RETRY_TOKENS 500

static bool
is_name(const char *s, size_t max)
{
	return s && *s && strlen(s) <= max &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

/* The host as libcurl puts it into the header Host, which is signed: without the scheme's own port. */
static char *
host_of(const char *authority, size_t n, bool tls)
{
	const char *port = tls ? ":443" : ":80";
	size_t p = strlen(port);

	if (n > p && memcmp(authority + n - p, port, p) == 0)
		n -= p;
	return xstrndup(authority, n);
}

/* What no proxy of the environment could reach. */
static bool
is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 ||
	       (strncmp(host, "localhost", 9) == 0 && (!host[9] || host[9] == ':'));
}

static int
take_endpoint(struct aws_client *c, const char *url, struct err *err)
{
	bool tls = strncmp(url, "https://", 8) == 0;
	const char *authority = url + (tls ? 8 : 7), *path;
	size_t n;

	if ((!tls && strncmp(url, "http://", 7) != 0) ||
	    (n = strcspn(authority, "/?#")) == 0 || n > 255 || strlen(url) > 1024 ||
	    strpbrk(url, " \t\r\n?#@")) {
		err_set(
		    err, ERR_INVALID, "endpoint: '%.80s' is not a URL of a service", url);
		return err_hint(
		    err, "write it as https://HOST or http://HOST:PORT, without a query");
	}
	path = authority + n;
	c->path = xstrdup(*path ? path : "/");
	c->host = host_of(authority, n, tls);
	c->loopback = is_loopback(c->host);
	c->base = xstrndup(url, (size_t)(path - url));
	c->url = xasprintf("%s%s", c->base, c->path);
	return 0;
}

/* AWS General Reference, "Service endpoints". */
static char *
aws_endpoint(const struct aws_client_options *opt)
{
	bool china = strncmp(opt->region, "cn-", 3) == 0;

	return xasprintf("https://%s.%s.amazonaws.com%s",
	    opt->host_prefix ? opt->host_prefix : opt->service, opt->region,
	    china ? ".cn" : "");
}

static void
client_free(struct aws_client *c)
{
	struct lane *l;
	size_t at = 0;

	while ((l = map_next(&c->lanes, &at)))
		lane_free(l);
	map_fini(&c->lanes);
	free(c->service);
	free(c->region);
	free(c->api_version);
	free(c->url);
	free(c->base);
	free(c->host);
	free(c->path);
	free(c);
}

int
aws_client_new(
    const struct aws_client_options *opt, struct aws_client **ret, struct err *err)
{
	AUTO_FREE char *standard = NULL;
	struct aws_client *c;

	if (!opt->region || !*opt->region) {
		err_set(err, ERR_INVALID, "%s: no region is set", opt->service);
		return err_hint(
		    err, "set AWS_REGION, or region in the configuration or the profile");
	}
	if (!is_name(opt->region, 32)) {
		err_set(
		    err, ERR_INVALID, "region: '%.40s' is no name of one", opt->region);
		return err_hint(err, "regions have names like us-east-1");
	}
	c = xnew(struct aws_client);
	c->own_endpoint = opt->endpoint != NULL;
	if (!c->own_endpoint)
		standard = aws_endpoint(opt);
	list_init(&c->calls);
	if (take_endpoint(c, opt->endpoint ? opt->endpoint : standard, err) < 0) {
		client_free(c);
		return -1;
	}
	c->clock = opt->clock;
	c->fetcher = opt->fetcher;
	c->credentials = opt->credentials;
	c->service = xstrdup(opt->service);
	c->region = xstrdup(opt->region);
	c->api_version = xstrdup_null(opt->api_version);
	c->share = opt->bucket_share > 0 ? opt->bucket_share : SHARE;
	c->speed = opt->bucket_speed != 0 ? opt->bucket_speed : 1;
	c->attempts_max = opt->attempts_max > 0 ? opt->attempts_max : ATTEMPTS_MAX;
	c->retry_tokens = RETRY_TOKENS;
	*ret = c;
	return 0;
}

void
aws_client_close(struct aws_client *c)
{
	if (!c)
		return;
	c->closed = true;
	while (!list_empty(&c->calls))
		call_closed(list_entry(c->calls.next, struct aws_call, link));
	client_free(c);
}

/* ---- requests ---- */

void
aws_form_fini(struct aws_form *f)
{
	if (f->body.data)
		explicit_bzero(f->body.data, f->body.cap);
	buf_fini(&f->body);
}

/* Blanks as '+', like botocore: a server that checks the signature over a form it has decoded and encoded again, as
   moto does, then finds the same. */
static void
form_encode(struct buf *out, const char *s)
{
	for (;; s++) {
		size_t n = strcspn(s, " ");

		sigv4_encode(out, s, n);
		s += n;
		if (!*s)
			return;
		buf_char(out, '+');
	}
}

void
aws_form_add(struct aws_form *f, const char *value, const char *name_fmt, ...)
{
	va_list ap;
	char text[256];
	int n;

	if (!value)
		return;
	va_start(ap, name_fmt);
	n = vsnprintf(text, sizeof(text), name_fmt, ap);
	va_end(ap);
	assert(n > 0 && (size_t)n < sizeof(text)); /* names are ours */
	if (f->body.len)
		buf_char(&f->body, '&');
	form_encode(&f->body, text);
	buf_char(&f->body, '=');
	form_encode(&f->body, value);
}

struct aws_call *
aws_query(struct aws_client *c, const char *action, struct aws_form *form,
    const struct aws_call_options *opt, aws_query_fn done, void *arg)
{
	bool unfiltered =
	    !opt->filtered && bucket_limits_of(action).unfiltered_capacity > 0;
	struct buf body = BUF_INIT(0);
	struct aws_call *call;
	size_t n;

	buf_fmt(&body, "Action=%s&Version=%s%s", action,
	    c->api_version ? c->api_version : "", form->body.len ? "&" : "");
	if (form->body.len)
		buf_add(&body, form->body.data, form->body.len);
	aws_form_fini(form);
	n = body.len;
	call = call_new(c, lane_of(c, action, unfiltered), buf_take(&body), n, opt);
	call->query_done = done;
	call->arg = arg;
	return call;
}

struct aws_call *
aws_json(struct aws_client *c, const char *target, const char *body,
    const struct aws_call_options *opt, aws_json_fn done, void *arg)
{
	const char *dot = strrchr(target, '.');
	struct lane *lane = lane_of(c, dot ? dot + 1 : target, false);
	struct aws_call *call = call_new(c, lane, xstrdup(body), strlen(body), opt);

	call->target = xstrdup(target);
	call->json_done = done;
	call->arg = arg;
	return call;
}

struct aws_call *
aws_rest(struct aws_client *c, const char *method, const char *action, const char *path,
    const char *body, const struct aws_call_options *opt, aws_json_fn done, void *arg)
{
	const char *text = body ? body : "";
	struct aws_call *call =
	    call_new(c, lane_of(c, action, false), xstrdup(text), strlen(text), opt);

	call->method = method;
	call->rest = xstrdup(path);
	call->json_done = done;
	call->arg = arg;
	return call;
}

uint64_t
aws_client_calls(const struct aws_client *c, const char *action)
{
	const struct lane *l;
	uint64_t n = 0;
	size_t at = 0;

	while ((l = map_next(&c->lanes, &at)))
		if (!action || strcmp(action, l->action) == 0)
			n += l->calls;
	return n;
}

uint64_t
aws_client_throttled(const struct aws_client *c)
{
	return c->throttled;
}

int
aws_client_counts(const struct aws_client *c, struct aws_count *ret, int max)
{
	const struct lane *l;
	size_t at = 0;
	int n = 0, i;

	while ((l = map_next(&c->lanes, &at))) {
		/* a Describe may have two lanes */
		for (i = 0; i < n && strcmp(ret[i].action, l->action) != 0; i++)
			;
		if (i == max)
			continue;
		if (i == n)
			ret[n++] = (struct aws_count){.action = l->action};
		ret[i].calls += l->calls;
		ret[i].throttled += l->throttled;
	}
	return n;
}
