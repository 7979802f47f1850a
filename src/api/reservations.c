/* SPDX-License-Identifier: Apache-2.0 */
#include "api/encode.h"
#include "api/internal.h"
#include "api/put.h"
#include "api/reserve_body.h"

/* ---- answers ---- */

static void
on_view(void *arg, const struct reservation_view *view, const struct err *err)
{
	struct call *call = arg;
	struct buf b;

	if (!view) {
		call_fail(call, err);
		return;
	}
	b = call_buf();
	encode_reservation(&b, view);
	call_reply(call, 200, &b);
}

static void
reply_views(struct call *call, int status, const struct reservation_view *views, int n)
{
	struct buf b = call_buf();

	if (call->as_list)
		put_open(&b, NULL, '[');
	for (int i = 0; i < n; i++)
		encode_reservation(&b, &views[i]);
	if (call->as_list)
		put_close(&b, ']');
	call_reply(call, status, &b);
}

static void
on_reserved(void *arg, const struct reservation_view *views, int n, bool existed,
    const struct err *err)
{
	struct call *call = arg;

	if (!views) {
		call_fail(call, err);
		return;
	}
	if (n != 1) /* the request id may be that of a group, whatever is asked for now */
		call->as_list = true;
	reply_views(call, existed ? 200 : 201, views, n);
}

/* ---- reserve ---- */

void
handle_reserve(struct call *call)
{
	struct reserve_body r;
	AUTO_KEYS struct keys keys = {.n = 0};
	struct reserve_request req;
	struct err err;

	if (reserve_body_read(call->body, &r, &keys, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	call->as_list = r.count >= 0;
	req = (struct reserve_request){
	    .pool = r.pool,
	    .name = r.name,
	    .hold_ms = r.hold_ms,
	    .idle_ms = r.idle_ms,
	    .keys = keys.key,
	    .n_keys = keys.n,
	    .github = r.github,
	    .request_id = r.request_id,
	    .count = r.count >= 0 ? (int)r.count : 1,
	    .no_wait = r.no_wait,
	    .no_warm = r.no_warm,
	    .disks = r.disk,
	    .n_disks = r.n_disks,
	    .wait_disk = r.wait_disk,
	    .require_disk = r.require_disk,
	    .snapshot_disks = r.snapshot_disks,
	};
	core_reserve(call->api->core, &call->caller, &req, on_reserved, call);
}

/* ---- the others ---- */

static void
on_views(void *arg, const struct reservation_view *views, int n, const struct err *err)
{
	struct call *call = arg;

	if (err && err->code != ERR_NONE) {
		call_fail(call, err);
		return;
	}
	call->as_list = true;
	reply_views(call, 200, views, n);
}

void
handle_reservations(struct call *call)
{
	core_list(call->api->core, &call->caller, call->all, on_views, call);
}

void
handle_reservation(struct call *call)
{
	int64_t wait_ms = call->wait_ms > 0 ? call->wait_ms : 0;

	core_get(call->api->core, &call->caller, call->key, wait_ms, on_view, call);
}

void
handle_extend(struct call *call)
{
	int64_t add_ms;
	struct err err;

	if (extend_body_read(call->body, &add_ms, &err) < 0)
		call_fail(call, &err);
	else
		core_extend(
		    call->api->core, &call->caller, call->key, add_ms, on_view, call);
}

/* The name may be that of a group that ended long ago. */
static void
on_cancelled(void *arg, const struct reservation_view *view, const struct err *err)
{
	struct call *call = arg;

	if (view || err->code != ERR_NOT_FOUND)
		on_view(arg, view, err);
	else
		core_cancel_gang(call->api->core, &call->caller, call->key,
		    call->wait_ms != 0, on_views, call);
}

void
handle_cancel(struct call *call)
{
	struct core *c = call->api->core;

	if (core_is_gang(c, &call->caller, call->key))
		core_cancel_gang(
		    c, &call->caller, call->key, call->wait_ms != 0, on_views, call);
	else
		core_cancel(
		    c, &call->caller, call->key, call->wait_ms != 0, on_cancelled, call);
}

void
handle_certify(struct call *call)
{
	AUTO_KEYS struct keys keys = {.n = 0};
	struct err err;

	if (certify_body_read(call->body, &keys, &err) < 0)
		call_fail(call, &err);
	else
		core_certify(call->api->core, &call->caller, call->key, keys.key, keys.n,
		    on_view, call);
}

static void
reply_trace(struct call *call, const struct trace *t, const struct err *err,
    void (*encode)(struct buf *b, const struct trace *t))
{
	struct buf b;

	if (!t) {
		call_fail(call, err);
		return;
	}
	b = call_buf();
	encode(&b, t);
	call_reply(call, 200, &b);
}

static void
on_trace(void *arg, const struct trace *t, const struct err *err)
{
	reply_trace(arg, t, err, encode_trace);
}

static void
on_why(void *arg, const struct trace *t, const struct err *err)
{
	reply_trace(arg, t, err, encode_why);
}

void
handle_trace(struct call *call)
{
	core_trace(call->api->core, &call->caller, call->key, on_trace, call);
}

void
handle_why(struct call *call)
{
	core_trace(call->api->core, &call->caller, call->key, on_why, call);
}
