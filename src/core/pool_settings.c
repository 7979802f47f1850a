/* SPDX-License-Identifier: Apache-2.0 */

/* What operators and the configuration change of a pool. */

#include "core/core_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static void
apply(struct cpool *p)
{
	int *in_force[4] = {&p->p.running, &p->p.stopped, &p->p.hibernated, &p->p.max};

	for (int i = 0; i < 4; i++)
		*in_force[i] = p->set[i] >= 0 ? p->set[i] : p->configured[i];
}

static struct cprovider *
provider_find(struct core *c, const char *name)
{
	struct cprovider *pr;

	list_for_each (pr, &c->providers, in_core)
		if (strcmp(pr->name, name) == 0)
			return pr;
	return NULL;
}

/* What a machine is made of, as a short fingerprint: spares made of something else are replaced. */
static void
shape_of(const struct pool *p, char out[SHAPE_MAX])
{
	uint64_t h = 14695981039346656037u; /* FNV-1a, 64 bits */
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_fmt(&b, "%s %llu %d %d %d", p->image, (unsigned long long)p->memory_bytes,
	    p->cpu_milli, p->pids_max, p->nesting);
	if (p->options)
		buf_fmt(&b, "\n%s", p->options);
	for (int i = 0; i < p->n_setup; i++)
		buf_fmt(&b, "\n%s", p->setup[i]);
	for (size_t i = 0; i < b.len; i++)
		h = (h ^ (unsigned char)b.data[i]) * 1099511628211u;
	(void)snprintf(out, SHAPE_MAX, "%016llx", (unsigned long long)h);
}

/* The start: how the pool was shaped when the daemon stopped. */
void
pool_restore_shape(struct core *c, const char *name, const char *value)
{
	struct cpool *p = pool_find(c, name);
	char *end;

	if (!p)
		return;
	p->shaped_at = strtoll(value, &end, 10);
	if (*end != ' ' || strcmp(end + 1, p->shape) != 0)
		p->shaped_at = clock_wall_ms(c->clock);
	p->look_for_old = true;
}

void
pool_save_shape(struct cpool *p)
{
	char key[96], value[64];

	(void)snprintf(key, sizeof(key), "shape:%s", p->p.name);
	(void)snprintf(
	    value, sizeof(value), "%lld %s", (long long)p->shaped_at, p->shape);
	store_tx_meta(core_tx(p->core), key, value);
}

void
pool_restore_spent(struct core *c, const char *name, const char *value)
{
	struct cpool *p = pool_find(c, name);
	char *end;

	if (!p)
		return;
	p->spend_day = strtoll(value, &end, 10);
	p->spent_usd = strtod(end, NULL);
}

/* All there is was made by other settings. */
static void
reshape(struct cpool *p)
{
	struct list *lists[] = {&p->ready, &p->claiming, &p->launching, &p->stopped};
	struct cmachine *m;

	p->shaped_at = clock_wall_ms(p->core->clock);
	p->look_for_old = true;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_for_each (m, lists[i], in_pool)
			m->outdated = true;
}

static void
adopt_settings(struct cpool *p, const struct pool *from, struct cprovider *pr)
{
	struct pool old = p->p;
	char shape[SHAPE_MAX];

	map_remove(&p->core->pools_by_name, old.name);
	pool_copy(&p->p, from);
	map_put(&p->core->pools_by_name, p->p.name, p);
	pool_fini(&old);
	p->provider = pr;
	p->image = image_get(pr, from->image);
	pool_ask_provider(p);
	p->gone = false;
	p->configured[0] = from->running;
	p->configured[1] = from->stopped;
	p->configured[2] = from->hibernated;
	p->configured[3] = from->max;
	apply(p);
	p->failures = 0; /* a changed setting may be the cure */
	p->backoff_until_ms = 0;
	shape_of(&p->p, shape);
	if (p->shape[0] && strcmp(shape, p->shape) != 0)
		reshape(p);
	memcpy(p->shape, shape, sizeof(shape));
	p->look_for_old = true;
	if (p->core->started && pr->p->ops->image)
		pr->p->ops->image(pr->p, from->image);
	pool_wake(p);
}

int
core_set_pools(struct core *c, const struct pool *pools, int n, struct err *err)
{
	struct cpool *p;

	for (int i = 0; i < n; i++) {
		p = pool_find(c, pools[i].name);
		if (!provider_find(c, pools[i].provider))
			return err_set(err, ERR_INVALID, "pool '%s': no provider '%s'",
			    pools[i].name, pools[i].provider);
		if (p && p->provider &&
		    strcmp(p->provider->name, pools[i].provider) != 0 &&
		    pool_total(p) > 0)
			return err_set(err, ERR_INVALID,
			    "pool '%s': it has machines of provider '%s'; its provider "
			    "cannot change now",
			    pools[i].name, p->provider->name);
	}
	list_for_each (p, &c->pools, in_core) {
		bool there = false;

		for (int i = 0; i < n; i++)
			there = there || strcmp(pools[i].name, p->p.name) == 0;
		if (!there) {
			p->gone = true;
			pool_wake(p);
		}
	}
	for (int i = 0; i < n; i++) {
		p = pool_find(c, pools[i].name);
		if (!p)
			p = pool_new(c, &(struct pool){.name = pools[i].name});
		adopt_settings(p, &pools[i], provider_find(c, pools[i].provider));
		if (c->started)
			pool_save_shape(p);
	}
	return 0;
}

