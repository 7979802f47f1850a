/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Run as root in a machine: tries one way out after the other and prints "NAME ok" where it worked or
 * "NAME ERRNO". Static, so that it runs in any image. `escape_probe HOSTPID` tries them all;
 * `memory MIB`, `forks N` and `burn SECONDS` try to go over the limits.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void
say(const char *name, long rc)
{
	printf("%s %s\n", name, rc >= 0 ? "ok" : strerrorname_np(errno));
	fflush(stdout);
}

/* In a child, so that a success changes nothing for the next try. */
static void
try_unshare(const char *name, int flags)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(flags) == 0 ? 0 : errno);
	waitpid(pid, &status, 0);
	errno = WEXITSTATUS(status);
	say(name, errno == 0 ? 0 : -1);
}

static void
try_write(const char *name, const char *path)
{
	char old[256];
	int fd = open(path, O_RDWR);
	ssize_t n = fd < 0 ? -1 : read(fd, old, sizeof(old));

	if (fd >= 0 && n > 0 && lseek(fd, 0, SEEK_SET) == 0)
		say(name, write(fd, old, (size_t)n)); /* what is there already */
	else if (fd >= 0)
		say(name, write(fd, "", 1));
	else
		say(name, -1);
	if (fd >= 0)
		close(fd);
}

static void
try_open(const char *name, const char *path, int flags)
{
	int fd = open(path, flags);

	say(name, fd);
	if (fd >= 0)
		close(fd);
}

static void
try_devices(void)
{
	unlink("/root/dev");
	say("mknod-block", mknod("/root/dev", S_IFBLK | 0600, makedev(254, 0)));
	unlink("/root/dev");
	say("mknod-mem", mknod("/root/dev", S_IFCHR | 0600, makedev(1, 1)));
	unlink("/root/dev");
	try_open("open-mem", "/dev/mem", O_RDONLY);
	try_open("open-kmsg", "/dev/kmsg", O_RDONLY);
	try_open("open-disk", "/dev/vda", O_RDONLY);
	try_open("open-loop", "/dev/loop-control", O_RDONLY);
	try_open("open-fuse", "/dev/fuse", O_RDWR);
}

static void
try_namespaces(void)
{
	int fd = open("/proc/1/ns/mnt", O_RDONLY);
	long pid;

	try_unshare("unshare-user", CLONE_NEWUSER);
	try_unshare("unshare-mount", CLONE_NEWNS);
	try_unshare("unshare-net", CLONE_NEWNET);
	try_unshare("unshare-cgroup", CLONE_NEWCGROUP);
	say("setns", setns(fd, 0));
	pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	say("clone-user", pid);
	say("clone3", syscall(SYS_clone3, NULL, 0));
}

