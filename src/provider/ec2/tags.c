/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/tags.h"

#include <stdlib.h>
#include <string.h>

#include "aws/token.h"
#include "base/buf.h"

#define BODY (ID_MAX - 4) /* characters of an id behind "m-" */

void
tags_pack(const struct id *tokens, int n, int k, struct buf *out)
{
	for (int i = k * TAGS_PER_VALUE; i < n && i < (k + 1) * TAGS_PER_VALUE; i++) {
		if (i > k * TAGS_PER_VALUE)
			buf_char(out, ' ');
		buf_str(out, tokens[i].s + 2);
	}
}

int
tags_unpack(const char *value, int index, struct id *ret)
{
	size_t at = (size_t)index * (BODY + 1);
	struct id id = {"m-"};

	if (index < 0 || index >= TAGS_PER_VALUE || at + BODY > strlen(value))
		return -1;
	memcpy(id.s + 2, value + at, BODY);
	if (!id_valid(id.s, 'm'))
		return -1;
	*ret = id;
	return 0;
}

int
tags_key(const char *key)
{
	const char *digits = key + strlen(TAG_TOKENS);

	if (strncmp(key, TAG_TOKENS, strlen(TAG_TOKENS)) != 0 || *digits == '\0' ||
	    strlen(digits) > 2 || strspn(digits, "0123456789") != strlen(digits))
		return -1;
	return (int)strtol(digits, NULL, 10);
}

void
tags_client_token(const struct id *tokens, int n, const char *salt, char out[65])
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_str(&b, salt);
	for (int i = 0; i < n; i++)
		buf_fmt(&b, "\n%s", tokens[i].s);
	aws_token_of(b.data, b.len, out);
}
