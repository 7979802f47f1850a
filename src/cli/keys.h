/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

/* Which public key a reservation is for: the one given, else one of ~/.ssh, else one made for hearth. */

#include "base/err.h"

#define KEY_FILE_MAX 16384

struct key {
	char *line; /* owned; the public key, one line */
	char *
	    identity; /* owned; what ssh is told as IdentityFile: the private key, or the public one when an
	                   agent holds the private. NULL: none, ssh finds out by itself */
};

void key_fini(struct key *k);

/* A public key file given by the user. Refuses a private key before any of it is sent anywhere. */
int key_from_file(const char *path, struct key *ret, struct err *err) ERR_CHECK;

/* The first usable key of ~/.ssh, else `state_dir`/id_ed25519, made by ssh-keygen(1) the first time. */
int key_default(const char *state_dir, struct key *ret, struct err *err) ERR_CHECK;

#endif
