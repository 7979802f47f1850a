/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_AUTH_H
#define EC2_AUTH_H

/* Who calls, and where: the request's signature checked against the configured keys. */

#include "ec2/action.h"

struct buf;
struct config;
struct http_request;
struct request;

/* Fills q->access_key_id and q->region, and *ret_service by the scope. -1: with q's failure, worded as the service does. */
int auth_check(struct request *q, struct http_request *http, const struct config *c,
    enum service *ret_service);

/* Appends the query as it was sent, percent-encoded. */
void auth_query(struct http_request *http, struct buf *to);

#endif
