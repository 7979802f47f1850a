/* SPDX-License-Identifier: Apache-2.0 */
/* What of the host's interfaces, routes and addresses is ours, and what is in our way. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "launcher/netlink.h"
#include "launcher/network_impl.h"

/* Marks our one route, as 186 marks BGP's: rtnetlink(7) leaves numbers above 4 to whoever
   adds a route; this one is in nobody's /etc/iproute2/rt_protos. */
#define ROUTE_PROTOCOL 213

static void
route_request(struct netlink *b, const struct network *n, uint16_t type, uint16_t flags)
{
	struct rtmsg *m = netlink_add(b, type, flags, sizeof(*m));

	m->rtm_family = AF_INET;
	m->rtm_dst_len = (unsigned char)n->prefix;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = ROUTE_PROTOCOL;
	m->rtm_type = RTN_UNREACHABLE;
	netlink_address(b, RTA_DST, n->address);
}

int
network_route_add(const struct network *n, struct err *err)
{
	struct netlink b = {0};

	route_request(&b, n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	return netlink_run_one(&b, EEXIST, "adding the network's unreachable route", err);
}

int
network_route_delete(const struct network *n, struct err *err)
{
	struct netlink b = {0};

	route_request(&b, n, RTM_DELROUTE, 0);
	return netlink_run_one(
	    &b, ESRCH, "deleting the network's unreachable route", err);
}

struct own_links {
	uint32_t group;
	int *index; /* owned */
	size_t n;
};

static bool
collect_link(const struct nlmsghdr *h, void *arg)
{
	struct own_links *own = arg;
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;
	bool named = false, grouped = false;

	mnl_attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) == IFLA_IFNAME)
			named = strncmp(mnl_attr_get_str(a), NETWORK_PREFIX,
				    strlen(NETWORK_PREFIX)) == 0;
		else if (mnl_attr_get_type(a) == IFLA_GROUP)
			grouped = mnl_attr_get_u32(a) == own->group;
	}
	if (named && grouped) {
		own->index = xrealloc(own->index, (own->n + 1) * sizeof(*own->index));
		own->index[own->n++] = m->ifi_index;
	}
	return true;
}

static int
own_links_read(const struct network *n, struct own_links *own, struct err *err)
{
	*own = (struct own_links){.group = n->address};
	if (netlink_dump(RTM_GETLINK, AF_UNSPEC, collect_link, own, err) < 0) {
		free(own->index);
		return err_wrap(err, "listing interfaces");
	}
	return 0;
}

int
network_links_exist(const struct network *n, bool *ret_exist, struct err *err)
{
	struct own_links own;

	if (own_links_read(n, &own, err) < 0)
		return -1;
	free(own.index);
	*ret_exist = own.n > 0;
	return 0;
}

int
network_links_delete(const struct network *n, struct err *err)
{
	struct netlink b = {0};

	(void)netlink_add(&b, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
	mnl_attr_put_u32(b.last, IFLA_GROUP, n->address);
	return netlink_run_one(&b, ENODEV, "deleting the machines' interfaces", err);
}

struct overlap {
	const struct network *n;
	const struct own_links *own;
	struct network found;
	int index;
	bool is_found;
};

static bool
is_own(const struct overlap *o, int index)
{
	for (size_t i = 0; i < o->own->n; i++)
		if (o->own->index[i] == index)
			return true;
	return false;
}

static bool
overlaps(const struct network *a, const struct network *b)
{
	uint32_t mask = network_mask(a->prefix < b->prefix ? a : b);

	return ((a->address ^ b->address) & mask) == 0;
}

static bool
check_route(const struct nlmsghdr *h, void *arg)
{
	struct overlap *o = arg;
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct network there = {.prefix = m->rtm_dst_len};
	const struct nlattr *a;
	int index = 0;

	/* 0/1 and 128/1 are how VPNs write a default route. */
	if (m->rtm_family != AF_INET || m->rtm_dst_len <= 1 ||
	    (m->rtm_flags & RTM_F_CLONED))
		return true;
	mnl_attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) == RTA_DST)
			there.address = ntohl(mnl_attr_get_u32(a));
		else if (mnl_attr_get_type(a) == RTA_OIF)
			index = (int)mnl_attr_get_u32(a);
	}
	if (!overlaps(o->n, &there) || (index && is_own(o, index)))
		return true;
	if (m->rtm_type == RTN_UNREACHABLE && m->rtm_protocol == ROUTE_PROTOCOL &&
	    there.address == o->n->address && there.prefix == o->n->prefix)
		return true;
	o->found = there;
	o->index = index;
	o->is_found = true;
	return false;
}

static int
report_overlap(const struct overlap *o, struct err *err)
{
	char ours[NETWORK_TEXT_MAX], theirs[NETWORK_TEXT_MAX], name[IF_NAMESIZE];

	network_text(o->n, ours);
	network_text(&o->found, theirs);
	if (!o->index || !if_indextoname((unsigned)o->index, name))
		name[0] = '\0';
	(void)err_set(err, ERR_CONFLICT, "network %s overlaps the host's route %s%s%s",
	    ours, theirs, name[0] ? " on " : "", name);
	return err_hint(err, "choose a network that nothing on this host uses");
}

/* The table `local` has every address of the host, those of interfaces that are down as
 * well. */
int
network_check_overlap(const struct network *n, struct err *err)
{
	struct own_links own;
	struct overlap o = {.n = n, .own = &own};
	int rc;

	if (own_links_read(n, &own, err) < 0)
		return -1;
	rc = netlink_dump(RTM_GETROUTE, AF_INET, check_route, &o, err);
	if (rc == 0 && o.is_found)
		rc = report_overlap(&o, err);
	free(own.index);
	return rc;
}

static void
note_uplink(struct network_names *l, unsigned index)
{
	char name[IF_NAMESIZE];

	if (if_indextoname(index, name) && network_name_is_plain(name))
		network_names_add(l, name);
}

static bool
check_default(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;

	if (m->rtm_dst_len > 1 || m->rtm_type != RTN_UNICAST)
		return true;
	mnl_attr_for_each(a, h, sizeof(*m))
	{
		const struct rtnexthop *hop = mnl_attr_get_payload(a);
		int left = mnl_attr_get_payload_len(a);

		if (mnl_attr_get_type(a) == RTA_OIF)
			note_uplink(arg, mnl_attr_get_u32(a));
		if (mnl_attr_get_type(a) != RTA_MULTIPATH)
			continue;
		for (; RTNH_OK(hop, left);
		     left -= NLMSG_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
			note_uplink(arg, (unsigned)hop->rtnh_ifindex);
	}
	return true;
}

int
network_uplinks(struct network_names *out, struct err *err)
{
	if (netlink_dump(RTM_GETROUTE, AF_INET, check_default, out, err) < 0)
		return err_wrap(err, "listing default routes");
	return 0;
}
