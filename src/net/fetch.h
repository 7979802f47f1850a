/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FETCH_H
#define NET_FETCH_H

/*
 * HTTP client of the daemon: libcurl's multi interface on the daemon's loop. Connections are kept alive and
 * shared; TLS is checked against the system's authorities; redirects are not followed, and only http and https
 * are spoken. What a peer may cost is bounded by every request: time for all of it, bytes of its reply.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct fetch;
struct fetcher;
struct uv_loop_s;

/* `uv` is borrowed. At most `connections_max` connections at a time (0: 64), of all requests together; more
   requests wait for one. */
struct fetcher *fetcher_new(struct uv_loop_s *uv, int connections_max);

/* From now on servers are checked against the authorities in this file (PEM; copied, read at each connection), and no others;
   NULL: the system's. */
void fetcher_trust(struct fetcher *f, const char *ca_file);

/* Ends what is under way: each `done` is called with ERR_CANCELLED before this returns. The loop frees the
   rest. NULL is nothing. */
void fetcher_close(struct fetcher *f);

struct fetch_header {
	const char *name;
	const char *value;
};

/* All borrowed for the call. */
struct fetch_request {
	const char *method; /* "GET", "POST", "PUT" */
	const char *url;    /* absolute, encoded */
	const struct fetch_header
	    *headers; /* sent as they are; "Host" replaces curl's own */
	int n_headers;
	const void *body; /* NULL: none */
	size_t body_len;
	int connect_timeout_ms; /* 0: 3 s */
	int timeout_ms;	  /* for all of it, from when it has its connection; 0: 30 s */
	size_t reply_max; /* bytes of the reply's body; 0: 16 MiB */
	bool no_proxy;	  /* never by a proxy: metadata services, loopback */
	bool
	    once; /* never sent twice: libcurl by itself repeats a request, POST or not, whose
		      kept connection ends without a reply, so this one gets a new connection */
	bool secret; /* bodies carry secrets: both are wiped when they are freed */
};

struct fetch_reply {
	int status;
	const char *body; /* NUL-terminated behind body_len; valid during the call */
	size_t body_len;
	const char *content_type; /* "" where there is none */
	int64_t date_s;		  /* the header Date; 0: none, or unreadable */
	const char *etag;	  /* NULL: none */
	int64_t retry_after_s;	  /* -1: none */
	int64_t duration_us;	  /* request begun to reply complete */
};

/* Either reply or err is NULL. ERR_UNAVAILABLE: no connection, time-out, cut off, TLS refused (the message
   says which; there is a hint where the server is not trusted, or the file of authorities is of no use); `sent` tells whether any byte of the request may have reached the peer, so that something may
   have been done there. ERR_TOO_LARGE: more than reply_max. ERR_INVALID: the URL. ERR_CANCELLED. */
typedef void (*fetch_fn)(
    void *arg, const struct fetch_reply *reply, bool sent, const struct err *err);

/* Never blocks, never calls `done` before it returns. The result is valid until `done` is called. */
struct fetch *fetch_start(
    struct fetcher *f, const struct fetch_request *req, fetch_fn done, void *arg);

/* `done` is not called any more. */
void fetch_cancel(struct fetch *r);

#endif
