/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQS, as far as somebody who listens for events needs it. Both protocols: Query, as Debian's botocore speaks it, and
 * JSON 1.0, whose parameters are turned into those of the form. A result is built as JSON and written as what was asked for.
 */
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/families.h"
#include "ec2/queue.h"
#include "ec2/request.h"
#include "ec2/sqs_wire.h"

/* SQS API Reference. */
#define NAME_LONGEST 80
#define WAIT_MAX_S 20
#define VISIBILITY_MAX_S 43200
#define RECEIVE_MAX 10
#define BATCH_MAX 10

struct waiter {
	struct list link; /* queue.waiters */
	struct request *q;
	struct queue *queue;
	struct timer timer; /* the end of its patience */
	int64_t max, visibility_ms;
};

/* ---- which queue ---- */

static bool
name_is_valid(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= NAME_LONGEST &&
	       strspn(s,
		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
		   n;
}

static void
fail_no_queue(struct request *q)
{
	sqs_fail(q, "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist",
	    "The specified queue does not exist.");
}

/* The queue for events is there before the first event. */
static struct queue *
find(struct request *q, const char *name)
{
	const char *events = q->world->config ? q->world->config->events_queue : NULL;
	struct queue *queue = queue_find(q->region, name);

	if (!queue && events && strcmp(name, events) == 0)
		queue = queue_new(q->region, name);
	if (!queue)
		fail_no_queue(q);
	return queue;
}

/* By the parameter QueueUrl, else by the URL that was called. */
static struct queue *
read_queue(struct request *q)
{
	const char *url = request_text(q, "QueueUrl") ?: q->path;
	const char *slash = url ? strrchr(url, '/') : NULL;

	if (!slash || !slash[1]) {
		fail_no_queue(q);
		return NULL;
	}
	return request_failed(q) ? NULL : find(q, slash + 1);
}

static json_t *
url_of(struct request *q, const struct queue *queue)
{
	AUTO_FREE char *url = sqs_queue_url(q, queue->name);

	return json_string(url);
}

/* ---- attributes ---- */

static const struct {
	const char *name;
	size_t offset;
	int64_t min, max;
} numbers[] = {
    {"DelaySeconds", offsetof(struct queue, delay_s), 0, 900},
    {"MessageRetentionPeriod", offsetof(struct queue, retention_s), 60, 1209600},
    {"ReceiveMessageWaitTimeSeconds", offsetof(struct queue, wait_s), 0, WAIT_MAX_S},
    {"VisibilityTimeout", offsetof(struct queue, visibility_s), 0, VISIBILITY_MAX_S},
};
#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static int64_t *
number_of(struct queue *queue, size_t i)
{
	return (int64_t *)((char *)queue + numbers[i].offset);
}

/* Into `queue`, which may be one that is not kept. */
static void
read_attribute(struct request *q, int i, struct queue *queue)
{
	const char *name = request_need(q, "Attribute.%d.Name", i);
	const char *value = request_text(q, "Attribute.%d.Value", i) ?: "";
	char *end;

	for (size_t k = 0; k < N_NUMBERS; k++) {
		long long n = strtoll(value, &end, 10);

		if (strcmp(numbers[k].name, name) != 0)
			continue;
		if (!*value || *end || n < numbers[k].min || n > numbers[k].max)
			sqs_fail(q, "InvalidAttributeValue", "InvalidAttributeValue",
			    "Invalid value for the parameter %s.", name);
		else
			*number_of(queue, k) = n;
		return;
	}
	if (strcmp(name, "Policy") == 0)
		queue->policy = (char *)value;
	else if (strcmp(name, "MaximumMessageSize") != 0 &&
		 strcmp(name, "SqsManagedSseEnabled") != 0)
		sqs_fail(q, "InvalidAttributeName", "InvalidAttributeName",
		    "Unknown Attribute %.64s.", name);
}

static void
read_attributes(struct request *q, struct queue *to)
{
	int n = request_count(q, "Attribute");

	for (int i = 1; i <= n; i++)
		read_attribute(q, i, to);
}

static void
set_attributes(struct queue *queue, const struct queue *from)
{
	for (size_t k = 0; k < N_NUMBERS; k++)
		*number_of(queue, k) = *number_of((struct queue *)from, k);
	if (from->policy != queue->policy)
		xstrset(&queue->policy, from->policy);
	object_changed(&queue->o);
}

static bool
differs(const struct queue *a, const struct queue *b)
{
	for (size_t k = 0; k < N_NUMBERS; k++)
		if (*number_of((struct queue *)a, k) != *number_of((struct queue *)b, k))
			return true;
	return false;
}

/* ---- queues ---- */

static void
create_queue(struct request *q)
{
	const char *name = request_need(q, "QueueName");
	struct queue *queue = queue_find(q->region, name);
	struct queue wanted = {.visibility_s = 30, .retention_s = 345600};

	request_ignore(q, "Tag");
	if (queue)
		wanted = *queue;
	read_attributes(q, &wanted);
	if (!name_is_valid(name))
		sqs_fail(q, "InvalidParameterValue", "InvalidParameterValue",
		    "Can only include alphanumeric characters, hyphens, or underscores. "
		    "1 to 80 "
		    "in length");
	if (queue && differs(queue, &wanted))
		sqs_fail(q, "QueueAlreadyExists", "QueueNameExists",
		    "A queue already exists with the same name and a different value for "
		    "an "
		    "attribute");
	if (!request_ready(q))
		return;
	if (!queue) {
		queue = queue_new(q->region, name);
		set_attributes(queue, &wanted);
	}
	sqs_answer(q, json_pack("{s:o}", "QueueUrl", url_of(q, queue)));
}

static void
get_queue_url(struct request *q)
{
	const char *name = request_need(q, "QueueName");
	struct queue *queue;

	(void)request_text(q, "QueueOwnerAWSAccountId");
	queue = request_failed(q) ? NULL : find(q, name);
	if (queue && request_ready(q))
		sqs_answer(q, json_pack("{s:o}", "QueueUrl", url_of(q, queue)));
}

static void
list_queues(struct request *q)
{
	const char *prefix = request_text(q, "QueueNamePrefix") ?: "";
	const char *events = q->world->config ? q->world->config->events_queue : NULL;
	json_t *urls = json_array();
	struct queue *queue;

	request_ignore(q, "MaxResults");
	request_ignore(q, "NextToken");
	if (!request_ready(q)) {
		json_decref(urls);
		return;
	}
	if (events)
		(void)find(q, events);
	region_for_each (queue, q->region, &kind_queue)
		if (strncmp(queue->name, prefix, strlen(prefix)) == 0)
			json_array_append_new(urls, url_of(q, queue));
	sqs_answer(q, json_pack("{s:o}", "QueueUrls", urls));
}

static void
delete_queue(struct request *q)
{
	struct queue *queue = read_queue(q);
	struct waiter *w, *tmp;

	if (!queue || !request_ready(q))
		return;
	list_for_each_safe (w, tmp, &queue->waiters, link) {
		struct request *waiting = w->q;

		list_remove(&w->link);
		timer_off(&w->timer);
		free(w);
		fail_no_queue(waiting);
		request_finish(waiting);
	}
	queue_remove(queue);
	sqs_answer(q, NULL);
}

static void
purge_queue(struct request *q)
{
	struct queue *queue = read_queue(q);

	if (!queue || !request_ready(q))
		return;
	queue_purge(queue);
	sqs_answer(q, NULL);
}

static void
count(const struct queue *queue, int64_t *ret_visible, int64_t *ret_flying,
    int64_t *ret_delayed)
{
	int64_t now = world_now(queue->o.region->world);
	const struct message *m;

	*ret_visible = *ret_flying = *ret_delayed = 0;
	region_for_each (m, queue->o.region, &kind_message) {
		if (m->queue != queue)
			continue;
		if (m->available_at <= now)
			++*ret_visible;
		else if (m->received)
			++*ret_flying;
		else
			++*ret_delayed;
	}
}

static void
put_number(json_t *to, const char *name, int64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%lld", (long long)value);
	json_object_set_new(to, name, json_string(text));
}

static json_t *
all_attributes(struct request *q, struct queue *queue)
{
	int64_t visible, flying, delayed;
	json_t *a = json_object();
	AUTO_FREE char *arn = xasprintf(
	    "arn:aws:sqs:%s:%s:%s", q->region->name, q->world->account, queue->name);

	count(queue, &visible, &flying, &delayed);
	put_number(a, "ApproximateNumberOfMessages", visible);
	put_number(a, "ApproximateNumberOfMessagesNotVisible", flying);
	put_number(a, "ApproximateNumberOfMessagesDelayed", delayed);
	put_number(a, "CreatedTimestamp", queue->o.created_at / 1000);
	put_number(a, "LastModifiedTimestamp", queue->o.created_at / 1000);
	put_number(a, "MaximumMessageSize", 262144);
	for (size_t k = 0; k < N_NUMBERS; k++)
		put_number(a, numbers[k].name, *number_of(queue, k));
	json_object_set_new(a, "QueueArn", json_string(arn));
	if (queue->policy)
		json_object_set_new(a, "Policy", json_string(queue->policy));
	return a;
}

/* Leaves those that the list of names asks for. */
static void
keep_asked(json_t *attributes, const char *const *names, int n)
{
	const char *name;
	json_t *value;
	void *tmp;

	json_object_foreach_safe(attributes, tmp, name, value)
	{
		bool asked = false;

		for (int i = 0; i < n; i++)
			asked = asked || strcmp(names[i], name) == 0 ||
				strcmp(names[i], "All") == 0;
		if (!asked)
			json_object_del(attributes, name);
	}
}

static void
get_attributes(struct request *q)
{
	int n;
	AUTO_FREE const char **names = request_list(q, &n, "AttributeName");
	struct queue *queue = read_queue(q);
	json_t *a;

	if (!queue || !request_ready(q))
		return;
	a = all_attributes(q, queue);
	keep_asked(a, names, n);
	sqs_answer(q, json_pack("{s:o}", "Attributes", a));
}

static void
set_queue_attributes(struct request *q)
{
	struct queue *queue = read_queue(q), wanted;

	if (!queue)
		return;
	wanted = *queue;
	read_attributes(q, &wanted);
	if (!request_ready(q))
		return;
	set_attributes(queue, &wanted);
	sqs_answer(q, NULL);
}

/* ---- messages ---- */

static char *
md5(const char *s)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	char *text, *to;

	(void)EVP_Digest(s, strlen(s), md, &n, EVP_md5(), NULL);
	to = text = xcalloc(n * 2 + 1, 1);
	for (unsigned int i = 0; i < n; i++)
		to += snprintf(to, 3, "%02x", md[i]);
	return text;
}

