/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/disk_inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "launcher/rootfs.h"

#define DISKS "/disk"

struct inside_call {
	const char *name;
	int mount;
	dev_t dev;
	bool found;
	struct err err; /* code ERR_NONE: it worked */
};

typedef int (*inside_fn)(struct inside_call *c, struct err *err);

/* ---- joining ---- */

static int
join(int pidfd, struct err *err)
{
	if (setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_errno(err, errno, "enter the machine");
	umask(022);
	return 0;
}

static _Noreturn void
run_inside(int pidfd, inside_fn fn, struct inside_call *c, int answer)
{
	if (join(pidfd, &c->err) == 0 && fn(c, &c->err) == 0)
		c->err.code = ERR_NONE;
	_exit(send(answer, c, sizeof(*c), MSG_NOSIGNAL) != sizeof(*c));
}

/* Runs fn in there; its results are in *c. */
static int
call_inside(int pidfd, inside_fn fn, struct inside_call *c, struct err *err)
{
	AUTO_CLOSE int ours = -1;
	struct inside_call result;
	int pair[2];
	ssize_t n;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, errno, "enter the machine");
	ours = pair[0];
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		run_inside(pidfd, fn, c, pair[1]);
	}
	close(pair[1]);
	if (pid < 0)
		return err_errno(err, errno, "enter the machine");
	do
		n = recv(ours, &result, sizeof(result), 0);
	while (n < 0 && errno == EINTR);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (n != sizeof(result))
		return err_set(err, ERR_INTERNAL, "the process in the machine died");
	c->found = result.found;
	if (result.err.code == ERR_NONE)
		return 0;
	*err = result.err;
	return -1;
}

/* ---- what is done there ---- */

static int
open_disks(void)
{
	return open(DISKS, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
open_place(int disks, const char *name)
{
	struct open_how how = {
	    .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, disks, name, &how, sizeof(how));
}

static int
place(struct inside_call *c, struct err *err)
{
	AUTO_CLOSE int disks = -1;
	AUTO_CLOSE int at = -1;
	struct stat above, here;

	if (mkdir(DISKS, 0755) < 0 && errno != EEXIST)
		return err_errno(err, errno, "make " DISKS " in the machine");
	disks = open_disks();
	if (disks < 0)
		return err_errno(err, errno, "open " DISKS " in the machine");
	if (mkdirat(disks, c->name, 0755) < 0 && errno != EEXIST)
		return err_errno(err, errno, "make " DISKS "/%s in the machine", c->name);
	at = open_place(disks, c->name);
	if (at < 0 || fstat(disks, &above) < 0 || fstat(at, &here) < 0)
		return err_errno(err, errno, "open " DISKS "/%s in the machine", c->name);
	if (above.st_dev != here.st_dev)
		return err_set(err, ERR_CONFLICT,
		    "something is mounted at " DISKS "/%s in the machine already",
		    c->name);
	if (move_mount(c->mount, "", at, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_errno(
		    err, errno, "mount at " DISKS "/%s in the machine", c->name);
	return 0;
}

static bool
is_ours(int disks, const struct inside_call *c)
{
	struct stat st;

	return disks >= 0 && fstatat(disks, c->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == c->dev;
}

static int
look(struct inside_call *c, struct err *err)
{
	AUTO_CLOSE int disks = open_disks();

	c->found = is_ours(disks, c);
	return 0;
}

static int
unmount(struct inside_call *c, struct err *err)
{
	AUTO_CLOSE int disks = open_disks();

	if (!is_ours(disks, c))
		return 0;
	if (fchdir(disks) < 0 || umount2(c->name, UMOUNT_NOFOLLOW) < 0) {
		if (errno == EBUSY)
			return err_set(err, ERR_CONFLICT, "the disk is in use");
		return err_errno(err, errno, "unmount the disk");
	}
	(void)unlinkat(disks, c->name, AT_REMOVEDIR);
	return 0;
}

int
disk_inside_place(int pidfd, const char *name, int mount, struct err *err)
{
	struct inside_call c = {.name = name, .mount = mount};

	return call_inside(pidfd, place, &c, err);
}

int
disk_inside_look(int pidfd, const char *name, dev_t dev, bool *ret, struct err *err)
{
	struct inside_call c = {.name = name, .dev = dev};

	if (call_inside(pidfd, look, &c, err) < 0)
		return -1;
	*ret = c.found;
	return 0;
}

int
disk_inside_unmount(int pidfd, const char *name, dev_t dev, struct err *err)
{
	struct inside_call c = {.name = name, .dev = dev};

	return call_inside(pidfd, unmount, &c, err);
}

/* ---- who uses it ---- */

static bool
link_is_of(int dir, const char *name, dev_t dev)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) == 0 && st.st_dev == dev;
}

static bool
has_open(int proc, dev_t dev)
{
	int fds = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fds < 0 ? NULL : fdopendir(fds);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)) != NULL)
		found = e->d_name[0] != '.' && link_is_of(dirfd(d), e->d_name, dev);
	if (d)
		closedir(d);
	return found;
}

/* A line of the file has `word`. */
static bool
file_says(int proc, const char *name, const char *word)
{
	int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (f && !found && getline(&line, &size, f) > 0)
		found = strstr(line, word) != NULL;
	free(line);
	if (f)
		(void)fclose(f);
	else if (fd >= 0)
		close(fd);
	return found;
}

static bool
in_other_namespace(int proc, pid_t first)
{
	struct stat theirs, machine;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)first);
	return fstatat(proc, "ns/mnt", &theirs, 0) == 0 && stat(path, &machine) == 0 &&
	       theirs.st_ino != machine.st_ino;
}

/* proc(5): of a mapping the device is in hex, of a mount in decimal. One that has it mounted in a namespace of its own (nested
   containers) holds it without any file. */
static bool
uses(int proc, pid_t first, dev_t dev)
{
	static const char *const links[] = {"cwd", "root", "exe"};
	char mapping[32], mount[32];

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (link_is_of(proc, links[i], dev))
			return true;
	(void)snprintf(mapping, sizeof(mapping), " %02x:%02x ", major(dev), minor(dev));
	(void)snprintf(mount, sizeof(mount), " %u:%u ", major(dev), minor(dev));
	return has_open(proc, dev) || file_says(proc, "maps", mapping) ||
	       (in_other_namespace(proc, first) && file_says(proc, "mountinfo", mount));
}

static bool
signal_if_uses(const char *pid_text, pid_t first, uid_t root, dev_t dev, int sig)
{
	pid_t pid = (pid_t)strtol(pid_text, NULL, 10);
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	AUTO_CLOSE int proc = -1;
	char path[32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pidfd < 0 || proc < 0 || fstat(proc, &st) < 0 || st.st_uid < root ||
	    st.st_uid - root >= ROOTFS_UIDS || !uses(proc, first, dev))
		return false;
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) == 0;
}

int
disk_inside_signal(pid_t first, uid_t root, dev_t dev, int sig)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d)) != NULL)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
		    strtol(e->d_name, NULL, 10) != first)
			n += signal_if_uses(e->d_name, first, root, dev, sig);
	if (d)
		closedir(d);
	return n;
}
