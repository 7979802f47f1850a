/* SPDX-License-Identifier: Apache-2.0 */
/* Images: looked up, made of instances, deregistered. What every region has is in defaults.c. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/families.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/scenario.h"
#include "ec2/tags.h"

#define IMAGE(o) ((const struct image *)(o))

/* EC2 API Reference, CreateImage. */
#define NAME_MIN 3
#define NAME_LONGEST 128
#define DESCRIPTION_MAX 255

#define USED_AGAIN_MS                                                                    \
	(60 * 1000) /* until it is looked whether a deregistered one is still used */

bool
image_has_snapshot(const struct image *m, const char *snapshot)
{
	const json_t *mapping;
	size_t i;

	if (strcmp(m->state, "deregistered") == 0)
		return false;
	if (m->snapshot && strcmp(m->snapshot, snapshot) == 0)
		return true;
	json_array_foreach (m->mappings, i, mapping) {
		const char *id = json_string_value(json_object_get(mapping, "snapshot"));

		if (id && strcmp(id, snapshot) == 0)
			return true;
	}
	return false;
}

/* ---- making ---- */

static void
finish(struct image *m, const char *reason)
{
	xstrset(&m->state, reason ? "failed" : "available");
	xstrset(&m->reason, reason);
	if (reason)
		log_warn("%s could not be made: %s", m->o.id, reason);
	object_changed(&m->o);
}

/* Nothing points to it any more but the backend, until it has answered. */
static void
drop(struct image *m)
{
	struct backend *b = m->o.region->world->backend;

	if (m->backend_ref)
		b->ops->remove_image(b, m);
	object_remove(&m->o);
}

static void
on_saved(void *arg, const struct err *err)
{
	struct image *m = arg;

	m->saving = false;
	if (err && err->code == ERR_CANCELLED)
		return; /* the endpoint ends: it is begun again at the next start */
	if (strcmp(m->state, "deregistered") == 0) {
		drop(m);
		return;
	}
	if (err) {
		finish(m, err->msg);
		return;
	}
	m->saved = true;
	object_after(&m->o, scenario_delay(m->o.region->world, DELAY_IMAGE));
}

static void
save(struct image *m)
{
	struct region *r = m->o.region;
	struct instance *i = region_find(r, &kind_instance, m->source_instance);
	struct backend *b = r->world->backend;

	if (!i || i->state == INSTANCE_TERMINATED) {
		finish(
		    m, "Client.InvalidInstanceID.NotFound: its instance was terminated");
		return;
	}
	m->saving = true;
	b->ops->save_image(b, i, m, on_saved, m);
}

static bool
is_used(const struct image *m)
{
	const struct instance *i;

	region_for_each (i, m->o.region, &kind_instance)
		if (i->state != INSTANCE_TERMINATED && i->image &&
		    strcmp(i->image, m->o.id) == 0)
			return true;
	return false;
}

/* One that instances stand on stays behind the scenes until they are gone: they may share its files. */
static void
drop_unused(struct image *m)
{
	if (m->saving)
		return; /* on_saved() will */
	if (is_used(m))
		object_after(&m->o, USED_AGAIN_MS);
	else
		drop(m);
}

void
image_on_due(struct object *o)
{
	struct image *m = (struct image *)o;

	if (strcmp(m->state, "deregistered") == 0)
		drop_unused(m);
	else if (strcmp(m->state, "pending") != 0)
		return;
	else if (m->saved)
		finish(m, NULL);
	else
		save(m);
}

/* Saving that a restart has cut off is begun again, once all is linked up. */
void
image_resumed(struct object *o)
{
	const struct image *m = IMAGE(o);

	if (!o->due_at && (strcmp(m->state, "deregistered") == 0 ||
			      (strcmp(m->state, "pending") == 0 && !m->saved)))
		object_after(o, 0);
}

/* ---- CreateImage ---- */

static bool
is_there(const struct image *m)
{
	return strcmp(m->state, "deregistered") != 0;
}

static void
check_name(struct request *q, const char *name)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ()[]./-'@_";
	size_t n = strlen(name);
	const struct image *m;

	if (n < NAME_MIN || n > NAME_LONGEST || name[strspn(name, allowed)])
		request_fail(q, "InvalidAMIName.Malformed",
		    "AMI names must be between 3 and 128 characters long, and may "
		    "contain "
		    "letters, numbers, '(', ')', '.', '-', '/' and '_'");
	region_for_each (m, q->region, &kind_image)
		if (is_there(m) && strcmp(m->owner, q->world->account) == 0 &&
		    strcmp(m->name, name) == 0)
			request_fail(q, "InvalidAMIName.Duplicate",
			    "AMI name %s is already in use by AMI %s", name, m->o.id);
}

