/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ARENA_H
#define STORE_ARENA_H

/* Memory that is given back all at once: the rows and strings of one transaction or of
   one result. An arena is a pointer to its newest block, NULL while empty. */

#include <stddef.h>

struct arena_block;

/* Aligned for any type, not zeroed. Never NULL. */
void *arena_alloc(struct arena_block **arena, size_t size);

/* A copy of `s`; NULL for NULL. */
char *arena_str(struct arena_block **arena, const char *s);
char *arena_strn(struct arena_block **arena, const char *s, size_t n);

/* Empties it and keeps its newest block, for use in a loop. */
void arena_reset(struct arena_block **arena);
void arena_free(struct arena_block **arena);

#endif
