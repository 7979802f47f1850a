/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/efs.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/auth.h"
#include "ec2/request.h"
#include "ec2/sqs_wire.h"
#include "ec2/tags.h"
#include "net/http_server.h"

#define VERSION "/2015-02-01/"
#define ID_MAX_LEN 128

/* ---- which action ---- */

static const struct route {
	const char *method, *what;
	const char *id;	   /* the parameter that stands in the path; NULL: none does */
	const char *below; /* behind the id; NULL: nothing */
	const char *action;
} routes[] = {
    {"POST", "file-systems", NULL, NULL, "CreateFileSystem"},
    {"GET", "file-systems", NULL, NULL, "DescribeFileSystems"},
    {"DELETE", "file-systems", "FileSystemId", NULL, "DeleteFileSystem"},
    {"GET", "file-systems", "FileSystemId", "lifecycle-configuration",
	"DescribeLifecycleConfiguration"},
    {"POST", "access-points", NULL, NULL, "CreateAccessPoint"},
    {"GET", "access-points", NULL, NULL, "DescribeAccessPoints"},
    {"DELETE", "access-points", "AccessPointId", NULL, "DeleteAccessPoint"},
    {"POST", "mount-targets", NULL, NULL, "CreateMountTarget"},
    {"GET", "mount-targets", NULL, NULL, "DescribeMountTargets"},
    {"DELETE", "mount-targets", "MountTargetId", NULL, "DeleteMountTarget"},
    {"GET", "mount-targets", "MountTargetId", "security-groups",
	"DescribeMountTargetSecurityGroups"},
    {"POST", "resource-tags", "ResourceId", NULL, "TagResource"},
    {"GET", "resource-tags", "ResourceId", NULL, "ListTagsForResource"},
    {"DELETE", "resource-tags", "ResourceId", NULL, "UntagResource"},
};

static bool
same(const char *text, size_t n, const char *name)
{
	return name ? strlen(name) == n && memcmp(text, name, n) == 0 : n == 0;
}

static const struct route *
route_of(const char *method, const char *path, char id[ID_MAX_LEN])
{
	const char *what, *at, *below;
	size_t n, n_id;

	if (strncmp(path, VERSION, strlen(VERSION)) != 0)
		return NULL;
	what = path + strlen(VERSION);
	n = strcspn(what, "/");
	at = what + n + (what[n] == '/');
	n_id = strcspn(at, "/");
	below = at + n_id + (at[n_id] == '/');
	if (n_id >= ID_MAX_LEN ||
	    strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789-") < n_id)
		return NULL;
	(void)snprintf(id, ID_MAX_LEN, "%.*s", (int)n_id, at);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		const struct route *r = &routes[i];

		if (strcmp(r->method, method) == 0 && same(what, n, r->what) &&
		    (r->id != NULL) == (n_id > 0) && same(below, strlen(below), r->below))
			return r;
	}
	return NULL;
}

/* ---- its parameters ---- */

/* A list stands in a query as one name many times: made into those of a form. */
static void
number_lists(const char *query, struct buf *out)
{
	int n = 0;

	while (*query) {
		size_t len = strcspn(query, "&");

		if (out->len)
			buf_char(out, '&');
		if (strncmp(query, "tagKeys=", 8) == 0)
			buf_fmt(out, "TagKeys.%d=%.*s", ++n, (int)len - 8, query + 8);
		else
			buf_add(out, query, len);
		query += len + (query[len] == '&');
	}
}

const char *
efs_read(struct request *q, struct http_request *http)
{
	AUTO_BUF struct buf query = BUF_INIT(REQUEST_BODY_MAX);
	AUTO_BUF struct buf form = BUF_INIT(2 * REQUEST_BODY_MAX);
	char id[ID_MAX_LEN];
	const struct route *r = route_of(http_method(http), http_path(http), id);
	const char *body;
	size_t n;

	if (!r)
		return NULL;
	body = http_body(http, &n);
	auth_query(http, &query);
	if (n > 0) {
		q->json = q->text = xstrndup(body, n);
		if (sqs_read(q) < 0)
			return NULL;
	} else {
		number_lists(query.data ?: "", &form);
		if (request_decode(q, form.data ?: "", form.len) < 0)
			return NULL;
	}
	if (r->id) {
		AUTO_FREE char *entry = xasprintf("%s=%s", r->id, id);

		request_add(q, &entry, 1);
	}
	return r->action;
}

