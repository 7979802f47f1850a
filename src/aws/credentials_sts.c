/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STS: AssumeRole, signed with a key that we have, and AssumeRoleWithWebIdentity, which is not signed. The calls are made
 * here and not by aws_client, which needs credentials to make any.
 */
#include <ctype.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "aws/credentials_internal.h"
#include "aws/sigv4.h"
#include "aws/xml.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "net/fetch.h"

#define BODY_MAX (128u << 10) /* a token of 32 KiB, each byte encoded as three */
#define TIMEOUT_MS 20000
#define SKEW_MIN_S 240 /* AWS takes what is wrong by less than five minutes */
#define GLOBAL_REGION "us-east-1"

struct credentials_sts {
	struct credentials_io io;
	bool web;
	char *endpoint;
	char *region;
	char *host;
	char *path;
	struct owned_key key;
	struct buf body; /* wiped; never grows */
	int64_t skew_s;	 /* 0: not corrected yet */
	struct fetch *fetch;
	credentials_done_fn done;
	void *arg;
};

static void send_request(struct credentials_sts *s);

/* ---- the request ---- */

static void
add(struct buf *body, const char *name, const char *value)
{
	if (!value)
		return;
	buf_fmt(body, "%s%s=", body->len ? "&" : "", name);
	sigv4_encode(body, value, strlen(value));
}

static void
make_body(
    struct credentials_sts *s, const struct credentials_role *role, const char *token)
{
	AUTO_FREE char *session = xstrdup_null(role->session_name);
	AUTO_FREE char *duration = NULL;

	if (!session)
		session = xasprintf(
		    "hearth-%lld", (long long)(clock_wall_ms(s->io.clock) / 1000));
	if (role->duration_s > 0)
		duration = xasprintf("%lld", (long long)role->duration_s);
	s->body = (struct buf){
	    .data = xcalloc(1, BODY_MAX + 1), .cap = BODY_MAX + 1, .max = BODY_MAX};
	add(&s->body, "Action", s->web ? "AssumeRoleWithWebIdentity" : "AssumeRole");
	add(&s->body, "Version", "2011-06-15");
	add(&s->body, "RoleArn", role->arn);
	add(&s->body, "RoleSessionName", session);
	add(&s->body, "DurationSeconds", duration);
	add(&s->body, "ExternalId", role->external_id);
	add(&s->body, "WebIdentityToken", token);
}

/* It becomes part of a host name. botocore's validate_region_name(). */
static bool
is_region(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && *s != '-')
			return false;
	return true;
}

/* Without a region the global endpoint is asked, which is us-east-1's. */
static int
choose_endpoint(
    struct credentials_sts *s, const char *endpoint, const char *region, struct err *err)
{
	if (region && !is_region(region))
		return err_set(
		    err, ERR_INVALID, "'%.64s' cannot be the name of a region", region);
	s->region = xstrdup(region ? region : GLOBAL_REGION);
	if (endpoint)
		s->endpoint = xstrdup(endpoint);
	else if (!region)
		s->endpoint = xstrdup("https://sts.amazonaws.com");
	else
		s->endpoint = xasprintf("https://sts.%s.amazonaws.com%s", region,
		    strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
	return 0;
}

/* Host and path of the endpoint, which is used as it is given. */
static int
cut_endpoint(struct credentials_sts *s, struct err *err)
{
	const char *host = strstr(s->endpoint, "://");
	size_t n;

	if (!host || (strncmp(s->endpoint, "http://", 7) != 0 &&
			 strncmp(s->endpoint, "https://", 8) != 0))
		return err_set(
		    err, ERR_INVALID, "STS endpoint: not an http or https URL");
	host += 3;
	n = strcspn(host, "/?#");
	if (n == 0 || memchr(host, '@', n) || host[n] == '?' || host[n] == '#' ||
	    !credentials_key_is_header(host))
		return err_set(
		    err, ERR_INVALID, "STS endpoint: not a URL of host and path");
	s->host = xstrndup(host, n);
	s->path = xstrdup(host[n] ? host + n : "/");
	return 0;
}

static int
sign(struct credentials_sts *s, struct sigv4_header *h, int n, struct buf *authorization,
    struct err *err)
{
	struct sigv4_request req = {
	    .method = "POST",
	    .path = s->path,
	    .query = "",
	    .headers = h,
	    .n_headers = n,
	    .body = s->body.data,
	    .body_len = s->body.len,
	};
	struct sigv4_key key = {
	    s->key.access_key_id, s->key.secret_access_key, s->key.session_token};

