/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/efs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/body.h"
#include "aws/credentials.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"

#define CALL_MS 60000
#define FILE_SYSTEM_MS 180000
#define POINT_MS 120000
#define MOUNT_MS 60000
#define OWNER 1000 /* of the files: an access point makes everybody this one */

/* ---- what all of them have in common ---- */

void
efs_thing_init(struct efs_thing *t, struct efs *f)
{
	t->efs = f;
	list_init(&t->waiting);
}

bool
efs_thing_need(struct efs_thing *t, int64_t within_ms,
    void (*fn)(void *arg, const struct err *err), void *arg)
{
	struct efs_wait *w;

	if (t->state == EFS_READY) {
		fn(arg, &(struct err){0});
		return false;
	}
	w = xnew(struct efs_wait);
	w->fn = fn;
	w->arg = arg;
	list_push_back(&t->waiting, &w->link);
	if (t->state == EFS_BUSY)
		return false;
	t->state = EFS_BUSY;
	t->until_ms = clock_now_ms(t->efs->e->env.clock) + within_ms;
	return true;
}

void
efs_thing_over(struct efs_thing *t, const struct err *err)
{
	struct err why = *err;

	t->state = err->code == ERR_NONE ? EFS_READY : EFS_IDLE;
	while (!list_empty(&t->waiting)) {
		struct efs_wait w = *list_entry(t->waiting.next, struct efs_wait, link);
		struct efs_wait *own = list_entry(t->waiting.next, struct efs_wait, link);

		list_remove(&own->link);
		free(own);
		w.fn(w.arg, &why);
	}
}

void
efs_thing_again(struct efs_thing *t, void (*fn)(void *arg), void *arg, const char *what)
{
	struct clock *clock = t->efs->e->env.clock;
	struct err err;

	if (clock_now_ms(clock) < t->until_ms) {
		timer_set(clock, &t->poll, EFS_POLL_MS, fn, arg);
		return;
	}
	err_set(&err, ERR_UNAVAILABLE, "EFS: %s did not become available in time", what);
	efs_thing_over(t, &err);
}

struct efs_call {
	struct ec2 *e;
	efs_reply_fn done;
	void *arg;
};

static void
called(void *arg, const char *text, const struct aws_error *aws, const struct err *err)
{
	struct efs_call c = *(struct efs_call *)arg;
	struct aws_body *body;

	free(arg);
	if (c.e->closing)
		return;
	body = text ? aws_body_parse(text) : NULL;
	c.done(c.arg, body, aws ? aws : &(struct aws_error){0},
	    err ? err : &(struct err){0});
	aws_body_free(body);
}

void
efs_call(struct efs *f, const char *method, const char *action, const char *path,
    const char *body, efs_reply_fn done, void *arg)
{
	/* all that is made bears a token, or is one per zone */
	struct aws_call_options opt = {.repeatable = true, .deadline_ms = CALL_MS};
	struct efs_call *c = xnew(struct efs_call);

	*c = (struct efs_call){f->e, done, arg};
	(void)aws_rest(f->aws, method, action, path, body, &opt, called, c);
}

/* The state of the first of a list: "" where it is not listed (yet). */
static const char *
state_in(const struct aws_body *reply, const char *list)
{
	return aws_body_text(reply, list, 0, "LifeCycleState");
}

static void
gone_wrong(struct err *err, const char *what, const char *state)
{
	err_set(err, ERR_UNAVAILABLE, "EFS: %s is %s", what, state);
	err_hint(err, "look at it in AWS's console; hearth does not delete it");
}

/* ---- the file system ---- */

static void look_at_fs(void *arg);

static void
fs_seen(void *arg, const struct aws_body *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs *f = arg;
	const char *state = state_in(reply, "FileSystems");
	struct err wrong;

	/* one that was made a moment ago may not be known everywhere yet */
	if (err->code != ERR_NONE && err->code != ERR_NOT_FOUND) {
		efs_thing_over(&f->fs, err);
	} else if (strcmp(state, "available") == 0 || strcmp(state, "updating") == 0) {
		log_info("shared homes are in EFS file system %s", f->id);
		efs_thing_over(&f->fs, &(struct err){0});
	} else if (*state && strcmp(state, "creating") != 0) {
		gone_wrong(&wrong, f->id, state);
		efs_thing_over(&f->fs, &wrong);
	} else {
		efs_thing_again(&f->fs, look_at_fs, f, f->id);
	}
}

static void
look_at_fs(void *arg)
{
	struct efs *f = arg;
	char path[96];

	(void)snprintf(
	    path, sizeof(path), "/2015-02-01/file-systems?FileSystemId=%s", f->id);
	efs_call(f, "GET", "DescribeFileSystems", path, NULL, fs_seen, f);
}

