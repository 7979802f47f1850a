/* SPDX-License-Identifier: Apache-2.0 */

/* A machine that is stopped for its tier, and started again. */

#include "core/core_internal.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#define STOPPED_TIMEOUT_MS (20 * 60 * 1000) /* hibernating writes all of the memory */
#define START_AGAIN_MS (60 * 1000)

bool
machine_at_rest(const struct cmachine *m)
{
	return !m->run &&
	       (m->m.state == MACHINE_STOPPED || m->m.state == MACHINE_HIBERNATED);
}

static enum machine_state
tier_state(const struct cmachine *m)
{
	return m->m.tier == TIER_HIBERNATED ? MACHINE_HIBERNATED : MACHINE_STOPPED;
}

void
machine_stop_begin(struct cmachine *m)
{
	m->run = plan_run_new(m->core, &machine_stop_plan, m, m->m.id, 1);
	xstrset(&m->run->rows[STOP_STEP_STOP].token, m->m.id.s);
	xstrset(&m->run->rows[STOP_STEP_STOP].resource, m->m.provider_ref);
	plan_run_start(m->run);
}

void
machine_keep_running(struct cmachine *m)
{
	m->m.tier = TIER_RUNNING;
	machine_count_tiered(m, false);
	core_save_machine(m);
}

/* It counts as stopped from here on: nobody may claim it, and the row says so before it is asked to stop. */
void
machine_stop(struct cmachine *m)
{
	assert(m->m.state == MACHINE_READY && !m->reservation && !m->run &&
	       m->m.tier != TIER_RUNNING);
	pool_spent(m);
	m->seen_ready = false;
	m->for_miss = false;
	m->sessions = -1;
	machine_move(m, tier_state(m));
	machine_stop_begin(m);
}

static void
stop_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (plan_run_owner(run) && plan_step_running(run, STOP_STEP_STOP)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, STOP_STEP_STOP, NULL, 0);
		else
			plan_step_failed(run, STOP_STEP_STOP, err);
	}
	plan_run_unref(run);
}

static void
stop_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;
	struct provider *p = m->pool->provider->p;

	p->ops->stop(p, m->m.id.s, m->m.provider_ref, m->m.tier == TIER_HIBERNATED,
	    stop_answered, plan_run_ref(run));
}

static void
stopped_overdue(void *arg)
{
	struct cmachine *m = arg;
	struct err err;

	err_set(
	    &err, ERR_UNAVAILABLE, "not stopped within %d s", STOPPED_TIMEOUT_MS / 1000);
	if (plan_step_running(m->run, STOP_STEP_STOPPED))
		plan_step_failed(m->run, STOP_STEP_STOPPED, &err);
}

static void
stopped_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;

	if (m->seen_stopped)
		plan_step_done(run, i, NULL, 0);
	else
		timer_set(
		    run->core->clock, &m->timer, STOPPED_TIMEOUT_MS, stopped_overdue, m);
}

static void
stop_finished(struct plan_run *run, const struct err *err)
{
	struct cmachine *m = run->owner;

	timer_off(&m->timer);
	plan_run_drop(m->run);
	m->run = NULL;
	if (err->code != ERR_NONE)
		machine_end(m, err->msg);
	else
		pool_wake(m->pool);
}

/* clang-format off */
const struct plan machine_stop_plan = {
	.name = "stop",
	.n = 2,
	.steps = {
		[STOP_STEP_STOP]    = { .name = "stop", .effect = true, .start = stop_start },
		[STOP_STEP_STOPPED] = { .name = "stopped", .waits_for = 1u << STOP_STEP_STOP,
		                        .start = stopped_start },
	},
	.finished = stop_finished,
};
/* clang-format on */

void
machine_start(struct cmachine *m, struct creservation *r)
{
	assert(machine_at_rest(m) && !m->reservation);
	pool_spent(m);
	m->for_miss = true;
	m->seen_ready = m->seen_stopped = false;
	m->reservation = r;
	m->m.reservation = r ? r->r.id : (struct id){{0}};
	if (r)
		r->launching = m;
	machine_move(m, MACHINE_STARTING);
	m->run = plan_run_new(m->core, &machine_start_plan, m, m->m.id, 1);
	xstrset(&m->run->rows[START_STEP_START].token, m->m.id.s);
	xstrset(&m->run->rows[START_STEP_START].resource, m->m.provider_ref);
	plan_run_start(m->run);
}

static void
start_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;
	struct cmachine *m = plan_run_owner(run);

	if (m && plan_step_running(run, START_STEP_START)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, START_STEP_START, NULL, 0);
		else
			plan_step_failed(run, START_STEP_START, err);
	}
	plan_run_unref(run);
}

static void
start_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;
	struct cpool *p = m->pool;

	p->provider->p->ops->start(p->provider->p, m->m.provider_ref,
	    &(struct launch_spec){
		.token = m->m.id.s,
		.pool = p->p.name,
		.image = m->m.image,
		.image_version = m->m.image_version,
		.lease_s = machine_lease_s(p),
		.hostname = m->m.id.s,
		.user_ca = run->core->user_ca_line,
		.tier = m->m.tier,
		.options = p->p.options,
	    },
	    start_answered, plan_run_ref(run));
}

/* No capacity leaves it where it was, and the pool launches cold for a while; whatever else went wrong, nobody
   knows in what state it is. */
static void
start_failed(struct cmachine *m, const struct err *err)
{
	struct creservation *r = m->reservation;
	struct cpool *p = m->pool;

	if (r && r->launching == m)
		r->launching = NULL;
	m->reservation = NULL;
	m->m.reservation = (struct id){{0}};
	m->for_miss = false;
	if (err->code == ERR_NO_CAPACITY) {
		p->start_after_ms = clock_now_ms(p->core->clock) + START_AGAIN_MS;
		log_warn("machine %s: cannot be started: %s", m->m.id.s, err->msg);
		m->seen_stopped = true;
		machine_move(m, tier_state(m));
		return;
	}
	machine_end(m, err->msg);
	if (r && err->code != ERR_CANCELLED)
		reservation_launch_failed(r, err);
}

static void
start_finished(struct plan_run *run, const struct err *err)
{
	struct cmachine *m = run->owner;

	timer_off(&m->timer);
	plan_run_drop(m->run);
	m->run = NULL;
	if (err->code != ERR_NONE) {
		start_failed(m, err);
		return;
	}
	m->m.ready_at = clock_wall_ms(m->core->clock);
	pool_launch_ok(m->pool, -1);
	machine_move(m, MACHINE_READY);
}

/* clang-format off */
const struct plan machine_start_plan = {
	.name = "start",
	.n = 2,
	.steps = {
		[START_STEP_START] = { .name = "start", .effect = true, .start = start_start },
		[START_STEP_READY] = { .name = "ready", .waits_for = 1u << START_STEP_START,
		                       .start = machine_ready_start },
	},
	.finished = start_finished,
};
/* clang-format on */
