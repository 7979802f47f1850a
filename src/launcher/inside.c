/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/testpoint.h"

/* Where hearth-init finds its sockets. */
#define SSH_FD 3
#define CONTROL_FD 4
#define INIT_FD 5
#define CONSOLE_FD 6
#define FIRST_FREE_FD 7

/* Any directory that every host has and whoever we are may search: the new root covers it, in our own
   mount namespace, until it becomes "/". */
#define NEW_ROOT "/tmp"

static int channel;

static _Noreturn void __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	struct inside_failure f = {.errno_value = errno};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(f.what, sizeof(f.what), fmt, ap);
	va_end(ap);
	(void)send(channel, &f, sizeof(f), MSG_NOSIGNAL);
	_exit(1);
}

/* Waits for one message; returns the descriptor that came with it or -1. */
static int
await(char expected)
{
	char c = 0;
	struct iovec iov = {&c, 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *h;
	int fd = -1;
	ssize_t n;

	do
		n = recvmsg(channel, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != 1 || c != expected) {
		if (testpoint_is("inside-slow"))
			usleep(300000);
		_exit(1); /* the creator is gone or gave up; nobody is there to tell */
	}
	h = CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return fd;
}

struct mount_row {
	const char *source;
	const char *target; /* below the new root */
	const char *type;   /* NULL: bind the host's `source` */
	unsigned long flags;
	const char *data;
};

#define QUIET (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* clang-format off */
static const struct mount_row mounts[] = {
	{"proc",         "proc",        "proc",   QUIET,                  NULL},
	{"sysfs",        "sys",         "sysfs",  QUIET | MS_RDONLY,      NULL},
	{"tmpfs",        "dev",         "tmpfs",  MS_NOSUID | MS_STRICTATIME, "mode=755,size=64k"},
	{"/dev/null",    "dev/null",    NULL,     0,                      NULL},
	{"/dev/zero",    "dev/zero",    NULL,     0,                      NULL},
	{"/dev/full",    "dev/full",    NULL,     0,                      NULL},
	{"/dev/random",  "dev/random",  NULL,     0,                      NULL},
	{"/dev/urandom", "dev/urandom", NULL,     0,                      NULL},
	{"/dev/tty",     "dev/tty",     NULL,     0,                      NULL},
	{"devpts",       "dev/pts",     "devpts", MS_NOSUID | MS_NOEXEC,
	    "newinstance,ptmxmode=0666,mode=0620,gid=5,max=1024"},
	{"tmpfs",        "dev/shm",     "tmpfs",  MS_NOSUID | MS_NODEV,   "mode=1777,size="},
	{"mqueue",       "dev/mqueue",  "mqueue", QUIET,                  NULL},
	{"tmpfs",        "run",         "tmpfs",  MS_NOSUID | MS_NODEV,   "mode=755,size="},
};

static const struct {
	const char *target;
	const char *name;
} links[] = {
	{"pts/ptmx",        "dev/ptmx"},
	{"/proc/self/fd",   "dev/fd"},
	{"/proc/self/fd/0", "dev/stdin"},
	{"/proc/self/fd/1", "dev/stdout"},
	{"/proc/self/fd/2", "dev/stderr"},
};

/* Hidden where the kernel has them: they tell of the host or reach its hardware. */
static const char *const masked[] = {
	"proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/key-users",
	"proc/kallsyms", "proc/kmsg", "proc/latency_stats", "proc/sched_debug", "proc/scsi",
	"proc/timer_list", "proc/timer_stats", "proc/vmallocinfo", "proc/slabinfo",
	"sys/devices/virtual/powercap", "sys/firmware", "sys/hypervisor", "sys/kernel", "sys/module",
};

static const char *const read_only[] = {
	"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger",
};
/* clang-format on */

/* Files in memory get no more than a quarter of the machine's, twice: with all of it full of files no
   login would be possible that could delete them. */
static void
do_mount(const struct mount_row *m, uint64_t memory_bytes)
{
	const char *data = m->data;
	char sized[64];
	int fd;

	if (data && data[strlen(data) - 1] == '=') {
		(void)snprintf(sized, sizeof(sized), "%s%llu", data,
		    (unsigned long long)memory_bytes / 4);
		data = sized;
	}

	if (m->type) {
		if (mkdir(m->target, 0755) < 0 && errno != EEXIST)
			fail("make directory /%s", m->target);
	} else {
		fd = open(m->target, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		if (fd < 0)
			fail("make file /%s", m->target);
		close(fd);
	}
	if (mount(m->source, m->target, m->type, m->type ? m->flags : MS_BIND, data) < 0)
		fail("mount /%s", m->target);
}

static void
mask(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		if (mount("tmpfs", path, "tmpfs", QUIET | MS_RDONLY, "size=0k,mode=555") <
		    0)
			fail("hide /%s", path);
	} else if (mount("dev/null", path, NULL, MS_BIND, NULL) < 0) {
		fail("hide /%s", path);
	}
}

static void
make_read_only(const char *path)
{
	if (mount(path, path, NULL, MS_BIND, NULL) < 0) {
		if (errno == ENOENT)
			return;
		fail("protect /%s", path);
	}
	if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | QUIET, NULL) < 0)
		fail("protect /%s", path);
}

