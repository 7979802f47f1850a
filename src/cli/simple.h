/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SIMPLE_H
#define CLI_SIMPLE_H

/* Commands that are one call and one picture of its reply. */

#include <jansson.h>

#include "cli/cli.h"
#include "cli/view.h"

/* `hearth KIND list`, without options. */
int simple_list(struct cli *cli, int argc, char **argv, const char *path,
    const struct view_column *cols, struct err *err) ERR_CHECK;

/* `hearth KIND show X`: *ret (owned) is the object, NULL when only help was asked for. */
int simple_get(struct cli *cli, int argc, char **argv, const char *kind, const char *what,
    json_t **ret, struct err *err) ERR_CHECK;

/* JSON with --json, else the columns. */
void simple_print(struct cli *cli, const json_t *obj, const struct view_column *cols);

#endif
