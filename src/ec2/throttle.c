/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "aws/bucket.h"
#include "base/xalloc.h"
#include "ec2/action.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/world.h"

struct throttle {
	struct bucket requests, unfiltered, resources;
	bool has_unfiltered, has_resources;
};

static struct throttle *
throttle_of(struct request *q)
{
	struct throttle *t = map_get(&q->region->throttles, q->action->name);
	double speed = scenario_speed(q->world->scenario);
	int64_t now = clock_now_ms(q->world->clock);
	struct bucket_limits l;

	if (t)
		return t;
	l = bucket_limits_of(q->action->name);
	t = xnew(struct throttle);
	bucket_init(&t->requests, l.capacity, l.per_s * speed, now);
	t->has_unfiltered = l.unfiltered_capacity > 0;
	if (t->has_unfiltered)
		bucket_init(&t->unfiltered, l.unfiltered_capacity,
		    l.unfiltered_per_s * speed, now);
	t->has_resources = l.resource_capacity > 0;
	if (t->has_resources)
		bucket_init(
		    &t->resources, l.resource_capacity, l.resource_per_s * speed, now);
	map_put(&q->region->throttles, q->action->name, t);
	return t;
}

static bool
take(struct request *q, struct bucket *b, double n)
{
	if (bucket_take(b, n, clock_now_ms(q->world->clock)))
		return true;
	request_fail(q, "RequestLimitExceeded", "Request limit exceeded.");
	return false;
}

/* Neither filtered nor paged, nor of single ids: what has the smaller bucket. */
static bool
is_unfiltered(const struct request *q)
{
	for (int i = 0; i < q->n_params; i++)
		if (strpbrk(q->params[i].name, ".") ||
		    strcmp(q->params[i].name, "MaxResults") == 0)
			return false;
	return true;
}

bool
throttle_request(struct request *q)
{
	struct throttle *t;

	if (!scenario_throttles(q->world->scenario))
		return true;
	t = throttle_of(q);
	return take(
	    q, t->has_unfiltered && is_unfiltered(q) ? &t->unfiltered : &t->requests, 1);
}

bool
throttle_resources(struct request *q, int n)
{
	struct throttle *t;

	if (!scenario_throttles(q->world->scenario))
		return true;
	t = throttle_of(q);
	return !t->has_resources || take(q, &t->resources, n);
}

void
throttle_fini(struct region *r)
{
	struct throttle *t;
	size_t at = 0;

	while ((t = map_next(&r->throttles, &at)))
		free(t);
	map_fini(&r->throttles);
}
