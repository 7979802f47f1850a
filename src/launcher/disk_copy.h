/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_DISK_COPY_H
#define LAUNCHER_DISK_COPY_H

/* Copies a file with holes into an empty one: at once where the file system can share blocks (xfs, btrfs), else by reading
   and writing what is no hole. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* When a copy is to be given up. */
struct copy_limits {
	int64_t until_ms; /* by clock_real_now_ms(); 0: never */
};

/* Shares all blocks. false: this file system cannot, or not between these two. */
bool copy_shared(int from, int to);

/* Blocks, and does not sync. Both are left as long as `from`. ERR_CANCELLED: somebody has unlinked `to` meanwhile.
   ERR_RATE_LIMITED: the time was up. */
ERR_CHECK int copy_sparse(
    int from, int to, const struct copy_limits *limits, struct err *err);

#endif
