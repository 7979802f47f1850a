/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"
#include "core/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "core/attach.h"

/*
 * The start: what the store remembers, held against what the providers have. A machine that both know
 * is adopted as it is. One whose launch was open is undone, for nobody knows how far it came, and a
 * reservation that waited for it stays in line. After that every provider is looked at now and then,
 * so that what a lost reply left behind is found and ended.
 */

#define LOOK_MS (30 * 1000)

struct loading {
	struct core *core;
	struct map open; /* subject → first of its open steps, chained */
	char *boot_id;	 /* as stored; owned */
	struct reservation
	    *lost; /* owned: without a pool, to be ended once all is loaded */
	int n_lost;
};

struct open_step {
	struct step s; /* name is static after all: matched against the plans at once */
	char name[32];
	struct open_step *next;
};

static void
load_machine(void *arg, const struct machine *row)
{
	struct loading *l = arg;
	struct cpool *p = pool_find(l->core, row->pool);
	struct cmachine *m;

	if (!p) { /* its pool left the configuration: it goes, or its reservation runs out */
		struct pool gone = {
		    .name = row->pool, .provider = row->provider, .image = row->image};
		struct cprovider *pr;

		p = pool_new(l->core, &gone);
		p->gone = true;
		list_for_each (pr, &l->core->providers, in_core)
			if (strcmp(pr->name, row->provider) == 0)
				p->provider = pr;
		if (!p->provider) {
			log_error("machine %s: its provider '%s' is not configured any "
				  "more; it is left alone",
			    row->id.s, row->provider);
			pool_free(p);
			return;
		}
		p->image = image_get(p->provider, row->image);
		pool_ask_provider(p);
	}
	m = machine_new(p, row);
	if (m->m.state == MACHINE_READY) /* a spare, whomever it was launched for */
		m->m.reservation = (struct id){{0}};
}

static void
load_reservation(void *arg, const struct reservation *row)
{
	struct loading *l = arg;
	struct creservation *r;

	if (!pool_find(l->core, row->pool)) {
		log_error("reservation %s: its pool '%s' is not configured any more",
		    row->id.s, row->pool);
		if (row->state == RESERVATION_ACTIVE)
			return; /* it has a machine that is left alone, too */
		l->lost = xrealloc(l->lost, sizeof(*l->lost) * (size_t)(l->n_lost + 1));
		reservation_copy(&l->lost[l->n_lost++], row);
		return;
	}
	r = reservation_new(l->core, row);
	r->durable = true;
}

static void
load_disk(void *arg, const struct disk *row)
{
	struct core *c = ((struct loading *)arg)->core;
	struct cprovider *pr;

	list_for_each (pr, &c->providers, in_core)
		if (strcmp(pr->name, row->provider) == 0 && pr->p->ops->disk_make) {
			(void)disk_new(c, pr, row);
			return;
		}
	log_error(
	    "disk %s: its provider '%s' is not configured any more; it is left alone",
	    row->id.s, row->provider);
}

static void
load_step(void *arg, const struct step *row)
{
	struct loading *l = arg;
	struct open_step *o = xnew(struct open_step);

	o->s = *row;
	o->s.token = xstrdup_null(row->token);
	o->s.resource = xstrdup_null(row->resource);
	o->s.error = NULL;
	(void)snprintf(o->name, sizeof(o->name), "%s", row->name);
	o->s.name = o->name;
	o->next = map_get(&l->open, row->subject.s);
	map_put(&l->open, o->s.subject.s, o);
}

static void
load_pool(void *arg, const char *name, const int settings[4])
{
	pool_restore_settings(((struct loading *)arg)->core, name, settings);
}

static void
load_meta(void *arg, const char *key, const char *value)
{
	struct loading *l = arg;

	if (strcmp(key, "boot_id") == 0)
		xstrset(&l->boot_id, value);
	else if (strncmp(key, "shape:", 6) == 0)
		pool_restore_shape(l->core, key + 6, value);
	else if (strncmp(key, "spent:", 6) == 0)
		pool_restore_spent(l->core, key + 6, value);
}

static void
load_last(void *arg, int64_t step_id, int64_t event_seq, uint64_t serial)
{
	struct core *c = ((struct loading *)arg)->core;

	c->last_step = step_id;
	c->last_event = event_seq;
	/* host certificates take serials that are not stored: leave a gap */
	c->last_serial = serial + 1000000;
}

/* An open step of a plan that ended with the daemon: closed as what it has become. */
static void
close_step(struct core *c, struct open_step *o, enum step_state state, const char *error)
{
	o->s.state = state;
	o->s.ended_at = clock_wall_ms(c->clock);
	o->s.error = (char *)error;
	store_tx_step(core_tx(c), &o->s);
	o->s.error = NULL;
}

