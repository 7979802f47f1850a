/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_CONFIG_H
#define EC2_CONFIG_H

/* The endpoint's configuration, hearth-ec2.yaml(5). Every wrong key or value is refused with file, line and what was
   expected. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

struct scenario;

struct config_credentials {
	char *access_key_id;
	char *secret_access_key; /* secret: never logged */
};

struct config {
	char *file;
	char *listen_host; /* an address */
	int listen_port;
	char *state;
	char *runtime;
	char *user; /* to serve as, when started as root */
	struct config_credentials *credentials;
	int n_credentials;
	bool local; /* machines: local */
	char *scenario;
	double speed;
	char *network; /* CIDR: of every region's default VPC */
	int64_t uid_base;
	char *
	    image; /* of local machines: which of hearth's images the catalogue's stand for */
	char *account;	    /* twelve digits */
	char *events_queue; /* NULL: none */
	enum log_level log_level;
};

/* Parses n bytes of text; `file` is for messages. ERR_INVALID. */
int config_parse(const char *file, const char *text, size_t n, struct config **ret,
    struct err *err) ERR_CHECK;
int config_load(const char *path, struct config **ret, struct err *err) ERR_CHECK;

/* Wipes the secrets. */
void config_free(struct config *c);

/* NULL: nobody has this key id. */
const struct config_credentials *config_credentials_of(
    const struct config *c, const char *access_key_id);

#endif
