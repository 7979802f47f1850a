/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of security groups: authorize, revoke, describe. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/describe.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/tags.h"

#define RULES_MAX 60 /* of a group and direction: VPC quotas */
#define RULES_PER_CALL_MAX 1000
#define DESCRIPTION_MAX 255

/* ---- what a call asks for ---- */

struct wanted {
	struct rule *v; /* owned, with its strings; not objects of the world */
	int n;
};

static void
wanted_fini(struct wanted *w)
{
	for (int i = 0; i < w->n; i++) {
		free(w->v[i].protocol);
		free(w->v[i].cidr4);
		free(w->v[i].cidr6);
		free(w->v[i].prefix_list);
		free(w->v[i].peer);
		free(w->v[i].description);
	}
	free(w->v);
}

/* Numbers by IANA; those that AWS knows by name. */
static const struct {
	const char *name, *number;
	bool ports, types;
} protocols[] = {
    {"tcp", "6", true, false},
    {"udp", "17", true, false},
    {"icmp", "1", false, true},
    {"icmpv6", "58", false, true},
};
#define N_PROTOCOLS ((int)(sizeof(protocols) / sizeof(protocols[0])))

static int
protocol_find(const char *s)
{
	for (int i = 0; i < N_PROTOCOLS; i++)
		if (strcasecmp(protocols[i].name, s) == 0 ||
		    strcmp(protocols[i].number, s) == 0)
			return i;
	return -1;
}

static const char *
check_protocol(struct request *q, const char *s)
{
	int known = protocol_find(s);
	char *end;

	if (known >= 0)
		return protocols[known].name;
	if (strcmp(s, "-1") == 0 || strcasecmp(s, "all") == 0)
		return "-1";
	long n = strtol(s, &end, 10);
	if (!*s || *end || n < 0 || n > 255)
		request_fail(q, "InvalidParameterValue",
		    "Invalid value '%.32s' for IP protocol. Unknown protocol.", s);
	return s;
}

static void
check_ports(struct request *q, struct rule *r)
{
	int known = protocol_find(r->protocol);

	if (known < 0) {
		r->from = r->to = -1;
	} else if (protocols[known].ports) {
		if (r->from < 0 || r->to < 0)
			request_fail(q, "InvalidParameterValue",
			    "Invalid value 'Must specify both from and to ports with "
			    "TCP/UDP.' for portRange.");
		else if (r->from > r->to)
			request_fail(q, "InvalidParameterValue",
			    "Invalid %s port range: %lld to %lld", r->protocol,
			    (long long)r->from, (long long)r->to);
	} else if (r->from > 255 || r->to > 255) {
		request_fail(q, "InvalidParameterValue", "ICMP code (%lld) out of range",
		    (long long)(r->from > 255 ? r->from : r->to));
	}
}

/* Owned: the block with the bits behind its prefix cleared, as EC2 keeps it. NULL: it is none. */
static char *
canonical_cidr(const char *s, int family)
{
	unsigned char a[16];
	char text[INET6_ADDRSTRLEN];
	const char *slash = strchr(s, '/');
	int bits = family == AF_INET ? 32 : 128;
	char *end;

	if (!slash || slash - s >= (long)sizeof(text))
		return NULL;
	memcpy(text, s, (size_t)(slash - s));
	text[slash - s] = '\0';
	long n = strtol(slash + 1, &end, 10);
	if (inet_pton(family, text, a) != 1 || end == slash + 1 || *end || n < 0 ||
	    n > bits)
		return NULL;
	for (long i = n; i < bits; i++)
		a[i / 8] &= (unsigned char)~(0x80 >> i % 8);
	if (!inet_ntop(family, a, text, sizeof(text)))
		return NULL;
	return xasprintf("%s/%ld", text, n);
}

static char *
read_cidr(struct request *q, const char *s, int family)
{
	char *cidr = canonical_cidr(s, family);

	if (!cidr)
		request_fail(
		    q, "InvalidParameterValue", "CIDR block %.64s is malformed", s);
	return cidr;
}

/* By id, or by a name in the default VPC. */
static struct group *
find_group(struct request *q, const char *id, const char *name)
{
	struct vpc *vpc = region_default_vpc(q->region);
	struct group *g;

	if (id)
		return request_object(q, &kind_group, id);
	region_for_each (g, q->region, &kind_group)
		if (name && vpc && strcmp(g->name, name) == 0 &&
		    strcmp(g->vpc, vpc->o.id) == 0)
			return g;
	if (name)
		request_fail(q, "InvalidGroup.NotFound",
		    "The security group '%.255s' does not exist", name);
	return NULL;
}

static struct group *
read_group(struct request *q)
{
	const char *id = request_text(q, "GroupId"), *name = request_text(q, "GroupName");

	if (!id && !name)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter groupName or groupId");
	return find_group(q, id, name);
}

