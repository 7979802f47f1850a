/* SPDX-License-Identifier: Apache-2.0 */
#include "core/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/core_internal.h"

enum { HOME_STEP_HOME, HOME_STEP_CLAIM, HOME_STEP_MOUNT };

#define NOTICE "no shared home: "

/* What a provider has said of a user's home. */
struct known {
	char uid[16]; /* key in the pool's homes */
	char *ref;    /* owned: the provider's name for it */
};

static const struct plan plan_home;

/* While the core closes there may be no provider any more. */
static bool
is_wanted(const struct creservation *r)
{
	return !r->core->closing && r->pool->p.shared_home &&
	       r->pool->provider->p->ops->home_make;
}

/* ---- what is known ---- */

static void
uid_key(char out[16], uint32_t uid)
{
	(void)snprintf(out, 16, "%u", uid);
}

static const char *
known_ref(const struct creservation *r)
{
	char uid[16];
	const struct known *k;

	uid_key(uid, r->r.uid);
	k = map_get(&r->pool->homes, uid);
	return k ? k->ref : NULL;
}

static void
forget(struct cpool *p, struct known *k)
{
	map_remove(&p->homes, k->uid);
	free(k->ref);
	free(k);
}

void
home_forget_all(struct cpool *p)
{
	struct known *k;
	size_t at = 0;

	while ((k = map_next(&p->homes, &at)))
		forget(p, k);
	map_fini(&p->homes);
	p->homes = (struct map){0};
}

static void
forget_one(struct creservation *r)
{
	char uid[16];
	struct known *k;

	uid_key(uid, r->r.uid);
	k = map_get(&r->pool->homes, uid);
	if (k)
		forget(r->pool, k);
}

static void
remember(struct creservation *r, const char *ref)
{
	struct known *k;

	forget_one(r);
	k = xnew(struct known);
	uid_key(k->uid, r->r.uid);
	k->ref = xstrdup(ref);
	map_put(&r->pool->homes, k->uid, k);
}

/* ---- what its user is told ---- */

/* The last part of the notice is ours: what keys had to say stands before it. */
static void
tell(struct creservation *r, const char *error)
{
	const char *ours = r->r.notice ? strstr(r->r.notice, NOTICE) : NULL;
	size_t kept = ours	    ? (size_t)(ours - r->r.notice)
		      : r->r.notice ? strlen(r->r.notice)
				    : 0;
	AUTO_FREE char *before = xstrndup(r->r.notice ? r->r.notice : "", kept);

	if (!ours && !error)
		return;
	while (kept > 0 && (before[kept - 1] == ' ' || before[kept - 1] == ';'))
		before[--kept] = '\0';
	free(r->r.notice);
	r->r.notice =
	    error  ? xasprintf("%s%s" NOTICE "%.200s", before, kept ? "; " : "", error)
	    : kept ? TAKE(before)
		   : NULL;
	core_save_reservation(r);
}

/* ---- the steps ---- */

static void
home_answered(void *arg, const char *ref, const struct err *err)
{
	struct plan_run *run = arg;

	if (!run->over && plan_step_running(run, HOME_STEP_HOME)) {
		struct creservation *r = run->owner;

		if (err->code == ERR_NONE) {
			remember(r, ref);
			xstrset(&r->home_ref, ref);
			plan_step_done(run, HOME_STEP_HOME, ref, 0);
			turns_go_on(r);
		} else {
			plan_step_failed(run, HOME_STEP_HOME, err);
		}
	}
	plan_run_unref(run);
}

static void
home_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;
	struct provider *p = r->pool->provider->p;

	p->ops->home_make(
	    p, r->r.uid, r->pool->p.options, home_answered, plan_run_ref(run));
}

static void
claim_start_step(struct plan_run *run, int i)
{
	/* go_on() ends it */
}

static void
mount_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (!run->over && plan_step_running(run, HOME_STEP_MOUNT)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, HOME_STEP_MOUNT,
			    ((struct creservation *)run->owner)->home_ref, 0);
		else
			plan_step_failed(run, HOME_STEP_MOUNT, err);
	}
	plan_run_unref(run);
}

static void
mount_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;
	struct cmachine *m = r->machine;
	struct provider *p = r->pool->provider->p;
	struct err err;

	if (!m) {
		err_set(&err, ERR_CANCELLED, "the machine is gone");
		plan_step_failed(run, i, &err);
		return;
	}
	p->ops->home_attach(p, m->m.id.s, m->m.provider_ref, r->home_ref, mount_answered,
	    plan_run_ref(run));
}

static void begin(struct creservation *r);
static void go_on(struct plan_run *run);

