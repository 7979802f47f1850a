/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/families.h"
#include "ec2/idempotent.h"
#include "ec2/request.h"
#include "ec2/resource.h"
#include "ec2/tags.h"
#include "ec2/template.h"

/* EC2 API Reference, CreateLaunchTemplate. */
#define NAME_MIN 3
#define NAME_LONGEST 128
#define DESCRIPTION_MAX 255

#define DATA "LaunchTemplateData."
#define PART_MAX 64 /* one part of a parameter's name; longer ones are none of ours */
#define DEPTH_MAX 8
#define TEMPLATE(o) ((const struct template *)(o))
#define VERSION(o) ((const struct template_version *)(o))

static const struct attr template_attrs[] = {
    ATTR(template, ATTR_TEXT, name),
    ATTR(template, ATTR_INT, default_version),
    ATTR(template, ATTR_INT, latest_version),
    {NULL},
};

static const struct attr version_attrs[] = {
    ATTR(template_version, ATTR_TEXT, template_id),
    ATTR(template_version, ATTR_TEXT, description),
    ATTR(template_version, ATTR_INT, number),
    ATTR(template_version, ATTR_LIST, data),
    {NULL},
};

const struct kind kind_template = {
    .name = "template",
    .resource = "launch-template",
    .prefix = "lt-",
    .error = "InvalidLaunchTemplateId",
    .what = "launch template",
    .size = sizeof(struct template),
    .attrs = template_attrs,
};

const struct kind kind_template_version = {
    .name = "template-version",
    .prefix = "lt-version-",
    .size = sizeof(struct template_version),
    .attrs = version_attrs,
};

/* What RunInstances takes and a template may hold. */
static const char *const known[] = {"BlockDeviceMapping",
    "CapacityReservationSpecification", "CpuOptions", "CreditSpecification",
    "DisableApiStop", "DisableApiTermination", "EbsOptimized", "EnclaveOptions",
    "HibernationOptions", "IamInstanceProfile", "ImageId",
    "InstanceInitiatedShutdownBehavior", "InstanceMarketOptions", "InstanceType",
    "KeyName", "MaintenanceOptions", "MetadataOptions", "Monitoring", "NetworkInterface",
    "Placement", "PrivateDnsNameOptions", "SecurityGroup", "SecurityGroupId",
    "TagSpecification", "UserData", NULL};

/* ---- finding ---- */

static struct template *
find_named(struct region *r, const char *name)
{
	struct template *t;

	region_for_each (t, r, &kind_template)
		if (strcmp(t->name, name) == 0)
			return t;
	return NULL;
}

/* By PREFIX + "LaunchTemplateId" or "LaunchTemplateName"; NULL: failed. */
static struct template *
read_template(struct request *q, const char *prefix)
{
	const char *id = request_text(q, "%sLaunchTemplateId", prefix);
	const char *name = request_text(q, "%sLaunchTemplateName", prefix);
	struct template *t = NULL;

	if (id && name)
		request_fail(q, "InvalidParameterCombination",
		    "Only one of launch template ID and launch template name may be "
		    "specified");
	else if (id)
		return request_object(q, &kind_template, id);
	else if (!name)
		request_fail(q, "MissingParameter",
		    "The request must contain a launch template ID or name");
	else if (!(t = find_named(q->region, name)))
		request_fail(q, "InvalidLaunchTemplateName.NotFoundException",
		    "The specified launch template, with template name %.128s, does not "
		    "exist.",
		    name);
	return t;
}

static struct template_version *
find_version(const struct template *t, int64_t number)
{
	struct template_version *v;

	region_for_each (v, t->o.region, &kind_template_version)
		if (v->number == number && strcmp(v->template_id, t->o.id) == 0)
			return v;
	return NULL;
}

/* A number, "$Latest" or "$Default"; NULL stands for the default one. */
static struct template_version *
read_version(struct request *q, const struct template *t, const char *text)
{
	struct template_version *v = NULL;
	char *end;

	if (!text || !*text || strcmp(text, "$Default") == 0)
		v = find_version(t, t->default_version);
	else if (strcmp(text, "$Latest") == 0)
		v = find_version(t, t->latest_version);
	else if (isdigit((unsigned char)*text)) {
		long long n = strtoll(text, &end, 10);

		v = *end ? NULL : find_version(t, n);
	}
	if (!v)
		request_fail(q, "InvalidLaunchTemplateId.VersionNotFound",
		    "Could not find the specified version %.32s for the launch template "
		    "with ID "
		    "%s.",
		    text ?: "$Default", t->o.id);
	return v;
}

