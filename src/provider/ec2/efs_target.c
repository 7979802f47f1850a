/* SPDX-License-Identifier: Apache-2.0 */

/* Mount targets: found among those of the file system by their zone, or made in the subnet of a machine, behind a security group
   of ours that lets NFS in from the VPC, unless others are configured. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/body.h"
#include "aws/xml.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "provider/ec2/efs.h"

#define TARGET_MS                                                                        \
	600000 /* AWS takes one to two minutes; the file system has to be there first */
#define CALL_MS 60000

static void look(void *arg);

struct efs_target *
efs_target_of(struct efs *f, const struct ec2_machine *m)
{
	struct efs_target *t;

	if (!m->zone[0])
		return NULL;
	t = map_get(&f->targets, m->zone);
	if (t || !m->subnet[0] || !m->vpc[0])
		return t;
	t = xnew(struct efs_target);
	efs_thing_init(&t->t, f);
	(void)snprintf(t->zone, sizeof(t->zone), "%s", m->zone);
	(void)snprintf(t->subnet, sizeof(t->subnet), "%s", m->subnet);
	(void)snprintf(t->vpc, sizeof(t->vpc), "%s", m->vpc);
	map_put(&f->targets, t->zone, t);
	return t;
}

/* ---- the mount target ---- */

static void
made(void *arg, const struct aws_body *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs_target *t = arg;

	/* MountTargetConflict: there is one in the zone by now */
	if (err->code != ERR_NONE && strcmp(aws->code, "MountTargetConflict") != 0)
		efs_thing_over(&t->t, err);
	else
		efs_thing_again(&t->t, look, t, "a mount target");
}

static void
make(struct efs_target *t)
{
	const struct ec2_settings *s = &t->t.efs->e->settings;
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_fmt(&b, "{\"FileSystemId\":\"%s\",\"SubnetId\":\"%s\",\"SecurityGroups\":[",
	    t->t.efs->id, t->subnet);
	for (int i = 0; i < s->n_efs_groups; i++)
		buf_fmt(&b, "%s\"%s\"", i ? "," : "", s->efs_groups[i]);
	if (s->n_efs_groups == 0)
		buf_fmt(&b, "\"%s\"", t->group);
	buf_str(&b, "]}");
	efs_call(t->t.efs, "POST", "CreateMountTarget", "/2015-02-01/mount-targets",
	    b.data, made, t);
}

/* ---- the security group ---- */

static void
query(struct efs_target *t, const char *action, struct aws_form *form, bool repeatable,
    aws_query_fn done)
{
	struct aws_call_options opt = {
	    .repeatable = repeatable, .filtered = true, .deadline_ms = CALL_MS};

	ec2_query(t->t.efs->e, action, form, &opt, done, t);
}

static void
let_in(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs_target *t = arg;

	if (t->t.efs->e->closing)
		return;
	if (err->code != ERR_NONE &&
	    strcmp(aws->code, "InvalidPermission.Duplicate") != 0)
		efs_thing_over(&t->t, err);
	else
		make(t);
}

static void
authorize(struct efs_target *t)
{
	struct aws_form f = {0};

	aws_form_add(&f, t->group, "GroupId");
	aws_form_add(&f, "tcp", "IpPermissions.1.IpProtocol");
	aws_form_add(&f, "2049", "IpPermissions.1.FromPort");
	aws_form_add(&f, "2049", "IpPermissions.1.ToPort");
	aws_form_add(&f, t->cidr, "IpPermissions.1.IpRanges.1.CidrIp");
	query(t, "AuthorizeSecurityGroupIngress", &f, true, let_in);
}

static void
grouped(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs_target *t = arg;

	if (t->t.efs->e->closing)
		return;
	/* Duplicate: an earlier answer was lost, or another zone's was faster */
	if (strcmp(aws->code, "InvalidGroup.Duplicate") == 0) {
		efs_thing_again(&t->t, look, t, "a security group");
		return;
	}
	if (err->code != ERR_NONE) {
		efs_thing_over(&t->t, err);
		return;
	}
	(void)snprintf(t->group, sizeof(t->group), "%s", xml_text(reply, "groupId"));
	authorize(t);
}

static void
group_name(const struct efs_target *t, char out[64])
{
	(void)snprintf(out, 64, "hearth-efs-%.40s", t->t.efs->e->owner);
}

static void
make_group(struct efs_target *t)
{
	struct aws_form f = {0};
	char name[64];

	group_name(t, name);
	aws_form_add(&f, name, "GroupName");
	aws_form_add(&f, "hearth: NFS to shared homes", "GroupDescription");
	aws_form_add(&f, t->vpc, "VpcId");
	aws_form_add(&f, "security-group", "TagSpecification.1.ResourceType");
	aws_form_add(&f, "Name", "TagSpecification.1.Tag.1.Key");
	aws_form_add(&f, name, "TagSpecification.1.Tag.1.Value");
	/* by its name it can be made once only, in a VPC */
	query(t, "CreateSecurityGroup", &f, true, grouped);
}

