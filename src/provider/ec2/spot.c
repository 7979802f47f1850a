/* SPDX-License-Identifier: Apache-2.0 */

/* Spot requests of machines that ended. A persistent one makes the next instance when its own ends (EC2 User Guide, "Spot
   Instance request types"), and that one bears no tags of ours. Where we end a machine, its request is cancelled first;
   one that died by itself may have been followed by then. So what has ended is not gone before its request was seen to
   be over, and what that made has been ended. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/xml.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"

#define CALL_DEADLINE_MS 30000
#define FILTER "Filter.1."

struct names {
	struct aws_form form;
	int n;
};

static void
add_request(struct ec2_machine *m, void *arg)
{
	struct names *names = arg;

	m->left = m->spot_request[0] && !m->spot_over;
	if (m->left)
		aws_form_add(
		    &names->form, m->spot_request, FILTER "Value.%d", ++names->n);
}

/* ---- an instance that nobody asked for ---- */

struct ending {
	struct ec2 *e;
	char ref[EC2_REF_MAX]; /* the machine's; it may be gone when this is answered */
};

static void
ended(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ending *x = arg;
	struct ec2_machine *m = x->e->closing ? NULL : map_get(&x->e->refs, x->ref);
	/* for a while after it was made, EC2 may say that it is not there */
	bool done = err->code == ERR_NONE ||
		    (m && err->code == ERR_NOT_FOUND &&
			clock_now_ms(m->e->env.clock) - m->moved_ms >= EC2_UNSURE_MS);

	if (!x->e->closing && !done && err->code != ERR_NOT_FOUND)
		log_warn("ec2: an instance that followed %s by its spot request cannot "
			 "be ended: %s, trying again",
		    x->ref, err->msg);
	if (m && done)
		m->spot_over = true;
	free(x);
}

static void
end_follower(struct ec2_machine *m, const char *instance)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CALL_DEADLINE_MS};
	struct ending *x = xnew(struct ending);
	struct aws_form f = {0};

	log_info("ec2: %s followed %s by its spot request: ending it", instance, m->ref);
	x->e = m->e;
	memcpy(x->ref, m->ref, sizeof(x->ref));
	aws_form_add(&f, instance, "InstanceId.1");
	ec2_query(m->e, "TerminateInstances", &f, &opt, ended, x);
}

/* ---- the requests ---- */

static void
cancelled(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;

	if (!e->closing && err->code != ERR_NONE)
		log_warn("ec2: CancelSpotInstanceRequests: %s, trying again", err->msg);
}

static void
cancel(struct ec2 *e, struct names *live)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CALL_DEADLINE_MS};

	if (live->n > 0)
		ec2_query(
		    e, "CancelSpotInstanceRequests", &live->form, &opt, cancelled, e);
}

struct seen {
	const char *request, *state, *instance;
	struct names *live;
};

/* What is still live is cancelled, and looked at again with the next look: only then does it stay as it is seen. */
static void
settle(struct ec2_machine *m, void *arg)
{
	struct seen *s = arg;

	if (m->spot_over || strcmp(m->spot_request, s->request) != 0)
		return;
	m->spot_seen_ms = clock_now_ms(m->e->env.clock);
	if (strcmp(s->state, "open") == 0 || strcmp(s->state, "active") == 0 ||
	    strcmp(s->state, "disabled") == 0)
		aws_form_add(
		    &s->live->form, s->request, "SpotInstanceRequestId.%d", ++s->live->n);
	else if (s->instance[0] && strcmp(s->instance, m->ref) != 0)
		end_follower(m, s->instance);
	else
		m->spot_over = true;
}

/* One that is not listed is long forgotten, or so new that it is not listed yet. */
static void
conclude(struct ec2_machine *m, void *arg)
{
	int64_t now = clock_now_ms(m->e->env.clock);

	if (*(bool *)arg || (!m->spot_seen_ms && now - m->moved_ms >= EC2_UNSURE_MS))
		m->spot_over = true;
	m->left = m->spot_request[0] && !m->spot_over;
}

static void
saw_requests(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct ec2 *e = arg;
	struct names live = {0};
	bool forbidden = err->code == ERR_NOT_PERMITTED;

	if (e->closing)
		return;
	if (err->code != ERR_NONE)
		log_warn("ec2: DescribeSpotInstanceRequests: %s%s", err->msg,
		    forbidden ? "; instances that follow by persistent spot requests "
				"are not ended"
			      : ", trying again");
	for (const struct xml *x = ec2_items(reply, "spotInstanceRequestSet"); x;
	     x = ec2_item_next(x))
		ec2_each_swept(e, settle,
		    &(struct seen){xml_text(x, "spotInstanceRequestId"),
			xml_text(x, "state"), xml_text(x, "instanceId"), &live});
	cancel(e, &live);
	if (err->code == ERR_NONE || forbidden)
		ec2_each_swept(e, conclude, &forbidden);
	ec2_sweep_rest(e);
}

bool
ec2_spot_sweep(struct ec2 *e)
{
	struct aws_call_options opt = {
	    .repeatable = true, .filtered = true, .deadline_ms = CALL_DEADLINE_MS};
	struct names names = {0};

	ec2_each_swept(e, add_request, &names);
	if (names.n == 0)
		return false;
	aws_form_add(&names.form, "spot-instance-request-id", FILTER "Name");
	ec2_query(e, "DescribeSpotInstanceRequests", &names.form, &opt, saw_requests, e);
	return true;
}
