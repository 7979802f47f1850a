/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance's machine goes through. What the world asks for is noted (`asked`) and done by step(), one call of the
 * launcher at a time; what comes back moves the state and steps again.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/instance.h"
#include "ec2/local_internal.h"
#include "ec2/types.h"
#include "net/loop.h"
#include "provider/local/control.h"
#include "provider/local/launcher_client.h"

#define END_PATIENCE_MS 10000	 /* hearth-init itself waits 5 s */
#define REBOOT_PATIENCE_MS 60000 /* AWS gives it four minutes before it pulls the plug */
#define AGAIN_MS 2000
#define START_TRIES 3
#define MEMORY_LARGE (4 << 10) /* MiB: above, the launcher's default for this host */

static void step(void *arg);

/* ---- states ---- */

static const char *const state_names[LOCAL_STATE_MAX] = {
    [LOCAL_OFF] = "off",
    [LOCAL_STARTING] = "starting",
    [LOCAL_BOOTING] = "booting",
    [LOCAL_UP] = "up",
    [LOCAL_ENDING] = "ending",
    [LOCAL_STOPPING] = "stopping",
    [LOCAL_FREEZING] = "freezing",
    [LOCAL_FROZEN] = "frozen",
    [LOCAL_THAWING] = "thawing",
    [LOCAL_REMOVING] = "removing",
    [LOCAL_GONE] = "gone",
};

#define TO(state) (1u << LOCAL_##state)
static const unsigned successors[LOCAL_STATE_MAX] = {
    [LOCAL_OFF] = TO(STARTING) | TO(STOPPING) | TO(BOOTING) | TO(FROZEN) | TO(REMOVING),
    [LOCAL_STARTING] = TO(BOOTING) | TO(FROZEN) | TO(OFF),
    [LOCAL_BOOTING] =
	TO(UP) | TO(ENDING) | TO(STOPPING) | TO(FREEZING) | TO(OFF) | TO(REMOVING),
    [LOCAL_UP] =
	TO(BOOTING) | TO(ENDING) | TO(STOPPING) | TO(FREEZING) | TO(OFF) | TO(REMOVING),
    [LOCAL_ENDING] = TO(STOPPING) | TO(OFF) | TO(REMOVING),
    [LOCAL_STOPPING] = TO(OFF),
    [LOCAL_FREEZING] = TO(FROZEN) | TO(BOOTING) | TO(UP) | TO(OFF),
    [LOCAL_FROZEN] = TO(THAWING) | TO(STOPPING) | TO(OFF) | TO(REMOVING),
    [LOCAL_THAWING] = TO(BOOTING) | TO(UP) | TO(OFF),
    [LOCAL_REMOVING] = TO(GONE) | TO(OFF),
    [LOCAL_GONE] = TO(STARTING) | TO(REMOVING),
};

static void
move(struct lmachine *m, enum lstate to)
{
	if (m->state == to)
		return;
	log_debug("machine %s: %s, %s", m->id, state_names[m->state], state_names[to]);
	assert(successors[m->state] & (1u << to));
	m->state = to;
}

static bool
runs(const struct lmachine *m)
{
	return m->state == LOCAL_BOOTING || m->state == LOCAL_UP;
}

/* ---- the machine ---- */

/* Twelve digits of base 36 hold 62 bits: the last fifteen of an id's hexadecimal digits are 60. */
void
local_machine_id(const char *instance_id, char ret[LAUNCHER_ID_MAX])
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	size_t n = strlen(instance_id);
	uint64_t v = strtoull(instance_id + (n > 15 ? n - 15 : 0), NULL, 16);

	memcpy(ret, "m-", 2);
	for (int i = 13; i >= 2; i--, v /= 36)
		ret[i] = digits[v % 36];
	ret[14] = '\0';
}

