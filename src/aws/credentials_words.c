/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a command line or a section's name, as shlex.split() of Python 3.11 cuts them in its POSIX mode. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "aws/credentials_internal.h"
#include "base/xalloc.h"

/* Copies a word from *s to *out, without its quotes. Returns -1 when a quote or a backslash is left open. */
static int
take_word(const char **s, char **out)
{
	const char *p = *s;
	char quote = 0;

	for (; *p && (quote || !strchr(" \t\r\n", *p)); p++) {
		if (quote ? *p == quote : *p == '\'' || *p == '"') {
			quote = quote ? 0 : *p;
			continue;
		}
		if (*p == '\\' && quote != '\'') {
			if (p[1] == '\0')
				return -1;
			/* between double quotes a backslash protects only these two */
			if (!quote || p[1] == '"' || p[1] == '\\')
				p++;
		}
		*(*out)++ = *p;
	}
	*(*out)++ = '\0';
	*s = p;
	return quote ? -1 : 0;
}

int
credentials_words_split(
    const char *s, int max, struct credentials_words *ret, struct err *err)
{
	struct credentials_words w = {.text_len = strlen(s) + 2};
	char *out;
	int r = 0;

	w.argv = xcalloc((size_t)max + 1, sizeof(*w.argv));
	w.text = out = xcalloc(1, w.text_len);
	for (;;) {
		s += strspn(s, " \t\r\n");
		if (*s == '\0')
			break;
		if (w.n == max) {
			r = err_set(err, ERR_INVALID, "more than %d words", max);
			break;
		}
		w.argv[w.n++] = out;
		if (take_word(&s, &out) < 0) {
			r = err_set(
			    err, ERR_INVALID, "a quote or a backslash is left open");
			break;
		}
	}
	if (r < 0)
		credentials_words_free(&w);
	else
		*ret = w;
	return r;
}

void
credentials_words_free(struct credentials_words *w)
{
	if (w->text)
		OPENSSL_cleanse(w->text, w->text_len);
	free(w->text);
	free(w->argv);
	*w = (struct credentials_words){0};
}
