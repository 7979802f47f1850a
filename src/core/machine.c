/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ssh/ca.h"
#include "ssh/hostkey.h"

#define GONE_TIMEOUT_MS (60 * 1000)
#define END_RETRY_MAX_MS (60 * 1000)
#define SEEN_WITHIN_MS 1000
#define FAILED_KEPT 5
#define LEASE_SLACK_S 3600
#define OVER_AGAIN_MS 1000

struct list *
machine_place(struct cmachine *m)
{
	switch (m->m.state) {
	case MACHINE_READY:
		return m->claiming ? &m->pool->claiming : &m->pool->ready;
	case MACHINE_CLAIMED:
		return &m->pool->claimed;
	case MACHINE_TERMINATING:
	case MACHINE_TERMINATED:
		return &m->pool->ending;
	case MACHINE_STOPPED:
	case MACHINE_HIBERNATED:
		return &m->pool->stopped;
	case MACHINE_FAILED:
		return m->run || timer_is_on(&m->timer) ? &m->pool->ending
							: &m->pool->failed;
	default:
		return &m->pool->launching;
	}
}

static int *
count_of(struct cpool *p, const struct list *l)
{
	return l == &p->launching ? &p->n_launching
	       : l == &p->claimed ? &p->n_claimed
	       : l == &p->ending  ? &p->n_ending
	       : l == &p->failed  ? &p->n_failed
	       : l == &p->stopped ? &p->n_stopped
				  : &p->n_ready;
}

void
machine_count_tiered(struct cmachine *m, bool tiered)
{
	m->pool->n_tiered += tiered - m->tiered;
	m->tiered = tiered;
}

/* Puts it on the list of its state; `was` is the list it leaves (NULL: none). */
void
machine_moved_place(struct cmachine *m, struct list *was)
{
	struct list *now;

	assert(m->pool);
	now = machine_place(m);
	if (was)
		--*count_of(m->pool, was);
	++*count_of(m->pool, now);
	m->pool->n_claiming += (now == &m->pool->claiming) - (was == &m->pool->claiming);
	machine_count_tiered(m, now == &m->pool->ready && m->m.tier != TIER_RUNNING);
	list_remove(&m->in_pool);
	list_push_back(now, &m->in_pool);
}

void
machine_set_claiming(struct cmachine *m, bool claiming)
{
	struct list *was = machine_place(m);

	m->claiming = claiming;
	machine_moved_place(m, was);
	if (!claiming &&
	    m->m.state == MACHINE_READY) { /* it was the oldest, and is again */
		list_remove(&m->in_pool);
		list_push_front(&m->pool->ready, &m->in_pool);
	}
}

void
machine_unreserve(struct cmachine *m)
{
	m->reservation = NULL;
	if (!id_empty(&m->m.reservation)) {
		m->m.reservation = (struct id){{0}};
		core_save_machine(m);
	}
}

void
machine_move(struct cmachine *m, enum machine_state to)
{
	struct list *was = machine_place(m);

	assert(machine_may_move(m->m.state, to));
	log_debug("machine %s: %s -> %s", m->m.id.s, machine_state_name(m->m.state),
	    machine_state_name(to));
	m->m.state = to;
	m->claiming = false;
	if (to == MACHINE_TERMINATED || to == MACHINE_FAILED)
		m->m.ended_at = clock_wall_ms(m->core->clock);
	machine_moved_place(m, was);
	core_save_machine(m);
	pool_wake(m->pool);
}

struct cmachine *
machine_new(struct cpool *p, const struct machine *row)
{
	struct cmachine *m = xnew(struct cmachine);

	machine_copy(&m->m, row);
	m->core = p->core;
	m->pool = p;
	m->sessions = -1;
	m->born_ms = clock_now_ms(p->core->clock) -
		     (clock_wall_ms(p->core->clock) - row->created_at);
	m->outdated = row->created_at < p->shaped_at;
	m->billed_from_at = row->created_at;
	list_init(&m->in_pool);
	machine_moved_place(m, NULL);
	map_put(&p->core->machines, m->m.id.s, m);
	return m;
}

