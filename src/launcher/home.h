/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_HOME_H
#define LAUNCHER_HOME_H

/*
 * Shared homes: a directory for each uid, STATE/homes/UID, which belongs to uid 1000, the login user of an image, as machines
 * see it, and is mounted at /shared in every machine it is asked for. Files may have set-user-id bits and any owner, as in
 * an image: nobody but root gets past STATE/homes. Nothing here removes one.
 */

#include <stdint.h>

#include "base/err.h"
#include "launcher/launcher.h"

#define HOME_PLACE "shared"

/* Idempotent. Blocks for a sync of one directory when it is made. */
ERR_CHECK int home_make(const struct launcher *l, uint32_t uid, struct err *err);

/* Idempotent. ERR_NOT_FOUND: there is no such home, or no such machine; ERR_CONFLICT: the machine does not run. Leaves the process in
   the machine's mount namespace. */
ERR_CHECK int home_mount(
    const struct launcher *l, const char *id, uint32_t uid, struct err *err);

#endif
