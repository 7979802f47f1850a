/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "core/attach.h"
#include "core/core_internal.h"
#include "core/request.h"
#include "ssh/pubkey.h"

/*
 * A request for reservations, from the check to the answer. It is answered when each of its
 * reservations is settled: claimed, or stored as waiting in line.
 */

struct reserve_op {
	struct core *core;
	struct core_caller who; /* user: owned */
	struct cpool *pool;
	char *name, *request_id, *public_keys, *github; /* owned */
	int64_t hold_ms, idle_ms;
	int count, unsettled;
	bool no_wait, no_warm;
	struct reserve_request req; /* what of it concerns disks */
	struct reserve_disk disks[RESERVATION_DISKS_MAX];
	core_reserve_fn done;
	void *arg;
	struct creservation **rs; /* owned array */
	struct list
	    followers; /* the same request id again, before this one is answered */
	struct list in_leader;
	struct err err;
};

static void
op_free(struct reserve_op *op)
{
	free((char *)op->who.user);
	free(op->name);
	free(op->request_id);
	free(op->public_keys);
	free(op->github);
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

static void answer_known(void *arg);

static void
answer_followers(struct reserve_op *op)
{
	while (!list_empty(&op->followers)) {
		struct reserve_op *f =
		    list_entry(op->followers.next, struct reserve_op, in_leader);

		list_remove(&f->in_leader);
		f->err = op->err;
		core_defer(
		    op->core, op->err.code == ERR_NONE ? answer_known : op_fail, f);
	}
}

static void
op_answer(struct reserve_op *op)
{
	struct reservation_view *views = xcalloc((size_t)op->count, sizeof(*views));

	if (op->err.code != ERR_NONE) {
		for (int i = 0; i < op->count; i++) {
			struct creservation *r = op->rs[i];

			r->op = NULL;
			if (op->core->closing)
				continue; /* goes on with the next daemon */
			if (!r->durable && r->r.state != RESERVATION_ENDED)
				reservation_discard(r, &op->err);
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
	answer_followers(op);
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
	struct creservation *r = map_get(
	    &((struct id_of *)arg)->core->reservations, ((struct id_of *)arg)->id.s);
	struct cpool *pool;

	free(arg);
	if (!r)
		return;
	pool = r->pool;
	r->durable = r->durable || err->code == ERR_NONE;
	request_settled(r, r->durable ? NULL : err);
	if (err->code == ERR_NONE)
		pool_wake(pool); /* the line serves only what is stored */
}

void
request_waits(struct creservation *r)
{
	struct id_of *id = xnew(struct id_of);

	*id = (struct id_of){r->core, r->r.id};
	core_save_reservation(r);
	core_tx_then(r->core, wait_written, id);
}

#define COUNT_DIGITS 5 /* "-1000", behind a name */

static void
make_name(struct core *c, uint32_t uid, char out[48])
{
	static const char *const first[] = {"amber", "brisk", "calm", "coral", "crisp",
	    "dusky", "eager", "early", "fair", "fleet", "fond", "gold", "green", "keen",
	    "kind", "light", "lucid", "merry", "mild", "misty", "noble", "pale", "plain",
	    "proud", "quick", "quiet", "rapid", "ruby", "swift", "vivid", "warm", "wise"};
	static const char *const second[] = {"ash", "bay", "birch", "brook", "cedar",
	    "cliff", "cove", "crane", "dale", "elm", "fern", "finch", "fox", "grove",
	    "hare", "hawk", "heath", "heron", "iris", "lake", "lark", "lynx", "maple",
	    "moss", "otter", "pine", "reed", "robin", "sage", "tern", "vale", "wren"};
	char key[64];

	do {
		struct id id = id_new('n');

		(void)snprintf(out, 48, "%s-%s-%.4s", first[(unsigned char)id.s[6] % 32],
		    second[((unsigned char)id.s[7] + 36u * (unsigned char)id.s[8]) % 32],
		    id.s + 10);
		(void)snprintf(key, sizeof(key), "%u:%s", uid, out);
	} while (map_get(&c->names, key) || gang_lives(c, uid, out));
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
	    .github = op->github,
	    .request_id = i == 0 ? op->request_id : NULL,
	    .group = group,
	    .no_warm = op->no_warm,
	    .no_wait = op->no_wait,
	    .hold_ms = op->hold_ms,
	    .idle_ms = op->idle_ms,
	    .serial = ++c->last_serial,
	    .created_at = clock_wall_ms(c->clock),
	};

	if (op->count > 1)
		(void)snprintf(name, sizeof(name), "%s-%d", op->name, i + 1);
	else
		(void)snprintf(name, sizeof(name), "%s", op->name);
	if (i == 0 && op->count > 1)
		row.group = row.id;
	return reservation_new(c, &row);
}

/* One name is one reservation, or those of one request. */
static bool
name_taken(struct reserve_op *op)
{
	char key[96];
	bool taken;

	(void)snprintf(key, sizeof(key), "%u:%s", op->who.uid, op->name);
	taken =
	    map_get(&op->core->names, key) || gang_lives(op->core, op->who.uid, op->name);
	for (int i = 0; !taken && op->count > 1 && i < op->count; i++) {
		(void)snprintf(
		    key, sizeof(key), "%u:%s-%d", op->who.uid, op->name, i + 1);
		taken = map_get(&op->core->names, key) != NULL;
	}
	if (!taken)
		return false;
	err_set(&op->err, ERR_CONFLICT, "you already have a reservation named '%s'",
	    strchr(key, ':') + 1);
	err_hint(&op->err, "choose another name, or cancel that one");
	return true;
}

/* How many more could be served without waiting: by ready ones and by new launches. */
static int
capacity(struct cpool *p, bool no_warm, const char **ret_why)
{
	struct cmachine *m;
	int n = 0, room = pool_room(p);

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

/* Each costs memory, and a place in everybody's line, for as long as its owner likes. */
static bool
too_many_wait(struct reserve_op *op)
{
	const struct creservation *r;
	int mine = 0;

	if (op->who.operator_ || op->pool->n_waiting + op->count <= CORE_WAITING_MAX)
		return false;
	list_for_each (r, &op->pool->waiting, in_pool)
		mine += r->r.uid == op->who.uid;
	if (mine + op->count <= CORE_WAITING_MAX)
		return false;
	err_set(&op->err, ERR_RATE_LIMITED,
	    "%d of your reservations wait for pool '%s': %d is the most", mine,
	    op->pool->p.name, CORE_WAITING_MAX);
	err_hint(&op->err, "wait until some are served, or cancel some");
	return true;
}

/* For a ready machine, that is: who asked for a cold launch stands in nobody's way. */
static bool
others_wait(const struct cpool *p)
{
	const struct creservation *r;

	list_for_each (r, &p->waiting, in_pool)
		if (!r->r.no_warm)
			return true;
	return false;
}

static void
op_go(struct reserve_op *op)
{
	const char *why = "the pool is at its max";
	struct id group = {{0}};

	if (op->core->closing || op->pool->gone) {
		err_set(&op->err, ERR_UNAVAILABLE, "%s",
		    op->pool->gone ? "the pool is no longer configured"
				   : "hearthd is stopping");
		core_defer(op->core, op_fail, op);
		return;
	}
	if (!op->name) {
		op->name = xcalloc(1, 48);
		make_name(op->core, op->who.uid, op->name);
	}
	if (name_taken(op) || too_many_wait(op)) {
		core_defer(op->core, op_fail, op);
		return;
	}
	if (attach_check(op->core, &op->who, op->pool, &op->req, &op->err) < 0) {
		core_defer(op->core, op_fail, op);
		return;
	}
	if (op->no_wait && capacity(op->pool, op->no_warm, &why) < op->count) {
		err_set(&op->err, ERR_NO_CAPACITY, "pool '%s' has no room for %d now: %s",
		    op->pool->p.name, op->count, why);
		err_hint(&op->err, "leave out --no-wait to queue for it");
		core_defer(op->core, op_fail, op);
		return;
	}
	op->rs = xcalloc((size_t)op->count, sizeof(*op->rs));
	op->unsettled = op->count;
	for (int i = 0; i < op->count; i++) {
		op->rs[i] = op_reservation(op, i, group);
		op->rs[i]->op = op;
		group = op->rs[i]->r.group;
		attach_begin(op->rs[i], op->disks, op->req.n_disks, &op->req);
	}
	for (int i = 0, n = op->count; i < n; i++) {
		struct creservation *r = op->rs[i];
		const char *miss = "asked for a cold launch (no_warm)";
		struct cmachine *m = NULL;

		/* those who came first and wait are served first */
		if (!op->no_warm) {
			if (op->pool->p.one_at_a_time)
				miss = "one thing at a time";
			else if (others_wait(op->pool))
				miss = "others are waiting in line";
			else
				m = claim_candidate(op->pool, &miss);
		}
		if (m) {
			reservation_take(r, m);
		} else {
			reservation_wait_in_line(r, miss);
			if (pool_room(op->pool) < 0 || !pool_may_launch(op->pool, &why))
				r->r.state = RESERVATION_QUEUED;
			request_waits(r);
		}
	}
}

/* ---- the same request again ---- */

static void
answer_one(struct reserve_op *op, const struct reservation *row)
{
	struct creservation *live = map_get(&op->core->reservations, row->id.s);
	struct certs *certs = NULL;
	struct reservation_view v;
	struct err err = {0};

	if (live && live->r.state == RESERVATION_ACTIVE &&
	    certs_make(live, NULL, 0, &certs, &err) < 0) {
		op->done(op->arg, NULL, 0, false, &err);
	} else {
		v = live ? view_of(live, certs) : view_of_row(row);
		op->done(op->arg, &v, 1, true, &err);
	}
	certs_free(&certs);
	op_free(op);
}

static void
group_in(void *arg, const struct store_result *res, const struct err *err)
{
	struct reserve_op *op = arg;
	struct reservation_view *views = xcalloc((size_t)res->n + 1, sizeof(*views));
	struct certs **certs = xcalloc((size_t)res->n + 1, sizeof(*certs));
	struct err first = *err, other = {0};

	for (int i = 0; i < res->n; i++) {
		struct creservation *live =
		    map_get(&op->core->reservations, res->reservations[i].id.s);

		if (live && live->r.state == RESERVATION_ACTIVE &&
		    certs_make(live, NULL, 0, &certs[i], &other) < 0)
			first = other;
		views[i] =
		    live ? view_of(live, certs[i]) : view_of_row(&res->reservations[i]);
	}
	if (first.code != ERR_NONE)
		op->done(op->arg, NULL, 0, false, &first);
	else
		op->done(op->arg, views, res->n, true, &first);
	for (int i = 0; i < res->n; i++)
		certs_free(&certs[i]);
	free(certs);
	free(views);
	op_free(op);
}

static void
answer_row(struct reserve_op *op, const struct reservation *row)
{
	struct store_query q = {.kind = QUERY_GROUP, .uid = op->who.uid};

	if (id_empty(&row->group)) {
		answer_one(op, row);
		return;
	}
	memcpy(q.key, row->group.s, sizeof(row->group.s));
	core_flush(op->core);
	core_query(op->core, &q, group_in, op);
}

static struct creservation *
known(struct reserve_op *op)
{
	char *key = xasprintf("%u:%s", op->who.uid, op->request_id);
	struct creservation *r = map_get(&op->core->requests, key);

	free(key);
	return r;
}

static void
known_request(void *arg, const struct store_result *res, const struct err *err)
{
	struct reserve_op *op = arg;

	if (err->code != ERR_NONE) {
		op->err = *err;
		op_fail(op);
	} else if (known(op)) { /* another one with the same id was a little faster */
		answer_known(op);
	} else if (res->n > 0) {
		answer_row(op, &res->reservations[0]);
	} else {
		op_go(op);
	}
}

/* Its reservations are in memory; or they were a moment ago. */
static void
answer_known(void *arg)
{
	struct reserve_op *op = arg;
	struct creservation *first = known(op);
	struct store_query q = {.kind = QUERY_REQUEST, .uid = op->who.uid, .limit = 1};

	if (first && first->op) {
		list_push_back(&first->op->followers, &op->in_leader);
	} else if (first) {
		answer_row(op, &first->r);
	} else {
		(void)snprintf(q.key, sizeof(q.key), "%s", op->request_id);
		core_flush(op->core);
		core_query(op->core, &q, known_request, op);
	}
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
	for (int i = 0; i < req->n_disks && i < RESERVATION_DISKS_MAX; i++)
		if (!name_valid(req->disks[i].name))
			return err_set(err, ERR_INVALID,
			    "disks: a name has 1 to 63 of letters, digits, '.', '_' and "
			    "'-', a "
			    "letter or digit first and last");
	if (req->name && !name_valid(req->name))
		return err_set(err, ERR_INVALID,
		    "name: expected 1 to 63 of letters, digits, '.', '_' and '-', a "
		    "letter or digit first and last");
	if (req->name && req->count > 1 && strlen(req->name) > 63 - COUNT_DIGITS)
		return err_set(err, ERR_INVALID,
		    "name: at most %d characters where a count puts a number behind it",
		    63 - COUNT_DIGITS);
	if (req->github && !c->github.fetch) {
		err_set(err, ERR_UNAVAILABLE, "this hearthd asks no GitHub for keys");
		return err_hint(err, "give a key: --key FILE.pub");
	}
	if (req->github ? req->n_keys != 0
			: req->n_keys < 1 || req->n_keys > CORE_KEYS_MAX)
		return err_set(err, ERR_INVALID, "public_keys: expected 1 to %d keys",
		    CORE_KEYS_MAX);
	if (req->hold_ms < 0 || op->hold_ms > c->opt.max_hold_ms)
		return err_set(err, ERR_INVALID,
		    "hours: expected more than 0 and at most %g",
		    (double)c->opt.max_hold_ms / 3600000.0);
	if (req->count < 1 || req->count > CORE_COUNT_MAX)
		return err_set(
		    err, ERR_INVALID, "count: expected 1 to %d", CORE_COUNT_MAX);
	if (req->count > op->pool->p.max) {
		err_set(err, ERR_NO_CAPACITY, "pool '%s' has at most %d machines", pool,
		    op->pool->p.max);
		return err_hint(err, "ask for fewer, or have an operator raise its max");
	}
	return 0;
}

void
core_reserve(struct core *c, const struct core_caller *who,
    const struct reserve_request *req, core_reserve_fn done, void *arg)
{
	struct reserve_op *op = xnew(struct reserve_op);
	AUTO_BUF struct buf keys = BUF_INIT(0);

	op->core = c;
	list_init(&op->followers);
	list_init(&op->in_leader);
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
	op->req = (struct reserve_request){.disks = op->disks,
	    .n_disks = req->n_disks,
	    .count = req->count,
	    .wait_disk = req->wait_disk,
	    .require_disk = req->require_disk,
	    .snapshot_disks = req->snapshot_disks};
	for (int i = 0; i < req->n_disks && i < RESERVATION_DISKS_MAX; i++)
		op->disks[i] = req->disks[i];
	op->name = xstrdup_null(req->name);
	op->request_id = xstrdup_null(req->request_id);
	for (int i = 0; i < req->n_keys; i++) {
		char *line = ssh_pubkey_line(&req->keys[i]);

		buf_fmt(&keys, "%s%s", i ? "\n" : "", line);
		free(line);
	}
	if (!req->github)
		op->public_keys = buf_take(&keys);
	op->github = xstrdup_null(req->github);
	if (op->request_id)
		core_defer(c, answer_known, op);
	else
		op_go(op);
}

static const char group_failed[] = "another of the same request failed";

/* One of a group can no longer be had: all or none. Once it has been in use, its end is its own. */
void
request_group_ended(struct creservation *r)
{
	struct creservation *o, *tmp;

	if (id_empty(&r->r.group) || r->r.reason != END_FAILED || r->r.ready_at ||
	    strcmp(r->r.error ? r->r.error : "", group_failed) == 0)
		return;
	list_for_each_safe (o, tmp, &r->core->live, in_core)
		if (o != r && id_equal(&o->r.group, &r->r.group) &&
		    o->r.state != RESERVATION_ENDED)
			reservation_end(o, END_FAILED, group_failed);
}
