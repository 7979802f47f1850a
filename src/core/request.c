/* SPDX-License-Identifier: Apache-2.0 */
#include "core/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "core/core_internal.h"
#include "ssh/pubkey.h"

#define LIST_MAX 1000

/* ---- those who wait ---- */

enum wants { WANTS_SETTLED, WANTS_UNDONE };

struct waiter {
	struct list in_reservation;
	struct timer timer;
	struct creservation *r;
	enum wants wants;
	core_view_fn done;
	void *arg;
};

static void
answer_with(struct creservation *r, bool with_certs, core_view_fn done, void *arg)
{
	struct certs *certs = NULL;
	struct reservation_view v;
	struct err err = {0};

	if (with_certs && r->r.state == RESERVATION_ACTIVE &&
	    certs_make(r, NULL, 0, &certs, &err) < 0) {
		done(arg, NULL, &err);
		return;
	}
	v = view_of(r, certs);
	done(arg, &v, &err);
	certs_free(&certs);
}

static void
answer_waiter(struct waiter *w)
{
	struct creservation *r = w->r;

	timer_off(&w->timer);
	list_remove(&w->in_reservation);
	answer_with(r, w->wants == WANTS_SETTLED, w->done, w->arg);
	free(w);
}

static void
waiter_due(void *arg)
{
	struct creservation *r = ((struct waiter *)arg)->r;

	answer_waiter(arg);
	reservation_let_go(r);
}

static bool
fulfilled(const struct creservation *r, enum wants wants)
{
	bool ended = r->r.state == RESERVATION_ENDED && r->end_durable;

	return wants == WANTS_UNDONE
		   ? ended && !r->machine && !r->claiming && r->detaching == 0
		   : ended || r->r.state == RESERVATION_ACTIVE;
}

void
request_answer_waiters(struct creservation *r)
{
	struct waiter *w, *tmp;

	list_for_each_safe (w, tmp, &r->waiters, in_reservation)
		if (fulfilled(r, w->wants))
			answer_waiter(w);
}

void
request_fail_waiters(struct creservation *r, const struct err *err)
{
	struct waiter *w, *tmp;

	list_for_each_safe (w, tmp, &r->waiters, in_reservation) {
		timer_off(&w->timer);
		list_remove(&w->in_reservation);
		w->done(w->arg, NULL, err);
		free(w);
	}
}

static void
wait_for(struct creservation *r, enum wants wants, int64_t wait_ms, core_view_fn done,
    void *arg)
{
	struct waiter *w = xnew(struct waiter);

	w->r = r;
	w->wants = wants;
	w->done = done;
	w->arg = arg;
	list_push_back(&r->waiters, &w->in_reservation);
	if (wait_ms <= 0 || fulfilled(r, wants))
		wait_ms = 0;
	timer_set(r->core->clock, &w->timer, wait_ms, waiter_due, w);
}

/* ---- finding one ---- */

/* What is to be done with the reservation that a key names. */
struct find {
	struct core *core;
	struct core_caller who; /* user is not kept */
	char key[128];
	void (*live)(struct find *f, struct creservation *r);
	void (*ended)(
	    struct find *f, const struct reservation *row); /* NULL: shown as it is */
	core_view_fn done;
	void *arg;
	int64_t ms;
	bool wait;
	bool behind_claim; /* an extension that a claim's row must go before */
	struct ssh_pubkey *keys;
	int n_keys;
};

static void
find_free(struct find *f)
{
	for (int i = 0; i < f->n_keys; i++)
		ssh_pubkey_fini(&f->keys[i]);
	free(f->keys);
	free(f);
}

static void
find_fail(struct find *f, const struct err *err)
{
	f->done(f->arg, NULL, err);
	find_free(f);
}

static bool
may_see(const struct core_caller *who, uint32_t uid)
{
	return who->operator_ || who->uid == uid;
}

