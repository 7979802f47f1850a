/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SAVED_H
#define CLI_SAVED_H

/*
 * What the command line keeps of each reservation, so that plain ssh can use it:
 *
 *   $XDG_STATE_HOME/hearth/ssh_config                    includes the ones below
 *                          reservations/ID/key-cert.pub  (key-cert-2.pub, … where there are several)
 *                                          known_hosts
 *                                          ssh_config    Host NAME.hearth ID.hearth
 *                                          reservation.json, what the others were made from
 *
 * Directories 0700, files 0600, each replaced whole. What the daemon sent is checked before it goes into
 * a path or into ssh's configuration.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct key;

#define SAVED_CERTS_MAX 64

struct saved {
	char *dir; /* owned, like all of these */
	char *id;
	char *name;
	char *machine;
	char *host;
	char *login;
	char *socket;	  /* of the daemon it came from */
	char *identity;	  /* NULL: ssh's own choice */
	char *public_key; /* NULL: the daemon knows it */
	int port;
	int n_certs;
	bool host_ca; /* the machine shows a host certificate */
	int64_t expires_at;
};

void saved_fini(struct saved *s);

/* Writes all of it from an active reservation as the API gives it. On failure nothing of a new one is
   left, and an old one is as it was or partly newer. */
int saved_write(const char *state_dir, const json_t *reservation, const struct key *key,
    const char *socket, struct err *err) ERR_CHECK;

/* False when there is nothing of that id, or nothing usable. */
bool saved_load(const char *state_dir, const char *id, struct saved *ret);

/* Forgets it; fine when there is nothing. */
void saved_remove(const char *state_dir, const char *id);

/* Adds certificate_file, known_hosts_file and ssh_command to a reservation: null where nothing is
   saved, or what is saved is for another machine. */
void saved_decorate(const char *state_dir, json_t *reservation);

/* The ids of what is saved, as an array of strings. Owned. */
json_t *saved_ids(const char *state_dir);

/* Removes those of `ids` that came from `socket` and are not in `live`, an array of reservations that
   was asked for after saved_ids() was called. */
void saved_prune(
    const char *state_dir, const json_t *ids, const json_t *live, const char *socket);

/* The ssh arguments that reach it, "ssh" first and the destination last; ends with NULL and has room for
   `extra` more. Owned, each of them too. */
int saved_argv(
    const struct saved *s, int extra, char ***ret, int *ret_n, struct err *err) ERR_CHECK;

/* Makes the top file that includes every reservation's; returns its path. Owned. */
int saved_top_file(const char *state_dir, char **ret, struct err *err) ERR_CHECK;

#endif
