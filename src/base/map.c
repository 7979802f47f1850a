/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static uint32_t
hash_of(const char *s)
{
	uint32_t h =
	    2166136261u; /* FNV-1a; ids are random, names are bounded by their owner's quota */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

void
map_fini(struct map *m)
{
	free(m->slots);
	*m = (struct map){0};
}

static struct map_slot *
find(const struct map *m, const char *key, uint32_t h)
{
	if (m->cap == 0)
		return NULL;
	for (size_t i = h & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_slot *s = &m->slots[i];

		if (!s->key)
			return NULL;
		if (s->value && s->hash == h && strcmp(s->key, key) == 0)
			return s;
	}
}

void *
map_get(const struct map *m, const char *key)
{
	struct map_slot *s = find(m, key, hash_of(key));

	return s ? s->value : NULL;
}

static void
insert(struct map *m, const char *key, void *value, uint32_t h)
{
	size_t i = h & (m->cap - 1);

	while (m->slots[i].key)
		i = (i + 1) & (m->cap - 1);
	m->slots[i] = (struct map_slot){key, value, h};
	m->used++;
	m->count++;
}

static void
rehash(struct map *m)
{
	struct map old = *m;
	size_t cap = 16;

	while (cap < (old.count + 1) * 2)
		cap *= 2;
	*m = (struct map){.slots = xcalloc(cap, sizeof(struct map_slot)), .cap = cap};
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].value)
			insert(
			    m, old.slots[i].key, old.slots[i].value, old.slots[i].hash);
	free(old.slots);
}

void
map_put(struct map *m, const char *key, void *value)
{
	uint32_t h = hash_of(key);
	struct map_slot *s = find(m, key, h);

	if (s) {
		s->key = key;
		s->value = value;
		return;
	}
	if ((m->used + 1) * 4 > m->cap * 3)
		rehash(m);
	insert(m, key, value, h);
}

void
map_remove(struct map *m, const char *key)
{
	struct map_slot *s = find(m, key, hash_of(key));

	if (!s)
		return;
	s->key = ""; /* a removed slot keeps the chain behind it reachable */
	s->value = NULL;
	m->count--;
}

void *
map_next(const struct map *m, size_t *at)
{
	while (*at < m->cap) {
		void *v = m->slots[(*at)++].value;

		if (v)
			return v;
	}
	return NULL;
}
