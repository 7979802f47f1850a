/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key that is at hand, and the one flight that fetches the next: plan, base, roles, landing. A flight lands by way
 * of the clock, so callers are never answered from inside the call that made them wait. Keys are asked for ahead of
 * their end as botocore does (RefreshableCredentials), with two differences: a key whose whole life is short is
 * not asked for all the time, and one that is still good is used when a new one cannot be had.
 */
#include "aws/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "aws/credentials_internal.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/xalloc.h"

#define ADVISORY_MS (15 * 60000)
#define MANDATORY_MS (10 * 60000)
#define RETRY_MS 30000 /* after a failure, while the old key is good */
#define REJECTED_MS 30000
#define PAUSE_MS 1000 /* between attempts of one step, longer each time */
#define STS_ATTEMPTS 3
#define PROCESS_TIMEOUT_MS 60000

/*
 *  GROUNDED → BASE ⇄ PAUSE
 *                ├→ ROLE ⇄ PAUSE (once for each role)
 *                └──────→ LANDED → GROUNDED
 */
enum flight_state {
	FLIGHT_GROUNDED,
	FLIGHT_BASE,
	FLIGHT_ROLE,
	FLIGHT_PAUSE,  /* waits here for its next attempt */
	FLIGHT_LANDED, /* waits here for the loop */
};

struct waiter {
	struct list link; /* credentials.waiters */
	credentials_fn fn;
	void *arg;
};

struct known_url {
	struct list link; /* credentials.urls */
	char *service;
	char *url;
};

struct credentials {
	struct credentials_io io;
	char *profile; /* owned; NULL: not named */
	char *opt_region;
	char *config_file;
	char *shared_file;
	credentials_getenv_fn getenv;
	char *region;	  /* once it was asked for */
	char *ca_bundle;  /* likewise */
	struct list urls; /* likewise */
	bool warned;	  /* of a file that others may read */

	struct owned_key key; /* the one at hand */
	char *source;
	int64_t advisory_ms; /* before its end */
	int64_t mandatory_ms;
	bool rejected;
	int64_t rejected_ms;   /* when it was last fetched anew for that */
	int64_t calm_until_ms; /* no flight for a key that is good */

	struct list waiters;
	enum flight_state flight;
	struct timer timer;
	struct credentials_plan *plan;
	char *sts_endpoint;
	char *sts_region;
	struct err unreadable; /* of the files the plan was made from */
	int role;	       /* of the plan, that is next or under way */
	int attempt;
	struct owned_key step_key;	     /* the last step's */
	struct err err;			     /* why it failed; ERR_NONE: it did not */
	struct credentials_process *process; /* at most one of the three */
	struct credentials_http *http;
	struct credentials_sts *sts;
	struct credentials_imds imds;
};

static void run_step(struct credentials *c);

/* ---- the flight ---- */

static void deliver(void *arg);

static void
land(struct credentials *c)
{
	c->flight = FLIGHT_LANDED;
	timer_set(c->io.clock, &c->timer, 0, deliver, c);
}

static void
on_pause_over(void *arg)
{
	run_step(arg);
}

static int
attempts_of(const struct credentials *c)
{
	if (c->role >= 0 || c->plan->base == CREDENTIALS_WEB_IDENTITY)
		return STS_ATTEMPTS;
	return c->plan->attempts > 0 ? c->plan->attempts : 1;
}

static void
step_failed(struct credentials *c, const struct err *err)
{
	if (err->code == ERR_UNAVAILABLE && ++c->attempt < attempts_of(c)) {
		c->flight = FLIGHT_PAUSE;
		timer_set(c->io.clock, &c->timer, (int64_t)c->attempt * PAUSE_MS,
		    on_pause_over, c);
		return;
	}
	c->err = *err;
	land(c);
}

static void
step_done(struct credentials *c)
{
	c->attempt = 0;
	if (++c->role < c->plan->n_roles)
		run_step(c);
	else
		land(c);
}