/* ---- failing ---- */

void
efs_fail(struct request *q, int status, const char *code, const char *existing,
    const char *fmt, ...)
{
	char message[256];
	va_list ap;

	if (request_failed(q))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	request_fail(q, code, "%s", message);
	q->status = status;
	(void)snprintf(q->existing, sizeof(q->existing), "%s", existing ?: "");
}

/* Codes and statuses of the model; "Common errors" of the EFS API Reference for the first ones. */
static const struct {
	const char *ec2, *efs;
	int status;
} words[] = {
    {"RequestLimitExceeded", "ThrottlingException", 429},
    {"Unavailable", "InternalServerError", 500},
    {"InternalError", "InternalServerError", 500},
    {"InvalidAction", "UnknownOperationException", 404},
    {"MissingAction", "UnknownOperationException", 404},
    {"InvalidSubnetID.NotFound", "SubnetNotFound", 400},
    {"InvalidGroup.NotFound", "SecurityGroupNotFound", 400},
    {"InsufficientFreeAddressesInSubnet", "NoFreeAddressesInSubnet", 409},
    {"InvalidIPAddress.InUse", "IpAddressInUse", 409},
    {"UnrecognizedClientException", "UnrecognizedClientException", 403},
    {"InvalidSignatureException", "InvalidSignatureException", 403},
    {"MissingAuthenticationTokenException", "MissingAuthenticationTokenException", 403},
    {"IncompleteSignatureException", "IncompleteSignatureException", 403},
};

void
efs_write_error(struct request *q)
{
	const char *code = q->code;
	char id[16] = "";
	json_t *body;

	if (strcmp(code, "FileSystemAlreadyExists") == 0)
		(void)snprintf(id, sizeof(id), "FileSystemId");
	else if (strcmp(code, "AccessPointAlreadyExists") == 0)
		(void)snprintf(id, sizeof(id), "AccessPointId");
	if (q->status == 400 || q->status >= 500) {
		code = "BadRequest";
		if (strcmp(q->code, "SubnetNotFound") == 0 ||
		    strcmp(q->code, "SecurityGroupNotFound") == 0)
			code = q->code;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].ec2, q->code) == 0) {
			code = words[i].efs;
			q->status = words[i].status;
		}
	body = json_pack("{s:s,s:s}", "ErrorCode", code, "Message", q->message);
	if (id[0])
		json_object_set_new(body, id, json_string(q->existing));
	if (code != q->code)
		(void)snprintf(q->code, sizeof(q->code), "%s", code);
	AUTO_FREE char *text = json_dumps(body, JSON_COMPACT);
	buf_str(&q->reply.body, text ?: "{}");
	json_decref(body);
}

/* ---- answering ---- */

void
efs_answer(struct request *q, json_t *result, int status)
{
	AUTO_FREE char *text = result ? json_dumps(result, JSON_COMPACT) : NULL;

	buf_str(&q->reply.body, text ?: "");
	q->success = status;
	json_decref(result);
}

/* ---- tags ---- */

json_t *
efs_tags(const struct object *o)
{
	json_t *all = json_array();

	for (int i = 0; i < o->n_tags; i++)
		json_array_append_new(all, json_pack("{s:s,s:s}", "Key", o->tags[i].key,
					       "Value", o->tags[i].value));
	return all;
}

void
efs_check_tags(struct request *q)
{
	int n = request_count(q, "Tags");

	if (n > TAGS_MAX)
		efs_fail(q, 400, "BadRequest", NULL, "More than %d tags", TAGS_MAX);
	for (int i = 1; i <= n && !request_failed(q); i++)
		tag_check(q, request_need(q, "Tags.%d.Key", i),
		    request_text(q, "Tags.%d.Value", i) ?: "");
}

void
efs_put_tags(struct request *q, struct object *o)
{
	int n = request_count(q, "Tags");

	for (int i = 1; i <= n; i++)
		object_set_tag(o, request_need(q, "Tags.%d.Key", i),
		    request_text(q, "Tags.%d.Value", i) ?: "");
	object_changed(o);
}
