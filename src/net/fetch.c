/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fetch_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "base/log.h"
#include "base/xalloc.h"

#define CONNECTIONS_MAX 64

struct fetcher {
	CURLM *multi;
	uv_loop_t *uv;	     /* borrowed */
	uv_timer_t timer;    /* libcurl's */
	uv_timer_t refuse;   /* tells of requests that never began */
	struct list waiting; /* for a connection: in libcurl each would take 16 kB */
	struct list under_way;
	struct list refused;
	int n_under_way, connections_max;
	char *ca_file; /* owned; NULL: the system's */
	bool closed;
	int handles; /* still open */
};

/* One socket of libcurl's, watched. */
struct watch {
	uv_poll_t poll;
	struct fetcher *f;
	curl_socket_t fd;
};

static void
leave(struct fetch *r)
{
	assert(!r->added || r->f->multi);
	if (!r->added)
		return;
	curl_multi_remove_handle(r->f->multi, r->easy);
	r->added = false;
	r->f->n_under_way--;
}

static void
fetch_free(struct fetch *r)
{
	list_remove(&r->link);
	leave(r);
	curl_easy_cleanup(r->easy);
	fetch_release(r);
	free(r);
}

/* ---- the reply ---- */

static const char *
header(const struct fetch *r, const char *name)
{
	struct curl_header *h;

	if (curl_easy_header(r->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return h->value;
}

static int64_t
date_of(const struct fetch *r)
{
	const char *text = header(r, "Date");
	time_t at = text ? curl_getdate(text, NULL) : -1;

	return at > 0 ? at : 0;
}

static int64_t
retry_after_of(const struct fetch *r)
{
	curl_off_t s = 0;

	if (!header(r, "Retry-After"))
		return -1;
	(void)curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &s);
	return s > 0 ? s : 0;
}

static void
succeed(struct fetch *r)
{
	struct fetch_reply reply = {
	    .body_len = r->len,
	    .content_type = header(r, "Content-Type") ?: "",
	    .date_s = date_of(r),
	    .etag = header(r, "ETag"),
	    .retry_after_s = retry_after_of(r),
	};
	long status = 0;
	curl_off_t us = 0;

	(void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(r->easy, CURLINFO_TOTAL_TIME_T, &us);
	fetch_end_body(r);
	reply.body = r->body;
	reply.status = (int)status;
	reply.duration_us = us;
	r->done(r->arg, &reply, true, NULL);
}

static void
explain(const struct fetch *r, CURLcode rc, struct err *err)
{
	const char *why = r->why[0] ? r->why : curl_easy_strerror(rc);

	if (r->too_large)
		err_set(err, ERR_TOO_LARGE, "%s: its answer is over %zu bytes", r->where,
		    r->header_bytes > HEADERS_BYTES_MAX ? (size_t)HEADERS_BYTES_MAX
							: r->max);
	else
		err_set(err, rc == CURLE_URL_MALFORMAT ? ERR_INVALID : ERR_UNAVAILABLE,
		    "%s: %s", r->where, why);
	if (rc == CURLE_SSL_CACERT_BADFILE)
		err_hint(err, "name a file of certificates (PEM) that can be read");
	else if (rc == CURLE_PEER_FAILED_VERIFICATION)
		err_hint(err, "is it the right server? its authority is not in %s",
		    r->f->ca_file ?: "this host's list");
}

static bool
was_sent(const struct fetch *r)
{
	long bytes = 0;

	if (r->easy)
		(void)curl_easy_getinfo(r->easy, CURLINFO_REQUEST_SIZE, &bytes);
	return bytes > 0;
}

static void
fail(struct fetch *r, CURLcode rc)
{
	struct err err;

	explain(r, rc, &err);
	r->done(r->arg, NULL, was_sent(r), &err);
}

static void launch_all(struct fetcher *f);

/* The callback may start and cancel others, and close the fetcher: that frees the multi handle at once, which
   a request must have left by then, and the fetcher itself later, from the loop. */
static void
drain(struct fetcher *f)
{
	CURLMsg *m;
	int left;

	while (!f->closed && (m = curl_multi_info_read(f->multi, &left))) {
		CURLcode rc = m->data.result;
		struct fetch *r;

		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		list_remove(&r->link);
		leave(r);
		if (rc == CURLE_OK && !r->headers_whole)
			rc = CURLE_PARTIAL_FILE; /* libcurl 7.88 takes such for a reply */
		if (rc == CURLE_OK)
			succeed(r);
		else
			fail(r, rc);
		fetch_free(r);
	}
	if (!f->closed)
		launch_all(f);
}

/* ---- libcurl's sockets and time, on libuv ---- */

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	struct fetcher *f = w->f;
	int running, flags = 0;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(f->multi, w->fd, flags, &running);
	drain(f);
}

static void
on_watch_closed(uv_handle_t *h)
{
	free(h->data);
}

static struct watch *
watch_new(struct fetcher *f, curl_socket_t fd)
{
	struct watch *w = xnew(struct watch);

	w->f = f;
	w->fd = fd;
	w->poll.data = w;
	if (uv_poll_init(f->uv, &w->poll, fd) != 0) { /* a descriptor epoll refuses */
		free(w);
		return NULL;
	}
	curl_multi_assign(f->multi, fd, w);
	return w;
}

/* CURLMOPT_SOCKETFUNCTION */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct fetcher *f = arg;
	struct watch *w = socket_arg;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (w)
			uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		curl_multi_assign(f->multi, fd, NULL);
		return 0;
	}
	if (!w && !(w = watch_new(f, fd)))
		return -1;
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	uv_poll_start(&w->poll, events, on_poll);
	return 0;
}

