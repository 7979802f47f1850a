/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "core/attach.h"
#include "core/core_internal.h"
#include "core/home.h"
#include "core/request.h"
#include "ssh/ca.h"

struct core *
core_new(const struct core_options *opt)
{
	struct core *c = xnew(struct core);

	c->opt = *opt;
	c->clock = opt->clock;
	c->store = opt->store;
	if (opt->github)
		c->github = *opt->github;
	list_init(&c->providers);
	list_init(&c->disks);
	list_init(&c->pools);
	list_init(&c->images);
	list_init(&c->subscriptions);
	list_init(&c->live);
	list_init(&c->deferred);
	list_init(&c->audits);
	c->opt.boot_id = xstrdup_null(opt->boot_id);
	c->user_ca_line = ssh_ca_public_line(opt->user_ca);
	return c;
}

void
core_set_limits(struct core *c, int64_t default_hold_ms, int64_t max_hold_ms)
{
	c->opt.default_hold_ms = default_hold_ms;
	c->opt.max_hold_ms = max_hold_ms;
}

struct provider_env
core_provider_env(struct core *c, const char *name, void *uv_loop)
{
	struct cprovider *pr = xnew(struct cprovider);

	pr->core = c;
	pr->name = xstrdup(name);
	list_push_back(&c->providers, &pr->in_core);
	return (struct provider_env){
	    .clock = c->clock,
	    .uv_loop = uv_loop,
	    .arg = pr,
	    .sighting = core_sighting,
	    .image = core_image,
	};
}

static void
provider_free(struct cprovider *pr)
{
	timer_off(&pr->look);
	strays_free(pr);
	list_remove(&pr->in_core);
	free(pr->name);
	free(pr);
}

void
core_add_provider(struct core *c, const char *name, struct provider *p)
{
	struct cprovider *pr, *tmp;

	list_for_each_safe (pr, tmp, &c->providers, in_core)
		if (strcmp(pr->name, name) == 0) {
			if (!p) {
				provider_free(pr);
				return;
			}
			pr->p = p;
			pr->usd_per_hour = p->usd_per_hour;
			pr->sees_death = p->sees_death;
			pr->seen_within_ms = p->seen_within_ms;
			return;
		}
}

/* ---- images ---- */

struct image *
image_get(struct cprovider *pr, const char *name)
{
	struct image *i;

	list_for_each (i, &pr->core->images, in_core)
		if (i->provider == pr && strcmp(i->name, name) == 0)
			return i;
	i = xnew(struct image);
	i->provider = pr;
	i->name = xstrdup(name);
	i->percent = -1;
	list_push_back(&pr->core->images, &i->in_core);
	return i;
}

void
core_image(
    void *arg, const char *name, const char *version, int percent, const char *error)
{
	struct cprovider *pr = arg;
	struct image *i = image_get(pr, name);
	struct cpool *p;

	i->percent = version || error ? -1 : percent;
	if (version)
		xstrset(&i->version, version);
	if (version || error) {
		xstrset(&i->error, error);
		if (error)
			log_warn("image %s: %s", name, error);
		else
			log_info("image %s: version %s", name, version);
	}
	list_for_each (p, &pr->core->pools, in_core)
		if (p->image == i) {
			p->look_for_old = true;
			pool_wake(p);
		}
}

bool
core_image_at(struct core *c, int at, struct image_view *ret)
{
	struct image *i;
	struct cpool *p;

	list_for_each (i, &c->images, in_core) {
		if (at-- > 0)
			continue;
		*ret = (struct image_view){.provider = i->provider->name,
		    .name = i->name,
		    .version = i->version,
		    .percent = i->percent,
		    .error = i->error};
		list_for_each (p, &c->pools, in_core)
			if (p->image == i)
				ret->machines += pool_total(p);
		return true;
	}
	return false;
}

struct build {
	core_done_fn done;
	void *arg;
	struct err err;
};

static void
build_answered(void *arg, const struct err *err)
{
	struct build *b = arg;

	b->done(b->arg, err);
	free(b);
}

static void
build_refused(void *arg)
{
	struct build *b = arg;

	build_answered(b, &b->err);
}

