/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_EFS_H
#define EC2_EFS_H

/*
 * Elastic File System, as far as somebody needs it who gives each user a directory: file systems, access points, mount
 * targets, their states and their errors. There is no NFS behind it: nothing can be mounted. REST-JSON: what is called
 * stands in method and path, parameters in path, query and body; efs_wire.c makes those of a form of them. After the
 * service's model, 2015-02-01.
 */

#include "ec2/world.h"

struct http_request;
struct json_t;
struct request;

/* States are names of the model: "creating", "available", "deleting". What is due goes on from `creating` and `deleting`. */
struct file_system {
	struct object o;
	char *token; /* CreationToken */
	char *state;
	char *performance, *throughput;
	char *zone; /* of one that is in one zone; NULL: in all */
	bool encrypted;
};
extern const struct kind kind_file_system;

struct access_point {
	struct object o;
	char *token; /* ClientToken */
	char *file_system;
	char *state;
	struct json_t *posix_user, *root; /* as they were given */
};
extern const struct kind kind_access_point;

struct mount_target {
	struct object o;
	char *file_system, *subnet, *vpc, *zone;
	char *interface;
	char *address;
	char *state;
};
extern const struct kind kind_mount_target;

/* ---- act_efs.c ---- */

/* NULL with FileSystemNotFound as failure; the second also when it is not available. */
struct file_system *efs_file_system(struct request *q, const char *id);
struct file_system *efs_usable(struct request *q, const char *id);

/* How many mount targets it has. */
int efs_targets_of(const struct file_system *f);

/* One page of a describe: begin, which reads the parameters of these names, add everything in order, end. */
struct efs_page {
	int64_t max;
	const char *after; /* pages begin behind this id; NULL: now */
	const char *last, *next;
	struct json_t *items;
};
void efs_page_begin(
    struct request *q, struct efs_page *p, const char *max, const char *marker);
void efs_page_add(struct efs_page *p, const struct object *o,
    struct json_t *(*describe)(const struct object *o));
void efs_page_end(
    struct request *q, struct efs_page *p, const char *name, const char *next);

/* ---- efs_wire.c ---- */

/* Reads method, path, query and body into the parameters. The action's name, or NULL: a failure is recorded, or there is no such
   action. */
const char *efs_read(struct request *q, struct http_request *http);

/* Records the failure with this status; `existing` (may be NULL): the id of what is there already. */
void efs_fail(struct request *q, int status, const char *code, const char *existing,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The failure in this service's words: what frame and getters have recorded in EC2's becomes one of its own. */
void efs_write_error(struct request *q);

/* Writes the result, which it takes; NULL: none. `status` is that of success. */
void efs_answer(struct request *q, struct json_t *result, int status);

/* [{"Key": ..., "Value": ...}, ...] */
struct json_t *efs_tags(const struct object *o);

/* Reads "Tags" of the body; to be put on with efs_put_tags() after request_ready(). */
void efs_check_tags(struct request *q);
void efs_put_tags(struct request *q, struct object *o);

#endif
