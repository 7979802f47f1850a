/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that EC2 Instance Connect pushes: written to where the instance's AuthorizedKeysCommand reads them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "ec2/instance.h"
#include "ec2/local_internal.h"
#include "init/control.h"
#include "net/loop.h"
#include "provider/local/control.h"
#include "ssh/pubkey.h"

#define PUSH_MS 5000
#define KEPT 16 /* keys of a user; each a minute old at most */

struct push {
	struct list in_local;
	struct local *l;
	struct control *control; /* owned; NULL: closed */
	struct timer timer;
	backend_done_fn done;
	void *arg;
	struct err err; /* of one that could not begin */
};

/* `err` may be the push's own. */
static void
push_over(struct push *p, const struct err *err)
{
	timer_off(&p->timer);
	control_close(p->control);
	list_remove(&p->in_local);
	p->done(p->arg, err);
	free(p);
}

static void
on_refused(void *arg)
{
	struct push *p = arg;

	push_over(p, &p->err);
}

static void
on_overdue(void *arg)
{
	struct push *p = arg;

	err_set(&p->err, ERR_UNAVAILABLE, "the instance does not answer");
	push_over(p, &p->err);
}

static void
heard(void *arg, char *text, size_t n)
{
	struct push *p = arg;

	if (text && strncmp(text, "out ", 4) == 0)
		return;
	if (!text)
		p->control = NULL;
	if (text && strcmp(text, "exit 0") == 0) {
		push_over(p, NULL);
		return;
	}
	err_set(&p->err, ERR_UNAVAILABLE, "the instance did not take the key: %.100s",
	    text ? text : "it has ended");
	push_over(p, &p->err);
}

static bool
is_user(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= 32 && s[0] != '-' && s[0] != '.' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789_.-") == n;
}

/* The key's own line, without what else was sent: it goes through a shell. */
static int
write_command(
    struct buf *b, const char *user, const char *key, int seconds, struct err *err)
{
	struct ssh_pubkey parsed = {0};
	char *line;

	if (!is_user(user))
		return err_set(err, ERR_INVALID, "'%.32s' is no user's name", user);
	if (ssh_pubkey_parse(key, strlen(key), &parsed, err) < 0)
		return -1;
	free(parsed.comment);
	parsed.comment = xstrdup("");
	line = ssh_pubkey_line(&parsed);
	buf_fmt(b,
	    "run %d cd /run/hearth && mkdir -p eic && cd eic && touch %s && { tail -n %d "
	    "%s; "
	    "echo \"$(($(date +%%s) + %d))\" '%s'; } >%s.new && mv %s.new %s",
	    PUSH_MS / 1000, user, KEPT - 1, user, seconds, line, user, user, user);
	free(line);
	ssh_pubkey_fini(&parsed);
	if (b->overflow)
		return err_set(err, ERR_TOO_LARGE, "the key is too long");
	return 0;
}

static int
send_command(struct push *p, const char *id, const char *text, struct err *err)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "machines/%s/control.sock", id);
	if (control_open(loop_uv(p->l->env.loop), path, heard, p, &p->control, err) < 0)
		return -1;
	return control_send(p->control, text, err);
}

void
local_push_key(struct backend *b, struct instance *i, const char *user, const char *key,
    int seconds, backend_done_fn done, void *arg)
{
	struct local *l = local_of(b);
	struct push *p = xnew(struct push);
	AUTO_BUF struct buf text = BUF_INIT(CONTROL_PACKET_MAX);
	char id[LAUNCHER_ID_MAX];

	*p = (struct push){.l = l, .done = done, .arg = arg};
	list_init(&p->in_local);
	list_push_back(&l->jobs, &p->in_local);
	local_machine_id(i->o.id, id);
	if (write_command(&text, user, key, seconds, &p->err) < 0 ||
	    send_command(p, id, text.data, &p->err) < 0)
		timer_set(l->env.clock, &p->timer, 0, on_refused, p);
	else
		timer_set(l->env.clock, &p->timer, PUSH_MS, on_overdue, p);
}

void
local_keys_close(struct local *l)
{
	struct err err;

	err_set(&err, ERR_CANCELLED, "hearth-ec2 is stopping");
	while (!list_empty(&l->jobs))
		push_over(list_entry(l->jobs.next, struct push, in_local), &err);
}
