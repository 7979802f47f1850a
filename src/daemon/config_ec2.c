/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config_ec2.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "daemon/config.h"
#include "provider/ec2/options.h"
#include "yaml/fields.h"
#include "yaml/tree.h"

#define SPEED_MAX 1e6

/* ---- providers ---- */

static int
field_region(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	if (t->kind != TREE_SCALAR || t->text[0] == '\0' || strlen(t->text) > 32 ||
	    strspn(t->text, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(t->text))
		return place_err(err, at, t, "expected a region, as in us-west-2");
	xstrset(to, t->text);
	return 0;
}

/* 0 in the file is "no buckets", which the settings have below 0. */
static int
field_speed(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	char *end = NULL;
	double v = t->kind == TREE_SCALAR && strspn(t->text, "0123456789.") > 0
		       ? strtod(t->text, &end)
		       : -1;

	if (v < 0 || v > SPEED_MAX || !end || *end)
		return place_err(err, at, t,
		    "expected how much faster than AWS the endpoint lets calls in, as in "
		    "10, or 0 where it lets in all");
	*(double *)to = v > 0 ? v : -1;
	return 0;
}

#define SOURCE(member) offsetof(struct ec2_image_source, member)
static const struct field source_fields[] = {
    {"owner", field_string, SOURCE(owner), .required = true},
    {"name", field_string, SOURCE(name), .required = true},
    {"architecture", field_name, SOURCE(architecture)},
    {"login", field_name, SOURCE(login)},
    {NULL},
};

static int
check_login(
    const struct place *at, const struct tree *t, const char *login, struct err *err)
{
	AUTO_EC2_OPTIONS struct ec2_options o = {0};
	struct err why;

	if (!login || ec2_options_set(&o, "login", login, &why) == 0)
		return 0;
	return place_err(err, at, t, "login: %s", why.msg);
}

static int
field_images(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct ec2_settings *s = to;

	if (t->kind != TREE_MAP)
		return place_err(err, at, t,
		    "expected a mapping of image names, as in {mine: {owner: self, name: "
		    "\"mine-*\"}}");
	if (t->n > EC2_IMAGES_MAX)
		return place_err(
		    err, at, t, "%d images: expected at most %d", t->n, EC2_IMAGES_MAX);
	for (const struct tree *i = t->first; i; i = i->next) {
		struct place here = {.file = at->file, .up = at, .key = i->key};
		struct ec2_image_source *source = &s->images[s->n_images++];

		source->image = xstrdup(i->key);
		if (yaml_fields_parse(&here, i, source_fields, source, err) < 0 ||
		    check_login(&here, i, source->login, err) < 0)
			return -1;
	}
	return 0;
}

static int
field_file_system(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	const char *s = t->kind == TREE_SCALAR ? t->text : "";

	if (strncmp(s, "fs-", 3) != 0 || strlen(s) < 11 || strlen(s) > 31 ||
	    strspn(s + 3, "0123456789abcdef") != strlen(s) - 3)
		return place_err(err, at, t,
		    "expected the id of a file system, as in fs-0123456789abcdef0");
	xstrset(to, s);
	return 0;
}

static int
field_groups(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct ec2_settings *s = to;

	if (t->kind != TREE_LIST || t->n < 1 || t->n > EC2_EFS_GROUPS_MAX)
		return place_err(err, at, t,
		    "expected a list of 1 to %d ids of security groups",
		    EC2_EFS_GROUPS_MAX);
	for (const struct tree *w = t->first; w; w = w->next) {
		if (w->kind != TREE_SCALAR || strncmp(w->text, "sg-", 3) != 0 ||
		    strlen(w->text) > 40 ||
		    strspn(w->text + 3, "0123456789abcdef") != strlen(w->text) - 3)
			return place_err(err, at, w,
			    "expected the id of a security group, as in "
			    "sg-0123456789abcdef0");
		s->efs_groups[s->n_efs_groups++] = xstrdup(w->text);
	}
	return 0;
}

static const struct field efs_fields[] = {
    {"file_system", field_file_system, offsetof(struct ec2_settings, efs_file_system)},
    {"security_groups", field_groups, 0},
    {NULL},
};

static int
field_efs(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	return yaml_fields_parse(at, t, efs_fields, to, err);
}

#define AT(member) offsetof(struct config_provider, member)
const struct field config_ec2_fields[] = {
    {"kind", config_field_kind, AT(kind), .required = true},
    {"region", field_region, AT(ec2.region)},
    {"endpoint", field_url, AT(ec2.endpoint)},
    {"profile", field_string, AT(ec2.profile)},
    {"events_queue", field_url, AT(ec2.events_queue)},
    {"speed", field_speed, AT(ec2.speed)},
    {"efs", field_efs, AT(ec2)},
    {"images", field_images, AT(ec2)},
    {NULL},
};

/* ---- pools ---- */

static int
wrong(
    const struct place *at, const struct tree *t, const struct err *why, struct err *err)
{
	if (t->kind != TREE_SCALAR)
		return place_err(err, at, t, "%s", why->msg);
	return place_err(err, at, t, "%s, got '%.40s'", why->msg, t->text);
}

/* A list's words joined as the text has them. */
static int
join(const struct place *at, const struct tree *t, struct buf *b, struct err *err)
{
	if (t->kind == TREE_LIST && t->n > 0) {
		for (const struct tree *w = t->first; w; w = w->next) {
			if (w->kind != TREE_SCALAR || strpbrk(w->text, ",\n"))
				return place_err(err, at, w, "expected a list of names");
			buf_fmt(b, "%s%s", w == t->first ? "" : ",", w->text);
		}
		return 0;
	}
	if (t->kind != TREE_SCALAR || strpbrk(t->text, ",\n"))
		return place_err(err, at, t, "expected a name or a list of names");
	buf_str(b, t->text);
	return 0;
}

static int
field_option(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	AUTO_EC2_OPTIONS struct ec2_options o = {0};
	AUTO_BUF struct buf value = BUF_INIT(EC2_OPTIONS_TEXT_MAX);
	struct pool *p = to;
	struct err why;
	char *longer;

	if (join(at, t, &value, err) < 0)
		return -1;
	if (value.overflow)
		return place_err(err, at, t, "expected a shorter list");
	if (ec2_options_set(&o, f->name, value.data ? value.data : "", &why) < 0)
		return wrong(at, t, &why, err);
	longer =
	    xasprintf("%s%s=%s\n", p->options ? p->options : "", f->name, value.data);
	free(p->options);
	p->options = longer;
	if (strcmp(f->name, "login") == 0)
		xstrset(&p->login, value.data);
	return 0;
}

static bool
is_size(const char *name)
{
	static const char *const sizes[] = {"memory", "cpus", "pids", "nesting"};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (strcmp(name, sizes[i]) == 0)
			return true;
	return false;
}

void
config_ec2_pool_fields(struct field *fields, int n, int max)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (!is_size(fields[i].name))
			fields[kept++] = fields[i];
	for (int i = 0; ec2_option_names[i]; i++) {
		assert(kept < max - 1);
		fields[kept++] =
		    (struct field){.name = ec2_option_names[i], .parse = field_option};
	}
	fields[kept] = (struct field){0};
}

int
config_ec2_pool_check(const struct place *at, const struct tree *t,
    const struct config_provider *prov, struct pool *p, struct err *err)
{
	AUTO_EC2_OPTIONS struct ec2_options o = {0};
	struct err why;

	if (ec2_options_parse(p->options, &o, &why) < 0)
		return place_err(err, at, t, "%s", why.msg);
	if (o.readiness == EC2_READY_RUNNING && p->n_setup > 0)
		return place_err(err, at, t,
		    "setup: expected none where readiness is running, for nobody logs "
		    "in");
	if (o.readiness == EC2_READY_RUNNING && o.access != EC2_ACCESS_CERTIFICATE)
		return place_err(err, at, t,
		    "access: expected certificate where readiness is running, for nobody "
		    "logs in");
	if (!p->login)
		p->login = xstrdup(ec2_image_login(&prov->ec2, p->image));
	if (!o.login) {
		char *longer =
		    xasprintf("%slogin=%s\n", p->options ? p->options : "", p->login);

		free(p->options);
		p->options = longer;
	}
	return 0;
}
