/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/local/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <uv.h>

#include "base/xalloc.h"
#include "init/control.h"

struct control {
	uv_poll_t poll;
	int fd;
	control_fn fn;
	void *arg;
};

static void
free_control(uv_handle_t *h)
{
	free(h->data);
}

void
control_close(struct control *c)
{
	if (!c)
		return;
	uv_poll_stop(&c->poll);
	close(c->fd);
	uv_close((uv_handle_t *)&c->poll, free_control);
}

static void
readable(uv_poll_t *h, int status, int events)
{
	struct control *c = h->data;
	char packet[CONTROL_PACKET_MAX + 1];
	control_fn fn = c->fn;
	void *arg = c->arg;
	ssize_t n = recv(c->fd, packet, CONTROL_PACKET_MAX, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		control_close(c);
		fn(arg, NULL, 0);
		return;
	}
	packet[n] = '\0';
	fn(arg, packet, (size_t)n);
}

int
control_open(uv_loop_t *loop, const char *path, control_fn fn, void *arg,
    struct control **ret, struct err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct control *c;
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(
		    err, ERR_INVALID, "%s: too long for a socket's path", path);
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket");
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err_errno(err, errno, "hearth-init");
		err->code = ERR_UNAVAILABLE;
		close(fd);
		return -1;
	}
	c = xnew(struct control);
	if (uv_poll_init(loop, &c->poll, fd) != 0) {
		close(fd);
		free(c);
		return err_set(
		    err, ERR_UNAVAILABLE, "hearth-init: no room in the event loop");
	}
	c->fd = fd;
	c->fn = fn;
	c->arg = arg;
	c->poll.data = c;
	uv_poll_start(&c->poll, UV_READABLE, readable);
	*ret = c;
	return 0;
}

int
control_send(struct control *c, const char *text, struct err *err)
{
	if (send(c->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		err_errno(err, errno, "hearth-init");
		err->code = ERR_UNAVAILABLE;
		return -1;
	}
	return 0;
}
