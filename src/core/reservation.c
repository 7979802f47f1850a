/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"
#include "core/home.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "core/attach.h"
#include "core/request.h"

#define LOOK_AGAIN_MS 60000 /* at deadlines: the wall clock may be set meanwhile */
#define WALL_STEP_MS 1000
#define LAUNCHES_MAX 3 /* cold launches that may fail before the reservation does */
#define SAVE_AGAIN_MS 1000

struct creservation *
reservation_new(struct core *c, const struct reservation *row)
{
	struct creservation *r = xnew(struct creservation);

	r->core = c;
	reservation_copy(&r->r, row);
	r->pool = pool_find(c, row->pool);
	list_init(&r->in_pool);
	list_init(&r->waiters);
	list_init(&r->disks);
	list_push_back(&c->live, &r->in_core);
	map_put(&c->reservations, r->r.id.s, r);
	r->owner_name = xasprintf("%u:%s", r->r.uid, r->r.name);
	map_put(&c->names, r->owner_name, r);
	if (row->request_id) {
		r->request_key = xasprintf("%u:%s", r->r.uid, row->request_id);
		map_put(&c->requests, r->request_key, r);
	}
	gang_join(r);
	return r;
}

void
reservation_free(struct creservation *r)
{
	struct core *c = r->core;

	assert(list_empty(&r->waiters) && !r->op);
	attach_free(r);
	plan_run_drop(r->run);
	plan_run_drop(r->push);
	home_free(r);
	timer_off(&r->timer);
	timer_off(&r->contact);
	timer_off(&r->push_again);
	gang_leave(r);
	list_remove(&r->in_pool);
	list_remove(&r->in_core);
	map_remove(&c->reservations, r->r.id.s);
	if (map_get(&c->names, r->owner_name) == r)
		map_remove(&c->names, r->owner_name);
	if (r->request_key)
		map_remove(&c->requests, r->request_key);
	certs_free(&r->certs);
	free(r->owner_name);
	free(r->request_key);
	free(r->keys_failed);
	free(r->known_hosts);
	reservation_fini(&r->r);
	free(r);
}

static void
free_if_over(struct creservation *r)
{
	if (r->r.state == RESERVATION_ENDED && r->end_durable && !r->machine &&
	    !r->claiming && !r->op && r->detaching == 0 && list_empty(&r->waiters))
		reservation_free(r);
}

void
reservation_moved(struct creservation *r, enum reservation_state to)
{
	if (r->r.state != to) {
		assert(reservation_may_move(r->r.state, to));
		r->r.state = to;
		core_save_reservation(r);
	}
}

/* ---- its life ---- */

/* In order of arrival: one that had a machine and lost it is not sent to the end. */
static void
join_line(struct creservation *r)
{
	struct list *line = &r->pool->waiting, *at = line->prev, *l;

	while (at != line &&
	       list_entry(at, struct creservation, in_pool)->r.serial > r->r.serial)
		at = at->prev;
	for (l = at; l != line; l = l->prev)
		if (list_entry(l, struct creservation, in_pool)->r.state ==
		    RESERVATION_QUEUED)
			break;
	r->position =
	    l == line ? 1 : list_entry(l, struct creservation, in_pool)->position + 1;
	list_insert_after(at, &r->in_pool);
	r->pool->n_waiting++;
}

void
reservation_wait_in_line(struct creservation *r, const char *miss_reason)
{
	reservation_plan_new(r);
	if (!r->r.miss_reason)
		xstrset(&r->r.miss_reason, miss_reason);
	r->r.path = PATH_COLD;
	if (!r->pool->p.one_at_a_time)
		join_line(r);
	if (r->r.state != RESERVATION_QUEUED) {
		if (r->durable)
			reservation_moved(r, RESERVATION_PREPARING);
		r->r.state = RESERVATION_PREPARING;
	}
	if (r->pool->p.one_at_a_time) {
		r->r.path = PATH_NONE; /* it has not missed anything yet */
		turns_begin(r);
		return;
	}
	plan_run_start(r->run);
	home_begin(r);
	pool_wake(r->pool);
}

void
reservation_line_up(struct creservation *r)
{
	join_line(r);
	plan_run_start(r->run);
	pool_wake(r->pool);
}

static void
leave_line(struct creservation *r)
{
	r->pool->n_waiting--;
	list_remove(&r->in_pool);
}

/* Begins what must not delay the reply. */
static void
after_reply(void *arg)
{
	struct plan_run *run = arg;

	if (!run->core->closing)
		plan_run_begin(run, HOLD_STEP_DEADLINE);
	plan_run_unref(run);
}

void
reservation_take(struct creservation *r, struct cmachine *m)
{
	if (!list_empty(&r->in_pool))
		leave_line(r);
	if (!r->run) {
		reservation_plan_new(r);
		plan_run_skip(r->run, HOLD_STEP_MACHINE);
	}
	claim_start(r, m);
	if (!r->r.public_keys)
		plan_run_start(r->run); /* fetches them meanwhile */
}