static void
send_message(struct request *q)
{
	const char *body = request_need(q, "MessageBody");
	struct queue *queue = read_queue(q);
	int64_t delay =
	    request_int(q, queue ? queue->delay_s : 0, 0, 900, "DelaySeconds");
	struct message *m;

	if (request_has(q, "MessageAttribute"))
		sqs_fail(q, "InvalidParameterValue", "InvalidParameterValue",
		    "Message attributes are not supported here");
	if (!queue || !request_ready(q))
		return;
	m = queue_send(queue, body, delay * 1000);
	if (!m) {
		sqs_fail(q, "OverLimit", "OverLimit", "The queue holds %d messages",
		    QUEUE_MESSAGES_MAX);
		return;
	}
	AUTO_FREE char *sum = md5(body);
	sqs_answer(q,
	    json_pack("{s:s,s:s}", "MD5OfMessageBody", sum, "MessageId", m->message_id));
}

/* What is asked of a message beside its body. */
static json_t *
message_attributes(struct request *q, const struct message *m)
{
	int n;
	AUTO_FREE const char **names = request_list(q, &n, "AttributeName");
	json_t *a = json_object();

	json_object_set_new(a, "SenderId", json_string(q->world->account));
	put_number(a, "SentTimestamp", m->o.created_at);
	put_number(a, "ApproximateReceiveCount", m->received);
	put_number(a, "ApproximateFirstReceiveTimestamp", m->first_received_at);
	keep_asked(a, names, n);
	return a;
}

