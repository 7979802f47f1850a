/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/form.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/request.h"

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; -1: an escape that is none, or a NUL. */
static int
unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '+') {
			*to++ = ' ';
		} else if (*s != '%') {
			*to++ = *s;
		} else {
			int high = hex(s[1]), low = high < 0 ? -1 : hex(s[2]);

			if (low < 0 || high + low == 0)
				return -1;
			*to++ = (char)(high << 4 | low);
			s += 2;
		}
	}
	*to = '\0';
	return 0;
}

/* How many bytes the character at s has; 0: it is not UTF-8 (RFC 3629). */
static int
utf8_length(const unsigned char *s)
{
	static const struct {
		unsigned char from, to, low, high; /* first byte; bounds of the second */
		int n;
	} forms[] = {
	    {0x01, 0x7f, 0x00, 0xff, 1},
	    {0xc2, 0xdf, 0x80, 0xbf, 2},
	    {0xe0, 0xe0, 0xa0, 0xbf, 3},
	    {0xe1, 0xec, 0x80, 0xbf, 3},
	    {0xed, 0xed, 0x80, 0x9f, 3},
	    {0xee, 0xef, 0x80, 0xbf, 3},
	    {0xf0, 0xf0, 0x90, 0xbf, 4},
	    {0xf1, 0xf3, 0x80, 0xbf, 4},
	    {0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (*s < forms[i].from || *s > forms[i].to)
			continue;
		if (forms[i].n > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
			return 0;
		for (int k = 2; k < forms[i].n; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].n;
	}
	return 0;
}

/* XML 1.0, "Char": what a reply could not show again. */
static bool
is_shown(const unsigned char *s)
{
	return *s >= 0x20
		   ? s[0] != 0xef || s[1] != 0xbf || s[2] < 0xbe /* U+FFFE, U+FFFF */
		   : *s == '\t' || *s == '\n' || *s == '\r';
}

static const char *
check_text(const char *s, size_t max)
{
	size_t n = 0;
	int len;

	while (s[n]) {
		len = utf8_length((const unsigned char *)s + n);
		if (len == 0)
			return "A parameter is not UTF-8";
		if (!is_shown((const unsigned char *)s + n))
			return "A parameter holds a character that XML has not";
		n += (size_t)len;
	}
	return n > max ? "A parameter's name or value is too long" : NULL;
}

static const char *
check_name(const char *s)
{
	int depth = 1;

	if (!*s)
		return "A parameter has no name";
	for (const char *c = s; *c; c++) {
		if (*c <= ' ' || *c > '~')
			return "A parameter's name holds a character that none has";
		depth += *c == '.';
	}
	if (depth > REQUEST_DEPTH_MAX)
		return "A parameter's name has too many parts";
	return check_text(s, REQUEST_NAME_MAX);
}

static const char *
read_param(char *pair, struct param *p)
{
	char *value = strchr(pair, '=');
	const char *wrong;

	if (value)
		*value++ = '\0';
	else
		value = pair + strlen(pair);
	if (unescape(pair) < 0 || unescape(value) < 0)
		return "A percent escape in the request is none";
	wrong = check_name(pair);
	p->name = pair;
	p->value = value;
	return wrong ? wrong : check_text(value, REQUEST_VALUE_MAX);
}

struct param *
form_split(char *text, size_t n, int *ret_n, const char **ret_wrong)
{
	AUTO_FREE struct param *params = NULL;
	size_t count = 1;
	char *pair;
	int k = 0;

	if (memchr(text, '\0', n)) {
		*ret_wrong = "The request holds a NUL";
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		count += text[i] == '&';
	if (count > REQUEST_PARAMS_MAX) {
		*ret_wrong = "The request has too many parameters";
		return NULL;
	}
	params = xcalloc(count, sizeof(*params));
	while ((pair = strsep(&text, "&"))) {
		if (!*pair)
			continue;
		*ret_wrong = read_param(pair, &params[k++]);
		if (*ret_wrong)
			return NULL;
	}
	*ret_n = k;
	return TAKE(params);
}
