/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_FILES_H
#define CLI_FILES_H

/* Files of the user's: read with a bound, written whole or not at all. */

#include <stddef.h>

#include "base/err.h"

/* $HOME, else the password file's. Owned. */
char *files_home(void);

/* `path` made absolute by the working directory; it need not exist. Owned. */
char *files_absolute(const char *path);

/* $XDG_STATE_HOME/hearth (default ~/.local/state/hearth), made if it is not there, mode 0700. Refuses
   one that belongs to somebody else. Owned. */
int files_state_dir(char **ret, struct err *err) ERR_CHECK;

/* A directory of mode 0700, made if it is not there. Its parent must exist. */
int files_mkdir(const char *path, struct err *err) ERR_CHECK;

/* A whole file of at most `max` bytes. The text is owned and NUL-terminated. ERR_TOO_LARGE beyond the
   bound, ERR_INVALID for a directory. */
int files_read(
    const char *path, size_t max, char **ret, size_t *ret_len, struct err *err) ERR_CHECK;

/* Replaces `path` by `data` through a temporary file beside it: readers see the old or the new, and a
   full disk changes nothing. */
int files_write(const char *path, const char *data, size_t len, unsigned mode,
    struct err *err) ERR_CHECK;

#endif