static void
groups_seen(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs_target *t = arg;
	const struct xml *g = reply ? ec2_items(reply, "securityGroupInfo") : NULL;

	if (t->t.efs->e->closing)
		return;
	if (err->code != ERR_NONE) {
		efs_thing_over(&t->t, err);
	} else if (!g) {
		make_group(t);
	} else {
		(void)snprintf(t->group, sizeof(t->group), "%s", xml_text(g, "groupId"));
		authorize(t);
	}
}

static void
find_group(struct efs_target *t)
{
	struct aws_form f = {0};
	char name[64];

	group_name(t, name);
	aws_form_add(&f, "group-name", "Filter.1.Name");
	aws_form_add(&f, name, "Filter.1.Value.1");
	aws_form_add(&f, "vpc-id", "Filter.2.Name");
	aws_form_add(&f, t->vpc, "Filter.2.Value.1");
	query(t, "DescribeSecurityGroups", &f, true, groups_seen);
}

static void
vpc_seen(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *why)
{
	struct efs_target *t = arg;
	const struct xml *v = reply ? ec2_items(reply, "vpcSet") : NULL;
	struct err err = *why;

	if (t->t.efs->e->closing)
		return;
	if (err.code == ERR_NONE && !v)
		err_set(&err, ERR_NOT_FOUND, "DescribeVpcs: there is no %s", t->vpc);
	if (err.code != ERR_NONE) {
		efs_thing_over(&t->t, &err);
		return;
	}
	(void)snprintf(t->cidr, sizeof(t->cidr), "%s", xml_text(v, "cidrBlock"));
	find_group(t);
}

static void
find_vpc(struct efs_target *t)
{
	struct aws_form f = {0};

	aws_form_add(&f, t->vpc, "VpcId.1");
	query(t, "DescribeVpcs", &f, true, vpc_seen);
}

/* ---- looking ---- */

/* The list's entry for our zone that is not on its way out; -1: none. Sets *ret_leaving when one is. */
static int
find(const struct efs_target *t, const struct aws_body *b, bool *ret_leaving)
{
	int n = aws_body_count(b, "MountTargets");

	for (int i = 0; i < n; i++) {
		const char *state = aws_body_text(b, "MountTargets", i, "LifeCycleState");

		if (strcmp(aws_body_text(b, "MountTargets", i, "AvailabilityZoneName"),
			t->zone) != 0)
			continue;
		if (strncmp(state, "delet", 5) != 0)
			return i;
		*ret_leaving = true;
	}
	return -1;
}

static bool
is_address(const char *s)
{
	return *s && strlen(s) < 16 && strspn(s, "0123456789.") == strlen(s);
}

static void
seen(void *arg, const struct aws_body *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct efs_target *t = arg;
	bool leaving = false;
	const char *state, *address;
	int i;

	if (err->code != ERR_NONE) {
		efs_thing_over(&t->t, err);
		return;
	}
	i = find(t, reply, &leaving);
	state = aws_body_text(reply, "MountTargets", i, "LifeCycleState");
	address = aws_body_text(reply, "MountTargets", i, "IpAddress");
	if (i < 0 && !leaving && t->t.efs->e->settings.n_efs_groups > 0) {
		make(t);
	} else if (i < 0 && !leaving) {
		find_vpc(t);
	} else if (i >= 0 && is_address(address) &&
		   (strcmp(state, "available") == 0 || strcmp(state, "updating") == 0)) {
		(void)snprintf(t->address, sizeof(t->address), "%s", address);
		efs_thing_over(&t->t, &(struct err){0});
	} else {
		efs_thing_again(&t->t, look, t, "a mount target");
	}
}

static void
look(void *arg)
{
	struct efs_target *t = arg;
	char path[96];

	(void)snprintf(path, sizeof(path), "/2015-02-01/mount-targets?FileSystemId=%s",
	    t->t.efs->id);
	efs_call(t->t.efs, "GET", "DescribeMountTargets", path, NULL, seen, t);
}

static void
begin(void *arg, const struct err *err)
{
	struct efs_target *t = arg;

	if (err->code != ERR_NONE)
		efs_thing_over(&t->t, err);
	else
		look(t);
}

void
efs_target_need(
    struct efs_target *t, void (*fn)(void *arg, const struct err *err), void *arg)
{
	if (efs_thing_need(&t->t, TARGET_MS, fn, arg))
		efs_file_system_need(t->t.efs, begin, t);
}
