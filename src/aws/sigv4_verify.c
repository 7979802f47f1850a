/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/sigv4_impl.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

#define HEADER_MAX 8192
#define EXPIRES_MAX_S (7 * 24 * 3600) /* of a presigned request: AWS, "seven days" */

/* ---- parsing ---- */

/* Copies what fits and is of printable ASCII without blanks; false else. */
static bool
put(char *out, size_t max, const char *s, size_t n)
{
	if (n == 0 || n >= max)
		return false;
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	memcpy(out, s, n);
	out[n] = '\0';
	return true;
}

static bool
all_of(const char *s, const char *chars)
{
	return s[strspn(s, chars)] == '\0';
}

/* Two digits. */
static int
two(const char *s)
{
	return (s[0] - '0') * 10 + s[1] - '0';
}

/* -1: not a date. */
static int64_t
date_s(const char *s)
{
	struct tm tm = {0}, back;
	time_t t;

	if (strlen(s) != SIGV4_DATE_MAX - 1 || s[8] != 'T' || s[15] != 'Z' ||
	    strspn(s, "0123456789") != 8 || strspn(s + 9, "0123456789") != 6)
		return -1;
	tm.tm_year = two(s) * 100 + two(s + 2) - 1900;
	tm.tm_mon = two(s + 4) - 1;
	tm.tm_mday = two(s + 6);
	tm.tm_hour = two(s + 9);
	tm.tm_min = two(s + 11);
	tm.tm_sec = two(s + 13);
	back = tm;
	t = timegm(&back);
	if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday ||
	    back.tm_hour != tm.tm_hour || back.tm_min != tm.tm_min)
		return -1;
	return t >= 0 ? (int64_t)t : -1;
}

static int
take_date(struct sigv4_claim *c, const char *date, const char *where, struct err *err)
{
	if (!date || !put(c->date, sizeof(c->date), date, strlen(date)) ||
	    date_s(date) < 0)
		return err_set(err, ERR_INVALID,
		    "%s must be in ISO-8601 'basic format', like 20261122T054233Z",
		    where);
	return 0;
}

