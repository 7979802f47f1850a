/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_SERVER_H
#define EC2_SERVER_H

/* The process: what is opened in which order, and closed again. */

#include "base/err.h"

struct config;
struct server;

/* Takes the configuration, also when it fails. With local machines: as root, which is given up here. */
int server_open(struct config *config, const char *config_path, struct server **ret,
    struct err *err) ERR_CHECK;

/* Serves until SIGTERM or SIGINT; returns the exit status. */
int server_run(struct server *s);
void server_close(struct server *s);

/* Ends every local machine there is, and puts the host back. Nobody else may be serving. */
int server_teardown(const struct config *config, struct err *err) ERR_CHECK;

#endif
