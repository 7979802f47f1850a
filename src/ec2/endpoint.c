/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/action.h"
#include "ec2/auth.h"
#include "ec2/dispatch.h"
#include "ec2/efs.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/world.h"
#include "net/http_server.h"
#include "net/loop.h"

#define BACKLOG 1024
#define VERSION_FIRST "2006-06-26" /* of EC2, its first */
#define VERSION_LAST "2016-11-15"

struct endpoint {
	struct loop *loop; /* borrowed, as the next two */
	const struct config *config;
	struct world *world;
	struct http_server *server; /* owned */
	uv_prepare_t prepare;	    /* commits and answers */
	uv_idle_t
	    idle; /* keeps the loop from sleeping while something is to be committed */
	struct list ready;   /* of calls: answered with the next commit */
	struct list waiting; /* of calls: later, or by a delay of the scenario */
	bool failing;	     /* the state could not be written */
	int n_handles;
};

struct call {
	struct list link; /* endpoint.ready, or .waiting */
	struct endpoint *endpoint;
	enum service service;
	struct request q;
	struct timer timer; /* the scenario's delay */
	bool drop;	    /* its reply is lost */
};

static const char busy_body[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Too many "
    "connections.</Message></Error></Errors><RequestID>"
    "00000000-0000-4000-8000-000000000000</RequestID></Response>";

/* ---- replies ---- */

static void
set_request_id(struct request *q)
{
	uint64_t a = world_random_id(q->world), b = world_random_id(q->world);

	(void)snprintf(q->id, sizeof(q->id), "%08x-%04x-4%03x-%04x-%012llx",
	    (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
	    (unsigned)(0x8000 | (b >> 48 & 0x3fff)),
	    (unsigned long long)(b & 0xffffffffffff));
}

static bool
speaks_json(const struct call *c)
{
	return c->q.json || c->service == SERVICE_EIC || c->service == SERVICE_EFS;
}

static void
json_text(struct buf *b, const char *s)
{
	buf_char(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_char(b, '\\');
		buf_char(b, (unsigned char)*s < ' ' ? ' ' : *s);
	}
	buf_char(b, '"');
}

/* What the frame says in EC2's words, in EC2 Instance Connect's (its model, 2018-04-02). */
static const struct {
	const char *ec2, *eic;
	int status;
} eic_errors[] = {
    {"RequestLimitExceeded", "ThrottlingException", 400},
    {"Unavailable", "ServiceException", 500},
    {"InternalError", "ServiceException", 500},
    {"InvalidAction", "UnknownOperationException", 400},
    {"MissingAction", "UnknownOperationException", 400},
};

static void
use_eic_error(struct request *q)
{
	for (size_t i = 0; i < sizeof(eic_errors) / sizeof(eic_errors[0]); i++) {
		if (strcmp(q->code, eic_errors[i].ec2) != 0)
			continue;
		(void)snprintf(q->code, sizeof(q->code), "%s", eic_errors[i].eic);
		q->status = eic_errors[i].status;
		return;
	}
}

static void
write_error_json(struct call *c)
{
	struct buf *b = &c->q.reply.body;

	if (c->service == SERVICE_EFS) {
		efs_write_error(&c->q);
		return;
	}
	if (c->service == SERVICE_EIC)
		use_eic_error(&c->q);
	buf_str(b, "{\"__type\":");
	json_text(b, c->q.code);
	buf_str(b, ",\"message\":");
	json_text(b, c->q.message);
	buf_str(b, "}");
}

/* EC2's have neither namespace nor type: as quoted in boto/boto3#2556. */
static void
write_error_xml(struct call *c)
{
	struct reply *r = &c->q.reply;

	buf_str(&r->body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
	if (c->service == SERVICE_EC2) {
		reply_open(r, "Response");
		reply_open(r, "Errors");
	} else {
		buf_fmt(&r->body, "<ErrorResponse xmlns=\"%s\">",
		    service_info[c->service].xmlns);
	}
	reply_open(r, "Error");
	if (c->service != SERVICE_EC2)
		reply_text(r, "Type", c->q.status < 500 ? "Sender" : "Receiver");
	reply_text(r, "Code", c->q.code);
	reply_text(r, "Message", c->q.message);
	reply_close(r);
	if (c->service == SERVICE_EC2) {
		reply_close(r);
		reply_text(r, "RequestID", c->q.id);
		reply_close(r);
	} else {
		reply_text(r, "RequestId", c->q.id);
		buf_str(&r->body, "</ErrorResponse>");
	}
}

static void
open_root(struct call *c)
{
	struct reply *r = &c->q.reply;

	if (speaks_json(c))
		return;
	buf_fmt(&r->body,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%sResponse xmlns=\"%s\">",
	    c->q.action->name, service_info[c->service].xmlns);
	if (c->service == SERVICE_EC2)
		reply_text(r, "requestId", c->q.id);
}

static void
close_root(struct call *c)
{
	struct reply *r = &c->q.reply;

	if (speaks_json(c))
		return;
	while (r->depth > 0)
		reply_close(r);
	if (c->service != SERVICE_EC2) {
		reply_open(r, "ResponseMetadata");
		reply_text(r, "RequestId", c->q.id);
		reply_close(r);
	}
	buf_fmt(&r->body, "</%sResponse>", c->q.action->name);
}

static void
finish_reply(struct call *c)
{
	if (!request_failed(&c->q)) {
		close_root(c);
		return;
	}
	buf_reset(&c->q.reply.body);
	c->q.reply.depth = 0;
	if (speaks_json(c))
		write_error_json(c);
	else
		write_error_xml(c);
}

static void
call_free(struct call *c)
{
	timer_off(&c->timer);
	list_remove(&c->link);
	request_fini(&c->q);
	free(c);
}

static void
log_call(const struct request *q)
{
	const char *region = q->region ? q->region->name : "-";
	const char *end = request_failed(q) ? q->code : "done";

	if (!q->action || (q->action->flags & ACTION_READ))
		log_debug("%s %s: %s", region, q->action ? q->action->name : "call", end);
	else
		log_info("%s %s: %s", region, q->action->name, end);
}

static void
send_reply(struct call *c)
{
	struct request *q = &c->q;
	const char *json = c->service == SERVICE_EFS   ? "application/json"
			   : c->service == SERVICE_EIC ? "application/x-amz-json-1.1"
						       : "application/x-amz-json-1.0";
	struct http_field headers[] = {
	    {"Content-Type", speaks_json(c) ? json : "text/xml;charset=UTF-8"},
	    {"x-amzn-requestid", q->id},
	    {"x-amzn-ErrorType", q->code},
	};
	bool typed = c->service == SERVICE_EFS && request_failed(q);

	finish_reply(c);
	log_call(q);
	if (c->drop)
		http_drop(q->http);
	else
		http_reply(q->http,
		    request_failed(q) ? q->status
		    : q->success      ? q->success
				      : 200,
		    headers, typed ? 3 : 2, &q->reply.body);
	call_free(c);
}

/* ---- rounds ---- */

static void
on_idle(uv_idle_t *h)
{
}

static void
wake(void *arg)
{
	struct endpoint *e = arg;

	uv_idle_start(&e->idle, on_idle);
}

static void
set_ready(struct call *c)
{
	list_remove(&c->link);
	list_push_back(&c->endpoint->ready, &c->link);
	wake(c->endpoint);
}

/* One line when the state cannot be written, and one when it can again: every round tries. */
static bool
commit(struct endpoint *e)
{
	struct err err = {0};
	bool kept = world_commit(e->world, &err) == 0;

	if (!kept && !e->failing)
		log_error("%s%s%s; calls fail until it works", err.msg,
		    err.hint[0] ? "; " : "", err.hint);
	else if (kept && e->failing)
		log_info("the state can be written again");
	e->failing = !kept;
	return kept;
}

static void
flush(struct endpoint *e)
{
	struct call *c, *tmp;
	bool kept = commit(e);

	uv_idle_stop(&e->idle);
	list_for_each_safe (c, tmp, &e->ready, link) {
		if (!kept)
			request_fail(&c->q, "InternalError",
			    "An internal error has occurred: the state cannot be "
			    "written");
		send_reply(c);
	}
}

static void
on_prepare(uv_prepare_t *h)
{
	flush(h->data);
}

/* ---- one call ---- */

static void
on_delay(void *arg)
{
	set_ready(arg);
}

static void
answer(struct call *c)
{
	struct request *q = &c->q;
	int64_t delay = q->action && !request_failed(q)
			    ? scenario_call_delay(q->world, q->action->name)
			    : 0;

	if (delay > 0)
		timer_set(q->world->clock, &c->timer, delay, on_delay, c);
	else
		set_ready(c);
}

void
request_later(struct request *q)
{
	q->later = true;
}

void
request_finish(struct request *q)
{
	answer(list_entry(q, struct call, q));
}

static int
check_version(struct request *q)
{
	const char *v = request_text(q, "Version");

	if (!v || (strcmp(v, VERSION_FIRST) >= 0 && strcmp(v, VERSION_LAST) <= 0))
		return 0;
	return request_fail(q, "NoSuchVersion",
	    "The requested version (%.40s) of service AmazonEC2 does not exist", v);
}

/* The action's name: of the form, or of the header in the JSON protocols. */
static const char *
read_form(struct call *c, struct http_request *http)
{
	const char *target = http_header(http, "X-Amz-Target");
	const char *prefix = service_info[c->service].prefix;
	struct request *q = &c->q;
	AUTO_BUF struct buf query = BUF_INIT(REQUEST_BODY_MAX);
	size_t n;
	const char *body = http_body(http, &n);

	if (c->service == SERVICE_EFS)
		return efs_read(q, http);
	if (target && prefix) {
		if (strncmp(target, prefix, strlen(prefix)) != 0)
			return NULL;
		q->json = q->text = xstrndup(body, n);
		return target + strlen(prefix);
	}
	if (n == 0) {
		auth_query(http, &query);
		body = query.data ?: "";
		n = query.len;
	}
	if (request_decode(q, body, n) < 0)
		return NULL;
	if (c->service == SERVICE_EC2 && check_version(q) < 0)
		return NULL;
	return request_text(q, "Action");
}

static void
run(struct call *c, struct http_request *http)
{
	struct request *q = &c->q;
	const char *name;

	if (http_body_too_large(http)) {
		request_fail(q, "RequestEntityTooLarge",
		    "The request is larger than %u bytes", REQUEST_BODY_MAX);
		return;
	}
	if (auth_check(q, http, c->endpoint->config, &c->service) < 0)
		return;
	name = read_form(c, http);
	if (request_failed(q))
		return;
	if (!name) {
		request_fail(q, "MissingAction", "The request names no action");
		return;
	}
	q->action = action_find(c->service, name);
	if (!q->action) {
		request_fail(q, "InvalidAction",
		    "The action %.100s is not valid for this web service.", name);
		return;
	}
	if (!dispatch_admit(q))
		return;
	open_root(c);
	dispatch_run(q, &c->drop);
}

static void
on_request(void *arg, struct http_request *http)
{
	struct endpoint *e = arg;
	struct call *c = xnew(struct call);

	c->endpoint = e;
	c->q.world = e->world;
	c->q.http = http;
	c->q.path = http_path(http);
	list_init(&c->link);
	list_push_back(&e->waiting, &c->link);
	set_request_id(&c->q);
	run(c, http);
	if (!c->q.later || request_failed(&c->q))
		answer(c);
}

/* ---- life ---- */

int
endpoint_listen(const char *address, int port, int *ret_fd, struct err *err)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at = {0};
	AUTO_CLOSE int fd = -1;
	socklen_t len = sizeof(at.v4);
	int one = 1;

	if (inet_pton(AF_INET, address, &at.v4.sin_addr) == 1) {
		at.v4.sin_family = AF_INET;
		at.v4.sin_port = htons((uint16_t)port);
	} else {
		inet_pton(
		    AF_INET6, address, &at.v6.sin6_addr); /* config.c has checked it */
		at.v6.sin6_family = AF_INET6;
		at.v6.sin6_port = htons((uint16_t)port);
		len = sizeof(at.v6);
	}
	fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "listen at %s:%d", address, port);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &at.any, len) < 0 || listen(fd, BACKLOG) < 0) {
		int why = errno;

		err_errno(err, why, "listen at %s:%d", address, port);
		if (why == EADDRINUSE)
			err->code = ERR_CONFLICT;
		return err_hint(err, "choose another 'listen' in the configuration");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
endpoint_new(const struct endpoint_options *opt, struct endpoint **ret, struct err *err)
{
	struct endpoint *e = xnew(struct endpoint);
	struct http_options http = {.loop = opt->loop,
	    .listen_fd = opt->listen_fd,
	    .handler = on_request,
	    .arg = e,
	    .max_connections_per_user = 4096,
	    .body_max = REQUEST_BODY_MAX,
	    .busy_type = "text/xml;charset=UTF-8",
	    .busy_body = busy_body};
	uv_loop_t *uv = loop_uv(opt->loop);

	e->loop = opt->loop;
	e->config = opt->config;
	e->world = opt->world;
	list_init(&e->ready);
	list_init(&e->waiting);
	if (http_server_new(&http, &e->server, err) < 0) {
		free(e);
		return -1;
	}
	uv_prepare_init(uv, &e->prepare);
	uv_idle_init(uv, &e->idle);
	e->prepare.data = e->idle.data = e;
	e->n_handles = 2;
	uv_prepare_start(&e->prepare, on_prepare);
	e->world->on_change = wake;
	e->world->on_change_arg = e;
	*ret = e;
	return 0;
}

static void
on_closed(uv_handle_t *h)
{
	struct endpoint *e = h->data;

	if (--e->n_handles == 0)
		free(e);
}

void
endpoint_close(struct endpoint *e)
{
	struct call *c, *tmp;

	if (!e)
		return;
	e->world->on_change = NULL;
	flush(e);
	http_server_stop(e->server);
	list_for_each_safe (c, tmp, &e->waiting, link) {
		http_drop(c->q.http);
		call_free(c);
	}
	http_server_close(e->server);
	uv_close((uv_handle_t *)&e->prepare, on_closed);
	uv_close((uv_handle_t *)&e->idle, on_closed);
}
