/* SPDX-License-Identifier: Apache-2.0 */
#include "fixed_credentials.h"

#include <stddef.h>
#include <string.h>

static void
answer(struct credentials *c, credentials_fn fn, void *arg)
{
	const struct credentials_key key = {.access_key_id = c->id,
	    .secret_access_key = c->secret,
	    .session_token = c->token,
	    .source = "the test"};
	struct err err;

	if (c->id) {
		fn(arg, &key, NULL);
		return;
	}
	err_set(&err, ERR_NOT_FOUND, "no AWS credentials");
	err_hint(&err, "set AWS_ACCESS_KEY_ID");
	fn(arg, NULL, &err);
}

void
credentials_get(struct credentials *c, credentials_fn fn, void *arg)
{
	c->gets++;
	if (!c->later) {
		answer(c, fn, arg);
		return;
	}
	c->waiting_fn = fn;
	c->waiting_arg = arg;
}

void
fixed_credentials_answer(struct credentials *c)
{
	credentials_fn fn = c->waiting_fn;

	c->waiting_fn = NULL;
	if (fn)
		answer(c, fn, c->waiting_arg);
}

void
credentials_rejected(struct credentials *c, const char *access_key_id)
{
	if (!c->id || strcmp(access_key_id, c->id) != 0)
		return;
	c->rejections++;
	if (c->id_after_rejection)
		c->id = c->id_after_rejection;
	c->id_after_rejection = c->id_after_next;
}
