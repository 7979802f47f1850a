/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/disk_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/testpoint.h"

#define CHUNK (1 << 20)

bool
copy_shared(int from, int to)
{
	return !testpoint_is("no-reflink") && ioctl(to, FICLONE, from) == 0;
}

static int
go_on(int to, const struct copy_limits *limits, struct err *err)
{
	struct stat st;

	if (fstat(to, &st) == 0 && st.st_nlink == 0)
		return err_set(err, ERR_CANCELLED, "it was removed meanwhile");
	if (limits->until_ms > 0 && clock_real_now_ms() >= limits->until_ms)
		return err_set(err, ERR_RATE_LIMITED, "the copy takes too long");
	return 0;
}

static int
copy_range(int from, int to, off_t at, off_t end, const struct copy_limits *limits,
    struct err *err)
{
	static char chunk[CHUNK];

	while (at < end) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n, done = 0;

		if (go_on(to, limits, err) < 0)
			return -1;
		if (testpoint_is("slow-copy"))
			usleep(50000);
		n = pread(from, chunk, want, at);
		if (n < 0)
			return err_errno(err, errno, "copy a disk: read");
		if (n == 0)
			break;
		while (done < n) {
			ssize_t w =
			    pwrite(to, chunk + done, (size_t)(n - done), at + done);

			if (w <= 0)
				return err_errno(
				    err, w < 0 ? errno : ENOSPC, "copy a disk: write");
			done += w;
		}
		at += n;
	}
	return 0;
}

int
copy_sparse(int from, int to, const struct copy_limits *limits, struct err *err)
{
	struct stat st;
	off_t data = 0;

	if (fstat(from, &st) < 0 || ftruncate(to, 0) < 0 || ftruncate(to, st.st_size) < 0)
		return err_errno(err, errno, "copy a disk");
	while (data < st.st_size) {
		off_t hole;

		data = lseek(from, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; /* nothing but a hole is left */
		hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return err_errno(err, errno, "copy a disk: find its data");
		if (copy_range(from, to, data, hole, limits, err) < 0)
			return -1;
		data = hole;
	}
	return 0;
}
