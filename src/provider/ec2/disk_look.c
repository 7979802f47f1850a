/* SPDX-License-Identifier: Apache-2.0 */

/* One look at all disks: DescribeVolumes, paged and filtered by our tags, and DescribeSnapshots behind it where there is one to
   watch. Each second while something is under way, each minute else, never while there is none. */

#include "provider/ec2/disk.h"

#include <stdlib.h>
#include <string.h>

#include "aws/xml.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/tags.h"

#define PAGE "500" /* the most that DescribeVolumes gives: API reference, MaxResults */
#define LOOK_TIMEOUT_MS 60000

static void page(struct ec2 *e, bool snapshots, const char *next_token);
static void look(void *arg);

/* ---- when ---- */

void
ec2_disk_look_within(struct ec2 *e, int64_t ms)
{
	struct ec2_disks *k = &e->disks;
	int64_t left;

	if (e->closing)
		return;
	if (k->looking) {
		k->look_again = true;
		return;
	}
	left =
	    timer_is_on(&k->timer) ? k->timer.at_ms - clock_now_ms(e->env.clock) : ms + 1;
	if (ms < left)
		timer_set(e->env.clock, &k->timer, ms, look, e);
}

void
ec2_disks_list(struct ec2 *e, ec2_disks_fn then)
{
	e->disks.then_next = then;
	ec2_disk_look_within(e, 0);
}

static bool
any_restless(const struct ec2 *e, bool snapshots)
{
	const struct ec2_disk *d;
	size_t at = 0;

	while ((d = map_next(&e->disks.by_token, &at)))
		if (d->snapshot == snapshots && ec2_disk_restless(d))
			return true;
	return false;
}

static bool
any_bond(const struct ec2 *e)
{
	const struct ec2_disk *d;
	size_t at = 0;

	while ((d = map_next(&e->disks.by_token, &at)))
		if (d->bond && ec2_bond_waits(d->bond))
			return true;
	return false;
}

static void
next_look(struct ec2 *e)
{
	struct ec2_disks *k = &e->disks;
	bool soon = k->look_again || k->then_next;
	int64_t pause = EC2_DISK_SLOW_MS;

	k->looking = k->look_again = false;
	if (soon)
		pause = EC2_TICK_MS / 4;
	else if (any_bond(e))
		pause = EC2_DISK_FAST_MS;
	else if (any_restless(e, false) || any_restless(e, true))
		pause = EC2_TICK_MS;
	if (k->by_token.count > 0 || k->then_next)
		ec2_disk_look_within(e, pause);
}

/* ---- its end ---- */

static void
give(struct ec2 *e, const struct err *err)
{
	ec2_disks_fn then = e->disks.then_now;

	e->disks.then_now = NULL;
	if (then && err->code == ERR_NONE && !e->disks.listed_ms)
		e->disks.listed_ms = clock_now_ms(e->env.clock);
	if (then)
		then(e, err);
}

/* By a list of their own: what core is told may make it ask for more, or less. */
static void
each_looked(struct ec2 *e)
{
	struct ec2_disks *k = &e->disks;
	struct id *tokens = xcalloc(k->by_token.count + 1, sizeof(*tokens));
	struct ec2_disk *d;
	size_t at = 0;
	int n = 0;

	while ((d = map_next(&k->by_token, &at)))
		if ((!d->snapshot || k->with_snapshots) && d->born_ms <= k->began_ms)
			memcpy(tokens[n++].s, d->token, ID_MAX);
	for (int i = 0; i < n; i++) {
		d = map_get(&k->by_token, tokens[i].s);
		if (d && d->bond)
			ec2_bond_looked(d->bond, d->seen_look == k->look);
		d = map_get(&k->by_token, tokens[i].s);
		if (d && d->seen_look != k->look)
			ec2_disk_missed(d);
	}
	free(tokens);
}

