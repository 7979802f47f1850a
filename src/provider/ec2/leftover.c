/* SPDX-License-Identifier: Apache-2.0 */

/* What machines leave behind. EC2 removes a root volume and the interface that it made with the instance, mostly soon;
   an interface that we made is ours to remove, and a volume may be stuck. A machine is gone when none of it is listed. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/xml.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/disk.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/tags.h"

#define IDS_MAX 200 /* values of a filter (EC2 Developer Guide, "List and filter") */
#define CALL_DEADLINE_MS 30000
#define STUCK_MS 4000
#define YOUNG_MS 60000 /* a volume that is so new may be on its way to its instance */

static const struct aws_call_options reading = {
    .repeatable = true, .filtered = true, .deadline_ms = CALL_DEADLINE_MS};

/* ---- what is whose ---- */

static const char *
tag_value(const struct xml *item, const char *key)
{
	for (const struct xml *t = ec2_items(item, "tagSet"); t; t = ec2_item_next(t))
		if (strcmp(xml_text(t, "key"), key) == 0)
			return xml_text(t, "value");
	return NULL;
}

/* Calls fn with each token that the tags of something hold, until it returns true, and returns whether it did. */
static bool
any_token(const struct xml *item, bool (*fn)(const struct ec2 *e, const char *token),
    const struct ec2 *e)
{
	for (int k = 0; k < TAGS_VALUES_MAX; k++) {
		char key[32];
		const char *value;
		struct id token;

		(void)snprintf(key, sizeof(key), TAG_TOKENS "%d", k);
		value = tag_value(item, key);
		for (int i = 0; value && tags_unpack(value, i, &token) == 0; i++)
			if (fn(e, token.s))
				return true;
	}
	return false;
}

static void
ours(struct aws_form *f, const struct ec2 *e)
{
	aws_form_add(f, "tag:" TAG_OWNER, "Filter.1.Name");
	aws_form_add(f, e->owner, "Filter.1.Value.1");
	aws_form_add(f, "status", "Filter.2.Name");
	aws_form_add(f, "available", "Filter.2.Value.1");
}

/* ---- ending one ---- */

struct removal {
	struct ec2 *e;
	struct ec2_answer *a; /* NULL: nobody waits */
	char ref[EC2_REF_MAX];
};

bool
ec2_is_leftover(const char *ref)
{
	return ref && (strncmp(ref, "vol-", 4) == 0 || strncmp(ref, "eni-", 4) == 0 ||
			  strncmp(ref, "snap-", 5) == 0);
}

static void
forget(struct ec2 *e, const char *ref)
{
	struct ec2_machine *m;
	size_t at = 0;

	while ((m = map_next(&e->machines, &at)))
		for (int i = 0; i < 4; i++)
			if (m->interfaces[i] && strcmp(m->interfaces[i], ref) == 0) {
				xstrset(&m->interfaces[i], NULL);
				m->sought = true;
			}
}

static void
removed(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct removal *r = arg;
	struct sighting gone = {.ref = r->ref, .state = SIGHTING_GONE, .sessions = -1};
	bool done = err->code == ERR_NONE || err->code == ERR_NOT_FOUND;

	if (r->e->closing) {
		free(r);
		return;
	}
	if (err->code == ERR_NONE)
		forget(r->e, r->ref);
	if (!done)
		log_debug("ec2: removing %s: %s", r->ref, err->msg);
	if (r->a)
		ec2_answer_give(r->a, NULL, done ? &(struct err){0} : err);
	if (r->a && done)
		r->e->env.sighting(r->e->env.arg, &gone);
	free(r);
}

static void
remove_one(struct ec2 *e, const char *ref, struct ec2_answer *a)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CALL_DEADLINE_MS};
	bool volume = ref[0] == 'v', snapshot = ref[0] == 's';
	struct removal *r = xnew(struct removal);
	struct aws_form f = {0};

	r->e = e;
	r->a = a;
	(void)snprintf(r->ref, sizeof(r->ref), "%s", ref);
	aws_form_add(&f, ref, "%s",
	    volume     ? "VolumeId"
	    : snapshot ? "SnapshotId"
		       : "NetworkInterfaceId");
	ec2_query(e,
	    volume     ? "DeleteVolume"
	    : snapshot ? "DeleteSnapshot"
		       : "DeleteNetworkInterface",
	    &f, &opt, removed, r);
}

void
ec2_leftover_end(struct ec2 *e, const char *ref, struct ec2_answer *a)
{
	remove_one(e, ref, a);
}

/* ---- after machines that ended ---- */

static bool
is_swept(const struct ec2_machine *m)
{
	return m->state == EC2_TERMINATED && m->sweep == m->e->sweep;
}

