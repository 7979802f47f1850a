/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a configuration or credentials file holds, it is read whole, in its own memory, or refused with one line that
   names a line and quotes nothing. */
#include <assert.h>
#include <string.h>

#include "aws/credentials_internal.h"
#include "fuzz.h"

static void
check(const struct credentials_file *f, const char *s)
{
	assert(s >= f->text && s + strlen(s) <= f->text + f->text_len);
}

static void
walk(const struct credentials_file *f)
{
	for (int i = 0; i < f->n_sections; i++) {
		const struct credentials_section *s = &f->sections[i];

		check(f, s->name);
		assert(s->n_settings <= CREDENTIALS_SETTINGS_MAX);
		for (int k = 0; k < s->n_settings; k++) {
			const struct credentials_setting *e = &s->settings[k];

			check(f, e->name);
			if (e->value[0])
				check(f, e->value);
			assert(credentials_file_get(f, s, e->group, e->name));
		}
		if (s->profile)
			assert(credentials_file_profile(f, s->profile));
	}
}

static void
parse(enum credentials_file_kind kind, const char *data, size_t n)
{
	struct credentials_file *f = NULL;
	struct err err = {0};

	if (credentials_file_parse("f", kind, data, n, &f, &err) < 0) {
		assert(!f && err.code == ERR_INVALID && strncmp(err.msg, "f:", 2) == 0);
		assert(strlen(err.msg) < 80 && !strchr(err.msg, '\n'));
		return;
	}
	walk(f);
	credentials_file_free(f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char line[256] = "";
	struct credentials_words w;
	struct err err;

	parse(CREDENTIALS_FILE_CONFIG, (const char *)data, n);
	parse(CREDENTIALS_FILE_SHARED, (const char *)data, n);
	memcpy(line, data, n < sizeof(line) ? n : sizeof(line) - 1);
	if (credentials_words_split(line, 8, &w, &err) == 0) {
		assert(w.n <= 8 && !w.argv[w.n]);
		for (int i = 0; i < w.n; i++)
			assert(strlen(w.argv[i]) <= strlen(line));
		credentials_words_free(&w);
	}
	return 0;
}
