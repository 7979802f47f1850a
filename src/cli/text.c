/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

/* Length of the UTF-8 sequence at `s` and its code point; 0 when it is broken. */
static size_t
utf8(const unsigned char *s, uint32_t *ret)
{
	size_t n = s[0] < 0x80		   ? 1
		   : (s[0] & 0xe0) == 0xc0 ? 2
		   : (s[0] & 0xf0) == 0xe0 ? 3
		   : (s[0] & 0xf8) == 0xf0 ? 4
					   : 0;
	uint32_t c = n == 1 ? s[0] : n ? s[0] & (0x7fu >> n) : 0;

	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if ((n == 2 && c < 0x80) || (n == 3 && c < 0x800) || (n == 4 && c < 0x10000))
		return 0;
	*ret = c;
	return n;
}

static bool
steers(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
	       c > 0x10ffff;
}

void
text_clean(struct buf *b, const char *s)
{
	while (*s) {
		uint32_t c;
		size_t n = utf8((const unsigned char *)s, &c);

		if (n == 0 || steers(c))
			buf_char(b, '?');
		else
			buf_add(b, s, n);
		s += n ? n : 1;
	}
}

size_t
text_width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void
text_span(struct buf *b, int64_t ms)
{
	static const struct {
		int64_t s;
		char name;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	int64_t s = ms > 0 ? ms / 1000 : 0;

	for (int i = 0; i < 4; i++) {
		if (s < units[i].s && i < 3)
			continue;
		buf_fmt(b, "%lld%c", (long long)(s / units[i].s), units[i].name);
		s %= units[i].s;
		if (i < 3 && s >= units[i + 1].s)
			buf_fmt(b, "%lld%c", (long long)(s / units[i + 1].s),
			    units[i + 1].name);
		return;
	}
}

void
text_took(struct buf *b, double ms)
{
	if (ms < 10)
		buf_fmt(b, "%.1f ms", ms < 0 ? 0 : ms);
	else if (ms < 999.5)
		buf_fmt(b, "%.0f ms", ms);
	else if (ms < 60000)
		buf_fmt(b, "%.2f s", ms / 1000);
	else
		text_span(b, (int64_t)ms);
}

void
text_size(struct buf *b, int64_t bytes)
{
	static const char units[] = "KMGT";
	double v = (double)bytes / 1024;
	int i = 0;

	if (bytes < 1024) {
		buf_fmt(b, "%lldB", (long long)bytes);
		return;
	}
	for (; v >= 1024 && units[i + 1]; i++)
		v /= 1024;
	if (v == (double)(int64_t)v)
		buf_fmt(b, "%lld%c", (long long)v, units[i]);
	else
		buf_fmt(b, "%.1f%c", v, units[i]);
}

void
text_sh(struct buf *b, const char *s)
{
	static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789_-./:=@%+,";

	if (*s && strspn(s, safe) == strlen(s)) {
		buf_str(b, s);
		return;
	}
	buf_char(b, '\'');
	for (; *s; s++)
		if (*s == '\'')
			buf_str(b, "'\\''");
		else
			buf_char(b, *s);
	buf_char(b, '\'');
}

int
text_ssh(struct buf *b, const char *s, struct err *err)
{
	bool quote = strpbrk(s, " \t\"'\\#") != NULL || *s == '\0';

	if (strpbrk(s, "\r\n") || strstr(s, "${"))
		return err_set(err, ERR_INVALID,
		    "ssh's configuration cannot name a path with a line break or \"${\"");
	if (quote)
		buf_char(b, '"');
	for (; *s; s++) {
		if (*s == '%')
			buf_char(b, '%');
		else if (*s == '"' || *s == '\\')
			buf_char(b, '\\');
		buf_char(b, *s);
	}
	if (quote)
		buf_char(b, '"');
	return 0;
}

void
text_url(struct buf *b, const char *s)
{
	for (; *s; s++)
		if (isascii(*s) && (isalnum((unsigned char)*s) || strchr("-._~", *s)))
			buf_char(b, *s);
		else
			buf_fmt(b, "%%%02X", (unsigned char)*s);
}

static bool
number(const char **s, int digits, int min, int max, int *ret)
{
	int v = 0;

	for (int i = 0; i < digits; i++, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		v = v * 10 + (**s - '0');
	}
	*ret = v;
	return v >= min && v <= max;
}

static bool
literal(const char **s, char c)
{
	return *(*s)++ == c;
}

bool
text_parse_time(const char *s, int64_t *ret_wall_ms)
{
	struct tm tm = {0};
	int ms = 0;

	if (!number(&s, 4, 1970, 9999, &tm.tm_year) || !literal(&s, '-') ||
	    !number(&s, 2, 1, 12, &tm.tm_mon) || !literal(&s, '-') ||
	    !number(&s, 2, 1, 31, &tm.tm_mday) || !literal(&s, 'T') ||
	    !number(&s, 2, 0, 23, &tm.tm_hour) || !literal(&s, ':') ||
	    !number(&s, 2, 0, 59, &tm.tm_min) || !literal(&s, ':') ||
	    !number(&s, 2, 0, 60, &tm.tm_sec))
		return false;
	if (*s == '.') {
		int scale = 100;

		for (s++; isdigit((unsigned char)*s); s++, scale /= 10)
			ms += (*s - '0') * scale;
	}
	if (strcmp(s, "Z") != 0)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_wall_ms = (int64_t)timegm(&tm) * 1000 + ms;
	return true;
}