static bool
is_id(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) == 0 && strlen(s) < 32 &&
	       strspn(s + n, "0123456789abcdef") == strlen(s + n) && s[n];
}

/* Takes the id of what was made, or of what is there under the same token. False: the call has failed. */
static bool
take_id(char out[32], const struct aws_body *reply, const char *member,
    const char *prefix, const struct aws_error *aws, struct err *err)
{
	const char *id =
	    aws->status == 409 ? aws->existing : aws_body_text(reply, NULL, 0, member);

	if (aws->status == 409 && is_id(id, prefix))
		err->code = ERR_NONE;
	if (err->code != ERR_NONE)
		return false;
	if (!is_id(id, prefix)) {
		err_set(err, ERR_UNAVAILABLE, "EFS: '%.40s' is no %s", id, member);
		return false;
	}
	(void)snprintf(out, 32, "%s", id);
	return true;
}

static void
fs_made(void *arg, const struct aws_body *reply, const struct aws_error *aws,
    const struct err *why)
{
	struct efs *f = arg;
	struct err err = *why;

	if (take_id(f->id, reply, "FileSystemId", "fs-", aws, &err))
		look_at_fs(f);
	else
		efs_thing_over(&f->fs, &err);
}

void
efs_file_system_need(
    struct efs *f, void (*fn)(void *arg, const struct err *err), void *arg)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	if (!efs_thing_need(&f->fs, FILE_SYSTEM_MS, fn, arg))
		return;
	if (f->e->settings.efs_file_system)
		(void)snprintf(
		    f->id, sizeof(f->id), "%s", f->e->settings.efs_file_system);
	if (f->id[0]) {
		look_at_fs(f);
		return;
	}
	buf_fmt(&b,
	    "{\"CreationToken\":\"hearth-%s\",\"Encrypted\":true,\"Tags\":["
	    "{\"Key\":\"Name\",\"Value\":\"hearth shared homes\"},"
	    "{\"Key\":\"hearth:owner\",\"Value\":\"%s\"}]}",
	    f->e->owner, f->e->owner);
	efs_call(f, "POST", "CreateFileSystem", "/2015-02-01/file-systems", b.data,
	    fs_made, f);
}

/* ---- access points ---- */

static void look_at_point(void *arg);

static void
point_seen(void *arg, const struct aws_body *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs_point *p = arg;
	const char *state = state_in(reply, "AccessPoints");
	struct err wrong;

	if (err->code != ERR_NONE && err->code != ERR_NOT_FOUND) {
		efs_thing_over(&p->t, err);
	} else if (strcmp(state, "available") == 0) {
		efs_thing_over(&p->t, &(struct err){0});
	} else if (*state && strcmp(state, "creating") != 0) {
		gone_wrong(&wrong, p->id, state);
		efs_thing_over(&p->t, &wrong);
	} else {
		efs_thing_again(&p->t, look_at_point, p, p->id);
	}
}

static void
look_at_point(void *arg)
{
	struct efs_point *p = arg;
	char path[96];

	(void)snprintf(
	    path, sizeof(path), "/2015-02-01/access-points?AccessPointId=%s", p->id);
	efs_call(p->t.efs, "GET", "DescribeAccessPoints", path, NULL, point_seen, p);
}

static void
point_made(void *arg, const struct aws_body *reply, const struct aws_error *aws,
    const struct err *why)
{
	struct efs_point *p = arg;
	struct err err = *why;

	if (take_id(p->id, reply, "AccessPointId", "fsap-", aws, &err))
		look_at_point(p);
	else
		efs_thing_over(&p->t, &err);
}

static void
make_point(void *arg, const struct err *err)
{
	struct efs_point *p = arg;
	struct efs *f = p->t.efs;
	AUTO_BUF struct buf b = BUF_INIT(0);

	if (err->code != ERR_NONE) {
		efs_thing_over(&p->t, err);
		return;
	}
	buf_fmt(&b,
	    "{\"ClientToken\":\"%s-%s\",\"FileSystemId\":\"%s\",\"PosixUser\":{"
	    "\"Uid\":%d,\"Gid\":%d},\"RootDirectory\":{\"Path\":\"/%s\","
	    "\"CreationInfo\":{\"OwnerUid\":%d,\"OwnerGid\":%d,\"Permissions\":\"0755\"}}"
	    ","
	    "\"Tags\":[{\"Key\":\"Name\",\"Value\":\"hearth %s\"},"
	    "{\"Key\":\"hearth:owner\",\"Value\":\"%s\"}]}",
	    f->id, p->uid, f->id, OWNER, OWNER, p->uid, OWNER, OWNER, p->uid,
	    f->e->owner);
	efs_call(f, "POST", "CreateAccessPoint", "/2015-02-01/access-points", b.data,
	    point_made, p);
}

