/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "aws/client_internal.h"
#include "aws/credentials.h"
#include "aws/sigv4.h"
#include "aws/xml.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "net/fetch.h"

#define DEADLINE_MS (5 * 60 * 1000)
#define BACKOFF_MS 100 /* first; doubled each time */
#define BACKOFF_THROTTLED_MS 500
#define BACKOFF_MAX_MS 20000 /* botocore/retries/standard.py */
#define RETRY_AFTER_MAX_S 300
#define SKEW_MIN_MS                                                                      \
	60000 /* AWS forgives five minutes; less than this is not why it refused */
#define QUOTA_MAX 500
#define QUOTA_RETRY 5

#define TO(x) (1u << CALL_##x)

static const struct {
	const char *name;
	unsigned next;
} states[CALL_STATE_MAX] = {
    [CALL_WAITING] = {"waiting", TO(KEY) | TO(ENDING) | TO(DONE)},
    [CALL_KEY] = {"key", TO(SENT) | TO(ENDING) | TO(ABANDONED)},
    [CALL_SENT] = {"sent", TO(WAITING) | TO(BACKOFF) | TO(DONE)},
    [CALL_BACKOFF] = {"backoff", TO(WAITING) | TO(DONE)},
    [CALL_ENDING] = {"ending", TO(DONE)},
    [CALL_DONE] = {"done", 0},
    [CALL_ABANDONED] = {"abandoned", TO(DONE)},
};

static void
move(struct aws_call *call, enum call_state to)
{
	assert(states[call->state].next & (1u << to));
	call->state = to;
}

static struct aws_about
about(const struct aws_call *call)
{
	const struct aws_client *c = call->c;

	return (struct aws_about){
	    .action = call->lane->action,
	    .service = c->service,
	    .region = c->region,
	    .endpoint = c->base,
	    .own_endpoint = c->own_endpoint,
	    .key_source = call->key_source[0] ? call->key_source : "this host",
	};
}

/* ---- the end ---- */

static void
call_free(struct aws_call *call)
{
	explicit_bzero(call->body, call->body_len);
	free(call->body);
	free(call->target);
	free(call->rest);
	free(call);
}

static bool
speaks_json(const struct aws_call *call)
{
	return call->target || call->method;
}

/* Out of everything that could call it back, but for the credentials. */
static void
detach(struct aws_call *call)
{
	timer_off(&call->timer);
	timer_off(&call->deadline);
	list_remove(&call->link);
	list_remove(&call->lane_link);
	if (call->fetch)
		fetch_cancel(call->fetch);
	call->fetch = NULL;
}

/* The caller may close the client from `done`. */
static void
end(struct aws_call *call, const struct xml *xml, const char *json,
    const struct aws_error *aws, const struct err *err)
{
	bool held = call->state == CALL_KEY;

	move(call, held ? CALL_ABANDONED : CALL_DONE);
	detach(call);
	if (speaks_json(call))
		call->json_done(call->arg, json, aws, err);
	else
		call->query_done(call->arg, xml, aws, err);
	if (!held)
		call_free(call);
}

static void
end_failed(struct aws_call *call)
{
	call->failure.aws.maybe_done = call->lost;
	end(call, NULL, NULL, &call->failure.aws, &call->failure.err);
}

static void
on_ending(void *arg)
{
	end_failed(arg);
}

/* For where a caller's callback must not run. */
static void
end_later(struct aws_call *call)
{
	move(call, CALL_ENDING);
	timer_set(call->c->clock, &call->timer, 0, on_ending, call);
}

void
call_closed(struct aws_call *call)
{
	call->lost = call->lost || call->state == CALL_SENT;
	call->failure = (struct aws_failure){0};
	err_set(&call->failure.err, ERR_CANCELLED, "%s: given up, for the program ends",
	    call->lane->action);
	end_failed(call);
}

void
aws_call_cancel(struct aws_call *call)
{
	bool held = call->state == CALL_KEY;

	move(call, held ? CALL_ABANDONED : CALL_DONE);
	detach(call);
	if (!held)
		call_free(call);
}

