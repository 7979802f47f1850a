/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_IMDS_H
#define EC2_IMDS_H

/*
 * The instance metadata service, as a process in an instance sees it at 169.254.169.254: tokens (IMDSv2), the tree of
 * paths, the identity document. It answers for one instance, that of the socket which the request came by.
 * Source: EC2 user guide, "Instance metadata categories" and "How Instance Metadata Service Version 2 works".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"

struct instance;

#define IMDS_TOKENS_MAX 128 /* of an instance: the oldest goes */
#define IMDS_TOKEN_MAX 60
#define IMDS_TTL_MAX 21600 /* seconds */

struct imds_token {
	char text[IMDS_TOKEN_MAX];
	int64_t until_ms; /* of the clock's now */
};

/* What an instance has of tokens; zeroed is empty. */
struct imds_tokens {
	struct imds_token t[IMDS_TOKENS_MAX];
	int n, next;
};

/* A request's parts; headers are NULL where they are not there. `path` is percent-encoded, without the query. */
struct imds_request {
	const char *method;
	const char *path;
	const char *token;	   /* X-aws-ec2-metadata-token */
	const char *ttl;	   /* X-aws-ec2-metadata-token-ttl-seconds */
	const char *forwarded_for; /* X-Forwarded-For */
};

struct imds_reply {
	int status;
	int64_t ttl_s;	 /* >= 0: goes into the header of that name */
	struct buf body; /* owned */
};

/* Answers. `i` is the instance; now_ms and wall_ms are the clock's. */
void imds_answer(const struct instance *i, struct imds_tokens *tokens, int64_t now_ms,
    const struct imds_request *q, struct imds_reply *ret);

#endif
