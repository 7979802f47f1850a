/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "launcher/file.h"
#include "launcher/machines.h"

#define BUILD_MAX_MS (30 * 60 * 1000)
#define LINE_MAX_BYTES 512

static int
open_locked(int dirfd, const char *name, int how)
{
	AUTO_CLOSE int fd =
	    openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat here, there;

	if (fd < 0 || flock(fd, how) < 0)
		return -1;
	if (fstat(fd, &here) < 0 ||
	    fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
	    here.st_ino != there.st_ino) {
		errno = ENOENT; /* removed while we waited */
		return -1;
	}
	return TAKE_FD(fd);
}

static int
current_version(int image_fd, char out[LAUNCHER_VERSION_MAX])
{
	ssize_t n = readlinkat(image_fd, "current", out, LAUNCHER_VERSION_MAX - 1);

	out[n < 0 ? 0 : n] = '\0';
	return n > 0 && name_valid(out) ? 0 : -1;
}

int
image_open(const struct launcher *l, const char *name, const char *version, int *ret_fd,
    char ret_version[LAUNCHER_VERSION_MAX], struct err *err)
{
	AUTO_CLOSE int image =
	    openat(l->images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char chosen[LAUNCHER_VERSION_MAX];
	int fd;

	if (version[0] != '\0')
		memcpy(chosen, version, sizeof(chosen));
	else if (image < 0 || current_version(image, chosen) < 0) {
		err_set(err, ERR_NOT_FOUND, "there is no image '%s'", name);
		return err_hint(err, "build it: hearth image build %s", name);
	}
	fd = image < 0 ? -1 : open_locked(image, chosen, LOCK_SH);
	if (fd < 0)
		return err_errno(
		    err, errno, "open image '%s' version '%s'", name, chosen);
	memcpy(ret_version, chosen, sizeof(chosen));
	*ret_fd = fd;
	return 0;
}

/* "42 installing packages": tells of it. Anything else is the builder's chatter. */
static void
take_line(const char *line, image_progress_fn progress, void *arg)
{
	char *end;
	unsigned long percent = strtoul(line, &end, 10);

	if (end != line && *end == ' ' && percent <= 100)
		progress(arg, (unsigned)percent, end + 1);
}

struct lines {
	char text[LINE_MAX_BYTES];
	size_t len;
};

/* Takes what can be read. Returns false at the end. A line that is too long loses its tail. */
static bool
pump(int fd, struct lines *l, char last[LINE_MAX_BYTES], image_progress_fn progress,
    void *arg)
{
	char chunk[512];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	for (ssize_t i = 0; i < n; i++) {
		if (chunk[i] != '\n') {
			if (l->len < sizeof(l->text) - 1)
				l->text[l->len++] = chunk[i];
			continue;
		}
		l->text[l->len] = '\0';
		l->len = 0;
		if (progress)
			take_line(l->text, progress, arg);
		else if (l->text[0])
			memcpy(last, l->text, sizeof(l->text));
	}
	return n > 0;
}

/* In the child: mounts that the program leaves behind vanish with its namespace. */
static void
become_child(int out_fd, int err_fd)
{
	int null = open("/dev/null", O_RDONLY);

	setsid();
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || dup2(null, 0) < 0 ||
	    dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0)
		_exit(127);
	umask(022);
	for (int s = 1; s < 32; s++)
		signal(s, SIG_DFL);
}

struct builder {
	const char *program, *out, *name;
};

static _Noreturn void
exec_builder(void *arg)
{
	const struct builder *b = arg;

	execl(b->program, b->program, b->out, b->name, (char *)NULL);
	dprintf(2, "run %s: %s\n", b->program, strerror(errno));
	_exit(127);
}

static int
watch_builder(
    pid_t pid, int fds[2], image_progress_fn progress, void *arg, struct err *err)
{
	struct pollfd p[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
	struct lines lines[2] = {{.len = 0}};
	char last[LINE_MAX_BYTES] = "no reason given";
	int64_t until = clock_real_now_ms() + BUILD_MAX_MS;
	int status;

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		int64_t left = until - clock_real_now_ms();

		if (left <= 0 || (poll(p, 2, (int)left) < 0 && errno != EINTR)) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			return err_set(
			    err, ERR_UNAVAILABLE, "the builder took over half an hour");
		}
		for (int i = 0; i < 2; i++)
			if (p[i].revents && !pump(p[i].fd, &lines[i], last,
						i == 0 ? progress : NULL, arg))
				p[i].fd = -1;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	kill(-pid, SIGKILL); /* what it may have left in the background */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, ERR_UNAVAILABLE, "%s", last);
}

static int
run_child(void (*fn)(void *arg), void *fn_arg, image_progress_fn progress, void *arg,
    struct err *err)
{
	AUTO_CLOSE int out_r = -1;
	AUTO_CLOSE int err_r = -1;
	int o[2], e[2];
	pid_t pid;

	if (pipe2(o, O_CLOEXEC) < 0)
		return err_errno(err, errno, "start the builder");
	out_r = o[0];
	if (pipe2(e, O_CLOEXEC) < 0) {
		close(o[1]);
		return err_errno(err, errno, "start the builder");
	}
	err_r = e[0];
	pid = fork();
	if (pid == 0) {
		become_child(o[1], e[1]);
		fn(fn_arg);
		_exit(127);
	}
	close(o[1]);
	close(e[1]);
	if (pid < 0)
		return err_errno(err, errno, "start the builder");
	return watch_builder(pid, (int[]){out_r, err_r}, progress, arg, err);
}

