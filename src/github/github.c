/* SPDX-License-Identifier: Apache-2.0 */
#include "github/github.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/xalloc.h"
#include "net/fetch.h"
#include "ssh/pubkey.h"

#define USER_MAX 39

struct question {
	struct list in_user; /* asked or next */
	github_fn done;
	void *arg;
};

/* What is known of a user, and who wants to know. */
struct hub_user {
	struct list in_hub; /* the one asked for last comes last */
	struct github *hub;
	char name[USER_MAX + 1];
	char *etag;	     /* owned; NULL: never answered */
	char *lines;	     /* owned: the reply's body; NULL with etag */
	int64_t seen_at_ms;  /* when the lines were right */
	struct fetch *fetch; /* NULL: none is on its way */
	struct list asked;   /* by that one */
	struct list next;    /* came too late for it */
	struct timer refuse; /* answers what is not asked at all */
};

struct github {
	struct fetcher *fetcher;
	struct clock *clock;
	char *url; /* owned */
	bool cache;
	struct map users;
	struct list by_use;
	int n_users;
};

bool
github_user_valid(const char *user)
{
	size_t n = strlen(user);

	if (n < 1 || n > USER_MAX || user[0] == '-' || user[n - 1] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii(user[i]) ||
		    (!isalnum((unsigned char)user[i]) && user[i] != '-'))
			return false;
	return true;
}

struct github *
github_new(const struct github_options *opt)
{
	struct github *g = xnew(struct github);

	g->fetcher = opt->fetcher;
	g->clock = opt->clock;
	g->url = xstrdup(opt->url);
	g->cache = opt->cache_when_unreachable;
	list_init(&g->by_use);
	return g;
}

static void
answer(struct list *questions, const struct ssh_pubkey *keys, int n, const char *note,
    const struct err *err)
{
	struct list mine;

	/* whoever is answered may ask again */
	list_init(&mine);
	while (!list_empty(questions)) {
		struct list *q = questions->next;

		list_remove(q);
		list_push_back(&mine, q);
	}
	while (!list_empty(&mine)) {
		struct question *q = list_entry(mine.next, struct question, in_user);

		list_remove(&q->in_user);
		q->done(q->arg, keys, n, note, err);
		free(q);
	}
}

static void
user_free(struct hub_user *u)
{
	timer_off(&u->refuse);
	list_remove(&u->in_hub);
	map_remove(&u->hub->users, u->name);
	u->hub->n_users--;
	free(u->etag);
	free(u->lines);
	free(u);
}

void
github_close(struct github *g)
{
	struct hub_user *u, *tmp;
	struct err err;

	if (!g)
		return;
	err_set(&err, ERR_CANCELLED, "hearthd is stopping");
	list_for_each_safe (u, tmp, &g->by_use, in_hub) {
		if (u->fetch)
			fetch_cancel(u->fetch);
		answer(&u->asked, NULL, 0, NULL, &err);
		answer(&u->next, NULL, 0, NULL, &err);
		user_free(u);
	}
	map_fini(&g->users);
	free(g->url);
	free(g);
}

static bool
in_use(const struct hub_user *u)
{
	return u->fetch || timer_is_on(&u->refuse) || !list_empty(&u->asked) ||
	       !list_empty(&u->next);
}

static void
forget_some(struct github *g)
{
	struct hub_user *u, *tmp;

	list_for_each_safe (u, tmp, &g->by_use, in_hub)
		if (g->n_users > GITHUB_USERS_MAX && !in_use(u))
			user_free(u);
}

/* The keys in `lines`; returns how many, *ret_odd how many lines are something else, or too many. */
static int
parse_lines(const char *lines, struct ssh_pubkey keys[GITHUB_KEYS_MAX], int *ret_odd)
{
	int n = 0;

	*ret_odd = 0;
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		struct err err;

		if (len > 0 && n < GITHUB_KEYS_MAX &&
		    ssh_pubkey_parse(lines, len, &keys[n], &err) == 0)
			n++;
		else if (len > 0)
			++*ret_odd;
		lines += len + (lines[len] == '\n');
	}
	return n;
}

static void
answer_from_lines(struct hub_user *u, const char *why_old)
{
	struct ssh_pubkey keys[GITHUB_KEYS_MAX] = {0};
	char note[320] = "", odd_text[96] = "";
	struct err err = {0};
	int odd, n = parse_lines(u->lines, keys, &odd);

	if (odd)
		(void)snprintf(odd_text, sizeof(odd_text),
		    "%d of the keys of %s on GitHub cannot be used", odd, u->name);
	if (why_old)
		(void)snprintf(note, sizeof(note), "keys as they were %lld s ago: %.200s",
		    (long long)((clock_now_ms(u->hub->clock) - u->seen_at_ms) / 1000),
		    why_old);
	else if (odd)
		(void)snprintf(note, sizeof(note), "%s", odd_text);
	if (n == 0) {
		err_set(&err, ERR_NOT_FOUND, "GitHub: %s",
		    odd ? odd_text : "the user has no public keys");
		err_hint(&err, "add an Ed25519 key there, or give one: --key FILE.pub");
	}
	answer(&u->asked, n ? keys : NULL, n, note[0] ? note : NULL, &err);
	for (int i = 0; i < n; i++)
		ssh_pubkey_fini(&keys[i]);
}

