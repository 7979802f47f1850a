/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "api/api.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/core.h"
#include "daemon/config.h"
#include "daemon/providers.h"
#include "github/github.h"
#include "host/launcher_ask.h"
#include "host/launcher_child.h"
#include "host/notify.h"
#include "host/places.h"
#include "host/privilege.h"
#include "net/fetch.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "provider/provider.h"
#include "ssh/ca.h"
#include "store/store.h"

#define LOGIN "dev" /* the account in every image that we build */

#define PRUNE_EVERY_MS (3600 * INT64_C(1000))
#define PRUNE_AGE_MS (30 * 24 * PRUNE_EVERY_MS)
#define PRUNE_KEEP_EVENTS 100000

struct daemon {
	struct config *config; /* owned, as all here */
	char *config_path;
	char *launcher_path; /* of its socket */
	struct identity id;
	int lock;
	int api_fd; /* until the server has it */
	struct launcher_child launcher;
	uv_poll_t launcher_watch;
	bool launcher_watched;
	struct clock *clock;
	struct loop *loop;
	struct store *store; /* core's, once there is a core */
	struct ssh_ca *user_ca, *host_ca;
	struct fetcher *fetcher;
	struct github *github;
	struct core *core;
	struct provider_named *providers; /* core's, by their names */
	int n_providers;
	struct api *api;
	struct http_server *server;
	struct launcher_ask *reload; /* NULL: none in flight */
	struct timer prune;
	int exit_code;
};

/* By this name from the runtime directory, where the daemon stands once it is not root: directories
   above it may be closed to its user. */
#define LAUNCHER_SOCKET "launcher.sock"

/* ---- opening ---- */