struct lmachine *
local_machine(struct local *l, struct instance *i)
{
	struct lmachine *m = i->backend_data;

	if (m)
		return m;
	m = xnew(struct lmachine);
	m->l = l;
	m->i = i;
	m->console_fd = m->listener_fd = -1;
	m->tag = ++l->last_tag;
	local_machine_id(i->o.id, m->id);
	list_init(&m->in_local);
	list_push_back(&l->machines, &m->in_local);
	i->backend_data = m;
	if (!i->backend_ref || strcmp(i->backend_ref, m->id) != 0) {
		xstrset(&i->backend_ref, m->id);
		object_changed(&i->o);
	}
	return m;
}

static void
let_go(struct lmachine *m)
{
	control_close(m->watch);
	m->watch = NULL;
	local_metadata_close(m);
}

void
local_machine_forget(struct lmachine *m)
{
	let_go(m);
	timer_off(&m->soon);
	timer_off(&m->patience);
	if (m->console_fd >= 0)
		close(m->console_fd);
	m->console_fd = -1;
	free(m->tokens);
	m->tokens = NULL;
	if (m->i)
		m->i->backend_data = NULL;
	m->i = NULL;
	list_remove(&m->in_local);
	if (m->calls == 0)
		free(m);
}

bool
local_machine_called(struct lmachine *m)
{
	m->calls--;
	if (m->i)
		return false;
	if (m->calls == 0)
		free(m);
	return true;
}

void
local_machine_soon(struct lmachine *m)
{
	timer_set(m->l->env.clock, &m->soon, 0, step, m);
}

void
local_machine_ask(struct lmachine *m, enum lasked what)
{
	m->asked = what;
	m->told = false;
	m->failures = 0;
	timer_off(&m->patience);
	local_machine_soon(m);
}

static void
say(struct lmachine *m, enum backend_event_kind kind, const char *reason)
{
	m->l->env.event(
	    m->l->env.arg, m->i, &(struct backend_event){.kind = kind, .reason = reason});
}

/* What was asked for is done, or cannot be. The last thing that is done with m: the world may forget it. */
static void
finish(struct lmachine *m, enum backend_event_kind kind, const char *reason)
{
	m->asked = ASKED_NOTHING;
	m->told = m->died = m->adopted = false;
	m->failures = 0;
	timer_off(&m->patience);
	say(m, kind, reason);
}

/* ---- calls of the launcher ---- */

static void
call(struct lmachine *m, enum lstate state, enum launcher_op op, launcher_reply_fn fn)
{
	struct launcher_request q = {.op = op};

	move(m, state);
	memcpy(q.id, m->id, sizeof(q.id));
	m->calls++;
	m->busy = true;
	launcher_client_call(m->l->launcher, &q, fn, m);
}

/* False: nothing more is to be done with it. */
static bool
answered(struct lmachine *m, const struct err *err)
{
	m->busy = false;
	return !local_machine_called(m) && err->code != ERR_CANCELLED;
}

/* It is asked for again, until it works: nothing can be said of the instance before. */
static void
try_again(struct lmachine *m, const struct err *err)
{
	if (m->failures++ == 0)
		log_error(
		    "machine %s of %s: %s; trying again", m->id, m->i->o.id, err->msg);
	timer_set(m->l->env.clock, &m->soon, AGAIN_MS, step, m);
}

static void
on_killed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct lmachine *m = arg;

	if (!answered(m, err))
		return;
	if (err->code != ERR_NONE) {
		move(m, LOCAL_OFF);
		m->dirty = true;
		try_again(m, err);
		return;
	}
	move(m, LOCAL_GONE);
	if (m->asked == ASKED_REMOVE)
		finish(m, BACKEND_GONE, NULL);
	else
		local_machine_soon(m);
}

static void
on_stopped(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct lmachine *m = arg;

	if (!answered(m, err))
		return;
	move(m, LOCAL_OFF);
	m->dirty = err->code != ERR_NONE && err->code != ERR_NOT_FOUND;
	if (m->dirty)
		try_again(m, err);
	else
		step(m);
}

