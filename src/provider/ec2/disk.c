/* SPDX-License-Identifier: Apache-2.0 */

/* Disks and snapshots: made, believed in, removed. A volume's call has a client token that is derived from ours, so it may be
   asked for again at any time. A snapshot's has none: one whose answer was lost is looked for before it is asked for again. */

#include "provider/ec2/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/token.h"
#include "aws/xml.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/tags.h"

#define CALL_DEADLINE_MS 60000
#define EARLY_MS 30000 /* what was made a moment ago may not be known to the next call */
#define RATE_MS 60000  /* EBS error SnapshotCreationPerVolumeRateExceeded: wait 15 s */
#define ASKS_MAX 3
#define END_AGAIN_MS 3000
#define LEFT_OVER_MS 2000 /* for how long what core asks for may be an earlier daemon's */
#define GIB (INT64_C(1) << 30)

static void ask(struct ec2_disk *d);

static int64_t
now_ms(const struct ec2_disk *d)
{
	return clock_now_ms(d->e->env.clock);
}

/* ---- being ---- */

static struct ec2_disk *
disk_new(struct ec2 *e, const char *token)
{
	struct ec2_disk *d = xnew(struct ec2_disk);

	d->e = e;
	d->snapshot = token[0] == 's';
	d->born_ms = d->asked_ms = clock_now_ms(e->env.clock);
	(void)snprintf(d->token, sizeof(d->token), "%s", token);
	list_init(&d->makes);
	list_init(&d->removes);
	map_put(&e->disks.by_token, d->token, d);
	return d;
}

static void
disk_free(struct ec2_disk *d, const struct err *why)
{
	struct ec2 *e = d->e;
	bool closing = why->code == ERR_CANCELLED;

	timer_off(&d->again);
	if (d->bond)
		ec2_bond_end(d->bond, why);
	ec2_answer_all(&d->makes, NULL, why);
	ec2_answer_all(&d->removes, NULL, closing ? why : &(struct err){0});
	map_remove(&e->disks.by_token, d->token);
	free(d);
}

struct ec2_disk *
ec2_disk_find(const struct ec2 *e, const char *token, const char *ref)
{
	struct ec2_disk *d = token && *token ? map_get(&e->disks.by_token, token) : NULL;
	size_t at = 0;

	if (d || !ref || !*ref)
		return d;
	while ((d = map_next(&e->disks.by_token, &at)))
		if (strcmp(d->ref, ref) == 0)
			return d;
	return NULL;
}

bool
ec2_disk_is(const struct ec2 *e, const char *ref)
{
	return ec2_disk_find(e, NULL, ref) != NULL;
}

void
ec2_disks_close(struct ec2 *e)
{
	struct ec2_disk *d;
	struct err err;
	size_t at = 0;

	ec2_disk_zone_close(e);
	err_set(&err, ERR_CANCELLED, "hearthd is stopping");
	while ((d = map_next(&e->disks.by_token, &at)))
		disk_free(d, &err);
	map_fini(&e->disks.by_token);
	for (int i = 0; i < e->disks.n_strays; i++)
		free(e->disks.strays[i]);
	free(e->disks.strays);
	free(e->disks.zone);
	free(e->disks.subnet[0]);
	free(e->disks.subnet[1]);
}

/* ---- what core is told ---- */

struct sighting
ec2_disk_sighting(const struct ec2_disk *d)
{
	return (struct sighting){
	    .token = d->token,
	    .ref = d->ref,
	    .state = d->state == EC2_DISK_THERE	  ? SIGHTING_READY
		     : d->state == EC2_DISK_ERROR ? SIGHTING_DEAD
						  : SIGHTING_STARTING,
	    .sessions = -1,
	    .error = d->state == EC2_DISK_ERROR ? "EC2 says that it is in error" : NULL,
	    .resolution_ms = EC2_TICK_MS,
	    .created_at = d->created_at,
	};
}

