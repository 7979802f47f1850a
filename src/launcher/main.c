/* SPDX-License-Identifier: Apache-2.0 */

/*
 * hearth-launcher: the root helper of the local provider. hearthd starts it, gives it a listening
 * socket and the read end of a pipe (the lifeline), and gives up its own privileges. Everything in the
 * options comes from the configuration file that root wrote; everything in a request is checked.
 *
 * The main process only accepts. Each connection is served by a process of its own, so that a crash or
 * a slow request hurts nobody else, and nothing of one request can leak into the next.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/disk_attach.h"
#include "launcher/file.h"
#include "launcher/launcher.h"
#include "launcher/machines.h"
#include "launcher/protocol.h"
#include "launcher/save.h"
#include "launcher/serve.h"

#define SERVED_AT_ONCE_MAX 64
#define LEFT_TRASH 1 /* exit status of a process that has served a request */
#define INIT_SIZE_MAX (16 << 20)
#define UID_BASE_DEFAULT 1000000u
#define UID_BASE_MAX (UINT32_MAX - 65536u * (LAUNCHER_SLOT_MAX + 2))
#define MEMORY_DEFAULT_MAX (4ull << 30)

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* Linux 6.3 */
#endif

struct options {
	int socket_fd;
	int lifeline_fd;
	const char *state;
	const char *runtime;
	const char *network;
	const char *init;
	bool teardown;
};

static const char usage[] =
    "usage: hearth-launcher --socket-fd N --lifeline-fd N --state DIR --runtime DIR "
    "--uid N --gid N\n"
    "           [--network CIDR --init PATH] [--uid-base N] [--config PATH] "
    "[--image-builder PATH] [--instances] [--disks-max BYTES]\n"
    "       hearth-launcher --teardown --state DIR --runtime DIR\n";

/* clang-format off */
enum { OPT_SOCKET = 1, OPT_LIFELINE, OPT_STATE, OPT_RUNTIME, OPT_UID, OPT_GID, OPT_NETWORK, OPT_INIT,
	OPT_UID_BASE, OPT_CONFIG, OPT_BUILDER, OPT_INSTANCES, OPT_TEARDOWN, OPT_DISKS_MAX };

static const struct option long_options[] = {
	{"socket-fd",     required_argument, NULL, OPT_SOCKET},
	{"lifeline-fd",   required_argument, NULL, OPT_LIFELINE},
	{"state",         required_argument, NULL, OPT_STATE},
	{"runtime",       required_argument, NULL, OPT_RUNTIME},
	{"uid",           required_argument, NULL, OPT_UID},
	{"gid",           required_argument, NULL, OPT_GID},
	{"network",       required_argument, NULL, OPT_NETWORK},
	{"init",          required_argument, NULL, OPT_INIT},
	{"uid-base",      required_argument, NULL, OPT_UID_BASE},
	{"config",        required_argument, NULL, OPT_CONFIG},
	{"image-builder", required_argument, NULL, OPT_BUILDER},
	{"instances",     no_argument,       NULL, OPT_INSTANCES},
	{"teardown",      no_argument,       NULL, OPT_TEARDOWN},
	{"disks-max",     required_argument, NULL, OPT_DISKS_MAX},
	{NULL, 0, NULL, 0},
};
/* clang-format on */

static int
take_number(const char *what, uint64_t max, uint64_t *ret, struct err *err)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(optarg, &end, 10);
	if (*optarg < '0' || *optarg > '9' || *end || errno || v > max)
		return err_set(err, ERR_INVALID, "--%s: '%s' is not a number up to %llu",
		    what, optarg, (unsigned long long)max);
	*ret = v;
	return 0;
}

static int
take_option(int c, struct options *o, struct launcher *l, struct err *err)
{
	uint64_t v = 0;
	int rc = 0;

	switch (c) {
	case OPT_SOCKET:
		rc = take_number("socket-fd", 1023, &v, err);
		o->socket_fd = (int)v;
		break;
	case OPT_LIFELINE:
		rc = take_number("lifeline-fd", 1023, &v, err);
		o->lifeline_fd = (int)v;
		break;
	case OPT_UID:
		rc = take_number("uid", UINT32_MAX - 1, &v, err);
		l->uid = (uid_t)v;
		break;
	case OPT_GID:
		rc = take_number("gid", UINT32_MAX - 1, &v, err);
		l->gid = (gid_t)v;
		break;
	case OPT_UID_BASE:
		rc = take_number("uid-base", UID_BASE_MAX, &v, err);
		l->uid_base = (uint32_t)v;
		break;
	case OPT_STATE:
		o->state = optarg;
		break;
	case OPT_RUNTIME:
		o->runtime = optarg;
		break;
	case OPT_NETWORK:
		o->network = optarg;
		break;
	case OPT_INIT:
		o->init = optarg;
		break;
	case OPT_CONFIG:
		l->config_path = optarg;
		break;
	case OPT_BUILDER:
		l->image_builder = optarg;
		break;
	case OPT_DISKS_MAX:
		rc = take_number("disks-max", INT64_MAX, &v, err);
		l->disks_max = v;
		break;
	case OPT_INSTANCES:
		l->instances = true;
		break;
	case OPT_TEARDOWN:
		o->teardown = true;
		break;
	default:
		return err_set(err, ERR_INVALID, "wrong options");
	}
	return rc;
}

