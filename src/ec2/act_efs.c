/* SPDX-License-Identifier: Apache-2.0 */
/* Elastic File System: file systems, access points and their tags. Mount targets: act_efs_targets.c. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/efs.h"
#include "ec2/families.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/zones.h"

/* EFS API Reference. */
#define TOKEN_LONGEST 64
#define PAGE_MAX 1000
#define PATH_LONGEST 100
#define GIDS_MAX 16

/* ---- life ---- */

static void
begin(struct object *o, char **state, const char *to, enum delay d)
{
	xstrset(state, to);
	object_changed(o);
	object_after(o, scenario_delay(o->region->world, d));
}

static void
file_system_due(struct object *o)
{
	struct file_system *f = (struct file_system *)o;
	struct access_point *p, *tmp;

	if (strcmp(f->state, "creating") == 0) {
		xstrset(&f->state, "available");
		return;
	}
	list_for_each_safe (p, tmp, region_objects(o->region, &kind_access_point), o.link)
		if (strcmp(p->file_system, o->id) == 0)
			object_remove(&p->o);
	object_remove(o);
}

static void
access_point_due(struct object *o)
{
	struct access_point *p = (struct access_point *)o;

	if (strcmp(p->state, "creating") == 0)
		xstrset(&p->state, "available");
	else
		object_remove(o);
}

/* clang-format off */
static const struct attr file_system_attrs[] = {
	ATTR(file_system, ATTR_TEXT, token),
	ATTR(file_system, ATTR_TEXT, state),
	ATTR(file_system, ATTR_TEXT, performance),
	ATTR(file_system, ATTR_TEXT, throughput),
	ATTR(file_system, ATTR_TEXT, zone),
	ATTR(file_system, ATTR_BOOL, encrypted),
	{ NULL },
};

static const struct attr access_point_attrs[] = {
	ATTR(access_point, ATTR_TEXT, token),
	ATTR(access_point, ATTR_TEXT, file_system),
	ATTR(access_point, ATTR_TEXT, state),
	ATTR(access_point, ATTR_JSON, posix_user),
	ATTR(access_point, ATTR_JSON, root),
	{ NULL },
};
/* clang-format on */

const struct kind kind_file_system = {
    .name = "file-system",
    .prefix = "fs-",
    .size = sizeof(struct file_system),
    .attrs = file_system_attrs,
    .due = file_system_due,
};

const struct kind kind_access_point = {
    .name = "access-point",
    .prefix = "fsap-",
    .size = sizeof(struct access_point),
    .attrs = access_point_attrs,
    .due = access_point_due,
};

/* ---- finding ---- */

static bool
is_seen(const struct object *o)
{
	return o->visible_at <= world_now(o->region->world);
}

struct file_system *
efs_file_system(struct request *q, const char *id)
{
	struct file_system *f = region_find(q->region, &kind_file_system, id);

	if (f && is_seen(&f->o))
		return f;
	efs_fail(q, 404, "FileSystemNotFound", NULL,
	    "File system '%.60s' does not exist.", id);
	return NULL;
}

struct file_system *
efs_usable(struct request *q, const char *id)
{
	struct file_system *f = efs_file_system(q, id);

	if (f && strcmp(f->state, "available") != 0)
		efs_fail(q, 409, "IncorrectFileSystemLifeCycleState", NULL,
		    "File system '%s' is %s.", id, f->state);
	return f;
}

static struct access_point *
find_point(struct request *q, const char *id)
{
	struct access_point *p = region_find(q->region, &kind_access_point, id);

	if (p && is_seen(&p->o))
		return p;
	efs_fail(q, 404, "AccessPointNotFound", NULL,
	    "Access point '%.60s' does not exist.", id);
	return NULL;
}

static const char *
read_token(struct request *q, const char *name)
{
	const char *token = request_need(q, "%s", name);

	if (strlen(token) > TOKEN_LONGEST)
		efs_fail(q, 400, "BadRequest", NULL, "%s is longer than %d characters",
		    name, TOKEN_LONGEST);
	return token;
}

/* ---- pages ---- */

void
efs_page_begin(struct request *q, struct efs_page *p, const char *max, const char *marker)
{
	*p = (struct efs_page){.max = request_int(q, PAGE_MAX, 1, INT32_MAX, "%s", max),
	    .after = request_text(q, "%s", marker),
	    .items = json_array()};
}

void
efs_page_add(struct efs_page *p, const struct object *o,
    json_t *(*describe)(const struct object *o))
{
	if (!is_seen(o) || p->next)
		return;
	if (p->after) { /* up to the last one of the page before */
		if (strcmp(p->after, o->id) == 0)
			p->after = NULL;
		return;
	}
	if ((int64_t)json_array_size(p->items) == p->max) {
		p->next = p->last;
		return;
	}
	json_array_append_new(p->items, describe(o));
	p->last = o->id;
}

