/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/request.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/form.h"

/* What belongs to the protocol and not to an action. */
static const char *const protocol_params[] = {"Action", "Version", "AWSAccessKeyId",
    "SecurityToken", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp",
    "Expires", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
    "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-SignedHeaders", NULL};

/* EC2 API Reference, "Error codes"; client errors not listed here are 400. */
static const struct {
	const char *code;
	int status;
} statuses[] = {
    {"AuthFailure", 401},
    {"OptInRequired", 401},
    {"MissingAuthenticationToken", 403},
    {"InvalidClientTokenId", 403},
    {"SignatureDoesNotMatch", 403},
    {"AccessDenied", 403},
    {"UnauthorizedOperation", 403},
    {"DryRunOperation", 412},
    {"RequestEntityTooLarge", 413},
    {"InternalError", 500},
    {"InternalFailure", 500},
    {"InsufficientAddressCapacity", 500},
    {"InsufficientCapacity", 500},
    {"InsufficientHostCapacity", 500},
    {"InsufficientInstanceCapacity", 500},
    {"ServerInternal", 500},
    {"RequestLimitExceeded", 503},
    {"Unavailable", 503},
    {NULL, 0},
};

int
request_fail(struct request *q, const char *code, const char *fmt, ...)
{
	va_list ap;

	if (request_failed(q))
		return -1;
	(void)snprintf(q->code, sizeof(q->code), "%s", code);
	va_start(ap, fmt);
	(void)vsnprintf(q->message, sizeof(q->message), fmt, ap);
	va_end(ap);
	q->status = 400;
	for (int i = 0; statuses[i].code; i++)
		if (strcmp(statuses[i].code, code) == 0)
			q->status = statuses[i].status;
	return -1;
}

void
request_fini(struct request *q)
{
	free(q->params);
	free(q->text);
	free(q->added);
	reply_fini(&q->reply);
}

/* ---- finding ---- */

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct param *)a)->name, ((const struct param *)b)->name);
}

int
request_decode(struct request *q, const char *body, size_t n)
{
	const char *wrong = NULL;

	q->text = xmalloc(n + 1);
	memcpy(q->text, body, n);
	q->text[n] = '\0';
	q->params = form_split(q->text, n, &q->n_params, &wrong);
	if (!q->params)
		return request_fail(q, "MalformedQueryString", "%s", wrong);
	qsort(q->params, (size_t)q->n_params, sizeof(*q->params), by_name);
	for (int i = 1; i < q->n_params; i++)
		if (by_name(&q->params[i - 1], &q->params[i]) == 0)
			return request_fail(q, "MalformedQueryString",
			    "The parameter %.100s is given more than once",
			    q->params[i].name);
	return 0;
}

void
request_add(struct request *q, char *const *entries, int n)
{
	struct buf text = BUF_INIT(0);
	char *at;

	for (int i = 0; i < n; i++)
		buf_add(&text, entries[i], strlen(entries[i]) + 1);
	free(q->added);
	at = q->added = buf_take(&text);
	q->params =
	    xrealloc(q->params, (size_t)(q->n_params + n + 1) * sizeof(*q->params));
	for (int i = 0; i < n; i++) {
		struct param *p = &q->params[q->n_params++];
		size_t len = strlen(at);
		char *sign = strchr(at, '=');

		*sign = '\0';
		*p = (struct param){.name = at, .value = sign + 1};
		at += len + 1;
	}
	qsort(q->params, (size_t)q->n_params, sizeof(*q->params), by_name);
}

