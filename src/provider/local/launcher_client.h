/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_LOCAL_LAUNCHER_CLIENT_H
#define PROVIDER_LOCAL_LAUNCHER_CLIENT_H

/* Requests to hearth-launcher: one connection each, so many at once; more wait their turn. */

#include "base/err.h"
#include "launcher/protocol.h"

struct uv_loop_s;
struct launcher_client;

/* For each reply, in order. The last call has `last` set, or no reply and err->code set: exactly one
   such call, later, from the loop. An error of the launcher's own comes as err, with the reply. */
typedef void (*launcher_reply_fn)(
    void *arg, const struct launcher_reply *reply, bool last, const struct err *err);

struct launcher_client *launcher_client_new(struct uv_loop_s *loop, const char *path);

/* The request is copied, and the copy wiped once sent: it may hold a host key. */
void launcher_client_call(struct launcher_client *c, const struct launcher_request *q,
    launcher_reply_fn fn, void *arg);

/* As launcher_client_call() for a request whose reply brings a descriptor, which is the callee's: -1 with err->code set. */
typedef void (*launcher_fd_fn)(void *arg, int fd, const struct err *err);
void launcher_client_call_fd(struct launcher_client *c, const struct launcher_request *q,
    launcher_fd_fn fn, void *arg);

/* Calls what is pending with ERR_CANCELLED, then frees; handles close in the loop. */
void launcher_client_close(struct launcher_client *c);

#endif