void
efs_page_end(struct request *q, struct efs_page *p, const char *name, const char *next)
{
	json_t *result = json_pack("{s:o}", name, p->items);

	if (p->next)
		json_object_set_new(result, next, json_string(p->next));
	efs_answer(q, result, 200);
}

/* ---- file systems ---- */

int
efs_targets_of(const struct file_system *f)
{
	const struct mount_target *t;
	int n = 0;

	region_for_each (t, f->o.region, &kind_mount_target)
		n += strcmp(t->file_system, f->o.id) == 0;
	return n;
}

static void
put_name(json_t *to, const struct object *o)
{
	const char *name = object_tag(o, "Name");

	if (name)
		json_object_set_new(to, "Name", json_string(name));
}

static json_t *
describe_file_system(const struct object *o)
{
	const struct file_system *f = (const struct file_system *)o;
	const struct world *w = o->region->world;
	AUTO_FREE char *arn = xasprintf("arn:aws:elasticfilesystem:%s:%s:file-system/%s",
	    o->region->name, w->account, o->id);
	json_t *d = json_pack("{s:s,s:s,s:s,s:s,s:f,s:s,s:i,s:{s:i,s:f,s:i,s:i},s:s,s:b,"
			      "s:s,s:o}",
	    "OwnerId", w->account, "CreationToken", f->token, "FileSystemId", o->id,
	    "FileSystemArn", arn, "CreationTime", (double)o->created_at / 1000,
	    "LifeCycleState", f->state, "NumberOfMountTargets", efs_targets_of(f),
	    "SizeInBytes", "Value", 6144, "Timestamp", (double)world_now(w) / 1000,
	    "ValueInIA", 0, "ValueInStandard", 6144, "PerformanceMode", f->performance,
	    "Encrypted", f->encrypted, "ThroughputMode", f->throughput, "Tags",
	    efs_tags(o));

	put_name(d, o);
	if (f->zone)
		json_object_set_new(d, "AvailabilityZoneName", json_string(f->zone));
	return d;
}

static void
refuse_existing(struct request *q, const char *token)
{
	const struct file_system *f;

	region_for_each (f, q->region, &kind_file_system)
		if (strcmp(f->token, token) == 0 && strcmp(f->state, "deleting") != 0)
			efs_fail(q, 409, "FileSystemAlreadyExists", f->o.id,
			    "File system '%s' already exists with creation token '%s'",
			    f->o.id, token);
}

static void
create_file_system(struct request *q)
{
	static const char *const performances[] = {"generalPurpose", "maxIO", NULL};
	static const char *const throughputs[] = {"bursting", "elastic", NULL};
	const char *token = read_token(q, "CreationToken");
	const char *performance =
	    request_choice(q, performances, "generalPurpose", "PerformanceMode");
	const char *throughput =
	    request_choice(q, throughputs, "bursting", "ThroughputMode");
	const char *zone = request_text(q, "AvailabilityZoneName");
	bool encrypted = request_bool(q, false, "Encrypted");
	struct file_system *f;

	request_ignore(q, "Backup");
	request_ignore(q, "KmsKeyId");
	efs_check_tags(q);
	if (zone && zone_find(q->region->info, zone) < 0)
		efs_fail(q, 400, "BadRequest", NULL, "There is no zone '%.40s'", zone);
	refuse_existing(q, token);
	if (!request_ready(q))
		return;
	f = object_new(q->region, &kind_file_system, NULL);
	f->token = xstrdup(token);
	f->performance = xstrdup(performance);
	f->throughput = xstrdup(throughput);
	f->zone = xstrdup_null(zone);
	f->encrypted = encrypted;
	efs_put_tags(q, &f->o);
	begin(&f->o, &f->state, "creating", DELAY_FILE_SYSTEM);
	efs_answer(q, describe_file_system(&f->o), 201);
}

static void
describe_file_systems(struct request *q)
{
	const char *id = request_text(q, "FileSystemId");
	const char *token = request_text(q, "CreationToken");
	const struct file_system *f;
	struct efs_page p;

	efs_page_begin(q, &p, "MaxItems", "Marker");
	if (id && token)
		efs_fail(q, 400, "BadRequest", NULL,
		    "Either FileSystemId or CreationToken can be given, not both");
	if (id)
		(void)efs_file_system(q, id);
	if (!request_ready(q)) {
		json_decref(p.items);
		return;
	}
	region_for_each (f, q->region, &kind_file_system)
		if ((!id || strcmp(id, f->o.id) == 0) &&
		    (!token || strcmp(token, f->token) == 0))
			efs_page_add(&p, &f->o, describe_file_system);
	efs_page_end(q, &p, "FileSystems", "NextMarker");
}