static void
close_open_steps(struct loading *l)
{
	struct core *c = l->core;
	struct open_step *o;
	size_t at = 0;

	while ((o = map_next(&l->open, &at)))
		while (o) {
			struct open_step *next = o->next;
			struct creservation *r =
			    map_get(&c->reservations, o->s.subject.s);

			bool contact = strcmp(o->s.name, "contact") == 0;

			/* a crash right behind the claim: nobody has looked at its ssh yet */
			if (r && (contact || strcmp(o->s.name, "claim") == 0))
				r->contact_owed = true;
			if (r && home_plan_has(o->s.name))
				r->home_owed = true;
			if (r && r->r.state == RESERVATION_ACTIVE && !contact &&
			    !home_plan_has(o->s.name) && !attach_plan_has(o->s.name))
				close_step(c, o, STEP_DONE, NULL);
			else
				close_step(c, o, STEP_FAILED, "the daemon was restarted");
			free(o->s.token);
			free(o->s.resource);
			free(o);
			o = next;
		}
	map_fini(&l->open);
}

/* Nothing in memory can drive those. */
static void
end_lost(struct loading *l)
{
	struct core *c = l->core;

	for (int i = 0; i < l->n_lost; i++) {
		struct reservation *r = &l->lost[i];

		r->state = RESERVATION_ENDED;
		r->reason = END_FAILED;
		r->ended_at = clock_wall_ms(c->clock);
		xstrset(&r->error, "its pool is no longer configured");
		store_tx_reservation(core_tx(c), r);
		core_event_reservation(c, NULL, r, r->error);
		reservation_fini(r);
	}
	free(l->lost);
}

static void
join(struct core *c)
{
	struct creservation *r, *tmp;

	list_for_each_safe (r, tmp, &c->live, in_core) {
		struct cmachine *m = map_get(&c->machines, r->r.machine.s);

		attach_restore(r);
		if (r->r.state == RESERVATION_ACTIVE && m &&
		    m->m.state == MACHINE_CLAIMED) {
			r->machine = m;
			m->reservation = r;
			list_push_back(&r->pool->served, &r->in_pool);
			r->idle_since_ms = clock_now_ms(c->clock);
			reservation_set_timer(r);
		} else if (r->r.state == RESERVATION_ACTIVE) {
			reservation_end(r, END_FAILED,
			    c->host_restarted ? "host restarted"
					      : "its machine was lost");
		} else {
			r->r.machine = (struct id){{0}};
			reservation_wait_in_line(r, "the daemon was restarted");
		}
	}
}

/* `gone`: nothing of it is left, either. */
static void
ended_while_away(struct cmachine *m, bool gone)
{
	struct creservation *r = m->reservation;
	const char *why = m->core->host_restarted ? "host restarted"
						  : "it ended while the daemon was down";

	m->gone = gone;
	if (r && m->m.state == MACHINE_CLAIMED) {
		bool expired = clock_wall_ms(m->core->clock) >= r->r.expires_at;

		reservation_end(
		    r, expired ? END_EXPIRED : END_FAILED, expired ? NULL : why);
	}
	machine_end(m, why);
}

/* The start's inventory: every machine of the ledger is there, or is not. */
static void
adopt(struct cprovider *pr, const struct sighting *all, int n)
{
	struct core *c = pr->core;
	struct cmachine **ours, *m;
	struct cdisk *d, *dtmp;
	struct map seen = {0};
	size_t at = 0, count = 0;
	int adopted = 0;

	for (int i = 0; i < n; i++)
		if (all[i].token)
			map_put(&seen, all[i].token, (void *)&all[i]);
	ours = xcalloc(c->machines.count, sizeof(struct cmachine *));
	while ((m = map_next(&c->machines, &at)))
		if (m->pool->provider == pr)
			ours[count++] = m;
	for (size_t i = 0; i < count; i++) {
		const struct sighting *s = map_get(&seen, ours[i]->m.id.s);
		enum machine_state state = ours[i]->m.state;

		m = ours[i];
		m->seen_ready = s && s->state == SIGHTING_READY;
		if (state == MACHINE_LAUNCHING || state == MACHINE_STARTING) {
			machine_end(m, "the daemon was restarted while it was launching");
		} else if (state == MACHINE_TERMINATING) {
			if (!m->run) /* else it was ended since the start */
				machine_end_again(m);
		} else if (state == MACHINE_TERMINATED) {
			continue;
		} else if (state == MACHINE_CLAIMED && !m->reservation) {
			machine_end(m, "its reservation has ended");
		} else if (s && s->state != SIGHTING_GONE && s->state != SIGHTING_DEAD &&
			   (state == MACHINE_STOPPED || state == MACHINE_HIBERNATED)) {
			machine_adopt_at_rest(m, s);
			adopted++;
		} else if (s && s->state != SIGHTING_GONE && s->state != SIGHTING_DEAD) {
			machine_sighted(m, s);
			adopted++;
			if (m->reservation) {
				reservation_push_deadline(m->reservation);
				gang_changed(m->reservation);
				if (m->reservation->contact_owed)
					reservation_contact(m->reservation);
				home_restore(m->reservation);
			}
		} else {
			ended_while_away(m, !s || s->state == SIGHTING_GONE);
		}
	}
	list_for_each_safe (d, dtmp, &c->disks, in_core)
		if (d->provider == pr)
			disk_adopt(d, map_get(&seen, d->d.id.s));
	if (adopted)
		log_info("provider %s: adopted %d machines", pr->name, adopted);
	map_fini(&seen);
	free(ours);
}

