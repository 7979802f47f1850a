/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIO_BAD_STORE_H
#define SCENARIO_BAD_STORE_H

/* A store that refuses some of its writes, as one on a full disk does, or is slow to answer them. */

#include <stdbool.h>
#include <stdint.h>

struct clock;
struct store;

struct bad {
	int skip; /* that many writes still work, then ... */
	int fail; /* that many are refused with ERR_UNAVAILABLE; -1: all, until it is set to 0 */
	int refused;		   /* so far */
	int64_t delay_ms;	   /* so long a write waits before it happens, in order */
	void (*before)(void *arg); /* called once, before the next write; NULL: not */
	void *arg;
};

/* Wraps `inner`, which it owns. `bad` is borrowed and may be read and set at any time. */
struct store *bad_store_new(struct store *inner, struct clock *clock, struct bad *bad);

#endif