void
core_image_build(struct core *c, const struct core_caller *who, const char *name,
    core_done_fn done, void *arg)
{
	struct build *b = xnew(struct build);
	struct image *i, *hit = NULL;

	b->done = done;
	b->arg = arg;
	list_for_each (i, &c->images, in_core)
		if (!hit && strcmp(i->name, name) == 0)
			hit = i;
	if (!who->operator_)
		err_set(&b->err, ERR_NOT_PERMITTED,
		    "only operators (root, group hearth-admin) build images");
	else if (!hit)
		err_set(&b->err, ERR_NOT_FOUND, "no pool uses an image '%.64s'", name);
	else if (!hit->provider->p->ops->image_build)
		err_set(&b->err, ERR_INVALID, "provider '%s' builds no images",
		    hit->provider->name);
	else {
		hit->provider->p->ops->image_build(
		    hit->provider->p, name, build_answered, b);
		return;
	}
	core_defer(c, build_refused, b);
}

/* ---- machines ---- */

struct machines_op {
	struct core *core;
	struct core_caller who;
	char key[64];
	core_machines_fn done;
	void *arg;
};

static struct machine_view
machine_view(const struct cmachine *m)
{
	int64_t ago = clock_now_ms(m->core->clock) - m->last_seen_ms;

	return (struct machine_view){
	    .m = &m->m,
	    .last_seen_at =
		m->last_seen_ms
		    ? clock_wall_ms(m->core->clock) -
			  (m->pool->provider->sees_death && m->m.ended_at == 0 ? 0 : ago)
		    : 0,
	};
}

static bool
may_see_machine(const struct core_caller *who, const struct cmachine *m)
{
	return who->operator_ || !m->reservation || m->reservation->r.uid == who->uid;
}

static void
list_machines(void *arg)
{
	struct machines_op *op = arg;
	struct core *c = op->core;
	struct machine_view *views = xcalloc(c->machines.count, sizeof(*views));
	struct cpool *p;
	struct cmachine *m;
	int n = 0;

	list_for_each (p, &c->pools, in_core) {
		struct list *lists[] = {&p->claimed, &p->claiming, &p->ready,
		    &p->launching, &p->stopped, &p->ending, &p->failed};

		for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
			list_for_each (m, lists[i], in_pool)
				if (may_see_machine(&op->who, m))
					views[n++] = machine_view(m);
	}
	op->done(op->arg, views, n, &(struct err){0});
	free(views);
	free(op);
}

static struct machines_op *
machines_op(struct core *c, const struct core_caller *who, const char *key,
    core_machines_fn done, void *arg)
{
	struct machines_op *op = xnew(struct machines_op);

	*op = (struct machines_op){.core = c, .who = *who, .done = done, .arg = arg};
	(void)snprintf(op->key, sizeof(op->key), "%s", key);
	return op;
}

void
core_machines(
    struct core *c, const struct core_caller *who, core_machines_fn done, void *arg)
{
	core_defer(c, list_machines, machines_op(c, who, "", done, arg));
}

static void
machine_fail(struct machines_op *op, enum err_code code, const char *what)
{
	struct err err;

	err_set(&err, code, "%s '%s'", what, op->key);
	if (code == ERR_NOT_FOUND)
		err_hint(&err, "see 'hearth machine list'");
	op->done(op->arg, NULL, 0, &err);
	free(op);
}

static void
machine_stored(void *arg, const struct store_result *res, const struct err *err)
{
	struct machines_op *op = arg;
	struct machine_view v;

	if (err->code != ERR_NONE) {
		op->done(op->arg, NULL, 0, err);
		free(op);
	} else if (res->n == 0) {
		machine_fail(op, ERR_NOT_FOUND, "no machine");
	} else if (res->n > 1) {
		machine_fail(op, ERR_INVALID, "ambiguous machine");
	} else {
		v = (struct machine_view){.m = &res->machines[0]};
		op->done(op->arg, &v, 1, err);
		free(op);
	}
}

