/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our signatures, for a test that compares them with somebody else's. One JSON object a line comes in, one line goes out:
 *
 *   sigv4tool sign      {method, path, query, headers: [[name, value]...], body (hex), id, secret, token, region, service}
 *                       prints the header Authorization
 *   sigv4tool verify    the same, and now; headers hold Authorization, or the query is presigned
 *                       prints "ok", or the name of the error's code and its text
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/sigv4.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

static const char *
str(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static unsigned char *
unhex(const char *hex, size_t *n)
{
	unsigned char *out = xmalloc(strlen(hex) / 2 + 1);
	char two[3] = "";

	for (*n = 0; hex[2 * *n]; ++*n) {
		memcpy(two, hex + 2 * *n, 2);
		out[*n] = (unsigned char)strtoul(two, NULL, 16);
	}
	return out;
}

static int
sign(const json_t *o, const struct sigv4_request *req, struct buf *out, struct err *err)
{
	const struct sigv4_key key = {str(o, "id"), str(o, "secret"), str(o, "token")};

	return sigv4_sign(req, &key, str(o, "region"), str(o, "service"), out, err);
}

static const char *
header(const struct sigv4_request *req, const char *name)
{
	for (int i = 0; i < req->n_headers; i++)
		if (strcasecmp(req->headers[i].name, name) == 0)
			return req->headers[i].value;
	return NULL;
}

static int
verify(const json_t *o, const struct sigv4_request *req, struct buf *out, struct err *err)
{
	struct sigv4_claim claim;

	if (sigv4_parse(header(req, "Authorization"), req->query,
		header(req, "X-Amz-Date"), &claim, err) < 0 ||
	    sigv4_verify(req, &claim, str(o, "secret"),
		json_integer_value(json_object_get(o, "now")), err) < 0)
		return -1;
	buf_str(out, "ok");
	return 0;
}

static void
run(const json_t *o, bool signing)
{
	struct sigv4_header headers[SIGV4_HEADERS_MAX];
	json_t *list = json_object_get(o, "headers"), *h;
	AUTO_BUF struct buf out = BUF_INIT(0);
	AUTO_FREE unsigned char *body = NULL;
	struct sigv4_request req = {
	    .method = str(o, "method"),
	    .path = str(o, "path"),
	    .query = str(o, "query"),
	    .headers = headers,
	    .n_headers = (int)json_array_size(list),
	};
	struct err err;
	size_t i;

	if (req.n_headers > SIGV4_HEADERS_MAX)
		exit(2);
	json_array_foreach (list, i, h) {
		headers[i].name = json_string_value(json_array_get(h, 0));
		headers[i].value = json_string_value(json_array_get(h, 1));
	}
	body = unhex(str(o, "body"), &req.body_len);
	req.body = body;
	if ((signing ? sign : verify)(o, &req, &out, &err) < 0)
		printf("%s: %s\n", err_info[err.code].name, err.msg);
	else
		puts(out.data);
}

int
main(int argc, char **argv)
{
	AUTO_FREE char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (argc != 2 ||
	    (strcmp(argv[1], "sign") != 0 && strcmp(argv[1], "verify") != 0)) {
		fprintf(stderr, "usage: sigv4tool sign|verify <LINES\n");
		return 2;
	}
	while ((n = getline(&line, &cap, stdin)) > 0) {
		json_error_t e;
		json_t *o = json_loadb(line, (size_t)n, 0, &e);

		if (!o) {
			fprintf(stderr, "sigv4tool: %s\n", e.text);
			return 2;
		}
		run(o, strcmp(argv[1], "sign") == 0);
		json_decref(o);
	}
	return 0;
}
