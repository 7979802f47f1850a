/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "daemon/config_ec2.h"
#include "launcher/network.h"
#include "yaml/fields.h"
#include "yaml/tree.h"

#define HOUR_MS (3600 * INT64_C(1000))
#define DAY_MS (24 * HOUR_MS)
#define YEAR_MS (365 * DAY_MS)
#define COUNT_MAX 100000

/* RUNTIME and the longest name below it must fit the kernel's address. */
#define SOCKET_PATH_MAX ((int64_t)sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define MACHINE_SOCKET "/machines/m-0123456789ab/control.sock"
#define RUNTIME_PATH_MAX (SOCKET_PATH_MAX + 1 - (int64_t)sizeof(MACHINE_SOCKET))

/* hearth-init's packet limit, less the word in front: see init/control.h. */
#define SETUP_TEXT_MAX 4000

/* 32,000 ranges of 65,536 ids must fit above it, and the host's own users below. */
#define UID_BASE_MIN 100000
#define UID_BASE_MAX ((int64_t)UINT32_MAX - INT64_C(32001) * 65536)

/* The top of the file; providers and pools are read once everything else is known. */
struct top {
	struct config c;
	const struct tree *providers, *pools, *github; /* borrowed */
};

static const char *const kind_names[PROVIDER_KIND_MAX] = {"local", "fake", "ec2"};

const char *
provider_kind_name(enum provider_kind k)
{
	return kind_names[k];
}

/* ---- types of this file's own ---- */

static int
field_tree(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	if (t->kind != TREE_MAP)
		return place_err(err, at, t, "expected a mapping of names, got a %s",
		    tree_kind_name(t->kind));
	*(const struct tree **)to = t;
	return 0;
}

static int
field_log_level(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (int i = 0; t->kind == TREE_SCALAR && i < 4; i++)
		if (strcmp(t->text, names[i]) == 0) {
			*(enum log_level *)to = (enum log_level)i;
			return 0;
		}
	return place_err(err, at, t, "expected error, warn, info or debug");
}

static int
field_when_unreachable(const struct place *at, const struct field *f,
    const struct tree *t, void *to, struct err *err)
{
	bool cache = t->kind == TREE_SCALAR && strcmp(t->text, "cache") == 0;

	if (!cache && (t->kind != TREE_SCALAR || strcmp(t->text, "fail") != 0))
		return place_err(err, at, t, "expected fail or cache");
	*(bool *)to = cache;
	return 0;
}

static int
field_network(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct network n;
	struct err why;

	if (t->kind != TREE_SCALAR)
		return place_err(err, at, t, "expected a network, as in 10.213.0.0/16");
	if (network_parse(t->text, &n, &why) < 0)
		return place_err(err, at, t, "%s", why.msg);
	xstrset(to, t->text);
	return 0;
}

int
config_field_kind(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	const char *kind = t->kind == TREE_SCALAR ? t->text : "";

	for (int i = 0; i < PROVIDER_KIND_MAX; i++)
		if (strcmp(kind, kind_names[i]) == 0) {
			*(enum provider_kind *)to = (enum provider_kind)i;
			return 0;
		}
	if (strcmp(kind, "kubernetes") == 0)
		return place_err(err, at, t,
		    "'%s' is not available in this version: expected local, fake or ec2",
		    kind);
	return place_err(err, at, t, "expected local, fake or ec2");
}

static int
field_setup(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	struct pool *p = to;

	if (t->kind != TREE_LIST)
		return place_err(err, at, t,
		    "expected a list of commands, as in [\"apt-get install -y git\"]");
	if (t->n > POOL_SETUP_MAX)
		return place_err(
		    err, at, t, "%d commands: expected at most %d", t->n, POOL_SETUP_MAX);
	for (const struct tree *c = t->first; c; c = c->next) {
		if (c->kind != TREE_SCALAR || c->text[0] == '\0')
			return place_err(err, at, c, "expected a command for sh");
		if (strlen(c->text) > SETUP_TEXT_MAX)
			return place_err(err, at, c,
			    "expected a command of at most %d characters",
			    SETUP_TEXT_MAX);
		p->setup[p->n_setup++] = xstrdup(c->text);
	}
	return 0;
}

/* ---- the tables ---- */

/* clang-format off */
#define AT(type, member) offsetof(struct type, member)

