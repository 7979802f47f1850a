/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/options.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

#define DEFAULT_TYPE "t3.medium"
#define RATE_MIN 100
#define RATE_MAX 300
#define VOLUME_GIB_MAX 16384 /* of gp3: EBS user guide, "General Purpose SSD volumes" */

typedef int (*set_fn)(
    struct ec2_options *o, size_t offset, const char *value, struct err *err);

static void *
member(struct ec2_options *o, size_t offset)
{
	return (char *)o + offset;
}

/* What EC2's own names of things are made of: nothing that a form, a tag or a list would read otherwise. */
static bool
is_word(const char *s, size_t n)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789._-:/@+=";

	return n > 0 && n <= EC2_WORD_MAX && strspn(s, ok) >= n;
}

static int
set_list(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	struct ec2_list *l = member(o, offset);

	for (const char *s = value;; s++) {
		size_t n = strcspn(s, ",");

		if (!is_word(s, n))
			return err_set(err, ERR_INVALID, "expected a list of names");
		if (l->n == EC2_LIST_MAX)
			return err_set(
			    err, ERR_INVALID, "expected at most %d names", EC2_LIST_MAX);
		l->words[l->n++] = xstrndup(s, n);
		s += n;
		if (*s == '\0')
			return 0;
	}
}

static int
set_types(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	if (set_list(o, offset, value, err) < 0)
		return -1;
	for (int i = 0; i < o->instance_types.n; i++)
		if (!strchr(o->instance_types.words[i], '.'))
			return err_set(err, ERR_INVALID,
			    "expected a list of instance types, as in [m7i.large, "
			    "m6i.large]");
	return 0;
}

static int
set_subnets(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	if (set_list(o, offset, value, err) < 0)
		return -1;
	for (int i = 0; i < o->subnets.n; i++)
		if (strncmp(o->subnets.words[i], "subnet-", 7) != 0)
			return err_set(err, ERR_INVALID,
			    "expected a list of subnet ids, as in "
			    "[subnet-0123456789abcdef0]");
	return 0;
}

static int
set_word(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	if (!is_word(value, strlen(value)))
		return err_set(err, ERR_INVALID, "expected a name");
	xstrset(member(o, offset), value);
	return 0;
}

/* As useradd takes them: it becomes part of a script that runs as root. */
static int
set_login(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	size_t n = strlen(value);

	if (n == 0 || n > 31 || value[0] < 'a' || value[0] > 'z' ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-_") != n)
		return err_set(
		    err, ERR_INVALID, "expected an account's name, as in ec2-user");
	if (strcmp(value, "root") == 0)
		return err_set(err, ERR_INVALID,
		    "expected an account other than root: root is the daemon's own "
		    "login");
	xstrset(member(o, offset), value);
	return 0;
}

static int
set_bool(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	bool yes = strcmp(value, "true") == 0;

	if (!yes && strcmp(value, "false") != 0)
		return err_set(err, ERR_INVALID, "expected true or false");
	*(bool *)member(o, offset) = yes;
	return 0;
}

static int
set_size(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	char *end = NULL;
	long n = 0;

	if (value[0] >= '1' && value[0] <= '9' && strlen(value) <= 6)
		n = strtol(value, &end, 10);
	if (end && (strcmp(end, "T") == 0))
		n *= 1024;
	if (!end || (strcmp(end, "G") != 0 && strcmp(end, "T") != 0) ||
	    n > VOLUME_GIB_MAX)
		return err_set(err, ERR_INVALID,
		    "expected a size from 1G to 16T in whole GiB, as in 30G");
	*(int *)member(o, offset) = (int)n;
	return 0;
}

/* EC2 API reference, CreateVolume, VolumeInitializationRate. */
static int
set_rate(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	size_t n = strlen(value);
	long rate =
	    n == 3 && strspn(value, "0123456789") == n ? strtol(value, NULL, 10) : 0;

	if (rate < RATE_MIN || rate > RATE_MAX)
		return err_set(err, ERR_INVALID, "expected MiB per second, from %d to %d",
		    RATE_MIN, RATE_MAX);
	*(int *)member(o, offset) = (int)rate;
	return 0;
}

static int
set_volume_type(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	static const char *const types[] = {"gp3", "gp2", "io1", "io2", "standard", NULL};

	for (const char *const *t = types; *t; t++)
		if (strcmp(*t, value) == 0) {
			xstrset(member(o, offset), value);
			return 0;
		}
	return err_set(err, ERR_INVALID, "expected gp3, gp2, io1, io2 or standard");
}

static int
one_of(const char *const *names, const char *value, const char *expected, struct err *err)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(value, names[i]) == 0)
			return i;
	return err_set(err, ERR_INVALID, "expected %s", expected);
}