static struct efs_point *
point_of(struct efs *f, uint32_t uid)
{
	struct efs_point *p;
	char key[16];

	(void)snprintf(key, sizeof(key), "%u", uid);
	p = map_get(&f->points, key);
	if (!p) {
		p = xnew(struct efs_point);
		efs_thing_init(&p->t, f);
		memcpy(p->uid, key, sizeof(key));
		map_put(&f->points, p->uid, p);
	}
	return p;
}

/* ---- the operations ---- */

static int
open_efs(struct ec2 *e, struct err *err)
{
	struct aws_client_options opt = {.clock = e->env.clock,
	    .fetcher = e->fetcher,
	    .credentials = e->credentials,
	    .service = "elasticfilesystem",
	    .region = e->settings.region,
	    .endpoint = e->efs_endpoint,
	    .bucket_speed = e->settings.speed};
	struct efs *f;

	if (e->efs)
		return 0;
	f = xnew(struct efs);
	f->e = e;
	efs_thing_init(&f->fs, f);
	if (aws_client_new(&opt, &f->aws, err) < 0) {
		free(f);
		return -1;
	}
	e->efs = f;
	return 0;
}

/* One who waits for an access point. */
struct asked {
	struct ec2_answer *a;
	struct efs_point *p;
};

static void
home_there(void *arg, const struct err *err)
{
	struct asked ask = *(struct asked *)arg;
	char ref[EC2_REF_MAX];
	struct err why = *err;

	free(arg);
	if (ask.p->t.efs->e->closing) /* its answer was given */
		return;
	ec2_say_hint(&why);
	(void)snprintf(
	    ref, sizeof(ref), "%s/%s/%s", ask.p->t.efs->id, ask.p->id, ask.p->uid);
	ec2_answer_later(ask.a, ref, &why);
}

static void
nobody_waits(void *arg, const struct err *err)
{
	if (err->code != ERR_NONE)
		log_debug("EFS: %s", err->msg);
}

/* A mount target takes minutes to come: where there are machines already it is begun before anybody needs it. */
static void
begin_targets(struct efs *f)
{
	struct ec2_machine *m;
	size_t at = 0;

	while ((m = map_next(&f->e->refs, &at))) {
		struct efs_target *t = efs_target_of(f, m);

		if (t && t->t.state == EFS_IDLE)
			efs_target_need(t, nobody_waits, NULL);
	}
}

void
ec2_home_make(struct provider *p, uint32_t uid, const char *options,
    provider_launch_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_LAUNCH, arg);
	struct asked *ask;
	struct err err;

	a->fn.launch = done;
	if (open_efs(e, &err) < 0) {
		ec2_answer_later(a, NULL, &err);
		return;
	}
	ask = xnew(struct asked);
	*ask = (struct asked){a, point_of(e->efs, uid)};
	begin_targets(e->efs);
	if (efs_thing_need(&ask->p->t, POINT_MS + FILE_SYSTEM_MS, home_there, ask))
		efs_file_system_need(e->efs, make_point, ask->p);
}

/* ---- mounting ---- */

struct mounting {
	struct ec2 *e;
	struct ec2_answer *a;
	struct efs_target *t;
	char token[EC2_TOKEN_MAX];
	char ref[EC2_REF_MAX];
	char home[EC2_REF_MAX];
};

static void
mounted(void *arg, int exit_code, const char *output, const struct err *why)
{
	struct mounting *g = arg;
	struct err err = *why;
	size_t n;

	if (g->e->closing) { /* its answer was given */
		free(g);
		return;
	}
	if (err.code == ERR_NONE && exit_code != 0) {
		/* the last line says why */
		for (n = strlen(output); n > 0 && output[n - 1] == '\n';)
			n--;
		while (n > 0 && output[n - 1] != '\n')
			n--;
		err_set(&err, ERR_INTERNAL, "mount: %.*s", (int)strcspn(output + n, "\n"),
		    output + n);
		g->t->t.state = EFS_IDLE; /* it is looked at again before the next one */
	}
	ec2_answer_later(g->a, NULL, &err);
	free(g);
}

/* Options as AWS recommends them: EFS User Guide, "Recommended NFS mount options". Without amazon-efs-utils there is no access
   point, so the user's directory is made here. */