static void
tell(struct ec2_disk *d)
{
	struct sighting s = ec2_disk_sighting(d);

	if (d->told || d->ending || d->e->closing || d->ref[0] == '\0' ||
	    d->state == EC2_DISK_GOING)
		return;
	d->told = true;
	d->e->env.sighting(d->e->env.arg, &s);
}

/* Nothing of it is left. */
static void
gone(struct ec2_disk *d, const char *why)
{
	struct ec2 *e = d->e;
	char token[EC2_TOKEN_MAX], ref[EC2_REF_MAX];
	struct sighting s = {.token = token,
	    .ref = ref,
	    .state = SIGHTING_GONE,
	    .sessions = -1,
	    .error = why,
	    .resolution_ms = EC2_TICK_MS};
	struct err err;

	memcpy(token, d->token, sizeof(token));
	memcpy(ref, d->ref[0] ? d->ref : d->token, sizeof(ref));
	err_set(&err, ERR_NOT_FOUND, "%s", why ? why : "it was removed");
	disk_free(d, &err);
	e->env.sighting(e->env.arg, &s);
}

static void
move(struct ec2_disk *d, enum ec2_disk_state to)
{
	static const char *const names[EC2_DISK_STATE_MAX] = {
	    "unknown", "asked", "made", "there", "error", "going"};

	if (d->state == to)
		return;
	log_debug("disk %s (%s): %s -> %s", d->token, d->ref, names[d->state], names[to]);
	d->state = to;
	d->told = false;
}

/* ---- making ---- */

/* A call's disk may be gone when it is answered. */
struct call {
	struct ec2 *e;
	char token[EC2_TOKEN_MAX];
};

static struct call *
call_new(const struct ec2_disk *d)
{
	struct call *c = xnew(struct call);

	c->e = d->e;
	memcpy(c->token, d->token, sizeof(c->token));
	return c;
}

/* NULL where nobody needs the answer any more. */
static struct ec2_disk *
call_over(struct call *c)
{
	struct ec2_disk *d =
	    c->e->closing ? NULL : map_get(&c->e->disks.by_token, c->token);

	free(c);
	return d;
}

static void send_end(struct ec2_disk *d);

static void
known(struct ec2_disk *d, const char *ref)
{
	if (d->ref[0] == '\0' && strlen(ref) < sizeof(d->ref))
		(void)snprintf(d->ref, sizeof(d->ref), "%s", ref);
	ec2_answer_all(&d->makes, d->ref, &(struct err){0});
}

/* Nobody knows whether it was made: a look shows it, or not. */
static void
unsure(struct ec2_disk *d)
{
	d->asked_ms = now_ms(d);
	d->missed_looks = 0;
	move(d, EC2_DISK_UNKNOWN);
	ec2_disk_look_within(d->e, 0);
}

/* It was not made; by an earlier call whose answer was lost, perhaps. */
static void
unmade(struct ec2_disk *d, const struct err *err)
{
	struct err why = *err;

	ec2_say_hint(&why);
	ec2_answer_all(&d->makes, NULL, &why);
	if (d->lost)
		unsure(d);
	else if (d->ending)
		gone(d, NULL);
	else
		disk_free(d, &why);
}

static void
ask_due(void *arg)
{
	ask(arg);
}

/* What it is made from is not known yet to this call, or must rest (EC2 Developer Guide, "Eventual consistency"). */
static bool
too_early(const struct ec2_disk *d, const struct aws_error *aws)
{
	int64_t age = now_ms(d) - d->born_ms;

	if (strcmp(aws->code, "SnapshotCreationPerVolumeRateExceeded") == 0)
		return age < RATE_MS;
	return age < EARLY_MS &&
	       (strcmp(aws->code, "IncorrectState") == 0 ||
		   strcmp(aws->code, d->snapshot ? "InvalidVolume.NotFound"
						 : "InvalidSnapshot.NotFound") == 0);
}

