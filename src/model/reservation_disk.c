/* SPDX-License-Identifier: Apache-2.0 */
#include "model/reservation_disk.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "model/model.h"

static const char *const states[ATTACH_STATE_MAX] = {
    "waiting", "attaching", "attached", "detached", "failed"};

/* A letter each for what is asked of it; '-' for none. */
static const char letters[] = "wrms";

const char *
attach_state_name(enum attach_state s)
{
	return states[s];
}

void
reservation_disk_put(struct buf *b, const struct reservation_disk *d)
{
	const bool set[] = {d->wait, d->required, d->made, d->snapshot};
	char flags[sizeof(letters)] = "----";

	for (int i = 0; letters[i]; i++)
		if (set[i])
			flags[i] = letters[i];
	buf_fmt(b, "%s%s %s %s %s", b->len ? "\n" : "", states[d->state], flags, d->name,
	    id_empty(&d->disk) ? "-" : d->disk.s);
	if (d->error[0])
		buf_fmt(b, " %s", d->error);
}

bool
reservation_disk_next(const char **at, struct reservation_disk *ret)
{
	char state[16], flags[8], id[ID_MAX];
	const char *line = *at;
	size_t len = line ? strcspn(line, "\n") : 0;
	int used = 0, i;

	*ret = (struct reservation_disk){.state = ATTACH_STATE_MAX};
	_Static_assert(DISK_NAME_MAX == 63 && ID_MAX == 16, "the widths below");
	if (len == 0 ||
	    sscanf(line, "%15s %7s %63s %15s%n", state, flags, ret->name, id, &used) != 4)
		return false;
	for (i = 0; i < ATTACH_STATE_MAX; i++)
		if (strcmp(states[i], state) == 0)
			ret->state = (enum attach_state)i;
	if (ret->state == ATTACH_STATE_MAX || strlen(flags) != strlen(letters) ||
	    (line[used] && line[used] != ' ' && line[used] != '\n'))
		return false;
	ret->wait = flags[0] == letters[0];
	ret->required = flags[1] == letters[1];
	ret->made = flags[2] == letters[2];
	ret->snapshot = flags[3] == letters[3];
	if (strcmp(id, "-") != 0)
		(void)snprintf(ret->disk.s, sizeof(ret->disk.s), "%s", id);
	if ((size_t)used < len)
		(void)snprintf(ret->error, sizeof(ret->error), "%.*s",
		    (int)(len - (size_t)used - 1), line + used + 1);
	*at = line + len + (line[len] == '\n');
	return true;
}
