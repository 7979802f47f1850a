/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "aws/client_internal.h"
#include "base/xalloc.h"

static void
bucket_ours(struct lane *l, struct bucket *b, double capacity, double per_s)
{
	bucket_init(b, capacity * l->c->share, per_s * l->c->share * l->c->speed,
	    clock_now_ms(l->c->clock));
	if (b->capacity < 1)
		b->capacity = b->tokens = 1; /* or nothing would ever pass */
}

/* Only EC2 has published rates. */
static void
set_rates(struct lane *l, bool unfiltered)
{
	struct bucket_limits max = bucket_limits_of(l->action);

	l->paced = l->c->speed > 0 && strcmp(l->c->service, "ec2") == 0;
	if (unfiltered && max.unfiltered_capacity > 0)
		bucket_ours(
		    l, &l->requests, max.unfiltered_capacity, max.unfiltered_per_s);
	else
		bucket_ours(l, &l->requests, max.capacity, max.per_s);
	if (max.resource_capacity > 0)
		bucket_ours(l, &l->resources, max.resource_capacity, max.resource_per_s);
}

struct lane *
lane_of(struct aws_client *c, const char *action, bool unfiltered)
{
	char *key = xasprintf("%s%s", action, unfiltered ? " of all" : "");
	struct lane *l = map_get(&c->lanes, key);

	if (l) {
		free(key);
		return l;
	}
	l = xnew(struct lane);
	l->key = key;
	l->action = xstrdup(action);
	l->c = c;
	list_init(&l->waiting);
	set_rates(l, unfiltered);
	map_put(&c->lanes, l->key, l);
	return l;
}

void
lane_free(struct lane *l)
{
	timer_off(&l->timer);
	free(l->key);
	free(l->action);
	free(l);
}

/* What a call takes of the instances' bucket: more than it holds would wait for ever. */
static double
resources_of(const struct lane *l, const struct aws_call *call)
{
	double n = call->opt.resources, max = l->resources.capacity;

	return n < max ? n : max;
}

static int64_t
wait_ms(const struct lane *l, const struct aws_call *call, int64_t now)
{
	int64_t requests, resources;

	if (!l->paced)
		return 0;
	requests = bucket_wait_ms(&l->requests, 1, now);
	resources = bucket_wait_ms(&l->resources, resources_of(l, call), now);
	return requests > resources ? requests : resources;
}

static void
pump(void *arg)
{
	struct lane *l = arg;

	while (!list_empty(&l->waiting)) {
		struct aws_call *call =
		    list_entry(l->waiting.next, struct aws_call, lane_link);
		int64_t now = clock_now_ms(l->c->clock), wait = wait_ms(l, call, now);

		if (wait > 0) {
			timer_set(l->c->clock, &l->timer, wait, pump, l);
			return;
		}
		if (l->paced) {
			(void)bucket_take(&l->requests, 1, now);
			(void)bucket_take(&l->resources, resources_of(l, call), now);
		}
		list_remove(&call->lane_link);
		call_go(call);
	}
}

void
lane_enter(struct lane *l, struct aws_call *call, bool first)
{
	if (first)
		list_push_front(&l->waiting, &call->lane_link);
	else
		list_push_back(&l->waiting, &call->lane_link);
	if (first || !timer_is_on(&l->timer))
		timer_set(l->c->clock, &l->timer, 0, pump, l);
}

void
lane_throttled(struct lane *l)
{
	l->c->throttled++;
	l->throttled++;
	if (l->paced)
		bucket_drain(&l->requests, clock_now_ms(l->c->clock));
}
