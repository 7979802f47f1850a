/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_THROTTLE_H
#define EC2_THROTTLE_H

/* AWS's token buckets (aws/bucket.h), one of each action and region; the speed multiplies their refills. */

#include <stdbool.h>

struct region;
struct request;

/* Takes a token for the request; false with RequestLimitExceeded as its failure. */
bool throttle_request(struct request *q);

/* The same for the instances that it would make, start, stop or end: after its parameters are known. */
bool throttle_resources(struct request *q, int n);

void throttle_fini(struct region *r);

#endif
