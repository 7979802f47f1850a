/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/describe.h"
#include "ec2/families.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/run.h"
#include "ec2/scenario.h"
#include "ec2/spot.h"
#include "ec2/tags.h"
#include "ec2/types.h"

/* clang-format off */
static const struct attr spot_attrs[] = {
	ATTR(spot_request, ATTR_INT,  state),
	ATTR(spot_request, ATTR_TEXT, status),
	ATTR(spot_request, ATTR_TEXT, message),
	ATTR(spot_request, ATTR_INT,  updated_at),
	ATTR(spot_request, ATTR_TEXT, instance_id),
	ATTR(spot_request, ATTR_TEXT, interruption),
	ATTR(spot_request, ATTR_TEXT, price),
	ATTR(spot_request, ATTR_TEXT, image),
	ATTR(spot_request, ATTR_TEXT, type),
	ATTR(spot_request, ATTR_TEXT, zone),
	ATTR(spot_request, ATTR_TEXT, subnet),
	ATTR(spot_request, ATTR_TEXT, key_name),
	ATTR(spot_request, ATTR_BOOL, persistent),
	ATTR(spot_request, ATTR_INT,  valid_until),
	ATTR(spot_request, ATTR_INT,  notice_at),
	{ NULL },
};
/* clang-format on */

/* "disabled" is not in the service model of every SDK: a disabled one shows by its status. */
static const char *const state_names[SPOT_STATE_MAX] = {
    [SPOT_ACTIVE] = "active",
    [SPOT_DISABLED] = "active",
    [SPOT_CANCELLED] = "cancelled",
    [SPOT_CLOSED] = "closed",
};

static struct instance *
instance_behind(const struct spot_request *s)
{
	return region_find(s->o.region, &kind_instance, s->instance_id);
}

static void
move(struct spot_request *s, enum spot_state to, const char *status, const char *message)
{
	s->state = to;
	s->updated_at = world_now(s->o.region->world);
	xstrset(&s->status, status);
	xstrset(&s->message, message);
	object_changed(&s->o);
}

/* ---- interruption ---- */

static void
interrupt(struct spot_request *s, struct instance *i)
{
	static const char code[] = "Server.SpotInstanceTermination";
	static const char stop_code[] = "Server.SpotInstanceShutdown";

	s->notice_at = i->spot_notice_at = 0;
	if (strcmp(s->interruption, "terminate") == 0) {
		instance_terminate(i, "Server.SpotInstanceTermination", code,
		    "Server.SpotInstanceTermination: Spot instance termination");
		return;
	}
	instance_stop(i, strcmp(s->interruption, "hibernate") == 0, false,
	    "Server.SpotInstanceShutdown", stop_code,
	    "Server.SpotInstanceShutdown: Spot instance shutdown");
}

/* First the notice, two minutes ahead of the end; a hibernation begins with it: EC2 User Guide, "Spot Instance interruption notices". */
static void
spot_due(struct object *o)
{
	struct spot_request *s = (struct spot_request *)o;
	struct instance *i = instance_behind(s);
	struct world *w = o->region->world;
	int64_t notice;

	if (!i || i->state != INSTANCE_RUNNING)
		return;
	if (s->notice_at) {
		interrupt(s, i);
		return;
	}
	notice = strcmp(s->interruption, "hibernate") == 0
		     ? 0
		     : scenario_delay(w, DELAY_SPOT_NOTICE);
	s->notice_at = i->spot_notice_at = world_now(w) + notice;
	xstrset(&i->spot_action, s->interruption);
	object_changed(&i->o);
	move(s, (enum spot_state)s->state, "marked-for-termination",
	    "Your Spot Instance is marked for interruption.");
	object_after(&s->o, notice);
	if (w->on_spot_notice)
		w->on_spot_notice(i);
}

const struct kind kind_spot_request = {
    .name = "spot-request",
    .resource = "spot-instances-request",
    .prefix = "sir-",
    .error = "InvalidSpotInstanceRequestID",
    .what = "spot instance request ID",
    .size = sizeof(struct spot_request),
    .attrs = spot_attrs,
    .due = spot_due,
};

/* ---- what its instance comes to ---- */

static struct spot_request *
request_of(const struct instance *i)
{
	if (!i->spot_request)
		return NULL;
	return region_find(i->o.region, &kind_spot_request, i->spot_request);
}

void
spot_on_running(struct instance *i)
{
	struct world *w = i->o.region->world;
	struct spot_request *s = request_of(i);
	const struct fault *f;

	if (!s)
		return;
	if (s->state == SPOT_DISABLED)
		move(s, SPOT_ACTIVE, "fulfilled", "Your spot request is fulfilled.");
	f = scenario_strike(w, FAULT_SPOT_INTERRUPTED, NULL, i->type, i->zone);
	if (f)
		object_after(&s->o, scenario_fault_ms(w, f));
}

void
spot_on_stopped(struct instance *i)
{
	struct spot_request *s = request_of(i);

	if (!s || s->state == SPOT_CANCELLED)
		return;
	object_after_off(&s->o);
	s->notice_at = 0;
	move(s, SPOT_DISABLED, "instance-stopped-by-user",
	    "Your Spot Instance is stopped.");
}

static bool
goes_on(const struct spot_request *s)
{
	return s->persistent &&
	       (!s->valid_until || s->valid_until > world_now(s->o.region->world));
}

