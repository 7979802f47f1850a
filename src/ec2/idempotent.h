/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_IDEMPOTENT_H
#define EC2_IDEMPOTENT_H

/*
 * Client tokens, per region and action: the same token with the same parameters finds what the first call made; with
 * others it is IdempotentParameterMismatch. A token is kept as a row beside what it made, in one transaction.
 */

#include "ec2/world.h"

struct token {
	struct object o;  /* id: "token:ACTION:TOKEN" */
	char *digest;	  /* of the parameters */
	struct texts ids; /* what was made */
};
extern const struct kind kind_token;

/* Reads ClientToken. NULL: none was given, or it is new, or (check request_failed()) it is wrong or a mismatch. To be called before
   request_ready(); what it returns is valid until then only if that says yes. */
const struct token *idempotent_find(struct request *q);

/* `made` is an object's id: the request's token, if it has one, stands for it (too). */
void idempotent_keep(struct request *q, const char *made);

#endif
