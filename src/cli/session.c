/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/session.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "cli/api.h"
#include "cli/interrupt.h"
#include "cli/keys.h"
#include "cli/reserve.h"
#include "cli/saved.h"
#include "cli/text.h"
#include "cli/view.h"

#define SSH_FAILED 255
#define SWAPS_MAX 3
#define SWAP_WAIT_MS 3000 /* the daemon notices within a second */
#define YOUNG_MS 60000	  /* a machine is swapped at first contact only */
#define PROBE_MS 500

/* Which key the files of `id` were made for, else the default one. */
static int
pick_key(const char *state_dir, const char *id, struct key *ret, struct err *err)
{
	struct saved s = {0};

	if (!saved_load(state_dir, id, &s))
		return key_default(state_dir, ret, err);
	*ret = (struct key){.line = TAKE(s.public_key), .identity = TAKE(s.identity)};
	saved_fini(&s);
	return 0;
}

static bool
is_current(const char *state_dir, const json_t *r)
{
	struct saved s = {0};
	int64_t expires_at = 0;
	bool ok;

	(void)view_time(r, "expires_at", &expires_at);
	ok = saved_load(state_dir, view_str(r, "id"), &s) &&
	     strcmp(s.machine, view_str(r, "machine")) == 0 &&
	     strcmp(s.host, view_str(r, "host")) == 0 &&
	     s.port == view_int(r, "port", 22) && s.expires_at >= expires_at;
	saved_fini(&s);
	return ok;
}

/* The reply is the reservation, or what of it has changed. */
static int
new_certificates(struct cli *cli, const struct key *key, json_t *r, struct err *err)
{
	AUTO_FREE char *path =
	    api_path("reservations", view_str(r, "id"), "/certificates");
	AUTO_JSON json_t *body = json_object();
	AUTO_JSON json_t *reply = NULL;
	json_t *line = key->line ? json_string(key->line) : NULL;

	json_object_set_new(
	    body, "public_keys", line ? json_pack("[o]", line) : json_array());
	if (api_call(cli, "POST", path, body, &reply, err) < 0)
		return -1;
	if (!json_is_array(json_object_get(reply, "certificates")))
		return err_set(err, ERR_INTERNAL, "hearthd's reply has no certificates");
	json_object_update(r, reply);
	return 0;
}

int
session_refresh(struct cli *cli, const char *state_dir, const struct key *key, bool force,
    json_t **r, struct err *err)
{
	struct key own = {0};
	int ret = -1;

	if (strcmp(view_str(*r, "state"), "active") != 0 &&
	    reserve_wait_active(cli, r, err) < 0)
		return -1;
	if (strcmp(view_str(*r, "state"), "active") != 0) {
		saved_remove(state_dir, view_str(*r, "id"));
		err_set(err, ERR_CONFLICT, "reservation '%s' has ended: %s%s%s",
		    view_str(*r, "name"), view_str(*r, "reason"),
		    view_str(*r, "error")[0] ? ": " : "", view_str(*r, "error"));
		return err_hint(err, "make a new one with 'hearth reserve'");
	}
	if (!force && is_current(state_dir, *r))
		return 0;
	if ((key || pick_key(state_dir, view_str(*r, "id"), &own, err) == 0) &&
	    new_certificates(cli, key ? key : &own, *r, err) == 0 &&
	    saved_write(state_dir, *r, key ? key : &own, cli->socket_path, err) == 0)
		ret = 0;
	key_fini(&own);
	return ret;
}

/* Until the child ends. What the terminal sends reaches it as well as us; what is sent to
   us alone is passed on. */
static int
wait_child(pid_t pid, const sigset_t *set)
{
	for (;;) {
		siginfo_t si;
		int status;
		int sig = sigwaitinfo(set, &si);

		if (sig > 0 && sig != SIGCHLD && si.si_code != SI_KERNEL)
			kill(pid, sig);
		while (waitpid(pid, &status, WNOHANG | WUNTRACED) == pid) {
			if (!WIFSTOPPED(status))
				return WIFEXITED(status) ? WEXITSTATUS(status)
							 : 128 + WTERMSIG(status);
			raise(SIGSTOP); /* ssh's ~^Z stops only itself */
			kill(pid, SIGCONT);
		}
	}
}

