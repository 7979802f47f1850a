/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

/*
 * HTTP/1.1 on a Unix socket, or on TCP: libmicrohttpd on the daemon's loop, one thread. A handler
 * gets each request whole, with what is known of the peer, and answers it once: at once or
 * later, with one reply or with a stream. Clients may hang up whenever they like: the
 * request stays until both the handler has answered and the connection is done, so an
 * answer that comes late finds nobody and does no harm. One who closes their sending side
 * alone while they wait is hung up on: libmicrohttpd takes it for the end.
 *
 * What is bounded: connections in all, a sixteenth of which (of a Unix socket) is for root alone, and per
 * user or address (429, closed), request line and headers (431), body (the handler is told; the connection is closed after its answer),
 * time for a request to arrive, time of an idle connection, and what a stream keeps for a
 * slow reader (dropped).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct http_request;
struct http_server;
struct loop;

#define HTTP_NO_UID UINT32_MAX /* came by TCP: who it is only the request can say */

/* Who connected, as the kernel said at that moment. */
struct http_peer {
	uint32_t uid;
	uint32_t gid;
	uint8_t address[16]; /* by TCP: IPv6, or IPv4 mapped; else zeroes */
	uint64_t tag;	     /* of http_server_adopt(); else 0 */
	int n_groups;
	uint32_t groups[]; /* supplementary */
};

/* Called in the loop for every request. Must lead to exactly one http_reply() or
 * http_stream_start(). */
typedef void (*http_handler_fn)(void *arg, struct http_request *req);

struct http_options {
	struct loop *loop; /* borrowed */
	int listen_fd; /* bound and listening, AF_UNIX, AF_INET or AF_INET6; owned from the call on.
			      -1: connections come by http_server_adopt() alone */
	http_handler_fn handler;
	void *arg;
	int max_connections;	      /* 0: 4096 */
	int max_connections_per_user; /* 0: half of that; root is not counted */
	int idle_timeout_s;	      /* 0: 120 */
	size_t body_max;	      /* 0: 64 KiB */
	size_t backlog_max;	      /* of a stream; 0: 1 MiB */
	const char *busy_type,
	    *busy_body; /* of the 429 for a connection too many; NULL: the API's JSON */
};

int http_server_new(const struct http_options *opt, struct http_server **ret_server,
    struct err *err) ERR_CHECK;

/* Serves a connection that was accepted elsewhere; `fd` is owned from the call on, and made non-blocking. Its requests' peer
   has the tag. */
void http_server_adopt(struct http_server *s, int fd, uint64_t tag);

/* Takes no more connections; those there are go on. */
void http_server_stop(struct http_server *s);

/* Hangs up on everybody and frees the server once the loop has run (loop_free() is
   enough). Handlers that still owe an answer may give it later. Streams hear that they
   are closed before this returns. */
void http_server_close(struct http_server *s);

int http_server_connections(const struct http_server *s);

/* ---- a request: valid until it is answered; all strings as long ---- */

const char *http_method(const struct http_request *req);
const char *http_path(
    const struct http_request *req); /* as sent: percent-encoded, without the query */
const struct http_peer *http_peer(const struct http_request *req);
const char *http_header(
    const struct http_request *req, const char *name); /* NULL: none */

/* Calls fn for each header until it returns false. */
typedef bool (*http_header_fn)(void *arg, const char *name, const char *value);
void http_headers(const struct http_request *req, http_header_fn fn, void *arg);

const char *http_body(const struct http_request *req, size_t *ret_len);
bool http_body_too_large(const struct http_request *req);

/* Calls fn for each argument of the query, as sent, until it returns false; value is NULL
 * without "=". */
typedef bool (*http_query_fn)(void *arg, const char *name, const char *value);
void http_query(const struct http_request *req, http_query_fn fn, void *arg);

struct http_field {
	const char *name;
	const char *value;
};

/* Answers: takes the contents of `body`. Headers are copied. `req` is gone afterwards. */
void http_reply(struct http_request *req, int status, const struct http_field *headers,
    int n_headers, struct buf *body);

/* Answers with nothing: the connection is closed. `req` is gone afterwards. */
void http_drop(struct http_request *req);

/* ---- streams ---- */

/* Only from inside the handler: answers 200 with a body that is written as it comes.
   `closed` is called exactly once, when the connection is done or the server closes, and
   never from inside a call of this header but http_server_close(); `req` is gone after
   it. */
void http_stream_start(struct http_request *req, const struct http_field *headers,
    int n_headers, void (*closed)(void *arg), void *arg);

/* Drops the stream when its reader is so far behind that this would not fit. */
void http_stream_write(struct http_request *req, const void *data, size_t n);
size_t http_stream_backlog(const struct http_request *req);

/* Ends it once what was written is sent. */
void http_stream_end(struct http_request *req);

#endif
