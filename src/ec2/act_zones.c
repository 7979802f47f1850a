/* SPDX-License-Identifier: Apache-2.0 */
/* Regions, zones, and what the account has. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "ec2/describe.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/zones.h"

#define ENDPOINT_MAX 80

static bool
in(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return n == 0;
}

/* ---- DescribeRegions ---- */

#define REGION(o) ((const struct region_info *)(o))

static void
name_endpoint(const struct region_info *r, char ret[ENDPOINT_MAX])
{
	(void)snprintf(ret, ENDPOINT_MAX, "ec2.%s.amazonaws.com", r->name);
}

static void
by_endpoint(const void *o, struct offer *v)
{
	char endpoint[ENDPOINT_MAX];

	name_endpoint(o, endpoint);
	offer(v, endpoint);
}

static void
by_opt_in(const void *o, struct offer *v)
{
	offer(v, "opt-in-not-required");
}

OFFER(by_region, REGION(o)->name)

static const struct filter region_filters[] = {
    {"endpoint", by_endpoint},
    {"opt-in-status", by_opt_in},
    {"region-name", by_region},
    {NULL},
};

static void
write_region(struct reply *r, const struct region_info *info)
{
	char endpoint[ENDPOINT_MAX];

	name_endpoint(info, endpoint);
	reply_open(r, "item");
	reply_text(r, "regionName", info->name);
	reply_text(r, "regionEndpoint", endpoint);
	reply_text(r, "optInStatus", "opt-in-not-required");
	reply_close(r);
}

static void
describe_regions(struct request *q)
{
	int n_names, n;
	AUTO_FREE const char **names = request_list(q, &n_names, "RegionName");
	struct filters *filters = filters_read(q, region_filters, false);
	const struct region_info *infos = region_infos(&n);

	(void)request_bool(q, false, "AllRegions");
	for (int i = 0; i < n_names; i++)
		if (!region_info_find(names[i]))
			request_fail(q, "InvalidParameterValue",
			    "Invalid region(s) : [%.64s]", names[i]);
	if (request_ready(q)) {
		reply_open(&q->reply, "regionInfo");
		for (int i = 0; i < n; i++)
			if (in(names, n_names, infos[i].name) &&
			    filters_match(filters, &infos[i]))
				write_region(&q->reply, &infos[i]);
		reply_close(&q->reply);
	}
	filters_free(filters);
}

/* ---- DescribeAvailabilityZones ---- */

struct zone {
	const struct region_info *region;
	char name[ZONE_NAME_MAX], id[ZONE_NAME_MAX];
};

#define ZONE(o) ((const struct zone *)(o))

OFFER(by_zone_region, ZONE(o)->region->name)
OFFER(by_zone_name, ZONE(o)->name)
OFFER(by_zone_id, ZONE(o)->id)

static void
by_state(const void *o, struct offer *v)
{
	offer(v, "available");
}

static void
by_zone_type(const void *o, struct offer *v)
{
	offer(v, "availability-zone");
}

static const struct filter zone_filters[] = {
    {"group-name", by_zone_region},
    {"opt-in-status", by_opt_in},
    {"region-name", by_zone_region},
    {"state", by_state},
    {"zone-id", by_zone_id},
    {"zone-name", by_zone_name},
    {"zone-type", by_zone_type},
    {NULL},
};

static void
write_zone(struct reply *r, const struct zone *z)
{
	reply_open(r, "item");
	reply_text(r, "optInStatus", "opt-in-not-required");
	reply_text(r, "zoneName", z->name);
	reply_text(r, "zoneId", z->id);
	reply_text(r, "zoneState", "available");
	reply_text(r, "regionName", z->region->name);
	reply_text(r, "groupName", z->region->name);
	reply_text(r, "networkBorderGroup", z->region->name);
	reply_text(r, "zoneType", "availability-zone");
	reply_open(r, "messageSet");
	reply_close(r);
	reply_close(r);
}

static bool
zone_at(const struct region *r, int i, struct zone *z)
{
	if (i >= zone_count(r->info))
		return false;
	z->region = r->info;
	zone_name(r->info, i, z->name);
	zone_id(r->info, i, z->id);
	return true;
}

static void
check_zones(struct request *q, const char *const *asked, int n, bool by_id)
{
	struct zone z;

	for (int i = 0; i < n; i++) {
		bool found = false;

		for (int k = 0; !found && zone_at(q->region, k, &z); k++)
			found = strcmp(asked[i], by_id ? z.id : z.name) == 0;
		if (!found)
			request_fail(q, "InvalidParameterValue",
			    "Invalid availability zone%s: [%.64s]", by_id ? "-id" : "",
			    asked[i]);
	}
}

static void
describe_zones(struct request *q)
{
	int n_names, n_ids;
	AUTO_FREE const char **names = request_list(q, &n_names, "ZoneName");
	AUTO_FREE const char **ids = request_list(q, &n_ids, "ZoneId");
	struct filters *filters = filters_read(q, zone_filters, false);
	struct zone z;

	(void)request_bool(q, false, "AllAvailabilityZones");
	check_zones(q, names, n_names, false);
	check_zones(q, ids, n_ids, true);
	if (request_ready(q)) {
		reply_open(&q->reply, "availabilityZoneInfo");
		for (int i = 0; zone_at(q->region, i, &z); i++)
			if (in(names, n_names, z.name) && in(ids, n_ids, z.id) &&
			    filters_match(filters, &z))
				write_zone(&q->reply, &z);
		reply_close(&q->reply);
	}
	filters_free(filters);
}

/* ---- DescribeAccountAttributes ---- */

static void
write_attribute(struct reply *r, const char *name, const char *value)
{
	reply_open(r, "item");
	reply_text(r, "attributeName", name);
	reply_open(r, "attributeValueSet");
	reply_open(r, "item");
	reply_text(r, "attributeValue", value);
	reply_close(r);
	reply_close(r);
	reply_close(r);
}

static void
describe_account(struct request *q)
{
	const struct vpc *vpc = region_default_vpc(q->region);
	const struct {
		const char *name, *value;
	} attributes[] = {
	    {"vpc-max-security-groups-per-interface", "5"},
	    {"max-instances", "20"},
	    {"supported-platforms", "VPC"},
	    {"default-vpc", vpc ? vpc->o.id : "none"},
	    {"max-elastic-ips", "5"},
	    {"vpc-max-elastic-ips", "5"},
	};
	int n = (int)(sizeof(attributes) / sizeof(attributes[0])), n_names;
	AUTO_FREE const char **names = request_list(q, &n_names, "AttributeName");

	for (int i = 0; i < n_names; i++) {
		int k = 0;

		while (k < n && strcmp(attributes[k].name, names[i]) != 0)
			k++;
		if (k == n)
			request_fail(q, "InvalidParameterValue",
			    "Value (%.64s) for parameter attribute is invalid. Invalid "
			    "attribute",
			    names[i]);
	}
	if (!request_ready(q))
		return;
	reply_open(&q->reply, "accountAttributeSet");
	for (int i = 0; i < n; i++)
		if (in(names, n_names, attributes[i].name))
			write_attribute(
			    &q->reply, attributes[i].name, attributes[i].value);
	reply_close(&q->reply);
}

const struct action zone_actions[] = {
    {"DescribeAccountAttributes", describe_account, ACTION_READ},
    {"DescribeAvailabilityZones", describe_zones, ACTION_READ},
    {"DescribeRegions", describe_regions, ACTION_READ},
    {NULL},
};
