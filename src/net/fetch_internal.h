/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FETCH_INTERNAL_H
#define NET_FETCH_INTERNAL_H

/*
 * fetch.c has the fetcher: libcurl on the loop, and which request is where. fetch_request.c has what one request is made of:
 * its parts checked and copied, libcurl's options, and the bytes of its reply within their bounds.
 */

#include <curl/curl.h>

#include "base/list.h"
#include "net/fetch.h"

#define HEADERS_BYTES_MAX (64u << 10)

struct fetch {
	struct list link;
	struct fetcher *f;
	CURL *easy;
	bool added; /* to the multi handle */
	struct curl_slist *headers;
	char *method, *url, *request_body; /* owned */
	size_t request_len;
	char *body; /* owned */
	size_t len, cap, max;
	size_t header_bytes;
	bool headers_whole;
	bool too_large;
	bool secret, no_proxy, once;
	long connect_timeout_ms, timeout_ms;
	struct err refusal;
	char where[160]; /* "https://host:port", for messages */
	char why[CURL_ERROR_SIZE];
	fetch_fn done;
	void *arg;
};

/* Copies the request, and checks URL and headers. ERR_INVALID. */
int fetch_prepare(
    struct fetch *r, const struct fetch_request *req, struct err *err) ERR_CHECK;

/* Of a prepared request, on r->easy. */
void fetch_set_options(struct fetch *r);

/* Makes a string of the body. */
void fetch_end_body(struct fetch *r);

/* Frees what fetch_prepare() and the reply have made, secrets wiped. */
void fetch_release(struct fetch *r);

#endif
