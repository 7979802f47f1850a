/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_SPOT_H
#define EC2_SPOT_H

/* Spot requests: what stands behind an instance that can be interrupted. */

#include "ec2/world.h"

struct instance;
struct request;
struct run;

enum spot_state {
	SPOT_ACTIVE,   /* has an instance */
	SPOT_DISABLED, /* persistent, its instance is stopped */
	SPOT_CANCELLED,
	SPOT_CLOSED, /* its instance is no more */
	SPOT_STATE_MAX,
};

struct spot_request {
	struct object o;
	int64_t state; /* enum spot_state */
	char *status, *message;
	int64_t updated_at;
	char *instance_id;
	char *interruption; /* terminate, stop, hibernate */
	char *price;	    /* at most; NULL: on-demand's */
	char *image, *type, *zone, *subnet, *key_name;
	bool persistent;
	int64_t valid_until;
	int64_t notice_at; /* the interruption to come; 0: none */
};
extern const struct kind kind_spot_request;

void spot_request_make(struct request *q, const struct run *r, struct instance *i);

/* Another instance like `i`, which still has its disks and interfaces; without tags. NULL: there is no room for it now. */
struct instance *spot_launch_again(const struct instance *i);

/* What its instance has come to. An instance without one: nothing. terminated: before it leaves its disks and interfaces. */
void spot_on_running(struct instance *i);
void spot_on_stopped(struct instance *i);
void spot_on_terminated(struct instance *i);

#endif
