/* SPDX-License-Identifier: Apache-2.0 */

/* A volume is of one zone and can be attached there only, so a new one is made where its machines will be. */

#include "provider/ec2/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/xml.h"
#include "base/xalloc.h"

#define ASK_DEADLINE_MS 30000
#define KINDS_MAX 16

struct question {
	struct list in_ec2;
	struct ec2 *e;
	char token[EC2_TOKEN_MAX];
	char subnet[EC2_WORD_MAX]; /* "": the region's zones are asked for */
	ec2_zone_fn done;
	struct timer timer;
	char zone[EC2_ZONE_MAX]; /* of one that is answered later */
};

static void
give(struct question *q, const char *zone, const struct err *err)
{
	struct question copy = *q;

	list_remove(&q->in_ec2);
	free(q);
	copy.done(copy.e, copy.token, zone, err);
}

static void
give_now(void *arg)
{
	struct question *q = arg;
	char zone[EC2_ZONE_MAX];

	memcpy(zone, q->zone, sizeof(zone));
	give(q, zone, &(struct err){0});
}

static void
answered(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct question *q = arg;
	struct ec2 *e = q->e;
	bool of_subnet = q->subnet[0] != '\0';
	const struct xml *x =
	    ec2_items(reply, of_subnet ? "subnetSet" : "availabilityZoneInfo");
	const char *zone = xml_text(x, of_subnet ? "availabilityZone" : "zoneName");
	struct err why = *err;

	if (e->closing) {
		list_remove(&q->in_ec2);
		free(q);
		return;
	}
	if (err->code == ERR_NONE && (*zone == '\0' || strlen(zone) >= EC2_ZONE_MAX))
		err_set(&why, ERR_UNAVAILABLE, "EC2 names no zone of %s",
		    of_subnet ? q->subnet : "this region");
	if (why.code != ERR_NONE) {
		give(q, NULL, &why);
		return;
	}
	if (of_subnet) {
		xstrset(&e->disks.subnet[0], q->subnet);
		xstrset(&e->disks.subnet[1], zone);
	} else {
		xstrset(&e->disks.zone, zone);
	}
	give(q, zone, &why);
}

static void
ask(struct question *q)
{
	struct aws_call_options opt = {
	    .repeatable = true, .filtered = true, .deadline_ms = ASK_DEADLINE_MS};
	struct aws_form f = {0};

	if (q->subnet[0]) {
		aws_form_add(&f, q->subnet, "SubnetId.1");
	} else {
		aws_form_add(&f, "state", "Filter.1.Name");
		aws_form_add(&f, "available", "Filter.1.Value.1");
		aws_form_add(&f, "zone-type", "Filter.2.Name");
		aws_form_add(&f, "availability-zone", "Filter.2.Value.1");
	}
	ec2_query(q->e, q->subnet[0] ? "DescribeSubnets" : "DescribeAvailabilityZones",
	    &f, &opt, answered, q);
}

/* The zone of most machines; NULL: there is none. */
static const char *
most_machines(const struct ec2 *e)
{
	const char *zones[KINDS_MAX];
	int counts[KINDS_MAX], n = 0, best = 0;
	const struct ec2_machine *m;
	size_t at = 0;

	while ((m = map_next(&e->machines, &at))) {
		int i = 0;

		if (m->zone[0] == '\0' || m->state == EC2_TERMINATED)
			continue;
		while (i < n && strcmp(zones[i], m->zone) != 0)
			i++;
		if (i == n && n == KINDS_MAX)
			continue;
		if (i == n) {
			zones[n] = m->zone;
			counts[n++] = 0;
		}
		if (++counts[i] > counts[best])
			best = i;
	}
	return n > 0 ? zones[best] : NULL;
}

/* Without a question, where that is possible. */
static const char *
known(const struct ec2 *e, const struct ec2_options *opt)
{
	const char *zone;

	if (opt->zones.n)
		return opt->zones.words[0];
	if (opt->subnets.n)
		return e->disks.subnet[0] &&
			       strcmp(e->disks.subnet[0], opt->subnets.words[0]) == 0
			   ? e->disks.subnet[1]
			   : NULL;
	zone = most_machines(e);
	return zone ? zone : e->disks.zone;
}

void
ec2_disk_zone(
    struct ec2 *e, const char *token, const struct ec2_options *opt, ec2_zone_fn done)
{
	struct question *q = xnew(struct question);
	const char *zone = known(e, opt);

	q->e = e;
	q->done = done;
	(void)snprintf(q->token, sizeof(q->token), "%s", token);
	if (opt->subnets.n)
		(void)snprintf(q->subnet, sizeof(q->subnet), "%s", opt->subnets.words[0]);
	list_push_back(&e->disks.zoning, &q->in_ec2);
	if (!zone || strlen(zone) >= EC2_ZONE_MAX) {
		ask(q);
		return;
	}
	(void)snprintf(q->zone, sizeof(q->zone), "%s", zone);
	timer_set(e->env.clock, &q->timer, 0, give_now, q);
}

void
ec2_disk_zone_close(struct ec2 *e)
{
	while (!list_empty(&e->disks.zoning)) {
		struct question *q =
		    list_entry(e->disks.zoning.next, struct question, in_ec2);

		timer_off(&q->timer);
		list_remove(&q->in_ec2);
		free(q);
	}
}
