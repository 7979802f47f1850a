/* SPDX-License-Identifier: Apache-2.0 */
/* Network interfaces. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/idempotent.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/scenario.h"
#include "ec2/tags.h"
#include "ec2/types.h"

#define INTERFACE(o) ((const struct interface *)(o))
#define DESCRIPTION_MAX 255
#define GROUPS_MAX 16 /* of one interface: VPC quotas */
#define DNS_MAX 96

/* ---- time ---- */

void
interface_on_due(struct object *o)
{
	struct interface *n = (struct interface *)o;

	if (n->attachment == ATTACHMENT_ATTACHING)
		n->attachment = ATTACHMENT_ATTACHED;
	else if (n->attachment == ATTACHMENT_DETACHING)
		interface_untie(n);
	object_changed(o);
}

/* ---- writing ---- */

static const char *
status_of(const struct interface *n)
{
	switch ((enum attachment_state)n->attachment) {
	case ATTACHMENT_ATTACHING:
		return "attaching";
	case ATTACHMENT_DETACHING:
		return "detaching";
	case ATTACHMENT_ATTACHED:
	case ATTACHMENT_BUSY:
		return "in-use";
	default:
		return "available";
	}
}

/* "ip-10-0-0-5.ec2.internal": VPC User Guide, "DNS attributes": us-east-1 has a domain of its own. */
static void
private_dns(const struct interface *n, char ret[DNS_MAX])
{
	const char *region = n->o.region->name;
	bool first = strcmp(region, "us-east-1") == 0;

	(void)snprintf(ret, DNS_MAX, "ip-%s.%s%s", n->address, first ? "" : region,
	    first ? "ec2.internal" : ".compute.internal");
	for (char *c = ret; c < ret + strlen("ip-") + strlen(n->address); c++)
		if (*c == '.')
			*c = '-';
}

static void
public_dns(const struct interface *n, char ret[DNS_MAX])
{
	const char *region = n->o.region->name;
	bool first = strcmp(region, "us-east-1") == 0;

	(void)snprintf(ret, DNS_MAX, "ec2-%s.%s%s.amazonaws.com", n->public_address,
	    first ? "compute-1" : region, first ? "" : ".compute");
	for (char *c = ret; c < ret + strlen("ec2-") + strlen(n->public_address); c++)
		if (*c == '.')
			*c = '-';
}

static void
write_association(struct reply *r, const struct interface *n)
{
	char dns[DNS_MAX];

	if (!n->public_address)
		return;
	public_dns(n, dns);
	reply_open(r, "association");
	reply_text(r, "publicIp", n->public_address);
	reply_text(r, "publicDnsName", dns);
	reply_text(
	    r, "ipOwnerId", n->allocation ? n->o.region->world->account : "amazon");
	reply_text(r, "allocationId", n->allocation);
	reply_text(r, "associationId", n->association);
	reply_close(r);
}

static void
write_attachment(struct reply *r, const struct interface *n)
{
	if (n->attachment == ATTACHMENT_NONE)
		return;
	reply_open(r, "attachment");
	reply_text(r, "attachmentId", n->attachment_id);
	reply_text(r, "instanceId", n->instance_id);
	reply_text(r, "instanceOwnerId", n->o.region->world->account);
	reply_int(r, "deviceIndex", n->device_index);
	reply_int(r, "networkCardIndex", 0);
	reply_text(r, "status", attachment_state_names[n->attachment]);
	reply_time(r, "attachTime", n->attached_at);
	reply_bool(r, "deleteOnTermination", n->delete_on_termination);
	reply_close(r);
}

static void
write_groups(struct reply *r, const struct interface *n)
{
	reply_open(r, "groupSet");
	for (int i = 0; i < n->groups.n; i++) {
		const struct group *g =
		    region_find(n->o.region, &kind_group, n->groups.v[i]);

		reply_open(r, "item");
		reply_text(r, "groupId", n->groups.v[i]);
		reply_text(r, "groupName", g ? g->name : NULL);
		reply_close(r);
	}
	reply_close(r);
}

