/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/request.h"
#include "ssh/pubkey.h"

#define LOOK_AGAIN_MS 60000 /* at deadlines: the wall clock may be set meanwhile */
#define WALL_STEP_MS 1000
#define CONTACT_DELAY_MS 250 /* a user who is in by then has proved it, at no cost */
#define PUSH_AGAIN_MS 1000
#define LAUNCHES_MAX 3 /* cold launches that may fail before the reservation does */
#define SWAPS_MAX 3
#define SAVE_AGAIN_MS 1000

static const struct plan hold_plan;
static void count_active(struct creservation *r);

struct creservation *
reservation_new(struct core *c, const struct reservation *row)
{
	struct creservation *r = xnew(struct creservation);

	r->core = c;
	reservation_copy(&r->r, row);
	r->pool = pool_find(c, row->pool);
	list_init(&r->in_pool);
	list_init(&r->waiters);
	list_push_back(&c->live, &r->in_core);
	map_put(&c->reservations, r->r.id.s, r);
	r->owner_name = xasprintf("%u:%s", r->r.uid, r->r.name);
	map_put(&c->names, r->owner_name, r);
	if (row->request_id) {
		r->request_key = xasprintf("%u:%s", r->r.uid, row->request_id);
		map_put(&c->requests, r->request_key, r);
	}
	return r;
}

void
reservation_free(struct creservation *r)
{
	struct core *c = r->core;

	assert(list_empty(&r->waiters) && !r->op);
	plan_run_drop(r->run);
	plan_run_drop(r->push);
	timer_off(&r->timer);
	timer_off(&r->contact);
	timer_off(&r->push_again);
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
	    !r->claiming && !r->op && list_empty(&r->waiters))
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

/* ---- the plan ---- */

static void
machine_step_start(struct plan_run *run, int i)
{
	/* pool.c finds it in the line; the claim ends the step */
}

static void
claim_step_start(struct plan_run *run, int i)
{
	plan_step_done(run, i, ((struct creservation *)run->owner)->r.machine.s, 0);
}

/* It is active: told when that is durable. */
static void
opened_durable(void *arg, const struct err *err)
{
	struct id_of *id = arg;
	struct creservation *r = map_get(&id->core->reservations, id->id.s);

	free(id);
	if (!r)
		return;
	request_settled(r, NULL);
	request_answer_waiters(r);
}

static bool
over(const struct plan_run *run, int i)
{
	return run->state[i] == RUN_DONE || run->state[i] == RUN_SKIPPED;
}

/* Its keys are known, its certificates made, and the machine takes them. */
static void
open_if_complete(struct creservation *r, const struct plan_run *run)
{
	struct id_of *id;

	if (!r->opening || !over(run, HOLD_STEP_CERTIFICATE) ||
	    !over(run, HOLD_STEP_ACCESS))
		return;
	r->opening = false;
	if (!r->r.ready_at) {
		r->r.ready_at = clock_wall_ms(r->core->clock);
		count_active(r);
	}
	reservation_moved(r, RESERVATION_ACTIVE);
	reservation_set_timer(r);
	id = xnew(struct id_of);
	*id = (struct id_of){r->core, r->r.id};
	core_tx_then(r->core, opened_durable, id);
}

static void
certificate_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;
	struct err err;

	if (r->certs && (!id_equal(&r->certs->machine, &r->r.machine) ||
			    r->certs->expires_at != r->r.expires_at))
		certs_free(&r->certs);
	if (!r->certs && certs_make(r, NULL, 0, &r->certs, &err) < 0) {
		plan_step_failed(run, i, &err);
		return;
	}
	if (!r->op) /* whoever asks later has them made anew */
		certs_free(&r->certs);
	plan_step_done(run, i, NULL, 0);
	if (!run->over)
		open_if_complete(r, run);
}

/* Without its user's keys it serves nobody. */
static void
fail_for_keys(struct creservation *r)
{
	if (plan_step_running(r->run, HOLD_STEP_KEYS))
		plan_step_failed(r->run, HOLD_STEP_KEYS, r->keys_failed);
}

