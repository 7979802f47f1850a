/* SPDX-License-Identifier: Apache-2.0 */
#include "provider_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define PATIENCE_MS 20000

static const struct provider_kind_ops *
kind(void)
{
	const char *name = getenv("PROVIDER");

	if (!name || strcmp(name, "fake") == 0)
		return &provider_kind_fake;
#ifdef WITH_LOCAL
	if (strcmp(name, "local") == 0)
		return &provider_kind_local;
#endif
#ifdef WITH_EC2
	if (strcmp(name, "ec2") == 0)
		return &provider_kind_ec2;
	if (strcmp(name, "ec2-fake") == 0)
		return &provider_kind_ec2_fake;
#endif
	return NULL;
}

bool
provider_fixture_possible(void)
{
	if (!kind()) {
		printf("SKIP: no such provider in this build: %s\n", getenv("PROVIDER"));
		return false;
	}
	return kind()->possible();
}

int
provider_fixture_open(struct provider_fixture *fx)
{
	*fx = (struct provider_fixture){.kind = kind()};
	return fx->kind->open(fx);
}

void
provider_fixture_close(struct provider_fixture *fx)
{
	if (fx->provider)
		fx->provider->ops->close(fx->provider);
	fx->provider = NULL;
	fx->kind->closed(fx, true);
}

void
provider_fixture_restart(struct provider_fixture *fx, int64_t ms)
{
	int64_t until = provider_fixture_now_ms(fx) + ms;

	if (fx->provider)
		fx->provider->ops->close(fx->provider);
	fx->provider = NULL;
	while (provider_fixture_now_ms(fx) < until)
		fx->kind->turn(fx, until - provider_fixture_now_ms(fx));
	fx->kind->closed(fx, false);
	fx->n_seen = 0;
	assert_int_equal(fx->kind->open(fx), 0);
}

int64_t
provider_fixture_now_ms(struct provider_fixture *fx)
{
	return clock_now_ms(fx->clock);
}

/* ---- what is sighted ---- */

static void
copy(char *to, size_t size, const char *from)
{
	assert_in_range(snprintf(to, size, "%s", from ? from : ""), 0, size - 1);
}

static struct seen_machine *
entry(struct seen_machine *all, int *n, const char *token)
{
	for (int i = 0; i < *n; i++)
		if (strcmp(all[i].token, token) == 0)
			return &all[i];
	assert_in_range(*n, 0, SEEN_MAX - 1);
	all[*n] = (struct seen_machine){.port = 0};
	copy(all[*n].token, ID_MAX, token);
	return &all[(*n)++];
}

static void
record(struct seen_machine *m, const struct sighting *s)
{
	assert_non_null(s->ref);
	m->state = s->state;
	if (s->state == SIGHTING_STARTING)
		m->was_starting = true;
	copy(m->ref, sizeof(m->ref), s->ref);
	if (s->address)
		copy(m->address, sizeof(m->address), s->address);
	m->port = s->port;
}

static void
on_sighting(void *arg, const struct sighting *s)
{
	struct provider_fixture *fx = arg;

	if (s->token)
		record(entry(fx->seen, &fx->n_seen, s->token), s);
}

static void
on_image(
    void *arg, const char *image, const char *version, int percent, const char *error)
{
	struct provider_fixture *fx = arg;

	if (version)
		copy(fx->image_version, sizeof(fx->image_version), version);
	if (error)
		copy(fx->image_error, sizeof(fx->image_error), error);
}

struct provider_env
provider_fixture_env(struct provider_fixture *fx)
{
	return (struct provider_env){
	    .clock = fx->clock, .arg = fx, .sighting = on_sighting, .image = on_image};
}

const struct seen_machine *
provider_fixture_seen(struct provider_fixture *fx, const char *token)
{
	for (int i = 0; i < fx->n_seen; i++)
		if (strcmp(fx->seen[i].token, token) == 0)
			return &fx->seen[i];
	return NULL;
}

const struct seen_machine *
provider_fixture_listed(struct provider_fixture *fx, const char *token)
{
	for (int i = 0; i < fx->n_listed; i++)
		if (strcmp(fx->listed[i].token, token) == 0)
			return &fx->listed[i];
	return NULL;
}

static void
turn(struct provider_fixture *fx, int64_t deadline, const char *what)
{
	if (provider_fixture_now_ms(fx) > deadline)
		fail_msg("not within %d s: %s", PATIENCE_MS / 1000, what);
	fx->kind->turn(fx, 1);
}

