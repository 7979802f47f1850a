/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

/* How things are written for people, for sh, and for ssh's configuration. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Adds `s` with everything that could steer a terminal (control characters, broken UTF-8, changes of
   direction) as '?'. */
void text_clean(struct buf *b, const char *s);

/* Columns `s` takes, as characters: what text_clean() lets through has no escapes. */
size_t text_width(const char *s);

/* A span of time in at most two units: "45s", "3h59m", "2d4h". Below a second "0s". */
void text_span(struct buf *b, int64_t ms);

/* A duration as measured: "0.4 ms" is ours to round, so "412 ms", "1.24 s", "2m10s". */
void text_took(struct buf *b, double ms);

/* "512M", "20G", "1.5G"; binary units. */
void text_size(struct buf *b, int64_t bytes);

/* One word for sh: unchanged where that is safe, else in single quotes. */
void text_sh(struct buf *b, const char *s);

/* One value for ssh_config(5) or `ssh -o`: quoted where needed, and with '%' doubled. A path that ssh
   cannot be told (a newline, or "${") is ERR_INVALID. */
int text_ssh(struct buf *b, const char *s, struct err *err) ERR_CHECK;

/* One part of a URL's path or query. */
void text_url(struct buf *b, const char *s);

/* Strict RFC 3339, "Z" only, fractions cut to milliseconds. False when it is something else. */
bool text_parse_time(const char *s, int64_t *ret_wall_ms);

#endif
