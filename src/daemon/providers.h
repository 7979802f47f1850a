/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PROVIDERS_H
#define DAEMON_PROVIDERS_H

/* From the configuration's words to an open provider. */

#include "base/err.h"

struct buf;
struct config;
struct config_provider;
struct provider;
struct provider_env;

/* Opens the provider `p` of `c`; what it keeps of its own lies in STATE/db. `launcher` is the path of the
   launcher's socket, NULL where none runs: kind local is refused then. */
int providers_open(const struct config *c, const struct config_provider *p,
    const char *launcher, const struct provider_env *env, struct provider **ret,
    struct err *err) ERR_CHECK;

struct provider_named {
	char *name; /* owned */
	struct provider *p;
};

/* Appends what these have asked of their services, Prometheus text; nothing where none has one. */
void providers_metrics(const struct provider_named *all, int n, struct buf *out);

#endif
