/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "core/attach.h"

/*
 * Disks and their snapshots: made, shown, and removed, each by a plan of its own. A clone is a snapshot, a
 * disk made from it, and the snapshot's end.
 */

#define READY_TIMEOUT_MS (10 * 60 * 1000)
#define GONE_TIMEOUT_MS (60 * 1000)
#define RETRY_MAX_MS (60 * 1000)
#define EXPIRY_LOOK_MS (60 * 60 * 1000) /* the wall clock may be set meanwhile */

enum { MAKE_STEP_MAKE, MAKE_STEP_READY };
enum { REMOVE_STEP_REMOVE, REMOVE_STEP_GONE };

static const struct plan make_plan, remove_plan;

/* ---- in memory ---- */

struct cdisk *
disk_new(struct core *c, struct cprovider *pr, const struct disk *row)
{
	struct cdisk *d = xnew(struct cdisk);

	disk_copy(&d->d, row);
	d->core = c;
	d->provider = pr;
	list_init(&d->takers);
	list_push_back(&c->disks, &d->in_core);
	map_put(&c->disks_by_id, d->d.id.s, d);
	return d;
}

void
disk_free(struct cdisk *d)
{
	attach_disk_freed(d);
	plan_run_drop(d->run);
	timer_off(&d->timer);
	list_remove(&d->in_core);
	map_remove(&d->core->disks_by_id, d->d.id.s);
	disk_fini(&d->d);
	free(d);
}

void
disk_moved(struct cdisk *d, enum disk_state to)
{
	assert(d->d.state == to || disk_may_move(d->d.state, to));
	d->d.state = to;
	if (to == DISK_DELETED)
		d->d.ended_at = clock_wall_ms(d->core->clock);
	core_save_disk(d);
	attach_disk_moved(d);
}

static struct cdisk *
source_of(const struct cdisk *d)
{
	return id_empty(&d->d.source) ? NULL
				      : map_get(&d->core->disks_by_id, d->d.source.s);
}

/* ---- making ---- */

static void remove_begin(struct cdisk *d);

/* The snapshot that is to outlive a disk that is being deleted; NULL: none, or it is there. */
static struct cdisk *
last_snapshot(const struct cdisk *d)
{
	struct cdisk *o;

	list_for_each (o, &d->core->disks, in_core)
		if (o->d.expires_at && id_equal(&o->d.source, &d->d.id) &&
		    o->d.state == DISK_CREATING)
			return o;
	return NULL;
}

static void
expiry_due(void *arg)
{
	struct cdisk *d = arg;
	int64_t left = d->d.expires_at - clock_wall_ms(d->core->clock);

	if (left <= 0)
		disk_remove(d);
	else
		timer_set(d->core->clock, &d->timer,
		    left < EXPIRY_LOOK_MS ? left : EXPIRY_LOOK_MS, expiry_due, d);
}

/* Of a disk that is being deleted. Without it nothing is deleted. */
static void
last_settled(struct cdisk *snapshot)
{
	struct cdisk *d = source_of(snapshot);
	char why[200];

	if (snapshot->d.state == DISK_AVAILABLE)
		expiry_due(snapshot);
	if (!d || d->d.state != DISK_DELETING || d->run || last_snapshot(d))
		return;
	if (snapshot->d.state == DISK_AVAILABLE) {
		remove_begin(d);
		return;
	}
	(void)snprintf(why, sizeof(why), "not deleted: its last snapshot failed: %.120s",
	    snapshot->d.error ? snapshot->d.error : "it is gone");
	xstrset(&d->d.error, why);
	disk_moved(d, DISK_AVAILABLE);
	disk_remove(snapshot);
}

static void
fail(struct cdisk *d, const char *why)
{
	xstrset(&d->d.error, why);
	disk_moved(d, DISK_FAILED);
	log_warn("disk %s: %s", d->d.id.s, why);
}

