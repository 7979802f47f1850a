/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/graft.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static int
open_ns(pid_t pid, const char *which)
{
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, which);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int
graft_open(pid_t pid, int pidfd, struct graft *ret, struct err *err)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	struct graft g = {open_ns(pid, "user"), open_ns(pid, "mnt")};

	/* they are that process's if it still lives after they were opened */
	if (g.userns >= 0 && g.mntns >= 0 && poll(&p, 1, 0) == 0) {
		*ret = g;
		return 0;
	}
	graft_close(&g);
	return err_set(err, ERR_CONFLICT, "the machine has just ended");
}

void
graft_close(struct graft *g)
{
	if (g->userns >= 0)
		close(g->userns);
	if (g->mntns >= 0)
		close(g->mntns);
}

int
graft_map_owners(const struct graft *g, int mount, struct err *err)
{
	struct mount_attr attr = {
	    .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
	    .propagation = MS_PRIVATE,
	    .userns_fd = (uint64_t)g->userns,
	};

	if (mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return 0;
	err_errno(err, errno, "show the files as the machine's own");
	return err_hint(err,
	    "idmapped mounts need Linux 5.12, and ext4, xfs or btrfs under the state "
	    "directory");
}

/* The directory's descriptor, made for root inside unless it is there. */
static int
enter(int dirfd, const char *name, uid_t root)
{
	struct open_how how = {
	    .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	if (mkdirat(dirfd, name, 0755) == 0)
		(void)fchownat(dirfd, name, root, root, AT_SYMLINK_NOFOLLOW);
	else if (errno != EEXIST)
		return -1;
	return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
}

static int
open_place(const char *path, uid_t root)
{
	int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	while (at >= 0 && *path) {
		size_t n = strcspn(path, "/");
		char name[256];
		int next;

		(void)snprintf(name, sizeof(name), "%.*s", (int)n, path);
		next = enter(at, name, root);
		close(at);
		at = next;
		path += n + (path[n] == '/');
	}
	return at;
}

/* 1: the same directory is mounted there; 0: nothing is; -1: something else. */
static int
look(int place, int mount)
{
	struct statx there, ours;

	if (statx(place, "", AT_EMPTY_PATH, STATX_INO, &there) < 0 ||
	    statx(mount, "", AT_EMPTY_PATH, STATX_INO, &ours) < 0)
		return -1;
	if (!(there.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return 0;
	return there.stx_ino == ours.stx_ino &&
		       there.stx_dev_major == ours.stx_dev_major &&
		       there.stx_dev_minor == ours.stx_dev_minor
		   ? 1
		   : -1;
}

int
graft_place(
    const struct graft *g, int mount, const char *path, uid_t root, struct err *err)
{
	AUTO_CLOSE int place = -1;
	int found;

	if (setns(g->mntns, CLONE_NEWNS) < 0)
		return err_errno(err, errno, "enter the machine's mounts");
	place = open_place(path, root);
	if (place < 0)
		return err_errno(err, errno, "make /%s in the machine", path);
	found = look(place, mount);
	if (found > 0)
		return 0;
	if (found < 0)
		return err_set(
		    err, ERR_CONFLICT, "something else is mounted at /%s", path);
	if (move_mount(mount, "", place, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_errno(err, errno, "mount /%s in the machine", path);
	return 0;
}
