/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_JSON_OUT_H
#define API_JSON_OUT_H

/*
 * Writes JSON straight into a buffer: a claim's reply costs no tree of objects. Commas put themselves:
 * one is due unless the buffer ends in what opens something, which no value does. A key of NULL writes
 * an element of an array. Text that is not UTF-8 comes out as U+FFFD, so a reply always parses.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

void json_open(struct buf *b, const char *key, char bracket); /* '{' or '[' */
void json_close(struct buf *b, char bracket);

void json_str(struct buf *b, const char *key, const char *s); /* NULL: null */
void json_int(struct buf *b, const char *key, int64_t v);
void json_num(
    struct buf *b, const char *key, double v); /* six decimals at most; NaN: null */
void json_bool(struct buf *b, const char *key, bool v);
void json_null(struct buf *b, const char *key);

/* RFC 3339 UTC with milliseconds; 0 is null. */
void json_time(struct buf *b, const char *key, int64_t at_ms);

#endif
