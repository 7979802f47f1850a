/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/xalloc.h"

enum { CHILD, NEXT, PREV };

struct clock {
	bool simulated;
	int64_t sim_now_ms;
	int64_t sim_wall_ms;
	uint64_t seq;
	struct timer *
	    root; /* pairing heap: O(1) insert, amortised O(log n) removal, no allocation */
};

int
clock_by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t
clock_real_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t
clock_real_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct clock *
clock_new_real(void)
{
	return xnew(struct clock);
}

struct clock *
clock_new_sim(int64_t wall_ms)
{
	struct clock *c = xnew(struct clock);

	c->simulated = true;
	c->sim_now_ms = 1000000;
	c->sim_wall_ms = wall_ms;
	return c;
}

void
clock_free(struct clock *c)
{
	if (!c)
		return;
	assert(!c->root);
	free(c);
}

int64_t
clock_now_ms(const struct clock *c)
{
	return c->simulated ? c->sim_now_ms : clock_real_now_ms();
}

int64_t
clock_wall_ms(const struct clock *c)
{
	return c->simulated ? c->sim_wall_ms : clock_real_wall_ms();
}

static bool
before(const struct timer *a, const struct timer *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static struct timer *
heap_merge(struct timer *a, struct timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (before(b, a)) {
		struct timer *t = a;
		a = b;
		b = t;
	}
	b->heap[NEXT] = a->heap[CHILD];
	if (b->heap[NEXT])
		b->heap[NEXT]->heap[PREV] = b;
	b->heap[PREV] = a;
	a->heap[CHILD] = b;
	return a;
}

static struct timer *
heap_merge_pairs(struct timer *first)
{
	struct timer *pairs = NULL, *merged = NULL;

	while (first) {
		struct timer *a = first, *b = a->heap[NEXT];

		first = b ? b->heap[NEXT] : NULL;
		a->heap[NEXT] = a->heap[PREV] = NULL;
		if (b)
			b->heap[NEXT] = b->heap[PREV] = NULL;
		a = heap_merge(a, b);
		a->heap[NEXT] = pairs;
		pairs = a;
	}
	while (pairs) {
		struct timer *next = pairs->heap[NEXT];

		pairs->heap[NEXT] = NULL;
		merged = heap_merge(merged, pairs);
		pairs = next;
	}
	return merged;
}

void
timer_off(struct timer *t)
{
	struct clock *c = t->clock;
	struct timer *rest;

	if (!c)
		return;
	if (c->root == t) {
		c->root = heap_merge_pairs(t->heap[CHILD]);
	} else {
		struct timer *prev = t->heap[PREV];

		if (prev->heap[CHILD] == t)
			prev->heap[CHILD] = t->heap[NEXT];
		else
			prev->heap[NEXT] = t->heap[NEXT];
		if (t->heap[NEXT])
			t->heap[NEXT]->heap[PREV] = prev;
		rest = heap_merge_pairs(t->heap[CHILD]);
		c->root = heap_merge(c->root, rest);
	}
	t->heap[CHILD] = t->heap[NEXT] = t->heap[PREV] = NULL;
	t->clock = NULL;
}

void
timer_set(struct clock *c, struct timer *t, int64_t delay_ms, timer_fn fn, void *arg)
{
	timer_off(t);
	*t = (struct timer){
	    .at_ms = clock_now_ms(c) + (delay_ms > 0 ? delay_ms : 0),
	    .seq = c->seq++,
	    .clock = c,
	    .fn = fn,
	    .arg = arg,
	};
	c->root = heap_merge(c->root, t);
}

int64_t
clock_next_ms(const struct clock *c)
{
	int64_t left;

	if (!c->root)
		return -1;
	left = c->root->at_ms - clock_now_ms(c);
	return left > 0 ? left : 0;
}

void
clock_run(struct clock *c)
{
	int64_t now = clock_now_ms(c);
	uint64_t last =
	    c->seq; /* a timer set to "now" by a timer waits for the next call */

	while (c->root && c->root->at_ms <= now && c->root->seq < last) {
		struct timer *t = c->root;

		timer_off(t);
		t->fn(t->arg);
	}
}

void
clock_sim_advance(struct clock *c, int64_t ms)
{
	int64_t end = c->sim_now_ms + ms;

	assert(c->simulated);
	while (c->root && c->root->at_ms <= end) {
		int64_t step = c->root->at_ms - c->sim_now_ms;

		if (step > 0) {
			c->sim_now_ms += step;
			c->sim_wall_ms += step;
		}
		clock_run(c);
	}
	c->sim_wall_ms += end - c->sim_now_ms;
	c->sim_now_ms = end;
}

void
clock_sim_step_wall(struct clock *c, int64_t ms)
{
	assert(c->simulated);
	c->sim_wall_ms += ms;
}

void
clock_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_MAX])
{
	time_t sec = (time_t)(wall_ms / 1000);
	struct tm tm;
	char date[24];

	gmtime_r(&sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out, CLOCK_RFC3339_MAX, "%s.%03dZ", date, (int)(wall_ms % 1000));
}
