/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/testpoint.h"
#include "launcher/file.h"

/* The names show up in the machine's mount table, so they say nothing. */
#define UPPER "u"
#define WORK "w"
#define LOWER "l"

static int
make_dir(int dirfd, const char *name, uid_t owner, struct err *err)
{
	if (mkdirat(dirfd, name, 0755) < 0)
		return err_errno(err, errno, "make directory '%s'", name);
	if (fchmodat(dirfd, name, 0755, 0) < 0 ||
	    fchownat(dirfd, name, owner, owner, 0) < 0)
		return err_errno(err, errno, "give directory '%s' to the machine", name);
	return 0;
}

int
rootfs_prepare(int machine_fd, const struct rootfs_files *f, uid_t root, struct err *err)
{
	AUTO_BUF struct buf hosts = BUF_INIT(512);
	AUTO_BUF struct buf hostname = BUF_INIT(LAUNCHER_NAME_MAX + 1);
	AUTO_CLOSE int upper = -1;

	if (make_dir(machine_fd, UPPER, root, err) < 0 ||
	    make_dir(machine_fd, WORK, 0, err) < 0)
		return -1;
	upper =
	    openat(machine_fd, UPPER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper < 0)
		return err_errno(err, errno, "open the machine's upper layer");
	if (make_dir(upper, "etc", root, err) < 0 ||
	    make_dir(upper, "etc/hearth", root, err) < 0)
		return -1;
	/* UNKNOWN is what sshd calls a peer on a Unix socket; unresolved, each login with a terminal
	   waits 6 s for DNS. sudo looks up the machine's own name. */
	buf_fmt(&hosts, "127.0.0.1 localhost UNKNOWN\n127.0.1.1 %s\n::1 localhost\n",
	    f->hostname);
	buf_fmt(&hostname, "%s\n", f->hostname);

	const struct {
		const char *name;
		const char *text;
		mode_t mode;
	} files[] = {
	    {"etc/hostname", hostname.data, 0644},
	    {"etc/hosts", hosts.data, 0644},
	    {"etc/resolv.conf", f->resolv_conf, 0644},
	    {"etc/hearth/host_key", f->host_key, 0600},
	    {"etc/hearth/host_key-cert.pub", f->host_cert, 0644},
	    {"etc/hearth/user_ca.pub", f->user_ca, 0644},
	    {"etc/hearth/principals", f->id, 0644},
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		AUTO_BUF struct buf text = BUF_INIT(4096);

		buf_str(&text, files[i].text);
		if (text.len > 0 && text.data[text.len - 1] != '\n')
			buf_char(&text, '\n');
		if (text.overflow)
			return err_set(
			    err, ERR_TOO_LARGE, "file '%s' is too long", files[i].name);
		if (file_create_at(upper, files[i].name, text.data, text.len,
			files[i].mode, root, err) < 0)
			return -1;
	}
	return 0;
}

/* A clone of the image that shows it as owned by the user namespace's root. */
static int
clone_image(int image_fd, int userns_fd, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd =
	    open_tree(image_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr attr = {
	    .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
	    .userns_fd = (uint64_t)userns_fd,
	};

	if (fd < 0)
		return err_errno(err, errno, "clone the image's mount");
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		err_errno(err, errno, "map the image's owners");
		return err_hint(err, "the state directory must be on a file system with "
				     "idmapped mounts: ext4, xfs, btrfs");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int
set(int fs, const char *key, const char *value)
{
	return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* Linux 6.8 and later take the lower layer as a descriptor; before, it must be a path, and one in our
   own mount namespace. */
static int
set_lower(int fs, int lower)
{
	if (!testpoint_is("old-overlay") &&
	    fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL, lower) == 0)
		return 0;
	if (mkdir(LOWER, 0700) < 0 && errno != EEXIST)
		return -1;
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    move_mount(lower, "", AT_FDCWD, LOWER, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -1;
	return set(fs, "lowerdir", LOWER);
}

static int
create_overlay(int fs, int lower)
{
	/* Volatile: nothing of a machine is worth a sync to the host's disk, and dpkg syncs a lot. */
	bool made = set_lower(fs, lower) == 0 && set(fs, "upperdir", UPPER) == 0 &&
		    set(fs, "workdir", WORK) == 0 &&
		    fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) == 0 &&
		    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0;
	int e = errno;

	/* The overlay has a clone of it. Where it was attached we could not delete the directory. */
	(void)umount2(LOWER, MNT_DETACH | UMOUNT_NOFOLLOW);
	errno = e;
	return made ? 0 : -1;
}

int
rootfs_mount(int machine_fd, int image_fd, int userns_fd, int *ret_mount, struct err *err)
{
	AUTO_CLOSE int fs = -1;
	int lower = -1,
	    fd; /* not closed: that waits 2 ms for the kernel, and this process ends soon */

	if (clone_image(image_fd, userns_fd, &lower, err) < 0)
		return -1;
	fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0 || fchdir(machine_fd) < 0 || create_overlay(fs, lower) < 0) {
		err_errno(err, errno, "mount the machine's overlay");
		return err_hint(err, "needs Linux 5.19 with overlayfs, and a state "
				     "directory that is not on an "
				     "overlay itself; dmesg may say more");
	}
	fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
	if (fd < 0)
		return err_errno(err, errno, "mount the machine's overlay");
	*ret_mount = fd;
	return 0;
}
