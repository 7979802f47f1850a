/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: any store keeps what store.h promises: whole transactions or nothing, guards, one
   reservation per request id, order, the queries, and the same rows after it is opened
   again. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_fixture.h"

static struct store_fixture fx;

static int
setup(void **state)
{
	struct err err;

	store_fixture_init(&fx);
	return store_fixture_open(&fx, &err);
}

static int
teardown(void **state)
{
	store_fixture_fini(&fx);
	return 0;
}

static enum err_code
put_machine(const char *id, enum machine_state state)
{
	struct store_tx *tx = store_tx_new();
	struct machine m = sample_machine(id, state);

	store_tx_machine(tx, &m);
	return store_fixture_put(&fx, tx, NULL);
}

static enum err_code
put_reservation(const struct reservation *r, struct err *err)
{
	struct store_tx *tx = store_tx_new();

	store_tx_reservation(tx, r);
	return store_fixture_put(&fx, tx, err);
}

/* ---- looking ---- */

struct seen {
	int n;
	char ids[64][24];
	struct machine machine; /* the first one; strings are gone after the call */
	enum machine_state machine_state;
};

static void
look(void *arg, const struct store_result *res)
{
	struct seen *s = arg;

	*s = (struct seen){.n = res->n};
	for (int i = 0; i < res->n && i < 64; i++) {
		if (res->machines)
			strcpy(s->ids[i], res->machines[i].id.s);
		else if (res->reservations)
			strcpy(s->ids[i], res->reservations[i].id.s);
		else if (res->steps)
			(void)snprintf(s->ids[i], 24, "%d", (int)res->steps[i].id);
		else
			(void)snprintf(s->ids[i], 24, "%d", (int)res->events[i].seq);
	}
	if (res->machines && res->n)
		s->machine_state = res->machines[0].state;
}

static struct seen
ask(enum store_query_kind kind, const char *key, int limit)
{
	struct store_query q = {.kind = kind, .uid = STORE_ANY_UID, .limit = limit};
	struct seen s;

	(void)snprintf(q.key, sizeof(q.key), "%s", key);
	store_fixture_query(&fx, &q, look, &s);
	return s;
}

static void
assert_ids(const struct seen *s, ...)
{
	const char *id;
	int n = 0;
	va_list ap;

	va_start(ap, s);
	while ((id = va_arg(ap, const char *)))
		assert_string_equal(s->ids[n++], id);
	va_end(ap);
	assert_int_equal(s->n, n);
}

#define assert_found(kind, key, limit, ...)                                              \
	do {                                                                             \
		struct seen found_ = ask(kind, key, limit);                              \
		assert_ids(&found_, ##__VA_ARGS__, NULL);                                \
	} while (0)

/* ---- rows ---- */

#define same_str(a, b) assert_true((a) && (b) ? strcmp((a), (b)) == 0 : !(a) && !(b))

static void
look_machine(void *arg, const struct store_result *res)
{
	const struct machine *want = arg, *got = res->machines;

	assert_int_equal(res->n, 1);
	assert_true(id_equal(&got->id, &want->id));
	same_str(got->pool, want->pool);
	same_str(got->provider, want->provider);
	same_str(got->provider_ref, want->provider_ref);
	assert_int_equal(got->state, want->state);
	assert_int_equal(got->tier, want->tier);
	same_str(got->image, want->image);
	same_str(got->image_version, want->image_version);
	same_str(got->address, want->address);
	assert_int_equal(got->port, want->port);
	assert_true(id_equal(&got->reservation, &want->reservation));
	same_str(got->error, want->error);
	same_str(got->output, want->output);
	assert_int_equal(got->created_at, want->created_at);
	assert_int_equal(got->ready_at, want->ready_at);
	assert_int_equal(got->claimed_at, want->claimed_at);
	assert_int_equal(got->ended_at, want->ended_at);
}

static void
test_machine_comes_back_whole(void **state)
{
	struct store_query q = {.kind = QUERY_MACHINES, .key = "m-000000000001"};
	struct machine m = sample_machine("m-000000000001", MACHINE_READY);
	struct machine bare = {.id = m.id};

	put_machine(m.id.s, MACHINE_READY);
	store_fixture_query(&fx, &q, look_machine, &m);
	store_fixture_reopen(&fx);
	store_fixture_query(&fx, &q, look_machine, &m);

	struct store_tx *tx = store_tx_new();
	store_tx_machine(tx, &bare); /* a put replaces: NULLs too */
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look_machine, &bare);
}

