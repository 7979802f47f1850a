/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/instance_xml.h"

#include <stdio.h>
#include <string.h>

#include "ec2/request.h"
#include "ec2/tags.h"
#include "ec2/types.h"

void
instance_public_dns(
    const struct region *r, const char *address, char ret[INSTANCE_DNS_MAX])
{
	bool oldest = strcmp(r->name, "us-east-1") == 0;
	char dashed[32];

	(void)snprintf(dashed, sizeof(dashed), "%s", address);
	for (char *c = dashed; *c; c++)
		if (*c == '.')
			*c = '-';
	(void)snprintf(ret, INSTANCE_DNS_MAX, "ec2-%s.%s%s.amazonaws.com", dashed,
	    oldest ? "compute-1" : r->name, oldest ? "" : ".compute");
}

void
instance_write_state(struct request *q, const char *name, enum instance_state s)
{
	struct reply *r = &q->reply;

	reply_open(r, name);
	reply_int(r, "code", instance_state_info[s].code);
	reply_text(r, "name", instance_state_info[s].name);
	reply_close(r);
}

void
instance_write_groups(struct request *q, const struct texts *groups)
{
	struct reply *r = &q->reply;

	reply_open(r, "groupSet");
	for (int i = 0; groups && i < groups->n; i++) {
		const struct group *g = region_find(q->region, &kind_group, groups->v[i]);

		reply_open(r, "item");
		reply_text(r, "groupId", groups->v[i]);
		reply_text(r, "groupName", g ? g->name : "");
		reply_close(r);
	}
	reply_close(r);
}

void
instance_write_mappings(struct request *q, const struct instance *i)
{
	struct reply *r = &q->reply;
	const struct volume *v;

	reply_open(r, "blockDeviceMapping");
	list_for_each (v, &i->volumes, on_instance) {
		enum attachment_state s = (enum attachment_state)v->attachment;

		reply_open(r, "item");
		reply_text(r, "deviceName", v->device);
		reply_open(r, "ebs");
		reply_text(r, "volumeId", v->o.id);
		/* a busy one is one that is being detached */
		reply_text(r, "status",
		    attachment_state_names[s == ATTACHMENT_BUSY ? ATTACHMENT_DETACHING
								: s]);
		reply_time(r, "attachTime", v->attached_at);
		reply_bool(r, "deleteOnTermination", v->delete_on_termination);
		reply_close(r);
		reply_close(r);
	}
	reply_close(r);
}

void
instance_write_metadata_options(
    struct request *q, const struct instance *i, const char *name)
{
	struct reply *r = &q->reply;

	reply_open(r, name);
	reply_text(r, "state", "applied");
	reply_text(r, "httpTokens", i->imds_token_required ? "required" : "optional");
	reply_int(r, "httpPutResponseHopLimit", i->imds_hop_limit);
	reply_text(r, "httpEndpoint", i->imds_disabled ? "disabled" : "enabled");
	reply_text(r, "httpProtocolIpv6", "disabled");
	reply_text(r, "instanceMetadataTags", i->imds_tags ? "enabled" : "disabled");
	reply_close(r);
}

static void
write_association(struct request *q, const struct interface *n)
{
	struct reply *r = &q->reply;
	char dns[INSTANCE_DNS_MAX];

	if (!n->public_address)
		return;
	instance_public_dns(q->region, n->public_address, dns);
	reply_open(r, "association");
	reply_text(r, "publicIp", n->public_address);
	reply_text(r, "publicDnsName", dns);
	reply_text(r, "ipOwnerId", n->allocation ? q->world->account : "amazon");
	reply_close(r);
}

static void
write_interface(struct request *q, const struct interface *n)
{
	enum attachment_state s = (enum attachment_state)n->attachment;
	struct reply *r = &q->reply;

	reply_open(r, "item");
	reply_text(r, "networkInterfaceId", n->o.id);
	reply_text(r, "subnetId", n->subnet_id);
	reply_text(r, "vpcId", n->vpc);
	reply_text(r, "description", n->description);
	reply_text(r, "ownerId", q->world->account);
	reply_text(r, "status", s == ATTACHMENT_ATTACHED ? "in-use" : "attaching");
	reply_text(r, "macAddress", n->mac);
	reply_text(r, "privateIpAddress", n->address);
	reply_bool(r, "sourceDestCheck", n->source_dest_check);
	instance_write_groups(q, &n->groups);
	reply_open(r, "attachment");
	reply_text(r, "attachmentId", n->attachment_id);
	reply_int(r, "deviceIndex", n->device_index);
	reply_text(r, "status", attachment_state_names[s]);
	reply_time(r, "attachTime", n->attached_at);
	reply_bool(r, "deleteOnTermination", n->delete_on_termination);
	reply_int(r, "networkCardIndex", 0);
	reply_close(r);
	write_association(q, n);
	reply_open(r, "privateIpAddressesSet");
	reply_open(r, "item");
	reply_text(r, "privateIpAddress", n->address);
	reply_bool(r, "primary", true);
	write_association(q, n);
	reply_close(r);
	reply_close(r);
	reply_text(r, "interfaceType", "interface");
	reply_close(r);
}

