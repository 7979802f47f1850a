/* SPDX-License-Identifier: Apache-2.0 */
/* What a region's network is made of, as far as instances stand on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/instance.h"
#include "ec2/objects.h"
#include "ec2/request.h"

/* clang-format off */
static const struct attr marker_attrs[] = {
	{ NULL },
};

static const struct attr vpc_attrs[] = {
	ATTR(vpc, ATTR_TEXT, cidr),
	ATTR(vpc, ATTR_BOOL, is_default),
	{ NULL },
};

static const struct attr subnet_attrs[] = {
	ATTR(subnet, ATTR_TEXT, vpc),
	ATTR(subnet, ATTR_TEXT, zone),
	ATTR(subnet, ATTR_TEXT, cidr),
	ATTR(subnet, ATTR_BOOL, is_default),
	ATTR(subnet, ATTR_BOOL, public_addresses),
	{ NULL },
};

static const struct attr group_attrs[] = {
	ATTR(group, ATTR_TEXT, vpc),
	ATTR(group, ATTR_TEXT, name),
	ATTR(group, ATTR_TEXT, description),
	{ NULL },
};

static const struct attr interface_attrs[] = {
	ATTR(interface, ATTR_TEXT, subnet_id),
	ATTR(interface, ATTR_TEXT, vpc),
	ATTR(interface, ATTR_TEXT, zone),
	ATTR(interface, ATTR_TEXT, description),
	ATTR(interface, ATTR_TEXT, address),
	ATTR(interface, ATTR_TEXT, mac),
	ATTR(interface, ATTR_TEXT, public_address),
	ATTR(interface, ATTR_TEXT, allocation),
	ATTR(interface, ATTR_TEXT, association),
	ATTR(interface, ATTR_LIST, groups),
	ATTR(interface, ATTR_TEXT, client_token),
	ATTR(interface, ATTR_BOOL, source_dest_check),
	ATTR(interface, ATTR_INT,  attachment),
	ATTR(interface, ATTR_TEXT, attachment_id),
	ATTR(interface, ATTR_TEXT, instance_id),
	ATTR(interface, ATTR_INT,  device_index),
	ATTR(interface, ATTR_INT,  attached_at),
	ATTR(interface, ATTR_BOOL, delete_on_termination),
	ATTR(interface, ATTR_BOOL, requester_managed),
	ATTR(interface, ATTR_BOOL, wants_public_address),
	{ NULL },
};
/* clang-format on */

const char *const attachment_state_names[ATTACHMENT_STATE_MAX] = {
    [ATTACHMENT_NONE] = "detached",
    [ATTACHMENT_ATTACHING] = "attaching",
    [ATTACHMENT_ATTACHED] = "attached",
    [ATTACHMENT_DETACHING] = "detaching",
    [ATTACHMENT_BUSY] = "busy",
};

const struct kind kind_marker = {
    .name = "marker",
    .size = sizeof(struct marker),
    .attrs = marker_attrs,
};

const struct kind kind_vpc = {
    .name = "vpc",
    .resource = "vpc",
    .prefix = "vpc-",
    .error = "InvalidVpcID",
    .what = "vpc ID",
    .size = sizeof(struct vpc),
    .attrs = vpc_attrs,
};

const struct kind kind_subnet = {
    .name = "subnet",
    .resource = "subnet",
    .prefix = "subnet-",
    .error = "InvalidSubnetID",
    .what = "subnet ID",
    .size = sizeof(struct subnet),
    .attrs = subnet_attrs,
};

const struct kind kind_group = {
    .name = "group",
    .resource = "security-group",
    .prefix = "sg-",
    .error = "InvalidGroup",
    .malformed = "InvalidGroupId.Malformed",
    .what = "security group",
    .size = sizeof(struct group),
    .attrs = group_attrs,
};

/* Five of each are AWS's own: VPC User Guide, "Subnet CIDR blocks". */
int64_t
subnet_free(const struct subnet *s)
{
	const char *slash = strchr(s->cidr, '/');
	long bits = slash ? strtol(slash + 1, NULL, 10) : 32;

	return (INT64_C(1) << (32 - bits)) - 5 - s->n_taken;
}

struct vpc *
region_default_vpc(struct region *r)
{
	struct vpc *v;

	region_for_each (v, r, &kind_vpc)
		if (v->is_default)
			return v;
	return NULL;
}

struct group *
vpc_default_group(struct region *r, const char *vpc)
{
	struct group *g;

	region_for_each (g, r, &kind_group)
		if (strcmp(g->vpc, vpc) == 0 && strcmp(g->name, "default") == 0)
			return g;
	return NULL;
}

/* ---- interfaces ---- */

static void
interface_init(struct object *o)
{
	list_init(&((struct interface *)o)->on_instance);
}

static void
interface_fini(struct object *o)
{
	list_remove(&((struct interface *)o)->on_instance);
}

