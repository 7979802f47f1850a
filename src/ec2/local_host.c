/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/config.h"
#include "ec2/local.h"
#include "ec2/local_internal.h"
#include "host/launcher_ask.h"
#include "host/launcher_child.h"
#include "host/places.h"
#include "host/privilege.h"
#include "net/loop.h"

struct local_host {
	const struct config *config; /* borrowed */
	char *launcher_path, *database, *config_path;
	struct identity id;
	int lock, db;
	struct launcher_child launcher;
	uv_poll_t watch;
	bool watched;
	void (*ended)(void *arg);
	void *arg;
};

static struct launcher_settings
settings_of(const struct local_host *h)
{
	return (struct launcher_settings){
	    .state = h->config->state,
	    .runtime = h->config->runtime,
	    .config_path = h->config_path,
	    .network = h->config->network,
	    .uid_base = h->config->uid_base,
	    .instances = true,
	};
}

static int
refuse_without_root(const struct config *c, struct err *err)
{
	if (geteuid() == 0)
		return 0;
	err_set(err, ERR_NOT_PERMITTED, "machines: local needs root");
	return err_hint(err,
	    "start hearth-ec2 as root: it serves as user '%s' once it has what it needs; "
	    "or "
	    "use 'machines: fake'",
	    c->user);
}

int
local_host_open(const struct config *c, const char *config_path, struct local_host **ret,
    struct err *err)
{
	struct local_host *h = xnew(struct local_host);
	struct launcher_settings settings;

	h->config = c;
	h->config_path = xstrdup(config_path);
	h->launcher_path = xasprintf("%s/" LOCAL_LAUNCHER_SOCKET, c->runtime);
	h->database = xasprintf("%s/db/ec2.db", c->state);
	h->lock = h->db = -1;
	h->launcher = LAUNCHER_CHILD_NONE;
	settings = settings_of(h);
	if (refuse_without_root(c, err) < 0 || identity_find(c->user, &h->id, err) < 0 ||
	    places_lock_runtime("hearth-ec2", c->runtime, &h->lock, err) < 0 ||
	    launcher_fork(&settings, &h->id, &h->launcher, err) < 0) {
		local_host_close(h);
		return -1;
	}
	*ret = h;
	return 0;
}

int
local_host_lower(struct local_host *h, struct err *err)
{
	if (places_open_db(h->config->state, &h->id, &h->db, err) < 0)
		return -1;
	return privilege_lower(&h->id, err);
}

const char *
local_host_database(const struct local_host *h)
{
	return h->database;
}

/* What is wrong with the host shows here: the launcher says it in a line of its own. */
static int
start_launcher(struct local_host *h, struct err *err)
{
	char fate[64];
	int fd;

	if (places_listen(&(struct socket_spec){.path = h->launcher_path,
			      .type = SOCK_SEQPACKET,
			      .fd = h->launcher.socket,
			      .mode = 0600,
			      .uid = h->id.uid,
			      .ours = true},
		&fd, err) < 0 ||
	    launcher_release(&h->launcher, err) < 0)
		return -1;
	if (launcher_await(h->launcher_path, h->launcher.pidfd, err) == 0)
		return 0;
	launcher_fate(&h->launcher, fate, sizeof(fate));
	return err_set(err, ERR_UNAVAILABLE,
	    "hearth-launcher did not start (%s); its own line above says why", fate);
}

int
local_host_start(struct local_host *h, struct err *err)
{
	if (privilege_raise(err) < 0 || start_launcher(h, err) < 0)
		return -1;
	if (chdir(h->config->runtime) < 0)
		return err_errno(err, errno, "%s", h->config->runtime);
	return privilege_drop(&h->id, err);
}

static void
on_launcher_end(uv_poll_t *handle, int status, int events)
{
	struct local_host *h = handle->data;
	char fate[64];

	launcher_fate(&h->launcher, fate, sizeof(fate));
	log_error("hearth-launcher has ended (%s); ending too, to be started again: "
		  "machines live on",
	    fate);
	uv_poll_stop(handle);
	h->ended(h->arg);
}

void
local_host_watch(
    struct local_host *h, struct loop *loop, void (*ended)(void *arg), void *arg)
{
	if (uv_poll_init(loop_uv(loop), &h->watch, h->launcher.pidfd) != 0)
		abort(); /* epoll takes pidfds */
	h->watch.data = h;
	h->watched = true;
	h->ended = ended;
	h->arg = arg;
	uv_poll_start(&h->watch, UV_READABLE, on_launcher_end);
}

static void
free_host(struct local_host *h)
{
	launcher_end(&h->launcher);
	if (h->db >= 0)
		close(h->db);
	if (h->lock >= 0)
		close(h->lock);
	free(h->launcher_path);
	free(h->config_path);
	free(h->database);
	free(h);
}

static void
on_closed(uv_handle_t *handle)
{
	free_host(handle->data);
}

void
local_host_close(struct local_host *h)
{
	if (h && h->watched)
		uv_close((uv_handle_t *)&h->watch, on_closed);
	else if (h)
		free_host(h);
}

int
local_teardown(const struct config *c, struct err *err)
{
	struct launcher_settings settings = {.state = c->state, .runtime = c->runtime};
	AUTO_CLOSE int lock = -1;

	if (refuse_without_root(c, err) < 0)
		return -1;
	if (access(c->runtime, F_OK) == 0 &&
	    places_lock_runtime("hearth-ec2", c->runtime, &lock, err) < 0)
		return -1;
	return launcher_teardown(&settings, err);
}
