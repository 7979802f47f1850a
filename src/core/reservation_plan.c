/* SPDX-License-Identifier: Apache-2.0 */

/* The steps of a reservation, from its machine to first contact. */

#include "core/core_internal.h"
#include "core/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/attach.h"
#include "core/request.h"
#include "ssh/pubkey.h"

#define CONTACT_DELAY_MS 250 /* a user who is in by then has proved it, at no cost */
#define PUSH_AGAIN_MS 1000
#define SWAPS_MAX 3

static const struct plan hold_plan;

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
		reservation_count_active(r);
	}
	reservation_moved(r, RESERVATION_ACTIVE);
	reservation_set_timer(r);
	gang_changed(r);
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
void
reservation_fail_for_keys(struct creservation *r)
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
	if (note && r->r.notice) { /* of its shared home, and that stays last */
		char *both = xasprintf("%s; %s", note, r->r.notice);

		free(r->r.notice);
		r->r.notice = both;
	} else if (note) {
		xstrset(&r->r.notice, note);
	}
	core_save_reservation(r);
}

/* While its claim is on its way to the store nothing is undone: the claim's answer goes on. */
static void
keys_fetched(void *arg, const struct ssh_pubkey *keys, int n, const char *note,
    const struct err *err)
{
	struct plan_run *run = arg;
	struct creservation *r = plan_run_owner(run);

	if (r && plan_step_running(run, HOLD_STEP_KEYS)) {
		if (err->code == ERR_NONE) {
			take_keys(r, keys, n, note);
			plan_step_done(run, HOLD_STEP_KEYS, r->r.github, 0);
			turns_go_on(r);
			pool_wake(r->pool);
		} else {
			r->keys_failed = xnew(struct err);
			*r->keys_failed = *err;
			if (!r->claiming)
				reservation_fail_for_keys(r);
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
	struct creservation *r = plan_run_owner(run);
	int i = run->plan == &hold_plan ? HOLD_STEP_DEADLINE : 0;

	if (r && plan_step_running(run, i)) {
		if (err->code == ERR_NONE || r->r.state != RESERVATION_ACTIVE)
			plan_step_done(run, i, NULL, 0);
		else
			push_failed(run, i, err);
	}
	plan_run_unref(run);
}

int64_t
reservation_wall_offset(const struct core *c)
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
	r->pushed_offset_ms = reservation_wall_offset(run->core);
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
void
reservation_swap(struct creservation *r, const char *why)
{
	struct cmachine *m = r->machine;
	char reason[160];

	attach_swap(r);
	home_stop(r, why);
	r->machine = NULL;
	r->opening = false;
	r->r.machine = (struct id){{0}};
	gang_machine_left(r);
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
	reservation_swap(r, why);
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
