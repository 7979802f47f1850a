/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"
#include "core/home.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/testpoint.h"
#include "base/xalloc.h"

/* What the store was asked to write, and what the reservation becomes when it has done so. */
struct claim {
	struct core *core;
	struct id machine;	/* by id: it may be gone when the answer comes */
	struct creservation *r; /* stays: r->claiming holds it */
	struct cpool *pool;
	enum path path;
	enum reservation_state state;
	int64_t ready_at, expires_at, hold_ms;
	double usd_per_hour;
};

struct cmachine *
claim_candidate(struct cpool *p, const char **ret_why)
{
	struct cmachine *m;
	int old = 0, unseen = 0;

	if (p->access == ACCESS_LAUNCH) {
		*ret_why = "its machines get their user's keys at launch";
		return NULL;
	}
	list_for_each (m, &p->ready, in_pool) {
		if (m->reservation)
			continue; /* launched for somebody who is about to take it */
		if (!machine_current(m))
			old++;
		else if (!machine_healthy(m))
			unseen++;
		else
			return m;
	}
	*ret_why = !p->provider->listed ? "the provider's inventory is not in yet"
		   : old		? "only machines of an old image or age are ready"
		   : unseen ? "no ready machine was seen alive within the last second"
		   : p->n_launching    ? "pool empty: its spares are still launching"
		   : p->p.running == 0 ? "the pool keeps no spare machines"
				       : "pool empty";
	return NULL;
}

struct verdict {
	struct core *core;
	struct id machine;
};

/* The store says what became of a machine whose guard did not hold. One that it has as launching is ours: the
   row that says `ready` failed, and is written anew. */
static void
verdict_in(void *arg, const struct store_result *res, const struct err *err)
{
	struct verdict *v = arg;
	struct cmachine *m = map_get(&v->core->machines, v->machine.s);
	enum machine_state stored =
	    res && res->n == 1 ? res->machines[0].state : MACHINE_LAUNCHING;

	if (m && m->claiming) {
		machine_set_claiming(m, false);
		if (err->code == ERR_NONE && stored != MACHINE_READY &&
		    stored != MACHINE_LAUNCHING) {
			log_warn("machine %s: the store has it as %s; leaving it alone",
			    m->m.id.s, machine_state_name(stored));
			pool_wake(m->pool);
			machine_free(m);
		} else {
			if (stored == MACHINE_LAUNCHING)
				core_save_machine(m);
			pool_wake(m->pool);
		}
	}
	free(v);
}

static void
ask_store(struct cmachine *m)
{
	struct store_query q = {.kind = QUERY_MACHINES, .uid = STORE_ANY_UID, .limit = 1};
	struct verdict *v = xnew(struct verdict);

	*v = (struct verdict){m->core, m->m.id};
	memcpy(q.key, m->m.id.s, sizeof(m->m.id.s));
	core_query(m->core, &q, verdict_in, v);
}

/* The claim is durable: memory follows the store. An extension may have come meanwhile. */
static void
won(const struct claim *cl, struct cmachine *m)
{
	struct creservation *r = cl->r;
	bool first = !r->r.ready_at;

	r->durable = true;
	if (m && m->m.state == MACHINE_READY)
		machine_claimed(m, r);
	else if (m && m->reservation == r)
		m->reservation = NULL; /* it died in that moment */
	r->r.machine = cl->machine;
	if (r->r.state != RESERVATION_ENDED) {
		r->r.state = cl->state;
		r->opening = cl->state != RESERVATION_ACTIVE;
		r->r.path = cl->path;
		r->r.ready_at = cl->ready_at;
		r->r.expires_at = cl->expires_at + r->r.hold_ms - cl->hold_ms;
		r->r.usd_per_hour = cl->usd_per_hour;
	}
	reservation_claimed(r, first);
}

