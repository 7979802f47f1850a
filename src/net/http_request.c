/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/xalloc.h"

/* A body over the bound is read to its end and thrown away, so that the client gets to
   read why; a body over this is not worth it. */
#define DRAIN_MAX (16 << 20)
#define STREAM_BLOCK 4096

static const uint16_t may_follow[REQUEST_STATE_MAX] = {
    [REQUEST_READING] = 1 << REQUEST_HANDLING,
    [REQUEST_HANDLING] =
	1 << REQUEST_WAITING | 1 << REQUEST_REPLIED | 1 << REQUEST_STREAMING,
    [REQUEST_WAITING] = 1 << REQUEST_HUNG_UP | 1 << REQUEST_REPLIED | 1 << REQUEST_GONE,
    [REQUEST_HUNG_UP] = 1 << REQUEST_GONE | 1 << REQUEST_REPLIED,
    [REQUEST_STREAMING] = 1 << REQUEST_STREAM_IDLE | 1 << REQUEST_STREAM_ENDED,
    [REQUEST_STREAM_IDLE] = 1 << REQUEST_STREAMING | 1 << REQUEST_STREAM_ENDED,
};

static void
move(struct http_request *req, enum request_state to)
{
	assert(may_follow[req->state] & 1 << to);
	req->state = to;
}

static void
request_free(struct http_request *req)
{
	list_remove(&req->link);
	if (req->response)
		MHD_destroy_response(req->response);
	buf_fini(&req->body);
	buf_fini(&req->backlog);
	free(req);
}

static struct http_request *
request_new(struct http_server *s, struct MHD_Connection *conn, const char *path,
    const char *method)
{
	size_t n_path = strlen(path) + 1, n_method = strlen(method) + 1;
	struct http_request *req = xcalloc(1, sizeof(*req) + n_path + n_method);

	memcpy(req->path, path, n_path);
	req->method = memcpy(req->path + n_path, method, n_method);
	req->state = REQUEST_READING;
	req->server = s;
	req->conn = conn;
	req->peer = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
			->socket_context;
	req->fd =
	    MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	req->body = BUF_INIT(s->opt.body_max);
	req->backlog = BUF_INIT(s->opt.backlog_max);
	list_init(&req->link);
	list_push_back(&s->requests, &req->link);
	if (!uv_is_active((uv_handle_t *)&s->sweep))
		uv_timer_again(&s->sweep);
	return req;
}

