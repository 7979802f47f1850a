/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with instances that are there, and what is seen of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/describe.h"
#include "ec2/families.h"
#include "ec2/instance_filters.h"
#include "ec2/instance_xml.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/spot.h"
#include "ec2/throttle.h"

/* ---- describing ---- */

static const struct describe instances_of = {
    .kind = &kind_instance,
    .ids = "InstanceId",
    .filters = instance_filters,
};

/* Those of one reservation that follow each other stand together. */
static void
describe_instances(struct request *q)
{
	struct selection s;
	int from = 0;

	request_ignore(q, "IncludeManagedResources");
	if (!describe_select(q, &instances_of, &s))
		return;
	reply_open(&q->reply, "reservationSet");
	while (from < s.n) {
		const struct instance *first = (const struct instance *)s.v[from];
		int n = 1;

		while (from + n < s.n &&
		       ((const struct instance *)s.v[from + n])->reservation ==
			   first->reservation)
			n++;
		reply_open(&q->reply, "item");
		instance_write_reservation(q, first->reservation, s.v + from, n);
		reply_close(&q->reply);
		from += n;
	}
	reply_close(&q->reply);
	if (s.next_token[0])
		reply_text(&q->reply, "nextToken", s.next_token);
	selection_fini(&s);
}

static bool
only_running(struct request *q, const struct object *o)
{
	return instance_shown_state((const struct instance *)o) == INSTANCE_RUNNING;
}

static void
write_check(struct request *q, const char *name, const char *status, const char *detail)
{
	struct reply *r = &q->reply;

	reply_open(r, name);
	reply_text(r, "status", status);
	if (detail) {
		reply_open(r, "details");
		reply_open(r, "item");
		reply_text(r, "name", "reachability");
		reply_text(r, "status", detail);
		reply_close(r);
		reply_close(r);
	}
	reply_close(r);
}

static void
write_status(struct request *q, const struct object *o)
{
	const struct instance *i = (const struct instance *)o;
	enum instance_state s = instance_shown_state(i);
	bool ok = i->checks_ok_at && i->checks_ok_at <= world_now(q->world);
	const char *status = s != INSTANCE_RUNNING ? "not-applicable"
			     : ok		   ? "ok"
						   : "initializing";
	const char *detail = s != INSTANCE_RUNNING ? NULL
			     : ok		   ? "passed"
						   : "initializing";

	reply_text(&q->reply, "instanceId", o->id);
	reply_text(&q->reply, "availabilityZone", i->zone);
	instance_write_state(q, "instanceState", s);
	write_check(q, "systemStatus", status, detail);
	write_check(q, "instanceStatus", status, detail);
}

static void
describe_status(struct request *q)
{
	bool all = request_bool(q, false, "IncludeAllInstances");

	describe(q, &(struct describe){.kind = &kind_instance,
			.ids = "InstanceId",
			.filters = instance_status_filters,
			.set = "instanceStatusSet",
			.write = write_status,
			.only = all ? NULL : only_running});
}

static void
get_console_output(struct request *q)
{
	AUTO_BUF struct buf text = BUF_INIT(64 << 10), encoded = BUF_INIT(0);
	const char *id = request_need(q, "InstanceId");
	struct instance *i = *id ? request_object(q, &kind_instance, id) : NULL;

	request_bool(q, false, "Latest");
	if (!request_ready(q))
		return;
	q->world->backend->ops->console(q->world->backend, i, &text);
	reply_base64(&encoded, text.data ?: "", text.len);
	reply_text(&q->reply, "instanceId", id);
	reply_time(&q->reply, "timestamp", world_now(q->world));
	if (text.len)
		reply_text(&q->reply, "output", encoded.data);
}

/* ---- changing states ---- */

typedef void (*change_fn)(struct request *q, struct instance *i);

/* All or nothing has been decided: what each was is remembered for the reply. */
static void
change_all(struct request *q, struct instance **v, int n, change_fn change)
{
	struct reply *r = &q->reply;

	reply_open(r, "instancesSet");
	for (int k = 0; k < n; k++) {
		enum instance_state before = (enum instance_state)v[k]->state;
		enum instance_state after;

		change(q, v[k]);
		after = (enum instance_state)v[k]->state;
		reply_open(r, "item");
		reply_text(r, "instanceId", v[k]->o.id);
		instance_write_state(q, "currentState", after);
		instance_write_state(q, "previousState", before);
		reply_close(r);
	}
	reply_close(r);
}

static void
wrong_state(struct request *q, const struct instance *i, const char *what)
{
	request_fail(q, "IncorrectInstanceState",
	    "The instance '%s' is not in a state from which it can be %s.", i->o.id,
	    what);
}

static void
start(struct request *q, struct instance *i)
{
	if (i->state == INSTANCE_STOPPED)
		instance_start(i);
}

static void
check_start(struct request *q, const struct instance *i)
{
	if (i->state != INSTANCE_STOPPED && i->state != INSTANCE_RUNNING &&
	    i->state != INSTANCE_PENDING)
		wrong_state(q, i, "started");
}

static void
check_start_capacity(struct request *q, const struct instance *i)
{
	if (i->state == INSTANCE_STOPPED &&
	    scenario_strike(q->world, FAULT_CAPACITY, "StartInstances", i->type, i->zone))
		request_fail(q, "InsufficientInstanceCapacity",
		    "Insufficient capacity for %s in %s.", i->type, i->zone);
}