static const struct field top_fields[] = {
	{ "state",         field_path,      AT(top, c.state), .max = 1024 },
	{ "socket",        field_path,      AT(top, c.socket), .max = SOCKET_PATH_MAX },
	{ "socket_mode",   field_mode,      AT(top, c.socket_mode) },
	{ "socket_group",  field_name,      AT(top, c.socket_group) },
	{ "user",          field_name,      AT(top, c.user) },
	{ "runtime",       field_path,      AT(top, c.runtime), .max = SOCKET_PATH_MAX },
	{ "log_level",     field_log_level, AT(top, c.log_level) },
	{ "default_hours", field_hours,     AT(top, c.default_hold_ms), 1000, YEAR_MS },
	{ "max_hours",     field_hours,     AT(top, c.max_hold_ms), 1000, YEAR_MS },
	{ "keep_deleted_disks", field_duration, AT(top, c.keep_deleted_ms), 0, YEAR_MS },
	{ "github",        field_tree,      AT(top, github) },
	{ "providers",     field_tree,      AT(top, providers) },
	{ "pools",         field_tree,      AT(top, pools) },
	{ NULL },
};

static const struct field github_fields[] = {
	{ "url",              field_url,              AT(config, github) },
	{ "when_unreachable", field_when_unreachable, AT(config, github_cache) },
	{ NULL },
};

static const struct field local_fields[] = {
	{ "kind",     config_field_kind, AT(config_provider, kind), .required = true },
	{ "network",  field_network, AT(config_provider, local.network) },
	{ "uid_base", field_int64,   AT(config_provider, local.uid_base), UID_BASE_MIN, UID_BASE_MAX },
	{ "disks_max", field_size,   AT(config_provider, local.disks_max), INT64_C(1) << 20, INT64_C(1) << 60 },
	{ NULL },
};

static const struct field fake_fields[] = {
	{ "kind",              config_field_kind, AT(config_provider, kind), .required = true },
	{ "launch",            field_duration, AT(config_provider, fake.launch_ms), 0, DAY_MS },
	{ "launch_jitter",     field_duration, AT(config_provider, fake.launch_jitter_ms), 0, DAY_MS },
	{ "terminate",         field_duration, AT(config_provider, fake.terminate_ms), 0, DAY_MS },
	{ "stop",              field_duration, AT(config_provider, fake.stop_ms), 0, DAY_MS },
	{ "start",             field_duration, AT(config_provider, fake.start_ms), 0, DAY_MS },
	{ "setup",             field_duration, AT(config_provider, fake.setup_ms), 0, DAY_MS },
	{ "contact",           field_duration, AT(config_provider, fake.contact_ms), 0, DAY_MS },
	{ "deadline",          field_duration, AT(config_provider, fake.deadline_ms), 0, DAY_MS },
	{ "image",             field_duration, AT(config_provider, fake.image_ms), 0, DAY_MS },
	{ "disk",              field_duration, AT(config_provider, fake.disk_ms), 0, DAY_MS },
	{ "snapshot",          field_duration, AT(config_provider, fake.snapshot_ms), 0, DAY_MS },
	{ "attach",            field_duration, AT(config_provider, fake.attach_ms), 0, DAY_MS },
	{ "detach",            field_duration, AT(config_provider, fake.detach_ms), 0, DAY_MS },
	{ "home",              field_duration, AT(config_provider, fake.home_ms), 0, DAY_MS },
	{ "mount",             field_duration, AT(config_provider, fake.mount_ms), 0, DAY_MS },
	{ "die_after",         field_duration, AT(config_provider, fake.die_after_ms), 0, YEAR_MS },
	{ "fail_launch",       field_share,    AT(config_provider, fake.fail_launch) },
	{ "fail_launch_first", field_int,      AT(config_provider, fake.fail_launch_first), 0, COUNT_MAX },
	{ "fail_start",        field_share,    AT(config_provider, fake.fail_start) },
	{ "fail_setup",        field_share,    AT(config_provider, fake.fail_setup) },
	{ "fail_contact",      field_share,    AT(config_provider, fake.fail_contact) },
	{ "fail_disk",         field_share,    AT(config_provider, fake.fail_disk) },
	{ "fail_attach",       field_share,    AT(config_provider, fake.fail_attach) },
	{ "fail_home",         field_share,    AT(config_provider, fake.fail_home) },
	{ "fail_mount",        field_share,    AT(config_provider, fake.fail_mount) },
	{ "lose_reply",        field_share,    AT(config_provider, fake.lose_reply) },
	{ "capacity",          field_int,      AT(config_provider, fake.capacity), 0, COUNT_MAX },
	{ "usd_per_hour",      field_usd,      AT(config_provider, fake.usd_per_hour) },
	{ "usd_per_hour_stopped", field_usd,   AT(config_provider, fake.usd_per_hour_stopped) },
	{ "seed",              field_int64,    AT(config_provider, fake.seed), 0, UINT32_MAX },
	{ NULL },
};

