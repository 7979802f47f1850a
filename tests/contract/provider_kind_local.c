/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The local provider under the contract suite: a launcher of its own on the state directory
 * HEARTH_TEST_STATE, in a network namespace of its own, in real time. A restart of the provider is one
 * of the daemon alone: the launcher stays.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/loop.h"
#include "provider/local/local.h"
#include "provider_fixture.h"
#include "ssh/hostkey.h"

#define NETWORK "10.214.0.0/24"

struct local_world {
	struct loop *loop;
	struct timer timer;
	struct ssh_hostkey key;
	char public[128];
	char runtime[64];
	char socket[96];
	pid_t launcher;
	int lifeline;
};

static const char *
state_dir(void)
{
	return getenv("HEARTH_TEST_STATE");
}

static bool
possible(void)
{
	if (geteuid() == 0 && state_dir() && getenv("HEARTH_LAUNCHER") &&
	    getenv("HEARTH_INIT"))
		return true;
	printf(
	    "SKIP: needs root, and HEARTH_TEST_STATE, HEARTH_LAUNCHER and HEARTH_INIT\n");
	return false;
}

/* Once for the process, whose end is also the namespace's. */
static void
enter_netns(void)
{
	static bool done;
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (done)
		return;
	done = true;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
}

static int
listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

/* The launcher, or with socket -1 its tear-down. */
static pid_t
run_launcher(const struct local_world *w, int socket, int lifeline)
{
	const char *program = getenv("HEARTH_LAUNCHER"), *init = getenv("HEARTH_INIT");
	char s[16], f[16];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!program || !init)
		_exit(127); /* possible() looked */
	if (pid > 0)
		return pid;
	(void)snprintf(s, sizeof(s), "%d", socket);
	(void)snprintf(f, sizeof(f), "%d", lifeline);
	if (socket < 0)
		execl(program, "hearth-launcher", "--teardown", "--state", state_dir(),
		    "--runtime", w->runtime, (char *)NULL);
	else
		execl(program, "hearth-launcher", "--socket-fd", s, "--lifeline-fd", f,
		    "--state", state_dir(), "--runtime", w->runtime, "--uid", "0",
		    "--gid", "0", "--network", NETWORK, "--init", init, (char *)NULL);
	_exit(127);
}

static void
start_launcher(struct local_world *w)
{
	int fds[2], listener;

	strcpy(w->runtime, "/tmp/hearth-contract-XXXXXX");
	assert_non_null(mkdtemp(w->runtime));
	(void)snprintf(w->socket, sizeof(w->socket), "%s/launcher.sock", w->runtime);
	listener = listen_at(w->socket);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETFD, FD_CLOEXEC), 0);
	w->launcher = run_launcher(w, listener, fds[0]);
	w->lifeline = fds[1];
	close(fds[0]);
	close(listener);
}

static void
stop_launcher(struct local_world *w)
{
	int status;
	pid_t pid;

	close(w->lifeline);
	assert_int_equal(waitpid(w->launcher, &status, 0), w->launcher);
	assert_int_equal(status, 0);
	pid = run_launcher(w, -1, -1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(unlink(w->socket), 0);
	assert_int_equal(rmdir(w->runtime), 0); /* nothing of a machine is left there */
}

static void
make_keys(struct provider_fixture *fx, struct local_world *w)
{
	struct err err;
	char *line;

	assert_int_equal(ssh_hostkey_generate("contract", &w->key, &err), 0);
	line = ssh_pubkey_line(&w->key.pub);
	(void)snprintf(w->public, sizeof(w->public), "%s", line);
	free(line);
	fx->host_key = w->key.text.data;
	fx->host_cert = w->public; /* nobody logs in, so any line will do */
	fx->user_ca = w->public;
}

static int
open_local(struct provider_fixture *fx)
{
	struct local_options opt = {.network = NETWORK};
	struct local_world *w = fx->world;
	struct provider_env env;
	struct err err;

	if (!w) {
		enter_netns();
		fx->world = w = test_calloc(1, sizeof(*w));
		fx->clock = clock_new_real();
		w->loop = loop_new(fx->clock);
		make_keys(fx, w);
		start_launcher(w);
	}
	fx->image = "debian";
	opt.launcher = w->socket;
	opt.runtime = w->runtime;
	env = provider_fixture_env(fx);
	env.uv_loop = loop_uv(w->loop);
	if (local_provider_open(&opt, &env, &fx->provider, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
}

static void
time_is_up(void *arg)
{
	loop_stop(arg);
}

static void
turn(struct provider_fixture *fx, int64_t ms)
{
	struct local_world *w = fx->world;

	timer_set(fx->clock, &w->timer, ms, time_is_up, w->loop);
	loop_run(w->loop);
	timer_off(&w->timer);
}

static void
closed(struct provider_fixture *fx, bool final)
{
	struct local_world *w = fx->world;

	turn(fx, 1); /* handles that are being closed */
	if (!final)
		return;
	stop_launcher(w);
	loop_free(w->loop);
	assert_int_equal(clock_next_ms(fx->clock), -1);
	clock_free(fx->clock);
	ssh_hostkey_fini(&w->key);
	test_free(w);
	fx->world = NULL;
}

const struct provider_kind_ops provider_kind_local = {
    .name = "local",
    .holds_data = true,
    .possible = possible,
    .open = open_local,
    .turn = turn,
    .closed = closed,
};
