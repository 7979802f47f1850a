/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_INTERNAL_H
#define NET_HTTP_INTERNAL_H

/* What http_server.c (connections, the loop) and http_request.c (one request's life)
 * share. */

#include <microhttpd.h>
#include <uv.h>

#include "base/list.h"
#include "net/http_server.h"

/*
 *  READING → HANDLING → REPLIED
 *               ├─────→ STREAMING ⇄ STREAM_IDLE → STREAM_ENDED
 *               └─────→ WAITING → REPLIED
 *                          └────→ HUNG_UP → REPLIED (nobody reads it) or GONE
 *
 * WAITING and STREAM_IDLE are suspended in libmicrohttpd, which does not look at the
 * socket meanwhile; the server's sweep does.
 */
enum request_state {
	REQUEST_READING,  /* the body is coming in */
	REQUEST_HANDLING, /* inside the handler */
	REQUEST_WAITING,  /* waits here for the handler's answer; suspended */
	REQUEST_HUNG_UP,  /* resumed to be closed; the handler owes an answer */
	REQUEST_GONE,	  /* libmicrohttpd is done with it; the handler owes an answer */
	REQUEST_REPLIED,  /* waits here to be sent */
	REQUEST_STREAMING,
	REQUEST_STREAM_IDLE, /* waits here for http_stream_write(); suspended */
	REQUEST_STREAM_ENDED,
	REQUEST_STATE_MAX,
};

struct http_request {
	struct list link; /* server.requests, until GONE */
	enum request_state state;
	struct http_server *server;  /* borrowed; NULL when GONE */
	struct MHD_Connection *conn; /* borrowed; NULL when GONE */
	struct http_peer *peer;	     /* borrowed from the connection; NULL when GONE */
	int fd;			     /* the connection's */
	int ticks;		     /* sweeps it has been seen READING */
	int status;		     /* of the response */
	const char *method;	     /* points behind path */
	struct MHD_Response
	    *response; /* owned; with REPLIED and streams until queued; NULL: hang up */
	struct buf body;
	size_t body_seen;
	bool too_large;
	struct buf backlog; /* of a stream */
	size_t backlog_sent;
	void (*closed)(void *arg);
	void *closed_arg;
	char path[]; /* then the method */
};

struct http_server {
	struct http_options opt;
	struct MHD_Daemon *mhd;
	uv_poll_t listen_poll;
	uv_poll_t mhd_poll;
	uv_prepare_t prepare; /* runs libmicrohttpd before the poll when there is
				 something to send */
	uv_timer_t timer; /* libmicrohttpd's timeouts, and a second try when descriptors
			     ran out */
	uv_timer_t sweep; /* looks for clients that hung up, while requests are open */
	struct list requests;
	struct list users;
	int n_connections;
	struct http_peer *accepting; /* handed to on_connection() */
	bool listens;		     /* listen_poll is in the loop */
	bool run_soon;
	int n_handles; /* to be closed before it is freed */
};

/* libmicrohttpd's callbacks for requests; `cls` is the server. */
enum MHD_Result http_request_access(void *cls, struct MHD_Connection *conn,
    const char *url, const char *method, const char *version, const char *upload,
    size_t *upload_len, void **slot);
void http_request_completed(void *cls, struct MHD_Connection *conn, void **slot,
    enum MHD_RequestTerminationCode code);

/* The client is gone, or must go. */
void http_request_hang_up(struct http_request *req);

/* Runs libmicrohttpd before the loop sleeps again. */
void http_server_run_soon(struct http_server *s);

#endif