static void
delete_file_system(struct request *q)
{
	struct file_system *f = efs_file_system(q, request_need(q, "FileSystemId"));

	if (f && efs_targets_of(f) > 0)
		efs_fail(q, 409, "FileSystemInUse", NULL,
		    "File system '%s' has mount targets", f->o.id);
	if (!f || !request_ready(q))
		return;
	begin(&f->o, &f->state, "deleting", DELAY_FILE_SYSTEM);
	efs_answer(q, NULL, 204);
}

static void
describe_lifecycle(struct request *q)
{
	(void)efs_file_system(q, request_need(q, "FileSystemId"));
	if (request_ready(q))
		efs_answer(q, json_pack("{s:[]}", "LifecyclePolicies"), 200);
}

/* ---- access points ---- */

static json_t *
describe_point(const struct object *o)
{
	const struct access_point *p = (const struct access_point *)o;
	const struct world *w = o->region->world;
	AUTO_FREE char *arn = xasprintf("arn:aws:elasticfilesystem:%s:%s:access-point/%s",
	    o->region->name, w->account, o->id);
	json_t *d = json_pack("{s:s,s:o,s:s,s:s,s:s,s:O,s:s,s:s}", "ClientToken",
	    p->token, "Tags", efs_tags(o), "AccessPointId", o->id, "AccessPointArn", arn,
	    "FileSystemId", p->file_system, "RootDirectory", p->root, "OwnerId",
	    w->account, "LifeCycleState", p->state);

	if (p->posix_user)
		json_object_set(d, "PosixUser", p->posix_user);
	put_name(d, o);
	return d;
}

static json_t *
read_posix_user(struct request *q)
{
	int n = request_count(q, "PosixUser.SecondaryGids");
	json_t *u, *gids;

	if (!request_has(q, "PosixUser"))
		return NULL;
	(void)request_need(q, "PosixUser.Uid");
	(void)request_need(q, "PosixUser.Gid");
	if (n > GIDS_MAX)
		efs_fail(
		    q, 400, "BadRequest", NULL, "More than %d SecondaryGids", GIDS_MAX);
	u = json_pack("{s:I,s:I}", "Uid",
	    (json_int_t)request_int(q, 0, 0, UINT32_MAX, "PosixUser.Uid"), "Gid",
	    (json_int_t)request_int(q, 0, 0, UINT32_MAX, "PosixUser.Gid"));
	if (n == 0)
		return u;
	gids = json_array();
	for (int i = 1; i <= n; i++)
		json_array_append_new(gids, json_integer(request_int(q, 0, 0, UINT32_MAX,
						"PosixUser.SecondaryGids.%d", i)));
	json_object_set_new(u, "SecondaryGids", gids);
	return u;
}

/* As the model's pattern has it: up to four parts, no special characters. */
static bool
is_root_path(const char *s)
{
	int parts = 0;

	if (strcmp(s, "/") == 0)
		return true;
	if (strlen(s) > PATH_LONGEST || strpbrk(s, "$#<>;`|&?{}^*\n"))
		return false;
	while (*s == '/' && s[1] && s[1] != '/' && s[1] != '.') {
		parts++;
		s++;
		s += strcspn(s, "/");
	}
	return *s == '\0' && parts >= 1 && parts <= 4;
}

static json_t *
read_root(struct request *q)
{
	const char *path = request_text(q, "RootDirectory.Path") ?: "/";
	json_t *root = json_pack("{s:s}", "Path", path);
	const char *mode;

	if (!is_root_path(path))
		efs_fail(q, 400, "BadRequest", NULL, "RootDirectory.Path is no path");
	if (!request_has(q, "RootDirectory.CreationInfo"))
		return root;
	(void)request_need(q, "RootDirectory.CreationInfo.OwnerUid");
	(void)request_need(q, "RootDirectory.CreationInfo.OwnerGid");
	mode = request_need(q, "RootDirectory.CreationInfo.Permissions");
	if (strlen(mode) < 3 || strlen(mode) > 4 ||
	    strspn(mode, "01234567") != strlen(mode))
		efs_fail(q, 400, "BadRequest", NULL, "Permissions are no octal number");
	json_object_set_new(root, "CreationInfo",
	    json_pack("{s:I,s:I,s:s}", "OwnerUid",
		(json_int_t)request_int(
		    q, 0, 0, UINT32_MAX, "RootDirectory.CreationInfo.OwnerUid"),
		"OwnerGid",
		(json_int_t)request_int(
		    q, 0, 0, UINT32_MAX, "RootDirectory.CreationInfo.OwnerGid"),
		"Permissions", mode));
	return root;
}

