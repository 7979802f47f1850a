/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/imds.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/instance.h"
#include "ec2/zones.h"
#include "ssh/wire.h"

#define PATH_MAX_LEN 512
#define BODY_MAX (256 << 10)
#define TOKEN_BYTES 42 /* 56 characters of base64, as AWS's are */

struct leaf_ctx {
	const struct instance *i;
	const struct interface *primary; /* NULL: it has none */
	const struct interface *n;	 /* whose mac stands in the path */
};

/* Appends the value; false: there is nothing at this path. */
typedef bool (*leaf_fn)(const struct leaf_ctx *c, struct buf *out);

static bool
put(struct buf *out, const char *value)
{
	if (!value)
		return false;
	buf_str(out, value);
	return true;
}

/* ---- values ---- */

#define FIXED(name, text)                                                                \
	static bool name(const struct leaf_ctx *c, struct buf *out)                      \
	{                                                                                \
		return put(out, text);                                                   \
	}

FIXED(unknown, "(unknown)")
FIXED(empty_list, "[]")
FIXED(none, "none")
FIXED(hvm, "default-hvm")
FIXED(domain, "amazonaws.com")
FIXED(partition, "aws")
FIXED(region, c->i->o.region->name)
FIXED(zone, c->i->zone)
FIXED(ami_id, c->i->image)
FIXED(instance_id, c->i->o.id)
FIXED(instance_type, c->i->type)
FIXED(life_cycle, c->i->spot_request ? "spot" : "on-demand")
FIXED(reservation_id, c->i->reservation_id)
FIXED(root_device, c->i->root_device)
FIXED(local_ipv4, instance_private_address(c->i))
FIXED(public_ipv4, instance_public_address(c->i))
FIXED(mac, c->primary ? c->primary->mac : NULL)
FIXED(public_key, c->i->reservation ? c->i->reservation->public_key : NULL)
FIXED(nic_mac, c->n->mac)
FIXED(nic_id, c->n->o.id)
FIXED(nic_address, c->n->address)
FIXED(nic_public, c->n->public_address)
FIXED(nic_subnet, c->n->subnet_id)
FIXED(nic_subnet_cidr, c->n->subnet ? c->n->subnet->cidr : NULL)
FIXED(nic_vpc, c->n->vpc)
FIXED(nic_owner, c->i->o.region->world->account)

static bool
launch_index(const struct leaf_ctx *c, struct buf *out)
{
	buf_fmt(out, "%lld", (long long)c->i->launch_index);
	return true;
}

static bool
root_disk(const struct leaf_ctx *c, struct buf *out)
{
	const char *slash = c->i->root_device ? strrchr(c->i->root_device, '/') : NULL;

	return put(out, slash ? slash + 1 : c->i->root_device);
}

static bool
zone_id_of(const struct leaf_ctx *c, struct buf *out)
{
	int at = zone_find(c->i->o.region->info, c->i->zone);
	char text[ZONE_NAME_MAX];

	if (at < 0)
		return false;
	zone_id(c->i->o.region->info, at, text);
	return put(out, text);
}

static bool
hostname(const struct leaf_ctx *c, struct buf *out)
{
	char text[INSTANCE_HOSTNAME_MAX];

	instance_hostname(c->i, true, text);
	return put(out, text);
}

static bool
public_hostname(const struct leaf_ctx *c, struct buf *out)
{
	return instance_public_address(c->i) && hostname(c, out);
}

static bool
nic_number(const struct leaf_ctx *c, struct buf *out)
{
	buf_fmt(out, "%lld", (long long)c->n->device_index);
	return true;
}

static bool
nic_vpc_cidr(const struct leaf_ctx *c, struct buf *out)
{
	const struct vpc *v = region_find(c->i->o.region, &kind_vpc, c->n->vpc);

	return put(out, v ? v->cidr : NULL);
}

static bool
groups(const struct leaf_ctx *c, const struct interface *n, bool names, struct buf *out)
{
	if (!n)
		return false;
	for (int g = 0; g < n->groups.n; g++) {
		const struct group *group =
		    region_find(c->i->o.region, &kind_group, n->groups.v[g]);

		if (g > 0)
			buf_char(out, '\n');
		buf_str(out, names && group ? group->name : n->groups.v[g]);
	}
	return true;
}

static bool
group_names(const struct leaf_ctx *c, struct buf *out)
{
	return groups(c, c->primary, true, out);
}

static bool
nic_group_names(const struct leaf_ctx *c, struct buf *out)
{
	return groups(c, c->n, true, out);
}

static bool
nic_group_ids(const struct leaf_ctx *c, struct buf *out)
{
	return groups(c, c->n, false, out);
}