static void
stop_machine(struct lmachine *m)
{
	let_go(m);
	timer_off(&m->patience);
	call(m, LOCAL_STOPPING, LAUNCHER_STOP, on_stopped);
}

/* ---- the connection that watches ---- */

/* The machine's PID 1 is gone. */
static void
died(struct lmachine *m)
{
	let_go(m);
	if (m->busy)
		return; /* the call that is under way will say */
	move(m, LOCAL_OFF);
	m->dirty = true;
	if (m->asked != ASKED_OFF && m->asked != ASKED_OFF_FORCE &&
	    m->asked != ASKED_REMOVE && m->asked != ASKED_REBOOT) {
		m->asked = ASKED_NOTHING;
		m->died = true;
	}
	local_machine_soon(m);
}

static void
on_ready(struct lmachine *m)
{
	if (m->state == LOCAL_FREEZING || m->state == LOCAL_THAWING)
		m->was_up = true; /* it says so before the launcher does */
	if (m->state != LOCAL_BOOTING)
		return;
	move(m, LOCAL_UP);
	if (m->asked != ASKED_NOTHING && m->asked != ASKED_REBOOT) {
		local_machine_soon(m);
	} else if (m->asked == ASKED_REBOOT && m->told) {
		m->rebooting = false;
		finish(m, BACKEND_UP, NULL);
	} else if (m->rebooting) {
		m->rebooting = false;
		say(m, BACKEND_REBOOTED, NULL);
	} else if (m->adopted) {
		finish(m, BACKEND_UP, NULL);
	}
}

static void
heard(void *arg, char *text, size_t n)
{
	struct lmachine *m = arg;

	if (!text) {
		m->watch = NULL;
		died(m);
	} else if (strcmp(text, "ready") == 0) {
		on_ready(m);
	} else if (strcmp(text, "rebooting") == 0 && runs(m)) {
		move(m, LOCAL_BOOTING);
		m->rebooting = true;
	} else if (strcmp(text, "ending") == 0) {
		m->shut_down = true;
	}
}

static int
tell(struct lmachine *m, const char *what)
{
	struct err err;

	m->told = true;
	if (!m->watch || control_send(m->watch, what, &err) < 0)
		return -1;
	return 0;
}

static void
on_console(void *arg, int fd, const struct err *err)
{
	struct lmachine *m = arg;

	if (local_machine_called(m)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd < 0)
		return;
	if (m->console_fd >= 0)
		close(m->console_fd);
	m->console_fd = fd;
}

static void
open_console(struct lmachine *m)
{
	struct launcher_request q = {.op = LAUNCHER_CONSOLE};

	memcpy(q.id, m->id, sizeof(q.id));
	m->calls++;
	launcher_client_call_fd(m->l->launcher, &q, on_console, m);
}

/* It runs: whatever is to be had of it. -1: it has just ended. */
static int
attach(struct lmachine *m)
{
	char path[64];
	struct err err;

	m->shut_down = m->rebooting = false;
	open_console(m);
	local_metadata_open(m);
	(void)snprintf(path, sizeof(path), "machines/%s/control.sock", m->id);
	if (control_open(loop_uv(m->l->env.loop), path, heard, m, &m->watch, &err) == 0) {
		if (control_send(m->watch, "watch", &err) == 0)
			return 0;
		control_close(m->watch);
		m->watch = NULL;
	}
	log_debug("machine %s: %s", m->id, err.msg);
	return -1;
}

/* ---- on ---- */

/* A first start that fails leaves nothing, and the instance ends. One that has a disk keeps it: it is tried again, and stays
   stopped if that does not help. */