static void
asked(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2_disk *d = call_over(arg);
	const char *ref;

	if (!d)
		return;
	ref = xml_text(reply, d->snapshot ? "snapshotId" : "volumeId");
	d->asked_ms = now_ms(d);
	if (err->code == ERR_NONE && *ref) {
		if (d->state == EC2_DISK_ASKED)
			move(d, EC2_DISK_MADE);
		known(d, ref);
		if (d->ending)
			send_end(d);
		ec2_disk_look_within(d->e, EC2_TICK_MS / 4);
	} else if (d->state != EC2_DISK_ASKED) {
		return; /* a look was faster than this answer */
	} else if (err->code == ERR_NONE || aws->maybe_done) {
		d->lost = true;
		if (!d->snapshot && d->asks < ASKS_MAX && !d->ending)
			timer_set(d->e->env.clock, &d->again, EC2_TICK_MS, ask_due, d);
		else
			unsure(d);
	} else if (strcmp(aws->code, "IdempotentParameterMismatch") == 0) {
		/* an earlier daemon made it, in a zone that would not be chosen today */
		d->asks = ASKS_MAX;
		unsure(d);
	} else if (too_early(d, aws) && !d->ending) {
		timer_set(d->e->env.clock, &d->again, EC2_TICK_MS, ask_due, d);
	} else {
		unmade(d, err);
	}
}

static void
tags_of(struct aws_form *f, const struct ec2_disk *d)
{
	aws_form_add(
	    f, d->snapshot ? "snapshot" : "volume", "TagSpecification.1.ResourceType");
	aws_form_add(f, "Name", "TagSpecification.1.Tag.1.Key");
	aws_form_add(f, d->token, "TagSpecification.1.Tag.1.Value");
	aws_form_add(f, TAG_OWNER, "TagSpecification.1.Tag.2.Key");
	aws_form_add(f, d->e->owner, "TagSpecification.1.Tag.2.Value");
	aws_form_add(f, TAG_DISK, "TagSpecification.1.Tag.3.Key");
	aws_form_add(f, d->token, "TagSpecification.1.Tag.3.Value");
}

static void
ask_snapshot(struct ec2_disk *d)
{
	struct aws_call_options opt = {.deadline_ms = CALL_DEADLINE_MS};
	struct aws_form f = {0};

	aws_form_add(&f, d->source, "VolumeId");
	aws_form_add(&f, "hearth", "Description");
	tags_of(&f, d);
	ec2_query(d->e, "CreateSnapshot", &f, &opt, asked, call_new(d));
}

static void
ask_volume(struct ec2_disk *d)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CALL_DEADLINE_MS};
	struct aws_form f = {0};
	char client_token[AWS_TOKEN_MAX], size[24], rate[16];

	aws_token_of(d->token, strlen(d->token), client_token);
	(void)snprintf(size, sizeof(size), "%lld", (long long)d->size_gib);
	(void)snprintf(rate, sizeof(rate), "%d", d->rate);
	aws_form_add(&f, d->zone, "AvailabilityZone");
	aws_form_add(&f, size, "Size");
	aws_form_add(&f, "gp3", "VolumeType");
	aws_form_add(&f, client_token, "ClientToken");
	aws_form_add(&f, d->source[0] ? d->source : NULL, "SnapshotId");
	aws_form_add(
	    &f, d->source[0] && d->rate ? rate : NULL, "VolumeInitializationRate");
	tags_of(&f, d);
	ec2_query(d->e, "CreateVolume", &f, &opt, asked, call_new(d));
}

static void
ask(struct ec2_disk *d)
{
	struct err err;

	if (d->ending) {
		err_set(&err, ERR_CANCELLED, "it was removed before it was made");
		unmade(d, &err);
		return;
	}
	d->asks++;
	d->asked_ms = now_ms(d);
	move(d, EC2_DISK_ASKED);
	if (d->snapshot)
		ask_snapshot(d);
	else
		ask_volume(d);
}

