/* SPDX-License-Identifier: Apache-2.0 */
#include "script_server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/xalloc.h"

#define STEPS_MAX 4096
#define ENDLESS_BYTES (256u << 10)

struct step {
	char *bytes;
	enum script_then then;
};

struct script_server {
	uv_tcp_t listener;
	uv_loop_t *uv;
	struct list connections;
	char url[64];
	struct step steps[STEPS_MAX];
	int n_steps, at, n_connections, n_requests;
	char *requests[STEPS_MAX];
};

struct connection {
	struct list link;
	struct script_server *s;
	uv_tcp_t tcp;
	struct buf in;
	enum script_then then;
	char chunk[16 << 10];
};

struct output {
	uv_write_t req;
	char *data; /* owned */
};

static void
on_closed(uv_handle_t *h)
{
	struct connection *c = h->data;

	buf_fini(&c->in);
	free(c);
}

static void
hang_up(struct connection *c)
{
	list_remove(&c->link);
	if (!uv_is_closing((uv_handle_t *)&c->tcp))
		uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void put(struct connection *c, char *data, size_t n);

static void
on_written(uv_write_t *req, int status)
{
	struct output *o = (struct output *)req;
	struct connection *c = req->handle->data;

	free(o->data);
	free(o);
	if (status < 0 || c->then == SCRIPT_CLOSE) {
		hang_up(c);
	} else if (c->then == SCRIPT_ENDLESS) {
		char *x = xmalloc(ENDLESS_BYTES);

		memset(x, 'x', ENDLESS_BYTES);
		put(c, x, ENDLESS_BYTES);
	}
}

static void
put(struct connection *c, char *data, size_t n)
{
	struct output *o = xnew(struct output);
	uv_buf_t b = uv_buf_init(data, (unsigned)n);

	o->data = data;
	if (uv_write(&o->req, (uv_stream_t *)&c->tcp, &b, 1, on_written) != 0) {
		free(o->data); /* hung up */
		free(o);
	}
}

static void
answer(struct connection *c)
{
	struct script_server *s = c->s;
	struct step *step = &s->steps[s->at];

	if (s->n_steps == 0)
		abort(); /* the test forgot to say what */
	if (s->at + 1 < s->n_steps)
		s->at++;
	c->then = step->then;
	put(c, xstrdup(step->bytes), strlen(step->bytes));
}

/* Whole requests, one after the other; bodies by Content-Length. */
static void
take_requests(struct connection *c)
{
	struct script_server *s = c->s;
	const char *end, *length;
	size_t n;

	while (c->in.len && (end = strstr(c->in.data, "\r\n\r\n"))) {
		length = strcasestr(c->in.data, "\r\nContent-Length:");
		n = (size_t)(end + 4 - c->in.data);
		if (length && length < end)
			n += strtoul(length + 17, NULL, 10);
		if (c->in.len < n)
			return;
		if (s->n_requests == STEPS_MAX)
			abort();
		s->requests[s->n_requests++] = xstrndup(c->in.data, n);
		memmove(c->in.data, c->in.data + n, c->in.len - n + 1);
		c->in.len -= n;
		answer(c);
	}
}

static void
on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
	struct connection *c = h->data;

	*b = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static void
on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
	struct connection *c = st->data;

	if (n < 0) {
		hang_up(c);
		return;
	}
	buf_add(&c->in, b->base, (size_t)n);
	take_requests(c);
}

static void
on_connection(uv_stream_t *listener, int status)
{
	struct script_server *s = listener->data;
	struct connection *c = xnew(struct connection);

	c->s = s;
	c->in = BUF_INIT(64u << 20);
	uv_tcp_init(s->uv, &c->tcp);
	c->tcp.data = c;
	uv_unref((uv_handle_t *)&c->tcp);
	list_push_back(&s->connections, &c->link);
	s->n_connections++;
	uv_accept(listener, (uv_stream_t *)&c->tcp);
	uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

struct script_server *
script_server_new(struct uv_loop_s *uv)
{
	struct script_server *s = xnew(struct script_server);
	struct sockaddr_in at;
	int n = sizeof(at);

	s->uv = uv;
	list_init(&s->connections);
	uv_ip4_addr("127.0.0.1", 0, &at);
	uv_tcp_init(uv, &s->listener);
	s->listener.data = s;
	if (uv_tcp_bind(&s->listener, (struct sockaddr *)&at, 0) != 0 ||
	    uv_listen((uv_stream_t *)&s->listener, 128, on_connection) != 0 ||
	    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&at, &n) != 0)
		abort();
	uv_unref((uv_handle_t *)&s->listener);
	(void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", ntohs(at.sin_port));
	return s;
}

void
script_server_reset(struct script_server *s)
{
	while (s->n_steps)
		free(s->steps[--s->n_steps].bytes);
	while (s->n_requests)
		free(s->requests[--s->n_requests]);
	s->at = s->n_connections = 0;
}

static void
on_listener_closed(uv_handle_t *h)
{
	free(h->data);
}

void
script_server_close(struct script_server *s)
{
	while (!list_empty(&s->connections))
		hang_up(list_entry(s->connections.next, struct connection, link));
	script_server_reset(s);
	uv_close((uv_handle_t *)&s->listener, on_listener_closed);
}

const char *
script_server_url(const struct script_server *s)
{
	return s->url;
}

void
script_server_add_raw(struct script_server *s, const char *bytes, enum script_then then)
{
	if (s->n_steps == STEPS_MAX)
		abort();
	if (s->n_steps && s->n_requests >= s->n_steps)
		s->at = s->n_steps; /* the last one was given already */
	s->steps[s->n_steps++] = (struct step){xstrdup(bytes), then};
}

void
script_server_add(
    struct script_server *s, int status, const char *headers, const char *body)
{
	char *bytes = xasprintf("HTTP/1.1 %d Said\r\nContent-Length: %zu\r\n%s\r\n%s",
	    status, strlen(body), headers, body);

	script_server_add_raw(s, bytes, SCRIPT_KEEP);
	free(bytes);
}

int
script_server_connections(const struct script_server *s)
{
	return s->n_connections;
}

int
script_server_requests(const struct script_server *s)
{
	return s->n_requests;
}

const char *
script_server_request(const struct script_server *s, int i)
{
	if (i >= s->n_requests)
		abort();
	return s->requests[i];
}
