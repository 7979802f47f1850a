/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/machines.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "launcher/file.h"

#define DEATH_WAIT_MS 5000

static int
open_dir(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool
is_still(int dirfd, const char *name, int fd)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 &&
	       fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       here.st_ino == there.st_ino && here.st_dev == there.st_dev;
}

static int
lock(int fd, int how)
{
	int rc;

	do
		rc = flock(fd, how);
	while (rc < 0 && errno == EINTR);
	return rc;
}

int
machine_lock(const struct launcher *l, const char *id, int *ret_fd, struct err *err)
{
	for (;;) {
		AUTO_CLOSE int fd = -1;

		if (mkdirat(l->machines_fd, id, 0700) < 0 && errno != EEXIST)
			return err_errno(
			    err, errno, "make the directory of machine '%s'", id);
		fd = open_dir(l->machines_fd, id);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || lock(fd, LOCK_EX) < 0)
			return err_errno(err, errno, "lock machine '%s'", id);
		if (is_still(l->machines_fd, id,
			fd)) { /* not just removed by who had the lock */
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
	}
}

static void
slot_name(char out[16], uint32_t slot)
{
	(void)snprintf(out, 16, "%u", slot);
}

/* Empty when nobody has the slot. */
static void
slot_owner(const struct launcher *l, const char *name, char out[ID_MAX])
{
	ssize_t n = readlinkat(l->slots_fd, name, out, ID_MAX - 1);

	out[n < 0 ? 0 : n] = '\0';
}

static int
open_slots_locked(const struct launcher *l, struct err *err)
{
	int fd = open_dir(l->slots_fd, ".");

	if (fd >= 0 && lock(fd, LOCK_EX) == 0)
		return fd;
	err_errno(err, errno, "lock the slots");
	if (fd >= 0)
		close(fd);
	return -1;
}

