/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_CONTROL_H
#define INIT_CONTROL_H

/*
 * What hearthd says to hearth-init, over a SOCK_SEQPACKET Unix socket in the host's file system
 * (RUNTIME/machines/ID/control.sock, mode 0600, owned by the daemon's user). Packets are text: a
 * word, then arguments separated by one space; at most CONTROL_PACKET_MAX bytes; no trailing NUL.
 *
 *   to hearth-init            answer
 *   "watch"                   "ready", then "sessions N" now and at each change. The end of the
 *                             connection is the end of the machine.
 *   "deadline S"              "ok": the machine ends itself S seconds from now, if that is sooner or
 *                             later than before. S = 0 ends it at once.
 *   "status"                  "status ready|starting deadline S sessions N"
 *   "message TEXT"            "ok": TEXT is written to every terminal in the machine
 *   "run TIMEOUT_S COMMAND"   any number of "out BYTES", then "exit CODE" (128 + n for a signal, 124
 *                             for the time-out). COMMAND goes to `sh -c` as root. One at a time per
 *                             connection; output beyond 64 KiB is dropped.
 *   "shutdown"                "ok": sessions get a SIGHUP, then the machine ends
 * Anything else is answered "error TEXT".
 *
 * "ready" means: port 22 and the Unix socket accept, and sshd and its keys are in place.
 */

#define CONTROL_PACKET_MAX 4096
#define CONTROL_OUTPUT_MAX 65536

#endif
