/* SPDX-License-Identifier: Apache-2.0 */
#include "init/text.h"

#include <string.h>

static void
add(struct text *t, const char *data, size_t n)
{
	if (n > t->cap - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->data + t->len, data, n);
	t->len += n;
}

void
text_str(struct text *t, const char *s)
{
	add(t, s, strlen(s));
}

void
text_num(struct text *t, int64_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	add(t, digits + i, sizeof(digits) - i);
}

void
text_plain(struct text *t, const char *s)
{
	size_t from = t->len;

	text_str(t, s);
	for (size_t i = from; i < t->len; i++) {
		unsigned char c = (unsigned char)t->data[i];

		if (c < 0x20 || c == 0x7f)
			t->data[i] = '?';
	}
}

int
text_number(const char **s, int64_t max, int64_t *ret_n)
{
	const char *p = *s;
	int64_t n = 0;

	if (*p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (*p - '0');
		if (n > max)
			return -1;
	}
	*s = p;
	*ret_n = n;
	return 0;
}

bool
text_word(const char *packet, const char *word, const char **ret_args)
{
	size_t n = strlen(word);

	if (strncmp(packet, word, n) != 0 || (packet[n] != '\0' && packet[n] != ' '))
		return false;
	*ret_args = packet[n] == ' ' ? packet + n + 1 : NULL;
	return true;
}

int
text_lines_with(const char *prefix, int *state, const char *piece, size_t n)
{
	int lines = 0;

	for (size_t i = 0; i < n; i++) {
		if (piece[i] == '\n') {
			*state = 0;
		} else if (*state >= 0 && piece[i] == prefix[*state]) {
			if (prefix[++*state] == '\0') {
				lines++;
				*state = -1;
			}
		} else {
			*state = -1;
		}
	}
	return lines;
}