static void
set_up_files(uint64_t memory_bytes)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
		do_mount(&mounts[i], memory_bytes);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i].target, links[i].name) < 0)
			fail("make link /%s", links[i].name);
	for (size_t i = 0; i < sizeof(masked) / sizeof(masked[0]); i++)
		mask(masked[i]);
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		make_read_only(read_only[i]);
}

/* The root mount arrives as a descriptor, so that no path of the host is needed here but what everybody
   may enter: we have never been more than the machine's own root, who is nobody on the host. */
static void
enter_root(int root)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("make mounts private");
	if (move_mount(root, "", AT_FDCWD, NEW_ROOT, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		fail("place the root file system");
	close(root);
	if (chdir(NEW_ROOT) < 0)
		fail("enter the root file system");
	if (setresgid(0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresuid(0, 0, 0) < 0)
		fail("become root inside");
}

static void
leave_host(void)
{
	/* Both roots on one directory: the old one ends up on top, and goes. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		fail("change the root");
	if (umount2(".", MNT_DETACH) < 0)
		fail("leave the host's root");
	if (chdir("/") < 0)
		fail("enter the new root");
}

static void
place_fd(int fd, int wanted, int flags)
{
	if (fd < 0 || dup3(fd, wanted, flags) < 0)
		fail("pass descriptor %d", wanted);
}

/* Descriptors that would be overwritten by their own new places are moved up first. */
static void
arrange_fds(const struct inside *in)
{
	int ssh = fcntl(in->ssh_fd, F_DUPFD_CLOEXEC, 64);
	int control = fcntl(in->control_fd, F_DUPFD_CLOEXEC, 64);
	int init = fcntl(in->init_fd, F_DUPFD_CLOEXEC, 64);
	int console =
	    in->console_fd < 0 ? -1 : fcntl(in->console_fd, F_DUPFD_CLOEXEC, 64);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int up = fcntl(channel, F_DUPFD_CLOEXEC, 64);

	if (up < 0)
		fail("arrange descriptors");
	channel = up;
	for (int i = 0; i < 3; i++)
		place_fd(null, i, 0);
	place_fd(ssh, SSH_FD, 0);
	place_fd(control, CONTROL_FD, 0);
	place_fd(init, INIT_FD, O_CLOEXEC);
	if (in->console_fd >= 0)
		place_fd(console, CONSOLE_FD, 0);
	else
		close(CONSOLE_FD);
	place_fd(channel, FIRST_FREE_FD, O_CLOEXEC);
	channel = FIRST_FREE_FD;
	if (syscall(SYS_close_range, FIRST_FREE_FD + 1, ~0U, 0) < 0)
		fail("close descriptors");
}

static void
soften(int which, rlim_t soft, rlim_t hard)
{
	struct rlimit r;

	if (getrlimit((__rlimit_resource_t)which, &r) < 0)
		return;
	if (r.rlim_max > hard)
		r.rlim_max = hard;
	r.rlim_cur = soft > r.rlim_max ? r.rlim_max : soft;
	if (setrlimit((__rlimit_resource_t)which, &r) < 0)
		fail("set resource limit %d", which);
}

/* Nothing of the launcher's own surroundings: signals, session, keyring, limits, umask. */
static void
reset_process(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setsid() < 0)
		fail("start a session");
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING,
	    NULL); /* kernel without keys: fine */
	umask(022);
	soften(RLIMIT_NOFILE, 1024, 1048576);
	soften(RLIMIT_CORE, 0, RLIM_INFINITY);
	soften(RLIMIT_MEMLOCK, 65536, 8388608);
	soften(RLIMIT_STACK, 8388608, RLIM_INFINITY);
	soften(RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY); /* the pids cgroup holds */
}

/* Docker's set without MKNOD and AUDIT_WRITE, which a user namespace makes void, and SETPCAP. */
static const cap_value_t kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
    CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT,
    CAP_SETFCAP};

