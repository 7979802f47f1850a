/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_RUN_H
#define EC2_RUN_H

/*
 * RunInstances: run_read() reads and checks everything, run_make() makes what can be made. In between stands
 * request_ready(), so that DryRun and mistakes change nothing.
 */

#include "ec2/instance.h"

struct ec2_type;
struct request;

#define RUN_INTERFACES_MAX 16
#define RUN_MAPPINGS_MAX 64
#define RUN_COUNT_MAX 10000 /* in one call; an account's limit would be lower */

struct run_mapping {
	const char *device, *type, *snapshot;
	int64_t size_gib, iops, throughput; /* 0: not given */
	bool encrypted, keep, none; /* keep: not deleted on termination; none: NoDevice */
};

struct run_interface {
	struct interface *existing; /* NULL: a new one */
	struct subnet *subnet;
	const char *address, *description;
	struct texts groups; /* owned */
	int64_t index;
	bool keep;
	int public_address; /* -1: as the subnet says */
};

/* Strings and objects are borrowed. */
struct run {
	struct image *image;
	const struct ec2_type *type;
	int64_t min, max;
	const struct keypair *key;
	const char *user_data; /* as given */
	struct run_interface interfaces[RUN_INTERFACES_MAX];
	int n_interfaces; /* the first is the one of device index 0 */
	struct run_mapping mappings[RUN_MAPPINGS_MAX];
	int n_mappings;
	struct texts groups; /* owned; of the call, not of an interface */
	char *profile;	     /* owned */
	bool terminate_on_shutdown, no_api_termination, no_api_stop, monitoring,
	    ebs_optimized, hibernation, imds_disabled, imds_token_optional, imds_tags;
	int64_t imds_hop_limit;
	bool spot, persistent;
	const char *interruption, *price;
	int64_t valid_until;
};

/* Records the first mistake. run_fini() in any case. */
void run_read(struct request *q, struct run *r);
void run_fini(struct run *r);

/* The root's size and the rest of what run_mappings has: as run_read() leaves it, the image's own included. */
void run_read_mappings(struct request *q, struct run *r);

/* Reads networks: subnet, groups, interfaces. */
void run_read_network(struct request *q, struct run *r);

/* As many as there is room for, min at least; NULL with a failure, and nothing made, else. */
struct reservation *run_make(struct request *q, const struct run *r);

#endif
