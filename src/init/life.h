/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_LIFE_H
#define INIT_LIFE_H

/*
 * The machine's life, from its start to its deadline. The deadline is kept here, in PID
 * 1, so that a machine goes away even if the daemon never comes back.
 *
 *   STARTING --sshd, its keys and the listeners are there--> READY
 *      |'-------------- deadline or shutdown -----------------'---> ENDING --> exit
 *      '--- all gone --- REBOOTING <--- reboot, of an instance ---'
 *   STARTING waits for the files and the port, looking again after 20 ms, then less and
 * less often; ENDING waits for the last process inside, 1 s at most, 5 s in
 * an instance; so does REBOOTING, and then kills.
 */

#include <stdbool.h>
#include <stdint.h>

/* A lease below 0 is none: the machine lives until it is told otherwise. */
void life_init(int64_t lease_s, uint16_t port);

/* Does what is due; returns when it wants to be called again at the latest. */
int64_t life_tick(int64_t now_ms);

bool life_is_ready(void);

/* Every process inside has ended and is reaped. */
void life_all_gone(void);

void life_set_deadline(int64_t seconds);
int64_t life_seconds_left(void); /* rounded up */

/* What is said after "hearth: this machine ends in 5 minutes; ". At most
   CONTROL_WARNING_MAX bytes, or it returns -1. */
int life_set_warning(const char *text);

/* As if the deadline were now. */
void life_end(void);

/* Ends everything but PID 1, then starts an instance's boot again. Nothing for other machines. */
void life_reboot(void);

#endif
