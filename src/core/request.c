/* SPDX-License-Identifier: Apache-2.0 */
#include "core/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "core/core_internal.h"
#include "ssh/pubkey.h"

#define LIST_MAX 1000

/* ---- reserve ---- */

struct reserve_op {
	struct core *core;
	struct core_caller who; /* user: owned */
	struct cpool *pool;
	char *name, *request_id, *public_keys; /* owned */
	int64_t hold_ms, idle_ms;
	int count, unsettled;
	bool no_wait, no_warm;
	core_reserve_fn done;
	void *arg;
	struct creservation **rs; /* owned array */
	struct err err;
};

static void
op_free(struct reserve_op *op)
{
	free((char *)op->who.user);
	free(op->name);
	free(op->request_id);
	free(op->public_keys);
	free(op->rs);
	free(op);
}

static void
op_fail(void *arg)
{
	struct reserve_op *op = arg;

	op->done(op->arg, NULL, 0, false, &op->err);
	op_free(op);
}

static void
op_answer(struct reserve_op *op)
{
	struct reservation_view *views = xcalloc((size_t)op->count, sizeof(*views));

	if (op->err.code != ERR_NONE) {
		for (int i = 0; i < op->count; i++) {
			struct creservation *r = op->rs[i];

			r->op = NULL;
			if (!r->durable && r->r.state != RESERVATION_ENDED)
				reservation_discard(r);
			else if (r->r.state != RESERVATION_ENDED)
				reservation_end(r, END_CANCELLED, NULL);
			else
				reservation_let_go(r);
		}
		op->done(op->arg, NULL, 0, false, &op->err);
	} else {
		for (int i = 0; i < op->count; i++)
			views[i] = view_of(op->rs[i], op->rs[i]->certs);
		op->done(op->arg, views, op->count, false, &op->err);
		for (int i = 0; i < op->count; i++) {
			struct creservation *r = op->rs[i];

			r->op = NULL;
			certs_free(&r->certs);
			reservation_let_go(r);
		}
	}
	free(views);
	op_free(op);
}

void
request_settled(struct creservation *r, const struct err *err)
{
	struct reserve_op *op = r->op;

	if (!op || r->settled)
		return;
	r->settled = true;
	if (err && op->err.code == ERR_NONE)
		op->err = *err;
	if (--op->unsettled == 0)
		op_answer(op);
}

static void
wait_written(void *arg, const struct err *err)
{
	struct creservation *r = map_get(&((struct id_of *)arg)->core->reservations, ((struct id_of *)arg)->id.s);

	free(arg);
	if (!r)
		return;
	r->durable = err->code == ERR_NONE;
	request_settled(r, r->durable ? NULL : err);
}

void
request_waits(struct creservation *r)
{
	struct id_of *id = xnew(struct id_of);

	*id = (struct id_of){r->core, r->r.id};
	core_save_reservation(r);
	core_tx_then(r->core, wait_written, id);
}

static void
make_name(struct core *c, uint32_t uid, char out[48])
{
	static const char *const first[] = {"amber", "brisk", "calm", "coral", "crisp", "dusky", "eager",
	    "early", "fair", "fleet", "fond", "gold", "green", "keen", "kind", "light", "lucid",
	    "merry", "mild", "misty", "noble", "pale", "plain", "proud", "quick", "quiet", "rapid",
	    "ruby", "swift", "vivid", "warm", "wise"};
	static const char *const second[] = {"ash", "bay", "birch", "brook", "cedar", "cliff", "cove",
	    "crane", "dale", "elm", "fern", "finch", "fox", "grove", "hare", "hawk", "heath",
	    "heron", "iris", "lake", "lark", "lynx", "maple", "moss", "otter", "pine", "reed",
	    "robin", "sage", "tern", "vale", "wren"};
	char key[64];

	do {
		struct id id = id_new('n');

		(void)snprintf(out, 48, "%s-%s-%.4s", first[(unsigned char)id.s[6] % 32],
		    second[((unsigned char)id.s[7] + 36u * (unsigned char)id.s[8]) % 32],
		    id.s + 10);
		(void)snprintf(key, sizeof(key), "%u:%s", uid, out);
	} while (map_get(&c->names, key));
}