/* ---- data ---- */

/* "NetworkInterface" of "NetworkInterface.1.SubnetId=..." */
static void
first_part(const char *entry, char ret[PART_MAX])
{
	size_t n = strcspn(entry, ".=");

	(void)snprintf(ret, PART_MAX, "%.*s", (int)(n < PART_MAX ? n : 0), entry);
}

static bool
is_known(const char *part)
{
	for (int i = 0; known[i]; i++)
		if (strcmp(known[i], part) == 0)
			return true;
	return false;
}

static bool
has_part(const struct texts *data, const char *part)
{
	char of[PART_MAX];

	for (int i = 0; i < data->n; i++) {
		first_part(data->v[i], of);
		if (strcmp(of, part) == 0)
			return true;
	}
	return false;
}

static void
read_data(struct request *q, struct texts *to)
{
	char part[PART_MAX];

	for (int i = 0; i < q->n_params; i++) {
		struct param *p = &q->params[i];

		if (strncmp(p->name, DATA, strlen(DATA)) != 0)
			continue;
		p->read = true;
		first_part(p->name + strlen(DATA), part);
		if (!is_known(part))
			request_fail(q, "UnsupportedOperation",
			    "Launch templates cannot hold %.64s here", part);
		AUTO_FREE char *entry =
		    xasprintf("%s=%s", p->name + strlen(DATA), p->value);
		texts_add(to, entry);
	}
}

/* What `from` has and `to` has no part of. */
static void
merge(struct texts *to, const struct texts *from)
{
	struct texts own = *to;
	char part[PART_MAX];

	for (int i = 0; i < from->n; i++) {
		first_part(from->v[i], part);
		own.n = own.n < to->n ? own.n : to->n;
		own.v = to->v;
		if (!has_part(&own, part))
			texts_add(to, from->v[i]);
	}
}

void
template_apply(struct request *q)
{
	struct template_version *v = NULL;
	struct template *t;
	char part[PART_MAX];
	struct texts given = {0};

	if (!request_has(q, "LaunchTemplate"))
		return;
	t = read_template(q, "LaunchTemplate.");
	if (t)
		v = read_version(q, t, request_text(q, "LaunchTemplate.Version"));
	if (!v)
		return;
	for (int i = 0; i < v->data.n; i++) {
		first_part(v->data.v[i], part);
		if (!request_has(q, "%s", part))
			texts_add(&given, v->data.v[i]);
	}
	request_add(q, given.v, given.n);
	texts_clear(&given);
}

/* ---- writing ---- */

/* Lists whose element is not the parameter's name and "Set". */
static const struct {
	const char *param, *set, *item;
} sets[] = {
    {"LicenseSpecification", "licenseSet", "item"},
    {NULL, NULL, "item"},
};

static void
element_name(const char *part, bool list, bool in_interface, char ret[PART_MAX + 8])
{
	int i = 0;

	while (sets[i].param && strcmp(sets[i].param, part) != 0)
		i++;
	if (list && in_interface && strcmp(part, "SecurityGroupId") == 0)
		(void)snprintf(ret, PART_MAX + 8, "groupSet");
	else if (list && sets[i].set)
		(void)snprintf(ret, PART_MAX + 8, "%s", sets[i].set);
	else
		(void)snprintf(ret, PART_MAX + 8, "%c%s%s", tolower((unsigned char)*part),
		    part + 1, list ? "Set" : "");
}

/* Entries [from, to) have the same first `at` bytes; what follows is written below the open element. */
static void
write_parts(struct reply *r, char *const *v, int from, int to, size_t at, int depth,
    bool in_interface)
{
	while (from < to && depth < DEPTH_MAX) {
		char part[PART_MAX], name[PART_MAX + 8];
		const char *rest = v[from] + at;
		size_t n = strcspn(rest, ".=");
		int end = from + 1;
		bool leaf = rest[n] == '=';

		while (!leaf && end < to && strncmp(v[end] + at, rest, n + 1) == 0)
			end++;
		first_part(rest, part);
		if (isdigit((unsigned char)*part))
			(void)snprintf(name, sizeof(name), "%s",
			    in_interface && leaf ? "groupId" : "item");
		else
			element_name(part, !leaf && isdigit((unsigned char)rest[n + 1]),
			    in_interface, name);
		if (leaf) {
			reply_text(r, name, rest + n + 1);
		} else {
			reply_open(r, name);
			write_parts(r, v, from, end, at + n + 1, depth + 1,
			    in_interface || strcmp(part, "NetworkInterface") == 0);
			reply_close(r);
		}
		from = end;
	}
}

