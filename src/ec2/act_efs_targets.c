/* SPDX-License-Identifier: Apache-2.0 */
/* Elastic File System: mount targets, one per zone, each with a network interface of its own. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/efs.h"
#include "ec2/families.h"
#include "ec2/objects.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/zones.h"

#define GROUPS_MAX 5 /* EFS API Reference, CreateMountTarget */

static void
target_due(struct object *o)
{
	struct mount_target *t = (struct mount_target *)o;
	struct interface *n = region_find(o->region, &kind_interface, t->interface);

	if (strcmp(t->state, "creating") == 0) {
		xstrset(&t->state, "available");
		return;
	}
	if (n)
		interface_delete(n);
	object_remove(o);
}

/* clang-format off */
static const struct attr target_attrs[] = {
	ATTR(mount_target, ATTR_TEXT, file_system),
	ATTR(mount_target, ATTR_TEXT, subnet),
	ATTR(mount_target, ATTR_TEXT, vpc),
	ATTR(mount_target, ATTR_TEXT, zone),
	ATTR(mount_target, ATTR_TEXT, interface),
	ATTR(mount_target, ATTR_TEXT, address),
	ATTR(mount_target, ATTR_TEXT, state),
	{ NULL },
};
/* clang-format on */

const struct kind kind_mount_target = {
    .name = "mount-target",
    .prefix = "fsmt-",
    .size = sizeof(struct mount_target),
    .attrs = target_attrs,
    .due = target_due,
};

static json_t *
describe_target(const struct object *o)
{
	const struct mount_target *t = (const struct mount_target *)o;

	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "OwnerId",
	    o->region->world->account, "MountTargetId", o->id, "FileSystemId",
	    t->file_system, "SubnetId", t->subnet, "LifeCycleState", t->state,
	    "IpAddress", t->address, "NetworkInterfaceId", t->interface,
	    "AvailabilityZoneName", t->zone, "VpcId", t->vpc);
}

static struct mount_target *
find_target(struct request *q, const char *id)
{
	struct mount_target *t = region_find(q->region, &kind_mount_target, id);

	if (t && t->o.visible_at <= world_now(q->world))
		return t;
	efs_fail(q, 404, "MountTargetNotFound", NULL,
	    "Mount target '%.60s' does not exist.", id);
	return NULL;
}

/* One per zone, all in one VPC. */
static void
check_place(struct request *q, const struct file_system *f, const struct subnet *s)
{
	const struct mount_target *t;

	region_for_each (t, q->region, &kind_mount_target) {
		if (strcmp(t->file_system, f->o.id) != 0)
			continue;
		if (strcmp(t->vpc, s->vpc) != 0)
			efs_fail(q, 409, "MountTargetConflict", NULL,
			    "requested subnet for new mount target is not in the same "
			    "VPC as existing mount targets");
		if (strcmp(t->zone, s->zone) == 0)
			efs_fail(q, 409, "MountTargetConflict", NULL,
			    "mount target already exists in this AZ");
	}
	if (f->zone && strcmp(f->zone, s->zone) != 0)
		efs_fail(q, 400, "AvailabilityZonesMismatch", NULL,
		    "The file system is in another zone than the subnet");
}

static void
read_groups(struct request *q, const struct subnet *s, struct texts *ret)
{
	int n;
	AUTO_FREE const char **ids = request_list(q, &n, "SecurityGroups");

	if (n > GROUPS_MAX)
		efs_fail(q, 400, "SecurityGroupLimitExceeded", NULL,
		    "More than %d security groups", GROUPS_MAX);
	for (int i = 0; i < n; i++) {
		const struct group *g = region_find(q->region, &kind_group, ids[i]);

		if (!g || (s && strcmp(g->vpc, s->vpc) != 0))
			efs_fail(q, 400, "SecurityGroupNotFound", NULL,
			    "One of the security groups '%.60s' does not exist", ids[i]);
		texts_add(ret, ids[i]);
	}
}

