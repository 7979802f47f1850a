/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "aws/sigv4_impl.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

static bool
unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
}

void
sigv4_encode(struct buf *out, const char *s, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		char triple[3] = {'%', hex[c >> 4], hex[c & 15]};

		if (unreserved(s[i]))
			buf_char(out, s[i]);
		else
			buf_add(out, triple, 3);
	}
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t
sigv4_decode(char *out, const char *s, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int hi = i + 2 < n && s[i] == '%' ? hex_value(s[i + 1]) : -1;
		int lo = hi >= 0 ? hex_value(s[i + 2]) : -1;

		if (lo < 0) {
			out[len++] = s[i];
			continue;
		}
		out[len++] = (char)(hi << 4 | lo);
		i += 2;
	}
	return len;
}

void
sigv4_date(int64_t wall_s, char out[SIGV4_DATE_MAX])
{
	time_t t = (time_t)wall_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	if (strftime(out, SIGV4_DATE_MAX, "%Y%m%dT%H%M%SZ", &tm) == 0)
		out[0] = '\0'; /* a year of five digits */
}

/* ---- the canonical request ---- */

/* Appends the path, encoded again, without empty, "." and ".." segments. The end is a slash only where the
   path's is, as in botocore.utils.remove_dot_segments. */
static void
add_path(struct buf *out, const char *path)
{
	size_t start = out->len, n = 0;

	for (const char *p = path; *p; p += n) {
		n = *p == '/' ? 1 : strcspn(p, "/");
		if (*p == '/' || (n == 1 && *p == '.'))
			continue;
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (out->len > start && out->data[--out->len] != '/')
				;
			continue;
		}
		buf_char(out, '/');
		sigv4_encode(out, p, n);
	}
	if (out->len == start || (*path && path[strlen(path) - 1] == '/'))
		buf_char(out, '/');
}

struct pair {
	char *key, *value; /* encoded; value is in key's memory */
};

static int
compare_pairs(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int c = strcmp(x->key, y->key);

	return c ? c : strcmp(x->value, y->value);
}

/* Encodes what is encoded well already to the same, and the rest as it should have been. */
static struct pair
pair_new(const char *s, size_t n)
{
	const char *eq = memchr(s, '=', n);
	size_t key_n = eq ? (size_t)(eq - s) : n, value_at;
	AUTO_FREE char *plain = xmalloc(n + 1);
	AUTO_BUF struct buf out = BUF_INIT(0);
	struct pair p;

	sigv4_encode(&out, plain, sigv4_decode(plain, s, key_n));
	buf_char(&out, '\0');
	value_at = out.len;
	if (eq)
		sigv4_encode(&out, plain, sigv4_decode(plain, eq + 1, n - key_n - 1));
	p.key = buf_take(&out);
	p.value = p.key + value_at;
	return p;
}

static void
add_query(struct buf *out, const char *query, const char *without)
{
	AUTO_FREE struct pair *pairs = NULL;
	size_t count = 1, k = 0, n, w = without ? strlen(without) : 0;

	for (const char *p = query; *p; p++)
		count += *p == '&';
	pairs = xcalloc(count, sizeof(*pairs));
	for (const char *p = query; *query; p += n + 1) {
		n = strcspn(p, "&");
		if (!without || strncmp(p, without, w) != 0 || p[w] != '=')
			pairs[k++] = pair_new(p, n);
		if (!p[n])
			break;
	}
	qsort(pairs, k, sizeof(*pairs), compare_pairs);
	for (size_t i = 0; i < k; i++) {
		buf_fmt(out, "%s%s=%s", i ? "&" : "", pairs[i].key, pairs[i].value);
		free(pairs[i].key);
	}
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

/* Without blanks at the ends, and one for many between. */
static void
add_trimmed(struct buf *out, const char *value)
{
	bool begun = false, gap = false;

	for (; *value; value++) {
		if (is_blank(*value)) {
			gap = begun;
			continue;
		}
		if (gap)
			buf_char(out, ' ');
		buf_char(out, *value);
		begun = true;
		gap = false;
	}
}

/* All headers of this name, in their order. */
static int
add_header(struct buf *out, const struct sigv4_request *req, const char *name, size_t n,
    struct err *err)
{
	int found = 0;

	buf_add(out, name, n);
	buf_char(out, ':');
	for (int i = 0; i < req->n_headers; i++) {
		const struct sigv4_header *h = &req->headers[i];

		if (strncasecmp(h->name, name, n) != 0 || h->name[n])
			continue;
		if (found++)
			buf_char(out, ',');
		add_trimmed(out, h->value);
	}
	buf_char(out, '\n');
	if (!found)
		return err_set(err, ERR_INVALID, "the signed header '%.*s' is not there",
		    (int)(n < 64 ? n : 64), name);
	return 0;
}

static int
add_headers(
    struct buf *out, const struct sigv4_request *req, const char *names, struct err *err)
{
	for (const char *p = names;; p++) {
		size_t n = strcspn(p, ";");

		if (add_header(out, req, p, n, err) < 0)
			return -1;
		p += n;
		if (!*p)
			return 0;
	}
}

static void
add_hash(struct buf *out, const void *data, size_t n)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];

	SHA256(data ? data : "", n, hash);
	for (size_t i = 0; i < sizeof(hash); i++)
		buf_fmt(out, "%02x", hash[i]);
}