static struct rule *
add(struct request *q, struct wanted *w, const struct rule *like)
{
	struct rule *r;

	if (w->n >= RULES_PER_CALL_MAX) {
		request_fail(q, "RulesPerSecurityGroupLimitExceeded",
		    "The maximum number of rules per security group has been reached.");
		return NULL;
	}
	w->v = xrealloc(w->v, (size_t)(w->n + 1) * sizeof(*w->v));
	r = &w->v[w->n++];
	*r = (struct rule){.from = like->from, .to = like->to, .egress = like->egress};
	r->protocol = xstrdup(like->protocol);
	return r;
}

static char *
read_description(struct request *q, const char *s)
{
	if (s && strlen(s) > DESCRIPTION_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Invalid rule description. Length exceeds maximum of %d.",
		    DESCRIPTION_MAX);
	return s && *s ? xstrdup(s) : NULL;
}

/* One list below IpPermissions.N: `value` names the member that holds what it allows. */
static void
read_list(struct request *q, struct wanted *w, const struct rule *like, int i,
    const char *list, const char *value)
{
	int n = request_count(q, "IpPermissions.%d.%s", i, list);

	for (int k = 1; k <= n; k++) {
		const char *s =
		    request_text(q, "IpPermissions.%d.%s.%d.%s", i, list, k, value);
		const char *text =
		    request_text(q, "IpPermissions.%d.%s.%d.Description", i, list, k);
		struct rule *r = add(q, w, like);

		if (!r)
			return;
		r->description = read_description(q, text);
		if (*list == 'G') {
			const char *name = request_text(
			    q, "IpPermissions.%d.%s.%d.GroupName", i, list, k);
			struct group *peer = find_group(q, s, name);

			request_ignore(q, "IpPermissions.%d.%s.%d", i, list, k);
			if (!peer && !request_failed(q))
				request_fail(q, "MissingParameter",
				    "Source group ID or name missing.");
			r->peer = peer ? xstrdup(peer->o.id) : NULL;
		} else if (!s) {
			request_fail(q, "MissingParameter",
			    "The request must contain the parameter %s", value);
		} else if (*list == 'P') {
			r->prefix_list = xstrdup(s);
		} else if (strcmp(list, "IpRanges") == 0) {
			r->cidr4 = read_cidr(q, s, AF_INET);
		} else {
			r->cidr6 = read_cidr(q, s, AF_INET6);
		}
	}
}

static void
read_permission(struct request *q, struct wanted *w, bool egress, int i)
{
	const char *protocol = request_need(q, "IpPermissions.%d.IpProtocol", i);
	struct rule like = {.egress = egress};
	int before = w->n;

	like.protocol = (char *)check_protocol(q, protocol);
	like.from = request_int(q, -1, -1, 65535, "IpPermissions.%d.FromPort", i);
	like.to = request_int(q, -1, -1, 65535, "IpPermissions.%d.ToPort", i);
	check_ports(q, &like);
	read_list(q, w, &like, i, "IpRanges", "CidrIp");
	read_list(q, w, &like, i, "Ipv6Ranges", "CidrIpv6");
	read_list(q, w, &like, i, "PrefixListIds", "PrefixListId");
	read_list(q, w, &like, i, "Groups", "GroupId");
	if (w->n == before)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter ipRanges, ipv6Ranges, "
		    "prefixListIds or userIdGroupPairs");
}

/* The older way: one rule, in members of the call itself. */
static void
read_flat(struct request *q, struct wanted *w, bool egress)
{
	const char *cidr = request_text(q, "CidrIp");
	const char *peer = request_text(q, "SourceSecurityGroupName");
	struct rule like = {.egress = egress}, *r;

	(void)request_text(q, "SourceSecurityGroupOwnerId");
	like.protocol = (char *)check_protocol(q,
	    peer && !request_has(q, "IpProtocol") ? "-1" : request_need(q, "IpProtocol"));
	like.from = request_int(q, -1, -1, 65535, "FromPort");
	like.to = request_int(q, -1, -1, 65535, "ToPort");
	check_ports(q, &like);
	r = add(q, w, &like);
	if (!r)
		return;
	if (peer) {
		struct group *g = find_group(q, NULL, peer);

		r->peer = g ? xstrdup(g->o.id) : NULL;
	} else if (cidr) {
		r->cidr4 = read_cidr(q, cidr, AF_INET);
	} else {
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter cidrIp");
	}
}

static void
read_wanted(struct request *q, struct wanted *w, bool egress)
{
	int n = request_count(q, "IpPermissions");

	for (int i = 1; i <= n; i++)
		read_permission(q, w, egress, i);
	if (n == 0 && (request_has(q, "IpProtocol") || request_has(q, "CidrIp") ||
			  request_has(q, "SourceSecurityGroupName")))
		read_flat(q, w, egress);
}

