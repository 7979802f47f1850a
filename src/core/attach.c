/* SPDX-License-Identifier: Apache-2.0 */
#include "core/attach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/core_internal.h"
#include "core/request.h"

#define DETACH_GRACE_MS (20 * 1000)
#define RETRY_MAX_MS (60 * 1000)
#define TELL_TIMEOUT_MS (10 * 1000)

struct cattach {
	struct reservation_disk rd;
	struct creservation *r;	    /* borrowed */
	struct list in_reservation; /* owned by it */
	struct cdisk *disk;	    /* borrowed; NULL: there is none any more */
	struct list in_disk;	    /* waits for the disk */
	struct plan_run *run;	    /* owned reference; NULL: at rest */
	bool begun;
};

enum { ATTACH_STEP_DISK, ATTACH_STEP_CLAIM, ATTACH_STEP_ATTACH };
enum { DETACH_STEP_DETACH };

static const struct plan plan_attach, plan_detach;

static void detach_begin(struct cdisk *d);

static bool
holds(const struct cattach *a)
{
	return a->disk && id_equal(&a->disk->d.holder, &a->r->r.id);
}

static struct cattach *
attach_of(const struct creservation *r, const struct cdisk *d)
{
	struct cattach *a;

	list_for_each (a, &r->disks, in_reservation)
		if (a->disk == d)
			return a;
	return NULL;
}

static struct cattach *
attach_new(struct creservation *r, const struct reservation_disk *rd, struct cdisk *d)
{
	struct cattach *a = xnew(struct cattach);

	a->rd = *rd;
	a->r = r;
	a->disk = d;
	list_init(&a->in_disk);
	list_push_back(&r->disks, &a->in_reservation);
	return a;
}

static void
put_text(struct creservation *r)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	const struct cattach *a;

	list_for_each (a, &r->disks, in_reservation)
		reservation_disk_put(&b, &a->rd);
	free(r->r.disks);
	r->r.disks = b.len ? buf_take(&b) : NULL;
}

/* ---- what its user reads at login ---- */

static void tell(struct creservation *r);

static void
told(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct id_of *id = arg;
	struct creservation *r = map_get(&id->core->reservations, id->id.s);

	free(id);
	if (err->code != ERR_NONE && err->code != ERR_CANCELLED)
		log_debug("the login message: %s", err->msg);
	if (!r)
		return;
	r->telling = false;
	if (r->tell_again)
		tell(r);
}

/* For /etc/motd, and between single quotes. */
static void
put_message(struct buf *b, const struct cattach *a)
{
	const struct reservation_disk *d = &a->rd;

	switch (d->state) {
	case ATTACH_ATTACHED:
		buf_fmt(b, "disk %s: at /disk/%s%s%s", d->name, d->name,
		    d->error[0] ? ", read-only: " : "", d->error);
		break;
	case ATTACH_FAILED:
		buf_fmt(b,
		    "disk %s: failed: %s; /disk/%s is a directory of this machine and "
		    "ends "
		    "with it",
		    d->name, d->error, d->name);
		break;
	default:
		buf_fmt(
		    b, "disk %s: on its way; it will be at /disk/%s", d->name, d->name);
		break;
	}
}

static void
tell(struct creservation *r)
{
	AUTO_BUF struct buf b = BUF_INIT(0), text = BUF_INIT(0);
	struct cmachine *m = r->machine;
	const struct cattach *a;
	struct id_of *id;

	if (!m || list_empty(&r->disks) || r->r.state != RESERVATION_ACTIVE)
		return;
	r->tell_again = r->telling;
	if (r->telling)
		return;
	r->telling = true;
	list_for_each (a, &r->disks, in_reservation) {
		if (a->rd.state == ATTACH_FAILED)
			buf_fmt(&b, "mkdir -p /disk/%s && chown '%s:' /disk/%s || :\n",
			    a->rd.name,
			    r->pool->p.login ? r->pool->p.login : r->core->opt.login,
			    a->rd.name);
		put_message(&text, a);
		buf_char(&text, '\n');
	}
	for (size_t i = 0; i < text.len; i++) /* an error may quote */
		if (text.data[i] == '\'')
			text.data[i] = '"';
	buf_fmt(&b, "printf %%s '%s' >/etc/motd\n", text.data);
	id = xnew(struct id_of);
	*id = (struct id_of){r->core, r->r.id};
	m->pool->provider->p->ops->setup(m->pool->provider->p, m->m.id.s,
	    m->m.provider_ref, b.data, TELL_TIMEOUT_MS, told, id);
}

