/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_LOCAL_LOCAL_H
#define PROVIDER_LOCAL_LOCAL_H

/*
 * Machines on this host: containers that hearth-launcher makes. This side runs in the daemon without
 * privileges: it asks the launcher to create, end and list, and keeps one connection to each machine's
 * hearth-init, over which it hears that the machine is ready, how many sessions it has, and, by the
 * connection's end, that it died.
 */

#include "provider/provider.h"

struct local_options {
	const char *launcher; /* path of the launcher's socket */
	const char *runtime;  /* directory under which machines/ID/control.sock lie */
	const char *network;  /* CIDR: bounds how many machines there can be */
};

/* All strings are copied. Does not block and asks nobody yet. ERR_INVALID for a wrong network. */
int local_provider_open(const struct local_options *opt, const struct provider_env *env,
    struct provider **ret, struct err *err) ERR_CHECK;

#endif
