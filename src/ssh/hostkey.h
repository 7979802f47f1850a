/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_HOSTKEY_H
#define SSH_HOSTKEY_H

/* The host key of one machine, made in this process: ssh-keygen costs 8 ms, this a
 * hundredth. */

#include "base/buf.h"
#include "base/err.h"
#include "ssh/pubkey.h"

struct ssh_hostkey {
	struct buf text; /* owned, secret: what sshd reads as HostKey, newline included */
	struct ssh_pubkey pub;
};

/* A new Ed25519 key. The comment, at most 255 bytes, stands in both halves. */
int ssh_hostkey_generate(
    const char *comment, struct ssh_hostkey *ret_key, struct err *err) ERR_CHECK;

/* Wipes the secret. Also for a zeroed struct. */
void ssh_hostkey_fini(struct ssh_hostkey *key);

#endif