void
machine_free(struct cmachine *m)
{
	--*count_of(m->pool, machine_place(m));
	m->pool->n_claiming -= machine_place(m) == &m->pool->claiming;
	machine_count_tiered(m, false);
	list_remove(&m->in_pool);
	plan_run_drop(m->run);
	timer_off(&m->timer);
	map_remove(&m->core->machines, m->m.id.s);
	machine_fini(&m->m);
	free(m);
}

bool
machine_healthy(const struct cmachine *m)
{
	/* never seen: it is in the store, and the start's inventory has not come */
	return m->last_seen_ms && (m->pool->provider->sees_death ||
				      clock_now_ms(m->core->clock) - m->last_seen_ms <=
					  (m->pool->provider->seen_within_ms
						  ? m->pool->provider->seen_within_ms
						  : SEEN_WITHIN_MS));
}

bool
machine_current(const struct cmachine *m)
{
	const struct cpool *p = m->pool;
	int64_t age = clock_now_ms(m->core->clock) - m->born_ms;

	if (p->image->version && m->m.image_version &&
	    strcmp(p->image->version, m->m.image_version) != 0)
		return false;
	return !m->outdated && strcmp(m->m.image, p->p.image) == 0 &&
	       (!p->p.max_age_ms || age < p->p.max_age_ms);
}

int64_t
machine_lease_s(const struct cpool *p)
{
	return (p->p.max_age_ms + p->core->opt.max_hold_ms) / 1000 + LEASE_SLACK_S;
}

double
machine_cost(const struct cpool *p, bool stopped, int64_t from_at, int64_t to_at)
{
	double rate = stopped ? p->usd_stopped : p->usd_running;

	return to_at > from_at ? rate * (double)(to_at - from_at) / 3600000.0 : 0;
}

/* ---- the launch plan ---- */

struct cmachine *
machine_launch(struct cpool *p, struct creservation *r, enum tier tier)
{
	struct core *c = p->core;
	struct machine row = {
	    .id = id_new('m'),
	    .pool = p->p.name,
	    .provider = p->provider->name,
	    .image = p->p.image,
	    .image_version = p->image->version,
	    .state = MACHINE_LAUNCHING,
	    .tier = tier,
	    .created_at = clock_wall_ms(c->clock),
	};
	struct cmachine *m = machine_new(p, &row);

	m->outdated = false; /* even where the wall clock was set back */
	m->reservation = r;
	if (r) {
		m->m.reservation = r->r.id;
		r->launching = m;
	}
	c->n.launches++;
	core_save_machine(m);
	m->run =
	    plan_run_new(c, &machine_launch_plan, m, m->m.id, r ? r->launches + 1 : 1);
	xstrset(&m->run->rows[LAUNCH_STEP_LAUNCH].token, m->m.id.s);
	if (p->p.n_setup == 0)
		plan_run_skip(m->run, LAUNCH_STEP_SETUP);
	plan_run_start(m->run);
	return m;
}

static void
launch_answered(void *arg, const char *ref, const struct err *err)
{
	struct plan_run *run = arg;
	struct cmachine *m = plan_run_owner(run);

	if (m && plan_step_running(run, LAUNCH_STEP_LAUNCH)) {
		if (err->code == ERR_NONE) {
			xstrset(&m->m.provider_ref, ref);
			store_tx_machine(core_tx(m->core), &m->m);
			plan_step_done(run, LAUNCH_STEP_LAUNCH, ref, 0);
		} else {
			plan_step_failed(run, LAUNCH_STEP_LAUNCH, err);
		}
	}
	plan_run_unref(run);
}

