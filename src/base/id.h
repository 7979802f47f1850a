/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ID_H
#define BASE_ID_H

/* Ids are a kind's letter, a dash and 12 random characters of [0-9a-z]: "m-4k2j9x0c7q1z", 62 bits.
   Machines "m", reservations "r", disks "d". */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_MAX 16 /* with the NUL */

struct id {
	char s[ID_MAX];
};

/* From the kernel's random numbers, read in blocks: no system call in most calls. Not thread-safe. */
struct id id_new(char kind);

/* Makes id_new() repeatable, for tests; 0 goes back to the kernel's. */
void id_seed(uint64_t seed);

/* Exactly an id as id_new() makes them, of this kind. */
bool id_valid(const char *s, char kind);

/* A name a user may give: 1 to 63 of [A-Za-z0-9._-], a letter or digit first and last, no "..": it
   becomes a host alias and a file name. */
bool name_valid(const char *s);

#endif
