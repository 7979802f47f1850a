/* SPDX-License-Identifier: Apache-2.0 */
/* Where RunInstances puts an instance: subnet, groups, interfaces. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "ec2/idempotent.h"
#include "ec2/request.h"
#include "ec2/run.h"
#include "ec2/zones.h"

static const char *
read_zone(struct request *q)
{
	const char *zone = request_text(q, "Placement.AvailabilityZone");

	if (zone && zone_find(q->region->info, zone) < 0)
		request_fail(q, "InvalidParameterValue",
		    "Invalid availability zone: [%.60s]", zone);
	return zone;
}

static struct subnet *
default_subnet(struct request *q, const char *zone)
{
	struct subnet *s;

	region_for_each (s, q->region, &kind_subnet)
		if (s->is_default && (!zone || strcmp(s->zone, zone) == 0))
			return s;
	if (zone)
		request_fail(q, "MissingInput",
		    "No default subnet for availability zone: '%s'.", zone);
	else
		request_fail(q, "VPCIdNotSpecified",
		    "No default VPC for this user. GroupName is only supported for "
		    "EC2-Classic and default VPC.");
	return NULL;
}

static void
read_group_ids(
    struct request *q, const struct subnet *s, struct texts *to, const char *at)
{
	int n = request_count(q, "%s", at);

	for (int i = 1; i <= n; i++) {
		struct group *g =
		    request_object(q, &kind_group, request_need(q, "%s.%d", at, i));

		if (!g)
			return;
		if (s && strcmp(g->vpc, s->vpc) != 0)
			request_fail(q, "InvalidParameter",
			    "Security group %s and subnet %s belong to different "
			    "networks.",
			    g->o.id, s->o.id);
		if (!texts_have(to, g->o.id))
			texts_add(to, g->o.id);
	}
}

/* By name: those of the subnet's VPC. */
static void
read_group_names(struct request *q, const struct subnet *s, struct texts *to)
{
	int n = request_count(q, "SecurityGroup");

	for (int i = 1; i <= n; i++) {
		const char *name = request_need(q, "SecurityGroup.%d", i);
		struct group *g;
		bool found = false;

		region_for_each (g, q->region, &kind_group) {
			if (!s || strcmp(g->vpc, s->vpc) != 0 ||
			    strcmp(g->name, name) != 0)
				continue;
			found = true;
			if (!texts_have(to, g->o.id))
				texts_add(to, g->o.id);
		}
		if (!found)
			request_fail(q, "InvalidGroup.NotFound",
			    "The security group '%.255s' does not exist in default VPC",
			    name);
	}
}

static struct subnet *
read_subnet(struct request *q, const char *id, const char *zone)
{
	struct subnet *s;

	if (!id)
		return default_subnet(q, zone);
	s = request_object(q, &kind_subnet, id);
	if (s && zone && strcmp(s->zone, zone) != 0)
		request_fail(q, "InvalidParameterValue",
		    "The availability zone '%s' does not match that of subnet %s.", zone,
		    s->o.id);
	return s;
}

static void
read_existing(struct request *q, struct run_interface *n, const char *id)
{
	n->existing = request_object(q, &kind_interface, id);
	if (!n->existing)
		return;
	n->subnet = n->existing->subnet;
	/* a repeated request finds what it made itself */
	if (n->existing->attachment != ATTACHMENT_NONE && !idempotent_find(q))
		request_fail(
		    q, "InvalidNetworkInterface.InUse", "Interface: [%s] in use.", id);
	for (int i = 0; i < n->existing->groups.n; i++)
		texts_add(&n->groups, n->existing->groups.v[i]);
}

