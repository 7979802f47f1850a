/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold at any time inside the core, and between memory and store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "core/core_internal.h"
#include "world.h"

static int
length(const struct list *l)
{
	int n = 0;

	for (const struct list *at = l->next; at != l; at = at->next)
		n++;
	return n;
}

static void
check_machine(struct cmachine *m)
{
	struct creservation *r = m->reservation;

	assert_ptr_equal(map_get(&m->core->machines, m->m.id.s), m);
	if (!r)
		return;
	assert_ptr_equal(map_get(&m->core->reservations, r->r.id.s), r);
	if (m->m.state == MACHINE_LAUNCHING || m->m.state == MACHINE_STARTING)
		assert_ptr_equal(r->launching, m);
	if (m->m.state == MACHINE_CLAIMED)
		assert_ptr_equal(r->machine, m);
}

static void
check_reservation(struct creservation *r)
{
	assert_ptr_equal(map_get(&r->core->reservations, r->r.id.s), r);
	if (r->machine) {
		assert_ptr_equal(map_get(&r->core->machines, r->r.machine.s), r->machine);
		assert_ptr_equal(r->machine->reservation, r);
	}
	if (r->launching) {
		assert_ptr_equal(r->launching->reservation, r);
		assert_true(r->launching->m.state == MACHINE_LAUNCHING ||
			    r->launching->m.state == MACHINE_STARTING ||
			    r->launching->m.state == MACHINE_READY);
	}
	if (r->r.state == RESERVATION_ACTIVE)
		assert_non_null(r->machine);
	if (r->r.state == RESERVATION_QUEUED || r->r.state == RESERVATION_PREPARING)
		assert_true(r->claiming == list_empty(&r->in_pool) || !r->durable);
}

static void
check_pool(struct cpool *p, bool started)
{
	struct list *lists[] = {&p->ready, &p->claiming, &p->launching, &p->claimed,
	    &p->ending, &p->failed, &p->stopped};
	struct creservation *r;
	struct cmachine *m;
	int n_waiting = 0, tiered = 0;
	uint64_t last = 0;

	list_for_each (m, &p->ready, in_pool)
		tiered += m->m.tier != TIER_RUNNING;
	assert_int_equal(length(&p->ready) + length(&p->claiming), p->n_ready);
	assert_int_equal(length(&p->claiming), p->n_claiming);
	assert_int_equal(length(&p->launching), p->n_launching);
	assert_int_equal(length(&p->claimed), p->n_claimed);
	assert_int_equal(length(&p->ending), p->n_ending);
	assert_int_equal(length(&p->failed), p->n_failed);
	assert_int_equal(length(&p->stopped), p->n_stopped);
	assert_int_equal(tiered, p->n_tiered);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_for_each (m, lists[i], in_pool) {
			assert_ptr_equal(machine_place(m), lists[i]);
			check_machine(m);
		}
	list_for_each (r, &p->waiting, in_pool) {
		assert_true(r->r.serial > last); /* in order of arrival */
		last = r->r.serial;
		n_waiting++;
	}
	assert_int_equal(n_waiting, p->n_waiting);
	assert_int_equal(length(&p->served) >= 0, 1);
}

void
world_check(struct world *w)
{
	struct core *c = w->core;
	struct creservation *r;
	struct cpool *p;

	list_for_each (p, &c->pools, in_core)
		check_pool(p, c->started);
	list_for_each (r, &c->live, in_core)
		check_reservation(r);
}

/* ---- memory and store ---- */

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What a restart must not change, one line for each object. */
static char **
describe(struct world *w, int *ret_n)
{
	struct core *c = w->core;
	char **lines = xcalloc(c->machines.count + c->reservations.count, sizeof(char *));
	struct creservation *r;
	struct cmachine *m;
	size_t at = 0;
	int n = 0;

	while ((m = map_next(&c->machines, &at)))
		if (m->m.state == MACHINE_READY || m->m.state == MACHINE_CLAIMED)
			lines[n++] = xasprintf("%s %s %s %s %lld", m->m.id.s,
			    machine_state_name(m->m.state),
			    m->m.state == MACHINE_CLAIMED ? m->m.reservation.s : "",
			    m->m.provider_ref ? m->m.provider_ref : "",
			    (long long)m->m.ready_at);
	list_for_each (r, &c->live, in_core)
		if (r->r.state == RESERVATION_ACTIVE)
			lines[n++] = xasprintf("%s active %s %lld %lld %lld %s",
			    r->r.id.s, r->r.machine.s, (long long)r->r.expires_at,
			    (long long)r->r.ready_at, (long long)r->r.hold_ms,
			    path_name(r->r.path));
		else if (r->r.state != RESERVATION_ENDED)
			lines[n++] = xasprintf("%s waits", r->r.id.s);
	qsort(lines, (size_t)n, sizeof(*lines), by_text);
	*ret_n = n;
	return lines;
}

void
world_same_after_restart(struct world *w)
{
	int n_before, n_after;
	char **before = describe(w, &n_before), **after;

	world_kill(w);
	world_start(w);
	after = describe(w, &n_after); /* before anything else can happen */
	for (int i = 0; i < n_before || i < n_after; i++)
		if (i >= n_before || i >= n_after || strcmp(before[i], after[i]) != 0) {
			fail_msg("memory had '%s', the store '%s'",
			    i < n_before ? before[i] : "", i < n_after ? after[i] : "");
		}
	for (int i = 0; i < n_before; i++)
		free(before[i]);
	for (int i = 0; i < n_after; i++)
		free(after[i]);
	free(before);
	free(after);
}
