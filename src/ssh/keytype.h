/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_KEYTYPE_H
#define SSH_KEYTYPE_H

/* The kinds of user key we accept, and what the blob of each holds after its type name. A
   certificate holds the same fields after its nonce, so both are checked here. */

#include "base/err.h"
#include "ssh/wire.h"

enum ssh_key_kind { SSH_KEY_ED25519, SSH_KEY_ECDSA, SSH_KEY_RSA };

struct ssh_key_type {
	const char *name;
	const char *cert_name;
	enum ssh_key_kind kind;
	bool security_key; /* has an application after the key: FIDO */
	const char *curve; /* ECDSA: its name in SSH */
	int nid;	   /* ECDSA: its name in OpenSSL */
};

/* NULL when unknown. */
const struct ssh_key_type *ssh_key_type_named(struct wire_str name);
const struct ssh_key_type *ssh_key_type_of_cert(struct wire_str cert_name);

/* Reads the fields of a key from `r` and refuses (ERR_INVALID) what is cut short, too
   short to be secure, or not on its curve. */
int ssh_key_type_read(
    const struct ssh_key_type *t, struct wire_reader *r, struct err *err) ERR_CHECK;

#endif
