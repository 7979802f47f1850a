/* SPDX-License-Identifier: Apache-2.0 */
#include "host/places.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

/* As root, a directory in which others can write is refused. */
static int
open_directory(const char *what, const char *path, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s %s: cannot be made", what, path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, errno, "%s %s: cannot be opened", what, path);
	if (geteuid() == 0 && (st.st_uid != 0 || (st.st_mode & 022) != 0)) {
		err_set(err, ERR_NOT_PERMITTED, "%s %s: others than root can write in it",
		    what, path);
		return err_hint(err,
		    "make it root's, mode 0755, or choose another in the configuration");
	}
	return TAKE_FD(fd);
}

static long
lock_holder(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return strtol(text, NULL, 10);
}

/* `program` cannot have RUNTIME, for `holder` has it. */
static int
lock_taken(struct err *err, const char *program, const char *holder, const char *runtime,
    long pid)
{
	const char *other = strcmp(program, holder) == 0 ? "another " : "";

	if (pid > 0)
		err_set(err, ERR_CONFLICT, "%s%s (pid %ld) runs in %s", other, holder,
		    pid, runtime);
	else
		err_set(err, ERR_CONFLICT, "%s%s runs in %s", other, holder, runtime);
	return err_hint(err,
	    "stop it first, or give this one its own %s'runtime' and 'state'",
	    strcmp(program, "hearthd") == 0 ? "'socket', " : "");
}

/* Opens and locks RUNTIME/HOLDER.lock for `program`; 0 with *ret_fd untouched where it is not there and not to be made. */
static int
take_lock(int dir, const char *program, const char *holder, const char *runtime,
    int flags, int *ret_fd, struct err *err)
{
	AUTO_FREE char *name = xasprintf("%s.lock", holder);
	AUTO_CLOSE int fd =
	    openat(dir, name, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == ENOENT && !(flags & O_CREAT))
		return 0;
	if (fd < 0)
		return err_errno(err, errno, "%s/%s: cannot be opened", runtime, name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_errno(
			    err, errno, "%s/%s: cannot be locked", runtime, name);
		return lock_taken(err, program, holder, runtime, lock_holder(fd));
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Either program has a launcher's socket and machines in its RUNTIME, so the other one may not be there. Its lock is
   looked at with our own held: of two that start at once, one at least sees the other. */
static int
refuse_others(int dir, const char *program, const char *runtime, struct err *err)
{
	static const char *const programs[] = {"hearthd", "hearth-ec2"};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		AUTO_CLOSE int fd = -1;

		if (strcmp(programs[i], program) != 0 &&
		    take_lock(dir, program, programs[i], runtime, 0, &fd, err) < 0)
			return -1;
	}
	return 0;
}

int
places_lock_runtime(
    const char *program, const char *runtime, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int dir = open_directory("runtime directory", runtime, err);
	AUTO_CLOSE int fd = -1;

	if (dir < 0 || take_lock(dir, program, program, runtime, O_CREAT, &fd, err) < 0 ||
	    refuse_others(dir, program, runtime, err) < 0)
		return -1;
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0)
		return err_errno(
		    err, errno, "%s/%s.lock: cannot be written", runtime, program);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- STATE/db ---- */

/* Gives one entry to the user, through a descriptor of that very file. A file with a
   second name may be somebody else's file by that other name: it is left alone, and
   opening it will say so. */
static int
give(int dir, const char *name, const struct identity *id, struct err *err)
{
	AUTO_CLOSE int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT
			   ? 0
			   : err_errno(err, errno, "%s: cannot be looked at", name);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 ||
	    (st.st_uid == id->uid && st.st_gid == id->gid))
		return 0;
	if (fchownat(fd, "", id->uid, id->gid, AT_EMPTY_PATH) < 0)
		return err_errno(err, errno, "%s: cannot be given to user %u", name,
		    (unsigned)id->uid);
	return 0;
}

static int
give_all(int dir_fd, const struct identity *id, struct err *err)
{
	int fd = dup(dir_fd);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return err_errno(err, errno, "cannot be listed");
	}
	while (rc == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			rc = give(dir_fd, e->d_name, id, err);
	closedir(d);
	return rc;
}

int
places_open_db(const char *state, const struct identity *id, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int dir = open_directory("state directory", state, err);
	AUTO_CLOSE int fd = -1;

	if (dir < 0)
		return -1;
	if (mkdirat(dir, "db", 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s/db: cannot be made", state);
	fd = openat(dir, "db", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "%s/db: cannot be opened", state);
	if (geteuid() == 0) {
		if (fchown(fd, id->uid, id->gid) < 0 || fchmod(fd, 0700) < 0)
			return err_errno(err, errno, "%s/db: cannot be given to user %u",
			    state, (unsigned)id->uid);
		if (give_all(fd, id, err) < 0)
			return err_wrap(err, "%s/db", state);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- sockets ---- */

static int
set_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	size_t n = strlen(path);

	if (n >= sizeof(ret->sun_path))
		return err_set(err, ERR_INVALID, "socket %s: the path is too long", path);
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, n);
	return 0;
}

/* Makes way at `path`, where something is. */
static int
remove_stale(
    const struct socket_spec *spec, const struct sockaddr_un *at, struct err *err)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, spec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (lstat(spec->path, &st) < 0)
		return errno == ENOENT ? 0
				       : err_errno(err, errno, "socket %s", spec->path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_CONFLICT,
		    "socket %s: something that is not a socket is there; "
		    "remove it or choose another path",
		    spec->path);
	if (fd < 0)
		return err_errno(err, errno, "socket %s", spec->path);
	if (spec->ours || (connect(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 &&
			      errno == ECONNREFUSED)) {
		if (unlink(spec->path) < 0 && errno != ENOENT)
			return err_errno(err, errno,
			    "socket %s: the stale one cannot be removed", spec->path);
		return 0;
	}
	err_set(
	    err, ERR_CONFLICT, "socket %s: somebody answers there already", spec->path);
	return err_hint(err, "stop the other hearthd first, or choose another 'socket'");
}

static int
set_owner(const struct socket_spec *spec, struct err *err)
{
	gid_t gid = (gid_t)-1;

	if (spec->group) {
		const struct group *gr = getgrnam(spec->group);

		if (!gr)
			return err_set(err, ERR_INVALID,
			    "socket_group: there is no group '%s'", spec->group);
		gid = gr->gr_gid;
	}
	if ((gid != (gid_t)-1 || spec->uid != (uid_t)-1) &&
	    lchown(spec->path, spec->uid, gid) < 0)
		return err_errno(
		    err, errno, "socket %s: its owner cannot be set", spec->path);
	if (chmod(spec->path, spec->mode) < 0)
		return err_errno(
		    err, errno, "socket %s: its mode cannot be set", spec->path);
	return 0;
}

int
places_listen(const struct socket_spec *spec, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int made = -1;
	struct sockaddr_un at;
	mode_t mask;
	int fd = spec->fd, rc;

	if (set_address(spec->path, &at, err) < 0 || remove_stale(spec, &at, err) < 0)
		return -1;
	if (fd < 0)
		fd = made = socket(AF_UNIX, spec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket %s", spec->path);
	mask = umask(0777); /* nobody gets in before the owner is set */
	rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(mask);
	if (rc < 0)
		return err_errno(err, errno, "socket %s: cannot be bound", spec->path);
	if (set_owner(spec, err) < 0) {
		unlink(spec->path);
		return -1;
	}
	if (listen(fd, SOMAXCONN) < 0)
		return err_errno(err, errno, "socket %s: cannot listen", spec->path);
	*ret_fd = fd;
	made = -1;
	return 0;
}
