/* SPDX-License-Identifier: Apache-2.0 */

/* Disks and snapshots of the fake provider. */

#include <stdio.h>
#include <string.h>

#include "provider/fake_impl.h"

/* Disks are kept as machines are: something with a token that becomes ready, and can be ended. */
void
fake_run_disk(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find(f, op->token.s);
	struct err err = fake_no_error;
	char ref[FAKE_REF_MAX];

	if (!m) {
		if (op->text && !fake_find_by(f, NULL, op->text))
			err_set(&err, ERR_NOT_FOUND, "there is no %s", op->text);
		else if (fake_happens(f, f->opt.fail_disk))
			err_set(&err, ERR_INTERNAL,
			    "the disk could not be made (fake failure)");
		else
			m = fake_machine_add(f, op->token.s, NULL,
			    op->kind == FAKE_DISK_MAKE ? f->opt.disk_ms
						       : f->opt.snapshot_ms,
			    0, &err);
		if (!m) {
			fake_op_fail(op, &err);
			return;
		}
		fake_effect(f, op->kind, op->token.s);
		fake_sight(m);
	}
	if (fake_happens(f, f->opt.lose_reply)) {
		err_set(&err, ERR_UNAVAILABLE, "the answer was lost (fake failure)");
		fake_op_fail(op, &err);
		return;
	}
	(void)snprintf(ref, sizeof(ref), "fake-%s", op->token.s);
	fake_op_launched(op, ref, &err);
}

static bool
is_ready(const struct machine_sim *m)
{
	return m && m->rec->state == FAKE_ALIVE && m->seen_ready;
}

void
fake_run_attach(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *d = fake_find(f, op->token.s), *m = fake_find(f, op->text);
	const char *has = d ? d->rec->attached_to : "";

	if (!is_ready(d))
		fake_op_refuse(op, ERR_UNAVAILABLE, "disk %s is not there", op->token.s);
	else if (!is_ready(m))
		fake_op_refuse(
		    op, ERR_UNAVAILABLE, "machine %s does not answer", op->text);
	else if (*has && strcmp(has, op->text) != 0 && fake_find(f, has))
		fake_op_refuse(op, ERR_CONFLICT, "machine %s has the disk", has);
	else if (fake_happens(f, f->opt.fail_attach))
		fake_op_refuse(
		    op, ERR_INTERNAL, "the disk could not be attached (fake failure)");
	else {
		if (strcmp(has, op->text) != 0) {
			(void)snprintf(d->rec->attached_to, sizeof(d->rec->attached_to),
			    "%s", op->text);
			fake_effect(f, FAKE_DISK_ATTACH, op->token.s);
		}
		if (fake_happens(f, f->opt.lose_reply))
			fake_op_refuse(
			    op, ERR_UNAVAILABLE, "the answer was lost (fake failure)");
		else
			fake_op_attached(op, NULL, &fake_no_error);
	}
}

void
fake_run_detach(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *d = fake_find(f, op->token.s);

	if (d && strcmp(d->rec->attached_to, op->text) == 0) {
		d->rec->attached_to[0] = '\0';
		fake_effect(f, FAKE_DISK_DETACH, op->token.s);
	}
	if (fake_happens(f, f->opt.lose_reply))
		fake_op_refuse(op, ERR_UNAVAILABLE, "the answer was lost (fake failure)");
	else
		fake_op_done(op, &fake_no_error);
}

void
fake_disk_make(
    struct provider *p, const struct disk_spec *spec, provider_launch_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_DISK_MAKE, spec->token, spec->source_ref, 0, arg)
	    ->fn.launch = done;
}

void
fake_disk_snapshot(struct provider *p, const char *token, const char *disk_ref,
    provider_launch_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_DISK_SNAPSHOT, token, disk_ref, 0, arg)
	    ->fn.launch = done;
}

void
fake_disk_remove(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_DISK_REMOVE, token, ref, 0, arg)->fn.done = done;
}

void
fake_disk_attach(struct provider *p, const struct attach_spec *spec,
    provider_attach_fn done, void *arg)
{
	struct fake *f = fake_of(p);

	fake_op_start(
	    f, FAKE_DISK_ATTACH, spec->disk, spec->machine, f->opt.attach_ms, arg)
	    ->fn.attach = done;
}

void
fake_disk_detach(
    struct provider *p, const struct attach_spec *spec, provider_done_fn done, void *arg)
{
	struct fake *f = fake_of(p);

	fake_op_start(
	    f, FAKE_DISK_DETACH, spec->disk, spec->machine, f->opt.detach_ms, arg)
	    ->fn.done = done;
}
