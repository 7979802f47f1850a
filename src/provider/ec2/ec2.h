/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_EC2_H
#define PROVIDER_EC2_EC2_H

/*
 * Machines that are EC2 instances, by the EC2 Query API: AWS's own, or an endpoint that speaks it. What exists is
 * found by tags; the directory it is given holds only who it is (the owner tag's value, its control key) and whose
 * host certificates it trusts.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct provider;
struct provider_env;

#define EC2_IMAGES_MAX 64
#define EC2_EFS_GROUPS_MAX 5 /* EFS API Reference, CreateMountTarget */

/* Where an image name comes from: the newest available one of this owner whose name matches. */
struct ec2_image_source {
	char *image;	    /* the name that pools use */
	char *owner;	    /* account id, "amazon", "self" */
	char *name;	    /* pattern with * and ? */
	char *architecture; /* NULL: x86_64 */
	char *
	    login; /* its own account; NULL: ec2-user, or admin where the image's name begins with debian */
};

struct ec2_settings {
	char *region; /* NULL: environment, profile */
	char *
	    endpoint; /* NULL: AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL, profile, the region's */
	char *profile;	    /* NULL: AWS_PROFILE, else default */
	char *events_queue; /* URL of an SQS queue of state-change events; NULL: none */
	double
	    speed; /* of an endpoint whose time runs faster; 0: 1; below 0: it throttles nobody */
	char *efs_file_system;		      /* of shared homes; NULL: one is made */
	char *efs_groups[EC2_EFS_GROUPS_MAX]; /* of its mount targets */
	int n_efs_groups;		      /* 0: one is made */
	struct ec2_image_source images[EC2_IMAGES_MAX];
	int n_images;
};
void ec2_settings_fini(struct ec2_settings *s);
void ec2_settings_copy(struct ec2_settings *to, const struct ec2_settings *from);
bool ec2_settings_equal(const struct ec2_settings *a, const struct ec2_settings *b);

/* Where this image name comes from, of the settings or built in; NULL: not known. */
const struct ec2_image_source *ec2_image_source(
    const struct ec2_settings *s, const char *image);

/* The account that an image of this name has for people. */
const char *ec2_image_login(const struct ec2_settings *s, const char *image);

/* Opens the provider; `dir` is made (0700) where it is not there. Reads and may write files: blocks for that; asks
   nobody. `settings` and `env` are copied. ERR_INVALID: no region, or an endpoint that is no URL. */
int ec2_provider_open(const struct ec2_settings *settings, const char *dir,
    const struct provider_env *env, struct provider **ret, struct err *err) ERR_CHECK;

/* For tests: calls put on the wire so far of one action, or (NULL) of all. */
uint64_t ec2_calls(const struct provider *p, const char *action);

#endif
