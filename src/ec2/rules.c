/* SPDX-License-Identifier: Apache-2.0 */
/* Security group rules as objects; the calls are in act_rules.c. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/reply.h"
#include "ec2/resource.h"

static const struct attr rule_attrs[] = {
    ATTR(rule, ATTR_TEXT, group),
    ATTR(rule, ATTR_BOOL, egress),
    ATTR(rule, ATTR_TEXT, protocol),
    ATTR(rule, ATTR_INT, from),
    ATTR(rule, ATTR_INT, to),
    ATTR(rule, ATTR_TEXT, cidr4),
    ATTR(rule, ATTR_TEXT, cidr6),
    ATTR(rule, ATTR_TEXT, prefix_list),
    ATTR(rule, ATTR_TEXT, peer),
    ATTR(rule, ATTR_TEXT, description),
    {NULL},
};

const struct kind kind_rule = {
    .name = "security-group-rule",
    .resource = "security-group-rule",
    .prefix = "sgr-",
    .error = "InvalidSecurityGroupRuleId",
    .what = "security group rule ID",
    .size = sizeof(struct rule),
    .attrs = rule_attrs,
};

static bool
is_of(const struct rule *r, const struct group *g, bool egress)
{
	return r->egress == egress && strcmp(r->group, g->o.id) == 0;
}

static bool
same_ports(const struct rule *a, const struct rule *b)
{
	return a->from == b->from && a->to == b->to &&
	       strcmp(a->protocol, b->protocol) == 0;
}

/* Whether an earlier rule of the group has the same protocol and ports: its item holds this one, too. */
static bool
is_in_earlier_item(const struct rule *r, const struct group *g)
{
	const struct rule *earlier;

	region_for_each (earlier, g->o.region, &kind_rule) {
		if (earlier == r)
			return false;
		if (is_of(earlier, g, r->egress) && same_ports(earlier, r))
			return true;
	}
	return false;
}

/* ---- writing ---- */

enum list_kind { LIST_IPV4, LIST_IPV6, LIST_PREFIX, LIST_PEER, LIST_MAX };

static const struct {
	const char *name, *value;
} lists[LIST_MAX] = {
    [LIST_IPV4] = {"ipRanges", "cidrIp"},
    [LIST_IPV6] = {"ipv6Ranges", "cidrIpv6"},
    [LIST_PREFIX] = {"prefixListIds", "prefixListId"},
    [LIST_PEER] = {"groups", "groupId"},
};

static const char *
list_value(const struct rule *r, enum list_kind l)
{
	const char *const values[LIST_MAX] = {
	    [LIST_IPV4] = r->cidr4,
	    [LIST_IPV6] = r->cidr6,
	    [LIST_PREFIX] = r->prefix_list,
	    [LIST_PEER] = r->peer,
	};

	return values[l];
}

static void
write_list(
    struct reply *to, const struct group *g, const struct rule *first, enum list_kind l)
{
	const struct rule *r;

	reply_open(to, lists[l].name);
	region_for_each (r, g->o.region, &kind_rule) {
		if (!is_of(r, g, first->egress) || !same_ports(r, first) ||
		    !list_value(r, l))
			continue;
		reply_open(to, "item");
		if (l == LIST_PEER)
			reply_text(to, "userId", g->o.region->world->account);
		reply_text(to, lists[l].value, list_value(r, l));
		reply_text(to, "description", r->description);
		reply_close(to);
	}
	reply_close(to);
}

void
rules_write(struct reply *to, const struct group *g, bool egress, const char *name)
{
	const struct rule *r;

	reply_open(to, name);
	region_for_each (r, g->o.region, &kind_rule) {
		if (!is_of(r, g, egress) || is_in_earlier_item(r, g))
			continue;
		reply_open(to, "item");
		reply_text(to, "ipProtocol", r->protocol);
		if (strcmp(r->protocol, "-1") != 0) {
			reply_int(to, "fromPort", r->from);
			reply_int(to, "toPort", r->to);
		}
		for (int l = 0; l < LIST_MAX; l++)
			write_list(to, g, r, (enum list_kind)l);
		reply_close(to);
	}
	reply_close(to);
}

/* ---- making and ending ---- */

static struct rule *
rule_for_all(struct group *g, bool egress)
{
	struct rule *r = object_new(g->o.region, &kind_rule, NULL);

	r->group = xstrdup(g->o.id);
	r->egress = egress;
	r->protocol = xstrdup("-1");
	r->from = r->to = -1;
	return r;
}

void
rules_make_default(struct group *g, bool of_vpc)
{
	rule_for_all(g, true)->cidr4 = xstrdup("0.0.0.0/0");
	if (of_vpc)
		rule_for_all(g, false)->peer = xstrdup(g->o.id);
}

const struct group *
rules_naming(const struct group *g)
{
	const struct rule *r;

	region_for_each (r, g->o.region, &kind_rule) {
		if (r->peer && strcmp(r->peer, g->o.id) == 0 &&
		    strcmp(r->group, g->o.id) != 0)
			return region_find(g->o.region, &kind_group, r->group);
	}
	return NULL;
}

void
rules_remove_all(struct group *g)
{
	struct rule *r, *tmp;

	list_for_each_safe (r, tmp, region_objects(g->o.region, &kind_rule), o.link)
		if (strcmp(r->group, g->o.id) == 0)
			object_remove(&r->o);
}