static int
canonical_request(struct buf *out, const struct sigv4_request *req,
    const char *signed_headers, const char *without, struct err *err)
{
	if (strlen(req->query) > SIGV4_QUERY_MAX)
		return err_set(
		    err, ERR_INVALID, "the query is over %u bytes", SIGV4_QUERY_MAX);
	buf_fmt(out, "%s\n", req->method);
	add_path(out, req->path);
	buf_char(out, '\n');
	add_query(out, req->query, without);
	buf_char(out, '\n');
	if (add_headers(out, req, signed_headers, err) < 0)
		return -1;
	buf_fmt(out, "\n%s\n", signed_headers);
	add_hash(out, req->body, req->body_len);
	return 0;
}

/* ---- the signature ---- */

struct digest {
	unsigned char b[SHA256_DIGEST_LENGTH];
};

static struct digest
hmac(const void *key, size_t key_n, const void *data, size_t n)
{
	struct digest d;
	unsigned int len = 0;

	if (!HMAC(EVP_sha256(), key, (int)key_n, data, n, d.b, &len))
		abort(); /* out of memory */
	return d;
}

static struct digest
hmac_str(const struct digest *key, const char *s)
{
	return hmac(key->b, sizeof(key->b), s, strlen(s));
}

static struct digest
signing_key(const char *secret, const struct sigv4_scope *scope)
{
	size_t n = strlen(secret) + 4;
	AUTO_FREE char *first = xasprintf("AWS4%s", secret);
	struct digest k[4];

	k[0] = hmac(first, n, scope->date, 8);
	k[1] = hmac_str(&k[0], scope->region);
	k[2] = hmac_str(&k[1], scope->service);
	k[3] = hmac_str(&k[2], "aws4_request");
	OPENSSL_cleanse(first, n);
	OPENSSL_cleanse(k, 3 * sizeof(k[0]));
	return k[3];
}

int
sigv4_signature(const struct sigv4_request *req, const char *signed_headers,
    const char *without, const struct sigv4_scope *scope, const char *secret_access_key,
    char ret[SIGV4_HEX_MAX], struct err *err)
{
	AUTO_BUF struct buf canonical = BUF_INIT(0);
	AUTO_BUF struct buf to_sign = BUF_INIT(0);
	struct digest key, sig;

	if (canonical_request(&canonical, req, signed_headers, without, err) < 0)
		return -1;
	buf_fmt(&to_sign, SIGV4_ALGORITHM "\n%s\n%.8s/%s/%s/aws4_request\n", scope->date,
	    scope->date, scope->region, scope->service);
	add_hash(&to_sign, canonical.data, canonical.len);
	key = signing_key(secret_access_key, scope);
	sig = hmac(key.b, sizeof(key.b), to_sign.data, to_sign.len);
	OPENSSL_cleanse(&key, sizeof(key));
	for (size_t i = 0; i < sizeof(sig.b); i++) {
		ret[2 * i] = "0123456789abcdef"[sig.b[i] >> 4];
		ret[2 * i + 1] = "0123456789abcdef"[sig.b[i] & 15];
	}
	ret[SIGV4_HEX_MAX - 1] = '\0';
	return 0;
}

/* ---- signing ---- */

static int
compare_names(const void *a, const void *b)
{
	return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

/* Each name once, in order, in lower case. */
static int
header_names(struct buf *out, const struct sigv4_request *req, struct err *err)
{
	const char *names[SIGV4_HEADERS_MAX];

	if (req->n_headers > SIGV4_HEADERS_MAX)
		return err_set(
		    err, ERR_INVALID, "more than %d headers to sign", SIGV4_HEADERS_MAX);
	for (int i = 0; i < req->n_headers; i++)
		names[i] = req->headers[i].name;
	qsort(names, (size_t)req->n_headers, sizeof(names[0]), compare_names);
	for (int i = 0; i < req->n_headers; i++) {
		if (i && strcasecmp(names[i], names[i - 1]) == 0)
			continue;
		if (i)
			buf_char(out, ';');
		for (const char *p = names[i]; *p; p++)
			buf_char(out, *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p);
	}
	return 0;
}

static const char *
header_value(const struct sigv4_request *req, const char *name)
{
	for (int i = 0; i < req->n_headers; i++)
		if (strcasecmp(req->headers[i].name, name) == 0)
			return req->headers[i].value;
	return NULL;
}

int
sigv4_sign(const struct sigv4_request *req, const struct sigv4_key *key,
    const char *region, const char *service, struct buf *authorization, struct err *err)
{
	const char *date = header_value(req, "x-amz-date");
	bool token = key->session_token && key->session_token[0];
	struct sigv4_scope scope = {.date = date, .region = region, .service = service};
	AUTO_BUF struct buf names = BUF_INIT(0);
	char signature[SIGV4_HEX_MAX];

	if (!date || strlen(date) != SIGV4_DATE_MAX - 1)
		return err_set(err, ERR_INVALID, "sign: no header x-amz-date");
	if (!header_value(req, "host"))
		return err_set(err, ERR_INVALID, "sign: no header host");
	if (token && !header_value(req, "x-amz-security-token"))
		return err_set(err, ERR_INVALID, "sign: no header x-amz-security-token");
	if (header_names(&names, req, err) < 0 ||
	    sigv4_signature(req, names.data, NULL, &scope, key->secret_access_key,
		signature, err) < 0)
		return -1;
	buf_fmt(authorization,
	    SIGV4_ALGORITHM " Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%s, "
			    "Signature=%s",
	    key->access_key_id, date, region, service, names.data, signature);
	return 0;
}