static int
spawn_and_wait(char **argv, int *ret_code, struct err *err)
{
	extern char **environ;
	posix_spawnattr_t attr;
	sigset_t set;
	sigset_t old;
	sigset_t plain;
	pid_t pid;
	int r;

	sigemptyset(&plain);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &old);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &plain);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	r = posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (r == 0)
		*ret_code = wait_child(pid, &set);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (r == ENOENT)
		return err_set(err, ERR_INTERNAL, "cannot run ssh: it is not installed");
	return r ? err_errno(err, r, "run ssh") : 0;
}

/* The words of a command as one line for the shell at the other end. */
static char *
command_line(char *const *cmd)
{
	struct buf b = BUF_INIT(0);

	if (!cmd[1])
		return xstrdup(cmd[0]);
	for (int i = 0; cmd[i]; i++) {
		if (i > 0)
			buf_char(&b, ' ');
		text_sh(&b, cmd[i]);
	}
	return buf_take(&b);
}

static int
run_ssh(const char *state_dir, const json_t *r, const char *const *opts, char *const *cmd,
    int *ret_code, struct err *err)
{
	struct saved s = {0};
	char **argv = NULL;
	char *dest;
	int n;
	int ret = -1;
	int extra = 2;

	for (int i = 0; opts[i]; i++)
		extra++;
	if (!saved_load(state_dir, view_str(r, "id"), &s))
		return err_set(
		    err, ERR_INTERNAL, "the files of '%s' are gone", view_str(r, "name"));
	if (saved_argv(&s, extra, &argv, &n, err) == 0) {
		dest = argv[--n];
		for (int i = 0; opts[i]; i++)
			argv[n++] = xstrdup(opts[i]);
		argv[n++] = dest;
		if (cmd && cmd[0])
			argv[n++] = command_line(cmd);
		ret = spawn_and_wait(argv, ret_code, err);
		while (n > 0)
			free(argv[--n]);
		free(argv);
	}
	saved_fini(&s);
	return ret;
}

/* Whether an ssh server answers there: then 255 was not for want of a machine. */
static bool
answers(const json_t *r)
{
	AUTO_FREE char *port = xasprintf("%lld", (long long)view_int(r, "port", 22));
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *ai;
	AUTO_CLOSE int fd = -1;
	struct pollfd p = {.events = POLLIN};
	char c;

	if (getaddrinfo(view_str(r, "host"), port, &hints, &ai) != 0)
		return true; /* a name: not a machine that we can judge from here */
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	p.fd = fd;
	(void)connect(fd, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
	return fd >= 0 && poll(&p, 1, PROBE_MS) > 0 && read(fd, &c, 1) == 1;
}

/* After ssh's 255: whether *r has another machine now, or gets one. */
static bool
was_swapped(struct cli *cli, json_t **r)
{
	AUTO_FREE char *machine = xstrdup(view_str(*r, "machine"));
	AUTO_FREE char *path = api_path("reservations", view_str(*r, "id"), "");
	int64_t until = clock_real_now_ms() + SWAP_WAIT_MS;
	int64_t ready_at;
	struct err err;

	if (view_time(*r, "ready_at", &ready_at) &&
	    clock_real_wall_ms() - ready_at > YOUNG_MS)
		until = 0;
	while (!answers(*r)) {
		json_t *now;

		if (api_call(cli, "GET", path, NULL, &now, &err) < 0)
			return false;
		json_decref(*r);
		*r = now;
		if (strcmp(view_str(now, "state"), "ended") == 0)
			return false;
		if (strcmp(view_str(now, "machine"), machine) != 0)
			return true;
		if (clock_real_now_ms() > until)
			return false;
		(void)poll(NULL, 0, 100);
	}
	return false;
}

int
session_run(struct cli *cli, const char *state_dir, json_t **r, const char *const *opts,
    char *const *cmd, int *ret_code, struct err *err)
{
	for (int swaps = 0;; swaps++) {
		if (run_ssh(state_dir, *r, opts, cmd, ret_code, err) < 0)
			return -1;
		if (*ret_code != SSH_FAILED || swaps == SWAPS_MAX || !was_swapped(cli, r))
			return 0;
		if (session_refresh(cli, state_dir, NULL, false, r, err) < 0)
			return -1;
	}
}
