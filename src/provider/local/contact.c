/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/local/contact.h"

#include <stdlib.h>

#include <uv.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "ssh/banner.h"

struct contact {
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct timer timer;
	struct ssh_banner banner;
	char buf[512];
	contact_fn fn;
	void *arg;
	struct err err;
};

static void
closed(uv_handle_t *h)
{
	struct contact *c = h->data;

	if (c->fn)
		c->fn(c->arg, &c->err);
	free(c);
}

static void
finish(struct contact *c)
{
	timer_off(&c->timer);
	if (!uv_is_closing((uv_handle_t *)&c->tcp))
		uv_close((uv_handle_t *)&c->tcp, closed);
}

static void
overdue(void *arg)
{
	struct contact *c = arg;

	err_set(&c->err, ERR_UNAVAILABLE, "no SSH identification in time");
	finish(c);
}

static void
alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct contact *c = h->data;

	*buf = uv_buf_init(c->buf, sizeof(c->buf));
}

static void
readable(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct contact *c = s->data;

	if (n < 0) {
		err_set(&c->err, ERR_UNAVAILABLE,
		    "the connection ended before an SSH identification: %s",
		    uv_strerror((int)n));
		finish(c);
	} else if (n > 0 &&
		   (ssh_banner_feed(&c->banner, buf->base, (size_t)n, &c->err) < 0 ||
		       c->banner.state == SSH_BANNER_DONE)) {
		finish(c);
	}
}

static void
connected(uv_connect_t *req, int status)
{
	struct contact *c = req->data;

	if (status == UV_ECANCELED)
		return;
	if (status < 0) {
		err_set(&c->err, ERR_UNAVAILABLE, "connect: %s", uv_strerror(status));
		finish(c);
	} else if (uv_read_start((uv_stream_t *)&c->tcp, alloc, readable) != 0) {
		err_set(&c->err, ERR_UNAVAILABLE, "connect: the connection is gone");
		finish(c);
	}
}

struct contact *
contact_start(uv_loop_t *loop, struct clock *clock, const char *address, int port,
    int timeout_ms, contact_fn fn, void *arg)
{
	struct contact *c = xnew(struct contact);
	struct sockaddr_in sa;
	int rc;

	c->fn = fn;
	c->arg = arg;
	c->connect.data = c;
	uv_tcp_init(loop, &c->tcp);
	c->tcp.data = c;
	rc = uv_ip4_addr(address ? address : "", port, &sa);
	if (rc == 0)
		rc = uv_tcp_connect(
		    &c->connect, &c->tcp, (struct sockaddr *)&sa, connected);
	if (rc != 0) {
		err_set(&c->err, ERR_UNAVAILABLE, "connect to '%s': %s",
		    address ? address : "", uv_strerror(rc));
		finish(c);
	} else {
		timer_set(clock, &c->timer, timeout_ms, overdue, c);
	}
	return c;
}

void
contact_cancel(struct contact *c)
{
	contact_fn fn = c->fn;

	err_set(&c->err, ERR_CANCELLED, "cancelled");
	c->fn = NULL;
	if (fn)
		fn(c->arg, &c->err);
	finish(c);
}
