/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_WIRING_H
#define CLI_WIRING_H

/* The one line in ~/.ssh/config that makes plain ssh know the reservations by name. */

#include <stdbool.h>

#include "base/err.h"

/* Whether the user's ssh configuration includes `top` for every host. */
bool wiring_is_made(const char *top);

/* Puts the Include line at the top, before any Host or Match, keeping the rest and the file's mode. A
   symbolic link is followed. *ret_path (owned) is the file; *ret_changed false: it was there already. */
int wiring_make(
    const char *top, char **ret_path, bool *ret_changed, struct err *err) ERR_CHECK;

/* Whether ssh reads the file of wiring_make(): it takes the home directory from the password file, not
   from $HOME. */
bool wiring_is_read(void);

#endif
