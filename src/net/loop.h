/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

/*
 * The daemon's event loop: libuv's, with a `struct clock` driven by one of its timers, so
 * that whatever waits by the clock is woken by the same poll as sockets are. One thread.
 * While nothing is due it sleeps; it wakes at least every ten seconds, because libuv's
 * time stands still while the host is suspended and the clock's does not.
 */

#include "base/err.h"

struct clock;
struct loop;
struct uv_loop_s; /* uv_loop_t */

/* `clock` is borrowed and must outlive the loop. Aborts when libuv has no descriptors for
 * us. */
struct loop *loop_new(struct clock *clock);

struct uv_loop_s *loop_uv(struct loop *l);
struct clock *loop_clock(struct loop *l);

/* Blocks until loop_stop(). May be called again. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* `fn` runs in the loop, whenever the signal arrives, until loop_free(). */
int loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum),
    void *arg, struct err *err) ERR_CHECK;

/* Runs the loop until every handle that is being closed is closed, then frees it. All
   handles of others must have been given to uv_close(). NULL is nothing. */
void loop_free(struct loop *l);

#endif
