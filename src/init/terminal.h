/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_TERMINAL_H
#define INIT_TERMINAL_H

/* Writes `n` bytes as a line of their own to every pseudo-terminal of the machine. Never
   blocks: a terminal that is stopped or full misses it. */

#include <stddef.h>

void terminal_write_all(const char *line, size_t n);

#endif