static enum MHD_Result
queue(struct http_request *req)
{
	struct MHD_Response *r = req->response;
	unsigned status;
	enum MHD_Result rc;

	if (!r)
		return MHD_NO;
	status = (unsigned)req->status;
	req->response = NULL;
	rc = MHD_queue_response(req->conn, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result
read_body(struct http_request *req, const char *data, size_t *len)
{
	req->body_seen += *len;
	if (req->body_seen > req->server->opt.body_max) {
		req->too_large = true;
		buf_fini(&req->body);
	} else {
		buf_add(&req->body, data, *len);
	}
	*len = 0;
	return req->body_seen > DRAIN_MAX ? MHD_NO : MHD_YES;
}

static bool
announces_too_much(struct http_request *req)
{
	const char *len = http_header(req, MHD_HTTP_HEADER_CONTENT_LENGTH);

	req->too_large = len && strtoull(len, NULL, 10) > DRAIN_MAX;
	return req->too_large;
}

static enum MHD_Result
handle(struct http_request *req)
{
	struct http_server *s = req->server;

	move(req, REQUEST_HANDLING);
	s->opt.handler(s->opt.arg, req);
	if (req->state != REQUEST_HANDLING)
		return queue(req);
	move(req, REQUEST_WAITING);
	MHD_suspend_connection(req->conn);
	return MHD_YES;
}

enum MHD_Result
http_request_access(void *cls, struct MHD_Connection *conn, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_len,
    void **slot)
{
	struct http_server *s = cls;
	struct http_request *req = *slot;

	if (!req) { /* headers are complete; the body comes with the next calls */
		*slot = req = request_new(s, conn, url, method);
		return announces_too_much(req) ? handle(req) : MHD_YES;
	}
	switch (req->state) {
	case REQUEST_READING:
		return *upload_len > 0 ? read_body(req, upload, upload_len) : handle(req);
	case REQUEST_REPLIED:
	case REQUEST_STREAMING:
	case REQUEST_STREAM_ENDED:
		return queue(req);
	default:
		return MHD_NO;
	}
}

void
http_request_completed(void *cls, struct MHD_Connection *conn, void **slot,
    enum MHD_RequestTerminationCode code)
{
	struct http_request *req = *slot;

	if (!req)
		return;
	*slot = NULL;
	switch (req->state) {
	case REQUEST_WAITING:
	case REQUEST_HUNG_UP:
		move(req, REQUEST_GONE);
		list_remove(&req->link);
		req->server = NULL;
		req->conn = NULL;
		req->peer = NULL;
		return;
	case REQUEST_STREAMING:
	case REQUEST_STREAM_IDLE:
	case REQUEST_STREAM_ENDED:
		req->closed(req->closed_arg);
		request_free(req);
		return;
	default:
		request_free(req);
	}
}

static void
resume(struct http_request *req)
{
	MHD_resume_connection(req->conn);
	http_server_run_soon(req->server);
}

void
http_request_hang_up(struct http_request *req)
{
	switch (req->state) {
	case REQUEST_WAITING:
		move(req, REQUEST_HUNG_UP);
		resume(req);
		return;
	case REQUEST_STREAM_IDLE:
		move(req, REQUEST_STREAM_ENDED);
		buf_reset(&req->backlog);
		req->backlog_sent = 0;
		shutdown(req->fd, SHUT_RDWR);
		resume(req);
		return;
	default:
		shutdown(req->fd, SHUT_RDWR); /* libmicrohttpd sees it */
	}
}

const char *
http_method(const struct http_request *req)
{
	return req->method;
}

const char *
http_path(const struct http_request *req)
{
	return req->path;
}

const struct http_peer *
http_peer(const struct http_request *req)
{
	return req->peer;
}

const char *
http_header(const struct http_request *req, const char *name)
{
	return req->conn ? MHD_lookup_connection_value(req->conn, MHD_HEADER_KIND, name)
			 : NULL;
}

const char *
http_body(const struct http_request *req, size_t *ret_len)
{
	*ret_len = req->body.len;
	return req->body.len ? req->body.data : "";
}

struct headers {
	http_header_fn fn;
	void *arg;
};

static enum MHD_Result
on_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct headers *h = cls;

	return h->fn(h->arg, name, value ?: "") ? MHD_YES : MHD_NO;
}

void
http_headers(const struct http_request *req, http_header_fn fn, void *arg)
{
	struct headers h = {fn, arg};

	if (req->conn)
		MHD_get_connection_values(req->conn, MHD_HEADER_KIND, on_header, &h);
}

bool
http_body_too_large(const struct http_request *req)
{
	return req->too_large;
}

struct query {
	http_query_fn fn;
	void *arg;
};

static enum MHD_Result
on_argument(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct query *q = cls;

	return q->fn(q->arg, name, value) ? MHD_YES : MHD_NO;
}

void
http_query(const struct http_request *req, http_query_fn fn, void *arg)
{
	struct query q = {fn, arg};

	if (req->conn)
		MHD_get_connection_values(
		    req->conn, MHD_GET_ARGUMENT_KIND, on_argument, &q);
}

static void
add_headers(struct MHD_Response *r, const struct http_field *headers, int n)
{
	for (int i = 0; i < n; i++)
		MHD_add_response_header(r, headers[i].name, headers[i].value);
}

/* Hands the response to libmicrohttpd: by access()'s return when we are inside of it,
   else by resuming, which calls access() again. */
static void
answer(
    struct http_request *req, enum request_state to, int status, struct MHD_Response *r)
{
	bool waiting = req->state == REQUEST_WAITING;

	move(req, to);
	req->response = r;
	req->status = status;
	if (waiting)
		resume(req);
}

void
http_reply(struct http_request *req, int status, const struct http_field *headers,
    int n_headers, struct buf *body)
{
	struct MHD_Response *r;
	size_t len = body->len;

	if (req->state == REQUEST_GONE) {
		buf_fini(body);
		request_free(req);
		return;
	}
	if (req->state == REQUEST_HUNG_UP) {
		buf_fini(body);
		move(req, REQUEST_REPLIED);
		return;
	}
	r = MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE);
	if (!r)
		abort(); /* only when memory runs out */
	add_headers(r, headers, n_headers);
	if (req->too_large)
		MHD_add_response_header(r, "Connection", "close");
	answer(req, REQUEST_REPLIED, status, r);
}

