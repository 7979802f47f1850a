/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_NOTIFY_H
#define HOST_NOTIFY_H

/* sd_notify(3)'s protocol, by hand: one datagram. Says `state` ("READY=1") to whoever
   started us, if it asked for that by $NOTIFY_SOCKET; nobody to tell is no error. Never
   blocks. */
void notify(const char *state);

/* "RELOADING=1" with the time that Type=notify-reload wants. */
void notify_reloading(void);

#endif