/* ---- state ---- */

static void
moved(struct cattach *a, enum attach_state to, const char *error)
{
	a->rd.state = to;
	(void)snprintf(a->rd.error, sizeof(a->rd.error), "%.*s", DISK_ERROR_MAX - 1,
	    error ? error : "");
	for (char *s = a->rd.error; *s; s++)
		if (*s == '\n' || *s == '\r')
			*s = ' ';
	put_text(a->r);
	if (a->r->durable || a->r->claiming) /* else its first row has it */
		core_save_reservation(a->r);
	tell(a->r);
	request_answer_waiters(a->r);
}

static void
hold(struct cattach *a)
{
	struct cdisk *d = a->disk;

	d->d.holder = a->r->r.id;
	d->d.snapshot_due = a->rd.snapshot;
	disk_moved(d, DISK_ATTACHED);
}

/* The machine is part of the row in the write that has the intent. */
static void
bind_machine(struct cattach *a)
{
	struct creservation *r = a->r;

	if (!holds(a) || !r->machine || r->claiming ||
	    !plan_step_running(a->run, ATTACH_STEP_CLAIM))
		return;
	a->disk->d.machine = r->machine->m.id;
	core_save_disk(a->disk);
	plan_step_done(a->run, ATTACH_STEP_CLAIM, NULL, 0);
}

/* Nothing of it is attached anywhere: it is free. */
static void
let_go(struct cdisk *d)
{
	bool snapshot = d->d.snapshot_due;

	d->d.holder = d->d.machine = (struct id){{0}};
	d->d.snapshot_due = false;
	if (d->d.state == DISK_ATTACHED) {
		if (snapshot)
			disk_take_snapshot(d);
		disk_moved(d, DISK_AVAILABLE);
	} else {
		core_save_disk(d);
	}
}

static void
give_back(struct cdisk *d)
{
	if (d->d.state == DISK_ATTACHED && !id_empty(&d->d.machine))
		detach_begin(d);
	else
		let_go(d);
}

/* ---- attaching ---- */

/* It is there and free: from here on it is ours. */
static void
take_disk(struct cattach *a)
{
	if (!holds(a) || a->disk->d.state != DISK_ATTACHED)
		hold(a);
	plan_step_done(a->run, ATTACH_STEP_DISK, a->disk->d.id.s, 0);
	if (a->run)
		bind_machine(a);
	turns_go_on(a->r);
}

static void
try_disk(struct cattach *a)
{
	struct cdisk *d = a->disk;
	const struct creservation *who;
	bool free_ = d && (id_empty(&d->d.holder) || holds(a));
	struct err err;

	list_remove(&a->in_disk);
	if (free_ && (d->d.state == DISK_AVAILABLE || d->d.state == DISK_ATTACHED)) {
		take_disk(a);
		return;
	}
	if (!d) {
		err_set(&err, ERR_NOT_FOUND, "there is no such disk any more");
	} else if (d->d.state == DISK_FAILED) {
		err_set(&err, ERR_UNAVAILABLE, "%s",
		    d->d.error ? d->d.error : "it could not be made");
	} else if (d->d.state == DISK_DELETING || d->d.state == DISK_DELETED) {
		err_set(&err, ERR_NOT_FOUND, "it was deleted");
	} else if (holds(a) || a->rd.wait) {
		list_push_back(&d->takers, &a->in_disk);
		return;
	} else {
		who = map_get(&d->core->reservations, d->d.holder.s);
		err_set(&err, ERR_CONFLICT, "reservation '%s' has it",
		    who ? who->r.name : d->d.holder.s);
	}
	plan_step_failed(a->run, ATTACH_STEP_DISK, &err);
}

static void
disk_start(struct plan_run *run, int i)
{
	try_disk(run->owner);
}

static void
claim_start_step(struct plan_run *run, int i)
{
	/* bind_machine() ends it */
}

static void
attach_answered(void *arg, const char *warning, const struct err *err)
{
	struct plan_run *run = arg;

	if (!run->over && plan_step_running(run, ATTACH_STEP_ATTACH)) {
		struct cattach *a = run->owner;

		if (err->code == ERR_NONE) {
			plan_step_done(run, ATTACH_STEP_ATTACH, a->disk->d.id.s, 0);
			moved(a, ATTACH_ATTACHED, warning);
		} else {
			plan_step_failed(run, ATTACH_STEP_ATTACH, err);
		}
	}
	plan_run_unref(run);
}

