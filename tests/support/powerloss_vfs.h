/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPPORT_POWERLOSS_VFS_H
#define SUPPORT_POWERLOSS_VFS_H

/*
 * An SQLite VFS for tests that knows what a power cut would leave. What is written goes
 * to the real file, so that SQLite sees it; what was synced is kept apart. At a cut, of
 * each write since the last sync an arbitrary part survives, in 512-byte sectors and
 * without regard to order; a file that was never synced may be gone, and one whose
 * removal was not synced may be back. That is no more than ext4 promises. It can also be
 * told that the disk is full.
 */

#include <stdbool.h>
#include <stdint.h>

#define POWERLOSS_VFS "powerloss"

/* Registers the VFS; once. */
void powerloss_register(void);

/* A new life, with power: forgets all files. `lie`: syncs are acknowledged and not done.
 */
void powerloss_reset(uint64_t seed, bool lie);

/* Power goes at the n-th write, sync, truncation or removal from now: that one and all
   that follow fail. 0: not at all. */
void powerloss_cut_after(int64_t n);
bool powerloss_is_cut(void);

/* Number of such operations since the reset. */
int64_t powerloss_ops(void);

/* Makes the real files what the cut left of them, and gives power back. Every database
 * must be closed. */
void powerloss_restore(void);

/* Every write that makes a file longer, or (`all`) every write, fails with SQLITE_FULL.
 */
void powerloss_disk_full(bool full, bool all);

#endif
