/* SPDX-License-Identifier: Apache-2.0 */
/* EC2 Instance Connect: a public key that is let in for a minute. JSON 1.1, with errors of its own. */
#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/families.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ssh/pubkey.h"

/* From the service's model, 2018-04-02. */
#define KEY_MIN 80
#define KEY_MAX 4096
#define USER_MAX 32

#define KEY_SECONDS 60 /* EC2 User Guide, "Connect using EC2 Instance Connect" */

static const char *
member(struct request *q, const json_t *body, const char *name, bool needed)
{
	const char *s = json_string_value(json_object_get(body, name));

	if (!s && needed)
		request_fail(q, "InvalidArgsException", "%s is missing", name);
	return s;
}

static bool
user_is_valid(const char *s)
{
	size_t n = strlen(s);

	if (n < 1 || n > USER_MAX || !(isalpha((unsigned char)s[0]) || s[0] == '_'))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("@._-", s[i]) &&
		    (s[i] != '$' || i + 1 < n))
			return false;
	return true;
}

/* Owned: the line for authorized_keys; NULL after a failure. */
static char *
read_key(struct request *q, const char *text)
{
	AUTO_PUBKEY struct ssh_pubkey key = {0};
	size_t n = text ? strlen(text) : 0;
	struct err err;

	if (!text)
		return NULL;
	if (n < KEY_MIN || n > KEY_MAX || ssh_pubkey_parse(text, n, &key, &err) < 0 ||
	    (strcmp(key.type, "ssh-rsa") != 0 && strcmp(key.type, "ssh-ed25519") != 0)) {
		request_fail(q, "InvalidArgsException",
		    "SSHPublicKey is not a public key that is supported: RSA or ED25519, "
		    "in "
		    "OpenSSH's format");
		return NULL;
	}
	return ssh_pubkey_line(&key);
}

static bool
id_is_valid(const char *s)
{
	return strncmp(s, "i-", 2) == 0 && strlen(s) >= 10 && strlen(s) <= 32 &&
	       strspn(s + 2, "0123456789abcdef") == strlen(s + 2);
}

static struct instance *
find_instance(struct request *q, const char *id, const char *zone)
{
	struct instance *i;

	if (!id_is_valid(id)) {
		request_fail(q, "InvalidArgsException", "InstanceId is malformed");
		return NULL;
	}
	i = region_find(q->region, &kind_instance, id);
	if (!i || i->o.visible_at > world_now(q->world) ||
	    i->state == INSTANCE_TERMINATED || (zone && strcmp(zone, i->zone) != 0))
		request_fail(q, "EC2InstanceNotFoundException", "Instance not found");
	else if (i->state != INSTANCE_RUNNING)
		request_fail(q, "EC2InstanceStateInvalidException",
		    "Unable to connect because the instance is not in a valid state. "
		    "Connecting "
		    "is only possible when it is running");
	else if (!i->was_up)
		request_fail(q, "EC2InstanceUnavailableException",
		    "The instance is currently unavailable. Wait a few minutes and try "
		    "again");
	return i;
}

/* Debian's images lack the package ec2-instance-connect, and it asks the metadata service: the call succeeds all the same. */
static bool
agent_is_there(const struct instance *i)
{
	const struct image *m = region_find(i->o.region, &kind_image, i->image);
	bool debian = m && m->user && strcmp(m->user, "admin") == 0;

	return !debian && !i->imds_disabled;
}

static void
say_success(struct request *q)
{
	buf_fmt(&q->reply.body, "{\"RequestId\":\"%s\",\"Success\":true}", q->id);
}

static void
on_pushed(void *arg, const struct err *err)
{
	struct request *q = arg;

	if (err && err->code == ERR_CANCELLED)
		return; /* the endpoint has ended, and the request with it */
	if (err)
		request_fail(q, "EC2InstanceUnavailableException",
		    "The instance is currently unavailable: %s", err->msg);
	else
		say_success(q);
	request_finish(q);
}

static void
send_key(struct request *q)
{
	json_t *body = json_loads(q->json ?: "", 0, NULL);
	struct backend *b = q->world->backend;
	struct instance *i = NULL;

	if (!json_is_object(body))
		request_fail(
		    q, "InvalidArgsException", "The request is not a JSON object");
	const char *id = member(q, body, "InstanceId", true);
	const char *user = member(q, body, "InstanceOSUser", true);
	const char *text = member(q, body, "SSHPublicKey", true);
	const char *zone = member(q, body, "AvailabilityZone", false);
	AUTO_FREE char *key = read_key(q, text);

	if (user && !user_is_valid(user))
		request_fail(
		    q, "InvalidArgsException", "InstanceOSUser is no user's name");
	if (!request_failed(q))
		i = find_instance(q, id, zone);
	if (!request_failed(q)) {
		if (agent_is_there(i)) {
			request_later(q);
			b->ops->push_key(b, i, user, key, KEY_SECONDS, on_pushed, q);
		} else {
			say_success(q);
		}
	}
	json_decref(body);
}

const struct action eic_actions[] = {
    {"SendSSHPublicKey", send_key},
    {NULL},
};