/* Whoever asks while the daemon stops; nothing may begin to wait any more. */
static bool
stopping(struct find *f)
{
	struct err err;

	if (!f->core->closing)
		return false;
	err_set(&err, ERR_UNAVAILABLE, "hearthd is stopping");
	find_fail(f, &err);
	return true;
}

static void
not_found(struct find *f)
{
	struct err err;

	err_set(&err, ERR_NOT_FOUND, "no reservation '%.80s'", f->key);
	err_hint(&err, "see 'hearth list --all'");
	find_fail(f, &err);
}

static void
not_yours(struct find *f)
{
	struct err err;

	err_set(&err, ERR_NOT_PERMITTED, "reservation '%.80s' is another user's", f->key);
	find_fail(f, &err);
}

static void
ambiguous(struct find *f)
{
	struct err err;

	err_set(&err, ERR_INVALID, "'%.80s' is ambiguous", f->key);
	err_hint(&err, "give more of the id");
	find_fail(f, &err);
}

/* Of rows whose id or name begins with, or is, the key, newest first: an id beats a name beats a prefix. */
static void
found_in_store(void *arg, const struct store_result *res, const struct err *err)
{
	struct find *f = arg;
	const struct reservation *by_id = NULL, *by_name = NULL, *by_prefix = NULL, *hit;
	struct creservation *live;
	int prefixes = 0;
	bool others = false;

	if (stopping(f))
		return;
	if (err->code != ERR_NONE) {
		find_fail(f, err);
		return;
	}
	for (int i = 0; i < res->n; i++) {
		const struct reservation *r = &res->reservations[i];

		if (!may_see(&f->who, r->uid)) {
			others = true;
		} else if (strcmp(r->id.s, f->key) == 0) {
			by_id = r;
		} else if (strcmp(r->name, f->key) == 0) {
			by_name = by_name ? by_name : r;
		} else {
			by_prefix = r;
			prefixes++;
		}
	}
	hit = by_id ? by_id : by_name ? by_name : by_prefix;
	live = hit ? map_get(&f->core->reservations, hit->id.s) : NULL;
	if (!hit) {
		if (others)
			not_yours(f);
		else
			not_found(f);
	} else if (hit == by_prefix && prefixes > 1) {
		ambiguous(f);
	} else if (live) {
		f->live(f, live);
	} else if (f->ended) {
		f->ended(f, hit);
	} else {
		struct reservation_view v = view_of_row(hit);

		f->done(f->arg, &v, &(struct err){0});
		find_free(f);
	}
}

static bool
looks_like_id_prefix(const char *key)
{
	return key[0] == 'r' && key[1] == '-' && key[2];
}

static void
find_now(void *arg)
{
	struct find *f = arg;
	struct core *c = f->core;
	struct creservation *r = map_get(&c->reservations, f->key), *hit = NULL;
	struct store_query q = {.kind = QUERY_RESERVATION,
	    .uid = f->who.operator_ ? STORE_ANY_UID : f->who.uid,
	    .limit = 50};
	char own[160];
	int names = 0, prefixes = 0;

	if (stopping(f))
		return;
	if (r) {
		if (may_see(&f->who, r->r.uid))
			f->live(f, r);
		else
			not_yours(f);
		return;
	}
	(void)snprintf(own, sizeof(own), "%u:%s", f->who.uid, f->key);
	hit = map_get(&c->names, own);
	if (!hit && f->who.operator_)
		list_for_each (r, &c->live, in_core)
			if (r->r.state != RESERVATION_ENDED &&
			    strcmp(r->r.name, f->key) == 0) {
				hit = r;
				names++;
			}
	if (!hit && looks_like_id_prefix(f->key))
		list_for_each (r, &c->live, in_core)
			if (strncmp(r->r.id.s, f->key, strlen(f->key)) == 0 &&
			    may_see(&f->who, r->r.uid)) {
				hit = r;
				prefixes++;
			}
	if (names > 1 || prefixes > 1) {
		ambiguous(f);
	} else if (hit) {
		f->live(f, hit);
	} else {
		memcpy(q.key, f->key, sizeof(q.key));
		core_query(c, &q, found_in_store, f);
	}
}

