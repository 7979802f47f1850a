/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/local/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/xalloc.h"
#include "init/control.h"
#include "launcher/protocol.h"
#include "provider/local/control.h"
#include "provider/local/launcher_client.h"
#include "provider/local/local_internal.h"

#define SSH_PORT 22

struct lmachine {
	char id[LAUNCHER_ID_MAX];
	struct local *l;
	struct control *watch; /* owned; NULL: not connected */
	struct list pushes;    /* deadlines sent, not yet confirmed */
	uint32_t slot;
	char gang[LAUNCHER_ID_MAX]; /* what it joined; empty: none */
	uint32_t gang_number;
	char address[16];
	bool ready;
	struct timer death;
	bool ending; /* a KILL is on its way: its end is no news */
};

/* ---- slots ---- */

/* Round robin, so that an address is not used again while the host's connection tracking remembers it. */
static uint32_t
take_slot(struct local *l)
{
	for (uint32_t i = 0; i < l->n_slots; i++) {
		uint32_t s = l->next_slot;

		l->next_slot = l->next_slot % l->n_slots + 1;
		if (!l->slots[s]) {
			l->slots[s] = 1;
			return s;
		}
	}
	return 0;
}

static struct lmachine *
machine_new(struct local *l, const char *id, uint32_t slot)
{
	struct lmachine *m = xnew(struct lmachine);

	(void)snprintf(m->id, sizeof(m->id), "%s", id);
	m->l = l;
	m->slot = slot;
	if (slot <= l->n_slots)
		l->slots[slot] = 1;
	list_init(&m->pushes);
	map_put(&l->machines, m->id, m);
	return m;
}

/* ---- sightings ---- */

static void
sight(struct lmachine *m, enum sighting_state state, int sessions)
{
	struct sighting s = {
	    .token = m->id,
	    .ref = m->id,
	    .state = state,
	    .address = m->address[0] ? m->address : NULL,
	    .port = SSH_PORT,
	    .sessions = sessions,
	};

	m->l->env.sighting(m->l->env.arg, &s);
}

/* ---- the connection that watches ---- */

struct push {
	struct list in_machine;
	int awaited; /* packets sent whose "ok" has not come */
	bool failed;
	provider_done_fn done;
	void *arg;
};

static void
push_over(struct push *p, const struct err *err)
{
	list_remove(&p->in_machine);
	p->done(p->arg, err);
	free(p);
}

static void
fail_pushes(struct lmachine *m, enum err_code code, const char *why)
{
	struct err err;

	err_set(&err, code, "%s", why);
	while (!list_empty(&m->pushes))
		push_over(list_entry(m->pushes.next, struct push, in_machine), &err);
}

static void
push_confirmed(struct lmachine *m, bool ok, const char *text)
{
	struct push *p;
	struct err err = {0};

	if (list_empty(&m->pushes))
		return;
	p = list_entry(m->pushes.next, struct push, in_machine);
	p->failed = p->failed || !ok;
	if (--p->awaited > 0)
		return;
	if (p->failed)
		err_set(&err, ERR_INTERNAL, "hearth-init: %s", text);
	push_over(p, &err);
}

static void
machine_forget(struct lmachine *m)
{
	control_close(m->watch);
	m->watch = NULL;
	fail_pushes(
	    m, m->l->closing ? ERR_CANCELLED : ERR_UNAVAILABLE, "the machine is gone");
	map_remove(&m->l->machines, m->id);
	if (m->slot <= m->l->n_slots)
		m->l->slots[m->slot] = 0;
	free(m);
}

static void
heard(void *arg, char *text, size_t n)
{
	struct lmachine *m = arg;

	if (!text) {
		m->watch = NULL;
		m->ready = false;
		fail_pushes(m, ERR_UNAVAILABLE, "the machine ended");
		if (!m->ending)
			sight(m, SIGHTING_DEAD, -1);
	} else if (strcmp(text, "ready") == 0) {
		m->ready = true;
		sight(m, SIGHTING_READY, -1);
	} else if (strncmp(text, "sessions ", 9) == 0) {
		sight(m, m->ready ? SIGHTING_READY : SIGHTING_STARTING,
		    (int)strtol(text + 9, NULL, 10));
	} else if (strcmp(text, "ok") == 0) {
		push_confirmed(m, true, text);
	} else if (strncmp(text, "error", 5) == 0) {
		push_confirmed(m, false, text);
	}
}