static int
set_access(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	static const char *const names[] = {"certificate", "keys", "inject", "eic", NULL};
	int i = one_of(names, value, "certificate, keys, inject or eic", err);

	if (i >= 0)
		o->access = (enum ec2_access)i;
	return i < 0 ? -1 : 0;
}

static int
set_readiness(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	static const char *const names[] = {"ssh", "running", NULL};
	int i = one_of(names, value, "ssh or running", err);

	if (i >= 0)
		o->readiness = (enum ec2_readiness)i;
	return i < 0 ? -1 : 0;
}

static int
set_address(struct ec2_options *o, size_t offset, const char *value, struct err *err)
{
	static const char *const names[] = {"auto", "public", "private", NULL};
	int i = one_of(names, value, "auto, public or private", err);

	if (i >= 0)
		o->address = (enum ec2_address)i;
	return i < 0 ? -1 : 0;
}

/* clang-format off */
#define AT(m) offsetof(struct ec2_options, m)
static const struct setting {
	set_fn set;
	size_t offset;
} settings[] = {
	{ set_types,       AT(instance_types) },
	{ set_list,        AT(zones) },
	{ set_subnets,     AT(subnets) },
	{ set_list,        AT(security_groups) },
	{ set_bool,        AT(spot) },
	{ set_bool,        AT(interfaces) },
	{ set_size,        AT(volume_gib) },
	{ set_volume_type, AT(volume_type) },
	{ set_rate,        AT(disk_rate) },
	{ set_word,        AT(key_name) },
	{ set_word,        AT(instance_profile) },
	{ set_login,       AT(login) },
	{ set_access,      0 },
	{ set_readiness,   0 },
	{ set_address,     0 },
};
/* clang-format on */

/* In the order of `settings`. */
const char *const ec2_option_names[] = {"instance_types", "zones", "subnets",
    "security_groups", "spot", "interfaces", "volume_size", "volume_type",
    "disk_initialization_rate", "key_name", "instance_profile", "login", "access",
    "readiness", "address", NULL};

int
ec2_options_set(
    struct ec2_options *o, const char *name, const char *value, struct err *err)
{
	static_assert(sizeof(settings) / sizeof(settings[0]) ==
			  sizeof(ec2_option_names) / sizeof(ec2_option_names[0]) - 1,
	    "a name for each setting");

	for (int i = 0; ec2_option_names[i]; i++)
		if (strcmp(ec2_option_names[i], name) == 0)
			return settings[i].set(o, settings[i].offset, value, err);
	return err_set(err, ERR_INVALID, "no such setting");
}

static void
list_fini(struct ec2_list *l)
{
	for (int i = 0; i < l->n; i++)
		free(l->words[i]);
	l->n = 0;
}

void
ec2_options_fini(struct ec2_options *o)
{
	list_fini(&o->instance_types);
	list_fini(&o->zones);
	list_fini(&o->subnets);
	list_fini(&o->security_groups);
	free(o->volume_type);
	free(o->key_name);
	free(o->instance_profile);
	free(o->login);
	*o = (struct ec2_options){0};
}

static int
set_line(struct ec2_options *o, const char *line, size_t n, struct err *err)
{
	AUTO_FREE char *copy = xstrndup(line, n);
	char *value = strchr(copy, '=');

	if (!value)
		return err_set(err, ERR_INVALID, "options: a line without '='");
	*value++ = '\0';
	if (ec2_options_set(o, copy, value, err) < 0)
		return err_wrap(err, "%s", copy);
	return 0;
}

static int
check_together(const struct ec2_options *o, struct err *err)
{
	if (o->zones.n && o->subnets.n)
		return err_set(err, ERR_INVALID,
		    "zones and subnets: expected one of them, for a subnet is in one "
		    "zone");
	if (o->interfaces && !o->subnets.n)
		return err_set(err, ERR_INVALID,
		    "interfaces: expected subnets, for an interface is made in one");
	return 0;
}

int
ec2_options_parse(const char *text, struct ec2_options *ret, struct err *err)
{
	struct ec2_options o = {0};

	for (const char *line = text ? text : ""; *line;) {
		size_t n = strcspn(line, "\n");

		if (n > 0 && set_line(&o, line, n, err) < 0) {
			ec2_options_fini(&o);
			return -1;
		}
		line += n + (line[n] == '\n');
	}
	if (check_together(&o, err) < 0) {
		ec2_options_fini(&o);
		return -1;
	}
	if (o.instance_types.n == 0)
		o.instance_types.words[o.instance_types.n++] = xstrdup(DEFAULT_TYPE);
	*ret = o;
	return 0;
}
