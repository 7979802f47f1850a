/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

/*
 * The command line's side of HTTP/1.1 over a Unix socket: blocking, kept alive, one call at a time,
 * and nothing else linked in, because its start-up time is part of every claim. Replies with
 * Content-Length, chunked, or ended by the connection; at most CLIENT_REPLY_MAX bytes.
 */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define CLIENT_REPLY_MAX (16u << 20)

struct client;

/* Connects with the first call. `path` is copied. */
struct client *client_new(const char *path);
void client_free(struct client *c);

/* While `*stop` is not 0 calls end with ERR_CANCELLED. Signals that set it should be blocked by the
   program and free in `mask`, which is in force while a call waits. Both borrowed; NULL, NULL: never. */
void client_set_stop(struct client *c, volatile sig_atomic_t *stop, const sigset_t *mask);

/* Sends a request and waits for its whole reply, `timeout_ms` for all of it. `target` is path and query,
   already encoded; `body` is JSON text or NULL. Fills *ret_status and `reply` (emptied first).
   Any status is a success here. Fails with
     ERR_NOT_PERMITTED  the socket may not be opened by this user,
     ERR_INVALID        no socket can have this path,
     ERR_UNAVAILABLE    nobody answers: see client_unreachable(),
     ERR_TOO_LARGE, ERR_INTERNAL  the reply is too long, or not HTTP,
     ERR_CANCELLED      see client_set_stop().
   A connection that died between two calls is made anew, once, for methods other than POST. */
int client_call(struct client *c, const char *method, const char *target,
    const char *body, int timeout_ms, int *ret_status, struct buf *reply,
    struct err *err) ERR_CHECK;

/* Whether the last call failed because no daemon answered: not there, died, or silent. */
bool client_unreachable(const struct client *c);

/* Whether any call has reached a daemon: one that does not answer now is being restarted, perhaps. */
bool client_met(const struct client *c);

#endif
