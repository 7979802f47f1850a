/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/world.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/instance.h"
#include "ec2/objects.h"
#include "ec2/request.h"
#include "ec2/rows.h"
#include "ec2/scenario.h"
#include "ec2/throttle.h"
#include "ec2/world_internal.h"
#include "ec2/zones.h"

int64_t
world_now(const struct world *w)
{
	return clock_wall_ms(w->clock);
}

/* ---- random numbers ---- */

/* splitmix64, Sebastiano Vigna, public domain: any seed will do. */
static uint64_t
next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t
world_random(struct world *w)
{
	return next(&w->random);
}

double
world_random_unit(struct world *w)
{
	return (double)(next(&w->random) >> 11) * 0x1p-53;
}

uint64_t
world_random_id(struct world *w)
{
	return next(&w->ids);
}

void
world_new_id(struct region *r, const char *prefix, char ret[32])
{
	static const char digits[] = "0123456789abcdef";
	struct world *w = r->world;
	size_t n = strlen(prefix);

	memcpy(ret, prefix, n);
	do {
		uint64_t bits = next(&w->ids);

		for (int i = 0; i < 17; i++) {
			/* AWS's begin with 0, and 16 digits are what 64 bits give */
			ret[n + (size_t)i] = i ? digits[bits & 15] : '0';
			bits = i ? bits >> 4 : bits;
		}
		ret[n + 17] = '\0';
	} while (map_get(&r->objects, ret));
}

/* ---- regions ---- */

static int
n_kinds(void)
{
	int n = 0;

	while (kinds[n])
		n++;
	return n;
}

struct region *
world_region_bare(struct world *w, const char *name)
{
	const struct region_info *info = region_info_find(name);
	struct region *r = info ? map_get(&w->regions, name) : NULL;

	if (r || !info)
		return r;
	r = xnew(struct region);
	r->world = w;
	r->info = info;
	r->name = info->name;
	r->by_kind = xcalloc((size_t)n_kinds(), sizeof(*r->by_kind));
	for (int i = 0; kinds[i]; i++)
		list_init(&r->by_kind[i]);
	map_put(&w->regions, r->name, r);
	return r;
}

struct region *
world_region(struct world *w, const char *name)
{
	struct region *r = world_region_bare(w, name);

	if (r && list_empty(region_objects(r, &kind_marker))) {
		object_new(r, &kind_marker, "defaults");
		region_make_defaults(r);
	}
	return r;
}

struct region *
world_region_next(struct world *w, size_t *at)
{
	return map_next(&w->regions, at);
}

struct list *
region_objects(struct region *r, const struct kind *k)
{
	int i = 0;

	while (kinds[i] != k)
		i++;
	return &r->by_kind[i];
}

void *
region_find(struct region *r, const struct kind *k, const char *id)
{
	struct object *o = map_get(&r->objects, id);

	return o && o->kind == k ? o : NULL;
}

static void
region_free(struct region *r)
{
	struct object *o, *tmp;

	for (int i = 0; kinds[i]; i++)
		list_for_each_safe (o, tmp, &r->by_kind[i], link)
			object_free(o);
	throttle_fini(r);
	map_fini(&r->objects);
	free(r->by_kind);
	free(r);
}

/* ---- objects of a request ---- */

static bool
id_form(const struct kind *k, const char *id)
{
	size_t n = strlen(k->prefix), digits;

	if (strncmp(id, k->prefix, n) != 0)
		return false;
	digits = strspn(id + n, "0123456789abcdef");
	return id[n + digits] == '\0' && (digits == 8 || digits == 17);
}

void *
request_object(struct request *q, const struct kind *k, const char *id)
{
	struct object *o;
	char code[96];

	if (!id_form(k, id)) {
		(void)snprintf(code, sizeof(code), "%s.Malformed", k->error);
		request_fail(q, k->malformed ?: code,
		    "Invalid id: \"%.100s\" (expecting \"%s...\")", id, k->prefix);
		return NULL;
	}
	o = region_find(q->region, k, id);
	if (o && o->visible_at <= world_now(q->world))
		return o;
	(void)snprintf(code, sizeof(code), "%s.NotFound", k->error);
	request_fail(q, code, "The %s '%s' does not exist", k->what, id);
	return NULL;
}

