/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

/* Hash map from strings to pointers. Keys are borrowed: each must live, unchanged, as long as its entry,
   and so is best a field of the value. */

#include <stddef.h>
#include <stdint.h>

struct map_slot {
	const char *key; /* NULL: empty */
	void *value;	 /* NULL under a key: removed */
	uint32_t hash;
};

struct map {
	struct map_slot *slots; /* owned; open addressing, a power of two of them */
	size_t cap;
	size_t used; /* with removed ones */
	size_t count;
};

void map_fini(struct map *m);
void *map_get(const struct map *m, const char *key);

/* Replaces what was under the key. `value` is not NULL. */
void map_put(struct map *m, const char *key, void *value);
void map_remove(struct map *m, const char *key);

/* Iterates in no order: start with *at = 0; NULL at the end. Not while putting; removing is fine. */
void *map_next(const struct map *m, size_t *at);

#endif
