/* SPDX-License-Identifier: Apache-2.0 */
#include "core/attach.h"
#include "core/core_internal.h"
#include "core/home.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#define REWRITE_MS 1000

/* What nobody waits for gathers this long, and mostly leaves with the next claim: one fsync for both. */
#define GATHER_MS 3

struct event_node {
	struct event_node *next;
	struct event e;
};

struct cthen {
	struct cthen *next;
	core_done_fn fn;
	void *arg;
};

struct core_subscription {
	struct list in_core;
	core_event_fn fn;
	void *arg;
	bool gone; /* unsubscribed while events are being handed out */
};

enum write_kind {
	WRITE_GATHERED, /* core_tx's: written anew when it fails */
	WRITE_REWRITE,	/* likewise */
	WRITE_ALONE,	/* a claim's: fails for good */
};

struct submitted {
	struct core *core;
	struct cwrite *w;
	enum write_kind kind;
};

bool
core_can_write(const struct core *c)
{
	return c->health == STORE_WRITES;
}

struct cwrite *
cwrite_new(struct core *c)
{
	struct cwrite *w = xnew(struct cwrite);

	w->serial = ++c->last_write;
	w->tx = store_tx_new();
	w->events_end = &w->events;
	w->thens_end = &w->thens;
	return w;
}

static void
then_add(struct cwrite *w, core_done_fn fn, void *arg)
{
	struct cthen *t = xnew(struct cthen);

	t->fn = fn;
	t->arg = arg;
	*w->thens_end = t;
	w->thens_end = &t->next;
}

static void
publish(struct core *c, const struct event *e)
{
	struct core_subscription *s, *tmp;

	list_for_each (s, &c->subscriptions, in_core)
		if (!s->gone)
			s->fn(s->arg, e);
	list_for_each_safe (s, tmp, &c->subscriptions, in_core)
		if (s->gone) {
			list_remove(&s->in_core);
			free(s);
		}
}

static void
put_steps(struct plan_run *run, void *arg)
{
	plan_run_put(run, arg);
}

/* Every row that memory has; one that a claim is about to write is the claim's. */
static void
put_all(struct core *c, struct store_tx *tx)
{
	struct creservation *r;
	struct cmachine *m;
	struct cdisk *d;
	size_t at = 0;

	while ((m = map_next(&c->machines, &at))) {
		if (!m->claiming)
			store_tx_machine(tx, &m->m);
		plan_run_put(m->run, tx);
	}
	list_for_each (d, &c->disks, in_core) {
		store_tx_disk(tx, &d->d);
		plan_run_put(d->run, tx);
	}
	list_for_each (r, &c->live, in_core) {
		bool ended = r->r.state == RESERVATION_ENDED;
		bool stored = r->durable && !r->claiming;

		if (ended || stored)
			store_tx_reservation(tx, &r->r);
		if (stored) {
			plan_run_put(r->run, tx);
			attach_each_run(r, put_steps, tx);
			plan_run_put(r->home_run, tx);
		}
	}
}

static void
cwrite_free(struct cwrite *w)
{
	while (w->events) {
		struct event_node *n = w->events;

		w->events = n->next;
		event_fini(&n->e);
		free(n);
	}
	store_tx_free(w->tx);
	free(w);
}

static void submit(struct core *c, struct cwrite *w, enum write_kind kind);

/* What failed, without its rows of machines and reservations: those have moved on, and follow as they are. */
static void
rewrite(void *arg)
{
	struct core *c = arg;
	struct cwrite *w = cwrite_new(c);

	timer_off(&c->rewrite);
	c->health = STORE_REWRITES;
	if (c->failed)
		w->serial = c->failed->serial;
	while (c->failed) {
		struct cwrite *f = c->failed;

		c->failed = f->next;
		store_tx_absorb(w->tx, f->tx);
		if (f->events) {
			*w->events_end = f->events;
			w->events_end = f->events_end;
			f->events = NULL;
		}
		cwrite_free(f);
	}
	put_all(c, w->tx);
	submit(c, w, WRITE_REWRITE);
}

static void
call_thens(struct cwrite *w, const struct err *err)
{
	while (w->thens) {
		struct cthen *t = w->thens;

		w->thens = t->next;
		t->fn(t->arg, err);
		free(t);
	}
}

/* In the order in which they were begun, which is that of their events. */
static void
keep_failed(struct core *c, struct cwrite *w)
{
	struct cwrite **at = &c->failed;

	while (*at && (*at)->serial < w->serial)
		at = &(*at)->next;
	w->next = *at;
	*at = w;
}

/* From now on the store is asked once a second, by a rewrite. */
static void
store_refuses(struct core *c, const struct err *err)
{
	if (c->health == STORE_WRITES)
		log_error("store: %s; trying again every second", err->msg);
	c->refused = *err;
	c->health = STORE_REFUSES;
	if (!timer_is_on(&c->rewrite))
		timer_set(c->clock, &c->rewrite, REWRITE_MS, rewrite, c);
}