static void
put_time(struct buf *out, int64_t wall_ms)
{
	char text[CLOCK_RFC3339_MAX];

	clock_rfc3339(wall_ms, text);
	buf_fmt(out, "%.19sZ", text);
}

static bool
spot_action(const struct leaf_ctx *c, struct buf *out)
{
	if (!c->i->spot_notice_at)
		return false;
	buf_fmt(out, "{\"action\": \"%s\", \"time\": \"",
	    c->i->spot_action ? c->i->spot_action : "terminate");
	put_time(out, c->i->spot_notice_at);
	buf_str(out, "\"}");
	return true;
}

static bool
termination_time(const struct leaf_ctx *c, struct buf *out)
{
	if (!c->i->spot_notice_at ||
	    (c->i->spot_action && strcmp(c->i->spot_action, "terminate") != 0))
		return false;
	put_time(out, c->i->spot_notice_at);
	return true;
}

static bool
user_data(const struct leaf_ctx *c, struct buf *out)
{
	const char *encoded = instance_user_data(c->i);
	struct wire_str s = {(const uint8_t *)encoded, encoded ? strlen(encoded) : 0};

	return encoded && wire_base64_decode(s, out);
}

static bool
document(const struct leaf_ctx *c, struct buf *out)
{
	AUTO_FREE char *text = NULL;
	AUTO_BUF struct buf pending = BUF_INIT(64);
	json_t *o;

	put_time(&pending, c->i->launched_at);
	o = json_pack(
	    "{s:s,s:s?,s:s?,s:n,s:n,s:n,s:s?,s:s,s:s?,s:n,s:s,s:s?,s:n,s:s,s:s}",
	    "accountId", c->i->o.region->world->account, "architecture",
	    c->i->architecture, "availabilityZone", c->i->zone, "billingProducts",
	    "devpayProductCodes", "marketplaceProductCodes", "imageId", c->i->image,
	    "instanceId", c->i->o.id, "instanceType", c->i->type, "kernelId",
	    "pendingTime", pending.data, "privateIp", instance_private_address(c->i),
	    "ramdiskId", "region", c->i->o.region->name, "version", "2017-09-30");
	text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	json_decref(o);
	return put(out, text);
}

/* ---- the tree ---- */

/* "*" is the mac of each interface. A directory is what has something in it, so "iam" is not there: nothing here has
   credentials to give. */
/* clang-format off */
static const struct leaf {
	const char *path;
	leaf_fn fn;
} leaves[] = {
	{"dynamic/instance-identity/document", document},
	{"meta-data/ami-id", ami_id},
	{"meta-data/ami-launch-index", launch_index},
	{"meta-data/ami-manifest-path", unknown},
	{"meta-data/block-device-mapping/ami", root_disk},
	{"meta-data/block-device-mapping/root", root_device},
	{"meta-data/events/maintenance/history", empty_list},
	{"meta-data/events/maintenance/scheduled", empty_list},
	{"meta-data/hostname", hostname},
	{"meta-data/instance-action", none},
	{"meta-data/instance-id", instance_id},
	{"meta-data/instance-life-cycle", life_cycle},
	{"meta-data/instance-type", instance_type},
	{"meta-data/local-hostname", hostname},
	{"meta-data/local-ipv4", local_ipv4},
	{"meta-data/mac", mac},
	{"meta-data/network/interfaces/macs/*/device-number", nic_number},
	{"meta-data/network/interfaces/macs/*/interface-id", nic_id},
	{"meta-data/network/interfaces/macs/*/local-hostname", hostname},
	{"meta-data/network/interfaces/macs/*/local-ipv4s", nic_address},
	{"meta-data/network/interfaces/macs/*/mac", nic_mac},
	{"meta-data/network/interfaces/macs/*/owner-id", nic_owner},
	{"meta-data/network/interfaces/macs/*/public-ipv4s", nic_public},
	{"meta-data/network/interfaces/macs/*/security-group-ids", nic_group_ids},
	{"meta-data/network/interfaces/macs/*/security-groups", nic_group_names},
	{"meta-data/network/interfaces/macs/*/subnet-id", nic_subnet},
	{"meta-data/network/interfaces/macs/*/subnet-ipv4-cidr-block", nic_subnet_cidr},
	{"meta-data/network/interfaces/macs/*/vpc-id", nic_vpc},
	{"meta-data/network/interfaces/macs/*/vpc-ipv4-cidr-block", nic_vpc_cidr},
	{"meta-data/network/interfaces/macs/*/vpc-ipv4-cidr-blocks", nic_vpc_cidr},
	{"meta-data/placement/availability-zone", zone},
	{"meta-data/placement/availability-zone-id", zone_id_of},
	{"meta-data/placement/region", region},
	{"meta-data/profile", hvm},
	{"meta-data/public-hostname", public_hostname},
	{"meta-data/public-ipv4", public_ipv4},
	{"meta-data/public-keys/0/openssh-key", public_key},
	{"meta-data/reservation-id", reservation_id},
	{"meta-data/security-groups", group_names},
	{"meta-data/services/domain", domain},
	{"meta-data/services/partition", partition},
	{"meta-data/spot/instance-action", spot_action},
	{"meta-data/spot/termination-time", termination_time},
	{"user-data", user_data},
};
/* clang-format on */

