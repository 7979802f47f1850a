/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_NETWORK_H
#define LAUNCHER_NETWORK_H

/*
 * The network of the machines: one veth pair and one /31 per slot, routed by the host,
 * with NAT to the outside. No bridge: machines share no segment, so the only way out of
 * one is through the host's hooks, where one nftables table per network holds the whole
 * policy.
 *
 * Slot n has NETWORK+2n on the host and NETWORK+2n+1 on the machine's eth0; slot 0 stays
 * free. The host end is named "hth" and the machine's address in hexadecimal, and belongs
 * to the interface group that is the network's address: rules match the group, so two
 * networks on one host do not disturb each other.
 *
 * Nothing here keeps state in memory: what the host was like before lives in
 * STATE/network.state. All functions block (netlink and nft: well under a second) and
 * want root in the host's network namespace.
 */

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct network {
	uint32_t address; /* host byte order, no host bits */
	unsigned prefix;  /* 8 to 24 */
};

#define NETWORK_TEXT_MAX 20    /* "255.255.255.255/32" with the NUL */
#define NETWORK_ADDRESS_MAX 16 /* an address alone; fits launcher_reply.address */
#define NETWORK_IFNAME_MAX 16

/* "10.213.0.0/16". Refused: another syntax, host bits, a prefix outside 8 to 24, and
   networks that a machine cannot have (0/8, 127/8, 169.254/16, 224/4 and above). */
ERR_CHECK int network_parse(
    const char *text, struct network *ret_network, struct err *err);

/* Slots are 1 to this, both included: 127 in a /24, 32,767 in a /16; never above
   LAUNCHER_SLOT_MAX. */
uint32_t network_slot_max(const struct network *n);

void network_text(const struct network *n, char out[NETWORK_TEXT_MAX]);

/* The machine's address, the host's on the same pair (the machine's gateway), the host's
   interface. The slot must be in range. */
void network_address(
    const struct network *n, uint32_t slot, char out[NETWORK_ADDRESS_MAX]);
void network_gateway(
    const struct network *n, uint32_t slot, char out[NETWORK_ADDRESS_MAX]);
void network_ifname(const struct network *n, uint32_t slot, char out[NETWORK_IFNAME_MAX]);

/* ERR_CONFLICT naming the route or address of the host that the network overlaps. Default
   routes (and the halves that VPNs use in their place) do not count, nor does what hearth
   itself has set up for this very network. */
ERR_CHECK int network_check_overlap(const struct network *n, struct err *err);

/*
 * Makes the host ready: checks for overlap, writes STATE/network.state (root, 0600,
 * durable before the first change), turns on forwarding, makes the network unreachable
 * where no machine is, and installs the firewall table in one transaction. May be run
 * again at any time, with machines alive: connections go on. A state file of an earlier
 * boot is replaced. ERR_CONFLICT when STATE belongs to another network that still has
 * machines. Logs a warning where another firewall of the host may still stop the
 * machines' traffic.
 */
ERR_CHECK int network_host_setup(
    const struct network *n, const char *state_dir, struct err *err);

/* Removes every interface of the network STATE belongs to, its table and route, and puts
   the host's settings back as they were. Idempotent; finishes what a crash at any point
   has left. 0 when there is nothing to do. */
ERR_CHECK int network_host_teardown(const char *state_dir, struct err *err);

/*
 * Connects a network namespace: veth, addresses, routes with quickack on both ends,
 * loopback up, no IPv6 but ::1. `netns_fd` is borrowed (/proc/PID/ns/net); it must hold
 * no eth0 yet. A pair that was left over under the slot's name is replaced. `label` (the
 * machine's id) becomes the alias of the host's interface. The caller must be
 * single-threaded: it is inside the machine's namespace for a moment and back on return;
 * if it cannot come back the process ends. On failure nothing is left.
 */
ERR_CHECK int network_attach(const struct network *n, uint32_t slot, int netns_fd,
    const char *label, struct err *err);

/* Deletes the slot's pair; fine when it is gone. */
ERR_CHECK int network_detach(const struct network *n, uint32_t slot, struct err *err);

/* The machine in the slot reaches, and is reached by, those others that are let in under the same number (above 0); `in`
   false: no longer. Idempotent; out of a firewall that is not there is fine. */
ERR_CHECK int network_gang(
    const struct network *n, uint32_t slot, uint32_t number, bool in, struct err *err);

/* Takes the host's end of the slot's pair down, after which the machine is unreachable, or up again, as
   network_attach() left it. */
ERR_CHECK int network_set_link(
    const struct network *n, uint32_t slot, bool up, struct err *err);

/* A TCP socket, non-blocking, that gets what is sent within the namespace to `address`, port 80; the address is put on the
   loopback there. Port 80 itself stays free for others. As network_attach() for the caller. */
ERR_CHECK int network_listen_metadata(
    int netns_fd, const char *address, int *ret_fd, struct err *err);

/* Appends the /etc/resolv.conf for the slot's machine: the host's nameservers and search
   domains where a machine can reach them, else its gateway, from which the firewall leads
   port 53 to the host's resolver on loopback. Needs no privilege. */
void network_resolv_conf(const struct network *n, uint32_t slot, struct buf *out);

#endif
