/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default VPC, and what one asks to see of it: subnets, its route table, gateway, access list and DHCP options. The last
 * four are not objects here: each VPC has one of each, whose id is the VPC's with another prefix.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/tags.h"
#include "ec2/zones.h"

#define VPC(o) ((const struct vpc *)(o))
#define SUBNET(o) ((const struct subnet *)(o))
#define SIDE_ID_MAX 40

/* "rtb-0123..." of "vpc-0123..." */
static const char *
side_id(const struct object *vpc, const char *prefix, char ret[SIDE_ID_MAX])
{
	(void)snprintf(
	    ret, SIDE_ID_MAX, "%s%s", prefix, vpc->id + strlen(kind_vpc.prefix));
	return ret;
}

#define OFFER_SIDE_ID(fn, prefix)                                                        \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		char id[SIDE_ID_MAX];                                                    \
		offer(v, side_id(o, prefix, id));                                        \
	}

OFFER_SIDE_ID(by_route_table, "rtb-")
OFFER_SIDE_ID(by_gateway, "igw-")
OFFER_SIDE_ID(by_acl, "acl-")
OFFER_SIDE_ID(by_dhcp, "dopt-")

static void
by_available(const void *o, struct offer *v)
{
	offer(v, "available");
}

/* ---- DescribeVpcs ---- */

OFFER(by_vpc_cidr, VPC(o)->cidr)
OFFER(by_vpc_id, VPC(o)->o.id)
OFFER(by_vpc_owner, VPC(o)->o.region->world->account)
OFFER_BOOL(by_vpc_default, VPC(o)->is_default)

static const struct filter vpc_filters[] = {
    {"cidr", by_vpc_cidr},
    {"cidr-block-association.cidr-block", by_vpc_cidr},
    {"dhcp-options-id", by_dhcp},
    {"is-default", by_vpc_default},
    {"isDefault", by_vpc_default},
    {"owner-id", by_vpc_owner},
    {"state", by_available},
    {"vpc-id", by_vpc_id},
    {NULL},
};

static void
write_vpc(struct request *q, const struct object *o)
{
	struct reply *r = &q->reply;
	char id[SIDE_ID_MAX];

	reply_text(r, "vpcId", o->id);
	reply_text(r, "ownerId", q->world->account);
	reply_text(r, "state", "available");
	reply_text(r, "cidrBlock", VPC(o)->cidr);
	reply_open(r, "cidrBlockAssociationSet");
	reply_open(r, "item");
	reply_text(r, "cidrBlock", VPC(o)->cidr);
	reply_text(r, "associationId", side_id(o, "vpc-cidr-assoc-", id));
	reply_open(r, "cidrBlockState");
	reply_text(r, "state", "associated");
	reply_close(r);
	reply_close(r);
	reply_close(r);
	reply_text(r, "dhcpOptionsId", side_id(o, "dopt-", id));
	reply_text(r, "instanceTenancy", "default");
	reply_bool(r, "isDefault", VPC(o)->is_default);
	reply_tags(q, o);
}

static void
describe_vpcs(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_vpc,
	    .ids = "VpcId",
	    .filters = vpc_filters,
	    .set = "vpcSet",
	    .write = write_vpc,
	};

	describe(q, &d);
}

static void
describe_vpc_attribute(struct request *q)
{
	static const char *const names[] = {"enableDnsSupport", "enableDnsHostnames",
	    "enableNetworkAddressUsageMetrics", NULL};
	const char *id = request_need(q, "VpcId");
	const char *name = request_choice(q, names, NULL, "Attribute");

	if (!request_has(q, "Attribute"))
		(void)request_need(q, "Attribute");
	if (!request_failed(q))
		(void)request_object(q, &kind_vpc, id);
	if (!name || !request_ready(q))
		return;
	reply_text(&q->reply, "vpcId", id);
	reply_open(&q->reply, name);
	reply_bool(&q->reply, "value", name != names[2]);
	reply_close(&q->reply);
}

