/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/ec2.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws/credentials.h"
#include "aws/prices.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "net/fetch.h"
#include "provider/ec2/disk.h"
#include "provider/ec2/efs.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/probe.h"
#include "provider/ec2/ssh.h"
#include "ssh/ed25519.h"
#include "ssh/pubkey.h"
#include "ssh/wire.h"

#define API_VERSION "2016-11-15"
#define HOURS_PER_MONTH 730
#define SMALLEST_ROOT_GIB 8
#define COUNTS_MAX 64
#define LAUNCHES_MAX                                                                     \
	4096 /* one call makes hundreds, and what waits for a bucket costs nothing */
#define SEEN_WITHIN_MS                                                                   \
	5000 /* a look a second, and one that fails or is slow now and then */

/* ---- answers ---- */

struct ec2_answer *
ec2_answer_new(struct ec2 *e, enum answer_kind kind, void *arg)
{
	struct ec2_answer *a = xnew(struct ec2_answer);

	a->e = e;
	a->kind = kind;
	a->arg = arg;
	list_init(&a->in_machine);
	list_push_back(&e->answers, &a->in_ec2);
	return a;
}

static void
answer_free(struct ec2_answer *a)
{
	timer_off(&a->timer);
	ssh_cancel(a->job);
	probe_cancel(a->probe);
	list_remove(&a->in_ec2);
	list_remove(&a->in_machine);
	free(a);
}

void
ec2_answer_setup(
    struct ec2_answer *a, int exit_code, const char *output, const struct err *err)
{
	provider_setup_fn done = a->fn.setup;
	void *arg = a->arg;

	answer_free(a);
	done(arg, exit_code, output, err);
}

void
ec2_answer_attached(struct ec2_answer *a, const char *warning)
{
	provider_attach_fn done = a->fn.attach;
	void *arg = a->arg;

	answer_free(a);
	done(arg, warning, &(struct err){0});
}

void
ec2_answer_give(struct ec2_answer *a, const char *ref, const struct err *why)
{
	struct ec2_answer copy = *a;
	struct err err = *why;
	char name[EC2_REF_MAX];

	(void)snprintf(name, sizeof(name), "%s", ref ? ref : "");
	if (a->kind == ANSWER_SETUP) {
		ec2_answer_setup(a, -1, "", &err);
		return;
	}
	if (a->kind == ANSWER_ATTACH) {
		answer_free(a);
		copy.fn.attach(copy.arg, NULL, &err);
		return;
	}
	answer_free(a);
	switch (copy.kind) {
	case ANSWER_LAUNCH:
		copy.fn.launch(copy.arg, err.code == ERR_NONE ? name : NULL, &err);
		break;
	case ANSWER_INVENTORY:
		if (copy.fn.inventory)
			copy.fn.inventory(copy.arg, NULL, 0, &err);
		break;
	default:
		copy.fn.done(copy.arg, &err);
		break;
	}
}

static void
give_now(void *arg)
{
	struct ec2_answer *a = arg;

	ec2_answer_give(a, a->ref, &a->err);
}

void
ec2_answer_later(struct ec2_answer *a, const char *ref, const struct err *err)
{
	a->err = *err;
	(void)snprintf(a->ref, sizeof(a->ref), "%s", ref ? ref : "");
	timer_set(a->e->env.clock, &a->timer, 0, give_now, a);
}

/* What core does when it is told may add to the list: those wait for the next event. */
void
ec2_answer_all(struct list *answers, const char *ref, const struct err *err)
{
	struct list now;

	list_init(&now);
	while (!list_empty(answers)) {
		struct list *a = answers->next;

		list_remove(a);
		list_push_back(&now, a);
	}
	while (!list_empty(&now))
		ec2_answer_give(
		    list_entry(now.next, struct ec2_answer, in_machine), ref, err);
}

/* ---- calls ---- */

/* The client says by NULL that there is no error, and most of what is told here goes on as an error or none. */
struct query {
	aws_query_fn done;
	void *arg;
};

