/* SPDX-License-Identifier: Apache-2.0 */
#include "init/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init/child.h"
#include "init/instance.h"
#include "init/loop.h"
#include "init/server.h"
#include "init/text.h"

#define ACCEPT_PAUSE_MS 100

/*
 *  FREE --accept--> LOGIN --"Accepted"--> OPEN --reaped--> FREE
 *                     '--too many--> DROPPED --reaped-------^
 */
enum session_state { SESSION_FREE, SESSION_LOGIN, SESSION_OPEN, SESSION_DROPPED };

struct session {
	enum session_state state;
	pid_t pid;
	int log;	  /* owned; -1 when sshd has closed its end */
	int match;	  /* of text_lines_with */
	int64_t since_ms; /* of the connection */
};

static struct session sessions[SESSIONS_MAX];
static int n_used; /* sessions[n_used] and above are free */
static int n_in[SESSION_DROPPED + 1];

static int unix_listener = -1;
static int tcp_listener = -1;
static int64_t accept_again_ms; /* paused until then */

/* The message of the day says where a reservation's disks stand. Images have it turned off, as theirs is Debian's. */
static const char *const sshd_argv[] = {"/usr/sbin/sshd", "-i", "-e", "-o",
    "PrintMotd=yes", "-f", "/etc/hearth/sshd_config", NULL};
/* With what the image, its user and user data have made of it. */
static const char *const instance_sshd_argv[] = {
    "/usr/sbin/sshd", "-i", "-e", "-f", "/etc/ssh/sshd_config", NULL};
static const char *const sshd_env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

void
sessions_init(int unix_fd)
{
	unix_listener = unix_fd;
	fcntl(unix_fd, F_SETFD, FD_CLOEXEC);
	fcntl(unix_fd, F_SETFL, O_NONBLOCK);
}

int
sessions_listen(uint16_t port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int on = 1;
	int fd;

	if (tcp_listener >= 0)
		return 0;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Inherited by connections: sshd sets it only after the key exchange, which Nagle
	   slows by 40 ms where the route has no quickack. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 128) < 0) {
		close(fd);
		return -1;
	}
	tcp_listener = fd;
	return 0;
}

void
sessions_close_tcp(void)
{
	if (tcp_listener >= 0)
		close(tcp_listener);
	tcp_listener = -1;
}

void
sessions_close_listeners(void)
{
	sessions_close_tcp();
	if (unix_listener >= 0)
		close(unix_listener);
	unix_listener = -1;
}

int
sessions_count(void)
{
	return n_in[SESSION_OPEN];
}

/* The only function that changes a session's state. */
static void
session_move(struct session *s, enum session_state to)
{
	enum session_state from = s->state;

	n_in[from]--;
	n_in[to]++;
	s->state = to;
	if (from == SESSION_OPEN || to == SESSION_OPEN)
		server_sessions_changed(n_in[SESSION_OPEN]);
}

static void
read_log(struct session *s)
{
	char piece[1024];
	ssize_t n;

	while (s->log >= 0 && (n = read(s->log, piece, sizeof(piece))) != 0) {
		if (n < 0)
			return;
		if (text_lines_with("Accepted ", &s->match, piece, (size_t)n) > 0 &&
		    s->state == SESSION_LOGIN)
			session_move(s, SESSION_OPEN);
	}
	if (s->log >= 0)
		close(s->log);
	s->log = -1;
}

static void
on_log(int index, int fd, short revents)
{
	if (sessions[index].log == fd)
		read_log(&sessions[index]);
}

static struct session *
free_session(void)
{
	for (int i = 0; i < n_used; i++) {
		if (sessions[i].state == SESSION_FREE)
			return &sessions[i];
	}
	return n_used < SESSIONS_MAX ? &sessions[n_used++] : NULL;
}

static void
drop_oldest_login(void)
{
	struct session *oldest = NULL;

	for (int i = 0; i < n_used; i++) {
		struct session *s = &sessions[i];

		if (s->state == SESSION_LOGIN &&
		    (!oldest || s->since_ms < oldest->since_ms))
			oldest = s;
	}
	kill(oldest->pid, SIGKILL);
	session_move(oldest, SESSION_DROPPED);
}

/* Leaves nothing behind when it fails: the client sees a closed connection. */
static void
start_sshd(int connection)
{
	struct session *s = free_session();
	int log[2];
	pid_t pid;

	if (!s || child_pipe(log) < 0)
		return;
	pid = child_spawn(instance_is() ? instance_sshd_argv : sshd_argv, sshd_env, "/",
	    connection, connection, log[1]);
	close(log[1]);
	if (pid < 0) {
		close(log[0]);
		return;
	}
	s->pid = pid;
	s->log = log[0];
	s->match = 0;
	s->since_ms = loop_now_ms();
	session_move(s, SESSION_LOGIN);
	if (n_in[SESSION_LOGIN] > SESSIONS_LOGIN_MAX)
		drop_oldest_login();
}

static void
on_connection(int index, int fd, short revents)
{
	int connection;

	if (fd != tcp_listener && fd != unix_listener)
		return;
	connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	if (connection >= 0 && instance_is() && access(INSTANCE_CLOSED, F_OK) == 0) {
		close(connection);
	} else if (connection >= 0) {
		start_sshd(connection);
		close(connection);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		   errno == ENOBUFS) {
		accept_again_ms = loop_now_ms() + ACCEPT_PAUSE_MS;
	}
}

int64_t
sessions_watch(int64_t now_ms)
{
	for (int i = 0; i < n_used; i++) {
		if (sessions[i].state != SESSION_FREE && sessions[i].log >= 0)
			loop_add(sessions[i].log, POLLIN, on_log, i);
	}
	if (now_ms < accept_again_ms)
		return accept_again_ms;
	if (tcp_listener >= 0)
		loop_add(tcp_listener, POLLIN, on_connection, 0);
	if (unix_listener >= 0)
		loop_add(unix_listener, POLLIN, on_connection, 0);
	return LOOP_NEVER;
}

bool
sessions_reaped(pid_t pid)
{
	for (int i = 0; i < n_used; i++) {
		struct session *s = &sessions[i];

		if (s->state == SESSION_FREE || s->pid != pid)
			continue;
		/* Its "Accepted" may not have been read yet. */
		read_log(s);
		if (s->log >= 0)
			close(s->log);
		s->log = -1;
		session_move(s, SESSION_FREE);
		while (n_used > 0 && sessions[n_used - 1].state == SESSION_FREE)
			n_used--;
		return true;
	}
	return false;
}
