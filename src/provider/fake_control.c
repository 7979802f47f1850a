/* SPDX-License-Identifier: Apache-2.0 */

/* What tests do to the fake provider and its machines. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "provider/fake_impl.h"

int
fake_calls(const struct provider *p, enum fake_op op)
{
	return fake_of(p)->calls[op];
}

void
fake_set_options(struct provider *p, const struct fake_options *opt)
{
	struct fake *f = fake_of(p);

	f->opt = *opt;
	f->launches_failed = 0;
}

void
fake_fail_next(
    struct provider *p, enum fake_op op, enum err_code code, const char *message)
{
	struct planned_failure *failure = xnew(struct planned_failure), **at;

	failure->op = op;
	err_set(&failure->err, code, "%s", message);
	for (at = &fake_of(p)->failures; *at; at = &(*at)->next)
		;
	*at = failure;
}

void
fake_on_effect(struct provider *p, fake_effect_fn fn, void *arg)
{
	struct fake *f = fake_of(p);

	f->on_effect = fn;
	f->on_effect_arg = arg;
}

void
fake_mute(struct provider *p)
{
	fake_of(p)->muted = true;
}

void
fake_kill(struct provider *p, const char *token)
{
	struct machine_sim *m = fake_find(fake_of(p), token);

	if (!m || m->rec->state != FAKE_ALIVE)
		return;
	m->seen_ready = true; /* so that dying is what comes next */
	m->rec->dies_at = clock_wall_ms(m->fake->env.clock);
	fake_machine_plan(m);
}

void
fake_remove(struct provider *p, const char *token)
{
	struct machine_sim *m = fake_find(fake_of(p), token);

	if (m)
		fake_machine_drop(m);
}

const char *
fake_add_stray(struct provider *p, const char *token)
{
	struct fake *f = fake_of(p);
	struct machine_sim *m;
	struct id name;
	struct err err;

	if (token)
		(void)snprintf(name.s, sizeof(name.s), "%s", token);
	else
		do
			(void)snprintf(
			    name.s, sizeof(name.s), "stray-%d", (int)++f->strays);
		while (fake_find(f, name.s));
	m = fake_machine_add(f, name.s, "1", 0, 0, &err);
	if (!m)
		return NULL;
	m->rec->stray = !token;
	m->seen_ready = true;
	fake_machine_plan(m);
	(void)snprintf(f->stray_ref, sizeof(f->stray_ref), "fake-%s", name.s);
	return f->stray_ref;
}

static void
on_sessions(void *arg)
{
	struct machine_sim *m = arg;

	fake_sight(m);
	fake_machine_plan(m);
}

void
fake_sessions(struct provider *p, const char *token, int n)
{
	struct machine_sim *m = fake_find(fake_of(p), token);

	if (!m)
		return;
	m->sessions = n;
	timer_set(m->fake->env.clock, &m->timer, 0, on_sessions, m);
}

void
fake_set_image_version(struct provider *p, const char *image, const char *version)
{
	struct fake *f = fake_of(p);
	struct fake_image *im = fake_world_image(f->world, image);

	assert(im);
	(void)snprintf(im->version, sizeof(im->version), "%s", version);
	fake_report_image(f, image);
}

int
fake_count(const struct provider *p)
{
	return fake_of(p)->count;
}

int
fake_count_disks(const struct provider *p)
{
	const struct fake *f = fake_of(p);
	int n = 0;

	for (int i = 0; i < fake_world_size(f->world); i++)
		n += fake_world_at(f->world, i)->state != FAKE_FREE &&
		     fake_is_disk(fake_world_at(f->world, i));
	return n;
}

int64_t
fake_home_in(const struct provider *p, const char *token)
{
	const struct machine_sim *m = fake_find(fake_of(p), token);

	return m ? (int64_t)m->rec->home - 1 : -1;
}

const char *
fake_attached_to(const struct provider *p, const char *disk)
{
	const struct machine_sim *d = fake_find(fake_of(p), disk);

	return d && d->rec->attached_to[0] ? d->rec->attached_to : NULL;
}

const char *
fake_last_setup(const struct provider *p, const char *token)
{
	const struct machine_sim *m = fake_find(fake_of(p), token);

	return m ? m->last_setup : NULL;
}

const char *
fake_gang(const struct provider *p, const char *token)
{
	const struct machine_sim *m = fake_find(fake_of(p), token);

	return m ? m->gang : NULL;
}

const char *
fake_last_keys(const struct provider *p)
{
	return fake_of(p)->last_keys;
}

int
fake_count_stopped(const struct provider *p)
{
	const struct fake *f = fake_of(p);
	int n = 0;

	for (int i = 0; i < fake_world_size(f->world); i++)
		n += fake_world_at(f->world, i)->state == FAKE_STOPPED;
	return n;
}

bool
fake_exists(const struct provider *p, const char *token)
{
	return fake_find(fake_of(p), token) != NULL;
}

int64_t
fake_ends_at(const struct provider *p, const char *token)
{
	const struct machine_sim *m = fake_find(fake_of(p), token);

	return m ? m->rec->ends_at : 0;
}
