/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_USER_DATA_H
#define PROVIDER_EC2_USER_DATA_H

/*
 * The two scripts that make an instance a machine of ours, for sh as root on Amazon Linux 2023 and Debian: the
 * user data, which every process there may read and which so holds nothing that lasts, and what the daemon then runs
 * over its own ssh connection. sshd says by its identification ("VersionAddendum") which of the two it has been
 * through, so a look at the port is enough to know when to go on; that is a hint only, host keys are the proof.
 */

#include <stdint.h>

#include "base/err.h"

struct buf;

#define USER_DATA_MAX                                                                    \
	16384 /* bytes before base64: EC2 User Guide, "Instance user data" */
#define USER_DATA_MARK "hearth-first"

/* All borrowed; none may hold a newline but where it says so. */
struct user_data {
	const char *first_host_key; /* private key, several lines */
	const char *control_key;    /* public key line */
	const char *user_ca;	    /* public key line */
	const char *login;
	const char *user_keys; /* public key lines; NULL: none */
	int64_t lease_s;
};

/* Appends the script. ERR_TOO_LARGE above USER_DATA_MAX; ERR_INVALID for text that would end a quotation. */
int user_data_write(
    const struct user_data *u, struct buf *out, struct err *err) ERR_CHECK;

struct install {
	const char *host_key; /* private key, several lines: secret */
	const char *host_cert;
	const char *principal;
	const char *hostname;
	const char *mark; /* what sshd says once it serves with these keys */
	int64_t lease_s;
};

/* Appends what puts these public keys (a line each) into the login's authorized_keys, once. They must have passed the check:
   ERR_INVALID for text that would end a quotation. */
void user_data_authorize(const char *login, const char *keys, struct buf *out);
int user_data_check_keys(const char *keys, struct err *err) ERR_CHECK;

/* Appends the script for the control connection, to be given to sh on its standard input. As above. */
int user_data_install(
    const struct install *i, struct buf *out, struct err *err) ERR_CHECK;

#endif
