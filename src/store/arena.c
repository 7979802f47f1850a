/* SPDX-License-Identifier: Apache-2.0 */
#include "store/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define ALIGN 16
#define BLOCK_MIN 4080 /* with malloc's own header: a page */

struct arena_block {
	struct arena_block *next; /* older */
	size_t used;
	size_t size;
	_Alignas(ALIGN) char data[];
};

void *
arena_alloc(struct arena_block **arena, size_t size)
{
	struct arena_block *b = *arena;
	void *p;

	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (!b || b->size - b->used < size) {
		size_t room = BLOCK_MIN - sizeof(*b);

		if (room < size)
			room = size;
		b = xmalloc(sizeof(*b) + room);
		*b = (struct arena_block){.next = *arena, .size = room};
		*arena = b;
	}
	p = b->data + b->used;
	b->used += size;
	return p;
}

char *
arena_strn(struct arena_block **arena, const char *s, size_t n)
{
	char *copy;

	if (!s)
		return NULL;
	copy = arena_alloc(arena, n + 1);
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *
arena_str(struct arena_block **arena, const char *s)
{
	return s ? arena_strn(arena, s, strlen(s)) : NULL;
}

static void
free_from(struct arena_block *b)
{
	while (b) {
		struct arena_block *next = b->next;

		free(b);
		b = next;
	}
}

void
arena_reset(struct arena_block **arena)
{
	struct arena_block *b = *arena;

	if (!b)
		return;
	free_from(b->next);
	b->next = NULL;
	b->used = 0;
}

void
arena_free(struct arena_block **arena)
{
	free_from(*arena);
	*arena = NULL;
}