static const struct field pool_fields[] = {
	{ "provider",        field_name,     AT(pool, provider), .required = true },
	{ "image",           field_name,     AT(pool, image), .required = true },
	{ "running",         field_int,      AT(pool, running), 0, COUNT_MAX },
	{ "stopped",         field_int,      AT(pool, stopped), 0, COUNT_MAX },
	{ "hibernated",      field_int,      AT(pool, hibernated), 0, COUNT_MAX },
	{ "max",             field_int,      AT(pool, max), 0, COUNT_MAX },
	{ "memory",          field_size,     AT(pool, memory_bytes), INT64_C(32) << 20, INT64_C(64) << 40 },
	{ "cpus",            field_cpus,     AT(pool, cpu_milli) },
	{ "pids",            field_int,      AT(pool, pids_max), 16, 4194304 },
	{ "nesting",         field_bool,     AT(pool, nesting) },
	{ "hedge",           field_bool,     AT(pool, hedge) },
	{ "one_at_a_time",   field_bool,     AT(pool, one_at_a_time) },
	{ "shared_home",     field_bool,     AT(pool, shared_home) },
	{ "max_age",         field_duration, AT(pool, max_age_ms), 1000, YEAR_MS },
	{ "usd_per_hour",    field_usd,      AT(pool, usd_per_hour) },
	{ "max_usd_per_day", field_usd,      AT(pool, max_usd_per_day) },
	{ "setup",           field_setup,    0 },
	{ "setup_timeout",   field_duration, AT(pool, setup_timeout_ms), 1000, DAY_MS },
	{ "ready_timeout",   field_duration, AT(pool, ready_timeout_ms), 1000, DAY_MS },
	{ NULL },
};
/* clang-format on */

/* ---- providers ---- */

static const struct tree *
child(const struct tree *t, const char *key)
{
	const struct tree *c = t->first;

	while (c && strcmp(c->key, key) != 0)
		c = c->next;
	return c;
}

static int
check_key_name(const struct place *at, const struct tree *t, struct err *err)
{
	struct tree where = {.line = t->key_line, .column = t->key_column};

	if (name_valid(t->key))
		return 0;
	return place_err(err, at, &where,
	    "not a name: expected 1 to 63 letters, digits, '.', '_' or '-'");
}

static const struct config_provider *
find_provider(const struct config *c, const char *name)
{
	for (int i = 0; i < c->n_providers; i++)
		if (strcmp(c->providers[i].name, name) == 0)
			return &c->providers[i];
	return NULL;
}

static int
read_provider(
    const struct place *at, const struct tree *t, struct config *c, struct err *err)
{
	struct config_provider *p = &c->providers[c->n_providers++];
	struct place here = {.file = at->file, .up = at, .key = "kind"};
	const struct tree *kind = t->kind == TREE_MAP ? child(t, "kind") : NULL;

	p->name = xstrdup(t->key);
	p->local.network = xstrdup("10.213.0.0/16");
	p->local.uid_base = 1000000;
	if (check_key_name(at, t, err) < 0)
		return -1;
	if (t->kind == TREE_MAP && !kind)
		return place_err(
		    err, at, t, "'kind' is missing: expected local, fake or ec2");
	if (kind && config_field_kind(&here, NULL, kind, &p->kind, err) < 0)
		return -1;
	if (p->kind == PROVIDER_LOCAL && config_local(c) != &p->local)
		return place_err(err, at, t,
		    "a second provider of kind local: expected one for each host");
	return yaml_fields_parse(at, t,
	    p->kind == PROVIDER_LOCAL  ? local_fields
	    : p->kind == PROVIDER_FAKE ? fake_fields
				       : config_ec2_fields,
	    p, err);
}

/* ---- pools ---- */

/* Machines on this host are running or not there. */
static int
check_tiers(const struct place *at, const struct tree *t,
    const struct config_provider *prov, const struct pool *p, struct err *err)
{
	const char *tier = p->stopped > 0      ? "stopped"
			   : p->hibernated > 0 ? "hibernated"
					       : NULL;
	struct place here = {.file = at->file, .up = at, .key = tier};

	if (!tier || prov->kind != PROVIDER_LOCAL)
		return 0;
	return place_err(err, &here, child(t, tier), "%s has no %s tier: expected 0",
	    provider_kind_name(prov->kind), tier);
}

