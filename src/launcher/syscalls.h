/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SYSCALLS_H
#define LAUNCHER_SYSCALLS_H

/*
 * The system calls a machine may make. Listed calls are allowed; those that reach into the kernel
 * beyond a container's needs (mount, bpf, keyrings, modules, clocks, new namespaces…) answer EPERM;
 * everything else, so also whatever the kernel learns later, ENOSYS, which is what libc's and
 * runtimes' fallbacks look for. Only the native architecture: 32-bit calls answer ENOSYS.
 * Sockets are of local, IP, netlink and packet families: vsock, for one, is in no namespace and would
 * reach the hypervisor.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct syscalls_filter {
	void *code; /* owned; struct sock_filter[] */
	unsigned short n;
};

/* Compiles the list (about a millisecond: once, at start). `nesting` adds what is needed to make user
   namespaces inside: containers in a machine, browsers' sandboxes. */
ERR_CHECK int syscalls_build(bool nesting, struct syscalls_filter *ret, struct err *err);
void syscalls_fini(struct syscalls_filter *f);

/* Puts the calling process under the filter, for good. Needs CAP_SYS_ADMIN in its user namespace.
   Returns 0 or an errno value. */
ERR_CHECK int syscalls_load(const struct syscalls_filter *f);

#endif
