/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fetch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

#define CONNECT_TIMEOUT_MS 3000
#define TIMEOUT_MS 30000
#define REPLY_MAX (16u << 20)
#define BODY_FIRST 4096

static void
free_wiped(void *p, size_t n, bool secret)
{
	if (p && secret)
		explicit_bzero(p, n);
	free(p);
}

/* Authorization and tokens are among them. What libcurl copied into its own buffers it frees as it is. */
static void
headers_free(struct curl_slist *list)
{
	for (struct curl_slist *h = list; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(list);
}

void
fetch_release(struct fetch *r)
{
	headers_free(r->headers);
	free(r->method);
	if (r->url)
		explicit_bzero(r->url, strlen(r->url)); /* a query may hold a token */
	free(r->url);
	free_wiped(r->request_body, r->request_len, r->secret);
	free_wiped(r->body, r->cap, r->secret);
}

/* ---- the reply ---- */

/* By copying, since realloc() would leave a secret behind. */
static void
body_grow(struct fetch *r, size_t need)
{
	size_t cap = r->cap ? r->cap : BODY_FIRST;
	char *body;

	while (cap < need)
		cap *= 2;
	if (cap == r->cap)
		return;
	body = xmalloc(cap);
	if (r->len)
		memcpy(body, r->body, r->len);
	free_wiped(r->body, r->cap, r->secret);
	r->body = body;
	r->cap = cap;
}

/* What is not taken whole ends the transfer (CURLOPT_WRITEFUNCTION). */
static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	struct fetch *r = arg;

	n *= size;
	if (n > r->max - r->len) {
		r->too_large = true;
		return 0;
	}
	body_grow(r, r->len + n + 1);
	memcpy(r->body + r->len, data, n);
	r->len += n;
	return n;
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	struct fetch *r = arg;

	r->header_bytes += n * size;
	if (n * size >= 5 && memcmp(data, "HTTP/", 5) == 0)
		r->headers_whole = false; /* "100 Continue" may have been before it */
	else if (n * size <= 2 && (data[0] == '\r' || data[0] == '\n'))
		r->headers_whole = true;
	r->too_large = r->too_large || r->header_bytes > HEADERS_BYTES_MAX;
	return r->too_large ? 0 : n * size;
}

void
fetch_end_body(struct fetch *r)
{
	body_grow(r, r->len + 1);
	r->body[r->len] = '\0';
}

/* ---- the request ---- */

/* Also the place where messages get the URL from: without user, path and query, which may be secret. */
static int
check_url(struct fetch *r, const char *url, struct err *err)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
	CURLUcode rc = curl_url_set(u, CURLUPART_URL, url, 0);
	int result = -1;

	if (rc != CURLUE_OK || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0))
		err_set(err, ERR_INVALID, "URL: %s", curl_url_strerror(rc));
	else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		err_set(err, ERR_INVALID, "URL: %.20s is neither http nor https", scheme);
	else if (!curl_url_get(u, CURLUPART_USER, &user, 0))
		err_set(err, ERR_INVALID, "URL of %.100s: it has a user name", host);
	else
		result = 0;
	if (result == 0) {
		bool has_port = !curl_url_get(u, CURLUPART_PORT, &port, 0);

		(void)snprintf(r->where, sizeof(r->where), "%s://%.120s%s%s", scheme,
		    host, has_port ? ":" : "", has_port ? port : "");
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	curl_url_cleanup(u);
	return result;
}

static int
add_header(struct fetch *r, const char *name, const char *value, struct err *err)
{
	/* libcurl's way to send a header that is empty */
	AUTO_FREE char *line =
	    *value ? xasprintf("%s: %s", name, value) : xasprintf("%s;", name);
	struct curl_slist *list;

	if (strpbrk(line, "\r\n"))
		return err_set(err, ERR_INVALID, "%s: the header %.40s has a line break",
		    r->where, name);
	list = curl_slist_append(r->headers, line);
	explicit_bzero(line, strlen(line));
	if (!list)
		abort();
	r->headers = list;
	return 0;
}

static int
add_headers(struct fetch *r, const struct fetch_request *req, struct err *err)
{
	bool typed = false;

	for (int i = 0; i < req->n_headers; i++) {
		const struct fetch_header *h = &req->headers[i];

		typed = typed || strcasecmp(h->name, "Content-Type") == 0;
		if (add_header(r, h->name, h->value, err) < 0)
			return -1;
	}
	/* libcurl would call every body a form, and the lack of one, too */
	if (!typed && !(r->headers = curl_slist_append(r->headers, "Content-Type:")))
		abort();
	return 0;
}

static void
set_body(struct fetch *r)
{
	curl_easy_setopt(
	    r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->request_len);
	curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->request_body);
	curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, r->method);
}

void
fetch_set_options(struct fetch *r)
{
	CURL *e = r->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, r);
	curl_easy_setopt(e, CURLOPT_URL, r->url);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L); /* it may have been signed */
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "hearth/" HEARTH_VERSION);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	/* a name that is being looked up is not waited for when its request ends */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, r->connect_timeout_ms);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, r->timeout_ms);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->why);
	if (r->no_proxy)
		curl_easy_setopt(e, CURLOPT_PROXY, "");
	if (r->once)
		curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	if (strcmp(r->method, "GET") != 0)
		set_body(r);
}

static long
or_default(int value, long otherwise)
{
	return value > 0 ? value : otherwise;
}

static void
copy_request(struct fetch *r, const struct fetch_request *req)
{
	r->secret = req->secret;
	r->no_proxy = req->no_proxy;
	r->once = req->once;
	r->max = req->reply_max ? req->reply_max : REPLY_MAX;
	r->connect_timeout_ms = or_default(req->connect_timeout_ms, CONNECT_TIMEOUT_MS);
	r->timeout_ms = or_default(req->timeout_ms, TIMEOUT_MS);
	r->method = xstrdup(req->method);
	r->url = xstrdup(req->url);
	r->request_len = req->body ? req->body_len : 0;
	r->request_body = xmalloc(r->request_len + 1);
	if (r->request_len)
		memcpy(r->request_body, req->body, r->request_len);
}

int
fetch_prepare(struct fetch *r, const struct fetch_request *req, struct err *err)
{
	copy_request(r, req);
	if (check_url(r, r->url, err) < 0)
		return -1;
	return add_headers(r, req, err);
}
