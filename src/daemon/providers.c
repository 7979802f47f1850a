/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/providers.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "daemon/config.h"
#include "provider/fake.h"
#include "provider/provider.h"

static int
open_fake(const struct config *c, const struct config_provider *p,
    const struct provider_env *env, struct provider **ret, struct err *err)
{
	AUTO_FREE char *world = xasprintf("%s/db/fake-%s.world", c->state, p->name);
	struct fake_options opt = p->fake;

	opt.world = world;
	return fake_provider_open(&opt, env, ret, err);
}

int
providers_open(const struct config *c, const struct config_provider *p,
    const struct provider_env *env, struct provider **ret, struct err *err)
{
	switch (p->kind) {
	case PROVIDER_FAKE:
		return open_fake(c, p, env, ret, err);
	default:
		return err_set(err, ERR_INVALID, "kind %s is not in this build",
		    provider_kind_name(p->kind));
	}
}
