/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* What users ask of disks. */

#define SIZE_MIN (INT64_C(1) << 20)
#define SIZE_MAX_BYTES (INT64_C(64) << 40)

struct disk_op {
	struct core *core;
	struct id disk;
	core_disks_fn done;
	void *arg;
	struct err err;
};

static struct disk_op *
op_new(struct core *c, core_disks_fn done, void *arg)
{
	struct disk_op *op = xnew(struct disk_op);

	op->core = c;
	op->done = done;
	op->arg = arg;
	return op;
}

static void
op_fail(void *arg)
{
	struct disk_op *op = arg;

	op->done(op->arg, NULL, 0, &op->err);
	free(op);
}

static struct disk_view
view_of_disk(const struct cdisk *d)
{
	struct disk_view v = {.d = &d->d};
	const struct cdisk *o;

	list_for_each (o, &d->core->disks, in_core)
		if (disk_is_snapshot(o) && id_equal(&o->d.source, &d->d.id) &&
		    !o->d.transient && v.n_snapshots < DISK_SNAPSHOTS_SHOWN)
			v.snapshots[v.n_snapshots++] = o->d.id;
	return v;
}

static void
op_answer(void *arg, const struct err *err)
{
	struct disk_op *op = arg;
	struct cdisk *d = map_get(&op->core->disks_by_id, op->disk.s);
	struct disk_view v;

	if (err->code == ERR_NONE && d) {
		v = view_of_disk(d);
		op->done(op->arg, &v, 1, err);
	} else {
		op->err = *err;
		if (err->code == ERR_NONE)
			err_set(&op->err, ERR_NOT_FOUND, "it is gone by now");
		op->done(op->arg, NULL, 0, &op->err);
	}
	free(op);
}

static void
op_answer_now(void *arg)
{
	op_answer(arg, &(struct err){0});
}

static bool
may_see(const struct core_caller *who, const struct cdisk *d)
{
	return who->operator_ || d->d.uid == who->uid;
}

/* A name beats a prefix of an id; one's own beats another's. Transient snapshots are nobody's to name. */
static struct cdisk *
find(struct core *c, const struct core_caller *who, const char *key, struct err *err)
{
	struct cdisk *d, *found = NULL, *by_name = NULL, *hidden = NULL;
	size_t n = strlen(key);
	int names = 0, prefixes = 0;

	list_for_each (d, &c->disks, in_core) {
		bool name = d->d.name && strcmp(d->d.name, key) == 0;
		bool prefix = n >= 3 && strncmp(d->d.id.s, key, n) == 0;

		if ((!name && !prefix) || d->d.transient)
			continue;
		if (!may_see(who, d)) {
			hidden = d;
			continue;
		}
		if (name && (!by_name || d->d.uid == who->uid)) {
			names = by_name && by_name->d.uid == who->uid ? names + 1 : 1;
			by_name = d;
		}
		if (prefix && strlen(d->d.id.s) == n)
			return d;
		prefixes += prefix;
		found = prefix ? d : found;
	}
	if (by_name && names == 1)
		return by_name;
	if (!by_name && prefixes == 1)
		return found;
	if (by_name || prefixes > 1)
		err_set(err, ERR_INVALID,
		    "'%.64s' is ambiguous: more than one disk begins so", key);
	else if (hidden)
		err_set(err, ERR_NOT_PERMITTED, "disk '%.64s' is another user's", key);
	else
		err_set(err, ERR_NOT_FOUND, "no disk '%.64s'", key);
	if (err->code == ERR_NOT_FOUND)
		err_hint(err, "see 'hearth disk list'");
	return NULL;
}

struct cdisk *
disk_own(struct core *c, uint32_t uid, const char *name)
{
	struct cdisk *d;

	list_for_each (d, &c->disks, in_core)
		if (d->d.uid == uid && d->d.name && strcmp(d->d.name, name) == 0 &&
		    d->d.state != DISK_DELETED)
			return d;
	return NULL;
}

/* That of the pool `default`, else the first one that has disks. */
static struct cprovider *
default_provider(struct core *c)
{
	struct cpool *p = pool_find(c, "default");
	struct cprovider *pr;

	if (p && p->provider->p->ops->disk_make)
		return p->provider;
	list_for_each (pr, &c->providers, in_core)
		if (pr->p->ops->disk_make)
			return pr;
	return NULL;
}

int
disk_check_new(struct core *c, const struct core_caller *who, const char *name,
    int64_t size_bytes, struct err *err)
{
	if (!name_valid(name))
		return err_set(err, ERR_INVALID,
		    "name: expected 1 to 63 of letters, digits, '.', '_' and '-', a "
		    "letter or digit first and last");
	if (size_bytes < SIZE_MIN || size_bytes > SIZE_MAX_BYTES)
		return err_set(err, ERR_INVALID, "size_bytes: expected from 1M to 64T");
	if (disk_own(c, who->uid, name)) {
		err_set(err, ERR_CONFLICT, "you already have a disk named '%s'", name);
		return err_hint(err, "choose another name, or delete that one");
	}
	if (!core_can_write(c))
		return err_set(err, ERR_UNAVAILABLE, "the store cannot be written");
	return 0;
}

