/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_DISPATCH_H
#define EC2_DISPATCH_H

/* An action with all that may come between it and its caller on AWS: throttling, and faults of the scenario. */

#include <stdbool.h>
#include <stdint.h>

struct request;

/* Whether the action may be done at all. False: a failure is recorded, and nothing was done. */
bool dispatch_admit(struct request *q);

/* Does it. *ret_lost: it was done, but the reply is to be lost. */
void dispatch_run(struct request *q, bool *ret_lost);

/* For an action that is done later: `before` is the world's seq from before it was. */
void dispatch_made(struct request *q, uint64_t before);

#endif