static void
try_mounts(void)
{
	say("mount-tmpfs", mount("x", "/mnt", "tmpfs", 0, NULL));
	say("mount-proc", mount("x", "/mnt", "proc", 0, NULL));
	say("remount-proc-sys",
	    mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
	say("umount-mask", umount2("/proc/timer_list", MNT_DETACH));
	say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	say("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
	say("pivot_root", syscall(SYS_pivot_root, "/none", "/none"));
	say("open_by_handle_at",
	    syscall(SYS_open_by_handle_at, AT_FDCWD, "12345678901234567890", 0));
}

static void
try_kernel(void)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY,
	    .key_size = 4,
	    .value_size = 4,
	    .max_entries = 1};
	struct perf_event_attr perf = {.size = sizeof(perf), .type = PERF_TYPE_SOFTWARE};
	struct timeval tv = {.tv_usec = -1}; /* not a time: EINVAL for who may set it */
	struct timespec ts = {.tv_nsec = -1};

	say("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
	say("perf_event_open", syscall(SYS_perf_event_open, &perf, 0, -1, -1, 0));
	say("keyctl",
	    syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	say("add_key",
	    syscall(SYS_add_key, "user", "x", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	say("userfaultfd", syscall(SYS_userfaultfd, 0));
	say("io_uring", syscall(SYS_io_uring_setup, 1, NULL));
	say("init_module", syscall(SYS_init_module, "x", 1, ""));
	say("finit_module", syscall(SYS_finit_module, -1, "", 0));
	say("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	say("settimeofday", syscall(SYS_settimeofday, &tv, NULL));
	say("clock_settime", syscall(SYS_clock_settime, CLOCK_REALTIME, &ts));
	say("sethostname", sethostname("x", 1));
	say("swapon", swapon("/root/none", 0));
	say("reboot",
	    syscall(SYS_reboot, 0, 0, 0, NULL)); /* wrong magic: harmless where allowed */
	say("syslog", syscall(SYS_syslog, 3, (char[64]){0}, 64));
	say("socket-vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
	say("socket-alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
#ifdef __x86_64__
	say("iopl", syscall(SYS_iopl, 3));
	long rc;
	__asm__ volatile("int $0x80"
			 : "=a"(rc)
			 : "a"(20L)
			 : "memory", "r8", "r9", "r10", "r11");
	errno = rc < 0 ? (int)-rc : 0;
	say("call-32bit", rc < 0 ? -1 : 0);
	say("call-x32", syscall(0x40000000 | 39));
#endif
}

static void
try_host(pid_t host)
{
	struct rlimit r;

	say("kill-host", kill(host, 0));
	say("ptrace-host", ptrace(PTRACE_ATTACH, host, NULL, NULL));
	say("pidfd-host", syscall(SYS_pidfd_open, host, 0));
	try_open("init-exe-write", "/proc/1/exe", O_WRONLY);
	try_write("core_pattern", "/proc/sys/kernel/core_pattern");
	try_write("modprobe", "/proc/sys/kernel/modprobe");
	try_write("swappiness", "/proc/sys/vm/swappiness");
	try_write("ip_forward", "/proc/sys/net/ipv4/ip_forward");
	try_open("sysrq", "/proc/sysrq-trigger", O_WRONLY);
	try_open("kcore", "/proc/kcore", O_WRONLY);
	try_open("uevent-helper", "/sys/kernel/uevent_helper", O_WRONLY);
	try_open("sys-net", "/sys/class/net/lo/mtu", O_WRONLY);
	say("cgroup-mkdir", mkdir("/sys/fs/cgroup/x", 0755));
	say("cgroup-move", open("/sys/fs/cgroup/cgroup.procs", O_WRONLY));
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_max++;
	say("raise-rlimit", setrlimit(RLIMIT_NOFILE, &r));
	say("nice", setpriority(PRIO_PROCESS, 0, -10));
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	say("oom_score_adj", fd < 0 ? -1 : write(fd, "-999", 4));
}

static int
eat_memory(long mib)
{
	for (long i = 0; i < mib; i++) {
		char *p = malloc(1 << 20);

		if (!p)
			return 1;
		memset(p, 1, 1 << 20);
	}
	puts("ate it all");
	return 0;
}

static int
fork_many(long n)
{
	long made = 0;

	for (; made < n; made++) {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0)
			break;
	}
	printf("%ld\n", made);
	fflush(stdout);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
	return 0;
}

/* Two processes that burn for so long; prints the processor time they got. */
static int
burn(double seconds)
{
	struct rusage u;
	struct timespec a, b;

	for (int i = 0; i < 2; i++)
		if (fork() == 0) {
			clock_gettime(CLOCK_MONOTONIC, &a);
			do
				clock_gettime(CLOCK_MONOTONIC, &b);
			while ((double)(b.tv_sec - a.tv_sec) +
				   (double)(b.tv_nsec - a.tv_nsec) / 1e9 <
			       seconds);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	getrusage(RUSAGE_CHILDREN, &u);
	printf("%.3f\n", (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			     (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "memory") == 0)
		return eat_memory(strtol(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "forks") == 0)
		return fork_many(strtol(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "burn") == 0)
		return burn(strtod(argv[2], NULL));
	if (argc != 2)
		return 2;
	try_devices();
	try_namespaces();
	try_mounts();
	try_kernel();
	try_host((pid_t)strtol(argv[1], NULL, 10));
	return 0;
}