static void
launch_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;
	struct core *c = run->core;
	struct cpool *p = m->pool;
	struct ssh_hostkey key = {0};
	const char *principal = m->m.id.s;
	int64_t now_s = clock_wall_ms(c->clock) / 1000;
	struct ssh_cert_spec spec = {
	    .kind = SSH_CERT_HOST,
	    .serial = ++c->last_serial,
	    .key_id = m->m.id.s,
	    .principals = &principal,
	    .principals_n = 1,
	    .valid_after = (uint64_t)(now_s - BACKDATE_S),
	    .valid_before = (uint64_t)(now_s + machine_lease_s(p) + BACKDATE_S),
	};
	char *cert = NULL;
	struct err err;

	if (ssh_hostkey_generate(m->m.id.s, &key, &err) < 0 ||
	    ssh_ca_sign(c->opt.host_ca, &key.pub, &spec, &cert, &err) < 0) {
		ssh_hostkey_fini(&key);
		plan_step_failed(run, i, &err);
		return;
	}
	p->provider->p->ops->launch(p->provider->p,
	    &(struct launch_spec){
		.token = m->m.id.s,
		.pool = p->p.name,
		.image = m->m.image,
		.image_version = m->m.image_version,
		.memory_bytes = p->p.memory_bytes,
		.cpu_milli = p->p.cpu_milli,
		.pids_max = p->p.pids_max,
		.nesting = p->p.nesting,
		.lease_s = machine_lease_s(p),
		.hostname = m->m.id.s,
		.host_key = key.text.data,
		.host_cert = cert,
		.user_ca = c->user_ca_line,
		.tier = m->m.tier,
		.options = p->p.options,
		.authorized_keys = m->reservation && p->access == ACCESS_LAUNCH
				       ? m->reservation->r.public_keys
				       : NULL,
	    },
	    launch_answered, plan_run_ref(run));
	ssh_hostkey_fini(&key);
	free(cert);
}

int
machine_ready_step(const struct plan_run *run)
{
	return run->plan == &machine_start_plan ? START_STEP_READY : LAUNCH_STEP_READY;
}

static void
ready_overdue(void *arg)
{
	struct cmachine *m = arg;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE,
	    "no ssh within %lld s; see the machine's console output, and whether this "
	    "host "
	    "may reach its port 22",
	    (long long)(m->pool->p.ready_timeout_ms / 1000));
	if (m->run && plan_step_running(m->run, machine_ready_step(m->run)))
		plan_step_failed(m->run, machine_ready_step(m->run), &err);
}

void
machine_ready_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;

	if (m->seen_ready)
		plan_step_done(run, i, NULL, 0);
	else
		timer_set(run->core->clock, &m->timer, m->pool->p.ready_timeout_ms,
		    ready_overdue, m);
}

static void setup_start(struct plan_run *run, int i);

static void
setup_answered(void *arg, int exit_code, const char *output, const struct err *why)
{
	struct plan_run *run = arg;
	struct cmachine *m = plan_run_owner(run);
	struct err err;

	if (m && plan_step_running(run, LAUNCH_STEP_SETUP)) {
		int i = m->setup_next++;

		if (why->code == ERR_NONE && exit_code == 0) {
			setup_start(run, LAUNCH_STEP_SETUP);
		} else {
			if (why->code == ERR_NONE)
				err_set(&err, ERR_INTERNAL,
				    "setup command %d exited %d: %.80s", i + 1, exit_code,
				    i < m->pool->p.n_setup ? m->pool->p.setup[i]
							   : "since changed");
			else {
				err = *why;
				err_wrap(&err, "setup command %d", i + 1);
			}
			xstrset(&m->m.output, output);
			plan_step_failed(run, LAUNCH_STEP_SETUP, &err);
		}
	}
	plan_run_unref(run);
}

static void
setup_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;
	struct cpool *p = m->pool;

	if (m->setup_next >= p->p.n_setup) {
		plan_step_done(run, i, NULL, 0);
		return;
	}
	p->provider->p->ops->setup(p->provider->p, m->m.id.s, m->m.provider_ref,
	    p->p.setup[m->setup_next], p->p.setup_timeout_ms, setup_answered,
	    plan_run_ref(run));
}

void
machine_begin_end(struct cmachine *m)
{
	timer_off(&m->timer);
	plan_run_drop(m->run);
	m->run = plan_run_new(m->core, &machine_end_plan, m, m->m.id, ++m->end_attempts);
	xstrset(&m->run->rows[END_STEP_TERMINATE].token, m->m.id.s);
	xstrset(&m->run->rows[END_STEP_TERMINATE].resource, m->m.provider_ref);
	plan_run_start(m->run);
}

