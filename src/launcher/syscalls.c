/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/syscalls.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

#define NAMESPACE_FLAGS                                                                  \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |   \
	    CLONE_NEWPID | CLONE_NEWNET | 0x80 /* CLONE_NEWTIME */)

/* Docker's list of 2024 without what needs capabilities that machines do not have. Names that
   libseccomp or the architecture does not know are skipped. */
static const char *const allowed[] = {"_llseek", "_newselect", "accept", "accept4",
    "access", "adjtimex", "alarm", "arch_prctl", "bind", "brk", "cachestat", "capget",
    "capset", "chdir", "chmod", "chown", "chroot", "clock_adjtime", "clock_getres",
    "clock_gettime", "clock_nanosleep", "close", "close_range", "connect",
    "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group",
    "faccessat", "faccessat2", "fadvise64", "fallocate", "fanotify_mark", "fchdir",
    "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync",
    "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat",
    "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue", "futex_wait",
    "futex_waitv", "futex_wake", "futimesat", "get_mempolicy", "get_robust_list",
    "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "geteuid",
    "getgid", "getgroups", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid",
    "getppid", "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit",
    "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday",
    "getuid", "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1",
    "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr", "lremovexattr",
    "lseek", "lsetxattr", "lstat", "madvise", "map_shadow_stack", "mbind", "membarrier",
    "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat",
    "mlock", "mlock2", "mlockall", "mmap", "modify_ldt", "mprotect", "mq_getsetattr",
    "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap",
    "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall",
    "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat", "openat2",
    "pause", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "prctl", "pread64",
    "preadv", "preadv2", "prlimit64", "process_madvise", "process_mrelease",
    "process_vm_readv", "process_vm_writev", "pselect6", "ptrace", "pwrite64", "pwritev",
    "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "recvfrom",
    "recvmmsg", "recvmsg", "remap_file_pages", "removexattr", "rename", "renameat",
    "renameat2", "restart_syscall", "riscv_flush_icache", "rmdir", "rseq", "rt_sigaction",
    "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl",
    "semget", "semop", "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto",
    "set_mempolicy", "set_mempolicy_home_node", "set_robust_list", "set_thread_area",
    "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer",
    "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
    "setrlimit", "setsid", "setsockopt", "setuid", "setxattr", "shmat", "shmctl", "shmdt",
    "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "socketpair", "splice",
    "stat", "statfs", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
    "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create",
    "timerfd_gettime", "timerfd_settime", "times", "tkill", "truncate", "umask", "uname",
    "unlink", "unlinkat", "utime", "utimensat", "utimes", "vfork", "vmsplice", "wait4",
    "waitid", "waitpid", "write", "writev"};

static const char *const refused[] = {"acct", "add_key", "bpf", "clock_settime",
    "create_module", "delete_module", "fanotify_init", "finit_module", "get_kernel_syms",
    "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm",
    "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie",
    "migrate_pages", "move_pages", "nfsservctl", "open_by_handle_at", "perf_event_open",
    "query_module", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname",
    "sethostname", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "syslog",
    "_sysctl", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old"};

/* Allowed with nesting, else refused. */
static const char *const nesting_calls[] = {"fsconfig", "fsmount", "fsopen", "fspick",
    "mount", "mount_setattr", "move_mount", "open_tree", "pivot_root", "setns", "umount",
    "umount2", "unshare"};

static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};

/* 0 (Linux), UNAME26, and the same with ADDR_NO_RANDOMIZE for debuggers; 0xffffffff asks. */
static const uint32_t personalities[] = {
    0, 8, 0x20000, 0x20008, 0x40000, 0x40008, 0xffffffff};

static int
add(scmp_filter_ctx ctx, uint32_t action, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int nr = seccomp_syscall_resolve_name(list[i]);
		int rc = nr < 0 ? 0 : seccomp_rule_add(ctx, action, nr, 0);

		if (rc < 0)
			return rc;
	}
	return 0;
}

#define ADD(ctx, action, list) add(ctx, action, list, sizeof(list) / sizeof((list)[0]))

static int
add_by_argument(scmp_filter_ctx ctx, bool nesting)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(families) / sizeof(families[0]); i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
		    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	for (size_t i = 0;
	     rc == 0 && i < sizeof(personalities) / sizeof(personalities[0]); i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
		    SCMP_A0(SCMP_CMP_EQ, personalities[i], 0));
	if (rc < 0 || nesting)
		return rc;
	/* clone3's flags are behind a pointer, which no filter can read: glibc falls back on ENOSYS,
	   which is what an unlisted call gets. */
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
	    SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACE_FLAGS, 0));
}

static int
add_all(scmp_filter_ctx ctx, bool nesting)
{
	static const char *const clones[] = {"clone", "clone3"};
	int rc;

	if ((rc = seccomp_attr_set(
		 ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS))) < 0 ||
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2)) < 0 ||
	    (rc = ADD(ctx, SCMP_ACT_ALLOW, allowed)) < 0 ||
	    (rc = ADD(ctx, SCMP_ACT_ERRNO(EPERM), refused)) < 0 ||
	    (rc = add_by_argument(ctx, nesting)) < 0)
		return rc;
	if (nesting && (rc = ADD(ctx, SCMP_ACT_ALLOW, clones)) < 0)
		return rc;
	return ADD(ctx, nesting ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM), nesting_calls);
}

/* libseccomp hands its result to a descriptor only. */
static int export(scmp_filter_ctx ctx, struct syscalls_filter *ret)
{
	AUTO_CLOSE int fd = memfd_create("filter", MFD_CLOEXEC);
	AUTO_FREE void *code = NULL;
	struct stat st;
	int rc;

	if (fd < 0)
		return -errno;
	rc = seccomp_export_bpf(ctx, fd);
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0)
		return -errno;
	code = xmalloc((size_t)st.st_size);
	if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size)
		return -EIO;
	ret->n = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
	ret->code = TAKE(code);
	return 0;
}

int
syscalls_build(bool nesting, struct syscalls_filter *ret, struct err *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int rc = ctx ? add_all(ctx, nesting) : -ENOMEM;

	if (rc == 0)
		rc = export(ctx, ret);
	seccomp_release(ctx);
	return rc == 0 ? 0 : err_errno(err, -rc, "compile the list of system calls");
}

void
syscalls_fini(struct syscalls_filter *f)
{
	free(TAKE(f->code));
}

int
syscalls_load(const struct syscalls_filter *f)
{
	struct sock_fprog prog = {.len = f->n, .filter = f->code};

	/* SPEC_ALLOW: before 5.16 a filter also turned the costly mitigations on. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		&prog) < 0)
		return errno;
	return 0;
}
