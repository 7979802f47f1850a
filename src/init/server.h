/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_SERVER_H
#define INIT_SERVER_H

/* The control socket's side of control.h. Never waits for a client: one that is not there
   to take its answer is dropped. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Takes over the listener. */
void server_init(int listener_fd);

/* Ends commands whose time is up and adds what it waits for to the loop; returns when it
   wants to be called again at the latest. */
int64_t server_watch(int64_t now_ms);

/* Whether `pid`, which has ended with `status` and is reaped, was a command of a client.
 */
bool server_reaped(pid_t pid, int status);

/* For those who watch. */
void server_became_ready(void);
void server_sessions_changed(int n);
void server_reboots(void);
void server_ends(void); /* by itself or by order; only an instance says it */

#endif
