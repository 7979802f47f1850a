/* SPDX-License-Identifier: Apache-2.0 */
/* Elastic addresses. Which interface bears one is the interface's to say: one that is gone bears nothing. */
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/families.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/tags.h"

#define ADDRESSES_MAX 5 /* of a region: EC2 User Guide, "Elastic IP address quota" */
#define ADDRESS(o) ((const struct address *)(o))

struct address {
	struct object o;
	char *public_ip;
	char *interface; /* id; who bore it last */
};

static const struct attr address_attrs[] = {
    ATTR(address, ATTR_TEXT, public_ip),
    ATTR(address, ATTR_TEXT, interface),
    {NULL},
};

static void
address_loaded(struct object *o)
{
	struct backend *b = o->region->world->backend;
	char got[BACKEND_ADDRESS_MAX];
	struct err err = {0};

	if (b->ops->public_take(b, NULL, ADDRESS(o)->public_ip, got, &err) < 0)
		log_warn("%s: address %s cannot be taken again: %s", o->id,
		    ADDRESS(o)->public_ip, err.msg);
}

const struct kind kind_address = {
    .name = "address",
    .resource = "elastic-ip",
    .prefix = "eipalloc-",
    .error = "InvalidAllocationID",
    .what = "allocation ID",
    .size = sizeof(struct address),
    .attrs = address_attrs,
    .loaded = address_loaded,
};

static struct interface *
bearer_of(const struct address *a)
{
	struct interface *n =
	    a->interface ? region_find(a->o.region, &kind_interface, a->interface) : NULL;

	return n && n->allocation && strcmp(n->allocation, a->o.id) == 0 ? n : NULL;
}

static struct address *
by_public_ip(struct request *q, const char *ip)
{
	struct address *a;

	region_for_each (a, q->region, &kind_address)
		if (strcmp(a->public_ip, ip) == 0)
			return a;
	request_fail(q, "InvalidAddress.NotFound", "Address '%.64s' not found.", ip);
	return NULL;
}

/* ---- allocate, release ---- */

static int
count(struct region *r)
{
	const struct address *a;
	int n = 0;

	region_for_each (a, r, &kind_address)
		n++;
	return n;
}

static void
allocate(struct request *q)
{
	static const char *const types[] = {"elastic-ip", NULL};
	static const char *const domains[] = {"vpc", "standard", NULL};
	struct backend *b = q->world->backend;
	const char *wanted = request_text(q, "Address");
	const char *border = request_text(q, "NetworkBorderGroup");
	char ip[BACKEND_ADDRESS_MAX];
	struct address *a;
	struct err err;

	(void)request_choice(q, domains, "vpc", "Domain");
	if (wanted)
		request_fail(
		    q, "InvalidAddress.NotFound", "Address '%.64s' not found.", wanted);
	if (border && strcmp(border, q->region->name) != 0)
		request_fail(q, "InvalidParameterValue",
		    "Value (%.64s) for parameter NetworkBorderGroup is invalid.", border);
	if (count(q->region) >= ADDRESSES_MAX)
		request_fail(q, "AddressLimitExceeded",
		    "The maximum number of addresses has been reached.");
	request_check_tags(q, types);
	if (!request_ready(q))
		return;
	if (b->ops->public_take(b, NULL, NULL, ip, &err) < 0) {
		request_fail(q, "InsufficientAddressCapacity",
		    "Not enough available addresses to satisfy your request: %s",
		    err.msg);
		return;
	}
	a = object_new(q->region, &kind_address, NULL);
	a->public_ip = xstrdup(ip);
	request_tag(q, &a->o);
	reply_text(&q->reply, "publicIp", ip);
	reply_text(&q->reply, "allocationId", a->o.id);
	reply_text(&q->reply, "publicIpv4Pool", "amazon");
	reply_text(&q->reply, "networkBorderGroup", q->region->name);
	reply_text(&q->reply, "domain", "vpc");
}

