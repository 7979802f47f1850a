/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/config.h"
#include "ec2/endpoint.h"
#include "ec2/instance.h"
#include "ec2/local.h"
#include "ec2/objects.h"
#include "ec2/queue.h"
#include "ec2/scenario.h"
#include "ec2/world.h"
#include "host/notify.h"
#include "host/privilege.h"
#include "net/loop.h"

struct server {
	struct config *config;	 /* owned, as all here */
	struct local_host *host; /* NULL with fake machines */
	struct clock *clock;
	struct loop *loop;
	struct scenario *scenario;
	struct world *world;
	struct backend *backend;
	struct endpoint *endpoint;
	int listen_fd; /* until the endpoint has it */
	int exit_code;
};

/* ---- opening ---- */

/* Of a process that never was root: the state is its user's. */
static int
open_own_state(const char *state, struct err *err)
{
	struct stat st;

	if (mkdir(state, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "state directory %s: cannot be made", state);
	if (stat(state, &st) < 0)
		return err_errno(err, errno, "state directory %s", state);
	if (!S_ISDIR(st.st_mode))
		return err_set(
		    err, ERR_INVALID, "state directory %s: is no directory", state);
	return 0;
}

static int
open_world(struct server *s, const char *path, struct err *err)
{
	struct world_options opt = {.clock = s->clock,
	    .loop = s->loop,
	    .scenario = s->scenario,
	    .account = s->config->account,
	    .path = path};
	mode_t mask = umask(077);
	int rc = world_open(&opt, &s->world, err);

	umask(mask);
	if (rc < 0)
		return -1;
	s->world->config = s->config;
	s->world->on_state = queue_instance_event;
	return 0;
}

static int
open_backend(struct server *s, struct err *err)
{
	struct backend_env env = {.loop = s->loop,
	    .clock = s->clock,
	    .arg = s->world,
	    .event = instance_on_event};

	if (!s->config->local)
		s->backend = fake_backend_new(&env);
	else if (local_backend_new(&env, s->config, &s->backend, err) < 0)
		return -1;
	s->world->backend = s->backend;
	world_resume(s->world);
	return 0;
}

static int
open_fake(struct server *s, struct err *err)
{
	const struct config *c = s->config;
	AUTO_FREE char *path = xasprintf("%s/ec2.db", c->state);

	signal(SIGPIPE, SIG_IGN);
	privilege_raise_files();
	privilege_no_new();
	s->clock = clock_new_real();
	s->loop = loop_new(s->clock);
	if (open_own_state(c->state, err) < 0 ||
	    endpoint_listen(c->listen_host, c->listen_port, &s->listen_fd, err) < 0)
		return -1;
	return open_world(s, path, err);
}

/* As root until local_host_start(): see local.h for the order. */
static int
open_local(struct server *s, const char *config_path, struct err *err)
{
	const struct config *c = s->config;

	if (local_host_open(c, config_path, &s->host, err) < 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	privilege_raise_files();
	privilege_no_new();
	s->clock = clock_new_real();
	s->loop = loop_new(s->clock);
	if (endpoint_listen(c->listen_host, c->listen_port, &s->listen_fd, err) < 0 ||
	    local_host_lower(s->host, err) < 0 ||
	    open_world(s, local_host_database(s->host), err) < 0)
		return -1;
	return local_host_start(s->host, err);
}

static int
open_all(struct server *s, const char *config_path, struct err *err)
{
	const struct config *c = s->config;

	if (scenario_load(c->scenario, c->speed, &s->scenario, err) < 0)
		return -1;
	if (c->local ? open_local(s, config_path, err) < 0 : open_fake(s, err) < 0)
		return -1;
	return open_backend(s, err);
}

static void
on_stop(void *arg, int signum)
{
	struct server *s = arg;

	log_info("stopping on signal %d: machines stay", signum);
	loop_stop(s->loop);
}

static void
on_launcher_end(void *arg)
{
	struct server *s = arg;

	s->exit_code = EXIT_FAILURE;
	loop_stop(s->loop);
}

static int
start(struct server *s, struct err *err)
{
	struct endpoint_options opt = {.loop = s->loop,
	    .config = s->config,
	    .world = s->world,
	    .listen_fd = s->listen_fd};

	if (loop_on_signal(s->loop, SIGTERM, on_stop, s, err) < 0 ||
	    loop_on_signal(s->loop, SIGINT, on_stop, s, err) < 0)
		return -1;
	if (s->host)
		local_host_watch(s->host, s->loop, on_launcher_end, s);
	s->listen_fd = -1;
	return endpoint_new(&opt, &s->endpoint, err);
}

int
server_open(
    struct config *config, const char *config_path, struct server **ret, struct err *err)
{
	struct server *s = xnew(struct server);

	s->config = config;
	s->listen_fd = -1;
	if (open_all(s, config_path, err) < 0 || start(s, err) < 0) {
		server_close(s);
		return -1;
	}
	log_info("hearth-ec2 " HEARTH_VERSION
		 " answers at http://%s:%d, %s machines, scenario %s, state in %s",
	    config->listen_host, config->listen_port, s->backend->ops->name,
	    config->scenario, config->state);
	*ret = s;
	return 0;
}

int
server_run(struct server *s)
{
	notify("READY=1");
	loop_run(s->loop);
	notify("STOPPING=1");
	return s->exit_code;
}

void
server_close(struct server *s)
{
	if (!s)
		return;
	if (s->world)
		keypairs_forget(s->world);
	endpoint_close(s->endpoint);
	if (s->backend) {
		if (s->world)
			world_forget_machines(s->world);
		s->backend->ops->close(s->backend);
	}
	world_close(s->world);
	local_host_close(s->host);
	loop_free(s->loop);
	scenario_free(s->scenario);
	if (s->clock)
		clock_free(s->clock);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	config_free(s->config);
	free(s);
}

int
server_teardown(const struct config *config, struct err *err)
{
	if (!config->local)
		return 0; /* fake machines are nowhere */
	return local_teardown(config, err);
}