void **
request_objects(struct request *q, const struct kind *k, const char *param, int *ret_n)
{
	AUTO_FREE const char **ids = NULL;
	AUTO_FREE void **list = NULL;
	struct map seen = {0};
	int n, found = 0;

	*ret_n = 0;
	ids = request_list(q, &n, "%s", param);
	if (n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter %s", param);
	list = xcalloc((size_t)n + 1, sizeof(*list));
	for (int i = 0; i < n && !request_failed(q); i++) {
		struct object *o = request_object(q, k, ids[i]);

		if (!o || map_get(&seen, o->id))
			continue;
		map_put(&seen, o->id, o);
		list[found++] = o;
	}
	map_fini(&seen);
	if (request_failed(q))
		return NULL;
	*ret_n = found;
	return TAKE(list);
}

/* ---- life ---- */

int
world_open(const struct world_options *opt, struct world **ret, struct err *err)
{
	struct world *w = xnew(struct world);

	w->clock = opt->clock;
	w->loop = opt->loop;
	w->scenario = opt->scenario;
	w->account = opt->account;
	w->random = scenario_seed(opt->scenario);
	if (getrandom(&w->ids, sizeof(w->ids), 0) != sizeof(w->ids))
		abort(); /* never so once the kernel has booted */
	list_init(&w->changed);
	list_init(&w->removed);
	list_init(&w->making);
	if (rows_open(opt->path, &w->rows, err) < 0 || rows_load(w->rows, w, err) < 0) {
		world_close(w);
		return -1;
	}
	*ret = w;
	return 0;
}

/* Kinds in the order of their table, so that what stands on others is linked after them. */
void
world_resume(struct world *w)
{
	struct region *r;
	struct object *o, *tmp;
	size_t at = 0;

	while ((r = map_next(&w->regions, &at))) {
		for (int i = 0; kinds[i]; i++)
			list_for_each_safe (o, tmp, &r->by_kind[i], link)
				if (kinds[i]->loaded)
					kinds[i]->loaded(o);
		for (int i = 0; kinds[i]; i++)
			list_for_each_safe (o, tmp, &r->by_kind[i], link) {
				object_resume(o);
				if (kinds[i]->resumed)
					kinds[i]->resumed(o);
			}
	}
}

static void
forget_removed(struct world *w)
{
	struct removed *r, *tmp;

	list_for_each_safe (r, tmp, &w->removed, link) {
		list_remove(&r->link);
		free(r);
	}
}

void
world_close(struct world *w)
{
	struct region *r;
	size_t at = 0;

	if (!w)
		return;
	while ((r = map_next(&w->regions, &at)))
		region_free(r);
	map_fini(&w->regions);
	forget_removed(w);
	rows_close(w->rows);
	free(w);
}

static int
write_rows(struct world *w, struct err *err)
{
	struct removed *gone;
	struct object *o;

	list_for_each (gone, &w->removed, link)
		if (rows_delete(w->rows, gone->seq, err) < 0)
			return -1;
	list_for_each (o, &w->changed, changed)
		if (rows_put(w->rows, o, err) < 0)
			return -1;
	return rows_commit(w->rows, err);
}

int
world_commit(struct world *w, struct err *err)
{
	struct object *o, *tmp;

	if (list_empty(&w->changed) && list_empty(&w->removed))
		return 0;
	if (rows_begin(w->rows, err) < 0)
		return -1;
	if (write_rows(w, err) < 0) {
		rows_rollback(w->rows);
		return -1;
	}
	list_for_each_safe (o, tmp, &w->changed, changed)
		list_remove(&o->changed);
	forget_removed(w);
	return 0;
}
