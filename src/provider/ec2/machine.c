/* SPDX-License-Identifier: Apache-2.0 */

/* What is believed of each machine. EC2's replies may be old, partial or silent, so a state only moves forward: what
   contradicts the last move is taken for old news for a while, and not being listed is no state at all. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/disk.h"
#include "provider/ec2/internal.h"

static const char *const state_names[EC2_STATE_MAX] = {"gathered", "requested", "unknown",
    "pending", "running", "stopping", "stopped", "shutting-down", "terminated"};

const char *
ec2_state_name(enum ec2_state s)
{
	return state_names[s];
}

static int64_t
now_ms(const struct ec2_machine *m)
{
	return clock_now_ms(m->e->env.clock);
}

/* ---- being ---- */

struct ec2_machine *
ec2_machine_new(struct ec2 *e, const char *token)
{
	struct ec2_machine *m = xnew(struct ec2_machine);

	m->e = e;
	m->state = EC2_UNKNOWN;
	m->sessions = -1;
	m->born_ms = m->moved_ms = clock_now_ms(e->env.clock);
	(void)snprintf(m->token, sizeof(m->token), "%s", token ? token : "");
	list_init(&m->in_gather);
	list_init(&m->in_change);
	list_init(&m->launches);
	list_init(&m->terminates);
	list_init(&m->stops);
	list_init(&m->starts);
	if (m->token[0])
		map_put(&e->machines, m->token, m);
	return m;
}

struct ec2_machine *
ec2_machine_find(const struct ec2 *e, const char *token, const char *ref)
{
	struct ec2_machine *m = token && *token ? map_get(&e->machines, token) : NULL;

	return m ? m : ref && *ref ? map_get(&e->refs, ref) : NULL;
}

void
ec2_machine_set_ref(struct ec2_machine *m, const char *ref)
{
	if (m->ref[0] || strlen(ref) >= sizeof(m->ref))
		return;
	(void)snprintf(m->ref, sizeof(m->ref), "%s", ref);
	map_put(&m->e->refs, m->ref, m);
}

static void
words_free(char **words)
{
	for (int i = 0; i < 4; i++)
		free(words[i]);
}

void
ec2_machine_free(struct ec2_machine *m)
{
	struct err err;

	ec2_access_reset(m);
	timer_off(&m->end_at);
	err_set(
	    &err, m->e->closing ? ERR_CANCELLED : ERR_UNAVAILABLE, "the machine is gone");
	ec2_answer_all(&m->launches, NULL, &err);
	ec2_answer_all(&m->stops, NULL, &err);
	ec2_answer_all(&m->starts, NULL, &err);
	ec2_answer_all(&m->terminates, NULL, m->e->closing ? &err : &(struct err){0});
	list_remove(&m->in_gather);
	list_remove(&m->in_change);
	if (m->token[0])
		map_remove(&m->e->machines, m->token);
	if (m->ref[0] && map_get(&m->e->refs, m->ref) == m)
		map_remove(&m->e->refs, m->ref);
	ec2_keys_free(m->keys);
	ec2_first_unref(m);
	ec2_options_fini(&m->opt);
	words_free(m->volumes);
	words_free(m->interfaces);
	free(m->kind);
	free(m->pool);
	free(m->image_id);
	free(m->login);
	free(m->user_ca);
	free(m->user_keys);
	free(m->why);
	free(m);
}

/* ---- what core is told ---- */

static bool
over(const struct ec2_machine *m)
{
	return m->state == EC2_SHUTTING_DOWN || m->state == EC2_TERMINATED;
}

static bool
lease_over(const struct ec2_machine *m)
{
	return m->opt.readiness == EC2_READY_RUNNING && m->lease_at &&
	       m->lease_at <= clock_wall_ms(m->e->env.clock);
}

struct sighting
ec2_machine_look(const struct ec2_machine *m)
{
	bool dead = over(m) || lease_over(m);

	return (struct sighting){
	    .token = m->token[0] ? m->token : NULL,
	    .ref = m->ref,
	    .state = dead					      ? SIGHTING_DEAD
		     : m->state == EC2_STOPPED			      ? SIGHTING_STOPPED
		     : m->state == EC2_RUNNING && m->way == WAY_READY ? SIGHTING_READY
								      : SIGHTING_STARTING,
	    .address = m->address[0] ? m->address : NULL,
	    .port = EC2_PORT,
	    .sessions = m->sessions,
	    .error = dead ? m->why : NULL,
	    .resolution_ms = m->state == EC2_RUNNING && m->way == WAY_READY &&
				     m->opt.readiness == EC2_READY_SSH
				 ? EC2_PROBE_MS
				 : EC2_TICK_MS,
	    .created_at = m->created_at,
	};
}