static json_t *
received(struct request *q, const struct message *m)
{
	AUTO_FREE char *sum = md5(m->body);
	AUTO_FREE char *receipt = xasprintf("%s#%lld", m->o.id, (long long)m->received);
	json_t *attributes = message_attributes(q, m);
	json_t *v = json_pack("{s:s,s:s,s:s,s:s}", "MessageId", m->message_id,
	    "ReceiptHandle", receipt, "MD5OfBody", sum, "Body", m->body);

	if (json_object_size(attributes))
		json_object_set(v, "Attributes", attributes);
	json_decref(attributes);
	return v;
}

/* Whether there was anything to give. */
static bool
give(struct request *q, struct queue *queue, int64_t max, int64_t visibility_ms,
    bool even_none)
{
	json_t *messages = json_array();
	struct message *m;

	while ((int64_t)json_array_size(messages) < max &&
	       (m = queue_take(queue, visibility_ms)))
		json_array_append_new(messages, received(q, m));
	if (json_array_size(messages) == 0 && !even_none) {
		json_decref(messages);
		return false;
	}
	if (json_array_size(messages)) {
		sqs_answer(q, json_pack("{s:o}", "Messages", messages));
	} else {
		json_decref(messages);
		sqs_answer(q, json_object());
	}
	return true;
}

