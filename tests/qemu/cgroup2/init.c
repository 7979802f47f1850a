/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: on a host with control groups of version 2 only, which is what most have, launcher/cgroup.c finds
 * its place, holds machines to their limits and leaves nothing behind; at the root of the hierarchy and
 * in a delegated part of it, as containers and services get one.
 *
 * This is PID 1 of a virtual machine: `cgroup2.py` boots it. It prints TAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "launcher/cgroup.h"
#include "launcher/file.h"

#define TOP "/sys/fs/cgroup"
#define GROUP "hearth-test"
#define MIB (UINT64_C(1) << 20)
#define MEMORY (32 * MIB)
#define PIDS 20
#define CPU_MILLI 200

/* Shared by all processes of the test. */
static struct {
	int run;
	int failed;
} * total;
static const char *scene;

__attribute__((format(printf, 2, 3))) static bool
check(bool ok, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	total->run++;
	total->failed += ok ? 0 : 1;
	printf("%sok %d - %s: %s\n", ok ? "" : "not ", total->run, scene, what);
	return ok;
}

/* For what tells its reason in `err`. */
static bool
check_err(int result, const struct err *err, const char *what)
{
	if (!check(result == 0, "%s", what))
		printf("# %s\n", err->msg);
	return result == 0;
}

static void
pause_ms(int ms)
{
	struct timespec ts = {
	    .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

/* What a file holds; empty when it cannot be read. Valid until the next call but three. */
static const char *
text_of(const char *fmt, ...)
{
	static char texts[4][4096];
	static unsigned next;
	char path[256], *text = texts[next++ % 4];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (file_get_at(AT_FDCWD, path, text, sizeof(texts[0])) != 0)
		text[0] = '\0';
	return text;
}

/* The number behind "word " in the lines of a text; -1: no such line. */
static long long
number(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p ? 1 : 0)
		if (strncmp(p, word, n) == 0 && p[n] == ' ')
			return strtoll(p + n, NULL, 10);
	return -1;
}

static bool
put(const char *path, const char *text)
{
	return file_put_at(AT_FDCWD, path, text) == 0;
}

static bool
exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* A machine's first process, started as create.c starts it. */
static pid_t
start(int group_fd, int (*run)(void))
{
	struct clone_args args = {
	    .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_INTO_CGROUP,
	    .exit_signal = SIGCHLD,
	    .cgroup = (uint64_t)group_fd,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(run());
	return pid;
}

/* The exit status; 128 and the signal's number where it was killed; -1 when nothing was started. */
static int
ended(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int
idle(void)
{
	while (pause() < 0)
		;
	return 0;
}

/* One process of the machine takes too much; its PID 1 tells how that one ended. */
static int
hog(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (uint64_t n = 0; n < 4 * MEMORY; n += MIB) {
			char *p = malloc(MIB);

			if (!p)
				_exit(1);
			memset(p, (int)n | 1, MIB);
		}
		_exit(0);
	}
	return ended(pid);
}

static int
crowd(void)
{
	for (int n = 0; n < 3 * PIDS; n++) {
		pid_t pid = fork();

		if (pid == 0)
			idle();
		if (pid < 0)
			return errno == EAGAIN ? n : 255;
	}
	return 254;
}

static int64_t
clock_us(clockid_t which)
{
	struct timespec ts;

	clock_gettime(which, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

/* Percentage of the processor that it got. */
static int
spin(void)
{
	int64_t began = clock_us(CLOCK_MONOTONIC), now;

	do
		now = clock_us(CLOCK_MONOTONIC);
	while (now - began < 1000000);
	return (int)(clock_us(CLOCK_PROCESS_CPUTIME_ID) * 100 / (now - began));
}

static int
family(void)
{
	for (int n = 0; n < 5; n++)
		if (fork() == 0) {
			(void)setsid();
			(void)signal(SIGTERM, SIG_IGN);
			idle();
		}
	return idle();
}

static int
make(const struct cgroups *c, const char *id)
{
	struct cgroup_limits limits = {
	    .memory_bytes = MEMORY, .pids_max = PIDS, .cpu_milli = CPU_MILLI};
	struct err err = {0};
	int fd = -1;

	if (!check_err(
		cgroup_create(c, id, &limits, &fd, &err), &err, "make a machine's group"))
		return -1;
	check(fd >= 0, "its descriptor is given");
	return fd;
}

static bool
removed(const struct cgroups *c, const char *id)
{
	struct err err = {0};
	char path[128];

	(void)snprintf(path, sizeof(path), TOP "/" GROUP "/%s", id);
	if (cgroup_remove(c, id, &err) < 0)
		printf("# %s\n", err.msg);
	else if (!exists(path))
		return true;
	return false;
}

static void
test_setup(const struct cgroups *c)
{
	check(c->v2 >= 0 && !c->needs_attach && c->v1[CGROUP_MEMORY] < 0 &&
		  c->v1[CGROUP_PIDS] < 0,
	    "version 2 is used, and it alone");
	check(c->v2_has[CGROUP_MEMORY] && c->v2_has[CGROUP_PIDS] && c->v2_has[CGROUP_CPU],
	    "memory, pids and cpu are there");
	check(strstr(text_of(TOP "/" GROUP "/cgroup.subtree_control"), "memory") != NULL,
	    "they are enabled for machines");
}

static void
test_files(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "files");

	check(strcmp(text_of(TOP "/" GROUP "/files/memory.max"), "33554432\n") == 0,
	    "memory.max");
	check(strcmp(text_of(TOP "/" GROUP "/files/memory.swap.max"), "0\n") == 0,
	    "memory.swap.max");
	check(strcmp(text_of(TOP "/" GROUP "/files/pids.max"), "20\n") == 0, "pids.max");
	check(strcmp(text_of(TOP "/" GROUP "/files/cpu.max"), "20000 100000\n") == 0,
	    "cpu.max");
	check(removed(c, "files") && removed(c, "files"),
	    "an empty group goes; twice is fine");
}

static void
test_memory(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "hog");
	AUTO_CLOSE int other_fd = make(c, "other");
	pid_t other = start(other_fd, idle);
	int status = ended(start(fd, hog));
	const char *events = text_of(TOP "/" GROUP "/hog/memory.events");
	uint64_t peak = strtoull(text_of(TOP "/" GROUP "/hog/memory.peak"), NULL, 10);

	check(status == 128 + SIGKILL,
	    "who takes more memory is killed, PID 1 is not: %d", status);
	check(number(events, "oom_kill") == 1, "the kernel says so: oom_kill %lld",
	    number(events, "oom_kill"));
	check(peak > MEMORY / 2 && peak <= MEMORY,
	    "never more than the limit: %llu of %llu", (unsigned long long)peak,
	    (unsigned long long)MEMORY);
	check(waitpid(other, NULL, WNOHANG) == 0, "the other machine lives on");
	check(removed(c, "hog"), "its group goes");
	check(removed(c, "other") && ended(other) == 128 + SIGKILL,
	    "the other ends with its group");
}

static void
test_pids(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "crowd");
	int made = ended(start(fd, crowd));

	check(made == PIDS - 1, "fork is refused at the limit: %d and PID 1", made);
	check(number(text_of(TOP "/" GROUP "/crowd/pids.events"), "max") >= 1,
	    "the kernel says so");
	check(removed(c, "crowd"), "the group goes");
}

static void
test_cpu(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "spin");
	int got = ended(start(fd, spin));
	long long throttled =
	    number(text_of(TOP "/" GROUP "/spin/cpu.stat"), "nr_throttled");

	/* An emulated processor loses ticks: far from 20 and far from 100 is what can be told. */
	check(got >= 5 && got <= 50, "a fifth of a processor: %d %%", got);
	check(throttled >= 3, "throttled in %lld periods", throttled);
	check(removed(c, "spin"), "the group goes");
}

