/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/request.h"

/*
 * The reservations of one `--count N`: a name for all of them, and a hosts file on each of their machines. They are
 * called NAME-1 to NAME-N, and NAME is the gang's. When all of them have their machines, each machine is let through to
 * the others, where the provider keeps them apart, and told the
 * names and addresses of all, by commands that run beside whatever its user does; again when a machine was swapped,
 * when one has left, and after a restart, which does not know what was told.
 */

#define PART_MAX 3000 /* of the lines, in one command: local's hold 4 KiB */
#define COMMAND_TIMEOUT_MS 30000
#define TRIES_MAX 5
#define TRY_AGAIN_MS 2000

static const char first_part[] =
    "set -e\nsed '/^# hearth: gang/,/^# hearth: end/d' /etc/hosts >/etc/hosts.hearth\n";
static const char every_part[] = "cat >>/etc/hosts.hearth <<'END'\n%sEND\n";
/* Written over, not replaced: it may be mounted. */
static const char last_part[] =
    "cat /etc/hosts.hearth >/etc/hosts && rm /etc/hosts.hearth\n";

/* ---- members ---- */

void
gang_join(struct creservation *r)
{
	struct core *c = r->core;
	struct gang *g;
	const char *dash = strrchr(r->r.name, '-');

	list_init(&r->in_gang);
	if (id_empty(&r->r.group) || !dash)
		return;
	g = map_get(&c->gangs, r->r.group.s);
	if (!g) {
		g = xnew(struct gang);
		g->core = c;
		g->id = r->r.group;
		g->uid = r->r.uid;
		g->key =
		    xasprintf("%u:%.*s", r->r.uid, (int)(dash - r->r.name), r->r.name);
		list_init(&g->members);
		map_put(&c->gangs, g->id.s, g);
		map_put(&c->gang_names, g->key, g);
	}
	r->gang = g;
	list_push_back(&g->members, &r->in_gang);
}

void
gang_close(struct creservation *r)
{
	plan_run_drop(r->hosts);
	r->hosts = NULL;
	timer_off(&r->hosts_again);
}

void
gang_leave(struct creservation *r)
{
	struct gang *g = r->gang;

	gang_close(r);
	free(r->hosts_text);
	list_remove(&r->in_gang);
	if (!g || !list_empty(&g->members))
		return;
	if (map_get(&g->core->gang_names, g->key) == g)
		map_remove(&g->core->gang_names, g->key);
	map_remove(&g->core->gangs, g->id.s);
	free(g->key);
	free(g);
}

bool
gang_lives(struct core *c, uint32_t uid, const char *name)
{
	AUTO_FREE char *key = xasprintf("%u:%s", uid, name);
	const struct gang *g = map_get(&c->gang_names, key);
	const struct creservation *r;

	if (g)
		list_for_each (r, &g->members, in_gang)
			if (r->r.state != RESERVATION_ENDED)
				return true;
	return false;
}

/* ---- the hosts file ---- */

static bool
is_address(const char *s)
{
	return s && s[0] && s[strspn(s, "0123456789abcdefABCDEF.:")] == '\0';
}

/* A line for each, or NULL where one of them has no machine (yet). */
static char *
lines(const struct gang *g)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	const struct creservation *r;

	buf_fmt(&b, "# hearth: gang\n");
	list_for_each (r, &g->members, in_gang) {
		if (r->r.state == RESERVATION_ENDED)
			continue;
		if (r->r.state != RESERVATION_ACTIVE || !r->machine)
			return NULL;
		if (is_address(r->machine->m.address)) /* it goes into a command */
			buf_fmt(&b, "%s %s\n", r->machine->m.address, r->r.name);
	}
	buf_fmt(&b, "# hearth: end\n");
	return buf_take(&b);
}

/* How many of the bytes from `at` on are the next part: whole lines. */
static size_t
part_length(const char *at)
{
	size_t n = strlen(at);

	if (n <= PART_MAX)
		return n;
	for (n = PART_MAX; at[n - 1] != '\n'; n--)
		;
	return n;
}