static void
take_keys(struct creservation *r, const struct ssh_pubkey *keys, int n, const char *note)
{
	AUTO_BUF struct buf lines = BUF_INIT(0);

	for (int i = 0; i < n && i < CORE_KEYS_MAX; i++) {
		AUTO_FREE char *line = ssh_pubkey_line(&keys[i]);

		buf_fmt(&lines, "%s%s", i ? "\n" : "", line);
	}
	free(r->r.public_keys);
	r->r.public_keys = buf_take(&lines);
	if (note)
		xstrset(&r->r.notice, note);
	core_save_reservation(r);
}

/* While its claim is on its way to the store nothing is undone: the claim's answer goes on. */
static void
keys_fetched(void *arg, const struct ssh_pubkey *keys, int n, const char *note,
    const struct err *err)
{
	struct plan_run *run = arg;
	struct creservation *r = run->over ? NULL : run->owner;

	if (r && plan_step_running(run, HOLD_STEP_KEYS)) {
		if (err->code == ERR_NONE) {
			take_keys(r, keys, n, note);
			plan_step_done(run, HOLD_STEP_KEYS, r->r.github, 0);
			pool_wake(r->pool);
		} else {
			r->keys_failed = xnew(struct err);
			*r->keys_failed = *err;
			if (!r->claiming)
				fail_for_keys(r);
		}
	}
	plan_run_unref(run);
}

static void
keys_start(struct plan_run *run, int i)
{
	struct core *c = run->core;

	c->github.fetch(c->github.arg, ((struct creservation *)run->owner)->r.github,
	    keys_fetched, plan_run_ref(run));
}

static void
access_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (!run->over && plan_step_running(run, HOLD_STEP_ACCESS)) {
		if (err->code == ERR_NONE) {
			plan_step_done(run, HOLD_STEP_ACCESS, NULL, 0);
			if (!run->over)
				open_if_complete(run->owner, run);
		} else {
			plan_step_failed(run, HOLD_STEP_ACCESS, err);
		}
	}
	plan_run_unref(run);
}

static void
access_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;
	struct cmachine *m = r->machine;
	struct provider *p = m->pool->provider->p;

	p->ops->authorize(p, m->m.id.s, m->m.provider_ref, r->r.public_keys,
	    access_answered, plan_run_ref(run));
}

static void
push_again(void *arg)
{
	struct creservation *r = arg;

	if (r->r.state == RESERVATION_ACTIVE && r->machine)
		reservation_push_deadline(r);
}

/* The reservation goes on without it, and its deadline is pushed again until the machine has it. */
static void
push_failed(struct plan_run *run, int i, const struct err *err)
{
	struct creservation *r = run->owner;

	plan_step_failed(run, i, err);
	if (r->r.state == RESERVATION_ACTIVE && r->machine && !r->push)
		timer_set(r->core->clock, &r->push_again, PUSH_AGAIN_MS, push_again, r);
}

static void
push_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;
	struct creservation *r = run->over ? NULL : run->owner;
	int i = run->plan == &hold_plan ? HOLD_STEP_DEADLINE : 0;

	if (r && plan_step_running(run, i)) {
		if (err->code == ERR_NONE || r->r.state != RESERVATION_ACTIVE)
			plan_step_done(run, i, NULL, 0);
		else
			push_failed(run, i, err);
	}
	plan_run_unref(run);
}

static int64_t
wall_offset(const struct core *c)
{
	return clock_wall_ms(c->clock) - clock_now_ms(c->clock);
}

static void
push_deadline(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;
	struct cmachine *m = r->machine;
	int64_t left_ms = r->r.expires_at - clock_wall_ms(run->core->clock);
	char warning[256];
	struct err err;

	if (!m) {
		err_set(&err, ERR_UNAVAILABLE, "the machine is gone");
		plan_step_failed(run, i, &err);
		return;
	}
	r->pushed_offset_ms = wall_offset(run->core);
	(void)snprintf(warning, sizeof(warning),
	    "hearth: this machine ends in 5 minutes; to keep it: hearth extend %s "
	    "--hours 1",
	    r->r.name);
	/* Up to a second later: our own timer ends it to the millisecond, the machine's is for when we are gone. */
	m->pool->provider->p->ops->deadline(m->pool->provider->p, m->m.id.s,
	    m->m.provider_ref, left_ms > 0 ? left_ms / 1000 + 1 : 0, warning,
	    push_answered, plan_run_ref(run));
}