/* ---- subnets ---- */

OFFER(by_subnet_id, SUBNET(o)->o.id)
OFFER(by_subnet_vpc, SUBNET(o)->vpc)
OFFER(by_subnet_zone, SUBNET(o)->zone)
OFFER(by_subnet_cidr, SUBNET(o)->cidr)
OFFER(by_subnet_owner, SUBNET(o)->o.region->world->account)
OFFER_BOOL(by_subnet_default, SUBNET(o)->is_default)
OFFER_BOOL(by_subnet_public, SUBNET(o)->public_addresses)

/* VPC User Guide, "Subnet sizing": the first four addresses and the last are AWS's. */
static int64_t
free_addresses(const struct subnet *s)
{
	const char *slash = strchr(s->cidr, '/');
	long bits = slash ? strtol(slash + 1, NULL, 10) : 24;
	int64_t left = (INT64_C(1) << (32 - bits)) - 5 - s->n_taken;

	return left > 0 ? left : 0;
}

static void
by_subnet_zone_id(const void *o, struct offer *v)
{
	const struct region_info *info = SUBNET(o)->o.region->info;
	char id[ZONE_NAME_MAX];

	zone_id(info, zone_find(info, SUBNET(o)->zone), id);
	offer(v, id);
}

static void
by_subnet_free(const void *o, struct offer *v)
{
	offer_int(v, free_addresses(o));
}

static const struct filter subnet_filters[] = {
    {"availability-zone", by_subnet_zone},
    {"availabilityZone", by_subnet_zone},
    {"availability-zone-id", by_subnet_zone_id},
    {"available-ip-address-count", by_subnet_free},
    {"cidr-block", by_subnet_cidr},
    {"default-for-az", by_subnet_default},
    {"defaultForAz", by_subnet_default},
    {"map-public-ip-on-launch", by_subnet_public},
    {"owner-id", by_subnet_owner},
    {"state", by_available},
    {"subnet-id", by_subnet_id},
    {"vpc-id", by_subnet_vpc},
    {NULL},
};

static void
write_subnet(struct request *q, const struct object *o)
{
	const struct subnet *s = SUBNET(o);
	const struct region_info *info = o->region->info;
	struct reply *r = &q->reply;
	char zone[ZONE_NAME_MAX];

	zone_id(info, zone_find(info, s->zone), zone);
	reply_text(r, "subnetId", o->id);
	reply_fmt(r, "subnetArn", "arn:aws:ec2:%s:%s:subnet/%s", o->region->name,
	    q->world->account, o->id);
	reply_text(r, "state", "available");
	reply_text(r, "ownerId", q->world->account);
	reply_text(r, "vpcId", s->vpc);
	reply_text(r, "cidrBlock", s->cidr);
	reply_open(r, "ipv6CidrBlockAssociationSet");
	reply_close(r);
	reply_int(r, "availableIpAddressCount", free_addresses(s));
	reply_text(r, "availabilityZone", s->zone);
	reply_text(r, "availabilityZoneId", zone);
	reply_bool(r, "defaultForAz", s->is_default);
	reply_bool(r, "mapPublicIpOnLaunch", s->public_addresses);
	reply_bool(r, "mapCustomerOwnedIpOnLaunch", false);
	reply_bool(r, "assignIpv6AddressOnCreation", false);
	reply_bool(r, "enableDns64", false);
	reply_bool(r, "ipv6Native", false);
	reply_open(r, "privateDnsNameOptionsOnLaunch");
	reply_text(r, "hostnameType", "ip-name");
	reply_bool(r, "enableResourceNameDnsARecord", false);
	reply_bool(r, "enableResourceNameDnsAAAARecord", false);
	reply_close(r);
	reply_tags(q, o);
}

static void
describe_subnets(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_subnet,
	    .ids = "SubnetId",
	    .filters = subnet_filters,
	    .set = "subnetSet",
	    .write = write_subnet,
	};

	describe(q, &d);
}

