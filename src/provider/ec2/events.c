/* SPDX-License-Identifier: Apache-2.0 */

/* State-change events that EventBridge puts into an SQS queue. They come late, twice, in any order or not at all (Amazon
   EventBridge, "best effort"), so all that is taken from one is that it is time for a look. */

#include <string.h>

#include "aws/xml.h"
#include "base/log.h"
#include "provider/ec2/internal.h"

#define API_VERSION "2012-11-05"
#define WAIT_S "20" /* the longest that SQS lets a question wait */
#define CALL_MS 30000
#define AGAIN_MS 10000
#define LOOK_MS 50 /* events come in swarms */

static void receive(void *arg);

static void
deleted(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	/* one that is not deleted comes again, and costs a look */
}

static void
forget(struct ec2 *e, const char *handle)
{
	struct aws_call_options opt = {.repeatable = true, .deadline_ms = CALL_MS};
	struct aws_form f = {0};

	aws_form_add(&f, e->settings.events_queue, "QueueUrl");
	aws_form_add(&f, handle, "ReceiptHandle");
	(void)aws_query(e->sqs, "DeleteMessage", &f, &opt, deleted, e);
}

static void
received(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;
	const struct xml *result = xml_child(reply, "ReceiveMessageResult");
	bool any = false;

	if (e->closing)
		return;
	if (err && err->code != ERR_NONE) {
		if (!e->events_failed)
			log_warn("ec2: events: %s; going on without, and trying again "
				 "every %d s",
			    err->msg, AGAIN_MS / 1000);
		e->events_failed = true;
		timer_set(e->env.clock, &e->hint, AGAIN_MS, receive, e);
		return;
	}
	e->events_failed = false;
	for (const struct xml *m = result ? result->child : NULL; m; m = m->next) {
		if (strcmp(m->name, "Message") != 0)
			continue;
		forget(e, xml_text(m, "ReceiptHandle"));
		any = true;
	}
	if (any)
		ec2_look_within(e, LOOK_MS);
	timer_set(e->env.clock, &e->hint, 0, receive, e);
}

static void
receive(void *arg)
{
	struct ec2 *e = arg;
	struct aws_call_options opt = {
	    .repeatable = true, .timeout_ms = CALL_MS, .deadline_ms = 2 * CALL_MS};
	struct aws_form f = {0};

	aws_form_add(&f, e->settings.events_queue, "QueueUrl");
	aws_form_add(&f, WAIT_S, "WaitTimeSeconds");
	aws_form_add(&f, "10", "MaxNumberOfMessages");
	(void)aws_query(e->sqs, "ReceiveMessage", &f, &opt, received, e);
}

int
ec2_events_open(struct ec2 *e, struct err *err)
{
	struct aws_client_options opt = {.clock = e->env.clock,
	    .fetcher = e->fetcher,
	    .credentials = e->credentials,
	    .service = "sqs",
	    .region = e->settings.region,
	    .endpoint = e->settings.events_queue,
	    .api_version = API_VERSION,
	    .bucket_speed = -1};

	if (!e->settings.events_queue)
		return 0;
	if (aws_client_new(&opt, &e->sqs, err) < 0)
		return err_wrap(err, "events_queue");
	timer_set(e->env.clock, &e->hint, 0, receive, e);
	return 0;
}
