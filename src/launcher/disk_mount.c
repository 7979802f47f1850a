/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/disk_mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"

#define LOOP_TRIES 100

/* include/uapi of Linux has these for ext4 nowhere but in fs/ext4/ext4.h */
#define EXT4_SHUTDOWN _IOR('X', 125, uint32_t)
#define EXT4_SHUTDOWN_SYNC 0u

/* ---- block devices ---- */

static int
open_loop(int number, int flags)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/dev/loop%d", number);
	return open(path, flags | O_CLOEXEC);
}

dev_t
loop_device(int number)
{
	char path[32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/dev/loop%d", number);
	return stat(path, &st) == 0 ? st.st_rdev : 0;
}

static bool
loop_status(int number, struct loop_use *ret)
{
	AUTO_CLOSE int fd = open_loop(number, O_RDONLY);
	struct loop_info64 info;

	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return false;
	*ret = (struct loop_use){(dev_t)info.lo_device, (ino_t)info.lo_inode, number};
	return true;
}

/* The number of a device that is in use, by its name in /sys/block; -1: it is none. Opening one that is not would
   be harmless but slow. */
static int
number_in_use(int sys_block, const char *name)
{
	char path[64], *end;
	long number;

	if (strncmp(name, "loop", 4) != 0)
		return -1;
	number = strtol(name + 4, &end, 10);
	if (end == name + 4 || *end || number < 0 || number > 1 << 20)
		return -1;
	(void)snprintf(path, sizeof(path), "loop%ld/loop/backing_file", number);
	return faccessat(sys_block, path, F_OK, 0) == 0 ? (int)number : -1;
}

void
loop_table_read(struct loop_table *t)
{
	DIR *d = opendir("/sys/block");
	struct dirent *e;

	*t = (struct loop_table){0};
	while (d && (e = readdir(d)) != NULL) {
		int number = number_in_use(dirfd(d), e->d_name);
		struct loop_use use;

		if (number < 0 || !loop_status(number, &use))
			continue;
		t->all = xrealloc(t->all, sizeof(*t->all) * (size_t)(t->n + 1));
		t->all[t->n++] = use;
	}
	if (d)
		closedir(d);
}

int
loop_table_find(const struct loop_table *t, const struct stat *file)
{
	for (int i = 0; i < t->n; i++)
		if (t->all[i].dev == file->st_dev && t->all[i].ino == file->st_ino)
			return t->all[i].number;
	return -1;
}

void
loop_table_fini(struct loop_table *t)
{
	free(t->all);
}

int
loop_find(const struct stat *file)
{
	struct loop_table t;
	int number;

	loop_table_read(&t);
	number = loop_table_find(&t, file);
	loop_table_fini(&t);
	return number;
}

static int
configure(int file_fd, bool read_only, int control, int *ret_number)
{
	struct loop_config c = {
	    .fd = (uint32_t)file_fd,
	    .info.lo_flags =
		LO_FLAGS_AUTOCLEAR | (read_only ? (uint32_t)LO_FLAGS_READ_ONLY : 0u),
	};

	for (int i = 0; i < LOOP_TRIES; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		AUTO_CLOSE int fd = -1;

		if (number < 0)
			return -1;
		fd = open_loop(number, read_only ? O_RDONLY : O_RDWR);
		if (fd < 0)
			return -1;
		if (ioctl(fd, LOOP_CONFIGURE, &c) == 0) {
			*ret_number = number;
			return TAKE_FD(fd);
		}
		if (errno != EBUSY) /* else somebody else was faster */
			return -1;
	}
	return -1;
}

int
loop_attach(int file_fd, bool read_only, int *ret_fd, int *ret_number, struct err *err)
{
	AUTO_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int fd = control < 0 ? -1 : configure(file_fd, read_only, control, ret_number);

	if (fd < 0) {
		err_errno(err, errno, "make a block device of a disk");
		return err_hint(err,
		    "disks need the host's loop devices, /dev/loop-control and "
		    "/dev/loop0 onwards");
	}
	*ret_fd = fd;
	return 0;
}

/* ---- file systems ---- */

static int
set(int fs, const char *key, const char *value)
{
	return value ? fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0)
		     : fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
}

/* `backup`: the superblock's place, in KiB; NULL: where it should be. Returns the mount or -1 (errno). */
static int
try_mount(int number, enum fs_how how, const char *backup)
{
	AUTO_CLOSE int fs = fsopen("ext4", FSOPEN_CLOEXEC);
	unsigned attributes = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
	char device[32];

	(void)snprintf(device, sizeof(device), "/dev/loop%d", number);
	if (fs < 0 || set(fs, "source", device) < 0)
		return -1;
	if (how == FS_WRITABLE &&
	    (set(fs, "errors", "remount-ro") < 0 || set(fs, "discard", NULL) < 0))
		return -1;
	if (how != FS_WRITABLE && set(fs, "ro", NULL) < 0)
		return -1;
	if (how == FS_READ_ONLY_RAW && set(fs, "noload", NULL) < 0)
		return -1;
	if (backup && set(fs, "sb", backup) < 0)
		return -1;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	if (how != FS_WRITABLE)
		attributes |= MOUNT_ATTR_RDONLY;
	return fsmount(fs, FSMOUNT_CLOEXEC, attributes);
}

