/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_CLIENT_INTERNAL_H
#define AWS_CLIENT_INTERNAL_H

/*
 * The client's parts. client.c holds the client, its endpoint and forms; client_lane.c paces the calls of one action;
 * client_call.c takes a call from its lane through signing, sending and trying again to its end.
 */

#include "aws/bucket.h"
#include "aws/client.h"
#include "aws/client_error.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"

struct fetch;

/* The calls of one action that wait for a token, in order. Describes of everything have a lane of their own,
   as AWS has a bucket for them. */
struct lane {
	char *key; /* owned; in client.lanes */
	char *action;
	struct aws_client *c;
	bool paced;
	struct bucket requests;
	struct bucket resources; /* capacity 0: none */
	struct list waiting;	 /* aws_call.lane_link */
	struct timer timer;
	uint64_t calls; /* put on the wire */
	uint64_t throttled;
};

struct aws_client {
	struct clock *clock; /* borrowed, as the next two */
	struct fetcher *fetcher;
	struct credentials *credentials;
	char *service, *region, *api_version; /* owned, as the rest */
	char *url, *base, *host, *path;	      /* base: "https://host:port" */
	bool own_endpoint, loopback;
	double share, speed;
	int attempts_max;
	int64_t skew_ms; /* AWS's clock less ours */
	int retry_tokens; /* as botocore/retries/quota.py has them: an outage is not met with a storm */
	uint64_t throttled;
	struct map lanes;
	struct list calls;
	bool closed;
};

enum call_state {
	CALL_WAITING, /* in its lane */
	CALL_KEY,     /* for credentials */
	CALL_SENT,
	CALL_BACKOFF,
	CALL_ENDING, /* the result is there; the caller hears of it from the loop */
	CALL_DONE,
	CALL_ABANDONED, /* cancelled while the credentials still hold it */
	CALL_STATE_MAX,
};

struct aws_call {
	struct list link;      /* client.calls */
	struct list lane_link; /* lane.waiting */
	struct aws_client *c;
	struct lane *lane;
	enum call_state state;
	struct aws_call_options opt;
	char *target;	    /* X-Amz-Target; NULL: Query, or REST */
	const char *method; /* of REST: static; NULL else */
	char *rest;	    /* of REST: path below the endpoint's, and query */
	char *body;	    /* owned, wiped: user data may hold a key */
	size_t body_len;
	aws_query_fn query_done;
	aws_json_fn json_done;
	void *arg;
	struct timer timer, deadline;
	struct fetch *fetch;
	int attempts;	 /* put on the wire */
	int retries;	 /* those that count against attempts_max */
	int backoffs;	 /* of throttling */
	int quota_taken; /* retry tokens to give back */
	bool clock_tried, key_tried;
	int64_t skew_ms; /* it was signed with */
	bool lost;	 /* an attempt may have been carried out */
	char key_id[129], key_source[64];
	struct aws_failure failure; /* the last one */
};

/* ---- client_lane.c ---- */

/* The lane of an action, made where it is not there yet. */
struct lane *lane_of(struct aws_client *c, const char *action, bool unfiltered);
void lane_free(struct lane *l);

/* Lets the call go by call_go(), from the loop, when there are tokens for it. First: before all others. */
void lane_enter(struct lane *l, struct aws_call *call, bool first);
void lane_throttled(struct lane *l);

/* ---- client_call.c ---- */

/* It has its tokens. */
void call_go(struct aws_call *call);

/* Tells the caller that the client is being closed, and frees it. */
void call_closed(struct aws_call *call);

/* Owns body from here on. */
struct aws_call *call_new(struct aws_client *c, struct lane *lane, char *body,
    size_t body_len, const struct aws_call_options *opt);

#endif
