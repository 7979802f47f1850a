/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"
#include "core/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS (5 * 60 * 1000)
#define LAUNCHING_MAX 128 /* of one pool at a time, unless its provider says more */
#define DAY_MS 86400000

static const char over_budget[] =
    "the budget for today is spent; it starts again at 00:00 UTC";

static void reconcile(void *arg);
static bool budget_spent(struct cpool *p);

struct cpool *
pool_find(struct core *c, const char *name)
{
	return map_get(&c->pools_by_name, name);
}

struct cpool *
pool_new(struct core *c, const struct pool *settings)
{
	struct cpool *p = xnew(struct cpool);

	p->core = c;
	pool_copy(&p->p, settings);
	for (int i = 0; i < 4; i++)
		p->set[i] = -1;
	list_init(&p->ready);
	list_init(&p->claiming);
	list_init(&p->launching);
	list_init(&p->claimed);
	list_init(&p->ending);
	list_init(&p->failed);
	list_init(&p->stopped);
	list_init(&p->waiting);
	list_init(&p->served);
	list_push_back(&c->pools, &p->in_core);
	map_put(&c->pools_by_name, p->p.name, p);
	return p;
}

void
pool_free(struct cpool *p)
{
	timer_off(&p->wake);
	map_remove(&p->core->pools_by_name, p->p.name);
	list_remove(&p->in_core);
	home_forget_all(p);
	free(p->last_error);
	free(p->ends);
	pool_fini(&p->p);
	free(p);
}

void
pool_ask_provider(struct cpool *p)
{
	struct provider *pr = p->provider->p;

	home_forget_all(p);
	p->access =
	    pr->ops->access ? pr->ops->access(pr, p->p.options) : ACCESS_CERTIFICATE;
	p->usd_running = p->provider->usd_per_hour;
	p->usd_stopped = 0;
	if (pr->ops->price)
		pr->ops->price(pr, p->p.options, &p->usd_running, &p->usd_stopped);
	if (p->p.usd_per_hour > 0)
		p->usd_running = p->p.usd_per_hour;
}

int
pool_total(const struct cpool *p)
{
	return p->n_launching + p->n_ready + p->n_claimed + p->n_ending + p->n_stopped;
}

static bool
may_start(struct cpool *p)
{
	return p->n_stopped > 0 && p->access != ACCESS_LAUNCH && !p->gone &&
	       core_can_write(p->core) && p->provider->listed &&
	       p->start_after_ms <= clock_now_ms(p->core->clock) && !budget_spent(p);
}

int
pool_at_rest(struct cpool *p)
{
	struct cmachine *m;
	int n = 0;

	if (may_start(p))
		list_for_each (m, &p->stopped, in_pool)
			n += machine_at_rest(m) && machine_current(m);
	return n;
}

int
pool_line_without_launch(const struct cpool *p)
{
	const struct creservation *r;
	int n = 0;

	list_for_each (r, &p->waiting, in_pool)
		n += !r->launching;
	return n;
}

int
pool_room(struct cpool *p)
{
	const struct cmachine *m;
	int room =
	    p->p.max - pool_total(p) - pool_line_without_launch(p) + pool_at_rest(p);

	list_for_each (m, &p->launching, in_pool)
		room += !m->reservation;
	return room;
}

int64_t
pool_launch_ms(const struct cpool *p)
{
	int64_t s[LAUNCH_SAMPLES];
	int n = p->n_samples < LAUNCH_SAMPLES ? p->n_samples : LAUNCH_SAMPLES;

	if (n == 0)
		return 0;
	memcpy(s, p->samples, sizeof(s[0]) * (size_t)n);
	qsort(s, (size_t)n, sizeof(s[0]), clock_by_time);
	return s[n / 2];
}

/* ---- money ---- */

static void
new_day(struct cpool *p)
{
	int64_t today = clock_wall_ms(p->core->clock) / DAY_MS;

	if (p->spend_day != today) {
		p->spend_day = today;
		p->spent_usd = 0;
	}
}

static bool
rests(const struct cmachine *m)
{
	return m->m.state == MACHINE_STOPPED || m->m.state == MACHINE_HIBERNATED;
}