/* What was gathered meanwhile has failed, too: nobody is left waiting for the store to come back. */
static void
fail_pending(struct core *c, const struct err *err)
{
	struct cwrite *w = c->pending;

	if (!w)
		return;
	c->pending = NULL;
	timer_off(&c->flush);
	keep_failed(c, w);
	call_thens(w, err);
}

static void
publish_all(struct core *c, struct cwrite *w)
{
	while (w->events) {
		struct event_node *n = w->events;

		w->events = n->next;
		if (!c->closing || c->health == STORE_WRITES) /* else out of order */
			publish(c, &n->e);
		event_fini(&n->e);
		free(n);
	}
}

/* It was submitted behind one that failed: it is durable, and what it tells waits for the one before. */
static void
hold_events(struct core *c, struct cwrite *w)
{
	store_tx_free(w->tx);
	w->tx = store_tx_new();
	keep_failed(c, w);
}

static void
store_writes(struct core *c)
{
	struct cpool *p;

	while (
	    c->failed) { /* only held ones: a failure would have turned the state back */
		struct cwrite *w = c->failed;

		c->failed = w->next;
		publish_all(c, w);
		cwrite_free(w);
	}
	log_info("store: it writes again");
	c->health = STORE_WRITES;
	core_flush(c);
	list_for_each (p, &c->pools, in_core)
		pool_wake(p);
}

static void
written(void *arg, const struct err *err)
{
	struct submitted s = *(struct submitted *)arg;
	struct core *c = s.core;
	struct cwrite *w = s.w;
	bool again = s.kind != WRITE_ALONE && !c->closing;

	free(arg);
	if (err->code == ERR_NONE) {
		bool held =
		    c->health != STORE_WRITES && s.kind != WRITE_REWRITE && !c->closing;

		call_thens(w, err);
		if (held) {
			hold_events(c, w);
		} else {
			publish_all(c, w);
			cwrite_free(w);
		}
		if (s.kind == WRITE_REWRITE && c->health == STORE_REWRITES && !c->closing)
			store_writes(c);
		return;
	}
	if (again)
		keep_failed(c, w);
	if (again || err->code != ERR_CONFLICT) { /* a lost claim is no trouble */
		c->n.write_failures++;
		if (!c->closing)
			store_refuses(c, err);
	}
	call_thens(w, err);
	if (!again)
		cwrite_free(w);
	if (c->health != STORE_WRITES && !c->closing)
		fail_pending(c, err);
}

static void
refused(void *arg)
{
	struct submitted *s = arg;
	struct err err = s->core->refused;

	written(s, &err);
}

static void
submit(struct core *c, struct cwrite *w, enum write_kind kind)
{
	struct submitted *s = xnew(struct submitted);

	*s = (struct submitted){c, w, kind};
	if (c->store && (kind != WRITE_ALONE || c->health == STORE_WRITES))
		c->store->ops->submit(c->store, store_tx_ref(w->tx), written, s);
	else
		core_defer(c, refused, s);
}

void
cwrite_submit(struct core *c, struct cwrite *w, core_done_fn fn, void *arg)
{
	core_flush(c);
	then_add(w, fn, arg);
	submit(c, w, WRITE_ALONE);
}

void
core_flush(struct core *c)
{
	struct cwrite *w = c->pending;

	if (c->closing && c->failed)
		rewrite(c); /* the last attempt, and before what is newer */
	if (!w || (c->health != STORE_WRITES && !c->closing))
		return;
	c->pending = NULL;
	timer_off(&c->flush);
	submit(c, w, WRITE_GATHERED);
}

static void
flush_due(void *arg)
{
	core_flush(arg);
}

struct store_tx *
core_tx(struct core *c)
{
	if (!c->pending) {
		c->pending = cwrite_new(c);
		timer_set(c->clock, &c->flush, GATHER_MS, flush_due, c);
	}
	return c->pending->tx;
}

void
core_tx_then(struct core *c, core_done_fn fn, void *arg)
{
	core_tx(c);
	if (!c->pending->thens)
		timer_set(c->clock, &c->flush, 0, flush_due, c);
	then_add(c->pending, fn, arg);
}

int64_t
core_next_step(struct core *c)
{
	return ++c->last_step;
}

static void
add_event(struct core *c, struct cwrite *w, struct event e)
{
	struct event_node *n = xnew(struct event_node);

	if (!w) {
		core_tx(c);
		w = c->pending;
	}
	n->e = e;
	n->e.seq = ++c->last_event;
	n->e.at = clock_wall_ms(c->clock);
	n->e.name = xstrdup_null(e.name);
	n->e.detail = xstrdup_null(e.detail);
	*w->events_end = n;
	w->events_end = &n->next;
	store_tx_event(w->tx, &n->e);
}

void
core_event_machine_as(
    struct core *c, struct cwrite *w, const struct cmachine *m, const struct machine *row)
{
	add_event(c, w,
	    (struct event){
		.kind = "machine",
		.id = row->id,
		.name = row->pool,
		.state = machine_state_name(row->state),
		.other = row->reservation,
		.uid = m->reservation ? m->reservation->r.uid : UINT32_MAX,
		.detail = row->error,
	    });
}