/* The launch may have happened, whatever was answered: only an end makes sure. */
static void
launch_undo(struct plan_run *run, int i)
{
	machine_begin_end(run->owner);
}

/* No longer the cold launch of a reservation: a spare like any other, or on its way out. */
static struct creservation *
disown(struct cmachine *m)
{
	struct creservation *r = m->reservation;

	if (r && r->launching == m) {
		r->launching = NULL;
		m->reservation = NULL; /* the row keeps it: whom it was made for */
		return r;
	}
	return NULL;
}

static void
launch_finished(struct plan_run *run, const struct err *err)
{
	struct cmachine *m = run->owner;
	struct creservation *r;

	timer_off(&m->timer);
	if (err->code == ERR_NONE) {
		plan_run_drop(m->run);
		m->run = NULL;
		m->m.ready_at = clock_wall_ms(m->core->clock);
		pool_launch_ok(m->pool, clock_now_ms(m->core->clock) - m->born_ms);
		m->pool->look_for_old = m->pool->look_for_old || !machine_current(m);
		machine_move(m, MACHINE_READY);
		return;
	}
	if (m->run == run) { /* nothing was started, so nothing is undone */
		plan_run_drop(m->run);
		m->run = NULL;
	}
	r = disown(m);
	xstrset(&m->m.error, err->msg);
	if (err->code == ERR_CANCELLED) {
		machine_move(m, MACHINE_TERMINATING);
		if (!m->run)
			machine_begin_end(m);
		return;
	}
	machine_move(m, MACHINE_FAILED);
	m->core->n.launch_failures++;
	pool_launch_failed(m->pool, err->msg);
	if (r)
		reservation_launch_failed(r, err);
}

const struct plan machine_launch_plan = {
    .name = "launch",
    .n = 3,
    .steps =
	{
	    [LAUNCH_STEP_LAUNCH] = {.name = "launch",
		.effect = true,
		.start = launch_start,
		.undo = launch_undo},
	    [LAUNCH_STEP_READY] = {.name = "ready",
		.waits_for = 1u << LAUNCH_STEP_LAUNCH,
		.start = machine_ready_start},
	    [LAUNCH_STEP_SETUP] = {.name = "setup",
		.waits_for = 1u << LAUNCH_STEP_READY,
		.effect = true,
		.start = setup_start},
	},
    .finished = launch_finished,
};

/* ---- the end plan ---- */

static void
terminate_answered(void *arg, const struct err *err)
{
	struct plan_run *run = arg;
	struct cmachine *m = plan_run_owner(run);

	if (m && plan_step_running(run, END_STEP_TERMINATE)) {
		if (err->code == ERR_NONE)
			plan_step_done(run, END_STEP_TERMINATE, NULL, 0);
		else
			plan_step_failed(run, END_STEP_TERMINATE, err);
	}
	plan_run_unref(run);
}

static void
terminate_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;
	struct provider *p = m->pool->provider->p;

	if (m->gone)
		plan_step_done(run, i, NULL, 0);
	else
		p->ops->terminate(p, m->m.id.s, m->m.provider_ref, terminate_answered,
		    plan_run_ref(run));
}

static void
gone_overdue(void *arg)
{
	struct cmachine *m = arg;
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "still there %d s after it was terminated",
	    GONE_TIMEOUT_MS / 1000);
	if (plan_step_running(m->run, END_STEP_GONE))
		plan_step_failed(m->run, END_STEP_GONE, &err);
}

static void
gone_start(struct plan_run *run, int i)
{
	struct cmachine *m = run->owner;

	if (m->gone)
		plan_step_done(run, i, NULL, 0);
	else
		timer_set(run->core->clock, &m->timer, GONE_TIMEOUT_MS, gone_overdue, m);
}

static void
end_again(void *arg)
{
	machine_begin_end(arg);
}

static void over_again(void *arg);

