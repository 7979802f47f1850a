/* SPDX-License-Identifier: Apache-2.0 */
#include "init/child.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static void
offer_to_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "0", 1) < 0) {
		/* Lower than the launcher allows: it stays where it is. */
	}
	close(fd);
}

pid_t
child_spawn(const char *const argv[], const char *const envp[], const char *dir, int in,
    int out, int err)
{
	sigset_t none;
	pid_t pid;

	sigemptyset(&none);
	/* Not vfork(), which waits for the child's exec: root inside could stop the child before
	   it, and PID 1 with it, past any deadline. */
	pid = fork();
	if (pid != 0)
		return pid;
	setsid();
	offer_to_oom_killer();
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(127);
	syscall(SYS_close_range, 3u, ~0u,
	    0u); /* all are close-on-exec; this is the second lock */
	if (chdir(dir) < 0 && chdir("/") < 0)
		_exit(127);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(argv[0], (char *const *)argv, (char *const *)envp);
	_exit(127);
}

int
child_pipe(int ret_ends[2])
{
	if (pipe2(ret_ends, O_CLOEXEC) < 0)
		return -1;
	return fcntl(ret_ends[0], F_SETFL, O_NONBLOCK);
}

void
child_die(const char *why)
{
	static const char name[] = "hearth-init: ";

	if (write(2, name, sizeof(name) - 1) < 0 || write(2, why, strlen(why)) < 0 ||
	    write(2, "\n", 1) < 0) {
		/* Nobody to tell. */
	}
	_exit(2);
}