/* What was waiting for this snapshot goes on, and a snapshot that served its one purpose goes. */
static void
settled(struct cdisk *d)
{
	struct cdisk *o, *tmp, *source;

	if (disk_is_snapshot(d))
		list_for_each_safe (o, tmp, &d->core->disks, in_core) {
			if (!id_equal(&o->d.source, &d->d.id) || o->run ||
			    o->d.state != DISK_CREATING)
				continue;
			if (d->d.state == DISK_AVAILABLE)
				disk_make(o);
			else
				fail(o, d->d.error ? d->d.error : "its snapshot is gone");
		}
	if (d->d.expires_at)
		last_settled(d);
	source = disk_is_snapshot(d) ? NULL : source_of(d);
	if (source && source->d.transient && !source->run &&
	    (source->d.state == DISK_AVAILABLE || source->d.state == DISK_FAILED))
		disk_remove(source);
}

static void
make_answered(void *arg, const char *ref, const struct err *err)
{
	struct plan_run *run = arg;
	struct cdisk *d = plan_run_owner(run);

	if (d && plan_step_running(run, MAKE_STEP_MAKE)) {
		if (err->code == ERR_NONE) {
			xstrset(&d->d.provider_ref, ref);
			store_tx_disk(core_tx(d->core), &d->d);
			plan_step_done(run, MAKE_STEP_MAKE, ref, 0);
		} else {
			plan_step_failed(run, MAKE_STEP_MAKE, err);
		}
	}
	plan_run_unref(run);
}

/* Of the pool whose machines it will be in, as far as that is known; a zone may follow from it. */
static const char *
options_of(const struct cdisk *d)
{
	struct core *c = d->core;
	const struct creservation *r = map_get(&c->reservations, d->d.holder.s);
	const struct cpool *p = r ? r->pool : pool_find(c, "default");

	if (p && p->provider == d->provider)
		return p->p.options;
	list_for_each (p, &c->pools, in_core)
		if (p->provider == d->provider)
			return p->p.options;
	return NULL;
}

static void
make_start(struct plan_run *run, int i)
{
	struct cdisk *d = run->owner, *source = source_of(d);
	struct provider *p = d->provider->p;

	if (disk_is_snapshot(d))
		p->ops->disk_snapshot(p, d->d.id.s,
		    source ? source->d.provider_ref : NULL, make_answered,
		    plan_run_ref(run));
	else
		p->ops->disk_make(p,
		    &(struct disk_spec){.token = d->d.id.s,
			.size_bytes = d->d.size_bytes,
			.source_ref = source ? source->d.provider_ref : NULL,
			.options = options_of(d)},
		    make_answered, plan_run_ref(run));
}

/* Whatever was answered, it may be there: only its removal makes sure. */
static void
make_undo(struct plan_run *run, int i)
{
	remove_begin(run->owner);
}

static void
ready_overdue(void *arg)
{
	struct cdisk *d = arg;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "not there within %d s", READY_TIMEOUT_MS / 1000);
	if (d->run && plan_step_running(d->run, MAKE_STEP_READY))
		plan_step_failed(d->run, MAKE_STEP_READY, &err);
}

static void
ready_start(struct plan_run *run, int i)
{
	struct cdisk *d = run->owner;

	if (d->seen_ready)
		plan_step_done(run, i, NULL, 0);
	else
		timer_set(
		    run->core->clock, &d->timer, READY_TIMEOUT_MS, ready_overdue, d);
}

static void
make_finished(struct plan_run *run, const struct err *err)
{
	struct cdisk *d = run->owner;

	timer_off(&d->timer);
	if (d->run == run) {
		plan_run_drop(d->run);
		d->run = NULL;
	}
	if (err->code == ERR_NONE) {
		disk_moved(d, DISK_AVAILABLE);
	} else if (err->code == ERR_CANCELLED) {
		disk_moved(d, DISK_DELETING);
		if (!d->run)
			remove_begin(d);
		return;
	} else {
		fail(d, err->msg);
	}
	settled(d);
}

