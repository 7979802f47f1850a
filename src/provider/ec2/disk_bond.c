/* SPDX-License-Identifier: Apache-2.0 */

/* A disk's way into a machine and out of it. In: AttachVolume, a look that shows it attached, the script that mounts it. Out: the script
   that writes back and unmounts, DetachVolume, a look that shows it free; by force where that takes too long. What a call's
   error means is decided by the next look, for a reply may have been lost and a listing may be old. */

#include "provider/ec2/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/ssh.h"

#define CALL_DEADLINE_MS 30000
#define ATTACH_MAX_MS 180000
#define DETACH_MAX_MS 300000
#define FORCE_MS 20000	 /* how long a detach may take before it is forced */
#define AGAIN_MS 2000	 /* between calls of the same kind */
#define MOUNT_MS 300000	 /* a file system is made or checked meanwhile */
#define UNMOUNT_MS 20000 /* what was written lately is written back */
#define SCRIPT_MAX 16384
#define DEVICES                                                                          \
	"fghijklmnop" /* /dev/sd[f-p]: EC2 User Guide, "Device names for volumes" */

enum bond_state {
	BOND_LEAVING,  /* out: the machine writes back and unmounts */
	BOND_ASKING,   /* AttachVolume or DetachVolume is under way */
	BOND_WAITING,  /* for a look */
	BOND_ENTERING, /* in: the machine mounts it */
};

struct ec2_bond {
	struct ec2_disk *d;
	bool out;
	enum bond_state state;
	char machine
	    [EC2_TOKEN_MAX]; /* by token and ref, for it may be freed meanwhile; "": nobody's */
	char instance[EC2_REF_MAX];
	char name[64]; /* at /disk/NAME; "": not mounted by us */
	char device[EC2_DEVICE_MAX];
	unsigned taken; /* devices that EC2 has said are in use */
	uint64_t
	    asked_look; /* the last look that had begun when the last call was answered */
	int64_t began_ms, asked_ms, forced_ms;
	int64_t first_ms;   /* when the first call went out; 0: none has */
	struct err refused; /* the last call's */
	struct ssh_job *job;
	struct timer give_up;
	struct list answers;
};

static void ask(struct ec2_bond *b);

static int64_t
now_ms(const struct ec2_bond *b)
{
	return clock_now_ms(b->d->e->env.clock);
}

static struct ec2_machine *
machine_of(const struct ec2_bond *b)
{
	return ec2_machine_find(b->d->e, b->machine, b->instance);
}

/* ---- the end ---- */

static void
bond_free(struct ec2_bond *b)
{
	timer_off(&b->give_up);
	ssh_cancel(b->job);
	b->d->bond = NULL;
	free(b);
}

static void
take_answers(struct ec2_bond *b, struct list *ret)
{
	list_init(ret);
	while (!list_empty(&b->answers)) {
		struct list *a = b->answers.next;

		list_remove(a);
		list_push_back(ret, a);
	}
}

void
ec2_bond_end(struct ec2_bond *b, const struct err *err)
{
	struct err why = *err;
	struct list answers;

	if (b->out && err->code != ERR_CANCELLED && err->code != ERR_UNAVAILABLE)
		why = (struct err){0}; /* it is in no machine, for there is none of it */
	ec2_say_hint(&why);
	take_answers(b, &answers);
	bond_free(b);
	/* later: a detach may end an attach from inside its operation */
	while (!list_empty(&answers)) {
		struct ec2_answer *a =
		    list_entry(answers.next, struct ec2_answer, in_machine);

		list_remove(&a->in_machine);
		ec2_answer_later(a, NULL, &why);
	}
}

void
ec2_bond_cancel(struct ec2_disk *d, const char *why)
{
	struct err err;

	if (!d->bond || d->bond->out)
		return;
	err_set(&err, ERR_UNAVAILABLE, "%s", why);
	ec2_bond_end(d->bond, &err);
}