static void
create_point(struct request *q)
{
	const char *token = read_token(q, "ClientToken");
	const char *id = request_need(q, "FileSystemId");
	json_t *user = read_posix_user(q), *root = read_root(q);
	struct access_point *p;

	efs_check_tags(q);
	region_for_each (p, q->region, &kind_access_point)
		if (strcmp(p->token, token) == 0 && strcmp(p->state, "deleting") != 0)
			efs_fail(q, 409, "AccessPointAlreadyExists", p->o.id,
			    "Access point '%s' already exists with client token '%s'",
			    p->o.id, token);
	if (!request_failed(q))
		(void)efs_usable(q, id);
	if (!request_ready(q)) {
		json_decref(user);
		json_decref(root);
		return;
	}
	p = object_new(q->region, &kind_access_point, NULL);
	p->token = xstrdup(token);
	p->file_system = xstrdup(id);
	p->posix_user = user;
	p->root = root;
	efs_put_tags(q, &p->o);
	begin(&p->o, &p->state, "creating", DELAY_ACCESS_POINT);
	efs_answer(q, describe_point(&p->o), 200);
}

static void
describe_points(struct request *q)
{
	const char *id = request_text(q, "AccessPointId");
	const char *of = request_text(q, "FileSystemId");
	const struct access_point *a;
	struct efs_page p;

	efs_page_begin(q, &p, "MaxResults", "NextToken");
	if (id && of)
		efs_fail(q, 400, "BadRequest", NULL,
		    "Either AccessPointId or FileSystemId can be given, not both");
	if (id)
		(void)find_point(q, id);
	if (of)
		(void)efs_file_system(q, of);
	if (!request_ready(q)) {
		json_decref(p.items);
		return;
	}
	region_for_each (a, q->region, &kind_access_point)
		if ((!id || strcmp(id, a->o.id) == 0) &&
		    (!of || strcmp(of, a->file_system) == 0))
			efs_page_add(&p, &a->o, describe_point);
	efs_page_end(q, &p, "AccessPoints", "NextToken");
}

static void
delete_point(struct request *q)
{
	struct access_point *p = find_point(q, request_need(q, "AccessPointId"));

	if (!p || !request_ready(q))
		return;
	begin(&p->o, &p->state, "deleting", DELAY_ACCESS_POINT);
	efs_answer(q, NULL, 204);
}

/* ---- tags ---- */

static struct object *
tagged(struct request *q)
{
	const char *id = request_need(q, "ResourceId");
	struct access_point *p;
	struct file_system *f;

	if (strncmp(id, "fsap-", 5) == 0) {
		p = find_point(q, id);
		return p ? &p->o : NULL;
	}
	f = efs_file_system(q, id);
	return f ? &f->o : NULL;
}

static void
tag_resource(struct request *q)
{
	struct object *o = tagged(q);

	efs_check_tags(q);
	if (!o || !request_ready(q))
		return;
	efs_put_tags(q, o);
	efs_answer(q, NULL, 200);
}

static void
untag_resource(struct request *q)
{
	struct object *o = tagged(q);
	int n;
	AUTO_FREE const char **keys = request_list(q, &n, "TagKeys");

	if (!o || !request_ready(q))
		return;
	for (int i = 0; i < n; i++)
		object_remove_tag(o, keys[i]);
	object_changed(o);
	efs_answer(q, NULL, 200);
}

static void
list_tags(struct request *q)
{
	struct object *o = tagged(q);

	request_ignore(q, "MaxResults");
	request_ignore(q, "NextToken");
	if (o && request_ready(q))
		efs_answer(q, json_pack("{s:o}", "Tags", efs_tags(o)), 200);
}

const struct action efs_actions[] = {
    {"CreateFileSystem", create_file_system},
    {"DescribeFileSystems", describe_file_systems, ACTION_READ},
    {"DeleteFileSystem", delete_file_system},
    {"DescribeLifecycleConfiguration", describe_lifecycle, ACTION_READ},
    {"CreateAccessPoint", create_point},
    {"DescribeAccessPoints", describe_points, ACTION_READ},
    {"DeleteAccessPoint", delete_point},
    {"TagResource", tag_resource},
    {"UntagResource", untag_resource},
    {"ListTagsForResource", list_tags, ACTION_READ},
    {NULL},
};
