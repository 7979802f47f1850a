/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_FIXED_CREDENTIALS_H
#define TESTS_SUPPORT_FIXED_CREDENTIALS_H

/*
 * aws/credentials.h with keys that a test sets, linked in the place of the real one. `struct credentials` is this.
 */

#include <stdbool.h>

#include "aws/credentials.h"

struct credentials {
	const char *id, *secret, *token; /* id NULL: nobody has any */
	const char *id_after_rejection;	 /* NULL: the same */
	const char *id_after_next;	 /* and after the next one */
	bool later; /* answers when fixed_credentials_answer() says so */
	int gets, rejections;
	credentials_fn waiting_fn;
	void *waiting_arg;
};

/* To the one who waits, if anybody does. */
void fixed_credentials_answer(struct credentials *c);

#endif
