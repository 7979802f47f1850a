/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/describe.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/tags.h"
#include "ec2/world.h"

#define RESOURCES_MAX 1000 /* EC2 API Reference, CreateTags: "up to 1000" */

static bool
has_prefix(const char *id, const char *prefix)
{
	return prefix && strncmp(id, prefix, strlen(prefix)) == 0;
}

/* Any kind that takes tags, by the form of its id. */
static struct object *
find_tagged(struct request *q, const char *id)
{
	for (int i = 0; kinds[i]; i++)
		if (kinds[i]->resource && has_prefix(id, kinds[i]->prefix))
			return request_object(q, kinds[i], id);
	request_fail(q, "InvalidID", "The ID '%.100s' is not valid", id);
	return NULL;
}

static struct object **
find_all(struct request *q, int *ret_n)
{
	int n = request_count(q, "ResourceId");
	struct object **v = xcalloc((size_t)n + 1, sizeof(*v));

	if (n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter resourceIdSet");
	if (n > RESOURCES_MAX)
		request_fail(q, "InvalidParameterValue",
		    "At most %d resources can be tagged at once", RESOURCES_MAX);
	for (int i = 0; i < n && !request_failed(q); i++)
		v[i] = find_tagged(q, request_need(q, "ResourceId.%d", i + 1));
	*ret_n = n;
	return v;
}

static void
check_room(struct request *q, const struct object *o, int tags)
{
	int n = o->n_tags;

	for (int k = 1; k <= tags; k++)
		n += !object_tag(o, request_text(q, "Tag.%d.Key", k) ?: "");
	if (n > TAGS_MAX)
		request_fail(q, "TagLimitExceeded",
		    "The maximum number of tags for a resource is %d", TAGS_MAX);
}

static void
create_tags(struct request *q)
{
	AUTO_FREE struct object **v = NULL;
	int n, tags = request_count(q, "Tag");

	v = find_all(q, &n);
	if (tags == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter tagSet");
	for (int k = 1; k <= tags; k++)
		tag_check(q, request_text(q, "Tag.%d.Key", k) ?: "",
		    request_text(q, "Tag.%d.Value", k) ?: "");
	for (int i = 0; i < n && !request_failed(q); i++)
		check_room(q, v[i], tags);
	if (!request_ready(q))
		return;
	for (int i = 0; i < n; i++) {
		for (int k = 1; k <= tags; k++)
			object_set_tag(v[i], request_text(q, "Tag.%d.Key", k),
			    request_text(q, "Tag.%d.Value", k) ?: "");
		object_changed(v[i]);
	}
	reply_true(&q->reply);
}

/* With a value only the tag that has it; without any key all of them. */
static void
remove_tags(struct request *q, struct object *o, int tags)
{
	for (int k = 1; k <= tags; k++) {
		const char *key = request_text(q, "Tag.%d.Key", k) ?: "";
		const char *value = request_text(q, "Tag.%d.Value", k);
		const char *has = object_tag(o, key);

		if (has && (!value || strcmp(value, has) == 0))
			object_remove_tag(o, key);
	}
	while (tags == 0 && o->n_tags > 0)
		object_remove_tag(o, o->tags[0].key);
	object_changed(o);
}

static void
delete_tags(struct request *q)
{
	AUTO_FREE struct object **v = NULL;
	int n, tags = request_count(q, "Tag");

	v = find_all(q, &n);
	for (int k = 1; k <= tags; k++) {
		request_text(q, "Tag.%d.Key", k);
		request_text(q, "Tag.%d.Value", k);
	}
	if (!request_ready(q))
		return;
	for (int i = 0; i < n; i++)
		remove_tags(q, v[i], tags);
	reply_true(&q->reply);
}

/* ---- describing: one row for each tag of each object ---- */

struct tagged {
	const struct object *o;
	const struct tag *tag;
};

static void
by_resource(const void *o, struct offer *v)
{
	offer(v, ((const struct tagged *)o)->o->id);
}

static void
by_type(const void *o, struct offer *v)
{
	offer(v, ((const struct tagged *)o)->o->kind->resource);
}

static void
by_key(const void *o, struct offer *v)
{
	offer(v, ((const struct tagged *)o)->tag->key);
}

static void
by_value(const void *o, struct offer *v)
{
	offer(v, ((const struct tagged *)o)->tag->value);
}

static const struct filter tag_filters[] = {
    {"resource-id", by_resource},
    {"resource-type", by_type},
    {"key", by_key},
    {"value", by_value},
    {NULL},
};

static void
write_tag(struct request *q, const struct tagged *t)
{
	struct reply *r = &q->reply;

	reply_open(r, "item");
	reply_text(r, "resourceId", t->o->id);
	reply_text(r, "resourceType", t->o->kind->resource);
	reply_text(r, "key", t->tag->key);
	reply_text(r, "value", t->tag->value);
	reply_close(r);
}

static void
write_tags_of(struct request *q, const struct object *o, const struct filters *f,
    struct page *p, int *row)
{
	for (int k = 0; k < o->n_tags; k++) {
		struct tagged t = {o, &o->tags[k]};

		if (filters_match(f, &t) && page_holds(p, (*row)++))
			write_tag(q, &t);
	}
}

static void
describe_tags(struct request *q)
{
	struct filters *f = filters_read(q, tag_filters, false);
	const struct object *o;
	struct page p;
	int row = 0;

	page_read(q, &p, 5, 1000);
	if (request_ready(q)) {
		reply_open(&q->reply, "tagSet");
		for (int i = 0; kinds[i]; i++) {
			if (!kinds[i]->resource)
				continue;
			list_for_each (o, region_objects(q->region, kinds[i]), link)
				write_tags_of(q, o, f, &p, &row);
		}
		reply_close(&q->reply);
		if (p.next_token[0])
			reply_text(&q->reply, "nextToken", p.next_token);
	}
	filters_free(f);
}

const struct action tag_actions[] = {
    {"CreateTags", create_tags},
    {"DeleteTags", delete_tags},
    {"DescribeTags", describe_tags, ACTION_READ},
    {NULL},
};
