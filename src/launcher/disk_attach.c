/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/disk_attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/testpoint.h"
#include "launcher/disk.h"
#include "launcher/disk_inside.h"
#include "launcher/disk_mount.h"
#include "launcher/file.h"
#include "launcher/machines.h"
#include "launcher/rootfs.h"
#include "launcher/tool.h"

#define CHECK_MAX_MS (20 * 1000)
#define POLITE_MS 1000 /* for what uses a disk to end by itself */
#define UNMOUNT_MAX_MS (8 * 1000)
#define GONE_MAX_MS (8 * 1000)

struct disk_use {
	const struct launcher *l;
	const char *id;
	int fd; /* owned: its directory, locked */
	struct disk_record record;
	int image; /* owned */
	struct stat st;
	int number; /* of its loop device; -1: none */
};

static void
use_close(struct disk_use *u)
{
	if (u->image >= 0)
		close(u->image);
	if (u->fd >= 0)
		close(u->fd);
}

static int
use_open(const struct launcher *l, const char *id, struct disk_use *ret, struct err *err)
{
	struct disk_use u = {.l = l, .id = id, .fd = -1, .image = -1};

	if (disk_open(l, id, LOCK_EX, &u.fd, &u.record, err) < 0)
		return -1;
	u.image = openat(u.fd, DISK_IMAGE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (u.image < 0 || fstat(u.image, &u.st) < 0) {
		err_errno(err, errno, "open disk '%s'", id);
		use_close(&u);
		return -1;
	}
	u.number = loop_find(&u.st);
	*ret = u;
	return 0;
}

static void
pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

static bool
wait_gone(const struct disk_use *u, int ms)
{
	int64_t until = clock_real_now_ms() + ms;

	while (loop_find(&u->st) >= 0) {
		if (clock_real_now_ms() >= until)
			return false;
		pause_ms(2);
	}
	return true;
}

/* ---- is it whole? ---- */

static void
damaged(struct disk_use *u, const char *how)
{
	(void)snprintf(u->record.damage, sizeof(u->record.damage), "%s", how);
}

/* Nothing of it could be mounted else. Its end is on record first, as it cannot be seen afterwards. */
static int
restore_length(struct disk_use *u, struct err *err)
{
	(void)snprintf(u->record.damage, sizeof(u->record.damage),
	    "its file was cut short, to %lld of %llu bytes", (long long)u->st.st_size,
	    (unsigned long long)u->record.size_bytes);
	if (disk_note_seen(u->fd, u->image, &u->record, err) < 0)
		return -1;
	if (ftruncate(u->image, (off_t)u->record.size_bytes) < 0)
		return err_errno(err, errno, "restore the length of disk '%s'", u->id);
	return disk_note_seen(u->fd, u->image, &u->record, err);
}

/* What the host's end or a machine's has left is the kernel's to put right; only then e2fsck can tell damage from haste. */
static int
replay(struct disk_use *u, struct err *err)
{
	AUTO_CLOSE int loop = -1;
	AUTO_CLOSE int mount = -1;
	int number;

	if (loop_attach(u->image, false, &loop, &number, err) < 0)
		return -1;
	if (fs_mount(number, FS_WRITABLE, &mount, err) < 0)
		damaged(u, "its journal cannot be replayed");
	return 0;
}

/* Whether it could be checked. */
static bool
check(struct disk_use *u)
{
	const char *const argv[] = {"e2fsck", "-f", "-n", DISK_IMAGE, NULL};
	struct tool_result r;
	struct err err;

	if (tool_run(u->fd, argv, CHECK_MAX_MS, &r, &err) < 0) {
		log_warn("disk '%s' is attached unchecked: %s", u->id, err.msg);
		return false;
	}
	if (r.status != 0)
		damaged(u, "e2fsck finds errors in its file system");
	return true;
}

static int
examine_contents(struct disk_use *u, struct err *err)
{
	bool clean = false;

	u->record.damage[0] = '\0';
	if (!fs_look(u->image, &clean)) {
		damaged(u, "the beginning of its file system is gone");
	} else {
		if (!clean && replay(u, err) < 0)
			return -1;
		if (!wait_gone(u, GONE_MAX_MS))
			return err_set(
			    err, ERR_UNAVAILABLE, "disk '%s' is in use", u->id);
		if (!u->record.damage[0] && !check(u))
			return 0;
	}
	return disk_note_seen(u->fd, u->image, &u->record, err);
}

/* Whatever is wrong is in record.damage afterwards. An administrator who mends the file changes its time, too. */
static int
examine(struct disk_use *u, struct err *err)
{
	if ((uint64_t)u->st.st_size < u->record.size_bytes)
		return restore_length(u, err);
	if (u->st.st_mtim.tv_sec == u->record.seen_s &&
	    u->st.st_mtim.tv_nsec == u->record.seen_ns)
		return 0;
	return examine_contents(u, err);
}

/* ---- attaching ---- */

static int
mount_damaged(struct disk_use *u, int number, int *ret_mount, struct err *err)
{
	if (fs_mount(number, FS_READ_ONLY_RAW, ret_mount, err) == 0 ||
	    fs_mount_backup(number, ret_mount, err) == 0)
		return 0;
	err_set(err, ERR_INTERNAL, "disk '%s' cannot be mounted: %s", u->id,
	    u->record.damage);
	return err_hint(err,
	    "the host's administrator may try e2fsck on disks/%s/" DISK_IMAGE
	    " in the state directory",
	    u->id);
}

/* The descriptor of the device stays open until the mount is made. */
static int
mount_disk(struct disk_use *u, int *ret_mount, struct err *err)
{
	AUTO_CLOSE int loop = -1;

	if (!u->record.damage[0]) {
		if (loop_attach(u->image, false, &loop, &u->number, err) < 0)
			return -1;
		if (fs_mount(u->number, FS_WRITABLE, ret_mount, err) == 0)
			return 0;
		damaged(u, err->msg);
		close(loop);
		loop = -1;
		if (!wait_gone(u, GONE_MAX_MS))
			return -1;
	}
	if (loop_attach(u->image, true, &loop, &u->number, err) < 0)
		return -1;
	return mount_damaged(u, u->number, ret_mount, err);
}

static int
open_userns(const struct record *r, int pidfd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)r->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* it was that process, if that one still is there */
	if (fd < 0 || poll(&p, 1, 0) != 0) {
		err_set(err, ERR_UNAVAILABLE, "the machine has ended");
		return -1;
	}
	return TAKE_FD(fd);
}