static struct creservation *
op_reservation(struct reserve_op *op, int i, struct id group)
{
	struct core *c = op->core;
	char name[64];
	struct reservation row = {
	    .id = id_new('r'),
	    .name = name,
	    .uid = op->who.uid,
	    .user = (char *)op->who.user,
	    .pool = op->pool->p.name,
	    .state = RESERVATION_PREPARING,
	    .public_keys = op->public_keys,
	    .request_id = i == 0 ? op->request_id : NULL,
	    .group = group,
	    .no_warm = op->no_warm,
	    .no_wait = op->no_wait,
	    .hold_ms = op->hold_ms,
	    .idle_ms = op->idle_ms,
	    .serial = ++c->last_serial,
	    .created_at = clock_wall_ms(c->clock),
	};

	if (op->name && op->count > 1)
		(void)snprintf(name, sizeof(name), "%.50s-%d", op->name, i + 1);
	else if (op->name)
		(void)snprintf(name, sizeof(name), "%s", op->name);
	else
		make_name(c, op->who.uid, name);
	if (i == 0 && op->count > 1)
		row.group = row.id;
	return reservation_new(c, &row);
}

static bool
name_taken(struct reserve_op *op)
{
	for (int i = 0; op->name && i < op->count; i++) {
		char key[96];

		if (op->count > 1)
			(void)snprintf(key, sizeof(key), "%u:%.50s-%d", op->who.uid, op->name, i + 1);
		else
			(void)snprintf(key, sizeof(key), "%u:%s", op->who.uid, op->name);
		if (map_get(&op->core->names, key)) {
			err_set(&op->err, ERR_CONFLICT, "you already have a reservation named '%s'",
			    strchr(key, ':') + 1);
			err_hint(&op->err, "choose another name, or cancel that one");
			return true;
		}
	}
	return false;
}

/* How many more could be served without waiting: by ready ones and by new launches. */
static int
capacity(struct cpool *p, bool no_warm, const char **ret_why)
{
	struct cmachine *m;
	int n = 0, room = p->p.max - pool_total(p) - pool_line_without_launch(p);

	if (!no_warm)
		list_for_each (m, &p->ready, in_pool)
			if (!m->reservation && machine_current(m) && machine_healthy(m))
				n++;
	if (pool_may_launch(p, ret_why)) {
		if (room > 0)
			n += room;
		else
			*ret_why = "the pool is at its max";
	}
	return n;
}

static void
op_go(struct reserve_op *op)
{
	const char *why = "the pool is at its max";
	struct id group = {{0}};

	if (name_taken(op)) {
		op_fail(op);
		return;
	}
	if (op->no_wait && capacity(op->pool, op->no_warm, &why) < op->count) {
		err_set(&op->err, ERR_NO_CAPACITY, "pool '%s' has no room for %d now: %s",
		    op->pool->p.name, op->count, why);
		err_hint(&op->err, "leave out --no-wait to queue for it");
		op_fail(op);
		return;
	}
	op->rs = xcalloc((size_t)op->count, sizeof(*op->rs));
	op->unsettled = op->count;
	for (int i = 0; i < op->count; i++) {
		op->rs[i] = op_reservation(op, i, group);
		op->rs[i]->op = op;
		group = op->rs[i]->r.group;
	}
	for (int i = 0, n = op->count; i < n; i++) {
		struct creservation *r = op->rs[i];
		const char *miss = "asked for a cold launch (no_warm)";
		struct cmachine *m = NULL;

		/* those who came first and wait are served first */
		if (!op->no_warm) {
			if (op->pool->n_waiting > 0)
				miss = "others are waiting in line";
			else
				m = claim_candidate(op->pool, &miss);
		}
		if (m) {
			reservation_take(r, m);
		} else {
			reservation_wait_in_line(r, miss);
			if (!pool_may_launch(op->pool, &why) ||
			    pool_total(op->pool) + pool_line_without_launch(op->pool) > op->pool->p.max)
				r->r.state = RESERVATION_QUEUED;
			request_waits(r);
		}
	}
}

static void
known_request(void *arg, const struct store_result *res, const struct err *err)
{
	struct reserve_op *op = arg;

	if (err->code != ERR_NONE) {
		op->err = *err;
		op_fail(op);
	} else if (res->n > 0) {
		struct reservation_view v = view_of_row(&res->reservations[0]);

		op->done(op->arg, &v, 1, true, err);
		op_free(op);
	} else {
		op_go(op);
	}
}

