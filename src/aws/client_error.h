/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_CLIENT_ERROR_H
#define AWS_CLIENT_ERROR_H

/*
 * What a reply that is not a success means: AWS's code and text cut out of XML, JSON, HTML or nothing, what the
 * client does about it, and what a person is told.
 */

#include "aws/client.h"

struct fetch_reply;

enum aws_remedy {
	AWS_FINAL,     /* tell the caller */
	AWS_THROTTLED, /* wait, until the deadline; nothing was done */
	AWS_TRANSIENT, /* try again if the call may be repeated */
	AWS_CLOCK,     /* our clock, or else our key */
	AWS_KEY,       /* another key, if there is one */
};

/* Whom and what it was about, for messages. All borrowed. */
struct aws_about {
	const char *action;
	const char *service;
	const char *region;
	const char *endpoint; /* "https://host:port" */
	bool own_endpoint;    /* configured, not AWS's */
	const char *key_source;
};

struct aws_failure {
	enum aws_remedy remedy;
	struct aws_error aws; /* `maybe_done` is the caller's to set */
	struct err err;
};

/* Of a reply whose status is not 2xx. */
void aws_failure_of_reply(struct aws_failure *f, const struct aws_about *about,
    const struct fetch_reply *reply);

/* Of one with status 2xx that is not what it should be: `why` is the parser's error. */
void aws_failure_of_garbage(struct aws_failure *f, const struct aws_about *about,
    const struct fetch_reply *reply, const struct err *why);

/* Of no reply at all. */
void aws_failure_of_silence(
    struct aws_failure *f, const struct aws_about *about, const struct err *why);

#endif