static void
write_network(struct request *q, const struct instance *i)
{
	bool hidden = i->addresses_hidden_until > world_now(q->world);
	const struct interface *primary = instance_primary(i), *n;
	struct reply *r = &q->reply;
	char name[INSTANCE_HOSTNAME_MAX] = "", dns[INSTANCE_DNS_MAX] = "";

	if (hidden)
		primary = NULL;
	if (primary)
		instance_hostname(i, true, name);
	if (primary && primary->public_address)
		instance_public_dns(q->region, primary->public_address, dns);
	reply_text(r, "privateDnsName", name);
	reply_text(r, "dnsName", dns);
	if (primary) {
		reply_text(r, "privateIpAddress", primary->address);
		reply_text(r, "ipAddress", primary->public_address);
		reply_text(r, "subnetId", primary->subnet_id);
		reply_text(r, "vpcId", primary->vpc);
		reply_bool(r, "sourceDestCheck", primary->source_dest_check);
	}
	instance_write_groups(q, primary ? &primary->groups : NULL);
	reply_open(r, "networkInterfaceSet");
	if (!hidden)
		list_for_each (n, &i->interfaces, on_instance)
			write_interface(q, n);
	reply_close(r);
}

static void
write_kind(struct request *q, const struct instance *i)
{
	const struct ec2_type *t = ec2_type_find(i->type);
	struct reply *r = &q->reply;

	reply_text(r, "architecture", i->architecture);
	reply_text(r, "rootDeviceType", "ebs");
	reply_text(r, "rootDeviceName", i->root_device);
	reply_text(r, "virtualizationType", "hvm");
	reply_text(r, "hypervisor", "xen");
	reply_bool(r, "ebsOptimized", i->ebs_optimized);
	reply_bool(r, "enaSupport", true);
	if (t) {
		reply_open(r, "cpuOptions");
		reply_int(r, "coreCount", t->vcpus / t->threads);
		reply_int(r, "threadsPerCore", t->threads);
		reply_close(r);
	}
	reply_text(r, "platformDetails", "Linux/UNIX");
	reply_text(r, "usageOperation", "RunInstances");
	reply_time(r, "usageOperationUpdateTime", i->o.created_at);
}

static void
write_options(struct request *q, const struct instance *i)
{
	struct reply *r = &q->reply;

	reply_open(r, "monitoring");
	reply_text(r, "state", i->monitoring ? "enabled" : "disabled");
	reply_close(r);
	reply_open(r, "capacityReservationSpecification");
	reply_text(r, "capacityReservationPreference", "open");
	reply_close(r);
	reply_open(r, "hibernationOptions");
	reply_bool(r, "configured", i->hibernation);
	reply_close(r);
	instance_write_metadata_options(q, i, "metadataOptions");
	reply_open(r, "enclaveOptions");
	reply_bool(r, "enabled", false);
	reply_close(r);
	reply_open(r, "privateDnsNameOptions");
	reply_text(r, "hostnameType", "ip-name");
	reply_bool(r, "enableResourceNameDnsARecord", false);
	reply_bool(r, "enableResourceNameDnsAAAARecord", false);
	reply_close(r);
	reply_open(r, "maintenanceOptions");
	reply_text(r, "autoRecovery", "default");
	reply_close(r);
	if (i->profile) {
		reply_open(r, "iamInstanceProfile");
		reply_text(r, "arn", i->profile);
		reply_fmt(r, "id", "AIPA%.17s", i->o.id + 2);
		reply_close(r);
	}
	if (i->spot_request) {
		reply_text(r, "instanceLifecycle", "spot");
		reply_text(r, "spotInstanceRequestId", i->spot_request);
	}
}

static void
write_instance(struct request *q, const struct reservation *res, const struct instance *i)
{
	struct reply *r = &q->reply;

	reply_text(r, "instanceId", i->o.id);
	reply_text(r, "imageId", i->image);
	instance_write_state(q, "instanceState", instance_shown_state(i));
	reply_text(r, "reason", i->reason ?: "");
	reply_text(r, "keyName", res->key_name);
	reply_int(r, "amiLaunchIndex", i->launch_index);
	reply_open(r, "productCodes");
	reply_close(r);
	reply_text(r, "instanceType", i->type);
	reply_time(r, "launchTime", i->launched_at);
	reply_open(r, "placement");
	reply_text(r, "availabilityZone", i->zone);
	reply_text(r, "groupName", "");
	reply_text(r, "tenancy", "default");
	reply_close(r);
	if (i->reason_code) {
		reply_open(r, "stateReason");
		reply_text(r, "code", i->reason_code);
		reply_text(r, "message", i->reason_message);
		reply_close(r);
	}
	write_kind(q, i);
	write_network(q, i);
	instance_write_mappings(q, i);
	reply_text(r, "clientToken", res->client_token ?: "");
	write_options(q, i);
	reply_tags(q, &i->o);
}

void
instance_write_reservation(
    struct request *q, const struct reservation *res, const struct object **v, int n)
{
	struct reply *r = &q->reply;

	reply_text(r, "reservationId", res->o.id);
	reply_text(r, "ownerId", q->world->account);
	reply_open(r, "groupSet");
	reply_close(r);
	reply_open(r, "instancesSet");
	for (int i = 0; i < n; i++) {
		reply_open(r, "item");
		write_instance(q, res, (const struct instance *)v[i]);
		reply_close(r);
	}
	reply_close(r);
}
