/* SPDX-License-Identifier: Apache-2.0 */

/* Shared homes of the fake provider: a user's is there when it was asked for, and nothing is kept of it but which machine
   has it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "provider/fake_impl.h"

#define HOME_PREFIX "home-"

struct home_op {
	struct list link;  /* in fake.home_ops */
	struct fake *fake; /* borrowed */
	struct timer timer;
	provider_launch_fn made; /* NULL: `done` it is */
	provider_done_fn done;
	void *arg;
	struct id token;
	uint32_t uid;
	struct err err;
};

static void
answer(struct home_op *op)
{
	provider_launch_fn made = op->made;
	provider_done_fn done = op->done;
	void *arg = op->arg;
	struct err err = op->err;
	char ref[32];

	(void)snprintf(ref, sizeof(ref), HOME_PREFIX "%u", op->uid);
	timer_off(&op->timer);
	list_remove(&op->link);
	free(op);
	if (made)
		made(arg, err.code == ERR_NONE ? ref : NULL, &err);
	else
		done(arg, &err);
}

static void
mount_home(struct home_op *op)
{
	struct machine_sim *m = fake_find(op->fake, op->token.s);

	if (!m || m->rec->state != FAKE_ALIVE || !m->seen_ready)
		err_set(
		    &op->err, ERR_UNAVAILABLE, "machine %s does not answer", op->token.s);
	else
		m->rec->home = (op->uid + 1) & 0x7fffffffu;
}

static void
on_op(void *arg)
{
	struct home_op *op = arg;
	struct fake *f = op->fake;

	if (f->muted)
		return; /* until the close */
	if (op->err.code == ERR_NONE &&
	    fake_happens(f, op->made ? f->opt.fail_home : f->opt.fail_mount))
		err_set(&op->err, ERR_INTERNAL,
		    "the shared home could not be %s (fake failure)",
		    op->made ? "made" : "mounted");
	if (op->err.code == ERR_NONE && !op->made)
		mount_home(op);
	if (op->err.code == ERR_NONE && f->on_effect)
		f->on_effect(f->on_effect_arg,
		    op->made ? FAKE_HOME_MAKE : FAKE_HOME_ATTACH, op->token.s);
	if (f->muted)
		return;
	if (op->err.code == ERR_NONE && fake_happens(f, f->opt.lose_reply))
		err_set(&op->err, ERR_UNAVAILABLE, "the answer was lost (fake failure)");
	answer(op);
}

static struct home_op *
start(struct fake *f, enum fake_op kind, void *arg)
{
	struct home_op *op = xnew(struct home_op);

	op->fake = f;
	op->arg = arg;
	f->calls[kind]++;
	fake_take_failure(f, kind, &op->err);
	list_push_back(&f->home_ops, &op->link);
	timer_set(f->env.clock, &op->timer,
	    kind == FAKE_HOME_MAKE ? f->opt.home_ms : f->opt.mount_ms, on_op, op);
	return op;
}

void
fake_home_make(struct provider *p, uint32_t uid, const char *options,
    provider_launch_fn done, void *arg)
{
	struct home_op *op = start(fake_of(p), FAKE_HOME_MAKE, arg);

	op->made = done;
	op->uid = uid;
}

void
fake_home_attach(struct provider *p, const char *token, const char *ref,
    const char *home_ref, provider_done_fn done, void *arg)
{
	struct home_op *op = start(fake_of(p), FAKE_HOME_ATTACH, arg);

	op->done = done;
	(void)snprintf(op->token.s, sizeof(op->token.s), "%s", token);
	op->uid = (uint32_t)strtoul(home_ref + strlen(HOME_PREFIX), NULL, 10);
}

void
fake_homes_close(struct fake *f)
{
	while (!list_empty(&f->home_ops)) {
		struct home_op *op = list_entry(f->home_ops.next, struct home_op, link);

		err_set(&op->err, ERR_CANCELLED, "the provider is closing");
		answer(op);
	}
}