static int
read_boot_id(char *ret, size_t size, struct err *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (n <= 0)
		return err_errno(err, errno, "%s", path);
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

static int
refuse_local_without_root(const struct config *c, struct err *err)
{
	if (geteuid() == 0 || !config_local(c))
		return 0;
	err_set(err, ERR_NOT_PERMITTED, "a provider of kind local needs root");
	return err_hint(err,
	    "start hearthd as root: it serves as user '%s' once it has what it needs",
	    c->user);
}

static int
open_state(struct daemon *d, struct err *err)
{
	AUTO_CLOSE int db = -1;
	AUTO_FREE char *path = xasprintf("%s/db/hearth.db", d->config->state);
	struct sqlite_options opt = {.path = path, .uv_loop = loop_uv(d->loop)};

	if (places_open_db(d->config->state, &d->id, &db, err) < 0 ||
	    privilege_lower(&d->id, err) < 0)
		return -1;
	if (sqlite_store_open(&opt, &d->store, err) < 0)
		return -1;
	if (ssh_ca_load_or_create(db, "user_ca", &d->user_ca, err) < 0 ||
	    ssh_ca_load_or_create(db, "host_ca", &d->host_ca, err) < 0)
		return err_wrap(err, "%s/db", d->config->state);
	return 0;
}

static void
fetch_keys(void *arg, const char *user, core_keys_fn done, void *done_arg)
{
	github_keys(((struct daemon *)arg)->github, user, done, done_arg);
}

static int
open_core(struct daemon *d, struct err *err)
{
	const struct config *c = d->config;
	char boot_id[64];
	struct core_options opt = {
	    .clock = d->clock,
	    .store = d->store,
	    .user_ca = d->user_ca,
	    .host_ca = d->host_ca,
	    .login = LOGIN,
	    .boot_id = boot_id,
	    .github = &(struct core_key_source){d, fetch_keys},
	    .default_hold_ms = c->default_hold_ms,
	    .max_hold_ms = c->max_hold_ms,
	    .keep_deleted_ms = c->keep_deleted_ms,
	};

	if (read_boot_id(boot_id, sizeof(boot_id), err) < 0)
		return -1;
	d->fetcher = fetcher_new(loop_uv(d->loop), 0);
	d->github = github_new(&(struct github_options){.fetcher = d->fetcher,
	    .clock = d->clock,
	    .url = c->github,
	    .cache_when_unreachable = c->github_cache});
	d->core = core_new(&opt);
	d->providers = xcalloc((size_t)c->n_providers + 1, sizeof(*d->providers));
	for (int i = 0; i < c->n_providers; i++) {
		const char *name = c->providers[i].name;
		struct provider_env env =
		    core_provider_env(d->core, name, loop_uv(d->loop));
		struct provider *p = NULL;

		if (providers_open(c, &c->providers[i],
			d->launcher.pid ? LAUNCHER_SOCKET : NULL, &env, &p, err) < 0)
			return err_wrap(err, "provider '%s'", name);
		core_add_provider(d->core, name, p);
		d->providers[d->n_providers++] =
		    (struct provider_named){xstrdup(name), p};
	}
	return core_set_pools(d->core, c->pools, c->n_pools, err);
}

/* What is wrong with the host (a network that overlaps, no nft) shows here, before anybody is served: the
   launcher says it in a line of its own. */
static int
start_launcher(struct daemon *d, struct err *err)
{
	char fate[64];

	if (launcher_release(&d->launcher, err) < 0)
		return -1;
	if (launcher_await(d->launcher_path, d->launcher.pidfd, err) == 0)
		return 0;
	launcher_fate(&d->launcher, fate, sizeof(fate));
	return err_set(err, ERR_UNAVAILABLE,
	    "hearth-launcher did not start (%s); its own line above says why", fate);
}

static int
open_sockets(struct daemon *d, struct err *err)
{
	const struct config *c = d->config;
	int fd;

	if (places_listen(&(struct socket_spec){.path = c->socket,
			      .type = SOCK_STREAM,
			      .fd = -1,
			      .mode = (unsigned)c->socket_mode,
			      .uid = (uid_t)-1,
			      .group = c->socket_group},
		&d->api_fd, err) < 0)
		return -1;
	if (d->launcher.pid == 0)
		return 0;
	if (places_listen(&(struct socket_spec){.path = d->launcher_path,
			      .type = SOCK_SEQPACKET,
			      .fd = d->launcher.socket,
			      .mode = 0600,
			      .uid = d->id.uid,
			      .ours = true},
		&fd, err) < 0)
		return -1;
	return start_launcher(d, err);
}

/* Everything that may need root, and then root is given up. */
static int
open_all(struct daemon *d, struct err *err)
{
	const struct config *c = d->config;
	const struct config_local *local = config_local(c);

	if (refuse_local_without_root(c, err) < 0 ||
	    identity_find(c->user, &d->id, err) < 0 ||
	    places_lock_runtime("hearthd", c->runtime, &d->lock, err) < 0)
		return -1;
	if (geteuid() == 0 && launcher_fork(
				  &(struct launcher_settings){
				      .state = c->state,
				      .runtime = c->runtime,
				      .config_path = d->config_path,
				      .network = local ? local->network : NULL,
				      .uid_base = local ? local->uid_base : 0,
				      .disks_max = local ? local->disks_max : 0,
				  },
				  &d->id, &d->launcher, err) < 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	privilege_raise_files();
	privilege_no_new();
	d->clock = clock_new_real();
	d->loop = loop_new(d->clock);
	if (open_state(d, err) < 0 || open_core(d, err) < 0 || privilege_raise(err) < 0 ||
	    open_sockets(d, err) < 0)
		return -1;
	if (d->launcher.pid != 0 && chdir(c->runtime) < 0)
		return err_errno(err, errno, "%s", c->runtime);
	return privilege_drop(&d->id, err);
}

/* ---- the launcher ---- */

static void
on_launcher_end(uv_poll_t *h, int status, int events)
{
	struct daemon *d = h->data;
	char fate[64];

	launcher_fate(&d->launcher, fate, sizeof(fate));
	log_error("hearth-launcher has ended (%s); ending too, to be started again: "
		  "machines live on",
	    fate);
	uv_poll_stop(h);
	d->exit_code = 1;
	loop_stop(d->loop);
}

static void
watch_launcher(struct daemon *d)
{
	if (d->launcher.pid == 0)
		return;
	if (uv_poll_init(loop_uv(d->loop), &d->launcher_watch, d->launcher.pidfd) != 0)
		abort(); /* epoll takes pidfds */
	d->launcher_watch.data = d;
	d->launcher_watched = true;
	uv_poll_start(&d->launcher_watch, UV_READABLE, on_launcher_end);
}

/* ---- reload ---- */

static int
take_configuration(struct daemon *d, struct config *new, struct err *err)
{
	if (config_check_reload(d->config, new, err) < 0 ||
	    core_set_pools(d->core, new->pools, new->n_pools, err) < 0)
		return -1;
	core_set_limits(d->core, new->default_hold_ms, new->max_hold_ms);
	log_init("hearthd", new->log_level);
	return 0;
}

/* `fd` is owned; -1 with `err` when the file could not be opened. */
static void
on_configuration(void *arg, int fd, const struct err *why)
{
	struct daemon *d = arg;
	struct config *new = NULL;
	struct err err = *why;
	int rc = fd < 0 ? -1 : config_read(d->config_path, fd, &new, &err);

	d->reload = NULL;
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		rc = take_configuration(d, new, &err);
	if (rc == 0) {
		log_info("configuration reloaded from %s", d->config_path);
		config_free(d->config);
		d->config = new;
	} else {
		log_error("configuration not reloaded, the old one stays: %s%s%s",
		    err.msg, err.hint[0] ? "; " : "", err.hint);
		config_free(new);
	}
	if (d->server)
		notify("READY=1");
}

static void
on_hangup(void *arg, int signum)
{
	struct daemon *d = arg;
	struct err err = {0};
	int fd;

	if (d->reload)
		return; /* one is on its way and reads the file as it is by then */
	notify_reloading();
	if (d->launcher.pid == 0) {
		fd = open(d->config_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			err_errno(&err, errno, "%s: cannot be opened", d->config_path);
		on_configuration(d, fd, &err);
	} else if (launcher_ask(loop_uv(d->loop), LAUNCHER_SOCKET, on_configuration, d,
		       &d->reload, &err) < 0) {
		on_configuration(d, -1, &err);
	}
}

/* ---- running ---- */

static void
on_stop(void *arg, int signum)
{
	struct daemon *d = arg;

	log_info("stopping on signal %d: machines stay", signum);
	loop_stop(d->loop);
}

static void
on_prune(void *arg)
{
	struct daemon *d = arg;

	d->store->ops->prune(
	    d->store, clock_wall_ms(d->clock) - PRUNE_AGE_MS, PRUNE_KEEP_EVENTS);
	timer_set(d->clock, &d->prune, PRUNE_EVERY_MS, on_prune, d);
}

static void
write_metrics(void *arg, struct buf *out)
{
	const struct daemon *d = arg;

	providers_metrics(d->providers, d->n_providers, out);
}

/* A daemon that never was root serves the user who started it: theirs is the state. */
static int
open_api(struct daemon *d, struct err *err)
{
	struct api_options api = {
	    .core = d->core,
	    .clock = d->clock,
	    .owner_uid = d->launcher.pid == 0 ? (uint32_t)d->id.uid : API_NO_OWNER,
	    .metrics = write_metrics,
	    .metrics_arg = d,
	};
	struct http_options http = {
	    .loop = d->loop, .listen_fd = d->api_fd, .handler = api_handle};

	d->api = api_new(&api);
	http.arg = d->api;
	d->api_fd = -1;
	return http_server_new(&http, &d->server, err);
}

/* Clients have been able to connect for a while; now they are answered. */
static void
on_settled(void *arg)
{
	struct daemon *d = arg;
	struct err err;

	if (open_api(d, &err) < 0) {
		log_error("%s; ending", err.msg);
		d->exit_code = 1;
		loop_stop(d->loop);
		return;
	}
	log_info("hearthd " HEARTH_VERSION " answers at %s, state in %s, user %u",
	    d->config->socket, d->config->state, (unsigned)geteuid());
	notify("READY=1");
}

static int
start(struct daemon *d, struct err *err)
{
	if (loop_on_signal(d->loop, SIGTERM, on_stop, d, err) < 0 ||
	    loop_on_signal(d->loop, SIGINT, on_stop, d, err) < 0 ||
	    loop_on_signal(d->loop, SIGHUP, on_hangup, d, err) < 0)
		return -1;
	watch_launcher(d);
	if (core_start(d->core, err) < 0)
		return -1;
	core_when_settled(d->core, on_settled, d);
	timer_set(d->clock, &d->prune, PRUNE_EVERY_MS, on_prune, d);
	return 0;
}

int
daemon_open(
    struct config *config, const char *config_path, struct daemon **ret, struct err *err)
{
	struct daemon *d = xnew(struct daemon);

	d->config = config;
	d->config_path = xstrdup(config_path);
	d->launcher_path = xasprintf("%s/" LAUNCHER_SOCKET, config->runtime);
	d->lock = d->api_fd = -1;
	d->launcher = LAUNCHER_CHILD_NONE;
	if (open_all(d, err) < 0 || start(d, err) < 0) {
		daemon_close(d);
		return -1;
	}
	*ret = d;
	return 0;
}

int
daemon_run(struct daemon *d)
{
	loop_run(d->loop);
	notify("STOPPING=1");
	return d->exit_code;
}

void
daemon_close(struct daemon *d)
{
	if (!d)
		return;
	timer_off(&d->prune);
	launcher_ask_cancel(d->reload);
	if (d->launcher_watched)
		uv_close((uv_handle_t *)&d->launcher_watch, NULL);
	if (d->server)
		http_server_stop(d->server);
	if (d->api)
		api_stop(d->api);
	if (d->core)
		core_close(d->core);
	else if (d->store)
		d->store->ops->close(d->store);
	github_close(d->github);
	fetcher_close(d->fetcher);
	if (d->server)
		http_server_close(d->server);
	api_free(d->api);
	loop_free(d->loop);
	launcher_end(&d->launcher);
	ssh_ca_free(d->user_ca);
	ssh_ca_free(d->host_ca);
	if (d->clock)
		clock_free(d->clock);
	if (d->api_fd >= 0)
		close(d->api_fd);
	if (d->lock >= 0)
		close(d->lock);
	for (int i = 0; i < d->n_providers; i++)
		free(d->providers[i].name);
	free(d->providers);
	config_free(d->config);
	free(d->config_path);
	free(d->launcher_path);
	free(d);
}