static void
query_done(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct query q = *(struct query *)arg;

	free(arg);
	q.done(q.arg, reply, aws ? aws : &(struct aws_error){0},
	    err ? err : &(struct err){0});
}

void
ec2_query(struct ec2 *e, const char *action, struct aws_form *form,
    const struct aws_call_options *opt, aws_query_fn done, void *arg)
{
	struct query *q = xnew(struct query);

	*q = (struct query){done, arg};
	(void)aws_query(e->aws, action, form, opt, query_done, q);
}

void
ec2_say_hint(struct err *err)
{
	size_t n = strlen(err->msg);

	if (err->hint[0])
		(void)snprintf(err->msg + n, sizeof(err->msg) - n, "; %s", err->hint);
	err->hint[0] = '\0';
}

/* ---- prices ---- */

/* The dearest of the pool's types, on demand, as in us-east-1: spot prices move, and are below it; in other regions it is a
   bound from below, which is still better for a budget than nothing. */
static void
ec2_price(struct provider *p, const char *text, double *ret_running, double *ret_stopped)
{
	AUTO_EC2_OPTIONS struct ec2_options o = {0};
	double instance = 0, volume;
	struct err err;

	*ret_running = *ret_stopped = 0;
	if (ec2_options_parse(text, &o, &err) < 0)
		return;
	for (int i = 0; i < o.instance_types.n; i++) {
		double usd = aws_price_usd_per_hour(o.instance_types.words[i]);

		instance = usd > instance ? usd : instance;
	}
	if (instance <= 0)
		return;
	volume = (o.volume_gib ? o.volume_gib : SMALLEST_ROOT_GIB) *
		 AWS_PRICE_GP3_USD_PER_GIB_MONTH / HOURS_PER_MONTH;
	*ret_stopped = volume;
	*ret_running =
	    instance + volume +
	    (o.address == EC2_ADDRESS_PRIVATE ? 0 : AWS_PRICE_PUBLIC_IPV4_USD_PER_HOUR);
}

static enum provider_access
ec2_access(struct provider *p, const char *text)
{
	AUTO_EC2_OPTIONS struct ec2_options o = {0};
	struct err err;

	return ec2_options_parse(text, &o, &err) < 0 ? ACCESS_CERTIFICATE
	       : o.access == EC2_ACCESS_KEYS	     ? ACCESS_LAUNCH
	       : o.access == EC2_ACCESS_CERTIFICATE  ? ACCESS_CERTIFICATE
						     : ACCESS_AUTHORIZE;
}

/* ---- closing ---- */

static void
close_machines(struct ec2 *e)
{
	struct ec2_machine *m;
	size_t at = 0;

	while ((m = map_next(&e->machines, &at)))
		ec2_machine_free(m);
	at = 0;
	while ((m = map_next(&e->refs, &at)))
		ec2_machine_free(m);
	map_fini(&e->machines);
	map_fini(&e->refs);
}

static void
ec2_free(struct ec2 *e)
{
	ec2_cooled_free(e);
	ec2_settings_fini(&e->settings);
	free(e->dir);
	free(e->owner);
	free(e->control_line);
	free(e->known_hosts);
	free(e->efs_endpoint);
	free(e);
}

static void
ec2_close(struct provider *p)
{
	struct ec2 *e = ec2_of(p);
	struct err err;

	e->closing = true;
	timer_off(&e->gather);
	timer_off(&e->change);
	timer_off(&e->look_timer);
	timer_off(&e->hint);
	timer_off(&e->disks.timer);
	err_set(&err, ERR_CANCELLED, "hearthd is stopping");
	while (!list_empty(&e->answers))
		ec2_answer_give(
		    list_entry(e->answers.next, struct ec2_answer, in_ec2), NULL, &err);
	aws_client_close(e->aws);
	aws_client_close(e->sqs);
	aws_client_close(e->eic);
	ec2_efs_close(e->efs);
	ec2_disks_close(e);
	close_machines(e);
	ec2_images_close(e);
	ssh_runner_close(e->ssh);
	if (e->credentials)
		credentials_free(e->credentials);
	fetcher_close(e->fetcher);
	ec2_free(e);
}