static void
find_machine(void *arg)
{
	struct machines_op *op = arg;
	struct cmachine *m = map_get(&op->core->machines, op->key), *hit = m;
	struct store_query q = {.kind = QUERY_MACHINES, .uid = STORE_ANY_UID, .limit = 2};
	size_t at = 0, len = strlen(op->key);
	struct machine_view v;
	int n = hit ? 1 : 0;

	while (!n && (m = map_next(&op->core->machines, &at)))
		if (len > 2 && strncmp(m->m.id.s, op->key, len) == 0) {
			if (hit) {
				machine_fail(op, ERR_INVALID, "ambiguous machine");
				return;
			}
			hit = m;
		}
	if (hit && !may_see_machine(&op->who, hit)) {
		machine_fail(op, ERR_NOT_PERMITTED, "another user's machine");
	} else if (hit) {
		v = machine_view(hit);
		op->done(op->arg, &v, 1, &(struct err){0});
		free(op);
	} else if (op->who.operator_) {
		memcpy(q.key, op->key, sizeof(op->key));
		core_flush(op->core);
		core_query(op->core, &q, machine_stored, op);
	} else {
		machine_fail(op, ERR_NOT_FOUND, "no machine");
	}
}

void
core_machine_get(struct core *c, const struct core_caller *who, const char *key,
    core_machines_fn done, void *arg)
{
	core_defer(c, find_machine, machines_op(c, who, key, done, arg));
}

/* ---- numbers ---- */

static void
metric(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_fmt(
	    out, "# HELP hearth_%s %s\n# TYPE hearth_%s %s\n", name, help, name, type);
}

static void
pool_metrics(struct core *c, struct buf *out)
{
	struct cpool *p;

	metric(out, "machines", "gauge", "Machines by pool and state.");
	list_for_each (p, &c->pools, in_core) {
		const struct {
			const char *state;
			int n;
		} rows[] = {{"ready", p->n_ready}, {"claimed", p->n_claimed},
		    {"launching", p->n_launching}, {"terminating", p->n_ending}};

		for (size_t i = 0; i < 4; i++)
			buf_fmt(out, "hearth_machines{pool=\"%s\",state=\"%s\"} %d\n",
			    p->p.name, rows[i].state, rows[i].n);
	}
	metric(out, "pool_max", "gauge", "Most machines the pool may have.");
	list_for_each (p, &c->pools, in_core)
		buf_fmt(out, "hearth_pool_max{pool=\"%s\"} %d\n", p->p.name, p->p.max);
	metric(out, "pool_waiting", "gauge", "Reservations that wait for a machine.");
	list_for_each (p, &c->pools, in_core)
		buf_fmt(out, "hearth_pool_waiting{pool=\"%s\"} %d\n", p->p.name,
		    p->n_waiting);
	metric(out, "pool_failing", "gauge",
	    "1 while the pool's launches fail and it backs off.");
	list_for_each (p, &c->pools, in_core)
		buf_fmt(out, "hearth_pool_failing{pool=\"%s\"} %d\n", p->p.name,
		    p->last_error != NULL);
	metric(out, "pool_usd_per_hour", "gauge", "What the pool's machines cost now.");
	list_for_each (p, &c->pools, in_core)
		buf_fmt(out, "hearth_pool_usd_per_hour{pool=\"%s\"} %g\n", p->p.name,
		    pool_usd_per_hour(p));
}

