/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

/* One ssh to a reservation's machine. */

#include <jansson.h>

#include "cli/cli.h"

struct key;

/* Makes sure that the saved files are for the machine, and the deadline, that reservation *r has now;
   asks for new certificates where they are not, or `force`. `key` NULL: the one used before, else the
   default one. *r is replaced by its newest form. */
int session_refresh(struct cli *cli, const char *state_dir, const struct key *key,
    bool force, json_t **r, struct err *err) ERR_CHECK;

/* Runs ssh with the options `opts` (NULL-terminated) and the command `cmd` (NULL-terminated; NULL: a
   login), and returns its exit code; 128 + n when signal n ended it. A machine that the daemon swaps for
   another because nobody can reach it is followed to the new one. One word of `cmd` is a line for the
   machine's shell; several are handed over as they are. */
int session_run(struct cli *cli, const char *state_dir, json_t **r,
    const char *const *opts, char *const *cmd, int *ret_code, struct err *err) ERR_CHECK;

#endif