/* The same request again, and its reservations are in memory. */
static void
answer_known(void *arg)
{
	struct reserve_op *op = arg;
	struct core *c = op->core;
	struct reservation_view *views = xcalloc(CORE_COUNT_MAX, sizeof(*views));
	struct certs **certs = xcalloc(CORE_COUNT_MAX, sizeof(*certs));
	struct creservation *r, *first;
	char *key = xasprintf("%u:%s", op->who.uid, op->request_id);
	struct err err = {0};
	int n = 0;

	first = map_get(&c->requests, key);
	free(key);
	if (first)
		list_for_each (r, &c->live, in_core) {
			if (r != first && (id_empty(&first->r.group) || !id_equal(&r->r.group, &first->r.group)))
				continue;
			if (r->r.state == RESERVATION_ACTIVE && certs_make(r, NULL, 0, &certs[n], &err) < 0)
				log_warn("certificate: %s", err.msg);
			views[n] = view_of(r, certs[n]);
			if (++n == CORE_COUNT_MAX)
				break;
		}
	if (n > 0) {
		op->done(op->arg, views, n, true, &(struct err){0});
	} else {
		err_set(&err, ERR_UNAVAILABLE, "the reservation of this request id is just ending");
		op->done(op->arg, NULL, 0, false, &err);
	}
	for (int i = 0; i < n; i++)
		certs_free(&certs[i]);
	free(certs);
	free(views);
	op_free(op);
}

static int
no_pool(struct err *err, const char *name)
{
	err_set(err, ERR_NOT_FOUND, "no pool '%.64s'", name);
	return err_hint(err, "see 'hearth pool list'");
}

static int
op_check(struct reserve_op *op, const struct reserve_request *req, struct err *err)
{
	struct core *c = op->core;
	const char *pool = req->pool ? req->pool : "default";

	op->pool = pool_find(c, pool);
	if (!op->pool || op->pool->gone)
		return no_pool(err, pool);
	if (req->name && !name_valid(req->name))
		return err_set(err, ERR_INVALID,
		    "name: expected 1 to 63 of letters, digits, '.', '_' and '-', a letter or digit first and last");
	if (req->n_keys < 1 || req->n_keys > CORE_KEYS_MAX)
		return err_set(err, ERR_INVALID, "public_keys: expected 1 to %d keys", CORE_KEYS_MAX);
	if (req->hold_ms < 0 || op->hold_ms > c->opt.max_hold_ms)
		return err_set(err, ERR_INVALID, "hours: expected more than 0 and at most %g",
		    (double)c->opt.max_hold_ms / 3600000.0);
	if (req->count < 1 || req->count > CORE_COUNT_MAX)
		return err_set(err, ERR_INVALID, "count: expected 1 to %d", CORE_COUNT_MAX);
	if (req->count > op->pool->p.max) {
		err_set(err, ERR_NO_CAPACITY, "pool '%s' has at most %d machines", pool, op->pool->p.max);
		return err_hint(err, "ask for fewer, or have an operator raise its max");
	}
	return 0;
}

void
core_reserve(struct core *c, const struct core_caller *who, const struct reserve_request *req,
    core_reserve_fn done, void *arg)
{
	struct reserve_op *op = xnew(struct reserve_op);
	AUTO_BUF struct buf keys = BUF_INIT(0);

	op->core = c;
	op->who = *who;
	op->who.user = xstrdup(who->user);
	op->hold_ms = req->hold_ms ? req->hold_ms : c->opt.default_hold_ms;
	op->idle_ms = req->idle_ms;
	op->count = req->count;
	op->no_wait = req->no_wait;
	op->no_warm = req->no_warm;
	op->done = done;
	op->arg = arg;
	if (op_check(op, req, &op->err) < 0) {
		core_defer(c, op_fail, op);
		return;
	}
	op->name = xstrdup_null(req->name);
	op->request_id = xstrdup_null(req->request_id);
	for (int i = 0; i < req->n_keys; i++) {
		char *line = ssh_pubkey_line(&req->keys[i]);

		buf_fmt(&keys, "%s%s", i ? "\n" : "", line);
		free(line);
	}
	op->public_keys = buf_take(&keys);
	if (op->request_id) {
		char *key = xasprintf("%u:%s", who->uid, op->request_id);
		struct creservation *known = map_get(&c->requests, key);
		struct store_query q = {.kind = QUERY_REQUEST, .uid = who->uid, .limit = 1};

		free(key);
		if (known) {
			core_defer(c, answer_known, op);
			return;
		}
		(void)snprintf(q.key, sizeof(q.key), "%s", op->request_id);
		core_flush(c);
		c->store->ops->query(c->store, &q, known_request, op);
		return;
	}
	op_go(op);
}

