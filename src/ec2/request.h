/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_REQUEST_H
#define EC2_REQUEST_H

/*
 * One call of the API, from its bytes to its reply. An action reads its parameters by typed getters, which
 * record the first mistake as AWS's own error; then it asks request_ready(), which answers mistakes, parameters that
 * nobody has read, and DryRun; only after that may it change anything:
 *
 *	const char *zone = request_text(q, "AvailabilityZone");
 *	int64_t size = request_int(q, 8, 1, 16384, "Size");
 *	if (!request_ready(q))
 *		return;
 *
 * Parameter names are formats: request_text(q, "Filter.%d.Value.%d", i, j). Strings are the request's and live as long.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ec2/reply.h"

struct http_request;
struct region;
struct world;
struct action;

#define REQUEST_BODY_MAX (1u << 20)
#define REQUEST_PARAMS_MAX 10000
#define REQUEST_NAME_MAX 255
#define REQUEST_VALUE_MAX (64u << 10)
#define REQUEST_DEPTH_MAX 12 /* parts of a name */

struct param {
	const char *name; /* "Filter.1.Value.2" */
	const char *value;
	bool read;
};

struct request {
	struct world *world;   /* borrowed, as all pointers but those noted */
	struct region *region; /* of the signature's scope */
	const struct action *action;
	const char *access_key_id;
	const char *path; /* of the URL, percent-encoded */
	char id[40];	  /* of the reply: a UUID */

	struct param *params; /* owned; sorted by name */
	int n_params;
	char *text;	  /* owned: what params point into */
	char *added;	  /* owned: what request_add() has put in */
	const char *json; /* body of a JSON protocol; NULL in a form's */

	/* The first failure; code "" while there is none. */
	char code[96];
	char message[512];
	int status;
	char existing[64]; /* of a failure: the id of what is there already; see efs.h */

	int success; /* status of a reply that is no failure; 0: 200 */

	struct reply reply;

	struct http_request *http; /* NULL in tests */
	bool later;		   /* request_later() was called */
};

/* Decodes an application/x-www-form-urlencoded body (or query string) into q->params. -1 with q's failure set: MalformedQueryString,
   or a bound was passed. Names are unique: InvalidParameterCombination else. */
int request_decode(struct request *q, const char *body, size_t n);
void request_fini(struct request *q);

/* More parameters, "NAME=VALUE" each, as if the caller had given them. Once, before anything is read. */
void request_add(struct request *q, char *const *entries, int n);

/* ---- failing ---- */

/* Records the failure if it is the first; returns -1. The status follows from the code: see request.c. */
int request_fail(struct request *q, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Takes the failure back: it did not matter. */
static inline void
request_unfail(struct request *q)
{
	q->code[0] = '\0';
}
static inline bool
request_failed(const struct request *q)
{
	return q->code[0] != '\0';
}

/* Whether the action may act: no failure so far, every parameter read, no DryRun. False: the answer is recorded. */
bool request_ready(struct request *q);

/* ---- parameters ---- */
#define PARAM_NAME(at) __attribute__((format(printf, at, at + 1)))

/* Whether it, or anything below it ("NAME."), is there. Does not count as reading. */
bool request_has(const struct request *q, const char *name, ...) PARAM_NAME(2);

/* How many elements a list has: "NAME.1", "NAME.2", ... without a gap. */
int request_count(struct request *q, const char *name, ...) PARAM_NAME(2);

/* NULL when it is not there. Empty strings count as given. */
const char *request_text(struct request *q, const char *name, ...) PARAM_NAME(2);

/* As text, but MissingParameter when it is not there or empty; never NULL ("" then). */
const char *request_need(struct request *q, const char *name, ...) PARAM_NAME(2);

/* `otherwise` when it is not there; InvalidParameterValue when it is no number or outside [min, max]. */
int64_t request_int(struct request *q, int64_t otherwise, int64_t min, int64_t max,
    const char *name, ...) PARAM_NAME(5);
bool request_bool(struct request *q, bool otherwise, const char *name, ...) PARAM_NAME(3);

/* One of `allowed` (ends with NULL), returned as found in it; `otherwise` (may be NULL) when it is not there. */
const char *request_choice(struct request *q, const char *const *allowed,
    const char *otherwise, const char *name, ...) PARAM_NAME(4);

/* Base64 decoded into an owned buffer, NUL-terminated; NULL when it is not there or wrong. */
char *request_base64(
    struct request *q, size_t max, size_t *ret_len, const char *name, ...) PARAM_NAME(4);

/* Counts all below the name ("NAME.") and itself as read: for what is taken and has no effect here. */
void request_ignore(struct request *q, const char *name, ...) PARAM_NAME(2);

/* Copies all of a list of plain values. NULL-terminated, owned array of borrowed strings; *ret_n may be NULL. */
const char **request_list(struct request *q, int *ret_n, const char *name, ...)
    PARAM_NAME(3);

/* SHA-256, in hex, of all parameters but those that do not make a request another one (ClientToken, DryRun, Signature...). */
#define REQUEST_DIGEST_MAX 65
void request_digest(const struct request *q, char out[REQUEST_DIGEST_MAX]);

/* ---- answering later ---- */

/* Only from inside the action: the reply is not complete when it returns. request_finish() sends it, exactly
   once, later; the client may be gone by then, which does no harm. */
void request_later(struct request *q);
void request_finish(struct request *q);

#endif
