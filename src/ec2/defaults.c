/* SPDX-License-Identifier: Apache-2.0 */
/* What a region begins with: as AWS gives it to a new account. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/objects.h"
#include "ec2/resource.h"
#include "ec2/zones.h"

/* The i-th of 2^bits equal parts of a network. */
static char *
part_of(const char *network, int bits, int i)
{
	const char *slash = strchr(network, '/');
	char host[INET_ADDRSTRLEN] = "", text[INET_ADDRSTRLEN];
	int prefix = (int)strtol(slash + 1, NULL, 10) + bits;
	struct in_addr a = {0};

	memcpy(host, network, (size_t)(slash - network)); /* config.c has checked it */
	inet_pton(AF_INET, host, &a);
	a.s_addr = htonl(ntohl(a.s_addr) + ((uint32_t)i << (32 - prefix)));
	inet_ntop(AF_INET, &a, text, sizeof(text));
	return xasprintf("%s/%d", text, prefix);
}

static void
make_network(struct region *r)
{
	const char *network = r->world->config->network;
	struct vpc *v = object_new(r, &kind_vpc, NULL);
	struct group *g = object_new(r, &kind_group, NULL);
	int zones = zone_count(r->info), bits = 0;

	while (1 << bits < zones)
		bits++;
	v->cidr = xstrdup(network);
	v->is_default = true;
	g->vpc = xstrdup(v->o.id);
	g->name = xstrdup("default");
	g->description = xstrdup("default VPC security group");
	rules_make_default(g, true);
	for (int i = 0; i < zones; i++) {
		struct subnet *s = object_new(r, &kind_subnet, NULL);
		char zone[ZONE_NAME_MAX];

		zone_name(r->info, i, zone);
		s->vpc = xstrdup(v->o.id);
		s->zone = xstrdup(zone);
		s->cidr = part_of(network, bits, i);
		s->is_default = true;
		s->public_addresses = true;
	}
}

/* clang-format off */
static const struct {
	const char *name, *description, *owner, *alias, *architecture, *user, *root, *date;
	int gib;
} catalogue[] = {
	{ "al2023-ami-2023.9.20251117.1-kernel-6.1-x86_64", "Amazon Linux 2023 AMI 2023.9.20251117.1 x86_64 HVM kernel-6.1",
	  "137112412989", "amazon", "x86_64", "ec2-user", "/dev/xvda", "2025-11-18T01:12:05.000Z", 8 },
	{ "al2023-ami-2023.9.20251117.1-kernel-6.1-arm64", "Amazon Linux 2023 AMI 2023.9.20251117.1 arm64 HVM kernel-6.1",
	  "137112412989", "amazon", "arm64", "ec2-user", "/dev/xvda", "2025-11-18T01:12:06.000Z", 8 },
	{ "debian-12-amd64-20251112-2294", "Debian 12 (20251112-2294)",
	  "136693071363", NULL, "x86_64", "admin", "/dev/xvda", "2025-11-12T12:01:02.000Z", 8 },
	{ "debian-12-arm64-20251112-2294", "Debian 12 (20251112-2294)",
	  "136693071363", NULL, "arm64", "admin", "/dev/xvda", "2025-11-12T12:01:03.000Z", 8 },
};
/* clang-format on */

/* Ids are an image's own in each region, and the same in every world, so that they can stand in a script. */
static void
image_id(const struct region *r, const char *name, char ret[32])
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

	for (const char *c = r->name; *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3u;
	for (const char *c = name; *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3u;
	(void)snprintf(ret, 32, "ami-0%016llx", (unsigned long long)h);
}

/* AWS shows this volume for those of its own. */
static void
make_snapshot(struct image *m)
{
	struct snapshot *s = object_new(m->o.region, &kind_snapshot, NULL);

	s->volume = xstrdup("vol-ffffffff");
	s->owner = xstrdup(m->owner);
	s->owner_alias = xstrdup_null(m->owner_alias);
	s->description = xstrdup(m->description);
	s->size_gib = m->root_gib;
	m->snapshot = xstrdup(s->o.id);
}

static void
make_images(struct region *r)
{
	for (size_t i = 0; i < sizeof(catalogue) / sizeof(catalogue[0]); i++) {
		struct image *m;
		char id[32];

		image_id(r, catalogue[i].name, id);
		m = object_new(r, &kind_image, id);
		m->name = xstrdup(catalogue[i].name);
		m->description = xstrdup(catalogue[i].description);
		m->state = xstrdup("available");
		m->owner = xstrdup(catalogue[i].owner);
		m->owner_alias = xstrdup_null(catalogue[i].alias);
		m->architecture = xstrdup(catalogue[i].architecture);
		m->user = xstrdup(catalogue[i].user);
		m->root_device = xstrdup(catalogue[i].root);
		m->creation_date = xstrdup(catalogue[i].date);
		m->root_gib = catalogue[i].gib;
		m->is_public = true;
		make_snapshot(m);
	}
}

void
region_make_defaults(struct region *r)
{
	make_network(r);
	make_images(r);
}