static void
write_template(struct request *q, const struct object *o)
{
	struct reply *r = &q->reply;

	reply_text(r, "launchTemplateId", o->id);
	reply_text(r, "launchTemplateName", TEMPLATE(o)->name);
	reply_time(r, "createTime", o->created_at);
	reply_fmt(r, "createdBy", "arn:aws:iam::%s:user/%s", q->world->account,
	    q->access_key_id);
	reply_int(r, "defaultVersionNumber", TEMPLATE(o)->default_version);
	reply_int(r, "latestVersionNumber", TEMPLATE(o)->latest_version);
	reply_tags(q, o);
}

static void
write_version(struct request *q, const struct object *o)
{
	const struct template_version *v = VERSION(o);
	const struct template *t = region_find(o->region, &kind_template, v->template_id);
	struct reply *r = &q->reply;

	reply_text(r, "launchTemplateId", v->template_id);
	reply_text(r, "launchTemplateName", t ? t->name : NULL);
	reply_int(r, "versionNumber", v->number);
	reply_text(r, "versionDescription", v->description);
	reply_time(r, "createTime", o->created_at);
	reply_fmt(r, "createdBy", "arn:aws:iam::%s:user/%s", q->world->account,
	    q->access_key_id);
	reply_bool(r, "defaultVersion", t && t->default_version == v->number);
	reply_open(r, "launchTemplateData");
	write_parts(r, v->data.v, 0, v->data.n, 0, 0, false);
	reply_close(r);
}

static void
write_in(struct request *q, const char *name, const struct object *o,
    void (*write)(struct request *q, const struct object *o))
{
	reply_open(&q->reply, name);
	write(q, o);
	reply_close(&q->reply);
}

/* ---- creating ---- */

static const char *
read_description(struct request *q)
{
	const char *s = request_text(q, "VersionDescription");

	if (s && strlen(s) > DESCRIPTION_MAX)
		request_fail(q, "InvalidParameterValue",
		    "Value for parameter versionDescription is invalid. Length exceeds "
		    "maximum "
		    "of %d.",
		    DESCRIPTION_MAX);
	return s;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes the data. */
static struct template_version *
add_version(struct template *t, struct texts *data, const char *description)
{
	struct template_version *v =
	    object_new(t->o.region, &kind_template_version, NULL);

	if (data->n)
		qsort(data->v, (size_t)data->n, sizeof(*data->v), by_text);
	v->template_id = xstrdup(t->o.id);
	v->description = xstrdup_null(description);
	v->number = ++t->latest_version;
	v->data = *data;
	*data = (struct texts){0};
	object_changed(&t->o);
	return v;
}

static void
check_name(struct request *q, const char *name)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789().-/_";
	size_t n = strlen(name);

	if (n < NAME_MIN || n > NAME_LONGEST || name[strspn(name, allowed)])
		request_fail(q, "InvalidLaunchTemplateName.MalformedException",
		    "A launch template name must be between 3 and 128 characters, and "
		    "may "
		    "contain letters, numbers, and the following characters: - ( ) . / "
		    "_.");
	else if (find_named(q->region, name))
		request_fail(q, "InvalidLaunchTemplateName.AlreadyExistsException",
		    "Launch template name already in use.");
}