/* KEY/20261122/REGION/SERVICE/aws4_request. Comes after the date, which its own must be of. */
static int
take_credential(struct sigv4_claim *c, const char *s, size_t n, struct err *err)
{
	static const char scope[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	const char *part[6];
	size_t k = 0;

	part[0] = s;
	for (const char *p = s; k < 5 && p < s + n; p++)
		if (*p == '/')
			part[++k] = p + 1;
	if (k == 4)
		part[5] = s + n + 1;
	if (k != 4 ||
	    !put(c->access_key_id, sizeof(c->access_key_id), s,
		(size_t)(part[1] - s - 1)) ||
	    !put(
		c->region, sizeof(c->region), part[2], (size_t)(part[3] - part[2] - 1)) ||
	    !put(c->service, sizeof(c->service), part[3],
		(size_t)(part[4] - part[3] - 1)) ||
	    !all_of(c->region, scope) || !all_of(c->service, scope))
		return err_set(err, ERR_INVALID,
		    "Credential must have exactly 5 slash-delimited elements, e.g. "
		    "keyid/date/region/service/term");
	if (part[5] - part[4] != 13 || memcmp(part[4], "aws4_request", 12) != 0)
		return err_set(err, ERR_INVALID,
		    "Credential should be scoped with a valid terminator: "
		    "'aws4_request'");
	if (part[2] - part[1] != 9 || memcmp(part[1], c->date, 8) != 0)
		return err_set(err, ERR_INVALID,
		    "Date in Credential scope does not match %.8s from X-Amz-Date",
		    c->date);
	return 0;
}

static int
take_signature(struct sigv4_claim *c, const char *s, size_t n, struct err *err)
{
	if (n != sizeof(c->signature) - 1 ||
	    !put(c->signature, sizeof(c->signature), s, n) ||
	    !all_of(c->signature, "0123456789abcdef"))
		return err_set(err, ERR_INVALID,
		    "Signature must be 64 lower-case hexadecimal digits");
	return 0;
}

static int
take_signed_headers(struct sigv4_claim *c, const char *s, size_t n, struct err *err)
{
	size_t names = 1;

	if (!put(c->signed_headers, sizeof(c->signed_headers), s, n))
		return err_set(err, ERR_INVALID,
		    "SignedHeaders is empty, too long or not printable");
	for (const char *p = c->signed_headers; *p; p++) {
		names += *p == ';';
		if ((*p >= 'A' && *p <= 'Z') || *p == ':' || *p == ',')
			return err_set(err, ERR_INVALID,
			    "SignedHeaders must be lower-case names joined by ';'");
	}
	if (names > SIGV4_HEADERS_MAX)
		return err_set(
		    err, ERR_INVALID, "more than %d signed headers", SIGV4_HEADERS_MAX);
	return 0;
}

struct param {
	const char *name;
	const char *value; /* NULL: not there */
	size_t n;
};

enum { CREDENTIAL, SIGNED_HEADERS, SIGNATURE, PARAMS };

/* "Name=value" parts between commas and blanks. */
static int
header_params(const char *s, struct param params[PARAMS], struct err *err)
{
	while (*(s += strspn(s, ", "))) {
		size_t n = strcspn(s, ", "), i = 0, name;

		for (; i < PARAMS; i++) {
			name = strlen(params[i].name);
			if (n > name && strncmp(s, params[i].name, name) == 0 &&
			    s[name] == '=')
				break;
		}
		if (i == PARAMS || params[i].value)
			return err_set(err, ERR_INVALID,
			    "Authorization header has a parameter that is unknown, empty "
			    "or "
			    "there twice");
		params[i].value = s + name + 1;
		params[i].n = n - name - 1;
		s += n;
	}
	return 0;
}

static int
take_params(struct sigv4_claim *c, const struct param params[PARAMS], const char *where,
    struct err *err)
{
	for (int i = 0; i < PARAMS; i++)
		if (!params[i].value)
			return err_set(err, ERR_INVALID, "%s requires '%s' parameter",
			    where, params[i].name);
	if (take_credential(c, params[CREDENTIAL].value, params[CREDENTIAL].n, err) < 0 ||
	    take_signed_headers(
		c, params[SIGNED_HEADERS].value, params[SIGNED_HEADERS].n, err) < 0)
		return -1;
	return take_signature(c, params[SIGNATURE].value, params[SIGNATURE].n, err);
}

static int
parse_header(struct sigv4_claim *c, const char *authorization, const char *x_amz_date,
    struct err *err)
{
	struct param params[PARAMS] = {
	    {.name = "Credential"}, {.name = "SignedHeaders"}, {.name = "Signature"}};
	size_t n = strlen(SIGV4_ALGORITHM);

	if (strlen(authorization) > HEADER_MAX)
		return err_set(err, ERR_INVALID, "Authorization header is over %d bytes",
		    HEADER_MAX);
	if (strncmp(authorization, SIGV4_ALGORITHM, n) != 0 || authorization[n] != ' ')
		return err_set(err, ERR_INVALID,
		    "Authorization header requires the algorithm " SIGV4_ALGORITHM);
	if (!x_amz_date)
		return err_set(err, ERR_INVALID,
		    "Authorization header requires existence of the header 'X-Amz-Date'");
	if (take_date(c, x_amz_date, "X-Amz-Date", err) < 0 ||
	    header_params(authorization + n, params, err) < 0)
		return -1;
	return take_params(c, params, "Authorization header", err);
}

/* The decoded value of the query's first argument of that name; NULL: none. A NUL in it ends it, and so fails
   the checks of what it was to be. */
static char *
argument(const char *query, const char *name)
{
	size_t len = strlen(name), n;

	for (const char *p = query;; p += n + 1) {
		n = strcspn(p, "&");
		if (n > len && strncmp(p, name, len) == 0 && p[len] == '=') {
			char *value = xmalloc(n - len);

			value[sigv4_decode(value, p + len + 1, n - len - 1)] = '\0';
			return value;
		}
		if (!p[n])
			return NULL;
	}
}

static int
take_expires(struct sigv4_claim *c, const char *text, struct err *err)
{
	c->expires_s = 0;
	for (const char *p = text ? text : ""; *p >= '0' && *p <= '9'; p++)
		if ((c->expires_s = c->expires_s * 10 + (*p - '0')) > EXPIRES_MAX_S)
			break;
	if (!text || !*text || !all_of(text, "0123456789") || c->expires_s < 1 ||
	    c->expires_s > EXPIRES_MAX_S)
		return err_set(err, ERR_INVALID, "X-Amz-Expires must be 1 to %d seconds",
		    EXPIRES_MAX_S);
	return 0;
}

static int
parse_query(struct sigv4_claim *c, const char *query, struct err *err)
{
	AUTO_FREE char *algorithm = argument(query, "X-Amz-Algorithm");
	AUTO_FREE char *credential = argument(query, "X-Amz-Credential");
	AUTO_FREE char *headers = argument(query, "X-Amz-SignedHeaders");
	AUTO_FREE char *signature = argument(query, "X-Amz-Signature");
	AUTO_FREE char *date = argument(query, "X-Amz-Date");
	AUTO_FREE char *expires = argument(query, "X-Amz-Expires");
	const struct param params[PARAMS] = {
	    {"X-Amz-Credential", credential, credential ? strlen(credential) : 0},
	    {"X-Amz-SignedHeaders", headers, headers ? strlen(headers) : 0},
	    {"X-Amz-Signature", signature, signature ? strlen(signature) : 0}};

	if (!algorithm || strcmp(algorithm, SIGV4_ALGORITHM) != 0)
		return err_set(err, ERR_INVALID,
		    "the request is not signed: neither a header Authorization nor "
		    "X-Amz-Algorithm=" SIGV4_ALGORITHM);
	c->presigned = true;
	if (take_date(c, date, "X-Amz-Date", err) < 0 ||
	    take_expires(c, expires, err) < 0)
		return -1;
	return take_params(c, params, "AWS query-string", err);
}

int
sigv4_parse(const char *authorization, const char *query, const char *x_amz_date,
    struct sigv4_claim *ret, struct err *err)
{
	struct sigv4_claim c = {0};

	if (authorization ? parse_header(&c, authorization, x_amz_date, err) < 0
	    : strlen(query) > SIGV4_QUERY_MAX
		? err_set(
		      err, ERR_INVALID, "the query is over %u bytes", SIGV4_QUERY_MAX) < 0
		: parse_query(&c, query, err) < 0)
		return -1;
	*ret = c;
	return 0;
}

/* ---- verifying ---- */

static bool
names_header(const char *list, const char *name)
{
	size_t len = strlen(name), n;

	for (const char *p = list;; p += n + 1) {
		n = strcspn(p, ";");
		if (n == len && memcmp(p, name, n) == 0)
			return true;
		if (!p[n])
			return false;
	}
}

static int
check_time(const struct sigv4_claim *c, int64_t now_s, struct err *err)
{
	int64_t at = date_s(c->date),
		last = at + (c->presigned ? c->expires_s : SIGV4_SKEW_S);
	char now[SIGV4_DATE_MAX];

	sigv4_date(now_s, now);
	if (now_s > last)
		return err_set(err, ERR_CONFLICT,
		    "Signature expired: signed at %s, and it is now %s", c->date, now);
	if (at > now_s + SIGV4_SKEW_S)
		return err_set(err, ERR_CONFLICT,
		    "Signature not yet current: signed at %s, and it is now %s", c->date,
		    now);
	return 0;
}

int
sigv4_verify(const struct sigv4_request *req, const struct sigv4_claim *claim,
    const char *secret_access_key, int64_t now_s, struct err *err)
{
	const struct sigv4_scope scope = {
	    .date = claim->date, .region = claim->region, .service = claim->service};
	char expected[SIGV4_HEX_MAX];
	int differs;

	if (!names_header(claim->signed_headers, "host"))
		return err_set(err, ERR_INVALID, "'Host' must be a signed header");
	if (check_time(claim, now_s, err) < 0 ||
	    sigv4_signature(req, claim->signed_headers,
		claim->presigned ? "X-Amz-Signature" : NULL, &scope, secret_access_key,
		expected, err) < 0)
		return -1;
	differs = CRYPTO_memcmp(expected, claim->signature, sizeof(expected) - 1);
	OPENSSL_cleanse(expected, sizeof(expected));
	if (differs)
		return err_set(err, ERR_NOT_PERMITTED,
		    "The request signature we calculated does not match the signature "
		    "you "
		    "provided. Check your AWS Secret Access Key and signing method.");
	return 0;
}
