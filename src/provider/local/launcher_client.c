/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>

#include "provider/local/launcher_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <uv.h>

#include "base/list.h"
#include "base/xalloc.h"

#define CALLS_MAX 16 /* of the launcher's 64: its backlog is not ours to fill */

struct call {
	struct list in_client;
	struct launcher_client *client;
	struct launcher_request *q; /* owned; NULL once sent */
	launcher_reply_fn fn;
	launcher_fd_fn fd_fn; /* in the place of fn */
	void *arg;
	int fd;
	int brought_fd; /* owned; by the last reply */
	uv_poll_t poll;
};

struct launcher_client {
	uv_loop_t *loop;
	char *path; /* owned */
	struct list active, waiting;
	int n_active;
	bool closing;
};

static void start_waiting(struct launcher_client *c);

static void
free_call(uv_handle_t *h)
{
	free(h->data);
}

static void
forget_request(struct call *call)
{
	if (call->q)
		explicit_bzero(call->q, sizeof(*call->q));
	free(call->q);
	call->q = NULL;
}

static void
answer_fd(launcher_fd_fn fn, void *arg, int fd, const struct err *err)
{
	struct err none;

	if (err->code != ERR_NONE && fd >= 0) {
		close(fd);
		fd = -1;
	}
	if (err->code == ERR_NONE && fd < 0) {
		err_set(&none, ERR_INTERNAL, "hearth-launcher sent no descriptor");
		err = &none;
	}
	fn(arg, fd, err);
}

/* The call is over: takes it off its list, closes, and answers last of all. */
static void
finish(struct call *call, const struct launcher_reply *reply, const struct err *err)
{
	struct launcher_client *c = call->client;
	launcher_reply_fn fn = call->fn;
	launcher_fd_fn fd_fn = call->fd_fn;
	void *arg = call->arg;
	int brought_fd = call->brought_fd;

	list_remove(&call->in_client);
	forget_request(call);
	if (call->fd >= 0) {
		c->n_active--;
		uv_poll_stop(&call->poll);
		close(call->fd);
		uv_close((uv_handle_t *)&call->poll, free_call);
	} else {
		free(call);
	}
	if (fd_fn)
		answer_fd(fd_fn, arg, brought_fd, err);
	else
		fn(arg, reply, true, err);
}

/* One packet, and the descriptor that may come with it. */
static ssize_t
receive(struct call *call, struct launcher_reply *r)
{
	struct iovec iov = {r, sizeof(*r)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr m = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(call->fd, &m, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	int fd;

	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
	    h->cmsg_len != CMSG_LEN(sizeof(int)))
		return n;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	if (call->fd_fn && call->brought_fd < 0)
		call->brought_fd = fd;
	else
		close(fd);
	return n;
}

static void
readable(uv_poll_t *h, int status, int events)
{
	struct call *call = h->data;
	struct launcher_client *c = call->client;
	struct launcher_reply r;
	struct err err = {0};
	ssize_t n;

	n = receive(call, &r);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		err_errno(&err, errno, "hearth-launcher");
		err.code =
		    ERR_UNAVAILABLE; /* it died: what became of the request is not known */
	} else if (n == 0) {
		err_set(&err, ERR_UNAVAILABLE, "hearth-launcher ended in mid-request");
	} else if (n != sizeof(r) || r.magic != LAUNCHER_MAGIC ||
		   r.version != LAUNCHER_VERSION) {
		err_set(&err, ERR_INTERNAL, "hearth-launcher is of another version");
		err_hint(&err, "restart hearthd");
	} else if (r.error != ERR_NONE) {
		r.message[sizeof(r.message) - 1] = '\0';
		err_set(&err,
		    r.error > 0 && r.error < ERR_CODE_MAX ? (enum err_code)r.error
							  : ERR_INTERNAL,
		    "%s", r.message);
		finish(call, &r, &err);
		start_waiting(c);
		return;
	} else if (!r.last) {
		if (call->fn)
			call->fn(call->arg, &r, false, &err);
		return;
	} else {
		finish(call, &r, &err);
		start_waiting(c);
		return;
	}
	finish(call, NULL, &err);
	start_waiting(c);
}