/* ---- finding ---- */

static bool
equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool
same_rule(const struct rule *a, const struct rule *b)
{
	return a->egress == b->egress && a->from == b->from && a->to == b->to &&
	       equal(a->protocol, b->protocol) && equal(a->cidr4, b->cidr4) &&
	       equal(a->cidr6, b->cidr6) && equal(a->prefix_list, b->prefix_list) &&
	       equal(a->peer, b->peer);
}

static struct rule *
find_rule(struct group *g, const struct rule *like)
{
	struct rule *r;

	region_for_each (r, g->o.region, &kind_rule)
		if (strcmp(r->group, g->o.id) == 0 && same_rule(r, like))
			return r;
	return NULL;
}

static int
count_rules(struct group *g, bool egress)
{
	const struct rule *r;
	int n = 0;

	region_for_each (r, g->o.region, &kind_rule)
		n += r->egress == egress && strcmp(r->group, g->o.id) == 0;
	return n;
}

/* ---- authorize ---- */

static void
fail_duplicate(struct request *q, const struct rule *r)
{
	const char *peer = r->cidr4 ?: r->cidr6 ?: r->prefix_list ?: r->peer;

	if (strcmp(r->protocol, "-1") == 0)
		request_fail(q, "InvalidPermission.Duplicate",
		    "the specified rule \"peer: %s, ALL, ALLOW\" already exists", peer);
	else
		request_fail(q, "InvalidPermission.Duplicate",
		    "the specified rule \"peer: %s, %s, from port: %lld, to port: %lld, "
		    "ALLOW\" already exists",
		    peer, r->protocol, (long long)r->from, (long long)r->to);
}

static void
check_new(struct request *q, struct group *g, const struct wanted *w, bool egress)
{
	for (int i = 0; i < w->n && !request_failed(q); i++) {
		if (find_rule(g, &w->v[i]))
			fail_duplicate(q, &w->v[i]);
		for (int k = 0; k < i; k++)
			if (same_rule(&w->v[i], &w->v[k]))
				request_fail(q, "InvalidParameterValue",
				    "The same permission must not appear multiple times");
	}
	if (count_rules(g, egress) + w->n > RULES_MAX)
		request_fail(q, "RulesPerSecurityGroupLimitExceeded",
		    "The maximum number of rules per security group has been reached.");
}

static void
write_rule(struct request *q, const struct object *o)
{
	const struct rule *r = rule_of(o);
	struct reply *to = &q->reply;
	const char *account = q->world->account;

	reply_text(to, "securityGroupRuleId", o->id);
	reply_text(to, "groupId", r->group);
	reply_text(to, "groupOwnerId", account);
	reply_bool(to, "isEgress", r->egress);
	reply_text(to, "ipProtocol", r->protocol);
	reply_int(to, "fromPort", r->from);
	reply_int(to, "toPort", r->to);
	reply_text(to, "cidrIpv4", r->cidr4);
	reply_text(to, "cidrIpv6", r->cidr6);
	reply_text(to, "prefixListId", r->prefix_list);
	if (r->peer) {
		reply_open(to, "referencedGroupInfo");
		reply_text(to, "groupId", r->peer);
		reply_text(to, "userId", account);
		reply_close(to);
	}
	reply_text(to, "description", r->description);
	reply_tags(q, o);
}