int
local_control_path(
    struct local *l, const char *id, char *out, size_t size, struct err *err)
{
	int n = snprintf(out, size, "%s/machines/%s/control.sock", l->runtime, id);

	if (n < 0 || (size_t)n >= size)
		return err_set(
		    err, ERR_INVALID, "%s: too long for a socket's path", l->runtime);
	return 0;
}

static int
watch(struct lmachine *m, struct err *err)
{
	char path[128];

	if (m->watch)
		return 0;
	if (local_control_path(m->l, m->id, path, sizeof(path), err) < 0 ||
	    control_open(m->l->env.uv_loop, path, heard, m, &m->watch, err) < 0)
		return -1;
	if (control_send(m->watch, "watch", err) < 0) {
		control_close(m->watch);
		m->watch = NULL;
		return -1;
	}
	return 0;
}

/* ---- calls whose answer is one `done` ---- */

struct pending *
local_pending_new(struct local *l, const char *id, provider_done_fn done, void *arg)
{
	struct pending *p = xnew(struct pending);

	p->l = l;
	list_init(&p->in_local);
	list_init(&p->in_later);
	(void)snprintf(p->id, sizeof(p->id), "%s", id);
	p->done = done;
	p->arg = arg;
	return p;
}

void
local_answer(void *arg)
{
	struct pending *p = arg;

	timer_off(&p->timer);
	list_remove(&p->in_later);
	if (p->launched)
		p->launched(p->arg, p->err.code == ERR_NONE ? p->id : NULL, &p->err);
	else if (p->attached)
		p->attached(p->arg, p->err.code == ERR_NONE ? p->warning : NULL, &p->err);
	else
		p->done(p->arg, &p->err);
	free(p);
}

void
local_answer_later(struct pending *p)
{
	list_push_back(&p->l->later, &p->in_later);
	timer_set(p->l->env.clock, &p->timer, 0, local_answer, p);
}

/* ---- terminate ---- */

static void
killed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;
	struct local *l = p->l;
	struct lmachine *m = map_get(&l->machines, p->id);
	struct sighting gone = {
	    .token = p->id, .ref = p->id, .state = SIGHTING_GONE, .sessions = -1};
	char id[LAUNCHER_ID_MAX];
	bool ok = err->code == ERR_NONE;

	p->err = *err;
	if (m && ok)
		machine_forget(m);
	else if (m)
		m->ending = false;
	memcpy(id, p->id, sizeof(id));
	gone.token = gone.ref = id;
	local_answer(p);
	if (ok)
		l->env.sighting(l->env.arg, &gone);
}

static void
kill_now(struct pending *p)
{
	struct launcher_request q = {.op = LAUNCHER_KILL};

	if (p->l->closing) {
		err_set(&p->err, ERR_CANCELLED, "closing");
		local_answer(p);
		return;
	}
	memcpy(q.id, p->id, sizeof(q.id));
	launcher_client_call(p->l->launcher, &q, killed, p);
}

static bool
is_launching(const struct local *l, const char *id)
{
	const struct pending *p;

	list_for_each (p, &l->launches, in_local)
		if (strcmp(p->id, id) == 0)
			return true;
	return false;
}

/* The launcher serves many requests at once: a KILL could overtake the CREATE that it is to undo. */
static void
local_terminate(struct provider *pr, const char *token, const char *ref,
    provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct pending *p = local_pending_new(l, token, done, arg);
	struct lmachine *m = map_get(&l->machines, token);

	if (strlen(token) >= sizeof(p->id)) {
		err_set(&p->err, ERR_INVALID, "id: too long");
		local_answer_later(p);
		return;
	}
	if (m)
		m->ending = true;
	if (is_launching(l, token))
		list_push_back(&l->kills, &p->in_local);
	else
		kill_now(p);
}

static void
kill_those_waiting(struct local *l, const char *id)
{
	struct pending *p, *tmp;
	struct list now;

	if (is_launching(l, id))
		return;
	list_init(&now);
	list_for_each_safe (p, tmp, &l->kills, in_local)
		if (strcmp(p->id, id) == 0) {
			list_remove(&p->in_local);
			list_push_back(&now, &p->in_local);
		}
	while (!list_empty(&now)) {
		p = list_entry(now.next, struct pending, in_local);
		list_remove(&p->in_local);
		kill_now(p);
	}
}

