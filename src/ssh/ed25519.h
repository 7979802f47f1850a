/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_ED25519_H
#define SSH_ED25519_H

/* An Ed25519 key pair of ours, and its text in OpenSSH's private key format
   (PROTOCOL.key, without a passphrase), as sshd and ssh-keygen -y read it. Nothing
   blocks; nothing forks. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;
struct ssh_pubkey;

#define SSH_ED25519_TEXT_MAX 4096 /* bytes of a private key's text */
#define SSH_ED25519_COMMENT_MAX 255

struct ssh_ed25519 {
	uint8_t seed[32]; /* secret: ssh_ed25519_fini() */
	uint8_t pub[32];
};

int ssh_ed25519_generate(struct ssh_ed25519 *ret_pair, struct err *err) ERR_CHECK;

/* Wipes the secret. */
void ssh_ed25519_fini(struct ssh_ed25519 *pair);

void ssh_ed25519_public(
    const struct ssh_ed25519 *pair, const char *comment, struct ssh_pubkey *ret_key);

/* The text, into an empty buffer of wire_secret(SSH_ED25519_TEXT_MAX). The comment has at
   most SSH_ED25519_COMMENT_MAX bytes. */
int ssh_ed25519_to_text(const struct ssh_ed25519 *pair, const char *comment,
    struct buf *text, struct err *err) ERR_CHECK;

/* Reads such a text back. ERR_INVALID for another kind of key, a passphrase, or damage:
   the public half must be the secret's. */
int ssh_ed25519_from_text(
    const char *text, size_t n, struct ssh_ed25519 *ret_pair, struct err *err) ERR_CHECK;

#define AUTO_ED25519 __attribute__((cleanup(ssh_ed25519_fini)))

#endif
