/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_BUCKET_H
#define AWS_BUCKET_H

/*
 * Token buckets, as the EC2 API is throttled by (EC2 Developer Guide, "Request throttling for the Amazon EC2
 * API"): a capacity, and a refill per second. The same table serves both sides: our client stays below it,
 * our endpoint enforces it. Time is given, in milliseconds.
 */

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	double capacity;
	double per_s;
	double tokens;
	int64_t at_ms; /* when `tokens` was right */
};

/* Full at now_ms. */
void bucket_init(struct bucket *b, double capacity, double per_s, int64_t now_ms);

/* Takes n tokens if they are there. */
bool bucket_take(struct bucket *b, double n, int64_t now_ms);

/* Milliseconds until n tokens are there: 0 when they are; n above the capacity counts as the capacity. */
int64_t bucket_wait_ms(const struct bucket *b, double n, int64_t now_ms);

/* Empties it: the other side has said that we are too fast. */
void bucket_drain(struct bucket *b, int64_t now_ms);

/* What AWS grants an action per account and region. `resource_*` are per instance, not per request; 0: the
   action has no such bucket. `unfiltered_*`: of a Describe that is neither filtered nor paged; 0: the same. */
struct bucket_limits {
	double capacity, per_s;
	double resource_capacity, resource_per_s;
	double unfiltered_capacity, unfiltered_per_s;
};
struct bucket_limits bucket_limits_of(const char *action);

#endif
