/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SSH_OPTIONS_H
#define CLI_SSH_OPTIONS_H

/* How ssh is told to reach a reservation: one list of options, written as a command or as a fragment of
   configuration. The user's own ssh configuration stays in force for all that is not named here. */

#include "base/buf.h"
#include "base/err.h"
#include "cli/saved.h"

#define SSH_OPTIONS_MAX (SAVED_CERTS_MAX + 16)

struct ssh_options {
	struct {
		const char *key;
		char *value; /* owned; quoted for ssh_config(5) */
	} opt[SSH_OPTIONS_MAX];
	int n;
};

int ssh_options(
    const struct saved *s, struct ssh_options *ret, struct err *err) ERR_CHECK;
void ssh_options_fini(struct ssh_options *o);

/* Certificate number `i` of a reservation. Owned. */
char *ssh_cert_path(const char *dir, int i);

/* One line for sh, ending in the destination. */
int ssh_command_line(const struct saved *s, struct buf *ret, struct err *err) ERR_CHECK;

/* A Host block. */
int ssh_config_fragment(
    const struct saved *s, struct buf *ret, struct err *err) ERR_CHECK;

/* The line that includes `path` (as it is) followed by `pattern` (a pattern of glob(3)). */
int ssh_include_line(
    struct buf *b, const char *path, const char *pattern, struct err *err) ERR_CHECK;

#endif