static void
zone_known(struct ec2 *e, const char *token, const char *zone, const struct err *err)
{
	struct ec2_disk *d = map_get(&e->disks.by_token, token);

	if (!d || d->state != EC2_DISK_ASKED || d->asks)
		return;
	if (err->code != ERR_NONE) {
		unmade(d, err);
		return;
	}
	(void)snprintf(d->zone, sizeof(d->zone), "%s", zone);
	ask(d);
}

/* Answers with what there is already, or joins those who wait. NULL: it is to be made, and `a` waits for that. */
static struct ec2_disk *
begin(struct ec2 *e, const char *token, struct ec2_answer *a)
{
	struct ec2_disk *d = map_get(&e->disks.by_token, token);
	struct err err;

	if (!id_valid(token, 'd') && !id_valid(token, 's')) {
		err_set(&err, ERR_INVALID, "'%.32s' is no disk's id", token);
		ec2_answer_later(a, NULL, &err);
		return NULL;
	}
	if (d && d->ending) {
		err_set(&err, ERR_CONFLICT, "it is being removed");
		ec2_answer_later(a, NULL, &err);
		return NULL;
	}
	if (d && d->ref[0]) {
		d->told = false;
		ec2_answer_later(a, d->ref, &(struct err){0});
		ec2_disk_look_within(e, 0);
		return NULL;
	}
	if (d) { /* under way, or sought */
		list_push_back(&d->makes, &a->in_machine);
		ec2_disk_look_within(e, 0);
		return NULL;
	}
	d = disk_new(e, token);
	list_push_back(&d->makes, &a->in_machine);
	return d;
}

void
ec2_disk_make(
    struct provider *p, const struct disk_spec *s, provider_launch_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_LAUNCH, arg);
	AUTO_EC2_OPTIONS struct ec2_options opt = {0};
	struct ec2_disk *d;
	struct err err;

	a->fn.launch = done;
	if (ec2_options_parse(s->options, &opt, &err) < 0) {
		ec2_answer_later(a, NULL, &err);
		return;
	}
	d = begin(e, s->token, a);
	if (!d)
		return;
	d->size_gib = s->size_bytes > 0 ? (s->size_bytes + GIB - 1) / GIB : 1;
	d->rate = opt.disk_rate;
	(void)snprintf(
	    d->source, sizeof(d->source), "%s", s->source_ref ? s->source_ref : "");
	move(d, EC2_DISK_ASKED);
	ec2_disk_zone(e, d->token, &opt, zone_known);
}

/* Right behind the first inventory core asks again for what an earlier daemon may have asked for: it is sought first. */
static bool
may_be_there(const struct ec2 *e)
{
	return !e->disks.listed_ms ||
	       clock_now_ms(e->env.clock) - e->disks.listed_ms < LEFT_OVER_MS;
}

void
ec2_disk_snapshot(struct provider *p, const char *token, const char *disk_ref,
    provider_launch_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_LAUNCH, arg);
	struct ec2_disk *d;
	struct err err;

	a->fn.launch = done;
	if (!disk_ref || !*disk_ref || strlen(disk_ref) >= EC2_REF_MAX) {
		err_set(&err, ERR_NOT_FOUND, "its disk is not at EC2");
		ec2_answer_later(a, NULL, &err);
		return;
	}
	d = begin(e, token, a);
	if (!d)
		return;
	(void)snprintf(d->source, sizeof(d->source), "%s", disk_ref);
	if (may_be_there(e))
		unsure(d);
	else
		ask(d);
}

/* ---- removing ---- */

