/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_REQUEST_H
#define LAUNCHER_REQUEST_H

/* The check of a request: all that stands between the daemon, which faces users, and root. No parsing:
   fixed fields, each within its bounds and its alphabet. */

#include <stddef.h>

#include "base/err.h"
#include "launcher/protocol.h"

/* `n` is the size of the packet. ERR_INVALID names the field. Fields that the operation does not use
   are not looked at. */
ERR_CHECK int request_check(const struct launcher_request *q, size_t n, struct err *err);

#endif
