/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/testpoint.h"
#include "launcher/disk_copy.h"
#include "launcher/disk_mount.h"
#include "launcher/file.h"
#include "launcher/tool.h"

#define MKFS_MAX_MS (10 * 60 * 1000)
#define GROW_MAX_MS (2 * 60 * 60 * 1000)
#define HALT_MAX_MS (20 * 1000)
#define FREE_LEFT_SHARE                                                                  \
	20 /* of the host's file system a copy leaves one in so many parts free */

struct making {
	const struct launcher *l;
	const char *id;
	int fd; /* its directory, locked */
	struct disk_record record;
};

static int
open_dir(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
open_file(int dirfd, const char *name, int flags)
{
	return openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static bool
is_made(int disk_fd)
{
	return faccessat(disk_fd, DISK_IMAGE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Returns -1 with errno ENOENT where there is none. */
static int
open_locked(const struct launcher *l, const char *id, int how)
{
	AUTO_CLOSE int fd = open_dir(l->disks_fd, id);
	struct stat here, there;
	int rc;

	if (fd < 0)
		return -1;
	do
		rc = flock(fd, how);
	while (rc < 0 && errno == EINTR);
	if (rc < 0 || fstat(fd, &here) < 0 ||
	    fstatat(l->disks_fd, id, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (here.st_ino != there.st_ino) { /* removed while we waited, and made again */
		errno = ENOENT;
		return -1;
	}
	return TAKE_FD(fd);
}

int
disk_open(const struct launcher *l, const char *id, int how, int *ret_fd,
    struct disk_record *ret, struct err *err)
{
	AUTO_CLOSE int fd = open_locked(l, id, how);

	if (fd < 0 && errno != ENOENT)
		return err_errno(err, errno, "open disk '%s'", id);
	if (fd < 0 || !is_made(fd))
		return err_set(err, ERR_NOT_FOUND, "there is no %s '%s'",
		    id[0] == 's' ? "snapshot" : "disk", id);
	if (disk_record_read(fd, ret, err) < 0)
		return err_wrap(err, "open disk '%s'", id);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
disk_note_seen(int disk_fd, int image_fd, struct disk_record *r, struct err *err)
{
	struct stat st;

	if (fstat(image_fd, &st) < 0)
		return err_errno(err, errno, "look at a disk's file");
	r->seen_s = st.st_mtim.tv_sec;
	r->seen_ns = st.st_mtim.tv_nsec;
	return disk_record_write(disk_fd, r, err);
}

/* ---- room ---- */

static uint64_t
allocated(int disk_fd, const char *name)
{
	struct stat st;

	return fstatat(disk_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0
		   ? (uint64_t)st.st_blocks * 512
		   : 0;
}

/* What a disk counts for: its size, which it may grow to; a snapshot, what it holds, which is for good. */
static uint64_t
counts_for(const struct launcher *l, const char *id)
{
	AUTO_CLOSE int fd = open_dir(l->disks_fd, id);
	struct disk_record r;
	struct err none;

	if (fd < 0)
		return 0;
	if (id[0] == 's')
		return allocated(fd, is_made(fd) ? DISK_IMAGE : DISK_MAKING);
	return disk_record_read(fd, &r, &none) == 0 ? r.size_bytes : 0;
}

static bool
is_disk_id(const char *name)
{
	return id_valid(name, 'd') || id_valid(name, 's');
}

static uint64_t
sum_of_others(const struct launcher *l, const char *id)
{
	int again = open_dir(l->disks_fd, ".");
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	uint64_t sum = 0;

	while (d && (e = readdir(d)) != NULL)
		if (is_disk_id(e->d_name) && strcmp(e->d_name, id) != 0)
			sum += counts_for(l, e->d_name);
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
	return sum;
}

static int
check_limit(const struct making *m, uint64_t counts, struct err *err)
{
	uint64_t others, max = m->l->disks_max;

	if (max == 0)
		return 0;
	others = sum_of_others(m->l, m->id);
	if (counts <= max && others <= max - counts)
		return 0;
	err_set(err, ERR_NO_CAPACITY,
	    "all disks together may have %llu MiB: %llu are taken, and this is one of "
	    "%llu",
	    (unsigned long long)(max >> 20), (unsigned long long)(others >> 20),
	    (unsigned long long)(counts >> 20));
	return err_hint(err, "delete disks or snapshots, or raise disks_max");
}

/* A copy is written at once, and a host without any room left stops more than this disk. */
static int
check_room(const struct launcher *l, uint64_t bytes, struct err *err)
{
	struct statvfs v;
	uint64_t left, keep;

	if (fstatvfs(l->disks_fd, &v) < 0)
		return err_errno(err, errno, "look at the room for disks");
	left = (uint64_t)v.f_bavail * v.f_frsize;
	keep = (uint64_t)v.f_blocks * v.f_frsize / FREE_LEFT_SHARE;
	if (left > keep && bytes <= left - keep)
		return 0;
	err_set(err, ERR_NO_CAPACITY,
	    "no room on the host for a copy of %llu MiB: %llu are free",
	    (unsigned long long)(bytes >> 20), (unsigned long long)(left >> 20));
	return err_hint(err, "make room in the file system of the state directory");
}

/* Puts it on record, and with that on the account, while nobody else can. */
static int
take_room(struct making *m, uint64_t counts, struct err *err)
{
	AUTO_CLOSE int locked = open_dir(m->l->disks_fd, ".");

	if (locked < 0 || flock(locked, LOCK_EX) < 0)
		return err_errno(err, errno, "lock the disks");
	if (check_limit(m, counts, err) < 0)
		return -1;
	return disk_record_write(m->fd, &m->record, err);
}

/* ---- making ---- */

/* Into the trash, which is deleted later. */
static int
discard(const struct launcher *l, const char *id, struct err *err)
{
	char trash[ID_MAX + 16];

	(void)snprintf(trash, sizeof(trash), "%s.%d", id, (int)getpid());
	if (renameat(l->disks_fd, id, l->trash_fd, trash) < 0 && errno != ENOENT)
		return err_errno(err, errno, "move disk '%s' to the trash", id);
	return fsync(l->disks_fd) == 0 ? 0 : err_errno(err, errno, "remove a disk");
}

/* 1: it is there already. Whatever an unfinished attempt has left is written over. */
static int
begin(struct making *m, int requester, struct err *err)
{
	struct pollfd p = {.fd = requester, .events = POLLRDHUP};

	for (m->fd = -1; m->fd < 0;) {
		if (mkdirat(m->l->disks_fd, m->id, 0700) < 0 && errno != EEXIST)
			return err_errno(err, errno, "make disk '%s'", m->id);
		m->fd = open_locked(m->l, m->id, LOCK_EX);
		if (m->fd < 0 && errno != ENOENT)
			return err_errno(err, errno, "lock disk '%s'", m->id);
	}
	if (is_made(m->fd))
		return 1;
	if (poll(&p, 1, 0) > 0)
		return err_set(err, ERR_CANCELLED, "the peer went away");
	if (unlinkat(m->fd, DISK_MAKING, 0) < 0 && errno != ENOENT)
		return err_errno(err, errno, "make disk '%s'", m->id);
	return 0;
}

/* Its name says that it is complete, so it must be on the disk before it has that name. */
static int
publish(struct making *m, int fd, struct err *err)
{
	testpoint("disk-made");
	if (fsync(fd) < 0 || disk_note_seen(m->fd, fd, &m->record, err) < 0 ||
	    renameat(m->fd, DISK_MAKING, m->fd, DISK_IMAGE) < 0 || fsync(m->fd) < 0 ||
	    fsync(m->l->disks_fd) < 0)
		return err_errno(err, errno, "complete disk '%s'", m->id);
	return 0;
}

static int
make_file_system(int dirfd, struct err *err)
{
	/* The file is new, so what mke2fs would leave to the kernel to zero is zero, and stays a hole. Blocks of 4 KiB
	   whatever the size: their place is known then (disk_mount.c). Nothing is kept for a root that is not the
	   user's. */
	const char *const argv[] = {"mke2fs", "-F", "-q", "-t", "ext4", "-b", "4096",
	    "-m", "0", "-E", "root_owner=1000:1000,nodiscard,assume_storage_prezeroed=1",
	    DISK_MAKING, NULL};
	struct tool_result r;

	if (tool_run(dirfd, argv, MKFS_MAX_MS, &r, err) < 0)
		return -1;
	if (r.status != 0)
		return err_set(
		    err, ERR_UNAVAILABLE, "mke2fs: status %d: %s", r.status, r.last);
	return 0;
}

static int
make_empty(struct making *m, struct err *err)
{
	AUTO_CLOSE int fd = -1;

	if (take_room(m, m->record.size_bytes, err) < 0)
		return -1;
	fd = open_file(m->fd, DISK_MAKING, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0)
		return err_errno(err, errno, "make disk '%s'", m->id);
	if (ftruncate(fd, (off_t)m->record.size_bytes) < 0) {
		if (errno != EFBIG)
			return err_errno(err, errno, "make disk '%s'", m->id);
		return err_set(err, ERR_TOO_LARGE,
		    "the file system of the state directory has no files of %llu GiB",
		    (unsigned long long)(m->record.size_bytes >> 30));
	}
	if (make_file_system(m->fd, err) < 0)
		return -1;
	return publish(m, fd, err);
}

/* Nobody waits for a copy as somebody waits for a machine. */
static void
be_modest(void)
{
	(void)setpriority(PRIO_PROCESS, 0, 10);
}

static int
copy_quiet(int from, int to, struct err *err)
{
	if (copy_shared(from, to))
		return 0;
	be_modest();
	return copy_sparse(from, to, &(struct copy_limits){0}, err);
}

/* resize2fs wants a check before; a copy of a disk that the host's end cut short also has a journal to be replayed. */
static int
grow(struct making *m, int fd, uint64_t size, struct err *err)
{
	const char *const check[] = {"e2fsck", "-f", "-p", DISK_MAKING, NULL};
	const char *const resize[] = {"resize2fs", DISK_MAKING, NULL};
	struct tool_result r;

	if (ftruncate(fd, (off_t)size) < 0)
		return err_errno(err, errno, "grow disk '%s'", m->id);
	if (tool_run(m->fd, check, GROW_MAX_MS, &r, err) < 0)
		return -1;
	if (r.status > 1)
		return err_set(err, ERR_INTERNAL,
		    "its snapshot has a damaged file system, which cannot be grown: %s",
		    r.last);
	if (tool_run(m->fd, resize, GROW_MAX_MS, &r, err) < 0)
		return -1;
	if (r.status != 0)
		return err_set(
		    err, ERR_INTERNAL, "resize2fs: status %d: %s", r.status, r.last);
	return 0;
}

static int
make_from(struct making *m, const char *source, struct err *err)
{
	AUTO_CLOSE int source_fd = -1;
	AUTO_CLOSE int from = -1;
	AUTO_CLOSE int fd = -1;
	uint64_t size = m->record.size_bytes;
	struct disk_record s;

	if (disk_open(m->l, source, LOCK_SH, &source_fd, &s, err) < 0)
		return -1;
	if (size < s.size_bytes)
		return err_set(err, ERR_INVALID,
		    "a disk from a snapshot of %llu MiB has that size at least",
		    (unsigned long long)(s.size_bytes >> 20));
	memcpy(m->record.damage, s.damage, sizeof(s.damage));
	if (check_room(m->l, allocated(source_fd, DISK_IMAGE), err) < 0 ||
	    take_room(m, size, err) < 0)
		return -1;
	from = open_file(source_fd, DISK_IMAGE, O_RDONLY);
	fd = open_file(m->fd, DISK_MAKING, O_RDWR | O_CREAT | O_EXCL);
	if (from < 0 || fd < 0)
		return err_errno(err, errno, "make disk '%s'", m->id);
	if (copy_quiet(from, fd, err) < 0 ||
	    (size > s.size_bytes && grow(m, fd, size, err) < 0))
		return -1;
	return publish(m, fd, err);
}

/* A failure is undone. */
static int
finish(struct making *m, int rc, struct err *err)
{
	struct err second;

	if (rc < 0 && m->fd >= 0 && discard(m->l, m->id, &second) < 0)
		err_wrap(err, "%s; and then", second.msg);
	if (m->fd >= 0)
		close(m->fd);
	return rc < 0 ? -1 : 0;
}

static struct making
new_making(const struct launcher *l, const struct launcher_request *q, uint64_t size)
{
	return (struct making){
	    .l = l,
	    .id = q->disk,
	    .fd = -1,
	    .record =
		{
		    .size_bytes = size,
		    .created_at_ms = (uint64_t)clock_real_wall_ms(),
		},
	};
}

int
disk_make(const struct launcher *l, const struct launcher_request *q, int requester,
    struct err *err)
{
	struct making m = new_making(l, q, q->size_bytes);
	int rc = begin(&m, requester, err);

	if (rc == 0)
		rc = q->source[0] ? make_from(&m, q->source, err) : make_empty(&m, err);
	return finish(&m, rc, err);
}

/* ---- snapshots ---- */

/*
 * A snapshot is of one moment. Where blocks can be shared the disk's writers are halted for that moment only; else they
 * are for as long as the copy takes, and if that is too long there is no snapshot: rather none than one of no moment.
 */
static int
copy_halted(int number, int from, int to, struct err *err)
{
	int most = testpoint_is("short-halt") ? 1000 : HALT_MAX_MS;
	struct copy_limits limits = {.until_ms = clock_real_now_ms() + most};
	struct frozen_fs frozen;
	struct err late;
	int rc;

	fs_thaw_any(number);
	if (fs_freeze(number, most + 1000, &frozen, err) < 0)
		return -1;
	testpoint("disk-halted");
	rc = copy_shared(from, to) ? 0 : copy_sparse(from, to, &limits, err);
	if (fs_thaw(&frozen, &late) < 0 && rc == 0) {
		*err = late;
		rc = -1;
	}
	if (rc == 0 || err->code != ERR_RATE_LIMITED)
		return rc;
	err_set(err, ERR_UNAVAILABLE,
	    "the disk is in use, and cannot be copied within %d s, for which its writers "
	    "can wait",
	    most / 1000);
	return err_hint(err,
	    "end its reservation first, or keep the state directory on xfs or "
	    "btrfs, where copies take no time");
}

static int
copy_disk(int from, int to, struct err *err)
{
	struct stat st;
	int number;

	if (fstat(from, &st) < 0)
		return err_errno(err, errno, "look at a disk's file");
	number = loop_find(&st);
	return number < 0 ? copy_quiet(from, to, err)
			  : copy_halted(number, from, to, err);
}

static int
take_snapshot(struct making *m, const char *source, struct err *err)
{
	AUTO_CLOSE int source_fd = -1;
	AUTO_CLOSE int from = -1;
	AUTO_CLOSE int fd = -1;
	struct disk_record s;
	uint64_t bytes;

	if (disk_open(m->l, source, LOCK_EX, &source_fd, &s, err) < 0)
		return -1;
	m->record.size_bytes = s.size_bytes;
	memcpy(m->record.damage, s.damage, sizeof(s.damage));
	bytes = allocated(source_fd, DISK_IMAGE);
	if (check_room(m->l, bytes, err) < 0 || take_room(m, bytes, err) < 0)
		return -1;
	from = open_file(source_fd, DISK_IMAGE, O_RDONLY);
	fd = open_file(m->fd, DISK_MAKING, O_RDWR | O_CREAT | O_EXCL);
	if (from < 0 || fd < 0)
		return err_errno(err, errno, "make snapshot '%s'", m->id);
	if (copy_disk(from, fd, err) < 0)
		return -1;
	return publish(m, fd, err);
}

int
disk_snapshot(const struct launcher *l, const struct launcher_request *q, int requester,
    struct err *err)
{
	struct making m = new_making(l, q, 0);
	int rc = begin(&m, requester, err);

	if (rc == 0)
		rc = take_snapshot(&m, q->source, err);
	return finish(&m, rc, err);
}

/* ---- removing ---- */

static int
refuse_if_used(int disk_fd, const char *id, struct err *err)
{
	struct disk_record r;
	struct err none;
	struct stat st;

	if (fstatat(disk_fd, DISK_IMAGE, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    loop_find(&st) < 0)
		return 0;
	if (disk_record_read(disk_fd, &r, &none) < 0 || !r.machine[0])
		return err_set(err, ERR_CONFLICT, "disk '%s' is in use on this host", id);
	return err_set(
	    err, ERR_CONFLICT, "disk '%s' is attached to machine '%s'", id, r.machine);
}

int
disk_remove(const struct launcher *l, const char *id, struct err *err)
{
	AUTO_CLOSE int unlocked = open_dir(l->disks_fd, id);
	AUTO_CLOSE int fd = -1;

	/* Who is making it sees that, and lets go of the lock. */
	if (unlocked >= 0)
		(void)unlinkat(unlocked, DISK_MAKING, 0);
	fd = open_locked(l, id, LOCK_EX);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "lock disk '%s'", id);
	if (refuse_if_used(fd, id, err) < 0)
		return -1;
	return discard(l, id, err);
}

/* ---- listing ---- */

/* A disk that is said to be dead or is not listed is given up, and removed: where it cannot be looked at nothing is said. */
static int
fill_in(const struct launcher *l, const char *id, const struct loop_table *loops,
    struct launcher_reply *reply, struct err *err)
{
	AUTO_CLOSE int fd = open_dir(l->disks_fd, id);
	struct disk_record r = {0};
	struct err none;
	struct stat st;
	bool made;

	(void)snprintf(reply->id, sizeof(reply->id), "%s", id);
	if (fd < 0)
		return err_errno(err, errno, "look at disk '%s'", id);
	made = fstatat(fd, DISK_IMAGE, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!made && errno != ENOENT)
		return err_errno(err, errno, "look at disk '%s'", id);
	reply->state = LAUNCHER_ALIVE;
	if (!made && flock(fd, LOCK_SH | LOCK_NB) < 0)
		reply->state = LAUNCHER_MAKING;
	else if (!made && !is_made(fd)) /* whoever was making it died */
		reply->state = LAUNCHER_DEAD;
	if (disk_record_read(fd, &r, &none) < 0)
		return 0;
	reply->size_bytes = r.size_bytes;
	reply->created_at_ms = r.created_at_ms;
	if (made && loop_table_find(loops, &st) >= 0)
		memcpy(reply->machine, r.machine, sizeof(reply->machine));
	return 0;
}

static int
each(const struct launcher *l, DIR *d, const struct loop_table *loops, disk_fn fn,
    void *arg, struct err *err)
{
	struct dirent *e;
	struct err gone;

	while ((errno = 0, e = readdir(d)) != NULL) {
		struct launcher_reply reply = {
		    .magic = LAUNCHER_MAGIC, .version = LAUNCHER_VERSION};

		if (!is_disk_id(e->d_name))
			continue;
		if (fill_in(l, e->d_name, loops, &reply, &gone) < 0) {
			if (gone.code == ERR_NOT_FOUND) /* it was removed just now */
				continue;
			*err = gone;
			return -1;
		}
		if (fn(arg, &reply) != 0)
			return err_set(err, ERR_CANCELLED, "the peer went away");
	}
	return errno == 0 ? 0 : err_errno(err, errno, "list the disks");
}

int
disk_each(const struct launcher *l, disk_fn fn, void *arg, struct err *err)
{
	struct loop_table loops;
	int again, rc;
	DIR *d;

	if (l->disks_fd < 0)
		return 0;
	again = open_dir(l->disks_fd, ".");
	d = again < 0 ? NULL : fdopendir(again);
	if (!d) {
		err_errno(err, errno, "list the disks");
		if (again >= 0)
			close(again);
		return -1;
	}
	loop_table_read(&loops);
	rc = each(l, d, &loops, fn, arg, err);
	loop_table_fini(&loops);
	closedir(d);
	return rc;
}