	return sigv4_sign(&req, &key, s->region, "sts", authorization, err);
}

/* ---- the reply ---- */

static void
free_all(struct credentials_sts *s)
{
	OPENSSL_cleanse(s->body.data, s->body.data ? s->body.cap : 0);
	buf_fini(&s->body);
	credentials_key_fini(&s->key);
	free(s->endpoint);
	free(s->region);
	free(s->host);
	free(s->path);
	free(s);
}

void
credentials_sts_cancel(struct credentials_sts *s)
{
	if (s->fetch)
		fetch_cancel(s->fetch);
	free_all(s);
}

static void
finish(struct credentials_sts *s, struct owned_key *key, const struct err *err)
{
	credentials_done_fn done = s->done;
	void *arg = s->arg;

	free_all(s);
	done(arg, key, err);
}

/* The tree is the XML parser's; the secrets in it are ours to wipe. */
static void
wipe_text(const struct xml *x, const char *path)
{
	const struct xml *leaf = xml_find(x, path);

	if (leaf && leaf->text[0])
		OPENSSL_cleanse((char *)leaf->text, strlen(leaf->text));
}

static int
read_key(const struct xml *root, bool web, struct owned_key *ret, struct err *err)
{
	const struct xml *c =
	    xml_find(root, web ? "AssumeRoleWithWebIdentityResult/Credentials"
			       : "AssumeRoleResult/Credentials");
	int64_t expires_at;
	int r;

	if (credentials_key_time(xml_text(c, "Expiration"), &expires_at, err) < 0)
		return err_set(err, ERR_INVALID, "the reply holds no credentials");
	credentials_key_set(ret, xml_text(c, "AccessKeyId"),
	    xml_text(c, "SecretAccessKey"), xml_text(c, "SessionToken"), expires_at);
	wipe_text(c, "SecretAccessKey");
	wipe_text(c, "SessionToken");
	r = credentials_key_check(ret, "the reply", err);
	if (r < 0)
		credentials_key_fini(ret);
	return r;
}

static const struct xml *
error_of(const struct xml *root)
{
	const struct xml *e = xml_child(root, "Error");

	return e ? e : xml_find(root, "Errors/Error");
}

static bool
is_one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(*list, s) == 0)
			return true;
	return false;
}

/* A message of AWS's in one line of ours. */
static void
add_message(struct err *err, const char *message)
{
	size_t n = strlen(err->msg), max = sizeof(err->msg) - 1;

	for (const char *c = ": "; *c && n < max; c++)
		err->msg[n++] = *c;
	for (; *message && n < max; message++)
		err->msg[n++] =
		    (char)(*message >= ' ' && *message <= '~' ? *message : ' ');
	err->msg[n] = '\0';
}

static void
set_error(struct err *err, const struct credentials_sts *s, const char *code,
    const char *message, int status)
{
	static const char *const transient[] = {"IDPCommunicationError", "Throttling",
	    "ThrottlingException", "RequestThrottled", "RequestLimitExceeded",
	    "ServiceUnavailable", "InternalFailure", NULL};
	bool again = status >= 500 || status == 429 || is_one_of(code, transient);

	err_set(err, again ? ERR_UNAVAILABLE : ERR_NOT_PERMITTED, "%s: %.80s (HTTP %d)",
	    s->web ? "AssumeRoleWithWebIdentity" : "AssumeRole",
	    credentials_key_is_header(code) ? code : "not a reply of STS", status);
	if (*message)
		add_message(err, message);
	if (strcmp(code, "AccessDenied") == 0)
		err_hint(err, "the role's trust policy and the caller's policy must both "
			      "allow it");
}