static struct mount_target *
make_target(struct request *q, const struct file_system *f, struct subnet *s,
    const char *address, const struct texts *groups)
{
	struct interface *n = interface_new(q, s, address, groups);
	struct mount_target *t;

	if (!n)
		return NULL;
	t = object_new(q->region, &kind_mount_target, NULL);
	t->file_system = xstrdup(f->o.id);
	t->subnet = xstrdup(s->o.id);
	t->vpc = xstrdup(s->vpc);
	t->zone = xstrdup(s->zone);
	t->interface = xstrdup(n->o.id);
	t->address = xstrdup(n->address);
	t->state = xstrdup("creating");
	n->requester_managed = true;
	free(n->description);
	n->description = xasprintf("EFS mount target for %s (%s)", f->o.id, t->o.id);
	object_changed(&n->o);
	object_after(&t->o, scenario_delay(q->world, DELAY_MOUNT_TARGET));
	return t;
}

static void
create_target(struct request *q)
{
	const char *id = request_need(q, "FileSystemId");
	const char *subnet = request_need(q, "SubnetId");
	const char *address = request_text(q, "IpAddress");
	struct subnet *s = region_find(q->region, &kind_subnet, subnet);
	struct texts groups = {0};
	struct mount_target *t = NULL;
	struct file_system *f = NULL;

	read_groups(q, s, &groups);
	if (!request_failed(q))
		f = efs_usable(q, id);
	if (!s)
		efs_fail(q, 400, "SubnetNotFound", NULL,
		    "The subnet ID '%.60s' does not exist", subnet);
	if (s && f && !request_failed(q))
		check_place(q, f, s);
	if (request_ready(q))
		t = make_target(q, f, s, address, &groups);
	if (t)
		efs_answer(q, describe_target(&t->o), 200);
	texts_clear(&groups);
}

static void
describe_targets(struct request *q)
{
	const char *id = request_text(q, "MountTargetId");
	const char *of = request_text(q, "FileSystemId");
	const char *point = request_text(q, "AccessPointId");
	const struct access_point *ap =
	    point ? region_find(q->region, &kind_access_point, point) : NULL;
	const struct mount_target *t;
	struct efs_page p;

	efs_page_begin(q, &p, "MaxItems", "Marker");
	if (!!id + !!of + !!point != 1)
		efs_fail(q, 400, "BadRequest", NULL,
		    "One of FileSystemId, MountTargetId and AccessPointId must be given");
	if (point && !ap)
		efs_fail(q, 404, "AccessPointNotFound", NULL,
		    "Access point '%.60s' does not exist.", point);
	if (id)
		(void)find_target(q, id);
	if (of)
		(void)efs_file_system(q, of);
	if (!request_ready(q)) {
		json_decref(p.items);
		return;
	}
	of = ap ? ap->file_system : of;
	region_for_each (t, q->region, &kind_mount_target)
		if ((!id || strcmp(id, t->o.id) == 0) &&
		    (!of || strcmp(of, t->file_system) == 0))
			efs_page_add(&p, &t->o, describe_target);
	efs_page_end(q, &p, "MountTargets", "NextMarker");
}

static void
delete_target(struct request *q)
{
	struct mount_target *t = find_target(q, request_need(q, "MountTargetId"));

	if (!t || !request_ready(q))
		return;
	xstrset(&t->state, "deleting");
	object_changed(&t->o);
	object_after(&t->o, scenario_delay(q->world, DELAY_MOUNT_TARGET));
	efs_answer(q, NULL, 204);
}

static void
describe_groups(struct request *q)
{
	struct mount_target *t = find_target(q, request_need(q, "MountTargetId"));
	const struct interface *n =
	    t ? region_find(q->region, &kind_interface, t->interface) : NULL;
	json_t *ids;

	if (!t || !request_ready(q))
		return;
	ids = json_array();
	for (int i = 0; n && i < n->groups.n; i++)
		json_array_append_new(ids, json_string(n->groups.v[i]));
	efs_answer(q, json_pack("{s:o}", "SecurityGroups", ids), 200);
}

const struct action efs_target_actions[] = {
    {"CreateMountTarget", create_target},
    {"DescribeMountTargets", describe_targets, ACTION_READ},
    {"DeleteMountTarget", delete_target},
    {"DescribeMountTargetSecurityGroups", describe_groups, ACTION_READ},
    {NULL},
};