/* The first whose name is not before `name`. */
static int
lower_bound(const struct request *q, const char *name)
{
	int from = 0, to = q->n_params;

	while (from < to) {
		int mid = (from + to) / 2;

		if (strcmp(q->params[mid].name, name) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static struct param *
find(const struct request *q, const char *name)
{
	int i = lower_bound(q, name);

	return i < q->n_params && strcmp(q->params[i].name, name) == 0 ? &q->params[i]
								       : NULL;
}

static bool
has(const struct request *q, const char *name)
{
	char below[REQUEST_NAME_MAX + 2];
	int i;

	if (find(q, name))
		return true;
	(void)snprintf(below, sizeof(below), "%s.", name);
	i = lower_bound(q, below);
	return i < q->n_params && strncmp(q->params[i].name, below, strlen(below)) == 0;
}

/* Names longer than a parameter's may be are cut, and so found nowhere. */
#define FORMAT_NAME(to)                                                                  \
	char to[REQUEST_NAME_MAX + 2];                                                   \
	do {                                                                             \
		va_list ap_;                                                             \
		va_start(ap_, name);                                                     \
		(void)vsnprintf(to, sizeof(to), name, ap_);                              \
		va_end(ap_);                                                             \
	} while (0)

/* ---- reading ---- */

bool
request_has(const struct request *q, const char *name, ...)
{
	FORMAT_NAME(s);
	return has(q, s);
}

int
request_count(struct request *q, const char *name, ...)
{
	char item[REQUEST_NAME_MAX + 16];
	int n = 0;

	FORMAT_NAME(s);
	for (;;) {
		(void)snprintf(item, sizeof(item), "%s.%d", s, n + 1);
		if (!has(q, item))
			return n;
		n++;
	}
}

static const char *
text(struct request *q, const char *name)
{
	struct param *p = find(q, name);

	if (!p)
		return NULL;
	p->read = true;
	return p->value;
}

const char *
request_text(struct request *q, const char *name, ...)
{
	FORMAT_NAME(s);
	return text(q, s);
}

const char *
request_need(struct request *q, const char *name, ...)
{
	const char *v;

	FORMAT_NAME(s);
	v = text(q, s);
	if (v && *v)
		return v;
	request_fail(
	    q, "MissingParameter", "The request must contain the parameter %s", s);
	return "";
}

static int
invalid(struct request *q, const char *name, const char *value, const char *why)
{
	return request_fail(q, "InvalidParameterValue",
	    "Value (%.100s) for parameter %s is invalid. %s", value, name, why);
}

int64_t
request_int(
    struct request *q, int64_t otherwise, int64_t min, int64_t max, const char *name, ...)
{
	const char *v;
	char *end, why[96];
	int64_t n;

	FORMAT_NAME(s);
	v = text(q, s);
	if (!v)
		return otherwise;
	errno = 0;
	n = strtoll(v, &end, 10);
	if ((!isdigit((unsigned char)v[0]) && v[0] != '-') || *end || errno) {
		invalid(q, s, v, "Expected an integer.");
		return otherwise;
	}
	if (n < min || n > max) {
		(void)snprintf(why, sizeof(why), "Expected a value from %lld to %lld.",
		    (long long)min, (long long)max);
		invalid(q, s, v, why);
		return otherwise;
	}
	return n;
}

bool
request_bool(struct request *q, bool otherwise, const char *name, ...)
{
	const char *v;

	FORMAT_NAME(s);
	v = text(q, s);
	if (!v)
		return otherwise;
	if (strcasecmp(v, "true") == 0 || strcmp(v, "1") == 0)
		return true;
	if (strcasecmp(v, "false") != 0 && strcmp(v, "0") != 0)
		invalid(q, s, v, "Expected true or false.");
	return false;
}

const char *
request_choice(struct request *q, const char *const *allowed, const char *otherwise,
    const char *name, ...)
{
	AUTO_BUF struct buf names = BUF_INIT(400);
	const char *v;

	FORMAT_NAME(s);
	v = text(q, s);
	if (!v)
		return otherwise;
	for (int i = 0; allowed[i]; i++) {
		if (strcmp(v, allowed[i]) == 0)
			return allowed[i];
		buf_fmt(&names, "%s%s", i ? ", " : "Expected one of ", allowed[i]);
	}
	invalid(q, s, v, names.data ?: "");
	return otherwise;
}

static int
base64_digit(char c)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Line breaks are allowed: base64(1) makes them. NULL: not base64. */
static char *
base64_decode(const char *v, size_t *ret_len)
{
	AUTO_FREE char *out = xmalloc(strlen(v) / 4 * 3 + 4);
	uint32_t bits = 0;
	size_t n = 0;
	int digits = 0;

	for (; *v && *v != '='; v++) {
		int d = base64_digit(*v);

		if (isspace((unsigned char)*v))
			continue;
		if (d < 0)
			return NULL;
		bits = bits << 6 | (uint32_t)d;
		if (++digits % 4 != 1)
			out[n++] = (char)(bits >> (8 - digits % 4 * 2) % 8);
	}
	if (digits % 4 == 1 || strspn(v, "= \r\n") != strlen(v))
		return NULL;
	out[n] = '\0';
	*ret_len = n;
	return TAKE(out);
}

char *
request_base64(struct request *q, size_t max, size_t *ret_len, const char *name, ...)
{
	size_t n = 0;
	const char *v;
	char *out;

	FORMAT_NAME(s);
	v = text(q, s);
	if (!v)
		return NULL;
	out = base64_decode(v, &n);
	if (!out) {
		request_fail(q, "InvalidParameterValue",
		    "Invalid BASE64 encoding of the parameter %s", s);
		return NULL;
	}
	if (n > max) {
		request_fail(q, "InvalidParameterValue",
		    "The parameter %s is limited to %zu bytes before it is encoded", s,
		    max);
		free(out);
		return NULL;
	}
	*ret_len = n;
	return out;
}

void
request_ignore(struct request *q, const char *name, ...)
{
	char below[REQUEST_NAME_MAX + 2];

	FORMAT_NAME(s);
	(void)text(q, s);
	(void)snprintf(below, sizeof(below), "%s.", s);
	for (int i = lower_bound(q, below);
	     i < q->n_params && strncmp(q->params[i].name, below, strlen(below)) == 0;
	     i++)
		q->params[i].read = true;
}

const char **
request_list(struct request *q, int *ret_n, const char *name, ...)
{
	const char **list;
	int n;

	FORMAT_NAME(s);
	n = request_count(q, "%s", s);
	list = xcalloc((size_t)n + 1, sizeof(*list));
	for (int i = 0; i < n; i++)
		list[i] = request_text(q, "%s.%d", s, i + 1) ?: "";
	if (ret_n)
		*ret_n = n;
	return list;
}

/* ---- the end of reading ---- */

static bool
is_protocol(const char *name)
{
	for (int i = 0; protocol_params[i]; i++)
		if (strcmp(name, protocol_params[i]) == 0)
			return true;
	return false;
}

bool
request_ready(struct request *q)
{
	bool dry = request_bool(q, false, "DryRun");

	if (request_failed(q))
		return false;
	for (int i = 0; i < q->n_params; i++)
		if (!q->params[i].read && !is_protocol(q->params[i].name)) {
			request_fail(q, "UnknownParameter",
			    "The parameter %.200s is not recognized", q->params[i].name);
			return false;
		}
	if (dry)
		request_fail(q, "DryRunOperation",
		    "Request would have succeeded, but DryRun flag is set.");
	return !dry;
}

void
request_digest(const struct request *q, char out[REQUEST_DIGEST_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char md[EVP_MAX_MD_SIZE];

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		abort(); /* only when memory runs out */
	for (int i = 0; i < q->n_params; i++) {
		const struct param *p = &q->params[i];

		if (is_protocol(p->name) || strcmp(p->name, "ClientToken") == 0 ||
		    strcmp(p->name, "DryRun") == 0 ||
		    strcmp(p->name, "MaxResults") == 0 ||
		    strcmp(p->name, "NextToken") == 0)
			continue;
		EVP_DigestUpdate(ctx, p->name, strlen(p->name) + 1);
		EVP_DigestUpdate(ctx, p->value, strlen(p->value) + 1);
	}
	EVP_DigestFinal_ex(ctx, md, NULL);
	EVP_MD_CTX_free(ctx);
	for (int i = 0; i < 32; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", md[i]);
}