static void
create_template(struct request *q)
{
	static const char *const types[] = {"launch-template", NULL};
	const struct token *made = idempotent_find(q);
	const char *name = request_need(q, "LaunchTemplateName");
	const char *description = read_description(q);
	struct texts data = {0};
	struct template *t;

	if (!made)
		check_name(q, name);
	read_data(q, &data);
	if (data.n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter LaunchTemplateData");
	request_check_tags(q, types);
	if (request_ready(q)) {
		t = made ? region_find(q->region, &kind_template, made->ids.v[0]) : NULL;
		if (!t) {
			t = object_new(q->region, &kind_template, NULL);
			t->name = xstrdup(name);
			t->default_version = 1;
			(void)add_version(t, &data, description);
			request_tag(q, &t->o);
			idempotent_keep(q, t->o.id);
		}
		write_in(q, "launchTemplate", &t->o, write_template);
	}
	texts_clear(&data);
}

static void
create_version(struct request *q)
{
	struct template *t = read_template(q, "");
	const char *source = request_text(q, "SourceVersion");
	const char *description = read_description(q);
	struct template_version *from = t && source ? read_version(q, t, source) : NULL;
	struct texts data = {0};

	request_ignore(q, "ClientToken");
	request_ignore(q, "ResolveAlias");
	read_data(q, &data);
	if (from)
		merge(&data, &from->data);
	if (data.n == 0)
		request_fail(q, "MissingParameter",
		    "The request must contain the parameter LaunchTemplateData");
	if (t && request_ready(q))
		write_in(q, "launchTemplateVersion",
		    &add_version(t, &data, description)->o, write_version);
	texts_clear(&data);
}

/* ---- changing, deleting ---- */

static void
modify_template(struct request *q)
{
	struct template *t = read_template(q, "");
	const char *text = request_text(q, "SetDefaultVersion");
	struct template_version *v = t ? read_version(q, t, text) : NULL;

	request_ignore(q, "ClientToken");
	if (!t || !v || !request_ready(q))
		return;
	t->default_version = v->number;
	object_changed(&t->o);
	write_in(q, "launchTemplate", &t->o, write_template);
}

static void
delete_template(struct request *q)
{
	struct template *t = read_template(q, "");
	struct template_version *v, *tmp;

	if (!t || !request_ready(q))
		return;
	write_in(q, "launchTemplate", &t->o, write_template);
	list_for_each_safe (
	    v, tmp, region_objects(q->region, &kind_template_version), o.link)
		if (strcmp(v->template_id, t->o.id) == 0)
			object_remove(&v->o);
	object_remove(&t->o);
}

/* ---- describing ---- */

OFFER(by_name, TEMPLATE(o)->name)
OFFER_TIME(by_created, TEMPLATE(o)->o.created_at)

static const struct filter template_filters[] = {
    {"create-time", by_created},
    {"launch-template-name", by_name},
    {NULL},
};

static bool
template_asked(struct request *q, const struct object *o)
{
	return resource_named(q, "LaunchTemplateName", TEMPLATE(o)->name);
}

static void
describe_templates(struct request *q)
{
	static const struct describe d = {
	    .kind = &kind_template,
	    .ids = "LaunchTemplateId",
	    .filters = template_filters,
	    .set = "launchTemplates",
	    .write = write_template,
	    .shown = template_asked,
	    .page_min = 1,
	    .page_max = 200,
	};
	int n = request_count(q, "LaunchTemplateName");

	for (int i = 1; i <= n; i++) {
		const char *name = request_need(q, "LaunchTemplateName.%d", i);

		if (!request_failed(q) && !find_named(q->region, name))
			request_fail(q, "InvalidLaunchTemplateName.NotFoundException",
			    "At least one of the launch templates specified in the "
			    "request does "
			    "not exist.");
	}
	describe(q, &d);
}

static bool
is_asked(struct request *q, const struct template *t, const struct template_version *v)
{
	int n = request_count(q, "LaunchTemplateVersion");

	for (int i = 1; i <= n; i++)
		if (read_version(q, t, request_text(q, "LaunchTemplateVersion.%d", i)) ==
		    v)
			return true;
	return n == 0;
}

static bool
version_asked(struct request *q, const struct object *o)
{
	const struct template *t = read_template(q, "");

	return t && strcmp(t->o.id, VERSION(o)->template_id) == 0 &&
	       is_asked(q, t, VERSION(o));
}

static void
describe_versions(struct request *q)
{
	static const struct filter none[] = {{NULL}};
	static const struct describe d = {
	    .kind = &kind_template_version,
	    .filters = none,
	    .set = "launchTemplateVersionSet",
	    .write = write_version,
	    .shown = version_asked,
	    .page_min = 1,
	    .page_max = 200,
	};
	const struct template *t = read_template(q, "");
	int n = request_count(q, "LaunchTemplateVersion");

	for (int i = 1; t && i <= n; i++)
		(void)read_version(q, t, request_text(q, "LaunchTemplateVersion.%d", i));
	describe(q, &d);
}

const struct action template_actions[] = {
    {"CreateLaunchTemplate", create_template},
    {"CreateLaunchTemplateVersion", create_version},
    {"DeleteLaunchTemplate", delete_template},
    {"DescribeLaunchTemplateVersions", describe_versions, ACTION_READ},
    {"DescribeLaunchTemplates", describe_templates, ACTION_READ},
    {"ModifyLaunchTemplate", modify_template},
    {NULL},
};
