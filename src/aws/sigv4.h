/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_SIGV4_H
#define AWS_SIGV4_H

/*
 * Signature Version 4 (AWS General Reference, "Signing AWS API requests"): made for our own calls, and checked
 * for those that arrive at our endpoint. Pure functions over bytes; no I/O, no clock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SIGV4_HEADERS_MAX 64
#define SIGV4_SKEW_S                                                                     \
	300 /* how far a request's time may be from the verifier's: AWS, "five minutes" */

struct sigv4_header {
	const char *name; /* any case */
	const char *value;
};

/* What is signed. `path` is as sent, percent-encoded; it is encoded once more, as every service but S3 wants
   it. `query` is as sent, without '?'; may be empty. All borrowed. */
struct sigv4_request {
	const char *method;
	const char *path;
	const char *query;
	const struct sigv4_header *headers; /* those to sign, with host */
	int n_headers;
	const void *body;
	size_t body_len;
};

struct sigv4_key {
	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token; /* NULL or empty: none */
};

/* Time as in the header X-Amz-Date: "20261122T054233Z". */
#define SIGV4_DATE_MAX 17
void sigv4_date(int64_t wall_s, char out[SIGV4_DATE_MAX]);

/* Appends the value of the header Authorization for the request, whose headers must hold host and
   x-amz-date (and x-amz-security-token where the key has one). ERR_INVALID: no x-amz-date, too many headers. */
int sigv4_sign(const struct sigv4_request *req, const struct sigv4_key *key,
    const char *region, const char *service, struct buf *authorization,
    struct err *err) ERR_CHECK;

/* What a signed request says of itself. Strings are cut from the header or the query, and owned by the
   caller's buffers. */
struct sigv4_claim {
	char access_key_id[129];
	char region[65];
	char service[65];
	char date[SIGV4_DATE_MAX];
	char signature[65];
	char signed_headers[2048];
	bool presigned;	   /* by query arguments, not by header */
	int64_t expires_s; /* of a presigned one */
};

/* Reads the header Authorization, or X-Amz-* query arguments where `authorization` is NULL. ERR_INVALID with a
   message fit for the caller: IncompleteSignature. */
int sigv4_parse(const char *authorization, const char *query, const char *x_amz_date,
    struct sigv4_claim *ret, struct err *err) ERR_CHECK;

/* Whether the request's signature is the secret's. `req->headers` are all the request's; those that the claim
   names are taken. Constant in time where it compares. ERR_NOT_PERMITTED: it is not (SignatureDoesNotMatch);
   ERR_CONFLICT: its date is further than SIGV4_SKEW_S from now_s, or its expiry is over (RequestExpired);
   ERR_INVALID: a header it names is not there, or host is not signed. */
int sigv4_verify(const struct sigv4_request *req, const struct sigv4_claim *claim,
    const char *secret_access_key, int64_t now_s, struct err *err) ERR_CHECK;

/* Percent-encodes as SigV4 wants it: all but A-Z a-z 0-9 - _ . ~ */
void sigv4_encode(struct buf *out, const char *s, size_t n);

#endif
