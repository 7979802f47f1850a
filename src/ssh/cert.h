/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_CERT_H
#define SSH_CERT_H

/* OpenSSH certificates (PROTOCOL.certkeys): the words shared with the signer in ca.h, and
   reading one back. Nothing here enforces a certificate: sshd and ssh do that. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ssh/pubkey.h"

#define SSH_CERT_TEXT_MAX 65536
#define SSH_CERT_PRINCIPALS_MAX 256 /* as many as OpenSSH accepts */

enum ssh_cert_kind { SSH_CERT_USER = 1, SSH_CERT_HOST = 2 }; /* values of the wire */

/* What the holder of a user certificate may ask of sshd. */
enum ssh_permit {
	SSH_PERMIT_X11_FORWARDING = 1 << 0,
	SSH_PERMIT_AGENT_FORWARDING = 1 << 1,
	SSH_PERMIT_PORT_FORWARDING = 1 << 2,
	SSH_PERMIT_PTY = 1 << 3,
	SSH_PERMIT_USER_RC = 1 << 4,
	SSH_PERMIT_ALL = (1 << 5) - 1,
};

/* The wire's name of bit i, in the order the wire wants them: sorted by bytes. */
#define SSH_PERMITS 5
extern const char *const ssh_permit_names[SSH_PERMITS];

struct ssh_cert {
	const char *type; /* static: "ssh-ed25519-cert-v01@openssh.com", … */
	enum ssh_cert_kind kind;
	uint64_t serial;
	char *key_id;	   /* owned */
	char **principals; /* owned, and so is each */
	size_t principals_n;
	uint64_t valid_after; /* seconds since 1970; valid from this one on … */
	uint64_t
	    valid_before; /* … and until just before this one; UINT64_MAX is for ever */
	char *force_command; /* owned; NULL without one */
	unsigned permit;     /* enum ssh_permit; extensions unknown to us are not shown */
	struct ssh_pubkey key; /* what it certifies; its comment is the line's */
	struct ssh_pubkey ca;  /* who signed it, if the signature is right */
	uint8_t *blob;	       /* owned: all of it */
	size_t blob_len;
	size_t signed_len; /* of the blob, what the signature covers */
};

/* Parses one line, `type base64 [comment]`. ERR_INVALID for everything that is no whole
   certificate. The signature is not checked here. */
int ssh_cert_parse(
    const char *s, size_t n, struct ssh_cert *ret_cert, struct err *err) ERR_CHECK;

/* Also for a zeroed struct. */
void ssh_cert_fini(struct ssh_cert *cert);

/* Was it signed by `ca`, an Ed25519 key? ERR_NOT_PERMITTED if not. */
int ssh_cert_verify(
    const struct ssh_cert *cert, const struct ssh_pubkey *ca, struct err *err) ERR_CHECK;

#define AUTO_CERT __attribute__((cleanup(ssh_cert_fini)))

#endif
