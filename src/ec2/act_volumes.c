/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes: create, attach, detach, delete, describe. Limits of their types: volume_type.c; changes: act_modify.c. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/idempotent.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/scenario.h"
#include "ec2/tags.h"
#include "ec2/types.h"
#include "ec2/zones.h"

#define VOLUME(o) ((const struct volume *)(o))

/* ---- time ---- */

/* Whether the scenario keeps the volume where it is, for ever (or until a detach by force). */
static bool
is_stuck(struct request *q, const struct volume *v)
{
	return scenario_strike(
		   q->world, FAULT_VOLUME_STUCK, q->action->name, NULL, v->zone) != NULL;
}

static void
begin(struct request *q, struct volume *v, enum delay d)
{
	if (is_stuck(q, v))
		object_after_off(&v->o);
	else
		object_after(&v->o, scenario_delay(q->world, d));
}

void
volume_on_due(struct object *o)
{
	struct volume *v = (struct volume *)o;

	if (v->state == VOLUME_CREATING) {
		v->state = VOLUME_AVAILABLE;
	} else if (v->state == VOLUME_DELETING) {
		object_remove(o);
		return;
	} else if (v->attachment == ATTACHMENT_ATTACHING) {
		v->attachment = ATTACHMENT_ATTACHED;
	} else if (v->attachment == ATTACHMENT_DETACHING) {
		volume_untie(v);
	}
	object_changed(o);
}

/* ---- writing ---- */

static void
write_attachment(struct reply *r, const struct volume *v)
{
	reply_text(r, "volumeId", v->o.id);
	reply_text(r, "instanceId", v->instance_id);
	reply_text(r, "device", v->device);
	reply_text(r, "status", attachment_state_names[v->attachment]);
	reply_time(r, "attachTime", v->attached_at);
	reply_bool(r, "deleteOnTermination", v->delete_on_termination);
}

static void
write_volume(struct request *q, const struct object *o)
{
	const struct volume *v = VOLUME(o);
	struct reply *r = &q->reply;

	reply_text(r, "volumeId", o->id);
	reply_int(r, "size", v->size_gib);
	reply_text(r, "snapshotId", v->snapshot ?: "");
	reply_text(r, "availabilityZone", v->zone);
	reply_text(r, "status", volume_state_names[v->state]);
	reply_time(r, "createTime", o->created_at);
	reply_open(r, "attachmentSet");
	if (v->attachment != ATTACHMENT_NONE) {
		reply_open(r, "item");
		write_attachment(r, v);
		reply_close(r);
	}
	reply_close(r);
	reply_tags(q, o);
	reply_text(r, "volumeType", v->type);
	if (v->iops)
		reply_int(r, "iops", v->iops);
	if (v->throughput)
		reply_int(r, "throughput", v->throughput);
	reply_bool(r, "encrypted", v->encrypted);
	reply_bool(r, "multiAttachEnabled", false);
	if (v->rate)
		reply_int(r, "volumeInitializationRate", v->rate);
}

/* ---- CreateVolume ---- */

static struct snapshot *
read_snapshot(struct request *q)
{
	const char *id = request_text(q, "SnapshotId");
	struct snapshot *s = id && *id ? request_object(q, &kind_snapshot, id) : NULL;

	if (s && strcmp(snapshot_state(s), "completed") != 0)
		request_fail(q, "IncorrectState", "Snapshot is in invalid state - %s",
		    snapshot_state(s));
	return s;
}

static const char *
read_zone(struct request *q)
{
	const char *zone = request_need(q, "AvailabilityZone");

	if (*zone && zone_find(q->region->info, zone) < 0)
		request_fail(
		    q, "InvalidZone.NotFound", "The zone '%.64s' does not exist.", zone);
	return zone;
}

static void
read_size(struct request *q, const struct snapshot *s, struct volume_spec *spec)
{
	spec->size_gib = request_int(q, s ? s->size_gib : 0, 1, 1 << 20, "Size");
	if (!s && !request_has(q, "Size"))
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter size/snapshot");
	if (s && spec->size_gib < s->size_gib)
		request_fail(q, "InvalidParameterValue",
		    "The size of a volume cannot be smaller than its snapshot: %lld GiB",
		    (long long)s->size_gib);
}

