/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_EC2_WORLD_H
#define TESTS_SUPPORT_EC2_WORLD_H

/* The endpoint's world without HTTP: fake machines, simulated time, calls as forms. */

#include <stdint.h>

#include "base/buf.h"

struct ec2_world {
	struct clock *clock;
	struct config *config;
	struct scenario *scenario;
	struct backend *backend;
	struct world *world;
	struct buf reply; /* of the last call: the members, or "CODE: message" */
	char code[96];	  /* of the last call: "" when it worked */
};

#define EC2_WORLD_WALL INT64_C(1790000000000)

/* `scenario` is the text of one; `path` of a database, or NULL: in memory. Aborts on failure. */
void ec2_world_open(struct ec2_world *t, const char *scenario, double speed,
    const char *path, int64_t wall_ms);
void ec2_world_close(struct ec2_world *t);

/* Calls an action of EC2 with a form ("MinCount=1&..."); returns the reply's text, valid until the next call. */
const char *ec2_world_call(
    struct ec2_world *t, const char *region, const char *action, const char *form);

/* As above; `form` has n bytes of anything. */
const char *ec2_world_call_bytes(struct ec2_world *t, const char *region,
    const char *action, const char *form, size_t n);

/* Lets simulated time go by, committing on the way. */
void ec2_world_pass(struct ec2_world *t, int64_t ms);

/* Copies the text of the first element of that name in the last reply; "" where there is none. Static buffer, of the last four calls. */
const char *ec2_world_text(struct ec2_world *t, const char *name);

/* How often an element is in the last reply. */
int ec2_world_count(struct ec2_world *t, const char *name);

#endif