static void
push_finished(struct plan_run *run, const struct err *err)
{
	struct creservation *r = run->owner;

	if (r->push == run)
		r->push = NULL;
	plan_run_unref(run);
}

static const struct plan push_plan = {
    .name = "extend",
    .n = 1,
    .steps = {{.name = "deadline", .effect = true, .start = push_deadline}},
    .finished = push_finished,
};

void
reservation_push_deadline(struct creservation *r)
{
	timer_off(&r->push_again);
	/* the newest deadline wins; the provider takes them in order */
	plan_run_abandon(r->push, "a newer deadline took its place");
	r->push = plan_run_new(r->core, &push_plan, r, r->r.id, 1);
	plan_run_start(r->push);
}

static void
contact_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (!run->over && plan_step_running(run, HOLD_STEP_CONTACT)) {
		if (err->code == ERR_NONE || err->code == ERR_CANCELLED)
			plan_step_done(run, HOLD_STEP_CONTACT, NULL, 0);
		else
			plan_step_failed(run, HOLD_STEP_CONTACT, err);
	}
	plan_run_unref(run);
}

static void
contact_due(void *arg)
{
	struct creservation *r = arg;
	struct cmachine *m = r->machine;

	if (!r->run || !plan_step_running(r->run, HOLD_STEP_CONTACT))
		return;
	if (!m || m->sessions > 0) {
		plan_step_done(r->run, HOLD_STEP_CONTACT, NULL, CONTACT_DELAY_MS);
		return;
	}
	m->pool->provider->p->ops->contact(m->pool->provider->p, m->m.id.s, m->m.address,
	    m->m.port, contact_answered, plan_run_ref(r->run));
}

static void
contact_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;

	timer_set(run->core->clock, &r->contact, CONTACT_DELAY_MS, contact_due, r);
}

/* The machine it was given does not serve: another one takes its place. */
static void
swap(struct creservation *r, const char *why)
{
	struct cmachine *m = r->machine;
	char reason[160];

	r->machine = NULL;
	r->opening = false;
	r->r.machine = (struct id){{0}};
	if (m) {
		m->reservation = NULL;
		machine_end(m, why);
	}
	if (++r->swaps > SWAPS_MAX) {
		reservation_end(r, END_FAILED, why);
		return;
	}
	r->core->n.swaps++;
	log_warn("reservation %s: %s; giving it another machine", r->r.id.s, why);
	(void)snprintf(reason, sizeof(reason), "swapped: %s", why);
	list_remove(&r->in_pool);
	reservation_wait_in_line(r, reason);
	r->r.path = PATH_NONE; /* the next claim says */
}

static void
give_up_for_keys(struct creservation *r)
{
	struct err err = *r->keys_failed;

	if (r->durable)
		reservation_end(r, END_FAILED, err.msg);
	request_settled(r, &err);
}

static void
hold_finished(struct plan_run *run, const struct err *err)
{
	struct creservation *r = run->owner;
	bool opening;
	char why[200];

	timer_off(&r->contact);
	if (r->run == run)
		r->run = NULL;
	if (err->code == ERR_NONE)
		open_if_complete(r, run);
	plan_run_unref(run);
	if (err->code == ERR_NONE || err->code == ERR_CANCELLED)
		return;
	if (r->keys_failed) {
		give_up_for_keys(r);
		return;
	}
	if (r->r.state != RESERVATION_ACTIVE && !r->opening)
		return;
	(void)snprintf(why, sizeof(why), "%s: %.150s",
	    r->opening ? "its keys could not be brought there"
		       : "no ssh at first contact",
	    err->msg);
	opening = r->opening;
	swap(r, why);
	if (opening)
		request_settled(r, NULL); /* it waits for another */
}