struct making {
	struct core *core;
	struct id disk;
};

/* Made when it is in the store, and only then: a disk that nobody remembers must not be. */
static void
row_durable(void *arg, const struct err *err)
{
	struct making *m = arg;
	struct cdisk *d = map_get(&m->core->disks_by_id, m->disk.s);

	if (d && !m->core->closing) {
		if (err->code != ERR_NONE)
			disk_free(d);
		else if (d->d.state == DISK_CREATING && !d->run && !d->held_back &&
			 d->provider->listed)
			disk_make(d);
	}
	free(m);
}

void
disk_make_when_durable(struct cdisk *d)
{
	struct making *m = xnew(struct making);

	*m = (struct making){d->core, d->d.id};
	d->held_back = false;
	core_tx_then(d->core, row_durable, m);
}

static struct cdisk *
create(struct core *c, struct cprovider *pr, const struct disk *row)
{
	struct cdisk *d = disk_new(c, pr, row);

	core_save_disk(d);
	disk_make_when_durable(d);
	return d;
}

static struct disk
new_row(struct core *c, const struct core_caller *who, struct cprovider *pr, char kind)
{
	return (struct disk){
	    .id = id_new(kind),
	    .uid = who->uid,
	    .user = (char *)who->user,
	    .provider = pr->name,
	    .state = DISK_CREATING,
	    .created_at = clock_wall_ms(c->clock),
	};
}

static int
check_source(const struct cdisk *s, int64_t size_bytes, struct err *err)
{
	if (!disk_is_snapshot(s)) {
		err_set(err, ERR_INVALID, "'%s' is a disk, not a snapshot", s->d.id.s);
		return err_hint(
		    err, "take one by 'hearth disk snapshot', or clone the disk");
	}
	if (s->d.state != DISK_AVAILABLE && s->d.state != DISK_CREATING)
		return err_set(err, ERR_CONFLICT, "snapshot '%s' is %s", s->d.id.s,
		    disk_state_name(s->d.state));
	if (size_bytes < s->d.size_bytes)
		return err_set(err, ERR_INVALID,
		    "size_bytes: expected at least the snapshot's %lld",
		    (long long)s->d.size_bytes);
	return 0;
}

void
core_disk_create(struct core *c, const struct core_caller *who, const char *name,
    int64_t size_bytes, const char *from, core_disks_fn done, void *arg)
{
	struct disk_op *op = op_new(c, done, arg);
	struct cprovider *pr = default_provider(c);
	struct cdisk *source = NULL;
	struct disk row;

	if (disk_check_new(c, who, name, size_bytes, &op->err) < 0 ||
	    (from && (!(source = find(c, who, from, &op->err)) ||
			 check_source(source, size_bytes, &op->err) < 0))) {
		core_defer(c, op_fail, op);
		return;
	}
	if (!pr) {
		err_set(&op->err, ERR_INVALID, "no provider here has disks");
		core_defer(c, op_fail, op);
		return;
	}
	row = new_row(c, who, source ? source->provider : pr, 'd');
	row.name = (char *)name;
	row.size_bytes = size_bytes;
	if (source)
		row.source = source->d.id;
	op->disk = create(c, source ? source->provider : pr, &row)->d.id;
	core_tx_then(c, op_answer, op);
}

/* Of a disk that is there; `transient`: taken for a clone. */
static struct cdisk *
take_snapshot(struct cdisk *d, const struct core_caller *who, bool transient)
{
	struct disk row = new_row(d->core, who, d->provider, 's');

	row.size_bytes = d->d.size_bytes;
	row.source = d->d.id;
	row.transient = transient;
	return create(d->core, d->provider, &row);
}

void
disk_take_snapshot(struct cdisk *d)
{
	(void)take_snapshot(
	    d, &(struct core_caller){.uid = d->d.uid, .user = d->d.user}, false);
}

struct cdisk *
disk_create_for(struct creservation *r, const char *name, int64_t size_bytes)
{
	struct core_caller who = {.uid = r->r.uid, .user = r->r.user};
	struct cprovider *pr = r->pool->provider;
	struct disk row = new_row(r->core, &who, pr, 'd');
	struct cdisk *d;

	row.name = (char *)name;
	row.size_bytes = size_bytes;
	row.holder = r->r.id;
	d = create(r->core, pr, &row);
	d->held_back = r->pool->p.one_at_a_time;
	return d;
}