static void
test_frozen(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "frozen");
	pid_t pid = start(fd, family);
	long long frozen = 0;

	pause_ms(50);
	check(file_put_at(fd, "cgroup.freeze", "1") == 0, "freeze");
	for (int i = 0; i < 100 && frozen != 1; i++, pause_ms(10))
		frozen = number(text_of(TOP "/" GROUP "/frozen/cgroup.events"), "frozen");
	check(frozen == 1, "all of the machine is frozen");
	check(removed(c, "frozen") && ended(pid) == 128 + SIGKILL,
	    "a frozen machine ends with its group");
}

static void
test_attach(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "joined");
	struct err err = {0};
	pid_t pid = fork();

	if (pid == 0)
		idle();
	check_err(cgroup_attach(c, "joined", pid, &err), &err, "a process joins");
	check(strcmp(text_of("/proc/%d/cgroup", (int)pid), "0::/" GROUP "/joined\n") == 0,
	    "it is there");
	check(cgroup_attach(c, "nowhere", pid, &err) < 0, "no group, no joining: %s",
	    err.msg);
	check(removed(c, "joined") && ended(pid) == 128 + SIGKILL,
	    "it ends with the group");
}

/* A launcher comes and goes while machines live. */
static void
test_restart(const struct cgroups *c)
{
	AUTO_CLOSE int fd = make(c, "lives");
	pid_t pid = start(fd, idle);
	struct cgroups again, found;
	struct err err = {0};

	check_err(
	    cgroup_setup(GROUP, &again, &err), &err, "set up again beside a machine");
	check(again.v2_has[CGROUP_MEMORY] && again.v2_has[CGROUP_PIDS] &&
		  again.v2_has[CGROUP_CPU],
	    "with all controllers");
	cgroup_find(GROUP, &found);
	cgroup_teardown(&found);
	check(waitpid(pid, NULL, WNOHANG) == 0 && exists(TOP "/" GROUP "/lives"),
	    "tear-down leaves who lives alone");
	check(removed(&found, "lives") && ended(pid) == 128 + SIGKILL,
	    "what was found can end machines");
	cgroup_teardown(&found);
	check(!exists(TOP "/" GROUP), "tear-down leaves nothing");
	cgroup_find(GROUP, &found);
	check(found.v2 < 0 && !exists(TOP "/" GROUP), "looking makes nothing");
}