static void
modify_subnet(struct request *q)
{
	const char *id = request_need(q, "SubnetId");
	struct subnet *s = request_failed(q) ? NULL : request_object(q, &kind_subnet, id);
	bool given = request_has(q, "MapPublicIpOnLaunch");
	bool value = request_bool(q, false, "MapPublicIpOnLaunch.Value");

	if (!given)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter mapPublicIpOnLaunch");
	if (!s || !request_ready(q))
		return;
	s->public_addresses = value;
	object_changed(&s->o);
	reply_true(&q->reply);
}

/* ---- what each VPC has one of ---- */

/* Ids of a Describe that are no objects' own: all must be there. */
static void
check_side_ids(struct request *q, const char *param, const char *prefix, const char *code)
{
	int n = request_count(q, "%s", param);

	for (int i = 1; i <= n; i++) {
		const char *id = request_need(q, "%s.%d", param, i);
		const struct vpc *vpc;
		char side[SIDE_ID_MAX];
		bool found = false;

		region_for_each (vpc, q->region, &kind_vpc)
			found = found || strcmp(side_id(&vpc->o, prefix, side), id) == 0;
		if (!found)
			request_fail(q, code, "The ID '%.64s' does not exist", id);
	}
}

static void
write_active_route(
    struct reply *r, const char *cidr, const char *gateway, const char *origin)
{
	reply_open(r, "item");
	reply_text(r, "destinationCidrBlock", cidr);
	reply_text(r, "gatewayId", gateway);
	reply_text(r, "state", "active");
	reply_text(r, "origin", origin);
	reply_close(r);
}

static void
write_route_table(struct request *q, const struct object *o)
{
	struct reply *r = &q->reply;
	char id[SIDE_ID_MAX], gateway[SIDE_ID_MAX], association[SIDE_ID_MAX];

	side_id(o, "rtb-", id);
	side_id(o, "rtbassoc-", association);
	reply_text(r, "routeTableId", id);
	reply_text(r, "vpcId", o->id);
	reply_text(r, "ownerId", q->world->account);
	reply_open(r, "routeSet");
	write_active_route(r, VPC(o)->cidr, "local", "CreateRouteTable");
	write_active_route(r, "0.0.0.0/0", side_id(o, "igw-", gateway), "CreateRoute");
	reply_close(r);
	reply_open(r, "associationSet");
	reply_open(r, "item");
	reply_text(r, "routeTableAssociationId", association);
	reply_text(r, "routeTableId", id);
	reply_bool(r, "main", true);
	reply_open(r, "associationState");
	reply_text(r, "state", "associated");
	reply_close(r);
	reply_close(r);
	reply_close(r);
	reply_open(r, "propagatingVgwSet");
	reply_close(r);
}

static void
by_main(const void *o, struct offer *v)
{
	offer(v, "true");
}

static const struct filter route_table_filters[] = {
    {"association.main", by_main},
    {"association.route-table-id", by_route_table},
    {"owner-id", by_vpc_owner},
    {"route.gateway-id", by_gateway},
    {"route-table-id", by_route_table},
    {"vpc-id", by_vpc_id},
    {NULL},
};

static bool
route_table_asked(struct request *q, const struct object *o)
{
	char id[SIDE_ID_MAX];

	return resource_named(q, "RouteTableId", side_id(o, "rtb-", id));
}

static void
describe_route_tables(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_vpc,
	    .filters = route_table_filters,
	    .set = "routeTableSet",
	    .write = write_route_table,
	    .shown = route_table_asked,
	};

	check_side_ids(q, "RouteTableId", "rtb-", "InvalidRouteTableID.NotFound");
	describe(q, &d);
}

static void
write_gateway(struct request *q, const struct object *o)
{
	struct reply *r = &q->reply;
	char id[SIDE_ID_MAX];

	reply_text(r, "internetGatewayId", side_id(o, "igw-", id));
	reply_text(r, "ownerId", q->world->account);
	reply_open(r, "attachmentSet");
	reply_open(r, "item");
	reply_text(r, "vpcId", o->id);
	/* Real EC2 says "available", which its own model has no place for. */
	reply_text(r, "state", "attached");
	reply_close(r);
	reply_close(r);
}

