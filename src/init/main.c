/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hearth-init: PID 1 of a machine. It sets up what the launcher left to do, hands
 * connections to sshd, reaps, answers the daemon, and ends the machine at its deadline.
 * It is started as control.h says. Everything that can fail later fails softly: a machine
 * without PID 1 is gone.
 *
 * It allocates nothing and uses no stdio, so that an idle machine costs a few pages. The
 * launcher starts it from a sealed memfd; all it needs is in the one static file.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/child.h"
#include "init/control.h"
#include "init/instance.h"
#include "init/life.h"
#include "init/loop.h"
#include "init/server.h"
#include "init/sessions.h"
#include "init/text.h"

/* What systemd takes from shutdown(8) and the like: SIGRTMIN of glibc and 3, 4, 5. */
#define SIGNAL_HALT 37
#define SIGNAL_POWEROFF 38
#define SIGNAL_REBOOT 39

struct options {
	int64_t ssh_fd;
	int64_t control_fd;
	int64_t lease_s;
	int64_t port;
	int64_t console_fd;
};

static void
parse_options(int argc, char **argv, struct options *o)
{
	struct {
		const char *name;
		int64_t max;
		int64_t *value;
	} known[] = {
	    {"--ssh-fd", 1 << 20, &o->ssh_fd},
	    {"--control-fd", 1 << 20, &o->control_fd},
	    {"--lease", CONTROL_SECONDS_MAX, &o->lease_s},
	    {"--port", UINT16_MAX, &o->port},
	    {"--console-fd", 1 << 20, &o->console_fd},
	};
	static const char usage[] = "usage: hearth-init --ssh-fd N --control-fd N "
				    "--lease SECONDS|--console-fd N [--port PORT]";

	*o = (struct options){
	    .ssh_fd = -1, .control_fd = -1, .lease_s = -1, .port = 22, .console_fd = -1};
	for (int i = 1; i < argc; i += 2) {
		const char *value = argv[i + 1];
		size_t k = 0;

		while (k < sizeof(known) / sizeof(known[0]) &&
		       strcmp(argv[i], known[k].name) != 0)
			k++;
		if (k == sizeof(known) / sizeof(known[0]) || !value ||
		    text_number(&value, known[k].max, known[k].value) < 0 ||
		    *value != '\0')
			child_die(usage);
	}
	if (o->ssh_fd < 3 || o->control_fd < 3 || (o->lease_s < 0 && o->console_fd < 3))
		child_die(usage);
}

/* mkdir and chmod, because either may have been done by the image. */
static void
set_up_directories(void)
{
	static const struct {
		const char *path;
		mode_t mode;
	} dirs[] = {
	    {"/run/sshd", 0755},
	    {"/run/lock", 01777},
	    {"/tmp", 01777},
	    {"/var/tmp", 01777},
	};

	umask(022);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		struct stat st;

		mkdir(dirs[i].path, dirs[i].mode);
		/* right already, as a rule: a chmod would copy the directory into the upper layer */
		if (stat(dirs[i].path, &st) < 0 || (st.st_mode & 07777) != dirs[i].mode)
			chmod(dirs[i].path, dirs[i].mode);
	}
}

/* What whoever started us ignores would be ignored by every process of the machine. By the system call, for
   libc keeps some signals to itself. */
static void
default_signals(void)
{
	static const unsigned long dfl[8]; /* the kernel's struct sigaction, all zero */

	for (int s = 1; s <= 64; s++)
		syscall(SYS_rt_sigaction, s, dfl, NULL, 8);
}

static int
take_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	if (instance_is())
		for (int s = SIGNAL_HALT; s <= SIGNAL_REBOOT; s++)
			sigaddset(&set, s);
	default_signals();
	sigprocmask(SIG_SETMASK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		child_die("cannot make a signal descriptor; the machine cannot start");
	return fd;
}

static void
reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (!sessions_reaped(pid))
			server_reaped(pid, status);
	}
	if (pid < 0 && errno == ECHILD)
		life_all_gone();
}

static void
on_signal(int index, int fd, short revents)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGNAL_HALT ||
		    si.ssi_signo == SIGNAL_POWEROFF)
			life_end();
		else if (si.ssi_signo == SIGNAL_REBOOT)
			life_reboot();
	}
	reap();
}

int
main(int argc, char **argv)
{
	struct options o;
	int signals;

	parse_options(argc, argv, &o);
	if (getpid() != 1)
		child_die(
		    "must be PID 1 of a machine: it signals every process it can see");
	prctl(PR_SET_NAME, "hearth-init");
	/* Root inside must not be able to trace the process that holds the deadline. */
	prctl(PR_SET_DUMPABLE, 0);
	set_up_directories();
	if (o.console_fd >= 0)
		instance_init((int)o.console_fd);
	signals = take_signals();
	loop_init();
	sessions_init((int)o.ssh_fd);
	server_init((int)o.control_fd);
	life_init(o.lease_s, (uint16_t)o.port);
	if (instance_is())
		instance_boot(false);

	for (;;) {
		int64_t now_ms = loop_now_ms();
		int64_t until_ms = life_tick(now_ms);

		loop_add(signals, POLLIN, on_signal, 0);
		instance_watch();
		until_ms = loop_earlier(until_ms, sessions_watch(now_ms));
		until_ms = loop_earlier(until_ms, server_watch(now_ms));
		loop_wait(until_ms);
	}
}
