/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/dispatch.h"

#include "ec2/action.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/throttle.h"
#include "ec2/world.h"

static const struct fault *
strike(struct request *q, enum fault_kind kind)
{
	return scenario_strike(q->world, kind, q->action->name, NULL, NULL);
}

bool
dispatch_admit(struct request *q)
{
	if (!throttle_request(q))
		return false;
	if (strike(q, FAULT_THROTTLED))
		request_fail(q, "RequestLimitExceeded", "Request limit exceeded.");
	else if (strike(q, FAULT_UNAVAILABLE))
		request_fail(q, "Unavailable",
		    "The service is unavailable. Please try again shortly.");
	else if (strike(q, FAULT_INTERNAL))
		request_fail(q, "InternalError", "An internal error has occurred");
	return !request_failed(q);
}

/* What the call has made is not found for a while. The newest changes are last. */
static void
hide_new(struct request *q, uint64_t seq_before, int64_t for_ms)
{
	struct list *all = &q->world->changed;

	for (struct list *at = all->prev; at != all; at = at->prev) {
		struct object *o = list_entry(at, struct object, changed);

		if (o->seq > seq_before && o->region == q->region)
			o->visible_at = world_now(q->world) + for_ms;
	}
}

/* Only what makes something has a chance to be struck, so that a fault's count is of such calls. */
void
dispatch_made(struct request *q, uint64_t before)
{
	const struct fault *f;

	if (q->world->seq > before && (f = strike(q, FAULT_INVISIBLE)))
		hide_new(q, before, scenario_fault_ms(q->world, f));
}

void
dispatch_run(struct request *q, bool *ret_lost)
{
	uint64_t before = q->world->seq;

	*ret_lost = false;
	q->action->fn(q);
	if (request_failed(q))
		return;
	dispatch_made(q, before);
	*ret_lost = strike(q, FAULT_REPLY_LOST) != NULL;
}
