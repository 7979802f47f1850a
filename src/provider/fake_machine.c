/* SPDX-License-Identifier: Apache-2.0 */

/* What fake machines do by themselves: each has one timer, for the next thing that happens to it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "provider/fake_impl.h"

static uint64_t
random_u64(struct fake *f)
{
	uint64_t z = (f->rng += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

bool
fake_happens(struct fake *f, double probability)
{
	return probability > 0 && (double)(random_u64(f) >> 11) < probability * 0x1p53;
}

int64_t
fake_launch_time(struct fake *f)
{
	int64_t jitter = f->opt.launch_jitter_ms, ms = f->opt.launch_ms;

	if (jitter > 0)
		ms += (int64_t)(random_u64(f) % (uint64_t)(2 * jitter + 1)) - jitter;
	return ms > 0 ? ms : 0;
}

bool
fake_is_disk(const struct fake_record *r)
{
	return (r->token[0] == 'd' || r->token[0] == 's') && r->token[1] == '-';
}

struct machine_sim *
fake_find(const struct fake *f, const char *token)
{
	return token && *token ? map_get(&f->machines, token) : NULL;
}

struct machine_sim *
fake_find_by(const struct fake *f, const char *token, const char *ref)
{
	struct machine_sim *m = fake_find(f, token);

	if (!m && ref && strncmp(ref, "fake-", 5) == 0)
		m = fake_find(f, ref + 5);
	return m;
}

struct sighting
fake_look(const struct machine_sim *m, struct sighting_text *text)
{
	static const enum sighting_state states[] = {[FAKE_ALIVE] = SIGHTING_STARTING,
	    [FAKE_DEAD] = SIGHTING_DEAD,
	    [FAKE_ENDING] = SIGHTING_DEAD,
	    [FAKE_STOPPED] = SIGHTING_STOPPED};
	const struct fake_record *r = m->rec;
	unsigned host = (unsigned)fake_world_index(m->fake->world, r) + 1;
	struct sighting s = {
	    .token = r->stray ? NULL : r->token,
	    .ref = text->ref,
	    .state = states[r->state],
	    .port = FAKE_PORT,
	    .sessions = m->sessions,
	    .created_at = r->created_at,
	};

	/* 198.18.0.0/15 is set apart for tests (RFC 2544) and holds 131,070 of them */
	(void)snprintf(text->ref, sizeof(text->ref), "fake-%s", r->token);
	(void)snprintf(text->address, sizeof(text->address), "198.%u.%u.%u",
	    18 + (host >> 16) % 2, (host >> 8) & 255, host & 255);
	s.address = text->address;
	if (fake_is_disk(r)) {
		s.address = NULL;
		s.port = 0;
	}
	if (r->state == FAKE_ALIVE && m->seen_ready)
		s.state = SIGHTING_READY;
	if (r->state == FAKE_STOPPED && r->ready_at)
		s.state = SIGHTING_STARTING; /* stopping: neither here nor there */
	if (r->state == FAKE_DEAD)
		s.error = "died";
	return s;
}

static void
sight(struct fake *f, const struct sighting *s)
{
	if (!f->muted)
		f->env.sighting(f->env.arg, s);
}

void
fake_sight(const struct machine_sim *m)
{
	struct sighting_text text;
	struct sighting s = fake_look(m, &text);

	sight(m->fake, &s);
}

void
fake_sight_gone(struct fake *f, const char *token, const char *ref, const char *why)
{
	struct sighting s = {
	    .token = token && *token ? token : NULL,
	    .ref = ref ? ref : "none",
	    .state = SIGHTING_GONE,
	    .sessions = -1,
	    .error = why,
	};

	sight(f, &s);
}

void
fake_machine_drop(struct machine_sim *m)
{
	struct fake *f = m->fake;

	timer_off(&m->timer);
	map_remove(&f->machines, m->rec->token);
	f->count -= !fake_is_disk(m->rec);
	fake_world_remove(f->world, m->rec);
	free(m->last_setup);
	free(m->gang);
	free(m);
}