static void
look_reservation(void *arg, const struct store_result *res)
{
	const struct reservation *want = arg, *got = res->reservations;

	assert_int_equal(res->n, 1);
	assert_true(id_equal(&got->id, &want->id));
	same_str(got->name, want->name);
	assert_int_equal(got->uid, want->uid);
	same_str(got->user, want->user);
	same_str(got->pool, want->pool);
	assert_int_equal(got->state, want->state);
	assert_int_equal(got->reason, want->reason);
	same_str(got->error, want->error);
	assert_int_equal(got->path, want->path);
	same_str(got->miss_reason, want->miss_reason);
	assert_true(id_equal(&got->machine, &want->machine));
	same_str(got->public_keys, want->public_keys);
	same_str(got->github, want->github);
	same_str(got->notice, want->notice);
	same_str(got->request_id, want->request_id);
	assert_true(id_equal(&got->group, &want->group));
	assert_int_equal(got->no_warm, want->no_warm);
	assert_int_equal(got->no_wait, want->no_wait);
	assert_int_equal(got->hold_ms, want->hold_ms);
	assert_int_equal(got->idle_ms, want->idle_ms);
	assert_true(got->serial == want->serial);
	assert_int_equal(got->created_at, want->created_at);
	assert_int_equal(got->ready_at, want->ready_at);
	assert_int_equal(got->expires_at, want->expires_at);
	assert_int_equal(got->ended_at, want->ended_at);
	assert_true(got->usd_per_hour == want->usd_per_hour);
}

static void
test_reservation_comes_back_whole(void **state)
{
	struct store_query q = {.kind = QUERY_RESERVATION, .key = "work", .limit = 2};
	struct reservation r = sample_reservation("r-000000000001", "work");
	char request[] = "ci-17";

	r.request_id = request;
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look_reservation, &r);
	r.state = RESERVATION_ENDED;
	r.reason = END_NONE;
	r.path = PATH_NONE;
	r.error = r.miss_reason = NULL;
	r.machine = (struct id){{0}};
	r.ended_at = 1790000000009;
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	store_fixture_reopen(&fx);
	store_fixture_query(&fx, &q, look_reservation, &r);
}

static void
look_disk(void *arg, const struct store_result *res)
{
	const struct disk *want = arg, *got = res->disks;

	assert_int_equal(res->n, 1);
	assert_true(id_equal(&got->id, &want->id));
	same_str(got->name, want->name);
	assert_int_equal(got->uid, want->uid);
	same_str(got->user, want->user);
	same_str(got->provider, want->provider);
	same_str(got->provider_ref, want->provider_ref);
	assert_int_equal(got->state, want->state);
	assert_true(got->size_bytes == want->size_bytes);
	assert_true(id_equal(&got->source, &want->source));
	assert_int_equal(got->transient, want->transient);
	same_str(got->error, want->error);
	assert_int_equal(got->created_at, want->created_at);
	assert_int_equal(got->ended_at, want->ended_at);
}

static void
count_disk(void *arg, const struct disk *d)
{
	++*(int *)arg;
}

