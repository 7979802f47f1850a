/* SPDX-License-Identifier: Apache-2.0 */
#include "init/command.h"

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

#define TAKE_LAST_MS 5000 /* for the client to take what a killed command has said */

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
	    .state = COMMAND_RUNS,
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

int
command_pump(struct command *c, int client)
{
	static const char word[] = "out ";
	enum { WORD = sizeof(word) - 1 };
	char packet[CONTROL_PACKET_MAX];

	if (c->output < 0)
		return c->state == COMMAND_ENDED;
	memcpy(packet, word, WORD);
	do {
		int64_t room = CONTROL_OUTPUT_MAX - c->passed_on;
		ssize_t n;

		if (room == 0 && c->state == COMMAND_ENDED)
			return 1; /* what it left behind may write for ever */
		c->reader_full = room > 0 && !takes_more(client);
		if (c->reader_full)
			return 0;
		n = read(c->output, packet + WORD, sizeof(packet) - WORD);
		if (n < 0)
			return c->state == COMMAND_ENDED;
		if (n == 0) {
			close(c->output);
			c->output = -1;
		}
		n = (ssize_t)loop_earlier(n, room);
		if (n > 0 && send(client, packet, WORD + (size_t)n,
				 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return -1;
		c->passed_on += n;
		/* One piece at a time while it writes: PID 1 has other things to do. */
	} while (c->output >= 0 && c->state == COMMAND_ENDED);
	return c->state == COMMAND_ENDED;
}

int
command_time_out(struct command *c)
{
	if (c->state == COMMAND_ENDED)
		return -1;
	c->state = COMMAND_KILLED;
	c->deadline_ms = LOOP_NEVER;
	kill(-c->pid, SIGKILL);
	return 0;
}

void
command_ended(struct command *c, int status)
{
	if (c->state == COMMAND_KILLED)
		c->exit_code = 124;
	else
		c->exit_code =
		    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (c->state == COMMAND_KILLED)
		c->deadline_ms = loop_now_ms() + TAKE_LAST_MS;
	c->pid = 0; /* the number may be somebody else's by now */
	c->state = COMMAND_ENDED;
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