static int
open_call(struct call *call, struct err *err)
{
	struct launcher_client *c = call->client;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(c->path) >= sizeof(sa.sun_path))
		return err_set(
		    err, ERR_INVALID, "%s: too long for a socket's path", c->path);
	strcpy(sa.sun_path, c->path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket");
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    send(fd, call->q, sizeof(*call->q), MSG_NOSIGNAL) < 0) {
		err_errno(err, errno, "hearth-launcher");
		err->code = ERR_UNAVAILABLE;
		close(fd);
		return -1;
	}
	forget_request(call);
	if (uv_poll_init(c->loop, &call->poll, fd) != 0) {
		close(fd);
		return err_set(
		    err, ERR_UNAVAILABLE, "hearth-launcher: no room in the event loop");
	}
	call->poll.data = call;
	call->fd = fd;
	c->n_active++;
	uv_poll_start(&call->poll, UV_READABLE, readable);
	return 0;
}

static void
fail_in_loop(uv_handle_t *h)
{
	struct call *call = h->data;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "hearth-launcher does not answer");
	if (call->fd_fn)
		call->fd_fn(call->arg, -1, &err);
	else if (call->fn)
		call->fn(call->arg, NULL, true, &err);
	free(call);
}

/* A call that could not even be sent is answered by the close callback of a handle never used: later,
   from the loop. */
static void
fail_later(struct call *call)
{
	list_remove(&call->in_client);
	forget_request(call);
	uv_idle_init(call->client->loop, (uv_idle_t *)&call->poll);
	call->poll.data = call;
	uv_close((uv_handle_t *)&call->poll, fail_in_loop);
}

static void
start_waiting(struct launcher_client *c)
{
	struct err err;

	while (!c->closing && !list_empty(&c->waiting) && c->n_active < CALLS_MAX) {
		struct call *call = list_entry(c->waiting.next, struct call, in_client);

		if (open_call(call, &err) < 0) {
			fail_later(call);
			continue;
		}
		list_remove(&call->in_client);
		list_push_back(&c->active, &call->in_client);
	}
}

struct launcher_client *
launcher_client_new(uv_loop_t *loop, const char *path)
{
	struct launcher_client *c = xnew(struct launcher_client);

	c->loop = loop;
	c->path = xstrdup(path);
	list_init(&c->active);
	list_init(&c->waiting);
	return c;
}

static void
add_call(struct launcher_client *c, const struct launcher_request *q,
    launcher_reply_fn fn, launcher_fd_fn fd_fn, void *arg)
{
	struct call *call = xnew(struct call);

	call->client = c;
	call->fd = call->brought_fd = -1;
	call->fn = fn;
	call->fd_fn = fd_fn;
	call->arg = arg;
	call->q = xmalloc(sizeof(*q));
	*call->q = *q;
	call->q->magic = LAUNCHER_MAGIC;
	call->q->version = LAUNCHER_VERSION;
	list_push_back(&c->waiting, &call->in_client);
	start_waiting(c);
}

void
launcher_client_call(struct launcher_client *c, const struct launcher_request *q,
    launcher_reply_fn fn, void *arg)
{
	add_call(c, q, fn, NULL, arg);
}

void
launcher_client_call_fd(struct launcher_client *c, const struct launcher_request *q,
    launcher_fd_fn fn, void *arg)
{
	add_call(c, q, NULL, fn, arg);
}

static void
cancel_all(struct list *calls, const struct err *err)
{
	while (!list_empty(calls))
		finish(list_entry(calls->next, struct call, in_client), NULL, err);
}

void
launcher_client_close(struct launcher_client *c)
{
	struct err err;

	err_set(&err, ERR_CANCELLED, "hearthd is stopping");
	c->closing = true;
	cancel_all(&c->active, &err);
	cancel_all(&c->waiting, &err);
	free(c->path);
	free(c);
}