static void
test_disk_comes_back_whole(void **state)
{
	static char name[] = "work", user[] = "ann", provider[] = "here",
		    ref[] = "vol-0abc", error[] = "no room";
	struct store_query q = {.kind = QUERY_DISKS, .key = "d-000000000001"};
	struct disk d = {
	    .id = sample_id("d-000000000001"),
	    .name = name,
	    .uid = 4000000000u,
	    .user = user,
	    .provider = provider,
	    .provider_ref = ref,
	    .state = DISK_ATTACHED,
	    .size_bytes = INT64_C(64) << 40,
	    .source = sample_id("s-000000000002"),
	    .transient = true,
	    .error = error,
	    .created_at = 1790000000000,
	};
	int live = 0;
	struct store_loader to = {.arg = &live, .disk = count_disk};
	struct store_tx *tx = store_tx_new();
	struct err err;

	store_tx_disk(tx, &d);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look_disk, &d);
	store_fixture_reopen(&fx);
	assert_int_equal(fx.store->ops->load(fx.store, &to, &err), 0);
	assert_int_equal(live, 1);
	store_fixture_query(&fx, &q, look_disk, &d);
	d.state = DISK_DELETED;
	d.ended_at = 1790000000009;
	d.error = d.provider_ref = NULL;
	d.source = (struct id){{0}};
	tx = store_tx_new();
	store_tx_disk(tx, &d);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look_disk, &d);
	store_fixture_reopen(&fx);
	live = 0;
	assert_int_equal(fx.store->ops->load(fx.store, &to, &err), 0);
	assert_int_equal(live, 0);
}

static void
look_step(void *arg, const struct store_result *res)
{
	const struct step *want = arg, *got = res->steps;

	assert_int_equal(res->n, 1);
	assert_int_equal(got->id, want->id);
	assert_true(id_equal(&got->subject, &want->subject));
	same_str(got->name, want->name);
	assert_int_equal(got->attempt, want->attempt);
	assert_int_equal(got->state, want->state);
	same_str(got->token, want->token);
	same_str(got->resource, want->resource);
	same_str(got->error, want->error);
	assert_true(got->waits_for == want->waits_for);
	assert_int_equal(got->started_at, want->started_at);
	assert_int_equal(got->ended_at, want->ended_at);
	assert_int_equal(got->resolution_ms, want->resolution_ms);
}

static void
look_event(void *arg, const struct store_result *res)
{
	const struct event *want = arg, *got = res->events;

	assert_int_equal(res->n, 1);
	assert_int_equal(got->seq, want->seq);
	assert_int_equal(got->at, want->at);
	same_str(got->kind, want->kind);
	assert_true(id_equal(&got->id, &want->id));
	same_str(got->name, want->name);
	same_str(got->state, want->state);
	assert_true(id_equal(&got->other, &want->other));
	assert_true(got->uid == want->uid);
	same_str(got->detail, want->detail);
}

static void
test_step_and_event_come_back_whole(void **state)
{
	struct store_query steps = {.kind = QUERY_STEPS, .key = "m-000000000001"};
	struct store_query events = {.kind = QUERY_EVENTS, .limit = 9};
	struct step s = sample_step(INT64_C(5000000000), "m-000000000001");
	struct event e = sample_event(INT64_C(6000000000), "m-000000000001");
	struct store_tx *tx = store_tx_new();

	store_tx_step(tx, &s);
	store_tx_event(tx, &e);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_reopen(&fx);
	store_fixture_query(&fx, &steps, look_step, &s);
	store_fixture_query(&fx, &events, look_event, &e);
	s.state = STEP_FAILED;
	s.ended_at = 1790000000999;
	s.token = NULL;
	tx = store_tx_new();
	store_tx_step(tx, &s);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_query(&fx, &steps, look_step, &s);
}

/* What was put is copied: the caller's memory may go at once. */
static void
test_put_copies(void **state)
{
	struct store_query q = {
	    .kind = QUERY_RESERVATION, .key = "r-000000000001", .limit = 2};
	struct reservation want = sample_reservation("r-000000000001", "kept"), r = want;
	struct store_tx *tx = store_tx_new();
	char name[] = "kept";

	r.name = name;
	store_tx_reservation(tx, &r);
	memset(name, 'x', 4);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look_reservation, &want);
}

static void
test_long_values(void **state)
{
	struct store_query q = {.kind = QUERY_MACHINES, .key = "m-000000000001"};
	struct machine m = sample_machine("m-000000000001", MACHINE_FAILED);
	struct store_tx *tx = store_tx_new();
	char *output = malloc(65536);

	memset(output, 'o', 65535);
	output[65535] = '\0';
	m.output = output;
	store_tx_machine(tx, &m);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look_machine, &m);
	free(output);
}

/* ---- transactions ---- */

