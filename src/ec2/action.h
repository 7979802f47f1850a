/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_ACTION_H
#define EC2_ACTION_H

/*
 * What the endpoint can do: one row per action. A family is a file act_NAME.c that ends in its const table; actions.c
 * lists the tables. An action runs in the loop, to its end, and writes its reply between the root element that
 * the frame has opened and its end; see request.h for the order of things. Before it runs, the frame has verified the signature and applied
 * throttle and faults; after it, rows that changed are committed, and then the reply goes out.
 */

#include <stddef.h>

struct request;

enum service {
	SERVICE_EC2,
	SERVICE_STS,
	SERVICE_EIC, /* ec2-instance-connect: JSON 1.1 */
	SERVICE_SQS,
	SERVICE_EFS, /* elasticfilesystem: REST-JSON */
	SERVICE_MAX,
};

/* `name` in the signature's scope; `xmlns` of replies; `prefix` of X-Amz-Target in the JSON protocol. */
extern const struct service_info {
	const char *name;
	const char *xmlns;
	const char *prefix;
} service_info[SERVICE_MAX];

typedef void (*action_fn)(struct request *q);

enum action_flags {
	ACTION_READ = 1, /* changes nothing: not worth a line in the log */
};

struct action {
	const char *name;
	action_fn fn;
	unsigned flags;
};

struct action_table {
	enum service service;
	const struct action *rows; /* ends with a NULL name */
};

/* NULL: there is no such action. */
const struct action *action_find(enum service service, const char *name);

#endif