static void
start_failed(struct lmachine *m, const struct err *err)
{
	bool first = m->asked == ASKED_ON_FIRST;

	move(m, LOCAL_OFF);
	m->dirty = true;
	if (m->asked == ASKED_REMOVE) {
		step(m);
	} else if (err->code == ERR_NOT_FOUND ||
		   (m->failures >= START_TRIES - 1 && first)) {
		log_error("machine %s of %s: %s", m->id, m->i->o.id, err->msg);
		finish(m, BACKEND_FAILED, err->msg);
	} else if (m->failures >= START_TRIES - 1) {
		finish(m, BACKEND_OFF, err->msg);
	} else {
		m->told = false;
		try_again(m, err);
	}
}

static void
on_started(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct lmachine *m = arg;

	if (!answered(m, err))
		return;
	if (err->code != ERR_NONE) {
		start_failed(m, err);
		return;
	}
	m->failures = 0;
	m->was_up = m->dirty = false;
	move(m, r->state == LAUNCHER_FROZEN ? LOCAL_FROZEN : LOCAL_BOOTING);
	if (attach(m) < 0)
		died(m);
	else
		local_machine_soon(m);
}

static void
start_machine(struct lmachine *m)
{
	struct launcher_request q = {.op = LAUNCHER_START};
	const struct ec2_type *type = ec2_type_find(m->i->type);
	char hostname[INSTANCE_HOSTNAME_MAX];

	instance_hostname(m->i, false, hostname);
	memcpy(q.id, m->id, sizeof(q.id));
	(void)snprintf(q.image, sizeof(q.image), "%s", local_image_of(m->l, m->i));
	(void)snprintf(q.hostname, sizeof(q.hostname), "%s", hostname);
	q.slot = local_slot(m->l, instance_private_address(m->i));
	q.needs_disk = m->asked != ASKED_ON_FIRST;
	if (type && type->memory_mib <= MEMORY_LARGE)
		q.memory_bytes = (uint64_t)type->memory_mib << 20;
	move(m, LOCAL_STARTING);
	m->calls++;
	m->busy = true;
	launcher_client_call(m->l->launcher, &q, on_started, m);
}

static void
on_thawed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct lmachine *m = arg;

	if (!answered(m, err))
		return;
	if (err->code != ERR_NONE) { /* as on AWS, it boots where memory is lost */
		log_warn("machine %s of %s: %s; booting it instead", m->id, m->i->o.id,
		    err->msg);
		let_go(m);
		move(m, LOCAL_OFF);
		m->dirty = true;
	} else {
		move(m, m->was_up ? LOCAL_UP : LOCAL_BOOTING);
	}
	step(m);
}

static void
turn_on(struct lmachine *m)
{
	if (m->state == LOCAL_OFF || m->state == LOCAL_GONE)
		start_machine(m);
	else if (m->state == LOCAL_FROZEN)
		call(m, LOCAL_THAWING, LAUNCHER_THAW, on_thawed);
	else if (m->state == LOCAL_UP)
		finish(m, BACKEND_UP, NULL);
}

/* ---- off ---- */

static void
on_impatient(void *arg)
{
	struct lmachine *m = arg;

	if (m->busy)
		return;
	if (m->state == LOCAL_ENDING || runs(m))
		stop_machine(m);
}

static void
turn_off(struct lmachine *m, bool force)
{
	if (m->state == LOCAL_OFF || m->state == LOCAL_GONE) {
		if (m->dirty)
			stop_machine(m);
		else
			finish(m, BACKEND_OFF, NULL);
	} else if (runs(m) && !force && tell(m, "shutdown") == 0) {
		move(m, LOCAL_ENDING);
		timer_set(
		    m->l->env.clock, &m->patience, END_PATIENCE_MS, on_impatient, m);
	} else if (m->state != LOCAL_ENDING || force) {
		stop_machine(m);
	}
}

