/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_PUT_H
#define API_PUT_H

/*
 * Writes JSON straight into a buffer: a claim's reply costs no tree of objects. Commas put themselves:
 * one is due unless the buffer ends in what opens something, which no value does. A key of NULL writes
 * an element of an array. Text that is not UTF-8 comes out as U+FFFD, so a reply always parses.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

void put_open(struct buf *b, const char *key, char bracket); /* '{' or '[' */
void put_close(struct buf *b, char bracket);

void put_str(struct buf *b, const char *key, const char *s); /* NULL: null */
void put_int(struct buf *b, const char *key, int64_t v);
void put_num(
    struct buf *b, const char *key, double v); /* six decimals at most; NaN: null */
void put_bool(struct buf *b, const char *key, bool v);
void put_null(struct buf *b, const char *key);

/* RFC 3339 UTC with milliseconds; 0 is null. */
void put_time(struct buf *b, const char *key, int64_t at_ms);

#endif
