/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_ROWS_H
#define EC2_ROWS_H

/*
 * The world on disk: one SQLite file, one row per object by its place in the order of creation, so that new ones are
 * appended; its state is JSON. Written by the loop itself: in WAL mode
 * without a sync per commit a transaction of a few rows takes some tens of microseconds, and what is committed
 * outlives the process (the last moments before a power cut may be lost, never in part).
 */

#include <stdint.h>

#include "base/err.h"

struct object;
struct rows;
struct world;

/* Opens or makes `path`, or keeps everything in memory for NULL. Blocks. ERR_CONFLICT: another process has it open; ERR_INVALID: of
   another version, or not ours. */
int rows_open(const char *path, struct rows **ret, struct err *err) ERR_CHECK;
void rows_close(struct rows *r);

int rows_begin(struct rows *r, struct err *err) ERR_CHECK;
int rows_put(struct rows *r, const struct object *o, struct err *err) ERR_CHECK;
int rows_delete(struct rows *r, uint64_t seq, struct err *err) ERR_CHECK;
int rows_commit(struct rows *r, struct err *err) ERR_CHECK;
void rows_rollback(struct rows *r);

/* Makes every object again, in the order of their creation, without linking them up. */
int rows_load(struct rows *r, struct world *w, struct err *err) ERR_CHECK;

#endif
