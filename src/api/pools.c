/* SPDX-License-Identifier: Apache-2.0 */
/* Pools, machines and images. */
#include <jansson.h>
#include <string.h>

#include "api/encode.h"
#include "api/fields.h"
#include "api/internal.h"
#include "api/put.h"

#define POOL_MACHINES_MAX 100000

/* ---- pools ---- */

void
handle_pools(struct call *call)
{
	struct buf b = call_buf();
	struct pool_view v;

	put_open(&b, NULL, '[');
	for (int i = 0; core_pool_at(call->api->core, i, &v); i++)
		encode_pool(&b, &v);
	put_close(&b, ']');
	call_reply(call, 200, &b);
}

void
handle_pool(struct call *call)
{
	struct pool_view v;
	struct err err;
	struct buf b;

	if (core_pool_find(call->api->core, call->key, &v, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	b = call_buf();
	encode_pool(&b, &v);
	call_reply(call, 200, &b);
}

struct pool_body {
	int64_t running, stopped, hibernated, max;
};

#define AT(member) offsetof(struct pool_body, member)
static const struct field pool_fields[] = {
    {"running", FIELD_INT, AT(running), 0, POOL_MACHINES_MAX},
    {"stopped", FIELD_INT, AT(stopped), 0, POOL_MACHINES_MAX},
    {"hibernated", FIELD_INT, AT(hibernated), 0, POOL_MACHINES_MAX},
    {"max", FIELD_INT, AT(max), 0, POOL_MACHINES_MAX},
};
#undef AT

static void
on_pool_set(void *arg, const struct err *err)
{
	struct call *call = arg;

	if (err && err->code != ERR_NONE)
		call_fail(call, err);
	else
		handle_pool(call);
}

void
handle_pool_set(struct call *call)
{
	struct pool_body p = {-1, -1, -1, -1};
	struct err err;

	if (fields_read(call->body, pool_fields, 4, &p, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	if (p.running < 0 && p.stopped < 0 && p.hibernated < 0 && p.max < 0) {
		err_set(&err, ERR_INVALID, "nothing to set");
		err_hint(&err, "give one at least of running, stopped, hibernated, max");
		call_fail(call, &err);
		return;
	}
	core_pool_set(call->api->core, &call->caller, call->key, (int)p.running,
	    (int)p.stopped, (int)p.hibernated, (int)p.max, on_pool_set, call);
}

/* ---- machines ---- */

static void
reply_machines(
    struct call *call, const struct machine_view *views, int n, const struct err *err)
{
	struct buf b;

	if (err && err->code != ERR_NONE) {
		call_fail(call, err);
		return;
	}
	b = call_buf();
	if (call->as_list)
		put_open(&b, NULL, '[');
	for (int i = 0; i < n; i++)
		encode_machine(&b, &views[i]);
	if (call->as_list)
		put_close(&b, ']');
	call_reply(call, 200, &b);
}

static void
on_machines(void *arg, const struct machine_view *views, int n, const struct err *err)
{
	reply_machines(arg, views, n, err);
}

void
handle_machines(struct call *call)
{
	call->as_list = true;
	core_machines(call->api->core, &call->caller, on_machines, call);
}

void
handle_machine(struct call *call)
{
	core_machine_get(call->api->core, &call->caller, call->key, on_machines, call);
}

/* ---- images ---- */

void
handle_images(struct call *call)
{
	struct buf b = call_buf();
	struct image_view v;

	put_open(&b, NULL, '[');
	for (int i = 0; core_image_at(call->api->core, i, &v); i++)
		encode_image(&b, &v);
	put_close(&b, ']');
	call_reply(call, 200, &b);
}

/* 202: it goes on for as long as it takes, which GET /v1/images shows. */
static void
on_build(void *arg, const struct err *err)
{
	struct call *call = arg;
	struct image_view v;
	struct buf b;
	int i = 0;

	if (err && err->code != ERR_NONE) {
		call_fail(call, err);
		return;
	}
	while (core_image_at(call->api->core, i, &v) && strcmp(v.name, call->key) != 0)
		i++;
	b = call_buf();
	if (core_image_at(call->api->core, i, &v))
		encode_image(&b, &v);
	else
		buf_str(&b, "null");
	call_reply(call, 202, &b);
}

void
handle_image_build(struct call *call)
{
	static const struct field fields[] = {
	    {"name", FIELD_PRINTABLE, 0, 1, sizeof(call->key) - 1},
	};
	bool named = call->key[0] != '\0'; /* by the path */
	const char *name = NULL;
	struct err err;

	if (fields_read(call->body, fields, named ? 0 : 1, &name, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	if (!named && !name) {
		err_set(&err, ERR_INVALID, "field 'name' is missing");
		call_fail(call, &err);
		return;
	}
	if (!named)
		memcpy(call->key, name, strlen(name) + 1);
	core_image_build(call->api->core, &call->caller, call->key, on_build, call);
}

void
handle_image_delete(struct call *call)
{
	struct err err;

	err_set(&err, ERR_INVALID,
	    "delete image '%.64s': images cannot be deleted by this version", call->key);
	err_hint(
	    &err, "versions that no machine uses are removed when a newer one is built");
	call_fail(call, &err);
}