static void
waiter_done(struct waiter *w)
{
	struct request *q = w->q;

	list_remove(&w->link);
	timer_off(&w->timer);
	free(w);
	request_finish(q);
}

static void
on_patience(void *arg)
{
	struct waiter *w = arg;

	give(w->q, w->queue, 0, 0, true);
	waiter_done(w);
}

void
queue_serve(struct queue *queue)
{
	struct waiter *w, *tmp;

	list_for_each_safe (w, tmp, &queue->waiters, link) {
		if (!give(w->q, queue, w->max, w->visibility_ms, false))
			return;
		waiter_done(w);
	}
}

/* The requests are the endpoint's: it has ended before its world does. */
void
queue_forget_waiters(struct queue *queue)
{
	struct waiter *w, *tmp;

	list_for_each_safe (w, tmp, &queue->waiters, link) {
		list_remove(&w->link);
		timer_off(&w->timer);
		free(w);
	}
}

static void
receive_message(struct request *q)
{
	struct queue *queue = read_queue(q);
	int64_t max = request_int(q, 1, 1, RECEIVE_MAX, "MaxNumberOfMessages");
	int64_t wait =
	    request_int(q, queue ? queue->wait_s : 0, 0, WAIT_MAX_S, "WaitTimeSeconds");
	int64_t visibility = request_int(
	    q, queue ? queue->visibility_s : 0, 0, VISIBILITY_MAX_S, "VisibilityTimeout");
	struct waiter *w;

	request_ignore(q, "AttributeName");
	request_ignore(q, "MessageAttributeName");
	request_ignore(q, "MessageSystemAttributeName");
	request_ignore(q, "ReceiveRequestAttemptId");
	if (!queue || !request_ready(q) ||
	    give(q, queue, max, visibility * 1000, wait == 0))
		return;
	w = xnew(struct waiter);
	w->q = q;
	w->queue = queue;
	w->max = max;
	w->visibility_ms = visibility * 1000;
	list_init(&w->link);
	list_push_back(&queue->waiters, &w->link);
	timer_set(q->world->clock, &w->timer, wait * 1000, on_patience, w);
	request_later(q);
}

/* NULL: it is no handle (a failure), or its message is gone (none). */
static struct message *
by_receipt(
    struct request *q, const struct queue *queue, const char *handle, bool *ret_valid)
{
	const char *sign = strchr(handle, '#');
	AUTO_FREE char *id = xstrndup(handle, sign ? (size_t)(sign - handle) : 0);
	struct message *m = region_find(q->region, &kind_message, id);

	*ret_valid =
	    sign && strncmp(id, kind_message.prefix, strlen(kind_message.prefix)) == 0;
	return m && m->queue == queue ? m : NULL;
}

static void
fail_receipt(struct request *q)
{
	sqs_fail(q, "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid",
	    "The input receipt handle is invalid.");
}

