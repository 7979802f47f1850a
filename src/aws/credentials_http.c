/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys by HTTP from this machine's own surroundings: the container agent's endpoint (ECS, EKS Pod Identity), and
 * EC2's metadata service, version 2 only: whoever answers without a session token is not asked again without one.
 * Neither is ever reached through a proxy.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "aws/credentials_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "net/fetch.h"

#define CONTAINER_TIMEOUT_MS 2000 /* ContainerMetadataFetcher in botocore/utils.py */
#define SESSION_TTL_S 21600	  /* the longest the metadata service gives */
#define SESSION_MARGIN_MS 60000
#define SESSION_TOKEN_MAX 1024
#define ROLE_NAME_MAX 128

/*
 *  CONTAINER
 *  SESSION → ROLE → KEY        401 in ROLE or KEY: back to SESSION, once
 */
enum http_state { HTTP_CONTAINER, HTTP_SESSION, HTTP_ROLE, HTTP_KEY };

struct credentials_http {
	enum http_state state;
	struct credentials_io io;
	const struct credentials_plan *plan; /* borrowed */
	struct credentials_imds *session;    /* borrowed; of the metadata service */
	int sessions;			     /* asked for */
	char *role;
	struct fetch *fetch;
	credentials_done_fn done;
	void *arg;
};

static void on_reply(
    void *arg, const struct fetch_reply *reply, bool sent, const struct err *err);

static void
free_all(struct credentials_http *h)
{
	free(h->role);
	free(h);
}

void
credentials_http_cancel(struct credentials_http *h)
{
	if (h->fetch)
		fetch_cancel(h->fetch);
	free_all(h);
}

static void
finish(struct credentials_http *h, struct owned_key *key, const struct err *err)
{
	credentials_done_fn done = h->done;
	void *arg = h->arg;

	free_all(h);
	done(arg, key, err);
}

static void
fail(struct credentials_http *h, enum err_code code, const char *what, int status)
{
	struct err err;

	err_set(&err, code, "%s: %s (HTTP %d)", h->plan->source, what, status);
	finish(h, NULL, &err);
}

static void
ask(struct credentials_http *h, const char *method, const char *path,
    const struct fetch_header *headers, int n, int timeout_ms)
{
	AUTO_FREE char *url = xasprintf("%s%s", h->plan->url, path);
	struct fetch_request req = {
	    .method = method,
	    .url = url,
	    .headers = headers,
	    .n_headers = n,
	    .connect_timeout_ms = timeout_ms,
	    .timeout_ms = timeout_ms,
	    .reply_max = CREDENTIALS_REPLY_MAX,
	    .no_proxy = true,
	    .secret = true,
	};

	h->fetch = fetch_start(h->io.fetcher, &req, on_reply, h);
}

/* ---- the metadata service ---- */

static void
ask_session(struct credentials_http *h)
{
	struct fetch_header ttl = {"X-aws-ec2-metadata-token-ttl-seconds", "21600"};

	h->state = HTTP_SESSION;
	h->sessions++;
	ask(h, "PUT", "latest/api/token", &ttl, 1, h->plan->timeout_ms);
}

static void
ask_with_session(struct credentials_http *h, enum http_state state, const char *role)
{
	struct fetch_header token = {"X-aws-ec2-metadata-token", h->session->token};
	AUTO_FREE char *path =
	    xasprintf("latest/meta-data/iam/security-credentials/%s", role);

	h->state = state;
	ask(h, "GET", path, &token, 1, h->plan->timeout_ms);
}

static void
on_session(struct credentials_http *h, const struct fetch_reply *reply)
{
	if (reply->status != 200) {
		/* 403: turned off; 404, 405: it does not know of sessions */
		fail(h,
		    reply->status >= 500 || reply->status == 429 ? ERR_UNAVAILABLE
								 : ERR_NOT_FOUND,
		    "no session token", reply->status);
		return;
	}
	if (reply->body_len > SESSION_TOKEN_MAX ||
	    strlen(reply->body) != reply->body_len ||
	    !credentials_key_is_header(reply->body)) {
		fail(h, ERR_INVALID, "its session token is none", reply->status);
		return;
	}
	credentials_key_wipe(h->session->token);
	h->session->token = xstrdup(reply->body);
	h->session->good_until_ms =
	    clock_now_ms(h->io.clock) + SESSION_TTL_S * 1000 - SESSION_MARGIN_MS;
	ask_with_session(h, HTTP_ROLE, "");
}

static bool
is_role_name(const char *s, size_t n)
{
	/* IAM User Guide, "IAM name requirements" */
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789+=,.@_-";

	return n > 0 && n <= ROLE_NAME_MAX && strspn(s, chars) >= n;
}