/* What is being looked for: a value at exactly `path`, or, where there is none, the names below it. */
struct look {
	const char *path;
	size_t n;
	struct buf *out;
	bool found;	/* a value */
	char last[128]; /* name that was listed last: they come in order */
};

/* The next part of `path` below the directory, once. */
static void
list(struct look *k, const char *path)
{
	const char *rest = path + k->n + (k->n > 0);
	size_t len = strcspn(rest, "/");
	bool is_dir = rest[len] == '/';

	if (strlen(k->last) == len && memcmp(k->last, rest, len) == 0)
		return;
	if (len < sizeof(k->last)) {
		memcpy(k->last, rest, len);
		k->last[len] = '\0';
	}
	if (k->out->len > 0)
		buf_char(k->out, '\n');
	buf_add(k->out, rest, len);
	if (is_dir)
		buf_char(k->out, '/');
}

static bool
is_below(const struct look *k, const char *path)
{
	return k->n == 0 || (strncmp(path, k->path, k->n) == 0 && path[k->n] == '/');
}

static void
visit(struct look *k, const char *path, const struct leaf_ctx *c, leaf_fn fn)
{
	AUTO_BUF struct buf value = BUF_INIT(BODY_MAX);

	if (strcmp(path, k->path) == 0) {
		k->found = fn(c, k->out);
	} else if (is_below(k, path) && fn(c, &value)) {
		list(k, path);
	}
}

static void
visit_interfaces(struct look *k, const struct leaf *leaf, struct leaf_ctx *c)
{
	const char *star = strchr(leaf->path, '*');
	const struct interface *n;
	char path[PATH_MAX_LEN];

	list_for_each (n, &c->i->interfaces, on_instance) {
		(void)snprintf(path, sizeof(path), "%.*s%s%s", (int)(star - leaf->path),
		    leaf->path, n->mac ? n->mac : "", star + 1);
		c->n = n;
		visit(k, path, c, leaf->fn);
	}
}

static bool
tag_value(const struct leaf_ctx *c, struct buf *out)
{
	return true;
}

static void
visit_tags(struct look *k, const struct leaf_ctx *c)
{
	static const char dir[] = "meta-data/tags/instance";
	char path[PATH_MAX_LEN];

	if (!c->i->imds_tags)
		return;
	for (int t = 0; t < c->i->o.n_tags; t++) {
		const struct tag *tag = &c->i->o.tags[t];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, tag->key);
		if (strcmp(path, k->path) == 0) {
			buf_str(k->out, tag->value);
			k->found = true;
		} else {
			visit(k, path, c, tag_value);
		}
	}
}

/* A key's directory is listed with its name, unlike everything else. */
static bool
list_public_keys(struct look *k, const struct leaf_ctx *c)
{
	const struct reservation *r = c->i->reservation;

	if (strcmp(k->path, "meta-data/public-keys") != 0 || !r || !r->public_key)
		return false;
	buf_fmt(k->out, "0=%s", r->key_name ? r->key_name : "key");
	return true;
}

/* For our own boot program, in no listing: which user the key pair's key is for, as the image's maker chose. */
static bool
tell_login(struct look *k, const struct leaf_ctx *c)
{
	const struct image *image;

	if (strcmp(k->path, "hearth/login") != 0)
		return false;
	image = region_find(c->i->o.region, &kind_image, c->i->image);
	return put(k->out, image ? image->user : NULL);
}

/* False: nothing is there. */
static bool
look_up(const struct instance *i, const char *path, struct buf *out)
{
	struct look k = {.path = path, .n = strlen(path), .out = out};
	struct leaf_ctx c = {.i = i, .primary = instance_primary(i)};

	if (list_public_keys(&k, &c) || tell_login(&k, &c))
		return true;
	for (size_t at = 0; !k.found && at < sizeof(leaves) / sizeof(leaves[0]); at++) {
		if (strchr(leaves[at].path, '*'))
			visit_interfaces(&k, &leaves[at], &c);
		else
			visit(&k, leaves[at].path, &c, leaves[at].fn);
	}
	if (!k.found)
		visit_tags(&k, &c);
	return k.found || out->len > 0;
}

