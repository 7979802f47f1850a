/* SPDX-License-Identifier: Apache-2.0 */
#include "cut_store.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/xalloc.h"
#include "store/store.h"

struct unanswered {
	struct unanswered *next;
	store_done_fn done;
	store_query_fn queried;
	void *arg;
};

struct cut_store {
	struct store st;
	struct store *inner;
	struct cut *cut;
	struct unanswered *list;
};

static void
never_answer(struct cut_store *cs, store_done_fn done, store_query_fn queried, void *arg)
{
	struct unanswered *u = xnew(struct unanswered);

	*u = (struct unanswered){cs->list, done, queried, arg};
	cs->list = u;
}

static int
cut_load(struct store *st, const struct store_loader *to, struct err *err)
{
	struct cut_store *cs = (struct cut_store *)st;

	return cs->inner->ops->load(cs->inner, to, err);
}

static void
swallow(void *arg, const struct err *err)
{
}

static void
cut_submit(struct store *st, struct store_tx *tx, store_done_fn done, void *arg)
{
	struct cut_store *cs = (struct cut_store *)st;
	struct cut *cut = cs->cut;

	if (!cut->dead && ++cut->writes == cut->at) {
		cut->dead = true;
		never_answer(cs, done, NULL, arg);
		if (cut->durable)
			cs->inner->ops->submit(cs->inner, tx, swallow, NULL);
		else
			store_tx_free(tx);
	} else if (cut->dead) {
		never_answer(cs, done, NULL, arg);
		store_tx_free(tx);
	} else {
		cs->inner->ops->submit(cs->inner, tx, done, arg);
	}
}

static void
cut_query(struct store *st, const struct store_query *q, store_query_fn done, void *arg)
{
	struct cut_store *cs = (struct cut_store *)st;

	if (cs->cut->dead)
		never_answer(cs, NULL, done, arg);
	else
		cs->inner->ops->query(cs->inner, q, done, arg);
}

static void
cut_prune(struct store *st, int64_t before_at, int keep_events)
{
	struct cut_store *cs = (struct cut_store *)st;

	cs->inner->ops->prune(cs->inner, before_at, keep_events);
}

static void
cut_close(struct store *st)
{
	struct cut_store *cs = (struct cut_store *)st;
	struct err err;

	err_set(&err, ERR_CANCELLED, "cut");
	while (cs->list) {
		struct unanswered *u = cs->list;

		cs->list = u->next;
		if (u->done)
			u->done(u->arg, &err);
		else
			u->queried(u->arg, &(struct store_result){0}, &err);
		free(u);
	}
	cs->inner->ops->close(cs->inner);
	free(cs);
}

static const struct store_ops cut_ops = {
    .name = "cut",
    .load = cut_load,
    .submit = cut_submit,
    .query = cut_query,
    .prune = cut_prune,
    .close = cut_close,
};

struct store *
cut_store_new(struct store *inner, struct cut *cut)
{
	struct cut_store *cs = xnew(struct cut_store);

	cs->st.ops = &cut_ops;
	cs->inner = inner;
	cs->cut = cut;
	return &cs->st;
}