/* Machines with a token are in one map, those with an id in the other; most are in both. */
void
ec2_each_swept(struct ec2 *e, void (*fn)(struct ec2_machine *m, void *arg), void *arg)
{
	struct ec2_machine **all, *m;
	size_t at = 0;
	int n = 0;

	all =
	    xcalloc(e->machines.count + e->refs.count + 1, sizeof(struct ec2_machine *));
	while ((m = map_next(&e->machines, &at)))
		if (is_swept(m))
			all[n++] = m;
	at = 0;
	while ((m = map_next(&e->refs, &at)))
		if (m->token[0] == '\0' && is_swept(m))
			all[n++] = m;
	for (int i = 0; i < n; i++)
		fn(all[i], arg);
	free(all);
}

/* What was made for a launch that failed may not be listed yet. */
static bool
may_appear(const struct ec2_machine *m)
{
	return m->ref[0] == '\0' && m->interfaces[0] &&
	       clock_now_ms(m->e->env.clock) - m->moved_ms < EC2_UNSURE_MS;
}

static void
conclude(struct ec2_machine *m, void *arg)
{
	if (!m->left && !may_appear(m))
		ec2_machine_gone(m);
}

static void
sweep_over(struct ec2 *e, bool known)
{
	e->sweeping = false;
	if (!known)
		return;
	ec2_each_swept(e, conclude, NULL);
	ec2_sweep(e); /* those that there was no room for */
}

static bool
holds(char *const *words, const char *id)
{
	for (int i = 0; i < 4; i++)
		if (words[i] && strcmp(words[i], id) == 0)
			return true;
	return false;
}

struct listed {
	const char *id;
	bool free;  /* nothing uses it any more */
	bool stuck; /* it still counts as used though its instance ended a while ago */
};

static void
mark_left(struct ec2_machine *m, void *arg)
{
	struct listed *l = arg;
	int64_t now = clock_now_ms(m->e->env.clock);

	if (!holds(m->volumes, l->id) && !holds(m->interfaces, l->id))
		return;
	m->left = true;
	if (now - m->moved_ms >= STUCK_MS && now - m->pushed_ms >= STUCK_MS) {
		m->pushed_ms = now;
		l->stuck = true;
	}
}

/* Once it is free it is removed; and asked for now and then where it should be, in case the listing is old. */
static void
still_there(struct ec2 *e, const char *id, const char *status)
{
	struct listed l = {.id = id};

	ec2_each_swept(e, mark_left, &l);
	if (strcmp(status, "available") == 0 || strcmp(status, "error") == 0 || l.stuck)
		remove_one(e, id, NULL);
}

/* An interface of a machine that was never seen with one: it has no id, or had ended before we looked. */
struct by_token {
	const char *packed, *id;
};

static void
take_interface(struct ec2_machine *m, void *arg)
{
	const struct by_token *t = arg;

	if (!m->interfaces[0] && m->token[0] && strcmp(m->token + 2, t->packed) == 0) {
		xstrset(&m->interfaces[0], t->id);
		m->left = true;
	}
}

static void
saw_interfaces(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;

	if (e->closing)
		return;
	if (err->code != ERR_NONE)
		log_warn("ec2: %s", err->msg);
	for (const struct xml *x = ec2_items(reply, "networkInterfaceSet"); x;
	     x = ec2_item_next(x)) {
		const char *id = xml_text(x, "networkInterfaceId");
		const char *packed = tag_value(x, TAG_TOKENS "0");

		if (packed)
			ec2_each_swept(e, take_interface, &(struct by_token){packed, id});
		still_there(e, id, xml_text(x, "status"));
	}
	sweep_over(e, err->code == ERR_NONE);
}

struct ids {
	struct aws_form form;
	const char *name;
	int n;
};

static void
add_id(struct ids *ids, const char *filter, const char *value)
{
	if (ids->n == 0)
		aws_form_add(&ids->form, filter, "Filter.1.Name");
	if (ids->n < IDS_MAX)
		aws_form_add(&ids->form, value, "Filter.1.Value.%d", ++ids->n);
}

static void
add_interfaces(struct ec2_machine *m, void *arg)
{
	for (int i = 0; i < 4; i++)
		if (m->interfaces[i])
			add_id(arg, "network-interface-id", m->interfaces[i]);
}

static void
add_token(struct ec2_machine *m, void *arg)
{
	if (!m->interfaces[0] && m->token[0] && !m->sought) {
		m->sought = m->left = true; /* what is found is looked at next time */
		add_id(arg, "tag:" TAG_TOKENS "0", m->token + 2);
	}
}