static struct find *
find_new(struct core *c, const struct core_caller *who, const char *key,
    core_view_fn done, void *arg)
{
	struct find *f = xnew(struct find);

	f->core = c;
	f->who = *who;
	f->who.user = NULL;
	f->done = done;
	f->arg = arg;
	(void)snprintf(f->key, sizeof(f->key), "%s", key);
	core_flush(c);
	core_defer(c, find_now, f);
	return f;
}

/* ---- get, cancel, extend, certify ---- */

static void
get_live(struct find *f, struct creservation *r)
{
	wait_for(r, WANTS_SETTLED, f->ms, f->done, f->arg);
	find_free(f);
}

void
core_get(struct core *c, const struct core_caller *who, const char *key, int64_t wait_ms,
    core_view_fn done, void *arg)
{
	struct find *f = find_new(c, who, key, done, arg);

	f->live = get_live;
	f->ms = wait_ms;
}

static void
show_live(struct find *f, struct creservation *r)
{
	answer_with(r, false, f->done, f->arg);
	find_free(f);
}

void
core_show(struct core *c, const struct core_caller *who, const char *key,
    core_view_fn done, void *arg)
{
	find_new(c, who, key, done, arg)->live = show_live;
}

#define UNDO_WAIT_MS (120 * 1000)

static void
cancel_live(struct find *f, struct creservation *r)
{
	enum wants wants = f->wait ? WANTS_UNDONE : WANTS_SETTLED;

	reservation_end(r, END_CANCELLED, NULL);
	wait_for(r, wants, UNDO_WAIT_MS, f->done, f->arg);
	find_free(f);
}

void
core_cancel(struct core *c, const struct core_caller *who, const char *key, bool wait,
    core_view_fn done, void *arg)
{
	struct find *f = find_new(c, who, key, done, arg);

	f->live = cancel_live;
	f->wait = wait;
}

static void
refuse_ended(struct find *f, const struct reservation *row)
{
	struct err err;

	err_set(&err, ERR_CONFLICT, "reservation '%s' has ended", row->name);
	find_fail(f, &err);
}

static void
add_time(struct creservation *r, int64_t ms)
{
	r->r.hold_ms += ms;
	if (r->r.expires_at)
		r->r.expires_at += ms;
	core_save_reservation(r);
	reservation_set_timer(r);
}

static void
extended(void *arg, const struct err *err)
{
	struct find *f = arg;
	struct creservation *r = map_get(&f->core->reservations, f->key);
	struct err ended;

	if (err->code != ERR_NONE) {
		if (r && r->r.state != RESERVATION_ENDED)
			add_time(r, -f->ms);
		find_fail(f, err);
	} else if (!r || r->r.state == RESERVATION_ENDED) {
		err_set(&ended, ERR_CONFLICT, "reservation '%s' has ended", f->key);
		find_fail(f, &ended);
	} else if (
	    f->behind_claim) { /* which is over by now, and the row is in this round's write */
		f->behind_claim = false;
		core_tx_then(f->core, extended, f);
	} else {
		if (r->r.state == RESERVATION_ACTIVE)
			reservation_push_deadline(r);
		answer_with(r, true, f->done, f->arg);
		find_free(f);
	}
}

static void
extend_live(struct find *f, struct creservation *r)
{
	struct err err;

	if (r->r.state == RESERVATION_ENDED) {
		refuse_ended(f, &r->r);
		return;
	}
	if (f->ms <= 0 || f->ms > f->core->opt.max_hold_ms ||
	    r->r.hold_ms + f->ms > f->core->opt.max_hold_ms) {
		err_set(&err, ERR_INVALID,
		    "hours: a reservation may last at most %g hours in all",
		    (double)f->core->opt.max_hold_ms / 3600000.0);
		find_fail(f, &err);
		return;
	}
	add_time(r, f->ms);
	f->behind_claim = r->claiming;
	(void)snprintf(f->key, sizeof(f->key), "%s", r->r.id.s);
	core_tx_then(f->core, extended, f);
}