void
disk_take_last_snapshot(struct cdisk *d, int64_t expires_at)
{
	struct core_caller who = {.uid = d->d.uid, .user = d->d.user};
	struct disk row = new_row(d->core, &who, d->provider, 's');

	row.size_bytes = d->d.size_bytes;
	row.source = d->d.id;
	row.expires_at = expires_at;
	(void)create(d->core, d->provider, &row);
}

static struct cdisk *
find_usable(
    struct core *c, const struct core_caller *who, const char *key, struct err *err)
{
	struct cdisk *d = find(c, who, key, err);

	if (!d)
		return NULL;
	if (disk_is_snapshot(d))
		err_set(err, ERR_INVALID, "'%s' is a snapshot, not a disk", d->d.id.s);
	else if (d->d.state != DISK_AVAILABLE && d->d.state != DISK_ATTACHED)
		err_set(err, ERR_CONFLICT, "disk '%s' is %s", d->d.name,
		    disk_state_name(d->d.state));
	else if (!core_can_write(c))
		err_set(err, ERR_UNAVAILABLE, "the store cannot be written");
	else
		return d;
	return NULL;
}

void
core_disk_snapshot(struct core *c, const struct core_caller *who, const char *key,
    core_disks_fn done, void *arg)
{
	struct disk_op *op = op_new(c, done, arg);
	struct cdisk *d = find_usable(c, who, key, &op->err);

	if (!d) {
		core_defer(c, op_fail, op);
		return;
	}
	op->disk = take_snapshot(d, who, false)->d.id;
	core_tx_then(c, op_answer, op);
}

void
core_disk_clone(struct core *c, const struct core_caller *who, const char *key,
    const char *name, core_disks_fn done, void *arg)
{
	struct disk_op *op = op_new(c, done, arg);
	struct cdisk *d = find_usable(c, who, key, &op->err);
	struct disk row;

	if (!d || disk_check_new(c, who, name, d->d.size_bytes, &op->err) < 0) {
		core_defer(c, op_fail, op);
		return;
	}
	row = new_row(c, who, d->provider, 'd');
	row.name = (char *)name;
	row.size_bytes = d->d.size_bytes;
	row.source = take_snapshot(d, who, true)->d.id;
	op->disk = create(c, d->provider, &row)->d.id;
	core_tx_then(c, op_answer, op);
}

void
core_disk_get(struct core *c, const struct core_caller *who, const char *key,
    core_disks_fn done, void *arg)
{
	struct disk_op *op = op_new(c, done, arg);
	struct cdisk *d = find(c, who, key, &op->err);

	if (d)
		op->disk = d->d.id;
	core_defer(c, d ? op_answer_now : op_fail, op);
}

void
core_disk_delete(struct core *c, const struct core_caller *who, const char *key,
    core_disks_fn done, void *arg)
{
	struct disk_op *op = op_new(c, done, arg);
	struct cdisk *d = find(c, who, key, &op->err);

	if (d && d->d.state == DISK_ATTACHED) {
		const struct creservation *r = map_get(&c->reservations, d->d.holder.s);

		err_set(&op->err, ERR_CONFLICT,
		    "disk '%s' is attached to reservation '%s'", d->d.name,
		    r ? r->r.name : d->d.holder.s);
		err_hint(&op->err, "end that one first");
	} else if (d && !core_can_write(c)) {
		err_set(&op->err, ERR_UNAVAILABLE, "the store cannot be written");
	}
	if (!d || op->err.code != ERR_NONE) {
		core_defer(c, op_fail, op);
		return;
	}
	op->disk = d->d.id;
	disk_remove(d);
	core_tx_then(c, op_answer, op);
}

struct disks_op {
	struct core *core;
	struct core_caller who;
	bool all;
	core_disks_fn done;
	void *arg;
};

/* A snapshot whose disk is no more. */
static bool
is_kept(const struct cdisk *d)
{
	return d->d.expires_at && !map_get(&d->core->disks_by_id, d->d.source.s);
}

static void
list_disks(void *arg)
{
	struct disks_op *op = arg;
	struct core *c = op->core;
	struct disk_view *views = xcalloc(c->disks_by_id.count + 1, sizeof(*views));
	struct cdisk *d;
	int n = 0;

	list_for_each (d, &c->disks, in_core)
		if ((!disk_is_snapshot(d) || (op->all && is_kept(d))) &&
		    may_see(&op->who, d) && d->d.state != DISK_DELETED)
			views[n++] = view_of_disk(d);
	op->done(op->arg, views, n, &(struct err){0});
	free(views);
	free(op);
}

void
core_disks(struct core *c, const struct core_caller *who, bool all, core_disks_fn done,
    void *arg)
{
	struct disks_op *op = xnew(struct disks_op);

	*op = (struct disks_op){c, *who, all, done, arg};
	op->who.user = NULL; /* the caller's */
	core_defer(c, list_disks, op);
}
