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
	struct list replies; /* in order of submission */
	int64_t last_ms;     /* when the last of them is told */
	bool closing;
};

struct reply {
	struct list link;
	struct timer timer;
	struct bad_store *store;
	store_done_fn done;
	void *arg;
	struct err err;
};

static void
tell(void *arg)
{
	struct reply *r = arg;

	timer_off(&r->timer);
	list_remove(&r->link);
	r->done(r->arg, &r->err);
	free(r);
}

/* The store has decided. */
static void
decided(void *arg, const struct err *err)
{
	struct reply *r = arg;
	struct bad_store *bs = r->store;
	int64_t now = clock_now_ms(bs->clock), at = now + bs->bad->delay_ms;

	r->err = *err;
	if (at < bs->last_ms)
		at = bs->last_ms;
	bs->last_ms = at;
	if (bs->closing)
		tell(r);
	else
		timer_set(bs->clock, &r->timer, at - now, tell, r);
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
	struct bad *bad = bs->bad;
	void (*before)(void *) = bad->before;
	struct reply *r = xnew(struct reply);
	struct err err;

	bad->before = NULL;
	if (before)
		before(bad->arg);
	*r = (struct reply){.store = bs, .done = done, .arg = arg};
	list_push_back(&bs->replies, &r->link);
	if (bad->fail == 0 || bad->skip > 0) {
		bad->skip -= bad->skip > 0;
		bs->inner->ops->submit(bs->inner, tx, decided, r);
		return;
	}
	bad->fail -= bad->fail > 0;
	bad->refused++;
	store_tx_free(tx);
	err_set(&err, ERR_UNAVAILABLE, "no space left on device");
	decided(r, &err);
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

/* What is decided is told in order; the rest when the inner store closes. */
static void
bad_close(struct store *st)
{
	struct bad_store *bs = (struct bad_store *)st;
	struct reply *r, *tmp;

	bs->closing = true;
	list_for_each_safe (r, tmp, &bs->replies, link)
		if (timer_is_on(&r->timer))
			tell(r);
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
	list_init(&bs->replies);
	return &bs->st;
}
