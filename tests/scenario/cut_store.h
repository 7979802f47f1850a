/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIO_CUT_STORE_H
#define SCENARIO_CUT_STORE_H

/* A store that stops answering at the n-th write: what a crash of the daemon at that write looks like. */

#include <stdbool.h>

struct store;

struct cut {
	int at;	      /* cut at this write, counted from 1; 0: never */
	bool durable; /* the write itself still happens, only its answer does not come */
	int writes;   /* so far */
	bool dead;
};

/* Wraps `inner`, which it owns. `cut` is borrowed and may be read and set at any time. */
struct store *cut_store_new(struct store *inner, struct cut *cut);

#endif
