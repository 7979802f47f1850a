/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/providers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "daemon/config.h"
#include "provider/ec2/ec2.h"
#include "provider/fake.h"
#include "provider/local/local.h"
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

static int
open_local(const struct config *c, const struct config_provider *p, const char *launcher,
    const struct provider_env *env, struct provider **ret, struct err *err)
{
	if (!launcher) {
		err_set(err, ERR_NOT_PERMITTED, "kind local needs root");
		return err_hint(err, "start hearthd as root: it gives its privileges up");
	}
	return local_provider_open(
	    &(struct local_options){
		.launcher = launcher,
		.runtime = ".", /* where the daemon stands: see daemon.c */
		.network = p->local.network,
	    },
	    env, ret, err);
}

static int
open_ec2(const struct config *c, const struct config_provider *p,
    const struct provider_env *env, struct provider **ret, struct err *err)
{
	AUTO_FREE char *all = xasprintf("%s/db/providers", c->state);
	AUTO_FREE char *dir = xasprintf("%s/%s", all, p->name);

	if (mkdir(all, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", all);
	return ec2_provider_open(&p->ec2, dir, env, ret, err);
}

int
providers_open(const struct config *c, const struct config_provider *p,
    const char *launcher, const struct provider_env *env, struct provider **ret,
    struct err *err)
{
	switch (p->kind) {
	case PROVIDER_FAKE:
		return open_fake(c, p, env, ret, err);
	case PROVIDER_LOCAL:
		return open_local(c, p, launcher, env, ret, err);
	case PROVIDER_EC2:
		return open_ec2(c, p, env, ret, err);
	default:
		return err_set(err, ERR_INVALID, "kind %s is not in this build",
		    provider_kind_name(p->kind));
	}
}

#define COUNTS_MAX 64

static void
write_counts(const struct provider_named *named, bool throttled, struct buf *out)
{
	struct provider_count counts[COUNTS_MAX];
	const struct provider_ops *ops = named->p->ops;
	int n = ops->counts ? ops->counts(named->p, counts, COUNTS_MAX) : 0;

	for (int i = 0; i < n; i++)
		buf_fmt(out,
		    "hearth_provider_%s_total{provider=\"%s\",action=\"%s\"} %llu\n",
		    throttled ? "throttled" : "calls", named->name, counts[i].action,
		    (unsigned long long)(throttled ? counts[i].throttled
						   : counts[i].calls));
}

void
providers_metrics(const struct provider_named *all, int n, struct buf *out)
{
	bool any = false;

	for (int i = 0; i < n; i++)
		any = any || all[i].p->ops->counts;
	if (!any)
		return;
	buf_str(out, "# HELP hearth_provider_calls_total Calls of a provider's service, "
		     "by action, each attempt.\n"
		     "# TYPE hearth_provider_calls_total counter\n");
	for (int i = 0; i < n; i++)
		write_counts(&all[i], false, out);
	buf_str(out, "# HELP hearth_provider_throttled_total Those of them that were "
		     "refused as too many.\n"
		     "# TYPE hearth_provider_throttled_total counter\n");
	for (int i = 0; i < n; i++)
		write_counts(&all[i], true, out);
}
