/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_ZONES_H
#define EC2_ZONES_H

/* The regions that every AWS account has from its beginning, and their availability zones (AWS Global Infrastructure,
   "Regions and Zones", 2026). Which letter stands for which zone id is an account's own; here the order is plain. */

#define ZONES_MAX 8

struct region_info {
	const char *name;    /* "us-east-1" */
	const char *code;    /* of zone ids: "use1" */
	const char *letters; /* of its zones: "abcdef" */
};

const struct region_info *region_infos(int *ret_n);
const struct region_info *region_info_find(const char *name); /* NULL: none */

/* The i-th zone of a region, from 0: "us-east-1a" and "use1-az1". */
#define ZONE_NAME_MAX 32
void zone_name(const struct region_info *r, int i, char ret[ZONE_NAME_MAX]);
void zone_id(const struct region_info *r, int i, char ret[ZONE_NAME_MAX]);
int zone_count(const struct region_info *r);

/* Its number by name; -1: the region has no such zone. */
int zone_find(const struct region_info *r, const char *name);

#endif
