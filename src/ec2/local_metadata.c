/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets of the metadata service: the launcher opens one in each machine's network; what connects to it can only be
   a process of that machine, which is how it is known whose metadata it may see. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/imds.h"
#include "ec2/instance.h"
#include "ec2/local_internal.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "provider/local/launcher_client.h"

#define CONNECTIONS_MAX 2048
#define CONNECTIONS_PER_MACHINE 32
#define IDLE_S 10
#define BODY_MAX 1024
#define ACCEPTED_AT_ONCE 16

static struct lmachine *
machine_of_tag(struct local *l, uint64_t tag)
{
	struct lmachine *m;

	list_for_each (m, &l->machines, in_local)
		if (m->tag == tag)
			return m;
	return NULL;
}

static void
on_request(void *arg, struct http_request *req)
{
	struct local *l = arg;
	struct lmachine *m = machine_of_tag(l, http_peer(req)->tag);
	struct imds_request q = {
	    .method = http_method(req),
	    .path = http_path(req),
	    .token = http_header(req, "X-aws-ec2-metadata-token"),
	    .ttl = http_header(req, "X-aws-ec2-metadata-token-ttl-seconds"),
	    .forwarded_for = http_header(req, "X-Forwarded-For"),
	};
	char ttl[24];
	struct http_field headers[] = {
	    {"Content-Type", "text/plain"},
	    {"Server", "EC2ws"},
	    {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl},
	};
	struct imds_reply r = {.status = 404};

	if (m && m->i) { /* else it is being ended */
		if (!m->tokens)
			m->tokens = xnew(struct imds_tokens);
		imds_answer(m->i, m->tokens, clock_now_ms(l->env.clock), &q, &r);
	}
	(void)snprintf(ttl, sizeof(ttl), "%lld", (long long)r.ttl_s);
	http_reply(
	    req, r.status, headers, r.ttl_s >= 0 && r.status == 200 ? 3 : 2, &r.body);
	buf_fini(&r.body);
}

int
local_metadata_init(struct local *l, struct err *err)
{
	struct http_options opt = {
	    .loop = l->env.loop,
	    .listen_fd = -1,
	    .handler = on_request,
	    .arg = l,
	    .max_connections = CONNECTIONS_MAX,
	    .max_connections_per_user = CONNECTIONS_PER_MACHINE,
	    .idle_timeout_s = IDLE_S,
	    .body_max = BODY_MAX,
	    .busy_type = "text/plain",
	    .busy_body = "too many connections\n",
	};

	return http_server_new(&opt, &l->metadata, err);
}

static void
on_connection(uv_poll_t *h, int status, int events)
{
	struct lmachine *m = h->data;

	for (int n = 0; n < ACCEPTED_AT_ONCE; n++) {
		int fd =
		    accept4(m->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		http_server_adopt(m->l->metadata, fd, m->tag);
	}
}

static void
listen_on(struct lmachine *m, int fd)
{
	local_metadata_close(m);
	m->listener = xnew(uv_poll_t);
	if (uv_poll_init(loop_uv(m->l->env.loop), m->listener, fd) != 0)
		abort(); /* epoll takes sockets */
	m->listener->data = m;
	m->listener_fd = fd;
	uv_poll_start(m->listener, UV_READABLE, on_connection);
}

static void
on_opened(void *arg, int fd, const struct err *err)
{
	struct lmachine *m = arg;
	bool gone = local_machine_called(m);

	if (gone || (fd >= 0 && !m->watch && m->state != LOCAL_FROZEN)) {
		if (fd >= 0)
			close(fd); /* it would keep a dead machine's network alive */
		return;
	}
	if (fd >= 0)
		listen_on(m, fd);
	else if (err->code != ERR_CANCELLED && err->code != ERR_CONFLICT &&
		 err->code != ERR_NOT_FOUND) /* it has ended meanwhile */
		log_warn("metadata of %s: %s", m->i->o.id, err->msg);
}

void
local_metadata_open(struct lmachine *m)
{
	struct launcher_request q = {.op = LAUNCHER_OPEN_METADATA};

	memcpy(q.id, m->id, sizeof(q.id));
	m->calls++;
	launcher_client_call_fd(m->l->launcher, &q, on_opened, m);
}

static void
on_closed(uv_handle_t *h)
{
	free(h);
}

void
local_metadata_close(struct lmachine *m)
{
	if (!m->listener)
		return;
	uv_poll_stop(m->listener);
	uv_close((uv_handle_t *)m->listener, on_closed);
	close(m->listener_fd);
	m->listener = NULL;
	m->listener_fd = -1;
}

void
local_metadata_fini(struct local *l)
{
	if (l->metadata)
		http_server_close(l->metadata);
	l->metadata = NULL;
}
