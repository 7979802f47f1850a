/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/create.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/testpoint.h"
#include "launcher/file.h"
#include "launcher/image.h"
#include "launcher/inside.h"
#include "launcher/machines.h"
#include "launcher/rootfs.h"

#define PIDS_DEFAULT 4096
#define START_MAX_S 20

struct creation {
	const struct launcher *l;
	const struct launcher_request *q;
	int machine_fd;
	int image_fd;
	int attacher; /* our end of the pipe-like socket to the attacher; -1: none needed */
	int channel; /* our end of the socket pair with the machine's first process */
	int ssh_fd;
	int control_fd;
	int console_fd; /* an instance's */
	int cgroup_fd;
	uid_t root;    /* the host's uid of root inside */
	bool has_disk; /* an instance that was there before */
	struct record record;
};

void
reply_from_record(const struct launcher *l, const char *id, const struct record *r,
    bool alive, struct launcher_reply *reply)
{
	if (!alive)
		reply->state = r->keeps_disk ? LAUNCHER_STOPPED : LAUNCHER_DEAD;
	else if (r->keeps_disk && cgroup_is_frozen(&l->cgroups, id))
		reply->state = LAUNCHER_FROZEN;
	else
		reply->state = LAUNCHER_ALIVE;
	reply->slot = r->slot;
	reply->pid = (uint32_t)r->pid;
	reply->created_at_ms = r->created_at_ms;
	(void)snprintf(reply->id, sizeof(reply->id), "%s", id);
	memcpy(reply->gang, r->gang, sizeof(reply->gang));
	reply->gang_number = r->gang_number;
	memcpy(reply->image, r->image, sizeof(reply->image));
	memcpy(reply->image_version, r->image_version, sizeof(reply->image_version));
	if (r->slot != 0 && r->slot <= network_slot_max(&l->network))
		network_address(&l->network, r->slot, reply->address);
}

/* The attacher: pays for the first move early, then waits to be told whom to move. */
static _Noreturn void
attach_when_told(const struct creation *c, int fd)
{
	struct err err = {.code = ERR_NONE};
	pid_t pid;

	cgroup_attach_prepare(&c->l->cgroups);
	if (recv(fd, &pid, sizeof(pid), 0) != sizeof(pid))
		_exit(1);
	if (cgroup_attach(&c->l->cgroups, c->q->id, pid, &err) == 0)
		err.code = ERR_NONE;
	_exit(send(fd, &err, sizeof(err), MSG_NOSIGNAL) < 0);
}

static int
start_attacher(struct creation *c, struct err *err)
{
	int pair[2];
	pid_t pid;

	if (!c->l->cgroups.needs_attach)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, errno, "start the cgroup attacher");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		close(c->machine_fd); /* the lock is not ours */
		close(c->image_fd);
		attach_when_told(c, pair[1]);
	}
	close(pair[1]);
	c->attacher = pair[0];
	return pid > 0 ? 0 : err_errno(err, errno, "start the cgroup attacher");
}

static int
attach_begin(struct creation *c, struct err *err)
{
	pid_t pid = c->record.pid;

	if (c->attacher < 0)
		return 0;
	if (send(c->attacher, &pid, sizeof(pid), MSG_NOSIGNAL) < 0)
		return err_errno(err, errno, "talk to the cgroup attacher");
	return 0;
}

static int
attach_end(struct creation *c, struct err *err)
{
	struct err result;

	if (c->attacher < 0)
		return 0;
	if (recv(c->attacher, &result, sizeof(result), 0) != sizeof(result))
		return err_set(err, ERR_INTERNAL, "the cgroup attacher died");
	if (result.code == ERR_NONE)
		return 0;
	*err = result;
	return -1;
}

