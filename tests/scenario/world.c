/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/provider.h"
#include "ssh/ca.h"
#include "ssh/pubkey.h"
#include "store/store.h"

#define ANSWER_MS (10 * 60 * 1000)

const struct core_caller alice = {1001, "alice", false};
const struct core_caller bob = {1002, "bob", false};
const struct core_caller root = {0, "root", true};

static const char key_line[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJcZuvN3bKuTYAQZ1Vi5mUGVsm6VrZDjnRcyNRCf6RxK "
    "alice@example";

static const struct pool default_pool = {
    .name = "default",
    .provider = "sim",
    .image = "debian",
    .running = 2,
    .max = 4,
    .max_age_ms = 24 * 3600 * 1000,
    .setup_timeout_ms = 60000,
    .ready_timeout_ms = 300000,
};

void
world_init(struct world *w)
{
	struct err err;
	int dirfd;

	*w = (struct world){.boot_id = "boot-1"};
	log_init("world", getenv("WORLD_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	w->clock = clock_new_sim(1795000000000);
	/* memory where there is: a commit waits for no disk */
	(void)snprintf(w->dir, sizeof(w->dir), "%s/hearth-world-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dirfd >= 0);
	assert_int_equal(ssh_ca_load_or_create(dirfd, "user_ca", &w->user_ca, &err), 0);
	assert_int_equal(ssh_ca_load_or_create(dirfd, "host_ca", &w->host_ca, &err), 0);
	close(dirfd);
	w->options = (struct fake_options){
	    .launch_ms = 1000, .setup_ms = 100, .terminate_ms = 100, .seed = 1};
	w->options.world = xasprintf("%s/fake", w->dir);
	w->pools[0] = default_pool;
	w->n_pools = 1;
}

void
world_start(struct world *w)
{
	struct sqlite_options so = {.clock = w->clock};
	struct core_options co = {
	    .clock = w->clock,
	    .user_ca = w->user_ca,
	    .host_ca = w->host_ca,
	    .login = "dev",
	    .boot_id = w->boot_id,
	    .github = w->github,
	    .default_hold_ms = 3600000,
	    .max_hold_ms = 24 * 3600000,
	    .keep_deleted_ms = w->keep_deleted_ms,
	};
	struct provider_env env;
	char path[96];
	struct err err;

	(void)snprintf(path, sizeof(path), "%s/hearth.db", w->dir);
	so.path = path;
	if (sqlite_store_open(&so, &co.store, &err) < 0)
		fail_msg("%s", err.msg);
	w->cut.dead = false;
	w->cut.writes = 0;
	co.store = bad_store_new(cut_store_new(co.store, &w->cut), w->clock, &w->bad);
	w->core = core_new(&co);
	env = core_provider_env(w->core, "sim", NULL);
	if (fake_provider_open(&w->options, &env, &w->fake, &err) < 0)
		fail_msg("%s", err.msg);
	for (int i = 0; i < w->inventories_fail; i++)
		fake_fail_next(w->fake, FAKE_INVENTORY, ERR_UNAVAILABLE, "busy");
	core_add_provider(w->core, "sim", w->fake);
	if (core_set_pools(w->core, w->pools, w->n_pools, &err) < 0)
		fail_msg("%s", err.msg);
	if (core_start(w->core, &err) < 0)
		fail_msg("%s", err.msg);
}

void
world_stop(struct world *w)
{
	core_close(w->core);
	w->core = NULL;
}

void
world_kill(struct world *w)
{
	w->cut.dead = true;
	world_stop(w);
	w->cut.at = 0;
}

void
world_fini(struct world *w)
{
	char cmd[128];

	if (w->core)
		world_stop(w);
	clock_free(w->clock);
	ssh_ca_free(w->user_ca);
	ssh_ca_free(w->host_ca);
	free((char *)w->options.world);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	assert_int_equal(system(cmd), 0);
}

void
world_run(struct world *w, int64_t ms)
{
	clock_sim_advance(w->clock, ms);
}

void
answer_fini(struct answer *a)
{
	for (int i = 0; i < a->n; i++)
		reservation_fini(&a->r[i]);
	*a = (struct answer){0};
}

static struct clock *answering;

static void
keep(struct answer *a, const struct reservation_view *v)
{
	int i = a->n++;

	reservation_copy(&a->r[i], v->r);
	a->has_machine[i] = v->machine != NULL;
	if (v->machine)
		a->machine[i] = v->machine->id;
	a->n_certificates[i] = v->n_certificates;
	a->position[i] = v->queue_position;
	a->eta_at = v->eta_at;
}

static void
reserved(void *arg, const struct reservation_view *views, int n, bool existed,
    const struct err *err)
{
	struct answer *a = arg;

	assert_false(a->done);
	a->done = true;
	a->err = *err;
	a->existed = existed;
	a->at_ms = clock_now_ms(answering);
	for (int i = 0; i < n && i < 64; i++)
		keep(a, &views[i]);
}

static void
viewed(void *arg, const struct reservation_view *view, const struct err *err)
{
	reserved(arg, view, view ? 1 : 0, false, err);
}

void
world_await(struct world *w, struct answer *a)
{
	for (int64_t t = 0; !a->done && t < ANSWER_MS; t++)
		world_run(w, 1);
	assert_true(a->done);
}

static struct answer *
asked(struct world *w, struct answer *a)
{
	answer_fini(a);
	answering = w->clock;
	return a;
}

struct reserve_request
world_request(void)
{
	static struct ssh_pubkey key;
	struct err err;

	if (!key.type && ssh_pubkey_parse(key_line, strlen(key_line), &key, &err) < 0)
		fail_msg("%s", err.msg);
	return (struct reserve_request){
	    .keys = &key, .n_keys = 1, .hold_ms = 3600000, .count = 1};
}

void
world_ask_reserve(struct world *w, const struct core_caller *who,
    struct reserve_request req, struct answer *a)
{
	core_reserve(w->core, who, &req, reserved, asked(w, a));
	assert_false(a->done); /* later, never from inside the call */
}

void
world_reserve(struct world *w, const struct core_caller *who, struct reserve_request req,
    struct answer *a)
{
	world_ask_reserve(w, who, req, a);
	world_await(w, a);
}

void
world_get(struct world *w, const struct core_caller *who, const char *key,
    int64_t wait_ms, struct answer *a)
{
	char copy[128]; /* `key` may point into the answer before */

	(void)snprintf(copy, sizeof(copy), "%s", key);
	core_get(w->core, who, copy, wait_ms, viewed, asked(w, a));
	world_await(w, a);
}

void
world_ask_cancel(struct world *w, const struct core_caller *who, const char *key,
    bool wait, struct answer *a)
{
	char copy[128]; /* `key` may point into the answer before */

	(void)snprintf(copy, sizeof(copy), "%s", key);
	core_cancel(w->core, who, copy, wait, viewed, asked(w, a));
}

void
world_cancel(
    struct world *w, const struct core_caller *who, const char *key, struct answer *a)
{
	world_ask_cancel(w, who, key, true, a);
	world_await(w, a);
}

void
world_ask_extend(struct world *w, const struct core_caller *who, const char *key,
    int64_t ms, struct answer *a)
{
	char copy[128]; /* `key` may point into the answer before */

	(void)snprintf(copy, sizeof(copy), "%s", key);
	core_extend(w->core, who, copy, ms, viewed, asked(w, a));
}

void
world_extend(struct world *w, const struct core_caller *who, const char *key, int64_t ms,
    struct answer *a)
{
	world_ask_extend(w, who, key, ms, a);
	world_await(w, a);
}

struct pool_view
world_pool(struct world *w, const char *name)
{
	struct pool_view v;
	struct err err;

	if (core_pool_find(w->core, name, &v, &err) < 0)
		fail_msg("%s", err.msg);
	return v;
}

enum reservation_state
world_state(struct world *w, const struct core_caller *who, struct id id)
{
	struct answer a = {0};
	enum reservation_state state;

	world_get(w, who, id.s, 0, &a);
	assert_int_equal(a.err.code, ERR_NONE);
	state = a.r[0].state;
	answer_fini(&a);
	return state;
}

struct set_answer {
	bool done;
	enum err_code code;
};

static void
pool_was_set(void *arg, const struct err *err)
{
	*(struct set_answer *)arg = (struct set_answer){true, err->code};
}

static enum err_code
set_pool(struct world *w, const struct core_caller *who, const int to[4])
{
	struct set_answer a = {0};

	core_pool_set(
	    w->core, who, "default", to[0], to[1], to[2], to[3], pool_was_set, &a);
	assert_false(a.done);
	for (int64_t t = 0; !a.done && t < ANSWER_MS; t++)
		world_run(w, 1);
	assert_true(a.done);
	return a.code;
}

enum err_code
world_pool_set(struct world *w, const struct core_caller *who, int running, int max)
{
	return set_pool(w, who, (int[]){running, -1, -1, max});
}

enum err_code
world_pool_set_tiers(
    struct world *w, const struct core_caller *who, int stopped, int hibernated)
{
	return set_pool(w, who, (int[]){-1, stopped, hibernated, -1});
}

struct listing {
	bool done;
	const char *pool;
	enum machine_state state;
	struct id *ids;
	int n, cap;
	struct machine *one;
};

static void
machines_in(void *arg, const struct machine_view *views, int n, const struct err *err)
{
	struct listing *l = arg;

	l->done = true;
	for (int i = 0; i < n; i++) {
		if (l->one) {
			machine_copy(l->one, views[i].m);
			l->n = 1;
		} else if (views[i].m->state == l->state &&
			   strcmp(views[i].m->pool, l->pool) == 0) {
			if (l->n < l->cap)
				l->ids[l->n] = views[i].m->id;
			l->n++;
		}
	}
}

static void
await_listing(struct world *w, struct listing *l)
{
	for (int64_t t = 0; !l->done && t < ANSWER_MS; t++)
		world_run(w, 1);
	assert_true(l->done);
}

int
world_machines(
    struct world *w, const char *pool, enum machine_state state, struct id *ret, int cap)
{
	struct listing l = {.pool = pool, .state = state, .ids = ret, .cap = cap};

	core_machines(w->core, &root, machines_in, &l);
	await_listing(w, &l);
	return l.n;
}

bool
world_machine(struct world *w, const char *key, struct machine *ret)
{
	struct listing l = {.one = ret};

	core_machine_get(w->core, &root, key, machines_in, &l);
	await_listing(w, &l);
	return l.n == 1;
}

struct auditing_test {
	bool done;
	struct audit_sum sum;
};

static void
audited(void *arg, const struct audit *a, const struct err *err)
{
	struct auditing_test *t = arg;

	if (err->code != ERR_NONE)
		fail_msg("audit: %s", err->msg);
	t->done = true;
	t->sum = (struct audit_sum){
	    a->ok, a->n_provider_only, a->n_ledger_only, 0, a->open_steps};
	for (int i = 0; i < a->n_provider_only; i++) {
		t->sum.repaired += a->provider_only[i].repaired;
		log_debug("only at the provider: %s", a->provider_only[i].ref);
	}
	for (int i = 0; i < a->n_ledger_only; i++) {
		t->sum.repaired += a->ledger_only[i].repaired;
		log_debug("only in the ledger: %s", a->ledger_only[i].token);
	}
}

struct audit_sum
world_audit(struct world *w, bool repair)
{
	struct auditing_test t = {0};

	core_audit(w->core, &root, repair, audited, &t);
	assert_false(t.done);
	for (int i = 0; !t.done && i < 5000; i++)
		world_run(w, 1);
	assert_true(t.done);
	return t.sum;
}

void
world_audit_clean(struct world *w)
{
	struct audit_sum sum = world_audit(w, false);

	assert_int_equal(sum.provider_only, 0);
	assert_int_equal(sum.ledger_only, 0);
	assert_true(sum.ok);
}
