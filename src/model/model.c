/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define TO(s) (1u << MACHINE_##s)

/* clang-format off */
static const struct {
	const char *name;
	unsigned to; /* allowed successors */
} machine_states[MACHINE_STATE_MAX] = {
	[MACHINE_LAUNCHING]   = { "launching",   TO(READY) | TO(CLAIMED) | TO(TERMINATING) | TO(FAILED) },
	[MACHINE_READY]       = { "ready",       TO(CLAIMED) | TO(TERMINATING) | TO(TERMINATED) | TO(STOPPED) | TO(HIBERNATED) | TO(FAILED) },
	[MACHINE_CLAIMED]     = { "claimed",     TO(TERMINATING) | TO(TERMINATED) },
	[MACHINE_TERMINATING] = { "terminating", TO(TERMINATED) },
	[MACHINE_TERMINATED]  = { "terminated",  0 },
	[MACHINE_STOPPED]     = { "stopped",     TO(STARTING) | TO(TERMINATING) | TO(TERMINATED) },
	[MACHINE_HIBERNATED]  = { "hibernated",  TO(STARTING) | TO(TERMINATING) | TO(TERMINATED) },
	/* back to its tier: there was no capacity to start it */
	[MACHINE_STARTING]    = { "starting",    TO(READY) | TO(CLAIMED) | TO(STOPPED) | TO(HIBERNATED) | TO(TERMINATING) | TO(FAILED) },
	[MACHINE_FAILED]      = { "failed",      0 },
};
#undef TO
#define TO(s) (1u << RESERVATION_##s)
static const struct {
	const char *name;
	unsigned to;
} reservation_states[RESERVATION_STATE_MAX] = {
	[RESERVATION_QUEUED]    = { "queued",    TO(PREPARING) | TO(ACTIVE) | TO(ENDED) },
	/* back to queued: the launch failed and the pool has no room for another now */
	[RESERVATION_PREPARING] = { "preparing", TO(QUEUED) | TO(ACTIVE) | TO(ENDED) },
	/* back to preparing: the machine failed at first contact and is swapped */
	[RESERVATION_ACTIVE]    = { "active",    TO(PREPARING) | TO(QUEUED) | TO(ENDED) },
	[RESERVATION_ENDED]     = { "ended",     0 },
};
/* clang-format on */

#undef TO
#define TO(s) (1u << DISK_##s)
/* clang-format off */
static const struct {
	const char *name;
	unsigned to;
} disk_states[DISK_STATE_MAX] = {
	[DISK_CREATING]  = { "creating",  TO(AVAILABLE) | TO(DELETING) | TO(FAILED) },
	[DISK_AVAILABLE] = { "available", TO(ATTACHED) | TO(DELETING) | TO(FAILED) },
	[DISK_ATTACHED]  = { "attached",  TO(AVAILABLE) | TO(FAILED) },
	/* back to available: its last snapshot could not be taken */
	[DISK_DELETING]  = { "deleting",  TO(DELETED) | TO(AVAILABLE) },
	[DISK_DELETED]   = { "deleted",   0 },
	/* back to available: it was not listed for a while */
	[DISK_FAILED]    = { "failed",    TO(DELETING) | TO(DELETED) | TO(AVAILABLE) },
};
/* clang-format on */

static const char *const tiers[TIER_MAX] = {"running", "stopped", "hibernated"};
static const char *const reasons[END_REASON_MAX] = {
    NULL, "cancelled", "expired", "failed"};
static const char *const paths[PATH_KIND_MAX] = {
    NULL, "warm", "stopped", "hibernated", "cold"};
static const char *const step_states[STEP_STATE_MAX] = {
    "open", "done", "failed", "undone"};

const char *
machine_state_name(enum machine_state s)
{
	return machine_states[s].name;
}

const char *
tier_name(enum tier t)
{
	return tiers[t];
}

const char *
reservation_state_name(enum reservation_state s)
{
	return reservation_states[s].name;
}

const char *
end_reason_name(enum end_reason r)
{
	return reasons[r];
}

const char *
path_name(enum path p)
{
	return paths[p];
}

const char *
disk_state_name(enum disk_state s)
{
	return disk_states[s].name;
}

const char *
step_state_name(enum step_state s)
{
	return step_states[s];
}

static int
index_of(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return i;
	return -1;
}

int
machine_state_from(const char *name)
{
	for (int i = 0; i < MACHINE_STATE_MAX; i++)
		if (strcmp(machine_states[i].name, name) == 0)
			return i;
	return -1;
}

int
reservation_state_from(const char *name)
{
	for (int i = 0; i < RESERVATION_STATE_MAX; i++)
		if (strcmp(reservation_states[i].name, name) == 0)
			return i;
	return -1;
}

int
tier_from(const char *name)
{
	return index_of(tiers, TIER_MAX, name);
}

int
end_reason_from(const char *name)
{
	return index_of(reasons, END_REASON_MAX, name);
}

int
path_from(const char *name)
{
	return index_of(paths, PATH_KIND_MAX, name);
}

int
disk_state_from(const char *name)
{
	for (int i = 0; i < DISK_STATE_MAX; i++)
		if (strcmp(disk_states[i].name, name) == 0)
			return i;
	return -1;
}

int
step_state_from(const char *name)
{
	return index_of(step_states, STEP_STATE_MAX, name);
}

bool
machine_may_move(enum machine_state from, enum machine_state to)
{
	return machine_states[from].to & (1u << to);
}

bool
reservation_may_move(enum reservation_state from, enum reservation_state to)
{
	return reservation_states[from].to & (1u << to);
}

bool
disk_may_move(enum disk_state from, enum disk_state to)
{
	return disk_states[from].to & (1u << to);
}

bool
id_equal(const struct id *a, const struct id *b)
{
	return strcmp(a->s, b->s) == 0;
}

void
machine_fini(struct machine *m)
{
	free(m->pool);
	free(m->provider);
	free(m->provider_ref);
	free(m->image);
	free(m->image_version);
	free(m->address);
	free(m->error);
	free(m->output);
	*m = (struct machine){0};
}

void
machine_copy(struct machine *to, const struct machine *from)
{
	*to = *from;
	to->pool = xstrdup_null(from->pool);
	to->provider = xstrdup_null(from->provider);
	to->provider_ref = xstrdup_null(from->provider_ref);
	to->image = xstrdup_null(from->image);
	to->image_version = xstrdup_null(from->image_version);
	to->address = xstrdup_null(from->address);
	to->error = xstrdup_null(from->error);
	to->output = xstrdup_null(from->output);
}

void
reservation_fini(struct reservation *r)
{
	free(r->name);
	free(r->user);
	free(r->pool);
	free(r->error);
	free(r->miss_reason);
	free(r->github);
	free(r->notice);
	free(r->disks);
	free(r->public_keys);
	free(r->request_id);
	*r = (struct reservation){0};
}

void
reservation_copy(struct reservation *to, const struct reservation *from)
{
	*to = *from;
	to->name = xstrdup_null(from->name);
	to->user = xstrdup_null(from->user);
	to->pool = xstrdup_null(from->pool);
	to->error = xstrdup_null(from->error);
	to->miss_reason = xstrdup_null(from->miss_reason);
	to->github = xstrdup_null(from->github);
	to->notice = xstrdup_null(from->notice);
	to->disks = xstrdup_null(from->disks);
	to->public_keys = xstrdup_null(from->public_keys);
	to->request_id = xstrdup_null(from->request_id);
}

void
disk_fini(struct disk *d)
{
	free(d->name);
	free(d->user);
	free(d->provider);
	free(d->provider_ref);
	free(d->error);
	*d = (struct disk){0};
}

void
disk_copy(struct disk *to, const struct disk *from)
{
	*to = *from;
	to->name = xstrdup_null(from->name);
	to->user = xstrdup_null(from->user);
	to->provider = xstrdup_null(from->provider);
	to->provider_ref = xstrdup_null(from->provider_ref);
	to->error = xstrdup_null(from->error);
}

void
step_fini(struct step *s)
{
	free(s->token);
	free(s->resource);
	free(s->error);
	*s = (struct step){0};
}

void
event_fini(struct event *e)
{
	free(e->name);
	free(e->detail);
	*e = (struct event){0};
}

void
pool_fini(struct pool *p)
{
	free(p->name);
	free(p->provider);
	free(p->image);
	free(p->login);
	free(p->options);
	for (int i = 0; i < p->n_setup; i++)
		free(p->setup[i]);
	*p = (struct pool){0};
}

void
pool_copy(struct pool *to, const struct pool *from)
{
	*to = *from;
	to->name = xstrdup_null(from->name);
	to->provider = xstrdup_null(from->provider);
	to->image = xstrdup_null(from->image);
	to->login = xstrdup_null(from->login);
	to->options = xstrdup_null(from->options);
	for (int i = 0; i < from->n_setup; i++)
		to->setup[i] = xstrdup(from->setup[i]);
}
