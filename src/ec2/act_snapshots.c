/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of volumes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/scenario.h"
#include "ec2/tags.h"

#define DESCRIPTION_MAX 255
#define SNAPSHOT(o) ((const struct snapshot *)(o))

static const char *const snapshot_tags[] = {"snapshot", NULL};

static const struct attr snapshot_attrs[] = {
    ATTR(snapshot, ATTR_TEXT, volume),
    ATTR(snapshot, ATTR_TEXT, owner),
    ATTR(snapshot, ATTR_TEXT, owner_alias),
    ATTR(snapshot, ATTR_TEXT, description),
    ATTR(snapshot, ATTR_INT, size_gib),
    ATTR(snapshot, ATTR_BOOL, encrypted),
    {NULL},
};

static void
snapshot_on_due(struct object *o)
{
	object_changed(o);
}

const struct kind kind_snapshot = {
    .name = "snapshot",
    .resource = "snapshot",
    .prefix = "snap-",
    .error = "InvalidSnapshot",
    .malformed = "InvalidSnapshotID.Malformed",
    .what = "snapshot",
    .size = sizeof(struct snapshot),
    .attrs = snapshot_attrs,
    .due = snapshot_on_due,
};

const char *
snapshot_state(const struct snapshot *s)
{
	return s->o.due_at ? "pending" : "completed";
}

struct snapshot *
snapshot_new(struct region *r, const struct volume *v, const char *description)
{
	struct snapshot *s = object_new(r, &kind_snapshot, NULL);

	s->volume = xstrdup(v->o.id);
	s->owner = xstrdup(r->world->account);
	s->description = xstrdup(description);
	s->size_gib = v->size_gib;
	s->encrypted = v->encrypted;
	object_after(&s->o, scenario_delay(r->world, DELAY_SNAPSHOT));
	return s;
}

/* ---- writing ---- */

static int
progress(const struct snapshot *s)
{
	int64_t now = world_now(s->o.region->world), all = s->o.due_at - s->o.created_at;

	if (!s->o.due_at)
		return 100;
	return all > 0 && now > s->o.created_at
		   ? (int)((now - s->o.created_at) * 99 / all)
		   : 0;
}

/* CreateSnapshots has another name for the state than all others. */
static void
write_as(struct request *q, const struct object *o, const char *state)
{
	const struct snapshot *s = SNAPSHOT(o);
	struct reply *r = &q->reply;

	reply_text(r, "snapshotId", o->id);
	reply_text(r, "volumeId", s->volume);
	reply_text(r, state, snapshot_state(s));
	reply_time(r, "startTime", o->created_at);
	reply_fmt(r, "progress", "%d%%", progress(s));
	reply_text(r, "ownerId", s->owner);
	reply_int(r, "volumeSize", s->size_gib);
	reply_text(r, "description", s->description);
	reply_bool(r, "encrypted", s->encrypted);
	reply_tags(q, o);
}

static void
write_snapshot(struct request *q, const struct object *o)
{
	write_as(q, o, "status");
	reply_text(&q->reply, "ownerAlias", SNAPSHOT(o)->owner_alias);
	reply_text(&q->reply, "storageTier", "standard");
}

/* ---- create ---- */

static const char *
read_description(struct request *q)
{
	const char *s = request_text(q, "Description");

	if (s && strlen(s) > DESCRIPTION_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Value for parameter description is invalid. Length exceeds maximum "
		    "of %d.",
		    DESCRIPTION_MAX);
	return s ?: "";
}

static void
check_volume(struct request *q, const struct volume *v)
{
	if (v->state != VOLUME_AVAILABLE && v->state != VOLUME_IN_USE)
		request_fail(q, "IncorrectState", "Volume '%s' is in the '%s' state.",
		    v->o.id, volume_state_names[v->state]);
}

static void
create_snapshot(struct request *q)
{
	const char *id = request_need(q, "VolumeId"), *description = read_description(q);
	struct volume *v = request_failed(q) ? NULL : request_object(q, &kind_volume, id);
	struct snapshot *s;

	if (v)
		check_volume(q, v);
	request_check_tags(q, snapshot_tags);
	if (!v || !request_ready(q))
		return;
	s = snapshot_new(q->region, v, description);
	request_tag(q, &s->o);
	write_snapshot(q, &s->o);
}

static void
copy_tags(struct object *to, const struct object *from)
{
	for (int i = 0; i < from->n_tags; i++)
		if (strncmp(from->tags[i].key, "aws:", 4) != 0)
			object_set_tag(to, from->tags[i].key, from->tags[i].value);
}

static bool
is_excluded(
    struct request *q, const struct instance *i, const struct volume *v, bool no_boot)
{
	bool listed = request_has(q, "InstanceSpecification.ExcludeDataVolumeId");

	if (no_boot && i->root_device && strcmp(i->root_device, v->device) == 0)
		return true;
	return listed &&
	       resource_named(q, "InstanceSpecification.ExcludeDataVolumeId", v->o.id);
}