/* ---- tokens ---- */

static bool
token_is_good(const struct imds_tokens *tokens, const char *text, int64_t now_ms)
{
	for (int t = 0; t < tokens->n; t++)
		if (strcmp(tokens->t[t].text, text) == 0)
			return now_ms < tokens->t[t].until_ms;
	return false;
}

static void
new_token(struct imds_tokens *tokens, int64_t ttl_s, int64_t now_ms, struct buf *out)
{
	struct imds_token *t = &tokens->t[tokens->next];
	uint8_t bytes[TOKEN_BYTES];
	size_t from = out->len;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort(); /* cannot fail once the kernel's pool is up (getrandom(2)) */
	wire_base64_encode(bytes, sizeof(bytes), true, out);
	(void)snprintf(t->text, sizeof(t->text), "%s", out->data + from);
	t->until_ms = now_ms + ttl_s * 1000;
	tokens->next = (tokens->next + 1) % IMDS_TOKENS_MAX;
	if (tokens->n < IMDS_TOKENS_MAX)
		tokens->n++;
}

/* 0: it is no number of seconds that a token can live. */
static int64_t
parse_ttl(const char *text)
{
	char *end;
	long v = text && *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;

	return v >= 1 && v <= IMDS_TTL_MAX && *end == '\0' ? v : 0;
}

/* ---- answering ---- */

static void
refuse(struct imds_reply *r, int status, const char *what)
{
	r->status = status;
	buf_reset(&r->body);
	buf_fmt(&r->body,
	    "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html><head><title>%d - %s"
	    "</title></head><body><h1>%d - %s</h1></body></html>\n",
	    status, what, status, what);
}

/* Whoever sends X-Forwarded-For stands behind a proxy that somebody might have tricked. */
static void
answer_put(struct imds_tokens *tokens, int64_t now_ms, const struct imds_request *q,
    struct imds_reply *r)
{
	int64_t ttl_s = parse_ttl(q->ttl);

	if (strcmp(q->path, "/latest/api/token") != 0)
		refuse(r, 405, "Method Not Allowed");
	else if (q->forwarded_for)
		refuse(r, 403, "Forbidden");
	else if (ttl_s == 0)
		refuse(r, 400, "Bad Request");
	else {
		new_token(tokens, ttl_s, now_ms, &r->body);
		r->ttl_s = ttl_s;
	}
}

/* "/latest/meta-data/" and "/2021-07-15/meta-data": what is behind the version, without slashes at its ends. False: it does
   not begin with a version, or is too long. */
static bool
strip(const char *path, char out[PATH_MAX_LEN])
{
	size_t version, n;

	if (*path++ != '/')
		return false;
	version = strcspn(path, "/");
	if ((version != 6 || strncmp(path, "latest", 6) != 0) &&
	    (version == 0 || strspn(path, "0123456789-.") != version))
		return false;
	path += version;
	path += strspn(path, "/");
	n = strlen(path);
	while (n > 0 && path[n - 1] == '/')
		n--;
	if (n >= PATH_MAX_LEN)
		return false;
	memcpy(out, path, n);
	out[n] = '\0';
	return true;
}

static void
answer_get(const struct instance *i, const struct imds_tokens *tokens, int64_t now_ms,
    const struct imds_request *q, struct imds_reply *r)
{
	char path[PATH_MAX_LEN];

	if (q->token ? !token_is_good(tokens, q->token, now_ms) : i->imds_token_required)
		refuse(r, 401, "Unauthorized");
	else if (strcmp(q->path, "/") == 0)
		buf_str(&r->body, "1.0\n2021-07-15\nlatest");
	else if (!strip(q->path, path) || !look_up(i, path, &r->body))
		refuse(r, 404, "Not Found");
}

void
imds_answer(const struct instance *i, struct imds_tokens *tokens, int64_t now_ms,
    const struct imds_request *q, struct imds_reply *ret)
{
	*ret =
	    (struct imds_reply){.status = 200, .ttl_s = -1, .body = BUF_INIT(BODY_MAX)};
	if (i->imds_disabled)
		refuse(ret, 403, "Forbidden");
	else if (strcmp(q->method, "PUT") == 0)
		answer_put(tokens, now_ms, q, ret);
	else if (strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0)
		answer_get(i, tokens, now_ms, q, ret);
	else
		refuse(ret, 405, "Method Not Allowed");
}
