/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_LOOP_H
#define INIT_LOOP_H

/* What the machine waits for: descriptors by poll, and one point in time. The set is
   built anew for each wait, which costs nothing while nothing happens and leaves no
   registration to forget. Time is milliseconds of CLOCK_BOOTTIME: a deadline goes on
   while the host is suspended. */

#include <stdint.h>

#define LOOP_NEVER INT64_MAX

/* Called with what loop_add was given. The descriptor may have been closed by a callback
   before this one; whoever can be called so checks. */
typedef void (*loop_fn)(int index, int fd, short revents);

/* Makes the timer; dies if that cannot be. */
void loop_init(void);

/* For the next wait only. There is room for all that the modules' bounds allow. */
void loop_add(int fd, short events, loop_fn fn, int index);

/* Waits for one of the descriptors or for `until_ms`, empties the set, calls what is due.
 */
void loop_wait(int64_t until_ms);

int64_t loop_now_ms(void);

static inline int64_t
loop_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

#endif
