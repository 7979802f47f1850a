/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_SIGV4_IMPL_H
#define AWS_SIGV4_IMPL_H

/* What signing and verifying share: the canonical request and the signature over it. */

#include "aws/sigv4.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_HEX_MAX 65
#define SIGV4_QUERY_MAX (64u << 10)

struct sigv4_scope {
	const char *date; /* of X-Amz-Date, whole */
	const char *region;
	const char *service;
};

/* The signature in lower-case hex. signed_headers: lower-case names joined by ';'. `without`: a query argument
   that is left out, or NULL. ERR_INVALID: a signed header is not there, or the query is too long. */
int sigv4_signature(const struct sigv4_request *req, const char *signed_headers,
    const char *without, const struct sigv4_scope *scope, const char *secret_access_key,
    char ret[SIGV4_HEX_MAX], struct err *err) ERR_CHECK;

/* Decodes %XX; what is not hex stays as it is. Returns the length, at most n. out may be s. */
size_t sigv4_decode(char *out, const char *s, size_t n);

#endif
