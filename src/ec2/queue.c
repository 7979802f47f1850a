/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/queue.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/instance.h"
#include "ec2/reply.h"
#include "ec2/scenario.h"

/* SQS Developer Guide, defaults of CreateQueue. */
#define VISIBILITY_S 30
#define RETENTION_S (4 * 24 * 60 * 60)

/* clang-format off */
static const struct attr queue_attrs[] = {
	ATTR(queue, ATTR_TEXT, name),
	ATTR(queue, ATTR_TEXT, policy),
	ATTR(queue, ATTR_INT,  visibility_s),
	ATTR(queue, ATTR_INT,  delay_s),
	ATTR(queue, ATTR_INT,  wait_s),
	ATTR(queue, ATTR_INT,  retention_s),
	{ NULL },
};

static const struct attr message_attrs[] = {
	ATTR(message, ATTR_TEXT, queue_id),
	ATTR(message, ATTR_TEXT, message_id),
	ATTR(message, ATTR_TEXT, body),
	ATTR(message, ATTR_INT,  available_at),
	ATTR(message, ATTR_INT,  received),
	ATTR(message, ATTR_INT,  first_received_at),
	{ NULL },
};
/* clang-format on */

static void
queue_init(struct object *o)
{
	list_init(&((struct queue *)o)->waiters);
}

static void
queue_fini(struct object *o)
{
	queue_forget_waiters((struct queue *)o);
}

const struct kind kind_queue = {
    .name = "queue",
    .prefix = "queue-",
    .size = sizeof(struct queue),
    .attrs = queue_attrs,
    .init = queue_init,
    .fini = queue_fini,
};

static void
message_loaded(struct object *o)
{
	struct message *m = (struct message *)o;

	m->queue = region_find(o->region, &kind_queue, m->queue_id);
	if (m->queue)
		m->queue->n++;
}

static void
message_on_due(struct object *o)
{
	struct message *m = (struct message *)o;

	/* Timers go by another clock than the wall's, which may say that it is not time yet. */
	m->available_at = 0;
	if (m->queue)
		queue_serve(m->queue);
}

const struct kind kind_message = {
    .name = "message",
    .prefix = "message-",
    .size = sizeof(struct message),
    .attrs = message_attrs,
    .due = message_on_due,
    .loaded = message_loaded,
};

/* ---- queues ---- */

struct queue *
queue_find(struct region *r, const char *name)
{
	struct queue *q;

	region_for_each (q, r, &kind_queue)
		if (strcmp(q->name, name) == 0)
			return q;
	return NULL;
}

struct queue *
queue_new(struct region *r, const char *name)
{
	struct queue *q = object_new(r, &kind_queue, NULL);

	q->name = xstrdup(name);
	q->visibility_s = VISIBILITY_S;
	q->retention_s = RETENTION_S;
	return q;
}

void
queue_purge(struct queue *q)
{
	struct message *m, *tmp;

	list_for_each_safe (m, tmp, region_objects(q->o.region, &kind_message), o.link)
		if (m->queue == q)
			message_remove(m);
}

void
queue_remove(struct queue *q)
{
	queue_purge(q);
	object_remove(&q->o);
}

/* ---- messages ---- */

static char *
new_uuid(struct world *w)
{
	uint64_t a = world_random_id(w), b = world_random_id(w);

	return xasprintf("%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32),
	    (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
	    (unsigned)(0x8000 | (b >> 48 & 0x3fff)),
	    (unsigned long long)(b & 0xffffffffffff));
}

struct message *
queue_send(struct queue *q, const char *body, int64_t delay_ms)
{
	struct world *w = q->o.region->world;
	struct message *m;

	if (q->n >= QUEUE_MESSAGES_MAX)
		return NULL;
	m = object_new(q->o.region, &kind_message, NULL);
	m->queue = q;
	m->queue_id = xstrdup(q->o.id);
	m->message_id = new_uuid(w);
	m->body = xstrdup(body);
	m->available_at = world_now(w) + delay_ms;
	q->n++;
	/* Also without a delay: who waits is served in the next round, not within this call. */
	object_after(&m->o, delay_ms);
	return m;
}

void
message_remove(struct message *m)
{
	if (m->queue)
		m->queue->n--;
	object_remove(&m->o);
}

void
message_hide(struct message *m, int64_t visibility_ms)
{
	m->available_at = world_now(m->o.region->world) + visibility_ms;
	object_after(&m->o, visibility_ms);
}

struct message *
queue_take(struct queue *q, int64_t visibility_ms)
{
	int64_t now = world_now(q->o.region->world);
	struct message *m, *tmp;

	list_for_each_safe (m, tmp, region_objects(q->o.region, &kind_message), o.link) {
		if (m->queue != q || m->available_at > now)
			continue;
		if (m->o.created_at + q->retention_s * 1000 <= now) {
			message_remove(m);
			continue;
		}
		m->received++;
		if (!m->first_received_at)
			m->first_received_at = now;
		message_hide(m, visibility_ms);
		return m;
	}
	return NULL;
}

/* ---- events ---- */

/* EventBridge User Guide, "EC2 Instance State-change Notification". */
static char *
event_text(const struct instance *i)
{
	const struct region *r = i->o.region;
	AUTO_FREE char *id = new_uuid(r->world);
	AUTO_FREE char *arn = xasprintf(
	    "arn:aws:ec2:%s:%s:instance/%s", r->name, r->world->account, i->o.id);
	char now[CLOCK_RFC3339_MAX];
	json_t *event;
	char *text;

	clock_rfc3339(world_now(r->world), now);
	(void)snprintf(now + strlen("2026-11-22T05:42:33"), 2, "Z"); /* whole seconds */
	event = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:[s],s:{s:s,s:s}}", "version",
	    "0", "id", id, "detail-type", "EC2 Instance State-change Notification",
	    "source", "aws.ec2", "account", r->world->account, "time", now, "region",
	    r->name, "resources", arn, "detail", "instance-id", i->o.id, "state",
	    instance_state_info[i->state].name);
	text = json_dumps(event, JSON_COMPACT);
	json_decref(event);
	return text;
}

void
queue_instance_event(struct instance *i)
{
	struct region *r = i->o.region;
	const char *name = r->world->config ? r->world->config->events_queue : NULL;
	struct queue *q;

	if (!name)
		return;
	q = queue_find(r, name) ?: queue_new(r, name);
	AUTO_FREE char *text = event_text(i);
	if (text && !queue_send(q, text, scenario_delay(r->world, DELAY_EVENT)))
		log_warn("queue %s in %s is full: an event of %s is lost", name, r->name,
		    i->o.id);
}