static void
by_attached(const void *o, struct offer *v)
{
	offer(v, "available");
	offer(v, "attached");
}

static const struct filter gateway_filters[] = {
    {"attachment.state", by_attached},
    {"attachment.vpc-id", by_vpc_id},
    {"internet-gateway-id", by_gateway},
    {"owner-id", by_vpc_owner},
    {NULL},
};

static bool
gateway_asked(struct request *q, const struct object *o)
{
	char id[SIDE_ID_MAX];

	return resource_named(q, "InternetGatewayId", side_id(o, "igw-", id));
}

static void
describe_gateways(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_vpc,
	    .filters = gateway_filters,
	    .set = "internetGatewaySet",
	    .write = write_gateway,
	    .shown = gateway_asked,
	};

	check_side_ids(
	    q, "InternetGatewayId", "igw-", "InvalidInternetGatewayID.NotFound");
	describe(q, &d);
}

static void
write_acl_entry(struct reply *r, bool egress, int number, const char *action)
{
	reply_open(r, "item");
	reply_int(r, "ruleNumber", number);
	reply_text(r, "protocol", "-1");
	reply_text(r, "ruleAction", action);
	reply_bool(r, "egress", egress);
	reply_text(r, "cidrBlock", "0.0.0.0/0");
	reply_close(r);
}

static void
write_acl(struct request *q, const struct object *o)
{
	struct reply *r = &q->reply;
	const struct subnet *s;
	char id[SIDE_ID_MAX];

	side_id(o, "acl-", id);
	reply_text(r, "networkAclId", id);
	reply_text(r, "vpcId", o->id);
	reply_bool(r, "default", true);
	reply_text(r, "ownerId", q->world->account);
	reply_open(r, "entrySet");
	for (int egress = 1; egress >= 0; egress--) {
		write_acl_entry(r, egress, 100, "allow");
		write_acl_entry(r, egress, 32767, "deny");
	}
	reply_close(r);
	reply_open(r, "associationSet");
	region_for_each (s, o->region, &kind_subnet) {
		if (strcmp(s->vpc, o->id) != 0)
			continue;
		reply_open(r, "item");
		reply_fmt(r, "networkAclAssociationId", "aclassoc-%s",
		    s->o.id + strlen(kind_subnet.prefix));
		reply_text(r, "networkAclId", id);
		reply_text(r, "subnetId", s->o.id);
		reply_close(r);
	}
	reply_close(r);
}

static const struct filter acl_filters[] = {
    {"default", by_main},
    {"network-acl-id", by_acl},
    {"owner-id", by_vpc_owner},
    {"vpc-id", by_vpc_id},
    {NULL},
};

static bool
acl_asked(struct request *q, const struct object *o)
{
	char id[SIDE_ID_MAX];

	return resource_named(q, "NetworkAclId", side_id(o, "acl-", id));
}

static void
describe_acls(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_vpc,
	    .filters = acl_filters,
	    .set = "networkAclSet",
	    .write = write_acl,
	    .shown = acl_asked,
	};

	check_side_ids(q, "NetworkAclId", "acl-", "InvalidNetworkAclID.NotFound");
	describe(q, &d);
}

const struct action network_actions[] = {
    {"DescribeInternetGateways", describe_gateways, ACTION_READ},
    {"DescribeNetworkAcls", describe_acls, ACTION_READ},
    {"DescribeRouteTables", describe_route_tables, ACTION_READ},
    {"DescribeSubnets", describe_subnets, ACTION_READ},
    {"DescribeVpcAttribute", describe_vpc_attribute, ACTION_READ},
    {"DescribeVpcs", describe_vpcs, ACTION_READ},
    {"ModifySubnetAttribute", modify_subnet},
    {NULL},
};
