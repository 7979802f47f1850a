/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_TEXT_H
#define INIT_TEXT_H

/* Text without stdio, which would cost an idle machine a page or two. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string being put together in the caller's space. What does not fit is left out whole,
   and `full` is set. Not NUL-terminated. */
struct text {
	char *data; /* borrowed */
	size_t len;
	size_t cap;
	bool full;
};

#define TEXT(space) ((struct text){.data = (space), .cap = sizeof(space)})

void text_str(struct text *t, const char *s);
void text_num(struct text *t, int64_t n); /* n >= 0 */

/* As text_str for what somebody else wrote: control characters become '?', so that it can
   go to a terminal. Bytes above 0x7f stay: they are UTF-8. */
void text_plain(struct text *t, const char *s);

/* Reads decimal digits at *s, up to `max`, and moves *s behind them. Returns -1, with *s
   unmoved, for no digit or more than max. */
int text_number(const char **s, int64_t max, int64_t *ret_n);

/* Whether the packet's first word is `word`; *ret_args is what follows its space, NULL if
   there is no space. */
bool text_word(const char *packet, const char *word, const char **ret_args);

/* A matcher for lines that begin with `prefix`, fed with pieces of a stream; *state
   starts at 0. Returns how many such lines began in this piece. */
int text_lines_with(const char *prefix, int *state, const char *piece, size_t n);

#endif
