/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "yaml/fields.h"
#include "yaml/tree.h"

#define CREDENTIALS_MAX 100
#define ACCESS_KEY_MIN                                                                   \
	4 /* IAM API Reference, AccessKey: 16 to 128; shorter ones are for tests */
#define ACCESS_KEY_MAX 128

/* RUNTIME and the longest name below it must fit the kernel's address: see daemon/config.c. */
#define SOCKET_PATH_MAX ((int64_t)sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define MACHINE_SOCKET "/machines/m-0123456789ab/control.sock"
#define RUNTIME_PATH_MAX (SOCKET_PATH_MAX + 1 - (int64_t)sizeof(MACHINE_SOCKET))

/* 32,000 ranges of 65,536 ids must fit above it, and the host's own users below. */
#define UID_BASE_MIN 100000
#define UID_BASE_MAX ((int64_t)UINT32_MAX - INT64_C(32001) * 65536)

/* ---- types of this file's own ---- */

static int
field_listen(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct config *c = to;
	AUTO_FREE char *host = NULL;
	const char *colon, *from, *end;
	unsigned char address[sizeof(struct in6_addr)];
	char *rest;
	long port;

	colon = t->kind == TREE_SCALAR ? strrchr(t->text, ':') : NULL;
	if (!colon)
		return place_err(
		    err, at, t, "expected ADDRESS:PORT, as in 127.0.0.1:4566");
	from = t->text;
	end = colon;
	if (*from == '[' && end > from && end[-1] == ']') {
		from++;
		end--;
	}
	host = xstrndup(from, (size_t)(end - from));
	if (inet_pton(AF_INET, host, address) != 1 &&
	    inet_pton(AF_INET6, host, address) != 1)
		return place_err(err, at, t,
		    "'%.60s' is not an address: expected ADDRESS:PORT, as in "
		    "127.0.0.1:4566 or [::1]:4566",
		    host);
	errno = 0;
	port = strtol(colon + 1, &rest, 10);
	if (colon[1] < '0' || colon[1] > '9' || *rest || errno || port < 1 ||
	    port > 65535)
		return place_err(
		    err, at, t, "expected a port from 1 to 65535 behind ':'");
	c->listen_port = (int)port;
	xstrset(&c->listen_host, host);
	return 0;
}

static int
field_secret(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	if (t->kind != TREE_SCALAR || t->text[0] == '\0' || strlen(t->text) > 1024)
		return place_err(err, at, t, "expected a secret key");
	xstrset(to, t->text);
	return 0;
}