static void
check_instance(struct request *q, const struct instance *i)
{
	if (i->state != INSTANCE_RUNNING && i->state != INSTANCE_STOPPED)
		request_fail(q, "IncorrectInstanceState",
		    "Instance '%s' is not in a state from which an image can be made: %s",
		    i->o.id, instance_state_info[i->state].name);
}

/* Each volume's snapshot becomes the image's; a device that the call leaves out has none. */
static void
add_mapping(
    struct request *q, struct image *m, const struct instance *i, struct volume *v)
{
	struct snapshot *s;
	char text[160];

	(void)snprintf(
	    text, sizeof(text), "Created by CreateImage(%s) for %s", i->o.id, m->o.id);
	s = snapshot_new(q->region, v, text);
	request_tag(q, &s->o);
	if (i->root_device && strcmp(v->device, i->root_device) == 0) {
		xstrset(&m->snapshot, s->o.id);
		m->root_gib = v->size_gib;
		return;
	}
	json_array_append_new(
	    m->mappings, json_pack("{s:s,s:s,s:I,s:s,s:b}", "device", v->device,
			     "snapshot", s->o.id, "size", (json_int_t)v->size_gib, "type",
			     v->type, "delete", (int)v->delete_on_termination));
}

static bool
is_left_out(struct request *q, const char *device)
{
	int n = request_count(q, "BlockDeviceMapping");

	for (int k = 1; k <= n; k++) {
		const char *name = request_text(q, "BlockDeviceMapping.%d.DeviceName", k);

		if (name && strcmp(name, device) == 0 &&
		    request_has(q, "BlockDeviceMapping.%d.NoDevice", k))
			return true;
	}
	return false;
}

static struct image *
make_image(
    struct request *q, struct instance *i, const char *name, const char *description)
{
	const struct image *from = region_find(q->region, &kind_image, i->image);
	struct image *m = object_new(q->region, &kind_image, NULL);
	char now[REPLY_TIME_MAX];
	struct volume *v;

	reply_time_text(world_now(q->world), now);
	m->name = xstrdup(name);
	m->description = xstrdup(description);
	m->state = xstrdup("pending");
	m->owner = xstrdup(q->world->account);
	m->architecture = xstrdup(i->architecture);
	m->root_device = xstrdup(i->root_device);
	m->user = xstrdup(from && from->user ? from->user : "ec2-user");
	m->creation_date = xstrdup(now);
	m->source_instance = xstrdup(i->o.id);
	m->mappings = json_array();
	list_for_each (v, &i->volumes, on_instance)
		if (!is_left_out(q, v->device))
			add_mapping(q, m, i, v);
	request_tag(q, &m->o);
	return m;
}

static void
create_image(struct request *q)
{
	static const char *const types[] = {"image", "snapshot", NULL};
	const char *id = request_need(q, "InstanceId"), *name = request_need(q, "Name");
	const char *description = request_text(q, "Description");
	struct instance *i =
	    request_failed(q) ? NULL : request_object(q, &kind_instance, id);
	struct image *m;

	if (i)
		check_instance(q, i);
	if (!request_failed(q))
		check_name(q, name);
	if (description && strlen(description) > DESCRIPTION_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Value for parameter description is invalid. Length exceeds maximum "
		    "of %d.",
		    DESCRIPTION_MAX);
	(void)request_bool(q, false, "NoReboot");
	request_ignore(q, "BlockDeviceMapping");
	request_check_tags(q, types);
	if (!i || !request_ready(q))
		return;
	m = make_image(q, i, name, description ?: "");
	save(m);
	reply_text(&q->reply, "imageId", m->o.id);
}

/* ---- DeregisterImage, attributes ---- */

static struct image *
read_image(struct request *q, bool own)
{
	const char *id = request_need(q, "ImageId");
	struct image *m = request_failed(q) ? NULL : request_object(q, &kind_image, id);

	if (m && !is_there(m))
		request_fail(q, "InvalidAMIID.Unavailable",
		    "The image ID '%s' is no longer available", id);
	else if (m && own && strcmp(m->owner, q->world->account) != 0)
		request_fail(q, "AuthFailure", "Not authorized for images:%s", m->o.id);
	return m;
}

static void
deregister(struct request *q)
{
	struct image *m = read_image(q, true);

	if (!m || !request_ready(q))
		return;
	xstrset(&m->state, "deregistered");
	object_after_off(&m->o);
	drop_unused(m);
	reply_true(&q->reply);
}