static void
attach_start(struct plan_run *run, int i)
{
	struct cattach *a = run->owner;
	struct cmachine *m = a->r->machine;
	struct cdisk *d = a->disk;
	struct provider *p = d->provider->p;
	struct err err;

	if (!m) {
		err_set(&err, ERR_UNAVAILABLE, "the machine is gone");
		plan_step_failed(run, i, &err);
		return;
	}
	moved(a, ATTACH_ATTACHING, NULL);
	p->ops->disk_attach(p,
	    &(struct attach_spec){.disk = d->d.id.s,
		.disk_ref = d->d.provider_ref,
		.machine = m->m.id.s,
		.machine_ref = m->m.provider_ref,
		.name = a->rd.name},
	    attach_answered, plan_run_ref(run));
}

/* The reservation goes on without it, or not. */
static void
attach_failed(struct cattach *a, const char *why)
{
	struct creservation *r = a->r;
	char error[300];

	log_warn("reservation %s: disk %s: %s", r->r.id.s, a->rd.name, why);
	if (holds(a))
		give_back(a->disk);
	moved(a, ATTACH_FAILED, why);
	if (!a->rd.required) {
		turns_go_on(r);
		return;
	}
	(void)snprintf(error, sizeof(error), "disk '%s': %.200s", a->rd.name, why);
	reservation_end(r, END_FAILED, error);
}

static void
attach_finished(struct plan_run *run, const struct err *err)
{
	struct cattach *a = run->owner;

	if (a->run == run) {
		plan_run_drop(a->run);
		a->run = NULL;
	}
	if (err->code != ERR_NONE && err->code != ERR_CANCELLED)
		attach_failed(a, err->msg);
}

/* clang-format off */
static const struct plan plan_attach = {
	.name = "disk",
	.n = 3,
	.steps = {
		[ATTACH_STEP_DISK]   = { .name = "disk", .start = disk_start },
		[ATTACH_STEP_CLAIM]  = { .name = "claim", .elsewhere = true,
		                         .start = claim_start_step },
		[ATTACH_STEP_ATTACH] = { .name = "attach", .effect = true,
		                         .waits_for = 1u << ATTACH_STEP_DISK | 1u << ATTACH_STEP_CLAIM,
		                         .start = attach_start },
	},
	.finished = attach_finished,
};
/* clang-format on */

const struct plan *
attach_plan(void)
{
	return &plan_attach;
}

bool
attach_plan_has(const char *step)
{
	for (int i = 0; i < plan_attach.n; i++)
		if (!plan_attach.steps[i].elsewhere &&
		    strcmp(plan_attach.steps[i].name, step) == 0)
			return true;
	return false;
}

static void
begin(struct cattach *a)
{
	a->begun = true;
	if (a->disk && a->disk->held_back)
		disk_make_when_durable(a->disk);
	a->run =
	    plan_run_new(a->r->core, &plan_attach, a, a->r->r.id, ++a->r->disk_attempts);
	for (int i = 0; i < plan_attach.n; i++)
		xstrset(&a->run->rows[i].token, a->rd.name);
	plan_run_start(a->run);
	if (a->run)
		bind_machine(a);
}

void
attach_machine(struct creservation *r)
{
	struct cattach *a;

	list_for_each (a, &r->disks, in_reservation)
		if (a->run)
			bind_machine(a);
	tell(r);
}

/* ---- detaching ---- */

static void
end_machine_overdue(void *arg)
{
	struct creservation *r = arg;

	log_warn("reservation %s: its disks are not detached yet; ending its machine",
	    r->r.id.s);
	if (r->machine)
		machine_end(r->machine, NULL);
}

static void
detached(struct cdisk *d)
{
	struct creservation *r = map_get(&d->core->reservations, d->d.holder.s);
	struct cattach *a = r ? attach_of(r, d) : NULL;

	if (a && r->r.state != RESERVATION_ENDED && a->rd.state == ATTACH_WAITING) {
		d->d.machine = (struct id){{0}}; /* it is still its holder's */
		core_save_disk(d);
		begin(a);
		return;
	}
	let_go(d);
	if (!a || r->r.state != RESERVATION_ENDED || --r->detaching > 0)
		return;
	timer_off(&r->detach_timer);
	if (r->machine)
		machine_end(r->machine, NULL);
	else
		reservation_undone(r);
}