static void
release(struct request *q)
{
	const char *id = request_text(q, "AllocationId"),
		   *ip = request_text(q, "PublicIp");
	struct backend *b = q->world->backend;
	struct address *a = NULL;

	(void)request_text(q, "NetworkBorderGroup");
	if (id)
		a = request_object(q, &kind_address, id);
	else if (ip)
		request_fail(q, "InvalidParameterValue",
		    "You must specify an allocation id when releasing a VPC elastic IP "
		    "address");
	else
		(void)request_need(q, "AllocationId");
	if (a && bearer_of(a))
		request_fail(
		    q, "InvalidIPAddress.InUse", "Address %s is in use.", a->public_ip);
	if (!a || !request_ready(q))
		return;
	b->ops->public_free(b, a->public_ip);
	object_remove(&a->o);
	reply_true(&q->reply);
}

/* ---- associate, disassociate ---- */

static struct address *
read_address(struct request *q)
{
	const char *id = request_text(q, "AllocationId"),
		   *ip = request_text(q, "PublicIp");

	if (id)
		return request_object(q, &kind_address, id);
	if (ip)
		return by_public_ip(q, ip);
	request_fail(
	    q, "MissingParameter", "Either public IP or allocation id must be specified");
	return NULL;
}

static struct interface *
read_target(struct request *q)
{
	const char *instance = request_text(q, "InstanceId");
	const char *interface = request_text(q, "NetworkInterfaceId");
	const char *private_ip = request_text(q, "PrivateIpAddress");
	struct interface *n = NULL;
	struct instance *i;

	if (interface) {
		n = request_object(q, &kind_interface, interface);
	} else if (instance && (i = request_object(q, &kind_instance, instance))) {
		n = instance_primary(i);
		if (i->state == INSTANCE_TERMINATED ||
		    i->state == INSTANCE_SHUTTING_DOWN || i->state == INSTANCE_PENDING ||
		    !n)
			request_fail(q, "InvalidInstanceID",
			    "The instance '%s' is not in a valid state for this "
			    "operation",
			    i->o.id);
	} else if (!instance) {
		request_fail(q, "MissingParameter",
		    "Either instance ID or network interface id must be specified");
	}
	if (n && private_ip && strcmp(private_ip, n->address) != 0)
		request_fail(q, "InvalidParameterValue", "Address %.64s is not one of %s",
		    private_ip, n->o.id);
	return n;
}

/* The elastic address goes; a running instance gets a temporary one again. */
static void
part(struct interface *n, bool give_other)
{
	const struct instance *i = n->instance;

	xstrset(&n->allocation, NULL);
	xstrset(&n->association, NULL);
	xstrset(&n->public_address, NULL);
	object_changed(&n->o);
	if (give_other && i && i->state == INSTANCE_RUNNING && n->device_index == 0 &&
	    n->subnet && n->subnet->public_addresses)
		interface_public_take(n);
}

static void
join(struct address *a, struct interface *n)
{
	char id[32];

	interface_public_drop(n);
	world_new_id(n->o.region, "eipassoc-", id);
	xstrset(&n->allocation, a->o.id);
	xstrset(&n->association, id);
	xstrset(&n->public_address, a->public_ip);
	xstrset(&a->interface, n->o.id);
	object_changed(&n->o);
	object_changed(&a->o);
}

static void
associate(struct request *q)
{
	struct address *a = read_address(q);
	struct interface *n = request_failed(q) ? NULL : read_target(q);
	bool again = request_bool(q, true, "AllowReassociation");
	struct interface *before = a ? bearer_of(a) : NULL;

	if (n && before && before != n && !again)
		request_fail(q, "Resource.AlreadyAssociated",
		    "resource %s is already associated with associate-id %s", a->o.id,
		    before->association);
	else if (a && n && n->allocation && strcmp(n->allocation, a->o.id) != 0 && !again)
		request_fail(q, "Resource.AlreadyAssociated",
		    "resource %s is already associated with associate-id %s", n->o.id,
		    n->association);
	if (!a || !n || !request_ready(q))
		return;
	if (before != n) {
		if (before)
			part(before, true);
		if (n->allocation)
			part(n, false);
		join(a, n);
	}
	reply_text(&q->reply, "associationId", n->association);
}