static void
on_step(void *arg, struct owned_key *key, const struct err *err)
{
	struct credentials *c = arg;

	c->process = NULL;
	c->http = NULL;
	c->sts = NULL;
	if (err) {
		step_failed(c, err);
		return;
	}
	credentials_key_move(&c->step_key, key);
	step_done(c);
}

static int
start_sts(struct credentials *c, const struct credentials_role *role, bool web)
{
	struct credentials_sts_request req = {
	    .role = role,
	    .key = web ? NULL : &c->step_key,
	    .token_file = c->plan->token_file,
	    .endpoint = c->sts_endpoint,
	    .region = c->sts_region,
	};

	return credentials_sts_start(&c->io, &req, on_step, c, &c->sts, &c->err);
}

static int
start_base(struct credentials *c)
{
	const struct credentials_plan *p = c->plan;

	switch (p->base) {
	case CREDENTIALS_PROCESS:
		return credentials_process_start(&c->io, p->command.argv,
		    PROCESS_TIMEOUT_MS, on_step, c, &c->process, &c->err);
	case CREDENTIALS_WEB_IDENTITY:
		return start_sts(c, &p->web, true);
	case CREDENTIALS_CONTAINER:
		return credentials_http_container(
		    &c->io, p, on_step, c, &c->http, &c->err);
	case CREDENTIALS_IMDS:
		credentials_http_imds(&c->io, p, &c->imds, on_step, c, &c->http);
		return 0;
	case CREDENTIALS_STATIC:
		break;
	}
	credentials_key_set(&c->step_key, p->key.access_key_id, p->key.secret_access_key,
	    p->key.session_token, p->key.expires_at);
	step_done(c);
	return 0;
}

/* The base, which is counted as role -1, or a role. */
static void
run_step(struct credentials *c)
{
	struct err err;
	int r;

	c->flight = c->role < 0 ? FLIGHT_BASE : FLIGHT_ROLE;
	if (c->role < 0)
		r = start_base(c);
	else
		r = start_sts(c, &c->plan->roles[c->role], false);
	if (r == 0)
		return;
	err = c->err;
	c->err = (struct err){0};
	step_failed(c, &err);
}

static bool
holds_secrets(const struct credentials_file *f)
{
	for (int i = 0; f && i < f->n_sections; i++)
		if (credentials_file_get(
			f, &f->sections[i], NULL, "aws_secret_access_key"))
			return true;
	return false;
}

static void
warn_of_readable(struct credentials *c, const struct credentials_file *f)
{
	if (c->warned || !f || !f->others_may_read || !holds_secrets(f))
		return;
	c->warned = true;
	log_warn("%s: every user of this host may read it, and it holds secret keys: "
		 "`chmod 600` it",
	    f->path);
}

static int
load_view(const struct credentials *c, struct credentials_view *v, struct err *err)
{
	return credentials_view_load(
	    c->profile, c->config_file, c->shared_file, c->getenv, v, err);
}

static int
make_plan(struct credentials *c)
{
	struct credentials_view v;
	int r;

	if (load_view(c, &v, &c->err) < 0)
		return -1;
	warn_of_readable(c, v.shared);
	warn_of_readable(c, v.config);
	c->unreadable = v.unreadable;
	xstrset(&c->sts_endpoint, credentials_view_endpoint_url(&v, "sts"));
	xstrset(
	    &c->sts_region, c->opt_region ? c->opt_region : credentials_view_region(&v));
	r = credentials_plan_make(&v, &c->plan, &c->err);
	credentials_view_fini(&v);
	return r;
}

static void
take_off(struct credentials *c)
{
	c->err = (struct err){0};
	c->unreadable = (struct err){0};
	c->role = -1;
	c->attempt = 0;
	if (make_plan(c) < 0)
		land(c);
	else
		run_step(c);
}

/* ---- the landing ---- */

static int64_t
min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool
is_usable(const struct credentials *c)
{
	return c->key.access_key_id && !c->rejected &&
	       (c->key.expires_at == 0 || c->key.expires_at > clock_wall_ms(c->io.clock));
}

