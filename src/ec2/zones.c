/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/zones.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const struct region_info regions[] = {
	{ "ap-northeast-1", "apne1", "acd" },
	{ "ap-northeast-2", "apne2", "abcd" },
	{ "ap-northeast-3", "apne3", "abc" },
	{ "ap-south-1",     "aps1",  "abc" },
	{ "ap-southeast-1", "apse1", "abc" },
	{ "ap-southeast-2", "apse2", "abc" },
	{ "ca-central-1",   "cac1",  "abd" },
	{ "eu-central-1",   "euc1",  "abc" },
	{ "eu-north-1",     "eun1",  "abc" },
	{ "eu-west-1",      "euw1",  "abc" },
	{ "eu-west-2",      "euw2",  "abc" },
	{ "eu-west-3",      "euw3",  "abc" },
	{ "sa-east-1",      "sae1",  "abc" },
	{ "us-east-1",      "use1",  "abcdef" },
	{ "us-east-2",      "use2",  "abc" },
	{ "us-west-1",      "usw1",  "ac" },
	{ "us-west-2",      "usw2",  "abcd" },
};
/* clang-format on */

const struct region_info *
region_infos(int *ret_n)
{
	*ret_n = (int)(sizeof(regions) / sizeof(regions[0]));
	return regions;
}

const struct region_info *
region_info_find(const char *name)
{
	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++)
		if (strcmp(regions[i].name, name) == 0)
			return &regions[i];
	return NULL;
}

int
zone_count(const struct region_info *r)
{
	return (int)strlen(r->letters);
}

void
zone_name(const struct region_info *r, int i, char ret[ZONE_NAME_MAX])
{
	(void)snprintf(ret, ZONE_NAME_MAX, "%s%c", r->name, r->letters[i]);
}

void
zone_id(const struct region_info *r, int i, char ret[ZONE_NAME_MAX])
{
	(void)snprintf(ret, ZONE_NAME_MAX, "%s-az%d", r->code, i + 1);
}

int
zone_find(const struct region_info *r, const char *name)
{
	char zone[ZONE_NAME_MAX];

	for (int i = 0; i < zone_count(r); i++) {
		zone_name(r, i, zone);
		if (strcmp(zone, name) == 0)
			return i;
	}
	return -1;
}