void
core_metrics(struct core *c, struct buf *out)
{
	const struct counters *n = &c->n;
	int64_t bound = 1;

	pool_metrics(c, out);
	metric(out, "reservations_total", "counter", "Reservations served, by path.");
	for (int i = PATH_WARM; i < PATH_KIND_MAX; i++)
		buf_fmt(out, "hearth_reservations_total{path=\"%s\"} %llu\n",
		    path_name((enum path)i), (unsigned long long)n->reservations[i]);
	metric(
	    out, "reservations_ended_total", "counter", "Reservations ended, by reason.");
	for (int i = END_CANCELLED; i < END_REASON_MAX; i++)
		buf_fmt(out, "hearth_reservations_ended_total{reason=\"%s\"} %llu\n",
		    end_reason_name((enum end_reason)i), (unsigned long long)n->ended[i]);
	metric(out, "reserve_duration_ms", "histogram",
	    "From the request to an active reservation.");
	for (int i = 0; i < 10; i++, bound *= 4)
		buf_fmt(out, "hearth_reserve_duration_ms_bucket{le=\"%lld\"} %llu\n",
		    (long long)bound, (unsigned long long)n->active_ms_bucket[i]);
	buf_fmt(out,
	    "hearth_reserve_duration_ms_bucket{le=\"+Inf\"} "
	    "%llu\nhearth_reserve_duration_ms_sum %llu\n"
	    "hearth_reserve_duration_ms_count %llu\n",
	    (unsigned long long)n->active_ms_n, (unsigned long long)n->active_ms_sum,
	    (unsigned long long)n->active_ms_n);
	const struct {
		const char *name, *help;
		uint64_t n;
	} rows[] = {
	    {"claim_conflicts_total", "Claims whose guard did not hold.", n->conflicts},
	    {"swaps_total", "Machines swapped for failing at first contact.", n->swaps},
	    {"deaths_total", "Ready or claimed machines that ended by themselves.",
		n->deaths},
	    {"launches_total", "Launches begun.", n->launches},
	    {"launch_failures_total", "Launches that failed.", n->launch_failures},
	    {"strays_ended_total", "Machines found after their end and ended again.",
		n->strays_ended},
	    {"store_write_failures_total", "Transactions that the store refused.",
		n->write_failures},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		metric(out, rows[i].name, "counter", rows[i].help);
		buf_fmt(
		    out, "hearth_%s %llu\n", rows[i].name, (unsigned long long)rows[i].n);
	}
}

/* ---- the end ---- */

void
core_close(struct core *c)
{
	struct creservation *r, *rtmp;
	struct cprovider *pr, *prtmp;
	struct cpool *p, *ptmp;
	struct image *i, *itmp;
	struct cdisk *d, *dtmp;
	struct cmachine *m;
	struct err err;
	size_t at = 0;

	c->closing = true;
	timer_off(&c->settle);
	err_set(&err, ERR_UNAVAILABLE, "hearthd is stopping");
	list_for_each (r, &c->live, in_core)
		request_fail_waiters(r, &err);
	audits_close(c, &err);
	core_flush(c);
	/* nobody waits for a step any more: what a provider cancels now is not a failure */
	while ((m = map_next(&c->machines, &at))) {
		plan_run_drop(m->run);
		m->run = NULL;
		timer_off(&m->timer);
	}
	list_for_each (d, &c->disks, in_core) {
		plan_run_drop(d->run);
		d->run = NULL;
		timer_off(&d->timer);
	}
	list_for_each (r, &c->live, in_core) {
		attach_free(r);
		plan_run_drop(r->push);
		r->push = NULL;
		home_free(r);
		gang_close(r);
		if (r->claiming)
			continue; /* may still be answered, with its certificate */
		plan_run_drop(r->run);
		r->run = NULL;
	}
	list_for_each (pr, &c->providers, in_core) {
		timer_off(&pr->look);
		if (pr->p)
			pr->p->ops->close(pr->p);
	}
	list_for_each (r, &c->live, in_core)
		if (r->opening)
			request_settled(r, &err); /* its keys will not come any more */
	core_write_close(c);
	list_for_each_safe (r, rtmp, &c->live, in_core) {
		r->op = NULL; /* answered, or its caller is gone with the server */
		reservation_free(r);
	}
	for (at = 0; (m = map_next(&c->machines, &at));)
		machine_free(m);
	list_for_each_safe (d, dtmp, &c->disks, in_core)
		disk_free(d);
	list_for_each_safe (p, ptmp, &c->pools, in_core)
		pool_free(p);
	list_for_each_safe (i, itmp, &c->images, in_core) {
		list_remove(&i->in_core);
		free(i->name);
		free(i->version);
		free(i->error);
		free(i);
	}
	list_for_each_safe (pr, prtmp, &c->providers, in_core)
		provider_free(pr);
	map_fini(&c->machines);
	map_fini(&c->disks_by_id);
	map_fini(&c->reservations);
	map_fini(&c->names);
	map_fini(&c->requests);
	map_fini(&c->gangs);
	map_fini(&c->gang_names);
	map_fini(&c->pools_by_name);
	free((char *)c->opt.boot_id);
	free(c->user_ca_line);
	free(c);
}
