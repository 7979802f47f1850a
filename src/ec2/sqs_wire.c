/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/sqs_wire.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/action.h"
#include "ec2/request.h"
#include "ec2/world.h"
#include "net/http_server.h"

#define DEPTH_MAX 4

/* Lists and maps: what JSON calls them, what one element is called in Query; maps have names for key and value. */
static const struct {
	const char *json, *query, *key, *value;
} plurals[] = {
    {"AttributeNames", "AttributeName", NULL, NULL},
    {"Attributes", "Attribute", "Name", "Value"},
    {"Entries", "DeleteMessageBatchRequestEntry", NULL, NULL},
    {"Failed", "BatchResultErrorEntry", NULL, NULL},
    {"MessageAttributeNames", "MessageAttributeName", NULL, NULL},
    {"MessageAttributes", "MessageAttribute", "Name", "Value"},
    {"MessageSystemAttributeNames", "MessageSystemAttributeName", NULL, NULL},
    {"Messages", "Message", NULL, NULL},
    {"QueueUrls", "QueueUrl", NULL, NULL},
    {"Successful", "DeleteMessageBatchResultEntry", NULL, NULL},
    {"tags", "Tag", "Key", "Value"},
    {NULL, NULL, NULL, NULL},
};

static int
plural_of(const char *json)
{
	int i = 0;

	while (plurals[i].json && strcmp(plurals[i].json, json) != 0)
		i++;
	return i;
}

static const char *
singular(const char *json)
{
	return plurals[plural_of(json)].query ?: json;
}

/* ---- reading ---- */

/* Pairs of name and value, each with its NUL, one after the other. */
struct flat {
	struct buf text;
	int n;
};

static void
put(struct flat *f, const char *name, const json_t *v)
{
	buf_add(&f->text, name, strlen(name) + 1);
	if (json_is_string(v))
		buf_str(&f->text, json_string_value(v));
	else if (json_is_integer(v))
		buf_fmt(&f->text, "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		buf_str(&f->text, json_is_true(v) ? "true" : "false");
	buf_char(&f->text, '\0');
	f->n++;
}

static int flatten(struct flat *f, const char *name, const json_t *v, int depth);

static int
flatten_map(struct flat *f, const char *name, const json_t *v, int plural)
{
	const char *key;
	json_t *value;
	char at[REQUEST_NAME_MAX + 1];
	int n = 0;

	json_object_foreach ((json_t *)v, key, value) {
		AUTO_FREE char *quoted = xstrdup(key);
		json_t *k = json_string(quoted);

		(void)snprintf(
		    at, sizeof(at), "%s.%d.%s", name, ++n, plurals[plural].key);
		put(f, at, k);
		json_decref(k);
		(void)snprintf(
		    at, sizeof(at), "%s.%d.%s", name, n, plurals[plural].value);
		if (flatten(f, at, value, DEPTH_MAX) < 0)
			return -1;
	}
	return 0;
}

static int
flatten_members(struct flat *f, const char *prefix, const json_t *v, int depth)
{
	char at[REQUEST_NAME_MAX + 1];
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach ((json_t *)v, key, value) {
		int plural = plural_of(key);
		const json_t *item;

		(void)snprintf(
		    at, sizeof(at), "%s%s%s", prefix, *prefix ? "." : "", singular(key));
		if (json_is_object(value) && plurals[plural].key) {
			if (flatten_map(f, at, value, plural) < 0)
				return -1;
		} else if (json_is_array(value)) {
			json_array_foreach (value, i, item) {
				char one[REQUEST_NAME_MAX + 24];

				(void)snprintf(one, sizeof(one), "%s.%zu", at, i + 1);
				if (flatten(f, one, item, depth + 1) < 0)
					return -1;
			}
		} else if (flatten(f, at, value, depth + 1) < 0) {
			return -1;
		}
	}
	return 0;
}

static int
flatten(struct flat *f, const char *name, const json_t *v, int depth)
{
	if (strlen(name) > REQUEST_NAME_MAX || f->n >= REQUEST_PARAMS_MAX)
		return -1;
	if (json_is_object(v))
		return depth < DEPTH_MAX ? flatten_members(f, name, v, depth) : -1;
	if (json_is_array(v) || json_is_real(v))
		return -1;
	if (!json_is_null(v))
		put(f, name, v);
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct param *)a)->name, ((const struct param *)b)->name);
}