const struct seen_machine *
provider_fixture_await(
    struct provider_fixture *fx, const char *token, enum sighting_state state)
{
	int64_t deadline = provider_fixture_now_ms(fx) + PATIENCE_MS;
	const struct seen_machine *m;

	while (!(m = provider_fixture_seen(fx, token)) || m->state != state)
		turn(fx, deadline, "the sighting");
	return m;
}

void
provider_fixture_await_end(struct provider_fixture *fx, const char *token)
{
	int64_t deadline = provider_fixture_now_ms(fx) + PATIENCE_MS;
	const struct seen_machine *m;

	while (!(m = provider_fixture_seen(fx, token)) ||
	       (m->state != SIGHTING_GONE && m->state != SIGHTING_DEAD))
		turn(fx, deadline, "its end");
}

void
provider_fixture_await_image(struct provider_fixture *fx)
{
	int64_t deadline = provider_fixture_now_ms(fx) + PATIENCE_MS;

	while (!fx->image_version[0] && !fx->image_error[0])
		turn(fx, deadline, "the image");
	assert_string_equal(fx->image_error, "");
}

/* ---- operations ---- */

static void
on_launched(void *arg, const char *ref, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
	assert_true(err->code == ERR_NONE ? ref != NULL : ref == NULL);
	copy(a->ref, sizeof(a->ref), ref);
}

void
provider_fixture_on_done(void *arg, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
}

void
provider_fixture_on_setup(
    void *arg, int exit_code, const char *output, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
	a->exit_code = exit_code;
	if (err->code == ERR_NONE)
		copy(a->output, sizeof(a->output), output);
}

void
provider_fixture_on_inventory(
    void *arg, const struct sighting *all, int n, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
	a->n = n;
}

void
provider_fixture_wait_answer(struct provider_fixture *fx, struct answer *a)
{
	int64_t deadline = provider_fixture_now_ms(fx) + PATIENCE_MS;

	while (!a->calls)
		turn(fx, deadline, "an answer");
	assert_int_equal(a->calls, 1);
}

void
provider_fixture_start_launch(
    struct provider_fixture *fx, const char *token, int64_t lease_s, struct answer *a)
{
	struct launch_spec spec;

	if (!fx->image_version[0]) {
		fx->provider->ops->image(fx->provider, fx->image);
		provider_fixture_await_image(fx);
	}
	if (fx->kind->prepare)
		fx->kind->prepare(fx, token);
	spec = (struct launch_spec){
	    .token = token,
	    .pool = "default",
	    .image = fx->image,
	    .image_version = fx->image_version,
	    .lease_s = lease_s,
	    .hostname = token,
	    .host_key = fx->host_key ? fx->host_key : "",
	    .host_cert = fx->host_cert ? fx->host_cert : "",
	    .user_ca = fx->user_ca ? fx->user_ca : "",
	    .tier = fx->tier,
	    .options = fx->options,
	};
	fx->provider->ops->launch(fx->provider, &spec, on_launched, a);
}

static struct answer
settle(struct provider_fixture *fx, struct answer *a)
{
	assert_int_equal(a->calls, 0); /* never from inside the operation */
	provider_fixture_wait_answer(fx, a);
	return *a;
}

