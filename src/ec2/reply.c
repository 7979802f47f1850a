/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/reply.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void
reply_fini(struct reply *r)
{
	buf_fini(&r->body);
}

static void
tag(struct buf *b, const char *open, const char *name)
{
	buf_str(b, open);
	buf_str(b, name);
	buf_char(b, '>');
}

void
reply_open(struct reply *r, const char *name)
{
	assert(r->depth < REPLY_DEPTH_MAX);
	r->open[r->depth++] = name;
	tag(&r->body, "<", name);
}

void
reply_close(struct reply *r)
{
	assert(r->depth > 0);
	tag(&r->body, "</", r->open[--r->depth]);
}

/* strcspn() of so many builds a table at each call: a tenth of all that a long list cost. */
static bool
is_plain(char c)
{
	return (unsigned char)c >= ' ' ? c != '&' && c != '<' && c != '>' && c != '"'
				       : c == '\t' || c == '\n';
}

void
reply_escape(struct buf *b, const char *s)
{
	for (;; s++) {
		const char *from = s;

		while (is_plain(*s))
			s++;
		buf_add(b, from, (size_t)(s - from));
		switch (*s) {
		case '\0':
			return;
		case '&':
			buf_str(b, "&amp;");
			break;
		case '<':
			buf_str(b, "&lt;");
			break;
		case '>':
			buf_str(b, "&gt;");
			break;
		case '"':
			buf_str(b, "&quot;");
			break;
		case '\r': /* a parser would make a line feed of it */
			buf_str(b, "&#13;");
			break;
		default:
			buf_char(b, '?');
		}
	}
}

void
reply_base64(struct buf *b, const void *data, size_t n)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t bits = (uint32_t)p[i] << 16;

		if (i + 1 < n)
			bits |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < n)
			bits |= p[i + 2];
		buf_char(b, digits[bits >> 18]);
		buf_char(b, digits[bits >> 12 & 63]);
		buf_char(b, i + 1 < n ? digits[bits >> 6 & 63] : '=');
		buf_char(b, i + 2 < n ? digits[bits & 63] : '=');
	}
}

void
reply_text(struct reply *r, const char *name, const char *value)
{
	if (!value)
		return;
	tag(&r->body, "<", name);
	reply_escape(&r->body, value);
	tag(&r->body, "</", name);
}

void
reply_fmt(struct reply *r, const char *name, const char *fmt, ...)
{
	char s[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	reply_text(r, name, s);
}

void
reply_int(struct reply *r, const char *name, int64_t value)
{
	tag(&r->body, "<", name);
	buf_fmt(&r->body, "%" PRId64, value);
	tag(&r->body, "</", name);
}

void
reply_bool(struct reply *r, const char *name, bool value)
{
	reply_text(r, name, value ? "true" : "false");
}

void
reply_time_text(int64_t wall_ms, char ret[REPLY_TIME_MAX])
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	(void)strftime(ret, REPLY_TIME_MAX, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
}

void
reply_time(struct reply *r, const char *name, int64_t wall_ms)
{
	char s[REPLY_TIME_MAX];

	if (wall_ms == 0)
		return;
	reply_time_text(wall_ms, s);
	reply_text(r, name, s);
}

void
reply_true(struct reply *r)
{
	reply_bool(r, "return", true);
}