/* One of a group can no longer be had: all or none. Those already in use stay. */
void
request_group_ended(struct creservation *r)
{
	struct creservation *o, *tmp;

	if (id_empty(&r->r.group) || r->r.reason != END_FAILED || r->r.ready_at)
		return;
	list_for_each_safe (o, tmp, &r->core->live, in_core)
		if (o != r && id_equal(&o->r.group, &r->r.group) && o->r.state != RESERVATION_ENDED) {
			reservation_end(o, END_FAILED, "another of the same request failed");
			break; /* which ends the next, and so on */
		}
}

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

	if (with_certs && r->r.state == RESERVATION_ACTIVE && certs_make(r, NULL, 0, &certs, &err) < 0) {
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

	return wants == WANTS_UNDONE ? ended && !r->machine && !r->claiming
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
wait_for(struct creservation *r, enum wants wants, int64_t wait_ms, core_view_fn done, void *arg)
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
	void (*ended)(struct find *f, const struct reservation *row); /* NULL: shown as it is */
	core_view_fn done;
	void *arg;
	int64_t ms;
	bool wait;
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
	struct store_query q = {.kind = QUERY_RESERVATION, .uid = STORE_ANY_UID, .limit = 50};
	char own[160];
	int names = 0, prefixes = 0;

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
			if (r->r.state != RESERVATION_ENDED && strcmp(r->r.name, f->key) == 0) {
				hit = r;
				names++;
			}
	if (!hit && looks_like_id_prefix(f->key))
		list_for_each (r, &c->live, in_core)
			if (strncmp(r->r.id.s, f->key, strlen(f->key)) == 0 && may_see(&f->who, r->r.uid)) {
				hit = r;
				prefixes++;
			}
	if (names > 1 || prefixes > 1) {
		ambiguous(f);
	} else if (hit) {
		f->live(f, hit);
	} else {
		memcpy(q.key, f->key, sizeof(q.key));
		c->store->ops->query(c->store, &q, found_in_store, f);
	}
}

static struct find *
find_new(struct core *c, const struct core_caller *who, const char *key, core_view_fn done, void *arg)
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
core_show(struct core *c, const struct core_caller *who, const char *key, core_view_fn done, void *arg)
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
core_cancel(struct core *c, const struct core_caller *who, const char *key, bool wait, core_view_fn done,
    void *arg)
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
extended(void *arg, const struct err *err)
{
	struct find *f = arg;
	struct creservation *r = map_get(&f->core->reservations, f->key);

	if (err->code != ERR_NONE || !r) {
		find_fail(f, err);
		return;
	}
	answer_with(r, true, f->done, f->arg);
	find_free(f);
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
		err_set(&err, ERR_INVALID, "hours: a reservation may last at most %g hours in all",
		    (double)f->core->opt.max_hold_ms / 3600000.0);
		find_fail(f, &err);
		return;
	}
	r->r.hold_ms += f->ms;
	if (r->r.expires_at)
		r->r.expires_at += f->ms;
	core_save_reservation(r);
	if (r->r.state == RESERVATION_ACTIVE) {
		reservation_push_deadline(r);
		reservation_set_timer(r);
	}
	(void)snprintf(f->key, sizeof(f->key), "%s", r->r.id.s);
	core_tx_then(f->core, extended, f);
}

void
core_extend(struct core *c, const struct core_caller *who, const char *key, int64_t add_ms,
    core_view_fn done, void *arg)
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
		err_set(&err, ERR_CONFLICT, "reservation '%s' has no machine yet", r->r.name);
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
		if (r->r.state == RESERVATION_ENDED || !r->durable || !may_see(&l->who, r->r.uid))
			continue;
		if (n == cap)
			views = xrealloc(views, sizeof(*views) * (size_t)(cap = cap ? cap * 2 : 64));
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
core_list(struct core *c, const struct core_caller *who, bool all, core_views_fn done, void *arg)
{
	struct listing *l = xnew(struct listing);
	struct store_query q = {.kind = QUERY_RESERVATIONS,
	    .uid = who->operator_ ? STORE_ANY_UID : who->uid,
	    .limit = LIST_MAX};

	*l = (struct listing){c, *who, done, arg};
	l->who.user = NULL;
	core_flush(c);
	if (all)
		c->store->ops->query(c->store, &q, list_stored, l);
	else
		core_defer(c, list_live, l);
}
