/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_QUEUE_H
#define EC2_QUEUE_H

/*
 * Queues as SQS has them, standard ones: at least once, in no promised order. They are here for state-change events: with
 * `events_queue: NAME` each region has a queue of that name, into which go the messages that an EventBridge rule for
 * "EC2 Instance State-change Notification" would put there. The calls are in act_sqs.c.
 */

#include "ec2/world.h"

struct instance;

#define QUEUE_MESSAGES_MAX                                                               \
	100000 /* more are refused: what an endpoint may keep in memory */

struct queue {
	struct object o;
	char *name;
	char *policy; /* kept, not applied */
	int64_t visibility_s, delay_s, wait_s, retention_s;
	int64_t n;	     /* messages; counted, not stored */
	struct list waiters; /* long polls: act_sqs.c */
};
extern const struct kind kind_queue;

struct message {
	struct object o;
	char *queue_id, *message_id, *body;
	int64_t available_at; /* wall ms: not given to anybody before */
	int64_t received;     /* times */
	int64_t first_received_at;
	struct queue *queue;
};
extern const struct kind kind_message;

struct queue *queue_find(struct region *r, const char *name); /* NULL: none */
struct queue *queue_new(struct region *r, const char *name);

/* With its messages; nobody waits any more. */
void queue_remove(struct queue *q);
void queue_purge(struct queue *q);

/* NULL: it is full. */
struct message *queue_send(struct queue *q, const char *body, int64_t delay_ms);
void message_remove(struct message *m);

/* The next that is available, now hidden for `visibility_ms`; NULL: none. */
struct message *queue_take(struct queue *q, int64_t visibility_ms);

/* Hidden from now on for so long; 0: not at all. */
void message_hide(struct message *m, int64_t visibility_ms);

/* Messages have become available: long polls are answered. In act_sqs.c, as the next. */
void queue_serve(struct queue *q);

/* Ends the long polls of a queue that goes, without an answer. */
void queue_forget_waiters(struct queue *q);

/* For world.on_state: the event of an instance's new state, after the scenario's delay. */
void queue_instance_event(struct instance *i);

#endif
