/* SPDX-License-Identifier: Apache-2.0 */
/* Security groups themselves; their rules are in act_rules.c. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/tags.h"

#define TEXT_MAX 255

static inline const struct group *
group_of(const void *o)
{
	return o;
}

static bool
is_of(const struct rule *r, const struct group *g)
{
	return strcmp(r->group, g->o.id) == 0;
}

static struct group *
find_named(struct region *r, const char *vpc, const char *name)
{
	struct group *g;

	region_for_each (g, r, &kind_group)
		if (strcmp(g->vpc, vpc) == 0 && strcmp(g->name, name) == 0)
			return g;
	return NULL;
}

/* ---- create ---- */

/* EC2 API Reference, CreateSecurityGroup: what names and descriptions may hold in a VPC. */
static void
check_text(struct request *q, const char *param, const char *s)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "
	    "._-:/()#,@[]+=&;{}!$*";

	if (strlen(s) > TEXT_MAX || s[strspn(s, allowed)])
		request_fail(q, "InvalidParameterValue",
		    "Value (%.64s) for parameter %s is invalid. Character sets beyond "
		    "ASCII "
		    "are not supported, and 255 characters are the most.",
		    s, param);
}

static struct vpc *
read_vpc(struct request *q)
{
	const char *id = request_text(q, "VpcId");
	struct vpc *vpc =
	    id ? request_object(q, &kind_vpc, id) : region_default_vpc(q->region);

	if (!vpc)
		request_fail(q, "VPCIdNotSpecified", "No default VPC for this user");
	return vpc;
}

static void
create_group(struct request *q)
{
	static const char *const types[] = {"security-group", NULL};
	const char *name = request_need(q, "GroupName");
	const char *description = request_need(q, "GroupDescription");
	struct vpc *vpc = read_vpc(q);
	struct group *g;

	check_text(q, "GroupName", name);
	check_text(q, "GroupDescription", description);
	if (strncmp(name, "sg-", 3) == 0)
		request_fail(q, "InvalidParameterValue",
		    "Value (%.255s) for parameter GroupName is invalid. Group names may "
		    "not be "
		    "in the format sg-*.",
		    name);
	if (strcmp(name, "default") == 0)
		request_fail(q, "InvalidParameterValue",
		    "Cannot use reserved security group name: default");
	if (vpc && find_named(q->region, vpc->o.id, name))
		request_fail(q, "InvalidGroup.Duplicate",
		    "The security group '%.255s' already exists for VPC '%s'", name,
		    vpc->o.id);
	request_check_tags(q, types);
	if (!vpc || !request_ready(q))
		return;
	g = object_new(q->region, &kind_group, NULL);
	g->vpc = xstrdup(vpc->o.id);
	g->name = xstrdup(name);
	g->description = xstrdup(description);
	rules_make_default(g, false);
	request_tag(q, &g->o);
	reply_text(&q->reply, "groupId", g->o.id);
	reply_tags(q, &g->o);
}

/* ---- delete ---- */

static bool
is_in_use(const struct group *g)
{
	const struct interface *n;

	region_for_each (n, g->o.region, &kind_interface)
		if (texts_have(&n->groups, g->o.id))
			return true;
	return rules_naming(g) != NULL;
}

static struct group *
read_group(struct request *q)
{
	const char *id = request_text(q, "GroupId"), *name = request_text(q, "GroupName");
	struct vpc *vpc = region_default_vpc(q->region);
	struct group *g;

	if (id)
		return request_object(q, &kind_group, id);
	if (!name) {
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter groupName or groupId");
		return NULL;
	}
	g = vpc ? find_named(q->region, vpc->o.id, name) : NULL;
	if (!g)
		request_fail(q, "InvalidGroup.NotFound",
		    "The security group '%.255s' does not exist in default VPC", name);
	return g;
}

static void
delete_group(struct request *q)
{
	struct group *g = read_group(q);

	if (g && strcmp(g->name, "default") == 0)
		request_fail(q, "CannotDelete",
		    "the specified group: \"%s\" name: \"%s\" cannot be deleted by a "
		    "user",
		    g->o.id, g->name);
	else if (g && is_in_use(g))
		request_fail(q, "DependencyViolation",
		    "resource %s has a dependent object", g->o.id);
	if (!g || !request_ready(q))
		return;
	rules_remove_all(g);
	object_remove(&g->o);
	reply_true(&q->reply);
}

