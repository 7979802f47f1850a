/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static const char *const directories[] = {"/usr/sbin", "/sbin"};

static _Noreturn void
exec_tool(int dirfd, const char *const argv[], int out, pid_t parent)
{
	char *const envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
	int null = open("/dev/null", O_RDONLY);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || fchdir(dirfd) < 0 || dup2(null, 0) < 0 ||
	    dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(127);
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "%s/%s", directories[i], argv[0]);
		execve(path, (char *const *)argv, envp);
	}
	_exit(127);
}

/* The last line with something in it, of what is read; longer lines lose their tail. */
static void
take_chunk(const char *chunk, size_t n, char *line, size_t *len, char *last, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		if (chunk[i] != '\n' && chunk[i] != '\r') {
			if (*len < size - 1)
				line[(*len)++] = chunk[i] < ' ' ? ' ' : chunk[i];
			continue;
		}
		if (*len > 0) {
			memcpy(last, line, *len);
			last[*len] = '\0';
		}
		*len = 0;
	}
}

/* false: it has not ended by `until`. */
static bool
listen_to(int fd, int64_t until, char last[160])
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char chunk[1024], line[160];
	size_t len = 0;

	for (;;) {
		int64_t left = until - clock_real_now_ms();
		ssize_t n;

		if (left <= 0)
			return false;
		if (poll(&p, 1, left > 60000 ? 60000 : (int)left) <= 0)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			break;
		take_chunk(chunk, (size_t)n, line, &len, last, sizeof(line));
	}
	take_chunk("\n", 1, line, &len, last, sizeof(line));
	return true;
}

int
tool_run(int dirfd, const char *const argv[], int64_t timeout_ms, struct tool_result *ret,
    struct err *err)
{
	AUTO_CLOSE int out_r = -1;
	struct tool_result r = {0};
	int out[2], status = 0;
	pid_t parent = getpid(), pid;
	bool ended;

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_errno(err, errno, "run %s", argv[0]);
	out_r = out[0];
	pid = fork();
	if (pid == 0)
		exec_tool(dirfd, argv, out[1], parent);
	close(out[1]);
	if (pid < 0)
		return err_errno(err, errno, "run %s", argv[0]);
	ended = listen_to(out_r, clock_real_now_ms() + timeout_ms, r.last);
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		return err_set(err, ERR_UNAVAILABLE, "%s did not end within %lld s",
		    argv[0], (long long)(timeout_ms / 1000));
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 127) {
		err_set(err, ERR_UNAVAILABLE, "%s cannot be run", argv[0]);
		return err_hint(err, "install e2fsprogs");
	}
	r.status = WEXITSTATUS(status);
	*ret = r;
	return 0;
}