/* clang-format off */
static const struct plan make_plan = {
	.name = "disk",
	.n = 2,
	.steps = {
		[MAKE_STEP_MAKE]  = { .name = "create", .effect = true, .start = make_start,
		                      .undo = make_undo },
		[MAKE_STEP_READY] = { .name = "available", .waits_for = 1u << MAKE_STEP_MAKE,
		                      .start = ready_start },
	},
	.finished = make_finished,
};
/* clang-format on */

void
disk_make(struct cdisk *d)
{
	struct cdisk *source = source_of(d);

	if (!disk_is_snapshot(d) && source && source->d.state == DISK_CREATING)
		return; /* settled() comes back */
	d->run = plan_run_new(d->core, &make_plan, d, d->d.id, ++d->attempts);
	xstrset(&d->run->rows[MAKE_STEP_MAKE].token, d->d.id.s);
	plan_run_start(d->run);
}

/* ---- removing ---- */

static void
remove_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (plan_run_owner(run) && plan_step_running(run, REMOVE_STEP_REMOVE)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, REMOVE_STEP_REMOVE, NULL, 0);
		else
			plan_step_failed(run, REMOVE_STEP_REMOVE, err);
	}
	plan_run_unref(run);
}

static void
remove_start(struct plan_run *run, int i)
{
	struct cdisk *d = run->owner;
	struct provider *p = d->provider->p;

	if (d->gone)
		plan_step_done(run, i, NULL, 0);
	else
		p->ops->disk_remove(
		    p, d->d.id.s, d->d.provider_ref, remove_answered, plan_run_ref(run));
}

static void
gone_overdue(void *arg)
{
	struct cdisk *d = arg;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "still there %d s after it was removed",
	    GONE_TIMEOUT_MS / 1000);
	if (d->run && plan_step_running(d->run, REMOVE_STEP_GONE))
		plan_step_failed(d->run, REMOVE_STEP_GONE, &err);
}

static void
gone_start(struct plan_run *run, int i)
{
	struct cdisk *d = run->owner;

	if (d->gone)
		plan_step_done(run, i, NULL, 0);
	else
		timer_set(run->core->clock, &d->timer, GONE_TIMEOUT_MS, gone_overdue, d);
}

static void
over_durable(void *arg, const struct err *err)
{
	struct id_of *id = arg;
	struct core *c = id->core;
	struct cdisk *d = map_get(&c->disks_by_id, id->id.s);

	free(id);
	if (d && !c->closing && err->code == ERR_NONE)
		disk_free(
		    d); /* else the rewrite writes it, and the next start drops it */
}

static void
remove_again(void *arg)
{
	remove_begin(arg);
}

static void
remove_finished(struct plan_run *run, const struct err *err)
{
	struct cdisk *d = run->owner;
	int64_t delay = 1000;

	timer_off(&d->timer);
	plan_run_drop(d->run);
	d->run = NULL;
	if (err->code == ERR_NONE) {
		struct id_of *id;

		if (d->d.state != DISK_DELETING)
			return; /* it failed, and stays to say why until its user deletes it */
		disk_moved(d, DISK_DELETED);
		id = xnew(struct id_of);
		*id = (struct id_of){d->core, d->d.id};
		core_tx_then(d->core, over_durable, id);
		return;
	}
	for (int i = 1; i < d->attempts && delay < RETRY_MAX_MS; i++)
		delay *= 2;
	log_warn("disk %s: remove: %s; trying again in %d s", d->d.id.s, err->msg,
	    (int)(delay / 1000));
	timer_set(d->core->clock, &d->timer, delay, remove_again, d);
}

/* clang-format off */
static const struct plan remove_plan = {
	.name = "remove",
	.n = 2,
	.steps = {
		[REMOVE_STEP_REMOVE] = { .name = "remove", .effect = true, .start = remove_start },
		[REMOVE_STEP_GONE]   = { .name = "gone", .waits_for = 1u << REMOVE_STEP_REMOVE,
		                         .start = gone_start },
	},
	.finished = remove_finished,
};
/* clang-format on */

