/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CONFIG_EC2_H
#define DAEMON_CONFIG_EC2_H

/* The part of the configuration that only providers of kind ec2 and their pools have. A pool's own settings are made into
   the text that provider/ec2/options.h reads. */

#include "base/err.h"
#include "yaml/fields.h"

struct config_provider;
struct place;
struct pool;
struct tree;

/* Of a provider; offsets are in struct config_provider. Ends with a NULL name. */
extern const struct field config_ec2_fields[];

/* Adds the ec2 settings to a pool's fields, of which there are `n` in an array of `max`; ends it with a NULL name. What a
   machine's size is said by elsewhere (memory and the like) is taken out: an instance type says it here. */
void config_ec2_pool_fields(struct field *fields, int n, int max);

/* Once a pool was read: settings that exclude each other, the account of its image. ERR_INVALID with the place. */
int config_ec2_pool_check(const struct place *at, const struct tree *t,
    const struct config_provider *prov, struct pool *p, struct err *err) ERR_CHECK;

#endif
