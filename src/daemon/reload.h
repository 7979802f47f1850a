/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

/*
 * Getting at the configuration file once more, for SIGHUP. It may be root's alone, and we
 * are not root any more; so where a launcher runs, it opens the file and passes the
 * descriptor.
 */

#include "base/err.h"

struct reload;
struct uv_loop_s;

/* `fd` is a descriptor of the file, owned by the callee, or -1 with `err`. */
typedef void (*reload_fn)(void *arg, int fd, const struct err *err);

/* Asks the launcher at `socket_path`. Exactly one call of `done`, later, from the loop,
   within five seconds, unless reload_cancel() comes first. -1: no call. */
int reload_ask(struct uv_loop_s *loop, const char *socket_path, reload_fn done, void *arg,
    struct reload **ret, struct err *err) ERR_CHECK;

/* NULL is nothing. Not from inside `done`, nor after it. */
void reload_cancel(struct reload *r);

#endif
