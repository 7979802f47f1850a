/* SPDX-License-Identifier: Apache-2.0 */

/* EC2 Instance Connect: AWS puts a public key into a machine's reach for a minute (SendSSHPublicKey, JSON 1.1). The image
   must have its package, as Amazon Linux does. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"

#define TARGET "AWSEC2InstanceConnectService.SendSSHPublicKey"
#define CONNECT_MS 15000

struct connect {
	struct ec2 *e;
	struct ec2_answer *a;
	char *keys; /* owned: lines that are still to be sent */
	char *next; /* in keys */
	char ref[EC2_REF_MAX];
	char login[64];
};

static void send_next(struct connect *c);

static void
connect_free(struct connect *c)
{
	free(c->keys);
	free(c);
}

static void
sent(void *arg, const char *body, const struct aws_error *aws, const struct err *err)
{
	struct connect *c = arg;

	if (c->e->closing) {
		connect_free(c);
	} else if (err && err->code != ERR_NONE) {
		ec2_answer_give(c->a, NULL, err);
		connect_free(c);
	} else {
		send_next(c);
	}
}

static void
quoted(struct buf *b, const char *s)
{
	buf_char(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_char(b, '\\');
		if ((unsigned char)*s >= ' ')
			buf_char(b, *s);
	}
	buf_char(b, '"');
}

static void
send_next(struct connect *c)
{
	struct aws_call_options opt = {.repeatable = true, .deadline_ms = CONNECT_MS};
	AUTO_BUF struct buf b = BUF_INIT(0);
	char *line = strsep(&c->next, "\n");

	while (line && *line == '\0')
		line = strsep(&c->next, "\n");
	if (!line) {
		ec2_answer_give(c->a, NULL, &(struct err){0});
		connect_free(c);
		return;
	}
	buf_str(&b, "{\"InstanceId\":");
	quoted(&b, c->ref);
	buf_str(&b, ",\"InstanceOSUser\":");
	quoted(&b, c->login);
	buf_str(&b, ",\"SSHPublicKey\":");
	quoted(&b, line);
	buf_char(&b, '}');
	(void)aws_json(c->e->eic, TARGET, b.data, &opt, sent, c);
}

static int
open_client(struct ec2 *e, struct err *err)
{
	struct aws_client_options opt = {.clock = e->env.clock,
	    .fetcher = e->fetcher,
	    .credentials = e->credentials,
	    .service = "ec2-instance-connect",
	    .region = e->settings.region,
	    .endpoint = e->settings.endpoint,
	    .bucket_speed = e->settings.speed};

	return e->eic ? 0 : aws_client_new(&opt, &e->eic, err);
}

void
ec2_connect_keys(struct ec2_machine *m, const char *keys, struct ec2_answer *a)
{
	struct connect *c;
	struct err err;

	if (open_client(m->e, &err) < 0) {
		ec2_answer_later(a, NULL, &err);
		return;
	}
	c = xnew(struct connect);
	c->e = m->e;
	c->a = a;
	c->next = c->keys = xstrdup(keys);
	memcpy(c->ref, m->ref, sizeof(c->ref));
	(void)snprintf(c->login, sizeof(c->login), "%s", m->login);
	send_next(c);
}
