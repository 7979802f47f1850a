/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_LOCAL_H
#define EC2_LOCAL_H

/*
 * Instances that are machines of this host: what a hearth-ec2 with `machines: local` opens as root, and the backend.
 *
 * Order at the start: local_host_open(), before any thread and any other file; the loop; local_host_lower(); the database
 * in local_host_database(), and whatever else is to be ours; then local_host_start(), after which the process is not
 * root, and stands in the runtime directory.
 */

#include "base/err.h"
#include "ec2/backend.h"

struct config;
struct loop;
struct local_host;

/* ERR_NOT_PERMITTED unless root; ERR_CONFLICT when another daemon has the runtime directory. `config` is borrowed until
   local_host_close(). */
int local_host_open(const struct config *c, const char *config_path,
    struct local_host **ret, struct err *err) ERR_CHECK;

/* Makes STATE/db and becomes the user of the configuration in effect. */
int local_host_lower(struct local_host *h, struct err *err) ERR_CHECK;

/* "STATE/db/ec2.db"; owned by `h`. */
const char *local_host_database(const struct local_host *h);

/* The launcher serves when this returns (half a minute at most), and root is given up. Blocks. */
int local_host_start(struct local_host *h, struct err *err) ERR_CHECK;

/* `ended` is called, once, from the loop, if the launcher ends: nothing can be made or ended without it. */
void local_host_watch(
    struct local_host *h, struct loop *loop, void (*ended)(void *arg), void *arg);

/* Ends the launcher; machines stay. The rest is freed when the loop has run. NULL is nothing. */
void local_host_close(struct local_host *h);

/* Ends every machine of this configuration, and puts the host back as it was. Blocks. ERR_CONFLICT while a hearth-ec2 serves it. */
int local_teardown(const struct config *c, struct err *err) ERR_CHECK;

/* After local_host_start(). ERR_INVALID for a network that no machines can have. */
int local_backend_new(const struct backend_env *env, const struct config *c,
    struct backend **ret, struct err *err) ERR_CHECK;

#endif
