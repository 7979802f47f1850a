/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stddef.h>

#include "api/encode.h"
#include "api/fields.h"
#include "api/internal.h"
#include "api/put.h"

static void
reply_disks(struct call *call, int status, const struct disk_view *views, int n,
    const struct err *err)
{
	struct buf b;

	if (err->code != ERR_NONE) {
		call_fail(call, err);
		return;
	}
	b = call_buf();
	if (call->as_list)
		put_open(&b, NULL, '[');
	for (int i = 0; i < n; i++)
		encode_disk(&b, &views[i]);
	if (call->as_list)
		put_close(&b, ']');
	call_reply(call, status, &b);
}

static void
on_disks(void *arg, const struct disk_view *views, int n, const struct err *err)
{
	reply_disks(arg, 200, views, n, err);
}

static void
on_new_disk(void *arg, const struct disk_view *views, int n, const struct err *err)
{
	reply_disks(arg, 201, views, n, err);
}

void
handle_disks(struct call *call)
{
	call->as_list = true;
	core_disks(call->api->core, &call->caller, call->all, on_disks, call);
}

void
handle_disk(struct call *call)
{
	core_disk_get(call->api->core, &call->caller, call->key, on_disks, call);
}

void
handle_disk_delete(struct call *call)
{
	core_disk_delete(call->api->core, &call->caller, call->key, on_disks, call);
}

void
handle_disk_create(struct call *call)
{
	struct body {
		const char *name, *from;
		int64_t size;
	} body = {0};
	static const struct field fields[] = {
	    {"name", FIELD_NAME, offsetof(struct body, name), 0, 0, true},
	    {"size_bytes", FIELD_INT, offsetof(struct body, size), 1, INT64_C(1) << 53,
		true},
	    {"from_snapshot", FIELD_PRINTABLE, offsetof(struct body, from), 1, 64},
	};
	struct err err;

	if (fields_read(call->body, fields, sizeof(fields) / sizeof(fields[0]), &body,
		&err) < 0) {
		call_fail(call, &err);
		return;
	}
	core_disk_create(call->api->core, &call->caller, body.name, body.size, body.from,
	    on_new_disk, call);
}

void
handle_disk_snapshot(struct call *call)
{
	struct err err;

	if (fields_read(call->body, NULL, 0, NULL, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	core_disk_snapshot(call->api->core, &call->caller, call->key, on_new_disk, call);
}

void
handle_disk_clone(struct call *call)
{
	static const struct field fields[] = {{"name", FIELD_NAME, 0, 0, 0, true}};
	const char *name = NULL;
	struct err err;

	if (fields_read(call->body, fields, 1, &name, &err) < 0) {
		call_fail(call, &err);
		return;
	}
	core_disk_clone(
	    call->api->core, &call->caller, call->key, name, on_new_disk, call);
}