static void
look_over(struct ec2 *e, const struct err *err)
{
	struct ec2_disks *k = &e->disks;
	struct err why = *err;

	if (err->code == ERR_NONE) {
		if (k->failed_ms)
			log_info("ec2: the endpoint shows disks again");
		k->failed_ms = 0;
		each_looked(e);
	} else {
		ec2_say_hint(&why);
		if (!k->failed_ms && !k->then_now) /* else core says it */
			log_warn("ec2: %s; trying again every second", why.msg);
		if (!k->failed_ms)
			k->failed_ms = clock_now_ms(e->env.clock);
	}
	give(e, &why);
	next_look(e);
	if (err->code != ERR_NONE && k->by_token.count > 0)
		ec2_disk_look_within(e, EC2_TICK_MS);
}

/* ---- a page ---- */

static void
add_stray(struct ec2 *e, const char *ref)
{
	struct ec2_disks *k = &e->disks;

	k->strays = xrealloc(k->strays, sizeof(*k->strays) * (size_t)(k->n_strays + 1));
	k->strays[k->n_strays++] = xstrdup(ref);
}

static void
take(struct ec2 *e, const struct xml *reply, bool snapshots)
{
	const char *ref = snapshots ? "snapshotId" : "volumeId";

	for (const struct xml *x =
		 ec2_items(reply, snapshots ? "snapshotSet" : "volumeSet");
	     x; x = ec2_item_next(x))
		if (!ec2_disk_observe(e, x, snapshots))
			add_stray(e, xml_text(x, ref));
}

static void
answered(struct ec2 *e, const struct xml *reply, const struct err *err, bool snapshots)
{
	struct ec2_disks *k = &e->disks;
	const char *next;

	if (e->closing)
		return;
	if (err->code != ERR_NONE) {
		look_over(e, err);
		return;
	}
	take(e, reply, snapshots);
	next = xml_text(reply, "nextToken");
	if (*next)
		page(e, snapshots, next);
	else if (k->with_snapshots && !snapshots)
		page(e, true, NULL);
	else
		look_over(e, err);
}

static void
saw_volumes(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	answered(arg, reply, err, false);
}

static void
saw_snapshots(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	answered(arg, reply, err, true);
}

static void
page(struct ec2 *e, bool snapshots, const char *next_token)
{
	struct aws_form form = {0};
	struct aws_call_options opt = {
	    .repeatable = true, .filtered = true, .deadline_ms = LOOK_TIMEOUT_MS};

	aws_form_add(&form, "tag:" TAG_OWNER, "Filter.1.Name");
	aws_form_add(&form, e->owner, "Filter.1.Value.1");
	aws_form_add(&form, "tag-key", "Filter.2.Name");
	aws_form_add(&form, TAG_DISK, "Filter.2.Value.1");
	aws_form_add(&form, PAGE, "MaxResults");
	aws_form_add(&form, next_token, "NextToken");
	ec2_query(e, snapshots ? "DescribeSnapshots" : "DescribeVolumes", &form, &opt,
	    snapshots ? saw_snapshots : saw_volumes, e);
}

static void
look(void *arg)
{
	struct ec2 *e = arg;
	struct ec2_disks *k = &e->disks;

	k->look++;
	k->looking = true;
	k->began_ms = clock_now_ms(e->env.clock);
	k->then_now = k->then_next;
	k->then_next = NULL;
	while (k->n_strays > 0)
		free(k->strays[--k->n_strays]);
	k->with_snapshots = k->then_now || any_restless(e, true) ||
			    k->began_ms - k->snapshots_ms >= EC2_DISK_SLOW_MS;
	if (k->with_snapshots)
		k->snapshots_ms = k->began_ms;
	page(e, false, NULL);
}

/* ---- for inventories ---- */

int
ec2_disks_count(const struct ec2 *e)
{
	return (int)e->disks.by_token.count + e->disks.n_strays;
}

int
ec2_disks_sightings(const struct ec2 *e, struct sighting *all)
{
	const struct ec2_disk *d;
	size_t at = 0;
	int n = 0;

	while ((d = map_next(&e->disks.by_token, &at)))
		if (d->ref[0] && d->state >= EC2_DISK_MADE)
			all[n++] = ec2_disk_sighting(d);
	for (int i = 0; i < e->disks.n_strays; i++)
		all[n++] = (struct sighting){.ref = e->disks.strays[i],
		    .state = SIGHTING_DEAD,
		    .sessions = -1,
		    .error = "it bears a disk's token for the second time"};
	return n;
}
