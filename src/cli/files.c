/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

char *
files_home(void)
{
	const char *home = getenv("HOME");
	struct passwd *pw;

	if (home && home[0] == '/')
		return xstrdup(home);
	pw = getpwuid(getuid());
	return xstrdup(pw && pw->pw_dir ? pw->pw_dir : "/");
}

char *
files_absolute(const char *path)
{
	AUTO_FREE char *cwd = NULL;

	if (path[0] == '/')
		return xstrdup(path);
	cwd = getcwd(NULL, 0);
	return xasprintf("%s/%s", cwd ? cwd : "", path);
}

int
files_mkdir(const char *path, struct err *err)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		err_errno(err, errno, "make the directory %s", path);
		err->code = ERR_INTERNAL; /* "not found" is for what was asked for */
		return -1;
	}
	if (stat(path, &st) < 0)
		return err_errno(err, errno, "look at %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INTERNAL, "%s is not a directory", path);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return err_set(
		    err, ERR_NOT_PERMITTED, "%s belongs to another user", path);
	if ((st.st_mode & 07777) != 0700 && chmod(path, 0700) < 0)
		return err_errno(err, errno, "make %s private", path);
	return 0;
}

/* As `mkdir -p -m 700` on the part of `path` before its last slash. */
static int
make_parents(char *path, struct err *err)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		int r;

		*p = '\0';
		r = mkdir(path, 0700);
		if (r < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
			err_errno(err, errno, "make the directory %s", path);
		else
			r = 0;
		*p = '/';
		if (r < 0)
			return -1;
	}
	return 0;
}

int
files_state_dir(char **ret, struct err *err)
{
	const char *base = getenv("XDG_STATE_HOME");
	AUTO_FREE char *home = NULL;
	AUTO_FREE char *dir = NULL;

	if (base && base[0] == '/') { /* the specification ignores relative ones */
		dir = xasprintf("%s/hearth", base);
	} else {
		home = files_home();
		dir = xasprintf("%s/.local/state/hearth", home);
	}
	if (access(dir, F_OK) < 0 && make_parents(dir, err) < 0)
		return -1;
	if (files_mkdir(dir, err) < 0) {
		if (!err->hint[0])
			err_hint(err, "set XDG_STATE_HOME to a directory of yours");
		return -1;
	}
	*ret = TAKE(dir);
	return 0;
}

int
files_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	AUTO_BUF struct buf b = BUF_INIT(max);
	char part[4096];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, errno, "read %s", path);
	if (S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID, "%s is a directory", path);
	while ((n = read(fd, part, sizeof(part))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "read %s", path);
		buf_add(&b, part, (size_t)n);
		if (b.overflow)
			return err_set(
			    err, ERR_TOO_LARGE, "%s is over %zu KiB", path, max / 1024);
	}
	*ret_len = b.len;
	*ret = buf_take(&b);
	return 0;
}

static int
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

int
files_write(
    const char *path, const char *data, size_t len, unsigned mode, struct err *err)
{
	AUTO_FREE char *tmp = xasprintf("%s.%d.tmp", path, (int)getpid());
	int fd;
	int e;

	(void)unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(err, errno, "write %s", path);
	if (write_all(fd, data, len) < 0 || (mode != 0600 && fchmod(fd, mode) < 0)) {
		e = errno;
		close(fd);
	} else if (close(fd) == 0 && rename(tmp, path) == 0) {
		return 0;
	} else {
		e = errno;
	}
	(void)unlink(tmp);
	return err_errno(err, e, "write %s", path);
}
