/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CALLER_H
#define API_CALLER_H

/* From the peer's numbers to who asks: the user's name and whether they are an operator. Both come from
   the system's user database, which may be slow, so answers are kept for a minute. */

#include <stdint.h>

struct clock;
struct core_caller;
struct http_peer;
struct callers;

struct callers *callers_new(
    struct clock *clock, const char *admin_group, uint32_t owner_uid);
void callers_free(struct callers *c);

/* ret->user is borrowed until the next call. An unknown uid is called by its number. */
void callers_get(
    struct callers *c, const struct http_peer *peer, struct core_caller *ret);

#endif
