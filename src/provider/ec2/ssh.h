/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_SSH_H
#define PROVIDER_EC2_SSH_H

/*
 * The daemon's own way into a machine: OpenSSH's ssh, as root, one child per command, so many at a time and the rest
 * in line. Host keys are checked strictly against a file of ours; nobody's configuration, agent or known hosts
 * count. What a command says is bounded, and secrets go by its standard input, never by its arguments.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct clock;
struct ssh_job;
struct ssh_runner;
struct uv_loop_s;

#define SSH_OUTPUT_MAX 65536
#define SSH_LOST 255 /* exit code of ssh itself, when there is no connection */

/* `key` is the path of the private key. All borrowed but the path. */
struct ssh_runner *ssh_runner_new(
    struct uv_loop_s *uv, struct clock *clock, const char *key);

/* Kills what runs; nobody is told. NULL is nothing. */
void ssh_runner_close(struct ssh_runner *r);

/* All copied. */
struct ssh_command {
	const char *address;
	int port;
	const char *known_hosts; /* path */
	const char *alias;	 /* the host's name in that file */
	const char *key_types;	 /* of host keys: what must be presented */
	const char *command;	 /* for the machine's shell */
	const char *input;	 /* its standard input; wiped when it was written */
	size_t input_len;
	int64_t timeout_ms; /* from when it begins; 0: 30 s */
};

/* err: it could not be run, there was no connection (ERR_UNAVAILABLE), or it did not end in time. `output` is what
   the command wrote to its standard output, NUL bytes replaced, at most SSH_OUTPUT_MAX. */
typedef void (*ssh_done_fn)(
    void *arg, int exit_code, const char *output, const struct err *err);

/* Never calls done before it returns. */
struct ssh_job *ssh_run(
    struct ssh_runner *r, const struct ssh_command *c, ssh_done_fn done, void *arg);

/* done is not called any more; the child is killed. NULL is nothing. */
void ssh_cancel(struct ssh_job *j);

#endif
