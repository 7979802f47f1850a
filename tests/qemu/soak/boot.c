/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The initramfs of the soak test's virtual machine: loads the modules that Debian's kernel needs for its
 * disk, mounts it, and becomes the init that is there. Debian's own initramfs would take an emulated
 * processor half a minute.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void
die(const char *what)
{
	printf("initramfs: %s: %s\n", what, strerror(errno));
	_exit(1); /* PID 1: the kernel panics, and with panic=-1 the machine ends */
}

/* By name, which says the order. */
static void
load_modules(void)
{
	struct dirent **list;
	int n = scandir("/modules", &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[300];
		int fd;

		if (list[i]->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/modules/%s", list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 ||
		    (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			die(path);
		close(fd);
	}
}

int
main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) < 0)
		die("mount /dev");
	load_modules();
	for (int tries = 0; mount("/dev/vda", "/root", "ext4", 0, NULL) < 0; tries++) {
		struct timespec ts = {.tv_nsec = 100000000};

		if (tries == 100)
			die("mount /dev/vda");
		nanosleep(&ts, NULL);
	}
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) < 0 || chdir("/root") < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		die("enter the disk");
	execl("/sbin/init", "/sbin/init", NULL);
	die("/sbin/init");
}
