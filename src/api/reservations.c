/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <string.h>

#include "api/encode.h"
#include "api/fields.h"
#include "api/internal.h"
#include "api/put.h"
#include "ssh/pubkey.h"

#define HOURS_MIN (1.0 / 3600)
#define HOURS_MAX 876000 /* a century; core has the operator's bound */

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

/* ---- keys ---- */

struct keys {
	struct ssh_pubkey key[CORE_KEYS_MAX];
	int n;
};

static void
keys_fini(struct keys *keys)
{
	for (int i = 0; i < keys->n; i++)
		ssh_pubkey_fini(&keys->key[i]);
}

#define AUTO_KEYS __attribute__((cleanup(keys_fini)))

/* `array` has at most CORE_KEYS_MAX elements, which its table sees to; NULL is none. */
static int
keys_read(const json_t *array, struct keys *keys, struct err *err)
{
	size_t i;
	json_t *v;

	json_array_foreach((json_t *)array, i, v)
	{
		const char *text = json_string_value(v);

		if (!text)
			return err_set(err, ERR_INVALID,
			    "field 'public_keys[%zu]': expected a string", i);
		if (ssh_pubkey_parse(
			text, json_string_length(v), &keys->key[keys->n], err) < 0)
			return err_wrap(err, "field 'public_keys[%zu]'", i);
		keys->n++;
	}
	return 0;
}

/* ---- reserve ---- */

struct reserve_body {
	const char *pool, *name, *github, *request_id;
	int64_t hold_ms, idle_ms, count;
	const json_t *public_keys, *disks;
	bool no_wait, no_warm, require_disk, wait_disk;
};

/* clang-format off */
#define AT(member) offsetof(struct reserve_body, member)
static const struct field reserve_fields[] = {
	{ "pool",         FIELD_NAME,      AT(pool) },
	{ "hours",        FIELD_HOURS,     AT(hold_ms), HOURS_MIN, HOURS_MAX },
	{ "name",         FIELD_NAME,      AT(name) },
	{ "public_keys",  FIELD_ARRAY,     AT(public_keys), 1, CORE_KEYS_MAX },
	{ "github",       FIELD_PRINTABLE, AT(github), 1, 39 },
	{ "disks",        FIELD_ARRAY,     AT(disks), 0, 16 },
	{ "count",        FIELD_INT,       AT(count), 1, CORE_COUNT_MAX },
	{ "idle",         FIELD_DURATION,  AT(idle_ms), 1000, HOURS_MAX * 3600e3 },
	{ "request_id",   FIELD_PRINTABLE, AT(request_id), 1, 128 },
	{ "no_wait",      FIELD_BOOL,      AT(no_wait) },
	{ "no_warm",      FIELD_BOOL,      AT(no_warm) },
	{ "require_disk", FIELD_BOOL,      AT(require_disk) },
	{ "wait_disk",    FIELD_BOOL,      AT(wait_disk) },
};
#undef AT
/* clang-format on */

static int
read_reserve(
    const json_t *body, struct reserve_body *r, struct keys *keys, struct err *err)
{
	if (fields_read(body, reserve_fields,
		sizeof(reserve_fields) / sizeof(reserve_fields[0]), r, err) < 0)
		return -1;
	if (r->github) {
		err_set(err, ERR_INVALID,
		    "field 'github': keys from GitHub are not available yet");
		return err_hint(err, "give public_keys");
	}
	if (json_array_size(r->disks) > 0) {
		err_set(err, ERR_INVALID, "field 'disks': disks are not available yet");
		return err_hint(err, "reserve without a disk");
	}
	if (!r->public_keys) {
		err_set(err, ERR_INVALID, "field 'public_keys' is missing");
		return err_hint(
		    err, "give the line of a .pub file; ssh-keygen makes one");
	}
	return keys_read(r->public_keys, keys, err);
}

void
handle_reserve(struct call *call)
{
	struct reserve_body r = {.count = -1};
	AUTO_KEYS struct keys keys = {.n = 0};
	struct reserve_request req;
	struct err err;

	if (read_reserve(call->body, &r, &keys, &err) < 0) {
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
	    .request_id = r.request_id,
	    .count = r.count >= 0 ? (int)r.count : 1,
	    .no_wait = r.no_wait,
	    .no_warm = r.no_warm,
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
	static const struct field fields[] = {
	    {"hours", FIELD_HOURS, 0, HOURS_MIN, HOURS_MAX, true},
	};
	int64_t add_ms = 0;
	struct err err;

	if (fields_read(call->body, fields, 1, &add_ms, &err) < 0)
		call_fail(call, &err);
	else
		core_extend(
		    call->api->core, &call->caller, call->key, add_ms, on_view, call);
}

void
handle_cancel(struct call *call)
{
	core_cancel(
	    call->api->core, &call->caller, call->key, call->wait_ms != 0, on_view, call);
}

void
handle_certify(struct call *call)
{
	static const struct field fields[] = {
	    {"public_keys", FIELD_ARRAY, 0, 0, CORE_KEYS_MAX},
	};
	AUTO_KEYS struct keys keys = {.n = 0};
	const json_t *array = NULL;
	struct err err;

	if (fields_read(call->body, fields, 1, &array, &err) < 0 ||
	    keys_read(array, &keys, &err) < 0)
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