static void
write_addresses(struct reply *r, const struct interface *n, const char *dns)
{
	reply_text(r, "privateIpAddress", n->address);
	reply_text(r, "privateDnsName", dns);
	reply_open(r, "privateIpAddressesSet");
	reply_open(r, "item");
	reply_text(r, "privateIpAddress", n->address);
	reply_text(r, "privateDnsName", dns);
	reply_bool(r, "primary", true);
	write_association(r, n);
	reply_close(r);
	reply_close(r);
	reply_open(r, "ipv6AddressesSet");
	reply_close(r);
}

static void
write_interface(struct request *q, const struct object *o)
{
	const struct interface *n = INTERFACE(o);
	struct reply *r = &q->reply;
	char dns[DNS_MAX];

	private_dns(n, dns);
	reply_text(r, "networkInterfaceId", o->id);
	reply_text(r, "subnetId", n->subnet_id);
	reply_text(r, "vpcId", n->vpc);
	reply_text(r, "availabilityZone", n->zone);
	reply_text(r, "description", n->description);
	reply_text(r, "ownerId", q->world->account);
	reply_bool(r, "requesterManaged", n->requester_managed);
	reply_text(r, "status", status_of(n));
	reply_text(r, "macAddress", n->mac);
	write_addresses(r, n, dns);
	reply_bool(r, "sourceDestCheck", n->source_dest_check);
	write_groups(r, n);
	write_attachment(r, n);
	write_association(r, n);
	reply_tags(q, o);
	reply_text(r, "interfaceType", "interface");
}

/* ---- CreateNetworkInterface ---- */

static void
read_groups(struct request *q, const char *vpc, struct texts *to)
{
	int n = request_count(q, "SecurityGroupId");

	if (n > GROUPS_MAX)
		request_fail(q, "SecurityGroupsPerInterfaceLimitExceeded",
		    "The maximum number of security groups per interface is %d.",
		    GROUPS_MAX);
	for (int i = 1; i <= n && !request_failed(q); i++) {
		const char *id = request_need(q, "SecurityGroupId.%d", i);
		const struct group *g = request_object(q, &kind_group, id);

		if (g && vpc && strcmp(g->vpc, vpc) != 0)
			request_fail(q, "InvalidGroup.NotFound",
			    "The security group '%s' does not exist in VPC '%s'", g->o.id,
			    vpc);
		else if (g && !texts_have(to, g->o.id))
			texts_add(to, g->o.id);
	}
}

static const char *
read_address(struct request *q)
{
	const char *one = request_text(q, "PrivateIpAddress");
	int n = request_count(q, "PrivateIpAddresses");
	const char *first = request_text(q, "PrivateIpAddresses.1.PrivateIpAddress");
	struct in_addr a;

	(void)request_bool(q, true, "PrivateIpAddresses.1.Primary");
	if (one && n)
		request_fail(q, "InvalidParameterCombination",
		    "The parameters privateIpAddress and privateIpAddresses cannot be "
		    "used "
		    "together");
	if (n > 1 || request_int(q, 0, 0, 50, "SecondaryPrivateIpAddressCount") > 0 ||
	    request_int(q, 0, 0, 50, "Ipv6AddressCount") > 0 ||
	    request_has(q, "Ipv6Addresses"))
		request_fail(q, "UnsupportedOperation",
		    "Network interfaces have one IPv4 address here, and no IPv6 address");
	one = one ?: first;
	if (one && inet_pton(AF_INET, one, &a) != 1)
		request_fail(q, "InvalidParameterValue",
		    "Value (%.64s) for parameter privateIpAddress is invalid. Not a "
		    "valid IPv4 "
		    "address.",
		    one);
	return one;
}

static const char *
read_description(struct request *q, const char *param)
{
	const char *s = request_text(q, "%s", param);

	if (s && strlen(s) > DESCRIPTION_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Value for parameter description is invalid. Length exceeds maximum "
		    "of %d.",
		    DESCRIPTION_MAX);
	return s;
}

static struct interface *
make_interface(struct request *q, struct subnet *s, const char *address,
    const char *description, const struct texts *groups)
{
	struct interface *n = interface_new(q, s, address, groups);

	if (!n)
		return NULL;
	xstrset(&n->description, description ?: "");
	xstrset(&n->client_token, request_text(q, "ClientToken"));
	request_tag(q, &n->o);
	idempotent_keep(q, n->o.id);
	return n;
}