static void
sweep_interfaces(struct ec2 *e)
{
	struct ids ids = {0};

	ec2_each_swept(e, add_token, &ids);
	if (ids.n == 0)
		ec2_each_swept(e, add_interfaces, &ids);
	if (ids.n == 0)
		sweep_over(e, true);
	else
		ec2_query(e, "DescribeNetworkInterfaces", &ids.form, &reading,
		    saw_interfaces, e);
}

static void
saw_volumes(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;

	if (e->closing)
		return;
	if (err->code != ERR_NONE) {
		log_warn("ec2: %s", err->msg);
		sweep_over(e, false);
		return;
	}
	for (const struct xml *x = ec2_items(reply, "volumeSet"); x; x = ec2_item_next(x))
		if (!ec2_disk_tagged(x)) /* a disk was in it, and stays */
			still_there(e, xml_text(x, "volumeId"), xml_text(x, "status"));
	sweep_interfaces(e);
}

/* ---- volumes of machines that were never seen with one ---- */

static bool
lives(const struct ec2 *e, const char *token)
{
	const struct ec2_machine *m = map_get(&e->machines, token);

	return m && m->state != EC2_TERMINATED;
}

static bool
take_volume(struct ec2_machine *m, const char *id)
{
	for (int i = 0; i < 4; i++)
		if (!m->volumes[i]) {
			m->volumes[i] = xstrdup(id);
			return true;
		}
	return false;
}

/* Of the machines that were launched together each bears all tokens: once all have ended, any of them will do. */
static void
give_volume(struct ec2 *e, const struct xml *item)
{
	const char *id = xml_text(item, "volumeId");

	for (int k = 0; k < TAGS_VALUES_MAX && !any_token(item, lives, e); k++) {
		char key[32];
		const char *value;
		struct id token;

		(void)snprintf(key, sizeof(key), TAG_TOKENS "%d", k);
		value = tag_value(item, key);
		for (int i = 0; value && tags_unpack(value, i, &token) == 0; i++) {
			struct ec2_machine *m = map_get(&e->machines, token.s);

			if (m && is_swept(m) && !holds(m->volumes, id) &&
			    take_volume(m, id))
				return;
		}
	}
}

static void
found_volumes(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;

	if (e->closing)
		return;
	if (err->code != ERR_NONE)
		log_warn("ec2: %s", err->msg);
	for (const struct xml *x = ec2_items(reply, "volumeSet"); x; x = ec2_item_next(x))
		if (!ec2_disk_tagged(x))
			give_volume(e, x);
	sweep_over(e, false); /* what is found is looked at next time */
}

static void
seek_volumes(struct ec2_machine *m, void *arg)
{
	if (!m->volumes[0] && m->token[0] && !m->sought_volumes)
		m->sought_volumes = *(bool *)arg = true;
}

static void
add_volumes(struct ec2_machine *m, void *arg)
{
	for (int i = 0; i < 4; i++)
		if (m->volumes[i])
			add_id(arg, "volume-id", m->volumes[i]);
}

static int
count(char *const *words)
{
	int n = 0;

	for (int i = 0; i < 4; i++)
		n += words[i] != NULL;
	return n;
}

/* Has it looked after, once for each look, if the filters still have room for what it had. */
static bool
choose_one(struct ec2_machine *m, int *volumes, int *others)
{
	int v = count(m->volumes), o = count(m->interfaces);

	if (o == 0)
		o = 1; /* its token */
	if (m->state != EC2_TERMINATED || m->swept_look == m->e->look ||
	    *volumes + v > IDS_MAX || *others + o > IDS_MAX)
		return false;
	m->sweep = m->e->sweep;
	m->swept_look = m->e->look;
	m->left = false;
	*volumes += v;
	*others += o;
	return true;
}

/* As many as one filter names; the others come when these are done. */
static int
choose(struct ec2 *e)
{
	struct ec2_machine *m;
	size_t at = 0;
	int volumes = 0, others = 0, n = 0;

	e->sweep++;
	while ((m = map_next(&e->machines, &at)))
		n += choose_one(m, &volumes, &others);
	at = 0;
	while ((m = map_next(&e->refs, &at)))
		if (m->token[0] == '\0')
			n += choose_one(m, &volumes, &others);
	return n;
}

void
ec2_sweep_rest(struct ec2 *e)
{
	struct ids ids = {0};
	bool seek = false;

	ec2_each_swept(e, seek_volumes, &seek);
	if (seek) {
		ours(&ids.form, e);
		aws_form_add(&ids.form, "error", "Filter.2.Value.2");
		ec2_query(e, "DescribeVolumes", &ids.form, &reading, found_volumes, e);
		return;
	}
	ec2_each_swept(e, add_volumes, &ids);
	if (ids.n == 0)
		sweep_interfaces(e);
	else
		ec2_query(e, "DescribeVolumes", &ids.form, &reading, saw_volumes, e);
}

