/* SPDX-License-Identifier: Apache-2.0 */

/* Terminate, stop and start: gathered for some milliseconds, then one call for all. One id that EC2 does not take fails the
   call for all of them (AWS's service model says so), so a call that failed is split until the one is found. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/xml.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"

#define BATCH_MAX 200
#define CHANGE_DEADLINE_MS 50000
#define END_AGAIN_MS 5000

enum change { CHANGE_TERMINATE, CHANGE_STOP, CHANGE_HIBERNATE, CHANGE_START };

static const char *const actions[] = {
    "TerminateInstances", "StopInstances", "StopInstances", "StartInstances"};

/* One call: the machines by their ids, for any of them may be gone when it is answered. */
struct call {
	struct ec2 *e;
	enum change change;
	int n;
	char refs[][EC2_REF_MAX];
};

static void send(struct call *c);

static struct call *
call_new(struct ec2 *e, enum change change, int n)
{
	struct call *c = xcalloc(1, sizeof(*c) + (size_t)n * EC2_REF_MAX);

	c->e = e;
	c->change = change;
	return c;
}

/* ---- answers ---- */

static struct list *
answers_of(struct ec2_machine *m, enum change change)
{
	return change == CHANGE_TERMINATE ? &m->terminates
	       : change == CHANGE_START	  ? &m->starts
					  : &m->stops;
}

static void
accepted(struct ec2_machine *m, enum change change)
{
	switch (change) {
	case CHANGE_TERMINATE:
		m->end_asked = true;
		ec2_access_reset(m);
		break;
	case CHANGE_START:
		m->stop_asked = false;
		m->start_ms = clock_now_ms(m->e->env.clock);
		m->address[0] = '\0';
		if (m->state == EC2_STOPPED || m->state == EC2_STOPPING)
			ec2_machine_move(m, EC2_PENDING);
		break;
	default:
		m->stop_asked = true;
		if (m->state == EC2_RUNNING || m->state == EC2_PENDING)
			ec2_machine_move(m, EC2_STOPPING);
		break;
	}
	ec2_answer_all(answers_of(m, change), NULL, &(struct err){0});
}

static void
refused(struct ec2_machine *m, enum change change, const struct aws_error *aws,
    const struct err *err)
{
	bool unseen = strncmp(aws->code, "InvalidInstanceID", 17) == 0;

	if (change == CHANGE_TERMINATE && unseen) {
		/* No proof that it is not there: EC2 answers so for a while after a launch, too. Looks decide,
		   and what they show is ended again. */
		m->unsure = true;
		ec2_answer_all(&m->terminates, NULL, &(struct err){0});
		return;
	}
	ec2_answer_all(answers_of(m, change), NULL, err);
}

static void
split(struct call *c)
{
	int half = c->n / 2;

	for (int part = 0; part < 2; part++) {
		int from = part ? half : 0, to = part ? c->n : half;
		struct call *h = call_new(c->e, c->change, to - from);

		for (int i = from; i < to; i++)
			memcpy(h->refs[h->n++], c->refs[i], EC2_REF_MAX);
		send(h);
	}
	free(c);
}

static void
answered(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct call *c = arg;
	struct err why = *err;

	if (c->e->closing) {
		free(c);
		return;
	}
	if (err->code != ERR_NONE && c->n > 1 && !aws->throttled && aws->status >= 400 &&
	    aws->status < 500) {
		split(c);
		return;
	}
	for (int i = 0; i < c->n; i++) {
		struct ec2_machine *m = map_get(&c->e->refs, c->refs[i]);

		if (m && err->code == ERR_NONE)
			accepted(m, c->change);
		else if (m)
			refused(m, c->change, aws, &why);
	}
	ec2_look_within(c->e, EC2_TICK_MS / 4);
	free(c);
}

static void
send(struct call *c)
{
	struct aws_call_options opt = {
	    .repeatable = true, /* all three are idempotent */
	    .resources = c->n,
	    .deadline_ms = CHANGE_DEADLINE_MS,
	};
	struct aws_form f = {0};

	for (int i = 0; i < c->n; i++)
		aws_form_add(&f, c->refs[i], "InstanceId.%d", i + 1);
	if (c->change == CHANGE_HIBERNATE)
		aws_form_add(&f, "true", "Hibernate");
	ec2_query(c->e, actions[c->change], &f, &opt, answered, c);
}

/* ---- spot requests ---- */

struct cancel {
	struct ec2 *e;
	struct call *then;
};

static void
cancelled(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct cancel *x = arg;

	if (x->e->closing) {
		free(x->then);
	} else {
		if (err->code != ERR_NONE)
			log_warn("ec2: CancelSpotInstanceRequests: %s", err->msg);
		send(x->then);
	}
	free(x);
}

/* A persistent request would make the next instance when this one ends: it goes first. */
static bool
cancel_requests(struct call *c)
{
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = CHANGE_DEADLINE_MS};
	struct aws_form f = {0};
	struct cancel *x;
	int n = 0;

	for (int i = 0; i < c->n; i++) {
		const struct ec2_machine *m = map_get(&c->e->refs, c->refs[i]);

		if (m && m->spot_request[0])
			aws_form_add(
			    &f, m->spot_request, "SpotInstanceRequestId.%d", ++n);
	}
	if (n == 0)
		return false;
	x = xnew(struct cancel);
	x->e = c->e;
	x->then = c;
	ec2_query(c->e, "CancelSpotInstanceRequests", &f, &opt, cancelled, x);
	return true;
}