static void
take_key(struct credentials *c)
{
	int64_t life = c->step_key.expires_at - clock_wall_ms(c->io.clock);

	if (c->step_key.expires_at && life <= 0) {
		err_set(&c->err, ERR_NOT_PERMITTED,
		    "%s: the key it gives has expired already", c->plan->source);
		err_hint(&c->err, "renew it, or check this host's clock");
		return;
	}
	if (!c->source || strcmp(c->source, c->plan->source) != 0)
		log_info("AWS credentials: %s%s", c->plan->source,
		    c->plan->n_roles ? ", by assumed role" : "");
	credentials_key_move(&c->key, &c->step_key);
	xstrset(&c->source, c->plan->source);
	c->advisory_ms = min64(ADVISORY_MS, life / 2);
	c->mandatory_ms = min64(MANDATORY_MS, life / 3);
	c->rejected = false;
	c->calm_until_ms = 0;
}

/* Nothing was configured, and the last resort is not there: what a person should read is not that some address did
   not answer. */
static void
explain(struct credentials *c)
{
	bool nothing = !c->plan ? c->err.code == ERR_NOT_FOUND
				: c->plan->last_resort && !c->key.access_key_id &&
				      (c->err.code == ERR_UNAVAILABLE ||
					  c->err.code == ERR_NOT_FOUND);

	if (!nothing || c->err.hint[0])
		return;
	if (c->unreadable.code != ERR_NONE) {
		c->err = c->unreadable;
		err_wrap(&c->err, "no AWS credentials");
		err_hint(&c->err, "let this daemon's user read the file");
		return;
	}
	if (c->plan)
		err_wrap(
		    &c->err, "no AWS credentials in environment or files, and none by");
	c->err.code = ERR_NOT_FOUND;
	err_hint(&c->err,
	    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials "
	    "of this daemon's user");
}

static void
answer(struct credentials *c, credentials_fn fn, void *arg)
{
	struct credentials_key key = {
	    .access_key_id = c->key.access_key_id,
	    .secret_access_key = c->key.secret_access_key,
	    .session_token = c->key.session_token,
	    .expires_at = c->key.expires_at,
	    .source = c->source,
	};

	fn(arg, &key, NULL);
}

/* One who asks again from its callback waits for the next flight. */
static void
answer_all(struct credentials *c, const struct err *err)
{
	struct list now;

	list_init(&now);
	while (!list_empty(&c->waiters)) {
		struct list *l = c->waiters.next;

		list_remove(l);
		list_push_back(&now, l);
	}
	while (!list_empty(&now)) {
		struct waiter *w = list_entry(now.next, struct waiter, link);
		credentials_fn fn = w->fn;
		void *arg = w->arg;

		list_remove(&w->link);
		free(w);
		if (err)
			fn(arg, NULL, err);
		else
			answer(c, fn, arg);
	}
}

static void
deliver(void *arg)
{
	struct credentials *c = arg;
	struct err err;
	bool usable;

	if (c->err.code == ERR_NONE)
		take_key(c);
	if (c->err.code != ERR_NONE)
		explain(c);
	err = c->err;
	usable = is_usable(c);
	credentials_key_fini(&c->step_key);
	credentials_plan_free(c->plan);
	c->plan = NULL;
	c->flight = FLIGHT_GROUNDED;
	if (err.code != ERR_NONE && usable) {
		c->calm_until_ms = clock_now_ms(c->io.clock) + RETRY_MS;
		log_warn("AWS credentials: no new key, the old one is used for %lld s "
			 "more: %s",
		    (long long)(c->key.expires_at - clock_wall_ms(c->io.clock)) / 1000,
		    err.msg);
	}
	answer_all(c, usable ? NULL : &err);
}

/* ---- for callers ---- */