static struct store_tx *
claim_tx(const char *machine, const char *reservation, const char *request, int64_t n)
{
	struct store_tx *tx = store_tx_new();
	struct machine m = sample_machine(machine, MACHINE_CLAIMED);
	struct reservation r = sample_reservation(reservation, reservation);
	struct step s = sample_step(n, reservation);
	struct event e = sample_event(n, reservation);

	r.request_id = (char *)request;
	store_tx_machine_if(tx, &m, MACHINE_READY);
	store_tx_reservation(tx, &r);
	store_tx_step(tx, &s);
	store_tx_event(tx, &e);
	return tx;
}

static void
test_guard(void **state)
{
	struct err err;

	put_machine("m-000000000001", MACHINE_READY);
	assert_int_equal(store_fixture_put(&fx,
			     claim_tx("m-000000000001", "r-000000000001", NULL, 1), &err),
	    ERR_NONE);
	assert_int_equal(store_fixture_put(&fx,
			     claim_tx("m-000000000001", "r-000000000002", NULL, 2), &err),
	    ERR_CONFLICT);
	assert_non_null(strstr(err.msg, "m-000000000001"));
	assert_found(QUERY_RESERVATIONS, "", 9, "r-000000000001");
	assert_found(QUERY_STEPS, "r-000000000002", 9);
	assert_found(QUERY_EVENTS, "", 9, "1");

	/* a machine that is not there is in no state */
	assert_int_equal(store_fixture_put(&fx,
			     claim_tx("m-000000000009", "r-000000000003", NULL, 3), &err),
	    ERR_CONFLICT);
	assert_found(QUERY_RESERVATIONS, "", 9, "r-000000000001");
}

/* The guard fails after other rows of its transaction were written: they go too. */
static void
test_late_guard(void **state)
{
	struct store_tx *tx = store_tx_new();
	struct reservation r = sample_reservation("r-000000000001", "late");
	struct machine m = sample_machine("m-000000000001", MACHINE_CLAIMED);
	struct machine other = sample_machine("m-000000000002", MACHINE_CLAIMED);

	put_machine("m-000000000001", MACHINE_LAUNCHING);
	put_machine("m-000000000002", MACHINE_READY);
	store_tx_reservation(tx, &r);
	store_tx_machine_if(tx, &other, MACHINE_READY);
	store_tx_machine_if(tx, &m, MACHINE_READY);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_CONFLICT);
	assert_found(QUERY_RESERVATIONS, "", 9);
	assert_int_equal(
	    ask(QUERY_MACHINES, "m-000000000001", 9).machine_state, MACHINE_LAUNCHING);
	assert_int_equal(
	    ask(QUERY_MACHINES, "m-000000000002", 9).machine_state, MACHINE_READY);
}

static void
test_request_id(void **state)
{
	struct reservation r = sample_reservation("r-000000000001", "one");
	char request[] = "ci-17";
	struct err err;

	r.request_id = request;
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE); /* the same row again */
	r.id = sample_id("r-000000000002");
	assert_int_equal(put_reservation(&r, &err), ERR_CONFLICT);
	assert_string_equal(err.msg, "request_id");
	r.uid++;
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE); /* another user's */
	r = sample_reservation("r-000000000003", "three");
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	r = sample_reservation("r-000000000004", "four");
	assert_int_equal(
	    put_reservation(&r, NULL), ERR_NONE); /* none at all: as many as you like */

	put_machine("m-000000000001", MACHINE_READY);
	assert_int_equal(
	    store_fixture_put(
		&fx, claim_tx("m-000000000001", "r-000000000005", "ci-17", 1), &err),
	    ERR_CONFLICT);
	assert_int_equal(
	    ask(QUERY_MACHINES, "m-000000000001", 9).machine_state, MACHINE_READY);
	assert_found(QUERY_EVENTS, "", 9);
}

