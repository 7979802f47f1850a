/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_INSIDE_H
#define LAUNCHER_INSIDE_H

/*
 * The machine's side of a creation: what its first process does, in its new namespaces, from clone to
 * the execution of hearth-init.
 *
 * It talks with its creator over a socket pair: it gets the root mount, sets everything up, waits for
 * the word that limits and network are in place, and executes. Success is the end of the connection
 * (everything is close-on-exec), failure one message. If the creator dies first, so does this.
 */

#include <stdbool.h>
#include <stdint.h>

#include "launcher/syscalls.h"

struct inside {
	int channel; /* ours of the pair */
	int ssh_fd;  /* listening sockets for hearth-init */
	int control_fd;
	int console_fd; /* an instance's; -1: this is none */
	int init_fd;	/* memfd of hearth-init */
	const int *
	    close_fds; /* the creator's, which must not stay open here; -1 ends the list */
	const char *hostname;
	bool mount_cgroup2;
	uint64_t lease_s;
	uint64_t memory_bytes; /* the machine's limit */
	const struct syscalls_filter *filter;
};

/* What goes over the pair. */
#define INSIDE_ROOT 'r' /* to the child, with the root mount's descriptor */
#define INSIDE_GO 'g'	/* to the child: limits and network are in place */

struct inside_failure {
	int errno_value;
	char what[120];
};

_Noreturn void inside_run(const struct inside *in);

#endif