static void
put_script(struct buf *b, const char *fs, const char *point, const char *uid,
    const char *address, const char *login)
{
	static const char options[] =
	    "nosuid,nodev,nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,"
	    "retrans=2,noresvport";

	buf_fmt(b,
	    "PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin\n"
	    "grep -q ' /shared ' /proc/mounts && exit 0\n"
	    "mkdir -p /shared || exit 1\n"
	    "command -v mount.efs >/dev/null && exec mount -t efs -o "
	    "tls,nosuid,nodev,accesspoint=%s,mounttargetip=%s %s:/ /shared\n"
	    "command -v mount.nfs4 >/dev/null || { echo 'amazon-efs-utils or an NFS "
	    "client is needed in the image' >&2; exit 1; }\n"
	    "d=$(mktemp -d) || exit 1\n"
	    "mount -t nfs4 -o %s %s:/ \"$d\" || { rmdir \"$d\"; exit 1; }\n"
	    "mkdir \"$d/%s\" 2>/dev/null && chown '%s:' \"$d/%s\"\n"
	    "umount \"$d\" && rmdir \"$d\"\n"
	    "exec mount -t nfs4 -o %s %s:/%s /shared\n",
	    point, address, fs, options, address, uid, login, uid, options, address, uid);
}

/* Cuts "FILE-SYSTEM/ACCESS-POINT/UID"; what comes of it goes into a script. */
static bool
split(char *home, const char **fs, const char **point, const char **uid)
{
	*fs = strsep(&home, "/");
	*point = strsep(&home, "/");
	*uid = home;
	return *point && *uid && is_id(*fs, "fs-") && is_id(*point, "fsap-") && **uid &&
	       strspn(*uid, "0123456789") == strlen(*uid);
}

static void
target_there(void *arg, const struct err *err)
{
	struct mounting *g = arg;
	AUTO_BUF struct buf script = BUF_INIT(0);
	struct ec2_machine *m = ec2_machine_find(g->e, g->token, g->ref);
	const char *fs, *point, *uid;
	struct err why = *err;

	if (g->e->closing) { /* its answer was given */
		free(g);
		return;
	}
	if (why.code == ERR_NONE && !split(g->home, &fs, &point, &uid))
		err_set(&why, ERR_INVALID, "that is no home of this provider");
	if (why.code == ERR_NONE && !m)
		err_set(&why, ERR_NOT_FOUND, "there is no such machine");
	if (why.code != ERR_NONE || m->opt.readiness == EC2_READY_RUNNING) {
		ec2_say_hint(&why);
		ec2_answer_later(g->a, NULL, &why);
		free(g);
		return;
	}
	put_script(&script, fs, point, uid, g->t->address, m->login ? m->login : "1000");
	ec2_setup(&g->e->p, g->token, g->ref, script.data, MOUNT_MS, mounted, g);
}

void
ec2_home_attach(struct provider *p, const char *token, const char *ref,
    const char *home_ref, provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	struct ec2_machine *m = ec2_machine_find(e, token, ref);
	struct mounting *g;
	struct err err = {0};

	a->fn.done = done;
	if (!m)
		err_set(&err, ERR_NOT_FOUND, "there is no such machine");
	else if (open_efs(e, &err) == 0 && !efs_target_of(e->efs, m))
		err_set(&err, ERR_UNAVAILABLE,
		    "it is not known yet which subnet the machine is in");
	if (err.code != ERR_NONE) {
		ec2_answer_later(a, NULL, &err);
		return;
	}
	g = xnew(struct mounting);
	g->e = e;
	g->a = a;
	g->t = efs_target_of(e->efs, m);
	(void)snprintf(g->token, sizeof(g->token), "%s", token);
	(void)snprintf(g->ref, sizeof(g->ref), "%s", ref ? ref : "");
	(void)snprintf(g->home, sizeof(g->home), "%s", home_ref);
	efs_target_need(g->t, target_there, g);
}

/* ---- closing ---- */

static void
thing_close(struct efs_thing *t)
{
	struct err err;

	timer_off(&t->poll);
	err_set(&err, ERR_CANCELLED, "hearthd is stopping");
	efs_thing_over(t, &err);
}

void
ec2_efs_close(struct efs *f)
{
	struct efs_target *t;
	struct efs_point *p;
	size_t at = 0;

	if (!f)
		return;
	aws_client_close(f->aws);
	thing_close(&f->fs);
	while ((p = map_next(&f->points, &at))) {
		thing_close(&p->t);
		free(p);
	}
	for (at = 0; (t = map_next(&f->targets, &at));) {
		thing_close(&t->t);
		free(t);
	}
	map_fini(&f->points);
	map_fini(&f->targets);
	free(f);
}
