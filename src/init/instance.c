/* SPDX-License-Identifier: Apache-2.0 */
#include "init/instance.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init/child.h"
#include "init/loop.h"

#define CONSOLE "/dev/console"
#define CHUNK 4096

static const char *const env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    NULL,
};

static int file = -1; /* the console's */
static int fifo = -1;
static off_t size; /* of the file */

bool
instance_is(void)
{
	return file >= 0;
}

void
instance_init(int console_fd)
{
	file = console_fd;
	fcntl(file, F_SETFD, FD_CLOEXEC);
	size = lseek(file, 0, SEEK_END);
	if (size < 0)
		size = 0;
	if (mkfifo(CONSOLE, 0620) == 0)
		chmod(CONSOLE, 0620);
	/* for writing, too: or it would be at its end whenever the last writer has closed it */
	fifo = open(CONSOLE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

/* Without a console it boots all the same, in silence. */
void
instance_boot(bool again)
{
	const char *argv[] = {INSTANCE_BOOT, again ? "reboot" : "start", NULL};
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out = fifo < 0 ? -1 : open(CONSOLE, O_WRONLY | O_CLOEXEC);

	unlink(INSTANCE_UP);
	if (nothing >= 0)
		child_spawn(argv, env, "/", nothing, out < 0 ? nothing : out,
		    out < 0 ? nothing : out);
	if (out >= 0)
		close(out);
	if (nothing >= 0)
		close(nothing);
}

/* Keeps the last INSTANCE_CONSOLE_MAX bytes. */
static void
shorten(void)
{
	char chunk[CHUNK];
	off_t from = size - INSTANCE_CONSOLE_MAX;

	for (off_t at = 0; at < INSTANCE_CONSOLE_MAX; at += CHUNK)
		if (pread(file, chunk, CHUNK, from + at) != CHUNK ||
		    pwrite(file, chunk, CHUNK, at) != CHUNK)
			return;
	if (ftruncate(file, INSTANCE_CONSOLE_MAX) == 0)
		size = INSTANCE_CONSOLE_MAX;
}

static void
on_console(int index, int fd, short revents)
{
	char chunk[CHUNK];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n > 0)
		n = pwrite(file, chunk, (size_t)n, size);
	if (n > 0)
		size += n;
	if (size >= 2 * INSTANCE_CONSOLE_MAX)
		shorten();
}

void
instance_watch(void)
{
	if (fifo >= 0)
		loop_add(fifo, POLLIN, on_console, 0);
}