static void
attached(struct ec2_bond *b, const char *warning)
{
	struct list answers;

	take_answers(b, &answers);
	bond_free(b);
	while (!list_empty(&answers))
		ec2_answer_attached(
		    list_entry(answers.next, struct ec2_answer, in_machine),
		    warning && *warning ? warning : NULL);
}

static void
give_up(void *arg)
{
	struct ec2_bond *b = arg;
	static const char *const ties[] = {
	    "available", "attaching", "attached", "detaching", "busy"};
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "%s is still '%s' after %lld s%s%s", b->d->ref,
	    ties[b->d->tie], (long long)(now_ms(b) - b->began_ms) / 1000,
	    b->refused.code ? ": " : "", b->refused.code ? b->refused.msg : "");
	ec2_bond_end(b, &err);
}

/* ---- in the machine ---- */

static void
entered(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct ec2_bond *b = arg;
	char warning[256];
	struct err verdict;

	b->job = NULL;
	ec2_script_verdict(exit_code, output, err, warning, &verdict);
	if (verdict.code == ERR_NONE)
		attached(b, warning);
	else
		ec2_bond_end(b, &verdict);
}

static void
enter(struct ec2_bond *b)
{
	const struct ec2_machine *m = machine_of(b);
	struct buf script = BUF_INIT(SCRIPT_MAX);
	struct ssh_command c;
	struct err err;

	if (m->opt.readiness == EC2_READY_RUNNING) { /* nobody inside */
		attached(b, NULL);
		return;
	}
	if (ec2_script_mount(b->d->ref, b->d->device, b->name, m->login, &script, &err) <
	    0) {
		buf_fini(&script);
		ec2_bond_end(b, &err);
		return;
	}
	c = ec2_command_for(m, "exec sh -s 2>&1");
	c.input = script.data;
	c.input_len = script.len;
	c.timeout_ms = MOUNT_MS;
	b->state = BOND_ENTERING;
	timer_off(&b->give_up);
	b->job = ssh_run(b->d->e->ssh, &c, entered, b);
	buf_fini(&script);
}

static void
left(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct ec2_bond *b = arg;
	char warning[256];
	struct err verdict;

	b->job = NULL;
	ec2_script_verdict(exit_code, output, err, warning, &verdict);
	if (verdict.code != ERR_NONE || warning[0])
		log_warn("disk %s: unmounting it in %s: %s; it is detached all the same",
		    b->d->token, b->machine,
		    verdict.code != ERR_NONE ? verdict.msg : warning);
	ask(b);
}

/* False: there is nobody who could. */
static bool
leave(struct ec2_bond *b)
{
	const struct ec2_machine *m = machine_of(b);
	struct buf script = BUF_INIT(SCRIPT_MAX);
	struct ssh_command c;
	struct err err;

	if (b->name[0] == '\0' || !ec2_enterable(m) ||
	    m->opt.readiness == EC2_READY_RUNNING ||
	    ec2_script_unmount(b->d->ref, b->name, &script, &err) < 0) {
		buf_fini(&script);
		return false;
	}
	c = ec2_command_for(m, "exec sh -s 2>&1");
	c.input = script.data;
	c.input_len = script.len;
	c.timeout_ms = UNMOUNT_MS;
	b->state = BOND_LEAVING;
	b->job = ssh_run(b->d->e->ssh, &c, left, b);
	buf_fini(&script);
	return true;
}

/* ---- calls ---- */

struct call {
	struct ec2 *e;
	char token[EC2_TOKEN_MAX];
	struct ec2_bond *bond; /* only to be compared: it may be freed */
};

/* What no look will change. */
static bool
is_final(const struct aws_error *aws, const struct err *err)
{
	return strcmp(aws->code, "InvalidVolume.ZoneMismatch") == 0 ||
	       err->code == ERR_NO_CAPACITY || err->code == ERR_NOT_PERMITTED ||
	       (err->code == ERR_INVALID && strcmp(aws->code, "IncorrectState") != 0 &&
		   strcmp(aws->code, "VolumeInUse") != 0 &&
		   strcmp(aws->code, "IncorrectInstanceState") != 0);
}