static double
cost_today(const struct cpool *p, const struct cmachine *m)
{
	int64_t start = p->spend_day * DAY_MS;
	int64_t from = m->billed_from_at > start ? m->billed_from_at : start;

	return machine_cost(p, rests(m), from,
	    m->m.ended_at ? m->m.ended_at : clock_wall_ms(p->core->clock));
}

void
pool_spent(struct cmachine *m)
{
	struct cpool *p = m->pool;
	char key[96], value[64];

	if (p->p.max_usd_per_day <= 0)
		return;
	new_day(p);
	p->spent_usd += cost_today(p, m);
	m->billed_from_at = clock_wall_ms(p->core->clock);
	(void)snprintf(key, sizeof(key), "spent:%s", p->p.name);
	(void)snprintf(
	    value, sizeof(value), "%lld %.9f", (long long)p->spend_day, p->spent_usd);
	store_tx_meta(core_tx(p->core), key, value);
}

static double
spent_today(struct cpool *p)
{
	struct list *lists[] = {
	    &p->ready, &p->claiming, &p->launching, &p->claimed, &p->ending, &p->stopped};
	struct cmachine *m;
	double usd;

	new_day(p);
	usd = p->spent_usd;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_for_each (m, lists[i], in_pool)
			if (m->m.state !=
			    MACHINE_TERMINATED) /* counted as spent already */
				usd += cost_today(p, m);
	return usd;
}

static bool
budget_spent(struct cpool *p)
{
	return p->p.max_usd_per_day > 0 && spent_today(p) >= p->p.max_usd_per_day;
}

double
pool_usd_per_hour(const struct cpool *p)
{
	return machine_cost(p, false, 0, 3600000) * (pool_total(p) - p->n_stopped) +
	       machine_cost(p, true, 0, 3600000) * p->n_stopped;
}

/* ---- launches that fail ---- */

static void
set_error(struct cpool *p, const char *error)
{
	if (error && p->last_error && strcmp(error, p->last_error) == 0)
		return;
	if (!error && !p->last_error)
		return;
	xstrset(&p->last_error, error);
	core_event_pool(p->core, p, error ? "failing" : "ok", error);
}

void
pool_launch_ok(struct cpool *p, int64_t ms)
{
	if (ms >= 0)
		p->samples[p->n_samples++ % LAUNCH_SAMPLES] = ms;
	if (p->n_samples >= 2 * LAUNCH_SAMPLES)
		p->n_samples -= LAUNCH_SAMPLES;
	p->failures = 0;
	p->backoff_until_ms = 0;
	set_error(p, NULL);
}

void
pool_launch_failed(struct cpool *p, const char *why)
{
	int64_t now = clock_now_ms(p->core->clock), delay = BACKOFF_FIRST_MS;

	for (int i = 0; i < p->failures && delay < BACKOFF_MAX_MS; i++)
		delay *= 2;
	if (delay > BACKOFF_MAX_MS)
		delay = BACKOFF_MAX_MS;
	/* launches that were made together and fail together count once */
	if (p->backoff_until_ms <= now) {
		p->failures++;
		p->backoff_until_ms = now + delay;
		log_warn("pool %s: launch failed: %s; next one in %d s", p->p.name, why,
		    (int)(delay / 1000));
	}
	set_error(p, why);
}

bool
pool_may_launch(struct cpool *p, const char **ret_why)
{
	if (p->gone)
		*ret_why = "the pool is no longer configured";
	else if (!core_can_write(p->core))
		*ret_why = "the store cannot be written";
	else if (!p->provider->listed)
		*ret_why = "the provider's inventory is not in yet";
	else if (p->image->error && !p->image->version)
		*ret_why = "its image cannot be built";
	else if (!p->image->version)
		*ret_why = "its image is being built";
	else if (p->backoff_until_ms > clock_now_ms(p->core->clock))
		*ret_why = "its launches keep failing, and it backs off";
	else if (budget_spent(p))
		*ret_why = "its budget for today is spent";
	else
		return true;
	return false;
}