/* Bound by a relative name: that name is what peers see. */
static int
listen_on(int dirfd, const char *name, mode_t mode, const struct launcher *l, int *ret_fd,
    struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int type = strcmp(name, "ssh.sock") == 0 ? SOCK_STREAM : SOCK_SEQPACKET;
	AUTO_CLOSE int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(a.sun_path, name, strlen(name) + 1);
	if (fd < 0 || fchdir(dirfd) < 0)
		return err_errno(err, errno, "make socket '%s'", name);
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return err_errno(err, errno, "remove old socket '%s'", name);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    fchownat(dirfd, name, l->uid, l->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dirfd, name, mode, 0) < 0 || listen(fd, 128) < 0)
		return err_errno(err, errno, "make socket '%s'", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int
make_sockets(struct creation *c, struct err *err)
{
	AUTO_CLOSE int dir = -1;

	if (dir_open_at(c->l->runtime_fd, c->q->id, 0711, &dir, err) < 0)
		return -1;
	if (listen_on(dir, "ssh.sock", 0666, c->l, &c->ssh_fd, err) < 0)
		return -1;
	return listen_on(dir, "control.sock", 0600, c->l, &c->control_fd, err);
}

static int
make_files(struct creation *c, struct err *err)
{
	AUTO_BUF struct buf resolv = BUF_INIT(4096);
	struct rootfs_files files = {
	    .id = c->q->id,
	    .hostname = c->q->hostname[0] ? c->q->hostname : c->q->id,
	    .host_key = c->q->host_key,
	    .host_cert = c->q->host_cert,
	    .user_ca = c->q->user_ca,
	};

	network_resolv_conf(&c->l->network, c->q->slot, &resolv);
	files.resolv_conf = resolv.data ? resolv.data : "";
	if (c->has_disk)
		return rootfs_renew(c->machine_fd, files.resolv_conf, err);
	if (!c->l->instances)
		return rootfs_prepare(c->machine_fd, &files, c->root, err);
	if (rootfs_prepare_instance(c->machine_fd, &files, c->root, err) < 0)
		return -1;
	c->record.keeps_disk = true; /* from here on it is somebody's */
	return record_write(c->machine_fd, &c->record, err);
}

/* Root's own: the machine writes through its PID 1, who bounds it. */
static int
open_console(struct creation *c, struct err *err)
{
	if (!c->l->instances)
		return 0;
	c->console_fd = openat(
	    c->machine_fd, "console", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return c->console_fd >= 0 ? 0 : err_errno(err, errno, "open the console");
}

static uint64_t
memory_limit(const struct creation *c)
{
	return c->q->memory_bytes ? c->q->memory_bytes : c->l->memory_default;
}

static int
make_cgroups(struct creation *c, struct err *err)
{
	struct cgroup_limits limits = {
	    .memory_bytes = memory_limit(c),
	    .pids_max = c->q->pids_max ? c->q->pids_max : PIDS_DEFAULT,
	    .cpu_milli = c->q->cpu_milli,
	};

	return cgroup_create(&c->l->cgroups, c->q->id, &limits, &c->cgroup_fd, err);
}

/* clone3() by the machine's own root: who makes a user namespace is charged for all that is counted by
   user in it, such as inotify instances, of which nobody has more than 128. Were it the host's root, one
   machine could leave the host's services without any. */
static long
clone_as(uid_t owner, const struct clone_args *args)
{
	cap_t caps = cap_get_proc();
	long pid = -1;
	int saved;

	if (caps && seteuid(owner) == 0 && cap_set_proc(caps) == 0)
		pid = syscall(SYS_clone3, args, sizeof(*args));
	if (pid == 0)
		return 0;
	saved = errno;
	if (seteuid(0) < 0)
		_exit(1); /* cannot be: it is still our real user */
	cap_free(caps);
	errno = saved;
	return pid;
}

/* The machine's first process, in all its namespaces but the cgroup one. */
static int
start_process(struct creation *c, struct err *err)
{
	struct clone_args args = {
	    .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS |
		     CLONE_NEWIPC | CLONE_NEWNET |
		     (c->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
	    .exit_signal = SIGCHLD,
	    .cgroup = (uint64_t)(c->cgroup_fd >= 0 ? c->cgroup_fd : 0),
	};
	int pair[2];
	long pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, errno, "start the machine's first process");
	pid = clone_as(c->root, &args);
	if (pid == 0) {
		int close_fds[] = {pair[0], c->machine_fd, c->image_fd, -1, -1};
		struct inside in = {
		    .channel = pair[1],
		    .ssh_fd = c->ssh_fd,
		    .control_fd = c->control_fd,
		    .console_fd = c->console_fd,
		    .init_fd = c->l->init_fd,
		    .close_fds = close_fds,
		    .hostname = c->q->hostname[0] ? c->q->hostname : c->q->id,
		    .mount_cgroup2 = c->l->cgroups.v2 >= 0 && !c->l->cgroups.needs_attach,
		    .lease_s = c->q->lease_s,
		    .memory_bytes = memory_limit(c),
		    .filter = c->q->allow_nesting ? &c->l->filter_nesting : &c->l->filter,
		};

		close_fds[3] = c->attacher;
		inside_run(&in);
	}
	close(pair[1]);
	c->channel = pair[0];
	if (pid < 0) {
		err_errno(err, errno, "start the machine's first process");
		return err_hint(err,
		    "are user namespaces turned off? (sysctl user.max_user_namespaces)");
	}
	c->record.pid = (pid_t)pid;
	c->record.start = process_start_time((pid_t)pid);
	return record_write(c->machine_fd, &c->record, err);
}

static int
open_ns(pid_t pid, const char *which)
{
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, which);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int
map_ids(struct creation *c, struct err *err)
{
	static const char *const files[] = {"uid_map", "gid_map"};

	for (int i = 0; i < 2; i++) {
		char path[48], map[48];
		int e;

		(void)snprintf(
		    path, sizeof(path), "/proc/%d/%s", (int)c->record.pid, files[i]);
		(void)snprintf(map, sizeof(map), "0 %u %u", c->root, ROOTFS_UIDS);
		e = file_put_at(AT_FDCWD, path, map);
		if (e != 0)
			return err_errno(err, e, "map the machine's users");
	}
	return 0;
}

static int
send_to_inside(struct creation *c, char what, int fd, struct err *err)
{
	struct iovec iov = {&what, 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
	}
	/* A first process that has died left its reason: await_start() reports that, not the EPIPE. */
	if (sendmsg(c->channel, &m, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		return err_errno(err, errno, "talk to the machine's first process");
	return 0;
}

static int
give_root(struct creation *c, struct err *err)
{
	AUTO_CLOSE int userns = open_ns(c->record.pid, "user");
	AUTO_CLOSE int root = -1;

	if (userns < 0)
		return err_errno(err, errno, "open the machine's user namespace");
	if (rootfs_mount(c->machine_fd, c->image_fd, userns, &root, err) < 0)
		return -1;
	return send_to_inside(c, INSIDE_ROOT, root, err);
}

static int
give_network(struct creation *c, struct err *err)
{
	AUTO_CLOSE int netns = open_ns(c->record.pid, "net");

	if (netns < 0)
		return err_errno(err, errno, "open the machine's network namespace");
	return network_attach(&c->l->network, c->q->slot, netns, c->q->id, err);
}

/* What the machine's first process had to say before it died; false when there is nothing. */
static bool
inside_failed(struct creation *c, int flags, struct err *err)
{
	struct inside_failure f;
	ssize_t n;

	do
		n = recv(c->channel, &f, sizeof(f), flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && flags == 0) {
		err_set(
		    err, ERR_UNAVAILABLE, "the machine's first process does not start");
		return true;
	}
	if (n != sizeof(f))
		return false;
	f.what[sizeof(f.what) - 1] = '\0';
	err_errno(err, f.errno_value, "inside the machine: %s", f.what);
	return true;
}

/* The end of the channel is success: execve closed the last copy of its other end. Or it is death
   without a word. */
static int
await_start(struct creation *c, struct err *err)
{
	struct timeval limit = {.tv_sec = START_MAX_S};

	(void)setsockopt(c->channel, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (inside_failed(c, 0, err))
		return -1;
	if (!process_runs_init(c->record.pid))
		return err_set(
		    err, ERR_INTERNAL, "the machine's first process died at its start");
	return 0;
}

static int
create_steps(struct creation *c, struct err *err)
{
	const char *version = c->has_disk ? c->record.image_version : c->q->image_version;

	if (c->q->needs_disk && !c->has_disk)
		return err_set(err, ERR_NOT_FOUND, "there is no instance '%s'", c->q->id);
	if (c->has_disk && c->record.slot != c->q->slot)
		return err_set(err, ERR_CONFLICT, "instance '%s' has slot %u", c->q->id,
		    c->record.slot);
	if (image_open(c->l, c->record.image, version, &c->image_fd,
		c->record.image_version, err) < 0)
		return -1;
	c->record.slot = c->q->slot;
	if (record_write(c->machine_fd, &c->record, err) < 0)
		return -1;
	testpoint("record");
	if (machine_claim_slot(c->l, c->q->id, c->q->slot, err) < 0)
		return -1;
	testpoint("slot");
	if (make_cgroups(c, err) < 0 || start_attacher(c, err) < 0 ||
	    make_sockets(c, err) < 0 || open_console(c, err) < 0)
		return -1;
	testpoint("cgroups");
	if (start_process(c, err) < 0)
		return -1;
	testpoint("process");
	if (attach_begin(c, err) < 0 || map_ids(c, err) < 0 || make_files(c, err) < 0)
		return -1;
	testpoint("files");
	if (give_root(c, err) < 0)
		return -1;
	testpoint("root");
	if (give_network(c, err) < 0)
		return -1;
	testpoint("network");
	if (attach_end(c, err) < 0)
		return -1;
	testpoint("attached");
	if (send_to_inside(c, INSIDE_GO, -1, err) < 0)
		return -1;
	testpoint("go");
	return await_start(c, err);
}

static void
close_all(struct creation *c)
{
	int fds[] = {c->machine_fd, c->image_fd, c->attacher, c->channel, c->ssh_fd,
	    c->control_fd, c->console_fd, c->cgroup_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int
undo(struct creation *c, struct err *err)
{
	struct err second;

	/* Its own reason is nearer to the cause than whatever we then failed at. */
	if (c->channel >= 0)
		(void)inside_failed(c, MSG_DONTWAIT, err);
	if (c->has_disk) {
		if (machine_stop(c->l, c->q->id, c->machine_fd, &second) < 0)
			err_wrap(err, "%s; and then", second.msg);
	} else if (machine_remove(c->l, c->q->id, c->machine_fd, &second) < 0)
		err_wrap(err, "%s; and then", second.msg);
	return -1;
}

/* Locks the machine's directory, free of anything that a dead machine of this id has left, but for the disk of an
   instance. */
static int
lock_ready(struct creation *c, bool *ret_alive, struct err *err)
{
	struct record r;
	struct err none;

	for (;;) {
		if (machine_lock(c->l, c->q->id, &c->machine_fd, err) < 0)
			return -1;
		if (faccessat(c->machine_fd, "state", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			break;
		if (record_read(c->machine_fd, &r, &none) == 0) {
			AUTO_CLOSE int pidfd = record_open_machine(&r, c->l->boot_id);

			*ret_alive = pidfd >= 0;
			if (*ret_alive) {
				c->record = r;
				return 0;
			}
			if (r.keeps_disk) {
				c->has_disk = true;
				c->record = r;
				return machine_stop(c->l, c->q->id, c->machine_fd, err);
			}
		}
		if (machine_remove(c->l, c->q->id, c->machine_fd, err) < 0)
			return -1;
		close(c->machine_fd);
		c->machine_fd = -1;
	}
	*ret_alive = false;
	return 0;
}

/* Asked with the lock held: a daemon that died before we had it may be followed by one whose KILL of
   this id came first and found nothing; one that dies later is followed by a KILL that waits for us. */
static int
is_still_wanted(int requester, struct err *err)
{
	struct pollfd p = {.fd = requester, .events = POLLRDHUP};

	if (poll(&p, 1, 0) > 0)
		return err_set(err, ERR_CANCELLED, "the peer went away");
	return 0;
}

int
create_machine(const struct launcher *l, const struct launcher_request *q, int requester,
    struct launcher_reply *reply, struct err *err)
{
	struct creation c = {.l = l,
	    .q = q,
	    .machine_fd = -1,
	    .image_fd = -1,
	    .attacher = -1,
	    .channel = -1,
	    .ssh_fd = -1,
	    .control_fd = -1,
	    .console_fd = -1,
	    .cgroup_fd = -1,
	    .root = l->uid_base + q->slot * ROOTFS_UIDS};
	bool alive = false;
	int rc;

	if (q->slot > network_slot_max(&l->network))
		return err_set(err, ERR_NO_CAPACITY,
		    "the network has no address for slot %u", q->slot);
	rc = lock_ready(&c, &alive, err);
	if (rc == 0 && !alive) {
		c.record.created_at_ms = (uint64_t)clock_real_wall_ms();
		c.record.pid = 0;
		memcpy(c.record.boot_id, l->boot_id, sizeof(c.record.boot_id));
		if (!c.has_disk)
			memcpy(c.record.image, q->image, sizeof(c.record.image));
		rc = is_still_wanted(requester, err) < 0 || create_steps(&c, err) < 0
			 ? undo(&c, err)
			 : 0;
	}
	if (rc == 0)
		reply_from_record(l, q->id, &c.record, true, reply);
	else if (faccessat(l->machines_fd, q->id, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		reply->state = LAUNCHER_ABSENT;
	else if (c.has_disk)
		reply->state = LAUNCHER_STOPPED;
	else
		reply->state = LAUNCHER_DEAD; /* it could not be undone */
	close_all(&c);
	return rc;
}
