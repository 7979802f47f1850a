/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "core/attach.h"
#include "core/core_internal.h"
#include "core/home.h"

/*
 * A trace is the journal's rows of a reservation and of its machine's launch, the latest attempt of
 * each. The machine's first step hangs under the reservation's step `machine`, so that the chain from
 * the request to the shell is one.
 */

#define STEPS_MAX 64

struct tracing {
	struct core *core;
	core_trace_fn done;
	void *arg;
	struct reservation r; /* owned copy */
	struct store_query q;
	double cost_usd;
	char *labels[STEPS_MAX]; /* owned */
	int n_labels;
};

static int
find_step(const struct trace_step *steps, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(steps[i].name, name) == 0)
			return i;
	return -1;
}

/* The first step of its machine: launched, or started from its tier; -1: none. */
static int
find_begin(const struct trace_step *steps, int n)
{
	int start = find_step(steps, n, "start");

	return start >= 0 ? start : find_step(steps, n, "launch");
}

/* Of `machine`, only the wait in line counts: the launch below it has steps of its own. */
static int64_t
length(const struct trace_step *steps, int n, int i, int64_t now)
{
	const struct step *s = steps[i].step;
	int64_t end = s->ended_at ? s->ended_at : now;
	int launch = strcmp(steps[i].name, "machine") == 0 ? find_begin(steps, n) : -1;

	if (launch >= 0 && steps[launch].step->started_at < end)
		end = steps[launch].step->started_at;
	return end > s->started_at ? end - s->started_at : 0;
}

static bool
waits_on(const struct trace_step *a, const char *name)
{
	for (int i = 0; i < a->n_waits; i++)
		if (strcmp(a->waits_for[i], name) == 0)
			return true;
	return false;
}

/* A step of a disk's plan bears the disk's name: there may be several. */
static const char *
label(struct tracing *tr, const char *name, const char *disk)
{
	char *text = xasprintf("%s %s", name, disk);

	for (int i = 0; i < tr->n_labels; i++)
		if (strcmp(tr->labels[i], text) == 0) {
			free(text);
			return tr->labels[i];
		}
	if (tr->n_labels == STEPS_MAX) {
		free(text);
		return name;
	}
	return tr->labels[tr->n_labels++] = text;
}

static bool
of_disk(const struct step *s)
{
	return s->subject.s[0] == 'r' && s->token && attach_plan_has(s->name);
}

static void
name_waits(struct tracing *tr, const struct plan *plan, struct trace_step *t)
{
	bool disk = of_disk(t->step);

	t->name = disk ? label(tr, t->step->name, t->step->token) : t->step->name;
	for (int i = 0; i < plan->n && t->n_waits < 8; i++)
		if (t->step->waits_for & (1u << i))
			t->waits_for[t->n_waits++] =
			    disk && !plan->steps[i].elsewhere
				? label(tr, plan->steps[i].name, t->step->token)
				: plan->steps[i].name;
}

/* A step that was not part of the plan's run has no row: what waits for it waits for what it waited for. */
static void
drop_missing_waits(struct trace_step *steps, int n)
{
	for (int i = 0; i < n; i++) {
		int kept = 0;

		for (int w = 0; w < steps[i].n_waits; w++)
			for (int j = 0; j < n; j++)
				if (strcmp(steps[j].name, steps[i].waits_for[w]) == 0) {
					steps[i].waits_for[kept++] =
					    steps[i].waits_for[w];
					break;
				}
		steps[i].n_waits = kept;
	}
}

/* From the step that made it active back to the first, always over the wait that ended last. */
static int64_t
mark_critical(struct trace_step *steps, int n, int last, int64_t now)
{
	int64_t sum = 0;

	for (int guard = 0; last >= 0 && guard < STEPS_MAX; guard++) {
		int before = -1;

		steps[last].critical = true;
		sum += length(steps, n, last, now);
		for (int i = 0; i < n; i++)
			if (!steps[i].critical && waits_on(&steps[last], steps[i].name) &&
			    (before < 0 ||
				steps[i].step->ended_at > steps[before].step->ended_at))
				before = i;
		last = before;
	}
	return sum;
}