/* The machine is as it was before, or the store is asked who has it. */
static void
lost(const struct claim *cl, struct cmachine *m, const struct err *err)
{
	struct creservation *r = cl->r;
	bool conflict = err->code == ERR_CONFLICT;

	if (conflict)
		cl->core->n.conflicts++;
	if (!m)
		return;
	if (conflict && r->launching == m)
		r->launching = NULL;
	if (m->reservation == r && r->launching != m)
		machine_unreserve(m);
	if (!m->claiming)
		return;
	if (conflict)
		ask_store(m);
	else
		machine_set_claiming(m, false);
}

static void
claim_written(void *arg, const struct err *err)
{
	struct claim *cl = arg;
	struct creservation *r = cl->r;
	struct cmachine *m = map_get(&cl->core->machines, cl->machine.s);

	r->claiming = false;
	if (err->code == ERR_NONE) {
		testpoint("claimed"); /* nobody but the store knows of it */
		won(cl, m);
	} else {
		lost(cl, m, err);
		reservation_claim_failed(r, err);
	}
	pool_wake(cl->pool);
	free(cl);
}

/* While the store's fsync is under way. Nobody sees the certificate before the claim is durable. */
static void
sign_ahead(struct creservation *r, struct id machine, int64_t expires_at)
{
	struct err err;

	certs_free(&r->certs);
	if (certs_make_for(r, machine, expires_at, NULL, 0, &r->certs, &err) < 0)
		log_debug("certificate: %s; the step says so again", err.msg);
}

/* Who waited in line was not served warm, whichever machine it is; cold, unless that was started from its tier
   meanwhile. */
static enum path
path_by(const struct creservation *r, const struct cmachine *m)
{
	bool waited = r->r.created_at <= m->m.ready_at;

	if (r->r.path == PATH_NONE && r->launching != m && !(m->for_miss && waited))
		return PATH_WARM;
	if (m->for_miss && waited)
		return m->m.tier == TIER_STOPPED      ? PATH_STOPPED
		       : m->m.tier == TIER_HIBERNATED ? PATH_HIBERNATED
						      : PATH_COLD;
	return PATH_COLD;
}

void
claim_start(struct creservation *r, struct cmachine *m)
{
	struct core *c = r->core;
	struct cwrite *w = cwrite_new(c);
	struct claim *cl = xnew(struct claim);
	struct machine mrow =
	    m->m; /* as they will be; strings are borrowed for the copy */
	struct reservation row = r->r;
	int64_t now = clock_wall_ms(c->clock);

	mrow.state = MACHINE_CLAIMED;
	mrow.reservation = r->r.id;
	mrow.claimed_at = now;
	store_tx_machine_if(w->tx, &mrow, MACHINE_READY);

	row.path = path_by(r, m);
	row.machine = m->m.id;
	row.state = r->pool->access == ACCESS_AUTHORIZE || !r->r.public_keys
			? RESERVATION_PREPARING
			: RESERVATION_ACTIVE;
	if (!row.expires_at)
		row.expires_at = now + row.hold_ms;
	if (!row.ready_at && row.state == RESERVATION_ACTIVE)
		row.ready_at = now;
	row.usd_per_hour = machine_cost(r->pool, false, 0, 3600000);
	store_tx_reservation(w->tx, &row);
	plan_run_prepare(r->run, HOLD_STEP_CLAIM, w->tx);
	plan_run_prepare(r->run, HOLD_STEP_DEADLINE, w->tx);
	home_prepare(r, w->tx);
	m->reservation = r;
	core_event_machine_as(c, w, m, &mrow);
	core_event_reservation(c, w, &row, path_name(row.path));

	*cl = (struct claim){c, m->m.id, r, r->pool, row.path, row.state, row.ready_at,
	    row.expires_at, row.hold_ms, row.usd_per_hour};
	r->claiming = true;
	machine_set_claiming(m, true);
	cwrite_submit(c, w, claim_written, cl);
	if (r->op && r->r.public_keys)
		sign_ahead(r, m->m.id, row.expires_at);
}
