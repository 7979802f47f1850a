/* SPDX-License-Identifier: Apache-2.0 */
#include "core/attach.h"

#include <string.h>

#include "core/core_internal.h"

static int
check_there(const struct cdisk *d, const struct cpool *pool,
    const struct reserve_disk *want, bool wait, struct err *err)
{
	const struct creservation *who;

	if (d->provider != pool->provider)
		return err_set(err, ERR_INVALID,
		    "disk '%s' is of provider '%s', and pool '%s' of '%s'", want->name,
		    d->provider->name, pool->p.name, pool->provider->name);
	if (d->d.state == DISK_FAILED || d->d.state == DISK_DELETING)
		return err_set(err, ERR_CONFLICT, "disk '%s' is %s", want->name,
		    disk_state_name(d->d.state));
	if (want->size_bytes > d->d.size_bytes) {
		err_set(err, ERR_CONFLICT,
		    "disk '%s' is there, and is smaller: %lld bytes", want->name,
		    (long long)d->d.size_bytes);
		return err_hint(err, "leave the size out");
	}
	if (id_empty(&d->d.holder) || wait)
		return 0;
	who = map_get(&d->core->reservations, d->d.holder.s);
	err_set(err, ERR_CONFLICT, "disk '%s' is attached to reservation '%s'",
	    want->name, who ? who->r.name : d->d.holder.s);
	return err_hint(err, "wait for it with --wait-disk");
}

int
attach_check(struct core *c, const struct core_caller *who, struct cpool *pool,
    const struct reserve_request *req, struct err *err)
{
	if (req->n_disks > RESERVATION_DISKS_MAX)
		return err_set(
		    err, ERR_INVALID, "disks: at most %d", RESERVATION_DISKS_MAX);
	if (req->n_disks > 0 && req->count > 1) {
		err_set(err, ERR_INVALID, "disks: a disk has one writer, and count is %d",
		    req->count);
		return err_hint(err, "reserve one at a time, each with its own disk");
	}
	if (req->n_disks > 0 && !pool->provider->p->ops->disk_attach)
		return err_set(err, ERR_INVALID, "disks: provider '%s' has none",
		    pool->provider->name);
	for (int i = 0; i < req->n_disks; i++) {
		const struct reserve_disk *want = &req->disks[i];
		const struct cdisk *d = disk_own(c, who->uid, want->name);

		for (int j = 0; j < i; j++)
			if (strcmp(req->disks[j].name, want->name) == 0)
				return err_set(err, ERR_INVALID,
				    "disks: '%s' is there twice", want->name);
		if (d ? check_there(d, pool, want, req->wait_disk, err) < 0
		      : want->size_bytes &&
			    disk_check_new(c, who, want->name, want->size_bytes, err) < 0)
			return -1;
		if (!d && !want->size_bytes) {
			err_set(err, ERR_NOT_FOUND, "you have no disk '%s'", want->name);
			return err_hint(
			    err, "to have it made, give a size: %s:10G", want->name);
		}
	}
	return 0;
}