static void
read_encryption(struct request *q, const struct snapshot *s, struct volume_spec *spec)
{
	spec->encrypted = request_bool(q, s && s->encrypted, "Encrypted");
	if (s && s->encrypted && !spec->encrypted)
		request_fail(q, "InvalidParameterCombination",
		    "A volume of an encrypted snapshot is encrypted");
	if (request_text(q, "KmsKeyId") && !spec->encrypted)
		request_fail(q, "InvalidParameterDependency",
		    "The parameter KmsKeyId requires the parameter Encrypted to be set.");
	if (request_bool(q, false, "MultiAttachEnabled"))
		request_fail(q, "UnsupportedOperation",
		    "Multi-attach is not supported for %s volumes here", spec->type);
}

/* API reference, CreateVolume: "100 - 300 MiB/s", "only for volumes created from snapshots". */
static void
check_rate(struct request *q, const struct snapshot *s)
{
	(void)request_int(q, 0, 100, 300, "VolumeInitializationRate");
	if (request_has(q, "VolumeInitializationRate") && !s)
		request_fail(q, "InvalidParameterCombination",
		    "The parameter VolumeInitializationRate requires a snapshot.");
}

static struct volume *
make_volume(struct request *q, const char *zone, const struct snapshot *s,
    const struct volume_spec *spec)
{
	struct volume *v = object_new(q->region, &kind_volume, NULL);

	v->zone = xstrdup(zone);
	v->type = xstrdup(spec->type);
	v->snapshot = s ? xstrdup(s->o.id) : NULL;
	v->client_token = xstrdup_null(request_text(q, "ClientToken"));
	v->size_gib = spec->size_gib;
	v->iops = spec->iops;
	v->throughput = spec->throughput;
	v->rate = request_int(q, 0, 100, 300, "VolumeInitializationRate");
	v->encrypted = spec->encrypted;
	v->state = VOLUME_CREATING;
	request_tag(q, &v->o);
	begin(q, v, DELAY_VOLUME_CREATE);
	return v;
}

static void
create_volume(struct request *q)
{
	static const char *const types[] = {"volume", NULL};
	const char *zone = read_zone(q);
	const struct snapshot *s = read_snapshot(q);
	struct volume_spec spec = {0};
	const struct token *made;
	struct volume *v;

	read_size(q, s, &spec);
	volume_spec_read(q, &spec, "VolumeType", "Iops", "Throughput");
	read_encryption(q, s, &spec);
	check_rate(q, s);
	request_check_tags(q, types);
	made = idempotent_find(q);
	if (!request_ready(q))
		return;
	v = made ? region_find(q->region, &kind_volume, made->ids.v[0]) : NULL;
	if (made && !v) {
		request_fail(q, "InvalidVolume.NotFound",
		    "The volume '%s' does not exist.", made->ids.v[0]);
		return;
	}
	if (!v) {
		v = make_volume(q, zone, s, &spec);
		idempotent_keep(q, v->o.id);
	}
	write_volume(q, &v->o);
}

/* ---- AttachVolume ---- */

/* "/dev/sda1", "/dev/sdf", "/dev/xvdf", "xvdba": EC2 User Guide, "Device names for volumes". */
static bool
device_is_valid(const char *s)
{
	const char *letters = "abcdefghijklmnopqrstuvwxyz";

	if (strncmp(s, "/dev/", 5) == 0)
		s += 5;
	if (strncmp(s, "sd", 2) == 0)
		s += 2;
	else if (strncmp(s, "xvd", 3) == 0)
		s += 3;
	else
		return false;
	size_t n = strspn(s, letters);
	size_t digits = strspn(s + n, "0123456789");
	return n >= 1 && n <= 2 && digits <= 2 && s[n + digits] == '\0';
}

static int
count(const struct list *l)
{
	int n = 0;

	for (const struct list *at = l->next; at != l; at = at->next)
		n++;
	return n;
}

static void
check_limit(struct request *q, const struct instance *i)
{
	const struct ec2_type *t = ec2_type_find(i->type);
	int used = count(&i->volumes);

	if (t && t->flags & TYPE_SHARED)
		used += count(&i->interfaces) - 1;
	if (t && used >= t->volumes)
		request_fail(q, "AttachmentLimitExceeded",
		    "Volume attachment limit exceeded: %s takes %d volumes", i->type,
		    t->volumes);
}

