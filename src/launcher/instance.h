/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_INSTANCE_H
#define LAUNCHER_INSTANCE_H

/* What a launcher of instances does with one but make and remove it; see protocol.h. Each takes the machine's lock and is
   ERR_NOT_FOUND where there is no such instance, ERR_CONFLICT where it does not run and must. */

#include "base/err.h"
#include "launcher/launcher.h"
#include "launcher/protocol.h"

ERR_CHECK int instance_stop(const struct launcher *l, const char *id,
    struct launcher_reply *reply, struct err *err);

ERR_CHECK int instance_freeze(const struct launcher *l, const char *id, bool freeze,
    struct launcher_reply *reply, struct err *err);

/* A read-only descriptor of the console's file. */
ERR_CHECK int instance_console(
    const struct launcher *l, const char *id, int *ret_fd, struct err *err);

/* A TCP socket that listens in the instance's network, where processes of the instance alone get to it. It keeps that network
   alive: it must be closed when the instance ends. The caller must be single-threaded. */
ERR_CHECK int instance_open_metadata(
    const struct launcher *l, const char *id, int *ret_fd, struct err *err);

#endif
