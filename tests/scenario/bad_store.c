/* SPDX-License-Identifier: Apache-2.0 */
#include "bad_store.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/xalloc.h"
#include "store/store.h"

struct bad_store {
	struct store st;
	struct store *inner;
	struct clock *clock;
	struct bad *bad;
	struct list writes; /* in order of submission */
	int64_t last_ms;    /* when the last of them happens */
};

struct write {
	struct list link;
	struct timer timer;
	struct bad_store *store;
	struct store_tx *tx; /* owned */
	store_done_fn done;
	void *arg;
};

static void
write_free(struct write *wr)
{
	timer_off(&wr->timer);
	list_remove(&wr->link);
	free(wr);
}

static void
refuse(void *arg, const struct err *written)
{
	struct write *wr = arg;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "no space left on device");
	wr->done(wr->arg, &err);
	write_free(wr);
}

static bool
is_refused(struct bad *bad)
{
	if (bad->fail == 0 || bad->skip > 0) {
		bad->skip -= bad->skip > 0;
		return false;
	}
	bad->fail -= bad->fail > 0;
	bad->refused++;
	return true;
}

static void
happen(void *arg)
{
	struct write *wr = arg;
	struct bad_store *bs = wr->store;
	void (*before)(void *) = bs->bad->before;

	bs->bad->before = NULL;
	if (before)
		before(bs->bad->arg);
	if (is_refused(bs->bad)) {
		store_tx_free(wr->tx);
		timer_off(&wr->timer);
		list_remove(&wr->link);
		/* an empty one in its place: answers keep their order */
		bs->inner->ops->submit(bs->inner, store_tx_new(), refuse, wr);
	} else {
		bs->inner->ops->submit(bs->inner, wr->tx, wr->done, wr->arg);
		write_free(wr);
	}
}

static int
bad_load(struct store *st, const struct store_loader *to, struct err *err)
{
	struct bad_store *bs = (struct bad_store *)st;

	return bs->inner->ops->load(bs->inner, to, err);
}

static void
bad_submit(struct store *st, struct store_tx *tx, store_done_fn done, void *arg)
{
	struct bad_store *bs = (struct bad_store *)st;
	struct write *wr = xnew(struct write);
	int64_t now = clock_now_ms(bs->clock), at = now + bs->bad->delay_ms;

	*wr = (struct write){.store = bs, .tx = tx, .done = done, .arg = arg};
	at = at < bs->last_ms ? bs->last_ms : at;
	bs->last_ms = at;
	if (at == now && list_empty(&bs->writes)) {
		list_push_back(&bs->writes, &wr->link);
		happen(wr);
	} else {
		list_push_back(&bs->writes, &wr->link);
		timer_set(bs->clock, &wr->timer, at - now, happen, wr);
	}
}

static void
bad_query(struct store *st, const struct store_query *q, store_query_fn done, void *arg)
{
	struct bad_store *bs = (struct bad_store *)st;

	bs->inner->ops->query(bs->inner, q, done, arg);
}

static void
bad_prune(struct store *st, int64_t before_at, int keep_events)
{
	struct bad_store *bs = (struct bad_store *)st;

	bs->inner->ops->prune(bs->inner, before_at, keep_events);
}

/* Finishes what was submitted, in order. */
static void
bad_close(struct store *st)
{
	struct bad_store *bs = (struct bad_store *)st;

	while (!list_empty(&bs->writes))
		happen(list_entry(bs->writes.next, struct write, link));
	bs->inner->ops->close(bs->inner);
	free(bs);
}

static const struct store_ops bad_ops = {
    .name = "bad",
    .load = bad_load,
    .submit = bad_submit,
    .query = bad_query,
    .prune = bad_prune,
    .close = bad_close,
};

struct store *
bad_store_new(struct store *inner, struct clock *clock, struct bad *bad)
{
	struct bad_store *bs = xnew(struct bad_store);

	bs->st.ops = &bad_ops;
	bs->inner = inner;
	bs->clock = clock;
	bs->bad = bad;
	list_init(&bs->writes);
	return &bs->st;
}
