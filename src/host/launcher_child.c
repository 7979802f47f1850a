/* SPDX-License-Identifier: Apache-2.0 */
#include "host/launcher_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "host/subids.h"

/* Where the programs that come with hearthd are: $HEARTH_LIBEXEC, the build tree that we
   run from, or where they were installed. */
struct programs {
	char *launcher, *init, *image_builder; /* owned */
};

static void
programs_fini(struct programs *p)
{
	free(p->launcher);
	free(p->init);
	free(p->image_builder);
}

static bool
programs_in(struct programs *p, const char *dir, const char *launcher, const char *init,
    const char *builder)
{
	programs_fini(p);
	p->launcher = xasprintf("%s/%s", dir, launcher);
	p->init = xasprintf("%s/%s", dir, init);
	p->image_builder = xasprintf("%s/%s", dir, builder);
	return access(p->launcher, X_OK) == 0;
}

static int
find_programs(struct programs *p, struct err *err)
{
	const char *dir = secure_getenv("HEARTH_LIBEXEC");
	AUTO_FREE char *self = xcalloc(1, 4096);
	char *slash;

	if (dir)
		return programs_in(
			   p, dir, "hearth-launcher", "hearth-init", "build-image")
			   ? 0
			   : err_errno(err, errno, "%s", p->launcher);
	if (readlink("/proc/self/exe", self, 4095) > 0 && (slash = strrchr(self, '/'))) {
		*slash = '\0';
		if (programs_in(p, self, "../launcher/hearth-launcher",
			"../init/hearth-init", "../launcher/build-image"))
			return 0;
	}
	if (programs_in(
		p, HEARTH_LIBEXECDIR, "hearth-launcher", "hearth-init", "build-image"))
		return 0;
	err_errno(err, errno, "%s", p->launcher);
	return err_hint(err, "install hearth whole ('make install')");
}

/* ---- the child's side ---- */

struct argument_list {
	char *v[32];
	int n;
};

static void
add(struct argument_list *a, const char *option, char *value)
{
	a->v[a->n++] = xstrdup(option);
	a->v[a->n++] = value;
}

static void
add_arguments(struct argument_list *a, const struct launcher_settings *s,
    const struct identity *id, const struct programs *p, int socket, int lifeline)
{
	a->v[a->n++] = xstrdup("hearth-launcher");
	add(a, "--socket-fd", xasprintf("%d", socket));
	add(a, "--lifeline-fd", xasprintf("%d", lifeline));
	add(a, "--state", xstrdup(s->state));
	add(a, "--runtime", xstrdup(s->runtime));
	add(a, "--uid", xasprintf("%u", (unsigned)id->uid));
	add(a, "--gid", xasprintf("%u", (unsigned)id->gid));
	add(a, "--config", xstrdup(s->config_path));
	if (!s->network)
		return;
	add(a, "--network", xstrdup(s->network));
	add(a, "--uid-base", xasprintf("%lld", (long long)s->uid_base));
	add(a, "--init", xstrdup(p->init));
	add(a, "--image-builder", xstrdup(p->image_builder));
	if (s->disks_max > 0)
		add(a, "--disks-max", xasprintf("%lld", (long long)s->disks_max));
	if (s->instances)
		a->v[a->n++] = xstrdup("--instances");
}

static void __attribute__((noreturn))
become_launcher(int go, const int keep[2], const char *path, char *const argv[])
{
	char c;

	/* its own session: a terminal's Ctrl-C is for hearthd, which then ends it in
	 * order */
	setsid();
	if (read(go, &c, 1) != 1)
		_exit(0);
	if (fcntl(keep[0], F_SETFD, 0) < 0 || fcntl(keep[1], F_SETFD, 0) < 0)
		_exit(127);
	execv(path, argv);
	log_error("%s cannot be started: %s", path, strerror(errno));
	_exit(127);
}

/* ---- hearthd's side ---- */

