/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of an instance: one is described at a time, and one is changed at a time. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/instance_xml.h"
#include "ec2/request.h"
#include "ec2/types.h"

#define USER_DATA_MAX 16384

typedef void (*write_fn)(struct request *q, const struct instance *i);

static void
write_value(struct request *q, const char *name, const char *value)
{
	reply_open(&q->reply, name);
	reply_text(&q->reply, "value", value);
	reply_close(&q->reply);
}

static void
write_flag(struct request *q, const char *name, bool value)
{
	write_value(q, name, value ? "true" : "false");
}

static void
write_type(struct request *q, const struct instance *i)
{
	write_value(q, "instanceType", i->type);
}

static void
write_user_data(struct request *q, const struct instance *i)
{
	write_value(q, "userData", instance_user_data(i));
}

static void
write_shutdown(struct request *q, const struct instance *i)
{
	write_value(q, "instanceInitiatedShutdownBehavior",
	    i->terminate_on_shutdown ? "terminate" : "stop");
}

static void
write_no_termination(struct request *q, const struct instance *i)
{
	write_flag(q, "disableApiTermination", i->no_api_termination);
}

static void
write_no_stop(struct request *q, const struct instance *i)
{
	write_flag(q, "disableApiStop", i->no_api_stop);
}

static void
write_ebs_optimized(struct request *q, const struct instance *i)
{
	write_flag(q, "ebsOptimized", i->ebs_optimized);
}

static void
write_ena(struct request *q, const struct instance *i)
{
	write_flag(q, "enaSupport", true);
}

static void
write_root_device(struct request *q, const struct instance *i)
{
	write_value(q, "rootDeviceName", i->root_device);
}

static void
write_source_dest(struct request *q, const struct instance *i)
{
	const struct interface *n = instance_primary(i);

	write_flag(q, "sourceDestCheck", n && n->source_dest_check);
}

static void
write_group_set(struct request *q, const struct instance *i)
{
	const struct interface *n = instance_primary(i);

	instance_write_groups(q, n ? &n->groups : NULL);
}

static void
write_enclave(struct request *q, const struct instance *i)
{
	reply_open(&q->reply, "enclaveOptions");
	reply_bool(&q->reply, "enabled", false);
	reply_close(&q->reply);
}

static void
write_product_codes(struct request *q, const struct instance *i)
{
	reply_open(&q->reply, "productCodes");
	reply_close(&q->reply);
}

static void
write_none(struct request *q, const struct instance *i)
{
}

static const struct {
	const char *name;
	write_fn write;
} attributes[] = {
    {"instanceType", write_type},
    {"userData", write_user_data},
    {"instanceInitiatedShutdownBehavior", write_shutdown},
    {"disableApiTermination", write_no_termination},
    {"disableApiStop", write_no_stop},
    {"ebsOptimized", write_ebs_optimized},
    {"enaSupport", write_ena},
    {"rootDeviceName", write_root_device},
    {"sourceDestCheck", write_source_dest},
    {"groupSet", write_group_set},
    {"blockDeviceMapping", instance_write_mappings},
    {"enclaveOptions", write_enclave},
    {"productCodes", write_product_codes},
    {"kernel", write_none},
    {"ramdisk", write_none},
    {"sriovNetSupport", write_none},
};
#define N_ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

static struct instance *
need_instance(struct request *q)
{
	const char *id = request_need(q, "InstanceId");

	return *id ? request_object(q, &kind_instance, id) : NULL;
}

static void
describe_attribute(struct request *q)
{
	struct instance *i = need_instance(q);
	const char *name = request_need(q, "Attribute");
	write_fn write = NULL;

	for (size_t k = 0; k < N_ATTRIBUTES; k++)
		if (strcmp(attributes[k].name, name) == 0)
			write = attributes[k].write;
	if (!write && *name)
		request_fail(q, "InvalidParameterValue",
		    "Value (%.60s) for parameter attribute is invalid. Unknown "
		    "attribute.",
		    name);
	if (!request_ready(q))
		return;
	reply_text(&q->reply, "instanceId", i->o.id);
	write(q, i);
}

/* ---- changing ---- */