static void
create_interface(struct request *q)
{
	static const char *const types[] = {"network-interface", NULL};
	static const char *const forms[] = {"interface", "efa", NULL};
	const char *id = request_need(q, "SubnetId");
	struct subnet *s = request_failed(q) ? NULL : request_object(q, &kind_subnet, id);
	const char *address = read_address(q),
		   *description = read_description(q, "Description");
	const struct token *made;
	struct texts groups = {0};
	struct interface *n = NULL;

	(void)request_choice(q, forms, forms[0], "InterfaceType");
	read_groups(q, s ? s->vpc : NULL, &groups);
	request_check_tags(q, types);
	made = idempotent_find(q);
	if (s && request_ready(q)) {
		if (!made)
			n = make_interface(q, s, address, description, &groups);
		else if (!(n = region_find(q->region, &kind_interface, made->ids.v[0])))
			request_fail(q, "InvalidNetworkInterfaceID.NotFound",
			    "The networkInterface ID '%s' does not exist",
			    made->ids.v[0]);
	}
	texts_clear(&groups);
	if (!n)
		return;
	reply_open(&q->reply, "networkInterface");
	write_interface(q, &n->o);
	reply_close(&q->reply);
	reply_text(&q->reply, "clientToken", n->client_token);
}

/* ---- attach, detach, delete ---- */

static void
check_attach(
    struct request *q, const struct interface *n, const struct instance *i, int64_t at)
{
	const struct ec2_type *t = ec2_type_find(i->type);
	const struct interface *other;
	int used = 0;

	if (n->attachment != ATTACHMENT_NONE)
		request_fail(q, "InvalidNetworkInterface.InUse",
		    "Interface: [%s] in use.", n->o.id);
	if (i->state != INSTANCE_RUNNING && i->state != INSTANCE_STOPPED)
		request_fail(q, "IncorrectState",
		    "Instance '%s' is not 'running' or 'stopped'.", i->o.id);
	if (strcmp(n->zone, i->zone) != 0)
		request_fail(q, "InvalidParameterCombination",
		    "You may not attach a network interface to an instance if they are "
		    "not in "
		    "the same availability zone");
	list_for_each (other, &i->interfaces, on_instance) {
		used++;
		if (other->device_index == at)
			request_fail(q, "InvalidParameterValue",
			    "Instance '%s' already has an interface attached at device "
			    "index "
			    "'%lld'.",
			    i->o.id, (long long)at);
	}
	if (t && used >= t->interfaces)
		request_fail(q, "AttachmentLimitExceeded",
		    "Interface count %d exceeds the limit for %s", used + 1, i->type);
}

static void
attach_interface(struct request *q)
{
	const char *interface = request_need(q, "NetworkInterfaceId");
	const char *instance = request_need(q, "InstanceId");
	int64_t index = request_int(q, -1, 0, 255, "DeviceIndex");
	struct interface *n = NULL;
	struct instance *i = NULL;

	if (index < 0)
		(void)request_need(q, "DeviceIndex");
	(void)request_int(q, 0, 0, 0, "NetworkCardIndex");
	if (!request_failed(q))
		n = request_object(q, &kind_interface, interface);
	if (n)
		i = request_object(q, &kind_instance, instance);
	if (i)
		check_attach(q, n, i, index);
	if (!n || !i || !request_ready(q))
		return;
	interface_tie(n, i, index, false, ATTACHMENT_ATTACHING);
	object_after(&n->o, scenario_delay(q->world, DELAY_INTERFACE));
	reply_text(&q->reply, "attachmentId", n->attachment_id);
	reply_int(&q->reply, "networkCardIndex", 0);
}

static struct interface *
read_attachment(struct request *q, const char *id)
{
	struct interface *n;

	if (request_failed(q))
		return NULL;
	region_for_each (n, q->region, &kind_interface)
		if (n->attachment_id && strcmp(n->attachment_id, id) == 0)
			return n;
	request_fail(q, "InvalidAttachmentID.NotFound",
	    "The attachment ID '%.64s' does not exist", id);
	return NULL;
}

