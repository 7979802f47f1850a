/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "launcher/file.h"

#define HOST_LEAF "hearth-host"
#define PERIOD_US 100000

static const char *const names[CGROUP_MAX] = {"memory", "pids", "cpu", "devices"};

/* What a machine may open: null zero full random urandom tty ptmx and its own terminals. */
static const char *const devices[] = {"c 1:3 rw", "c 1:5 rw", "c 1:7 rw", "c 1:8 rw",
    "c 1:9 rw", "c 5:0 rw", "c 5:2 rw", "c 136:* rw"};

/* Is `word` one of the words of `list`, which are separated by one of `separators`? */
static bool
has_word(const char *list, const char *word, const char *separators)
{
	size_t n = strlen(word);

	for (const char *p = list; *p != '\0'; p += strspn(p, separators)) {
		size_t len = strcspn(p, separators);

		if (len == n && memcmp(p, word, n) == 0)
			return true;
		p += len;
	}
	return false;
}

static int
open_dir(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A line of mountinfo: "36 35 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory". Opens the
   hierarchies' roots, the first mount of each. */
static void
take_mount(char *line, int root_v1[CGROUP_MAX], int *root_v2)
{
	char *tail = strstr(line, " - "), *field = line, *path = NULL;
	char *type, *options;

	for (int i = 0; i < 5 && field; i++)
		path = strsep(&field, " ");
	if (!tail || !path)
		return;
	tail += 3;
	type = strsep(&tail, " ");
	(void)strsep(&tail, " ");
	options = strsep(&tail, "\n");
	if (!options)
		return;
	if (strcmp(type, "cgroup2") == 0 && *root_v2 < 0)
		*root_v2 = open_dir(AT_FDCWD, path);
	if (strcmp(type, "cgroup") != 0)
		return;
	for (int i = 0; i < CGROUP_MAX; i++)
		if (root_v1[i] < 0 && has_word(options, names[i], ","))
			root_v1[i] = open_dir(AT_FDCWD, path);
}

static void
find_roots(int root_v1[CGROUP_MAX], int *root_v2)
{
	AUTO_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	AUTO_FREE char *line = NULL;
	size_t cap = 0;

	*root_v2 = -1;
	for (int i = 0; i < CGROUP_MAX; i++)
		root_v1[i] = -1;
	while (f && getline(&line, &cap, f) > 0)
		take_mount(line, root_v1, root_v2);
}

/* A container's own root group may hold processes, which bars controllers for its children: they move
   to a leaf. (The root of a host's hierarchy is exempt and never gets here.) */
static void
move_to_leaf(int root)
{
	AUTO_CLOSE int leaf = -1;
	AUTO_CLOSE int procs = -1;
	AUTO_FCLOSE FILE *f = NULL;
	char pid[32];

	(void)mkdirat(root, HOST_LEAF, 0755);
	leaf = open_dir(root, HOST_LEAF);
	procs = openat(root, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	f = procs < 0 ? NULL : fdopen(TAKE_FD(procs), "re");
	while (f && fgets(pid, sizeof(pid), f)) {
		int e = file_put_at(
		    leaf, "cgroup.procs", pid); /* kernel threads refuse: fine */

		(void)e;
	}
}

static void
enable_v2(int dir, bool may_move, bool has[CGROUP_MAX])
{
	char available[512];

	if (file_get_at(dir, "cgroup.controllers", available, sizeof(available)) != 0)
		return;
	for (int i = 0; i < CGROUP_MAX; i++) {
		char word[16];
		int e;

		if (!has_word(available, names[i], " \n"))
			continue;
		(void)snprintf(word, sizeof(word), "+%s", names[i]);
		e = file_put_at(dir, "cgroup.subtree_control", word);
		if (e == EBUSY && may_move) {
			move_to_leaf(dir);
			e = file_put_at(dir, "cgroup.subtree_control", word);
		}
		has[i] = e == 0;
	}
}

/* Only on a fresh group: denying takes the devices from living machines below, for good. */
static int
allow_devices(int dir, struct err *err)
{
	char list[1024];
	int e = file_get_at(dir, "devices.list", list, sizeof(list));

	if (e != 0 || list[0] != 'a')
		return 0;
	e = file_put_at(dir, "devices.deny", "a");
	for (size_t i = 0; e == 0 && i < sizeof(devices) / sizeof(devices[0]); i++)
		e = file_put_at(dir, "devices.allow", devices[i]);
	return e == 0 ? 0 : err_errno(err, e, "set the list of allowed devices");
}

static void
find_groups(const char *name, struct cgroups *ret, bool make)
{
	int root_v1[CGROUP_MAX], root_v2;
	bool ignored[CGROUP_MAX] = {false};

	*ret = (struct cgroups){.v2 = -1};
	(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
	find_roots(root_v1, &root_v2);
	for (int i = 0; i < CGROUP_MAX; i++) {
		ret->v1[i] = -1;
		if (root_v1[i] < 0)
			continue;
		if (make)
			(void)mkdirat(root_v1[i], name, 0755);
		ret->v1[i] = open_dir(root_v1[i], name);
		ret->needs_attach = ret->needs_attach || ret->v1[i] >= 0;
		close(root_v1[i]);
	}
	if (root_v2 < 0)
		return;
	if (make) {
		(void)mkdirat(root_v2, name, 0755);
		enable_v2(root_v2, true, ignored);
	}
	ret->v2 = open_dir(root_v2, name);
	if (make && ret->v2 >= 0)
		enable_v2(ret->v2, false, ret->v2_has);
	close(root_v2);
}

void
cgroup_find(const char *name, struct cgroups *ret)
{
	find_groups(name, ret, false);
}

int
cgroup_setup(const char *name, struct cgroups *ret, struct err *err)
{
	struct cgroups c;

	find_groups(name, &c, true);
	for (int i = CGROUP_MEMORY; i <= CGROUP_PIDS; i++)
		if (c.v1[i] < 0 && !c.v2_has[i]) {
			err_set(err, ERR_UNAVAILABLE,
			    "machines cannot be limited: no cgroup controller '%s'",
			    names[i]);
			return err_hint(err,
			    "mount it, or boot with cgroup_enable=%s; hearth must be "
			    "root",
			    names[i]);
		}
	if (c.v1[CGROUP_DEVICES] >= 0 && allow_devices(c.v1[CGROUP_DEVICES], err) < 0)
		return -1;
	*ret = c;
	return 0;
}

bool
cgroup_is_set_up(const struct cgroups *c)
{
	bool all = c->v2 < 0 || faccessat(c->v2, "cgroup.procs", F_OK, 0) == 0;

	for (int i = 0; i < CGROUP_MAX; i++)
		all = all &&
		      (c->v1[i] < 0 || faccessat(c->v1[i], "cgroup.procs", F_OK, 0) == 0);
	return all;
}

/* Sets a limit in the group `dir`; a file that the kernel does not have is an error unless optional. */
static int
set(int dir, const char *file, uint64_t value, bool optional, struct err *err)
{
	char text[32];
	int e;

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	e = file_put_at(dir, file, text);
	if (e == 0 || (e == ENOENT && optional))
		return 0;
	return err_errno(err, e, "set %s to %s", file, text);
}

static int
limit_v1(
    int dir, enum cgroup_controller which, const struct cgroup_limits *l, struct err *err)
{
	switch (which) {
	case CGROUP_MEMORY:
		if (set(dir, "memory.limit_in_bytes", l->memory_bytes, false, err) < 0)
			return -1;
		return set(
		    dir, "memory.memsw.limit_in_bytes", l->memory_bytes, true, err);
	case CGROUP_PIDS:
		return set(dir, "pids.max", l->pids_max, false, err);
	case CGROUP_CPU:
		if (l->cpu_milli == 0)
			return 0;
		if (set(dir, "cpu.cfs_period_us", PERIOD_US, false, err) < 0)
			return -1;
		return set(dir, "cpu.cfs_quota_us",
		    (uint64_t)l->cpu_milli * (PERIOD_US / 1000), false, err);
	default:
		return 0;
	}
}

static int
limit_v2(
    int dir, const bool has[CGROUP_MAX], const struct cgroup_limits *l, struct err *err)
{
	char quota[48];
	int e;

	if (has[CGROUP_MEMORY] &&
	    (set(dir, "memory.max", l->memory_bytes, false, err) < 0 ||
		set(dir, "memory.swap.max", 0, true, err) < 0))
		return -1;
	if (has[CGROUP_PIDS] && set(dir, "pids.max", l->pids_max, false, err) < 0)
		return -1;
	if (!has[CGROUP_CPU] || l->cpu_milli == 0)
		return 0;
	(void)snprintf(quota, sizeof(quota), "%" PRIu64 " %d",
	    (uint64_t)l->cpu_milli * (PERIOD_US / 1000), PERIOD_US);
	e = file_put_at(dir, "cpu.max", quota);
	return e == 0 ? 0 : err_errno(err, e, "set cpu.max to %s", quota);
}

static int
make_group(int parent, const char *id, int *ret_fd, struct err *err)
{
	if (mkdirat(parent, id, 0755) < 0 && errno != EEXIST)
		return err_errno(err, errno, "make cgroup '%s'", id);
	*ret_fd = open_dir(parent, id);
	return *ret_fd >= 0 ? 0 : err_errno(err, errno, "open cgroup '%s'", id);
}

int
cgroup_create(const struct cgroups *c, const char *id, const struct cgroup_limits *limits,
    int *ret_v2, struct err *err)
{
	AUTO_CLOSE int v2 = -1;

	if (limits->cpu_milli != 0 && c->v1[CGROUP_CPU] < 0 && !c->v2_has[CGROUP_CPU])
		return err_set(err, ERR_UNAVAILABLE,
		    "limit the CPU: the host has no cgroup controller for it");
	for (int i = 0; i < CGROUP_MAX; i++) {
		AUTO_CLOSE int dir = -1;

		if (c->v1[i] >= 0 &&
		    (make_group(c->v1[i], id, &dir, err) < 0 ||
			limit_v1(dir, (enum cgroup_controller)i, limits, err) < 0))
			return -1;
	}
	if (c->v2 >= 0 && (make_group(c->v2, id, &v2, err) < 0 ||
			      limit_v2(v2, c->v2_has, limits, err) < 0))
		return -1;
	*ret_v2 = c->needs_attach ? -1 : TAKE_FD(v2);
	return 0;
}

void
cgroup_attach_prepare(const struct cgroups *c)
{
	for (int i = 0; i < CGROUP_MAX; i++)
		if (c->v1[i] >= 0 && file_put_at(c->v1[i], "cgroup.procs", "0") == 0)
			return;
}

static int
attach(int parent, const char *id, pid_t pid, const char *what, struct err *err)
{
	AUTO_CLOSE int dir = open_dir(parent, id);
	char text[16];
	int e;

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	e = dir < 0 ? errno : file_put_at(dir, "cgroup.procs", text);
	return e == 0 ? 0 : err_errno(err, e, "join the %s cgroup", what);
}

int
cgroup_attach(const struct cgroups *c, const char *id, pid_t pid, struct err *err)
{
	for (int i = 0; i < CGROUP_MAX; i++)
		if (c->v1[i] >= 0 && attach(c->v1[i], id, pid, names[i], err) < 0)
			return -1;
	return c->v2 < 0 ? 0 : attach(c->v2, id, pid, "unified", err);
}

static void
remove_ours(const struct cgroups *c)
{
	char path[CGROUP_NAME_MAX + 3];

	(void)snprintf(path, sizeof(path), "../%s", c->name);
	if (c->v2 >= 0)
		(void)unlinkat(c->v2, path, AT_REMOVEDIR);
	for (int i = 0; i < CGROUP_MAX; i++)
		if (c->v1[i] >= 0)
			(void)unlinkat(c->v1[i], path, AT_REMOVEDIR);
}

static int
remove_group(int parent, const char *id, struct err *err)
{
	for (int wait_ms = 1;; wait_ms *= 2) {
		struct timespec ts = {.tv_nsec = wait_ms * 1000000L};

		if (unlinkat(parent, id, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || wait_ms > 600)
			return err_errno(err, errno, "remove cgroup '%s'", id);
		nanosleep(&ts, NULL);
	}
}

int
cgroup_remove(const struct cgroups *c, const char *id, struct err *err)
{
	if (c->v2 >= 0) {
		AUTO_CLOSE int dir = open_dir(c->v2, id);
		int e = dir < 0 ? 0 : file_put_at(dir, "cgroup.kill", "1");

		(void)
		    e; /* older kernels have no cgroup.kill; PID 1's death has ended all of them */
		if (remove_group(c->v2, id, err) < 0)
			return -1;
	}
	for (int i = 0; i < CGROUP_MAX; i++)
		if (c->v1[i] >= 0 && remove_group(c->v1[i], id, err) < 0)
			return -1;
	return 0;
}

/* What the group's state is, which follows cgroup.freeze when its last process has stopped. */
static bool
says_frozen(int group)
{
	char events[128];

	return file_get_at(group, "cgroup.events", events, sizeof(events)) == 0 &&
	       strstr(events, "frozen 1") != NULL;
}

int
cgroup_freeze(const struct cgroups *c, const char *id, bool freeze, struct err *err)
{
	AUTO_CLOSE int group = c->v2 < 0 ? -1 : open_dir(c->v2, id);
	int e;

	if (c->v2 < 0)
		return err_set(err, ERR_UNAVAILABLE,
		    "halt a machine: the host has no cgroups of version 2");
	e = group < 0 ? errno : file_put_at(group, "cgroup.freeze", freeze ? "1" : "0");
	if (e != 0)
		return err_errno(err, e, "halt machine '%s'", id);
	for (int wait_ms = 1; says_frozen(group) != freeze; wait_ms *= 2) {
		struct timespec ts = {.tv_nsec = wait_ms * 1000000L};

		if (wait_ms > 1000)
			return err_set(err, ERR_UNAVAILABLE,
			    "machine '%s' does not halt: is its disk stuck?", id);
		nanosleep(&ts, NULL);
	}
	return 0;
}

bool
cgroup_is_frozen(const struct cgroups *c, const char *id)
{
	AUTO_CLOSE int group = c->v2 < 0 ? -1 : open_dir(c->v2, id);
	char value[8];

	return group >= 0 &&
	       file_get_at(group, "cgroup.freeze", value, sizeof(value)) == 0 &&
	       value[0] == '1';
}

static void
kill_all_in(int group)
{
	char text[4096];
	char *at = text, *end;

	if (file_put_at(group, "cgroup.kill", "1") == 0 ||
	    file_get_at(group, "cgroup.procs", text, sizeof(text)) != 0)
		return;
	for (long pid; (pid = strtol(at, &end, 10)) > 1 && end != at; at = end)
		(void)kill((pid_t)pid, SIGKILL);
}

/* Of machines whose directories somebody has deleted by hand: no record says that they are there. */
static void
remove_strays(int ours)
{
	int again = open_dir(ours, ".");
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		AUTO_CLOSE int group = -1;
		struct err err;

		if (strncmp(e->d_name, "m-", 2) != 0 ||
		    (group = open_dir(ours, e->d_name)) < 0)
			continue;
		kill_all_in(group);
		if (remove_group(ours, e->d_name, &err) < 0)
			break; /* then ours stays, too */
	}
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
}

void
cgroup_teardown(const struct cgroups *c)
{
	if (c->v2 >= 0)
		remove_strays(c->v2);
	for (int i = 0; i < CGROUP_MAX; i++)
		if (c->v1[i] >= 0)
			remove_strays(c->v1[i]);
	remove_ours(c);
}

void
cgroup_close(const struct cgroups *c)
{
	if (c->v2 >= 0)
		close(c->v2);
	for (int i = 0; i < CGROUP_MAX; i++)
		if (c->v1[i] >= 0)
			close(c->v1[i]);
}