static void
read_interface(struct request *q, struct run *r, int k, const char *zone)
{
	struct run_interface *n = &r->interfaces[r->n_interfaces++];
	char at[64], groups[96];
	const char *id;

	(void)snprintf(at, sizeof(at), "NetworkInterface.%d", k);
	(void)snprintf(groups, sizeof(groups), "%s.SecurityGroupId", at);
	n->index = request_int(q, 0, 0, RUN_INTERFACES_MAX - 1, "%s.DeviceIndex", at);
	if (!request_has(q, "%s.DeviceIndex", at))
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter %s.DeviceIndex", at);
	n->description = request_text(q, "%s.Description", at);
	n->address = request_text(q, "%s.PrivateIpAddress", at);
	n->public_address =
	    request_has(q, "%s.AssociatePublicIpAddress", at)
		? request_bool(q, false, "%s.AssociatePublicIpAddress", at)
		: -1;
	request_ignore(q, "%s.InterfaceType", at);
	request_ignore(q, "%s.NetworkCardIndex", at);
	id = request_text(q, "%s.NetworkInterfaceId", at);
	n->keep = !request_bool(q, id == NULL, "%s.DeleteOnTermination", at);
	if (id) {
		read_existing(q, n, id);
		if (!n->keep)
			request_fail(q, "InvalidParameterCombination",
			    "Network interfaces that exist cannot be deleted on "
			    "termination by the launch: modify the attribute "
			    "afterwards.");
		if (n->address || request_count(q, "%s", groups))
			request_fail(q, "InvalidParameterCombination",
			    "A network interface that exists takes no address and no "
			    "groups.");
		return;
	}
	n->subnet = read_subnet(q, request_text(q, "%s.SubnetId", at), zone);
	read_group_ids(q, n->subnet, &n->groups, groups);
}

static void
check_interfaces(struct request *q, const struct run *r)
{
	bool first = false;

	for (int i = 0; i < r->n_interfaces; i++) {
		const struct run_interface *n = &r->interfaces[i];

		first |= n->index == 0;
		for (int k = 0; k < i; k++)
			if (r->interfaces[k].index == n->index)
				request_fail(q, "InvalidParameterValue",
				    "Each network interface requires a unique device "
				    "index.");
		if (n->subnet && r->interfaces[0].subnet &&
		    strcmp(n->subnet->zone, r->interfaces[0].subnet->zone) != 0)
			request_fail(q, "InvalidParameterCombination",
			    "Network interfaces must be in one availability zone.");
		if (n->existing && r->max > 1)
			request_fail(q, "InvalidParameterCombination",
			    "A network interface that exists can be given to one "
			    "instance "
			    "only.");
		if (n->address && r->max > 1)
			request_fail(q, "InvalidParameterCombination",
			    "A private IP address can be given to one instance only.");
		if (n->public_address == 1 && r->n_interfaces > 1)
			request_fail(q, "InvalidParameterCombination",
			    "The associatePublicIPAddress parameter cannot be specified "
			    "when launching with multiple network interfaces.");
	}
	if (!first)
		request_fail(q, "InvalidParameterValue",
		    "A network interface of device index 0 is required.");
}

static void
put_first_first(struct run *r)
{
	for (int i = 1; i < r->n_interfaces; i++)
		if (r->interfaces[i].index == 0) {
			struct run_interface n = r->interfaces[0];

			r->interfaces[0] = r->interfaces[i];
			r->interfaces[i] = n;
		}
}

void
run_read_network(struct request *q, struct run *r)
{
	const char *zone = read_zone(q), *subnet = request_text(q, "SubnetId");
	const char *address = request_text(q, "PrivateIpAddress");
	int n = request_count(q, "NetworkInterface");
	struct run_interface *only = &r->interfaces[0];

	if (n > RUN_INTERFACES_MAX) {
		request_fail(q, "InvalidParameterValue",
		    "At most %d network interfaces are possible", RUN_INTERFACES_MAX);
		return;
	}
	if (n > 0 && (subnet || address || request_has(q, "SecurityGroupId") ||
			 request_has(q, "SecurityGroup"))) {
		request_fail(q, "InvalidParameterCombination",
		    "Network interfaces and an instance-level subnet ID, private address "
		    "or security groups may not be specified on the same request");
		return;
	}
	for (int i = 1; i <= n; i++)
		read_interface(q, r, i, zone);
	if (n == 0) {
		r->n_interfaces = 1;
		only->public_address = -1;
		only->address = address;
		only->subnet = read_subnet(q, subnet, zone);
		read_group_ids(q, only->subnet, &only->groups, "SecurityGroupId");
		read_group_names(q, only->subnet, &only->groups);
	}
	put_first_first(r);
	check_interfaces(q, r);
}
