/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "launcher/netlink.h"
#include "launcher/network_impl.h"

static void
add_veth(struct netlink *b, const struct network *n, uint32_t slot, int netns_fd)
{
	char name[NETWORK_IFNAME_MAX];
	struct nlattr *info, *data, *peer;

	network_ifname(n, slot, name);
	(void)netlink_add(
	    b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(b->last, IFLA_IFNAME, name);
	mnl_attr_put_u32(b->last, IFLA_GROUP, n->address);
	/* One queue each: the default is one per CPU, in every machine. */
	mnl_attr_put_u32(b->last, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(b->last, IFLA_NUM_RX_QUEUES, 1);
	info = mnl_attr_nest_start(b->last, IFLA_LINKINFO);
	mnl_attr_put_strz(b->last, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(b->last, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(b->last, VETH_INFO_PEER);
	(void)mnl_nlmsg_put_extra_header(b->last, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(b->last, IFLA_IFNAME, "eth0");
	mnl_attr_put_u32(b->last, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	mnl_attr_put_u32(b->last, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(b->last, IFLA_NUM_RX_QUEUES, 1);
	mnl_attr_nest_end(b->last, peer);
	mnl_attr_nest_end(b->last, data);
	mnl_attr_nest_end(b->last, info);
}

static void
add_link_lookup(struct netlink *b, const char *name)
{
	(void)netlink_add(b, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(b->last, IFLA_IFNAME, name);
}

static void
add_link_up(struct netlink *b, int index)
{
	struct ifinfomsg *m = netlink_add(b, RTM_NEWLINK, 0, sizeof(*m));

	m->ifi_index = index;
	m->ifi_flags = m->ifi_change = IFF_UP;
}

/* The host's end forwards whatever the default for new interfaces is, and answers ARP for
   its own address alone, asked by the machine's own: it remembers whom it answers, in a
   table of a thousand for all of the host. 127/8 may come in only where the firewall sends DNS there. */
static void
add_host_settings(struct netlink *b, bool dns_on_loopback)
{
	struct nlattr *spec = mnl_attr_nest_start(b->last, IFLA_AF_SPEC);
	struct nlattr *inet = mnl_attr_nest_start(b->last, AF_INET);
	struct nlattr *conf = mnl_attr_nest_start(b->last, IFLA_INET_CONF);

	mnl_attr_put_u32(b->last, IPV4_DEVCONF_FORWARDING, 1);
	mnl_attr_put_u32(b->last, IPV4_DEVCONF_ARP_IGNORE, 2);
	mnl_attr_put_u32(b->last, IPV4_DEVCONF_SEND_REDIRECTS, 0);
	mnl_attr_put_u32(b->last, IPV4_DEVCONF_ACCEPT_REDIRECTS, 0);
	mnl_attr_put_u32(b->last, IPV4_DEVCONF_ROUTE_LOCALNET, dns_on_loopback);
	mnl_attr_nest_end(b->last, conf);
	mnl_attr_nest_end(b->last, inet);
	mnl_attr_nest_end(b->last, spec);
}

static void
add_address(struct netlink *b, int index, uint32_t address)
{
	struct ifaddrmsg *m =
	    netlink_add(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));

	m->ifa_family = AF_INET;
	m->ifa_prefixlen = 31;
	m->ifa_scope = RT_SCOPE_UNIVERSE;
	m->ifa_index = (unsigned)index;
	netlink_address(b, IFA_LOCAL, address);
	netlink_address(b, IFA_ADDRESS, address);
	/* The kernel's own connected route has no quickack. */
	mnl_attr_put_u32(b->last, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
}

/* quickack saves ssh two waits of 40 ms, Nagle's algorithm against delayed
 * acknowledgement. */
static void
add_quickack_route(struct netlink *b, int index, const struct network *to, uint32_t from,
    uint32_t gateway)
{
	struct nlattr *metrics;
	struct rtmsg *m;

	m = netlink_add(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));
	m->rtm_family = AF_INET;
	m->rtm_dst_len = (unsigned char)to->prefix;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_KERNEL;
	m->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	m->rtm_type = RTN_UNICAST;
	if (to->prefix)
		netlink_address(b, RTA_DST, to->address);
	mnl_attr_put_u32(b->last, RTA_OIF, (uint32_t)index);
	netlink_address(b, RTA_PREFSRC, from);
	if (gateway)
		netlink_address(b, RTA_GATEWAY, gateway);
	metrics = mnl_attr_nest_start(b->last, RTA_METRICS);
	mnl_attr_put_u32(b->last, RTAX_QUICKACK, 1);
	mnl_attr_nest_end(b->last, metrics);
}

/* Fine where the kernel has no IPv6. */
static int
disable_ipv6(const char *interface, struct err *err)
{
	char path[96];
	int fd, rc = 0;

	(void)snprintf(
	    path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || write(fd, "1", 1) != 1)
		rc = err_errno(err, errno, "writing %s", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Leaves a socket in the machine's namespace, whose coming interfaces have no IPv6. */
static int
machine_socket(int netns_fd, struct err *err)
{
	AUTO_CLOSE int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd;

	if (home < 0)
		return err_errno(err, errno, "opening the own network namespace");
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return err_errno(err, errno, "entering the machine's network namespace");
	fd = netlink_socket(err);
	if (fd >= 0 && disable_ipv6("default", err) < 0) {
		close(fd);
		fd = -1;
	}
	if (setns(home, CLONE_NEWNET) < 0) {
		log_error("leaving the machine's network namespace: %s", strerror(errno));
		_exit(1); /* nothing this process did from here on would be where it
			     should be */
	}
	return fd;
}

static int
create_pair(int fd, const struct network *n, uint32_t slot, int netns_fd, int *ret_index,
    struct err *err)
{
	char name[NETWORK_IFNAME_MAX];
	struct netlink_result r;

	network_ifname(n, slot, name);
	for (int attempt = 0;; attempt++) {
		struct netlink b = {0};

		add_veth(&b, n, slot, netns_fd);
		add_link_lookup(&b, name);
		if (netlink_run(&b, fd, &r, err) < 0)
			return -1;
		if (r.error == EEXIST && r.failed_seq == 1 && attempt == 0) {
			if (network_detach(n, slot, err) < 0)
				return -1;
			continue;
		}
		if (r.error)
			return err_errno(err, r.error, "creating interface %s", name);
		*ret_index = r.ifindex;
		return 0;
	}
}

static int
set_up_host_end(int fd, const struct network *n, uint32_t slot, int index,
    const char *label, struct err *err)
{
	struct netlink b = {0};
	struct netlink_result r;
	struct network_dns dns;
	char name[NETWORK_IFNAME_MAX];
	uint32_t address = network_host_end(n, slot);
	struct network pair = {address, 31};

	network_ifname(n, slot, name);
	if (disable_ipv6(name, err) < 0)
		return -1;
	network_dns_read(&dns);
	add_link_up(&b, index);
	mnl_attr_put_strz(b.last, IFLA_IFALIAS, label);
	add_host_settings(&b, dns.n_servers == 0);
	add_address(&b, index, address);
	add_quickack_route(&b, index, &pair, address, 0);
	if (netlink_run(&b, fd, &r, err) < 0)
		return -1;
	if (r.error)
		return err_errno(err, r.error, "setting up interface %s", name);
	return 0;
}

static int
set_up_machine_end(int fd, const struct network *n, uint32_t slot, struct err *err)
{
	struct netlink b = {0}, find = {0};
	struct netlink_result r;
	uint32_t gateway = network_host_end(n, slot);
	struct network pair = {gateway, 31}, all = {0, 0};

	add_link_lookup(&find, "eth0");
	if (netlink_run(&find, fd, &r, err) < 0)
		return -1;
	if (!r.error) {
		int index = r.ifindex;

		add_link_up(&b, 1); /* loopback is always 1 */
		add_link_up(&b, index);
		add_address(&b, index, gateway + 1);
		add_quickack_route(&b, index, &pair, gateway + 1, 0);
		add_quickack_route(&b, index, &all, gateway + 1, gateway);
		if (netlink_run(&b, fd, &r, err) < 0)
			return -1;
	}
	if (r.error)
		return err_errno(err, r.error, "setting up the machine's eth0");
	return 0;
}

int
network_attach(const struct network *n, uint32_t slot, int netns_fd, const char *label,
    struct err *err)
{
	AUTO_CLOSE int host = netlink_socket(err);
	AUTO_CLOSE int machine = host < 0 ? -1 : machine_socket(netns_fd, err);
	int index = 0;

	if (machine < 0)
		return -1;
	if (create_pair(host, n, slot, netns_fd, &index, err) < 0)
		return -1;
	if (set_up_host_end(host, n, slot, index, label, err) < 0 ||
	    set_up_machine_end(machine, n, slot, err) < 0) {
		struct err ignored;

		(void)!network_detach(n, slot, &ignored);
		return -1;
	}
	return 0;
}

int
network_detach(const struct network *n, uint32_t slot, struct err *err)
{
	struct netlink b = {0};
	char name[NETWORK_IFNAME_MAX];

	network_ifname(n, slot, name);
	(void)netlink_add(&b, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(b.last, IFLA_IFNAME, name);
	return netlink_run_one(&b, ENODEV, "deleting the machine's interface", err);
}

/* A link that goes down loses its routes and keeps its address. */
int
network_set_link(const struct network *n, uint32_t slot, bool up, struct err *err)
{
	AUTO_CLOSE int fd = netlink_socket(err);
	struct netlink b = {0};
	struct netlink_result r;
	struct ifinfomsg *m;
	struct network pair = {network_host_end(n, slot), 31};
	char name[NETWORK_IFNAME_MAX];
	unsigned index;

	network_ifname(n, slot, name);
	index = if_nametoindex(name);
	if (fd < 0)
		return -1;
	if (index == 0)
		return err_errno(err, errno, "interface %s", name);
	m = netlink_add(&b, RTM_NEWLINK, 0, sizeof(*m));
	m->ifi_index = (int)index;
	m->ifi_change = IFF_UP;
	m->ifi_flags = up ? IFF_UP : 0;
	if (up)
		add_quickack_route(&b, (int)index, &pair, pair.address, 0);
	if (netlink_run(&b, fd, &r, err) < 0)
		return -1;
	if (r.error && r.error != EEXIST) /* the route of a link that is up already */
		return err_errno(err, r.error, "setting interface %s", name);
	return 0;
}
