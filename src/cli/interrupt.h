/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

/* SIGINT, SIGTERM and SIGHUP while something of ours is half made: they are noted, and end waits, instead
   of ending the program. */

#include <stdbool.h>
#include <stdint.h>

struct client;

/* From here on the three are blocked but while `c` waits for the daemon (or interrupt_sleep sleeps). One
   that the parent ignores, as nohup(1) does with SIGHUP, stays ignored. */
void interrupt_begin(struct client *c);

/* The signal that came last, 0 for none. interrupt_clear() does not change it. */
int interrupt_signal(void);

/* Lets waits begin again after a signal. */
void interrupt_clear(void);

/* False when a signal cut it short. */
bool interrupt_sleep(int64_t ms);

#endif