void
reservation_count_active(struct creservation *r)
{
	struct counters *n = &r->core->n;
	int64_t ms = clock_wall_ms(r->core->clock) - r->r.created_at, bound = 1;

	ms = ms > 0 ? ms : 0; /* the wall clock may be set back */

	n->reservations[r->r.path]++;
	n->active_ms_sum += (uint64_t)ms;
	n->active_ms_n++;
	for (int i = 0; i < 10; i++, bound *= 4)
		if (ms <= bound)
			n->active_ms_bucket[i]++;
}

/* It ended while its claim was on its way, and the request it was made by may still be open: that is told of it once
   the store has either; end_durable() goes on where it has not. */
static void
ended_meanwhile(struct creservation *r)
{
	if (r->machine && r->detaching == 0)
		machine_end(r->machine, NULL);
	request_answer_waiters(r);
	if (!r->op)
		free_if_over(r);
	else if (r->durable || r->end_durable)
		request_settled(r, NULL);
}

/* The claim is durable. */
void
reservation_claimed(struct creservation *r, bool first)
{
	struct core *c = r->core;
	struct cmachine *m = r->machine;

	if (r->r.state == RESERVATION_ENDED) {
		ended_meanwhile(r);
		return;
	}
	if (first && !r->opening)
		reservation_count_active(r);
	if (!m) { /* it died in that moment */
		reservation_swap(r, "the machine ended before it was handed over");
		request_settled(r, NULL);
		return;
	}
	if (r->unsaved)
		core_save_reservation(r);
	r->unsaved = false;
	list_push_back(&r->pool->served, &r->in_pool);
	r->idle_since_ms = clock_now_ms(c->clock);
	reservation_set_timer(r);
	if (plan_step_running(r->run, HOLD_STEP_MACHINE))
		plan_step_done(r->run, HOLD_STEP_MACHINE, m->m.id.s, 0);
	plan_run_begin(r->run, HOLD_STEP_CLAIM);
	attach_machine(r);
	home_claimed(r);
	if (r->run)
		core_defer(c, after_reply, plan_run_ref(r->run));
	if (r->keys_failed) {
		reservation_fail_for_keys(r);
		return;
	}
	if (r->opening)
		return; /* open_if_complete() goes on */
	gang_changed(r);
	request_settled(r, NULL);
	request_answer_waiters(r);
}

void
reservation_claim_failed(struct creservation *r, const struct err *err)
{
	plan_run_abandon(r->run, err->msg);
	r->run = NULL;
	home_stop(r, err->msg);
	if (r->r.state == RESERVATION_ENDED) {
		ended_meanwhile(r);
	} else if (err->code == ERR_CONFLICT && strcmp(err->msg, "request_id") != 0) {
		struct reserve_op *op = r->op;

		reservation_wait_in_line(r, "another daemon was faster");
		if (op && !r->durable)
			request_waits(r);
	} else if (r->durable) {
		reservation_wait_in_line(r, NULL); /* until the store writes again */
		if (r->unsaved)
			core_save_reservation(r);
		r->unsaved = false;
	} else {
		request_settled(r, err);
	}
}

/* Not stored, not to be: as if it had never been. */
void
reservation_discard(struct creservation *r, const struct err *why)
{
	request_fail_waiters(r, why);
	attach_discard(r);
	home_stop(r, why->msg);
	if (!list_empty(&r->in_pool) && r->r.state != RESERVATION_ACTIVE)
		leave_line(r);
	if (r->launching) {
		machine_unreserve(r->launching);
		r->launching = NULL;
		pool_wake(r->pool);
	}
	reservation_free(r);
}

static void save_end(struct creservation *r);

static void
save_end_again(void *arg)
{
	save_end(arg); /* the row itself is in the rewrite */
}

static void
end_durable(void *arg, const struct err *err)
{
	struct core *c = ((struct id_of *)arg)->core;
	struct creservation *r = map_get(&c->reservations, ((struct id_of *)arg)->id.s);

	free(arg);
	if (!r)
		return;
	if (err->code != ERR_NONE) {
		if (!c->closing)
			timer_set(c->clock, &r->timer, SAVE_AGAIN_MS, save_end_again, r);
		request_fail_waiters(r, err);
		request_settled(r, r->durable ? NULL : err);
		return;
	}
	r->end_durable = true;
	request_answer_waiters(r);
	if (r->op)
		request_settled(r, NULL);
	else
		free_if_over(r);
}

static void
save_end(struct creservation *r)
{
	struct id_of *id = xnew(struct id_of);

	*id = (struct id_of){r->core, r->r.id};
	core_tx_then(r->core, end_durable, id);
}

