/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/tags.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/request.h"
#include "ec2/world.h"

/* EC2 User Guide, "Tag restrictions": characters, here counted as such and not as bytes. */
#define KEY_MAX 128
#define VALUE_MAX 256

static size_t
characters(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void
tag_check(struct request *q, const char *key, const char *value)
{
	if (!*key || characters(key) > KEY_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Tag key is null or exceeds the maximum length of %d characters",
		    KEY_MAX);
	else if (strncasecmp(key, "aws:", 4) == 0)
		request_fail(q, "InvalidParameterValue",
		    "Tag keys starting with 'aws:' are reserved for internal use");
	else if (characters(value) > VALUE_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Tag value exceeds the maximum length of %d characters", VALUE_MAX);
}

static void
check_specification(struct request *q, int spec)
{
	int n = request_count(q, "TagSpecification.%d.Tag", spec);
	AUTO_FREE const char **keys = NULL;

	if (n > TAGS_MAX) {
		request_fail(q, "TagLimitExceeded",
		    "The maximum number of tags for a resource is %d", TAGS_MAX);
		return;
	}
	keys = xcalloc((size_t)n + 1, sizeof(*keys));
	for (int i = 0; i < n; i++) {
		keys[i] =
		    request_text(q, "TagSpecification.%d.Tag.%d.Key", spec, i + 1) ?: "";
		tag_check(q, keys[i],
		    request_text(q, "TagSpecification.%d.Tag.%d.Value", spec, i + 1)
			?: "");
		for (int k = 0; k < i; k++)
			if (strcmp(keys[k], keys[i]) == 0)
				request_fail(q, "InvalidParameterValue",
				    "Duplicate tag key '%.128s' specified.", keys[i]);
	}
}

static bool
in(const char *const *list, const char *s)
{
	for (int i = 0; list[i]; i++)
		if (strcmp(list[i], s) == 0)
			return true;
	return false;
}

void
request_check_tags(struct request *q, const char *const *types)
{
	int n = request_count(q, "TagSpecification");

	for (int i = 1; i <= n; i++) {
		const char *type = request_need(q, "TagSpecification.%d.ResourceType", i);

		if (!in(types, type))
			request_fail(q, "InvalidParameterValue",
			    "'%.100s' is not a valid taggable resource type for this "
			    "operation.",
			    type);
		for (int k = 1; k < i; k++)
			if (strcmp(type,
				request_text(q, "TagSpecification.%d.ResourceType", k)
				    ?: "") == 0)
				request_fail(q, "InvalidParameterValue",
				    "Tag specification resource type must not have "
				    "multiple values");
		check_specification(q, i);
	}
}

void
request_tag(struct request *q, struct object *o)
{
	int n = request_count(q, "TagSpecification");

	for (int i = 1; i <= n; i++) {
		const char *type = request_text(q, "TagSpecification.%d.ResourceType", i);
		int tags;

		if (strcmp(type, o->kind->resource) != 0)
			continue;
		tags = request_count(q, "TagSpecification.%d.Tag", i);
		for (int k = 1; k <= tags; k++)
			object_set_tag(o,
			    request_text(q, "TagSpecification.%d.Tag.%d.Key", i, k),
			    request_text(q, "TagSpecification.%d.Tag.%d.Value", i, k)
				?: "");
	}
	object_changed(o);
}

void
reply_tags(struct request *q, const struct object *o)
{
	if (o->n_tags == 0)
		return;
	reply_open(&q->reply, "tagSet");
	for (int i = 0; i < o->n_tags; i++) {
		reply_open(&q->reply, "item");
		reply_text(&q->reply, "key", o->tags[i].key);
		reply_text(&q->reply, "value", o->tags[i].value);
		reply_close(&q->reply);
	}
	reply_close(&q->reply);
}