/* ---- launch ---- */

static void
launched(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;
	struct local *l = p->l;
	struct lmachine *m = map_get(&l->machines, p->id);
	char id[LAUNCHER_ID_MAX];

	p->err = *err;
	if (err->code == ERR_NONE && m) {
		(void)snprintf(m->address, sizeof(m->address), "%s", r->address);
		if (watch(m, &p->err) < 0)
			err_wrap(&p->err, "the machine ended at once");
		else if (!m->ready)
			sight(m, SIGHTING_STARTING, -1);
	}
	if (p->err.code != ERR_NONE && p->err.code != ERR_CANCELLED && m && r &&
	    r->error != ERR_NONE && r->state == LAUNCHER_ABSENT) {
		machine_forget(m); /* nothing was made: its slot is free */
	}
	memcpy(id, p->id, sizeof(id));
	list_remove(&p->in_local);
	local_answer(p);
	kill_those_waiting(l, id);
}

int
local_copy_field(
    char *to, size_t size, const char *from, const char *what, struct err *err)
{
	size_t n = from ? strlen(from) : 0;

	if (n >= size)
		return err_set(err, ERR_INVALID, "%s: too long", what);
	memcpy(to, from ? from : "", n + 1);
	return 0;
}

static int
fill_create(struct launcher_request *q, const struct launch_spec *s, struct err *err)
{
	q->op = LAUNCHER_CREATE;
	q->pids_max = (uint32_t)s->pids_max;
	q->memory_bytes = s->memory_bytes;
	q->cpu_milli = (uint32_t)s->cpu_milli;
	q->allow_nesting = s->nesting;
	q->lease_s = (uint64_t)s->lease_s;
	if (local_copy_field(q->id, sizeof(q->id), s->token, "id", err) < 0 ||
	    local_copy_field(q->image, sizeof(q->image), s->image, "image", err) < 0 ||
	    local_copy_field(q->image_version, sizeof(q->image_version), s->image_version,
		"image version", err) < 0 ||
	    local_copy_field(
		q->hostname, sizeof(q->hostname), s->hostname, "hostname", err) < 0 ||
	    local_copy_field(
		q->host_key, sizeof(q->host_key), s->host_key, "host key", err) < 0 ||
	    local_copy_field(q->host_cert, sizeof(q->host_cert), s->host_cert,
		"host certificate", err) < 0)
		return -1;
	return local_copy_field(
	    q->user_ca, sizeof(q->user_ca), s->user_ca, "user CA", err);
}

static void
local_launch(
    struct provider *pr, const struct launch_spec *s, provider_launch_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct pending *p = local_pending_new(l, s->token, NULL, arg);
	struct lmachine *m = map_get(&l->machines, s->token);
	struct launcher_request q = {0};

	p->launched = done;
	if (fill_create(&q, s, &p->err) < 0) {
		local_answer_later(p);
	} else if (!m && (q.slot = take_slot(l)) == 0) {
		err_set(&p->err, ERR_NO_CAPACITY,
		    "all %u addresses of the network are in use", l->n_slots);
		local_answer_later(p);
	} else {
		if (!m)
			m = machine_new(l, s->token, q.slot);
		q.slot = m->slot;
		list_push_back(&l->launches, &p->in_local);
		launcher_client_call(l->launcher, &q, launched, p);
	}
	explicit_bzero(&q, sizeof(q));
}

/* ---- deadline ---- */

static void
sight_death(void *arg)
{
	struct lmachine *m = arg;

	if (!m->watch && !m->ending)
		sight(m, SIGHTING_DEAD, -1);
}

static void
give_up_connection(struct lmachine *m, const struct err *err)
{
	control_close(m->watch);
	m->watch = NULL;
	while (!list_empty(&m->pushes)) {
		struct push *push = list_entry(m->pushes.next, struct push, in_machine);
		struct pending *p = local_pending_new(m->l, m->id, push->done, push->arg);

		p->err = *err;
		local_answer_later(p);
		list_remove(&push->in_machine);
		free(push);
	}
	if (watch(m, &(struct err){0}) < 0)
		timer_set(m->l->env.clock, &m->death, 0, sight_death, m);
}

