/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/disk_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/id.h"
#include "launcher/file.h"

#define RECORD_MAX 512

static int
put(int disk_fd, const struct buf *b)
{
	AUTO_CLOSE int fd = openat(disk_fd, ".state",
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, b->data, b->len) != (ssize_t)b->len || fsync(fd) < 0 ||
	    renameat(disk_fd, ".state", disk_fd, "state") < 0)
		return -1;
	return fsync(disk_fd);
}

int
disk_record_write(int disk_fd, const struct disk_record *r, struct err *err)
{
	AUTO_BUF struct buf b = BUF_INIT(RECORD_MAX - 1);

	buf_fmt(&b, "size %" PRIu64 "\ncreated %" PRIu64 "\n", r->size_bytes,
	    r->created_at_ms);
	if (r->seen_s > 0)
		buf_fmt(
		    &b, "seen %" PRId64 "\nseen_ns %" PRId64 "\n", r->seen_s, r->seen_ns);
	if (r->machine[0])
		buf_fmt(&b, "machine %s\nname %s\n", r->machine, r->name);
	if (r->damage[0])
		buf_fmt(&b, "damage %s\n", r->damage);
	if (b.overflow)
		return err_set(err, ERR_INTERNAL, "the disk's record is too long");
	errno = ENOSPC; /* a short write sets none */
	return put(disk_fd, &b) == 0 ? 0
				     : err_errno(err, errno, "write the disk's record");
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
take_line(struct disk_record *r, const char *key, const char *value)
{
	uint64_t v = 0;
	bool ok;

	if (strcmp(key, "size") == 0)
		return take_number(value, LAUNCHER_DISK_MAX, &r->size_bytes);
	if (strcmp(key, "created") == 0)
		return take_number(value, INT64_MAX, &r->created_at_ms);
	if (strcmp(key, "machine") == 0)
		return id_valid(value, 'm') &&
		       take_text(value, r->machine, sizeof(r->machine));
	if (strcmp(key, "name") == 0)
		return name_valid(value) && take_text(value, r->name, sizeof(r->name));
	if (strcmp(key, "damage") == 0)
		return take_text(value, r->damage, sizeof(r->damage));
	ok = take_number(value, INT64_MAX, &v);
	if (strcmp(key, "seen") == 0)
		r->seen_s = (int64_t)v;
	else if (strcmp(key, "seen_ns") == 0)
		r->seen_ns = (int64_t)v;
	else
		return false;
	return ok;
}

int
disk_record_read(int disk_fd, struct disk_record *ret, struct err *err)
{
	char text[RECORD_MAX], *rest = text, *line;
	struct disk_record r = {0};
	int e = file_get_at(disk_fd, "state", text, sizeof(text));

	if (e != 0)
		return err_errno(err, e, "read the disk's record");
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char *value = strchr(line, ' ');

		if (value)
			*value++ = '\0';
		if (!value || !take_line(&r, line, value))
			return err_set(
			    err, ERR_INTERNAL, "the disk's record is damaged: %s", line);
	}
	if (r.size_bytes == 0)
		return err_set(err, ERR_INTERNAL, "the disk's record is cut short");
	*ret = r;
	return 0;
}