/* On record before it can be seen inside. */
static int
note_place(struct disk_use *u, const char *machine, const char *name, struct err *err)
{
	(void)snprintf(u->record.machine, sizeof(u->record.machine), "%s", machine);
	(void)snprintf(u->record.name, sizeof(u->record.name), "%s", name);
	return disk_record_write(u->fd, &u->record, err);
}

static int
attach_to(struct disk_use *u, const struct launcher_request *q, struct err *err)
{
	AUTO_CLOSE int machine = -1;
	AUTO_CLOSE int pidfd = -1;
	AUTO_CLOSE int userns = -1;
	AUTO_CLOSE int mount = -1;
	struct err none;
	struct record r;

	if (mount_disk(u, &mount, err) < 0)
		return -1;
	testpoint("disk-mounted");
	if (machine_open_alive(u->l, q->id, &machine, &r, &pidfd, err) < 0)
		return -1;
	userns = open_userns(&r, pidfd, err);
	if (userns < 0 || fs_map_owners(mount, userns, err) < 0 ||
	    note_place(u, q->id, q->disk_name, err) < 0)
		return -1;
	testpoint("disk-noted");
	if (disk_inside_place(pidfd, q->disk_name, mount, err) == 0)
		return 0;
	if (note_place(u, "", "", &none) < 0)
		log_warn("disk '%s': %s", u->id, none.msg);
	return -1;
}

static int
is_there(const struct disk_use *u, const struct launcher_request *q, bool *ret,
    struct err *err)
{
	AUTO_CLOSE int machine = -1;
	AUTO_CLOSE int pidfd = -1;
	struct record r;

	*ret = false;
	if (strcmp(u->record.machine, q->id) != 0 ||
	    strcmp(u->record.name, q->disk_name) != 0)
		return 0;
	if (machine_open_alive(u->l, q->id, &machine, &r, &pidfd, err) < 0)
		return -1;
	return disk_inside_look(pidfd, q->disk_name, loop_device(u->number), ret, err);
}

static bool
is_read_only(int number)
{
	char path[48], text[8];

	(void)snprintf(path, sizeof(path), "/sys/block/loop%d/ro", number);
	return file_get_at(AT_FDCWD, path, text, sizeof(text)) == 0 && text[0] == '1';
}

static void
say_damaged(struct launcher_reply *reply, const char *how)
{
	(void)snprintf(reply->message, sizeof(reply->message),
	    "the disk is damaged, and is read-only: %s", how);
}

static int
answer_used(struct disk_use *u, const struct launcher_request *q,
    struct launcher_reply *reply, struct err *err)
{
	bool there;

	if (is_there(u, q, &there, err) < 0)
		return -1;
	if (there) {
		if (is_read_only(u->number))
			say_damaged(reply,
			    u->record.damage[0] ? u->record.damage : "as it was found");
		return 0;
	}
	if (u->record.machine[0])
		return err_set(err, ERR_CONFLICT, "disk '%s' is attached to machine '%s'",
		    u->id, u->record.machine);
	return err_set(err, ERR_CONFLICT, "disk '%s' is in use on this host", u->id);
}