int
machine_claim_slot(
    const struct launcher *l, const char *id, uint32_t slot, struct err *err)
{
	AUTO_CLOSE int locked = open_slots_locked(l, err);
	char name[16], owner[ID_MAX];
	struct stat st;

	if (locked < 0)
		return -1;
	slot_name(name, slot);
	slot_owner(l, name, owner);
	if (strcmp(owner, id) == 0)
		return 0;
	if (owner[0] && fstatat(l->machines_fd, owner, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(
		    err, ERR_CONFLICT, "slot %u belongs to machine '%s'", slot, owner);
	if (owner[0] && unlinkat(l->slots_fd, name, 0) < 0)
		return err_errno(err, errno, "free slot %u", slot);
	if (symlinkat(id, l->slots_fd, name) < 0)
		return err_errno(err, errno, "claim slot %u", slot);
	return 0;
}

static int
release_slot(const struct launcher *l, const char *id, uint32_t slot, struct err *err)
{
	AUTO_CLOSE int locked = open_slots_locked(l, err);
	char name[16], owner[ID_MAX];

	if (locked < 0)
		return -1;
	slot_name(name, slot);
	slot_owner(l, name, owner);
	if (strcmp(owner, id) == 0 && unlinkat(l->slots_fd, name, 0) < 0)
		return err_errno(err, errno, "free slot %u", slot);
	return 0;
}

static int
end_process(const struct launcher *l, const struct record *r, struct err *err)
{
	AUTO_CLOSE int pidfd = record_open_process(r, l->boot_id);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int rc;

	if (pidfd < 0)
		return 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_errno(err, errno, "kill process %d", (int)r->pid);
	do
		rc = poll(&p, 1, DEATH_WAIT_MS);
	while (rc < 0 && errno == EINTR);
	if (rc == 1)
		return 0;
	err_set(err, ERR_UNAVAILABLE,
	    "process %d does not die: is it frozen, or its disk stuck?", (int)r->pid);
	return err_hint(err, "end it again later");
}

/* A dead machine's interface goes by itself, with its namespace, usually within a millisecond. To delete
   it takes a lock for ten, so that is only for what stays. */
static int
remove_interface(const struct launcher *l, const char *id, uint32_t slot, struct err *err)
{
	char name[NETWORK_IFNAME_MAX], owner[ID_MAX];

	if (slot == 0 || !l->serves_machines || slot > network_slot_max(&l->network))
		return 0;
	slot_name(name, slot);
	slot_owner(l, name, owner);
	if (strcmp(owner, id) != 0)
		return 0; /* on record, but never claimed: it may be another's */
	network_ifname(&l->network, slot, name);
	for (long wait_us = 250; wait_us < 64000; wait_us *= 2) {
		struct timespec ts = {.tv_nsec = wait_us * 1000};

		if (if_nametoindex(name) == 0)
			return 0;
		nanosleep(&ts, NULL);
	}
	return network_detach(&l->network, slot, err);
}

static int
remove_sockets(const struct launcher *l, const char *id, struct err *err)
{
	AUTO_CLOSE int dir = open_dir(l->runtime_fd, id);

	if (dir < 0)
		return errno == ENOENT
			   ? 0
			   : err_errno(err, errno, "open the sockets' directory");
	(void)unlinkat(dir, "ssh.sock", 0);
	(void)unlinkat(dir, "control.sock", 0);
	if (unlinkat(l->runtime_fd, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_errno(err, errno, "remove the sockets' directory");
	return 0;
}

/* Before its slot, and with it its address, can be another's. */
static int
leave_gang(const struct launcher *l, const struct record *r, struct err *err)
{
	if (r->gang_number == 0 || r->slot == 0 ||
	    r->slot > network_slot_max(&l->network))
		return 0;
	return network_gang(&l->network, r->slot, r->gang_number, false, err);
}

static int
end_all(const struct launcher *l, const char *id, int machine_fd, struct record *ret,
    struct err *err)
{
	struct err why;

	/* No record, or one cut short by a power failure: nothing can be alive that needs it. */
	if (record_read(machine_fd, ret, &why) < 0)
		*ret = (struct record){0};
	if (end_process(l, ret, err) < 0 || cgroup_remove(&l->cgroups, id, err) < 0)
		return -1;
	if (remove_interface(l, id, ret->slot, err) < 0 || leave_gang(l, ret, err) < 0)
		return -1;
	return remove_sockets(l, id, err);
}

int
machine_stop(const struct launcher *l, const char *id, int machine_fd, struct err *err)
{
	struct record r;

	if (end_all(l, id, machine_fd, &r, err) < 0)
		return -1;
	if (r.pid == 0)
		return 0;
	r.pid = 0;
	r.start = 0;
	return record_write(machine_fd, &r, err);
}

int
machine_remove(const struct launcher *l, const char *id, int machine_fd, struct err *err)
{
	struct record r;
	char trash[ID_MAX + 16];

	if (end_all(l, id, machine_fd, &r, err) < 0)
		return -1;
	/* One of this name may be there already: made again after its death, or ended by two at once. */
	(void)snprintf(trash, sizeof(trash), "%s.%d", id, (int)getpid());
	if (renameat(l->machines_fd, id, l->trash_fd, trash) < 0)
		return err_errno(err, errno, "move machine '%s' to the trash", id);
	/* Last: while the directory is there nobody else has the slot, and its interface is ours to
	   delete. A slot that still names a machine without a directory is free. */
	return r.slot == 0 ? 0 : release_slot(l, id, r.slot, err);
}

static void
remove_from_trash(const struct launcher *l, const char *name)
{
	struct err err;

	if (tree_remove_at(l->trash_fd, name, &err) < 0)
		log_warn("empty the trash: %s; it is tried again later", err.msg);
}

static void
free_slot_of_nobody(const struct launcher *l, const char *name)
{
	struct err err;
	AUTO_CLOSE int locked = open_slots_locked(l, &err);
	char owner[ID_MAX];
	struct stat st;

	slot_owner(l, name, owner);
	if (locked >= 0 && owner[0] &&
	    fstatat(l->machines_fd, owner, &st, AT_SYMLINK_NOFOLLOW) < 0)
		(void)unlinkat(l->slots_fd, name, 0);
}

static void
each_entry(const struct launcher *l, int dirfd,
    void (*fn)(const struct launcher *, const char *))
{
	int again = open_dir(dirfd, ".");
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			fn(l, e->d_name);
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
}

bool
machine_trash_is_empty(const struct launcher *l)
{
	int again = open_dir(l->trash_fd, ".");
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	bool empty = true;

	while (d && empty && (e = readdir(d)) != NULL)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
	return empty;
}

void
machine_empty_trash(const struct launcher *l)
{
	AUTO_CLOSE int locked = open_dir(l->trash_fd, ".");

	if (locked >= 0 && lock(locked, LOCK_EX) == 0)
		each_entry(l, l->trash_fd, remove_from_trash);
}

void
machine_sweep(const struct launcher *l)
{
	machine_empty_trash(l);
	each_entry(l, l->slots_fd, free_slot_of_nobody);
}

int
machine_kill(const struct launcher *l, const char *id, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (fstatat(l->machines_fd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* the directory goes last: nothing else can be left */
	if (machine_lock(l, id, &fd, err) < 0)
		return -1;
	return machine_remove(l, id, fd, err);
}

static int
open_locked(const struct launcher *l, const char *id, int *ret_fd, struct record *ret,
    struct err *err)
{
	AUTO_CLOSE int fd = open_dir(l->machines_fd, id);

	if (fd < 0)
		return err_errno(err, errno, "open machine '%s'", id);
	if (lock(fd, LOCK_EX) < 0)
		return err_errno(err, errno, "lock machine '%s'", id);
	if (!is_still(l->machines_fd, id, fd) || record_read(fd, ret, err) < 0)
		return err_set(err, ERR_NOT_FOUND, "there is no machine '%s'", id);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
machine_open(const struct launcher *l, const char *id, int *ret_fd,
    struct record *ret_record, int *ret_pidfd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	struct record r;

	if (open_locked(l, id, &fd, &r, err) < 0)
		return -1;
	if (!r.keeps_disk)
		return err_set(err, ERR_NOT_FOUND, "there is no instance '%s'", id);
	*ret_pidfd = record_open_machine(&r, l->boot_id);
	*ret_record = r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
machine_open_running(const struct launcher *l, const char *id, int *ret_fd,
    struct record *ret_record, int *ret_pidfd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int pidfd;
	struct record r;

	if (open_locked(l, id, &fd, &r, err) < 0)
		return -1;
	pidfd = record_open_machine(&r, l->boot_id);
	if (pidfd < 0)
		return err_set(err, ERR_CONFLICT, "machine '%s' does not run", id);
	*ret_pidfd = pidfd;
	*ret_record = r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
machine_open_alive(const struct launcher *l, const char *id, int *ret_fd,
    struct record *ret_record, int *ret_pidfd, struct err *err)
{
	AUTO_CLOSE int fd = open_dir(l->machines_fd, id);
	struct record r;
	int pidfd;

	if (fd < 0 || lock(fd, LOCK_SH) < 0 || !is_still(l->machines_fd, id, fd) ||
	    record_read(fd, &r, err) < 0)
		return err_set(err, ERR_NOT_FOUND, "there is no machine '%s'", id);
	pidfd = record_open_machine(&r, l->boot_id);
	if (pidfd < 0)
		return err_set(err, ERR_UNAVAILABLE, "machine '%s' has ended", id);
	*ret_record = r;
	*ret_pidfd = pidfd;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
machine_join(const struct launcher *l, const char *id, const char *gang, uint32_t number,
    struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int pidfd = -1;
	struct record r;

	if (machine_open_running(l, id, &fd, &r, &pidfd, err) < 0)
		return -1;
	if (r.gang_number != 0 && (r.gang_number != number || strcmp(r.gang, gang) != 0))
		return err_set(
		    err, ERR_CONFLICT, "machine '%s' is of gang '%s'", id, r.gang);
	(void)snprintf(r.gang, sizeof(r.gang), "%s", gang);
	r.gang_number = number;
	if (record_write(fd, &r, err) < 0)
		return -1;
	return network_gang(&l->network, r.slot, number, true, err);
}

static int
join_one_again(void *arg, const char *id)
{
	const struct launcher *l = arg;
	struct record r;
	struct err err;
	bool alive;

	if (machine_look(l, id, &r, &alive) && alive && r.gang_number != 0 &&
	    network_gang(&l->network, r.slot, r.gang_number, true, &err) < 0)
		log_warn("machine %s: %s; the others of its gang cannot reach it", id,
		    err.msg);
	return 0;
}

void
machine_join_again(const struct launcher *l)
{
	(void)machine_each(l, join_one_again, (void *)l);
}

bool
machine_look(
    const struct launcher *l, const char *id, struct record *ret, bool *ret_alive)
{
	AUTO_CLOSE int fd = open_dir(l->machines_fd, id);
	AUTO_CLOSE int pidfd = -1;
	struct err err;

	if (fd < 0 || lock(fd, LOCK_SH) < 0 || !is_still(l->machines_fd, id, fd))
		return false;
	if (record_read(fd, ret, &err) < 0)
		*ret = (struct record){0};
	pidfd = record_open_machine(ret, l->boot_id);
	*ret_alive = pidfd >= 0;
	return true;
}

int
machine_each(const struct launcher *l, machine_fn fn, void *arg)
{
	int again = open_dir(l->machines_fd, ".");
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	int rc = 0;

	while (d && rc == 0 && (e = readdir(d)) != NULL)
		if (id_valid(e->d_name, 'm'))
			rc = fn(arg, e->d_name);
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
	return rc;
}
