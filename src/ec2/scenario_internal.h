/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_SCENARIO_INTERNAL_H
#define EC2_SCENARIO_INTERNAL_H

/* A scenario as scenario_file.c reads it and scenario.c plays it. */

#include "ec2/scenario.h"

enum distribution_kind {
	DISTRIBUTION_FIXED,	/* a */
	DISTRIBUTION_UNIFORM,	/* from a to b */
	DISTRIBUTION_LOGNORMAL, /* median a, ninth decile b */
};

struct distribution {
	enum distribution_kind kind;
	double a, b; /* ms */
};

struct call_delay {
	char *action; /* owned */
	struct distribution delay;
};

struct scenario {
	double speed;
	int64_t seed;
	bool throttle;
	struct distribution delays[DELAY_MAX];
	struct call_delay *calls; /* owned */
	int n_calls;
	struct fault *faults; /* owned */
	int n_faults;
};

extern const char *const delay_names[DELAY_MAX];
extern const char *const fault_names[FAULT_MAX];

#endif
