/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

struct claim {
	struct core *core;
	struct id machine; /* by id: it may be gone when the answer comes */
	struct creservation *r; /* stays: r->claiming holds it */
	struct cpool *pool;
};

struct cmachine *
claim_candidate(struct cpool *p, const char **ret_why)
{
	struct cmachine *m;
	int old = 0, unseen = 0;

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
	*ret_why = old    ? "only machines of an old image or age are ready"
	    : unseen      ? "no ready machine was seen alive within the last second"
	    : p->n_launching ? "pool empty: its spares are still launching"
	    : p->p.running == 0 ? "the pool keeps no spare machines"
	                     : "pool empty";
	return NULL;
}

struct verdict {
	struct core *core;
	struct id machine;
};

/* The store says what became of a machine whose guard did not hold. */
static void
verdict_in(void *arg, const struct store_result *res, const struct err *err)
{
	struct verdict *v = arg;
	struct cmachine *m = map_get(&v->core->machines, v->machine.s);

	if (m && m->m.state == MACHINE_READY && err->code == ERR_NONE) {
		if (res->n == 0) {
			machine_end(m, "the store has lost it");
		} else if (res->machines[0].state != MACHINE_READY) {
			log_warn("machine %s: the store has it as %s; leaving it alone", m->m.id.s,
			    machine_state_name(res->machines[0].state));
			machine_free(m);
		} else {
			list_remove(&m->in_pool);
			list_push_front(&m->pool->ready, &m->in_pool);
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
	m->core->store->ops->query(m->core->store, &q, verdict_in, v);
}

static void
claim_written(void *arg, const struct err *err)
{
	struct claim *cl = arg;
	struct creservation *r = cl->r;
	struct cmachine *m = map_get(&cl->core->machines, cl->machine.s);

	r->claiming = false;
	cl->pool->n_claiming--;
	if (err->code == ERR_NONE) {
		r->durable = true;
		if (m && m->m.state == MACHINE_READY)
			machine_claimed(m, r);
		reservation_claimed(r);
	} else {
		if (err->code == ERR_CONFLICT)
			cl->core->n.conflicts++;
		if (m && m->reservation == r && r->launching != m)
			m->reservation = NULL;
		if (m && m->m.state == MACHINE_READY) {
			if (err->code == ERR_CONFLICT) {
				ask_store(m);
			} else {
				list_remove(&m->in_pool);
				list_push_front(&cl->pool->ready, &m->in_pool);
			}
		}
		reservation_claim_failed(r, err);
	}
	pool_wake(cl->pool);
	free(cl);
}

void
claim_start(struct creservation *r, struct cmachine *m)
{
	struct core *c = r->core;
	struct cwrite *w = cwrite_new(c);
	struct claim *cl = xnew(struct claim);
	struct machine mrow = m->m; /* as they will be; strings are borrowed for the copy */
	enum reservation_state before = r->r.state;
	struct id no_machine = r->r.machine;
	int64_t now = clock_wall_ms(c->clock);
	bool warm = r->launching != m;

	*cl = (struct claim){c, m->m.id, r, r->pool};
	mrow.state = MACHINE_CLAIMED;
	mrow.reservation = r->r.id;
	mrow.claimed_at = now;
	store_tx_machine_if(w->tx, &mrow, MACHINE_READY);

	if (r->r.path == PATH_NONE)
		r->r.path = warm ? PATH_WARM : PATH_COLD;
	r->r.machine = m->m.id;
	r->r.state = RESERVATION_ACTIVE;
	if (!r->r.expires_at)
		r->r.expires_at = now + r->r.hold_ms;
	if (!r->r.ready_at)
		r->r.ready_at = now;
	r->r.usd_per_hour = machine_cost(r->pool, 0, 3600000);
	store_tx_reservation(w->tx, &r->r);
	plan_run_prepare(r->run, HOLD_STEP_CLAIM, w->tx);
	plan_run_prepare(r->run, HOLD_STEP_DEADLINE, w->tx);
	m->reservation = r;
	core_event_machine_as(c, w, m, &mrow);
	core_event_reservation(c, w, r, path_name(r->r.path));
	r->r.state = before; /* until it is durable */
	r->r.machine = no_machine;

	r->claiming = true;
	list_remove(&m->in_pool);
	list_push_back(&r->pool->claiming, &m->in_pool);
	r->pool->n_claiming++;
	cwrite_submit(c, w, claim_written, cl);
}
