/* SPDX-License-Identifier: Apache-2.0 */

/* Shared homes: a directory each, which the launcher makes and mounts. A home's name is its user's uid. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "provider/local/launcher_client.h"
#include "provider/local/local_internal.h"

static void
answered(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;

	p->err = *err;
	local_answer(p);
}

void
local_home_make(struct provider *pr, uint32_t uid, const char *options,
    provider_launch_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct launcher_request q = {.op = LAUNCHER_MAKE_HOME, .home_uid = uid};
	struct pending *p = local_pending_new(l, "", NULL, arg);

	p->launched = done;
	(void)snprintf(p->id, sizeof(p->id), "%u", uid);
	launcher_client_call(l->launcher, &q, answered, p);
}

static int
parse_uid(const char *ref, uint32_t *ret)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(ref, &end, 10);
	if (*ref < '0' || *ref > '9' || *end || errno || v >= UINT32_MAX)
		return -1;
	*ret = (uint32_t)v;
	return 0;
}

void
local_home_attach(struct provider *pr, const char *token, const char *ref,
    const char *home_ref, provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct launcher_request q = {.op = LAUNCHER_MOUNT_HOME};
	struct pending *p = local_pending_new(l, token, done, arg);

	if (parse_uid(home_ref, &q.home_uid) < 0)
		err_set(&p->err, ERR_INVALID, "'%.32s' is no home", home_ref);
	else if (local_copy_field(q.id, sizeof(q.id), token, "id", &p->err) == 0) {
		launcher_client_call(l->launcher, &q, answered, p);
		return;
	}
	local_answer_later(p);
}