void
http_drop(struct http_request *req)
{
	if (req->state == REQUEST_GONE)
		request_free(req);
	else if (req->state == REQUEST_HUNG_UP)
		move(req, REQUEST_REPLIED);
	else
		answer(req, REQUEST_REPLIED, 0, NULL);
}

static ssize_t
stream_read(void *cls, uint64_t pos, char *to, size_t max)
{
	struct http_request *req = cls;
	size_t n = req->backlog.len - req->backlog_sent;

	if (n == 0) {
		if (req->state == REQUEST_STREAM_ENDED)
			return MHD_CONTENT_READER_END_OF_STREAM;
		move(req, REQUEST_STREAM_IDLE);
		MHD_suspend_connection(req->conn);
		return 0;
	}
	if (n > max)
		n = max;
	memcpy(to, req->backlog.data + req->backlog_sent, n);
	req->backlog_sent += n;
	if (req->backlog_sent == req->backlog.len) {
		buf_reset(&req->backlog);
		req->backlog_sent = 0;
	}
	return (ssize_t)n;
}

void
http_stream_start(struct http_request *req, const struct http_field *headers,
    int n_headers, void (*closed)(void *arg), void *arg)
{
	struct MHD_Response *r = MHD_create_response_from_callback(
	    MHD_SIZE_UNKNOWN, STREAM_BLOCK, stream_read, req, NULL);

	assert(req->state == REQUEST_HANDLING);
	if (!r)
		abort(); /* only when memory runs out */
	add_headers(r, headers, n_headers);
	req->closed = closed;
	req->closed_arg = arg;
	answer(req, REQUEST_STREAMING, MHD_HTTP_OK, r);
}

static void
compact(struct http_request *req)
{
	struct buf *b = &req->backlog;

	if (req->backlog_sent == 0)
		return;
	memmove(b->data, b->data + req->backlog_sent, b->len - req->backlog_sent);
	b->len -= req->backlog_sent;
	req->backlog_sent = 0;
}

void
http_stream_write(struct http_request *req, const void *data, size_t n)
{
	if (req->state == REQUEST_STREAM_ENDED)
		return;
	if (req->backlog.len + n > req->server->opt.backlog_max)
		compact(req);
	buf_add(&req->backlog, data, n);
	if (req->backlog.overflow) {
		http_request_hang_up(req);
		if (req->state == REQUEST_STREAMING)
			move(req, REQUEST_STREAM_ENDED);
		return;
	}
	if (req->state == REQUEST_STREAM_IDLE) {
		move(req, REQUEST_STREAMING);
		resume(req);
	}
}

size_t
http_stream_backlog(const struct http_request *req)
{
	return req->backlog.len - req->backlog_sent;
}

void
http_stream_end(struct http_request *req)
{
	enum request_state was = req->state;

	if (was == REQUEST_STREAM_ENDED)
		return;
	move(req, REQUEST_STREAM_ENDED);
	if (was == REQUEST_STREAM_IDLE)
		resume(req);
}
