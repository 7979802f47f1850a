/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PLACES_H
#define HOST_PLACES_H

/*
 * The directories and sockets of a hearthd or hearth-ec2. Directories of root must be such that nobody
 * else can put things into them, since the launcher works there as root; what is ours
 * (STATE/db) is given to the user we serve as, whoever it belonged to before.
 */

#include <stdbool.h>

#include "base/err.h"
#include "host/privilege.h"

/* Makes RUNTIME where it is not there, and holds RUNTIME/PROGRAM.lock until the process ends: one hearthd or one
   hearth-ec2 for each RUNTIME. ERR_CONFLICT names who has it. Returns the lock's descriptor. */
int places_lock_runtime(
    const char *program, const char *runtime, int *ret_fd, struct err *err) ERR_CHECK;

/* Makes STATE and STATE/db where they are not there, and returns a descriptor of the
 * latter. */
int places_open_db(
    const char *state, const struct identity *id, int *ret_fd, struct err *err) ERR_CHECK;

/* Binds `path` and listens. A socket that nobody answers at is replaced; one that
   somebody does is ERR_CONFLICT; what is not a socket is left alone. */
struct socket_spec {
	const char *path;
	int type; /* SOCK_STREAM or SOCK_SEQPACKET */
	int fd;	  /* an unbound socket to use, or -1 */
	unsigned mode;
	uid_t uid;	   /* the owner; (uid_t)-1 leaves it */
	const char *group; /* NULL leaves it */
	bool ours;	   /* a lock says so: whoever answers there is on its way out */
};
int places_listen(const struct socket_spec *spec, int *ret_fd, struct err *err) ERR_CHECK;

#endif