static void
authorize_rules(struct request *q, bool egress)
{
	static const char *const types[] = {"security-group-rule", NULL};
	struct group *g = read_group(q);
	struct wanted w = {0};

	read_wanted(q, &w, egress);
	if (w.n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter ipPermissions");
	if (g)
		check_new(q, g, &w, egress);
	request_check_tags(q, types);
	if (g && request_ready(q)) {
		reply_true(&q->reply);
		reply_open(&q->reply, "securityGroupRuleSet");
		for (int i = 0; i < w.n; i++) {
			struct rule *r = object_new(q->region, &kind_rule, NULL);

			r->group = xstrdup(g->o.id);
			r->egress = egress;
			r->from = w.v[i].from;
			r->to = w.v[i].to;
			r->protocol = TAKE(w.v[i].protocol);
			r->cidr4 = TAKE(w.v[i].cidr4);
			r->cidr6 = TAKE(w.v[i].cidr6);
			r->prefix_list = TAKE(w.v[i].prefix_list);
			r->peer = TAKE(w.v[i].peer);
			r->description = TAKE(w.v[i].description);
			request_tag(q, &r->o);
			object_changed(&r->o);
			reply_open(&q->reply, "item");
			write_rule(q, &r->o);
			reply_close(&q->reply);
		}
		reply_close(&q->reply);
	}
	wanted_fini(&w);
}

static void
authorize_ingress(struct request *q)
{
	authorize_rules(q, false);
}

static void
authorize_egress(struct request *q)
{
	authorize_rules(q, true);
}

/* ---- revoke ---- */

static void
check_there(struct request *q, struct group *g, const struct wanted *w)
{
	for (int i = 0; i < w->n && !request_failed(q); i++)
		if (!find_rule(g, &w->v[i]))
			request_fail(q, "InvalidPermission.NotFound",
			    "The specified rule does not exist in this security group.");
}

static void
check_ids(struct request *q, struct group *g, bool egress, int n)
{
	for (int i = 1; i <= n; i++) {
		const char *id = request_need(q, "SecurityGroupRuleId.%d", i);
		struct rule *r =
		    request_failed(q) ? NULL : request_object(q, &kind_rule, id);

		if (r && (!g || strcmp(r->group, g->o.id) != 0 || r->egress != egress))
			request_fail(q, "InvalidSecurityGroupRuleId.NotFound",
			    "The security group rule ID '%s' does not exist", id);
	}
}

static void
revoke_rules(struct request *q, bool egress)
{
	struct group *g = read_group(q);
	int n_ids = request_count(q, "SecurityGroupRuleId");
	struct wanted w = {0};

	read_wanted(q, &w, egress);
	check_ids(q, g, egress, n_ids);
	if (w.n == 0 && n_ids == 0)
		request_fail(q, "MissingParameter",
		    "Either 'ipPermissions' or 'securityGroupRuleIds' should be "
		    "provided.");
	if (g)
		check_there(q, g, &w);
	if (g && request_ready(q)) {
		struct rule *r;

		for (int i = 1; i <= n_ids; i++)
			if ((r = region_find(q->region, &kind_rule,
				 request_text(q, "SecurityGroupRuleId.%d", i))))
				object_remove(&r->o);
		for (int i = 0; i < w.n; i++)
			if ((r = find_rule(g, &w.v[i])))
				object_remove(&r->o);
		reply_true(&q->reply);
	}
	wanted_fini(&w);
}

static void
revoke_ingress(struct request *q)
{
	revoke_rules(q, false);
}

static void
revoke_egress(struct request *q)
{
	revoke_rules(q, true);
}

/* ---- descriptions ---- */

static void
update_descriptions(struct request *q, bool egress)
{
	struct group *g = read_group(q);
	int n = request_count(q, "SecurityGroupRuleDescription");
	struct wanted w = {0};

	read_wanted(q, &w, egress);
	for (int i = 1; i <= n; i++) {
		const char *id = request_need(
		    q, "SecurityGroupRuleDescription.%d.SecurityGroupRuleId", i);

		if (!request_failed(q))
			(void)request_object(q, &kind_rule, id);
		free(read_description(q,
		    request_text(q, "SecurityGroupRuleDescription.%d.Description", i)));
	}
	if (w.n == 0 && n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter ipPermissions");
	if (g)
		check_there(q, g, &w);
	if (g && request_ready(q)) {
		struct rule *r;

		for (int i = 0; i < w.n; i++)
			if ((r = find_rule(g, &w.v[i]))) {
				xstrset(&r->description, w.v[i].description);
				object_changed(&r->o);
			}
		for (int i = 1; i <= n; i++)
			if ((r = region_find(q->region, &kind_rule,
				 request_text(q,
				     "SecurityGroupRuleDescription.%d."
				     "SecurityGroupRuleId",
				     i)))) {
				xstrset(&r->description,
				    request_text(q,
					"SecurityGroupRuleDescription.%d.Description",
					i));
				object_changed(&r->o);
			}
		reply_true(&q->reply);
	}
	wanted_fini(&w);
}

static void
update_ingress(struct request *q)
{
	update_descriptions(q, false);
}

static void
update_egress(struct request *q)
{
	update_descriptions(q, true);
}

/* ---- DescribeSecurityGroupRules ---- */

OFFER(by_group, rule_of(o)->group)
OFFER(by_id, rule_of(o)->o.id)

static const struct filter rule_filters[] = {
    {"group-id", by_group},
    {"security-group-rule-id", by_id},
    {NULL},
};

static void
describe_rules(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_rule,
	    .ids = "SecurityGroupRuleId",
	    .filters = rule_filters,
	    .set = "securityGroupRuleSet",
	    .write = write_rule,
	};

	describe(q, &d);
}

const struct action rule_actions[] = {
    {"AuthorizeSecurityGroupEgress", authorize_egress},
    {"AuthorizeSecurityGroupIngress", authorize_ingress},
    {"DescribeSecurityGroupRules", describe_rules, ACTION_READ},
    {"RevokeSecurityGroupEgress", revoke_egress},
    {"RevokeSecurityGroupIngress", revoke_ingress},
    {"UpdateSecurityGroupRuleDescriptionsEgress", update_egress},
    {"UpdateSecurityGroupRuleDescriptionsIngress", update_ingress},
    {NULL},
};
