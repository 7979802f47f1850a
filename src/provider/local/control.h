/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_LOCAL_CONTROL_H
#define PROVIDER_LOCAL_CONTROL_H

/* A connection to a machine's hearth-init (init/control.h): packets out, packets in. */

#include <stddef.h>

#include "base/err.h"

struct uv_loop_s;
struct control;

/* A packet, NUL-terminated, or the end of the connection (text NULL; no call comes after that one, and
   the connection is closed). From the loop. */
typedef void (*control_fn)(void *arg, char *text, size_t n);

/* Connects to the socket at `path`. ERR_UNAVAILABLE where nobody listens: the machine is gone. */
int control_open(struct uv_loop_s *loop, const char *path, control_fn fn, void *arg,
    struct control **ret, struct err *err) ERR_CHECK;

/* Sends one packet. A peer that does not read is as good as gone: ERR_UNAVAILABLE. */
int control_send(struct control *c, const char *text, struct err *err) ERR_CHECK;

/* No calls come any more. NULL is fine. */
void control_close(struct control *c);

#endif