static void
detach_interface(struct request *q)
{
	const char *id = request_need(q, "AttachmentId");
	bool force = request_bool(q, false, "Force");
	struct interface *n = read_attachment(q, id);

	if (n && n->device_index == 0)
		request_fail(q, "OperationNotPermitted",
		    "The network interface at device index 0 cannot be detached.");
	else if (n && n->attachment == ATTACHMENT_DETACHING && !force)
		request_fail(q, "IncorrectState",
		    "The network interface %s is already being detached.", n->o.id);
	if (!n || !request_ready(q))
		return;
	n->attachment = ATTACHMENT_DETACHING;
	object_after(&n->o, scenario_delay(q->world, DELAY_INTERFACE));
	reply_true(&q->reply);
}

static void
delete_interface(struct request *q)
{
	const char *id = request_need(q, "NetworkInterfaceId");
	struct interface *n =
	    request_failed(q) ? NULL : request_object(q, &kind_interface, id);

	if (n && n->attachment != ATTACHMENT_NONE)
		request_fail(q, "InvalidParameterValue",
		    "Network interface '%s' is currently in use.", n->o.id);
	if (!n || !request_ready(q))
		return;
	interface_delete(n);
	reply_true(&q->reply);
}

/* ---- attributes ---- */

static void
describe_attribute(struct request *q)
{
	static const char *const names[] = {
	    "description", "groupSet", "sourceDestCheck", "attachment", NULL};
	const char *id = request_need(q, "NetworkInterfaceId");
	const char *name = request_choice(q, names, NULL, "Attribute");
	struct interface *n =
	    request_failed(q) ? NULL : request_object(q, &kind_interface, id);
	struct reply *r = &q->reply;

	if (!name)
		(void)request_need(q, "Attribute");
	if (!n || !name || !request_ready(q))
		return;
	reply_text(r, "networkInterfaceId", n->o.id);
	if (name == names[1]) {
		write_groups(r, n);
	} else if (name == names[3]) {
		write_attachment(r, n);
	} else {
		reply_open(r, name);
		if (name == names[0])
			reply_text(r, "value", n->description);
		else
			reply_bool(r, "value", n->source_dest_check);
		reply_close(r);
	}
}