static void
on_deadline(void *arg)
{
	struct aws_call *call = arg;
	struct err *err = &call->failure.err;
	int64_t s = call->opt.deadline_ms / 1000;

	if (call->state == CALL_SENT)
		call->lost = true;
	if (err->code == ERR_NONE && call->attempts == 0) {
		err_set(err, ERR_RATE_LIMITED, "%s: did not get its turn in %lld s",
		    call->lane->action, (long long)s);
		err_hint(err, "more calls of it are waiting than AWS's rate allows");
	} else if (err->code == ERR_NONE) {
		err_set(err, ERR_UNAVAILABLE, "%s: %s did not answer in %lld s",
		    call->lane->action, call->c->base, (long long)s);
		err_hint(err, "check network, DNS and proxy");
	}
	end_failed(call);
}

/* ---- trying again ---- */

/* Full jitter: anything up to the exponential (AWS Architecture Blog, "Exponential Backoff And Jitter"). */
static int64_t
jitter(int64_t first_ms, int n)
{
	int64_t max = n < 10 ? first_ms << n : BACKOFF_MAX_MS;
	uint32_t r = 0;

	if (max > BACKOFF_MAX_MS)
		max = BACKOFF_MAX_MS;
	(void)!getrandom(&r, sizeof(r), 0);
	return (int64_t)((uint64_t)r * (uint64_t)max >> 32);
}

static void
again_now(struct aws_call *call)
{
	move(call, CALL_WAITING);
	lane_enter(call->lane, call, true);
}

static void
on_backoff(void *arg)
{
	again_now(arg);
}

static void
again_after(struct aws_call *call, int64_t delay_ms, int64_t retry_after_s)
{
	if (retry_after_s > RETRY_AFTER_MAX_S)
		retry_after_s = RETRY_AFTER_MAX_S;
	if (delay_ms < retry_after_s * 1000)
		delay_ms = retry_after_s * 1000;
	move(call, CALL_BACKOFF);
	timer_set(call->c->clock, &call->timer, delay_ms, on_backoff, call);
}

static bool
take_quota(struct aws_call *call)
{
	if (call->c->retry_tokens < QUOTA_RETRY)
		return false;
	call->c->retry_tokens -= QUOTA_RETRY;
	call->quota_taken += QUOTA_RETRY;
	return true;
}

static void
give_quota(struct aws_call *call)
{
	int n = call->c->retry_tokens + (call->quota_taken ? call->quota_taken : 1);

	call->c->retry_tokens = n < QUOTA_MAX ? n : QUOTA_MAX;
}

/* True: the clock was off, and now is not. */
static bool
correct_clock(struct aws_call *call, int64_t date_s)
{
	struct aws_client *c = call->c;
	int64_t off = date_s * 1000 - clock_wall_ms(c->clock) - c->skew_ms;

	if (call->clock_tried)
		return false;
	call->clock_tried = true;
	if (call->skew_ms !=
	    c->skew_ms) /* another call's refusal has corrected it since */
		return true;
	if (date_s == 0 || (off < SKEW_MIN_MS && off > -SKEW_MIN_MS))
		return false;
	c->skew_ms += off;
	log_warn("this host's clock is %lld s off that of %s: requests are signed by the "
		 "other's",
	    (long long)(c->skew_ms / 1000), c->base);
	return true;
}

static bool
reject_key(struct aws_call *call)
{
	if (call->key_tried)
		return false;
	call->key_tried = true;
	credentials_rejected(call->c->credentials, call->key_id);
	return true;
}

static bool
may_retry(struct aws_call *call)
{
	return (call->opt.repeatable || !call->lost) &&
	       ++call->retries < call->c->attempts_max && take_quota(call);
}

