/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "launcher/file.h"

#define RECORD_MAX 512
#define DECISION_MS 2000

int
record_write(int machine_fd, const struct record *r, struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(RECORD_MAX - 1);
	AUTO_CLOSE int fd = -1;

	buf_fmt(&b, "slot %u\npid %d\nstart %" PRIu64 "\ncreated %" PRIu64 "\n", r->slot,
	    (int)r->pid, r->start, r->created_at_ms);
	buf_fmt(&b, "boot %s\nimage %s\nversion %s\n", r->boot_id, r->image,
	    r->image_version);
	if (r->gang_number)
		buf_fmt(&b, "gang %s\nnumber %u\n", r->gang, r->gang_number);
	if (r->keeps_disk)
		buf_str(&b, "disk 1\n");
	if (b.overflow)
		return err_set(err, ERR_INTERNAL, "the machine's record is too long");
	fd = openat(
	    machine_fd, "state", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || pwrite(fd, b.data, b.len, 0) != (ssize_t)b.len ||
	    ftruncate(fd, (off_t)b.len) < 0)
		return err_errno(err, errno, "write the machine's record");
	return 0;
}

static bool
take_number(const char *value, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || v > max)
		return false;
	*ret = v;
	return true;
}

static bool
take_text(const char *value, char *out, size_t size)
{
	size_t n = strlen(value);

	if (n >= size)
		return false;
	memcpy(out, value, n + 1);
	return true;
}

static bool
take_line(struct record *r, const char *key, const char *value)
{
	uint64_t v;

	if (strcmp(key, "slot") == 0 && take_number(value, LAUNCHER_SLOT_MAX, &v))
		r->slot = (uint32_t)v;
	else if (strcmp(key, "pid") == 0 && take_number(value, INT32_MAX, &v))
		r->pid = (pid_t)v;
	else if (strcmp(key, "start") == 0)
		return take_number(value, UINT64_MAX, &r->start);
	else if (strcmp(key, "created") == 0)
		return take_number(value, UINT64_MAX, &r->created_at_ms);
	else if (strcmp(key, "disk") == 0)
		return r->keeps_disk = strcmp(value, "1") == 0;
	else if (strcmp(key, "number") == 0 && take_number(value, UINT32_MAX, &v))
		r->gang_number = (uint32_t)v;
	else if (strcmp(key, "gang") == 0)
		return take_text(value, r->gang, sizeof(r->gang));
	else if (strcmp(key, "boot") == 0)
		return take_text(value, r->boot_id, sizeof(r->boot_id));
	else if (strcmp(key, "image") == 0)
		return take_text(value, r->image, sizeof(r->image));
	else if (strcmp(key, "version") == 0)
		return take_text(value, r->image_version, sizeof(r->image_version));
	else
		return false;
	return true;
}

int
record_read(int machine_fd, struct record *ret, struct err *err)
{
	char text[RECORD_MAX], *rest = text, *line;
	struct record r = {0};
	int e = file_get_at(machine_fd, "state", text, sizeof(text));

	if (e != 0)
		return err_errno(err, e, "read the machine's record");
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char *value = strchr(line, ' ');

		if (!value)
			return err_set(
			    err, ERR_INTERNAL, "the machine's record is damaged");
		*value++ = '\0';
		if (!take_line(&r, line, value))
			return err_set(err, ERR_INTERNAL,
			    "the machine's record is damaged: %s", line);
	}
	*ret = r;
	return 0;
}

uint64_t
process_start_time(pid_t pid)
{
	char path[32], text[1024], *p;
	uint64_t v;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_get_at(AT_FDCWD, path, text, sizeof(text)) != 0)
		return 0;
	p = strrchr(text, ')'); /* the name may hold anything; field 3 follows it */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return 0;
	p[strcspn(p + 1, " ") + 1] = '\0';
	return take_number(p + 1, UINT64_MAX, &v) ? v : 0;
}

int
record_open_process(const struct record *r, const char *boot_id)
{
	AUTO_CLOSE int fd = -1;
	struct pollfd p = {.events = POLLIN};

	if (r->pid <= 1 || r->start == 0 || strcmp(r->boot_id, boot_id) != 0)
		return -1;
	fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (fd < 0 || process_start_time(r->pid) != r->start)
		return -1;
	p.fd = fd;
	if (poll(&p, 1, 0) != 0) /* a zombie still has its pid and its start time */
		return -1;
	return TAKE_FD(fd);
}

bool
process_runs_init(pid_t pid)
{
	char path[32], exe[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	exe[n < 0 ? 0 : n] = '\0';
	return strstr(exe, INIT_MEMFD_NAME) != NULL;
}

int
record_open_machine(const struct record *r, const char *boot_id)
{
	AUTO_CLOSE int fd = record_open_process(r, boot_id);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (int i = 0; fd >= 0 && i < DECISION_MS; i++) {
		if (process_runs_init(r->pid))
			return TAKE_FD(fd);
		if (poll(&p, 1, 1) != 0)
			return -1;
	}
	return -1;
}
