/* SPDX-License-Identifier: Apache-2.0 */

/* One DescribeInstances for all machines: paged, filtered by our owner tag, once a tick while there is any machine.
   Whoever needs to know more soon asks for an earlier look. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/xml.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/disk.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/tags.h"

#define PAGE_MAX                                                                         \
	1000 /* the most that DescribeInstances gives: API reference, MaxResults */
#define PAGE_MIN 50
#define LOOK_TIMEOUT_MS 60000

static void look(struct ec2 *e);

/* ---- reading ---- */

static const struct xml *
item_at(const struct xml *x)
{
	while (x && strcmp(x->name, "item") != 0)
		x = x->next;
	return x;
}

const struct xml *
ec2_items(const struct xml *x, const char *path)
{
	const struct xml *set = xml_find(x, path);

	return set ? item_at(set->child) : NULL;
}

const struct xml *
ec2_item_next(const struct xml *item)
{
	return item_at(item->next);
}

static int
state_from(const char *name)
{
	for (int i = EC2_PENDING; i < EC2_STATE_MAX; i++)
		if (strcmp(ec2_state_name((enum ec2_state)i), name) == 0)
			return i;
	return -1;
}

static int64_t
time_from(const char *text)
{
	struct tm tm = {0};

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void
read_tags(const struct xml *item, struct ec2_instance *i)
{
	int value = i->launch_index / TAGS_PER_VALUE;

	for (const struct xml *t = ec2_items(item, "tagSet"); t; t = ec2_item_next(t)) {
		const char *key = xml_text(t, "key"), *text = xml_text(t, "value");

		if (tags_key(key) == value)
			(void)tags_unpack(
			    text, i->launch_index % TAGS_PER_VALUE, &i->token);
		else if (strcmp(key, TAG_LEASE) == 0)
			i->lease_at = strtoll(text, NULL, 10) * 1000;
		else if (strcmp(key, TAG_OPTIONS) == 0)
			i->options = text;
	}
}

static void
read_ids(const struct xml *item, const char *set, const char *id, const char **ret)
{
	int n = 0;

	for (const struct xml *x = ec2_items(item, set); x && n < 4; x = ec2_item_next(x))
		if (*xml_text(x, id))
			ret[n++] = xml_text(x, id);
}

static const char *
text_or_null(const char *text)
{
	return *text ? text : NULL;
}

bool
ec2_instance_read(const struct xml *item, struct ec2_instance *ret)
{
	const char *ref = xml_text(item, "instanceId");
	int state = state_from(xml_text(item, "instanceState/name"));

	if (strncmp(ref, "i-", 2) != 0 || strlen(ref) >= EC2_REF_MAX || state < 0)
		return false;
	*ret = (struct ec2_instance){
	    .ref = ref,
	    .state = (enum ec2_state)state,
	    .private_address = text_or_null(xml_text(item, "privateIpAddress")),
	    .public_address = text_or_null(xml_text(item, "ipAddress")),
	    .reason = text_or_null(xml_text(item, "stateReason/message")),
	    .spot_request = text_or_null(xml_text(item, "spotInstanceRequestId")),
	    .zone = text_or_null(xml_text(item, "placement/availabilityZone")),
	    .subnet = text_or_null(xml_text(item, "subnetId")),
	    .vpc = text_or_null(xml_text(item, "vpcId")),
	    .launch_index = (int)xml_int(item, "amiLaunchIndex", 0),
	    .created_at = time_from(xml_text(item, "launchTime")),
	};
	if (ret->launch_index < 0 || ret->launch_index >= TAGS_TOKENS_MAX)
		ret->launch_index = TAGS_TOKENS_MAX;
	read_tags(item, ret);
	read_ids(item, "blockDeviceMapping", "ebs/volumeId", ret->volumes);
	read_ids(item, "networkInterfaceSet", "networkInterfaceId", ret->interfaces);
	return true;
}

/* ---- a look ---- */

static void
saw(struct ec2 *e, const struct ec2_instance *i)
{
	const char *token = id_empty(&i->token) ? "" : i->token.s;
	struct ec2_machine *m = map_get(&e->refs, i->ref);

	/* A token names one machine; a second instance with it has no name. */
	if (!m && *token) {
		m = map_get(&e->machines, token);
		if (m && m->ref[0]) {
			m = NULL;
			token = "";
		}
	}
	if (!m) {
		/* One that ended while nobody looked is of no interest, unless its spot request goes on: that is looked after
		   once for each inventory. */
		if (i->state == EC2_TERMINATED &&
		    (!i->spot_request || list_empty(&e->inventories_now)))
			return;
		m = ec2_machine_new(e, token);
	}
	ec2_machine_observe(m, i);
}

/* By a list of its own: what core is told may make it launch, which moves the maps. */
static void
missed_all(struct ec2 *e)
{
	struct ec2_machine **missed, *m;
	size_t at = 0;
	int n = 0;

	missed =
	    xcalloc(e->machines.count + e->refs.count + 1, sizeof(struct ec2_machine *));
	while ((m = map_next(&e->machines, &at)))
		if (m->seen_look != e->look && m->born_ms <= e->look_began_ms)
			missed[n++] = m;
	at = 0;
	while ((m = map_next(&e->refs, &at)))
		if (m->token[0] == '\0' && m->seen_look != e->look)
			missed[n++] = m;
	for (int i = 0; i < n; i++)
		ec2_machine_missed(missed[i]);
	free(missed);
}

static void
look_due(void *arg)
{
	look(arg);
}

void
ec2_look_within(struct ec2 *e, int64_t ms)
{
	int64_t left;

	if (e->closing)
		return;
	if (e->looking) {
		e->look_again = true;
		return;
	}
	left = timer_is_on(&e->look_timer)
		   ? e->look_timer.at_ms - clock_now_ms(e->env.clock)
		   : ms + 1;
	if (ms < left)
		timer_set(e->env.clock, &e->look_timer, ms, look_due, e);
}

/* A tick after the last one began: a slow reply makes the next look come sooner, but not at once. */
static void
next_look(struct ec2 *e)
{
	bool soon =
	    e->look_again || (!list_empty(&e->inventories_next) && !e->look_failed_ms);
	int64_t took = clock_now_ms(e->env.clock) - e->look_began_ms;
	int64_t pause = EC2_TICK_MS - took;

	e->looking = e->look_again = false;
	if (e->machines.count == 0 && e->refs.count == 0 &&
	    list_empty(&e->inventories_next))
		return;
	if (soon || pause < EC2_TICK_MS / 4)
		pause = EC2_TICK_MS / 4;
	ec2_look_within(e, pause);
}

/* ---- inventories ---- */

static void
give_inventories(struct ec2 *e, const struct sighting *all, int n, const struct err *err)
{
	while (!list_empty(&e->inventories_now)) {
		struct ec2_answer *a =
		    list_entry(e->inventories_now.next, struct ec2_answer, in_machine);
		provider_inventory_fn done = a->fn.inventory;
		void *arg = a->arg;

		a->fn.inventory = NULL;
		ec2_answer_give(a, NULL, err);
		done(arg, all, err->code == ERR_NONE ? n : 0, err);
	}
}

static bool
listed(const struct ec2_machine *m)
{
	return m->ref[0] && m->state >= EC2_PENDING && m->state != EC2_TERMINATED;
}

/* The machines, the disks, and behind them what nothing uses. */
static void
inventory_complete(
    struct ec2 *e, const struct sighting *left, int n_left, const struct err *err)
{
	struct sighting *all;
	struct ec2_machine *m;
	size_t at = 0;
	int n = 0;

	if (err->code != ERR_NONE) {
		give_inventories(e, NULL, 0, err);
		return;
	}
	all = xcalloc(e->refs.count + (size_t)ec2_disks_count(e) + (size_t)n_left + 1,
	    sizeof(*all));
	while ((m = map_next(&e->refs, &at)))
		if (listed(m))
			all[n++] = ec2_machine_look(m);
	n += ec2_disks_sightings(e, all + n);
	for (int i = 0; i < n_left; i++)
		all[n++] = left[i];
	give_inventories(e, all, n, err);
	free(all);
}

static void
inventory_has_disks(struct ec2 *e, const struct err *err)
{
	if (err->code != ERR_NONE)
		give_inventories(e, NULL, 0, err);
	else
		ec2_leftovers(e, inventory_complete);
}

static void
look_failed(struct ec2 *e, const struct err *err)
{
	struct err why = *err;

	ec2_say_hint(&why);
	if (!e->look_failed_ms) {
		e->look_failed_ms = clock_now_ms(e->env.clock);
		if (list_empty(&e->inventories_now)) /* else core says it */
			log_warn("ec2: %s; trying again every second", why.msg);
	}
	give_inventories(e, NULL, 0, &why);
	next_look(e);
}

static void
look_done(struct ec2 *e)
{
	if (e->look_failed_ms)
		log_info("ec2: the endpoint answers again");
	e->look_failed_ms = 0;
	missed_all(e);
	if (!list_empty(&e->inventories_now))
		ec2_disks_list(e, inventory_has_disks);
	ec2_sweep(e);
	next_look(e);
}

static void page(struct ec2 *e, const char *next_token);

static void
answered(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;
	const char *next;

	if (e->closing)
		return;
	if (err->code == ERR_TOO_LARGE && e->page > PAGE_MIN) {
		e->page /= 2;
		page(e, NULL);
		return;
	}
	if (err->code != ERR_NONE) {
		look_failed(e, err);
		return;
	}
	for (const struct xml *r = ec2_items(reply, "reservationSet"); r;
	     r = ec2_item_next(r))
		for (const struct xml *x = ec2_items(r, "instancesSet"); x;
		     x = ec2_item_next(x)) {
			struct ec2_instance i;

			if (ec2_instance_read(x, &i))
				saw(e, &i);
		}
	next = xml_text(reply, "nextToken");
	if (*next)
		page(e, next);
	else
		look_done(e);
}

static void
page(struct ec2 *e, const char *next_token)
{
	struct aws_form form = {0};
	struct aws_call_options opt = {
	    .repeatable = true, .filtered = true, .deadline_ms = LOOK_TIMEOUT_MS};
	char size[16];

	if (!e->page)
		e->page = PAGE_MAX;
	(void)snprintf(size, sizeof(size), "%d", e->page);
	aws_form_add(&form, "tag:" TAG_OWNER, "Filter.1.Name");
	aws_form_add(&form, e->owner, "Filter.1.Value.1");
	aws_form_add(&form, size, "MaxResults");
	aws_form_add(&form, next_token, "NextToken");
	ec2_query(e, "DescribeInstances", &form, &opt, answered, e);
}

static void
look(struct ec2 *e)
{
	e->look++;
	e->looking = true;
	e->look_began_ms = clock_now_ms(e->env.clock);
	while (!list_empty(&e->inventories_next)) {
		struct list *a = e->inventories_next.next;

		list_remove(a);
		list_push_back(&e->inventories_now, a);
	}
	page(e, NULL);
}

void
ec2_inventory(struct provider *p, provider_inventory_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_INVENTORY, arg);

	a->fn.inventory = done;
	list_push_back(&e->inventories_next, &a->in_machine);
	ec2_look_within(e, 0);
}