void
ec2_sweep(struct ec2 *e)
{
	if (e->sweeping || choose(e) == 0)
		return;
	e->sweeping = true;
	if (!ec2_spot_sweep(e))
		ec2_sweep_rest(e);
}

/* ---- for inventories ---- */

struct found {
	char ref[EC2_REF_MAX];
	struct id token; /* empty: none */
};

struct listing {
	struct ec2 *e;
	ec2_leftovers_fn done;
	struct found *all; /* owned */
	int n, cap;
};

static void
listing_add(struct listing *l, const char *ref, const struct id *token)
{
	if (!ec2_is_leftover(ref) || strlen(ref) >= EC2_REF_MAX)
		return;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->all = xrealloc(l->all, sizeof(*l->all) * (size_t)l->cap);
	}
	(void)snprintf(l->all[l->n].ref, EC2_REF_MAX, "%s", ref);
	l->all[l->n++].token = *token;
}

static void
listing_over(struct listing *l, const struct err *err)
{
	struct sighting *s = xcalloc((size_t)l->n + 1, sizeof(*s));

	for (int i = 0; i < l->n; i++)
		s[i] = (struct sighting){
		    .token = id_empty(&l->all[i].token) ? NULL : l->all[i].token.s,
		    .ref = l->all[i].ref,
		    .state = SIGHTING_DEAD,
		    .sessions = -1,
		    .error = "nothing uses it",
		};
	l->done(l->e, s, l->n, err);
	free(s);
	free(l->all);
	free(l);
}

static bool
is_known(const struct ec2 *e, const char *id)
{
	const struct ec2_machine *m;
	size_t at = 0;

	while ((m = map_next(&e->machines, &at)))
		if (holds(m->volumes, id) || holds(m->interfaces, id))
			return true;
	return false;
}

static bool
is_there(const struct ec2 *e, const char *token)
{
	return map_get(&e->machines, token) != NULL;
}

/* Whether one of the machines that were launched with it lives. */
static bool
mates_live(const struct ec2 *e, const struct xml *item)
{
	return any_token(item, is_there, e);
}

static bool
is_young(const struct ec2 *e, const char *created)
{
	struct tm tm = {0};

	return strptime(created, "%Y-%m-%dT%H:%M:%S", &tm) &&
	       clock_wall_ms(e->env.clock) - (int64_t)timegm(&tm) * 1000 < YOUNG_MS;
}

static void
list_interfaces(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct listing *l = arg;

	if (l->e->closing) {
		free(l->all);
		free(l);
		return;
	}
	for (const struct xml *x = ec2_items(reply, "networkInterfaceSet"); x;
	     x = ec2_item_next(x)) {
		const char *id = xml_text(x, "networkInterfaceId");
		const char *packed = tag_value(x, TAG_TOKENS "0");
		struct id token = {""};

		/* one that was made for one machine names that one */
		if (packed && strlen(packed) < 2 * 12)
			(void)tags_unpack(packed, 0, &token);
		if (!is_known(l->e, id) && !mates_live(l->e, x))
			listing_add(l, id, &token);
	}
	listing_over(l, err);
}

static void
list_volumes(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct listing *l = arg;
	struct aws_form f = {0};

	if (l->e->closing) {
		free(l->all);
		free(l);
		return;
	}
	if (err->code != ERR_NONE) {
		listing_over(l, err);
		return;
	}
	for (const struct xml *x = ec2_items(reply, "volumeSet"); x;
	     x = ec2_item_next(x)) {
		const char *id = xml_text(x, "volumeId");
		const char *packed = tag_value(x, TAG_TOKENS "0");
		struct id token = {""};
		bool mates = mates_live(l->e, x);

		/* where all of its machines have ended, any of them stands for it */
		if (packed && !mates)
			(void)tags_unpack(packed, 0, &token);
		if (!ec2_disk_tagged(x) && !is_known(l->e, id) &&
		    !(mates && is_young(l->e, xml_text(x, "createTime"))))
			listing_add(l, id, &token);
	}
	ours(&f, l->e);
	ec2_query(l->e, "DescribeNetworkInterfaces", &f, &reading, list_interfaces, l);
}

void
ec2_leftovers(struct ec2 *e, ec2_leftovers_fn done)
{
	struct listing *l = xnew(struct listing);
	struct aws_form f = {0};

	l->e = e;
	l->done = done;
	ours(&f, e);
	aws_form_add(&f, "error", "Filter.2.Value.2");
	ec2_query(e, "DescribeVolumes", &f, &reading, list_volumes, l);
}
