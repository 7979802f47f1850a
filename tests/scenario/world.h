/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIO_WORLD_H
#define SCENARIO_WORLD_H

/* The whole core on simulated time: a real SQLite store in inline mode, the fake provider, real CAs. A
   world can be killed and started again: the store's file and the fake machines stay. */

#include <stdbool.h>
#include <stdint.h>

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
	struct cut cut; /* where the daemon crashes; see cut_store.h */
	char dir[64]; /* scratch: CAs, store, fake world */
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

void world_reserve(struct world *w, const struct core_caller *who, struct reserve_request req, struct answer *a);
void world_get(struct world *w, const struct core_caller *who, const char *key, int64_t wait_ms, struct answer *a);
void world_cancel(struct world *w, const struct core_caller *who, const char *key, struct answer *a);
void world_extend(struct world *w, const struct core_caller *who, const char *key, int64_t ms, struct answer *a);

struct pool_view world_pool(struct world *w, const char *name);

/* Audit without repair: asserts that ledger and provider agree. */
void world_audit_clean(struct world *w);

#endif
