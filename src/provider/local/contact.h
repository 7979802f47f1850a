/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_LOCAL_CONTACT_H
#define PROVIDER_LOCAL_CONTACT_H

/* First contact with an SSH server: connects as a user would, and waits for its identification. */

#include "base/err.h"

struct clock;
struct contact;
struct uv_loop_s;

typedef void (*contact_fn)(void *arg, const struct err *err);

/* Exactly one call of fn: later, from the loop, within timeout_ms; or ERR_CANCELLED from inside
   contact_cancel(). */
struct contact *contact_start(struct uv_loop_s *loop, struct clock *clock,
    const char *address, int port, int timeout_ms, contact_fn fn, void *arg);
void contact_cancel(struct contact *c);

#endif
