/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: a thousand at once; and a machine that somebody else took first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;
static struct answer a;

static int
setup(void **state)
{
	world_init(&w);
	return 0;
}

static int
teardown(void **state)
{
	answer_fini(&a);
	world_fini(&w);
	return 0;
}

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#include "base/map.h"
#include "core/core_internal.h"

#define MACHINES 300
#define CLAIMS 1000

static struct reservation_view_copy {
	struct id id, machine;
	enum reservation_state state;
	int position;
	bool done;
} got[CLAIMS];

static void
claimed(void *arg, const struct reservation_view *v, int n, bool existed,
    const struct err *err)
{
	struct reservation_view_copy *g = arg;

	assert_int_equal(err->code, ERR_NONE);
	assert_false(g->done);
	g->done = true;
	g->id = v->r->id;
	g->state = v->r->state;
	g->position = v->queue_position;
	if (v->machine)
		g->machine = v->machine->id;
}

static int cancelled;

static void
on_cancelled(void *arg, const struct reservation_view *v, const struct err *err)
{
	assert_int_equal(err->code, ERR_NONE);
	assert_int_equal(v->r->state, RESERVATION_ENDED);
	cancelled++;
}

static void
thousand_claims_on_three_hundred(void **state)
{
	struct reserve_request req = world_request();
	struct map seen = {0};
	int active = 0, queued = 0;

	w.pools[0].running = w.pools[0].max = MACHINES;
	world_start(&w);
	world_run(&w, 10000);
	assert_int_equal(world_pool(&w, "default").ready, MACHINES);
	for (int i = 0; i < CLAIMS; i++)
		core_reserve(w.core, i % 2 ? &alice : &bob, &req, claimed, &got[i]);
	world_run(&w, 20);
	world_check(&w);
	for (int i = 0; i < CLAIMS; i++) {
		assert_true(got[i].done);
		if (got[i].state == RESERVATION_ACTIVE) {
			assert_null(map_get(&seen, got[i].machine.s));
			map_put(&seen, got[i].machine.s, &got[i]);
			assert_int_equal(active++, i); /* those who came first */
		} else {
			assert_int_equal(got[i].state, RESERVATION_QUEUED);
			assert_int_equal(got[i].position, ++queued);
		}
	}
	assert_int_equal(active, MACHINES);
	assert_int_equal(queued, CLAIMS - MACHINES);
	map_fini(&seen);
	world_same_after_restart(&w);
	world_run(&w, 1000);
	world_check(&w);
	for (int i = 0; i < CLAIMS; i++)
		core_cancel(w.core, &root, got[i].id.s, true, on_cancelled, NULL);
	world_run(&w, 200);
	world_check(&w);
	assert_int_equal(cancelled, CLAIMS);
	world_run(&w, 10000);
	assert_int_equal(world_pool(&w, "default").claimed, 0);
	assert_int_equal(world_pool(&w, "default").ready, MACHINES);
	assert_int_equal(fake_count(w.fake), MACHINES);
	world_audit_clean(&w);
}

static void
ignore(void *arg, const struct err *err)
{
}

/* As another daemon on the same store would, a moment before us. */
static void
taken_by_another(struct id id)
{
	struct cmachine *m = map_get(&w.core->machines, id.s);
	struct store_tx *tx = store_tx_new();
	struct machine row = m->m;

	row.state = MACHINE_CLAIMED;
	memcpy(row.reservation.s, "r-anotherdaemo", sizeof("r-anotherdaemo"));
	store_tx_machine(tx, &row);
	w.core->store->ops->submit(w.core->store, tx, ignore, NULL);
}

static void
the_guard_holds(void **state)
{
	struct id id[2];
	struct machine row;

	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, id, 2), 2);
	taken_by_another(id[0]);
	world_reserve(&w, &alice, world_request(), &a);
	assert_int_equal(a.err.code, ERR_NONE);
	world_get(&w, &alice, a.r[0].id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_string_equal(a.machine[0].s, id[1].s);
	assert_int_equal(w.core->n.conflicts, 1);
	world_run(&w, 5000);
	world_check(&w);
	assert_true(
	    fake_exists(w.fake, id[0].s)); /* it is the other one's now, and left alone */
	assert_true(world_machine(&w, id[0].s, &row));
	assert_string_equal(row.reservation.s, "r-anotherdaemo");
	machine_fini(&row);
	assert_int_equal(world_pool(&w, "default").ready, 2);
	assert_true(world_audit(&w, true).ok);
	world_run(&w, 100000);
	assert_true(fake_exists(w.fake, id[0].s));
}

static struct id taken;

/* Before each write, until a second machine is claimed: takes the first one right before its claim. */
static void
take_the_first(void *arg)
{
	struct cpool *p = map_get(&w.core->pools_by_name, "default");
	struct cmachine *m;

	if (!list_empty(&p->claiming)) {
		m = list_entry(p->claiming.next, struct cmachine, in_pool);
		if (!id_empty(&taken) && !id_equal(&taken, &m->m.id))
			return;
		taken = m->m.id;
		taken_by_another(taken);
	}
	w.bad.before = take_the_first;
}

/* The one that is launched for a reservation is taken, too: it gets another. */
static void
the_guard_holds_for_a_launch(void **state)
{
	struct id id;

	w.pools[0].running = 0;
	full();
	world_reserve(&w, &alice, world_request(), &a);
	id = a.r[0].id;
	taken = (struct id){{0}};
	w.bad.before = take_the_first;
	world_get(&w, &alice, id.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_false(id_empty(&taken));
	assert_string_not_equal(a.machine[0].s, taken.s);
	assert_int_equal(w.core->n.conflicts, 1);
	world_run(&w, 5000);
	world_check(&w);
	assert_true(fake_exists(w.fake, taken.s));
}

/* All of them are taken: it waits for a launch, like anybody else. */
static void
all_are_taken(void **state)
{
	struct id id[2], mine;

	w.pools[0].max = 8;
	full();
	assert_int_equal(world_machines(&w, "default", MACHINE_READY, id, 2), 2);
	taken_by_another(id[0]);
	taken_by_another(id[1]);
	world_reserve(&w, &alice, world_request(), &a);
	mine = a.r[0].id;
	world_get(&w, &alice, mine.s, 60000, &a);
	assert_int_equal(a.r[0].state, RESERVATION_ACTIVE);
	assert_int_equal(a.r[0].path, PATH_COLD);
	assert_string_equal(a.r[0].miss_reason, "another daemon was faster");
	for (int i = 0; i < 2; i++)
		assert_string_not_equal(a.machine[0].s, id[i].s);
	world_run(&w, 5000);
	world_check(&w);
	assert_int_equal(world_pool(&w, "default").ready, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(thousand_claims_on_three_hundred),
	    TEST(the_guard_holds),
	    TEST(the_guard_holds_for_a_launch),
	    TEST(all_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
