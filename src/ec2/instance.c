/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/instance.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/scenario.h"
#include "ec2/spot.h"

const struct instance_state_info instance_state_info[INSTANCE_STATE_MAX] = {
    [INSTANCE_PENDING] = {"pending", 0},
    [INSTANCE_RUNNING] = {"running", 16},
    [INSTANCE_SHUTTING_DOWN] = {"shutting-down", 32},
    [INSTANCE_TERMINATED] = {"terminated", 48},
    [INSTANCE_STOPPING] = {"stopping", 64},
    [INSTANCE_STOPPED] = {"stopped", 80},
};

static const uint16_t may_follow[INSTANCE_STATE_MAX] = {
    [INSTANCE_PENDING] = 1 << INSTANCE_RUNNING | 1 << INSTANCE_STOPPING |
			 1 << INSTANCE_STOPPED | 1 << INSTANCE_SHUTTING_DOWN,
    [INSTANCE_RUNNING] = 1 << INSTANCE_STOPPING | 1 << INSTANCE_SHUTTING_DOWN,
    [INSTANCE_STOPPING] = 1 << INSTANCE_STOPPED | 1 << INSTANCE_SHUTTING_DOWN,
    [INSTANCE_STOPPED] = 1 << INSTANCE_PENDING | 1 << INSTANCE_SHUTTING_DOWN,
    [INSTANCE_SHUTTING_DOWN] = 1 << INSTANCE_TERMINATED,
};

static struct world *
world_of(const struct instance *i)
{
	return i->o.region->world;
}

/* ---- what it is ---- */

struct interface *
instance_primary(const struct instance *i)
{
	struct interface *n;

	if (list_empty(&i->interfaces))
		return NULL;
	n = list_entry(i->interfaces.next, struct interface, on_instance);
	return n->device_index == 0 ? n : NULL;
}

const char *
instance_private_address(const struct instance *i)
{
	const struct interface *n = instance_primary(i);

	return n ? n->address : NULL;
}

const char *
instance_public_address(const struct instance *i)
{
	const struct interface *n = instance_primary(i);

	return n ? n->public_address : NULL;
}

const char *
instance_user_data(const struct instance *i)
{
	return i->user_data ?: i->reservation ? i->reservation->user_data : NULL;
}

/* EC2 User Guide, "Amazon EC2 instance hostnames": us-east-1 has a name of its own. */
void
instance_hostname(const struct instance *i, bool domain, char ret[INSTANCE_HOSTNAME_MAX])
{
	const char *address = instance_private_address(i), *region = i->o.region->name;
	bool oldest = strcmp(region, "us-east-1") == 0;
	int n = snprintf(ret, INSTANCE_HOSTNAME_MAX, "ip-%s", address ?: "0-0-0-0");

	for (char *c = ret; *c; c++)
		if (*c == '.')
			*c = '-';
	if (domain)
		(void)snprintf(ret + n, (size_t)(INSTANCE_HOSTNAME_MAX - n), "%s%s%s",
		    oldest ? "" : ".", oldest ? ".ec2" : region,
		    oldest ? ".internal" : ".compute.internal");
}

enum instance_state
instance_shown_state(const struct instance *i)
{
	if (i->stale_until > world_now(world_of(i)))
		return (enum instance_state)i->state_before;
	return (enum instance_state)i->state;
}