static void
needs_stopped(struct request *q, const struct instance *i, const char *name)
{
	if (i->state != INSTANCE_STOPPED)
		request_fail(q, "IncorrectInstanceState",
		    "The instance '%s' is not in the 'stopped' state: %s cannot be "
		    "changed.",
		    i->o.id, name);
}

/* What is to be changed, checked; then done. */
struct change {
	const struct ec2_type *type;
	const char *user_data, *shutdown;
	struct texts groups;
	bool has_user_data;
};

/* "NAME.Value", or the old form: Attribute=name and Value. */
static const char *
new_value(struct request *q, const char *name, const char *attribute)
{
	const char *old = request_text(q, "Attribute"), *v;

	v = request_text(q, "%s.Value", name);
	if (v || !old || strcmp(old, attribute) != 0)
		return v;
	return request_text(q, "Value");
}

static void
read_type(struct request *q, const struct instance *i, struct change *c)
{
	const char *name = new_value(q, "InstanceType", "instanceType");

	if (!name)
		return;
	c->type = ec2_type_find(name);
	if (!c->type)
		request_fail(q, "InvalidParameterValue",
		    "Invalid value '%.60s' for InstanceType.", name);
	else if (strcmp(ec2_type_architecture(c->type), i->architecture) != 0)
		request_fail(q, "InvalidParameterValue",
		    "The architecture of %s does not match that of the instance.", name);
	needs_stopped(q, i, "its type");
}

static void
read_user_data(struct request *q, const struct instance *i, struct change *c)
{
	const char *v = new_value(q, "UserData", "userData");
	size_t n;

	if (!v)
		return;
	if (request_has(q, "UserData.Value"))
		free(request_base64(q, USER_DATA_MAX, &n, "UserData.Value"));
	else
		free(request_base64(q, USER_DATA_MAX, &n, "Value"));
	c->user_data = v;
	c->has_user_data = true;
	needs_stopped(q, i, "its user data");
}

static void
read_shutdown(struct request *q, struct change *c)
{
	c->shutdown = new_value(
	    q, "InstanceInitiatedShutdownBehavior", "instanceInitiatedShutdownBehavior");
	if (c->shutdown && strcmp(c->shutdown, "stop") != 0 &&
	    strcmp(c->shutdown, "terminate") != 0)
		request_fail(q, "InvalidParameterValue",
		    "Value (%.40s) for parameter instanceInitiatedShutdownBehavior is "
		    "invalid. Expected stop or terminate.",
		    c->shutdown);
}

static void
read_groups(struct request *q, const struct instance *i, struct change *c)
{
	const struct interface *n = instance_primary(i);
	int count = request_count(q, "GroupId");

	for (int k = 1; k <= count; k++) {
		struct group *g =
		    request_object(q, &kind_group, request_need(q, "GroupId.%d", k));

		if (!g)
			return;
		if (n && strcmp(g->vpc, n->vpc) != 0)
			request_fail(q, "InvalidGroup.NotFound",
			    "You have specified two resources that belong to different "
			    "networks.");
		if (!texts_have(&c->groups, g->o.id))
			texts_add(&c->groups, g->o.id);
	}
	if (c->groups.n && !n)
		request_fail(q, "IncorrectInstanceState",
		    "The instance '%s' has no network interface.", i->o.id);
}

/* Flags that are simply kept. Returns whether it was given; *to is set when `apply`. */
static void
flag(struct request *q, const char *name, const char *attribute, bool *to, bool apply)
{
	const char *v = new_value(q, name, attribute);
	bool on = v && (strcasecmp(v, "true") == 0 || strcmp(v, "1") == 0);

	if (!v)
		return;
	if (!on && strcasecmp(v, "false") != 0 && strcmp(v, "0") != 0)
		request_fail(q, "InvalidParameterValue",
		    "Value (%.40s) for parameter %s is invalid. Expected true or false.",
		    v, attribute);
	else if (apply)
		*to = on;
}

