/* SPDX-License-Identifier: Apache-2.0 */
#include "bad_store.h"

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
	struct list refused;
};

struct refusal {
	struct list link;
	struct timer timer;
	store_done_fn done;
	void *arg;
};

static void
refuse(void *arg)
{
	struct refusal *r = arg;
	struct err err;

	timer_off(&r->timer);
	list_remove(&r->link);
	err_set(&err, ERR_UNAVAILABLE, "no space left on device");
	r->done(r->arg, &err);
	free(r);
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
	struct refusal *r;

	if (bs->bad->fail == 0 || bs->bad->skip > 0) {
		bs->bad->skip -= bs->bad->skip > 0;
		bs->inner->ops->submit(bs->inner, tx, done, arg);
		return;
	}
	bs->bad->fail -= bs->bad->fail > 0;
	bs->bad->refused++;
	store_tx_free(tx);
	r = xnew(struct refusal);
	r->done = done;
	r->arg = arg;
	list_push_back(&bs->refused, &r->link);
	timer_set(bs->clock, &r->timer, 0, refuse, r);
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

static void
bad_close(struct store *st)
{
	struct bad_store *bs = (struct bad_store *)st;

	while (!list_empty(&bs->refused))
		refuse(list_entry(bs->refused.next, struct refusal, link));
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
	list_init(&bs->refused);
	return &bs->st;
}
