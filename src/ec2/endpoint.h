/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_ENDPOINT_H
#define EC2_ENDPOINT_H

/*
 * The way of a call: HTTP, signature, throttle, faults, action, commit, reply. Replies of one round of the loop go out
 * together, after one transaction has made durable what they tell of.
 */

#include <stdint.h>

#include "base/err.h"

struct config;
struct endpoint;
struct loop;
struct world;

struct endpoint_options {
	struct loop *loop; /* borrowed, as all */
	const struct config *config;
	struct world *world;
	int listen_fd; /* owned from the call on */
};

int endpoint_new(
    const struct endpoint_options *opt, struct endpoint **ret, struct err *err) ERR_CHECK;

/* Takes no more connections, and forgets calls that are not answered yet. Before the world is closed. */
void endpoint_close(struct endpoint *e);

/* Bound and listening. ERR_CONFLICT: somebody else listens there. */
int endpoint_listen(
    const char *address, int port, int *ret_fd, struct err *err) ERR_CHECK;

#endif