enum { HOSTS_STEP_JOIN, HOSTS_STEP_TELL };

static void
joined(void *arg, const struct err *err)
{
	struct plan_run *run = arg;

	if (plan_run_owner(run) && plan_step_running(run, HOSTS_STEP_JOIN)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, HOSTS_STEP_JOIN, NULL, 0);
		else
			plan_step_failed(run, HOSTS_STEP_JOIN, err);
	}
	plan_run_unref(run);
}

static void
join_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;
	struct cmachine *m = r->machine;
	struct provider *p = m ? m->pool->provider->p : NULL;
	struct err err;

	if (m) {
		p->ops->join(p, m->m.id.s, m->m.provider_ref, r->r.group.s, joined,
		    plan_run_ref(run));
		return;
	}
	err_set(&err, ERR_UNAVAILABLE, "the machine is gone");
	plan_step_failed(run, i, &err);
}

static void told(void *arg, int exit_code, const char *output, const struct err *err);

static void
tell_part(struct plan_run *run)
{
	struct creservation *r = run->owner;
	struct cmachine *m = r->machine;
	const char *at = r->hosts_text + r->hosts_at;
	size_t n = part_length(at);
	AUTO_FREE char *part = xstrndup(at, n);
	AUTO_BUF struct buf command = BUF_INIT(0);
	struct err err;

	if (!m) {
		err_set(&err, ERR_UNAVAILABLE, "the machine is gone");
		plan_step_failed(run, HOSTS_STEP_TELL, &err);
		return;
	}
	if (r->hosts_at == 0)
		buf_str(&command, first_part);
	buf_fmt(&command, every_part, part);
	if (!at[n])
		buf_str(&command, last_part);
	r->hosts_at += n;
	m->pool->provider->p->ops->setup(m->pool->provider->p, m->m.id.s,
	    m->m.provider_ref, command.data, COMMAND_TIMEOUT_MS, told, plan_run_ref(run));
}

static void
told(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct plan_run *run = arg;
	struct creservation *r = plan_run_owner(run);
	struct err failed = *err;

	if (r && plan_step_running(run, HOSTS_STEP_TELL)) {
		if (failed.code == ERR_NONE && exit_code != 0)
			err_set(&failed, ERR_INTERNAL, "exit status %d: %.100s",
			    exit_code, output);
		if (failed.code != ERR_NONE)
			plan_step_failed(run, HOSTS_STEP_TELL, &failed);
		else if (r->hosts_text[r->hosts_at])
			tell_part(run);
		else
			plan_step_done(run, HOSTS_STEP_TELL, NULL, 0);
	}
	plan_run_unref(run);
}

static void
hosts_start(struct plan_run *run, int i)
{
	struct creservation *r = run->owner;

	r->hosts_at = 0;
	tell_part(run);
}

static void
tell_again(void *arg)
{
	gang_changed(arg);
}

static void
hosts_finished(struct plan_run *run, const struct err *err)
{
	struct creservation *r = run->owner;
	const struct step *bad = run->rows[HOSTS_STEP_JOIN].state == STEP_FAILED
				     ? &run->rows[HOSTS_STEP_JOIN]
				     : &run->rows[HOSTS_STEP_TELL];
	bool failed = bad->state == STEP_FAILED;

	r->hosts = NULL;
	if (failed) {
		free(r->hosts_text);
		r->hosts_text = NULL;
	}
	if (failed && r->machine && r->r.state == RESERVATION_ACTIVE &&
	    !r->core->closing) {
		bool again = ++r->hosts_tries < TRIES_MAX;

		log_warn("reservation %s: %s: %s%s", r->r.id.s, bad->name,
		    bad->error ? bad->error : "failed",
		    again ? "; trying again" : "; giving up");
		if (again)
			timer_set(r->core->clock, &r->hosts_again,
			    TRY_AGAIN_MS * r->hosts_tries, tell_again, r);
	} else if (!failed) {
		r->hosts_tries = 0;
		gang_changed(r); /* something may have changed meanwhile */
	}
	plan_run_unref(run);
}

