/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/bucket.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define WAIT_MAX_MS (3600 * 1000)
/* What a sum of refills may fall short of a whole token. */
#define EPSILON 1e-6

static double
tokens_at(const struct bucket *b, int64_t now_ms)
{
	int64_t ms = now_ms > b->at_ms ? now_ms - b->at_ms : 0;

	return fmin(b->capacity, b->tokens + b->per_s * (double)ms / 1000);
}

void
bucket_init(struct bucket *b, double capacity, double per_s, int64_t now_ms)
{
	*b = (struct bucket){capacity, per_s, capacity, now_ms};
}

bool
bucket_take(struct bucket *b, double n, int64_t now_ms)
{
	double there = tokens_at(b, now_ms);

	if (there + EPSILON < n)
		return false;
	b->tokens = there - n;
	b->at_ms = now_ms;
	return true;
}

int64_t
bucket_wait_ms(const struct bucket *b, double n, int64_t now_ms)
{
	double missing = fmin(n, b->capacity) - tokens_at(b, now_ms), ms;

	if (missing <= EPSILON)
		return 0;
	/* a little less than take() forgives: it is never too early for that */
	ms = ceil((missing - EPSILON * 0.999) * 1000 / b->per_s);
	return ms < WAIT_MAX_MS ? (int64_t)ms
				: WAIT_MAX_MS; /* also where nothing is refilled */
}

void
bucket_drain(struct bucket *b, int64_t now_ms)
{
	b->tokens = 0;
	b->at_ms = now_ms;
}

#define INSTANCES_SLOW 1000, 2
#define INSTANCES_FAST 1000, 20
#define UNFILTERED 50, 10

/* clang-format off */
/* EC2 Developer Guide, "Request throttling for the Amazon EC2 API", tables of request and resource rates. */
static const struct {
	const char *action; /* '*' at the end: any that begins so; the first that fits counts */
	struct bucket_limits limits;
} table[] = {
	{ "RunInstances",              { 5, 2, INSTANCES_SLOW } },
	{ "StartInstances",            { 5, 2, INSTANCES_SLOW } },
	{ "StopInstances",             { 50, 5, INSTANCES_FAST } },
	{ "TerminateInstances",        { 100, 5, INSTANCES_FAST } },
	{ "CreateVolume",              { 100, 5 } },
	{ "DeleteVolume",              { 100, 5 } },
	{ "CreateSnapshot",            { 100, 5 } },
	{ "DeleteSnapshot",            { 100, 5 } },
	{ "CreateNetworkInterface",    { 100, 5 } },
	{ "DeleteNetworkInterface",    { 100, 5 } },
	{ "DeregisterImage",           { 100, 5 } },
	{ "CreateTags",                { 100, 10 } },
	{ "DeleteTags",                { 100, 10 } },
	{ "DescribeInstances",         { 100, 20, 0, 0, UNFILTERED } },
	{ "DescribeInstanceStatus",    { 100, 20, 0, 0, UNFILTERED } },
	{ "DescribeNetworkInterfaces", { 100, 20, 0, 0, UNFILTERED } },
	{ "DescribeSecurityGroups",    { 100, 20, 0, 0, UNFILTERED } },
	{ "DescribeSnapshots",         { 100, 20, 0, 0, UNFILTERED } },
	{ "DescribeVolumes",           { 100, 20, 0, 0, UNFILTERED } },
	{ "Describe*",                 { 100, 20 } },
	{ "Get*",                      { 100, 20 } },
	{ "List*",                     { 100, 20 } },
	{ "Search*",                   { 100, 20 } },
	{ "*",                         { 50, 5 } },
};
/* clang-format on */

struct bucket_limits
bucket_limits_of(const char *action)
{
	size_t i = 0;

	for (;; i++) {
		size_t n = strlen(table[i].action);
		bool prefix = table[i].action[n - 1] == '*';

		if (prefix ? strncmp(action, table[i].action, n - 1) == 0
			   : strcmp(action, table[i].action) == 0)
			return table[i].limits;
	}
}
