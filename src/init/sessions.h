/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_SESSIONS_H
#define INIT_SESSIONS_H

/*
 * ssh into the machine: accepts on port 22 and on the Unix socket (for ProxyUseFdpass),
 * runs one "sshd -i" per connection, and knows which of them are logged in. sshd writes
 * its log to a pipe; the line "Accepted ..." turns a connection into a session. A
 * resident sshd would cost each idle machine 1.3 MB.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SESSIONS_MAX 512
/* Connections that are not logged in yet. Beyond this the one that has been trying the
   longest is dropped, so that a port scan cannot lock users out. */
#define SESSIONS_LOGIN_MAX 64

/* Takes over the Unix listener. */
void sessions_init(int unix_fd);

/* Listens on TCP `port`, unless it does already. Returns -1 if that is not possible now.
 */
int sessions_listen(uint16_t port);

/* No new connection by TCP until sessions_listen(). */
void sessions_close_tcp(void);

/* No new connection from here on. */
void sessions_close_listeners(void);

/* Adds what it waits for to the loop; returns when it wants to be called again at the
 * latest. */
int64_t sessions_watch(int64_t now_ms);

/* Whether `pid`, which has ended and is reaped, was an sshd of ours. */
bool sessions_reaped(pid_t pid);

/* How many are logged in. Each change is told to server_sessions_changed(). */
int sessions_count(void);

#endif
