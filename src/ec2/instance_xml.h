/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_INSTANCE_XML_H
#define EC2_INSTANCE_XML_H

/* An instance as replies show it. */

#include "ec2/instance.h"

struct request;

/* What stands in an <item> of <reservationSet>: the reservation, with these of its instances. */
void instance_write_reservation(
    struct request *q, const struct reservation *r, const struct object **v, int n);

/* <name><code/><name/></name> */
void instance_write_state(struct request *q, const char *name, enum instance_state s);

void instance_write_metadata_options(
    struct request *q, const struct instance *i, const char *name);
void instance_write_mappings(struct request *q, const struct instance *i);

/* <groupSet> of ids and names. */
void instance_write_groups(struct request *q, const struct texts *groups);

/* "ec2-198-18-0-1.us-west-2.compute.amazonaws.com" */
#define INSTANCE_DNS_MAX 128
void instance_public_dns(
    const struct region *r, const char *address, char ret[INSTANCE_DNS_MAX]);

#endif