struct setting {
	core_done_fn done;
	void *arg;
	struct cpool *pool;
	int before[4];
	struct err err;
};

static void
set_fail(void *arg)
{
	struct setting *s = arg;

	s->done(s->arg, &s->err);
	free(s);
}

static void
set_written(void *arg, const struct err *err)
{
	struct setting *s = arg;
	struct cpool *p = s->pool;

	if (err->code != ERR_NONE && !p->core->closing) {
		memcpy(p->set, s->before, sizeof(p->set));
		apply(p);
		store_tx_pool(core_tx(p->core), p->p.name, p->set);
		pool_wake(p);
	}
	s->done(s->arg, err);
	free(s);
}

static int
in_all(const struct cpool *p, const int to[4])
{
	return (to[0] >= 0 ? to[0] : p->p.running) + (to[1] >= 0 ? to[1] : p->p.stopped) +
	       (to[2] >= 0 ? to[2] : p->p.hibernated);
}

void
core_pool_set(struct core *c, const struct core_caller *who, const char *key, int running,
    int stopped, int hibernated, int max, core_done_fn done, void *arg)
{
	struct setting *s = xnew(struct setting);
	const int to[4] = {running, stopped, hibernated, max};
	struct cpool *p = pool_find(c, key);

	s->done = done;
	s->arg = arg;
	if (!who->operator_)
		err_set(&s->err, ERR_NOT_PERMITTED,
		    "only operators (root, group hearth-admin) set pools");
	else if (!p || p->gone)
		err_set(&s->err, ERR_NOT_FOUND, "no pool '%.64s'", key);
	else if ((stopped > 0 || hibernated > 0) && !p->provider->p->ops->stop)
		err_set(&s->err, ERR_INVALID,
		    "provider '%s' has no stopped or hibernated machines",
		    p->provider->name);
	else if (in_all(p, to) > (max >= 0 ? max : p->p.max))
		err_set(&s->err, ERR_INVALID, "%s: expected at most max (%d)",
		    p->provider->p->ops->stop ? "running, stopped and hibernated together"
					      : "running",
		    max >= 0 ? max : p->p.max);
	if (s->err.code != ERR_NONE) {
		core_defer(c, set_fail, s);
		return;
	}
	assert(p);
	s->pool = p;
	memcpy(s->before, p->set, sizeof(s->before));
	for (int i = 0; i < 4; i++)
		if (to[i] >= 0)
			p->set[i] = to[i];
	apply(p);
	store_tx_pool(core_tx(c), p->p.name, p->set);
	core_event_pool(c, p, "set", NULL);
	core_tx_then(c, set_written, s);
	pool_wake(p);
}

void
pool_restore_settings(struct core *c, const char *name, const int settings[4])
{
	struct cpool *p = pool_find(c, name);

	if (!p)
		return;
	memcpy(p->set, settings, sizeof(p->set));
	apply(p);
}

static struct pool_view
view(struct cpool *p)
{
	int64_t left = p->backoff_until_ms - clock_now_ms(p->core->clock);

	return (struct pool_view){
	    .p = &p->p,
	    .ready = p->n_ready - p->n_claiming,
	    .claimed = p->n_claimed,
	    .launching = p->n_launching,
	    .queued = p->n_waiting,
	    .usd_per_hour = pool_usd_per_hour(p),
	    .backoff_until_at = left > 0 ? clock_wall_ms(p->core->clock) + left : 0,
	    .last_error = p->last_error ? p->last_error : p->image->error,
	    .image_version = p->image->version,
	    .image_percent = p->image->percent,
	    .launch_ms = pool_launch_ms(p),
	};
}

bool
core_pool_at(struct core *c, int i, struct pool_view *ret)
{
	struct cpool *p;

	list_for_each (p, &c->pools, in_core)
		if (!p->gone && i-- == 0) {
			*ret = view(p);
			return true;
		}
	return false;
}

int
core_pool_find(struct core *c, const char *key, struct pool_view *ret, struct err *err)
{
	struct cpool *p = pool_find(c, key);

	if (!p || p->gone) {
		err_set(err, ERR_NOT_FOUND, "no pool '%.64s'", key);
		return err_hint(err, "see 'hearth pool list'");
	}
	*ret = view(p);
	return 0;
}
