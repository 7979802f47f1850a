/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "core/attach.h"
#include "core/core_internal.h"
#include "core/home.h"

/*
 * The ledger against the inventories. Each provider is asked twice, a little apart: what is different
 * both times, and belongs to no step that is open, is a difference.
 */

#define APART_MS 300
#define ITEMS_MAX 10000

struct finding {
	struct finding *next;
	struct cprovider *pr;
	char *ref;   /* owned */
	char *token; /* owned; NULL: none */
	bool ledger; /* only in the ledger; else only at the provider */
	int seen;
	bool repaired;
	bool others; /* the store has it, live, for another daemon: no difference */
};

struct auditing {
	struct core *core;
	struct list in_core;
	struct timer timer;
	bool repair;
	int round, pending;
	struct finding *found;
	int n_found;
	core_audit_fn done;
	void *arg;
	struct err err;
};

struct asking {
	struct auditing *a;
	struct cprovider *pr;
};

static bool
busy(const struct cmachine *m)
{
	return m->run != NULL || m->m.state == MACHINE_TERMINATING ||
	       timer_is_on(&m->timer);
}

static void
note(struct auditing *a, struct cprovider *pr, const char *ref, const char *token,
    bool ledger)
{
	struct finding *f;

	for (f = a->found; f; f = f->next)
		if (f->pr == pr && f->ledger == ledger && strcmp(f->ref, ref) == 0) {
			f->seen++;
			return;
		}
	if (a->n_found >= ITEMS_MAX)
		return;
	f = xnew(struct finding);
	*f = (struct finding){
	    a->found, pr, xstrdup(ref), xstrdup_null(token), ledger, 1, false, false};
	a->found = f;
	a->n_found++;
}

static void
compare(struct auditing *a, struct cprovider *pr, const struct sighting *all, int n)
{
	struct map there = {0};
	struct cdisk *d;
	struct cmachine *m;
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		if (all[i].state == SIGHTING_GONE)
			continue;
		m = all[i].token ? map_get(&a->core->machines, all[i].token) : NULL;
		if ((m && (busy(m) || m->m.ended_at == 0)) ||
		    disk_of_token(a->core, all[i].token))
			map_put(&there, all[i].token, (void *)&all[i]);
		else
			note(a, pr, all[i].ref, all[i].token, false);
	}
	while ((m = map_next(&a->core->machines, &at)))
		if (m->pool->provider == pr &&
		    (m->m.state == MACHINE_READY || m->m.state == MACHINE_CLAIMED ||
			machine_at_rest(m)) &&
		    !busy(m) && !map_get(&there, m->m.id.s))
			note(a, pr, m->m.provider_ref ? m->m.provider_ref : m->m.id.s,
			    m->m.id.s, true);
	list_for_each (d, &a->core->disks, in_core)
		if (d->provider == pr && !d->run &&
		    (d->d.state == DISK_AVAILABLE || d->d.state == DISK_ATTACHED) &&
		    !map_get(&there, d->d.id.s))
			note(a, pr, d->d.provider_ref ? d->d.provider_ref : d->d.id.s,
			    d->d.id.s, true);
	map_fini(&there);
}

static void
count_open(struct plan_run *run, void *arg)
{
	*(int *)arg += plan_run_open(run);
}

static int
open_steps(struct core *c)
{
	struct creservation *r;
	struct cmachine *m;
	struct cdisk *d;
	size_t at = 0;
	int n = 0;

	while ((m = map_next(&c->machines, &at)))
		n += plan_run_open(m->run);
	list_for_each (d, &c->disks, in_core)
		n += plan_run_open(d->run);
	list_for_each (r, &c->live, in_core) {
		n += plan_run_open(r->run) + plan_run_open(r->home_run);
		attach_each_run(r, count_open, &n);
	}
	return n;
}

static void
audit_free(struct auditing *a)
{
	list_remove(&a->in_core);
	while (a->found) {
		struct finding *f = a->found;

		a->found = f->next;
		free(f->ref);
		free(f->token);
		free(f);
	}
	free(a);
}

static void
report(struct auditing *a)
{
	struct audit_item *items = xcalloc((size_t)a->n_found + 1, sizeof(*items));
	struct audit_item *end = items + a->n_found;
	struct audit result = {.ok = true, .open_steps = open_steps(a->core)};
	struct finding *f;

	/* provider's from the front, ledger's from the back */
	result.provider_only = items;
	for (f = a->found; f; f = f->next) {
		struct audit_item item = {f->pr->name, f->token, f->ref,
		    f->ledger ? "not at the provider" : "not in the ledger", f->repaired};

		if (f->seen < 2 || f->others)
			continue;
		result.ok = result.ok && f->repaired;
		if (f->ledger) {
			*--end = item;
			result.n_ledger_only++;
		} else {
			items[result.n_provider_only++] = item;
		}
	}
	result.ledger_only = end;
	a->done(a->arg, &result, &(struct err){0});
	free(items);
	audit_free(a);
}

struct repairing {
	struct auditing *a;
	struct finding *f;
};