/* The request keeps the text; its `json` says from now on only that it speaks JSON. */
static void
take(struct request *q, struct flat *f)
{
	int n = f->n;
	char *at;

	free(q->text);
	q->text = buf_take(&f->text);
	q->json = q->text;
	q->params = xcalloc((size_t)n + 1, sizeof(*q->params));
	at = q->text;
	for (int i = 0; i < n; i++) {
		q->params[i].name = at;
		at += strlen(at) + 1;
		q->params[i].value = at;
		at += strlen(at) + 1;
	}
	q->n_params = n;
	qsort(q->params, (size_t)n, sizeof(*q->params), by_name);
}

int
sqs_read(struct request *q)
{
	struct flat f = {.text = BUF_INIT(2 * REQUEST_BODY_MAX)};
	json_t *body;
	int rc = -1;

	if (!q->json)
		return 0;
	body = json_loads(q->json, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(body))
		rc = flatten(&f, "", body, 0);
	if (rc == 0 && !f.text.overflow)
		take(q, &f);
	else
		rc = request_fail(q, "SerializationException",
		    "The request is not JSON as this service takes it");
	json_decref(body);
	buf_fini(&f.text);
	return rc;
}

/* ---- answering ---- */

void
sqs_fail(struct request *q, const char *query_code, const char *json_type,
    const char *fmt, ...)
{
	char message[256], type[96];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	(void)snprintf(type, sizeof(type), "com.amazonaws.sqs#%s", json_type);
	request_fail(q, q->json ? type : query_code, "%s", message);
}

static void write_members(struct reply *r, const json_t *v);

static void
write_value(struct reply *r, const char *name, const json_t *v)
{
	if (json_is_string(v)) {
		reply_text(r, name, json_string_value(v));
	} else if (json_is_boolean(v)) {
		reply_bool(r, name, json_is_true(v));
	} else {
		reply_open(r, name);
		write_members(r, v);
		reply_close(r);
	}
}

static void
write_map(struct reply *r, const json_t *v, int plural)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)v, key, value) {
		reply_open(r, plurals[plural].query);
		reply_text(r, plurals[plural].key, key);
		write_value(r, plurals[plural].value, value);
		reply_close(r);
	}
}

static void
write_members(struct reply *r, const json_t *v)
{
	const char *key;
	json_t *value;
	const json_t *item;
	size_t i;

	json_object_foreach ((json_t *)v, key, value) {
		int plural = plural_of(key);

		if (plurals[plural].key)
			write_map(r, value, plural);
		else if (json_is_array(value))
			json_array_foreach (value, i, item)
				write_value(r, plurals[plural].query, item);
		else
			write_value(r, key, value);
	}
}

void
sqs_answer(struct request *q, struct json_t *result)
{
	struct reply *r = &q->reply;
	char wrapper[64];

	if (q->json) {
		AUTO_FREE char *text = result ? json_dumps(result, JSON_COMPACT) : NULL;

		buf_str(&r->body, text ?: "{}");
	} else if (result) {
		(void)snprintf(wrapper, sizeof(wrapper), "%sResult", q->action->name);
		buf_fmt(&r->body, "<%s>", wrapper);
		write_members(r, result);
		buf_fmt(&r->body, "</%s>", wrapper);
	}
	json_decref(result);
}

char *
sqs_queue_url(struct request *q, const char *name)
{
	const char *host = q->http ? http_header(q->http, "Host") : NULL;

	if (!host ||
	    strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			 ".:-[]") != strlen(host))
		host = "localhost";
	return xasprintf("http://%s/%s/%s", host, q->world->account, name);
}