/* What it goes on without. */
static void
add_failed_disks(const struct reservation *r, char *out, size_t size)
{
	const char *at = r->disks;
	struct reservation_disk d;

	while (reservation_disk_next(&at, &d))
		if (d.state == ATTACH_FAILED) {
			size_t n = strlen(out);

			(void)snprintf(out + n, size - n,
			    "; without disk '%s': %s, so /disk/%s ends with the machine",
			    d.name, d.error, d.name);
		}
}

static void
summarize(const struct trace *t, int64_t now, char *out, size_t size)
{
	const struct reservation *r = t->r;
	char slow[96] = "";

	if (t->slowest >= 0)
		(void)snprintf(slow, sizeof(slow), "; most of it went to '%s' (%lld ms)",
		    t->steps[t->slowest].name,
		    (long long)length(t->steps, t->n, t->slowest, now));
	if (!r->ready_at)
		(void)snprintf(out, size, "%s after %lld ms: %s%s",
		    reservation_state_name(r->state), (long long)t->total_ms,
		    r->error	     ? r->error
		    : r->miss_reason ? r->miss_reason
				     : "no machine yet",
		    slow);
	else if (r->path == PATH_WARM)
		(void)snprintf(
		    out, size, "served warm in %lld ms%s", (long long)t->total_ms, slow);
	else
		(void)snprintf(out, size, "served %s in %lld ms because %s%s",
		    path_name(r->path) ? path_name(r->path) : "cold",
		    (long long)t->total_ms,
		    r->miss_reason ? r->miss_reason : "no machine was ready", slow);
}

/* The launch follows the wait in line, and the claim the last step of the launch. */
static void
hang_launch(struct trace_step *steps, int n)
{
	int machine = find_step(steps, n, "machine"), launch = find_begin(steps, n);
	int claim = find_step(steps, n, "claim"), under = find_step(steps, n, "setup");

	if (machine < 0 || launch < 0)
		return;
	if (under < 0)
		under = find_step(steps, n, "ready");
	steps[launch].waits_for[steps[launch].n_waits++] = "machine";
	if (under >= 0 && claim >= 0) {
		steps[claim].waits_for[0] = steps[under].name;
		steps[claim].n_waits = 1;
	}
}

static int64_t
over_at(const struct trace_step *t, int64_t now)
{
	return t->step->ended_at ? t->step->ended_at : now;
}

/* The step that made it active, or the one it has come to. */
static int
last_of(const struct trace_step *steps, int n, int64_t now)
{
	static const char *const names[] = {"access", "certificate", "claim", "keys",
	    "setup", "ready", "start", "launch"};
	int last = -1;

	for (size_t i = 0; last < 0 && i < sizeof(names) / sizeof(names[0]); i++)
		last = find_step(steps, n, names[i]);
	last = last < 0 ? n - 1 : last;
	/* what was asked for is all there when its last disk is */
	for (int i = 0; i < n; i++)
		if (of_disk(steps[i].step) &&
		    (last < 0 || over_at(&steps[i], now) > over_at(&steps[last], now)))
			last = i;
	return last;
}

static void
build(struct tracing *tr, const struct step **rows, int n)
{
	struct trace_step steps[STEPS_MAX] = {0};
	struct trace t = {
	    .r = &tr->r, .steps = steps, .n = n, .slowest = -1, .cost_usd = tr->cost_usd};
	const struct reservation *r = &tr->r;
	int64_t now = clock_wall_ms(tr->core->clock), until;
	char summary[1024];
	bool started = false;
	int last;

	until = r->ready_at ? r->ready_at : r->ended_at ? r->ended_at : now;
	for (int i = 0; i < n; i++)
		started = started || strcmp(rows[i]->name, "start") == 0;
	for (int i = 0; i < n; i++) {
		steps[i].step = rows[i];
		name_waits(tr,
		    rows[i]->subject.s[0] == 'm' ? machine_plan_of(rows[i]->name, started)
		    : of_disk(rows[i])		 ? attach_plan()
		    : home_plan_has(rows[i]->name) ? home_plan()
						   : reservation_plan(),
		    &steps[i]);
	}
	drop_missing_waits(steps, n);
	hang_launch(steps, n);
	last = last_of(steps, n, r->ended_at ? r->ended_at : now);
	/* `ready_at` is as the claim wrote it; the reply came when that was durable */
	if (r->ready_at && last >= 0 &&
	    over_at(&steps[last], r->ended_at ? r->ended_at : now) > until)
		until = over_at(&steps[last], r->ended_at ? r->ended_at : now);
	t.total_ms = until - r->created_at;
	t.longest_chain_ms = n > 0 ? mark_critical(steps, n, last, now) : 0;
	for (int i = 0; i < n; i++) {
		int64_t ms = length(steps, n, i, now);

		/* what came after the reply was nobody's wait */
		if (steps[i].critical ||
		    (rows[i]->ended_at && rows[i]->ended_at <= until))
			t.one_at_a_time_ms += ms;
		if (steps[i].critical &&
		    (t.slowest < 0 || ms > length(steps, n, t.slowest, now)))
			t.slowest = i;
	}
	t.saved_ms = t.one_at_a_time_ms > t.longest_chain_ms
			 ? t.one_at_a_time_ms - t.longest_chain_ms
			 : 0;
	summarize(&t, now, summary, sizeof(summary));
	add_failed_disks(r, summary, sizeof(summary));
	t.summary = summary;
	tr->done(tr->arg, &t, &(struct err){0});
}

