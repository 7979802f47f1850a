/* SPDX-License-Identifier: Apache-2.0 */
/* A persistent Spot request makes the next instance when its own ends, until it is cancelled or has expired: EC2 User Guide,
   "Spot Instance request types". Nobody calls for it, so the call is made up from the instance that is about to end. */
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/request.h"
#include "ec2/run.h"
#include "ec2/spot.h"
#include "ec2/types.h"

static void
copy_interfaces(struct run *r, const struct instance *i)
{
	const struct interface *n;

	list_for_each (n, &i->interfaces, on_instance) {
		struct run_interface *to = &r->interfaces[r->n_interfaces];

		if (r->n_interfaces == RUN_INTERFACES_MAX || !n->subnet)
			return;
		r->n_interfaces++;
		to->subnet = n->subnet;
		to->description = n->description;
		to->index = n->device_index;
		to->public_address = n->wants_public_address;
		for (int k = 0; k < n->groups.n; k++)
			texts_add(&to->groups, n->groups.v[k]);
	}
}

static void
copy_volumes(struct run *r, const struct instance *i)
{
	const struct volume *v;

	list_for_each (v, &i->volumes, on_instance) {
		/* one that was attached later belongs to nobody's launch */
		if (r->n_mappings == RUN_MAPPINGS_MAX || !v->delete_on_termination)
			continue;
		r->mappings[r->n_mappings++] = (struct run_mapping){.device = v->device,
		    .type = v->type,
		    .snapshot = v->snapshot,
		    .size_gib = v->size_gib,
		    .iops = v->iops,
		    .throughput = v->throughput,
		    .encrypted = v->encrypted};
	}
}

static void
copy_options(struct run *r, const struct instance *i)
{
	r->profile = xstrdup_null(i->profile);
	r->terminate_on_shutdown = i->terminate_on_shutdown;
	r->no_api_termination = i->no_api_termination;
	r->no_api_stop = i->no_api_stop;
	r->monitoring = i->monitoring;
	r->ebs_optimized = i->ebs_optimized;
	r->hibernation = i->hibernation;
	r->imds_disabled = i->imds_disabled;
	r->imds_token_optional = !i->imds_token_required;
	r->imds_tags = i->imds_tags;
	r->imds_hop_limit = i->imds_hop_limit;
}

struct instance *
spot_launch_again(const struct instance *i)
{
	struct region *region = i->o.region;
	struct request q = {.world = region->world, .region = region};
	struct keypair key = {
	    .name = i->reservation->key_name, .public_key = i->reservation->public_key};
	struct run r = {.min = 1,
	    .max = 1,
	    .image = region_find(region, &kind_image, i->image),
	    .type = ec2_type_find(i->type),
	    .key = key.name ? &key : NULL,
	    .user_data = instance_user_data(i)};
	struct instance *made = NULL;

	copy_interfaces(&r, i);
	copy_volumes(&r, i);
	copy_options(&r, i);
	if (r.image && r.type && r.n_interfaces > 0 && run_make(&q, &r))
		made = instance_of(list_entry(
		    region_objects(region, &kind_instance)->prev, struct object, link));
	else
		log_debug("%s: no instance follows it: %s", i->o.id, q.message);
	run_fini(&r);
	request_fini(&q);
	return made;
}