void
fake_machine_gone(struct machine_sim *m, const char *why)
{
	struct fake *f = m->fake;
	struct sighting_text text;
	struct id token;
	bool stray = m->rec->stray;

	memcpy(token.s, m->rec->token, sizeof(token.s));
	(void)fake_look(m, &text);
	fake_machine_drop(m);
	fake_sight_gone(f, stray ? NULL : token.s, text.ref, why);
}

static void
on_machine(void *arg)
{
	struct machine_sim *m = arg;
	struct fake_record *r = m->rec;
	int64_t now = clock_wall_ms(m->fake->env.clock);

	if (m->fake->muted)
		return;
	if (r->ends_at && r->ends_at <= now) {
		fake_machine_gone(
		    m, r->state == FAKE_ENDING ? NULL : "its lease ran out");
		return;
	}
	if (r->state == FAKE_ALIVE && !m->seen_ready && r->ready_at <= now) {
		m->seen_ready = true;
		if (m->fake->opt.die_after_ms > 0 && !r->dies_at && !fake_is_disk(r))
			r->dies_at = now + m->fake->opt.die_after_ms;
		fake_sight(m);
	} else if (r->state == FAKE_ALIVE && r->dies_at && r->dies_at <= now) {
		r->state = FAKE_DEAD;
		fake_sight(m);
	} else if (r->state == FAKE_STOPPED && r->ready_at && r->ready_at <= now) {
		r->ready_at = 0;
		fake_sight(m);
	}
	fake_machine_plan(m);
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return b && (!a || b < a) ? b : a;
}

/* Sets the timer to what comes next. Times are of the wall clock, as they must outlive the process; a
   step of that clock moves them, as it would for a machine of its own. */
void
fake_machine_plan(struct machine_sim *m)
{
	const struct fake_record *r = m->rec;
	struct clock *c = m->fake->env.clock;
	int64_t next = r->ends_at;

	timer_off(&m->timer);
	if (r->state == FAKE_ALIVE) {
		next = earlier(next, m->seen_ready ? 0 : r->ready_at);
		next = earlier(next, r->dies_at);
	}
	if (r->state == FAKE_STOPPED)
		next = earlier(next, r->ready_at);
	if (next)
		timer_set(c, &m->timer, next - clock_wall_ms(c), on_machine, m);
}

static struct machine_sim *
machine_watch(struct fake *f, struct fake_record *r)
{
	struct machine_sim *m = xnew(struct machine_sim);

	m->rec = r;
	m->fake = f;
	map_put(&f->machines, r->token, m);
	f->count += !fake_is_disk(r);
	fake_machine_plan(m);
	return m;
}

struct machine_sim *
fake_machine_add(struct fake *f, const char *token, const char *version, int64_t ready_ms,
    int64_t lease_ms, struct err *err)
{
	int64_t now = clock_wall_ms(f->env.clock);
	struct fake_record *r = fake_world_add(f->world, err);

	if (!r)
		return NULL;
	memcpy(r->token, token, strlen(token));
	(void)snprintf(
	    r->image_version, sizeof(r->image_version), "%s", version ? version : "");
	r->created_at = now;
	r->ready_at = now + ready_ms;
	r->ends_at = lease_ms > 0 ? now + lease_ms : 0;
	r->state = FAKE_ALIVE; /* last: from here on it exists, whatever becomes of us */
	return machine_watch(f, r);
}

void
fake_machine_adopt(struct fake *f, struct fake_record *r)
{
	int64_t now = clock_wall_ms(f->env.clock);
	struct machine_sim *m;

	r->token[sizeof(r->token) - 1] = '\0';
	if (r->state > FAKE_STOPPED || (r->ends_at && r->ends_at <= now) ||
	    fake_find(f, r->token)) {
		fake_world_remove(f->world, r);
		return;
	}
	if (r->state == FAKE_ALIVE && r->dies_at && r->dies_at <= now)
		r->state = FAKE_DEAD;
	m = machine_watch(f, r);
	m->seen_ready = r->state == FAKE_ALIVE && r->ready_at <= now;
	fake_machine_plan(m);
}