uint64_t
ec2_calls(const struct provider *p, const char *action)
{
	return aws_client_calls(((const struct ec2 *)p)->aws, action);
}

static int
ec2_counts(const struct provider *p, struct provider_count *ret, int max)
{
	const struct ec2 *e = (const struct ec2 *)p;
	struct aws_count counts[COUNTS_MAX];
	int room = max < COUNTS_MAX ? max : COUNTS_MAX;
	int n = aws_client_counts(e->aws, counts, room);

	if (e->efs)
		n += aws_client_counts(e->efs->aws, counts + n, room - n);

	for (int i = 0; i < n; i++)
		ret[i] = (struct provider_count){
		    counts[i].action, counts[i].calls, counts[i].throttled};
	return n;
}

static const struct provider_ops ec2_ops = {
    .kind = "ec2",
    .launch = ec2_launch,
    .terminate = ec2_terminate,
    .deadline = ec2_deadline,
    .setup = ec2_setup,
    .contact = ec2_contact,
    .inventory = ec2_inventory,
    .image = ec2_image,
    .image_build = ec2_image_build,
    .stop = ec2_stop,
    .start = ec2_start,
    .price = ec2_price,
    .access = ec2_access,
    .authorize = ec2_authorize,
    .home_make = ec2_home_make,
    .home_attach = ec2_home_attach,
    .counts = ec2_counts,
    .disk_make = ec2_disk_make,
    .disk_snapshot = ec2_disk_snapshot,
    .disk_remove = ec2_disk_remove,
    .disk_attach = ec2_disk_attach,
    .disk_detach = ec2_disk_detach,
    .close = ec2_close,
};

/* ---- the directory ---- */

/* The file's contents, made by `fill` where it is not there: complete or not at all. */
static int
load_or_make(int dir, const char *name, int (*fill)(struct buf *out, struct err *err),
    char **ret, struct err *err)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_WIPE struct buf text = wire_secret(SSH_ED25519_TEXT_MAX);
	char chunk[512];
	ssize_t n;

	if (fd >= 0) {
		while ((n = read(fd, chunk, sizeof(chunk))) > 0)
			buf_add(&text, chunk, (size_t)n);
		explicit_bzero(chunk, sizeof(chunk));
		if (n < 0 || text.overflow || text.len == 0)
			return err_set(err, ERR_INVALID,
			    "%s: damaged: it is not replaced, because machines know it",
			    name);
	} else {
		AUTO_FREE char *new = xasprintf("%s.new", name);

		if (errno != ENOENT)
			return err_errno(err, errno, "%s", name);
		if (fill(&text, err) < 0)
			return -1;
		fd = openat(dir, new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len ||
		    fsync(fd) < 0 || renameat(dir, new, dir, name) < 0 || fsync(dir) < 0)
			return err_errno(err, errno, "%s", name);
	}
	*ret = xstrndup(text.data, text.len);
	return 0;
}

static int
make_owner(struct buf *out, struct err *err)
{
	struct id a = id_new('h');

	buf_str(out, a.s);
	return 0;
}

static int
make_control_key(struct buf *out, struct err *err)
{
	AUTO_ED25519 struct ssh_ed25519 pair;

	if (ssh_ed25519_generate(&pair, err) < 0)
		return -1;
	return ssh_ed25519_to_text(&pair, "hearth-control", out, err);
}

static int
public_line(const char *text, char **ret, struct err *err)
{
	AUTO_ED25519 struct ssh_ed25519 pair;
	AUTO_PUBKEY struct ssh_pubkey key = {0};

	if (ssh_ed25519_from_text(text, strlen(text), &pair, err) < 0)
		return err_wrap(err, "control_key");
	ssh_ed25519_public(&pair, "hearth-control", &key);
	*ret = ssh_pubkey_line(&key);
	return 0;
}

