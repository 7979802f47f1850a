/* SPDX-License-Identifier: Apache-2.0 */
/* ModifyVolume: size, type and speed of a volume that exists. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/scenario.h"

#define MODIFICATION(o) ((const struct modification *)(o))

static const struct attr modification_attrs[] = {
    ATTR(modification, ATTR_TEXT, volume),
    ATTR(modification, ATTR_TEXT, state),
    ATTR(modification, ATTR_INT, ended_at),
    ATTR(modification, ATTR_TEXT, from_type),
    ATTR(modification, ATTR_TEXT, to_type),
    ATTR(modification, ATTR_INT, from_size),
    ATTR(modification, ATTR_INT, from_iops),
    ATTR(modification, ATTR_INT, from_throughput),
    ATTR(modification, ATTR_INT, to_size),
    ATTR(modification, ATTR_INT, to_iops),
    ATTR(modification, ATTR_INT, to_throughput),
    {NULL},
};

/* modifying → optimizing, when the new size and speed are there → completed. */
static void
modification_on_due(struct object *o)
{
	struct modification *m = (struct modification *)o;
	struct volume *v = region_find(o->region, &kind_volume, m->volume);

	if (!v) {
		object_remove(o);
		return;
	}
	if (strcmp(m->state, "modifying") == 0) {
		xstrset(&m->state, "optimizing");
		xstrset(&v->type, m->to_type);
		v->size_gib = m->to_size;
		v->iops = m->to_iops;
		v->throughput = m->to_throughput;
		object_changed(&v->o);
		object_after(o, scenario_delay(o->region->world, DELAY_VOLUME_MODIFY));
		return;
	}
	xstrset(&m->state, "completed");
	m->ended_at = world_now(o->region->world);
	object_changed(o);
}

const struct kind kind_modification = {
    .name = "modification",
    .prefix = "vmod-",
    .error = "InvalidVolumeModification",
    .what = "volume modification",
    .size = sizeof(struct modification),
    .attrs = modification_attrs,
    .due = modification_on_due,
};

static struct modification *
modification_of(struct region *r, const char *volume)
{
	struct modification *m;

	region_for_each (m, r, &kind_modification)
		if (strcmp(m->volume, volume) == 0)
			return m;
	return NULL;
}

/* ---- writing ---- */

static int
progress(const struct modification *m)
{
	if (m->ended_at)
		return 100;
	return strcmp(m->state, "optimizing") == 0 ? 50 : 0;
}

static void
write_modification(struct reply *r, const struct modification *m)
{
	reply_text(r, "volumeId", m->volume);
	reply_text(r, "modificationState", m->state);
	reply_int(r, "targetSize", m->to_size);
	reply_int(r, "targetIops", m->to_iops);
	reply_text(r, "targetVolumeType", m->to_type);
	if (m->to_throughput)
		reply_int(r, "targetThroughput", m->to_throughput);
	reply_bool(r, "targetMultiAttachEnabled", false);
	reply_int(r, "originalSize", m->from_size);
	reply_int(r, "originalIops", m->from_iops);
	reply_text(r, "originalVolumeType", m->from_type);
	if (m->from_throughput)
		reply_int(r, "originalThroughput", m->from_throughput);
	reply_bool(r, "originalMultiAttachEnabled", false);
	reply_int(r, "progress", progress(m));
	reply_time(r, "startTime", m->o.created_at);
	reply_time(r, "endTime", m->ended_at);
}

/* ---- ModifyVolume ---- */

static void
check(struct request *q, const struct volume *v, const struct modification *before,
    const struct volume_spec *spec)
{
	if (v->state != VOLUME_AVAILABLE && v->state != VOLUME_IN_USE)
		request_fail(q, "IncorrectState", "Volume '%s' is in the '%s' state.",
		    v->o.id, volume_state_names[v->state]);
	else if (before && !before->ended_at)
		request_fail(q, "IncorrectModificationState",
		    "Volume %s is currently being modified", v->o.id);
	else if (spec->size_gib < v->size_gib)
		request_fail(q, "InvalidParameterValue",
		    "New size cannot be smaller than existing size");
	else if (spec->size_gib == v->size_gib && strcmp(spec->type, v->type) == 0 &&
		 spec->iops == v->iops && spec->throughput == v->throughput)
		request_fail(q, "InvalidParameterCombination",
		    "The volume %s has all of that already", v->o.id);
}

