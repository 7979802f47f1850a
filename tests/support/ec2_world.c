/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "ec2/action.h"
#include "ec2/backend.h"
#include "ec2/config.h"
#include "ec2/dispatch.h"
#include "ec2/instance.h"
#include "ec2/request.h"
#include "ec2/scenario.h"
#include "ec2/world.h"

static const char settings[] =
    "credentials: [{access_key_id: AKIAEXAMPLE, secret_access_key: secret}]\n"
    "machines: fake\n";

static void
must(int rc, const struct err *err)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s\n", err->msg);
	abort();
}

void
ec2_world_open(struct ec2_world *t, const char *scenario, double speed, const char *path,
    int64_t wall_ms)
{
	struct world_options opt = {.account = "123456789012", .path = path};
	struct err err = {0};

	*t = (struct ec2_world){.reply = BUF_INIT(0)};
	t->clock = clock_new_sim(wall_ms);
	must(config_parse("test", settings, strlen(settings), &t->config, &err), &err);
	must(
	    scenario_parse("test", scenario, strlen(scenario), speed, &t->scenario, &err),
	    &err);
	opt.clock = t->clock;
	opt.scenario = t->scenario;
	must(world_open(&opt, &t->world, &err), &err);
	t->world->config = t->config;
	t->backend = fake_backend_new(&(struct backend_env){
	    .clock = t->clock, .arg = t->world, .event = instance_on_event});
	t->world->backend = t->backend;
	world_resume(t->world);
}

static void
commit(struct ec2_world *t)
{
	struct err err = {0};

	must(world_commit(t->world, &err), &err);
}

void
ec2_world_close(struct ec2_world *t)
{
	commit(t);
	world_forget_machines(t->world);
	t->backend->ops->close(t->backend);
	world_close(t->world);
	scenario_free(t->scenario);
	config_free(t->config);
	clock_free(t->clock);
	buf_fini(&t->reply);
}

const char *
ec2_world_call_bytes(struct ec2_world *t, const char *region, const char *action,
    const char *form, size_t n)
{
	struct request q = {.world = t->world,
	    .region = world_region(t->world, region),
	    .action = action_find(SERVICE_EC2, action),
	    .access_key_id = "AKIAEXAMPLE",
	    .path = "/",
	    .id = "00000000-0000-4000-8000-000000000000"};

	bool lost = false;

	buf_reset(&t->reply);
	if (!q.action) {
		fprintf(stderr, "no action %s\n", action);
		abort();
	}
	if (request_decode(&q, form, n) == 0 && dispatch_admit(&q)) {
		reply_open(&q.reply, "Reply");
		dispatch_run(&q, &lost);
	}
	if (request_failed(&q)) {
		buf_fmt(&t->reply, "%s: %s", q.code, q.message);
	} else {
		while (q.reply.depth > 0)
			reply_close(&q.reply);
		buf_add(&t->reply, q.reply.body.data, q.reply.body.len);
	}
	memcpy(t->code, q.code, sizeof(t->code));
	request_fini(&q);
	commit(t);
	return t->reply.data;
}

const char *
ec2_world_call(
    struct ec2_world *t, const char *region, const char *action, const char *form)
{
	return ec2_world_call_bytes(t, region, action, form, strlen(form));
}

void
ec2_world_pass(struct ec2_world *t, int64_t ms)
{
	clock_sim_advance(t->clock, ms);
	commit(t);
}

const char *
ec2_world_text(struct ec2_world *t, const char *name)
{
	static char texts[4][256];
	static int turn;
	char *to = texts[turn++ % 4], tag[80];
	const char *at;

	(void)snprintf(tag, sizeof(tag), "<%s>", name);
	at = t->reply.data ? strstr(t->reply.data, tag) : NULL;
	if (!at)
		return "";
	at += strlen(tag);
	(void)snprintf(to, sizeof(texts[0]), "%.*s", (int)strcspn(at, "<"), at);
	return to;
}

int
ec2_world_count(struct ec2_world *t, const char *name)
{
	const char *at = t->reply.data ?: "";
	char tag[80];
	int n = 0;

	(void)snprintf(tag, sizeof(tag), "<%s>", name);
	while ((at = strstr(at, tag))) {
		n++;
		at++;
	}
	return n;
}
