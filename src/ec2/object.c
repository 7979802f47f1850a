/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/world_internal.h"

/* ---- lists of texts ---- */

void
texts_add(struct texts *t, const char *s)
{
	t->v = xrealloc(t->v, (size_t)(t->n + 1) * sizeof(*t->v));
	t->v[t->n++] = xstrdup(s);
}

static int
texts_find(const struct texts *t, const char *s)
{
	for (int i = 0; i < t->n; i++)
		if (strcmp(t->v[i], s) == 0)
			return i;
	return -1;
}

bool
texts_have(const struct texts *t, const char *s)
{
	return texts_find(t, s) >= 0;
}

bool
texts_remove(struct texts *t, const char *s)
{
	int i = texts_find(t, s);

	if (i < 0)
		return false;
	free(t->v[i]);
	t->n--;
	memmove(&t->v[i], &t->v[i + 1], (size_t)(t->n - i) * sizeof(*t->v));
	return true;
}

void
texts_clear(struct texts *t)
{
	for (int i = 0; i < t->n; i++)
		free(t->v[i]);
	free(t->v);
	*t = (struct texts){0};
}

/* ---- life ---- */

struct object *
object_restore(struct region *r, const struct kind *k, const char *id, uint64_t seq)
{
	struct object *o = xcalloc(1, k->size);

	o->kind = k;
	o->region = r;
	o->id = xstrdup(id);
	o->seq = seq;
	list_init(&o->changed);
	list_init(&o->link);
	list_push_back(region_objects(r, k), &o->link);
	map_put(&r->objects, o->id, o);
	if (k->init)
		k->init(o);
	if (seq > r->world->seq)
		r->world->seq = seq;
	return o;
}

void *
object_new(struct region *r, const struct kind *k, const char *id)
{
	struct object *o;
	char fresh[32];

	if (!id)
		world_new_id(r, k->prefix, fresh);
	o = object_restore(r, k, id ?: fresh, r->world->seq + 1);
	o->created_at = world_now(r->world);
	object_changed(o);
	return o;
}

void
object_changed(struct object *o)
{
	struct world *w = o->region->world;

	if (!list_empty(&o->changed))
		return;
	list_push_back(&w->changed, &o->changed);
	if (w->on_change)
		w->on_change(w->on_change_arg);
}

static void
free_attr(struct object *o, const struct attr *a)
{
	void *at = (char *)o + a->offset;

	if (a->type == ATTR_TEXT)
		free(*(char **)at);
	else if (a->type == ATTR_LIST)
		texts_clear(at);
	else if (a->type == ATTR_JSON)
		json_decref(*(json_t **)at);
}

static void
tag_free(struct tag *t)
{
	free(t->key);
	free(t->value);
}

void
object_free(struct object *o)
{
	if (o->kind->fini)
		o->kind->fini(o);
	timer_off(&o->timer);
	list_remove(&o->link);
	list_remove(&o->changed);
	map_remove(&o->region->objects, o->id);
	for (const struct attr *a = o->kind->attrs; a->name; a++)
		free_attr(o, a);
	for (int i = 0; i < o->n_tags; i++)
		tag_free(&o->tags[i]);
	free(o->tags);
	free(o->id);
	free(o);
}

void
object_remove(struct object *o)
{
	struct removed *r = xnew(struct removed);
	struct world *w = o->region->world;

	r->seq = o->seq;
	list_init(&r->link);
	list_push_back(&w->removed, &r->link);
	if (w->on_change)
		w->on_change(w->on_change_arg);
	object_free(o);
}

/* ---- time ---- */

static void
on_due(void *arg)
{
	struct object *o = arg;

	o->due_at = 0;
	object_changed(o);
	o->kind->due(o);
}

void
object_resume(struct object *o)
{
	struct world *w = o->region->world;

	if (o->due_at)
		timer_set(w->clock, &o->timer, o->due_at - world_now(w), on_due, o);
}

void
object_after(struct object *o, int64_t delay_ms)
{
	struct world *w = o->region->world;

	o->due_at = world_now(w) + delay_ms;
	timer_set(w->clock, &o->timer, delay_ms, on_due, o);
	object_changed(o);
}

void
object_after_off(struct object *o)
{
	o->due_at = 0;
	timer_off(&o->timer);
	object_changed(o);
}

/* ---- tags ---- */

static struct tag *
find_tag(const struct object *o, const char *key)
{
	for (int i = 0; i < o->n_tags; i++)
		if (strcmp(o->tags[i].key, key) == 0)
			return &o->tags[i];
	return NULL;
}

const char *
object_tag(const struct object *o, const char *key)
{
	const struct tag *t = find_tag(o, key);

	return t ? t->value : NULL;
}

void
object_set_tag(struct object *o, const char *key, const char *value)
{
	struct tag *t = find_tag(o, key);

	if (t) {
		xstrset(&t->value, value);
		return;
	}
	o->tags = xrealloc(o->tags, (size_t)(o->n_tags + 1) * sizeof(*o->tags));
	o->tags[o->n_tags++] = (struct tag){xstrdup(key), xstrdup(value)};
}

void
object_remove_tag(struct object *o, const char *key)
{
	struct tag *t = find_tag(o, key);

	if (!t)
		return;
	tag_free(t);
	o->n_tags--;
	memmove(t, t + 1, (size_t)(o->tags + o->n_tags - t) * sizeof(*t));
}