static void
on_role(struct credentials_http *h, const struct fetch_reply *reply)
{
	size_t n = strcspn(reply->body, "\r\n");

	if (!is_role_name(reply->body, n)) {
		fail(h, ERR_INVALID, "it names no role", reply->status);
		return;
	}
	free(h->role);
	h->role = xstrndup(reply->body, n);
	ask_with_session(h, HTTP_KEY, h->role);
}

/* AWS SDKs reference guide, "Static stability": a key that the metadata service could not renew goes on being
   used, because it is still accepted; after some minutes we ask again. */
static void
extend(struct credentials_http *h, struct owned_key *key)
{
	int64_t now = clock_wall_ms(h->io.clock);
	uint32_t r = 0;

	if (key->expires_at > now + 5 * 60000)
		return;
	(void)!getrandom(&r, sizeof(r), 0);
	key->expires_at = now + CREDENTIALS_EXTENSION_MS + (int64_t)(r % (8 * 60000));
}

static void
on_key(struct credentials_http *h, const struct fetch_reply *reply)
{
	struct owned_key key = {0};
	struct err err;

	if (credentials_key_from_json(reply->body, reply->body_len,
		CREDENTIALS_JSON_METADATA, h->plan->source, &key, &err) < 0) {
		finish(h, NULL, &err);
		return;
	}
	if (h->session)
		extend(h, &key);
	finish(h, &key, NULL);
	credentials_key_fini(&key);
}

/* Of the requests that bear a session's token. */
static void
on_refused(struct credentials_http *h, int status)
{
	if (status == 401 && h->sessions == 0) {
		ask_session(h);
		return;
	}
	if (status == 404)
		fail(h, ERR_NOT_FOUND, "this instance has no role", status);
	else if (status >= 500 || status == 429)
		fail(h, ERR_UNAVAILABLE, "it does not answer", status);
	else
		fail(h, ERR_NOT_PERMITTED, "refused", status);
}

/* ---- all replies ---- */

static void
on_container(struct credentials_http *h, const struct fetch_reply *reply)
{
	if (reply->status == 200)
		on_key(h, reply);
	else if (reply->status >= 500 || reply->status == 429)
		fail(h, ERR_UNAVAILABLE, "it does not answer", reply->status);
	else
		fail(h, ERR_NOT_PERMITTED, "refused", reply->status);
}

static void
on_reply(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	struct credentials_http *h = arg;
	struct err why;

	h->fetch = NULL;
	if (err) {
		why = *err;
		err_wrap(&why, "%s", h->plan->source);
		finish(h, NULL, &why);
	} else if (h->state == HTTP_CONTAINER) {
		on_container(h, reply);
	} else if (h->state == HTTP_SESSION) {
		on_session(h, reply);
	} else if (reply->status != 200) {
		on_refused(h, reply->status);
	} else if (h->state == HTTP_ROLE) {
		on_role(h, reply);
	} else {
		on_key(h, reply);
	}
}

static struct credentials_http *
http_new(const struct credentials_io *io, const struct credentials_plan *plan,
    credentials_done_fn done, void *arg)
{
	struct credentials_http *h = xnew(struct credentials_http);

	h->io = *io;
	h->plan = plan;
	h->done = done;
	h->arg = arg;
	return h;
}

void
credentials_http_imds(const struct credentials_io *io,
    const struct credentials_plan *plan, struct credentials_imds *session,
    credentials_done_fn done, void *arg, struct credentials_http **ret)
{
	struct credentials_http *h = http_new(io, plan, done, arg);

	h->session = session;
	if (session->token && clock_now_ms(io->clock) < session->good_until_ms)
		ask_with_session(h, HTTP_ROLE, "");
	else
		ask_session(h);
	*ret = h;
}

/* The token is read anew each time: the agent replaces the file. */
int
credentials_http_container(const struct credentials_io *io,
    const struct credentials_plan *plan, credentials_done_fn done, void *arg,
    struct credentials_http **ret, struct err *err)
{
	struct fetch_header headers[2] = {{"Accept", "application/json"}};
	struct credentials_http *h;
	char *token = NULL;
	int n = 1;

	if (plan->token_file &&
	    credentials_key_read_token(plan->token_file, &token, err) < 0)
		return -1;
	if (!token)
		token = xstrdup_null(plan->token);
	if (token && !credentials_key_is_header(token)) {
		credentials_key_wipe(token);
		return err_set(err, ERR_INVALID,
		    "the authorization token in the environment is not one line");
	}
	if (token)
		headers[n++] = (struct fetch_header){"Authorization", token};
	h = http_new(io, plan, done, arg);
	h->state = HTTP_CONTAINER;
	ask(h, "GET", "", headers, n, CONTAINER_TIMEOUT_MS);
	credentials_key_wipe(token);
	*ret = h;
	return 0;
}
