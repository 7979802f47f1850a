/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_SUBIDS_H
#define HOST_SUBIDS_H

/*
 * Ids that this host has given to its users for containers of their own, by subuid(5) and subgid(5): newuidmap lets them
 * become any of these. Somebody with an id of a machine could signal its processes and read its memory.
 */

#include <stdint.h>

#include "base/err.h"

/* Whether any of the `n` ids from `first` on is somebody's by the file `path`, which need not exist. ERR_CONFLICT says
   whose. Root's are only warned of: root may do all that anyway. Lines that are none are passed over, as by newuidmap.
   Reads a file. */
int subids_check(const char *path, int64_t first, int64_t n, struct err *err) ERR_CHECK;

/* The same for all that a provider in `network` (CIDR) with `uid_base` uses, by this host's own two files. */
int subids_check_machines(
    const char *network, int64_t uid_base, struct err *err) ERR_CHECK;

#endif