static void
end_answered(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2_disk *d = call_over(arg);
	bool unseen = err->code == ERR_NOT_FOUND;

	if (!d)
		return;
	if (err->code == ERR_NONE ||
	    (unseen && now_ms(d) - d->asked_ms >= EC2_UNSURE_MS)) {
		move(d, EC2_DISK_GOING);
		d->end_look = d->e->disks.look;
	} else if (!unseen && strcmp(aws->code, "VolumeInUse") != 0 &&
		   strcmp(aws->code, "IncorrectState") != 0) {
		ec2_answer_all(&d->removes, NULL, err);
		return;
	}
	/* else it is asked for again as looks show it: not known yet, still being made, or still attached */
	ec2_answer_all(&d->removes, NULL, &(struct err){0});
	ec2_disk_look_within(d->e, EC2_TICK_MS / 4);
}

static void
send_end(struct ec2_disk *d)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CALL_DEADLINE_MS};
	struct aws_form f = {0};

	if (d->end_sent_ms && now_ms(d) - d->end_sent_ms < END_AGAIN_MS)
		return;
	d->end_sent_ms = now_ms(d);
	aws_form_add(&f, d->ref, "%s", d->snapshot ? "SnapshotId" : "VolumeId");
	ec2_query(d->e, d->snapshot ? "DeleteSnapshot" : "DeleteVolume", &f, &opt,
	    end_answered, call_new(d));
}