void
core_event_reservation(
    struct core *c, struct cwrite *w, const struct reservation *row, const char *detail)
{
	add_event(c, w,
	    (struct event){
		.kind = "reservation",
		.id = row->id,
		.name = row->pool,
		.state = reservation_state_name(row->state),
		.other = row->machine,
		.uid = row->uid,
		.detail = (char *)detail,
	    });
}

void
core_event_pool(
    struct core *c, const struct cpool *p, const char *state, const char *detail)
{
	add_event(c, NULL,
	    (struct event){
		.kind = "pool",
		.name = p->p.name,
		.state = state,
		.uid = UINT32_MAX,
		.detail = (char *)detail,
	    });
}

void
core_save_machine(struct cmachine *m)
{
	store_tx_machine(core_tx(m->core), &m->m);
	core_event_machine_as(m->core, NULL, m, &m->m);
}

void
core_save_disk(struct cdisk *d)
{
	store_tx_disk(core_tx(d->core), &d->d);
	add_event(d->core, NULL,
	    (struct event){
		.kind = "disk",
		.id = d->d.id,
		.name = d->d.name,
		.state = disk_state_name(d->d.state),
		.uid = d->d.uid,
		.detail = d->d.error,
	    });
}

void
core_save_reservation(struct creservation *r)
{
	if (r->claiming && r->r.state != RESERVATION_ENDED) {
		r->unsaved = true; /* the row now would overwrite the claim's */
		return;
	}
	store_tx_reservation(core_tx(r->core), &r->r);
	core_event_reservation(
	    r->core, NULL, &r->r, r->r.error ? r->r.error : end_reason_name(r->r.reason));
}

struct core_subscription *
core_subscribe(struct core *c, core_event_fn fn, void *arg)
{
	struct core_subscription *s = xnew(struct core_subscription);

	s->fn = fn;
	s->arg = arg;
	list_push_back(&c->subscriptions, &s->in_core);
	return s;
}

void
core_unsubscribe(struct core_subscription *s)
{
	s->gone = true;
}

int64_t
core_last_event(const struct core *c)
{
	return c->last_event;
}

bool
core_event_visible(const struct event *e, const struct core_caller *who)
{
	return who->operator_ || e->uid == UINT32_MAX || e->uid == who->uid;
}

struct events_wait {
	core_events_fn done;
	void *arg;
};

static void
events_found(void *arg, const struct store_result *res, const struct err *err)
{
	struct events_wait *w = arg;

	w->done(w->arg, res ? res->events : NULL, res ? res->n : 0, err);
	free(w);
}

void
core_events_since(
    struct core *c, int64_t since, int limit, core_events_fn done, void *arg)
{
	struct events_wait *w = xnew(struct events_wait);
	struct store_query q = {.kind = QUERY_EVENTS, .since = since, .limit = limit};

	*w = (struct events_wait){done, arg};
	core_flush(c);
	core_query(c, &q, events_found, w);
}

struct deferred {
	struct list in_core;
	void (*fn)(void *);
	void *arg;
};

static void
run_deferred(void *arg)
{
	struct core *c = arg;
	struct list now;

	list_init(&now);
	while (!list_empty(&c->deferred)) {
		struct list *l = c->deferred.next;

		list_remove(l);
		list_push_back(&now, l);
	}
	while (!list_empty(&now)) {
		struct deferred *d = list_entry(now.next, struct deferred, in_core);

		list_remove(&d->in_core);
		d->fn(d->arg);
		free(d);
	}
}

void
core_defer(struct core *c, void (*fn)(void *), void *arg)
{
	struct deferred *d = xnew(struct deferred);

	d->fn = fn;
	d->arg = arg;
	list_push_back(&c->deferred, &d->in_core);
	if (!timer_is_on(&c->defer))
		timer_set(c->clock, &c->defer, 0, run_deferred, c);
}

void
core_query(struct core *c, const struct store_query *q, store_query_fn done, void *arg)
{
	struct err err;

	if (c->store) {
		c->store->ops->query(c->store, q, done, arg);
		return;
	}
	err_set(&err, ERR_UNAVAILABLE, "hearthd is stopping");
	done(arg, &(struct store_result){0}, &err);
}

static void
run_all_deferred(struct core *c)
{
	do {
		run_deferred(c);
		core_flush(c);
	} while (!list_empty(&c->deferred));
}

void
core_write_close(struct core *c)
{
	struct core_subscription *s, *tmp;
	struct store *store = c->store;

	run_all_deferred(c);
	store->ops->close(store);
	c->store = NULL;
	err_set(&c->refused, ERR_CANCELLED, "hearthd is stopping");
	run_all_deferred(c);
	timer_off(&c->rewrite);
	timer_off(&c->defer);
	timer_off(&c->flush);
	list_for_each_safe (s, tmp, &c->subscriptions, in_core) {
		list_remove(&s->in_core);
		free(s);
	}
}