static void
home_failed(struct creservation *r, bool known, const struct err *err)
{
	forget_one(r);
	if (known) { /* it was there once; somebody may have removed it since */
		begin(r);
		go_on(r->home_run);
		return;
	}
	log_warn(
	    "reservation %s: shared home: %s; it goes on without", r->r.id.s, err->msg);
	r->home_over = true;
	tell(r, err->msg);
	turns_go_on(r);
}

static void
home_finished(struct plan_run *run, const struct err *err)
{
	struct creservation *r = run->owner;
	bool known = run->state[HOME_STEP_HOME] == RUN_SKIPPED;

	if (r->home_run != run)
		return;
	r->home_run = NULL;
	if (err->code == ERR_NONE) {
		r->home_over = true;
		tell(r, NULL);
	} else if (err->code != ERR_CANCELLED) {
		home_failed(r, known, err);
	}
	plan_run_unref(run);
}

/* clang-format off */
static const struct plan plan_home = {
	.name = "home",
	.n = 3,
	.steps = {
		[HOME_STEP_HOME]  = { .name = "home", .effect = true, .start = home_start },
		[HOME_STEP_CLAIM] = { .name = "claim", .elsewhere = true, .start = claim_start_step },
		[HOME_STEP_MOUNT] = { .name = "mount", .effect = true,
		                      .waits_for = 1u << HOME_STEP_HOME | 1u << HOME_STEP_CLAIM,
		                      .start = mount_start },
	},
	.finished = home_finished,
};
/* clang-format on */

const struct plan *
home_plan(void)
{
	return &plan_home;
}

bool
home_plan_has(const char *step)
{
	return strcmp(step, plan_home.steps[HOME_STEP_HOME].name) == 0 ||
	       strcmp(step, plan_home.steps[HOME_STEP_MOUNT].name) == 0;
}

/* ---- its course ---- */

static void
begin(struct creservation *r)
{
	const char *ref = known_ref(r);

	r->home_over = false;
	r->home_run = plan_run_new(r->core, &plan_home, r, r->r.id, ++r->home_attempts);
	if (ref) {
		xstrset(&r->home_ref, ref);
		plan_run_skip(r->home_run, HOME_STEP_HOME);
	}
}

void
home_begin(struct creservation *r)
{
	if (!is_wanted(r) || r->home_run || r->home_over)
		return;
	begin(r);
	plan_run_start(r->home_run);
}

bool
home_is_being_made(const struct creservation *r)
{
	return r->home_run && (r->home_run->state[HOME_STEP_HOME] == RUN_INTENT ||
				  r->home_run->state[HOME_STEP_HOME] == RUN_STARTED);
}

void
home_prepare(struct creservation *r, struct store_tx *tx)
{
	struct plan_run *run;

	if (!is_wanted(r) || r->home_over)
		return;
	if (!r->home_run)
		begin(r);
	run = r->home_run;
	if (run->state[HOME_STEP_HOME] == RUN_WAITING)
		plan_run_prepare(run, HOME_STEP_HOME, tx);
	else if (run->state[HOME_STEP_HOME] == RUN_DONE ||
		 run->state[HOME_STEP_HOME] == RUN_SKIPPED)
		plan_run_prepare(run, HOME_STEP_MOUNT, tx);
}

/* The reservation has its machine. The caller has a reference. */
static void
go_on(struct plan_run *run)
{
	plan_run_start(run);
	if (!run->over && plan_step_running(run, HOME_STEP_CLAIM))
		plan_step_done(run, HOME_STEP_CLAIM, NULL, 0);
}

/* What was written with the claim, or in line before it, is durable by now. */
static void
after_reply(void *arg)
{
	struct plan_run *run = arg;

	if (!run->core->closing) {
		plan_run_begin(run, HOME_STEP_HOME);
		plan_run_begin(run, HOME_STEP_MOUNT);
		if (!run->over)
			go_on(run);
	}
	plan_run_unref(run);
}

void
home_claimed(struct creservation *r)
{
	if (r->home_run)
		core_defer(r->core, after_reply, plan_run_ref(r->home_run));
}

void
home_stop(struct creservation *r, const char *why)
{
	plan_run_abandon(r->home_run, why);
	r->home_run = NULL;
	r->home_over = false;
}

void
home_restore(struct creservation *r)
{
	struct plan_run *run;

	if (!r->home_owed || !is_wanted(r) || r->home_run)
		return;
	r->home_owed = false;
	begin(r);
	run = plan_run_ref(r->home_run);
	go_on(run);
	plan_run_unref(run);
}

void
home_free(struct creservation *r)
{
	plan_run_drop(r->home_run);
	r->home_run = NULL;
	free(TAKE(r->home_ref));
}