static void
over_durable(void *arg, const struct err *err)
{
	struct core *c = ((struct id_of *)arg)->core;
	struct cmachine *m = map_get(&c->machines, ((struct id_of *)arg)->id.s);
	struct cpool *p;
	struct creservation *r;

	free(arg);
	if (!m || c->closing)
		return;
	if (err->code != ERR_NONE) {
		timer_set(c->clock, &m->timer, OVER_AGAIN_MS, over_again, m);
		return;
	}
	p = m->pool;
	r = m->reservation;
	if (r && r->machine == m)
		r->machine = NULL;
	machine_free(m);
	if (r)
		reservation_undone(r);
	pool_wake(p);
}

static void
save_over(struct cmachine *m)
{
	struct id_of *id = xnew(struct id_of);

	*id = (struct id_of){m->core, m->m.id};
	core_tx_then(m->core, over_durable, id);
}

static void
over_again(void *arg)
{
	save_over(arg); /* the row itself is in the rewrite */
}

/* Nothing is left of it: out of memory with it once that is durable, except for the last few that failed:
   `machine show` explains them. */
static void
machine_over(struct cmachine *m)
{
	struct cpool *p = m->pool;

	pool_spent(m);
	if (m->m.state != MACHINE_FAILED) {
		machine_move(m, MACHINE_TERMINATED);
		save_over(m);
		return;
	}
	m->reservation = NULL;
	--p->n_ending;
	++p->n_failed;
	list_remove(&m->in_pool);
	list_push_back(&p->failed, &m->in_pool);
	if (p->n_failed > FAILED_KEPT)
		machine_free(list_entry(p->failed.next, struct cmachine, in_pool));
	pool_wake(p);
}

static void
end_finished(struct plan_run *run, const struct err *err)
{
	struct cmachine *m = run->owner;
	int64_t delay = 1000;

	plan_run_drop(m->run);
	timer_off(&m->timer);
	if (err->code == ERR_NONE) {
		m->run = NULL;
		machine_over(m);
		return;
	}
	m->run = NULL;
	for (int i = 1; i < m->end_attempts && delay < END_RETRY_MAX_MS; i++)
		delay *= 2;
	log_warn("machine %s: terminate: %s; trying again in %d s", m->m.id.s, err->msg,
	    (int)(delay / 1000));
	timer_set(m->core->clock, &m->timer, delay, end_again, m);
}

const struct plan machine_end_plan = {
    .name = "end",
    .n = 2,
    .steps =
	{
	    [END_STEP_TERMINATE] = {.name = "terminate",
		.effect = true,
		.start = terminate_start},
	    [END_STEP_GONE] = {.name = "gone",
		.waits_for = 1u << END_STEP_TERMINATE,
		.start = gone_start},
	},
    .finished = end_finished,
};

void
machine_end(struct cmachine *m, const char *why)
{
	switch (m->m.state) {
	case MACHINE_LAUNCHING:
	case MACHINE_STARTING:
		if (m->run) {
			struct err err;

			err_set(
			    &err, ERR_CANCELLED, "%s", why ? why : "no longer needed");
			plan_run_cancel(m->run, &err);
			return;
		}
		break; /* found so at the start, before its launch went on */
	case MACHINE_TERMINATING:
	case MACHINE_TERMINATED:
	case MACHINE_FAILED:
		return;
	default:
		break;
	}
	disown(m);
	pool_spent(m);
	plan_run_abandon(m->run, "no longer needed");
	m->run = NULL;
	if (why)
		xstrset(&m->m.error, why);
	machine_move(m, MACHINE_TERMINATING);
	machine_begin_end(m);
}

void
machine_end_again(struct cmachine *m)
{
	machine_begin_end(m);
}

const struct plan *
machine_plan_of(const char *step, bool started)
{
	static const struct plan *const plans[] = {&machine_start_plan,
	    &machine_launch_plan, &machine_stop_plan, &machine_end_plan};

	for (size_t k = started ? 0 : 1; k < sizeof(plans) / sizeof(plans[0]); k++)
		for (int i = 0; i < plans[k]->n; i++)
			if (strcmp(plans[k]->steps[i].name, step) == 0)
				return plans[k];
	return &machine_start_plan;
}
