/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/xalloc.h"
#include "ec2/idempotent.h"
#include "ec2/request.h"
#include "ec2/run.h"
#include "ec2/scenario.h"
#include "ec2/spot.h"
#include "ec2/tags.h"
#include "ec2/types.h"

static struct volume *
make_volume(struct request *q, const struct run *r, struct instance *i,
    const struct run_mapping *m)
{
	struct volume *v = object_new(q->region, &kind_volume, NULL);

	v->zone = xstrdup(i->zone);
	v->type = xstrdup(m->type);
	v->snapshot = xstrdup_null(m->snapshot);
	v->size_gib = m->size_gib;
	v->iops = m->iops;
	v->throughput = m->throughput;
	v->encrypted = m->encrypted;
	v->delete_on_termination = !m->keep;
	volume_tie(v, i, m->device, ATTACHMENT_ATTACHED);
	request_tag(q, &v->o);
	return v;
}

/* NULL: with a failure. */
static struct interface *
make_interface(struct request *q, const struct run_interface *spec)
{
	struct interface *n;

	if (spec->existing) {
		n = spec->existing;
	} else {
		n = interface_new(q, spec->subnet, spec->address, &spec->groups);
		if (!n)
			return NULL;
		xstrset(&n->description, spec->description ?: "");
		request_tag(q, &n->o);
	}
	n->wants_public_address = spec->public_address == 1 ||
				  (spec->public_address < 0 && spec->index == 0 &&
				      !spec->existing && spec->subnet->public_addresses);
	return n;
}

/* All or none of them. */
static int
make_interfaces(struct request *q, const struct run *r, struct interface **ret)
{
	for (int i = 0; i < r->n_interfaces; i++) {
		ret[i] = make_interface(q, &r->interfaces[i]);
		if (ret[i])
			continue;
		while (--i >= 0)
			if (!r->interfaces[i].existing)
				interface_delete(ret[i]);
		return -1;
	}
	return 0;
}

static void
set_up(struct request *q, const struct run *r, struct instance *i)
{
	i->image = xstrdup(r->image->o.id);
	i->type = xstrdup(r->type->name);
	i->zone = xstrdup(r->interfaces[0].subnet->zone);
	i->architecture = xstrdup(r->image->architecture);
	i->root_device = xstrdup(r->image->root_device);
	i->profile = xstrdup_null(r->profile);
	i->terminate_on_shutdown = r->terminate_on_shutdown;
	i->no_api_termination = r->no_api_termination;
	i->no_api_stop = r->no_api_stop;
	i->monitoring = r->monitoring;
	i->ebs_optimized = r->ebs_optimized;
	i->hibernation = r->hibernation;
	i->imds_disabled = r->imds_disabled;
	i->imds_token_required = !r->imds_token_optional;
	i->imds_tags = r->imds_tags;
	i->imds_hop_limit = r->imds_hop_limit;
}

static void
make_instance(struct request *q, const struct run *r, struct reservation *res,
    struct interface *const *interfaces)
{
	struct instance *i = object_new(q->region, &kind_instance, NULL);

	set_up(q, r, i);
	i->reservation = res;
	i->reservation_id = xstrdup(res->o.id);
	i->launch_index = res->n++;
	for (int k = 0; k < r->n_interfaces; k++)
		interface_tie(interfaces[k], i, r->interfaces[k].index,
		    !r->interfaces[k].keep, ATTACHMENT_ATTACHED);
	for (int k = 0; k < r->n_mappings; k++)
		if (!r->mappings[k].none)
			make_volume(q, r, i, &r->mappings[k]);
	request_tag(q, &i->o);
	if (r->spot)
		spot_request_make(q, r, i);
	idempotent_keep(q, i->o.id);
	instance_launch(i);
}

/* How many there is capacity for. */
static int64_t
granted(struct request *q, const struct run *r)
{
	const char *zone = r->interfaces[0].subnet->zone;
	int64_t n = 0;

	while (n < r->max && !scenario_strike(q->world, FAULT_CAPACITY, "RunInstances",
				 r->type->name, zone))
		n++;
	if (n < r->min)
		request_fail(q, "InsufficientInstanceCapacity",
		    "We currently do not have sufficient %s capacity in the Availability "
		    "Zone you requested (%s). Our system will be working on provisioning "
		    "additional capacity.",
		    r->type->name, zone);
	return n;
}

/* Addresses that a describe does not show yet. */
static void
hide_addresses(struct request *q, const struct reservation *res)
{
	const struct fault *f =
	    scenario_strike(q->world, FAULT_ADDRESS_MISSING, "RunInstances", NULL, NULL);
	struct list *all = region_objects(q->region, &kind_instance);

	if (!f)
		return;
	for (struct list *at = all->prev; at != all; at = at->prev) {
		struct instance *i = instance_of(list_entry(at, struct object, link));

		if (i->reservation != res)
			return; /* its own are the newest */
		i->addresses_hidden_until =
		    world_now(q->world) + scenario_fault_ms(q->world, f);
	}
}

struct reservation *
run_make(struct request *q, const struct run *r)
{
	struct interface *interfaces[RUN_INTERFACES_MAX];
	const struct subnet *s = r->interfaces[0].subnet;
	int64_t n = granted(q, r);
	struct reservation *res;

	if (request_failed(q))
		return NULL;
	/* With fewer addresses than instances it is all or, from min on, what fits. */
	if (!r->interfaces[0].existing && subnet_free(s) < n) {
		n = subnet_free(s);
		if (n < r->min) {
			request_fail(q, "InsufficientFreeAddressesInSubnet",
			    "There are not enough free addresses in subnet '%s' to "
			    "satisfy "
			    "the requested number of instances.",
			    s->o.id);
			return NULL;
		}
	}
	if (make_interfaces(q, r, interfaces) < 0)
		return NULL;
	res = object_new(q->region, &kind_reservation, NULL);
	res->key_name = xstrdup_null(r->key ? r->key->name : NULL);
	res->public_key = xstrdup_null(r->key ? r->key->public_key : NULL);
	res->user_data = xstrdup_null(r->user_data);
	res->client_token = xstrdup_null(request_text(q, "ClientToken"));
	do {
		make_instance(q, r, res, interfaces);
	} while (res->n < n && make_interfaces(q, r, interfaces) == 0);
	if (request_failed(q) && res->n >= r->min)
		request_unfail(q);
	hide_addresses(q, res);
	return res;
}
