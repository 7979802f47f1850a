/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_NETLINK_H
#define LAUNCHER_NETLINK_H

/* Requests to rtnetlink, sent together, and dumps from it; only what network.h needs of
 * libmnl. */

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Requests of one task, sent in one system call: the kernel handles them in order, goes
 * on after one that fails, and reports each failure. Only the last asks for an
 * acknowledgement, so its arrival ends the task. Zeroed is empty; used once.
 */
struct netlink {
	char data[4096]; /* several times what the largest task of ours takes */
	size_t len;
	uint32_t seq;
	struct nlmsghdr *last; /* the request that attributes go to */
};

struct netlink_result {
	int error; /* errno of the first request that the kernel refused, or 0 */
	uint32_t failed_seq; /* its number, from 1 */
	int ifindex;	     /* of the interface that a RTM_GETLINK asked for */
};

/* A socket in the network namespace of the caller, close-on-exec; -1 with err set. */
int netlink_socket(struct err *err);

/* Begins a request; returns its header of `body` bytes, zeroed. */
void *netlink_add(struct netlink *b, uint16_t type, uint16_t flags, size_t body);

/* An IPv4 address in host byte order. */
void netlink_address(struct netlink *b, uint16_t attribute, uint32_t address);

/* -1 only when netlink itself fails; what the kernel refused is in *r. */
ERR_CHECK int netlink_run(
    struct netlink *b, int fd, struct netlink_result *r, struct err *err);

/* On a socket of its own. A refusal with the errno `fine` counts as success. */
ERR_CHECK int netlink_run_one(
    struct netlink *b, int fine, const char *what, struct err *err);

/* Calls `fn` for each object until it returns false. */
typedef bool (*netlink_dump_fn)(const struct nlmsghdr *h, void *arg);
ERR_CHECK int netlink_dump(
    uint16_t type, unsigned char family, netlink_dump_fn fn, void *arg, struct err *err);

#endif
