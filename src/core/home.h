/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HOME_H
#define CORE_HOME_H

/*
 * The shared home of a reservation's user: found or made, and mounted on its machine, by a plan of its own beside the
 * reservation's, so that nobody waits for it. Without it the reservation goes on, and its notice says so.
 * What is known of homes is kept in memory, a pool each: a user's is asked for once, not per reservation.
 */

#include "core/plan.h"

struct cpool;
struct creservation;
struct store_tx;

/* It waits in line: the home is found or made meanwhile. Nothing where the pool has none, or when it was begun. */
void home_begin(struct creservation *r);

/* Its home is asked for, and not known yet. */
bool home_is_being_made(const struct creservation *r);

/* Its claim is about to be written: the intent of what comes first goes with it, so that a daemon that dies behind the
   claim makes up for it. */
void home_prepare(struct creservation *r, struct store_tx *tx);

/* Its claim is durable: goes on in the next round of the loop, behind the reply. */
void home_claimed(struct creservation *r);

/* Ends the plan; what is under way at the provider has no effect on it any more. Idempotent. */
void home_stop(struct creservation *r, const char *why);

/* After a restart, with its machine adopted: where a step was open it is done again. */
void home_restore(struct creservation *r);

/* Drops what it has, and writes nothing. */
void home_free(struct creservation *r);

/* All of a pool's are looked up anew from now on. */
void home_forget_all(struct cpool *p);

const struct plan *home_plan(void);

/* Whether a step of this name is one of the plan's, but for `claim`. */
bool home_plan_has(const char *step);

#endif