static void
local_deadline(struct provider *pr, const char *token, const char *ref, int64_t seconds,
    const char *warning, provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct lmachine *m = map_get(&l->machines, token);
	char text[CONTROL_PACKET_MAX];
	struct push *push;
	struct err err = {0};

	if (!m || watch(m, &err) < 0) {
		struct pending *p = local_pending_new(l, token, done, arg);

		err_set(&p->err, ERR_UNAVAILABLE, "the machine is gone");
		local_answer_later(p);
		return;
	}
	push = xnew(struct push);
	push->awaited = 2;
	push->done = done;
	push->arg = arg;
	list_push_back(&m->pushes, &push->in_machine);
	(void)snprintf(text, sizeof(text), "warning %.*s", CONTROL_WARNING_MAX, warning);
	if (control_send(m->watch, text, &err) == 0) {
		(void)snprintf(text, sizeof(text), "deadline %lld", (long long)seconds);
		if (control_send(m->watch, text, &err) == 0)
			return;
	}
	/* It is gone, which its end will tell, or does not read: a new connection starts afresh. */
	log_debug("machine %s: %s", token, err.msg);
	give_up_connection(m, &err);
}

/* ---- join ---- */

static void
joined(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;

	p->err = *err;
	local_answer(p);
}

/* That of its machines, or one that none has: numbers are for the firewall, which has no names. */
static uint32_t
gang_number(const struct local *l, const char *gang)
{
	const struct lmachine *m;
	uint32_t most = 0;
	size_t at = 0;

	while ((m = map_next(&l->machines, &at))) {
		if (m->gang_number && strcmp(m->gang, gang) == 0)
			return m->gang_number;
		most = m->gang_number > most ? m->gang_number : most;
	}
	return most + 1;
}

static void
local_join(struct provider *pr, const char *token, const char *ref, const char *gang,
    provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct lmachine *m = map_get(&l->machines, token);
	struct pending *p = local_pending_new(l, token, done, arg);
	struct launcher_request q = {.op = LAUNCHER_JOIN};

	if (!m || m->ending ||
	    local_copy_field(q.gang, sizeof(q.gang), gang, "gang", &p->err) < 0) {
		err_set(&p->err, ERR_UNAVAILABLE, "the machine is gone");
		local_answer_later(p);
		return;
	}
	q.gang_number = gang_number(l, gang);
	memcpy(q.id, m->id, sizeof(q.id));
	memcpy(m->gang, q.gang, sizeof(m->gang));
	m->gang_number = q.gang_number;
	launcher_client_call(l->launcher, &q, joined, p);
}

/* ---- inventory ---- */

struct listing {
	struct local *l;
	provider_inventory_fn done;
	void *arg;
	struct launcher_reply *all; /* owned */
	int n, cap;
};

static void
adopt(struct local *l, const struct launcher_reply *r)
{
	struct lmachine *m = map_get(&l->machines, r->id);
	struct err err;

	if (!m)
		m = machine_new(l, r->id, r->slot);
	(void)snprintf(m->address, sizeof(m->address), "%s", r->address);
	if (r->gang_number) {
		memcpy(m->gang, r->gang, sizeof(m->gang));
		m->gang[sizeof(m->gang) - 1] = '\0';
		m->gang_number = r->gang_number;
	}
	if (r->state == LAUNCHER_ALIVE && !m->ending && watch(m, &err) < 0)
		log_debug("machine %s: %s", m->id, err.msg);
}

static void
inventory_over(struct listing *g, const struct err *err)
{
	struct sighting *all = xcalloc((size_t)g->n, sizeof(*all));

	for (int i = 0; i < g->n; i++) {
		struct launcher_reply *r = &g->all[i];
		struct lmachine *m = map_get(&g->l->machines, r->id);

		if (r->id[0] != 'm') {
			all[i] = local_disk_sighting(r);
			continue;
		}
		all[i] = (struct sighting){
		    .token = r->id,
		    .ref = r->id,
		    .state = r->state == LAUNCHER_DEAD ? SIGHTING_DEAD
			     : m && m->ready	       ? SIGHTING_READY
						       : SIGHTING_STARTING,
		    .address = r->address[0] ? r->address : NULL,
		    .port = SSH_PORT,
		    .sessions = -1,
		    .created_at = (int64_t)r->created_at_ms,
		};
	}
	g->done(g->arg, all, err->code == ERR_NONE ? g->n : 0, err);
	free(all);
	free(g->all);
	free(g);
}

