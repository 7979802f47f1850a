/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
static uint64_t seeded;

static uint64_t
random_u64(void)
{
	static uint64_t block[32];
	static size_t left;

	if (seeded) { /* splitmix64 */
		uint64_t z = (seeded += 0x9e3779b97f4a7c15u);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		return z ^ (z >> 31);
	}
	if (left == 0) {
		if (getrandom(block, sizeof(block), 0) != (ssize_t)sizeof(block))
			abort(); /* cannot fail once the kernel's pool is up (getrandom(2)) */
		left = sizeof(block) / sizeof(block[0]);
	}
	return block[--left];
}

void
id_seed(uint64_t seed)
{
	seeded = seed;
}

struct id
id_new(char kind)
{
	struct id id = {{kind, '-'}};
	uint64_t r = random_u64();

	for (int i = 0; i < 12; i++, r /= 36)
		id.s[2 + i] = digits[r % 36];
	return id;
}

bool
id_valid(const char *s, char kind)
{
	return s[0] == kind && s[1] == '-' && strlen(s) == 14 &&
	       strspn(s + 2, digits) == 12;
}

bool
name_valid(const char *s)
{
	size_t n = strnlen(s, 64);

	if (n < 1 || n > 63 || !isalnum((unsigned char)s[0]) ||
	    !isalnum((unsigned char)s[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) ||
		    (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i])))
			return false;
	return strstr(s, "..") == NULL;
}
