/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/wiring.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "cli/files.h"
#include "cli/ssh_options.h"

#define CONFIG_MAX (1u << 20)

static char *
config_path(void)
{
	AUTO_FREE char *home = files_home();

	return xasprintf("%s/.ssh/config", home);
}

static int
include_line(const char *top, char **ret, struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	if (ssh_include_line(&b, top, "", err) < 0)
		return -1;
	*ret = buf_take(&b);
	return 0;
}

/* A line that limits what follows to some hosts. */
static bool
begins_block(const char *line, size_t n)
{
	size_t word;

	while (n > 0 && strchr(" \t", *line))
		line++, n--;
	for (word = 0; word < n && !strchr(" \t=\r\"", line[word]); word++)
		;
	return (word == 4 && strncasecmp(line, "Host", 4) == 0) ||
	       (word == 5 && strncasecmp(line, "Match", 5) == 0);
}

static bool
has_line(const char *text, const char *want)
{
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");

		if (begins_block(line, n))
			return false;
		if (n == strlen(want) && strncmp(line, want, n) == 0)
			return true;
		line += n + (line[n] == '\n');
	}
	return false;
}

bool
wiring_is_made(const char *top)
{
	AUTO_FREE char *path = config_path();
	AUTO_FREE char *want = NULL;
	AUTO_FREE char *text = NULL;
	struct err ignored;
	size_t n;

	return include_line(top, &want, &ignored) == 0 &&
	       files_read(path, CONFIG_MAX, &text, &n, &ignored) == 0 &&
	       has_line(text, want);
}

bool
wiring_is_read(void)
{
	AUTO_FREE char *home = files_home();
	struct passwd *pw = getpwuid(getuid());

	return !pw || strcmp(pw->pw_dir, home) == 0;
}

/* The file to write: what the path leads to, or the path itself where nothing is yet. */
static int
resolve(const char *path, char **ret, struct err *err)
{
	struct stat st;

	*ret = realpath(path, NULL);
	if (*ret)
		return 0;
	if (errno != ENOENT)
		return err_errno(err, errno, "read %s", path);
	if (lstat(path, &st) == 0) {
		err_set(
		    err, ERR_INVALID, "%s is a link to a file that does not exist", path);
		return err_hint(err, "make the file, or remove the link");
	}
	*ret = xstrdup(path);
	return 0;
}

static int
make_ssh_dir(struct err *err)
{
	AUTO_FREE char *home = files_home();
	AUTO_FREE char *dir = xasprintf("%s/.ssh", home);

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "make the directory %s", dir);
	return 0;
}

static int
write_new(const char *file, const char *line, const char *old, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(0);
	struct stat st;
	bool there = stat(file, &st) == 0;

	buf_fmt(&text, "# Machines reserved with hearth, by name\n%s\n%s%s", line,
	    old[0] ? "\n" : "", old);
	if (files_write(
		file, text.data, text.len, there ? st.st_mode & 07777 : 0600, err) < 0)
		return -1;
	if (there && st.st_uid != geteuid() && chown(file, st.st_uid, st.st_gid) < 0)
		return err_errno(err, errno, "give %s back to its owner", file);
	return 0;
}

int
wiring_make(const char *top, char **ret_path, bool *ret_changed, struct err *err)
{
	AUTO_FREE char *path = config_path();
	AUTO_FREE char *file = NULL;
	AUTO_FREE char *line = NULL;
	AUTO_FREE char *old = NULL;
	size_t n = 0;

	if (include_line(top, &line, err) < 0 || make_ssh_dir(err) < 0 ||
	    resolve(path, &file, err) < 0)
		return -1;
	if (access(file, F_OK) == 0 && files_read(file, CONFIG_MAX, &old, &n, err) < 0)
		return -1;
	if (old && strlen(old) != n)
		return err_set(err, ERR_INVALID, "%s is not a text file", path);
	*ret_changed = !old || !has_line(old, line);
	if (*ret_changed && write_new(file, line, old ? old : "", err) < 0)
		return -1;
	*ret_path = TAKE(path);
	return 0;
}