/* ---- reconcile ---- */

void
pool_wake(struct cpool *p)
{
	if (p->core->closing)
		return;
	if (!timer_is_on(&p->wake) || clock_now_ms(p->core->clock) < p->wake.at_ms)
		timer_set(p->core->clock, &p->wake, 0, reconcile, p);
}

/* A spare on its way becomes the launch made for it. */
static bool
take_over_launch(struct creservation *r)
{
	struct cmachine *m;

	if (r->pool->access == ACCESS_LAUNCH)
		return false; /* it has not got this user's keys */
	list_for_each (m, &r->pool->launching, in_pool)
		if (!m->reservation && machine_current(m)) {
			m->reservation = r;
			m->m.reservation = r->r.id;
			r->launching = m;
			store_tx_machine(core_tx(m->core), &m->m);
			reservation_moved(r, RESERVATION_PREPARING);
			return true;
		}
	return false;
}

/* A pool that is gone launches nothing any more: only those a launch is made for are still served. */
static void
dismiss_line(struct cpool *p)
{
	struct creservation *r, *tmp;

	list_for_each_safe (r, tmp, &p->waiting, in_pool)
		if (r->durable && !r->launching) {
			reservation_end(
			    r, END_FAILED, "its pool is no longer configured");
			pool_wake(
			    p); /* ends the next: its whole group may have gone with it */
			return;
		}
}

static bool
may_launch_one(struct cpool *p, const char **ret_why)
{
	int most = p->provider->p->launches_max;

	return pool_total(p) < p->p.max &&
	       p->n_launching < (most ? most : LAUNCHING_MAX) &&
	       pool_may_launch(p, ret_why);
}

static struct cmachine *
first_at_rest(const struct cpool *p, enum tier not_this)
{
	struct cmachine *m;

	list_for_each (m, &p->stopped, in_pool)
		if (machine_at_rest(m) && machine_current(m) && m->m.tier != not_this)
			return m;
	return NULL;
}

/* Two are started for one who waits, and the first one that is ready serves: starts vary by seconds, and some
   find no capacity. Stopped ones before hibernated ones, which are not much faster and cost more. */
static bool
start_for(struct creservation *r)
{
	struct cpool *p = r->pool;
	struct creservation *mine = r;

	for (int i = 0; i < 2 && may_start(p); i++) {
		struct cmachine *m = first_at_rest(p, TIER_HIBERNATED);

		m = m ? m : first_at_rest(p, TIER_MAX);
		if (!m)
			break;
		machine_start(m, mine);
		mine = NULL;
	}
	return !mine;
}

static void
serve_line(struct cpool *p)
{
	struct creservation *r, *tmp;
	const char *why;
	bool room = true;
	int position = 0;

	list_for_each_safe (r, tmp, &p->waiting, in_pool) {
		struct cmachine *m = NULL;

		if (!r->durable) { /* as if it were not there yet, but it keeps its place */
			r->position += r->r.state == RESERVATION_QUEUED
					   ? ++position - r->position
					   : 0;
			continue;
		}
		if (r->launching && r->launching->m.state == MACHINE_READY)
			m = r->launching;
		else if (!r->r.no_warm)
			m = claim_candidate(p, &why);
		if (m) {
			struct cmachine *own = r->launching;

			if (own &&
			    own != m) { /* the launch made for it serves somebody else */
				machine_unreserve(own);
				r->launching = NULL;
			}
			reservation_take(r, m);
			continue;
		}
		if (r->launching || (p->access == ACCESS_LAUNCH && !r->r.public_keys))
			continue;
		if (!r->r.no_warm && start_for(r)) {
			reservation_moved(r, RESERVATION_PREPARING);
			continue;
		}
		if (!r->r.no_warm && take_over_launch(r))
			continue;
		room = room && may_launch_one(p, &why);
		if (room) {
			machine_launch(p, r, TIER_RUNNING);
			if (p->p.hedge && p->access != ACCESS_LAUNCH && !r->r.no_warm &&
			    may_launch_one(p, &why))
				machine_launch(p, NULL, TIER_RUNNING)->for_miss = true;
			reservation_moved(r, RESERVATION_PREPARING);
		} else {
			r->position = ++position;
			reservation_moved(r, RESERVATION_QUEUED);
		}
	}
}