/* The same request id twice in one transaction, behind a row that was written. */
static void
test_request_id_twice_at_once(void **state)
{
	struct reservation r = sample_reservation("r-000000000001", "one");
	struct store_tx *tx = store_tx_new();
	struct event e = sample_event(1, "r-000000000001");
	char request[] = "ci-17";
	struct err err;

	r.request_id = request;
	store_tx_event(tx, &e);
	store_tx_reservation(tx, &r);
	r.id = sample_id("r-000000000002");
	store_tx_reservation(tx, &r);
	assert_int_equal(store_fixture_put(&fx, tx, &err), ERR_CONFLICT);
	assert_string_equal(err.msg, "request_id");
	assert_found(QUERY_RESERVATIONS, "", 9);
	assert_found(QUERY_EVENTS, "", 9);
}

static void
test_empty(void **state)
{
	assert_int_equal(store_fixture_put(&fx, store_tx_new(), NULL), ERR_NONE);
	store_tx_free(
	    claim_tx("m-000000000001", "r-000000000005", NULL, 1)); /* unsubmitted */
	store_tx_free(NULL);
}

struct order {
	int next;
	int n;
	int conflicts;
};

struct order_one {
	struct order *order;
	int i;
};

static void
on_ordered(void *arg, const struct err *err)
{
	struct order_one *one = arg;

	assert_int_equal(one->i, one->order->n);
	one->order->n++;
	if (err->code == ERR_CONFLICT)
		one->order->conflicts++;
}

/* Many at once: applied and answered in order, each on its own; of ten that want the same
   machine, the first gets it. */
static void
test_order(void **state)
{
	static struct order_one ones[1000];
	struct order order = {0};
	char machine[16], reservation[16];

	for (int i = 0; i < 100; i++) {
		(void)snprintf(machine, sizeof(machine), "m-%012d", i);
		put_machine(machine, MACHINE_READY);
	}
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(machine, sizeof(machine), "m-%012d", i / 10);
		(void)snprintf(reservation, sizeof(reservation), "r-%012d", i);
		ones[i] = (struct order_one){&order, i};
		fx.store->ops->submit(fx.store,
		    claim_tx(machine, reservation, NULL, i + 1), on_ordered, &ones[i]);
	}
	assert_int_equal(order.n, 0);
	while (order.n < 1000)
		store_fixture_turn(&fx);
	assert_int_equal(order.conflicts, 900);
	assert_int_equal(ask(QUERY_RESERVATIONS, "", 0).n, 100);
	assert_found(QUERY_EVENTS, "", 3, "1", "11", "21");
	assert_found(QUERY_STEPS, "r-000000000990", 9, "991");
	assert_found(QUERY_STEPS, "r-000000000991", 9);
}

static void
count_done(void *arg, const struct err *err)
{
	assert_int_equal(err->code, ERR_NONE);
	(*(int *)arg)++;
}

static void
count_query(void *arg, const struct store_result *res, const struct err *err)
{
	(*(int *)arg)++;
}

/* Closing finishes what was submitted, also what a callback of it submits. */
static void
submit_another(void *arg, const struct err *err)
{
	struct store_tx *tx = store_tx_new();
	struct machine m = sample_machine("m-0000000000zz", MACHINE_READY);

	store_tx_machine(tx, &m);
	fx.store->ops->submit(fx.store, tx, count_done, arg);
}

static void
test_close_finishes(void **state)
{
	struct store_query q = {.kind = QUERY_EVENTS};
	int done = 0;

	for (int i = 0; i < 50; i++) {
		struct store_tx *tx = store_tx_new();
		struct event e = sample_event(i + 1, "m-000000000001");

		store_tx_event(tx, &e);
		fx.store->ops->submit(
		    fx.store, tx, i == 49 ? submit_another : count_done, &done);
	}
	fx.store->ops->query(fx.store, &q, count_query, &done);
	fx.store->ops->close(fx.store);
	assert_int_equal(done, 51);
	fx.store = NULL;
	store_fixture_reopen(&fx);
	assert_int_equal(ask(QUERY_EVENTS, "", 0).n, 50);
	assert_found(QUERY_MACHINES, "m-0000000000zz", 1, "m-0000000000zz");
}

/* ---- queries ---- */

