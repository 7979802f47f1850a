/* SPDX-License-Identifier: Apache-2.0 */
#include "init/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init/command.h"
#include "init/control.h"
#include "init/instance.h"
#include "init/life.h"
#include "init/loop.h"
#include "init/sessions.h"
#include "init/terminal.h"
#include "init/text.h"

#define ACCEPT_PAUSE_MS 100

struct client {
	int fd; /* owned; 0: this place is free */
	bool watches;
	struct command command;
};

static struct client clients[CONTROL_CLIENTS_MAX];
static int listener = -1;
static int64_t accept_again_ms; /* paused until then */

/* The next client there is after `c`; the first for NULL; NULL when there is none. */
static struct client *
client_after(struct client *c)
{
	for (c = c ? c + 1 : clients; c < clients + CONTROL_CLIENTS_MAX; c++) {
		if (c->fd != 0)
			return c;
	}
	return NULL;
}

void
server_init(int listener_fd)
{
	listener = listener_fd;
	fcntl(listener, F_SETFD, FD_CLOEXEC);
	fcntl(listener, F_SETFL, O_NONBLOCK);
}

static void
client_drop(struct client *c)
{
	if (c->command.state != COMMAND_NONE)
		command_stop(&c->command);
	close(c->fd);
	*c = (struct client){0};
}