static void
remove_begin(struct cdisk *d)
{
	timer_off(&d->timer);
	plan_run_drop(d->run);
	d->run = plan_run_new(d->core, &remove_plan, d, d->d.id, ++d->attempts);
	xstrset(&d->run->rows[REMOVE_STEP_REMOVE].token, d->d.id.s);
	xstrset(&d->run->rows[REMOVE_STEP_REMOVE].resource, d->d.provider_ref);
	plan_run_start(d->run);
}

void
disk_remove(struct cdisk *d)
{
	if (d->d.state == DISK_CREATING && d->run) {
		struct err err;

		err_set(&err, ERR_CANCELLED, "it was deleted");
		plan_run_cancel(d->run, &err);
		return;
	}
	if (d->d.state == DISK_DELETING || d->d.state == DISK_DELETED)
		return;
	if (d->d.state == DISK_AVAILABLE && !disk_is_snapshot(d) &&
	    d->core->opt.keep_deleted_ms > 0)
		disk_take_last_snapshot(
		    d, clock_wall_ms(d->core->clock) + d->core->opt.keep_deleted_ms);
	timer_off(&d->timer); /* of a snapshot that was to go later */
	disk_moved(d, DISK_DELETING);
	if (!d->run && !last_snapshot(d)) /* else its removal is under way already */
		remove_begin(d);
}

/* ---- what is seen ---- */

void
disk_sighted(struct cdisk *d, const struct sighting *s)
{
	struct err err;

	if (s->ref && !d->d.provider_ref && s->state != SIGHTING_GONE)
		xstrset(&d->d.provider_ref, s->ref);
	switch (s->state) {
	case SIGHTING_READY:
		d->seen_ready = true;
		if (d->d.state == DISK_FAILED && d->d.lost) {
			log_warn("disk %s: it is there again", d->d.id.s);
			d->d.lost = false;
			xstrset(&d->d.error, NULL);
			disk_moved(d, DISK_AVAILABLE);
		}
		if (d->run && d->run->plan == &make_plan &&
		    plan_step_running(d->run, MAKE_STEP_READY))
			plan_step_done(d->run, MAKE_STEP_READY, NULL, s->resolution_ms);
		break;
	case SIGHTING_GONE:
	case SIGHTING_DEAD:
		d->gone = s->state == SIGHTING_GONE;
		err_set(&err, ERR_UNAVAILABLE, "it is gone%s%s", s->error ? ": " : "",
		    s->error ? s->error : "");
		if (d->run && d->run->plan == &remove_plan) {
			if (d->gone && plan_step_running(d->run, REMOVE_STEP_GONE))
				plan_step_done(
				    d->run, REMOVE_STEP_GONE, NULL, s->resolution_ms);
		} else if (d->run && plan_step_running(d->run, MAKE_STEP_READY)) {
			plan_step_failed(d->run, MAKE_STEP_READY, &err);
		} else if (d->d.state == DISK_AVAILABLE || d->d.state == DISK_ATTACHED) {
			d->d.lost = true;
			fail(d, err.msg);
			settled(d);
		}
		break;
	default:
		break;
	}
}

/* The start's inventory; `s` is NULL where the provider has not got it. What was being made is made again, which is the
   same thing under the same token. */
void
disk_adopt(struct cdisk *d, const struct sighting *s)
{
	switch (d->d.state) {
	case DISK_CREATING:
		if (s)
			disk_sighted(d, s);
		if (!d->run)
			disk_make(d);
		break;
	case DISK_DELETING:
		if (!d->run && !last_snapshot(d))
			remove_begin(d);
		break;
	case DISK_FAILED:
		if (d->d.lost && s)
			disk_sighted(d, s);
		else if (s && s->state != SIGHTING_GONE && !d->run)
			remove_begin(d);
		break;
	default:
		disk_sighted(
		    d, s ? s : &(struct sighting){.state = SIGHTING_GONE, .ref = ""});
		if (d->d.expires_at && d->d.state == DISK_AVAILABLE && !d->run)
			expiry_due(d);
		break;
	}
	attach_adopt(d);
}