static void
delete_message(struct request *q)
{
	const char *handle = request_need(q, "ReceiptHandle");
	struct queue *queue = read_queue(q);
	struct message *m = NULL;
	bool valid;

	if (queue) {
		m = by_receipt(q, queue, handle, &valid);
		if (!valid)
			fail_receipt(q);
	}
	if (!queue || !request_ready(q))
		return;
	if (m)
		message_remove(m);
	sqs_answer(q, NULL);
}

static void
delete_batch(struct request *q)
{
	static const char entry[] = "DeleteMessageBatchRequestEntry";
	struct queue *queue = read_queue(q);
	int n = request_count(q, entry);
	json_t *done = json_array(), *failed = json_array();

	if (n == 0)
		sqs_fail(q, "AWS.SimpleQueueService.EmptyBatchRequest",
		    "EmptyBatchRequest",
		    "There should be at least one DeleteMessageBatchRequestEntry in the "
		    "request.");
	if (n > BATCH_MAX)
		sqs_fail(q, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
		    "TooManyEntriesInBatchRequest",
		    "Maximum number of entries per request are 10.");
	for (int i = 1; i <= n; i++) {
		(void)request_need(q, "%s.%d.Id", entry, i);
		(void)request_need(q, "%s.%d.ReceiptHandle", entry, i);
	}
	if (!queue || !request_ready(q)) {
		json_decref(done);
		json_decref(failed);
		return;
	}
	for (int i = 1; i <= n; i++) {
		const char *id = request_text(q, "%s.%d.Id", entry, i);
		bool valid;
		struct message *m = by_receipt(
		    q, queue, request_text(q, "%s.%d.ReceiptHandle", entry, i), &valid);

		if (m)
			message_remove(m);
		if (valid)
			json_array_append_new(done, json_pack("{s:s}", "Id", id));
		else
			json_array_append_new(
			    failed, json_pack("{s:s,s:b,s:s}", "Id", id, "SenderFault", 1,
					"Code", "ReceiptHandleIsInvalid"));
	}
	sqs_answer(q, json_pack("{s:o,s:o}", "Successful", done, "Failed", failed));
}

static void
change_visibility(struct request *q)
{
	const char *handle = request_need(q, "ReceiptHandle");
	struct queue *queue = read_queue(q);
	int64_t visibility = request_int(q, -1, 0, VISIBILITY_MAX_S, "VisibilityTimeout");
	struct message *m = NULL;
	bool valid;

	if (visibility < 0)
		(void)request_need(q, "VisibilityTimeout");
	if (queue) {
		m = by_receipt(q, queue, handle, &valid);
		if (!valid)
			fail_receipt(q);
		else if (!m || m->available_at <= world_now(q->world))
			sqs_fail(q, "AWS.SimpleQueueService.MessageNotInflight",
			    "MessageNotInflight", "The message is not in flight.");
	}
	if (!queue || !m || !request_ready(q))
		return;
	message_hide(m, visibility * 1000);
	sqs_answer(q, NULL);
}

/* ---- the table ---- */

#define SQS_ACTION(fn)                                                                   \
	static void fn##_any(struct request *q)                                          \
	{                                                                                \
		if (sqs_read(q) == 0)                                                    \
			fn(q);                                                           \
	}

SQS_ACTION(change_visibility)
SQS_ACTION(create_queue)
SQS_ACTION(delete_message)
SQS_ACTION(delete_batch)
SQS_ACTION(delete_queue)
SQS_ACTION(get_attributes)
SQS_ACTION(get_queue_url)
SQS_ACTION(list_queues)
SQS_ACTION(purge_queue)
SQS_ACTION(receive_message)
SQS_ACTION(send_message)
SQS_ACTION(set_queue_attributes)

const struct action sqs_actions[] = {
    {"ChangeMessageVisibility", change_visibility_any},
    {"CreateQueue", create_queue_any},
    {"DeleteMessage", delete_message_any},
    {"DeleteMessageBatch", delete_batch_any},
    {"DeleteQueue", delete_queue_any},
    {"GetQueueAttributes", get_attributes_any},
    {"GetQueueUrl", get_queue_url_any},
    {"ListQueues", list_queues_any},
    {"PurgeQueue", purge_queue_any},
    {"ReceiveMessage", receive_message_any},
    {"SendMessage", send_message_any},
    {"SetQueueAttributes", set_queue_attributes_any},
    {NULL},
};