static void
repaired(void *arg, const struct err *err)
{
	struct repairing *r = arg;

	r->f->repaired = err->code == ERR_NONE;
	if (err->code != ERR_NONE)
		log_warn("audit: ending %s: %s", r->f->ref, err->msg);
	if (--r->a->pending == 0)
		report(r->a);
	free(r);
}

static void
repair_found(struct auditing *a)
{
	struct finding *f;

	a->pending = 1;
	for (f = a->found; f; f = f->next) {
		struct cmachine *m =
		    f->token ? map_get(&a->core->machines, f->token) : NULL;

		if (f->seen < 2 || f->others)
			continue;
		if (f->ledger) {
			struct cdisk *d = disk_of_token(a->core, f->token);

			if (m || d) {
				struct sighting s = {.token = f->token,
				    .ref = f->ref,
				    .state = SIGHTING_GONE,
				    .sessions = -1,
				    .error = "not at the provider (audit)"};

				if (m)
					machine_sighted(m, &s);
				else
					disk_sighted(d, &s);
			}
			f->repaired = true;
		} else {
			struct repairing *r = xnew(struct repairing);

			*r = (struct repairing){a, f};
			a->pending++;
			if (is_disk_token(f->token))
				f->pr->p->ops->disk_remove(
				    f->pr->p, f->token, f->ref, repaired, r);
			else
				f->pr->p->ops->terminate(f->pr->p,
				    f->token ? f->token : f->ref, f->ref, repaired, r);
		}
	}
	if (--a->pending == 0)
		report(a);
}

static void
conclude(struct auditing *a)
{
	if (a->repair && !a->core->closing)
		repair_found(a);
	else
		report(a);
}

static void
judged(void *arg, const struct store_result *res, const struct err *err)
{
	struct repairing *r = arg;

	for (int i = 0; i < res->n; i++)
		r->f->others =
		    r->f->others || (strcmp(res->machines[i].id.s, r->f->token) == 0 &&
					!res->machines[i].ended_at);
	if (--r->a->pending == 0)
		conclude(r->a);
	free(r);
}

/* What memory does not know may still be in the ledger: the ledger is the store, and it is shared. */
static void
judge(struct auditing *a)
{
	struct finding *f;

	core_flush(a->core);
	a->pending = 1;
	for (f = a->found; f; f = f->next) {
		struct store_query q = {
		    .kind = QUERY_MACHINES, .uid = STORE_ANY_UID, .limit = 2};
		struct repairing *r;

		if (f->seen < 2 || f->ledger || !f->token || !id_valid(f->token, 'm') ||
		    map_get(&a->core->machines, f->token))
			continue;
		r = xnew(struct repairing);
		*r = (struct repairing){a, f};
		a->pending++;
		(void)snprintf(q.key, sizeof(q.key), "%s", f->token);
		core_query(a->core, &q, judged, r);
	}
	if (--a->pending == 0)
		conclude(a);
}

static void look(void *arg);

static void
refuse(void *arg)
{
	struct auditing *a = arg;

	a->done(a->arg, NULL, &a->err);
	audit_free(a);
}

static void
looked(void *arg, const struct sighting *all, int n, const struct err *err)
{
	struct asking *q = arg;
	struct auditing *a = q->a;

	if (err->code == ERR_NONE)
		compare(a, q->pr, all, n);
	else
		a->err = *err;
	free(q);
	if (--a->pending > 0)
		return;
	if (a->err.code != ERR_NONE) {
		a->done(a->arg, NULL, &a->err);
		audit_free(a);
	} else if (++a->round < 2 && a->found && !a->core->closing) {
		timer_set(a->core->clock, &a->timer, APART_MS, look, a);
	} else {
		judge(a);
	}
}

static void
look(void *arg)
{
	struct auditing *a = arg;
	struct cprovider *pr;

	if (a->core->closing) { /* the providers are closed, or about to be */
		err_set(&a->err, ERR_UNAVAILABLE, "hearthd is stopping");
		refuse(a);
		return;
	}
	a->pending = 1;
	list_for_each (pr, &a->core->providers, in_core) {
		struct asking *q = xnew(struct asking);

		*q = (struct asking){a, pr};
		a->pending++;
		pr->p->ops->inventory(pr->p, looked, q);
	}
	if (--a->pending == 0)
		report(a);
}

void
core_audit(struct core *c, const struct core_caller *who, bool repair, core_audit_fn done,
    void *arg)
{
	struct auditing *a = xnew(struct auditing);

	a->core = c;
	list_push_back(&c->audits, &a->in_core);
	a->repair = repair;
	a->done = done;
	a->arg = arg;
	if (!who->operator_) {
		err_set(&a->err, ERR_NOT_PERMITTED,
		    "only operators (root, group hearth-admin) audit");
		core_defer(c, refuse, a);
	} else {
		core_defer(c, look, a);
	}
}

/* Those that wait for time to go by; the others are answered as their provider closes. */
void
audits_close(struct core *c, const struct err *err)
{
	struct auditing *a, *tmp;

	list_for_each_safe (a, tmp, &c->audits, in_core)
		if (timer_is_on(&a->timer)) {
			timer_off(&a->timer);
			a->done(a->arg, NULL, err);
			audit_free(a);
		}
}
