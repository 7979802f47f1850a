/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SSH_BANNER_H
#define SSH_BANNER_H

/*
 * What an SSH server says first (RFC 4253 section 4.2): perhaps some lines of its own,
 * then "SSH-2.0-software comments". Fed with bytes as they come; no sockets here.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SSH_BANNER_LINE_MAX 255 /* with CR LF, by the RFC */
#define SSH_BANNER_LINES_MAX 32 /* in front of the identification; ours sends none */

enum ssh_banner_state { SSH_BANNER_READING, SSH_BANNER_DONE, SSH_BANNER_FAILED };

struct ssh_banner {
	enum ssh_banner_state state;
	size_t len;
	size_t lines;
	char
	    line[SSH_BANNER_LINE_MAX]; /* once done: the identification, NUL-terminated */
};

/* Takes more bytes. 0 while it is reading or once it is done, see `state`; bytes after
   the identification are left alone. -1 (ERR_UNAVAILABLE) when this is no SSH server that
   we can talk to; feed it no more then. A zeroed struct is a new one. */
int ssh_banner_feed(
    struct ssh_banner *b, const void *data, size_t n, struct err *err) ERR_CHECK;

#endif