struct answer
provider_fixture_launch(struct provider_fixture *fx, const char *token, int64_t lease_s)
{
	struct answer a = {0};

	provider_fixture_start_launch(fx, token, lease_s, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_terminate(struct provider_fixture *fx, const char *token)
{
	struct answer a = {0};

	fx->provider->ops->terminate(
	    fx->provider, token, NULL, provider_fixture_on_done, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_stop(struct provider_fixture *fx, const char *token, bool hibernate)
{
	struct answer a = {0};

	fx->provider->ops->stop(
	    fx->provider, token, NULL, hibernate, provider_fixture_on_done, &a);
	return settle(fx, &a);
}

/* As core does it: the machine has its keys on its disk. */
struct answer
provider_fixture_start(struct provider_fixture *fx, const char *token, int64_t lease_s)
{
	struct answer a = {0};

	fx->provider->ops->start(fx->provider, provider_fixture_seen(fx, token)->ref,
	    &(struct launch_spec){
		.token = token,
		.pool = "default",
		.image = fx->image,
		.image_version = fx->image_version,
		.lease_s = lease_s,
		.hostname = token,
		.user_ca = fx->user_ca ? fx->user_ca : "",
		.tier = fx->tier,
		.options = fx->options,
	    },
	    provider_fixture_on_done, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_deadline(struct provider_fixture *fx, const char *token, int64_t seconds)
{
	struct answer a = {0};

	fx->provider->ops->deadline(fx->provider, token, NULL, seconds, "ends soon",
	    provider_fixture_on_done, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_setup(struct provider_fixture *fx, const char *token,
    const char *command, int64_t timeout_ms)
{
	struct answer a = {0};

	fx->provider->ops->setup(fx->provider, token, NULL, command, timeout_ms,
	    provider_fixture_on_setup, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_contact(
    struct provider_fixture *fx, const char *token, const char *address, int port)
{
	struct answer a = {0};

	fx->provider->ops->contact(
	    fx->provider, token, address, port, provider_fixture_on_done, &a);
	return settle(fx, &a);
}

/* ---- disks ---- */

void
provider_fixture_start_disk_make(struct provider_fixture *fx, const char *token,
    int64_t size_bytes, const char *source_ref, struct answer *a)
{
	fx->provider->ops->disk_make(fx->provider,
	    &(struct disk_spec){
		.token = token,
		.size_bytes = size_bytes,
		.source_ref = source_ref,
		.options = fx->options,
	    },
	    on_launched, a);
}

struct answer
provider_fixture_disk_make(struct provider_fixture *fx, const char *token,
    int64_t size_bytes, const char *source_ref)
{
	struct answer a = {0};

	provider_fixture_start_disk_make(fx, token, size_bytes, source_ref, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_disk_snapshot(
    struct provider_fixture *fx, const char *token, const char *disk_ref)
{
	struct answer a = {0};

	fx->provider->ops->disk_snapshot(fx->provider, token, disk_ref, on_launched, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_disk_remove(struct provider_fixture *fx, const char *token)
{
	struct answer a = {0};

	fx->provider->ops->disk_remove(
	    fx->provider, token, NULL, provider_fixture_on_done, &a);
	return settle(fx, &a);
}

void
provider_fixture_on_attached(void *arg, const char *warning, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->err = *err;
	copy(a->warning, sizeof(a->warning), warning);
}

/* Its refs as they were sighted, as core has them; those of what never was are its tokens. */
static struct attach_spec
attach_spec(
    struct provider_fixture *fx, const char *disk, const char *machine, const char *name)
{
	const struct seen_machine *d = provider_fixture_seen(fx, disk),
				  *m = provider_fixture_seen(fx, machine);

	return (struct attach_spec){
	    .disk = disk,
	    .disk_ref = d ? d->ref : disk,
	    .machine = machine,
	    .machine_ref = m ? m->ref : machine,
	    .name = name,
	};
}

struct answer
provider_fixture_disk_attach(
    struct provider_fixture *fx, const char *disk, const char *machine, const char *name)
{
	struct attach_spec spec = attach_spec(fx, disk, machine, name);
	struct answer a = {0};

	fx->provider->ops->disk_attach(
	    fx->provider, &spec, provider_fixture_on_attached, &a);
	return settle(fx, &a);
}

struct answer
provider_fixture_disk_detach(
    struct provider_fixture *fx, const char *disk, const char *machine, const char *name)
{
	struct attach_spec spec = attach_spec(fx, disk, machine, name);
	struct answer a = {0};

	fx->provider->ops->disk_detach(fx->provider, &spec, provider_fixture_on_done, &a);
	return settle(fx, &a);
}

struct listing {
	struct provider_fixture *fx;
	struct answer answer;
};

static void
on_listing(void *arg, const struct sighting *all, int n, const struct err *err)
{
	struct listing *l = arg;

	l->answer.calls++;
	l->answer.err = *err;
	l->answer.n = n;
	l->fx->n_listed = 0;
	for (int i = 0; i < n; i++)
		record(entry(l->fx->listed, &l->fx->n_listed,
			   all[i].token ? all[i].token : ""),
		    &all[i]);
}

int
provider_fixture_inventory(struct provider_fixture *fx)
{
	struct listing l = {.fx = fx};

	fx->provider->ops->inventory(fx->provider, on_listing, &l);
	settle(fx, &l.answer);
	assert_int_equal(l.answer.err.code, ERR_NONE);
	return l.answer.n;
}
