/* SPDX-License-Identifier: Apache-2.0 */
#include "ssh/banner.h"

#include <assert.h>
#include <string.h>

static bool
begins(const struct ssh_banner *b, const char *text)
{
	return strncmp(b->line, text, strlen(text)) == 0;
}

static int
fail(struct ssh_banner *b, struct err *err, const char *why)
{
	b->state = SSH_BANNER_FAILED;
	return err_set(err, ERR_UNAVAILABLE, "ssh banner: %s", why);
}

/* b->line is a whole line, without its end. */
static int
take_line(struct ssh_banner *b, struct err *err)
{
	if (!begins(b, "SSH-")) {
		if (++b->lines > SSH_BANNER_LINES_MAX)
			return fail(b, err, "too many lines before the identification");
		b->len = 0;
		return 0;
	}
	if (!begins(b, "SSH-2.0-") && !begins(b, "SSH-1.99-"))
		return fail(b, err, "the server does not speak SSH 2");
	for (size_t i = 0; i < b->len; i++)
		if (b->line[i] < ' ' || b->line[i] > '~')
			return fail(b, err, "the identification is not printable ASCII");
	b->state = SSH_BANNER_DONE;
	return 0;
}

static int
take_byte(struct ssh_banner *b, char c, struct err *err)
{
	if (c == '\n') {
		if (b->len && b->line[b->len - 1] == '\r')
			b->len--;
		b->line[b->len] = '\0';
		return take_line(b, err);
	}
	if (c == '\0')
		return fail(b, err, "a NUL byte in it");
	if (b->len == SSH_BANNER_LINE_MAX - 1)
		return fail(b, err, "a line longer than 255 bytes");
	b->line[b->len++] = c;
	return 0;
}

int
ssh_banner_feed(struct ssh_banner *b, const void *data, size_t n, struct err *err)
{
	const char *p = data;

	assert(b->state != SSH_BANNER_FAILED);
	for (size_t i = 0; i < n && b->state == SSH_BANNER_READING; i++)
		if (take_byte(b, p[i], err) < 0)
			return -1;
	return 0;
}