static void
close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int
fork_waiting(const struct programs *p, const struct launcher_settings *s,
    const struct identity *id, struct launcher_child *l, struct err *err)
{
	int go[2], lifeline[2];

	if (pipe2(go, O_CLOEXEC) < 0)
		return err_errno(err, errno, "starting hearth-launcher");
	l->go = go[1];
	if (pipe2(lifeline, O_CLOEXEC) < 0) {
		close(go[0]);
		return err_errno(err, errno, "starting hearth-launcher");
	}
	l->lifeline = lifeline[1];
	l->pid = fork();
	if (l->pid == 0) {
		struct argument_list a = {0};

		close(go[1]); /* or it would wait for itself */
		close(lifeline[1]);
		add_arguments(&a, s, id, p, l->socket, lifeline[0]);
		become_launcher(go[0], (int[]){l->socket, lifeline[0]}, p->launcher, a.v);
	}
	close(go[0]);
	close(lifeline[0]);
	if (l->pid < 0) {
		l->pid = 0;
		return err_errno(err, errno, "starting hearth-launcher");
	}
	l->pidfd = (int)syscall(SYS_pidfd_open, l->pid, 0);
	if (l->pidfd < 0)
		return err_errno(err, errno, "watching hearth-launcher");
	return fcntl(l->pidfd, F_SETFD, FD_CLOEXEC);
}

int
launcher_fork(const struct launcher_settings *s, const struct identity *id,
    struct launcher_child *ret, struct err *err)
{
	struct launcher_child l = LAUNCHER_CHILD_NONE;
	struct programs p = {0};
	int rc = find_programs(&p, err);

	if (rc == 0 && s->network)
		rc = subids_check_machines(s->network, s->uid_base, err);
	if (rc == 0) {
		l.socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		rc = l.socket < 0 ? err_errno(err, errno, "starting hearth-launcher")
				  : fork_waiting(&p, s, id, &l, err);
	}
	programs_fini(&p);
	if (rc < 0) {
		launcher_end(&l);
		return -1;
	}
	*ret = l;
	return 0;
}

int
launcher_release(struct launcher_child *l, struct err *err)
{
	if (write(l->go, "g", 1) != 1)
		return err_errno(err, errno, "starting hearth-launcher");
	close_one(&l->go);
	close_one(
	    &l->socket); /* or requests would wait for nobody when the launcher is gone */
	return 0;
}

void
launcher_end(struct launcher_child *l)
{
	struct pollfd p = {.fd = l->pidfd, .events = POLLIN};

	close_one(&l->go);
	close_one(&l->lifeline);
	close_one(&l->socket);
	if (l->pid > 0 && l->pidfd >= 0 && poll(&p, 1, 2000) == 1)
		waitpid(l->pid, NULL, WNOHANG);
	close_one(&l->pidfd);
	l->pid = 0;
}

void
launcher_fate(struct launcher_child *l, char *text, size_t n)
{
	struct pollfd p = {.fd = l->pidfd, .events = POLLIN};
	int status = 0;

	if (poll(&p, 1, 1000) != 1 || waitpid(l->pid, &status, WNOHANG) != l->pid)
		(void)snprintf(text, n, "gone");
	else if (WIFSIGNALED(status))
		(void)snprintf(text, n, "signal %d", WTERMSIG(status));
	else
		(void)snprintf(text, n, "exit status %d", WEXITSTATUS(status));
	l->pid = 0;
}

int
launcher_teardown(const struct launcher_settings *s, struct err *err)
{
	struct programs p = {0};
	int status = -1, rc = find_programs(&p, err);
	pid_t pid = rc < 0 ? -1 : fork();

	if (pid == 0) {
		execl(p.launcher, p.launcher, "--teardown", "--state", s->state,
		    "--runtime", s->runtime, (char *)NULL);
		log_error("%s cannot be started: %s", p.launcher, strerror(errno));
		_exit(127);
	}
	if (rc == 0 && pid < 0)
		rc = err_errno(err, errno, "starting hearth-launcher");
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	programs_fini(&p);
	if (rc == 0 && status != 0)
		rc = err_set(err, ERR_UNAVAILABLE,
		    "not all is ended; hearth-launcher's own lines say why");
	return rc;
}
