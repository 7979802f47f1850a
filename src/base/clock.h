/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/*
 * Time and timers. Everything that waits takes its time from a `struct clock`, so that a test can
 * run the whole core on simulated time: the same code, with clock_sim_advance() in the place of the
 * event loop. One thread owns a clock.
 *
 * "now" is milliseconds of CLOCK_BOOTTIME (never goes back, counts suspend); "wall" is milliseconds
 * since 1970 UTC.
 */

#include <stdbool.h>
#include <stdint.h>

struct clock;

/* Called from clock_run(). The timer is off when this runs, and may be set again or freed here. */
typedef void (*timer_fn)(void *arg);

struct timer {
	int64_t at_ms;
	uint64_t seq; /* order among equals: first set, first run */
	struct timer
	    *heap[3];	     /* pairing heap: child, next sibling, previous (or parent) */
	struct clock *clock; /* borrowed; NULL while off */
	timer_fn fn;
	void *arg;
};

struct clock *clock_new_real(void);

/* Starts at now = 1,000,000 ms and the given wall time; moves only by clock_sim_advance(). */
struct clock *clock_new_sim(int64_t wall_ms);

/* Every timer must be off. */
void clock_free(struct clock *c);

int64_t clock_now_ms(const struct clock *c);
int64_t clock_wall_ms(const struct clock *c);

/* Sets or moves a timer to `delay_ms` from now (below 0 counts as 0). */
void timer_set(
    struct clock *c, struct timer *t, int64_t delay_ms, timer_fn fn, void *arg);
void timer_off(struct timer *t);
static inline bool
timer_is_on(const struct timer *t)
{
	return t->clock != 0;
}

/* Milliseconds until the first timer is due: 0 when one is, -1 when none is set. */
int64_t clock_next_ms(const struct clock *c);

/* Runs the timers that were due when it was called. */
void clock_run(struct clock *c);

/* Simulated time: moves from timer to timer, running each at its own time, until `ms` have gone by. */
void clock_sim_advance(struct clock *c, int64_t ms);

/* Simulated time: a jump of the wall clock alone, as when somebody sets it. */
void clock_sim_step_wall(struct clock *c, int64_t ms);

/* RFC 3339 UTC with milliseconds, as in "2026-11-22T05:42:33.000Z". */
#define CLOCK_RFC3339_MAX 32
void clock_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_MAX]);

/* For qsort: int64_t times, the earliest first. */
int clock_by_time(const void *a, const void *b);

/* Whole milliseconds of CLOCK_REALTIME and CLOCK_BOOTTIME, for code that holds no clock. */
int64_t clock_real_wall_ms(void);
int64_t clock_real_now_ms(void);

#endif