static void
create_snapshots(struct request *q)
{
	static const char *const sources[] = {"volume", NULL};
	const char *id = request_need(q, "InstanceSpecification.InstanceId");
	const char *description = read_description(q);
	bool no_boot = request_bool(q, false, "InstanceSpecification.ExcludeBootVolume");
	const char *copy = request_choice(q, sources, NULL, "CopyTagsFromSource");
	struct instance *i =
	    request_failed(q) ? NULL : request_object(q, &kind_instance, id);
	struct volume *v;

	request_ignore(q, "InstanceSpecification.ExcludeDataVolumeId");
	request_check_tags(q, snapshot_tags);
	if (!i || !request_ready(q))
		return;
	reply_open(&q->reply, "snapshotSet");
	list_for_each (v, &i->volumes, on_instance) {
		struct snapshot *s;

		if (is_excluded(q, i, v, no_boot))
			continue;
		s = snapshot_new(q->region, v, description);
		if (copy)
			copy_tags(&s->o, &v->o);
		request_tag(q, &s->o);
		reply_open(&q->reply, "item");
		write_as(q, &s->o, "state");
		reply_close(&q->reply);
	}
	reply_close(&q->reply);
}

/* ---- delete ---- */

static const struct image *
image_using(struct region *r, const char *snapshot)
{
	const struct image *m;

	region_for_each (m, r, &kind_image)
		if (image_has_snapshot(m, snapshot))
			return m;
	return NULL;
}

static void
delete_snapshot(struct request *q)
{
	const char *id = request_need(q, "SnapshotId");
	struct snapshot *s =
	    request_failed(q) ? NULL : request_object(q, &kind_snapshot, id);
	const struct image *m = s ? image_using(q->region, s->o.id) : NULL;

	if (s && strcmp(s->owner, q->world->account) != 0)
		request_fail(q, "UnauthorizedOperation",
		    "You are not authorized to perform this operation.");
	else if (m)
		request_fail(q, "InvalidSnapshot.InUse",
		    "The snapshot %s is currently in use by %s", s->o.id, m->o.id);
	if (!s || !request_ready(q))
		return;
	object_remove(&s->o);
	reply_true(&q->reply);
}

/* ---- DescribeSnapshots ---- */

OFFER(by_id, SNAPSHOT(o)->o.id)
OFFER(by_volume, SNAPSHOT(o)->volume)
OFFER(by_owner, SNAPSHOT(o)->owner)
OFFER(by_alias, SNAPSHOT(o)->owner_alias)
OFFER(by_description, SNAPSHOT(o)->description)
OFFER(by_state, snapshot_state(SNAPSHOT(o)))
OFFER_INT(by_size, SNAPSHOT(o)->size_gib)
OFFER_BOOL(by_encrypted, SNAPSHOT(o)->encrypted)
OFFER_TIME(by_start, SNAPSHOT(o)->o.created_at)

static void
by_progress(const void *o, struct offer *v)
{
	char text[8];

	(void)snprintf(text, sizeof(text), "%d%%", progress(SNAPSHOT(o)));
	offer(v, text);
}

static void
by_tier(const void *o, struct offer *v)
{
	offer(v, "standard");
}

static const struct filter snapshot_filters[] = {
    {"description", by_description},
    {"encrypted", by_encrypted},
    {"owner-alias", by_alias},
    {"owner-id", by_owner},
    {"progress", by_progress},
    {"snapshot-id", by_id},
    {"start-time", by_start},
    {"status", by_state},
    {"storage-tier", by_tier},
    {"volume-id", by_volume},
    {"volume-size", by_size},
    {NULL},
};

static bool
snapshot_asked(struct request *q, const struct object *o)
{
	return resource_owned(q, "Owner", SNAPSHOT(o)->owner, SNAPSHOT(o)->owner_alias);
}

static void
describe_snapshots(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_snapshot,
	    .ids = "SnapshotId",
	    .filters = snapshot_filters,
	    .set = "snapshotSet",
	    .write = write_snapshot,
	    .shown = snapshot_asked,
	};

	request_ignore(q, "Owner");
	request_ignore(q, "RestorableBy");
	describe(q, &d);
}

static void
describe_attribute(struct request *q)
{
	static const char *const names[] = {
	    "createVolumePermission", "productCodes", NULL};
	const char *id = request_need(q, "SnapshotId");
	const char *name = request_choice(q, names, names[0], "Attribute");

	if (!request_failed(q))
		(void)request_object(q, &kind_snapshot, id);
	if (!request_ready(q))
		return;
	reply_text(&q->reply, "snapshotId", id);
	reply_open(&q->reply, name);
	reply_close(&q->reply);
}

const struct action snapshot_actions[] = {
    {"CreateSnapshot", create_snapshot},
    {"CreateSnapshots", create_snapshots},
    {"DeleteSnapshot", delete_snapshot},
    {"DescribeSnapshotAttribute", describe_attribute, ACTION_READ},
    {"DescribeSnapshots", describe_snapshots, ACTION_READ},
    {NULL},
};