static void
on_frozen(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct lmachine *m = arg;

	if (!answered(m, err))
		return;
	if (err->code == ERR_NONE) {
		move(m, LOCAL_FROZEN);
	} else { /* as on AWS, a hibernation that fails is a stop */
		log_warn("machine %s of %s: %s; stopping it instead", m->id, m->i->o.id,
		    err->msg);
		move(m, m->watch ? LOCAL_BOOTING : LOCAL_OFF);
		m->dirty = true;
		if (m->asked == ASKED_HIBERNATE)
			m->asked = ASKED_OFF;
	}
	step(m);
}

static void
hibernate(struct lmachine *m)
{
	if (m->state == LOCAL_OFF && m->dirty)
		stop_machine(m);
	else if (m->state == LOCAL_OFF || m->state == LOCAL_FROZEN)
		finish(m, BACKEND_OFF, NULL);
	else if (runs(m)) {
		m->was_up = m->state == LOCAL_UP;
		call(m, LOCAL_FREEZING, LAUNCHER_FREEZE, on_frozen);
	}
}

/* ---- reboot ---- */

static void
reboot(struct lmachine *m)
{
	if (m->state == LOCAL_OFF) {
		start_machine(m);
		m->told = true;
	} else if (m->told) {
		return; /* it is on its way */
	} else if (runs(m) && tell(m, "reboot") == 0) {
		timer_set(
		    m->l->env.clock, &m->patience, REBOOT_PATIENCE_MS, on_impatient, m);
	} else {
		stop_machine(m);
	}
}

/* ---- the rest ---- */

static void
remove_machine(struct lmachine *m)
{
	let_go(m);
	timer_off(&m->patience);
	call(m, LOCAL_REMOVING, LAUNCHER_KILL, on_killed);
}

/* Unasked: it shut itself down, or died. */
static void
mourn(struct lmachine *m)
{
	bool by_itself = m->shut_down;

	if (m->dirty) {
		stop_machine(m);
		return;
	}
	finish(m, BACKEND_OFF, by_itself ? NULL : "its first process was killed");
}

static void
step(void *arg)
{
	struct lmachine *m = arg;

	if (m->busy || !m->l->listed || m->l->closing)
		return;
	switch (m->asked) {
	case ASKED_NOTHING:
		if (m->died)
			mourn(m);
		break;
	case ASKED_PLACE:
		if (m->l->image_ready ||
		    strcmp(local_image_of(m->l, m->i), m->l->image) != 0)
			finish(m, BACKEND_PLACED, NULL);
		break;
	case ASKED_ON_FIRST:
	case ASKED_ON_AGAIN:
	case ASKED_RESUME:
		turn_on(m);
		break;
	case ASKED_OFF:
	case ASKED_OFF_FORCE:
		turn_off(m, m->asked == ASKED_OFF_FORCE);
		break;
	case ASKED_HIBERNATE:
		hibernate(m);
		break;
	case ASKED_REBOOT:
		reboot(m);
		break;
	case ASKED_REMOVE:
		if (m->state != LOCAL_GONE)
			remove_machine(m);
		else
			finish(m, BACKEND_GONE, NULL);
		break;
	}
}

/* At the start. That a machine does not run is news only of an instance that does. */
void
local_machine_found(struct lmachine *m, const struct launcher_reply *r)
{
	bool should_run = m->i->state == INSTANCE_RUNNING;

	if (r && (r->state == LAUNCHER_ALIVE || r->state == LAUNCHER_FROZEN)) {
		move(m, r->state == LAUNCHER_ALIVE ? LOCAL_BOOTING : LOCAL_FROZEN);
		m->adopted = true;
		if (attach(m) == 0)
			return;
		died(m);
		return;
	}
	if (r && r->state == LAUNCHER_STOPPED)
		open_console(m); /* AWS shows the last words of a stopped one, too */
	m->dirty = r != NULL;
	m->died = should_run && r && r->state == LAUNCHER_STOPPED;
	m->shut_down =
	    true; /* nobody can tell, and a host that was rebooted is no fault of it */
	if (should_run && !m->died)
		finish(m, BACKEND_FAILED, "its machine is gone");
}