static void
on_timer(uv_timer_t *t)
{
	struct fetcher *f = t->data;
	int running;

	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	drain(f);
}

/* CURLMOPT_TIMERFUNCTION: libcurl may not be called from here. */
static int
on_timeout_set(CURLM *multi, long ms, void *arg)
{
	struct fetcher *f = arg;

	if (f->closed)
		return 0;
	if (ms < 0)
		uv_timer_stop(&f->timer);
	else
		uv_timer_start(&f->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

/* ---- the fetcher ---- */

static void
on_refused(uv_timer_t *t)
{
	struct fetcher *f = t->data;

	while (!f->closed && !list_empty(&f->refused)) {
		struct fetch *r = list_entry(f->refused.next, struct fetch, link);

		list_remove(&r->link);
		r->done(r->arg, NULL, false, &r->refusal);
		fetch_free(r);
	}
}

struct fetcher *
fetcher_new(struct uv_loop_s *uv, int connections_max)
{
	struct fetcher *f = xnew(struct fetcher);
	long max = connections_max > 0 ? connections_max : CONNECTIONS_MAX;

	f->connections_max = (int)max;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
	    !(f->multi = curl_multi_init())) {
		log_error("libcurl cannot be started: out of memory?");
		abort();
	}
	f->uv = uv;
	list_init(&f->waiting);
	list_init(&f->under_way);
	list_init(&f->refused);
	uv_timer_init(uv, &f->timer);
	uv_timer_init(uv, &f->refuse);
	f->timer.data = f->refuse.data = f;
	f->handles = 2;
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, max);
	return f;
}

void
fetcher_trust(struct fetcher *f, const char *ca_file)
{
	xstrset(&f->ca_file, ca_file);
}

static void
cancel_all(struct list *requests)
{
	while (!list_empty(requests)) {
		struct fetch *r = list_entry(requests->next, struct fetch, link);
		struct err err;

		list_remove(&r->link);
		leave(r);
		err_set(
		    &err, ERR_CANCELLED, "%s: given up, for the program ends", r->where);
		r->done(r->arg, NULL, was_sent(r), &err);
		fetch_free(r);
	}
}

static void
on_handle_closed(uv_handle_t *h)
{
	struct fetcher *f = h->data;

	if (--f->handles > 0)
		return;
	free(f->ca_file);
	free(f);
}

void
fetcher_close(struct fetcher *f)
{
	if (!f)
		return;
	f->closed = true;
	cancel_all(&f->waiting);
	cancel_all(&f->under_way);
	cancel_all(&f->refused);
	curl_multi_cleanup(f->multi);
	f->multi = NULL;
	uv_close((uv_handle_t *)&f->timer, on_handle_closed);
	uv_close((uv_handle_t *)&f->refuse, on_handle_closed);
}

/* ---- a request ---- */

static void
refuse(struct fetch *r)
{
	list_push_back(&r->f->refused, &r->link);
	uv_timer_start(&r->f->refuse, on_refused, 0, 0);
}

static void
launch(struct fetch *r)
{
	CURLMcode rc;

	r->easy = curl_easy_init();
	if (!r->easy)
		abort();
	fetch_set_options(r);
	if (r->f->ca_file) {
		curl_easy_setopt(r->easy, CURLOPT_CAINFO, r->f->ca_file);
		curl_easy_setopt(r->easy, CURLOPT_CAPATH, NULL); /* the system's */
	}
	rc = curl_multi_add_handle(r->f->multi, r->easy);
	if (rc != CURLM_OK) {
		err_set(&r->refusal, ERR_INTERNAL, "%s: %s", r->where,
		    curl_multi_strerror(rc));
		refuse(r);
		return;
	}
	r->added = true;
	r->f->n_under_way++;
	list_push_back(&r->f->under_way, &r->link);
}

static void
launch_all(struct fetcher *f)
{
	while (f->n_under_way < f->connections_max && !list_empty(&f->waiting)) {
		struct fetch *r = list_entry(f->waiting.next, struct fetch, link);

		list_remove(&r->link);
		launch(r);
	}
}

struct fetch *
fetch_start(struct fetcher *f, const struct fetch_request *req, fetch_fn done, void *arg)
{
	struct fetch *r = xnew(struct fetch);

	assert(!f->closed);
	r->f = f;
	r->done = done;
	r->arg = arg;
	list_init(&r->link);
	if (fetch_prepare(r, req, &r->refusal) < 0) {
		refuse(r);
		return r;
	}
	list_push_back(&f->waiting, &r->link);
	launch_all(f);
	return r;
}

void
fetch_cancel(struct fetch *r)
{
	struct fetcher *f = r->f;

	fetch_free(r);
	if (!f->closed)
		launch_all(f);
}
