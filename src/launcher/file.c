/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int
file_create_at(int dirfd, const char *name, const void *data, size_t n, mode_t mode,
    uid_t owner, struct err *err)
{
	AUTO_CLOSE int fd = openat(
	    dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	ssize_t done;

	if (fd < 0)
		return err_errno(err, errno, "create file '%s'", name);
	done = write(fd, data, n);
	if (done != (ssize_t)n)
		return err_errno(err, done < 0 ? errno : ENOSPC, "write file '%s'", name);
	if (owner != 0 && fchown(fd, owner, owner) < 0)
		return err_errno(err, errno, "change the owner of '%s'", name);
	if (mode != 0600 && fchmod(fd, mode) < 0)
		return err_errno(err, errno, "change the mode of '%s'", name);
	return 0;
}

int
file_put_at(int dirfd, const char *name, const char *text)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return errno;
	return 0;
}

int
file_get_at(int dirfd, const char *name, char *buf, size_t size)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return errno;
	while ((n = read(fd, buf + len, size - len)) > 0) {
		len += (size_t)n;
		if (len == size)
			return EFBIG;
	}
	if (n < 0)
		return errno;
	buf[len] = '\0';
	return 0;
}

int
dir_open_at(int dirfd, const char *name, mode_t mode, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	bool made = mkdirat(dirfd, name, mode) == 0;
	struct stat st;

	if (!made && errno != EEXIST)
		return err_errno(err, errno, "make directory '%s'", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, errno, "open directory '%s'", name);
	if (made && fchmod(fd, mode) < 0) /* whatever the umask took away */
		return err_errno(err, errno, "change the mode of '%s'", name);
	if (st.st_uid != 0 || (st.st_mode & 022) != 0) {
		err_set(err, ERR_NOT_PERMITTED,
		    "directory '%s' is not root's alone to write in", name);
		return err_hint(err,
		    "chown root: and chmod go-w it, or choose another state directory");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Out of the way of the names we move directories to, and of a second process doing the same. */
static void
flat_name(char out[64], unsigned long *counter)
{
	(void)snprintf(out, 64, ".hearth-flat-%d-%lu", (int)getpid(), (*counter)++);
}

/* Empties directory `dir` except for subdirectories that are not empty: those go up to `top`. Returns
   how many it moved, -1 when something could not be removed (errno). Consumes dir. */
static long
empty_into(int top, int dir, bool is_top, unsigned long *counter)
{
	DIR *d = fdopendir(dir);
	struct dirent *e;
	long moved = 0;

	if (!d) {
		close(dir);
		return -1;
	}
	while ((errno = 0, e = readdir(d)) != NULL) {
		char flat[64];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno == EISDIR && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0)
			continue;
		if (errno == ENOENT)
			continue;
		if (errno != ENOTEMPTY && errno != EEXIST)
			break;
		moved++;
		if (is_top)
			continue;
		flat_name(flat, counter);
		if (renameat(dirfd(d), e->d_name, top, flat) < 0 && errno != ENOENT)
			break;
	}
	if (errno != 0)
		moved = -1;
	int saved = errno;
	closedir(d);
	errno = saved;
	return moved;
}

/* One round over the directories in `top`. Returns how many directories are still to do. */
static long
flatten_round(int top, unsigned long *counter)
{
	AUTO_CLOSE int again = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	long left = 0;

	if (!d)
		return -1;
	again = -1;
	while (left >= 0 && (e = readdir(d)) != NULL) {
		int sub;
		long moved;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		sub = openat(
		    top, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			continue;
		moved = empty_into(top, sub, false, counter);
		left = moved < 0 ? -1 : left + moved;
	}
	int saved = errno;
	closedir(d);
	errno = saved;
	return left;
}

int
tree_remove_at(int dirfd, const char *name, struct err *err)
{
	AUTO_CLOSE int top =
	    openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	unsigned long counter = 0;

	if (top < 0)
		return errno == ENOENT
			   ? 0
			   : err_errno(err, errno, "open '%s' to delete it", name);
	for (;;) {
		int copy = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		long left = copy < 0 ? -1 : empty_into(top, copy, true, &counter);

		if (left < 0 || (left > 0 && flatten_round(top, &counter) < 0))
			return err_errno(err, errno, "delete what is in '%s'", name);
		if (left == 0)
			break;
	}
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_errno(err, errno, "delete directory '%s'", name);
	return 0;
}