void
spot_on_terminated(struct instance *i)
{
	struct spot_request *s = request_of(i);
	struct instance *next;

	if (!s)
		return;
	object_after_off(&s->o);
	s->notice_at = 0;
	if (s->state == SPOT_CANCELLED)
		return;
	next = goes_on(s) ? spot_launch_again(i) : NULL;
	if (!next) {
		move(s, SPOT_CLOSED, "instance-terminated-by-user",
		    "Your Spot Instance is terminated.");
		return;
	}
	xstrset(&s->instance_id, next->o.id);
	xstrset(&next->spot_request, s->o.id);
	object_changed(&next->o);
	move(s, SPOT_ACTIVE, "fulfilled", "Your spot request is fulfilled.");
}

void
spot_request_make(struct request *q, const struct run *r, struct instance *i)
{
	struct spot_request *s = object_new(q->region, &kind_spot_request, NULL);

	s->instance_id = xstrdup(i->o.id);
	s->interruption = xstrdup(r->interruption);
	s->price = xstrdup_null(r->price);
	s->image = xstrdup(i->image);
	s->type = xstrdup(i->type);
	s->zone = xstrdup(i->zone);
	s->subnet = xstrdup(r->interfaces[0].subnet->o.id);
	s->key_name = xstrdup_null(r->key ? r->key->name : NULL);
	s->persistent = r->persistent;
	s->valid_until = r->valid_until;
	move(s, SPOT_ACTIVE, "fulfilled", "Your spot request is fulfilled.");
	i->spot_request = xstrdup(s->o.id);
	request_tag(q, &s->o);
}

/* ---- the API ---- */

static const struct spot_request *
spot_of(const void *o)
{
	return o;
}

static void
offer_state(const void *o, struct offer *v)
{
	offer(v, state_names[spot_of(o)->state]);
}

static void
offer_id(const void *o, struct offer *v)
{
	offer(v, spot_of(o)->o.id);
}

static void
offer_instance(const void *o, struct offer *v)
{
	offer(v, spot_of(o)->instance_id);
}

static void
offer_type(const void *o, struct offer *v)
{
	offer(v, spot_of(o)->persistent ? "persistent" : "one-time");
}

static void
offer_status(const void *o, struct offer *v)
{
	offer(v, spot_of(o)->status);
}

static void
offer_instance_type(const void *o, struct offer *v)
{
	offer(v, spot_of(o)->type);
}

static void
offer_zone(const void *o, struct offer *v)
{
	offer(v, spot_of(o)->zone);
}

static const struct filter spot_filters[] = {
    {"state", offer_state},
    {"spot-instance-request-id", offer_id},
    {"instance-id", offer_instance},
    {"type", offer_type},
    {"status-code", offer_status},
    {"launch.instance-type", offer_instance_type},
    {"launched-availability-zone", offer_zone},
    {NULL},
};

static void
write_spot(struct request *q, const struct object *o)
{
	const struct spot_request *s = spot_of(o);
	struct reply *r = &q->reply;

	reply_text(r, "spotInstanceRequestId", o->id);
	reply_text(r, "spotPrice", s->price);
	reply_text(r, "type", s->persistent ? "persistent" : "one-time");
	reply_text(r, "state", state_names[s->state]);
	reply_open(r, "status");
	reply_text(r, "code", s->status);
	reply_time(r, "updateTime", s->updated_at);
	reply_text(r, "message", s->message);
	reply_close(r);
	reply_open(r, "launchSpecification");
	reply_text(r, "imageId", s->image);
	reply_text(r, "keyName", s->key_name);
	reply_text(r, "instanceType", s->type);
	reply_open(r, "placement");
	reply_text(r, "availabilityZone", s->zone);
	reply_close(r);
	reply_text(r, "subnetId", s->subnet);
	reply_close(r);
	reply_text(r, "instanceId", s->instance_id);
	reply_time(r, "createTime", o->created_at);
	reply_time(r, "validUntil", s->valid_until);
	reply_text(r, "productDescription", "Linux/UNIX");
	reply_tags(q, o);
	reply_text(r, "launchedAvailabilityZone", s->zone);
	reply_text(r, "instanceInterruptionBehavior", s->interruption);
}

static void
describe_spot(struct request *q)
{
	describe(q, &(struct describe){.kind = &kind_spot_request,
			.ids = "SpotInstanceRequestId",
			.filters = spot_filters,
			.set = "spotInstanceRequestSet",
			.write = write_spot});
}

/* Its instance lives on. */
static void
cancel_spot(struct request *q)
{
	AUTO_FREE void **v = NULL;
	int n;

	v = request_objects(q, &kind_spot_request, "SpotInstanceRequestId", &n);
	if (!request_ready(q))
		return;
	reply_open(&q->reply, "spotInstanceRequestSet");
	for (int i = 0; i < n; i++) {
		struct spot_request *s = v[i];

		if (s->state != SPOT_CANCELLED && s->state != SPOT_CLOSED)
			move(s, SPOT_CANCELLED, "request-canceled-and-instance-running",
			    "Your Spot request is canceled, but your instance is still "
			    "running.");
		reply_open(&q->reply, "item");
		reply_text(&q->reply, "spotInstanceRequestId", s->o.id);
		reply_text(&q->reply, "state", state_names[s->state]);
		reply_close(&q->reply);
	}
	reply_close(&q->reply);
}

const struct action spot_actions[] = {
    {"DescribeSpotInstanceRequests", describe_spot, ACTION_READ},
    {"CancelSpotInstanceRequests", cancel_spot},
    {NULL},
};