/* clang-format off */
static const struct plan hold_plan = {
	.name = "reservation",
	.n = 7,
	.steps = {
		[HOLD_STEP_MACHINE]     = { .name = "machine", .start = machine_step_start },
		[HOLD_STEP_KEYS]        = { .name = "keys", .start = keys_start },
		[HOLD_STEP_CLAIM]       = { .name = "claim", .waits_for = 1u << HOLD_STEP_MACHINE,
		                            .start = claim_step_start },
		[HOLD_STEP_CERTIFICATE] = { .name = "certificate",
		                            .waits_for = 1u << HOLD_STEP_CLAIM | 1u << HOLD_STEP_KEYS,
		                            .start = certificate_start },
		[HOLD_STEP_DEADLINE]    = { .name = "deadline", .waits_for = 1u << HOLD_STEP_CLAIM,
		                            .effect = true, .optional = true, .start = push_deadline },
		[HOLD_STEP_ACCESS]      = { .name = "access",
		                            .waits_for = 1u << HOLD_STEP_CLAIM | 1u << HOLD_STEP_KEYS,
		                            .effect = true, .start = access_start },
		[HOLD_STEP_CONTACT]     = { .name = "contact",
		                            .waits_for = 1u << HOLD_STEP_CLAIM | 1u << HOLD_STEP_ACCESS,
		                            .start = contact_start },
	},
	.finished = hold_finished,
};
/* clang-format on */

const struct plan *
reservation_plan(void)
{
	return &hold_plan;
}

void
reservation_plan_new(struct creservation *r)
{
	plan_run_abandon(r->run, "begun anew with another machine");
	r->run = plan_run_new(r->core, &hold_plan, r, r->r.id, 1 + r->swaps);
	if (r->pool->access != ACCESS_AUTHORIZE)
		plan_run_skip(r->run, HOLD_STEP_ACCESS);
	if (r->r.public_keys)
		plan_run_skip(r->run, HOLD_STEP_KEYS);
}

void
reservation_contact(struct creservation *r)
{
	r->contact_owed = false;
	reservation_plan_new(r);
	for (int i = 0; i < HOLD_STEP_CONTACT; i++)
		plan_run_skip(r->run, i);
	plan_run_start(r->run);
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
	join_line(r);
	if (r->r.state != RESERVATION_QUEUED) {
		if (r->durable)
			reservation_moved(r, RESERVATION_PREPARING);
		r->r.state = RESERVATION_PREPARING;
	}
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

static void
count_active(struct creservation *r)
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

/* It ended while its claim was on its way, and the request it was made by may still be open. */
static void
ended_meanwhile(struct creservation *r)
{
	if (r->machine)
		machine_end(r->machine, NULL);
	request_answer_waiters(r);
	if (r->op)
		request_settled(r, NULL);
	else
		free_if_over(r);
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
		count_active(r);
	if (!m) { /* it died in that moment */
		swap(r, "the machine ended before it was handed over");
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
	if (r->run)
		core_defer(c, after_reply, plan_run_ref(r->run));
	if (r->keys_failed) {
		fail_for_keys(r);
		return;
	}
	if (r->opening)
		return; /* open_if_complete() goes on */
	request_settled(r, NULL);
	request_answer_waiters(r);
}

void
reservation_claim_failed(struct creservation *r, const struct err *err)
{
	plan_run_abandon(r->run, err->msg);
	r->run = NULL;
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
		request_fail_waiters(r, err);
		if (!c->closing)
			timer_set(c->clock, &r->timer, SAVE_AGAIN_MS, save_end_again, r);
		return;
	}
	r->end_durable = true;
	request_answer_waiters(r);
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
	bool opening = r->opening;
	struct err err;

	if (r->r.state == RESERVATION_ENDED)
		return;
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
	if (map_get(&c->names, r->owner_name) == r)
		map_remove(&c->names, r->owner_name);
	save_end(r);
	if (r->launching) {
		struct cmachine *l = r->launching;

		r->launching = NULL;
		machine_unreserve(
		    l); /* it may serve the pool; if not, reconcile ends it */
	}
	if (m)
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
		swap(r, why);
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
		swap(r, why);
		return;
	}
	if (now >= r->r.expires_at - 1000)
		reservation_end(r, END_EXPIRED, NULL);
	else
		reservation_end(r, END_FAILED, why);
}

void
reservation_launch_failed(struct creservation *r, const char *why)
{
	char error[300];

	if (++r->launches < LAUNCHES_MAX || r->r.state == RESERVATION_ENDED)
		return; /* it is still in the line; the pool launches again when it may */
	(void)snprintf(error, sizeof(error), "%d launches failed, the last one: %s",
	    r->launches, why);
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
		if (r->machine &&
		    llabs(wall_offset(c) - r->pushed_offset_ms) >= WALL_STEP_MS)
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