int
disk_attach(const struct launcher *l, const struct launcher_request *q,
    struct launcher_reply *reply, struct err *err)
{
	struct disk_use u;
	int rc;

	if (use_open(l, q->disk, &u, err) < 0)
		return -1;
	if (u.number >= 0) {
		rc = answer_used(&u, q, reply, err);
	} else {
		rc = examine(&u, err);
		if (rc == 0)
			rc = attach_to(&u, q, err);
		if (rc == 0 && u.record.damage[0])
			say_damaged(reply, u.record.damage);
	}
	memcpy(reply->id, u.id, strlen(u.id) + 1);
	use_close(&u);
	return rc;
}

/* ---- detaching ---- */

/* Asks first: a database may want to end in order, and a shell goes with the hang-up. */
static int
unmount_from(struct disk_use *u, const struct record *r, int pidfd, struct err *err)
{
	dev_t dev = loop_device(u->number);
	uid_t root = u->l->uid_base + r->slot * ROOTFS_UIDS;
	int64_t start = clock_real_now_ms();
	bool asked = false;

	while (disk_inside_unmount(pidfd, u->record.name, dev, err) < 0) {
		int64_t passed = clock_real_now_ms() - start;

		if (err->code != ERR_CONFLICT || passed >= UNMOUNT_MAX_MS)
			return -1;
		if (!asked) {
			disk_inside_signal(r->pid, root, dev, SIGHUP);
			disk_inside_signal(r->pid, root, dev, SIGTERM);
			asked = true;
		} else if (passed >= POLITE_MS) {
			disk_inside_signal(r->pid, root, dev, SIGKILL);
		}
		pause_ms(10);
	}
	return 0;
}

/* Those who have it mounted in namespaces of their own are left. */
static void
free_others(struct disk_use *u, const struct record *r)
{
	dev_t dev = loop_device(u->number);
	uid_t root = u->l->uid_base + r->slot * ROOTFS_UIDS;

	if (!wait_gone(u, 200))
		disk_inside_signal(r->pid, root, dev, SIGKILL);
}

/* When the machine is dead the kernel is about to unmount it, or has. */
static int
free_device(struct disk_use *u, struct err *err)
{
	AUTO_CLOSE int machine = -1;
	AUTO_CLOSE int pidfd = -1;
	struct err why;
	struct record r;

	if (machine_open_alive(u->l, u->record.machine, &machine, &r, &pidfd, &why) ==
	    0) {
		fs_thaw_any(u->number);
		if (unmount_from(u, &r, pidfd, &why) < 0) {
			if (fs_shut_down(u->number, err) < 0)
				log_warn("disk '%s': %s", u->id, err->msg);
			err_set(err, ERR_UNAVAILABLE,
			    "disk '%s' cannot be taken from machine '%s': %s", u->id,
			    u->record.machine, why.msg);
			return err_hint(err, "it is free when the machine has ended");
		}
		free_others(u, &r);
	}
	if (wait_gone(u, 1000))
		return 0;
	fs_thaw_any(u->number);
	if (wait_gone(u, GONE_MAX_MS))
		return 0;
	return err_set(err, ERR_UNAVAILABLE, "disk '%s' is still in use in machine '%s'",
	    u->id, u->record.machine);
}

/* All that was written is in the file, and the file is on the host's disk. */
static int
note_free(struct disk_use *u, struct err *err)
{
	bool clean = false;

	if (fsync(u->image) < 0)
		return err_errno(err, errno, "write disk '%s' back", u->id);
	u->record.machine[0] = u->record.name[0] = '\0';
	if (u->record.damage[0] || (fs_look(u->image, &clean) && clean))
		return disk_note_seen(u->fd, u->image, &u->record, err);
	return disk_record_write(u->fd, &u->record, err);
}

int
disk_detach(const struct launcher *l, const struct launcher_request *q, struct err *err)
{
	struct disk_use u;
	int rc = 0;

	if (use_open(l, q->disk, &u, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (strcmp(u.record.machine, q->id) == 0) {
		if (u.number >= 0)
			rc = free_device(&u, err);
		if (rc == 0)
			rc = note_free(&u, err);
	}
	use_close(&u);
	return rc;
}

static int
settle_one(void *arg, const struct launcher_reply *reply)
{
	const struct launcher *l = arg;
	struct disk_use u;
	struct err err;

	if (reply->state != LAUNCHER_ALIVE || use_open(l, reply->id, &u, &err) < 0)
		return 0;
	if (!wait_gone(&u, GONE_MAX_MS))
		log_warn("disk '%s' is still in use", u.id);
	if (fsync(u.image) < 0)
		log_warn("write disk '%s' back: %s", u.id, strerror(errno));
	use_close(&u);
	return 0;
}

void
disk_settle_all(const struct launcher *l)
{
	struct err err;

	if (disk_each(l, settle_one, (void *)l, &err) < 0)
		log_warn("disks: %s", err.msg);
}
