/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_NETWORK_IMPL_H
#define LAUNCHER_NETWORK_IMPL_H

/* What the parts of network.h say to each other: netlink (network_link.c), the firewall
   (network_firewall.c), the host's resolvers (network_dns.c). Nobody else includes this.
 */

#include "launcher/network.h"

#include <stdbool.h>
#include <stddef.h>

#define NETWORK_PREFIX "hth"

uint32_t network_mask(const struct network *n);
uint32_t network_host_end(const struct network *n, uint32_t slot);
void network_dotted(uint32_t address, char out[NETWORK_ADDRESS_MAX]);

/* The route that makes the network unreachable where no machine is. Both fine when done
 * already. */
ERR_CHECK int network_route_add(const struct network *n, struct err *err);
ERR_CHECK int network_route_delete(const struct network *n, struct err *err);

/* Whether the host has interfaces of this network's group; deletes them all. */
ERR_CHECK int network_links_exist(
    const struct network *n, bool *ret_exist, struct err *err);
ERR_CHECK int network_links_delete(const struct network *n, struct err *err);

#define NETWORK_DNS_MAX 3

/* Where a machine's DNS goes: either servers it reaches itself, or the gateway, behind
   which `loopback` listens. */
struct network_dns {
	uint32_t servers[NETWORK_DNS_MAX];
	unsigned n_servers;
	uint32_t loopback; /* meant when n_servers is 0 */
	char search[256];  /* the rest of its line, or empty */
	char options[256];
};

void network_dns_read(struct network_dns *ret_dns);

/* Names of interfaces, each once, all network_name_is_plain(). */
struct network_names {
	char (*names)[NETWORK_IFNAME_MAX]; /* owned */
	size_t n;
};

void network_names_add(struct network_names *l, const char *name);

/* Can stand in a ruleset and in a line of the state file as it is. Others are rare enough
   to be left out. */
bool network_name_is_plain(const char *name);

/* Adds the interfaces that default routes lead out of. */
ERR_CHECK int network_uplinks(struct network_names *out, struct err *err);

/* Replaces our table in one transaction. `closed` are interfaces that did not forward
   before hearth came: it stays so for what comes in there. */
ERR_CHECK int network_firewall_install(
    const struct network *n, const struct network_names *closed, struct err *err);
ERR_CHECK int network_firewall_remove(const struct network *n, struct err *err);

/* In the namespace of the caller: what is sent from within to TCP `address`:80 goes to `port` there. Replaces what was so
   before. */
ERR_CHECK int network_firewall_redirect(
    const char *address, unsigned port, struct err *err);

/* Whether another network's table of hearth's is there. */
ERR_CHECK int network_firewall_others(
    const struct network *n, bool *ret_others, struct err *err);

/*
 * Another firewall that drops what is forwarded drops it whatever our table says. The
 * chain of iptables where our network has to be let through ("DOCKER-USER" or "FORWARD"),
 * or "" where none has to be; warns about firewalls that hearth leaves alone.
 */
#define NETWORK_CHAIN_MAX 32
ERR_CHECK int network_firewall_foreign(
    char ret_chain[NETWORK_CHAIN_MAX], struct err *err);
ERR_CHECK int network_firewall_let_through(
    const struct network *n, const char *chain, bool on, struct err *err);

#endif
