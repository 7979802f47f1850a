/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LAUNCHER_ASK_H
#define HOST_LAUNCHER_ASK_H

/*
 * The one request that hearthd itself has for the launcher: a descriptor of the configuration file, which may
 * be root's alone, for SIGHUP. At the start it serves to see that the launcher works.
 */

#include "base/err.h"

struct launcher_ask;
struct uv_loop_s;

/* `fd` is a descriptor of the file, owned by the callee, or -1 with `err`. */
typedef void (*launcher_ask_fn)(void *arg, int fd, const struct err *err);

/* Asks the launcher at `socket_path`. Exactly one call of `done`, later, from the loop, within five
   seconds, unless launcher_ask_cancel() comes first. -1: no call. */
int launcher_ask(struct uv_loop_s *loop, const char *socket_path, launcher_ask_fn done,
    void *arg, struct launcher_ask **ret, struct err *err) ERR_CHECK;

/* NULL is nothing. Not from inside `done`, nor after it. */
void launcher_ask_cancel(struct launcher_ask *r);

/* Waits until the launcher serves requests: it does once it has made the host ready. ERR_UNAVAILABLE when it
   ends (`pidfd`) before that, or is not ready within half a minute. Blocks. */
int launcher_await(const char *socket_path, int pidfd, struct err *err) ERR_CHECK;

#endif
