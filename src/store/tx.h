/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_TX_H
#define STORE_TX_H

/* The inside of a transaction, for backends: rows in the order they were put. All strings live in the
   transaction's arena, so a put is a few copies and rarely an allocation. */

#include "store/store.h"

enum store_rec_kind {
	REC_MACHINE,
	REC_RESERVATION,
	REC_DISK,
	REC_STEP,
	REC_EVENT,
	REC_POOL,
	REC_META
};

struct store_rec {
	struct store_rec *next;
	enum store_rec_kind kind;
	int expect; /* REC_MACHINE: required stored state, or -1 */
	union {
		struct machine machine;
		struct reservation reservation;
		struct disk disk;
		struct step step;
		struct event event;
		struct {
			char *name;
			int settings[4];
		} pool;
		struct {
			char *key;
			char *value;
		} meta;
	};
};

struct arena_block;

struct store_tx {
	struct store_rec *first;
	struct store_rec **end;
	struct arena_block *blocks; /* owned */
	int refs;		    /* besides the first one */
	/* for the backend's queue */
	struct store_tx *next;
	store_done_fn done;
	void *arg;
	struct err err;
};

#endif