static void
write_device(struct reply *r, const char *device, const char *snapshot, int64_t size,
    const char *type, bool ends)
{
	reply_open(r, "item");
	reply_text(r, "deviceName", device);
	reply_open(r, "ebs");
	reply_text(r, "snapshotId", snapshot);
	reply_int(r, "volumeSize", size);
	reply_bool(r, "deleteOnTermination", ends);
	reply_text(r, "volumeType", type);
	if (strcmp(type, "gp3") == 0) {
		reply_int(r, "iops", 3000);
		reply_int(r, "throughput", 125);
	}
	reply_bool(r, "encrypted", false);
	reply_close(r);
	reply_close(r);
}

static void
write_mappings(struct reply *r, const struct image *m)
{
	const json_t *mapping;
	size_t i;

	reply_open(r, "blockDeviceMapping");
	write_device(r, m->root_device, m->snapshot, m->root_gib, "gp3", true);
	json_array_foreach (m->mappings, i, mapping)
		write_device(r, json_string_value(json_object_get(mapping, "device")),
		    json_string_value(json_object_get(mapping, "snapshot")),
		    json_integer_value(json_object_get(mapping, "size")),
		    json_string_value(json_object_get(mapping, "type")) ?: "gp3",
		    json_is_true(json_object_get(mapping, "delete")));
	reply_close(r);
}

static void
write_permission(struct reply *r, const struct image *m)
{
	reply_open(r, "launchPermission");
	if (m->is_public) {
		reply_open(r, "item");
		reply_text(r, "group", "all");
		reply_close(r);
	}
	reply_close(r);
}

static void
describe_attribute(struct request *q)
{
	static const char *const names[] = {"description", "launchPermission",
	    "blockDeviceMapping", "productCodes", "sriovNetSupport", "bootMode", NULL};
	const char *name = request_choice(q, names, NULL, "Attribute");
	const struct image *m = read_image(q, false);
	struct reply *r = &q->reply;

	if (!name)
		(void)request_need(q, "Attribute");
	if (!m || !name || !request_ready(q))
		return;
	reply_text(r, "imageId", m->o.id);
	if (name == names[1]) {
		write_permission(r, m);
	} else if (name == names[2]) {
		write_mappings(r, m);
	} else {
		reply_open(r, name);
		if (name == names[0])
			reply_text(r, "value", m->description);
		else if (name == names[4])
			reply_text(r, "value", "simple");
		reply_close(r);
	}
}

static void
modify_attribute(struct request *q)
{
	static const char *const names[] = {"description", "launchPermission", NULL};
	static const char *const operations[] = {"add", "remove", NULL};
	const char *attribute = request_choice(q, names, NULL, "Attribute");
	const char *operation = request_choice(q, operations, NULL, "OperationType");
	struct image *m = read_image(q, true);
	const char *value = request_text(q, "Value");
	const char *description = request_text(q, "Description.Value");
	const char *add = request_text(q, "LaunchPermission.Add.1.Group");
	const char *remove = request_text(q, "LaunchPermission.Remove.1.Group");
	const char *group = request_text(q, "UserGroup.1");

	if (attribute == names[0])
		description = description ?: value;
	if (group && operation == operations[0])
		add = group;
	else if (group)
		remove = group;
	if (!description && !add && !remove)
		request_fail(q, "InvalidParameterCombination",
		    "No attributes specified: description and launch permissions of the "
		    "group "
		    "'all' can be changed here");
	if (!m || !request_ready(q))
		return;
	if (description)
		xstrset(&m->description, description);
	if (add || remove)
		m->is_public = add != NULL;
	object_changed(&m->o);
	reply_true(&q->reply);
}

/* ---- DescribeImages ---- */

OFFER(by_architecture, IMAGE(o)->architecture)
OFFER(by_created, IMAGE(o)->creation_date)
OFFER(by_description, IMAGE(o)->description)
OFFER(by_id, IMAGE(o)->o.id)
OFFER(by_name, IMAGE(o)->name)
OFFER(by_alias, IMAGE(o)->owner_alias)
OFFER(by_owner, IMAGE(o)->owner)
OFFER(by_root, IMAGE(o)->root_device)
OFFER(by_state, IMAGE(o)->state)
OFFER(by_reason, IMAGE(o)->reason)
OFFER_BOOL(by_public, IMAGE(o)->is_public)

#define OFFER_FIXED(fn, text)                                                            \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		offer(v, text);                                                          \
	}

OFFER_FIXED(by_true, "true")
OFFER_FIXED(by_ebs, "ebs")
OFFER_FIXED(by_hvm, "hvm")
OFFER_FIXED(by_xen, "xen")
OFFER_FIXED(by_machine, "machine")
OFFER_FIXED(by_gp3, "gp3")
OFFER_FIXED(by_false, "false")