static void
listed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct listing *g = arg;

	if (!last && r->id[0]) {
		if (g->n == g->cap) {
			g->cap = g->cap ? g->cap * 2 : 64;
			g->all = xrealloc(g->all, sizeof(*g->all) * (size_t)g->cap);
		}
		g->all[g->n] = *r;
		g->all[g->n].id[sizeof(r->id) - 1] =
		    g->all[g->n].address[sizeof(r->address) - 1] = '\0';
		if (r->id[0] == 'm')
			adopt(g->l, &g->all[g->n]);
		g->n++;
	}
	if (last)
		inventory_over(g, err);
}

static void
local_inventory(struct provider *pr, provider_inventory_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct launcher_request q = {.op = LAUNCHER_LIST};
	struct listing *g = xnew(struct listing);

	*g = (struct listing){.l = l, .done = done, .arg = arg};
	launcher_client_call(l->launcher, &q, listed, g);
}

/* ---- open and close ---- */

static void
local_close(struct provider *pr)
{
	struct local *l = (struct local *)pr;
	struct lmachine *m;
	size_t at = 0;

	l->closing = true;
	launcher_client_close(l->launcher);
	local_disks_close(l);
	local_jobs_close(l);
	while (!list_empty(&l->later))
		local_answer(list_entry(l->later.next, struct pending, in_later));
	while ((m = map_next(&l->machines, &at)))
		machine_forget(m);
	local_images_close(l);
	map_fini(&l->machines);
	free(l->slots);
	free(l->runtime);
	free(l);
}

static const struct provider_ops local_ops = {
    .kind = "local",
    .launch = local_launch,
    .terminate = local_terminate,
    .deadline = local_deadline,
    .setup = local_setup,
    .contact = local_contact,
    .join = local_join,
    .inventory = local_inventory,
    .image = local_image,
    .image_build = local_image_build,
    .image_remove = local_image_remove,
    .home_make = local_home_make,
    .home_attach = local_home_attach,
    .disk_make = local_disk_make,
    .disk_snapshot = local_disk_snapshot,
    .disk_remove = local_disk_remove,
    .disk_attach = local_disk_attach,
    .disk_detach = local_disk_detach,
    .close = local_close,
};

static int
count_slots(const char *network, uint32_t *ret, struct err *err)
{
	const char *slash = strchr(network, '/');
	long bits = slash ? strtol(slash + 1, NULL, 10) : 0;
	uint64_t n;

	if (bits < 8 || bits > 30)
		return err_set(err, ERR_INVALID,
		    "network '%s': expected as in 10.213.0.0/16", network);
	n = (1ull << (32 - bits)) / 2 -
	    2; /* a /31 each; the first and the last stay free */
	*ret = n > LAUNCHER_SLOT_MAX ? LAUNCHER_SLOT_MAX : (uint32_t)n;
	return 0;
}

int
local_provider_open(const struct local_options *opt, const struct provider_env *env,
    struct provider **ret, struct err *err)
{
	struct local *l;
	uint32_t n = 0;

	if (count_slots(opt->network, &n, err) < 0)
		return -1;
	l = xnew(struct local);
	l->p = (struct provider){.ops = &local_ops, .sees_death = true};
	l->env = *env;
	l->runtime = xstrdup(opt->runtime);
	l->launcher = launcher_client_new(env->uv_loop, opt->launcher);
	l->disk_makes = launcher_client_new(env->uv_loop, opt->launcher);
	l->disk_moves = launcher_client_new(env->uv_loop, opt->launcher);
	l->n_slots = n;
	l->slots = xcalloc(n + 1, 1);
	l->next_slot = 1;
	list_init(&l->images);
	list_init(&l->jobs);
	list_init(&l->launches);
	list_init(&l->kills);
	list_init(&l->making);
	list_init(&l->removals);
	list_init(&l->later);
	*ret = &l->p;
	return 0;
}
