/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

void
store_fixture_init(struct store_fixture *f)
{
	const char *which = getenv("STORE");

	*f = (struct store_fixture){.dir = "/tmp/hearth-store-XXXXXX"};
	if (which && strcmp(which, "sqlite") != 0) {
		assert_string_equal(which, "sqlite-inline");
		f->inline_mode = true;
	}
	assert_non_null(mkdtemp(f->dir));
	assert_true(snprintf(f->path, sizeof(f->path), "%s/hearth.db", f->dir) > 0);
}

int
store_fixture_open(struct store_fixture *f, struct err *err)
{
	struct sqlite_options opt = {.path = f->path, .vfs = f->vfs};

	if (f->inline_mode)
		opt.clock = f->clock = clock_new_sim(1790000000000);
	else
		opt.uv_loop = &f->loop;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	if (sqlite_store_open(&opt, &f->store, err) == 0)
		return 0;
	f->store = NULL;
	store_fixture_close(f);
	return -1;
}

void
store_fixture_close(struct store_fixture *f)
{
	if (f->store)
		f->store->ops->close(f->store);
	f->store = NULL;
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	clock_free(f->clock);
	f->clock = NULL;
}

void
store_fixture_reopen(struct store_fixture *f)
{
	struct err err = {0};

	store_fixture_close(f);
	if (store_fixture_open(f, &err) < 0)
		fail_msg("%s", err.msg);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void
store_fixture_fini(struct store_fixture *f)
{
	if (f->store)
		store_fixture_close(f);
	assert_int_equal(nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void
store_fixture_turn(struct store_fixture *f)
{
	if (f->clock)
		clock_sim_advance(f->clock, 1);
	else
		uv_run(&f->loop, UV_RUN_ONCE);
}

struct waiter {
	bool done;
	struct err err;
	void (*look)(void *arg, const struct store_result *res);
	void *arg;
};

static void
on_put(void *arg, const struct err *err)
{
	struct waiter *w = arg;

	assert_false(w->done);
	w->done = true;
	w->err = *err;
}

enum err_code
store_fixture_put(struct store_fixture *f, struct store_tx *tx, struct err *ret_err)
{
	struct waiter w = {0};

	f->store->ops->submit(f->store, tx, on_put, &w);
	assert_false(w.done); /* never from inside the call */
	while (!w.done)
		store_fixture_turn(f);
	if (ret_err)
		*ret_err = w.err;
	return w.err.code;
}

static void
on_query(void *arg, const struct store_result *res, const struct err *err)
{
	struct waiter *w = arg;

	assert_false(w->done);
	w->done = true;
	if (err->code != ERR_NONE)
		fail_msg("query: %s", err->msg);
	w->look(w->arg, res);
}

void
store_fixture_query(struct store_fixture *f, const struct store_query *q,
    void (*look)(void *arg, const struct store_result *res), void *arg)
{
	struct waiter w = {.look = look, .arg = arg};

	f->store->ops->query(f->store, q, on_query, &w);
	assert_false(w.done);
	while (!w.done)
		store_fixture_turn(f);
}

struct id
sample_id(const char *s)
{
	struct id id = {{0}};

	assert_true(strlen(s) < ID_MAX);
	memcpy(id.s, s, strlen(s));
	return id;
}

struct machine
sample_machine(const char *id, enum machine_state state)
{
	static char pool[] = "default", provider[] = "sim", ref[] = "ref-1",
		    image[] = "debian", version[] = "3", address[] = "192.0.2.9",
		    error[] = "none to speak of", output[] = "line\nanother\n";

	return (struct machine){
	    .id = sample_id(id),
	    .pool = pool,
	    .provider = provider,
	    .provider_ref = ref,
	    .state = state,
	    .tier = TIER_HIBERNATED,
	    .image = image,
	    .image_version = version,
	    .address = address,
	    .port = 2222,
	    .reservation = sample_id("r-000000000007"),
	    .error = error,
	    .output = output,
	    .created_at = 1790000000001,
	    .ready_at = 1790000000002,
	    .claimed_at = 1790000000003,
	    .ended_at = state == MACHINE_TERMINATED || state == MACHINE_FAILED
			    ? 1790000000004
			    : 0,
	};
}

struct reservation
sample_reservation(const char *id, const char *name)
{
	static char user[] = "ann", pool[] = "default", error[] = "host restarted",
		    miss[] = "pool empty",
		    keys[] = "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b",
		    github[] = "octocat", notice[] = "keys from the cache";

	return (struct reservation){
	    .id = sample_id(id),
	    .name = (char *)name,
	    .uid = 4000000000u,
	    .user = user,
	    .pool = pool,
	    .state = RESERVATION_ACTIVE,
	    .reason = END_FAILED,
	    .error = error,
	    .path = PATH_COLD,
	    .miss_reason = miss,
	    .machine = sample_id("m-000000000001"),
	    .public_keys = keys,
	    .github = github,
	    .notice = notice,
	    .group = sample_id("r-000000000002"),
	    .no_warm = true,
	    .hold_ms = 28800000,
	    .idle_ms = 1800000,
	    .serial = UINT64_C(0xf000000000000001),
	    .created_at = 1790000000000,
	    .ready_at = 1790000000001,
	    .expires_at = 1790028800001,
	    .usd_per_hour = 0.125,
	};
}

struct step
sample_step(int64_t id, const char *subject)
{
	static char token[] = "m-000000000001", resource[] = "i-0abc",
		    error[] = "throttled";

	return (struct step){
	    .id = id,
	    .subject = sample_id(subject),
	    .name = "launch",
	    .attempt = 2,
	    .state = STEP_OPEN,
	    .token = token,
	    .resource = resource,
	    .error = error,
	    .waits_for = 0x80000001u,
	    .started_at = 1790000000005,
	    .resolution_ms = 20,
	};
}

struct event
sample_event(int64_t seq, const char *id)
{
	static char name[] = "default", detail[] = "3 of 5";

	return (struct event){
	    .seq = seq,
	    .at = 1790000000000 + seq,
	    .kind = "machine",
	    .id = sample_id(id),
	    .name = name,
	    .state = "ready",
	    .other = sample_id("r-000000000009"),
	    .uid = UINT32_MAX,
	    .detail = detail,
	};
}