static void
by_nothing(const void *o, struct offer *v)
{
}

static void
by_snapshot(const void *o, struct offer *v)
{
	const json_t *mapping;
	size_t i;

	offer(v, IMAGE(o)->snapshot);
	json_array_foreach (IMAGE(o)->mappings, i, mapping)
		offer(v, json_string_value(json_object_get(mapping, "snapshot")));
}

static void
by_device(const void *o, struct offer *v)
{
	const json_t *mapping;
	size_t i;

	offer(v, IMAGE(o)->root_device);
	json_array_foreach (IMAGE(o)->mappings, i, mapping)
		offer(v, json_string_value(json_object_get(mapping, "device")));
}

static void
by_size(const void *o, struct offer *v)
{
	offer_int(v, IMAGE(o)->root_gib);
}

static const struct filter image_filters[] = {
    {"architecture", by_architecture},
    {"block-device-mapping.delete-on-termination", by_true},
    {"block-device-mapping.device-name", by_device},
    {"block-device-mapping.encrypted", by_false},
    {"block-device-mapping.snapshot-id", by_snapshot},
    {"block-device-mapping.volume-size", by_size},
    {"block-device-mapping.volume-type", by_gp3},
    {"creation-date", by_created},
    {"description", by_description},
    {"ena-support", by_true},
    {"hypervisor", by_xen},
    {"image-id", by_id},
    {"image-type", by_machine},
    {"is-public", by_public},
    {"name", by_name},
    {"owner-alias", by_alias},
    {"owner-id", by_owner},
    {"platform", by_nothing},
    {"product-code", by_nothing},
    {"root-device-name", by_root},
    {"root-device-type", by_ebs},
    {"state", by_state},
    {"state-reason-message", by_reason},
    {"virtualization-type", by_hvm},
    {NULL},
};

static void
write_image(struct request *q, const struct object *o)
{
	const struct image *m = IMAGE(o);
	struct reply *r = &q->reply;

	reply_text(r, "imageId", o->id);
	reply_fmt(r, "imageLocation", "%s/%s", m->owner_alias ?: m->owner, m->name);
	reply_text(r, "imageState", m->state);
	reply_text(r, "imageOwnerId", m->owner);
	reply_text(r, "creationDate", m->creation_date);
	reply_bool(r, "isPublic", m->is_public);
	reply_text(r, "architecture", m->architecture);
	reply_text(r, "imageType", "machine");
	reply_text(r, "imageOwnerAlias", m->owner_alias);
	reply_text(r, "name", m->name);
	reply_text(r, "description", m->description);
	reply_text(r, "rootDeviceType", "ebs");
	reply_text(r, "rootDeviceName", m->root_device);
	write_mappings(r, m);
	reply_text(r, "virtualizationType", "hvm");
	reply_tags(q, o);
	reply_text(r, "hypervisor", "xen");
	reply_bool(r, "enaSupport", true);
	reply_text(r, "sriovNetSupport", "simple");
	reply_text(r, "platformDetails", "Linux/UNIX");
	reply_text(r, "usageOperation", "RunInstances");
	if (m->reason) {
		reply_open(r, "stateReason");
		reply_text(r, "code", "Server.InternalError");
		reply_text(r, "message", m->reason);
		reply_close(r);
	}
}

static bool
is_executable_by(struct request *q, const struct image *m)
{
	int n = request_count(q, "ExecutableBy");

	for (int i = 1; i <= n; i++) {
		const char *s = request_text(q, "ExecutableBy.%d", i) ?: "";

		/* "self": shared with us by somebody, which nobody does here */
		if (strcmp(s, "all") == 0 && m->is_public)
			return true;
	}
	return n == 0;
}

static bool
image_asked(struct request *q, const struct object *o)
{
	const struct image *m = IMAGE(o);

	return is_there(m) && resource_owned(q, "Owner", m->owner, m->owner_alias) &&
	       is_executable_by(q, m);
}

static void
describe_images(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_image,
	    .ids = "ImageId",
	    .filters = image_filters,
	    .set = "imagesSet",
	    .write = write_image,
	    .shown = image_asked,
	    .page_min = 1,
	};

	request_ignore(q, "Owner");
	request_ignore(q, "ExecutableBy");
	(void)request_bool(q, false, "IncludeDeprecated");
	(void)request_bool(q, false, "IncludeDisabled");
	describe(q, &d);
}

const struct action image_actions[] = {
    {"CreateImage", create_image},
    {"DeregisterImage", deregister},
    {"DescribeImageAttribute", describe_attribute, ACTION_READ},
    {"DescribeImages", describe_images, ACTION_READ},
    {"ModifyImageAttribute", modify_attribute},
    {NULL},
};