static int
parse_options(
    int argc, char **argv, struct options *o, struct launcher *l, struct err *err)
{
	int c;

	*o = (struct options){.socket_fd = -1, .lifeline_fd = -1};
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		if (take_option(c, o, l, err) < 0)
			return -1;
	if (optind != argc)
		return err_set(
		    err, ERR_INVALID, "unexpected argument '%s'", argv[optind]);
	if (!o->state || !o->runtime)
		return err_set(err, ERR_INVALID, "--state and --runtime are needed");
	if (o->state[0] != '/' || o->runtime[0] != '/')
		return err_set(
		    err, ERR_INVALID, "--state and --runtime must be absolute");
	if (!o->teardown && (o->socket_fd < 0 || o->lifeline_fd < 0))
		return err_set(
		    err, ERR_INVALID, "--socket-fd and --lifeline-fd are needed");
	if (o->network && !o->init)
		return err_set(err, ERR_INVALID, "--network needs --init");
	if (l->uid_base < 65536) /* the host's own users */
		return err_set(err, ERR_INVALID, "--uid-base must be at least 65536");
	return 0;
}

static int
open_directories(struct launcher *l, const struct options *o, struct err *err)
{
	AUTO_CLOSE int runtime = -1;

	l->state_path = o->state;
	if (dir_open_at(AT_FDCWD, o->state, 0755, &l->state_fd, err) < 0 ||
	    dir_open_at(l->state_fd, "machines", 0711, &l->machines_fd, err) < 0 ||
	    dir_open_at(l->state_fd, "slots", 0700, &l->slots_fd, err) < 0 ||
	    dir_open_at(l->state_fd, "trash", 0700, &l->trash_fd, err) < 0 ||
	    dir_open_at(l->state_fd, "images", 0700, &l->images_fd, err) < 0 ||
	    dir_open_at(l->state_fd, "homes", 0700, &l->homes_fd, err) < 0)
		return -1;
	/* Those of hearth-ec2 have none, and a tear-down does not know whose state it is. */
	if (faccessat(l->state_fd, "disks", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    (!l->instances && !o->teardown))
		if (dir_open_at(l->state_fd, "disks", 0700, &l->disks_fd, err) < 0)
			return -1;
	/* An image holds files of uid 1000 and programs with set-user-id, which on the host are somebody
	   to write to and root to run: nobody may get there. An earlier version made it 0755. */
	if (fchmod(l->images_fd, 0700) < 0)
		return err_errno(err, errno, "close the directory of images");
	if (dir_open_at(AT_FDCWD, o->runtime, 0755, &runtime, err) < 0)
		return -1;
	return dir_open_at(runtime, "machines", 0711, &l->runtime_fd, err);
}

/* A program that somebody has open for writing cannot be executed, and that somebody would be us. */
static int
reopen_read_only(int fd, int *ret_fd, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd >= 0 ? 0 : err_errno(err, errno, "reopen the copy of hearth-init");
}

/* Machines execute a sealed copy, which nothing inside can write to and no upgrade disturbs. */
static int
copy_init(const char *path, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int in = open(path, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int fd =
	    memfd_create(INIT_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	struct stat st;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(INIT_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (in < 0 || fd < 0 || fstat(in, &st) < 0)
		return err_errno(err, errno, "copy %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > INIT_SIZE_MAX)
		return err_set(
		    err, ERR_INVALID, "copy %s: not a program of a likely size", path);
	for (off_t done = 0; done < st.st_size;) {
		char chunk[65536];
		ssize_t n = read(in, chunk, sizeof(chunk));

		if (n <= 0 || write(fd, chunk, (size_t)n) != n)
			return err_errno(err, errno, "copy %s", path);
		done += n;
	}
	if (fchmod(fd, 0555) < 0 ||
	    fcntl(fd, F_ADD_SEALS,
		F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return err_errno(err, errno, "seal the copy of %s", path);
	return reopen_read_only(fd, ret_fd, err);
}

static int
read_boot_id(struct launcher *l, struct err *err)
{
	int e = file_get_at(
	    AT_FDCWD, "/proc/sys/kernel/random/boot_id", l->boot_id, sizeof(l->boot_id));

	l->boot_id[strcspn(l->boot_id, "\n")] = '\0';
	return e == 0 ? 0 : err_errno(err, e, "read the boot id");
}

static uint64_t
default_memory(void)
{
	struct sysinfo si;
	uint64_t most;

	if (sysinfo(&si) < 0)
		return MEMORY_DEFAULT_MAX;
	most = (uint64_t)si.totalram * si.mem_unit / 4 * 3;
	return most < MEMORY_DEFAULT_MAX ? most : MEMORY_DEFAULT_MAX;
}

/* A group of our own among those of other daemons on this host, which may come and go: named after the
   state directory, which two of them can have at the same inode of two file systems. */
static int
set_up_cgroups(struct launcher *l, bool make, struct err *err)
{
	char name[CGROUP_NAME_MAX];
	struct stat st;

	if (fstat(l->state_fd, &st) < 0)
		return err_errno(err, errno, "look at the state directory");
	(void)snprintf(name, sizeof(name), "hearth-%llx-%llx",
	    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	if (make)
		return cgroup_setup(name, &l->cgroups, err);
	cgroup_find(name, &l->cgroups);
	return 0;
}

static int
prepare_machines(struct launcher *l, const struct options *o, struct err *err)
{
	assert(o->network && o->init);
	if (network_parse(o->network, &l->network, err) < 0 ||
	    open_directories(l, o, err) < 0 || read_boot_id(l, err) < 0 ||
	    copy_init(o->init, &l->init_fd, err) < 0 ||
	    syscalls_build(false, &l->filter, err) < 0 ||
	    syscalls_build(true, &l->filter_nesting, err) < 0 ||
	    set_up_cgroups(l, true, err) < 0 ||
	    network_host_setup(&l->network, o->state, err) < 0)
		return -1;
	l->memory_default = default_memory();
	l->serves_machines = true;
	machine_join_again(l);
	return 0;
}

/* The machines live in namespaces and cgroups of their own, but out-of-memory priority and blocked
   signals would be inherited. */
static _Noreturn void
run_service(const struct launcher *l, int connection, const sigset_t *signals)
{
	int e = file_put_at(AT_FDCWD, "/proc/self/oom_score_adj", "0");

	(void)e; /* lowering a positive one may be refused: then it stays */
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	serve(l, connection);
	_exit(l->serves_machines && !machine_trash_is_empty(l) ? LEFT_TRASH : 0);
}

/*
 * Deleting a machine's files may take minutes, and nobody waits for it: one process does it for all, beside those
 * that serve requests, so that however much there is to delete it takes none of their places.
 */
struct sweeper {
	pid_t pid;   /* 0: none runs */
	bool wanted; /* a request has left something since it began */
	bool first;  /* the start's: what an earlier launcher left, too */
};

static _Noreturn void
run_sweep(const struct launcher *l, bool first)
{
	if (!first)
		machine_empty_trash(l);
	else
		machine_sweep(l);
	if (first && l->instances)
		image_sweep(l);
	_exit(0);
}

static void
sweep_if_wanted(const struct launcher *l, struct sweeper *s)
{
	pid_t pid;

	if (s->pid != 0 || !s->wanted)
		return;
	pid = fork();
	if (pid == 0)
		run_sweep(l, s->first);
	if (pid < 0) {
		log_warn("empty the trash: %s; it is tried again later", strerror(errno));
		s->wanted = false;
		return;
	}
	*s = (struct sweeper){.pid = pid};
}

/* A failure is left to the request, which runs into it. */
static void
mend_cgroups(struct launcher *l)
{
	struct cgroups fresh;
	struct err err;

	if (!l->serves_machines || cgroup_is_set_up(&l->cgroups) ||
	    cgroup_setup(l->cgroups.name, &fresh, &err) < 0)
		return;
	cgroup_close(&l->cgroups);
	l->cgroups = fresh;
}

static int
accept_one(struct launcher *l, int socket_fd, const sigset_t *signals)
{
	int fd = accept4(socket_fd, NULL, NULL, SOCK_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		return 0;
	if (!serve_permits(l, fd)) {
		log_warn("refused a connection: not from hearthd's user");
		close(fd);
		return 0;
	}
	mend_cgroups(l);
	pid = fork();
	if (pid == 0) {
		/* a long build must not keep the next launcher's place */
		close(socket_fd);
		run_service(l, fd, signals);
	}
	if (pid < 0)
		log_error(
		    "serve a request: %s; the daemon will ask again", strerror(errno));
	close(fd);
	return pid > 0;
}

/* How many requests have been served. */
static int
reap(struct sweeper *s)
{
	int n = 0, status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == s->pid) {
			s->pid = 0;
		} else {
			s->wanted |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
			n++;
		}
	return n;
}

static void
block_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	sigaddset(ret, SIGTERM);
	sigprocmask(SIG_BLOCK, ret, NULL);
	signal(SIGINT,
	    SIG_IGN); /* of a terminal: hearthd decides, and we see its lifeline end */
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

/* Until the daemon is gone or SIGTERM; then until all requests are served. */
static int
run(struct launcher *l, int socket_fd, int lifeline_fd)
{
	sigset_t signals;
	struct sweeper sweeper = {.wanted = l->serves_machines, .first = true};
	bool open = true;
	int running = 0, sigfd;

	block_signals(&signals);
	sigfd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigfd < 0 || fcntl(socket_fd, F_SETFL, O_NONBLOCK) < 0) {
		log_error("start: %s", strerror(errno));
		return 1;
	}
	while (open || running > 0 || sweeper.pid > 0) {
		struct signalfd_siginfo si;
		sweep_if_wanted(l, &sweeper);
		struct pollfd p[] = {
		    {sigfd, POLLIN, 0},
		    {open ? lifeline_fd : -1, POLLIN, 0},
		    {open && running < SERVED_AT_ONCE_MAX ? socket_fd : -1, POLLIN, 0},
		};

		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return 1;
		if (p[2].revents)
			running += accept_one(l, socket_fd, &signals);
		if (p[1].revents)
			open = false;
		while (read(sigfd, &si, sizeof(si)) == sizeof(si))
			if (si.ssi_signo == SIGTERM)
				open = false;
		running -= reap(&sweeper);
	}
	return 0;
}

static int
kill_one(void *arg, const char *id)
{
	const struct launcher *l = arg;
	struct err err;

	if (machine_kill(l, id, &err) == 0)
		return 0;
	log_error("end machine '%s': %s; run this again", id, err.msg);
	return 1;
}

/* Every trace of every machine of this state, and what was changed on the host for them. */
static int
teardown(struct launcher *l, const struct options *o, struct err *err)
{
	struct stat st;

	assert(o->state);
	if (stat(o->state, &st) < 0 && errno == ENOENT)
		return 0;
	if (open_directories(l, o, err) < 0 || read_boot_id(l, err) < 0)
		return -1;
	if (set_up_cgroups(l, false, err) < 0)
		return -1;
	if (machine_each(l, kill_one, l) != 0)
		return err_set(err, ERR_UNAVAILABLE, "some machines did not end");
	disk_settle_all(l);
	machine_sweep(l);
	cgroup_teardown(&l->cgroups);
	(void)unlinkat(l->runtime_fd, "../machines", AT_REMOVEDIR);
	return network_host_teardown(o->state, err);
}

static int
start(int argc, char **argv, struct options *o, struct launcher *l, struct err *err)
{
	if (parse_options(argc, argv, o, l, err) < 0) {
		(void)fputs(usage, stderr);
		return -1;
	}
	if (geteuid() != 0)
		return err_set(
		    err, ERR_NOT_PERMITTED, "hearth-launcher must run as root");
	umask(022);
	if (o->teardown)
		return teardown(l, o, err);
	if (o->network && prepare_machines(l, o, err) < 0)
		return -1;
	/* Not for the machines and the image builder. */
	if (fcntl(o->socket_fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(o->lifeline_fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_errno(err, errno, "use the inherited descriptors");
	return 0;
}

int
main(int argc, char **argv)
{
	struct launcher l = {.uid_base = UID_BASE_DEFAULT, .disks_fd = -1};
	struct options o;
	struct err err;
	int rc;

	log_init("hearth-launcher", LOG_LEVEL_INFO);
	if (start(argc, argv, &o, &l, &err) < 0) {
		log_error("%s%s%s", err.msg, err.hint[0] ? "; " : "", err.hint);
		return 1;
	}
	rc = o.teardown ? 0 : run(&l, o.socket_fd, o.lifeline_fd);
	syscalls_fini(&l.filter);
	syscalls_fini(&l.filter_nesting);
	return rc;
}