/* The clock is wrong and not the key: taken from the reply once, for this call alone. */
static bool
correct_skew(struct credentials_sts *s, const char *code, const struct fetch_reply *reply)
{
	static const char *const codes[] = {"SignatureDoesNotMatch", "RequestExpired",
	    "InvalidSignatureException", "RequestTimeTooSkewed", NULL};
	int64_t off = reply->date_s - clock_wall_ms(s->io.clock) / 1000;

	if (s->web || s->skew_s || !reply->date_s || !is_one_of(code, codes) ||
	    llabs(off) < SKEW_MIN_S)
		return false;
	s->skew_s = off;
	send_request(s);
	return true;
}

static void
on_reply(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	struct credentials_sts *s = arg;
	struct xml *root = NULL;
	struct owned_key key = {0};
	struct err why = {0};
	const char *code;

	s->fetch = NULL;
	if (err) {
		why = *err;
		err_wrap(&why, "STS");
		finish(s, NULL, &why);
		return;
	}
	if (xml_parse(reply->body, reply->body_len, &root, &why) < 0)
		root = NULL; /* set_error() says that it is not STS who answers */
	if (reply->status == 200 && root && read_key(root, s->web, &key, &why) == 0) {
		finish(s, &key, NULL);
	} else if (reply->status == 200) {
		err_wrap(&why, "STS");
		finish(s, NULL, &why);
	} else {
		code = xml_text(error_of(root), "Code");
		set_error(
		    &why, s, code, xml_text(error_of(root), "Message"), reply->status);
		if (!correct_skew(s, code, reply))
			finish(s, NULL, &why);
	}
	credentials_key_fini(&key);
	xml_free(root);
}

/* ---- starting ---- */

static int
start(struct credentials_sts *s, struct err *err)
{
	char date[SIGV4_DATE_MAX];
	AUTO_BUF struct buf authorization = BUF_INIT(16u << 10);
	struct sigv4_header h[5] = {
	    {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
	    {"Host", s->host},
	    {"X-Amz-Date", date},
	};
	struct fetch_header sent[6];
	struct fetch_request req = {
	    .method = "POST",
	    .url = s->endpoint,
	    .headers = sent,
	    .body = s->body.data,
	    .body_len = s->body.len,
	    .timeout_ms = TIMEOUT_MS,
	    .reply_max = CREDENTIALS_REPLY_MAX,
	    .secret = true,
	};
	int n = 3;

	sigv4_date(clock_wall_ms(s->io.clock) / 1000 + s->skew_s, date);
	if (s->key.session_token)
		h[n++] =
		    (struct sigv4_header){"X-Amz-Security-Token", s->key.session_token};
	for (int i = 0; i < n; i++)
		sent[i] = (struct fetch_header){h[i].name, h[i].value};
	if (!s->web) {
		if (sign(s, h, n, &authorization, err) < 0)
			return -1;
		sent[n++] = (struct fetch_header){"Authorization", authorization.data};
	}
	req.n_headers = n;
	s->fetch = fetch_start(s->io.fetcher, &req, on_reply, s);
	return 0;
}

/* A second time what went once. */
static void
send_request(struct credentials_sts *s)
{
	struct err err;

	if (start(s, &err) < 0)
		finish(s, NULL, &err);
}

static int
prepare(
    struct credentials_sts *s, const struct credentials_sts_request *req, struct err *err)
{
	char *token = NULL;

	if (choose_endpoint(s, req->endpoint, req->region, err) < 0 ||
	    cut_endpoint(s, err) < 0)
		return -1;
	if (s->web && credentials_key_read_token(req->token_file, &token, err) < 0)
		return err_hint(err, "the daemon's user must be able to read it");
	if (req->key)
		credentials_key_set(&s->key, req->key->access_key_id,
		    req->key->secret_access_key, req->key->session_token, 0);
	make_body(s, req->role, token);
	credentials_key_wipe(token);
	if (s->body.overflow)
		return err_set(err, ERR_INVALID, "the role's settings are too long");
	return start(s, err);
}

int
credentials_sts_start(const struct credentials_io *io,
    const struct credentials_sts_request *req, credentials_done_fn done, void *arg,
    struct credentials_sts **ret, struct err *err)
{
	struct credentials_sts *s = xnew(struct credentials_sts);

	s->io = *io;
	s->web = req->key == NULL;
	s->done = done;
	s->arg = arg;
	if (prepare(s, req, err) < 0) {
		free_all(s);
		return -1;
	}
	*ret = s;
	return 0;
}