void
core_extend(struct core *c, const struct core_caller *who, const char *key,
    int64_t add_ms, core_view_fn done, void *arg)
{
	struct find *f = find_new(c, who, key, done, arg);

	f->live = extend_live;
	f->ended = refuse_ended;
	f->ms = add_ms;
}

static void
certify_live(struct find *f, struct creservation *r)
{
	struct certs *certs = NULL;
	struct reservation_view v;
	struct err err = {0};

	if (r->r.state == RESERVATION_ENDED) {
		refuse_ended(f, &r->r);
		return;
	}
	if (r->r.state != RESERVATION_ACTIVE) {
		err_set(
		    &err, ERR_CONFLICT, "reservation '%s' has no machine yet", r->r.name);
		find_fail(f, &err);
		return;
	}
	if (certs_make(r, f->keys, f->n_keys, &certs, &err) < 0) {
		find_fail(f, &err);
		return;
	}
	v = view_of(r, certs);
	f->done(f->arg, &v, &err);
	certs_free(&certs);
	find_free(f);
}

void
core_certify(struct core *c, const struct core_caller *who, const char *key,
    const struct ssh_pubkey *keys, int n, core_view_fn done, void *arg)
{
	struct find *f = find_new(c, who, key, done, arg);

	f->live = certify_live;
	f->ended = refuse_ended;
	f->keys = xcalloc((size_t)n, sizeof(*keys));
	f->n_keys = n;
	for (int i = 0; i < n; i++)
		ssh_pubkey_copy(&keys[i], &f->keys[i]);
}

/* ---- list ---- */

struct listing {
	struct core *core;
	struct core_caller who;
	core_views_fn done;
	void *arg;
};

static void
list_live(void *arg)
{
	struct listing *l = arg;
	struct creservation *r;
	struct reservation_view *views = NULL;
	int n = 0, cap = 0;

	list_for_each (r, &l->core->live, in_core) {
		if (r->r.state == RESERVATION_ENDED || !r->durable ||
		    !may_see(&l->who, r->r.uid))
			continue;
		if (n == cap)
			views = xrealloc(
			    views, sizeof(*views) * (size_t)(cap = cap ? cap * 2 : 64));
		views[n++] = view_of(r, NULL);
	}
	l->done(l->arg, views, n, &(struct err){0});
	free(views);
	free(l);
}

static void
list_stored(void *arg, const struct store_result *res, const struct err *err)
{
	struct listing *l = arg;
	struct reservation_view *views;

	if (err->code != ERR_NONE) {
		l->done(l->arg, NULL, 0, err);
		free(l);
		return;
	}
	views = xcalloc((size_t)res->n, sizeof(*views));
	for (int i = 0; i < res->n; i++) { /* newest last */
		const struct reservation *row = &res->reservations[res->n - 1 - i];
		struct creservation *live = map_get(&l->core->reservations, row->id.s);

		views[i] = live ? view_of(live, NULL) : view_of_row(row);
	}
	l->done(l->arg, views, res->n, err);
	free(views);
	free(l);
}

void
core_list(struct core *c, const struct core_caller *who, bool all, core_views_fn done,
    void *arg)
{
	struct listing *l = xnew(struct listing);
	struct store_query q = {.kind = QUERY_RESERVATIONS,
	    .uid = who->operator_ ? STORE_ANY_UID : who->uid,
	    .limit = LIST_MAX};

	*l = (struct listing){c, *who, done, arg};
	l->who.user = NULL;
	core_flush(c);
	if (all)
		core_query(c, &q, list_stored, l);
	else
		core_defer(c, list_live, l);
}