void
ec2_disk_remove(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_disk *d = ec2_disk_find(e, token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	struct err err;

	a->fn.done = done;
	if (!d && !(token && (id_valid(token, 'd') || id_valid(token, 's')))) {
		err_set(&err, ERR_INVALID, "'%.32s' is no disk's id", token ? token : "");
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (!d) {
		d = disk_new(e, token);
		d->asked_ms = e->disks.opened_ms; /* by an earlier daemon, if at all */
		if (ref && strncmp(ref, d->snapshot ? "snap-" : "vol-", 4) == 0 &&
		    strlen(ref) < sizeof(d->ref))
			(void)snprintf(d->ref, sizeof(d->ref), "%s", ref);
	}
	d->ending = true;
	ec2_bond_cancel(d, "it is being removed");
	if (d->ref[0] && d->state != EC2_DISK_GOING) {
		list_push_back(&d->removes, &a->in_machine);
		d->end_sent_ms = 0;
		send_end(d);
		return;
	}
	/* what is not known yet is ended when it is */
	ec2_answer_later(a, NULL, &(struct err){0});
	ec2_disk_look_within(e, 0);
}

/* ---- what looks show ---- */

static const char *
disk_tag(const struct xml *item)
{
	for (const struct xml *t = ec2_items(item, "tagSet"); t; t = ec2_item_next(t))
		if (strcmp(xml_text(t, "key"), TAG_DISK) == 0)
			return xml_text(t, "value");
	return NULL;
}

bool
ec2_disk_tagged(const struct xml *item)
{
	return disk_tag(item) != NULL;
}

static enum ec2_disk_state
state_of(const char *status, bool snapshot)
{
	if (strcmp(status, "error") == 0)
		return EC2_DISK_ERROR;
	if (snapshot)
		return strcmp(status, "completed") == 0 ? EC2_DISK_THERE : EC2_DISK_MADE;
	if (strcmp(status, "available") == 0 || strcmp(status, "in-use") == 0)
		return EC2_DISK_THERE;
	return strncmp(status, "delet", 5) == 0 ? EC2_DISK_GOING : EC2_DISK_MADE;
}

static void
copy(char *to, size_t size, const char *from)
{
	if (strlen(from) < size)
		(void)snprintf(to, size, "%s", from);
	else
		to[0] = '\0';
}

static void
observe_volume(struct ec2_disk *d, const struct xml *item)
{
	static const char *const ties[] = {
	    "", "attaching", "attached", "detaching", "busy"};
	const struct xml *a = ec2_items(item, "attachmentSet");
	const char *status = a ? xml_text(a, "status") : "";

	copy(d->zone, sizeof(d->zone), xml_text(item, "availabilityZone"));
	copy(d->instance, sizeof(d->instance), a ? xml_text(a, "instanceId") : "");
	copy(d->device, sizeof(d->device), a ? xml_text(a, "device") : "");
	d->tie = EC2_TIE_NONE;
	for (int i = EC2_TIE_ATTACHING; i <= EC2_TIE_BUSY; i++)
		if (strcmp(status, ties[i]) == 0)
			d->tie = (enum ec2_tie)i;
}

static int64_t
time_from(const char *text)
{
	struct tm tm = {0};

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * 1000 : 0;
}

/* Old replies: a state moves forward, and what is on its way out is asked to go again. */
static void
take_state(struct ec2_disk *d, enum ec2_disk_state seen)
{
	if (seen == EC2_DISK_GOING) {
		if (d->state != EC2_DISK_GOING)
			d->end_look = d->e->disks.look;
		move(d, EC2_DISK_GOING);
	} else if (d->state < EC2_DISK_MADE || seen > d->state) {
		move(d, seen);
	}
	if (d->ending && seen != EC2_DISK_GOING) {
		if (d->tie != EC2_TIE_NONE && !d->bond)
			ec2_bond_release(d);
		else
			send_end(d);
	}
}

bool
ec2_disk_observe(struct ec2 *e, const struct xml *item, bool snapshot)
{
	const char *token = disk_tag(item);
	const char *ref = xml_text(item, snapshot ? "snapshotId" : "volumeId");
	enum ec2_disk_state seen = state_of(xml_text(item, "status"), snapshot);
	struct ec2_disk *d;

	if (!token || !id_valid(token, snapshot ? 's' : 'd') ||
	    strlen(ref) >= EC2_REF_MAX)
		return false;
	d = map_get(&e->disks.by_token, token);
	if (!d && seen == EC2_DISK_GOING)
		return true;
	if (d && d->ref[0] && strcmp(d->ref, ref) != 0)
		return seen == EC2_DISK_GOING;
	if (!d)
		d = disk_new(e, token);
	d->seen_look = e->disks.look;
	d->absent_ms = 0;
	d->missed_looks = 0;
	if (!d->created_at)
		d->created_at =
		    time_from(xml_text(item, snapshot ? "startTime" : "createTime"));
	if (!snapshot)
		observe_volume(d, item);
	timer_off(&d->again);
	known(d, ref);
	take_state(d, seen);
	tell(d);
	return true;
}

/* Sought in vain. */
static void
not_found(struct ec2_disk *d)
{
	struct err err;

	if (d->missed_looks < 2 || now_ms(d) - d->asked_ms < EC2_UNSURE_MS)
		return;
	if (d->ending) {
		gone(d, NULL);
	} else if (!list_empty(&d->makes) && d->asks < ASKS_MAX) {
		ask(d);
	} else {
		d->lost = false;
		err_set(&err, ERR_UNAVAILABLE, "EC2 has not said whether it was made");
		unmade(d, &err);
	}
}

void
ec2_disk_missed(struct ec2_disk *d)
{
	int64_t now = now_ms(d);

	d->missed_looks++;
	if (!d->absent_ms)
		d->absent_ms = now;
	switch (d->state) {
	case EC2_DISK_ASKED:
		break;
	case EC2_DISK_UNKNOWN:
		not_found(d);
		break;
	case EC2_DISK_GOING:
		if (d->e->disks.look > d->end_look)
			gone(d, d->ending ? NULL : "somebody has deleted it at EC2");
		break;
	default:
		if (d->ending ? now - d->absent_ms >= EC2_ENDED_ABSENT_MS
			      : now - d->absent_ms >= EC2_ABSENT_MS)
			gone(d, d->ending ? NULL : "EC2 does not list it any more");
		else if (d->ending && d->ref[0])
			send_end(d);
		break;
	}
}

bool
ec2_disk_restless(const struct ec2_disk *d)
{
	return d->bond || d->ending || d->absent_ms || d->state == EC2_DISK_UNKNOWN ||
	       d->state == EC2_DISK_MADE || d->state == EC2_DISK_GOING;
}
