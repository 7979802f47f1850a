/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_PLAN_H
#define CORE_PLAN_H

/*
 * Plans: static tables of steps, and the executor that starts every step whose waits are over. A step
 * with an effect is in the journal, durably, before it starts. When a step fails, or the plan is
 * cancelled, what was started is undone in reverse order.
 *
 * A run ends with exactly one call of `finished`, later or from inside plan_step_done() and
 * plan_step_failed(). It is counted: the subject holds one reference, every answer on its way another.
 * After the end, plan_step_done() and plan_step_failed() do nothing, so a late answer is harmless.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/model.h"

struct core;
struct plan_run;
struct store_tx;

#define PLAN_STEPS_MAX 8

struct plan_step {
	const char *name;
	uint32_t waits_for; /* bit i: step i of the same plan */
	bool effect;	    /* the journal has it before it starts */
	bool elsewhere;	    /* another plan's step of this name: not in the journal */
	bool optional;	    /* its failure is recorded, and the plan goes on */

	/* Leads to exactly one plan_step_done() or plan_step_failed(), now or later. */
	void (*start)(struct plan_run *run, int i);

	/* Begins to undo a step that was started; what it takes is the subject's to follow. NULL: nothing. */
	void (*undo)(struct plan_run *run, int i);
};

struct plan {
	const char *name;
	int n;
	struct plan_step steps[PLAN_STEPS_MAX];

	/* All steps are over: done (err->code ERR_NONE), or the first failure, after the undo began. */
	void (*finished)(struct plan_run *run, const struct err *err);
};

enum run_state {
	RUN_WAITING,
	RUN_INTENT,
	RUN_STARTED,
	RUN_DONE,
	RUN_FAILED,
	RUN_SKIPPED
};

struct plan_run {
	const struct plan *plan;
	struct core *core; /* borrowed */
	void *owner;	   /* the subject: struct cmachine, creservation or cdisk */
	struct id subject;
	int attempt;
	int refs;
	bool over;		       /* `finished` has been called, or will never be */
	uint8_t state[PLAN_STEPS_MAX]; /* enum run_state */
	struct step rows[PLAN_STEPS_MAX];
};

/* Makes a run without starting it. `owner` outlives it. */
struct plan_run *plan_run_new(
    struct core *c, const struct plan *plan, void *owner, struct id subject, int attempt);
struct plan_run *plan_run_ref(struct plan_run *run);
void plan_run_unref(struct plan_run *run);

/* The subject is done with it: no `finished` will be called. Drops the subject's reference; NULL is fine. */
void plan_run_drop(struct plan_run *run);

/* As drop, where the journal has open steps of it: they are closed as failed, and nothing is undone. */
void plan_run_abandon(struct plan_run *run, const char *why);

/* Before plan_run_start: this step is not part of this run (counts as done), or has been done already. */
void plan_run_skip(struct plan_run *run, int i);

/* For a step whose intent belongs into a transaction of the caller's: prepare puts the open row there,
   begin, once that is durable, starts the step. */
void plan_run_prepare(struct plan_run *run, int i, struct store_tx *tx);
void plan_run_begin(struct plan_run *run, int i);

/* Starts what can start. */
void plan_run_start(struct plan_run *run);

/* Of a run that may be NULL: how many steps are under way, or wait for their intent to be durable. */
int plan_run_open(const struct plan_run *run);

/* Puts every row that the journal has of it (again) into a transaction; `run` may be NULL. */
void plan_run_put(const struct plan_run *run, struct store_tx *tx);

/* For an answer that comes with a reference of its own: the subject, or NULL where nobody waits any more. */
static inline void *
plan_run_owner(const struct plan_run *run)
{
	return run->over ? NULL : run->owner;
}

/* The step is over. `resource` may be NULL. `resolution_ms`: how coarse its end was seen. */
void plan_step_done(struct plan_run *run, int i, const char *resource, int resolution_ms);
void plan_step_failed(struct plan_run *run, int i, const struct err *err);

static inline bool
plan_step_running(const struct plan_run *run, int i)
{
	return run && run->state[i] == RUN_STARTED;
}

/* Gives up: every step that is not over counts as failed with `err`, started ones are undone in reverse,
   and `finished` is called from inside. Answers that come later find no run. */
void plan_run_cancel(struct plan_run *run, const struct err *err);

#endif
