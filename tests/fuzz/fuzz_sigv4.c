/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input as lines: Authorization, X-Amz-Date, method, path, query, then headers as "name:value", and what is left is the
 * body. What is taken keeps to its bounds, nothing verifies by chance, and what we sign over the same request does.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "fuzz.h"

#define NOW 1440938160

static char *
line(char **rest)
{
	char *s = *rest, *end = s + strcspn(s, "\n");

	*rest = *end ? end + 1 : end;
	*end = '\0';
	return s;
}

static void
check_claim(const struct sigv4_claim *c)
{
	assert(
	    c->access_key_id[0] && c->region[0] && c->service[0] && c->signed_headers[0]);
	assert(strlen(c->signature) == 64 && strlen(c->date) == SIGV4_DATE_MAX - 1);
	assert(strlen(c->access_key_id) < sizeof(c->access_key_id));
	assert(!c->presigned || (c->expires_s >= 1 && c->expires_s <= 7 * 24 * 3600));
}

static void
check_parse(const char *authorization, const struct sigv4_request *req, const char *date)
{
	struct sigv4_claim c;
	struct err err;

	if (sigv4_parse(authorization, req->query, date, &c, &err) < 0) {
		assert(err.code == ERR_INVALID && err.msg[0]);
		return;
	}
	check_claim(&c);
	/* A secret nobody has: the fuzzer would have to find its signature. */
	assert(sigv4_verify(req, &c, "GAkPnXOhVxJk2zfbyhK8", NOW, &err) < 0);
}

/* Signs the request as it is, and takes the signature back. */
static void
check_own(struct sigv4_request *req, struct sigv4_header *headers, int n)
{
	const struct sigv4_key key = {"AKID", "secret", NULL};
	AUTO_BUF struct buf authorization = BUF_INIT(0);
	struct sigv4_claim c;
	struct err err;

	for (int i = 0; i < n; i++)
		if (strcasecmp(headers[i].name, "X-Amz-Date") == 0)
			return; /* of two dates the first is meant, and need not be one */
	headers[n++] = (struct sigv4_header){"Host", "h"};
	headers[n++] = (struct sigv4_header){"X-Amz-Date", "20150830T123600Z"};
	req->n_headers = n;
	if (sigv4_sign(req, &key, "r", "s", &authorization, &err) < 0)
		return;
	if (sigv4_parse(authorization.data, "", "20150830T123600Z", &c, &err) < 0)
		return; /* names of headers that no HTTP parser lets through */
	if (strcmp(c.signed_headers, "host;x-amz-date") == 0)
		assert(sigv4_verify(req, &c, "secret", NOW, &err) == 0);
	c.signature[0] = c.signature[0] == '0' ? '1' : '0';
	assert(sigv4_verify(req, &c, "secret", NOW, &err) < 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *text = strndup((const char *)data, size);
	struct sigv4_header headers[SIGV4_HEADERS_MAX];
	char *rest = text, *authorization = line(&rest), *date = line(&rest);
	struct sigv4_request req = {.method = line(&rest), .headers = headers};
	int n = 0;

	req.path = line(&rest);
	req.query = line(&rest);
	while (n < SIGV4_HEADERS_MAX - 2 && rest[strcspn(rest, ":\n")] == ':') {
		char *h = line(&rest), *colon = strchr(h, ':');

		*colon = '\0';
		headers[n++] = (struct sigv4_header){h, colon + 1};
	}
	req.n_headers = n;
	req.body = rest;
	req.body_len = strlen(rest);
	check_parse(authorization, &req, date);
	check_parse(NULL, &req, NULL);
	check_own(&req, headers, n);
	return 0;
}