static struct cmachine *
oldest(const struct cpool *p)
{
	return list_entry(p->ready.next, struct cmachine, in_pool);
}

struct spares {
	int ready, old; /* ready: current; to be replaced */
	int coming;	/* launching for nobody, to be kept running */
	int hedges; /* launching because somebody waits, besides the one made for them */
	int tier[TIER_MAX]; /* kept in it, or on their way there */
};

/* The ready ones are many, and those to be replaced few: all of them are looked at only when something
   happened that makes one old. */
static struct spares
count_spares(struct cpool *p)
{
	struct spares s = {.ready = p->n_ready - p->n_claiming};
	struct creservation *r;
	struct cmachine *m;
	int waiting = 0;

	list_for_each (r, &p->waiting, in_pool)
		waiting += r->launching != NULL;

	if (p->look_for_old || (s.ready > 0 && !machine_current(oldest(p)))) {
		p->look_for_old = false;
		s.ready = 0;
		list_for_each (m, &p->ready, in_pool)
			if (!m->reservation) {
				if (machine_current(m))
					s.ready++;
				else
					s.old++;
			}
		p->look_for_old = s.old > 0;
	}
	list_for_each (m, &p->launching, in_pool) {
		if (m->reservation)
			continue;
		if (m->m.tier != TIER_RUNNING)
			s.tier[m->m.tier]++;
		else if (m->for_miss && s.hedges < waiting)
			s.hedges++;
		else
			s.coming++;
	}
	list_for_each (m, &p->stopped, in_pool)
		s.tier[m->m.tier]++;
	return s;
}

/* Ready ones that are kept in a tier: used as running spares where those are missing, sent to their tier where
   they are not. While somebody waits they stay: one of them is what they wait for. Counts as ready only those
   that are kept running. */
static void
settle_tiers(struct cpool *p, struct spares *s, int want)
{
	struct cmachine *m, *tmp;

	if (p->n_tiered == 0)
		return;
	list_for_each (m, &p->ready, in_pool)
		s->ready -= m->tiered && !m->reservation && machine_current(m);
	list_for_each_safe (m, tmp, &p->ready, in_pool) {
		if (!m->tiered || m->reservation || !machine_current(m))
			continue;
		if (s->ready < want) {
			machine_keep_running(m);
			s->ready++;
		} else {
			s->tier[m->m.tier]++;
			if (p->n_waiting == 0)
				machine_stop(m);
		}
	}
}

/* Nobody is handed a stopped machine that old, and its place is needed, all the more while somebody waits. */
static void
end_old_at_rest(struct cpool *p)
{
	struct cmachine *m, *tmp;

	list_for_each_safe (m, tmp, &p->stopped, in_pool)
		if (!machine_current(m))
			machine_end(m, NULL);
}

/* Fills and empties a tier. */
static void
reconcile_tier(struct cpool *p, struct spares *s, enum tier t, int want)
{
	struct cmachine *m, *tmp;
	const char *why = NULL;
	int have = s->tier[t];

	list_for_each_safe (m, tmp, &p->stopped, in_pool) {
		if (m->m.tier != t || have <= want)
			continue;
		have--;
		machine_end(m, NULL);
	}
	while (have < want && may_launch_one(p, &why)) {
		machine_launch(p, NULL, t);
		have++;
	}
}

static void
end_some(struct cpool *p, struct list *from, int n, int n_hedges, bool current,
    const char *why)
{
	struct cmachine *m, *tmp;

	list_for_each_safe (m, tmp, from, in_pool) {
		if (n <= 0)
			return;
		if (m->reservation || machine_current(m) != current)
			continue;
		/* those of a tier are not spares of the running one, unless too old for any, and hedges not yet */
		if (current && !p->gone &&
		    (m->m.tier != TIER_RUNNING || (m->for_miss && n_hedges-- > 0)))
			continue;
		machine_end(m, why);
		n--;
	}
}

