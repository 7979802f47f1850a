/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_CA_H
#define SSH_CA_H

/*
 * An Ed25519 certificate authority: one file with the private key, and the key ready in
 * memory, since every claim needs one signature (about 40 µs). One thread uses a CA at a
 * time.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ssh/cert.h"

struct ssh_ca;

/* Opens the CA in the file `name` of the directory, or makes it: mode 0600, complete or
   not there at all, whoever else is doing the same. Refuses (ERR_NOT_PERMITTED) a file
   that is not ours or that others can read, and (ERR_INVALID) one that is damaged: it is
   never replaced, for every machine trusts it. Blocks on the disk. Free with
   ssh_ca_free(). */
int ssh_ca_load_or_create(
    int dirfd, const char *name, struct ssh_ca **ret_ca, struct err *err) ERR_CHECK;

/* Wipes the key from memory; NULL is fine. */
void ssh_ca_free(struct ssh_ca *ca);

/* Borrowed. The comment is the file's name. */
const struct ssh_pubkey *ssh_ca_public(const struct ssh_ca *ca);

/* The line for TrustedUserCAKeys. Owned by the caller. */
char *ssh_ca_public_line(const struct ssh_ca *ca);

/* The line of a known_hosts file that trusts the hosts of `pattern` (no white space) by
   this CA. Without a newline; owned by the caller. */
char *ssh_ca_known_hosts_line(const struct ssh_ca *ca, const char *pattern);

struct ssh_cert_spec {
	enum ssh_cert_kind kind;
	uint64_t serial;    /* never 0: a revocation list could not name it */
	const char *key_id; /* borrowed: what sshd logs */
	const char *const
	    *principals; /* borrowed; at least one, for none means any to ssh */
	size_t principals_n;
	uint64_t valid_after,
	    valid_before;	   /* seconds since 1970; allow for clocks that differ */
	const char *force_command; /* borrowed; user certificates only; NULL for none */
	unsigned permit;	   /* enum ssh_permit; user certificates only */
};

/* Signs: one line, `type base64 [the key's comment]`, without a newline, owned by the
   caller. ERR_INVALID for a validity that ends before it begins. There is no
   source-address: on a Unix socket sshd refuses every certificate that has one. */
int ssh_ca_sign(struct ssh_ca *ca, const struct ssh_pubkey *key,
    const struct ssh_cert_spec *spec, char **ret_line, struct err *err) ERR_CHECK;

#endif
