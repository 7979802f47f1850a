/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SCRIPT_SERVER_H
#define TESTS_SUPPORT_SCRIPT_SERVER_H

/*
 * An HTTP server on 127.0.0.1 that plays a script: request i gets answer i, whatever it asks, and the last answer is
 * given to all that follow. Its handles do not keep the loop alive, so uv_loop_alive() tells whether a client has
 * something under way.
 */

#include <stddef.h>

struct script_server;
struct uv_loop_s;

enum script_then {
	SCRIPT_KEEP,	/* the connection */
	SCRIPT_CLOSE,	/* behind the answer */
	SCRIPT_HANG,	/* say no more, and do not close */
	SCRIPT_ENDLESS, /* go on with 'x' until the client hangs up */
};

struct script_server *script_server_new(struct uv_loop_s *uv);

/* Gone once the loop has run. */
void script_server_close(struct script_server *s);

/* "http://127.0.0.1:PORT" */
const char *script_server_url(const struct script_server *s);

/* Bytes as they are; may be "". */
void script_server_add_raw(
    struct script_server *s, const char *bytes, enum script_then then);

/* A whole reply with Content-Length. `headers`: lines that end in \r\n, or "". */
void script_server_add(
    struct script_server *s, int status, const char *headers, const char *body);

/* Forgets script and requests. */
void script_server_reset(struct script_server *s);

int script_server_connections(const struct script_server *s);
int script_server_requests(const struct script_server *s);

/* The i-th, head and body, as it came. */
const char *script_server_request(const struct script_server *s, int i);

#endif