static void
test_all(void)
{
	struct cgroups c;
	struct err err = {0};

	if (!check_err(cgroup_setup(GROUP, &c, &err), &err, "set up"))
		return;
	test_setup(&c);
	test_files(&c);
	test_memory(&c);
	test_pids(&c);
	test_cpu(&c);
	test_frozen(&c);
	test_attach(&c);
	test_restart(&c);
}

/* Puts us into SLICE/SERVICE, which has the controllers, and makes it the root of what can be seen, with
   ourselves still in it: a container on a host of systemd. */
static bool
enter(const char *slice, const char *service, const char *controllers)
{
	char path[128], file[192];

	(void)snprintf(path, sizeof(path), TOP "/%s", slice);
	(void)mkdir(path, 0755);
	(void)snprintf(file, sizeof(file), "%s/cgroup.subtree_control", path);
	if (!put(TOP "/cgroup.subtree_control", controllers) || !put(file, controllers))
		return false;
	(void)snprintf(path, sizeof(path), TOP "/%s/%s", slice, service);
	(void)mkdir(path, 0755);
	(void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	return put(file, "0") && unshare(CLONE_NEWCGROUP | CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       umount2(TOP, MNT_DETACH) == 0 &&
	       mount("cgroup2", TOP, "cgroup2", 0, NULL) == 0;
}

static void
scene_delegated(void)
{
	pid_t bystander;

	if (!check(enter("system.slice", "hearthd.service", "+memory +pids +cpu"),
		"have a part delegated"))
		return;
	bystander = fork();
	if (bystander == 0)
		idle();
	/* Not so for "+pids", a threaded controller: that is taken, and then no group below takes a process. */
	check(!put(TOP "/cgroup.subtree_control", "+memory"), "processes are in the way");
	test_all();
	check(
	    strcmp(text_of("/proc/%d/cgroup", (int)bystander), "0::/hearth-host\n") == 0,
	    "others were moved to a leaf");
	check(
	    strcmp(text_of("/proc/self/cgroup"), "0::/hearth-host\n") == 0, "so were we");
	kill(bystander, SIGKILL);
	(void)ended(bystander);
}

static void
scene_without_memory(void)
{
	struct cgroups c = {.v2 = -7};
	struct err err = {0};

	if (!check(enter("poor.slice", "hearthd.service", "+pids +cpu"),
		"have a part without memory"))
		return;
	check(cgroup_setup(GROUP, &c, &err) < 0 && err.code == ERR_UNAVAILABLE &&
		  strstr(err.msg, "'memory'"),
	    "refused: %s", err.msg);
	check(strstr(err.hint, "cgroup_enable=memory") != NULL, "with what to do: %s",
	    err.hint);
	check(c.v2 == -7, "nothing was returned");
}

/* In a process of its own, because it changes where it stands. */
static void
play(const char *name, void (*fn)(void))
{
	pid_t pid;

	scene = name;
	pid = fork();
	if (pid == 0) {
		fn();
		_exit(0);
	}
	if (ended(pid) != 0)
		check(false, "the test itself died");
}

int
main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	total = mmap(NULL, sizeof(*total), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (total == MAP_FAILED || mount("proc", "/proc", "proc", 0, NULL) < 0 ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) < 0 ||
	    mount("cgroup2", TOP, "cgroup2", 0, NULL) < 0) {
		printf("Bail out! mounts: %s\n", strerror(errno));
	} else {
		play("host", test_all);
		play("delegated", scene_delegated);
		play("without memory", scene_without_memory);
		printf("1..%d\n", total->run);
		printf("# %s\n", total->failed == 0 ? "all passed" : "some failed");
	}
	(void)reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