static void
no_progress(void *arg, unsigned percent, const char *text)
{
}

int
image_run_child(void (*fn)(void *arg), void *arg, struct err *err)
{
	return run_child(fn, arg, no_progress, NULL, err);
}

void
image_new_version(char out[LAUNCHER_VERSION_MAX])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(out, LAUNCHER_VERSION_MAX, "%Y%m%dT%H%M%SZ", &tm);
}

int
image_publish(int image_fd, const char *version, struct err *err)
{
	(void)unlinkat(image_fd, ".current", 0);
	if (renameat(image_fd, IMAGE_BUILDING, image_fd, version) < 0 ||
	    symlinkat(version, image_fd, ".current") < 0 ||
	    renameat(image_fd, ".current", image_fd, "current") < 0)
		return err_errno(err, errno, "publish version '%s'", version);
	return 0;
}

int
image_build(const struct launcher *l, const char *name, image_progress_fn progress,
    void *arg, char ret_version[LAUNCHER_VERSION_MAX], struct err *err)
{
	AUTO_CLOSE int image = -1;
	AUTO_FREE char *out = NULL;
	char version[LAUNCHER_VERSION_MAX];
	struct builder b = {.program = l->image_builder, .name = name};
	struct err ignored;

	if (!l->image_builder)
		return err_set(
		    err, ERR_UNAVAILABLE, "build image '%s': there is no builder", name);
	if (dir_open_at(l->images_fd, name, 0755, &image, err) < 0)
		return -1;
	if (flock(image, LOCK_EX | LOCK_NB) < 0)
		return err_set(
		    err, ERR_CONFLICT, "image '%s' is being built already", name);
	image_new_version(version);
	if (tree_remove_at(image, IMAGE_BUILDING, err) < 0)
		return err_wrap(err, "remove an unfinished build");
	image_remove_unused(l, name, image);
	if (mkdirat(image, IMAGE_BUILDING, 0755) < 0)
		return err_errno(err, errno, "make a directory to build in");
	if (asprintf(&out, "%s/images/%s/" IMAGE_BUILDING, l->state_path, name) < 0)
		return err_set(err, ERR_UNAVAILABLE, "out of memory");
	b.out = out;
	if (run_child(exec_builder, &b, progress, arg, err) < 0 ||
	    image_publish(image, version, err) < 0) {
		err_wrap(err, "build image '%s'", name);
		if (tree_remove_at(image, IMAGE_BUILDING, &ignored) < 0)
			log_warn("%s; the next build tries again", ignored.msg);
		return -1;
	}
	memcpy(ret_version, version, sizeof(version));
	return 0;
}

struct user_search {
	const struct launcher *l;
	const char *image;
	const char *version;
	char user[LAUNCHER_ID_MAX];
};

/* Reads records without their lock: whoever is creating a machine of this version holds the version's. */
static int
uses(void *arg, const char *id)
{
	struct user_search *s = arg;
	struct record r;
	struct err err;
	AUTO_CLOSE int fd = openat(
	    s->l->machines_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || record_read(fd, &r, &err) < 0 || strcmp(r.image, s->image) != 0 ||
	    strcmp(r.image_version, s->version) != 0)
		return 0;
	(void)snprintf(s->user, sizeof(s->user), "%s", id);
	return 1;
}

int
image_remove(
    const struct launcher *l, const char *name, const char *version, struct err *err)
{
	AUTO_CLOSE int image =
	    openat(l->images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *trash = NULL;
	char current[LAUNCHER_VERSION_MAX];
	struct user_search s = {.l = l, .image = name, .version = version};

	fd = image < 0 ? -1 : open_locked(image, version, LOCK_EX | LOCK_NB);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 && errno != EWOULDBLOCK)
		return err_errno(
		    err, errno, "open image '%s' version '%s'", name, version);
	if (fd < 0)
		return err_set(err, ERR_CONFLICT, "a machine is being made of '%s' '%s'",
		    name, version);
	if (current_version(image, current) == 0 && strcmp(current, version) == 0)
		return err_set(err, ERR_CONFLICT, "'%s' is the current version of '%s'",
		    version, name);
	if (machine_each(l, uses, &s) != 0)
		return err_set(err, ERR_CONFLICT, "machine '%s' uses '%s' '%s'", s.user,
		    name, version);
	if (asprintf(&trash, "%s@%s", name, version) < 0)
		return err_set(err, ERR_UNAVAILABLE, "out of memory");
	if (renameat(image, version, l->trash_fd, trash) < 0)
		return err_errno(
		    err, errno, "move image '%s' '%s' to the trash", name, version);
	return 0;
}

/* So that there are seldom more than two: the one in use and the one before it. */
void
image_remove_unused(const struct launcher *l, const char *name, int image)
{
	int copy = openat(image, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	struct err err;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((e = readdir(dir)))
		if (e->d_type == DT_DIR && name_valid(e->d_name) &&
		    image_remove(l, name, e->d_name, &err) < 0)
			log_debug("image '%s': %s", name, err.msg);
	closedir(dir);
}
