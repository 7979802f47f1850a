/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ~/.aws/config and ~/.aws/credentials, read as botocore does (configloader.py over Python's RawConfigParser, 3.11):
 * a line that is indented deeper than its setting goes on with the value, and a value that begins with a line's
 * end is a group of nested settings. All of it is done in place: joining lines only makes text shorter, so the
 * secrets stay in the one block that is wiped.
 */
#include "aws/credentials_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

struct parser {
	struct credentials_file *file;
	enum credentials_file_kind kind;
	struct map names; /* of sections */
	int line;
	int cap_sections;
	int cap_settings;   /* of the last section */
	long indent;	    /* of the setting that may go on; -1: of none */
	char *end;	    /* of its value so far; NULL: none is open */
	size_t blank_lines; /* seen since; they count if the value goes on */
	struct err *err;
};

static int
refuse(struct parser *p, const char *why)
{
	return err_set(p->err, ERR_INVALID, "%s:%d: %s", p->file->path, p->line, why);
}

/* What Python's str.strip() takes away, of ASCII. */
static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

/* Cuts blanks from both ends of [*s, *end). */
static void
strip(char **s, char **end)
{
	while (*s < *end && is_blank(**s))
		(*s)++;
	while (*end > *s && is_blank((*end)[-1]))
		(*end)--;
}

static struct credentials_section *
last_section(struct parser *p)
{
	return p->file->n_sections ? &p->file->sections[p->file->n_sections - 1] : NULL;
}

static int
add_setting(struct parser *p, const char *group, char *name, char *value)
{
	struct credentials_section *s = last_section(p);

	if (s->n_settings == CREDENTIALS_SETTINGS_MAX)
		return refuse(p, "too many settings in one section");
	if (s->n_settings == p->cap_settings) {
		p->cap_settings = p->cap_settings ? p->cap_settings * 2 : 8;
		s->settings =
		    xrealloc(s->settings, (size_t)p->cap_settings * sizeof(*s->settings));
	}
	s->settings[s->n_settings++] = (struct credentials_setting){group, name, value};
	return 0;
}

/* "\nname = value\nname = value", NUL-terminated: the setting becomes a group. A name that comes again
   replaces the one before, as in Python's dict. */
static int
parse_nested(struct parser *p, const char *group, char *text)
{
	char *next;

	for (char *line = text; line; line = next) {
		char *end = strchr(line, '\n');
		char *eq, *name_end, *value;

		next = end ? end + 1 : NULL;
		end = end ? end : line + strlen(line);
		strip(&line, &end);
		if (line == end)
			continue;
		*end = '\0';
		eq = strchr(line, '=');
		if (!eq)
			return refuse(p, "a nested setting must read NAME = VALUE");
		name_end = eq;
		value = eq + 1;
		strip(&line, &name_end);
		strip(&value, &end);
		*name_end = *end = '\0';
		if (add_setting(p, group, line, value) < 0)
			return -1;
	}
	return 0;
}

/* The open value is complete. */
static int
close_setting(struct parser *p)
{
	struct credentials_section *s = last_section(p);
	const char *group;
	char *value;

	if (!p->end)
		return 0;
	*p->end = '\0';
	p->end = NULL;
	value = (char *)s->settings[s->n_settings - 1].value;
	if (value[0] != '\n')
		return 0;
	group = s->settings[s->n_settings - 1].name;
	s->settings[s->n_settings - 1].value = "";
	return parse_nested(p, group, value);
}

/* The second of two words, or NULL: "profile dev", "profile 'my dev'". */
static char *
second_word(const char *name)
{
	struct credentials_words w;
	struct err ignored;
	char *s = NULL;

	if (credentials_words_split(name, 3, &w, &ignored) < 0)
		return NULL;
	if (w.n == 2)
		s = xstrdup(w.argv[1]);
	credentials_words_free(&w);
	return s;
}

/* build_profile_map() in configloader.py: "profile" is looked for as a prefix only. */
static void
name_section(struct parser *p, struct credentials_section *s)
{
	if (p->kind == CREDENTIALS_FILE_SHARED)
		s->profile = strcmp(s->name, "DEFAULT") != 0 ? xstrdup(s->name) : NULL;
	else if (strncmp(s->name, "profile", 7) == 0)
		s->profile = second_word(s->name);
	else if (strncmp(s->name, "services", 8) == 0)
		s->services = second_word(s->name);
	else if (strcmp(s->name, "default") == 0)
		s->profile = xstrdup("default");
}

static int
open_section(struct parser *p, char *name, char *name_end)
{
	struct credentials_file *f = p->file;
	struct credentials_section *s;

	*name_end = '\0';
	if (map_get(&p->names, name))
		return refuse(p, "this section was begun before");
	if (f->n_sections == CREDENTIALS_SECTIONS_MAX)
		return refuse(p, "too many sections");
	if (f->n_sections == p->cap_sections) {
		p->cap_sections = p->cap_sections ? p->cap_sections * 2 : 8;
		f->sections =
		    xrealloc(f->sections, (size_t)p->cap_sections * sizeof(*f->sections));
	}
	s = &f->sections[f->n_sections++];
	*s = (struct credentials_section){.name = name};
	p->cap_settings = 0;
	name_section(p, s);
	map_put(&p->names, name, name);
	return 0;
}

static int
open_setting(struct parser *p, char *line, char *end)
{
	char *delim = line, *name_end, *value;
	struct credentials_section *s = last_section(p);

	while (delim < end && *delim != '=' && *delim != ':')
		delim++;
	if (delim == end || delim == line)
		return refuse(p, "a line must read NAME = VALUE, or [SECTION]");
	name_end = delim;
	value = delim + 1;
	strip(&line, &name_end);
	strip(&value, &end);
	*name_end = '\0';
	for (char *c = line; c < name_end; c++)
		*c = *c >= 'A' && *c <= 'Z' ? (char)(*c + ('a' - 'A')) : *c;
	for (int i = 0; i < s->n_settings; i++)
		if (!s->settings[i].group && strcmp(s->settings[i].name, line) == 0)
			return refuse(p, "this setting was given before");
	p->end = end;
	p->blank_lines = 0;
	return add_setting(p, NULL, line, value);
}

/* There is room: each of the lines had an end, and this one its own text. */
static void
go_on(struct parser *p, const char *line, const char *end)
{
	for (size_t i = 0; i <= p->blank_lines; i++)
		*p->end++ = '\n';
	p->blank_lines = 0;
	memmove(p->end, line, (size_t)(end - line));
	p->end += end - line;
}

static int
parse_line(struct parser *p, char *line, char *end)
{
	char *start = line;

	strip(&line, &end);
	if (line == end || *line == '#' || *line == ';') {
		p->blank_lines += line == end;
		return 0;
	}
	if (p->end && line - start > p->indent) {
		go_on(p, line, end);
		return 0;
	}
	if (close_setting(p) < 0)
		return -1;
	p->indent = line - start;
	if (*line == '[') {
		char *bracket = memrchr(line, ']', (size_t)(end - line));

		if (bracket && bracket > line + 1)
			return open_section(p, line + 1, bracket);
	}
	if (!last_section(p))
		return refuse(p, "a setting before the first [SECTION]");
	return open_setting(p, line, end);
}

static int
parse_text(struct parser *p)
{
	char *s = p->file->text, *end = s + p->file->text_len;

	if (memchr(s, '\0', p->file->text_len)) {
		p->line = 1;
		return refuse(p, "this is not a text file");
	}
	while (s < end) {
		char *eol = s + strcspn(s, "\r\n");
		char *next = eol + (eol < end);

		if (*eol == '\r' && next < end && *next == '\n')
			next++;
		p->line++;
		if (parse_line(p, s, eol) < 0)
			return -1;
		s = next;
	}
	return close_setting(p);
}

int
credentials_file_parse(const char *path, enum credentials_file_kind kind,
    const char *data, size_t n, struct credentials_file **ret, struct err *err)
{
	struct parser p = {.kind = kind, .err = err};
	int r;

	if (n > CREDENTIALS_FILE_MAX)
		return err_set(err, ERR_INVALID, "%s: larger than %u KiB", path,
		    CREDENTIALS_FILE_MAX >> 10);
	p.file = xnew(struct credentials_file);
	p.file->path = xstrdup(path);
	p.file->text = xmalloc(n + 1);
	if (n)
		memcpy(p.file->text, data, n);
	p.file->text[n] = '\0';
	p.file->text_len = n;
	r = parse_text(&p);
	map_fini(&p.names);
	if (r < 0) {
		credentials_file_free(p.file);
		return -1;
	}
	*ret = p.file;
	return 0;
}

void
credentials_file_free(struct credentials_file *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->n_sections; i++) {
		free(f->sections[i].profile);
		free(f->sections[i].services);
		free(f->sections[i].settings);
	}
	free(f->sections);
	OPENSSL_cleanse(f->text, f->text_len);
	free(f->text);
	free(f->path);
	free(f);
}