/* ---- looking, now and then ---- */

struct stray {
	char *ref; /* owned; key in strays */
	struct id token;
	int seen; /* in how many inventories in a row */
	bool now;
};

static void
stray_free(struct cprovider *pr, struct stray *s)
{
	map_remove(&pr->strays, s->ref);
	free(s->ref);
	free(s);
}

struct stray_question {
	struct cprovider *pr;
	struct id token;
};

static void
stray_ended(void *arg, const struct err *err)
{
	if (err->code != ERR_NONE)
		log_warn("provider: end of a leftover machine: %s", err->msg);
}

/* A machine that the ledger has as ended is ours to end again; one it never had is audit's business. */
static void
stray_judged(void *arg, const struct store_result *res, const struct err *err)
{
	struct stray_question *q = arg;
	struct core *c = q->pr->core;
	struct cmachine *m;

	if (is_disk_token(q->token.s)) {
		if (err->code == ERR_NONE && res->n == 1 && !c->closing &&
		    res->disks[0].state == DISK_DELETED &&
		    !disk_of_token(c, q->token.s)) {
			log_warn(
			    "provider %s: disk %s is still there though it was deleted; "
			    "removing it again",
			    q->pr->name, q->token.s);
			c->n.strays_ended++;
			q->pr->p->ops->disk_remove(
			    q->pr->p, q->token.s, NULL, stray_ended, NULL);
		}
		free(q);
		return;
	}

	/* the last few that failed are still in memory; their end is not under way */
	m = map_get(&c->machines, q->token.s);
	if (err->code == ERR_NONE && res->n == 1 && !c->closing &&
	    (!m ||
		(m->m.state == MACHINE_FAILED && machine_place(m) == &m->pool->failed)) &&
	    (res->machines[0].state == MACHINE_TERMINATED ||
		res->machines[0].state == MACHINE_FAILED)) {
		log_warn("provider %s: machine %s is still there though it ended; ending "
			 "it again",
		    q->pr->name, q->token.s);
		c->n.strays_ended++;
		q->pr->p->ops->terminate(q->pr->p, q->token.s, NULL, stray_ended, NULL);
	}
	free(q);
}

static void
judge(struct cprovider *pr, const char *token)
{
	struct store_query q = {
	    .kind = is_disk_token(token) ? QUERY_DISKS : QUERY_MACHINES,
	    .uid = STORE_ANY_UID,
	    .limit = 1};
	struct stray_question *sq = xnew(struct stray_question);

	sq->pr = pr;
	(void)snprintf(sq->token.s, sizeof(sq->token.s), "%s", token);
	memcpy(q.key, sq->token.s, sizeof(sq->token.s));
	core_query(pr->core, &q, stray_judged, sq);
}

static void
look_for_strays(struct cprovider *pr, const struct sighting *all, int n)
{
	struct stray *s;
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		struct cmachine *m =
		    all[i].token ? map_get(&pr->core->machines, all[i].token) : NULL;

		if ((m && m->m.ended_at == 0) || disk_of_token(pr->core, all[i].token))
			continue;
		if (all[i].state == SIGHTING_GONE)
			continue;
		s = map_get(&pr->strays, all[i].ref);
		if (!s) {
			s = xnew(struct stray);
			s->ref = xstrdup(all[i].ref);
			if (all[i].token &&
			    (id_valid(all[i].token, 'm') || is_disk_token(all[i].token)))
				(void)snprintf(
				    s->token.s, sizeof(s->token.s), "%s", all[i].token);
			map_put(&pr->strays, s->ref, s);
		}
		s->now = true;
		/* Twice, so that one on its way in or out is not taken for a stray; at the start none is. */
		if (++s->seen >= (pr->listed ? 2 : 1) && !id_empty(&s->token))
			judge(pr, s->token.s);
	}
	while ((s = map_next(&pr->strays, &at))) {
		if (!s->now)
			stray_free(pr, s);
		else
			s->now = false;
	}
}

