/* SPDX-License-Identifier: Apache-2.0 */
#include "api/put.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static void
separate(struct buf *b)
{
	char last = b->len ? b->data[b->len - 1] : ' ';

	if (last != '{' && last != '[' && last != ':' && last != ' ' && last != '\n')
		buf_char(b, ',');
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none: overlong forms, surrogates and what is
   above U+10FFFF are not (RFC 3629 §4). */
static size_t
utf8_len(const unsigned char *s)
{
	if (s[0] < 0xc2 || s[0] > 0xf4 || (s[1] & 0xc0) != 0x80)
		return 0;
	if (s[0] < 0xe0)
		return 2;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[2] & 0xc0) != 0x80)
		return 0;
	if (s[0] < 0xf0)
		return 3;
	if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f) ||
	    (s[3] & 0xc0) != 0x80)
		return 0;
	return 4;
}

static void
add_control(struct buf *b, unsigned char c)
{
	switch (c) {
	case '\n':
		buf_str(b, "\\n");
		return;
	case '\r':
		buf_str(b, "\\r");
		return;
	case '\t':
		buf_str(b, "\\t");
		return;
	default:
		buf_fmt(b, "\\u%04x", c);
	}
}

static void
add_quoted(struct buf *b, const char *str)
{
	const unsigned char *s = (const unsigned char *)str, *plain = s;

	buf_char(b, '"');
	while (*s) {
		size_t n;

		if (*s >= 0x20 && *s < 0x7f && *s != '"' && *s != '\\') {
			s++;
			continue;
		}
		n = *s >= 0x80 ? utf8_len(s) : 0;
		if (n) {
			s += n;
			continue;
		}
		buf_add(b, plain, (size_t)(s - plain));
		if (*s >= 0x80) {
			buf_str(b, "\\ufffd");
		} else if (*s == '"' || *s == '\\') {
			buf_char(b, '\\');
			buf_char(b, (char)*s);
		} else {
			add_control(b, *s);
		}
		plain = ++s;
	}
	buf_add(b, plain, (size_t)(s - plain));
	buf_char(b, '"');
}

static void
add_key(struct buf *b, const char *key)
{
	separate(b);
	if (!key)
		return;
	buf_char(b, '"');
	buf_str(b, key);
	buf_add(b, "\":", 2);
}

void
put_open(struct buf *b, const char *key, char bracket)
{
	add_key(b, key);
	buf_char(b, bracket);
}

void
put_close(struct buf *b, char bracket)
{
	buf_char(b, bracket);
}

void
put_str(struct buf *b, const char *key, const char *s)
{
	add_key(b, key);
	if (s)
		add_quoted(b, s);
	else
		buf_str(b, "null");
}

void
put_int(struct buf *b, const char *key, int64_t v)
{
	add_key(b, key);
	buf_fmt(b, "%lld", (long long)v);
}

void
put_num(struct buf *b, const char *key, double v)
{
	char text[64];
	size_t n;

	if (!isfinite(v) || fabs(v) > 1e15) {
		put_null(b, key);
		return;
	}
	(void)snprintf(text, sizeof(text), "%.6f", v); /* 16 digits and 7 more at most */
	n = strlen(text);
	while (text[n - 1] == '0')
		n--;
	if (text[n - 1] == '.')
		n--;
	add_key(b, key);
	buf_add(b, text, n);
}

void
put_bool(struct buf *b, const char *key, bool v)
{
	add_key(b, key);
	buf_str(b, v ? "true" : "false");
}

void
put_null(struct buf *b, const char *key)
{
	add_key(b, key);
	buf_str(b, "null");
}

void
put_time(struct buf *b, const char *key, int64_t at_ms)
{
	char text[CLOCK_RFC3339_MAX];

	if (at_ms == 0) {
		put_null(b, key);
		return;
	}
	clock_rfc3339(at_ms, text);
	add_key(b, key);
	buf_char(b, '"');
	buf_str(b, text);
	buf_char(b, '"');
}
