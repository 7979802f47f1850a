/* SPDX-License-Identifier: Apache-2.0 */
/* STS, as far as tools ask it who they are. */
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/world.h"

static void
get_caller_identity(struct request *q)
{
	if (!request_ready(q))
		return;
	reply_open(&q->reply, "GetCallerIdentityResult");
	reply_fmt(&q->reply, "Arn", "arn:aws:iam::%s:user/%s", q->world->account,
	    q->access_key_id);
	reply_text(&q->reply, "UserId", q->access_key_id);
	reply_text(&q->reply, "Account", q->world->account);
	reply_close(&q->reply);
}

const struct action sts_actions[] = {
    {"GetCallerIdentity", get_caller_identity, ACTION_READ},
    {NULL},
};