void
instance_user_reason(const struct instance *i, char ret[INSTANCE_REASON_MAX])
{
	time_t s = (time_t)(world_now(world_of(i)) / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	(void)strftime(
	    ret, INSTANCE_REASON_MAX, "User initiated (%Y-%m-%d %H:%M:%S GMT)", &tm);
}

/* ---- moving ---- */

static void
set_reason(struct instance *i, const char *reason, const char *code, const char *message)
{
	xstrset(&i->reason, reason);
	xstrset(&i->reason_code, code);
	xstrset(&i->reason_message, message);
}

static void
move(struct instance *i, enum instance_state to)
{
	struct world *w = world_of(i);
	const struct fault *stale;

	assert(may_follow[i->state] & 1 << to);
	stale = scenario_strike(w, FAULT_STALE, NULL, i->type, i->zone);
	if (stale) {
		/* two quick moves: what is shown is still what was before the first */
		if (i->stale_until <= world_now(w))
			i->state_before = i->state;
		i->stale_until = world_now(w) + scenario_fault_ms(w, stale);
	}
	i->state = to;
	object_changed(&i->o);
	log_debug("%s is %s", i->o.id, instance_state_info[to].name);
	if (w->on_state)
		w->on_state(i);
}

/* Asks the backend for its part; also again, after a restart. */
static void
ask(struct instance *i)
{
	struct backend *b = world_of(i)->backend;

	switch ((enum instance_work)i->work) {
	case WORK_PLACE:
		b->ops->place(b, i);
		return;
	case WORK_BOOT:
		b->ops->on(b, i, (enum backend_on)i->boot_how);
		return;
	case WORK_OFF:
		b->ops->off(b, i, i->hibernate, i->forced);
		return;
	case WORK_REBOOT:
		b->ops->reboot(b, i);
		return;
	case WORK_REMOVE:
		b->ops->remove(b, i);
		return;
	default:
		i->answered = true; /* nothing to do but to wait */
	}
}

static void tick(struct instance *i);

/* The backend has its part, if there is one, at once; the end may not come before the delay. */
static void
begin(struct instance *i, enum instance_work work, int64_t delay_ms)
{
	i->work = work;
	i->answered = false;
	object_after_off(&i->o);
	if (delay_ms > 0)
		object_after(&i->o, delay_ms);
	ask(i);
	tick(i);
}

static void
rest(struct instance *i)
{
	i->work = WORK_NONE;
	object_after_off(&i->o);
}

/* ---- how works end ---- */

static void
be_running(struct instance *i)
{
	if (i->state == INSTANCE_PENDING) {
		set_reason(i, NULL, NULL, NULL);
		move(i, INSTANCE_RUNNING);
		spot_on_running(i);
	}
}

/* Without a boot delay it is running once it is up: nobody sees a running one that is not. */
static void
boot(struct instance *i, enum backend_on how)
{
	static const enum delay delays[] = {
	    [BACKEND_ON_FIRST] = DELAY_BOOT,
	    [BACKEND_ON_AGAIN] = DELAY_START_BOOT,
	    [BACKEND_ON_RESUME] = DELAY_RESUME_BOOT,
	};
	int64_t delay = scenario_delay(world_of(i), delays[how]);

	i->boot_how = how;
	i->was_up = false;
	if (i->no_sshd) {
		rest(i);
		be_running(i);
	} else if (delay > 0) {
		be_running(i);
		begin(i, WORK_BOOT_DUE, delay);
	} else {
		begin(i, WORK_BOOT, 0);
	}
}

static void
placed(struct instance *i)
{
	if (!i->fate) {
		boot(i, BACKEND_ON_FIRST);
		return;
	}
	instance_terminate(i, i->fate, "Server.InternalError", i->fate);
}

static void
booted(struct instance *i)
{
	struct world *w = world_of(i);

	i->was_up = true;
	i->checks_ok_at = world_now(w) + scenario_delay(w, DELAY_STATUS_CHECK);
	rest(i);
	be_running(i);
	object_changed(&i->o);
}

static void
be_stopped(struct instance *i)
{
	struct interface *n;

	rest(i);
	i->was_up = false;
	i->checks_ok_at = 0;
	i->hibernated = i->hibernate;
	i->hibernate = i->forced = false;
	list_for_each (n, &i->interfaces, on_instance)
		interface_public_drop(n);
	move(i, INSTANCE_STOPPED);
	spot_on_stopped(i);
}

/* What goes with it goes, the rest is free. */
static void
leave_everything(struct instance *i)
{
	struct interface *n, *tmp;
	struct volume *v, *vtmp;

	list_for_each_safe (n, tmp, &i->interfaces, on_instance) {
		bool goes = n->delete_on_termination;

		interface_public_drop(n);
		interface_untie(n);
		if (goes)
			interface_delete(n);
	}
	list_for_each_safe (v, vtmp, &i->volumes, on_instance) {
		bool goes = v->delete_on_termination &&
			    !scenario_strike(world_of(i), FAULT_VOLUME_STUCK,
				"TerminateInstances", i->type, i->zone);

		volume_untie(v);
		if (goes)
			object_remove(&v->o);
	}
}

static void
be_terminated(struct instance *i)
{
	spot_on_terminated(i);
	leave_everything(i);
	i->was_up = false;
	i->checks_ok_at = 0;
	move(i, INSTANCE_TERMINATED);
	begin(i, WORK_SHOWN, scenario_delay(world_of(i), DELAY_TERMINATED_SHOWN));
}

static void
forget_reservation(struct instance *i)
{
	struct reservation *r = i->reservation;

	if (r && --r->n == 0)
		object_remove(&r->o);
}

static void
end_work(struct instance *i)
{
	switch ((enum instance_work)i->work) {
	case WORK_PLACE:
		placed(i);
		return;
	case WORK_WAKE:
		boot(i, i->hibernated ? BACKEND_ON_RESUME : BACKEND_ON_AGAIN);
		return;
	case WORK_BOOT_DUE:
		begin(i, WORK_BOOT, 0);
		return;
	case WORK_BOOT:
	case WORK_REBOOT:
		booted(i);
		return;
	case WORK_OFF:
		be_stopped(i);
		return;
	case WORK_REMOVE:
		be_terminated(i);
		return;
	case WORK_SHOWN:
		forget_reservation(i);
		object_remove(&i->o);
		return;
	default:
		return;
	}
}

static void
tick(struct instance *i)
{
	if (i->work != WORK_NONE && i->answered && !i->o.due_at)
		end_work(i);
}

static void
instance_due(struct object *o)
{
	tick(instance_of(o));
}

/* ---- what is asked of it ---- */

static void
take_public_address(struct instance *i)
{
	struct interface *n = instance_primary(i);

	if (n && n->wants_public_address)
		interface_public_take(n);
}

void
instance_launch(struct instance *i)
{
	struct world *w = world_of(i);
	const struct fault *f;

	i->launched_at = world_now(w);
	i->no_sshd = scenario_strike(w, FAULT_NO_SSHD, NULL, i->type, i->zone) != NULL;
	f = scenario_strike(w, FAULT_DIES_PENDING, NULL, i->type, i->zone);
	if (f)
		i->fate = xstrdup(
		    f->reason ?: "Server.InternalError: Internal error on launch");
	take_public_address(i);
	begin(i, WORK_PLACE, scenario_delay(w, DELAY_LAUNCH));
	if (w->on_state)
		w->on_state(i);
}

void
instance_start(struct instance *i)
{
	struct world *w = world_of(i);

	i->launched_at = world_now(w);
	set_reason(i, NULL, NULL, NULL);
	move(i, INSTANCE_PENDING);
	take_public_address(i);
	begin(
	    i, WORK_WAKE, scenario_delay(w, i->hibernated ? DELAY_RESUME : DELAY_START));
}

void
instance_stop(struct instance *i, bool hibernate, bool force, const char *reason,
    const char *code, const char *message)
{
	set_reason(i, reason, code, message);
	i->hibernate = hibernate;
	i->forced = force;
	i->hibernated = false;
	move(i, INSTANCE_STOPPING);
	begin(i, WORK_OFF,
	    scenario_delay(world_of(i), hibernate ? DELAY_HIBERNATE : DELAY_STOP));
}

void
instance_reboot(struct instance *i)
{
	if (i->was_up && i->work == WORK_NONE)
		begin(i, WORK_REBOOT, scenario_delay(world_of(i), DELAY_REBOOT));
}

void
instance_terminate(
    struct instance *i, const char *reason, const char *code, const char *message)
{
	AUTO_FREE char *kept = xstrdup_null(reason); /* may be one of its own */
	AUTO_FREE char *kept_message = xstrdup_null(message);

	set_reason(i, kept, code, kept_message);
	move(i, INSTANCE_SHUTTING_DOWN);
	begin(i, WORK_REMOVE, scenario_delay(world_of(i), DELAY_TERMINATE));
}

/* ---- what the backend says ---- */

/* Its own shutdown, or it died: AWS cannot tell a crash from it, and neither is a stop that we asked for. */
static void
went_off(struct instance *i, const char *reason)
{
	const char *code =
	    reason ? "Server.InternalError" : "Client.InstanceInitiatedShutdown";
	char message[256];

	(void)snprintf(message, sizeof(message), "%s: %s", code,
	    reason ?: "Instance initiated shutdown");
	if (i->state != INSTANCE_RUNNING && i->state != INSTANCE_PENDING)
		return;
	if (i->terminate_on_shutdown)
		instance_terminate(i, "", code, message);
	else
		instance_stop(i, false, false, "", code, message);
}

static void
failed(struct instance *i, const char *reason)
{
	char message[256];

	log_warn("%s: %s", i->o.id, reason ?: "its machine failed");
	if (i->work == WORK_OFF && i->hibernate) {
		i->hibernate = false; /* EC2: it becomes a normal stop */
		ask(i);
		return;
	}
	if (i->state == INSTANCE_SHUTTING_DOWN || i->state == INSTANCE_TERMINATED)
		return;
	(void)snprintf(message, sizeof(message), "Server.InternalError: %.200s",
	    reason ?: "Internal error");
	instance_terminate(i, message, "Server.InternalError", message);
}

static void
answered(struct instance *i, enum instance_work a, enum instance_work b)
{
	if (i->work != a && i->work != b)
		return;
	i->answered = true;
	tick(i);
}

void
instance_on_event(void *arg, struct instance *i, const struct backend_event *e)
{
	switch (e->kind) {
	case BACKEND_PLACED:
		answered(i, WORK_PLACE, WORK_PLACE);
		return;
	case BACKEND_UP:
		answered(i, WORK_BOOT, WORK_REBOOT);
		return;
	case BACKEND_OFF:
		if (i->work == WORK_OFF)
			answered(i, WORK_OFF, WORK_OFF);
		else
			went_off(i, e->reason);
		return;
	case BACKEND_GONE:
		answered(i, WORK_REMOVE, WORK_REMOVE);
		return;
	case BACKEND_FAILED:
		failed(i, e->reason);
		return;
	case BACKEND_REBOOTED:
		object_changed(&i->o);
		return;
	}
}

/* ---- life ---- */

/* clang-format off */
static const struct attr reservation_attrs[] = {
	ATTR(reservation, ATTR_TEXT, key_name),
	ATTR(reservation, ATTR_TEXT, public_key),
	ATTR(reservation, ATTR_TEXT, user_data),
	ATTR(reservation, ATTR_TEXT, client_token),
	{ NULL },
};

static const struct attr instance_attrs[] = {
	ATTR(instance, ATTR_TEXT, reservation_id),
	ATTR(instance, ATTR_TEXT, image),
	ATTR(instance, ATTR_TEXT, type),
	ATTR(instance, ATTR_TEXT, zone),
	ATTR(instance, ATTR_TEXT, architecture),
	ATTR(instance, ATTR_TEXT, root_device),
	ATTR(instance, ATTR_TEXT, profile),
	ATTR(instance, ATTR_TEXT, user_data),
	ATTR(instance, ATTR_INT,  launch_index),
	ATTR(instance, ATTR_INT,  launched_at),
	ATTR(instance, ATTR_INT,  state),
	ATTR(instance, ATTR_INT,  work),
	ATTR(instance, ATTR_BOOL, answered),
	ATTR(instance, ATTR_INT,  boot_how),
	ATTR(instance, ATTR_INT,  state_before),
	ATTR(instance, ATTR_INT,  stale_until),
	ATTR(instance, ATTR_TEXT, reason),
	ATTR(instance, ATTR_TEXT, reason_code),
	ATTR(instance, ATTR_TEXT, reason_message),
	ATTR(instance, ATTR_INT,  addresses_hidden_until),
	ATTR(instance, ATTR_BOOL, was_up),
	ATTR(instance, ATTR_INT,  checks_ok_at),
	ATTR(instance, ATTR_BOOL, hibernate),
	ATTR(instance, ATTR_BOOL, hibernated),
	ATTR(instance, ATTR_BOOL, forced),
	ATTR(instance, ATTR_BOOL, no_sshd),
	ATTR(instance, ATTR_TEXT, fate),
	ATTR(instance, ATTR_BOOL, hibernation),
	ATTR(instance, ATTR_BOOL, terminate_on_shutdown),
	ATTR(instance, ATTR_BOOL, no_api_termination),
	ATTR(instance, ATTR_BOOL, no_api_stop),
	ATTR(instance, ATTR_BOOL, monitoring),
	ATTR(instance, ATTR_BOOL, ebs_optimized),
	ATTR(instance, ATTR_BOOL, imds_disabled),
	ATTR(instance, ATTR_BOOL, imds_token_required),
	ATTR(instance, ATTR_BOOL, imds_tags),
	ATTR(instance, ATTR_INT,  imds_hop_limit),
	ATTR(instance, ATTR_TEXT, spot_request),
	ATTR(instance, ATTR_INT,  spot_notice_at),
	ATTR(instance, ATTR_TEXT, spot_action),
	ATTR(instance, ATTR_TEXT, backend_ref),
	{ NULL },
};
/* clang-format on */

const struct kind kind_reservation = {
    .name = "reservation",
    .prefix = "r-",
    .error = "InvalidReservationID",
    .what = "reservation ID",
    .size = sizeof(struct reservation),
    .attrs = reservation_attrs,
};

static void
instance_init(struct object *o)
{
	struct instance *i = instance_of(o);

	list_init(&i->volumes);
	list_init(&i->interfaces);
}

static void
instance_loaded(struct object *o)
{
	struct instance *i = instance_of(o);

	i->reservation = region_find(o->region, &kind_reservation, i->reservation_id);
	if (i->reservation)
		i->reservation->n++;
}

/* What the backend had not answered it is asked again. */
static void
instance_resumed(struct object *o)
{
	struct instance *i = instance_of(o);
	struct backend *b = world_of(i)->backend;

	if (i->state == INSTANCE_TERMINATED)
		return;
	b->ops->adopt(b, i);
	if (i->work != WORK_NONE && !i->answered)
		ask(i);
}

static void
instance_fini(struct object *o)
{
	struct instance *i = instance_of(o);
	struct backend *b = world_of(i)->backend;

	if (b)
		b->ops->forget(b, i);
	list_remove(&i->volumes); /* when the whole world goes, they may still be there */
	list_remove(&i->interfaces);
}

const struct kind kind_instance = {
    .name = "instance",
    .resource = "instance",
    .prefix = "i-",
    .error = "InvalidInstanceID",
    .what = "instance ID",
    .size = sizeof(struct instance),
    .attrs = instance_attrs,
    .init = instance_init,
    .due = instance_due,
    .loaded = instance_loaded,
    .resumed = instance_resumed,
    .fini = instance_fini,
};

void
world_forget_machines(struct world *w)
{
	struct region *r;
	struct instance *i;
	size_t at = 0;

	while ((r = world_region_next(w, &at)))
		region_for_each (i, r, &kind_instance)
			w->backend->ops->forget(w->backend, i);
	w->backend = NULL;
}