/* Addresses are taken again before anybody can ask for them. */
static void
interface_loaded(struct object *o)
{
	struct interface *n = (struct interface *)o;
	struct backend *b = o->region->world->backend;
	char got[BACKEND_ADDRESS_MAX];
	struct err err = {0};

	n->subnet = region_find(o->region, &kind_subnet, n->subnet_id);
	if (n->instance_id)
		n->instance = region_find(o->region, &kind_instance, n->instance_id);
	if (n->instance)
		interface_tie(n, n->instance, n->device_index, n->delete_on_termination,
		    (enum attachment_state)n->attachment);
	if (!n->subnet)
		return;
	n->subnet->n_taken++;
	if (b->ops->address_take(b, n->subnet, n->address, got, &err) < 0)
		log_warn("%s: address %s cannot be taken again: %s", o->id, n->address,
		    err.msg);
	if (n->public_address && !n->allocation &&
	    b->ops->public_take(b, n->address, n->public_address, got, &err) < 0)
		log_warn("%s: address %s cannot be taken again: %s", o->id,
		    n->public_address, err.msg);
}

const struct kind kind_interface = {
    .name = "interface",
    .resource = "network-interface",
    .prefix = "eni-",
    .error = "InvalidNetworkInterfaceID",
    .malformed = "InvalidNetworkInterfaceId.Malformed",
    .what = "networkInterface ID",
    .size = sizeof(struct interface),
    .attrs = interface_attrs,
    .init = interface_init,
    .due = interface_on_due,
    .loaded = interface_loaded,
    .fini = interface_fini,
};

static int
take_address(struct request *q, struct subnet *s, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX])
{
	struct backend *b = q->world->backend;
	struct err err = {0};

	if (b->ops->address_take(b, s, wanted, ret, &err) == 0)
		return 0;
	if (err.code == ERR_CONFLICT)
		return request_fail(
		    q, "InvalidIPAddress.InUse", "Address %s is in use.", wanted);
	if (err.code == ERR_NO_CAPACITY)
		return request_fail(q, "InsufficientFreeAddressesInSubnet",
		    "The specified subnet does not have enough free addresses to satisfy "
		    "the request.");
	return request_fail(q, "InvalidParameterValue", "Address %s: %s",
	    wanted ?: "of the subnet", err.msg);
}

struct interface *
interface_new(
    struct request *q, struct subnet *s, const char *wanted, const struct texts *groups)
{
	struct region *r = q->region;
	struct group *g = vpc_default_group(r, s->vpc);
	char address[BACKEND_ADDRESS_MAX];
	struct interface *n;
	uint64_t bits;

	if (take_address(q, s, wanted, address) < 0)
		return NULL;
	n = object_new(r, &kind_interface, NULL);
	n->subnet = s;
	s->n_taken++;
	n->subnet_id = xstrdup(s->o.id);
	n->vpc = xstrdup(s->vpc);
	n->zone = xstrdup(s->zone);
	n->description = xstrdup("");
	n->address = xstrdup(address);
	n->source_dest_check = true;
	bits = world_random_id(q->world);
	n->mac = xasprintf("0a:%02x:%02x:%02x:%02x:%02x", (unsigned)(bits & 255),
	    (unsigned)(bits >> 8 & 255), (unsigned)(bits >> 16 & 255),
	    (unsigned)(bits >> 24 & 255), (unsigned)(bits >> 32 & 255));
	for (int i = 0; groups && i < groups->n; i++)
		texts_add(&n->groups, groups->v[i]);
	if (n->groups.n == 0 && g)
		texts_add(&n->groups, g->o.id);
	return n;
}

/* Kept in the order of device indexes. */
void
interface_tie(struct interface *n, struct instance *i, int64_t index,
    bool delete_on_termination, enum attachment_state state)
{
	struct world *w = n->o.region->world;
	char id[32];
	struct list *at = &i->interfaces;
	struct interface *other;

	if (!n->instance_id) {
		world_new_id(n->o.region, "eni-attach-", id);
		xstrset(&n->attachment_id, id);
		xstrset(&n->instance_id, i->o.id);
		n->attached_at = world_now(w);
		object_changed(&n->o);
	}
	n->instance = i;
	n->device_index = index;
	n->delete_on_termination = delete_on_termination;
	n->attachment = state;
	list_remove(&n->on_instance);
	list_for_each (other, &i->interfaces, on_instance)
		if (other->device_index < index)
			at = &other->on_instance;
	list_insert_after(at, &n->on_instance);
}

void
interface_untie(struct interface *n)
{
	list_remove(&n->on_instance);
	n->instance = NULL;
	n->attachment = ATTACHMENT_NONE;
	n->delete_on_termination = false;
	n->device_index = 0;
	xstrset(&n->attachment_id, NULL);
	xstrset(&n->instance_id, NULL);
	object_changed(&n->o);
}

void
interface_delete(struct interface *n)
{
	struct backend *b = n->o.region->world->backend;

	interface_public_drop(n);
	if (n->subnet) {
		b->ops->address_free(b, n->subnet, n->address);
		n->subnet->n_taken--;
	}
	object_remove(&n->o);
}

void
interface_public_take(struct interface *n)
{
	struct backend *b = n->o.region->world->backend;
	char address[BACKEND_ADDRESS_MAX];
	struct err err = {0};

	if (n->public_address)
		return;
	if (b->ops->public_take(b, n->address, NULL, address, &err) < 0) {
		log_warn("%s gets no public address: %s", n->o.id, err.msg);
		return;
	}
	xstrset(&n->public_address, address);
	object_changed(&n->o);
}

void
interface_public_drop(struct interface *n)
{
	struct backend *b = n->o.region->world->backend;

	if (!n->public_address || n->allocation)
		return;
	b->ops->public_free(b, n->public_address);
	xstrset(&n->public_address, NULL);
	object_changed(&n->o);
}
