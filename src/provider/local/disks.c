/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "provider/local/launcher_client.h"
#include "provider/local/local_internal.h"

/*
 * Disks and snapshots: files of the launcher's. A request to make one is answered when it is there, however long a copy
 * takes; its token names its directory.
 */

struct sighting
local_disk_sighting(const struct launcher_reply *r)
{
	return (struct sighting){
	    .token = r->id,
	    .ref = r->id,
	    .state = r->state == LAUNCHER_DEAD	   ? SIGHTING_DEAD
		     : r->state == LAUNCHER_MAKING ? SIGHTING_STARTING
						   : SIGHTING_READY,
	    .error = r->state == LAUNCHER_DEAD ? "it is not complete" : NULL,
	    .sessions = -1,
	    .created_at = (int64_t)r->created_at_ms,
	};
}

static void
sight(struct local *l, const char *id, enum sighting_state state)
{
	struct sighting s = {.token = id, .ref = id, .state = state, .sessions = -1};

	l->env.sighting(l->env.arg, &s);
}

/* ---- removing ---- */

static bool
is_being_made(const struct local *l, const char *id)
{
	const struct pending *p;

	list_for_each (p, &l->making, in_local)
		if (strcmp(p->id, id) == 0)
			return true;
	return false;
}

static void
removed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;
	struct local *l = p->l;
	char id[LAUNCHER_ID_MAX];

	/* Its making has been told to stop, but may be one that has not begun. */
	if (err->code == ERR_NONE && is_being_made(l, p->id)) {
		list_push_back(&l->removals, &p->in_local);
		return;
	}
	p->err = *err;
	memcpy(id, p->id, sizeof(id));
	local_answer(p);
	if (err->code == ERR_NONE)
		sight(l, id, SIGHTING_GONE);
}

static void
remove_now(struct pending *p)
{
	struct launcher_request q = {.op = LAUNCHER_DISK_REMOVE};

	memcpy(q.disk, p->id, sizeof(q.disk));
	launcher_client_call(p->l->disk_moves, &q, removed, p);
}

static void
remove_those_waiting(struct local *l, const char *id)
{
	struct pending *p, *tmp;

	if (is_being_made(l, id) || l->closing)
		return;
	list_for_each_safe (p, tmp, &l->removals, in_local)
		if (strcmp(p->id, id) == 0) {
			list_remove(&p->in_local);
			remove_now(p);
		}
}

void
local_disk_remove(struct provider *pr, const char *token, const char *ref,
    provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct pending *p = local_pending_new(l, token, done, arg);

	if (strlen(token) < sizeof(p->id)) {
		remove_now(p);
		return;
	}
	err_set(&p->err, ERR_INVALID, "id: too long");
	local_answer_later(p);
}

/* ---- making ---- */

static void
made(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;
	struct local *l = p->l;
	char id[LAUNCHER_ID_MAX];

	p->err = *err;
	memcpy(id, p->id, sizeof(id));
	list_remove(&p->in_local);
	local_answer(p);
	if (err->code == ERR_NONE)
		sight(l, id, SIGHTING_READY);
	remove_those_waiting(l, id);
}

static void
make(struct local *l, struct launcher_request *q, const char *token, const char *source,
    provider_launch_fn done, void *arg)
{
	struct pending *p = local_pending_new(l, token, NULL, arg);

	p->launched = done;
	if (local_copy_field(q->disk, sizeof(q->disk), token, "id", &p->err) < 0 ||
	    local_copy_field(q->source, sizeof(q->source), source, "source", &p->err) <
		0) {
		local_answer_later(p);
		return;
	}
	list_push_back(&l->making, &p->in_local);
	launcher_client_call(l->disk_makes, q, made, p);
}

void
local_disk_make(
    struct provider *pr, const struct disk_spec *spec, provider_launch_fn done, void *arg)
{
	struct launcher_request q = {
	    .op = LAUNCHER_DISK_MAKE, .size_bytes = (uint64_t)spec->size_bytes};

	make((struct local *)pr, &q, spec->token, spec->source_ref, done, arg);
}

void
local_disk_snapshot(struct provider *pr, const char *token, const char *disk_ref,
    provider_launch_fn done, void *arg)
{
	struct launcher_request q = {.op = LAUNCHER_DISK_SNAPSHOT};

	make((struct local *)pr, &q, token, disk_ref, done, arg);
}

/* ---- in machines ---- */

static int
fill(struct launcher_request *q, const struct attach_spec *s, struct err *err)
{
	if (local_copy_field(q->id, sizeof(q->id), s->machine, "machine", err) < 0 ||
	    local_copy_field(q->disk, sizeof(q->disk), s->disk, "disk", err) < 0)
		return -1;
	return local_copy_field(
	    q->disk_name, sizeof(q->disk_name), s->name, "disk's name", err);
}

static void
attached(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;
	char warning[sizeof(r->message)];

	p->err = *err;
	if (err->code == ERR_NONE && r->message[0]) {
		memcpy(warning, r->message, sizeof(warning));
		warning[sizeof(warning) - 1] = '\0';
		p->warning = warning;
	}
	local_answer(p);
}

void
local_disk_attach(struct provider *pr, const struct attach_spec *spec,
    provider_attach_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct launcher_request q = {.op = LAUNCHER_DISK_ATTACH};
	struct pending *p = local_pending_new(l, spec->disk, NULL, arg);

	p->attached = done;
	if (fill(&q, spec, &p->err) < 0)
		local_answer_later(p);
	else
		launcher_client_call(l->disk_moves, &q, attached, p);
}

static void
detached(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;

	p->err = *err;
	local_answer(p);
}

void
local_disk_detach(
    struct provider *pr, const struct attach_spec *spec, provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct launcher_request q = {.op = LAUNCHER_DISK_DETACH};
	struct pending *p = local_pending_new(l, spec->disk, done, arg);

	if (fill(&q, spec, &p->err) < 0)
		local_answer_later(p);
	else
		launcher_client_call(l->disk_moves, &q, detached, p);
}

/* ---- the end ---- */

void
local_disks_close(struct local *l)
{
	launcher_client_close(l->disk_makes);
	launcher_client_close(l->disk_moves);
	while (!list_empty(&l->removals)) {
		struct pending *p =
		    list_entry(l->removals.next, struct pending, in_local);

		list_remove(&p->in_local);
		err_set(&p->err, ERR_CANCELLED, "hearthd is stopping");
		local_answer(p);
	}
}