int
fs_mount(int number, enum fs_how how, int *ret_mount, struct err *err)
{
	int mount = try_mount(number, how, NULL);

	if (mount < 0)
		return err_errno(err, errno, "mount the disk's file system");
	*ret_mount = mount;
	return 0;
}

int
fs_mount_backup(int number, int *ret_mount, struct err *err)
{
	/* where mke2fs puts them with blocks of 4 KiB: groups 1, 3, 5, 7 */
	static const char *const places[] = {"131072", "393216", "655360", "917504"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int mount = try_mount(number, FS_READ_ONLY_RAW, places[i]);

		if (mount >= 0) {
			*ret_mount = mount;
			return 0;
		}
	}
	return err_errno(err, errno, "mount the disk's file system");
}

int
fs_map_owners(int mount, int userns_fd, struct err *err)
{
	struct mount_attr attr = {
	    .attr_set = MOUNT_ATTR_IDMAP,
	    .userns_fd = (uint64_t)userns_fd,
	};

	if (mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return 0;
	err_errno(err, errno, "map the owners of a disk's files");
	return err_hint(err, "needs Linux 5.12");
}

/* Of ext4's superblock, Documentation/filesystems/ext4: magic at 0x38, state at 0x3a, incompatible features at
   0x60; state 1: clean, 2: errors; feature 4: the journal must be replayed. */
int
fs_look(int file_fd, bool *ret_clean)
{
	unsigned char s[0x64];

	if (pread(file_fd, s, sizeof(s), 1024) != sizeof(s) || s[0x38] != 0x53 ||
	    s[0x39] != 0xef)
		return 0;
	*ret_clean = (s[0x3a] & 3) == 1 && (s[0x60] & 4) == 0;
	return 1;
}

/* ---- halting ---- */

/* A descriptor of what is mounted of the device, for ioctl(). */
static int
open_mounted(int number, struct err *err)
{
	AUTO_CLOSE int mount = try_mount(number, FS_WRITABLE, NULL);
	int fd;

	if (mount < 0 && errno == EBUSY) /* it is mounted read-only */
		mount = try_mount(number, FS_READ_ONLY, NULL);
	fd = mount < 0 ? -1 : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		err_errno(err, errno, "open the disk's file system");
	return fd;
}

/* Exit status 0: it was still halted. */
static _Noreturn void
guard_run(int fs, int pipe_fd, int ms)
{
	int64_t until = clock_real_now_ms() + ms;
	struct pollfd p = {.fd = pipe_fd, .events = POLLIN};
	int rc = 0;

	for (;;) {
		int64_t left = until - clock_real_now_ms();

		if (left <= 0)
			rc = 1;
		if (rc || poll(&p, 1, (int)left) > 0)
			break;
	}
	if (ioctl(fs, FITHAW, 0) < 0)
		rc = 1;
	_exit(rc);
}

int
fs_freeze(int number, int ms, struct frozen_fs *ret, struct err *err)
{
	AUTO_CLOSE int fs = open_mounted(number, err);
	int fds[2], word = 0;
	pid_t pid;

	if (fs < 0)
		return -1;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(err, errno, "halt a disk");
	pid = fork(); /* before it is halted, so that somebody is there to let go */
	if (pid == 0) {
		signal(SIGTERM, SIG_IGN);
		close(fds[1]);
		/* the end before the word: there is nothing to let go of */
		if (read(fds[0], &word, sizeof(word)) != sizeof(word))
			_exit(1);
		guard_run(fs, fds[0], ms);
	}
	close(fds[0]);
	*ret = (struct frozen_fs){.pipe = fds[1], .guard = pid};
	if (pid > 0 && write(fds[1], &word, sizeof(word)) == sizeof(word) &&
	    ioctl(fs, FIFREEZE, 0) == 0)
		return 0;
	err_errno(err, errno, "halt a disk");
	close(fds[1]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return -1;
}

int
fs_thaw(struct frozen_fs *f, struct err *err)
{
	int status = 0;

	close(f->pipe);
	while (waitpid(f->guard, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, ERR_RATE_LIMITED, "the disk could not be halted so long");
}

void
fs_thaw_any(int number)
{
	struct err err;
	AUTO_CLOSE int fs = open_mounted(number, &err);

	if (fs >= 0)
		(void)ioctl(fs, FITHAW, 0); /* EINVAL: it is not halted */
}

int
fs_shut_down(int number, struct err *err)
{
	AUTO_CLOSE int fs = open_mounted(number, err);
	uint32_t how = EXT4_SHUTDOWN_SYNC;

	if (fs < 0)
		return -1;
	if (ioctl(fs, EXT4_SHUTDOWN, &how) < 0)
		return err_errno(err, errno, "shut the disk's file system down");
	return 0;
}