#define N_KEPT ((int)(sizeof(kept) / sizeof(kept[0])))

static int
is_kept(cap_value_t c)
{
	for (int i = 0; i < N_KEPT; i++)
		if (kept[i] == c)
			return 1;
	return 0;
}

static void
drop_capabilities(void)
{
	cap_t caps = cap_init();

	if (!caps || cap_set_flag(caps, CAP_PERMITTED, N_KEPT, kept, CAP_SET) < 0 ||
	    cap_set_flag(caps, CAP_EFFECTIVE, N_KEPT, kept, CAP_SET) < 0)
		fail("list capabilities");
	if (cap_reset_ambient() < 0)
		fail("drop ambient capabilities");
	for (cap_value_t c = 0; c < cap_max_bits(); c++)
		if (!is_kept(c) && cap_drop_bound(c) < 0)
			fail("drop capability %d", c);
	if (cap_set_proc(caps) < 0)
		fail("drop capabilities");
	cap_free(caps);
}

static _Noreturn void
exec_init(const struct inside *in)
{
	char lease[24];
	char *argv[] = {
	    "hearth-init", "--ssh-fd", "3", "--control-fd", "4", "--lease", lease, NULL};
	char *instance_argv[] = {"hearth-init", "--ssh-fd", "3", "--control-fd", "4",
	    "--console-fd", "6", NULL};
	char *envp[] = {
	    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

	(void)snprintf(lease, sizeof(lease), "%llu", (unsigned long long)in->lease_s);
	if (in->console_fd >= 0)
		(void)syscall(
		    SYS_execveat, INIT_FD, "", instance_argv, envp, AT_EMPTY_PATH);
	else
		(void)syscall(SYS_execveat, INIT_FD, "", argv, envp, AT_EMPTY_PATH);
	fail("execute hearth-init");
}

void
inside_run(const struct inside *in)
{
	int rc, root;

	channel = in->channel;
	for (const int *fd = in->close_fds; *fd >= 0; fd++)
		close(*fd);
	root = await(INSIDE_ROOT);
	testpoint("inside-start");
	if (sethostname(in->hostname, strlen(in->hostname)) < 0)
		fail("set the host name");
	enter_root(root);
	set_up_files(in->memory_bytes);
	reset_process();
	(void)await(INSIDE_GO);
	/* Only now: the namespace's root is where we are when it is made. */
	if (unshare(CLONE_NEWCGROUP) < 0)
		fail("make a cgroup namespace");
	if (in->mount_cgroup2 &&
	    mount("cgroup2", "sys/fs/cgroup", "cgroup2", QUIET | MS_RDONLY, NULL) < 0)
		fail("mount /sys/fs/cgroup");
	leave_host();
	arrange_fds(in);
	testpoint("inside-exec");
	/* The filter needs a capability that goes next; both stay for good. */
	rc = syscalls_load(in->filter);
	if (rc != 0) {
		errno = rc;
		fail("load the system call filter");
	}
	drop_capabilities();
	exec_init(in);
}
