/* SPDX-License-Identifier: Apache-2.0 */
#include "api/caller.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "core/core.h"
#include "net/http_server.h"

#define KEEP_MS 60000
#define SLOTS                                                                            \
	256 /* a user's slot is their uid's; two that share one look names up more often */

struct slot {
	char *name; /* NULL: empty */
	uint32_t uid;
	int64_t until_ms;
};

struct callers {
	struct clock *clock; /* borrowed */
	char *admin_group;
	uint32_t owner_uid;
	int64_t admin_gid; /* -1: no such group */
	int64_t admin_until_ms;
	struct slot slots[SLOTS];
};

struct callers *
callers_new(struct clock *clock, const char *admin_group, uint32_t owner_uid)
{
	struct callers *c = xnew(struct callers);

	c->clock = clock;
	c->admin_group = xstrdup(admin_group);
	c->owner_uid = owner_uid;
	return c;
}

void
callers_free(struct callers *c)
{
	if (!c)
		return;
	for (int i = 0; i < SLOTS; i++)
		free(c->slots[i].name);
	free(c->admin_group);
	free(c);
}

static const char *
name_of(struct callers *c, uint32_t uid, int64_t now)
{
	struct slot *slot = &c->slots[uid % SLOTS];
	struct passwd *pw;

	if (slot->name && slot->uid == uid && now < slot->until_ms)
		return slot->name;
	pw = getpwuid(uid);
	free(slot->name);
	slot->name = pw ? xstrdup(pw->pw_name) : xasprintf("%u", uid);
	slot->uid = uid;
	slot->until_ms = now + KEEP_MS;
	return slot->name;
}

static int64_t
admin_gid(struct callers *c, int64_t now)
{
	if (now >= c->admin_until_ms) {
		struct group *gr = getgrnam(c->admin_group);

		c->admin_gid = gr ? (int64_t)gr->gr_gid : -1;
		c->admin_until_ms = now + KEEP_MS;
	}
	return c->admin_gid;
}

static bool
in_group(const struct http_peer *peer, int64_t gid)
{
	if (peer->gid == gid)
		return true;
	for (int i = 0; i < peer->n_groups; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}

void
callers_get(struct callers *c, const struct http_peer *peer, struct core_caller *ret)
{
	int64_t now = clock_now_ms(c->clock);

	ret->uid = peer->uid;
	ret->user = name_of(c, peer->uid, now);
	ret->operator_ = peer->uid == 0 ||
			 (c->owner_uid != UINT32_MAX && peer->uid == c->owner_uid) ||
			 in_group(peer, admin_gid(c, now));
}
