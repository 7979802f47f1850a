/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Goal: every provider keeps what provider.h promises. PROVIDER=fake (simulated time), ec2 or ec2-fake (an EC2 endpoint
 * at HEARTH_TEST_EC2; tests/e2e/test_provider_ec2.py runs it so), or local (real
 * containers: root, and HEARTH_TEST_STATE, a state directory with a built image, are needed; skipped
 * otherwise; tests/e2e/test_provider_local.py runs it so).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "provider_fixture.h"
#include "test_provider_disks.h"

static struct provider_fixture fx;

static int
setup(void **state)
{
	return provider_fixture_open(&fx);
}

static int
teardown(void **state)
{
	provider_fixture_close(&fx);
	return 0;
}

/* Brings a machine to READY and returns its token. */
static struct id
ready_machine(void)
{
	struct id token = id_new('m');
	struct answer a = provider_fixture_launch(&fx, token.s, 600);

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	return token;
}

static void
test_launch(void **state)
{
	struct id token = id_new('m');
	struct answer a = provider_fixture_launch(&fx, token.s, 600);
	const struct seen_machine *m;

	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.calls, 1);
	assert_true(a.ref[0] != '\0');
	m = provider_fixture_await(&fx, token.s, SIGHTING_READY);
	assert_string_equal(m->ref, a.ref);
	assert_true(m->address[0] != '\0');
	assert_in_range(m->port, 1, 65535);
	assert_true(m->was_starting); /* it was not ready at once */
}

/* The second launch of a token makes no second machine. */
static void
test_launch_is_idempotent(void **state)
{
	struct id token = ready_machine();
	struct answer a = provider_fixture_launch(&fx, token.s, 600);

	assert_int_equal(a.err.code, ERR_NONE);
	assert_string_equal(a.ref, provider_fixture_seen(&fx, token.s)->ref);
	assert_int_equal(provider_fixture_inventory(&fx), 1);
}

/* Two launches under way with the same token: one machine, both answered. */
static void
test_launch_twice_at_once(void **state)
{
	struct id token = id_new('m');
	struct answer a = {0}, b = {0};

	provider_fixture_start_launch(&fx, token.s, 600, &a);
	provider_fixture_start_launch(&fx, token.s, 600, &b);
	assert_int_equal(a.calls + b.calls, 0);
	provider_fixture_wait_answer(&fx, &a);
	provider_fixture_wait_answer(&fx, &b);
	assert_int_equal(a.err.code, ERR_NONE);
	if (b.err.code !=
	    ERR_UNAVAILABLE) { /* "unknown: look at the inventory" will do */
		assert_int_equal(b.err.code, ERR_NONE);
		assert_string_equal(a.ref, b.ref);
	}
	provider_fixture_await(&fx, token.s, SIGHTING_READY);
	assert_int_equal(provider_fixture_inventory(&fx), 1);
}

static void
test_terminate(void **state)
{
	struct id token = ready_machine();
	struct id unknown = id_new('m');
	struct answer a = provider_fixture_terminate(&fx, token.s);

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
	a = provider_fixture_terminate(&fx, token.s);
	assert_int_equal(a.err.code, ERR_NONE);
	a = provider_fixture_terminate(&fx, unknown.s);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, unknown.s, SIGHTING_GONE);
}

