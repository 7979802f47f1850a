/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "core/core_internal.h"

struct plan_run *
plan_run_new(
    struct core *c, const struct plan *plan, void *owner, struct id subject, int attempt)
{
	struct plan_run *run = xnew(struct plan_run);

	run->plan = plan;
	run->core = c;
	run->owner = owner;
	run->subject = subject;
	run->attempt = attempt;
	run->refs = 1;
	for (int i = 0; i < plan->n; i++)
		run->rows[i] = (struct step){
		    .subject = subject,
		    .name = plan->steps[i].name,
		    .attempt = attempt,
		    .waits_for = plan->steps[i].waits_for,
		};
	return run;
}

struct plan_run *
plan_run_ref(struct plan_run *run)
{
	run->refs++;
	return run;
}

void
plan_run_unref(struct plan_run *run)
{
	if (--run->refs > 0)
		return;
	for (int i = 0; i < run->plan->n; i++)
		step_fini(&run->rows[i]);
	free(run);
}

void
plan_run_drop(struct plan_run *run)
{
	if (!run)
		return;
	run->over = true;
	plan_run_unref(run);
}

void
plan_run_skip(struct plan_run *run, int i)
{
	run->state[i] = RUN_SKIPPED;
}

static bool
settled(const struct plan_run *run, int i)
{
	return run->state[i] == RUN_DONE || run->state[i] == RUN_SKIPPED ||
	       (run->state[i] == RUN_FAILED && run->plan->steps[i].optional);
}

static bool
may_start(const struct plan_run *run, int i)
{
	for (int w = 0; w < run->plan->n; w++)
		if ((run->rows[i].waits_for & (1u << w)) && !settled(run, w))
			return false;
	return run->state[i] == RUN_WAITING;
}

static void
begin(struct plan_run *run, int i)
{
	run->state[i] = RUN_STARTED;
	run->plan->steps[i].start(run, i);
}

static void
open_row(struct plan_run *run, int i)
{
	run->rows[i].id = run->rows[i].id ? run->rows[i].id : core_next_step(run->core);
	run->rows[i].started_at = clock_wall_ms(run->core->clock);
	run->rows[i].state = STEP_OPEN;
}

void
plan_run_prepare(struct plan_run *run, int i, struct store_tx *tx)
{
	open_row(run, i);
	run->state[i] = RUN_INTENT;
	store_tx_step(tx, &run->rows[i]);
}

void
plan_run_begin(struct plan_run *run, int i)
{
	if (!run->over && run->state[i] == RUN_INTENT)
		begin(run, i);
}

static void
journal(struct plan_run *run, int i)
{
	store_tx_step(core_tx(run->core), &run->rows[i]);
}

struct intent {
	struct plan_run *run; /* a reference */
	int i;
};

static void
intent_durable(void *arg, const struct err *err)
{
	struct intent *in = arg;
	struct plan_run *run = in->run;

	if (!run->over && run->state[in->i] == RUN_INTENT) {
		if (err->code == ERR_NONE)
			begin(run, in->i);
		else
			plan_step_failed(run, in->i, err);
	}
	plan_run_unref(run);
	free(in);
}

static void
tick(struct plan_run *run)
{
	bool moved, all = true;

	plan_run_ref(run);
	do {
		moved = false;
		for (int i = 0; i < run->plan->n && !run->over; i++) {
			if (!may_start(run, i))
				continue;
			moved = true;
			if (run->plan->steps[i].elsewhere) {
				begin(run, i);
				continue;
			}
			open_row(run, i);
			journal(run, i);
			if (run->plan->steps[i].effect) {
				struct intent *in = xnew(struct intent);

				in->run = plan_run_ref(run);
				in->i = i;
				run->state[i] = RUN_INTENT;
				core_tx_then(run->core, intent_durable, in);
			} else {
				begin(run, i);
			}
		}
	} while (moved && !run->over);
	for (int i = 0; i < run->plan->n; i++)
		all = all && settled(run, i);
	if (all && !run->over) {
		run->over = true;
		run->plan->finished(run, &(struct err){0});
	}
	plan_run_unref(run);
}

void
plan_run_start(struct plan_run *run)
{
	tick(run);
}

int
plan_run_open(const struct plan_run *run)
{
	int n = 0;

	for (int i = 0; run && i < run->plan->n; i++)
		n += !run->plan->steps[i].elsewhere &&
		     (run->state[i] == RUN_INTENT || run->state[i] == RUN_STARTED);
	return n;
}

void
plan_run_put(const struct plan_run *run, struct store_tx *tx)
{
	for (int i = 0; run && i < run->plan->n; i++)
		if (run->rows[i].id)
			store_tx_step(tx, &run->rows[i]);
}

static void
end_row(struct plan_run *run, int i, enum step_state state, const char *error)
{
	if (run->plan->steps[i].elsewhere)
		return;
	run->rows[i].state = state;
	run->rows[i].ended_at = clock_wall_ms(run->core->clock);
	xstrset(&run->rows[i].error, error);
	journal(run, i);
}

void
plan_run_abandon(struct plan_run *run, const char *why)
{
	if (!run)
		return;
	for (int i = 0; !run->over && i < run->plan->n; i++)
		if (run->state[i] == RUN_STARTED || run->state[i] == RUN_INTENT) {
			run->state[i] = RUN_FAILED;
			end_row(run, i, STEP_FAILED, why);
		}
	plan_run_drop(run);
}

void
plan_step_done(struct plan_run *run, int i, const char *resource, int resolution_ms)
{
	if (run->over || run->state[i] == RUN_DONE)
		return;
	assert(run->state[i] == RUN_STARTED);
	run->state[i] = RUN_DONE;
	run->rows[i].resolution_ms = resolution_ms;
	if (resource)
		xstrset(&run->rows[i].resource, resource);
	end_row(run, i, STEP_DONE, NULL);
	tick(run);
}

/* Everything that is started gets its undo, the last first; what waits never starts. */
static void
give_up(struct plan_run *run, const struct err *err)
{
	plan_run_ref(run);
	run->over = true;
	for (int i = run->plan->n - 1; i >= 0; i--) {
		bool started = run->state[i] == RUN_STARTED ||
			       run->state[i] == RUN_DONE || run->state[i] == RUN_INTENT ||
			       run->state[i] == RUN_FAILED;

		if (run->state[i] == RUN_STARTED || run->state[i] == RUN_INTENT) {
			run->state[i] = RUN_FAILED;
			end_row(run, i, STEP_FAILED, err->msg);
		}
		if (started && run->plan->steps[i].undo)
			run->plan->steps[i].undo(run, i);
	}
	run->plan->finished(run, err);
	plan_run_unref(run);
}

void
plan_step_failed(struct plan_run *run, int i, const struct err *err)
{
	if (run->over)
		return;
	run->state[i] = RUN_FAILED;
	end_row(run, i, STEP_FAILED, err->msg);
	if (run->plan->steps[i].optional)
		tick(run);
	else
		give_up(run, err);
}

void
plan_run_cancel(struct plan_run *run, const struct err *err)
{
	if (!run->over)
		give_up(run, err);
}