static void
tracing_free(struct tracing *tr)
{
	for (int i = 0; i < tr->n_labels; i++)
		free(tr->labels[i]);
	reservation_fini(&tr->r);
	free(tr);
}

/* The rows of the attempt that counts: of each name the last one. End steps are not part of the story. */
static void
steps_in(void *arg, const struct store_result *res, const struct err *err)
{
	struct tracing *tr = arg;
	const struct step *rows[STEPS_MAX];
	int n = 0;

	if (err->code != ERR_NONE) {
		tr->done(tr->arg, NULL, err);
	} else {
		for (int i = 0; i < res->n; i++) {
			const struct step *s = &res->steps[i];
			int at = 0;

			if (strcmp(s->name, "terminate") == 0 ||
			    strcmp(s->name, "gone") == 0)
				continue;
			/* a warm machine was launched long before anybody asked */
			if (s->subject.s[0] == 'm' && s->started_at < tr->r.created_at)
				continue;
			while (at < n && (strcmp(rows[at]->name, s->name) != 0 ||
					     (of_disk(s) && (!rows[at]->token ||
								strcmp(rows[at]->token,
								    s->token) != 0))))
				at++;
			if (at == STEPS_MAX)
				continue;
			rows[at] = s;
			n = at == n ? n + 1 : n;
		}
		for (int i = 1; i < n; i++) /* in order of start: few, nearly sorted */
			for (int j = i;
			     j > 0 && rows[j]->started_at < rows[j - 1]->started_at;
			     j--) {
				const struct step *s = rows[j];

				rows[j] = rows[j - 1];
				rows[j - 1] = s;
			}
		build(tr, rows, n);
	}
	tracing_free(tr);
}

static void
ask_for_steps(void *arg, const struct err *err)
{
	struct tracing *tr = arg;

	if (err->code != ERR_NONE) {
		tr->done(tr->arg, NULL, err);
		tracing_free(tr);
		return;
	}
	core_query(tr->core, &tr->q, steps_in, tr);
}

static void
traced(void *arg, const struct reservation_view *v, const struct err *err)
{
	struct tracing *tr = arg;
	const struct creservation *live;

	if (err->code != ERR_NONE) {
		tr->done(tr->arg, NULL, err);
		free(tr);
		return;
	}
	live = map_get(&tr->core->reservations, v->r->id.s);
	reservation_copy(&tr->r, v->r);
	tr->cost_usd = v->cost_usd;
	tr->q = (struct store_query){.kind = QUERY_STEPS, .limit = 1000};
	memcpy(tr->q.key, v->r->id.s, sizeof(v->r->id.s));
	if (!id_empty(&v->r->machine))
		memcpy(tr->q.key2, v->r->machine.s, sizeof(tr->q.key2));
	else if (live && live->launching)
		memcpy(tr->q.key2, live->launching->m.id.s, sizeof(tr->q.key2));
	/* behind what is on its way to the store: the last steps were written a moment ago */
	core_tx_then(tr->core, ask_for_steps, tr);
}

void
core_trace(struct core *c, const struct core_caller *who, const char *key,
    core_trace_fn done, void *arg)
{
	struct tracing *tr = xnew(struct tracing);

	tr->core = c;
	tr->done = done;
	tr->arg = arg;
	core_show(c, who, key, traced, tr);
}
