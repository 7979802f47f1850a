/* SPDX-License-Identifier: Apache-2.0 */

/* What is seen of a machine, and what follows. */

#include "core/core_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

static void
died(struct cmachine *m, const struct sighting *s)
{
	char why[192];
	struct err err;
	enum machine_state state = m->m.state;

	(void)snprintf(why, sizeof(why), "the machine ended by itself%s%s",
	    s->error ? ": " : "", s->error ? s->error : "");
	m->gone = m->gone || s->state == SIGHTING_GONE;
	if (state == MACHINE_LAUNCHING || state == MACHINE_STARTING) {
		err_set(&err, ERR_UNAVAILABLE, "%s", why);
		for (int i = 0; m->run && i < m->run->plan->n; i++)
			if (m->run->state[i] == RUN_STARTED &&
			    m->run->plan != &machine_end_plan) {
				plan_step_failed(m->run, i, &err);
				return;
			}
		machine_end(m, why);
	} else if (state == MACHINE_READY || state == MACHINE_CLAIMED) {
		struct creservation *r = m->reservation;

		m->core->n.deaths++;
		if (state == MACHINE_READY)
			log_warn("machine %s: %s; it was ready", m->m.id.s, why);
		if (r && state == MACHINE_CLAIMED)
			reservation_machine_gone(r, why);
		if (m->m.state == state)
			machine_end(m, why);
	} else if (state == MACHINE_STOPPED || state == MACHINE_HIBERNATED) {
		machine_end(m, why);
	} else if (m->gone && m->run && m->run->plan == &machine_end_plan) {
		if (plan_step_running(m->run, END_STEP_GONE))
			plan_step_done(m->run, END_STEP_GONE, NULL, s->resolution_ms);
	} else if (m->gone && !m->run && state != MACHINE_TERMINATED &&
		   timer_is_on(&m->timer)) {
		machine_begin_end(
		    m); /* between two attempts: the next one has nothing left to do */
	}
}

static void
sighted_ready(struct cmachine *m, const struct sighting *s)
{
	switch (m->m.state) {
	case MACHINE_READY:
		if (m->pool->n_waiting > 0)
			pool_wake(m->pool);
		break;
	case MACHINE_LAUNCHING:
	case MACHINE_STARTING:
		m->seen_ready = true;
		if (m->run && m->run->plan != &machine_end_plan &&
		    plan_step_running(m->run, machine_ready_step(m->run)))
			plan_step_done(
			    m->run, machine_ready_step(m->run), NULL, s->resolution_ms);
		break;
	case MACHINE_STOPPED:
	case MACHINE_HIBERNATED:
		/* somebody else has started it, or it was never stopped: it must not run for nobody */
		if (!m->run && m->seen_stopped) {
			m->seen_stopped = false;
			machine_stop_begin(m);
		}
		break;
	default:
		break;
	}
}

static void
sighted_stopped(struct cmachine *m, const struct sighting *s)
{
	switch (m->m.state) {
	case MACHINE_STOPPED:
	case MACHINE_HIBERNATED:
		m->seen_stopped = true;
		if (m->run && plan_step_running(m->run, STOP_STEP_STOPPED))
			plan_step_done(m->run, STOP_STEP_STOPPED, NULL, s->resolution_ms);
		break;
	case MACHINE_LAUNCHING:
	case MACHINE_READY:
	case MACHINE_CLAIMED:
		died(m, &(struct sighting){
			    .state = SIGHTING_DEAD, .error = "it was stopped"});
		break;
	default:
		break; /* being started: this is how it looked before; being ended: on its way */
	}
}

/* The start: how it rests, as the inventory has it. */
void
machine_adopt_at_rest(struct cmachine *m, const struct sighting *s)
{
	m->last_seen_ms = clock_now_ms(m->core->clock);
	m->seen_stopped = s->state == SIGHTING_STOPPED;
	if (!m->seen_stopped) /* the daemon died before it was asked to stop, or while it did */
		machine_stop_begin(m);
}

void
machine_sighted(struct cmachine *m, const struct sighting *s)
{
	int64_t now = clock_now_ms(m->core->clock);

	m->last_seen_ms = now;
	if (s->address && (!m->m.address || strcmp(m->m.address, s->address) != 0))
		xstrset(&m->m.address, s->address);
	if (s->port)
		m->m.port = s->port;
	if (s->ref && !m->m.provider_ref)
		xstrset(&m->m.provider_ref, s->ref);
	if (s->sessions >= 0 && s->sessions != m->sessions) {
		struct creservation *r =
		    m->m.state == MACHINE_CLAIMED ? m->reservation : NULL;

		m->sessions = s->sessions;
		if (r) {
			r->idle_since_ms = now;
			reservation_set_timer(r);
		}
	}
	switch (s->state) {
	case SIGHTING_READY:
		sighted_ready(m, s);
		break;
	case SIGHTING_STOPPED:
		sighted_stopped(m, s);
		break;
	case SIGHTING_GONE:
	case SIGHTING_DEAD:
		died(m, s);
		break;
	default:
		break;
	}
}

void
machine_claimed(struct cmachine *m, struct creservation *r)
{
	struct list *was = machine_place(m);

	m->m.state = MACHINE_CLAIMED;
	m->claiming = false;
	m->m.reservation = r->r.id;
	m->m.claimed_at = clock_wall_ms(m->core->clock);
	m->reservation = r;
	r->machine = m;
	if (r->launching == m)
		r->launching = NULL;
	machine_moved_place(m, was);
}
