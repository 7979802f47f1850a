/* SPDX-License-Identifier: Apache-2.0 */
#include "host/launcher_ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "launcher/protocol.h"

#define ANSWER_MS 5000
#define START_MS 30000

struct launcher_ask {
	int fd; /* the connection */
	uv_poll_t readable;
	uv_timer_t timer;
	int open_handles;
	launcher_ask_fn done;
	void *arg; /* borrowed */
};

static int
send_request(int fd, const char *socket_path, struct err *err)
{
	struct launcher_request req = {.magic = LAUNCHER_MAGIC,
	    .version = LAUNCHER_VERSION,
	    .op = LAUNCHER_OPEN_CONFIG};
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (strlen(socket_path) >= sizeof(to.sun_path))
		return err_set(err, ERR_INVALID, "%s: the path is too long", socket_path);
	memcpy(to.sun_path, socket_path, strlen(socket_path));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    send(fd, &req, sizeof(req), MSG_NOSIGNAL) != (ssize_t)sizeof(req))
		return err_errno(err, errno, "asking hearth-launcher at %s", socket_path);
	return 0;
}

/* The descriptor that came with the reply, or -1 with the launcher's reason. */
static int
receive(int conn, struct err *err)
{
	struct launcher_reply rep = {0};
	struct iovec iov = {.iov_base = &rep, .iov_len = sizeof(rep)};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.buf,
	    .msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(conn, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (n == (ssize_t)sizeof(rep) && rep.error == ERR_NONE && fd >= 0)
		return fd;
	if (fd >= 0)
		close(fd);
	if (n == (ssize_t)sizeof(rep) && rep.error > ERR_NONE && rep.error < ERR_CODE_MAX)
		return err_set(err, (enum err_code)rep.error, "%.*s",
		    (int)strnlen(rep.message, sizeof(rep.message)), rep.message);
	return err_set(err, ERR_UNAVAILABLE, "hearth-launcher did not answer");
}

static void
on_closed(uv_handle_t *h)
{
	struct launcher_ask *r = h->data;

	if (--r->open_handles > 0)
		return;
	close(r->fd);
	free(r);
}

void
launcher_ask_cancel(struct launcher_ask *r)
{
	if (!r)
		return;
	uv_close((uv_handle_t *)&r->readable, on_closed);
	uv_close((uv_handle_t *)&r->timer, on_closed);
}

static void
on_readable(uv_poll_t *h, int status, int events)
{
	struct launcher_ask *r = h->data;
	struct err err = {0};
	int fd = receive(r->fd, &err);

	launcher_ask_cancel(r);
	r->done(r->arg, fd, &err);
}

static void
on_timer(uv_timer_t *h)
{
	struct launcher_ask *r = h->data;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "hearth-launcher did not answer within %d s",
	    ANSWER_MS / 1000);
	launcher_ask_cancel(r);
	r->done(r->arg, -1, &err);
}

int
launcher_ask(struct uv_loop_s *loop, const char *socket_path, launcher_ask_fn done,
    void *arg, struct launcher_ask **ret, struct err *err)
{
	AUTO_CLOSE int fd =
	    socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct launcher_ask *r;

	if (fd < 0)
		return err_errno(err, errno, "asking hearth-launcher");
	if (send_request(fd, socket_path, err) < 0)
		return -1;
	r = xnew(struct launcher_ask);
	r->fd = TAKE_FD(fd);
	r->done = done;
	r->arg = arg;
	r->readable.data = r->timer.data = r;
	r->open_handles = 2;
	if (uv_poll_init(loop, &r->readable, r->fd) != 0)
		abort(); /* a socket that epoll does not take: cannot be */
	uv_timer_init(loop, &r->timer);
	uv_poll_start(&r->readable, UV_READABLE | UV_DISCONNECT, on_readable);
	uv_timer_start(&r->timer, on_timer, ANSWER_MS, 0);
	*ret = r;
	return 0;
}

int
launcher_await(const char *socket_path, int pidfd, struct err *err)
{
	AUTO_CLOSE int conn = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	AUTO_CLOSE int config = -1;
	struct pollfd p[] = {
	    {.fd = conn, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	int n;

	if (conn < 0)
		return err_errno(err, errno, "asking hearth-launcher");
	if (send_request(conn, socket_path, err) < 0)
		return -1;
	do
		n = poll(p, 2, START_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return err_set(err, ERR_UNAVAILABLE,
		    "hearth-launcher is not ready after %d s", START_MS / 1000);
	config = receive(conn, err);
	/* A file that is gone by now is no reason not to start: it has answered. */
	return config >= 0 || err->code != ERR_UNAVAILABLE ? 0 : -1;
}