/* call->failure says how the attempt went. */
static void
next(struct aws_call *call, int64_t date_s, int64_t retry_after_s)
{
	switch (call->failure.remedy) {
	case AWS_THROTTLED:
		lane_throttled(call->lane);
		again_after(
		    call, jitter(BACKOFF_THROTTLED_MS, call->backoffs++), retry_after_s);
		return;
	case AWS_TRANSIENT:
		if (!may_retry(call))
			break;
		again_after(call, jitter(BACKOFF_MS, call->retries - 1), retry_after_s);
		return;
	case AWS_CLOCK:
		if (!correct_clock(call, date_s) && !reject_key(call))
			break;
		again_now(call);
		return;
	case AWS_KEY:
		if (!reject_key(call))
			break;
		again_now(call);
		return;
	case AWS_FINAL:
		break;
	}
	end_failed(call);
}

/* ---- replies ---- */

static void
succeed_query(struct aws_call *call, const struct fetch_reply *reply)
{
	struct aws_error aws = {.status = reply->status};
	struct aws_about a = about(call);
	struct xml *root = NULL;
	struct err err;

	if (xml_parse(reply->body, reply->body_len, &root, &err) < 0) {
		call->lost = true; /* whatever that was: it is not known what was done */
		aws_failure_of_garbage(&call->failure, &a, reply, &err);
		end_failed(call);
		return;
	}
	give_quota(call);
	end(call, root, NULL, &aws, NULL);
	xml_free(root);
}

static void
succeed_json(struct aws_call *call, const struct fetch_reply *reply)
{
	struct aws_error aws = {.status = reply->status};
	struct aws_about a = about(call);
	json_t *json = json_loadb(reply->body, reply->body_len, 0, NULL);
	struct err err;

	if (!json) {
		call->lost = true;
		err_set(&err, ERR_INVALID, "not JSON");
		aws_failure_of_garbage(&call->failure, &a, reply, &err);
		end_failed(call);
		return;
	}
	json_decref(json);
	give_quota(call);
	end(call, NULL, reply->body, &aws, NULL);
}

static void
on_fetched(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	struct aws_call *call = arg;
	struct aws_about a = about(call);

	call->fetch = NULL;
	if (!reply) {
		call->lost = call->lost || sent;
		aws_failure_of_silence(&call->failure, &a, err);
		next(call, 0, -1);
	} else if (reply->status / 100 != 2) {
		aws_failure_of_reply(&call->failure, &a, reply);
		call->lost = call->lost || call->failure.remedy == AWS_TRANSIENT;
		next(call, reply->date_s, reply->retry_after_s);
	} else if (speaks_json(call)) {
		succeed_json(call, reply);
	} else {
		succeed_query(call, reply);
	}
}

/* ---- sending ---- */

#define HEADERS_MAX 6

struct headers {
	char date[SIGV4_DATE_MAX];
	struct sigv4_header h[HEADERS_MAX];
	int n;
};

static void
put(struct headers *hs, const char *name, const char *value)
{
	if (value && *value)
		hs->h[hs->n++] = (struct sigv4_header){name, value};
}

static void
make_headers(const struct aws_call *call, const char *token, struct headers *hs)
{
	const struct aws_client *c = call->c;

	sigv4_date((clock_wall_ms(c->clock) + c->skew_ms) / 1000, hs->date);
	put(hs, "Host", c->host);
	put(hs, "X-Amz-Date", hs->date);
	put(hs, "X-Amz-Security-Token", token);
	put(hs, "X-Amz-Target", call->target);
	if (call->method)
		put(hs, "Content-Type", call->body_len ? "application/json" : NULL);
	else
		put(hs, "Content-Type",
		    call->target ? "application/x-amz-json-1.1"
				 : "application/x-www-form-urlencoded; charset=utf-8");
}

/* What is called below the endpoint: owned. Its query follows, or "". */
static char *
path_of(const struct aws_call *call, const char **ret_query)
{
	const char *base = call->c->path, *mark;
	size_t n = strlen(base);

	*ret_query = "";
	if (!call->method)
		return xstrdup(base);
	mark = strchr(call->rest, '?');
	if (mark)
		*ret_query = mark + 1;
	while (n > 0 && base[n - 1] == '/')
		n--;
	return xasprintf(
	    "%.*s%.*s", (int)n, base, (int)strcspn(call->rest, "?"), call->rest);
}

