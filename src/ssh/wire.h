/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_WIRE_H
#define SSH_WIRE_H

/*
 * SSH's binary encoding (RFC 4251 section 5) and strict base64. A reader never goes past
 * its end: the first field that does not fit marks it as bad, every later read gives zero
 * or an empty string, and the caller checks `bad` once. Strings that are read point into
 * the input.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct wire_str {
	const uint8_t *p; /* borrowed from what was read; not NUL-terminated */
	size_t n;
};

struct wire_reader {
	const uint8_t *p; /* borrowed */
	size_t left;
	bool bad;
};

struct wire_reader wire_reader(const void *data, size_t n);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
struct wire_str wire_get_bytes(struct wire_reader *r, size_t n);
struct wire_str wire_get_str(struct wire_reader *r);

/* The magnitude of a positive mpint, without its sign byte. Bad: zero, negative, or not
   in its shortest form. */
struct wire_str wire_get_mpint(struct wire_reader *r);

bool wire_str_is(struct wire_str s, const char *text);

/* An owned copy as a string, or NULL if there is a NUL inside. */
char *wire_str_dup(struct wire_str s);

void wire_put_str(struct buf *b, const void *data, size_t n);
void wire_put_cstr(struct buf *b, const char *s);

/* A string whose contents are written after its length is needed: wire_close() fills that
 * in. */
size_t wire_open(struct buf *b);
void wire_close(struct buf *b, size_t mark);

/* Takes the next word off the text *s, which white space separates; empty at the end. */
struct wire_str wire_word(struct wire_str *s);

/* Without the white space around it. */
struct wire_str wire_trim(struct wire_str s);

/* Appends the decoded bytes. False, with anything or nothing appended, unless `s` is
   exactly what an encoder makes: whole groups, padded, no white space, unused bits zero.
 */
bool wire_base64_decode(struct wire_str s, struct buf *out);

void wire_base64_encode(const void *data, size_t n, bool pad, struct buf *out);

/* A buffer for secrets: `cap` bytes that are never moved, so wire_wipe() leaves no copy
   behind. More than fits marks it as overflown. */
struct buf wire_secret(size_t cap);
void wire_wipe(struct buf *b);

#define AUTO_WIPE __attribute__((cleanup(wire_wipe)))

#endif