static void
test_query_by_key(void **state)
{
	static const char *const ids[] = {
	    "r-aaaaaaaaaaaa", "r-aaaaaaaaaaab", "r-aaazzzzzzzzz", "r-b00000000000"};
	static const char *const names[] = {"r-aaa", "work", "work", "100%_"};

	for (int i = 0; i < 4; i++) {
		struct reservation r = sample_reservation(ids[i], names[i]);

		r.state = i == 2 ? RESERVATION_ENDED : RESERVATION_ACTIVE;
		assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	}
	assert_found(QUERY_RESERVATION, "r-aaaaaaaaaaab", 9, ids[1]);
	assert_found(QUERY_RESERVATION, "work", 9, ids[2], ids[1]);
	assert_found(QUERY_RESERVATION, "work", 1, ids[2]);
	assert_found(
	    QUERY_RESERVATION, "r-aaa", 9, ids[0], ids[2], ids[1]); /* the name first */
	assert_found(QUERY_RESERVATION, "r-aaa", 1, ids[0]);
	assert_found(QUERY_RESERVATION, "r-aaaz", 9, ids[2]);
	assert_found(QUERY_RESERVATION, "r-aaaaaaaaaaaaa", 9);
	assert_found(QUERY_RESERVATION, "wor", 9); /* a prefix is one of an id */
	assert_found(QUERY_RESERVATION, "%", 9);
	assert_found(QUERY_RESERVATION, "100%_", 9, ids[3]);
	assert_found(QUERY_RESERVATION, "' OR 1 --", 9);
}

static void
test_query_lists(void **state)
{
	struct store_query q = {.kind = QUERY_RESERVATIONS, .uid = 7, .limit = 2};
	struct seen s;

	for (int i = 0; i < 6; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "r-%012d", i);
		struct reservation r = sample_reservation(id, id);
		r.uid = i % 2 ? 7 : 8;
		assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	}
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "r-000000000005", "r-000000000003", NULL);
	q.uid = 9;
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, NULL);
	assert_found(QUERY_RESERVATIONS, "", 3, "r-000000000005", "r-000000000004",
	    "r-000000000003");
}

/* One's own come before others', however many of those are newer. */
static void
test_query_own_first(void **state)
{
	struct store_query q = {
	    .kind = QUERY_RESERVATION, .uid = 7, .key = "work", .limit = 2};
	struct seen s;

	for (int i = 0; i < 4; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "r-%012d", i);
		struct reservation r = sample_reservation(id, "work");
		r.state = RESERVATION_ENDED;
		r.uid = i == 1 ? 7 : 8;
		assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	}
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "r-000000000001", "r-000000000003", NULL);
	q.uid = STORE_ANY_UID;
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "r-000000000003", "r-000000000002", NULL);
}

static void
test_query_request(void **state)
{
	struct store_query q = {
	    .kind = QUERY_REQUEST, .uid = 4000000000u, .key = "ci-17"};
	struct reservation r = sample_reservation("r-000000000001", "one");
	char request[] = "ci-17";
	struct seen s;

	r.request_id = request;
	assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "r-000000000001", NULL);
	q.uid = 1;
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, NULL);
}

static void
test_query_group(void **state)
{
	struct store_query q = {.kind = QUERY_GROUP, .key = "r-000000000003"};
	struct seen s;

	for (int i = 5; i > 0; i--) {
		char id[16];

		(void)snprintf(id, sizeof(id), "r-%012d", i);
		struct reservation r = sample_reservation(id, id);
		r.uid = i == 1 ? 8 : 7;
		r.group = sample_id(i == 2 ? "r-000000000002" : "r-000000000003");
		assert_int_equal(put_reservation(&r, NULL), ERR_NONE);
	}
	q.uid = 7;
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "r-000000000005", "r-000000000004", "r-000000000003", NULL);
	q.uid = STORE_ANY_UID;
	store_fixture_query(&fx, &q, look, &s);
	assert_int_equal(s.n, 4);
}

/* A reference outlives the store's own; what is absorbed is the history, not the rows with a state. */
static void
test_ref_and_absorb(void **state)
{
	struct store_tx *refused = claim_tx("m-000000000001", "r-000000000001", NULL, 1);
	struct store_tx *tx = store_tx_new();

	assert_int_equal(
	    store_fixture_put(&fx, store_tx_ref(refused), NULL), ERR_CONFLICT);
	store_tx_absorb(tx, refused);
	store_tx_free(refused);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	assert_found(QUERY_RESERVATIONS, "", 9);
	assert_found(QUERY_MACHINES, "", 9);
	assert_found(QUERY_EVENTS, "", 9, "1");
	assert_found(QUERY_STEPS, "r-000000000001", 9, "1");
}