/* One that is still being made can be ended, too. */
static void
test_terminate_while_starting(void **state)
{
	struct id token = id_new('m');
	struct answer a = provider_fixture_launch(&fx, token.s, 600), b;

	assert_int_equal(a.err.code, ERR_NONE);
	b = provider_fixture_terminate(&fx, token.s);
	assert_int_equal(b.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

#define AT_ONCE 8

/* Ended before its launch is answered: nothing comes of it, whichever of the two the provider does first. */
static void
test_terminate_while_launching(void **state)
{
	struct id tokens[AT_ONCE];
	struct answer launched[AT_ONCE] = {0}, ended[AT_ONCE] = {0};

	for (int i = 0; i < AT_ONCE; i++) {
		tokens[i] = id_new('m');
		provider_fixture_start_launch(&fx, tokens[i].s, 600, &launched[i]);
	}
	for (int i = 0; i < AT_ONCE; i++)
		fx.provider->ops->terminate(
		    fx.provider, tokens[i].s, NULL, provider_fixture_on_done, &ended[i]);
	for (int i = 0; i < AT_ONCE; i++) {
		provider_fixture_wait_answer(&fx, &launched[i]);
		provider_fixture_wait_answer(&fx, &ended[i]);
		assert_int_equal(ended[i].err.code, ERR_NONE);
		provider_fixture_await(&fx, tokens[i].s, SIGHTING_GONE);
	}
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

/* A machine ends by itself when its deadline comes, with nobody doing anything. */
static void
test_deadline(void **state)
{
	struct id token = ready_machine(), unknown = id_new('m');
	int64_t start = provider_fixture_now_ms(&fx), took;
	struct answer a = provider_fixture_deadline(&fx, token.s, 3);

	assert_int_equal(a.err.code, ERR_NONE);
	a = provider_fixture_deadline(&fx, token.s, 2); /* the last one counts */
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await_end(&fx, token.s);
	took = provider_fixture_now_ms(&fx) - start;
	assert_in_range(took, 1900, 2900 + fx.kind->slack_ms);
	a = provider_fixture_deadline(&fx, unknown.s, 2);
	assert_int_not_equal(a.err.code, ERR_NONE);
}

static void
test_lease(void **state)
{
	struct id token = id_new('m');
	int64_t start = provider_fixture_now_ms(&fx), took;
	struct answer a = provider_fixture_launch(&fx, token.s, 2);

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await_end(&fx, token.s);
	took = provider_fixture_now_ms(&fx) - start;
	assert_in_range(took, 1900, 3500 + fx.kind->slack_ms);
}

static void
test_setup(void **state)
{
	struct id token = ready_machine(), unknown = id_new('m');
	struct answer a = provider_fixture_setup(&fx, token.s, "echo made ready", 5000);

	if (fx.kind->nobody_inside) {
		assert_int_equal(a.err.code, ERR_INVALID);
		return;
	}
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.exit_code, 0);
	assert_string_equal(a.output, "made ready\n");
	a = provider_fixture_setup(&fx, token.s, "exit 7", 5000);
	assert_int_equal(a.err.code, ERR_NONE);
	assert_int_equal(a.exit_code, 7);
	a = provider_fixture_setup(&fx, token.s, "sleep 20", 500);
	assert_int_not_equal(a.err.code, ERR_NONE);
	a = provider_fixture_setup(&fx, unknown.s, "exit 0", 500);
	assert_int_not_equal(a.err.code, ERR_NONE);
}

static void
test_contact(void **state)
{
	struct id token = ready_machine();
	const struct seen_machine *m = provider_fixture_seen(&fx, token.s);
	struct answer a = provider_fixture_contact(&fx, token.s, m->address, m->port);
	char address[64];
	int port = m->port;

	assert_int_equal(a.err.code, ERR_NONE);
	strcpy(address, m->address);
	a = provider_fixture_terminate(&fx, token.s);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
	a = provider_fixture_contact(&fx, token.s, address, port);
	assert_int_equal(a.err.code, ERR_UNAVAILABLE);
}

static void
test_inventory(void **state)
{
	struct id tokens[3];

	assert_int_equal(provider_fixture_inventory(&fx), 0);
	for (int i = 0; i < 3; i++)
		tokens[i] = ready_machine();
	assert_int_equal(provider_fixture_inventory(&fx), 3);
	for (int i = 0; i < 3; i++) {
		const struct seen_machine *m = provider_fixture_listed(&fx, tokens[i].s);

		assert_non_null(m);
		assert_int_equal(m->state, SIGHTING_READY);
		assert_string_equal(m->ref, provider_fixture_seen(&fx, tokens[i].s)->ref);
		assert_string_equal(
		    m->address, provider_fixture_seen(&fx, tokens[i].s)->address);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(m->address,
			    provider_fixture_listed(&fx, tokens[k].s)->address);
	}
}

/* The provider is closed and opened, as when the daemon is restarted: machines are there, are watched
   again, and can be ended; one whose lease ran out meanwhile is not. */
static void
test_restart(void **state)
{
	struct id kept = ready_machine(), leased = id_new('m');
	struct answer a = provider_fixture_launch(&fx, leased.s, 2);
	char ref[64];

	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, leased.s, SIGHTING_READY);
	strcpy(ref, provider_fixture_seen(&fx, kept.s)->ref);
	provider_fixture_restart(&fx, 3000);
	(void)provider_fixture_inventory(&fx);
	assert_non_null(provider_fixture_listed(&fx, kept.s));
	if (provider_fixture_listed(&fx, kept.s)->state != SIGHTING_READY) {
		/* it is being watched again by now, and is about to say so */
		provider_fixture_await(&fx, kept.s, SIGHTING_READY);
		(void)provider_fixture_inventory(&fx);
	}
	assert_int_equal(provider_fixture_listed(&fx, kept.s)->state, SIGHTING_READY);
	assert_string_equal(provider_fixture_listed(&fx, kept.s)->ref, ref);
	if (provider_fixture_listed(&fx, leased.s)) /* it may have left something */
		assert_int_equal(
		    provider_fixture_listed(&fx, leased.s)->state, SIGHTING_DEAD);
	a = provider_fixture_launch(&fx, kept.s, 600); /* still the same token */
	assert_int_equal(a.err.code, ERR_NONE);
	assert_string_equal(a.ref, ref);
	a = provider_fixture_terminate(&fx, kept.s);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, kept.s, SIGHTING_GONE);
	a = provider_fixture_terminate(&fx, leased.s);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, leased.s, SIGHTING_GONE);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

