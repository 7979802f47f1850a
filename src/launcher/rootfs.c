/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/testpoint.h"
#include "launcher/file.h"
#include "launcher/guest.h"

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

struct row {
	const char *name;
	const char *text;
	mode_t mode;
};

static int
write_files(int upper, const struct row *rows, size_t n, uid_t root, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		AUTO_BUF struct buf text = BUF_INIT(65536);

		buf_str(&text, rows[i].text);
		if (text.len > 0 && text.data[text.len - 1] != '\n')
			buf_char(&text, '\n');
		if (text.overflow)
			return err_set(
			    err, ERR_TOO_LARGE, "file '%s' is too long", rows[i].name);
		if (file_create_at(upper, rows[i].name, text.data, text.len, rows[i].mode,
			root, err) < 0)
			return -1;
	}
	return 0;
}

static int
open_upper(int machine_fd, int *ret_fd, struct err *err)
{
	*ret_fd =
	    openat(machine_fd, UPPER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd >= 0 ? 0 : err_errno(err, errno, "open the machine's upper layer");
}

/* The machine's name and how it resolves others'. */
static int
write_names(int upper, const struct rootfs_files *f, uid_t root, struct err *err)
{
	AUTO_BUF struct buf hosts = BUF_INIT(512);
	AUTO_BUF struct buf hostname = BUF_INIT(LAUNCHER_NAME_MAX + 1);

	/* UNKNOWN is what sshd calls a peer on a Unix socket; unresolved, each login with a terminal
	   waits 6 s for DNS. sudo looks up the machine's own name. */
	buf_fmt(&hosts, "127.0.0.1 localhost UNKNOWN\n127.0.1.1 %s\n::1 localhost\n",
	    f->hostname);
	buf_fmt(&hostname, "%s\n", f->hostname);

	const struct row rows[] = {
	    {"etc/hostname", hostname.data, 0644},
	    {"etc/hosts", hosts.data, 0644},
	    {"etc/resolv.conf", f->resolv_conf, 0644},
	};

	if (make_dir(upper, "etc", root, err) < 0)
		return -1;
	return write_files(upper, rows, sizeof(rows) / sizeof(rows[0]), root, err);
}

int
rootfs_prepare(int machine_fd, const struct rootfs_files *f, uid_t root, struct err *err)
{
	const struct row rows[] = {
	    {"etc/motd", "", 0644}, /* hearthd's to fill */
	    {"etc/hearth/host_key", f->host_key, 0600},
	    {"etc/hearth/host_key-cert.pub", f->host_cert, 0644},
	    {"etc/hearth/user_ca.pub", f->user_ca, 0644},
	    {"etc/hearth/principals", f->id, 0644},
	};
	AUTO_CLOSE int upper = -1;

	if (make_dir(machine_fd, UPPER, root, err) < 0 ||
	    make_dir(machine_fd, WORK, 0, err) < 0 ||
	    open_upper(machine_fd, &upper, err) < 0 ||
	    write_names(upper, f, root, err) < 0 ||
	    make_dir(upper, "etc/hearth", root, err) < 0)
		return -1;
	return write_files(upper, rows, sizeof(rows) / sizeof(rows[0]), root, err);
}

int
rootfs_prepare_instance(
    int machine_fd, const struct rootfs_files *f, uid_t root, struct err *err)
{
	AUTO_CLOSE int upper = -1;

	if (make_dir(machine_fd, UPPER, root, err) < 0 ||
	    make_dir(machine_fd, WORK, 0, err) < 0 ||
	    open_upper(machine_fd, &upper, err) < 0 ||
	    write_names(upper, f, root, err) < 0)
		return -1;
	for (size_t i = 0; guest_directories[i]; i++)
		if (make_dir(upper, guest_directories[i], root, err) < 0)
			return -1;
	for (const struct guest_file *g = guest_files; g->name; g++)
		if (write_files(upper, &(struct row){g->name, g->text, g->mode}, 1, root,
			err) < 0)
			return -1;
	return 0;
}

/* Whatever root inside has put there: no link is followed, nothing but a plain file is written to. */
static void
renew_resolv_conf(int machine_fd, const char *text)
{
	struct open_how how = {
	    .flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	AUTO_CLOSE int fd = (int)syscall(
	    SYS_openat2, machine_fd, UPPER "/etc/resolv.conf", &how, sizeof(how));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	if (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) < 0)
		log_warn("write an instance's resolv.conf: %s", strerror(errno));
}

/* A volatile overlay leaves a mark in its work directory, against a crash of the host, and is not mounted again
   where that is. What is lost by such a crash is what was not synced: a running instance's last half minute. */
int
rootfs_renew(int machine_fd, const char *resolv_conf, struct err *err)
{
	renew_resolv_conf(machine_fd, resolv_conf);
	if (tree_remove_at(machine_fd, WORK, err) < 0)
		return -1;
	return make_dir(machine_fd, WORK, 0, err);
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

/* ---- what an image is made of ---- */

#define SHIFTED "k" /* the upper layer with the owners of an image */

/* A user namespace in which ids are what they are on the machine's disk and outside what they are in an image. It lives as
   long as the descriptor: the process that it was made with ends before this returns. */
static int
make_shift(uid_t root, int *ret_fd, struct err *err)
{
	static const char *const files[] = {"uid_map", "gid_map"};
	AUTO_CLOSE int fd = -1;
	int pipe_fds[2], e = 0;
	char path[48], map[48], c;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_errno(err, errno, "map owners back");
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &c, 1) != 0);
	}
	close(pipe_fds[0]);
	(void)snprintf(map, sizeof(map), "%u 0 %u", root, ROOTFS_UIDS);
	for (int i = 0; pid > 0 && e == 0 && i < 2; i++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
		e = file_put_at(AT_FDCWD, path, map);
	}
	if (pid > 0 && e == 0) {
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (e == 0 && fd < 0)
		e = errno;
	close(pipe_fds[1]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	if (e != 0)
		return err_errno(err, e, "map owners back");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int
place(int mount_fd, int machine_fd, const char *name, struct err *err)
{
	if (mkdirat(machine_fd, name, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "make directory '%s'", name);
	if (move_mount(mount_fd, "", machine_fd, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_errno(err, errno, "place a layer of the image");
	return 0;
}

static int
place_layers(int machine_fd, int image_fd, int shift, struct err *err)
{
	AUTO_CLOSE int upper = -1;
	AUTO_CLOSE int shifted = -1;
	AUTO_CLOSE int lower =
	    open_tree(image_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (lower < 0)
		return err_errno(err, errno, "clone the image's mount");
	if (open_upper(machine_fd, &upper, err) < 0 ||
	    clone_image(upper, shift, &shifted, err) < 0 ||
	    place(lower, machine_fd, LOWER, err) < 0)
		return -1;
	return place(shifted, machine_fd, SHIFTED, err);
}

int
rootfs_mount_merged(int machine_fd, int image_fd, uid_t root, struct err *err)
{
	AUTO_CLOSE int shift = -1;
	AUTO_CLOSE int fs = -1;
	AUTO_CLOSE int merged = -1;

	if (make_shift(root, &shift, err) < 0 || fchdir(machine_fd) < 0 ||
	    place_layers(machine_fd, image_fd, shift, err) < 0)
		return -1;
	fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0 || set(fs, "lowerdir", SHIFTED ":" LOWER) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_errno(err, errno, "mount the layers of the image");
	merged = fsmount(fs, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
		MOUNT_ATTR_NOSYMFOLLOW);
	if (merged < 0)
		return err_errno(err, errno, "mount the layers of the image");
	return place(merged, machine_fd, ROOTFS_MERGED, err);
}

void
rootfs_forget_merged(int machine_fd)
{
	static const char *const names[] = {ROOTFS_MERGED, SHIFTED, LOWER};

	for (int i = 0; i < 3; i++)
		(void)unlinkat(machine_fd, names[i], AT_REMOVEDIR);
}