static void
test_query_machines_steps_events(void **state)
{
	struct store_query q = {.kind = QUERY_STEPS, .key = "r-1", .key2 = "m-1"};
	struct seen s;

	put_machine("m-aaaaaaaaaaaa", MACHINE_TERMINATED);
	put_machine("m-aaaaaaaaaaab", MACHINE_READY);
	assert_found(QUERY_MACHINES, "m-a", 9, "m-aaaaaaaaaaab", "m-aaaaaaaaaaaa");
	assert_found(QUERY_MACHINES, "", 9, "m-aaaaaaaaaaab", "m-aaaaaaaaaaaa");
	assert_found(QUERY_MACHINES, "m-aaaaaaaaaaaa", 9, "m-aaaaaaaaaaaa");
	for (int i = 1; i <= 6; i++) {
		struct store_tx *tx = store_tx_new();
		struct step st = sample_step(7 - i, i % 3 == 0	 ? "r-1"
						    : i % 3 == 1 ? "m-1"
								 : "x");
		struct event e = sample_event(i, "x");

		store_tx_step(tx, &st);
		store_tx_event(tx, &e);
		assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	}
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "1", "3", "4", "6", NULL);
	assert_found(QUERY_STEPS, "r-1", 0, "1", "4");
	q = (struct store_query){.kind = QUERY_EVENTS, .since = 3, .limit = 2};
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, "4", "5", NULL);
	q.since = 6;
	store_fixture_query(&fx, &q, look, &s);
	assert_ids(&s, NULL);
}

/* ---- load and prune ---- */

struct loaded {
	char log[1024];
	int64_t step_id;
	int64_t event_seq;
	uint64_t serial;
};

static void
note(void *arg, const char *what, const char *id)
{
	struct loaded *l = arg;
	size_t n = strlen(l->log);

	(void)snprintf(l->log + n, sizeof(l->log) - n, "%s %s;", what, id);
}

static void
load_machine(void *arg, const struct machine *m)
{
	note(arg, machine_state_name(m->state), m->id.s);
}

static void
load_reservation(void *arg, const struct reservation *r)
{
	note(arg, r->name, r->id.s);
}

static void
load_step(void *arg, const struct step *s)
{
	char id[32];

	(void)snprintf(id, sizeof(id), "%d", (int)s->id);
	note(arg, s->name, id);
}

static void
load_pool(void *arg, const char *name, const int settings[4])
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%d %d %d %d", settings[0], settings[1],
	    settings[2], settings[3]);
	note(arg, name, text);
}

static void
load_last(void *arg, int64_t step_id, int64_t event_seq, uint64_t serial)
{
	struct loaded *l = arg;

	l->step_id = step_id;
	l->event_seq = event_seq;
	l->serial = serial;
}

static struct loaded
load_all(void)
{
	struct loaded l = {{0}};
	struct store_loader to = {&l, load_machine, load_reservation, NULL, load_step,
	    load_pool, note, load_last};
	struct err err;

	store_fixture_reopen(&fx);
	assert_int_equal(fx.store->ops->load(fx.store, &to, &err), 0);
	return l;
}

static void
put_life(
    int i, enum machine_state m_state, enum reservation_state r_state, int64_t ended_at)
{
	struct store_tx *tx = store_tx_new();
	char m_id[16], r_id[16];

	(void)snprintf(m_id, sizeof(m_id), "m-%012d", i);
	(void)snprintf(r_id, sizeof(r_id), "r-%012d", i);
	struct machine m = sample_machine(m_id, m_state);
	struct reservation r = sample_reservation(r_id, "life");
	struct step s = sample_step(2 * i, r_id), t = sample_step(2 * i + 1, m_id);
	struct event e = sample_event(i, r_id);

	m.ended_at = r.ended_at = ended_at;
	r.state = r_state;
	r.serial = (uint64_t)(1000 - i);
	s.state = ended_at ? STEP_DONE : STEP_OPEN;
	t.state = STEP_DONE;
	store_tx_machine(tx, &m);
	store_tx_reservation(tx, &r);
	store_tx_step(tx, &s);
	store_tx_step(tx, &t);
	store_tx_event(tx, &e);
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
}

