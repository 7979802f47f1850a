/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

/* The configuration file, hearth.yaml(5): read whole, checked whole, or refused with one
   line that names file, line, column and what was expected. Nothing here touches the
   host. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "model/model.h"
#include "provider/ec2/ec2.h"
#include "provider/fake.h"

enum provider_kind { PROVIDER_LOCAL, PROVIDER_FAKE, PROVIDER_EC2, PROVIDER_KIND_MAX };

struct config_local {
	char *network; /* CIDR, owned */
	int64_t uid_base;
	int64_t disks_max; /* bytes of all disks together; 0: no limit */
};

struct config_provider {
	char *name; /* owned */
	enum provider_kind kind;
	struct config_local local;
	struct fake_options fake; /* `world` is not the file's to say: NULL */
	struct ec2_settings ec2;
};

struct config {
	char *file; /* as it was given; owned, as all strings here */
	char *state, *socket, *socket_group, *user, *runtime;
	int socket_mode;
	enum log_level log_level;
	int64_t default_hold_ms, max_hold_ms;
	int64_t keep_deleted_ms; /* the last snapshots of deleted disks */
	char *github;		 /* URL, without a slash at the end */
	bool
	    github_cache; /* keys that were fetched before serve while it cannot be reached */
	struct config_provider *providers; /* owned */
	int n_providers;
	struct pool *pools; /* owned */
	int n_pools;
};

/* Checks and copies `n` bytes of `text`; `file` is for messages. ERR_INVALID otherwise.
 */
int config_parse(const char *file, const char *text, size_t n, struct config **ret,
    struct err *err) ERR_CHECK;

/* config_parse() of what the descriptor holds (from where it stands), or of the file at
 * `path`. Blocks. */
int config_read(const char *file, int fd, struct config **ret, struct err *err) ERR_CHECK;
int config_load(const char *path, struct config **ret, struct err *err) ERR_CHECK;

void config_free(struct config *c);

/* ERR_INVALID, naming the setting, where a running daemon cannot go from `old` to `new`.
 */
int config_check_reload(
    const struct config *old, const struct config *new, struct err *err) ERR_CHECK;

/* The provider of kind local, or NULL: there is at most one. */
const struct config_local *config_local(const struct config *c);

const char *provider_kind_name(enum provider_kind k);

/* For the field tables: reads `kind` of a provider (a field_fn of yaml/fields.h). */
struct field;
struct place;
struct tree;
int config_field_kind(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err) ERR_CHECK;

#endif