/* Another user of the machine may have taken it: "Attachment point /dev/sdf is already in use". */
static bool
is_taken(const struct aws_error *aws, const struct err *err)
{
	return strcmp(aws->code, "InvalidParameterValue") == 0 &&
	       strstr(err->msg, "already in use") != NULL;
}

static void
answered_in(struct ec2_bond *b, const struct aws_error *aws, const struct err *err)
{
	const char *letter = strchr(DEVICES, b->device[7]);

	if (err->code != ERR_NONE && is_taken(aws, err) && letter && *letter) {
		b->taken |= 1u << (letter - DEVICES);
		ask(b);
		return;
	}
	if (err->code != ERR_NONE && !aws->maybe_done && is_final(aws, err)) {
		ec2_bond_end(b, err);
		return;
	}
	if (err->code == ERR_NONE) { /* believed until a look says more */
		b->d->tie = EC2_TIE_ATTACHING;
		memcpy(b->d->instance, b->instance, sizeof(b->instance));
		memcpy(b->d->device, b->device, sizeof(b->device));
	}
	b->refused = *err;
	b->state = BOND_WAITING;
	ec2_disk_look_within(b->d->e, EC2_TICK_MS / 4);
}

static void
answered_out(struct ec2_bond *b, const struct aws_error *aws, const struct err *err)
{
	if (err->code == ERR_NOT_PERMITTED) {
		struct err why = *err;

		why.code = ERR_UNAVAILABLE; /* it is still there */
		ec2_bond_end(b, &why);
		return;
	}
	b->refused = *err;
	b->state = BOND_WAITING;
	ec2_disk_look_within(b->d->e, EC2_TICK_MS / 4);
}

static void
answered(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct call c = *(struct call *)arg;
	struct ec2_disk *d;

	free(arg);
	if (c.e->closing)
		return;
	d = map_get(&c.e->disks.by_token, c.token);
	if (!d)
		return;
	d->calls--;
	if (!d->bond)
		return;
	d->bond->asked_look = c.e->disks.look;
	if (d->bond != c.bond) {
		if (d->bond->state == BOND_ASKING && d->calls == 0)
			ask(d->bond); /* it has waited for this one */
	} else if (d->bond->out) {
		answered_out(d->bond, aws, err);
	} else {
		answered_in(d->bond, aws, err);
	}
}

/* The first of /dev/sd[f-p] that nothing we know of uses there. False: there is none. */
static bool
choose_device(struct ec2_bond *b)
{
	const struct ec2_disk *d;
	unsigned taken = b->taken;
	size_t at = 0;

	while ((d = map_next(&b->d->e->disks.by_token, &at))) {
		const char *device = d->device;
		const char *letter;

		if (d == b->d)
			continue;
		if (d->bond && !d->bond->out &&
		    strcmp(d->bond->instance, b->instance) == 0)
			device = d->bond->device;
		else if (strcmp(d->instance, b->instance) != 0)
			continue;
		letter = strlen(device) == 8 ? strchr(DEVICES, device[7]) : NULL;
		if (letter)
			taken |= 1u << (letter - DEVICES);
	}
	for (int i = 0; DEVICES[i]; i++)
		if (!(taken & (1u << i))) {
			(void)snprintf(
			    b->device, sizeof(b->device), "/dev/sd%c", DEVICES[i]);
			return true;
		}
	return false;
}

static bool
must_force(const struct ec2_bond *b)
{
	return b->out && b->first_ms && now_ms(b) - b->first_ms >= FORCE_MS &&
	       (!b->forced_ms || now_ms(b) - b->forced_ms >= FORCE_MS);
}