struct credentials *
credentials_new(const struct credentials_options *opt)
{
	struct credentials *c = xnew(struct credentials);

	c->io = (struct credentials_io){opt->uv, opt->clock, opt->fetcher};
	c->profile = xstrdup_null(opt->profile);
	c->opt_region = xstrdup_null(opt->region);
	c->config_file = xstrdup_null(opt->config_file);
	c->shared_file = xstrdup_null(opt->shared_credentials_file);
	c->getenv = opt->getenv;
	c->rejected_ms = INT64_MIN / 2;
	list_init(&c->waiters);
	list_init(&c->urls);
	return c;
}

static void
abort_flight(struct credentials *c)
{
	timer_off(&c->timer);
	if (c->process)
		credentials_process_cancel(c->process);
	if (c->http)
		credentials_http_cancel(c->http);
	if (c->sts)
		credentials_sts_cancel(c->sts);
	credentials_plan_free(c->plan);
	credentials_key_fini(&c->step_key);
}

void
credentials_free(struct credentials *c)
{
	struct known_url *u, *next;
	struct err err;

	if (!c)
		return;
	abort_flight(c);
	err_set(&err, ERR_CANCELLED, "AWS credentials: given up, for the program ends");
	answer_all(c, &err);
	list_for_each_safe (u, next, &c->urls, link) {
		free(u->service);
		free(u->url);
		free(u);
	}
	credentials_key_fini(&c->key);
	credentials_key_wipe(c->imds.token);
	free(c->source);
	free(c->sts_endpoint);
	free(c->sts_region);
	free(c->profile);
	free(c->opt_region);
	free(c->config_file);
	free(c->shared_file);
	free(c->region);
	free(c->ca_bundle);
	free(c);
}

void
credentials_get(struct credentials *c, credentials_fn fn, void *arg)
{
	bool usable = is_usable(c);
	bool calm = clock_now_ms(c->io.clock) < c->calm_until_ms;
	int64_t left = c->key.expires_at ? c->key.expires_at - clock_wall_ms(c->io.clock)
					 : INT64_MAX;
	struct waiter *w;

	if (c->flight == FLIGHT_GROUNDED &&
	    (!usable || (left <= c->advisory_ms && !calm)))
		take_off(c);
	if (usable && (left > c->mandatory_ms || c->flight == FLIGHT_GROUNDED)) {
		answer(c, fn, arg);
		return;
	}
	w = xnew(struct waiter);
	w->fn = fn;
	w->arg = arg;
	list_push_back(&c->waiters, &w->link);
}

void
credentials_rejected(struct credentials *c, const char *access_key_id)
{
	int64_t now = clock_now_ms(c->io.clock);

	if (!c->key.access_key_id || strcmp(c->key.access_key_id, access_key_id) != 0 ||
	    now - c->rejected_ms < REJECTED_MS)
		return;
	c->rejected = true;
	c->rejected_ms = now;
}

const char *
credentials_region(struct credentials *c)
{
	struct credentials_view v;
	struct err ignored;

	if (c->region || load_view(c, &v, &ignored) < 0)
		return c->region;
	c->region = xstrdup_null(credentials_view_region(&v));
	credentials_view_fini(&v);
	return c->region;
}

const char *
credentials_ca_bundle(struct credentials *c)
{
	struct credentials_view v;
	struct err ignored;

	if (c->ca_bundle || load_view(c, &v, &ignored) < 0)
		return c->ca_bundle;
	c->ca_bundle = credentials_view_ca_bundle(&v);
	credentials_view_fini(&v);
	return c->ca_bundle;
}

const char *
credentials_endpoint_url(struct credentials *c, const char *service)
{
	struct credentials_view v;
	struct known_url *u;
	struct err ignored;
	const char *url;

	list_for_each (u, &c->urls, link)
		if (strcmp(u->service, service) == 0)
			return u->url;
	if (load_view(c, &v, &ignored) < 0)
		return NULL;
	url = credentials_view_endpoint_url(&v, service);
	if (!url) {
		credentials_view_fini(&v);
		return NULL;
	}
	u = xnew(struct known_url);
	u->service = xstrdup(service);
	u->url = xstrdup(url);
	list_push_back(&c->urls, &u->link);
	credentials_view_fini(&v);
	return u->url;
}
