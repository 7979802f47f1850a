/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tx.h"

#include "store/arena.h"

struct store_tx *
store_tx_new(void)
{
	struct arena_block *blocks = NULL;
	struct store_tx *tx = arena_alloc(&blocks, sizeof(*tx));

	*tx = (struct store_tx){.blocks = blocks};
	tx->end = &tx->first;
	return tx;
}

void
store_tx_free(struct store_tx *tx)
{
	struct arena_block *blocks;

	if (!tx || tx->refs-- > 0)
		return;
	blocks = tx->blocks; /* tx itself lies in them */
	arena_free(&blocks);
}

struct store_tx *
store_tx_ref(struct store_tx *tx)
{
	tx->refs++;
	return tx;
}

static struct store_rec *
rec_add(struct store_tx *tx, enum store_rec_kind kind)
{
	struct store_rec *rec = arena_alloc(&tx->blocks, sizeof(*rec));

	rec->next = NULL;
	rec->kind = kind;
	rec->expect = -1;
	*tx->end = rec;
	tx->end = &rec->next;
	return rec;
}

#define COPY(row, field) ((row)->field = arena_str(&tx->blocks, (row)->field))

static struct store_rec *
machine_add(struct store_tx *tx, const struct machine *m)
{
	struct store_rec *rec = rec_add(tx, REC_MACHINE);
	struct machine *to = &rec->machine;

	*to = *m;
	COPY(to, pool);
	COPY(to, provider);
	COPY(to, provider_ref);
	COPY(to, image);
	COPY(to, image_version);
	COPY(to, address);
	COPY(to, error);
	COPY(to, output);
	return rec;
}

void
store_tx_machine(struct store_tx *tx, const struct machine *m)
{
	machine_add(tx, m);
}

void
store_tx_machine_if(
    struct store_tx *tx, const struct machine *m, enum machine_state expect)
{
	machine_add(tx, m)->expect = (int)expect;
}

void
store_tx_reservation(struct store_tx *tx, const struct reservation *r)
{
	struct reservation *to = &rec_add(tx, REC_RESERVATION)->reservation;

	*to = *r;
	COPY(to, name);
	COPY(to, user);
	COPY(to, pool);
	COPY(to, error);
	COPY(to, miss_reason);
	COPY(to, github);
	COPY(to, notice);
	COPY(to, disks);
	COPY(to, public_keys);
	COPY(to, request_id);
}

void
store_tx_disk(struct store_tx *tx, const struct disk *d)
{
	struct disk *to = &rec_add(tx, REC_DISK)->disk;

	*to = *d;
	COPY(to, name);
	COPY(to, user);
	COPY(to, provider);
	COPY(to, provider_ref);
	COPY(to, error);
}

void
store_tx_step(struct store_tx *tx, const struct step *s)
{
	struct step *to = &rec_add(tx, REC_STEP)->step;

	*to = *s;
	COPY(to, name);
	COPY(to, token);
	COPY(to, resource);
	COPY(to, error);
}

void
store_tx_event(struct store_tx *tx, const struct event *e)
{
	struct event *to = &rec_add(tx, REC_EVENT)->event;

	*to = *e;
	COPY(to, kind);
	COPY(to, name);
	COPY(to, state);
	COPY(to, detail);
}

void
store_tx_pool(struct store_tx *tx, const char *pool, const int settings[4])
{
	struct store_rec *rec = rec_add(tx, REC_POOL);

	rec->pool.name = arena_str(&tx->blocks, pool);
	for (int i = 0; i < 4; i++)
		rec->pool.settings[i] = settings[i];
}

void
store_tx_meta(struct store_tx *tx, const char *key, const char *value)
{
	struct store_rec *rec = rec_add(tx, REC_META);

	rec->meta.key = arena_str(&tx->blocks, key);
	rec->meta.value = arena_str(&tx->blocks, value);
}

void
store_tx_absorb(struct store_tx *tx, const struct store_tx *from)
{
	for (const struct store_rec *rec = from->first; rec; rec = rec->next) {
		switch (rec->kind) {
		case REC_STEP:
			store_tx_step(tx, &rec->step);
			break;
		case REC_EVENT:
			store_tx_event(tx, &rec->event);
			break;
		case REC_POOL:
			store_tx_pool(tx, rec->pool.name, rec->pool.settings);
			break;
		case REC_META:
			store_tx_meta(tx, rec->meta.key, rec->meta.value);
			break;
		case REC_MACHINE:
		case REC_RESERVATION:
		case REC_DISK:
			break;
		}
	}
}
