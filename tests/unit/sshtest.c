/* SPDX-License-Identifier: Apache-2.0 */
#include "sshtest.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"

static char dir[64];

int
sshtest_enter(void **state)
{
	strcpy(dir, "/tmp/hearth-ssh-XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

int
sshtest_leave(void **state)
{
	if (chdir("/") < 0)
		return -1;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static char *
drain(int fd, size_t *ret_n)
{
	struct buf out = BUF_INIT(1 << 20);
	char chunk[4096];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		buf_add(&out, chunk, (size_t)n);
	assert_int_equal(n, 0);
	assert_false(out.overflow);
	if (ret_n)
		*ret_n = out.len;
	return buf_take(&out);
}

char *
sshtest_run(int *ret_status, const char *const argv[])
{
	int fds[2], status;
	char *out;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		setenv("TZ", "UTC", 1);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	out = drain(fds[0], NULL);
	close(fds[0]);
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	assert_true(WIFEXITED(status));
	*ret_status = WEXITSTATUS(status);
	return out;
}

char *
sshtest_keygen_argv(const char *const argv[])
{
	int status;
	char *out = sshtest_run(&status, argv);

	if (status != 0)
		fail_msg("ssh-keygen: exit %d: %s", status, out);
	return out;
}

void
sshtest_write(const char *name, const void *data, size_t n)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

char *
sshtest_read(const char *name, size_t *ret_n)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	char *text;

	assert_true(fd >= 0);
	text = drain(fd, ret_n);
	close(fd);
	return text;
}