/* A machine that somebody else stops is not told of until it is stopped: it must not count as seen alive. */
void
ec2_machine_sight(struct ec2_machine *m)
{
	struct sighting s = ec2_machine_look(m);

	if (m->ref[0] == '\0' || m->ending || m->e->closing ||
	    (m->state == EC2_STOPPING && !m->stop_asked))
		return;
	if (s.state == SIGHTING_DEAD) {
		if (m->told_dead)
			return;
		m->told_dead = true;
	}
	m->e->env.sighting(m->e->env.arg, &s);
}

void
ec2_machine_gone(struct ec2_machine *m)
{
	struct ec2 *e = m->e;
	char token[EC2_TOKEN_MAX], ref[EC2_REF_MAX];
	char *why = m->why;
	struct sighting s = {.ref = ref, .state = SIGHTING_GONE, .sessions = -1};

	memcpy(token, m->token, sizeof(token));
	memcpy(ref, m->ref[0] ? m->ref : m->token, sizeof(ref));
	s.token = token[0] ? token : NULL;
	s.error = m->ending ? NULL : why;
	s.resolution_ms = EC2_TICK_MS;
	m->why = NULL;
	ec2_machine_free(m);
	if (!e->closing)
		e->env.sighting(e->env.arg, &s);
	free(why);
}

/* ---- moves ---- */

static void
end_now(void *arg)
{
	struct ec2_machine *m = arg;

	if (!m->why)
		m->why = xstrdup("its lease or deadline ran out");
	ec2_terminate_now(m);
}

void
ec2_machine_end_at(struct ec2_machine *m, int64_t wall_ms)
{
	if (m->opt.readiness != EC2_READY_RUNNING || wall_ms <= 0)
		return;
	m->lease_at = wall_ms;
	timer_set(m->e->env.clock, &m->end_at, wall_ms - clock_wall_ms(m->e->env.clock),
	    end_now, m);
}

void
ec2_machine_move(struct ec2_machine *m, enum ec2_state to)
{
	if (m->state == to)
		return;
	log_debug("instance %s of %s: %s -> %s", m->ref[0] ? m->ref : "?",
	    m->token[0] ? m->token : "nobody", state_names[m->state], state_names[to]);
	m->state = to;
	m->moved_ms = now_ms(m);
	if (to != EC2_RUNNING && to != EC2_PENDING)
		ec2_access_reset(m);
	if (to == EC2_STOPPED)
		ec2_answer_all(&m->stops, NULL, &(struct err){0});
	if (over(m)) {
		timer_off(&m->end_at);
		ec2_answer_all(&m->terminates, NULL, &(struct err){0});
	}
}

void
ec2_machine_conclude(struct ec2_machine *m)
{
	ec2_machine_move(m, EC2_TERMINATED);
	m->concluded = true;
}

static bool
believed(const struct ec2_machine *m, enum ec2_state to)
{
	bool stale = now_ms(m) - m->moved_ms < EC2_STALE_MS;
	bool starting = m->start_ms && now_ms(m) - m->start_ms < EC2_STALE_MS;

	if (to == m->state || (m->state == EC2_TERMINATED && !m->concluded))
		return false;
	if (m->concluded) /* too soon: it is there */
		return true;
	if (m->state < EC2_PENDING || to == EC2_TERMINATED)
		return true;
	if (m->state == EC2_SHUTTING_DOWN)
		return false;
	if (to == EC2_SHUTTING_DOWN)
		return true;
	switch (m->state) {
	case EC2_PENDING:
	case EC2_RUNNING:
		if (to == EC2_STOPPING || to == EC2_STOPPED)
			return !starting;
		return to == EC2_RUNNING || !stale;
	case EC2_STOPPING:
		return to == EC2_STOPPED ||
		       now_ms(m) - m->moved_ms >=
			   (m->stop_asked ? EC2_ABSENT_MS : EC2_STALE_MS);
	default:
		return !stale;
	}
}

/* Disks are in the machine, but not of it: they stay when it goes. */
static void
take_volumes(struct ec2_machine *m, const char *const *seen)
{
	int n = 0;

	if (!seen[0])
		return;
	for (int i = 0; i < 4; i++)
		if (seen[i] && !ec2_disk_is(m->e, seen[i]))
			xstrset(&m->volumes[n++], seen[i]);
	while (n < 4)
		xstrset(&m->volumes[n++], NULL);
}

static void
take_words(char **mine, const char *const *seen)
{
	if (!seen[0])
		return; /* an instance that ends no longer lists what it had */
	for (int i = 0; i < 4; i++)
		xstrset(&mine[i], seen[i]);
}

