/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LAUNCHER_CHILD_H
#define HOST_LAUNCHER_CHILD_H

/*
 * hearth-launcher as hearthd's child: the only part that stays root. It is forked before
 * anything else, while hearthd is small and has one thread, and waits; it becomes the
 * launcher when all that hearthd needs is open, so that a hearthd that cannot start has
 * disturbed nobody. Its end shows on `pidfd`; hearthd's end shows to it on the lifeline.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "host/privilege.h"

struct launcher_child {
	pid_t pid; /* 0: none */
	int pidfd;
	int socket; /* unbound, SOCK_SEQPACKET: the launcher accepts on it once it is
		       bound and listens */
	int go;	    /* closing it without launcher_release() ends the child */
	int lifeline;
};

#define LAUNCHER_CHILD_NONE                                                              \
	((struct launcher_child){.pidfd = -1, .socket = -1, .go = -1, .lifeline = -1})

/* What the launcher is told at its start. All borrowed. */
struct launcher_settings {
	const char *state;
	const char *runtime;
	const char
	    *config_path; /* absolute: the file that the launcher may open for us again */
	const char *network; /* CIDR; NULL: it makes no machines */
	int64_t uid_base;
	int64_t disks_max; /* bytes of all users' disks together; 0: no limit */
	bool instances;	   /* its machines are hearth-ec2's: see launcher/protocol.h */
};

/* Forks. ERR_CONFLICT: users of the host may have ids of machines. */
int launcher_fork(const struct launcher_settings *s, const struct identity *id,
    struct launcher_child *ret, struct err *err) ERR_CHECK;

/* Lets it become the launcher. */
int launcher_release(struct launcher_child *l, struct err *err) ERR_CHECK;

/* Ends it, waiting up to two seconds: requests it has begun are finished by processes of
 * their own. */
void launcher_end(struct launcher_child *l);

/* Ends every machine of `s->state` and puts the host back as it was, by a launcher of its own; nobody may be serving it. Blocks
   until that is done. What is wrong the launcher says in lines of its own. */
int launcher_teardown(const struct launcher_settings *s, struct err *err) ERR_CHECK;

/* How it ended, as in "exit status 1": for a message. Only after `pidfd` has become
 * readable. */
void launcher_fate(struct launcher_child *l, char *text, size_t n);

#endif
