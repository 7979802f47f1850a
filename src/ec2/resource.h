/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_RESOURCE_H
#define EC2_RESOURCE_H

/* What the families of resources (act_*.c) have in common, and the kinds of objects that only they know. */

#include "ec2/describe.h"
#include "ec2/objects.h"

struct reply;

/* ---- security group rules ---- */

struct rule {
	struct object o;
	char *group; /* id */
	bool egress;
	char *protocol;	  /* "tcp", "udp", "icmp", "icmpv6", "-1", or a number */
	int64_t from, to; /* -1: all */
	char *cidr4, *cidr6, *prefix_list, *peer; /* one of them; peer: a group's id */
	char *description;
};
extern const struct kind kind_rule;

static inline const struct rule *
rule_of(const void *o)
{
	return o;
}

/* <ipPermissions>-like lists of a group's rules, those with the same protocol and ports in one item. */
void rules_write(struct reply *to, const struct group *g, bool egress, const char *name);

/* What AWS gives a new group: all may go out. A VPC's default group: its own members may come in, too. */
void rules_make_default(struct group *g, bool of_vpc);

/* A group other than itself whose rules name it; NULL: none. */
const struct group *rules_naming(const struct group *g);
void rules_remove_all(struct group *g);

/* ---- volumes and snapshots ---- */

struct volume_spec {
	const char *type;		    /* static */
	int64_t size_gib, iops, throughput; /* MiB/s; 0: its type has none */
	bool encrypted;
};

/* Reads type, IOPS and throughput from the parameters of these names, with what `spec` holds as default (a NULL type: gp2), and
   checks all of it, size too, as EBS does. */
void volume_spec_read(struct request *q, struct volume_spec *spec, const char *type,
    const char *iops, const char *throughput);

struct snapshot {
	struct object o;
	char *volume; /* id; it may be gone */
	char *owner, *owner_alias;
	char *description;
	int64_t size_gib;
	bool encrypted;
};
extern const struct kind kind_snapshot;

/* "pending" while it is due. */
const char *snapshot_state(const struct snapshot *s);

/* Of a volume, pending for the scenario's time. `description` is copied. */
struct snapshot *snapshot_new(
    struct region *r, const struct volume *v, const char *description);

/* A change of a volume's size or type. */
struct modification {
	struct object o;
	char *volume;	  /* id */
	char *state;	  /* "modifying", "optimizing", "completed" */
	int64_t ended_at; /* 0: it has not */
	char *from_type, *to_type;
	int64_t from_size, from_iops, from_throughput;
	int64_t to_size, to_iops, to_throughput;
};
extern const struct kind kind_modification;

extern const struct kind kind_address; /* elastic: act_addresses.c */

/* ---- common ---- */

/* Functions for tables of filters; `o` is what is offered of. */
#define OFFER(fn, expr)                                                                  \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		offer(v, expr);                                                          \
	}
#define OFFER_INT(fn, expr)                                                              \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		offer_int(v, expr);                                                      \
	}
#define OFFER_BOOL(fn, expr)                                                             \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		offer_bool(v, expr);                                                     \
	}
#define OFFER_TIME(fn, expr)                                                             \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		offer_time(v, expr);                                                     \
	}

/* Whether the request's list of owners has it: an account, "self", or an alias as "amazon"; or there is no such list. */
bool resource_owned(
    struct request *q, const char *param, const char *owner, const char *alias);

/* Whether the image is made of this snapshot (root or other device). */
bool image_has_snapshot(const struct image *m, const char *snapshot);

/* Whether `value` is one of the request's list `param` ("GroupName.1", ...), or there is no such list. */
bool resource_named(struct request *q, const char *param, const char *value);

#endif