/* As EC2: one attribute a call. */
static void
check_one_attribute(struct request *q)
{
	int n = request_has(q, "Description") + request_has(q, "SourceDestCheck") +
		request_has(q, "SecurityGroupId") + request_has(q, "Attachment");

	if (n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain an attribute that is to be modified");
	else if (n > 1)
		request_fail(q, "InvalidParameterCombination",
		    "Fields for multiple attribute types specified");
}

static void
modify_attribute(struct request *q)
{
	const char *id = request_need(q, "NetworkInterfaceId");
	struct interface *n =
	    request_failed(q) ? NULL : request_object(q, &kind_interface, id);
	const char *description = read_description(q, "Description.Value");
	bool check = request_bool(q, n && n->source_dest_check, "SourceDestCheck.Value");
	const char *attachment = request_text(q, "Attachment.AttachmentId");
	bool ends = request_bool(
	    q, n && n->delete_on_termination, "Attachment.DeleteOnTermination");
	struct texts groups = {0};

	check_one_attribute(q);
	read_groups(q, n ? n->vpc : NULL, &groups);
	if (n && request_has(q, "Attachment") &&
	    (!n->attachment_id || !attachment ||
		strcmp(n->attachment_id, attachment) != 0))
		request_fail(q, "InvalidAttachmentID.NotFound",
		    "The attachment ID '%.64s' does not exist", attachment ?: "");
	if (!n || !request_ready(q)) {
		texts_clear(&groups);
		return;
	}
	if (description)
		xstrset(&n->description, description);
	n->source_dest_check = check;
	n->delete_on_termination = ends;
	if (groups.n) {
		texts_clear(&n->groups);
		n->groups = groups;
	}
	object_changed(&n->o);
	reply_true(&q->reply);
}

/* ---- DescribeNetworkInterfaces ---- */

OFFER(by_id, INTERFACE(o)->o.id)
OFFER(by_subnet, INTERFACE(o)->subnet_id)
OFFER(by_vpc, INTERFACE(o)->vpc)
OFFER(by_zone, INTERFACE(o)->zone)
OFFER(by_address, INTERFACE(o)->address)
OFFER(by_public, INTERFACE(o)->public_address)
OFFER(by_allocation, INTERFACE(o)->allocation)
OFFER(by_association, INTERFACE(o)->association)
OFFER(by_mac, INTERFACE(o)->mac)
OFFER(by_description, INTERFACE(o)->description)
OFFER(by_status, status_of(INTERFACE(o)))
OFFER(by_attachment, INTERFACE(o)->attachment_id)
OFFER(by_instance, INTERFACE(o)->instance_id)
OFFER(by_owner, INTERFACE(o)->o.region->world->account)
OFFER_BOOL(by_check, INTERFACE(o)->source_dest_check)
OFFER_BOOL(by_requester, INTERFACE(o)->requester_managed)

static void
by_group(const void *o, struct offer *v)
{
	for (int i = 0; i < INTERFACE(o)->groups.n; i++)
		offer(v, INTERFACE(o)->groups.v[i]);
}

static void
by_group_name(const void *o, struct offer *v)
{
	for (int i = 0; i < INTERFACE(o)->groups.n; i++) {
		const struct group *g = region_find(
		    INTERFACE(o)->o.region, &kind_group, INTERFACE(o)->groups.v[i]);

		offer(v, g ? g->name : NULL);
	}
}

static void
by_attachment_status(const void *o, struct offer *v)
{
	if (INTERFACE(o)->attachment != ATTACHMENT_NONE)
		offer(v, attachment_state_names[INTERFACE(o)->attachment]);
}

static void
by_index(const void *o, struct offer *v)
{
	if (INTERFACE(o)->attachment != ATTACHMENT_NONE)
		offer_int(v, INTERFACE(o)->device_index);
}

static void
by_end(const void *o, struct offer *v)
{
	if (INTERFACE(o)->attachment != ATTACHMENT_NONE)
		offer_bool(v, INTERFACE(o)->delete_on_termination);
}

static void
by_dns(const void *o, struct offer *v)
{
	char dns[DNS_MAX];

	private_dns(INTERFACE(o), dns);
	offer(v, dns);
}

static void
by_type(const void *o, struct offer *v)
{
	offer(v, "interface");
}

static const struct filter interface_filters[] = {
    {"addresses.association.public-ip", by_public},
    {"addresses.private-ip-address", by_address},
    {"association.allocation-id", by_allocation},
    {"association.association-id", by_association},
    {"association.public-ip", by_public},
    {"attachment.attachment-id", by_attachment},
    {"attachment.delete-on-termination", by_end},
    {"attachment.device-index", by_index},
    {"attachment.instance-id", by_instance},
    {"attachment.status", by_attachment_status},
    {"availability-zone", by_zone},
    {"description", by_description},
    {"group-id", by_group},
    {"group-name", by_group_name},
    {"interface-type", by_type},
    {"mac-address", by_mac},
    {"network-interface-id", by_id},
    {"owner-id", by_owner},
    {"private-dns-name", by_dns},
    {"private-ip-address", by_address},
    {"requester-managed", by_requester},
    {"source-dest-check", by_check},
    {"status", by_status},
    {"subnet-id", by_subnet},
    {"vpc-id", by_vpc},
    {NULL},
};

static void
describe_interfaces(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_interface,
	    .ids = "NetworkInterfaceId",
	    .filters = interface_filters,
	    .set = "networkInterfaceSet",
	    .write = write_interface,
	};

	describe(q, &d);
}

const struct action interface_actions[] = {
    {"AttachNetworkInterface", attach_interface},
    {"CreateNetworkInterface", create_interface},
    {"DeleteNetworkInterface", delete_interface},
    {"DescribeNetworkInterfaceAttribute", describe_attribute, ACTION_READ},
    {"DescribeNetworkInterfaces", describe_interfaces, ACTION_READ},
    {"DetachNetworkInterface", detach_interface},
    {"ModifyNetworkInterfaceAttribute", modify_attribute},
    {NULL},
};