static void
check_attach(struct request *q, struct volume *v, struct instance *i, const char *device)
{
	struct volume *other;

	if (v->attachment != ATTACHMENT_NONE)
		request_fail(
		    q, "VolumeInUse", "%s is already attached to an instance", v->o.id);
	else if (v->state != VOLUME_AVAILABLE)
		request_fail(
		    q, "IncorrectState", "Volume '%s' is not 'available'.", v->o.id);
	if (i->state != INSTANCE_RUNNING && i->state != INSTANCE_STOPPED)
		request_fail(
		    q, "IncorrectState", "Instance '%s' is not 'running'.", i->o.id);
	if (strcmp(v->zone, i->zone) != 0)
		request_fail(q, "InvalidVolume.ZoneMismatch",
		    "The volume '%s' is not in the same availability zone as instance "
		    "'%s'",
		    v->o.id, i->o.id);
	if (!device_is_valid(device))
		request_fail(q, "InvalidParameterValue",
		    "Value (%.64s) for parameter device is invalid. %.64s is not a valid "
		    "EBS "
		    "device name.",
		    device, device);
	list_for_each (other, &i->volumes, on_instance)
		if (strcmp(other->device, device) == 0)
			request_fail(q, "InvalidParameterValue",
			    "Invalid value '%s' for unixDevice. Attachment point %s is "
			    "already "
			    "in use",
			    device, device);
	check_limit(q, i);
}

static void
attach_volume(struct request *q)
{
	const char *device = request_need(q, "Device");
	const char *volume = request_need(q, "VolumeId");
	const char *instance = request_need(q, "InstanceId");
	struct volume *v = NULL;
	struct instance *i = NULL;

	if (!request_failed(q))
		v = request_object(q, &kind_volume, volume);
	if (v)
		i = request_object(q, &kind_instance, instance);
	if (i)
		check_attach(q, v, i, device);
	if (!v || !i || !request_ready(q))
		return;
	volume_tie(v, i, device, ATTACHMENT_ATTACHING);
	begin(q, v, DELAY_VOLUME_ATTACH);
	write_attachment(&q->reply, v);
}

/* ---- DetachVolume ---- */

static void
check_detach(struct request *q, const struct volume *v, bool force)
{
	const char *instance = request_text(q, "InstanceId");
	const char *device = request_text(q, "Device");
	bool going =
	    v->attachment == ATTACHMENT_DETACHING || v->attachment == ATTACHMENT_BUSY;
	const struct instance *i = v->instance;

	if (v->attachment == ATTACHMENT_NONE)
		request_fail(q, "IncorrectState", "Volume '%s' is in the '%s' state.",
		    v->o.id, volume_state_names[v->state]);
	else if ((instance && strcmp(instance, v->instance_id) != 0) ||
		 (device && strcmp(device, v->device) != 0))
		request_fail(q, "InvalidAttachment.NotFound",
		    "The volume '%s' is not attached to instance '%.64s' as device "
		    "'%.64s'",
		    v->o.id, instance ?: v->instance_id, device ?: v->device);
	else if (i && i->root_device && strcmp(i->root_device, v->device) == 0 &&
		 i->state != INSTANCE_STOPPED)
		request_fail(q, "OperationNotPermitted",
		    "Unable to detach root volume '%s' from instance '%s'", v->o.id,
		    i->o.id);
	else if ((going && !force) || (v->attachment == ATTACHMENT_ATTACHING && !force))
		request_fail(q, "IncorrectState", "Volume '%s' is in the '%s' state.",
		    v->o.id, attachment_state_names[v->attachment]);
}

static void
detach_volume(struct request *q)
{
	const char *id = request_need(q, "VolumeId");
	bool force = request_bool(q, false, "Force");
	struct volume *v = request_failed(q) ? NULL : request_object(q, &kind_volume, id);

	if (v)
		check_detach(q, v, force);
	if (!v || !request_ready(q))
		return;
	v->attachment = ATTACHMENT_DETACHING;
	if (force)
		object_after(&v->o, scenario_delay(q->world, DELAY_VOLUME_DETACH));
	else
		begin(q, v, DELAY_VOLUME_DETACH);
	write_attachment(&q->reply, v);
}

/* ---- DeleteVolume ---- */

static void
delete_volume(struct request *q)
{
	const char *id = request_need(q, "VolumeId");
	struct volume *v = request_failed(q) ? NULL : request_object(q, &kind_volume, id);

	if (v && v->attachment != ATTACHMENT_NONE)
		request_fail(q, "VolumeInUse", "Volume %s is currently attached to %s",
		    v->o.id, v->instance_id);
	else if (v && v->state == VOLUME_CREATING)
		request_fail(q, "IncorrectState",
		    "Volume '%s' is in the 'creating' state.", v->o.id);
	else if (v && v->state == VOLUME_DELETING)
		request_fail(
		    q, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id);
	if (!v || !request_ready(q))
		return;
	v->state = VOLUME_DELETING;
	object_after(&v->o, scenario_delay(q->world, DELAY_VOLUME_DELETE));
	reply_true(&q->reply);
}

/* ---- DescribeVolumes, DescribeVolumeStatus ---- */

