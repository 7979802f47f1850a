/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/idempotent.h"
#include "ec2/instance_xml.h"
#include "ec2/request.h"
#include "ec2/run.h"
#include "ec2/template.h"
#include "ec2/throttle.h"

/* All that one token made: what of it still is. */
static int
collect(struct request *q, const struct texts *ids, const struct object **ret)
{
	int n = 0;

	for (int k = 0; k < ids->n; k++) {
		struct instance *i = region_find(q->region, &kind_instance, ids->v[k]);

		if (!i || i->state == INSTANCE_TERMINATED ||
		    i->state == INSTANCE_SHUTTING_DOWN) {
			request_fail(q, "IdempotentInstanceTerminated",
			    "The specified instance '%s' has been terminated", ids->v[k]);
			return 0;
		}
		ret[n++] = &i->o;
	}
	return n;
}

static void
write_again(struct request *q, const struct token *t)
{
	AUTO_FREE const struct object **v =
	    xcalloc((size_t)t->ids.n + 1, sizeof(struct object *));
	int n = collect(q, &t->ids, v);

	if (n > 0)
		instance_write_reservation(
		    q, ((const struct instance *)v[0])->reservation, v, n);
}

static void
write_new(struct request *q, const struct reservation *res)
{
	AUTO_FREE const struct object **v =
	    xcalloc((size_t)res->n + 1, sizeof(struct object *));
	struct list *at = region_objects(q->region, &kind_instance);

	for (int64_t i = res->n; i > 0; i--) { /* they are the newest */
		at = at->prev;
		v[i - 1] = list_entry(at, struct object, link);
	}
	instance_write_reservation(q, res, v, (int)res->n);
}

static void
run_instances(struct request *q)
{
	const struct token *again;
	const struct reservation *res;
	struct run r;

	template_apply(q);
	again = idempotent_find(q);
	run_read(q, &r);
	if (request_ready(q)) {
		if (again) {
			write_again(q, again);
		} else if (throttle_resources(q, (int)r.max)) {
			res = run_make(q, &r);
			if (res)
				write_new(q, res);
		}
	}
	run_fini(&r);
}

const struct action run_actions[] = {
    {"RunInstances", run_instances},
    {NULL},
};
