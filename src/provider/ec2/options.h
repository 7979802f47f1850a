/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_OPTIONS_H
#define PROVIDER_EC2_OPTIONS_H

/*
 * A pool's own settings where its machines are EC2 instances. The configuration makes one text of them, "name=value"
 * lines with lists joined by ',', which core keeps and hands back with every launch; the same function reads it
 * on both sides, so that what the configuration took is what a launch can use.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define EC2_LIST_MAX 16
#define EC2_WORD_MAX 128
#define EC2_OPTIONS_TEXT_MAX 4096

struct ec2_list {
	char *words[EC2_LIST_MAX]; /* owned */
	int n;
};

enum ec2_readiness {
	EC2_READY_SSH, /* the daemon's own ssh connection has made it ready */
	EC2_READY_RUNNING, /* EC2 says running: nobody logs in, as with an endpoint's fake instances */
};

/* How users are let in. */
enum ec2_access {
	EC2_ACCESS_CERTIFICATE,
	EC2_ACCESS_KEYS,   /* by user data: each machine is launched for its user */
	EC2_ACCESS_INJECT, /* over the daemon's ssh connection, at the claim */
	EC2_ACCESS_EIC,	   /* by EC2 Instance Connect, for a minute */
};

enum ec2_address {
	EC2_ADDRESS_AUTO, /* the public one where there is one */
	EC2_ADDRESS_PUBLIC,
	EC2_ADDRESS_PRIVATE,
};

struct ec2_options {
	struct ec2_list
	    instance_types;    /* in order of preference; t3.medium where none is named */
	struct ec2_list zones; /* zones or subnets, in order; neither: EC2 chooses */
	struct ec2_list subnets;
	struct ec2_list security_groups; /* ids or names; none: the VPC's default */
	bool spot;
	bool
	    interfaces; /* each machine's network interface is made before it: its address is known earlier */
	int volume_gib; /* of the root volume; 0: the image's */
	int disk_rate; /* MiB/s at which a disk made from a snapshot is loaded; 0: as it is read */
	char *volume_type;	/* NULL: gp3 where a size is given, else the image's */
	char *key_name;		/* NULL: none */
	char *instance_profile; /* NULL: none */
	char *
	    login; /* account users log in to, made where the image has none; NULL: the image's own */
	enum ec2_readiness readiness;
	enum ec2_access access;
	enum ec2_address address;
};

/* The names of all settings; ends with NULL. */
extern const char *const ec2_option_names[];

/* Zeroed is empty; defaults come with ec2_options_parse(). */
void ec2_options_fini(struct ec2_options *o);

/* One setting. ERR_INVALID: no such name, or a value that is not one of it: "expected ..." says what is. */
int ec2_options_set(struct ec2_options *o, const char *name, const char *value,
    struct err *err) ERR_CHECK;

/* A whole text (NULL: empty), with defaults for what it leaves out. ERR_INVALID, also for settings that exclude each
   other. On failure nothing is left to free. */
int ec2_options_parse(
    const char *text, struct ec2_options *ret, struct err *err) ERR_CHECK;

#define AUTO_EC2_OPTIONS __attribute__((cleanup(ec2_options_fini)))

#endif
