/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_EFS_H
#define PROVIDER_EC2_EFS_H

/*
 * Shared homes by Elastic File System: one file system for all of this hearthd's users (or the one that is configured), an
 * access point per user, a mount target per zone that has machines, and a security group that lets NFS in. Each is found or
 * made: a repeated call bears the same token, so nothing is made twice, whatever reply was lost. What is known to be there is
 * kept in memory. A home's name is "FILE-SYSTEM/ACCESS-POINT/UID".
 */

#include "base/list.h"
#include "provider/ec2/internal.h"

#define EFS_POLL_MS 1000

/* Something that is found or made once for many who wait: the answers are given, and it can be tried again, when it has
   failed. */
enum efs_state { EFS_IDLE, EFS_BUSY, EFS_READY };

struct aws_body;

struct efs_wait {
	struct list link;
	void (*fn)(void *arg, const struct err *err);
	void *arg;
};

struct efs_thing {
	struct efs *efs;
	enum efs_state state;
	struct list waiting; /* of efs_wait */
	int64_t until_ms;    /* it is given up */
	struct timer poll;
};

struct efs {
	struct ec2 *e;		/* borrowed */
	struct aws_client *aws; /* owned */
	struct efs_thing fs;
	char id[32];	    /* the file system's; "": not known yet */
	struct map points;  /* of efs_point, by uid: owned */
	struct map targets; /* of efs_target, by zone: owned */
};

struct efs_point {
	struct efs_thing t;
	char uid[16]; /* key */
	char id[32];
};

struct efs_target {
	struct efs_thing t;
	char zone[32]; /* key */
	char subnet[32], vpc[32];
	char cidr[24];	/* of the VPC */
	char group[32]; /* lets NFS in */
	char id[32];
	char address[24];
};

/* ---- efs.c: the file system, access points, and what all of them have in common ---- */

/* Members of provider_ops. */
void ec2_home_make(struct provider *p, uint32_t uid, const char *options,
    provider_launch_fn done, void *arg);
void ec2_home_attach(struct provider *p, const char *token, const char *ref,
    const char *home_ref, provider_done_fn done, void *arg);

/* After all answers were given. NULL is fine. */
void ec2_efs_close(struct efs *f);

/* Calls `fn` when the thing is there, at once or later, or cannot be had. True: the caller is to begin with it. */
bool efs_thing_need(struct efs_thing *t, int64_t within_ms,
    void (*fn)(void *arg, const struct err *err), void *arg);
void efs_thing_over(struct efs_thing *t, const struct err *err);
void efs_thing_init(struct efs_thing *t, struct efs *f);

/* Calls `fn` a moment from now, unless its time is over: then everybody hears `what` did not come. */
void efs_thing_again(
    struct efs_thing *t, void (*fn)(void *arg), void *arg, const char *what);

/* A call of EFS. body NULL: none; the caller frees it. The reply is NULL on failure; err and aws never are. */
typedef void (*efs_reply_fn)(void *arg, const struct aws_body *reply,
    const struct aws_error *aws, const struct err *err);
void efs_call(struct efs *f, const char *method, const char *action, const char *path,
    const char *body, efs_reply_fn done, void *arg);

/* Calls `fn` when there is a file system to be used. */
void efs_file_system_need(
    struct efs *f, void (*fn)(void *arg, const struct err *err), void *arg);

/* ---- efs_target.c ---- */

/* The mount target for this machine's zone; NULL: it is not known yet where it is. */
struct efs_target *efs_target_of(struct efs *f, const struct ec2_machine *m);

/* Calls `fn` when it can be mounted by. */
void efs_target_need(
    struct efs_target *t, void (*fn)(void *arg, const struct err *err), void *arg);

#endif
