/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SSHTEST_H
#define TESTS_UNIT_SSHTEST_H

/* A scratch directory and the real ssh-keygen, for tests that compare ours with
   OpenSSH's. Failing to set up ends the test. */

#include <stdbool.h>
#include <stddef.h>

/* A cmocka group's set-up and tear-down: a fresh directory, which becomes the working
   directory, and its removal with all that is in it. */
int sshtest_enter(void **state);
int sshtest_leave(void **state);

/* The program's output, stdout and stderr together, as an owned string; *ret_status is
   its exit status. argv ends in NULL. */
char *sshtest_run(int *ret_status, const char *const argv[]);

/* ssh-keygen with these arguments, which must succeed. Owned. */
#define sshtest_keygen(...)                                                              \
	sshtest_keygen_argv((const char *const[]){"ssh-keygen", __VA_ARGS__, NULL})
char *sshtest_keygen_argv(const char *const argv[]);

void sshtest_write(const char *name, const void *data, size_t n);
char *sshtest_read(const char *name, size_t *ret_n);

#endif
