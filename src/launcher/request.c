/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/request.h"

#include <stdbool.h>
#include <string.h>

#include "base/id.h"

#define MEMORY_MIN (16ull << 20)
#define MEMORY_MAX (1ull << 50)
#define PIDS_MIN 16u
#define PIDS_MAX 4194304u
#define CPU_MIN 10u
#define CPU_MAX 1024000u
#define LEASE_MAX_S (10ull * 365 * 86400)

static bool
terminated(const char *s, size_t size)
{
	return memchr(s, '\0', size) != NULL;
}

/* Printable ASCII, and newlines where `lines` allows them; not empty. */
static bool
is_text(const char *s, size_t size, bool lines)
{
	if (!terminated(s, size) || s[0] == '\0')
		return false;
	for (; *s; s++)
		if ((*s < ' ' || *s > '~') && !(lines && *s == '\n'))
			return false;
	return true;
}

static bool
is_name(const char *s, size_t size)
{
	return terminated(s, size) && name_valid(s);
}

static bool
is_empty_or_name(const char *s, size_t size)
{
	return s[0] == '\0' || is_name(s, size);
}

static bool
in_range(uint64_t v, uint64_t min, uint64_t max)
{
	return v >= min && v <= max;
}

static bool
zero_or_in_range(uint64_t v, uint64_t min, uint64_t max)
{
	return v == 0 || in_range(v, min, max);
}

static const char *
wrong_in_start(const struct launcher_request *q)
{
	if (!is_empty_or_name(q->image_version, sizeof(q->image_version)))
		return "image_version";
	if (!in_range(q->slot, 1, LAUNCHER_SLOT_MAX))
		return "slot";
	if (!zero_or_in_range(q->pids_max, PIDS_MIN, PIDS_MAX))
		return "pids_max";
	if (!zero_or_in_range(q->memory_bytes, MEMORY_MIN, MEMORY_MAX))
		return "memory_bytes";
	if (!zero_or_in_range(q->cpu_milli, CPU_MIN, CPU_MAX))
		return "cpu_milli";
	if (q->allow_nesting > 1)
		return "allow_nesting";
	if (!is_empty_or_name(q->hostname, sizeof(q->hostname)))
		return "hostname";
	if (q->op == LAUNCHER_START && q->needs_disk > 1)
		return "needs_disk";
	return NULL;
}

static const char *
wrong_in_create(const struct launcher_request *q)
{
	const char *wrong = wrong_in_start(q);

	if (wrong)
		return wrong;
	if (!in_range(q->lease_s, 1, LEASE_MAX_S))
		return "lease_s";
	if (!is_text(q->host_key, sizeof(q->host_key), true))
		return "host_key";
	if (!is_text(q->host_cert, sizeof(q->host_cert), false))
		return "host_cert";
	if (!is_text(q->user_ca, sizeof(q->user_ca), false))
		return "user_ca";
	return NULL;
}

/* What an operation has beside the fields that wrong_in_create() and wrong_in_start() look at. */
enum { ID = 1, IMAGE = 2, DISK = 4, HOME = 8 };

static const unsigned fields_of[LAUNCHER_OP_END] = {
    [LAUNCHER_CREATE] = ID | IMAGE,
    [LAUNCHER_KILL] = ID,
    [LAUNCHER_BUILD_IMAGE] = IMAGE,
    [LAUNCHER_REMOVE_IMAGE] = IMAGE,
    [LAUNCHER_FIND_IMAGE] = IMAGE,
    [LAUNCHER_JOIN] = ID,
    [LAUNCHER_START] = ID | IMAGE,
    [LAUNCHER_STOP] = ID,
    [LAUNCHER_FREEZE] = ID,
    [LAUNCHER_THAW] = ID,
    [LAUNCHER_SAVE_IMAGE] = ID | IMAGE,
    [LAUNCHER_DROP_IMAGE] = IMAGE,
    [LAUNCHER_CONSOLE] = ID,
    [LAUNCHER_OPEN_METADATA] = ID,
    [LAUNCHER_MAKE_HOME] = HOME,
    [LAUNCHER_MOUNT_HOME] = ID | HOME,
    [LAUNCHER_DISK_MAKE] = DISK,
    [LAUNCHER_DISK_SNAPSHOT] = DISK,
    [LAUNCHER_DISK_REMOVE] = DISK,
    [LAUNCHER_DISK_ATTACH] = ID | DISK,
    [LAUNCHER_DISK_DETACH] = ID | DISK,
};

static const char *
wrong_in_disk(const struct launcher_request *q)
{
	bool of_disk = q->op == LAUNCHER_DISK_SNAPSHOT;

	if (!terminated(q->disk, sizeof(q->disk)) ||
	    !(id_valid(q->disk, of_disk ? 's' : 'd') ||
		(q->op == LAUNCHER_DISK_REMOVE && id_valid(q->disk, 's'))))
		return "disk";
	if (of_disk || (q->op == LAUNCHER_DISK_MAKE && q->source[0] != '\0'))
		if (!terminated(q->source, sizeof(q->source)) ||
		    !id_valid(q->source, of_disk ? 'd' : 's'))
			return "source";
	if (q->op == LAUNCHER_DISK_MAKE &&
	    !in_range(q->size_bytes, LAUNCHER_DISK_MIN, LAUNCHER_DISK_MAX))
		return "size_bytes";
	if (q->op == LAUNCHER_DISK_ATTACH && !is_name(q->disk_name, sizeof(q->disk_name)))
		return "disk_name";
	return NULL;
}

static const char *
wrong_field(const struct launcher_request *q)
{
	unsigned fields;

	if (q->magic != LAUNCHER_MAGIC)
		return "magic";
	if (q->version != LAUNCHER_VERSION)
		return "version";
	if (q->op < LAUNCHER_CREATE || q->op >= LAUNCHER_OP_END)
		return "op";
	fields = fields_of[q->op];
	if ((fields & ID) && (!terminated(q->id, sizeof(q->id)) || !id_valid(q->id, 'm')))
		return "id";
	if ((fields & IMAGE) && !is_name(q->image, sizeof(q->image)))
		return "image";
	if ((fields & HOME) && q->home_uid == UINT32_MAX)
		return "home_uid";
	if (fields & DISK)
		return wrong_in_disk(q);
	if (q->op == LAUNCHER_REMOVE_IMAGE &&
	    !is_name(q->image_version, sizeof(q->image_version)))
		return "image_version";
	if (q->op == LAUNCHER_JOIN &&
	    (!terminated(q->gang, sizeof(q->gang)) || !id_valid(q->gang, 'r')))
		return "gang";
	if (q->op == LAUNCHER_JOIN && q->gang_number == 0)
		return "gang_number";
	if (q->op == LAUNCHER_START)
		return wrong_in_start(q);
	return q->op == LAUNCHER_CREATE ? wrong_in_create(q) : NULL;
}

int
request_check(const struct launcher_request *q, size_t n, struct err *err)
{
	const char *wrong;

	if (n != sizeof(*q))
		return err_set(err, ERR_INVALID, "request: wrong size");
	wrong = wrong_field(q);
	if (wrong)
		return err_set(err, ERR_INVALID, "request: wrong %s", wrong);
	return 0;
}