static void
detach_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (!run->over && plan_step_running(run, DETACH_STEP_DETACH)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, DETACH_STEP_DETACH, NULL, 0);
		else
			plan_step_failed(run, DETACH_STEP_DETACH, err);
	}
	plan_run_unref(run);
}

static void
detach_start(struct plan_run *run, int i)
{
	struct cdisk *d = run->owner;
	struct provider *p = d->provider->p;
	const struct cmachine *m = map_get(&d->core->machines, d->d.machine.s);
	const struct creservation *r = map_get(&d->core->reservations, d->d.holder.s);
	const struct cattach *a = r ? attach_of(r, d) : NULL;

	p->ops->disk_detach(p,
	    &(struct attach_spec){.disk = d->d.id.s,
		.disk_ref = d->d.provider_ref,
		.machine = d->d.machine.s,
		.machine_ref = m ? m->m.provider_ref : NULL,
		.name = a ? a->rd.name : d->d.name},
	    detach_answered, plan_run_ref(run));
}

static void
detach_again(void *arg)
{
	detach_begin(arg);
}

static void
detach_finished(struct plan_run *run, const struct err *err)
{
	struct cdisk *d = run->owner;
	int64_t delay = 1000;

	plan_run_drop(d->run);
	d->run = NULL;
	if (err->code == ERR_NONE) {
		detached(d);
		return;
	}
	for (int i = 1; i < d->attempts && delay < RETRY_MAX_MS; i++)
		delay *= 2;
	log_warn("disk %s: detach: %s; trying again in %d s", d->d.id.s, err->msg,
	    (int)(delay / 1000));
	timer_set(d->core->clock, &d->timer, delay, detach_again, d);
}

/* clang-format off */
static const struct plan plan_detach = {
	.name = "detach",
	.n = 1,
	.steps = {
		[DETACH_STEP_DETACH] = { .name = "detach", .effect = true, .start = detach_start },
	},
	.finished = detach_finished,
};
/* clang-format on */

static void
detach_begin(struct cdisk *d)
{
	timer_off(&d->timer);
	if (d->run)
		return; /* under way */
	d->run = plan_run_new(d->core, &plan_detach, d, d->d.id, ++d->attempts);
	plan_run_start(d->run);
}

/* ---- a reservation's ends and turns ---- */

static void
stop(struct cattach *a, const char *why)
{
	struct err err;

	list_remove(&a->in_disk);
	if (!a->run)
		return;
	err_set(&err, ERR_CANCELLED, "%s", why);
	plan_run_cancel(a->run, &err);
}

void
attach_swap(struct creservation *r)
{
	struct cattach *a;

	list_for_each (a, &r->disks, in_reservation) {
		if (a->rd.state == ATTACH_FAILED || !holds(a) ||
		    id_empty(&a->disk->d.machine))
			continue; /* nothing of it is there: its plan goes on */
		stop(a, "the machine is being replaced");
		moved(a, ATTACH_WAITING, NULL);
		give_back(a->disk); /* detached() begins again */
	}
}

bool
attach_release(struct creservation *r)
{
	struct cattach *a, *tmp;

	list_for_each_safe (a, tmp, &r->disks, in_reservation) {
		stop(a, "the reservation has ended");
		if (a->rd.state != ATTACH_FAILED)
			a->rd.state = ATTACH_DETACHED;
		if (!holds(a))
			continue;
		if (a->disk->d.state == DISK_ATTACHED && !id_empty(&a->disk->d.machine))
			r->detaching++;
		give_back(a->disk);
	}
	put_text(r);
	if (r->detaching > 0)
		timer_set(r->core->clock, &r->detach_timer, DETACH_GRACE_MS,
		    end_machine_overdue, r);
	return r->detaching > 0;
}

void
attach_discard(struct creservation *r)
{
	struct cattach *a;

	list_for_each (a, &r->disks, in_reservation) {
		stop(a, "the reservation could not be stored");
		if (!holds(a))
			continue;
		give_back(a->disk);
		if (a->rd.made)
			disk_remove(a->disk);
	}
}

void
attach_free(struct creservation *r)
{
	struct cattach *a, *tmp;

	timer_off(&r->detach_timer);
	list_for_each_safe (a, tmp, &r->disks, in_reservation) {
		plan_run_drop(a->run);
		list_remove(&a->in_disk);
		list_remove(&a->in_reservation);
		free(a);
	}
}