static int
check_pool(const struct place *at, const struct tree *t, const struct config *c,
    const struct pool *p, struct err *err)
{
	const struct config_provider *prov = find_provider(c, p->provider);
	struct place provider = {.file = at->file, .up = at, .key = "provider"};
	struct place running = {.file = at->file, .up = at, .key = "running"};

	if (!prov)
		return place_err(err, &provider, child(t, "provider"),
		    "there is no provider '%s': expected a name under 'providers'",
		    p->provider);
	if (check_tiers(at, t, prov, p, err) < 0)
		return -1;
	if (p->running > p->max)
		return place_err(err, &running, child(t, "running") ?: t,
		    "%d is more than max, %d: expected at most that", p->running, p->max);
	if (p->running + p->stopped + p->hibernated > p->max)
		return place_err(err, at, child(t, "max") ?: t,
		    "running, stopped and hibernated are %d together, more than max, %d: "
		    "expected at most that",
		    p->running + p->stopped + p->hibernated, p->max);
	return 0;
}

/* The one that a pool names, if it names one that there is: its kind says what else the pool may hold. */
static const struct config_provider *
provider_named(const struct config *c, const struct tree *pool)
{
	const struct tree *name = pool->kind == TREE_MAP ? child(pool, "provider") : NULL;

	return name && name->kind == TREE_SCALAR ? find_provider(c, name->text) : NULL;
}

static int
read_pool(const struct place *at, const struct tree *t, struct config *c, struct err *err)
{
	struct pool *p = &c->pools[c->n_pools++];
	const struct config_provider *prov = provider_named(c, t);
	bool ec2 = prov && prov->kind == PROVIDER_EC2;
	struct field fields[FIELDS_MAX];
	const int n = sizeof(pool_fields) / sizeof(pool_fields[0]);

	p->name = xstrdup(t->key);
	p->running = 1;
	p->max = 20;
	p->max_age_ms = DAY_MS;
	p->setup_timeout_ms = 10 * 60 * 1000;
	p->ready_timeout_ms = 5 * 60 * 1000;
	p->shared_home =
	    prov && prov->kind == PROVIDER_LOCAL; /* where it costs nothing */
	memcpy(fields, pool_fields, sizeof(pool_fields));
	if (ec2)
		config_ec2_pool_fields(fields, n - 1, FIELDS_MAX);
	if (check_key_name(at, t, err) < 0 ||
	    yaml_fields_parse(at, t, fields, p, err) < 0 ||
	    check_pool(at, t, c, p, err) < 0)
		return -1;
	return ec2 ? config_ec2_pool_check(at, t, prov, p, err) : 0;
}

/* ---- the file ---- */

typedef int (*read_fn)(
    const struct place *at, const struct tree *t, struct config *c, struct err *err);

static int
read_each(const struct place *top, const char *key, const struct tree *t, read_fn read,
    struct config *c, struct err *err)
{
	struct place list = {.file = top->file, .up = top, .key = key};

	for (const struct tree *i = t ? t->first : NULL; i; i = i->next) {
		struct place here = {.file = top->file, .up = &list, .key = i->key};

		if (read(&here, i, c, err) < 0)
			return -1;
	}
	return 0;
}

static int
read_top(const struct place *at, const struct tree *t, struct top *top, struct err *err)
{
	struct config *c = &top->c;
	struct place hours = {.file = at->file, .up = at, .key = "default_hours"};
	struct place github = {.file = at->file, .up = at, .key = "github"};

	if (yaml_fields_parse(at, t, top_fields, top, err) < 0)
		return -1;
	if (top->github &&
	    yaml_fields_parse(&github, top->github, github_fields, c, err) < 0)
		return -1;
	while (c->github[strlen(c->github) - 1] == '/')
		c->github[strlen(c->github) - 1] = '\0';
	if (c->default_hold_ms > c->max_hold_ms)
		return place_err(err, &hours,
		    child(t, "default_hours") ?: child(t, "max_hours"),
		    "more than max_hours: expected at most that");
	if (!c->runtime) {
		const char *slash = strrchr(c->socket, '/');

		c->runtime = slash == c->socket
				 ? xstrdup("/")
				 : xstrndup(c->socket, (size_t)(slash - c->socket));
	}
	if ((int64_t)strlen(c->runtime) > RUNTIME_PATH_MAX)
		return place_err(err, at, child(t, "runtime") ?: child(t, "socket"),
		    "the runtime directory's path is too long: expected at most %lld "
		    "characters",
		    (long long)RUNTIME_PATH_MAX);
	c->providers = xcalloc(
	    (size_t)(top->providers ? top->providers->n : 0) + 1, sizeof(*c->providers));
	c->pools =
	    xcalloc((size_t)(top->pools ? top->pools->n : 0) + 1, sizeof(*c->pools));
	if (read_each(at, "providers", top->providers, read_provider, c, err) < 0)
		return -1;
	return read_each(at, "pools", top->pools, read_pool, c, err);
}

