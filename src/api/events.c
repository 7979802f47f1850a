/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events: server-sent events (WHATWG HTML, "Server-sent events"), one per state change that the
 * caller may see. With Last-Event-ID, or ?since=, it first reads what happened after that from the store,
 * page by page and no faster than the client takes it, and goes live when it has caught up. Events have
 * one order, that of seq, so whatever is not above the last one sent is a duplicate, and what came live
 * during the reading is still to be read.
 */
#include <stdlib.h>
#include <string.h>

#include "api/encode.h"
#include "api/fields.h"
#include "api/internal.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "net/http_server.h"

#define HEARTBEAT_MS 15000
#define PAGE 500
#define BACKLOG_LOW (128 << 10) /* no further page above this */
#define PAUSE_MS 20
#define STREAMS_MAX 64 /* of one user: each may keep a megabyte for a slow reader */

enum stream_state {
	STREAM_READING, /* waits here for a page from the store */
	STREAM_PAUSED,	/* waits here for the client to take what it was sent */
	STREAM_LIVE,
	STREAM_CLOSED, /* the client is gone; waits here for the page it asked for */
};

struct stream {
	struct list link; /* api.streams, until CLOSED */
	enum stream_state state;
	struct api *api;	   /* borrowed */
	struct http_request *http; /* NULL when CLOSED */
	struct core_caller who;	   /* without a name */
	struct core_subscription *sub;
	struct timer pause;
	struct timer heartbeat;
	int64_t sent_seq; /* sent, or not for this caller to see */
	int64_t live_seq; /* the last that came live */
};

static void
send_event(struct stream *s, const struct event *e)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	s->sent_seq = e->seq;
	if (!core_event_visible(e, &s->who))
		return;
	buf_fmt(&b, "id: %lld\nevent: %s\ndata: ", (long long)e->seq, e->kind);
	encode_event(&b, e);
	buf_str(&b, "\n\n");
	http_stream_write(s->http, b.data, b.len);
}

static void
on_live(void *arg, const struct event *e)
{
	struct stream *s = arg;

	s->live_seq = e->seq;
	if (s->state == STREAM_LIVE && e->seq > s->sent_seq)
		send_event(s, e);
}

static void read_on(struct stream *s);

static void
on_pause(void *arg)
{
	read_on(arg);
}

static void
on_page(void *arg, const struct event *events, int n, const struct err *err)
{
	struct stream *s = arg;

	if (s->state == STREAM_CLOSED) {
		free(s);
		return;
	}
	if (!s->sub) { /* stopped; on_closed() is still to come */
		s->state = STREAM_LIVE;
		return;
	}
	if (err && err->code != ERR_NONE) {
		http_stream_end(s->http); /* the client comes back with its last id */
		n = 0;
	}
	for (int i = 0; i < n; i++)
		send_event(s, &events[i]);
	if (n < PAGE && s->live_seq <= s->sent_seq) {
		s->state = STREAM_LIVE;
		return;
	}
	s->state = STREAM_PAUSED;
	read_on(s);
}

static void
read_on(struct stream *s)
{
	if (http_stream_backlog(s->http) > BACKLOG_LOW) {
		timer_set(s->api->clock, &s->pause, PAUSE_MS, on_pause, s);
		return;
	}
	s->state = STREAM_READING;
	core_events_since(s->api->core, s->sent_seq, PAGE, on_page, s);
}

/* Without it nobody would notice a client that is gone, nor a proxy that the stream lives. */
static void
on_heartbeat(void *arg)
{
	struct stream *s = arg;

	timer_set(s->api->clock, &s->heartbeat, HEARTBEAT_MS, on_heartbeat, s);
	http_stream_write(s->http, ":\n\n", 3);
}

/* Nothing reaches the stream after this but the page that was asked for. */
static void
unplug(struct stream *s)
{
	list_remove(&s->link);
	if (s->sub)
		core_unsubscribe(s->sub);
	s->sub = NULL;
	timer_off(&s->pause);
	timer_off(&s->heartbeat);
}

static void
on_closed(void *arg)
{
	struct stream *s = arg;
	bool reading = s->state == STREAM_READING;

	unplug(s);
	s->state = STREAM_CLOSED;
	s->http = NULL;
	if (!reading)
		free(s);
}

void
events_stop(struct api *api)
{
	while (!list_empty(&api->streams)) {
		struct stream *s = list_entry(api->streams.next, struct stream, link);

		unplug(s);
		http_stream_end(s->http);
	}
}

/* A client that comes back says where it was in the header; one that begins may in the query. */
static int
resume_from(struct call *call, int64_t *ret_since, struct err *err)
{
	const char *id = http_header(call->http, "Last-Event-ID");

	if (!id || !*id) {
		*ret_since = call->since;
		return 0;
	}
	if (number_parse(id, INT64_MAX, ret_since, err) < 0)
		return err_wrap(err, "header 'Last-Event-ID'");
	return 0;
}

static int
check_count(const struct call *call, struct err *err)
{
	const struct stream *s;
	int n = 0;

	list_for_each (s, &call->api->streams, link)
		n += s->who.uid == call->caller.uid;
	if (n < STREAMS_MAX || call->caller.uid == 0)
		return 0;
	err_set(err, ERR_RATE_LIMITED, "you follow the events %d times already", n);
	return err_hint(err, "end one, or share it");
}

void
handle_events(struct call *call)
{
	const struct http_field headers[] = {
	    {"Content-Type", "text/event-stream"},
	    {"Cache-Control", "no-store"},
	    {"X-Request-Id", call->request_id},
	};
	struct stream *s;
	int64_t since;
	struct err err;

	if (check_count(call, &err) < 0 || resume_from(call, &since, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	s = xnew(struct stream);
	s->api = call->api;
	s->http = call->http;
	s->who = (struct core_caller){
	    .uid = call->caller.uid, .operator_ = call->caller.operator_};
	list_init(&s->link);
	list_push_back(&s->api->streams, &s->link);
	http_stream_start(call->http, headers, 3, on_closed, s);
	call_became_stream(call, 200);
	http_stream_write(
	    s->http, ": hearth\n\n", 10); /* the headers go out with the first bytes */
	s->sub = core_subscribe(s->api->core, on_live, s);
	timer_set(s->api->clock, &s->heartbeat, HEARTBEAT_MS, on_heartbeat, s);
	if (since < 0 || since > core_last_event(s->api->core)) {
		s->state = STREAM_LIVE;
		return;
	}
	s->sent_seq = since;
	read_on(s);
}