/* clang-format off */
static const struct plan hosts_plan = {
	.name = "hosts",
	.n = 2,
	.steps = {
		[HOSTS_STEP_JOIN] = { .name = "join", .effect = true, .optional = true, .start = join_start },
		[HOSTS_STEP_TELL] = { .name = "hosts", .waits_for = 1u << HOSTS_STEP_JOIN,
		                      .effect = true, .optional = true, .start = hosts_start },
	},
	.finished = hosts_finished,
};
/* clang-format on */

/* One whose commands are under way comes back when they are done: two at once would write one file. */
static void
tell(struct creservation *r, const char *text)
{
	if (r->hosts || timer_is_on(&r->hosts_again) || r->hosts_tries >= TRIES_MAX ||
	    (r->hosts_text && strcmp(r->hosts_text, text) == 0))
		return;
	xstrset(&r->hosts_text, text);
	r->hosts =
	    plan_run_new(r->core, &hosts_plan, r, r->r.id, 1 + r->swaps + r->hosts_tries);
	plan_run_start(r->hosts);
}

static void
look(void *arg)
{
	struct id_of id = *(struct id_of *)arg;
	struct gang *g = map_get(&id.core->gangs, id.id.s);
	AUTO_FREE char *text = NULL;
	struct creservation *r, *tmp;

	free(arg);
	if (!g || id.core->closing)
		return;
	g->looking = false;
	text = lines(g);
	if (text)
		list_for_each_safe (r, tmp, &g->members, in_gang)
			if (r->r.state == RESERVATION_ACTIVE)
				tell(r, text);
}

void
gang_changed(struct creservation *r)
{
	struct gang *g = r->gang;
	struct id_of *id;

	if (!g || g->looking)
		return;
	g->looking = true;
	id = xnew(struct id_of);
	*id = (struct id_of){g->core, g->id};
	core_defer(g->core, look, id);
}

void
gang_machine_left(struct creservation *r)
{
	plan_run_abandon(r->hosts, "its machine is gone");
	r->hosts = NULL;
	timer_off(&r->hosts_again);
	xstrset(&r->hosts_text, NULL);
	r->hosts_tries = 0;
	gang_changed(r);
}

/* ---- one cancel for all ---- */

struct gang_end {
	struct core *core;
	struct core_caller who;
	char key[128];
	core_views_fn done;
	void *arg;
	struct reservation *rows; /* owned copies */
	int n, cap, pending;
	struct err err;
};

struct member_end {
	struct gang_end *e;
	int i;
};

static void
end_over(struct gang_end *e)
{
	struct reservation_view *views = xcalloc((size_t)e->n + 1, sizeof(*views));

	for (int i = 0; i < e->n; i++)
		views[i] = view_of_row(&e->rows[i]);
	if (e->err.code != ERR_NONE)
		e->done(e->arg, NULL, 0, &e->err);
	else
		e->done(e->arg, views, e->n, &e->err);
	for (int i = 0; i < e->n; i++)
		reservation_fini(&e->rows[i]);
	free(views);
	free(e->rows);
	free(e);
}

static void
member_ended(void *arg, const struct reservation_view *v, const struct err *err)
{
	struct member_end *m = arg;
	struct gang_end *e = m->e;

	if (err->code == ERR_NONE)
		reservation_copy(&e->rows[m->i], v->r);
	else
		e->err = *err;
	free(m);
	if (--e->pending == 0)
		end_over(e);
}

static void
no_gang(struct gang_end *e)
{
	err_set(&e->err, ERR_NOT_FOUND, "no reservation '%.80s'", e->key);
	err_hint(&e->err, "see 'hearth list --all'");
	end_over(e);
}