static void
copy(char *to, size_t size, const char *from)
{
	if (from && strlen(from) < size)
		(void)snprintf(to, size, "%s", from);
	else
		to[0] = '\0';
}

static void
take_address(struct ec2_machine *m, const struct ec2_instance *i)
{
	const char *address;

	if (over(m) || i->state == EC2_SHUTTING_DOWN || i->state == EC2_TERMINATED)
		return;
	copy(m->private_address, sizeof(m->private_address), i->private_address);
	copy(m->public_address, sizeof(m->public_address), i->public_address);
	address = m->opt.address == EC2_ADDRESS_PRIVATE	 ? m->private_address
		  : m->opt.address == EC2_ADDRESS_PUBLIC ? m->public_address
		  : m->public_address[0]		 ? m->public_address
							 : m->private_address;
	/* Left out of a reply now and then (AWS). And what will have a public address has none while it is pending. */
	if (address[0] == '\0' ||
	    (m->opt.address == EC2_ADDRESS_AUTO && i->state == EC2_PENDING))
		return;
	copy(m->address, sizeof(m->address), address);
}

/* What a found machine's tag says of its pool's settings. */
static void
take_options(struct ec2_machine *m, const char *text)
{
	char pair[EC2_WORD_MAX];
	struct err err;

	m->have_opt = true;
	while (text && *text) {
		size_t n = strcspn(text, " ");
		char *value;

		if (n < sizeof(pair)) {
			memcpy(pair, text, n);
			pair[n] = '\0';
			value = strchr(pair, '=');
			if (value) {
				*value++ = '\0';
				if (ec2_options_set(&m->opt, pair, value, &err) < 0)
					log_debug(
					    "instance %s: tag: %s", m->ref, err.msg);
			}
		}
		text += n + (text[n] == ' ');
	}
	if (m->opt.login)
		xstrset(&m->login, m->opt.login);
}

void
ec2_machine_observe(struct ec2_machine *m, const struct ec2_instance *i)
{
	m->seen_look = m->e->look;
	m->absent_ms = 0;
	m->missed_looks = 0;
	ec2_machine_set_ref(m, i->ref);
	if (!m->have_opt)
		take_options(m, i->options);
	if (i->created_at)
		m->created_at = i->created_at;
	if (!m->lease_at && i->lease_at)
		ec2_machine_end_at(m, i->lease_at);
	if (i->spot_request)
		copy(m->spot_request, sizeof(m->spot_request), i->spot_request);
	if (i->zone)
		copy(m->zone, sizeof(m->zone), i->zone);
	if (i->subnet)
		copy(m->subnet, sizeof(m->subnet), i->subnet);
	if (i->vpc)
		copy(m->vpc, sizeof(m->vpc), i->vpc);
	take_volumes(m, i->volumes);
	take_words(m->interfaces, i->interfaces);
	if (i->reason && *i->reason &&
	    (i->state == EC2_SHUTTING_DOWN || i->state == EC2_TERMINATED))
		xstrset(&m->why, i->reason);
	take_address(m, i);
	if (believed(m, i->state)) {
		if (m->concluded)
			log_warn("instance %s of %s has turned up after it was given up",
			    m->ref, m->token[0] ? m->token : "nobody");
		m->end_asked = m->end_asked && !m->concluded;
		ec2_machine_move(m, i->state);
		m->concluded = false;
	} else if (i->state == EC2_TERMINATED) {
		m->concluded = false; /* now a reply has said so */
	}
	if (m->ending && !m->end_asked && !over(m))
		ec2_terminate_now(m);
	ec2_access_go(m);
	ec2_machine_sight(m);
}

void
ec2_machine_missed(struct ec2_machine *m)
{
	int64_t now = now_ms(m);
	int64_t patience = m->ref[0]   ? EC2_ABSENT_MS
			   : m->unsure ? EC2_UNSURE_MS
				       : EC2_UNSEEN_MS;

	m->missed_looks++;
	if (m->state == EC2_GATHERED || m->state == EC2_REQUESTED ||
	    m->state == EC2_TERMINATED)
		return;
	if (!m->absent_ms)
		m->absent_ms = now;
	if (m->state == EC2_UNKNOWN) {
		if (m->missed_looks >= 2 && now - m->born_ms >= patience)
			ec2_machine_conclude(m);
		return;
	}
	if (now - m->absent_ms >= (m->end_asked ? EC2_ENDED_ABSENT_MS : EC2_ABSENT_MS)) {
		if (!m->why)
			m->why = xstrdup("EC2 does not list it any more");
		ec2_machine_conclude(m);
		ec2_machine_sight(m);
	}
}
