/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_INSTANCE_H
#define INIT_INSTANCE_H

/*
 * What PID 1 does for an instance of hearth-ec2 and for no other machine: it runs INSTANCE_BOOT at every boot, and keeps
 * what is written to /dev/console, a FIFO, in a file of the host's that it was given.
 */

#include <stdbool.h>
#include <stdint.h>

#define INSTANCE_BOOT "/usr/local/lib/hearth/boot"

/* INSTANCE_BOOT makes this when logins may begin; PID 1 removes it at a reboot. */
#define INSTANCE_UP "/run/hearth/up"

/* While this is there, connections are closed at once: "systemctl stop sshd". */
#define INSTANCE_CLOSED "/run/hearth/sshd-closed"

/* What is kept of the console: between one and two times as much. */
#define INSTANCE_CONSOLE_MAX (64 << 10)

/* This machine is an instance. `console_fd` is the file, open for reading and writing; owned. */
void instance_init(int console_fd);
bool instance_is(void);

/* Starts INSTANCE_BOOT, with "start" or, `again`, "reboot". */
void instance_boot(bool again);

/* Adds what it waits for to the loop. */
void instance_watch(void);

#endif
