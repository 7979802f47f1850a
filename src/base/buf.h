/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

/* A growing byte buffer with a bound. Going over the bound marks the buffer as failed and drops the
   write; the caller checks once, at the end. Contents are always NUL-terminated behind `len`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t cap;
	size_t max; /* bytes; 0 = no bound (only for sizes that are ours) */
	bool overflow;
};

#define BUF_INIT(bound) ((struct buf){.max = (bound)})

void buf_fini(struct buf *b);
void buf_reset(struct buf *b); /* empties it and keeps the memory */
void buf_add(struct buf *b, const void *data, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_u32be(struct buf *b, uint32_t v);
void buf_u64be(struct buf *b, uint64_t v);

/* The contents as an owned string (never NULL); the buffer is empty afterwards. */
char *buf_take(struct buf *b);

#define AUTO_BUF __attribute__((cleanup(buf_fini)))

#endif