/* ---- gathering ---- */

static void
send_list(struct ec2 *e, struct list *machines, enum change change)
{
	while (!list_empty(machines)) {
		struct call *c = call_new(e, change, BATCH_MAX);

		while (!list_empty(machines) && c->n < BATCH_MAX) {
			struct ec2_machine *m =
			    list_entry(machines->next, struct ec2_machine, in_change);

			list_remove(&m->in_change);
			memcpy(c->refs[c->n++], m->ref, EC2_REF_MAX);
		}
		if (change != CHANGE_TERMINATE || !cancel_requests(c))
			send(c);
	}
}

static void
flush(void *arg)
{
	struct ec2 *e = arg;

	send_list(e, &e->to_terminate, CHANGE_TERMINATE);
	send_list(e, &e->to_stop, CHANGE_STOP);
	send_list(e, &e->to_hibernate, CHANGE_HIBERNATE);
	send_list(e, &e->to_start, CHANGE_START);
}

static void
put(struct ec2_machine *m, struct list *machines)
{
	struct ec2 *e = m->e;

	list_remove(&m->in_change);
	list_push_back(machines, &m->in_change);
	if (!timer_is_on(&e->change))
		timer_set(e->env.clock, &e->change, EC2_GATHER_MS, flush, e);
}

/* ---- the operations ---- */

void
ec2_terminate_now(struct ec2_machine *m)
{
	int64_t now = clock_now_ms(m->e->env.clock);

	if (m->ref[0] == '\0' || m->state == EC2_TERMINATED ||
	    (m->end_sent_ms && now - m->end_sent_ms < END_AGAIN_MS))
		return;
	m->end_sent_ms = now;
	put(m, &m->e->to_terminate);
}

void
ec2_terminate(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = ec2_machine_find(e, token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);

	a->fn.done = done;
	if (!m && (ec2_is_leftover(ref) || ec2_is_leftover(token))) {
		ec2_leftover_end(e, ec2_is_leftover(ref) ? ref : token, a);
		return;
	}
	if (!m) {
		bool named = token && strncmp(token, "i-", 2) != 0;

		m = ec2_machine_new(e, named ? token : NULL);
		if (ref && strncmp(ref, "i-", 2) == 0)
			ec2_machine_set_ref(m, ref);
	}
	m->ending = true;
	if (m->state == EC2_TERMINATED || m->end_asked) {
		ec2_answer_later(a, NULL, &(struct err){0});
		ec2_look_within(e, m->state == EC2_TERMINATED ? 0 : EC2_TICK_MS / 4);
		return;
	}
	list_push_back(&m->terminates, &a->in_machine);
	m->end_sent_ms = 0;
	if (m->ref[0])
		ec2_terminate_now(m);
	else if (m->state == EC2_UNKNOWN)
		ec2_look_within(e, 0);
	/* else its launch is on its way, and the end follows its answer */
}

void
ec2_stop(struct provider *p, const char *token, const char *ref, bool hibernate,
    provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = ec2_machine_find(e, token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	struct err err;

	a->fn.done = done;
	if (!m || !m->ref[0] || m->ending || m->state == EC2_TERMINATED ||
	    m->state == EC2_SHUTTING_DOWN) {
		err_set(&err, ERR_NOT_FOUND, "there is no such machine");
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (m->state == EC2_STOPPED) {
		m->stop_asked = true;
		ec2_answer_later(a, NULL, &(struct err){0});
		ec2_look_within(e, 0);
		return;
	}
	list_push_back(&m->stops, &a->in_machine);
	put(m, hibernate ? &e->to_hibernate : &e->to_stop);
}

void
ec2_start(struct provider *p, const char *ref, const struct launch_spec *spec,
    provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = ec2_machine_find(e, spec->token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	struct ec2_options opt;
	struct err err;

	a->fn.done = done;
	if (!m || !m->ref[0] || m->ending || m->state == EC2_TERMINATED ||
	    m->state == EC2_SHUTTING_DOWN) {
		err_set(&err, ERR_NOT_FOUND, "there is no such machine");
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (m->state == EC2_RUNNING || m->state == EC2_PENDING) {
		ec2_answer_later(a, NULL, &(struct err){0});
		ec2_look_within(e, 0);
		return;
	}
	if (spec->host_cert && *spec->host_cert &&
	    ec2_trust_host_ca(e, spec->host_cert, &err) < 0) {
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (ec2_options_parse(spec->options, &opt, &err) == 0) {
		ec2_options_fini(&m->opt);
		m->opt = opt;
	}
	ec2_keys_free(m->keys);
	m->keys = ec2_keys_new(spec);
	m->installed = true;
	ec2_machine_end_at(m, clock_wall_ms(e->env.clock) + spec->lease_s * 1000);
	list_push_back(&m->starts, &a->in_machine);
	put(m, &e->to_start);
}