static void
test_load(void **state)
{
	struct store_tx *tx;
	struct loaded l = load_all();

	assert_string_equal(l.log, "");
	assert_int_equal(l.step_id + l.event_seq + (int64_t)l.serial, 0);
	put_life(1, MACHINE_TERMINATED, RESERVATION_ENDED, 1790000000100);
	put_life(2, MACHINE_CLAIMED, RESERVATION_ACTIVE, 0);
	put_life(3, MACHINE_FAILED, RESERVATION_QUEUED, 0);
	put_life(4, MACHINE_TERMINATING, RESERVATION_ENDED,
	    0); /* ended, whatever its time says */
	tx = store_tx_new();
	store_tx_pool(tx, "default", (const int[]){1, 2, 3, 4});
	store_tx_meta(tx, "boot_id", "old");
	store_tx_meta(tx, "boot_id", "new");
	store_tx_pool(tx, "default", (const int[]){5, 0, 0, 9});
	assert_int_equal(store_fixture_put(&fx, tx, NULL), ERR_NONE);
	l = load_all();
	assert_string_equal(l.log, "boot_id new;default 5 0 0 9;"
				   "claimed m-000000000002;terminating m-000000000004;"
				   "life r-000000000002;life r-000000000003;"
				   "launch 4;launch 6;launch 8;");
	assert_int_equal(l.step_id, 9);
	assert_int_equal(l.event_seq, 4);
	assert_int_equal(l.serial, 999);
}

static void
prune_all(int64_t before_at, int keep_events, int want_reservations)
{
	fx.store->ops->prune(fx.store, before_at, keep_events);
	/* it works behind the others; a few turns of others must see it end */
	for (int i = 0; i < 1000 && ask(QUERY_RESERVATIONS, "", 0).n != want_reservations;
	     i++)
		assert_int_equal(store_fixture_put(&fx, store_tx_new(), NULL), ERR_NONE);
}

static void
test_prune(void **state)
{
	for (int i = 1; i <= 200; i++)
		put_life(i, MACHINE_TERMINATED, RESERVATION_ENDED, 1790000000000 + i);
	put_life(201, MACHINE_CLAIMED, RESERVATION_ACTIVE, 0);
	prune_all(1790000000151, 10, 51); /* 151..200 and the live one are left */
	assert_int_equal(ask(QUERY_RESERVATIONS, "", 0).n, 51);
	store_fixture_reopen(
	    &fx); /* pruning goes on in slices, and stops with the store */
	prune_all(1790000000151, 10, 51);
	for (int i = 0; i < 100 && ask(QUERY_EVENTS, "", 0).n != 10; i++)
		assert_int_equal(store_fixture_put(&fx, store_tx_new(), NULL), ERR_NONE);
	assert_found(QUERY_EVENTS, "", 1, "192");
	assert_int_equal(ask(QUERY_MACHINES, "", 0).n, 51);
	assert_found(QUERY_STEPS, "r-000000000150", 0);
	assert_found(QUERY_STEPS, "m-000000000150", 0);
	assert_found(QUERY_STEPS, "r-000000000151", 0, "302");
	assert_found(QUERY_STEPS, "r-000000000201", 0, "402");

	/* numbers whose rows are gone are not given out again: serial 999 was life 1's */
	struct loaded l = load_all();
	assert_int_equal(l.serial, 999);
	assert_int_equal(l.step_id, 403);
	assert_int_equal(l.event_seq, 201);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		test_machine_comes_back_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_reservation_comes_back_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_disk_comes_back_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_step_and_event_come_back_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_put_copies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_values, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_guard, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_late_guard, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_request_id, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_request_id_twice_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_close_finishes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_query_by_key, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_query_lists, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_query_own_first, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_query_request, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_query_machines_steps_events, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_query_group, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_ref_and_absorb, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_load, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