static struct interface *
read_association(struct request *q)
{
	const char *id = request_text(q, "AssociationId"),
		   *ip = request_text(q, "PublicIp");
	struct address *a = !id && ip ? by_public_ip(q, ip) : NULL;
	struct interface *n;

	if (!id && !ip)
		request_fail(q, "MissingParameter",
		    "Either public IP or association id must be specified");
	if (!id)
		return a ? bearer_of(a) : NULL; /* one that nobody bears: nothing to do */
	region_for_each (n, q->region, &kind_interface)
		if (n->association && strcmp(n->association, id) == 0)
			return n;
	request_fail(q, "InvalidAssociationID.NotFound",
	    "The association ID '%.64s' does not exist", id);
	return NULL;
}

static void
disassociate(struct request *q)
{
	struct interface *n = read_association(q);

	if (!request_ready(q))
		return;
	if (n)
		part(n, true);
	reply_true(&q->reply);
}

/* ---- DescribeAddresses ---- */

static const char *
bearer_text(const void *o, size_t offset)
{
	const struct interface *n = bearer_of(ADDRESS(o));

	return n ? *(char *const *)((const char *)n + offset) : NULL;
}

OFFER(by_allocation, ADDRESS(o)->o.id)
OFFER(by_ip, ADDRESS(o)->public_ip)
OFFER(by_association, bearer_text(o, offsetof(struct interface, association)))
OFFER(by_instance, bearer_text(o, offsetof(struct interface, instance_id)))
OFFER(by_private, bearer_text(o, offsetof(struct interface, address)))
OFFER(by_border, ADDRESS(o)->o.region->name)

static void
by_interface(const void *o, struct offer *v)
{
	const struct interface *n = bearer_of(ADDRESS(o));

	offer(v, n ? n->o.id : NULL);
}

static void
by_owner(const void *o, struct offer *v)
{
	if (bearer_of(ADDRESS(o)))
		offer(v, ADDRESS(o)->o.region->world->account);
}

static void
by_domain(const void *o, struct offer *v)
{
	offer(v, "vpc");
}

static const struct filter address_filters[] = {
    {"allocation-id", by_allocation},
    {"association-id", by_association},
    {"domain", by_domain},
    {"instance-id", by_instance},
    {"network-border-group", by_border},
    {"network-interface-id", by_interface},
    {"network-interface-owner-id", by_owner},
    {"private-ip-address", by_private},
    {"public-ip", by_ip},
    {NULL},
};

static void
write_address(struct request *q, const struct object *o)
{
	const struct interface *n = bearer_of(ADDRESS(o));
	struct reply *r = &q->reply;

	reply_text(r, "publicIp", ADDRESS(o)->public_ip);
	reply_text(r, "allocationId", o->id);
	reply_text(r, "domain", "vpc");
	if (n) {
		reply_text(r, "instanceId", n->instance_id);
		reply_text(r, "associationId", n->association);
		reply_text(r, "networkInterfaceId", n->o.id);
		reply_text(r, "networkInterfaceOwnerId", q->world->account);
		reply_text(r, "privateIpAddress", n->address);
	}
	reply_tags(q, o);
	reply_text(r, "publicIpv4Pool", "amazon");
	reply_text(r, "networkBorderGroup", o->region->name);
}

static bool
address_asked(struct request *q, const struct object *o)
{
	return resource_named(q, "PublicIp", ADDRESS(o)->public_ip);
}

static void
describe_addresses(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_address,
	    .ids = "AllocationId",
	    .filters = address_filters,
	    .set = "addressesSet",
	    .write = write_address,
	    .shown = address_asked,
	};
	int n = request_count(q, "PublicIp");

	for (int i = 1; i <= n; i++) {
		const char *ip = request_need(q, "PublicIp.%d", i);

		if (!request_failed(q))
			(void)by_public_ip(q, ip);
	}
	describe(q, &d);
}

const struct action address_actions[] = {
    {"AllocateAddress", allocate},
    {"AssociateAddress", associate},
    {"DescribeAddresses", describe_addresses, ACTION_READ},
    {"DisassociateAddress", disassociate},
    {"ReleaseAddress", release},
    {NULL},
};