static void
ask(struct ec2_bond *b)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CALL_DEADLINE_MS};
	struct aws_form f = {0};
	struct err err;
	struct call *c;
	bool force = must_force(b);

	b->state = BOND_ASKING;
	if (b->d->calls > 0) /* of a bond before this one: its answer comes first */
		return;
	if (!b->out && !choose_device(b)) {
		err_set(&err, ERR_NO_CAPACITY, "%s has no free device name", b->instance);
		ec2_bond_end(b, &err);
		return;
	}
	b->asked_ms = now_ms(b);
	if (!b->first_ms)
		b->first_ms = b->asked_ms;
	aws_form_add(&f, b->d->ref, "VolumeId");
	aws_form_add(&f, b->instance[0] ? b->instance : NULL, "InstanceId");
	aws_form_add(&f, b->out ? NULL : b->device, "Device");
	aws_form_add(&f, force ? "true" : NULL, "Force");
	if (force) {
		b->forced_ms = now_ms(b);
		log_warn("disk %s: %s is not free after %d s; it is detached by force",
		    b->d->token, b->d->ref, FORCE_MS / 1000);
	}
	c = xnew(struct call);
	*c = (struct call){.e = b->d->e, .bond = b};
	memcpy(c->token, b->d->token, sizeof(c->token));
	b->d->calls++;
	ec2_query(
	    b->d->e, b->out ? "DetachVolume" : "AttachVolume", &f, &opt, answered, c);
}

/* ---- looks ---- */

bool
ec2_bond_waits(const struct ec2_bond *b)
{
	return b->state == BOND_WAITING;
}

static bool
again(const struct ec2_bond *b)
{
	return now_ms(b) - b->asked_ms >= AGAIN_MS;
}

static void
looked_in(struct ec2_bond *b)
{
	const struct ec2_disk *d = b->d;
	const struct ec2_machine *m = machine_of(b);
	bool here = strcmp(d->instance, b->instance) == 0;
	struct err err;

	if (!m || m->ending || m->state != EC2_RUNNING) {
		err_set(&err, ERR_UNAVAILABLE, "the machine is gone");
		ec2_bond_end(b, &err);
		return;
	}
	switch (d->tie) {
	case EC2_TIE_ATTACHED:
	case EC2_TIE_BUSY:
		if (here) {
			if (ec2_enterable(m))
				enter(b);
		} else if (b->refused.code != ERR_NONE) {
			err_set(&err, ERR_CONFLICT, "%s is attached to %s", d->ref,
			    d->instance);
			ec2_bond_end(b, &err);
		}
		break;
	case EC2_TIE_NONE:
		/* an old listing after a call that was accepted; or one that was not done */
		if (again(b) && (b->refused.code != ERR_NONE ||
				    now_ms(b) - b->asked_ms >= EC2_UNSURE_MS))
			ask(b);
		break;
	default:
		break;
	}
}

static void
looked_out(struct ec2_bond *b, bool seen)
{
	const struct ec2_disk *d = b->d;
	bool there = b->instance[0] == '\0' || strcmp(d->instance, b->instance) == 0;

	if (seen && (d->tie == EC2_TIE_NONE || !there)) {
		ec2_bond_end(b, &(struct err){0});
		return;
	}
	if (!again(b))
		return;
	if ((b->refused.code != ERR_NONE && d->tie != EC2_TIE_DETACHING) || must_force(b))
		ask(b);
}

void
ec2_bond_looked(struct ec2_bond *b, bool seen)
{
	if (b->state != BOND_WAITING || b->d->e->disks.look <= b->asked_look)
		return;
	if (b->out)
		looked_out(b, seen);
	else if (seen)
		looked_in(b);
}

/* ---- the operations ---- */

static struct ec2_bond *
bond_new(struct ec2_disk *d, bool out, int64_t patience_ms)
{
	struct ec2_bond *b = xnew(struct ec2_bond);

	b->d = d;
	b->out = out;
	b->began_ms = clock_now_ms(d->e->env.clock);
	b->asked_look = d->e->disks.look;
	list_init(&b->answers);
	d->bond = b;
	timer_set(d->e->env.clock, &b->give_up, patience_ms, give_up, b);
	return b;
}

