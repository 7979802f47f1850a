/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/idempotent.h"

#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/action.h"
#include "ec2/request.h"
#include "ec2/scenario.h"

#define CLIENT_TOKEN_MAX                                                                 \
	64 /* EC2 API Reference, "Ensuring idempotency": ASCII characters */

/* clang-format off */
static const struct attr token_attrs[] = {
	ATTR(token, ATTR_TEXT, digest),
	ATTR(token, ATTR_LIST, ids),
	{ NULL },
};
/* clang-format on */

static void
token_due(struct object *o)
{
	object_remove(o);
}

const struct kind kind_token = {
    .name = "token",
    .size = sizeof(struct token),
    .attrs = token_attrs,
    .due = token_due,
};

#define TOKEN_ID_MAX (CLIENT_TOKEN_MAX + 80)

static bool
token_id(struct request *q, const char *token, char ret[TOKEN_ID_MAX])
{
	if (!token || !*token)
		return false;
	(void)snprintf(ret, TOKEN_ID_MAX, "token:%s:%s", q->action->name, token);
	return true;
}

const struct token *
idempotent_find(struct request *q)
{
	const char *given = request_text(q, "ClientToken");
	char id[TOKEN_ID_MAX], digest[REQUEST_DIGEST_MAX];
	const struct token *t;

	if (given && strlen(given) > CLIENT_TOKEN_MAX) {
		request_fail(q, "InvalidParameterValue",
		    "Value (%.100s) for parameter clientToken is invalid. Expected at "
		    "most %d ASCII characters.",
		    given, CLIENT_TOKEN_MAX);
		return NULL;
	}
	if (!token_id(q, given, id))
		return NULL;
	t = region_find(q->region, &kind_token, id);
	if (!t)
		return NULL;
	request_digest(q, digest);
	if (strcmp(digest, t->digest) == 0)
		return t;
	request_fail(q, "IdempotentParameterMismatch",
	    "Arguments on this idempotent request are inconsistent with arguments used "
	    "in "
	    "previous request(s).");
	return NULL;
}

void
idempotent_keep(struct request *q, const char *made)
{
	char id[TOKEN_ID_MAX], digest[REQUEST_DIGEST_MAX];
	struct token *t;

	if (!token_id(q, request_text(q, "ClientToken"), id))
		return;
	t = region_find(q->region, &kind_token, id);
	if (!t) {
		request_digest(q, digest);
		t = object_new(q->region, &kind_token, id);
		t->digest = xstrdup(digest);
		object_after(&t->o, scenario_delay(q->world, DELAY_TOKEN));
	}
	texts_add(&t->ids, made);
	object_changed(&t->o);
}
