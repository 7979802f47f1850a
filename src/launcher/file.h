/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_FILE_H
#define LAUNCHER_FILE_H

/* Files and trees below an open directory. Nothing here follows a symbolic link in the last
   component. All of it blocks. */

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Makes a new file with exactly this owner and mode. The name must not exist. */
ERR_CHECK int file_create_at(int dirfd, const char *name, const void *data, size_t n,
    mode_t mode, uid_t owner, struct err *err);

/* Writes `text` to a file that exists, with one write(2), as the kernel's files want it. Returns 0 or
   an errno value: many callers have an errno they expect. */
ERR_CHECK int file_put_at(int dirfd, const char *name, const char *text);

/* Reads a text file into buf and terminates it. Returns 0 or an errno value: EFBIG when the file does
   not fit. */
ERR_CHECK int file_get_at(int dirfd, const char *name, char *buf, size_t size);

/* Makes the directory unless it is there and opens it. Refused when it is not owned by root or others
   may write in it: the launcher walks only where nobody can plant anything. */
ERR_CHECK int dir_open_at(
    int dirfd, const char *name, mode_t mode, int *ret_fd, struct err *err);

/* Deletes a directory and all that is in it, however deep (no recursion: subdirectories that are not
   empty are moved up to the top), without crossing into a mount. Fine when it is gone. Another process
   may be deleting the same tree. */
ERR_CHECK int tree_remove_at(int dirfd, const char *name, struct err *err);

#endif
