/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_CONTROL_H
#define INIT_CONTROL_H

/*
 * How hearth-init is started, and what hearthd says to it.
 *
 *   hearth-init --ssh-fd N --control-fd N --lease SECONDS|--console-fd N [--port PORT]
 *
 * It must be PID 1 of its pid namespace, root there, with the machine's root and mounts
 * in place and /dev/null on 0, 1 and 2. N are listening Unix sockets, 3 or above: a
 * SOCK_STREAM one whose connections are given to sshd, and a SOCK_SEQPACKET one for what
 * follows. The lease is the first deadline, 0 to CONTROL_SECONDS_MAX from now. PORT is 22
 * unless given; 0 means no TCP listener. With --console-fd, a file that is open for reading and writing, the machine is an instance
 * (instance.h): it has no lease, sshd runs with /etc/ssh/sshd_config, and signals 37 and 38 end it, 39 reboots it, as
 * SIGRTMIN+3 to +5 do with systemd. Wrong arguments: one line on stderr, exit
 * code 2. When it exits the kernel ends all that is in the machine.
 *
 * Over the control socket, which the launcher bound in the host's file system
 * (RUNTIME/machines/ID/control.sock, mode 0600, owned by the daemon's user), packets are
 * text: a word, then arguments separated by one space; at most CONTROL_PACKET_MAX bytes;
 * no trailing NUL, no NUL inside. An empty packet ends the connection, as its end does.
 *
 *   to hearth-init            answer
 *   "watch"                   "ready", then "sessions N" now and at each change. The end
 * of the connection is the end of the machine. "deadline S"              "ok": the
 * machine ends itself S seconds from now, if that is sooner or later than before. S = 0
 * ends it at once. "status"                  "status ready|starting deadline S sessions
 * N", S rounded up "message TEXT"            "ok": TEXT is written to every terminal in
 * the machine "warning TEXT"            "ok": TEXT follows "hearth: this machine ends in
 * 5 minutes; " in the message that every terminal gets CONTROL_WARNING_S before the
 * deadline, or at once when a nearer deadline is set and there are sessions. At most
 *                             CONTROL_WARNING_MAX bytes; empty for none
 *   "run TIMEOUT_S COMMAND"   any number of "out BYTES", then "exit CODE" (128 + n for a
 * signal, 124 for the time-out). COMMAND goes to `sh -c` as root. One at a time per
 *                             connection; output beyond CONTROL_OUTPUT_MAX is dropped.
 * The time-out and the end of the connection kill it and its process group. "shutdown"
 * "ok": sessions get a SIGHUP, then the machine ends, 1 s later at most (5 s in an instance)
 *   "reboot"                  "ok": all that runs in the instance ends, then it boots again. Whoever watches gets
 *                             "rebooting", also when it was somebody inside, and "ready" when it is; and "ending" before
 *                             an instance ends in order
 * Anything else is
 * answered "error TEXT". In message and warning, control characters become '?'.
 *
 * There are at most CONTROL_CLIENTS_MAX connections; one more is told so and closed. A
 * client that does not read what it asked for is dropped.
 *
 * "ready" means: port 22 and the Unix socket accept, and sshd and its keys are in place.
 * A session is a connection whose login sshd has accepted, until its sshd is gone.
 */

#define CONTROL_PACKET_MAX 4096
#define CONTROL_OUTPUT_MAX 65536
#define CONTROL_WARNING_MAX 400
#define CONTROL_WARNING_S 300
#define CONTROL_SECONDS_MAX 315360000 /* ten years, also for run's time-out */
#define CONTROL_CLIENTS_MAX 8

#endif