static void
start_instances(struct request *q)
{
	AUTO_FREE struct instance **v = NULL;
	int n;

	v = (struct instance **)request_objects(q, &kind_instance, "InstanceId", &n);
	request_ignore(q, "AdditionalInfo");
	for (int k = 0; k < n; k++)
		check_start(q, v[k]);
	if (!request_ready(q) || !throttle_resources(q, n))
		return;
	for (int k = 0; k < n; k++)
		check_start_capacity(q, v[k]);
	if (!request_failed(q))
		change_all(q, v, n, start);
}

static void
stop(struct request *q, struct instance *i)
{
	bool hibernate = request_bool(q, false, "Hibernate");
	char reason[INSTANCE_REASON_MAX];

	if (i->state != INSTANCE_RUNNING && i->state != INSTANCE_PENDING)
		return;
	instance_user_reason(i, reason);
	instance_stop(i, hibernate, request_bool(q, false, "Force"), reason,
	    hibernate ? "Client.UserInitiatedHibernate" : "Client.UserInitiatedShutdown",
	    hibernate ? "Client.UserInitiatedHibernate: User initiated hibernate"
		      : "Client.UserInitiatedShutdown: User initiated shutdown");
}

static void
check_hibernate(struct request *q, const struct instance *i)
{
	if (!i->hibernation)
		request_fail(q, "UnsupportedHibernationConfiguration",
		    "The instance '%s' is not configured for hibernation.", i->o.id);
	else if (i->spot_request)
		request_fail(q, "UnsupportedOperation",
		    "The instance '%s' is a Spot instance, which EC2 alone hibernates.",
		    i->o.id);
	else if (i->state == INSTANCE_RUNNING && !i->was_up)
		request_fail(q, "UnsupportedOperation",
		    "The instance '%s' is not ready to hibernate yet, retry in a few "
		    "minutes.",
		    i->o.id);
}

/* AWS stops nothing that has not run. A Spot instance of a one-time request cannot be stopped. */
static void
check_stop(struct request *q, const struct instance *i)
{
	const struct spot_request *s =
	    i->spot_request ? region_find(q->region, &kind_spot_request, i->spot_request)
			    : NULL;

	if (i->state == INSTANCE_SHUTTING_DOWN || i->state == INSTANCE_TERMINATED ||
	    i->state == INSTANCE_PENDING)
		wrong_state(q, i, "stopped");
	else if (i->no_api_stop)
		request_fail(q, "OperationNotPermitted",
		    "The instance '%s' may not be stopped. Modify its 'disableApiStop' "
		    "instance attribute and try again.",
		    i->o.id);
	else if (s && !s->persistent)
		request_fail(q, "UnsupportedOperation",
		    "You can't stop the Spot Instance '%s' because it is associated with "
		    "a one-time Spot Instance request. You can only stop Spot Instances "
		    "associated with persistent Spot Instance requests.",
		    i->o.id);
	else if (request_bool(q, false, "Hibernate"))
		check_hibernate(q, i);
}

static void
stop_instances(struct request *q)
{
	AUTO_FREE struct instance **v = NULL;
	int n;

	v = (struct instance **)request_objects(q, &kind_instance, "InstanceId", &n);
	request_bool(q, false, "Hibernate");
	request_bool(q, false, "Force");
	for (int k = 0; k < n; k++)
		check_stop(q, v[k]);
	if (request_ready(q) && throttle_resources(q, n))
		change_all(q, v, n, stop);
}

static void
terminate(struct request *q, struct instance *i)
{
	char reason[INSTANCE_REASON_MAX];

	if (i->state == INSTANCE_SHUTTING_DOWN || i->state == INSTANCE_TERMINATED)
		return;
	instance_user_reason(i, reason);
	instance_terminate(i, reason, "Client.UserInitiatedShutdown",
	    "Client.UserInitiatedShutdown: User initiated shutdown");
}

static void
terminate_instances(struct request *q)
{
	AUTO_FREE struct instance **v = NULL;
	int n;

	v = (struct instance **)request_objects(q, &kind_instance, "InstanceId", &n);
	for (int k = 0; k < n; k++)
		if (v[k]->no_api_termination)
			request_fail(q, "OperationNotPermitted",
			    "The instance '%s' may not be terminated. Modify its "
			    "'disableApiTermination' instance attribute and try again.",
			    v[k]->o.id);
	if (request_ready(q) && throttle_resources(q, n))
		change_all(q, v, n, terminate);
}

static void
reboot_instances(struct request *q)
{
	AUTO_FREE struct instance **v = NULL;
	int n;

	v = (struct instance **)request_objects(q, &kind_instance, "InstanceId", &n);
	for (int k = 0; k < n; k++)
		if (v[k]->state != INSTANCE_RUNNING && v[k]->state != INSTANCE_PENDING)
			wrong_state(q, v[k], "rebooted");
	if (!request_ready(q))
		return;
	for (int k = 0; k < n; k++)
		instance_reboot(v[k]);
	reply_true(&q->reply);
}

const struct action instance_actions[] = {
    {"DescribeInstances", describe_instances, ACTION_READ},
    {"DescribeInstanceStatus", describe_status, ACTION_READ},
    {"GetConsoleOutput", get_console_output, ACTION_READ},
    {"StartInstances", start_instances},
    {"StopInstances", stop_instances},
    {"RebootInstances", reboot_instances},
    {"TerminateInstances", terminate_instances},
    {NULL},
};