/* What is under way when it closes is answered, once, with ERR_CANCELLED. */
static void
test_close_answers(void **state)
{
	struct id token = ready_machine(), other = id_new('m');
	struct answer launch = {0}, terminate = {0}, deadline = {0}, run = {0},
		      contact = {0}, inventory = {0};
	struct answer *const all[] = {
	    &launch, &terminate, &deadline, &run, &contact, &inventory};
	const struct provider_ops *ops = fx.provider->ops;

	provider_fixture_start_launch(&fx, other.s, 600, &launch);
	ops->setup(
	    fx.provider, token.s, NULL, "sleep 5", 9000, provider_fixture_on_setup, &run);
	ops->contact(fx.provider, token.s, provider_fixture_seen(&fx, token.s)->address,
	    provider_fixture_seen(&fx, token.s)->port, provider_fixture_on_done,
	    &contact);
	ops->deadline(
	    fx.provider, token.s, NULL, 60, "", provider_fixture_on_done, &deadline);
	ops->terminate(fx.provider, token.s, NULL, provider_fixture_on_done, &terminate);
	ops->inventory(fx.provider, provider_fixture_on_inventory, &inventory);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(all[i]->calls, 0); /* never from inside an operation */
	ops->close(fx.provider);
	fx.provider = NULL;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_int_equal(all[i]->calls, 1);
		assert_int_equal(all[i]->err.code, ERR_CANCELLED);
	}
	provider_fixture_restart(&fx, 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(all[i]->calls, 1);
	for (int i = 0; i < 2; i++) {
		launch = provider_fixture_terminate(&fx, i ? other.s : token.s);
		if (launch.err.code != ERR_NONE)
			fail_msg("terminate: %s", launch.err.msg);
	}
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
	provider_fixture_await(&fx, other.s, SIGHTING_GONE);
}

/* To a tier and back: the same machine, as ready as before; stopped and started ones are no news. */
static void
stop_and_start(enum tier tier)
{
	struct id token, unknown = id_new('m');
	struct answer a;
	char ref[64];

	if (!fx.provider->ops->stop)
		skip();
	fx.tier = tier;
	token = ready_machine();
	strcpy(ref, provider_fixture_seen(&fx, token.s)->ref);
	for (int round = 0; round < 2; round++) {
		a = provider_fixture_stop(&fx, token.s, tier == TIER_HIBERNATED);
		assert_int_equal(a.err.code, ERR_NONE);
		provider_fixture_await(&fx, token.s, SIGHTING_STOPPED);
		a = provider_fixture_stop(&fx, token.s, tier == TIER_HIBERNATED);
		assert_int_equal(a.err.code, ERR_NONE);
		assert_int_equal(provider_fixture_inventory(&fx), 1);
		assert_int_equal(
		    provider_fixture_listed(&fx, token.s)->state, SIGHTING_STOPPED);
		a = provider_fixture_start(&fx, token.s, 600);
		assert_int_equal(a.err.code, ERR_NONE);
		provider_fixture_await(&fx, token.s, SIGHTING_READY);
		assert_string_equal(provider_fixture_seen(&fx, token.s)->ref, ref);
	}
	a = provider_fixture_contact(&fx, token.s,
	    provider_fixture_seen(&fx, token.s)->address,
	    provider_fixture_seen(&fx, token.s)->port);
	assert_int_equal(a.err.code, ERR_NONE);
	a = provider_fixture_stop(&fx, unknown.s, false);
	assert_int_not_equal(a.err.code, ERR_NONE);
	a = provider_fixture_terminate(&fx, token.s);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
	assert_int_equal(provider_fixture_inventory(&fx), 0);
}

static void
test_stop(void **state)
{
	stop_and_start(TIER_STOPPED);
}

static void
test_hibernate(void **state)
{
	if (fx.cannot_hibernate)
		skip();
	stop_and_start(TIER_HIBERNATED);
}

/* A lease begins anew with the start, and one that is stopped has none that could run out. */
static void
test_lease_after_start(void **state)
{
	struct id token;
	struct answer a;
	int64_t start, took;

	if (!fx.provider->ops->stop)
		skip();
	fx.tier = TIER_STOPPED;
	token = ready_machine();
	a = provider_fixture_stop(&fx, token.s, false);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_STOPPED);
	start = provider_fixture_now_ms(&fx);
	a = provider_fixture_start(&fx, token.s, 2);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await_end(&fx, token.s);
	took = provider_fixture_now_ms(&fx) - start;
	assert_in_range(took, 1900, 3500 + fx.kind->slack_ms);
	a = provider_fixture_terminate(&fx, token.s);
	assert_int_equal(a.err.code, ERR_NONE);
	provider_fixture_await(&fx, token.s, SIGHTING_GONE);
}

static void
test_image(void **state)
{
	fx.provider->ops->image(fx.provider, fx.image);
	provider_fixture_await_image(&fx);
	assert_true(fx.image_version[0] != '\0');
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_image, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_launch, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_launch_is_idempotent, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_launch_twice_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_terminate, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_terminate_while_starting, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_terminate_while_launching, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_setup, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_contact, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_inventory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_close_answers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hibernate, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lease_after_start, setup, teardown),
	};

	if (!provider_fixture_possible())
		return 77;
	return cmocka_run_group_tests_name("provider", tests, NULL, NULL) +
	       provider_disks_run();
}
