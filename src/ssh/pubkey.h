/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_PUBKEY_H
#define SSH_PUBKEY_H

/*
 * One SSH public key, as a user hands it over: the single line of a .pub file. What is
 * not exactly that is refused with a message that says what it is instead and what to
 * give. Everything here is in memory and does not block.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SSH_PUBKEY_TEXT_MAX 16384 /* bytes of a line with all that is around it */

struct ssh_pubkey {
	const char *type; /* static: "ssh-ed25519", … */
	uint8_t *blob;	  /* owned: what base64 stands for in the line */
	size_t blob_len;
	char *comment; /* owned, never NULL: UTF-8 without control characters; may be
			  empty */
};

/* Parses `type base64 [comment]` with white space around it. Accepts Ed25519, ECDSA on
   the three NIST curves, RSA of 2048 to 16384 bits, and both kinds of FIDO key.
   Everything else is ERR_INVALID with a hint. */
int ssh_pubkey_parse(
    const char *s, size_t n, struct ssh_pubkey *ret_key, struct err *err) ERR_CHECK;

/* The same checks for a binary key, such as the CA's in a certificate. `comment` is
 * copied. */
int ssh_pubkey_from_blob(const void *blob, size_t n, const char *comment,
    struct ssh_pubkey *ret_key, struct err *err) ERR_CHECK;

/* Also for a zeroed struct. */
void ssh_pubkey_fini(struct ssh_pubkey *key);

void ssh_pubkey_copy(const struct ssh_pubkey *key, struct ssh_pubkey *ret_key);

/* The line of a .pub file, without a newline. Owned by the caller. */
char *ssh_pubkey_line(const struct ssh_pubkey *key);

/* "SHA256:…" as ssh-keygen -l prints it. Owned by the caller. */
char *ssh_pubkey_fingerprint(const struct ssh_pubkey *key);

/* The same key; comments do not count. */
bool ssh_pubkey_equal(const struct ssh_pubkey *a, const struct ssh_pubkey *b);

#define AUTO_PUBKEY __attribute__((cleanup(ssh_pubkey_fini)))

#endif