static void
set_defaults(struct config *c, const char *file)
{
	c->file = xstrdup(file);
	c->state = xstrdup("/var/lib/hearth");
	c->socket = xstrdup("/run/hearth/hearth.sock");
	c->user = xstrdup("hearth");
	c->github = xstrdup("https://github.com");
	c->socket_mode = 0666;
	c->log_level = LOG_LEVEL_INFO;
	c->default_hold_ms = 8 * HOUR_MS;
	c->max_hold_ms = 168 * HOUR_MS;
	c->keep_deleted_ms = 24 * HOUR_MS;
}

static void
config_fini(struct config *c)
{
	for (int i = 0; i < c->n_providers; i++) {
		free(c->providers[i].name);
		free(c->providers[i].local.network);
		ec2_settings_fini(&c->providers[i].ec2);
	}
	for (int i = 0; i < c->n_pools; i++)
		pool_fini(&c->pools[i]);
	free(c->providers);
	free(c->pools);
	free(c->file);
	free(c->state);
	free(c->socket);
	free(c->socket_group);
	free(c->user);
	free(c->github);
	free(c->runtime);
}

void
config_free(struct config *c)
{
	if (!c)
		return;
	config_fini(c);
	free(c);
}

int
config_parse(
    const char *file, const char *text, size_t n, struct config **ret, struct err *err)
{
	struct place at = {.file = file};
	struct top top = {0};
	struct tree *tree = NULL;
	int rc;

	if (tree_parse(file, text, n, &tree, err) < 0)
		return -1;
	set_defaults(&top.c, file);
	rc = read_top(&at, tree, &top, err);
	tree_free(tree);
	if (rc < 0) {
		config_fini(&top.c);
		return -1;
	}
	*ret = xnew(struct config);
	**ret = top.c;
	return 0;
}

int
config_read(const char *file, int fd, struct config **ret, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(TREE_TEXT_MAX);
	char chunk[4096];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		buf_add(&text, chunk, (size_t)n);
		if (text.overflow)
			return err_set(err, ERR_INVALID,
			    "%s: larger than 1 MiB: expected a configuration file", file);
	}
	if (n < 0)
		return err_errno(err, errno, "%s: cannot be read", file);
	return config_parse(file, text.data ?: "", text.len, ret, err);
}

int
config_load(const char *path, struct config **ret, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return err_errno(err, errno, "%s: cannot be opened", path);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID,
		    "%s: a directory: expected a configuration file", path);
	return config_read(path, fd, ret, err);
}

const struct config_local *
config_local(const struct config *c)
{
	for (int i = 0; i < c->n_providers; i++)
		if (c->providers[i].kind == PROVIDER_LOCAL)
			return &c->providers[i].local;
	return NULL;
}

/* ---- reload ---- */

static bool
text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool
provider_equal(const struct config_provider *a, const struct config_provider *b)
{
	return strcmp(a->name, b->name) == 0 && a->kind == b->kind &&
	       strcmp(a->local.network, b->local.network) == 0 &&
	       a->local.uid_base == b->local.uid_base &&
	       a->local.disks_max == b->local.disks_max &&
	       ec2_settings_equal(&a->ec2, &b->ec2) &&
	       /* both were zeroed whole, so padding is equal */
	       memcmp(&a->fake, &b->fake, sizeof(a->fake)) == 0; // NOLINT
}

static const char *
changed_setting(const struct config *a, const struct config *b)
{
	if (!text_equal(a->state, b->state))
		return "state";
	if (!text_equal(a->socket, b->socket) || a->socket_mode != b->socket_mode ||
	    !text_equal(a->socket_group, b->socket_group))
		return "socket";
	if (!text_equal(a->user, b->user))
		return "user";
	if (!text_equal(a->runtime, b->runtime))
		return "runtime";
	if (!text_equal(a->github, b->github) || a->github_cache != b->github_cache)
		return "github";
	if (a->n_providers != b->n_providers)
		return "providers";
	for (int i = 0; i < a->n_providers; i++)
		if (!provider_equal(&a->providers[i], &b->providers[i]))
			return "providers";
	return NULL;
}

int
config_check_reload(const struct config *old, const struct config *new, struct err *err)
{
	const char *changed = changed_setting(old, new);

	if (!changed)
		return 0;
	err_set(err, ERR_INVALID, "%s: '%s' was changed, which needs a restart",
	    new->file, changed);
	return err_hint(err, "restart hearthd: machines live on");
}