static int
sign(const struct aws_call *call, const struct credentials_key *key,
    const struct headers *hs, struct buf *authorization, struct err *err)
{
	const char *query;
	AUTO_FREE char *path = path_of(call, &query);
	const struct sigv4_request req = {
	    .method = call->method ? call->method : "POST",
	    .path = path,
	    .query = query,
	    .headers = hs->h,
	    .n_headers = hs->n,
	    .body = call->body,
	    .body_len = call->body_len,
	};
	const struct sigv4_key k = {
	    key->access_key_id, key->secret_access_key, key->session_token};

	return sigv4_sign(
	    &req, &k, call->c->region, call->c->service, authorization, err);
}

static void
put_on_wire(struct aws_call *call, const struct headers *hs, const char *authorization)
{
	struct fetch_header h[HEADERS_MAX + 1];
	const char *query;
	AUTO_FREE char *path = path_of(call, &query);
	AUTO_FREE char *url =
	    xasprintf("%s%s%s%s", call->c->base, path, *query ? "?" : "", query);
	struct fetch_request req = {
	    .method = call->method ? call->method : "POST",
	    .url = url,
	    .headers = h,
	    .n_headers = hs->n + 1,
	    .body = call->body,
	    .body_len = call->body_len,
	    .timeout_ms = call->opt.timeout_ms,
	    .no_proxy = call->c->loopback,
	    .once = !call->opt.repeatable,
	    .secret = true,
	};

	for (int i = 0; i < hs->n; i++)
		h[i] = (struct fetch_header){hs->h[i].name, hs->h[i].value};
	h[hs->n] = (struct fetch_header){"Authorization", authorization};
	call->attempts++;
	call->lane->calls++;
	call->fetch = fetch_start(call->c->fetcher, &req, on_fetched, call);
	move(call, CALL_SENT);
}

static void
fail_later(struct aws_call *call, const struct err *err)
{
	call->failure = (struct aws_failure){.err = *err};
	if (err->code == ERR_NOT_FOUND)
		call->failure.err.code = ERR_NOT_PERMITTED;
	err_wrap(&call->failure.err, "%s", call->lane->action);
	end_later(call);
}

static void
on_key(void *arg, const struct credentials_key *key, const struct err *err)
{
	struct aws_call *call = arg;
	AUTO_BUF struct buf authorization = BUF_INIT(0);
	struct headers hs = {.n = 0};
	struct err why;

	if (call->state == CALL_ABANDONED) {
		call_free(call);
		return;
	}
	if (!key) {
		fail_later(call, err);
		return;
	}
	if (call->key_tried && strcmp(call->key_id, key->access_key_id) == 0) {
		end_later(call); /* the one that was refused: nothing would change */
		return;
	}
	(void)snprintf(call->key_id, sizeof(call->key_id), "%s", key->access_key_id);
	(void)snprintf(call->key_source, sizeof(call->key_source), "%s", key->source);
	call->skew_ms = call->c->skew_ms;
	make_headers(call, key->session_token, &hs);
	if (sign(call, key, &hs, &authorization, &why) < 0)
		fail_later(call, &why);
	else
		put_on_wire(call, &hs, authorization.data);
}

void
call_go(struct aws_call *call)
{
	move(call, CALL_KEY);
	credentials_get(call->c->credentials, on_key, call);
}

struct aws_call *
call_new(struct aws_client *c, struct lane *lane, char *body, size_t body_len,
    const struct aws_call_options *opt)
{
	struct aws_call *call = xnew(struct aws_call);

	assert(!c->closed);
	call->c = c;
	call->lane = lane;
	call->opt = *opt;
	call->body = body;
	call->body_len = body_len;
	if (call->opt.deadline_ms <= 0)
		call->opt.deadline_ms = DEADLINE_MS;
	list_push_back(&c->calls, &call->link);
	list_init(&call->lane_link);
	lane_enter(lane, call, false);
	timer_set(c->clock, &call->deadline, call->opt.deadline_ms, on_deadline, call);
	return call;
}
