/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_CLIENT_H
#define AWS_CLIENT_H

/*
 * Calls of one AWS service in one region: signed, paced below AWS's own throttle buckets, tried again with
 * back-off and full jitter where that is safe, corrected once for a clock that is wrong. Three protocols: Query
 * (EC2, STS, SQS: a form, XML back), JSON 1.1 (EC2 Instance Connect) and REST-JSON (EFS).
 *
 * Whether a call may be repeated is the caller's to say: one that has a client token, or only reads, may be.
 * A call that may not be repeated and whose reply was lost fails with ERR_UNAVAILABLE and `maybe_done`.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct aws_call;
struct aws_client;
struct clock;
struct credentials;
struct fetcher;
struct xml;

struct aws_client_options {
	struct clock
	    *clock; /* borrowed, as the next two; the client is closed before they are */
	struct fetcher *fetcher;
	struct credentials *credentials;
	const char *
	    service; /* signing name: "ec2", "sts", "sqs", "ec2-instance-connect"; copied as the rest */
	const char *host_prefix; /* of the default endpoint; NULL: the service's name */
	const char *region;
	const char *
	    endpoint; /* URL; NULL: https://PREFIX.REGION.amazonaws.com (with .cn in China) */
	const char *api_version; /* "2016-11-15" */
	double bucket_share;	 /* of AWS's buckets that is ours; 0: 0.7 */
	double
	    bucket_speed; /* multiplies refills, for an endpoint whose time runs faster; 0: 1; below 0: no buckets */
	int attempts_max; /* 0: 8 */
};

/* ERR_INVALID: endpoint or region. */
int aws_client_new(const struct aws_client_options *opt, struct aws_client **ret,
    struct err *err) ERR_CHECK;

/* What is under way is answered with ERR_CANCELLED before this returns. */
void aws_client_close(struct aws_client *c);

/* ---- a request ---- */

/* A form in the making: "Action" and "Version" are put in by aws_query(). */
struct aws_form {
	struct buf body; /* owned: aws_form_fini(), or taken by aws_query() */
};
void aws_form_fini(struct aws_form *f);

/* Adds NAME=value; the name is a format: aws_form_add(f, v, "Filter.%d.Name", 1). NULL values are left out. */
void aws_form_add(struct aws_form *f, const char *value, const char *name_fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct aws_call_options {
	bool repeatable; /* reads only, or bears a client token */
	double
	    resources; /* tokens of the action's resource bucket it takes: instances launched */
	bool filtered;	     /* a Describe with filters or paging: the larger bucket */
	int timeout_ms;	     /* of one attempt; 0: 30 s */
	int64_t deadline_ms; /* all attempts and waits together; 0: 5 min */
};

struct aws_error {
	int status;	 /* of HTTP; 0: no reply */
	char code[96];	 /* AWS's, "RequestLimitExceeded"; "" where there is none */
	bool maybe_done; /* it is not known whether it was done */
	bool throttled;
	char existing
	    [64]; /* EFS: id of what is there already, with a status of 409; "" else */
};

/* reply is the root element, or NULL and err is not. err maps AWS's codes: throttling that did not end
   ERR_RATE_LIMITED, no capacity and limits ERR_NO_CAPACITY, *.NotFound ERR_NOT_FOUND, auth ERR_NOT_PERMITTED,
   other 4xx ERR_INVALID, 5xx, HTML instead of XML and silence ERR_UNAVAILABLE, a reply of more than 16 MiB
   ERR_TOO_LARGE; no credentials ERR_NOT_PERMITTED, lest it be taken for a thing that is gone. The message has AWS's code and text
   (bounded, printable), the hint says what to do. Valid during the call. */
typedef void (*aws_query_fn)(void *arg, const struct xml *reply,
    const struct aws_error *aws, const struct err *err);

/* Takes the form's contents. Never calls `done` before it returns. */
struct aws_call *aws_query(struct aws_client *c, const char *action,
    struct aws_form *form, const struct aws_call_options *opt, aws_query_fn done,
    void *arg);

/* JSON 1.1: `target` is the header X-Amz-Target, body is JSON text. */
typedef void (*aws_json_fn)(
    void *arg, const char *body, const struct aws_error *aws, const struct err *err);
struct aws_call *aws_json(struct aws_client *c, const char *target, const char *body,
    const struct aws_call_options *opt, aws_json_fn done, void *arg);

/* REST-JSON: `path` begins with '/', and may have a query; both as they are sent: percent-encoded, the query sorted. `action` is for
   pace, messages and counts. body NULL: none. */
struct aws_call *aws_rest(struct aws_client *c, const char *method, const char *action,
    const char *path, const char *body, const struct aws_call_options *opt,
    aws_json_fn done, void *arg);

/* `done` is not called any more. What was sent was sent. */
void aws_call_cancel(struct aws_call *call);

/* Attempts put on the wire so far, of all actions (NULL) or one; throttle replies likewise. For metrics and tests. */
uint64_t aws_client_calls(const struct aws_client *c, const char *action);
uint64_t aws_client_throttled(const struct aws_client *c);

/* The same of each action that was ever called, in no order: up to max of them into ret. Returns how many. */
struct aws_count {
	const char *action; /* the client's */
	uint64_t calls, throttled;
};
int aws_client_counts(const struct aws_client *c, struct aws_count *ret, int max);

#endif