void
reservation_end(struct creservation *r, enum end_reason reason, const char *error)
{
	struct core *c = r->core;
	struct cmachine *m = r->machine;
	bool in_line =
	    !list_empty(&r->in_pool) && r->r.state != RESERVATION_ACTIVE && !r->opening;
	bool opening = r->opening, detaching;
	struct err err;

	if (r->r.state == RESERVATION_ENDED)
		return;
	detaching = attach_release(r);
	r->opening = false;
	if (in_line)
		leave_line(r);
	list_remove(&r->in_pool);
	r->r.reason = reason;
	r->r.ended_at = clock_wall_ms(c->clock);
	if (error)
		xstrset(&r->r.error, error);
	reservation_moved(r, RESERVATION_ENDED);
	c->n.ended[reason]++;
	timer_off(&r->timer);
	timer_off(&r->contact);
	timer_off(&r->push_again);
	err_set(&err, ERR_CANCELLED, "the reservation %s",
	    reason == END_EXPIRED     ? "expired"
	    : reason == END_CANCELLED ? "was cancelled"
				      : "failed");
	if (r->run && !r->claiming)
		plan_run_cancel(r->run, &err);
	if (r->push)
		plan_run_cancel(r->push, &err);
	home_stop(r, err.msg);
	gang_machine_left(r);
	if (map_get(&c->names, r->owner_name) == r)
		map_remove(&c->names, r->owner_name);
	save_end(r);
	if (r->launching) {
		struct cmachine *l = r->launching;

		r->launching = NULL;
		machine_unreserve(
		    l); /* it may serve the pool; if not, reconcile ends it */
	}
	if (m && !detaching)
		machine_end(m, NULL);
	pool_wake(r->pool);
	request_group_ended(r);
	if (opening)
		request_settled(r, r->keys_failed); /* it waited for them */
}

void
reservation_undone(struct creservation *r)
{
	request_answer_waiters(r);
	free_if_over(r);
}

void
reservation_let_go(struct creservation *r)
{
	free_if_over(r);
}

void
reservation_machine_gone(struct creservation *r, const char *why)
{
	int64_t now = clock_wall_ms(r->core->clock);

	if (r->opening) {
		plan_run_abandon(r->run, why);
		r->run = NULL;
		reservation_swap(r, why);
		request_settled(r, NULL);
		return;
	}
	if (r->r.state != RESERVATION_ACTIVE)
		return;
	if (r->run && plan_step_running(r->run, HOLD_STEP_CONTACT) && r->machine &&
	    r->machine->sessions <= 0) {
		/* nobody has been in it yet: the same as failing at first contact */
		timer_off(&r->contact);
		plan_run_abandon(r->run, why);
		r->run = NULL;
		reservation_swap(r, why);
		return;
	}
	if (now >= r->r.expires_at - 1000)
		reservation_end(r, END_EXPIRED, NULL);
	else
		reservation_end(r, END_FAILED, why);
}

void
reservation_launch_failed(struct creservation *r, const struct err *why)
{
	char error[300];

	if (++r->launches < LAUNCHES_MAX || r->r.state == RESERVATION_ENDED)
		return; /* it is still in the line; the pool launches again when it may */
	(void)snprintf(error, sizeof(error), "%s%d launches failed, the last one: %s",
	    why->code == ERR_NO_CAPACITY ? "no capacity: " : "", r->launches, why->msg);
	reservation_end(r, END_FAILED, error);
}

static void
timer_due(void *arg)
{
	struct creservation *r = arg;
	struct core *c = r->core;

	if (clock_wall_ms(c->clock) >= r->r.expires_at)
		reservation_end(r, END_EXPIRED, NULL);
	else if (r->r.idle_ms && r->machine && r->machine->sessions <= 0 &&
		 clock_now_ms(c->clock) - r->idle_since_ms >= r->r.idle_ms)
		reservation_end(r, END_EXPIRED, "idle");
	else {
		/* a machine counts from when it was told: after a step of the clock it is told anew */
		if (r->machine && llabs(reservation_wall_offset(c) -
					r->pushed_offset_ms) >= WALL_STEP_MS)
			reservation_push_deadline(r);
		reservation_set_timer(r);
	}
}

void
reservation_set_timer(struct creservation *r)
{
	struct core *c = r->core;
	int64_t left;

	if (r->r.state != RESERVATION_ACTIVE)
		return;
	left = r->r.expires_at - clock_wall_ms(c->clock);
	if (r->r.idle_ms && r->machine && r->machine->sessions <= 0) {
		int64_t idle = r->idle_since_ms + r->r.idle_ms - clock_now_ms(c->clock);

		left = idle < left ? idle : left;
	}
	timer_set(c->clock, &r->timer, left < LOOK_AGAIN_MS ? left : LOOK_AGAIN_MS,
	    timer_due, r);
}