static int
field_access_key(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	size_t n = t->kind == TREE_SCALAR ? strlen(t->text) : 0;

	if (n < ACCESS_KEY_MIN || n > ACCESS_KEY_MAX ||
	    strspn(t->text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789_") != n)
		return place_err(err, at, t,
		    "expected %d to %d letters, digits or '_', as in AKIAEXAMPLE",
		    ACCESS_KEY_MIN, ACCESS_KEY_MAX);
	xstrset(to, t->text);
	return 0;
}

/* clang-format off */
#define AT(type, member) offsetof(struct type, member)

static const struct field credentials_fields[] = {
	{ "access_key_id",     field_access_key, AT(config_credentials, access_key_id), .required = true },
	{ "secret_access_key", field_secret,     AT(config_credentials, secret_access_key), .required = true },
	{ NULL },
};
/* clang-format on */

static int
field_credentials(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct config *c = to;

	if (t->kind != TREE_LIST || t->n == 0 || t->n > CREDENTIALS_MAX)
		return place_err(err, at, t,
		    "expected a list of 1 to %d, as in [{access_key_id: AKIAEXAMPLE, "
		    "secret_access_key: secret}]",
		    CREDENTIALS_MAX);
	c->credentials = xcalloc((size_t)t->n, sizeof(*c->credentials));
	for (const struct tree *i = t->first; i; i = i->next) {
		struct config_credentials *k = &c->credentials[c->n_credentials++];

		if (yaml_fields_parse(at, i, credentials_fields, k, err) < 0)
			return -1;
		if (config_credentials_of(c, k->access_key_id) != k)
			return place_err(err, at, i,
			    "a second secret for '%s': expected each key id once",
			    k->access_key_id);
	}
	return 0;
}

static int
field_machines(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	const char *s = t->kind == TREE_SCALAR ? t->text : "";

	if (strcmp(s, "local") != 0 && strcmp(s, "fake") != 0)
		return place_err(err, at, t, "expected local or fake");
	*(bool *)to = strcmp(s, "local") == 0;
	return 0;
}

static int
field_speed(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	struct err why;
	double v;

	if (field_usd(at, f, t, &v, &why) < 0 || v < 0.001 || v > 1e6)
		return place_err(err, at, t, "expected a number from 0.001 to 1000000");
	*(double *)to = v;
	return 0;
}

/* Room for a /20 for each zone of the region that has most. */
static int
field_network(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	const char *s = t->kind == TREE_SCALAR ? t->text : "";
	const char *slash = strchr(s, '/');
	AUTO_FREE char *host = slash ? xstrndup(s, (size_t)(slash - s)) : NULL;
	struct in_addr a;
	char *end = NULL;
	long bits = slash ? strtol(slash + 1, &end, 10) : 0;

	if (!slash || slash[1] < '0' || slash[1] > '9' || *end || bits < 8 || bits > 24 ||
	    inet_pton(AF_INET, host, &a) != 1)
		return place_err(err, at, t,
		    "expected an IPv4 network from /8 to /24, as in 10.214.0.0/16");
	if (ntohl(a.s_addr) & ((UINT32_C(1) << (32 - bits)) - 1))
		return place_err(err, at, t, "'%s' has bits set behind its prefix", s);
	xstrset(to, s);
	return 0;
}

static int
field_account(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	const char *s = t->kind == TREE_SCALAR ? t->text : "";

	if (strlen(s) != 12 || strspn(s, "0123456789") != 12)
		return place_err(err, at, t, "expected twelve digits");
	xstrset(to, s);
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

/* clang-format off */
static const struct field top_fields[] = {
	{ "listen",       field_listen,      0 },
	{ "state",        field_path,        AT(config, state), .max = 1024 },
	{ "runtime",      field_path,        AT(config, runtime), .max = SOCKET_PATH_MAX },
	{ "user",         field_name,        AT(config, user) },
	{ "credentials",  field_credentials, 0, .required = true },
	{ "machines",     field_machines,    AT(config, local) },
	{ "scenario",     field_string,      AT(config, scenario) },
	{ "speed",        field_speed,       AT(config, speed) },
	{ "network",      field_network,     AT(config, network) },
	{ "uid_base",     field_int64,       AT(config, uid_base), UID_BASE_MIN, UID_BASE_MAX },
	{ "image",        field_name,        AT(config, image) },
	{ "account",      field_account,     AT(config, account) },
	{ "events_queue", field_name,        AT(config, events_queue) },
	{ "log_level",    field_log_level,   AT(config, log_level) },
	{ NULL },
};
/* clang-format on */

/* ---- the file ---- */

static void
set_default(char **p, const char *value)
{
	if (!*p)
		*p = xstrdup(value);
}

static int
set_defaults(struct config *c, struct err *err)
{
	set_default(&c->listen_host, "127.0.0.1");
	set_default(&c->state, "/var/lib/hearth-ec2");
	set_default(&c->runtime, "/run/hearth-ec2");
	set_default(&c->user, "hearth");
	set_default(&c->scenario, "instant");
	/* a fake world is large: by the hundred thousand */
	set_default(&c->network, c->local ? "10.214.0.0/16" : "10.0.0.0/8");
	set_default(&c->image, "debian");
	set_default(&c->account, "123456789012");
	if (!c->local || strlen(c->runtime) <= RUNTIME_PATH_MAX)
		return 0;
	return err_set(err, ERR_INVALID,
	    "%s: runtime: expected a path of at most %lld characters, so that those of "
	    "sockets below it fit",
	    c->file, (long long)RUNTIME_PATH_MAX);
}

int
config_parse(
    const char *file, const char *text, size_t n, struct config **ret, struct err *err)
{
	struct place at = {.file = file};
	struct config *c = xnew(struct config);
	struct tree *tree = NULL;
	int rc = -1;

	c->file = xstrdup(file);
	c->listen_port = 4566;
	c->local = true;
	c->speed = 1;
	/* behind hearthd's own default range, so that both can run on one host */
	c->uid_base = INT64_C(1000000) + INT64_C(32001) * 65536;
	if (c->uid_base > UID_BASE_MAX)
		c->uid_base = UID_BASE_MAX;
	c->log_level = LOG_LEVEL_INFO;
	if (tree_parse(file, text, n, &tree, err) == 0)
		rc = yaml_fields_parse(&at, tree, top_fields, c, err);
	tree_free(tree);
	if (rc == 0)
		rc = set_defaults(c, err);
	if (rc < 0) {
		config_free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

int
config_load(const char *path, struct config **ret, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	AUTO_BUF struct buf text = BUF_INIT(TREE_TEXT_MAX);
	char chunk[4096];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return err_errno(err, errno, "%s: cannot be opened", path);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID,
		    "%s: a directory: expected a configuration file", path);
	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		buf_add(&text, chunk, (size_t)n);
		if (text.overflow)
			return err_set(err, ERR_INVALID,
			    "%s: larger than 1 MiB: expected a configuration file", path);
	}
	if (n < 0)
		return err_errno(err, errno, "%s: cannot be read", path);
	return config_parse(path, text.data ?: "", text.len, ret, err);
}

const struct config_credentials *
config_credentials_of(const struct config *c, const char *access_key_id)
{
	for (int i = 0; i < c->n_credentials; i++)
		if (strcmp(c->credentials[i].access_key_id, access_key_id) == 0)
			return &c->credentials[i];
	return NULL;
}

void
config_free(struct config *c)
{
	if (!c)
		return;
	for (int i = 0; i < c->n_credentials; i++) {
		char *secret = c->credentials[i].secret_access_key;

		if (secret)
			explicit_bzero(secret, strlen(secret));
		free(secret);
		free(c->credentials[i].access_key_id);
	}
	free(c->credentials);
	free(c->file);
	free(c->listen_host);
	free(c->state);
	free(c->runtime);
	free(c->user);
	free(c->scenario);
	free(c->network);
	free(c->image);
	free(c->account);
	free(c->events_queue);
	free(c);
}