static void
rows_in(void *arg, const struct store_result *res, const struct err *err)
{
	struct gang_end *e = arg;

	e->err = *err;
	if (err->code == ERR_NONE) {
		e->rows = xcalloc((size_t)res->n + 1, sizeof(*e->rows));
		for (int i = 0; i < res->n; i++)
			reservation_copy(&e->rows[e->n++], &res->reservations[i]);
	}
	end_over(e);
}

/* Its first one, as the store has it: the newest of that name. */
static void
first_in(void *arg, const struct store_result *res, const struct err *err)
{
	struct gang_end *e = arg;
	struct store_query q = {.kind = QUERY_GROUP, .uid = e->who.uid};

	for (int i = 0; err->code == ERR_NONE && i < res->n; i++) {
		const struct reservation *r = &res->reservations[i];

		if ((!e->who.operator_ && r->uid != e->who.uid) ||
		    strncmp(r->name, e->key, strlen(e->key)) != 0 ||
		    strcmp(r->name + strlen(e->key), "-1") != 0 || id_empty(&r->group))
			continue;
		q.uid = r->uid;
		memcpy(q.key, r->group.s, sizeof(r->group.s));
		core_query(e->core, &q, rows_in, e);
		return;
	}
	if (err->code == ERR_NONE) {
		no_gang(e);
	} else {
		e->err = *err;
		end_over(e);
	}
}

static void
refuse(void *arg)
{
	end_over(arg);
}

static void
look_in_store(void *arg)
{
	struct gang_end *e = arg;
	struct store_query q = {.kind = QUERY_RESERVATION,
	    .uid = e->who.operator_ ? STORE_ANY_UID : e->who.uid,
	    .limit = 50};

	if (e->core->closing) {
		err_set(&e->err, ERR_UNAVAILABLE, "hearthd is stopping");
		end_over(e);
		return;
	}
	(void)snprintf(q.key, sizeof(q.key), "%.80s-1", e->key);
	core_query(e->core, &q, first_in, e);
}

/* The caller's own; for operators any, if there is one of that name only. */
static struct gang *
find(struct core *c, const struct core_caller *who, const char *name, bool *ret_many)
{
	AUTO_FREE char *key = xasprintf("%u:%s", who->uid, name);
	struct gang *g = map_get(&c->gang_names, key), *o;
	size_t at = 0;

	*ret_many = false;
	if (g || !who->operator_)
		return g;
	while ((o = map_next(&c->gangs, &at)))
		if (strcmp(strchr(o->key, ':') + 1, name) == 0 &&
		    gang_lives(c, o->uid, name)) {
			*ret_many = g != NULL;
			g = o;
		}
	return g;
}

bool
core_is_gang(struct core *c, const struct core_caller *who, const char *name)
{
	AUTO_FREE char *key = xasprintf("%u:%s", who->uid, name);
	bool many;

	return !map_get(&c->reservations, name) && !map_get(&c->names, key) &&
	       find(c, who, name, &many);
}

void
core_cancel_gang(struct core *c, const struct core_caller *who, const char *name,
    bool wait, core_views_fn done, void *arg)
{
	struct gang_end *e = xnew(struct gang_end);
	const struct creservation *r;
	struct gang *g;
	bool many;

	*e = (struct gang_end){.core = c, .who = *who, .done = done, .arg = arg};
	e->who.user = NULL;
	(void)snprintf(e->key, sizeof(e->key), "%s", name);
	g = find(c, who, name, &many);
	if (!g || many) {
		if (many)
			err_set(&e->err, ERR_INVALID, "'%.80s' is ambiguous", name);
		core_flush(c);
		core_defer(c, many ? refuse : look_in_store, e);
		return;
	}
	list_for_each (r, &g->members, in_gang)
		e->n++;
	e->rows = xcalloc((size_t)e->n, sizeof(*e->rows));
	e->pending = e->n;
	e->n = 0;
	list_for_each (r, &g->members, in_gang) {
		struct member_end *m = xnew(struct member_end);

		*m = (struct member_end){e, e->n++};
		core_cancel(c, who, r->r.id.s, wait, member_ended, m);
	}
}