static int
read_all(int fd, const char *path, char *out, size_t *n, struct err *err)
{
	size_t got = 0;

	while (got < *n) {
		ssize_t r = read(fd, out + got, *n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_errno(err, errno, "%s", path);
		if (r == 0)
			break;
		got += (size_t)r;
	}
	*n = got;
	return 0;
}

static int
open_regular(const char *path, struct stat *st, struct err *err)
{
	/* not to wait for whoever opens the other end of a FIFO */
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(err, ERR_NOT_FOUND, "%s: not there", path);
	if (fd < 0 || fstat(fd, st) < 0)
		return err_errno(err, errno, "%s", path);
	if (!S_ISREG(st->st_mode))
		return err_set(err, ERR_NOT_FOUND, "%s: not a regular file", path);
	return TAKE_FD(fd);
}

int
credentials_file_read(const char *path, enum credentials_file_kind kind,
    struct credentials_file **ret, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	struct stat st = {0};
	size_t n = CREDENTIALS_FILE_MAX + 1;
	char *data;
	int r;

	fd = open_regular(path, &st, err);
	if (fd < 0)
		return -1;
	data = xmalloc(n);
	r = read_all(fd, path, data, &n, err);
	if (r == 0)
		r = credentials_file_parse(path, kind, data, n, ret, err);
	OPENSSL_cleanse(data, n);
	free(data);
	if (r == 0)
		(*ret)->others_may_read = (st.st_mode & S_IROTH) != 0;
	return r;
}

const struct credentials_section *
credentials_file_profile(const struct credentials_file *f, const char *name)
{
	for (int i = f ? f->n_sections : 0; i-- > 0;)
		if (f->sections[i].profile && strcmp(f->sections[i].profile, name) == 0)
			return &f->sections[i];
	return NULL;
}

const struct credentials_section *
credentials_file_services(const struct credentials_file *f, const char *name)
{
	for (int i = f ? f->n_sections : 0; i-- > 0;)
		if (f->sections[i].services && strcmp(f->sections[i].services, name) == 0)
			return &f->sections[i];
	return NULL;
}

static const char *
get_own(const struct credentials_section *s, const char *group, const char *name)
{
	for (int i = s->n_settings; i-- > 0;) {
		const struct credentials_setting *e = &s->settings[i];

		if ((group == NULL) == (e->group == NULL) &&
		    (!group || strcmp(group, e->group) == 0) &&
		    strcmp(name, e->name) == 0)
			return e->value;
	}
	return NULL;
}

const char *
credentials_file_get(const struct credentials_file *f,
    const struct credentials_section *s, const char *group, const char *name)
{
	const char *value = s ? get_own(s, group, name) : NULL;

	for (int i = 0; s && !value && i < f->n_sections; i++)
		if (strcmp(f->sections[i].name, "DEFAULT") == 0)
			value = get_own(&f->sections[i], group, name);
	return value;
}
