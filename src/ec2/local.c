/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/instance.h"
#include "ec2/local_internal.h"
#include "net/loop.h"
#include "provider/local/launcher_client.h"

#define LIST_AGAIN_MS 1000
#define CONSOLE_MAX (64 << 10)

/* ---- what there is at the start ---- */

struct listing {
	struct local *l;
	struct launcher_reply *all; /* owned */
	int n, cap;
};

static void begin(void *arg);

static struct lmachine *
machine_by_id(struct local *l, const char *id)
{
	struct lmachine *m;

	list_for_each (m, &l->machines, in_local)
		if (strcmp(m->id, id) == 0)
			return m;
	return NULL;
}

static void
on_orphan_killed(
    void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	if (err->code != ERR_NONE && err->code != ERR_CANCELLED)
		log_error("end a machine of no instance: %s", err->msg);
}

/* An instance is on record before its machine is made, so this is one whose record was lost, or terminated. */
static void
kill_orphan(struct local *l, const struct launcher_reply *r)
{
	struct launcher_request q = {.op = LAUNCHER_KILL};

	memcpy(q.id, r->id, sizeof(q.id));
	log_warn("machine %s belongs to no instance: ending it", q.id);
	launcher_client_call(l->launcher, &q, on_orphan_killed, NULL);
}

static const struct launcher_reply *
listed(const struct listing *g, const char *id)
{
	for (int k = 0; k < g->n; k++)
		if (strcmp(g->all[k].id, id) == 0)
			return &g->all[k];
	return NULL;
}

static void
settle(struct listing *g)
{
	struct local *l = g->l;
	struct lmachine *m, *tmp;

	l->listed = true;
	for (int k = 0; k < g->n; k++)
		if (!machine_by_id(l, g->all[k].id))
			kill_orphan(l, &g->all[k]);
	list_for_each_safe (m, tmp, &l->machines, in_local) {
		local_machine_soon(m);
		local_machine_found(m, listed(g, m->id));
	}
}

static void
on_listed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct listing *g = arg;

	if (!last && r->id[0]) {
		if (g->n == g->cap) {
			g->cap = g->cap ? g->cap * 2 : 64;
			g->all = xrealloc(g->all, sizeof(*g->all) * (size_t)g->cap);
		}
		g->all[g->n] = *r;
		g->all[g->n++].id[sizeof(r->id) - 1] = '\0';
	}
	if (!last)
		return;
	if (err->code == ERR_NONE) {
		settle(g);
	} else if (err->code != ERR_CANCELLED) {
		log_error("list the machines: %s; trying again", err->msg);
		timer_set(g->l->env.clock, &g->l->list_again, LIST_AGAIN_MS, begin, g->l);
	}
	free(g->all);
	free(g);
}

static void
begin(void *arg)
{
	struct local *l = arg;
	struct launcher_request q = {.op = LAUNCHER_LIST};
	struct listing *g = xnew(struct listing);

	g->l = l;
	launcher_client_call(l->launcher, &q, on_listed, g);
}

/* ---- the table ---- */

static void
ask(struct backend *b, struct instance *i, enum lasked what)
{
	local_machine_ask(local_machine(local_of(b), i), what);
}

static void
local_place(struct backend *b, struct instance *i)
{
	ask(b, i, ASKED_PLACE);
}

static void
local_on(struct backend *b, struct instance *i, enum backend_on how)
{
	static const enum lasked asked[] = {
	    [BACKEND_ON_FIRST] = ASKED_ON_FIRST,
	    [BACKEND_ON_AGAIN] = ASKED_ON_AGAIN,
	    [BACKEND_ON_RESUME] = ASKED_RESUME,
	};

	ask(b, i, asked[how]);
}

static void
local_off(struct backend *b, struct instance *i, bool with_memory, bool force)
{
	ask(b, i, with_memory ? ASKED_HIBERNATE : force ? ASKED_OFF_FORCE : ASKED_OFF);
}

static void
local_reboot(struct backend *b, struct instance *i)
{
	ask(b, i, ASKED_REBOOT);
}

static void
local_remove(struct backend *b, struct instance *i)
{
	ask(b, i, ASKED_REMOVE);
}

static void
local_adopt(struct backend *b, struct instance *i)
{
	(void)local_machine(local_of(b), i);
}

static void
local_console(struct backend *b, struct instance *i, struct buf *to)
{
	struct lmachine *m = i->backend_data;
	AUTO_FREE char *text = NULL;
	struct stat st;
	off_t from;
	ssize_t n;

	if (!m || m->console_fd < 0 || fstat(m->console_fd, &st) < 0)
		return;
	from = st.st_size > CONSOLE_MAX ? st.st_size - CONSOLE_MAX : 0;
	text = xmalloc(CONSOLE_MAX);
	n = pread(m->console_fd, text, CONSOLE_MAX, from);
	if (n > 0)
		buf_add(to, text, (size_t)n);
}

static void
local_forget(struct backend *b, struct instance *i)
{
	if (i->backend_data)
		local_machine_forget(i->backend_data);
}

static void
local_close(struct backend *b)
{
	struct local *l = local_of(b);
	struct lmachine *m, *tmp;

	l->closing = true;
	timer_off(&l->list_again);
	timer_off(&l->image_again);
	local_keys_close(l);
	list_for_each_safe (m, tmp, &l->machines, in_local)
		local_machine_forget(m);
	launcher_client_close(l->launcher);
	local_metadata_fini(l);
	free(l->slots);
	free(l);
}

static const struct backend_ops local_ops = {
    .name = "local",
    .address_take = local_address_take,
    .address_free = local_address_free,
    .public_take = local_public_take,
    .public_free = local_public_free,
    .place = local_place,
    .on = local_on,
    .off = local_off,
    .reboot = local_reboot,
    .remove = local_remove,
    .adopt = local_adopt,
    .console = local_console,
    .save_image = local_save_image,
    .remove_image = local_remove_image,
    .push_key = local_push_key,
    .forget = local_forget,
    .close = local_close,
};

int
local_backend_new(const struct backend_env *env, const struct config *c,
    struct backend **ret, struct err *err)
{
	struct local *l = xnew(struct local);

	l->base.ops = &local_ops;
	l->env = *env;
	list_init(&l->machines);
	list_init(&l->jobs);
	(void)snprintf(l->image, sizeof(l->image), "%s", c->image);
	if (local_addresses_init(l, c->network, err) < 0 ||
	    local_metadata_init(l, err) < 0) {
		free(l->slots);
		free(l);
		return -1;
	}
	l->launcher = launcher_client_new(loop_uv(env->loop), LOCAL_LAUNCHER_SOCKET);
	begin(l);
	local_image_need(l);
	*ret = &l->base;
	return 0;
}
