/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIO_WORLD_H
#define SCENARIO_WORLD_H

/* The whole core on simulated time: a real SQLite store in inline mode, the fake provider, real CAs. A
   world can be killed and started again: the store's file and the fake machines stay. */

#include <stdbool.h>
#include <stdint.h>

#include "bad_store.h"
#include "base/clock.h"
#include "core/core.h"
#include "cut_store.h"
#include "provider/fake.h"

struct world {
	struct clock *clock;
	struct core *core;
	struct provider *fake;
	struct ssh_ca *user_ca, *host_ca;
	struct fake_options options;
	struct pool pools[4];
	int n_pools;
	const char *boot_id;
	const struct core_key_source *github; /* NULL: none */
	int64_t keep_deleted_ms;
	int inventories_fail; /* that many of the start's */
	struct cut cut;	      /* where the daemon crashes; see cut_store.h */
	struct bad bad;	      /* which writes fail; see bad_store.h */
	char dir[64];	      /* scratch: CAs, store, fake world */
};

/* A world with the pool "default": running 2, max 4, launch 1000 ms, setup and terminate 100 ms. Not started:
   change options and pools first. */
void world_init(struct world *w);
void world_start(struct world *w);

/* As kill -9: nothing is said or written any more. Then world_start() again. */
void world_kill(struct world *w);
void world_stop(struct world *w); /* as SIGTERM */
void world_fini(struct world *w);

void world_run(struct world *w, int64_t ms); /* lets time go by */

/* The answer to one request, waited for up to `ms` of simulated time; asserts that it comes. */
struct answer {
	bool done;
	struct err err;
	int n;
	bool existed;
	struct reservation r[64]; /* owned copies */
	bool has_machine[64];
	int n_certificates[64];
	int position[64];
	int64_t eta_at;
	struct id machine[64];
	int64_t at_ms; /* now, when it came */
};
void answer_fini(struct answer *a);

extern const struct core_caller alice, bob, root;

/* Fills in what tests rarely care about: pool default, one key, an hour, count 1. */
struct reserve_request world_request(void);

void world_reserve(struct world *w, const struct core_caller *who,
    struct reserve_request req, struct answer *a);
void world_get(struct world *w, const struct core_caller *who, const char *key,
    int64_t wait_ms, struct answer *a);
void world_cancel(
    struct world *w, const struct core_caller *who, const char *key, struct answer *a);
void world_extend(struct world *w, const struct core_caller *who, const char *key,
    int64_t ms, struct answer *a);

/* The same without waiting for the answer, and the wait. */
void world_ask_reserve(struct world *w, const struct core_caller *who,
    struct reserve_request req, struct answer *a);
void world_ask_cancel(struct world *w, const struct core_caller *who, const char *key,
    bool wait, struct answer *a);
void world_ask_extend(struct world *w, const struct core_caller *who, const char *key,
    int64_t ms, struct answer *a);
void world_await(struct world *w, struct answer *a);

struct pool_view world_pool(struct world *w, const char *name);

/* As `hearth pool set`; -1: stays. Returns the error's code. */
enum err_code world_pool_set(
    struct world *w, const struct core_caller *who, int running, int max);
enum err_code world_pool_set_tiers(
    struct world *w, const struct core_caller *who, int stopped, int hibernated);

/* The ids of a pool's machines in a state, in core's order; returns how many. */
int world_machines(
    struct world *w, const char *pool, enum machine_state state, struct id *ret, int cap);

/* As `hearth machine show`; false: not found. The caller calls machine_fini(). */
bool world_machine(struct world *w, const char *key, struct machine *ret);

/* The latest word on a reservation, asked by its owner. */
enum reservation_state world_state(
    struct world *w, const struct core_caller *who, struct id id);

struct audit_sum {
	bool ok;
	int provider_only, ledger_only, repaired, open_steps;
};
struct audit_sum world_audit(struct world *w, bool repair);

/* Audit without repair: asserts that ledger and provider agree. */
void world_audit_clean(struct world *w);

/* Asserts what must hold between any two events: counters and lists agree, no machine is in two hands, every
   pointer between machines and reservations has its counterpart, no pool is above its max. */
void world_check(struct world *w);

/* The same core after a restart: asserts that the store had what memory had. */
void world_same_after_restart(struct world *w);

#endif