static void
answer_unreachable(struct hub_user *u, const struct err *why)
{
	struct err err = *why;

	if (u->hub->cache && u->lines) {
		answer_from_lines(u, why->msg);
		return;
	}
	err_wrap(&err, "GitHub");
	if (!err.hint[0])
		err_hint(&err, "try again later, or give a key: --key FILE.pub");
	answer(&u->asked, NULL, 0, NULL, &err);
}

static void
answer_status(struct hub_user *u, const struct fetch_reply *reply)
{
	struct err err;

	if (reply->status == 404) {
		free(u->lines);
		u->lines = NULL;
		err_set(&err, ERR_NOT_FOUND, "GitHub: there is no user '%s'", u->name);
		err_hint(&err, "check the name at %.100s/%s", u->hub->url, u->name);
		answer(&u->asked, NULL, 0, NULL, &err);
		return;
	}
	if (reply->status == 429 || reply->status == 403)
		err_set(&err, ERR_RATE_LIMITED,
		    "it takes no more questions for now (HTTP %d)", reply->status);
	else
		err_set(&err, ERR_UNAVAILABLE, "it answers HTTP %d", reply->status);
	answer_unreachable(u, &err);
}

static void ask(struct hub_user *u);

static void
replied(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	struct hub_user *u = arg;
	struct github *g = u->hub;
	bool text = reply && memchr(reply->body, 0, reply->body_len) == NULL;

	u->fetch = NULL;
	if (!reply) {
		answer_unreachable(u, err);
	} else if (reply->status == 304 && u->lines) {
		u->seen_at_ms = clock_now_ms(g->clock);
		answer_from_lines(u, NULL);
	} else if (reply->status == 200 && text) {
		xstrset(&u->lines, reply->body);
		xstrset(&u->etag, reply->etag);
		u->seen_at_ms = clock_now_ms(g->clock);
		answer_from_lines(u, NULL);
	} else {
		answer_status(u, reply);
	}
	if (!list_empty(&u->next))
		ask(u);
	forget_some(g);
}

static void
ask(struct hub_user *u)
{
	struct github *g = u->hub;
	AUTO_FREE char *url = xasprintf("%s/%s.keys", g->url, u->name);
	struct fetch_header headers[] = {
	    {"Accept", "text/plain"},
	    {"User-Agent", "hearth/" HEARTH_VERSION},
	    {"If-None-Match", u->etag},
	};

	while (!list_empty(&u->next)) {
		struct list *q = u->next.next;

		list_remove(q);
		list_push_back(&u->asked, q);
	}
	u->fetch = fetch_start(g->fetcher,
	    &(struct fetch_request){
		.method = "GET",
		.url = url,
		.headers = headers,
		.n_headers = u->etag && u->lines ? 3 : 2,
		.timeout_ms = GITHUB_TIMEOUT_MS,
		.reply_max = GITHUB_REPLY_MAX,
	    },
	    replied, u);
}

static struct hub_user *
user_of(struct github *g, const char *name)
{
	struct hub_user *u = map_get(&g->users, name);

	if (!u) {
		u = xnew(struct hub_user);
		u->hub = g;
		(void)snprintf(u->name, sizeof(u->name), "%s", name);
		list_init(&u->in_hub);
		list_init(&u->asked);
		list_init(&u->next);
		map_put(&g->users, u->name, u);
		g->n_users++;
	}
	list_remove(&u->in_hub);
	list_push_back(&g->by_use, &u->in_hub);
	return u;
}

static void
refuse(void *arg)
{
	struct hub_user *u = arg;
	struct err err;

	err_set(&err, ERR_INVALID, "this is not a name of a GitHub user");
	err_hint(
	    &err, "expected up to 39 letters, digits and '-', as in github.com/NAME");
	answer(&u->next, NULL, 0, NULL, &err);
	user_free(u);
}

void
github_keys(struct github *g, const char *user, github_fn done, void *arg)
{
	bool valid = github_user_valid(user);
	struct hub_user *u = user_of(g, valid ? user : "");
	struct question *q = xnew(struct question);

	q->done = done;
	q->arg = arg;
	list_push_back(&u->next, &q->in_user);
	if (!valid)
		timer_set(g->clock, &u->refuse, 0, refuse, u);
	else if (!u->fetch)
		ask(u);
}