OFFER(by_id, VOLUME(o)->o.id)
OFFER(by_zone, VOLUME(o)->zone)
OFFER(by_type, VOLUME(o)->type)
OFFER(by_snapshot, VOLUME(o)->snapshot)
OFFER(by_state, volume_state_names[VOLUME(o)->state])
OFFER(by_instance, VOLUME(o)->instance_id)
OFFER(by_device, VOLUME(o)->device)
OFFER_INT(by_size, VOLUME(o)->size_gib)
OFFER_BOOL(by_encrypted, VOLUME(o)->encrypted)
OFFER_TIME(by_created, VOLUME(o)->o.created_at)

static void
by_attachment_state(const void *o, struct offer *v)
{
	if (VOLUME(o)->attachment != ATTACHMENT_NONE)
		offer(v, attachment_state_names[VOLUME(o)->attachment]);
}

static void
by_delete_on_termination(const void *o, struct offer *v)
{
	if (VOLUME(o)->attachment != ATTACHMENT_NONE)
		offer_bool(v, VOLUME(o)->delete_on_termination);
}

static void
by_attach_time(const void *o, struct offer *v)
{
	if (VOLUME(o)->attachment != ATTACHMENT_NONE)
		offer_time(v, VOLUME(o)->attached_at);
}

static void
by_multi_attach(const void *o, struct offer *v)
{
	offer(v, "false");
}

static const struct filter volume_filters[] = {
    {"attachment.attach-time", by_attach_time},
    {"attachment.delete-on-termination", by_delete_on_termination},
    {"attachment.device", by_device},
    {"attachment.instance-id", by_instance},
    {"attachment.status", by_attachment_state},
    {"availability-zone", by_zone},
    {"create-time", by_created},
    {"encrypted", by_encrypted},
    {"multi-attach-enabled", by_multi_attach},
    {"size", by_size},
    {"snapshot-id", by_snapshot},
    {"status", by_state},
    {"volume-id", by_id},
    {"volume-type", by_type},
    {NULL},
};

static void
describe_volumes(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_volume,
	    .ids = "VolumeId",
	    .filters = volume_filters,
	    .set = "volumeSet",
	    .write = write_volume,
	};

	describe(q, &d);
}

static void
write_detail(struct reply *r, const char *name, const char *status)
{
	reply_open(r, "item");
	reply_text(r, "name", name);
	reply_text(r, "status", status);
	reply_close(r);
}

static void
write_status(struct request *q, const struct object *o)
{
	const struct volume *v = VOLUME(o);
	struct reply *r = &q->reply;
	bool fresh = v->state == VOLUME_CREATING;

	reply_text(r, "volumeId", o->id);
	reply_text(r, "availabilityZone", v->zone);
	reply_open(r, "volumeStatus");
	reply_text(r, "status", fresh ? "insufficient-data" : "ok");
	reply_open(r, "details");
	write_detail(r, "io-enabled", fresh ? "insufficient-data" : "passed");
	write_detail(r, "io-performance", "not-applicable");
	reply_close(r);
	reply_close(r);
}

static void
by_status(const void *o, struct offer *v)
{
	offer(v, VOLUME(o)->state == VOLUME_CREATING ? "insufficient-data" : "ok");
}

static const struct filter status_filters[] = {
    {"availability-zone", by_zone},
    {"volume-status.status", by_status},
    {NULL},
};

static void
describe_status(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_volume,
	    .ids = "VolumeId",
	    .filters = status_filters,
	    .set = "volumeStatusSet",
	    .write = write_status,
	};

	describe(q, &d);
}

static void
describe_attribute(struct request *q)
{
	static const char *const names[] = {"autoEnableIO", "productCodes", NULL};
	const char *id = request_need(q, "VolumeId");
	const char *name = request_choice(q, names, names[0], "Attribute");

	if (!request_failed(q))
		(void)request_object(q, &kind_volume, id);
	if (!request_ready(q))
		return;
	reply_text(&q->reply, "volumeId", id);
	reply_open(&q->reply, name);
	if (name == names[0])
		reply_bool(&q->reply, "value", false);
	reply_close(&q->reply);
}

const struct action volume_actions[] = {
    {"AttachVolume", attach_volume},
    {"CreateVolume", create_volume},
    {"DeleteVolume", delete_volume},
    {"DescribeVolumeAttribute", describe_attribute, ACTION_READ},
    {"DescribeVolumeStatus", describe_status, ACTION_READ},
    {"DescribeVolumes", describe_volumes, ACTION_READ},
    {"DetachVolume", detach_volume},
    {NULL},
};