static void
name_it(struct ec2_bond *b, const struct attach_spec *s, const struct ec2_machine *m)
{
	(void)snprintf(
	    b->machine, sizeof(b->machine), "%s", s->machine ? s->machine : "");
	(void)snprintf(b->instance, sizeof(b->instance), "%s",
	    m		     ? m->ref
	    : s->machine_ref ? s->machine_ref
			     : "");
	(void)snprintf(b->name, sizeof(b->name), "%s", s->name ? s->name : "");
}

static int
check(const struct ec2_disk *d, const struct ec2_machine *m, const char *name,
    struct err *err)
{
	if (!d || d->ref[0] == '\0' || d->ending || d->snapshot)
		return err_set(err, ERR_NOT_FOUND, "EC2 has no such disk");
	if (!name || !name_valid(name))
		return err_set(
		    err, ERR_INVALID, "'%.64s' is no disk's name", name ? name : "");
	if (d->zone[0] && m->zone[0] && strcmp(d->zone, m->zone) != 0) {
		err_set(err, ERR_CONFLICT, "the disk is in zone %s and the machine in %s",
		    d->zone, m->zone);
		return err_hint(err, "name one zone in the pool: zones: %s", d->zone);
	}
	return 0;
}

void
ec2_disk_attach(
    struct provider *p, const struct attach_spec *s, provider_attach_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_disk *d = ec2_disk_find(e, s->disk, s->disk_ref);
	struct ec2_machine *m = ec2_machine_find(e, s->machine, s->machine_ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_ATTACH, arg);
	struct ec2_bond *b = d ? d->bond : NULL;
	struct err err;

	a->fn.attach = done;
	if (!ec2_enterable(m)) {
		ec2_refuse(a, m);
		return;
	}
	if (check(d, m, s->name, &err) < 0) {
		ec2_say_hint(&err);
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (b && (b->out || strcmp(b->instance, m->ref) != 0 ||
		     strcmp(b->name, s->name) != 0)) {
		err_set(&err, ERR_CONFLICT, "%s is on its way %s %s", d->ref,
		    b->out ? "out of" : "into", b->instance);
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (b) {
		list_push_back(&b->answers, &a->in_machine);
		return;
	}
	b = bond_new(d, false, ATTACH_MAX_MS);
	name_it(b, s, m);
	list_push_back(&b->answers, &a->in_machine);
	if (d->tie != EC2_TIE_NONE && strcmp(d->instance, b->instance) == 0) {
		b->state =
		    BOND_WAITING; /* an earlier daemon's work; the next look says whether it still is */
		ec2_disk_look_within(e, 0);
	} else {
		ask(b);
	}
}

void
ec2_disk_detach(
    struct provider *p, const struct attach_spec *s, provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_disk *d = ec2_disk_find(e, s->disk, s->disk_ref);
	const struct ec2_machine *m = ec2_machine_find(e, s->machine, s->machine_ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	struct ec2_bond *b;

	a->fn.done = done;
	if (!d || d->ref[0] == '\0') { /* what is not there is in no machine */
		ec2_answer_later(a, NULL, &(struct err){0});
		return;
	}
	ec2_bond_cancel(d, "it is detached again");
	b = d->bond;
	if (b) {
		list_push_back(&b->answers, &a->in_machine);
		return;
	}
	b = bond_new(d, true, DETACH_MAX_MS);
	name_it(b, s, m);
	list_push_back(&b->answers, &a->in_machine);
	if (!leave(b))
		ask(b);
}

void
ec2_bond_release(struct ec2_disk *d)
{
	struct ec2_bond *b = bond_new(d, true, DETACH_MAX_MS);

	(void)snprintf(b->instance, sizeof(b->instance), "%s", d->instance);
	ask(b);
}