static void
flags(struct request *q, struct instance *i, bool apply)
{
	struct interface *n = instance_primary(i);
	bool nothing;

	flag(q, "DisableApiTermination", "disableApiTermination", &i->no_api_termination,
	    apply);
	flag(q, "DisableApiStop", "disableApiStop", &i->no_api_stop, apply);
	flag(q, "EbsOptimized", "ebsOptimized", &i->ebs_optimized, apply);
	flag(q, "EnaSupport", "enaSupport", &nothing, apply);
	flag(q, "SourceDestCheck", "sourceDestCheck",
	    n ? &n->source_dest_check : &nothing, apply);
	if (apply && n)
		object_changed(&n->o);
}

static struct volume *
volume_at(const struct instance *i, const char *device)
{
	struct volume *v;

	list_for_each (v, &i->volumes, on_instance)
		if (strcmp(v->device, device) == 0)
			return v;
	return NULL;
}

static void
mappings(struct request *q, struct instance *i, bool apply)
{
	int n = request_count(q, "BlockDeviceMapping");

	for (int k = 1; k <= n; k++) {
		const char *device =
		    request_need(q, "BlockDeviceMapping.%d.DeviceName", k);
		struct volume *v = volume_at(i, device);
		bool goes = request_bool(
		    q, false, "BlockDeviceMapping.%d.Ebs.DeleteOnTermination", k);

		request_ignore(q, "BlockDeviceMapping.%d.Ebs.VolumeId", k);
		if (!v) {
			request_fail(q, "InvalidInstanceAttributeValue",
			    "No device is currently mapped at %.60s", device);
		} else if (apply) {
			v->delete_on_termination = goes;
			object_changed(&v->o);
		}
	}
}

static void
apply_change(struct request *q, struct instance *i, struct change *c)
{
	struct interface *n = instance_primary(i);

	flags(q, i, true);
	mappings(q, i, true);
	if (c->type)
		xstrset(&i->type, c->type->name);
	if (c->has_user_data)
		xstrset(&i->user_data, c->user_data);
	if (c->shutdown)
		i->terminate_on_shutdown = strcmp(c->shutdown, "terminate") == 0;
	if (c->groups.n) {
		texts_clear(&n->groups);
		n->groups = c->groups;
		c->groups = (struct texts){0};
		object_changed(&n->o);
	}
	object_changed(&i->o);
}

static void
modify_attribute(struct request *q)
{
	struct instance *i = need_instance(q);
	struct change c = {0};

	if (i) {
		read_type(q, i, &c);
		read_user_data(q, i, &c);
		read_shutdown(q, &c);
		read_groups(q, i, &c);
		flags(q, i, false);
		mappings(q, i, false);
		if (i->state == INSTANCE_TERMINATED)
			request_fail(q, "IncorrectInstanceState",
			    "The instance '%s' is terminated.", i->o.id);
	}
	if (request_ready(q)) {
		apply_change(q, i, &c);
		reply_true(&q->reply);
	}
	texts_clear(&c.groups);
}

static void
modify_metadata(struct request *q)
{
	static const char *const on_off[] = {"enabled", "disabled", NULL};
	static const char *const tokens[] = {"optional", "required", NULL};
	struct instance *i = need_instance(q);
	const char *token = request_choice(q, tokens, NULL, "HttpTokens");
	const char *endpoint = request_choice(q, on_off, NULL, "HttpEndpoint");
	const char *tags = request_choice(q, on_off, NULL, "InstanceMetadataTags");
	int64_t hops = request_int(q, 0, 1, 64, "HttpPutResponseHopLimit");

	request_choice(q, on_off, NULL, "HttpProtocolIpv6");
	if (!request_ready(q))
		return;
	if (token)
		i->imds_token_required = strcmp(token, "required") == 0;
	if (endpoint)
		i->imds_disabled = strcmp(endpoint, "disabled") == 0;
	if (tags)
		i->imds_tags = strcmp(tags, "enabled") == 0;
	if (hops)
		i->imds_hop_limit = hops;
	object_changed(&i->o);
	reply_text(&q->reply, "instanceId", i->o.id);
	instance_write_metadata_options(q, i, "instanceMetadataOptions");
}

const struct action attribute_actions[] = {
    {"DescribeInstanceAttribute", describe_attribute, ACTION_READ},
    {"ModifyInstanceAttribute", modify_attribute},
    {"ModifyInstanceMetadataOptions", modify_metadata},
    {NULL},
};