/* Host keys of launches that an earlier daemon did not finish: those machines were given up. */
static void
forget_first(int dir)
{
	int fd = openat(dir, "first", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *f;

	while (d && (f = readdir(d)))
		if (f->d_name[0] != '.')
			(void)unlinkat(fd, f->d_name, 0);
	if (d)
		closedir(d);
}

static int
open_dir(struct ec2 *e, struct err *err)
{
	AUTO_CLOSE int dir = -1;
	char *key = NULL;
	int rc;

	if ((mkdir(e->dir, 0700) < 0 && errno != EEXIST) ||
	    (dir = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    (mkdirat(dir, "first", 0700) < 0 && errno != EEXIST))
		return err_errno(err, errno, "%s", e->dir);
	forget_first(dir);
	if (load_or_make(dir, "owner", make_owner, &e->owner, err) < 0 ||
	    load_or_make(dir, "control_key", make_control_key, &key, err) < 0)
		return err_wrap(err, "%s", e->dir);
	e->owner[strcspn(e->owner, "\n")] = '\0';
	rc = public_line(key, &e->control_line, err);
	explicit_bzero(key, strlen(key));
	free(key);
	return rc < 0 ? err_wrap(err, "%s", e->dir) : 0;
}

/* ---- opening ---- */

static int
open_client(struct ec2 *e, struct err *err)
{
	struct ec2_settings *s = &e->settings;
	struct credentials_options cred = {.uv = e->env.uv_loop,
	    .clock = e->env.clock,
	    .profile = s->profile,
	    .region = s->region};
	struct aws_client_options opt = {.clock = e->env.clock,
	    .service = "ec2",
	    .api_version = API_VERSION,
	    .bucket_speed = s->speed};

	e->fetcher = fetcher_new(e->env.uv_loop, 0);
	cred.fetcher = opt.fetcher = e->fetcher;
	e->credentials = credentials_new(&cred);
	fetcher_trust(e->fetcher, credentials_ca_bundle(e->credentials));
	opt.credentials = e->credentials;
	if (!s->region)
		s->region = xstrdup_null(credentials_region(e->credentials));
	if (!s->region) {
		err_set(err, ERR_INVALID, "no region");
		return err_hint(err,
		    "add 'region: us-west-2' or the like to the provider, or set "
		    "AWS_REGION");
	}
	e->efs_endpoint =
	    s->endpoint ? xstrdup(s->endpoint)
			: xstrdup_null(credentials_endpoint_url(e->credentials, "efs"));
	if (!s->endpoint)
		s->endpoint =
		    xstrdup_null(credentials_endpoint_url(e->credentials, "ec2"));
	opt.region = s->region;
	opt.endpoint = s->endpoint;
	return aws_client_new(&opt, &e->aws, err);
}

int
ec2_provider_open(const struct ec2_settings *settings, const char *dir,
    const struct provider_env *env, struct provider **ret, struct err *err)
{
	struct ec2 *e = xnew(struct ec2);
	char *key;

	e->p = (struct provider){.ops = &ec2_ops,
	    .launches_max = LAUNCHES_MAX,
	    .seen_within_ms = SEEN_WITHIN_MS};
	e->env = *env;
	e->dir = xstrdup(dir);
	e->known_hosts = xasprintf("%s/known_hosts", dir);
	ec2_settings_copy(&e->settings, settings);
	list_init(&e->answers);
	list_init(&e->images);
	list_init(&e->gathered);
	list_init(&e->to_terminate);
	list_init(&e->to_stop);
	list_init(&e->to_hibernate);
	list_init(&e->to_start);
	list_init(&e->inventories_next);
	list_init(&e->inventories_now);
	list_init(&e->disks.zoning);
	e->disks.opened_ms = clock_now_ms(env->clock);
	if (open_dir(e, err) < 0 || open_client(e, err) < 0 ||
	    ec2_events_open(e, err) < 0) {
		ec2_close(&e->p);
		return -1;
	}
	key = xasprintf("%s/control_key", dir);
	e->ssh = ssh_runner_new(env->uv_loop, env->clock, key);
	free(key);
	*ret = &e->p;
	return 0;
}