static void
wake_for(struct cpool *p, int64_t delay_ms)
{
	if (delay_ms >= 0 && !timer_is_on(&p->wake))
		timer_set(p->core->clock, &p->wake, delay_ms, reconcile, p);
}

/* The next moment at which something changes by time alone. */
static void
sleep_until_due(struct cpool *p)
{
	int64_t now = clock_now_ms(p->core->clock), next = -1;

	if (p->backoff_until_ms > now)
		next = p->backoff_until_ms - now;
	if (p->p.max_age_ms && !list_empty(&p->ready)) {
		int64_t left = oldest(p)->born_ms + p->p.max_age_ms - now;

		if (left > 0 && (next < 0 || left < next))
			next = left;
	}
	if (p->p.max_usd_per_day > 0 && (next < 0 || next > 10000))
		next = 10000;
	wake_for(p, next);
}

/* The first in line wants no spare, and spares may fill the pool. */
static bool
wants_cold(const struct cpool *p)
{
	const struct creservation *r;

	list_for_each (r, &p->waiting, in_pool)
		if (!r->launching)
			return r->durable && r->r.no_warm;
	return false;
}

/* For a cold launch that somebody asked for, where spares fill the pool. */
static void
make_place(struct cpool *p)
{
	struct cmachine *m = first_at_rest(p, TIER_MAX);

	if (m)
		machine_end(m, NULL);
	else
		end_some(p, &p->ready, 1, 0, true, NULL);
}

static void
reconcile(void *arg)
{
	struct cpool *p = arg;
	int want = p->gone ? 0 : p->p.running, need, unserved;
	const char *why = NULL;
	struct spares s;
	bool spent;

	if (p->core->closing || !p->provider->listed || !core_can_write(p->core))
		return; /* each of them wakes us */
	serve_line(p);
	if (p->gone)
		dismiss_line(p);
	end_old_at_rest(p);
	spent = budget_spent(p);
	if (p->access == ACCESS_LAUNCH)
		want = 0;
	if (spent) {
		want = 0;
		set_error(p, over_budget);
	} else if (p->last_error && strcmp(p->last_error, over_budget) == 0) {
		set_error(p, NULL);
	}
	s = count_spares(p);
	settle_tiers(p, &s, want);
	unserved = pool_line_without_launch(p);
	need = want - s.ready - s.coming;
	while (need > 0 && unserved == 0 && may_launch_one(p, &why)) {
		machine_launch(p, NULL, TIER_RUNNING);
		need--;
		s.coming++;
	}
	/* Old spares go when their replacements are ready; where max leaves no room for a replacement, one at
	   a time. */
	if (s.old > 0) {
		int keep = want - s.ready;
		int drop = s.old - (keep > 0 ? keep : 0);

		if (drop <= 0 && s.coming == 0 && p->n_ending == 0 &&
		    pool_total(p) >= p->p.max && pool_may_launch(p, &why))
			drop = 1;
		end_some(p, &p->ready, drop, 0, false, NULL);
	}
	if (unserved == 0 || p->gone) {
		int extra = s.ready + s.coming - want;
		int over = p->n_launching + p->n_ready + p->n_claimed + p->n_stopped -
			   p->p.max; /* max was lowered */

		extra = extra > over || p->gone ? extra : over;
		if (extra > 0) {
			int coming = extra < s.coming ? extra : s.coming;

			end_some(p, &p->launching, coming, s.hedges, true, NULL);
			end_some(p, &p->ready, extra - coming, 0, true, NULL);
		}
		reconcile_tier(p, &s, TIER_STOPPED,
		    p->gone ? 0
		    : spent ? s.tier[TIER_STOPPED]
			    : p->p.stopped);
		reconcile_tier(p, &s, TIER_HIBERNATED,
		    p->gone ? 0
		    : spent ? s.tier[TIER_HIBERNATED]
			    : p->p.hibernated);
	}
	if (unserved > 0 && p->n_ending == 0 && pool_total(p) >= p->p.max &&
	    wants_cold(p) && pool_may_launch(p, &why))
		make_place(p);
	sleep_until_due(p);
}
