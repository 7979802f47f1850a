/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTRACT_STORE_FIXTURE_H
#define CONTRACT_STORE_FIXTURE_H

/* A store in a directory of its own, and synchronous forms of its operations. Which
   store, the environment says: STORE=sqlite (threads and a loop; the default) or
   sqlite-inline (simulated time). */

#include <stdbool.h>
#include <uv.h>

#include "store/store.h"

struct clock;

struct store_fixture {
	char dir[64];
	char path[96];
	const char *vfs; /* NULL: the default */
	bool inline_mode;
	struct clock *clock; /* inline mode's */
	uv_loop_t loop;
	struct store *store; /* NULL while closed */
};

/* Makes the directory; opens nothing. */
void store_fixture_init(struct store_fixture *f);
int store_fixture_open(struct store_fixture *f, struct err *err);
void store_fixture_close(struct store_fixture *f);

/* Closes and opens; asserts that both work. */
void store_fixture_reopen(struct store_fixture *f);

/* Closes, and removes the directory and everything in it. */
void store_fixture_fini(struct store_fixture *f);

/* Lets time and completions go on once; returns after the next ones were called. */
void store_fixture_turn(struct store_fixture *f);

/* Submits and waits; the error's code is returned, all of it in `ret_err` unless NULL. */
enum err_code store_fixture_put(
    struct store_fixture *f, struct store_tx *tx, struct err *ret_err);

/* Queries and waits; calls `look` with the result, which must not be an error. */
void store_fixture_query(struct store_fixture *f, const struct store_query *q,
    void (*look)(void *arg, const struct store_result *res), void *arg);

/* Rows to store: strings are static. */
struct machine sample_machine(const char *id, enum machine_state state);
struct reservation sample_reservation(const char *id, const char *name);
struct step sample_step(int64_t id, const char *subject);
struct event sample_event(int64_t seq, const char *id);
struct id sample_id(const char *s);

#endif