static void
client_send(struct client *c, const struct text *t)
{
	if (c->fd != 0 && send(c->fd, t->data, t->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		client_drop(c);
}

static void
client_say(struct client *c, const char *s)
{
	client_send(c, &(struct text){.data = (char *)s, .len = strlen(s)});
}

static void
client_say_number(struct client *c, const char *word, int64_t n)
{
	char space[64];
	struct text t = TEXT(space);

	text_str(&t, word);
	text_num(&t, n);
	client_send(c, &t);
}

static void
tell_watcher(struct client *c)
{
	client_say(c, "ready");
	client_say_number(c, "sessions ", sessions_count());
}

static void
request_watch(struct client *c, const char *args)
{
	bool told = c->watches;

	c->watches = true;
	if (life_is_ready() && !told)
		tell_watcher(c);
}

static void
request_deadline(struct client *c, const char *args)
{
	int64_t s;

	if (text_number(&args, CONTROL_SECONDS_MAX, &s) < 0 || *args != '\0') {
		client_say(
		    c, "error deadline: not a number of seconds from 0 to 315360000");
		return;
	}
	life_set_deadline(s);
	client_say(c, "ok");
}

static void
request_status(struct client *c, const char *args)
{
	char space[128];
	struct text t = TEXT(space);

	text_str(
	    &t, life_is_ready() ? "status ready deadline " : "status starting deadline ");
	text_num(&t, life_seconds_left());
	text_str(&t, " sessions ");
	text_num(&t, sessions_count());
	client_send(c, &t);
}

static void
request_message(struct client *c, const char *args)
{
	char space[CONTROL_PACKET_MAX];
	struct text t = TEXT(space);

	text_plain(&t, args);
	terminal_write_all(t.data, t.len);
	client_say(c, "ok");
}

static void
request_warning(struct client *c, const char *args)
{
	client_say(
	    c, life_set_warning(args) < 0 ? "error warning: more than 400 bytes" : "ok");
}

static void
request_run(struct client *c, const char *args)
{
	int64_t timeout_s;

	if (text_number(&args, CONTROL_SECONDS_MAX, &timeout_s) < 0 || timeout_s == 0 ||
	    args[0] != ' ' || args[1] == '\0')
		client_say(c, "error run: expected a time-out in seconds and a command");
	else if (c->command.state != COMMAND_NONE)
		client_say(c, "error run: a command runs already on this connection");
	else if (command_start(&c->command, args + 1, timeout_s) < 0)
		client_say(c, "error run: the machine cannot start a process");
}

static void
request_shutdown(struct client *c, const char *args)
{
	life_end();
	client_say(c, "ok");
}

static void
request_reboot(struct client *c, const char *args)
{
	if (!instance_is()) {
		client_say(c, "error reboot: this machine is no instance");
		return;
	}
	client_say(c, "ok");
	life_reboot();
}

/* clang-format off */
static const struct {
	const char *word;
	bool has_args;
	void (*fn)(struct client *c, const char *args);
} requests[] = {
	{"watch",    false, request_watch},
	{"deadline", true,  request_deadline},
	{"status",   false, request_status},
	{"message",  true,  request_message},
	{"warning",  true,  request_warning},
	{"run",      true,  request_run},
	{"shutdown", false, request_shutdown},
	{"reboot",   false, request_reboot},
};
/* clang-format on */

static void
request(struct client *c, const char *packet)
{
	const char *args;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (!text_word(packet, requests[i].word, &args))
			continue;
		if (requests[i].has_args != (args != NULL))
			break;
		requests[i].fn(c, args);
		return;
	}
	client_say(c,
	    "error unknown request; known are watch, deadline S, status, message TEXT, "
	    "warning TEXT, run S COMMAND, shutdown, reboot");
}

static void
pump(struct client *c)
{
	int done = command_pump(&c->command, c->fd);
	int code = c->command.exit_code;

	if (done < 0) {
		client_drop(c);
	} else if (done > 0) {
		command_stop(&c->command);
		client_say_number(c, "exit ", code);
	}
}

static void
on_output(int index, int fd, short revents)
{
	struct client *c = &clients[index];

	if (c->fd != 0 && c->command.state != COMMAND_NONE && c->command.output == fd)
		pump(c);
}

static void
on_packet(int index, int fd, short revents)
{
	struct client *c = &clients[index];
	char packet[CONTROL_PACKET_MAX + 1];
	ssize_t n;

	if (c->fd != fd)
		return;
	if (c->command.reader_full && (revents & POLLOUT)) {
		pump(c);
		return;
	}
	n = recv(fd, packet, CONTROL_PACKET_MAX, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		client_drop(c);
	} else if (n > CONTROL_PACKET_MAX) {
		client_say(c, "error a request has at most 4096 bytes");
	} else if (memchr(packet, '\0', (size_t)n)) {
		client_say(c, "error a request has no NUL in it");
	} else {
		packet[n] = '\0';
		request(c, packet);
	}
}

static void
on_client(int index, int fd, short revents)
{
	static const char full[] = "error too many control connections";
	int new_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (new_fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			accept_again_ms = loop_now_ms() + ACCEPT_PAUSE_MS;
		return;
	}
	for (struct client *c = clients; c < clients + CONTROL_CLIENTS_MAX; c++) {
		if (c->fd == 0) {
			*c = (struct client){.fd = new_fd};
			return;
		}
	}
	send(new_fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(new_fd);
}

int64_t
server_watch(int64_t now_ms)
{
	int64_t next_ms = LOOP_NEVER;

	if (now_ms < accept_again_ms)
		next_ms = accept_again_ms;
	else
		loop_add(listener, POLLIN, on_client, 0);
	for (struct client *c = NULL; (c = client_after(c));) {
		struct command *cmd = &c->command;
		int index = (int)(c - clients);
		short events = POLLIN;

		if (cmd->state != COMMAND_NONE) {
			if (now_ms >= cmd->deadline_ms && command_time_out(cmd) < 0) {
				client_drop(c);
				continue;
			}
			next_ms = loop_earlier(next_ms, cmd->deadline_ms);
			if (cmd->reader_full)
				events |= POLLOUT;
			else if (cmd->output >= 0)
				loop_add(cmd->output, POLLIN, on_output, index);
		}
		loop_add(c->fd, events, on_packet, index);
	}
	return next_ms;
}

bool
server_reaped(pid_t pid, int status)
{
	for (struct client *c = NULL; (c = client_after(c));) {
		if (c->command.pid != pid)
			continue;
		command_ended(&c->command, status);
		pump(c);
		return true;
	}
	return false;
}

void
server_became_ready(void)
{
	for (struct client *c = NULL; (c = client_after(c));) {
		if (c->watches)
			tell_watcher(c);
	}
}

void
server_sessions_changed(int n)
{
	for (struct client *c = NULL; (c = client_after(c));) {
		if (c->watches && life_is_ready())
			client_say_number(c, "sessions ", n);
	}
}

static void
tell_watchers(const char *what)
{
	for (struct client *c = NULL; (c = client_after(c));) {
		if (c->watches)
			client_say(c, what);
	}
}

void
server_reboots(void)
{
	tell_watchers("rebooting");
}

void
server_ends(void)
{
	if (instance_is())
		tell_watchers("ending");
}