bool
attach_settled(const struct creservation *r)
{
	const struct cattach *a;

	list_for_each (a, &r->disks, in_reservation)
		if (a->rd.state == ATTACH_WAITING || a->rd.state == ATTACH_ATTACHING)
			return false;
	return true;
}

void
attach_each_run(
    const struct creservation *r, void (*fn)(struct plan_run *run, void *arg), void *arg)
{
	const struct cattach *a;

	list_for_each (a, &r->disks, in_reservation)
		if (a->run)
			fn(a->run, arg);
}

/* ---- a disk's ---- */

void
attach_disk_moved(struct cdisk *d)
{
	struct creservation *r;
	struct cattach *a, *tmp;
	struct list waiting;

	/* the first of those who wait; it may be that nobody gets it */
	list_init(&waiting);
	while (!list_empty(&d->takers)) {
		a = list_entry(d->takers.next, struct cattach, in_disk);
		list_remove(&a->in_disk);
		list_push_back(&waiting, &a->in_disk);
	}
	list_for_each_safe (a, tmp, &waiting, in_disk)
		try_disk(a);
	if (d->d.state != DISK_FAILED || id_empty(&d->d.holder))
		return;
	/* it was there, and is lost */
	r = map_get(&d->core->reservations, d->d.holder.s);
	a = r ? attach_of(r, d) : NULL;
	d->d.holder = d->d.machine = (struct id){{0}};
	core_save_disk(d);
	if (a && a->rd.state != ATTACH_FAILED && r->r.state != RESERVATION_ENDED) {
		stop(a, "the disk is lost");
		attach_failed(a, d->d.error ? d->d.error : "it is lost");
	}
}

void
attach_adopt(struct cdisk *d)
{
	struct creservation *r = map_get(&d->core->reservations, d->d.holder.s);
	struct cattach *a = r ? attach_of(r, d) : NULL;

	if (id_empty(&d->d.holder))
		return;
	if (!a || r->r.state == RESERVATION_ENDED) {
		give_back(d);
	} else if (!id_empty(&d->d.machine) && !id_equal(&d->d.machine, &r->r.machine)) {
		moved(a, ATTACH_WAITING, NULL);
		give_back(d);
	} else if (!a->run && a->rd.state != ATTACH_ATTACHED &&
		   a->rd.state != ATTACH_FAILED) {
		begin(a);
	}
}

void
attach_disk_freed(struct cdisk *d)
{
	struct creservation *r = map_get(&d->core->reservations, d->d.holder.s);
	struct cattach *a = r ? attach_of(r, d) : NULL;

	if (a)
		a->disk = NULL;
	while (!list_empty(&d->takers)) {
		a = list_entry(d->takers.next, struct cattach, in_disk);
		a->disk = NULL;
		if (d->core->closing)
			list_remove(&a->in_disk);
		else
			try_disk(a);
	}
}

/* ---- from a request, or from the store ---- */

void
attach_begin(struct creservation *r, const struct reserve_disk *disks, int n,
    const struct reserve_request *req)
{
	struct cattach *a;

	for (int i = 0; i < n; i++) {
		struct cdisk *d = disk_own(r->core, r->r.uid, disks[i].name);
		struct reservation_disk rd = {.wait = req->wait_disk,
		    .required = req->require_disk,
		    .snapshot = req->snapshot_disks,
		    .made = !d};

		(void)snprintf(rd.name, sizeof(rd.name), "%s", disks[i].name);
		if (!d)
			d = disk_create_for(r, disks[i].name, disks[i].size_bytes);
		rd.disk = d->d.id;
		(void)attach_new(r, &rd, d);
	}
	put_text(r);
	list_for_each (a, &r->disks, in_reservation)
		if (!r->pool->p.one_at_a_time)
			begin(a);
}

bool
attach_next(struct creservation *r)
{
	struct cattach *a;

	list_for_each (a, &r->disks, in_reservation) {
		if (!a->begun)
			begin(a);
		if (plan_step_running(a->run, ATTACH_STEP_DISK))
			return true;
	}
	return false;
}

void
attach_restore(struct creservation *r)
{
	const char *at = r->r.disks;
	struct reservation_disk rd;

	while (reservation_disk_next(&at, &rd)) {
		struct cdisk *d = map_get(&r->core->disks_by_id, rd.disk.s);
		struct cattach *a = attach_new(r, &rd, d);

		/* one that has its holder begins when the inventory is in: attach_adopt() */
		if (rd.state == ATTACH_ATTACHED || rd.state == ATTACH_FAILED || holds(a))
			continue;
		begin(a);
	}
}
