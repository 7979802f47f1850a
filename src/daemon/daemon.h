/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

/*
 * hearthd put together: what is opened in which order, as which user, and what happens on
 * a signal, on the launcher's death and at the end.
 *
 * As root: lock RUNTIME, fork the waiting launcher; as the user: store, CAs, providers'
 * files; as root: sockets; then the launcher is let go, and root is given up for good.
 * Only then are machines and requests touched.
 */

#include "base/err.h"

struct config;
struct daemon;

/* Everything up to the first request. Takes `config` in any case. `config_path` is where
   it was read. On failure nothing of ours is left running. */
int daemon_open(struct config *config, const char *config_path, struct daemon **ret,
    struct err *err) ERR_CHECK;

/* Serves until SIGTERM or SIGINT (0) or until it cannot go on (1: said in the log). */
int daemon_run(struct daemon *d);

/* Machines stay. NULL is nothing. */
void daemon_close(struct daemon *d);

#endif
