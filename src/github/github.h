/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GITHUB_GITHUB_H
#define GITHUB_GITHUB_H

/*
 * The public keys of a user of GitHub, from URL/USER.keys, where GitHub serves them to everybody as lines of text. Each
 * reply is kept with its ETag and asked for again with it every time, so a key that was removed there is
 * not served from here.
 */

#include <stdbool.h>

#include "base/err.h"

struct clock;
struct fetcher;
struct github;
struct ssh_pubkey;

#define GITHUB_KEYS_MAX 16 /* of one user; more are left out, and said so */
#define GITHUB_REPLY_MAX (256 << 10)
#define GITHUB_USERS_MAX 1024 /* that are remembered */
#define GITHUB_TIMEOUT_MS 10000

struct github_options {
	struct fetcher *fetcher; /* borrowed, as the clock */
	struct clock *clock;
	const char *url; /* "https://github.com", without a slash at the end; copied */
	bool
	    cache_when_unreachable; /* else an unreachable GitHub is an error, whatever is remembered */
};

/* Asks nobody yet. */
struct github *github_new(const struct github_options *opt);

/* What is under way is answered with ERR_CANCELLED before this returns. NULL is nothing. */
void github_close(struct github *g);

/* A name that GitHub gives to users: 1 to 39 of letters, digits and '-', none of those first or last. */
bool github_user_valid(const char *user);

/* One key at least, or err: ERR_INVALID: no name of a user; ERR_NOT_FOUND: no such user, or no key that can be used;
   ERR_UNAVAILABLE, ERR_RATE_LIMITED: no answer, or none that helps. `note`: what the user should know, or NULL. All
   valid during the call. */
typedef void (*github_fn)(void *arg, const struct ssh_pubkey *keys, int n,
    const char *note, const struct err *err);

/* Calls done once, later. Those who ask for the same user while a question is on its way share the next one: an
   answer is never older than its question. */
void github_keys(struct github *g, const char *user, github_fn done, void *arg);

#endif
