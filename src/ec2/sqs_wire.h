/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_SQS_WIRE_H
#define EC2_SQS_WIRE_H

/* SQS speaks two protocols, Query and JSON 1.0: here the difference ends. */

struct json_t;
struct request;

/* First of all: parameters of a JSON request become those of a form ("AttributeNames": ["All"] is AttributeName.1=All). -1 with a
   failure: it is not such JSON. */
int sqs_read(struct request *q);

/* As request_fail(), with the code that the request's protocol has for it. */
void sqs_fail(struct request *q, const char *query_code, const char *json_type,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Writes the result, which it takes: an object of texts, booleans, lists of such objects or texts, and maps; NULL: the action has none. */
void sqs_answer(struct request *q, struct json_t *result);

/* Owned: the URL of a queue, at the address that the caller has used. */
char *sqs_queue_url(struct request *q, const char *name);

#endif