void
strays_free(struct cprovider *pr)
{
	struct stray *s;
	size_t at = 0;

	while ((s = map_next(&pr->strays, &at)))
		stray_free(pr, s);
	map_fini(&pr->strays);
}

/* ---- whoever waits for all of it ---- */

static void
settled(void *arg)
{
	struct core *c = arg;
	void (*fn)(void *) = c->settled;

	timer_off(&c->settle);
	c->settled = NULL;
	if (fn && !c->closing)
		fn(c->settled_arg);
}

static void
settled_without(void *arg)
{
	struct core *c = arg;
	const struct cprovider *pr;

	list_for_each (pr, &c->providers, in_core)
		if (!pr->listed)
			log_warn("provider %s: no inventory in %d s; going on without: "
				 "what it has is not known yet",
			    pr->name, CORE_SETTLE_MS / 1000);
	settled(c);
}

static void
settle_if_listed(struct core *c)
{
	const struct cprovider *pr;

	list_for_each (pr, &c->providers, in_core)
		if (!pr->listed)
			return;
	if (c->settled)
		core_defer(c, settled, c);
}

void
core_when_settled(struct core *c, void (*fn)(void *arg), void *arg)
{
	c->settled = fn;
	c->settled_arg = arg;
	timer_set(c->clock, &c->settle, CORE_SETTLE_MS, settled_without, c);
	settle_if_listed(c);
}

static void
looked(void *arg, const struct sighting *all, int n, const struct err *err)
{
	struct cprovider *pr = arg;
	struct core *c = pr->core;
	struct cpool *p;

	if (c->closing)
		return;
	if (err->code != ERR_NONE) {
		log_warn("provider %s: inventory: %s; trying again in %d s", pr->name,
		    err->msg, pr->listed ? LOOK_MS / 1000 : 1);
	} else {
		if (!pr->listed)
			adopt(pr, all, n);
		else
			for (int i = 0; i < n; i++)
				if (all[i].token)
					core_sighting(pr, &all[i]);
		look_for_strays(pr, all, n);
		pr->listed = true;
		list_for_each (p, &c->pools, in_core)
			if (p->provider == pr)
				pool_wake(p);
	}
	timer_set(c->clock, &pr->look, pr->listed ? LOOK_MS : 1000, provider_look, pr);
	settle_if_listed(c);
}

void
provider_look(void *arg)
{
	struct cprovider *pr = arg;

	pr->p->ops->inventory(pr->p, looked, pr);
}

void
core_sighting(void *arg, const struct sighting *s)
{
	struct cprovider *pr = arg;
	struct cmachine *m = s->token ? map_get(&pr->core->machines, s->token) : NULL;
	struct cdisk *d = disk_of_token(pr->core, s->token);

	if (d && d->provider == pr && !pr->core->closing && pr->core->started)
		disk_sighted(d, s);

	if (m && m->pool->provider == pr && !pr->core->closing && pr->core->started)
		machine_sighted(m, s);
}

int
core_start(struct core *c, struct err *err)
{
	struct loading l = {.core = c};
	struct store_loader to = {&l, load_machine, load_reservation, load_disk,
	    load_step, load_pool, load_meta, load_last};
	struct cprovider *pr;
	struct cpool *p;

	if (c->store->ops->load(c->store, &to, err) < 0)
		return err_wrap(err, "load");
	c->host_restarted =
	    l.boot_id && c->opt.boot_id && strcmp(l.boot_id, c->opt.boot_id) != 0;
	if (c->host_restarted)
		log_warn("the host was restarted: its local machines are gone");
	free(l.boot_id);
	if (c->opt.boot_id)
		store_tx_meta(core_tx(c), "boot_id", c->opt.boot_id);
	c->started = true;
	join(c);
	end_lost(&l);
	close_open_steps(&l);
	list_for_each (p, &c->pools, in_core) {
		pool_save_shape(p);
		if (!p->gone && p->provider->p->ops->image)
			p->provider->p->ops->image(p->provider->p, p->p.image);
	}
	list_for_each (pr, &c->providers, in_core)
		provider_look(pr);
	return 0;
}