/* ---- DescribeSecurityGroups ---- */

enum rule_value {
	VALUE_CIDR4,
	VALUE_CIDR6,
	VALUE_PEER,
	VALUE_PROTOCOL,
	VALUE_FROM,
	VALUE_TO
};

static void
offer_rules(const void *o, struct offer *v, bool egress, enum rule_value what)
{
	const struct group *g = group_of(o);
	const struct rule *r;

	region_for_each (r, g->o.region, &kind_rule) {
		if (r->egress != egress || !is_of(r, g))
			continue;
		if (what == VALUE_FROM || what == VALUE_TO)
			offer_int(v, what == VALUE_FROM ? r->from : r->to);
		else
			offer(v, what == VALUE_CIDR4   ? r->cidr4
				 : what == VALUE_CIDR6 ? r->cidr6
				 : what == VALUE_PEER  ? r->peer
						       : r->protocol);
	}
}

#define OFFER_RULE(name, what)                                                           \
	static void in_##name(const void *o, struct offer *v)                            \
	{                                                                                \
		offer_rules(o, v, false, what);                                          \
	}                                                                                \
	static void out_##name(const void *o, struct offer *v)                           \
	{                                                                                \
		offer_rules(o, v, true, what);                                           \
	}

OFFER_RULE(cidr4, VALUE_CIDR4)
OFFER_RULE(cidr6, VALUE_CIDR6)
OFFER_RULE(peer, VALUE_PEER)
OFFER_RULE(protocol, VALUE_PROTOCOL)
OFFER_RULE(from, VALUE_FROM)
OFFER_RULE(to, VALUE_TO)
OFFER(by_description, group_of(o)->description)
OFFER(by_id, group_of(o)->o.id)
OFFER(by_name, group_of(o)->name)
OFFER(by_vpc, group_of(o)->vpc)
OFFER(by_owner, group_of(o)->o.region->world->account)

static const struct filter group_filters[] = {
    {"description", by_description},
    {"egress.ip-permission.cidr", out_cidr4},
    {"egress.ip-permission.from-port", out_from},
    {"egress.ip-permission.group-id", out_peer},
    {"egress.ip-permission.ipv6-cidr", out_cidr6},
    {"egress.ip-permission.protocol", out_protocol},
    {"egress.ip-permission.to-port", out_to},
    {"group-id", by_id},
    {"group-name", by_name},
    {"ip-permission.cidr", in_cidr4},
    {"ip-permission.from-port", in_from},
    {"ip-permission.group-id", in_peer},
    {"ip-permission.ipv6-cidr", in_cidr6},
    {"ip-permission.protocol", in_protocol},
    {"ip-permission.to-port", in_to},
    {"owner-id", by_owner},
    {"vpc-id", by_vpc},
    {NULL},
};

static void
write_group(struct request *q, const struct object *o)
{
	const struct group *g = group_of(o);
	struct reply *r = &q->reply;

	reply_text(r, "ownerId", q->world->account);
	reply_text(r, "groupId", g->o.id);
	reply_text(r, "groupName", g->name);
	reply_text(r, "groupDescription", g->description);
	reply_text(r, "vpcId", g->vpc);
	rules_write(r, g, false, "ipPermissions");
	rules_write(r, g, true, "ipPermissionsEgress");
	reply_tags(q, o);
}

static bool
group_is_asked_for(struct request *q, const struct object *o)
{
	return resource_named(q, "GroupName", group_of(o)->name);
}

static void
describe_groups(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_group,
	    .ids = "GroupId",
	    .filters = group_filters,
	    .set = "securityGroupInfo",
	    .write = write_group,
	    .shown = group_is_asked_for,
	};
	struct vpc *vpc = region_default_vpc(q->region);
	int n = request_count(q, "GroupName");

	for (int i = 1; i <= n; i++) {
		const char *name = request_need(q, "GroupName.%d", i);

		if (!vpc || !find_named(q->region, vpc->o.id, name))
			request_fail(q, "InvalidGroup.NotFound",
			    "The security group '%.255s' does not exist in default VPC",
			    name);
	}
	describe(q, &d);
}

const struct action group_actions[] = {
    {"CreateSecurityGroup", create_group},
    {"DeleteSecurityGroup", delete_group},
    {"DescribeSecurityGroups", describe_groups, ACTION_READ},
    {NULL},
};
