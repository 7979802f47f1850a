/* SPDX-License-Identifier: Apache-2.0 */
#include "init/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/child.h"
#include "init/control.h"
#include "init/loop.h"

static const char *const env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "SHELL=/bin/sh",
    "LANG=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
    NULL,
};

int
command_start(struct command *c, const char *text, int64_t timeout_s)
{
	const char *argv[] = {"/bin/sh", "-c", text, NULL};
	int ends[2];
	int nothing;
	pid_t pid = -1;

	if (child_pipe(ends) < 0)
		return -1;
	nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (nothing >= 0) {
		pid = child_spawn(argv, env, "/root", nothing, ends[1], ends[1]);
		close(nothing);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -1;
	}
	*c = (struct command){
	    .pid = pid,
	    .output = ends[0],
	    .deadline_ms = loop_now_ms() + timeout_s * 1000,
	};
	return 0;
}

static bool
takes_more(int client)
{
	struct pollfd p = {.fd = client, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

/* One packet's worth. Returns what read() does, or -2 if the client is gone. */
static ssize_t
pump_once(struct command *c, int client, bool keep)
{
	static const char word[] = "out ";
	char packet[CONTROL_PACKET_MAX];
	char *bytes = packet + sizeof(word) - 1;
	ssize_t n = read(c->output, bytes, sizeof(packet) - (sizeof(word) - 1));
	size_t take;

	if (n <= 0)
		return n;
	take = (size_t)loop_earlier(n, CONTROL_OUTPUT_MAX - c->passed_on);
	if (!keep || take == 0)
		return n;
	memcpy(packet, word, sizeof(word) - 1);
	if (send(client, packet, sizeof(word) - 1 + take, MSG_DONTWAIT | MSG_NOSIGNAL) <
	    0)
		return -2;
	c->passed_on += (int64_t)take;
	return n;
}

int
command_pump(struct command *c, int client, bool drain)
{
	for (;;) {
		bool keep = takes_more(client);
		ssize_t n;

		if (!keep && !drain && c->passed_on < CONTROL_OUTPUT_MAX) {
			c->reader_full = true;
			return 0;
		}
		c->reader_full = false;
		n = pump_once(c, client, keep);
		if (n == -2)
			return -1;
		if (n > 0 && drain)
			continue;
		if (n == 0) { /* it closed its output and goes on */
			close(c->output);
			c->output = -1;
		}
		return 0;
	}
}

void
command_kill(struct command *c)
{
	c->timed_out = true;
	c->deadline_ms = LOOP_NEVER;
	kill(-c->pid, SIGKILL);
}

void
command_stop(struct command *c)
{
	if (c->pid > 0)
		kill(-c->pid, SIGKILL);
	if (c->output >= 0)
		close(c->output);
	*c = (struct command){.output = -1};
}

int
command_exit_code(const struct command *c, int status)
{
	if (c->timed_out)
		return 124;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