static struct modification *
begin(struct request *q, const struct volume *v, const struct volume_spec *spec)
{
	struct modification *m = object_new(q->region, &kind_modification, NULL);

	m->volume = xstrdup(v->o.id);
	m->state = xstrdup("modifying");
	m->from_type = xstrdup(v->type);
	m->from_size = v->size_gib;
	m->from_iops = v->iops;
	m->from_throughput = v->throughput;
	m->to_type = xstrdup(spec->type);
	m->to_size = spec->size_gib;
	m->to_iops = spec->iops;
	m->to_throughput = spec->throughput;
	object_after(&m->o, scenario_delay(q->world, DELAY_VOLUME_MODIFY));
	return m;
}

static void
modify_volume(struct request *q)
{
	const char *id = request_need(q, "VolumeId");
	struct volume *v = request_failed(q) ? NULL : request_object(q, &kind_volume, id);
	struct modification *before = v ? modification_of(q->region, v->o.id) : NULL;
	struct volume_spec spec = {0};

	if (v)
		spec = (struct volume_spec){
		    v->type, v->size_gib, v->iops, v->throughput, false};
	spec.size_gib = request_int(q, spec.size_gib, 1, 1 << 20, "Size");
	if (v)
		volume_spec_read(q, &spec, "VolumeType", "Iops", "Throughput");
	if (request_bool(q, false, "MultiAttachEnabled"))
		request_fail(
		    q, "UnsupportedOperation", "Multi-attach is not supported here");
	if (v && !request_failed(q))
		check(q, v, before, &spec);
	if (!v || !request_ready(q))
		return;
	if (before)
		object_remove(&before->o);
	reply_open(&q->reply, "volumeModification");
	write_modification(&q->reply, begin(q, v, &spec));
	reply_close(&q->reply);
}

/* ---- DescribeVolumesModifications ---- */

OFFER(by_volume, MODIFICATION(o)->volume)
OFFER(by_state, MODIFICATION(o)->state)
OFFER(by_from_type, MODIFICATION(o)->from_type)
OFFER(by_to_type, MODIFICATION(o)->to_type)
OFFER_INT(by_from_size, MODIFICATION(o)->from_size)
OFFER_INT(by_to_size, MODIFICATION(o)->to_size)
OFFER_INT(by_from_iops, MODIFICATION(o)->from_iops)
OFFER_INT(by_to_iops, MODIFICATION(o)->to_iops)
OFFER_TIME(by_start, MODIFICATION(o)->o.created_at)

static const struct filter modification_filters[] = {
    {"modification-state", by_state},
    {"original-iops", by_from_iops},
    {"original-size", by_from_size},
    {"original-volume-type", by_from_type},
    {"start-time", by_start},
    {"target-iops", by_to_iops},
    {"target-size", by_to_size},
    {"target-volume-type", by_to_type},
    {"volume-id", by_volume},
    {NULL},
};

static bool
modification_asked(struct request *q, const struct object *o)
{
	return region_find(q->region, &kind_volume, MODIFICATION(o)->volume) &&
	       resource_named(q, "VolumeId", MODIFICATION(o)->volume);
}

static void
write_item(struct request *q, const struct object *o)
{
	write_modification(&q->reply, MODIFICATION(o));
}

static void
describe_modifications(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_modification,
	    .filters = modification_filters,
	    .set = "volumeModificationSet",
	    .write = write_item,
	    .shown = modification_asked,
	    .page_min = 1,
	    .page_max = 500,
	};
	int n = request_count(q, "VolumeId");

	for (int i = 1; i <= n; i++) {
		const char *id = request_need(q, "VolumeId.%d", i);
		const struct volume *v =
		    request_failed(q) ? NULL : request_object(q, &kind_volume, id);

		if (v && !modification_of(q->region, v->o.id))
			request_fail(q, "InvalidVolumeModification.NotFound",
			    "Modification for volume '%s' does not exist.", v->o.id);
	}
	describe(q, &d);
}

const struct action modify_actions[] = {
    {"DescribeVolumesModifications", describe_modifications, ACTION_READ},
    {"ModifyVolume", modify_volume},
    {NULL},
};
