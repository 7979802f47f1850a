/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "ec2/instance.h"
#include "ec2/local_internal.h"
#include "provider/local/launcher_client.h"

#define AGAIN_MS (60 * 1000)

/* ---- the image that the catalogue's stand for ---- */

static void
image_is_ready(struct local *l, const char *version)
{
	struct lmachine *m;

	l->image_ready = true;
	log_info("image '%s' is there, version %s", l->image, version);
	list_for_each (m, &l->machines, in_local)
		local_machine_soon(m);
}

static void
look_again(void *arg)
{
	local_image_need(arg);
}

static void
on_built(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct local *l = arg;

	if (!last) {
		if (strcmp(l->image_says, r->message) != 0)
			log_info("image '%s' is being built: %u %%, %.100s", l->image,
			    r->percent, r->message);
		(void)snprintf(l->image_says, sizeof(l->image_says), "%s", r->message);
	} else if (err->code == ERR_NONE) {
		image_is_ready(l, r->image_version);
	} else if (err->code != ERR_CANCELLED) {
		log_error("%s; instances stay pending until it can be built", err->msg);
		timer_set(l->env.clock, &l->image_again, AGAIN_MS, look_again, l);
	}
}

static void
on_found(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct local *l = arg;
	struct launcher_request q = {.op = LAUNCHER_BUILD_IMAGE};

	if (err->code == ERR_NONE) {
		image_is_ready(l, r->image_version);
	} else if (err->code == ERR_NOT_FOUND) {
		log_info("image '%s' is not there: building it", l->image);
		memcpy(q.image, l->image, sizeof(q.image));
		launcher_client_call(l->launcher, &q, on_built, l);
	} else if (err->code != ERR_CANCELLED) {
		log_error("image '%s': %s", l->image, err->msg);
		timer_set(l->env.clock, &l->image_again, AGAIN_MS, look_again, l);
	}
}

void
local_image_need(struct local *l)
{
	struct launcher_request q = {.op = LAUNCHER_FIND_IMAGE};

	memcpy(q.image, l->image, sizeof(q.image));
	launcher_client_call(l->launcher, &q, on_found, l);
}

const char *
local_image_of(const struct local *l, const struct instance *i)
{
	const struct image *image = region_find(i->o.region, &kind_image, i->image);

	return image && image->backend_ref ? image->backend_ref : l->image;
}

/* ---- images made of instances ---- */

struct saving {
	struct image *image; /* borrowed until done */
	backend_done_fn done;
	void *arg;
};

static void
on_saved(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct saving *s = arg;
	bool ok = err->code == ERR_NONE;

	if (ok) {
		xstrset(&s->image->backend_ref, s->image->o.id);
		object_changed(&s->image->o);
	}
	s->done(s->arg, ok ? NULL : err);
	free(s);
}

/* Named after the image's id, so that asking twice makes one. */
void
local_save_image(struct backend *b, struct instance *i, struct image *image,
    backend_done_fn done, void *arg)
{
	struct local *l = local_of(b);
	struct launcher_request q = {.op = LAUNCHER_SAVE_IMAGE};
	struct saving *s = xnew(struct saving);

	*s = (struct saving){image, done, arg};
	local_machine_id(i->o.id, q.id);
	(void)snprintf(q.image, sizeof(q.image), "%s", image->o.id);
	launcher_client_call(l->launcher, &q, on_saved, s);
}

static void
on_dropped(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	char *name = arg;

	if (err->code != ERR_NONE && err->code != ERR_CANCELLED)
		log_warn("remove image '%s': %s", name, err->msg);
	free(name);
}

void
local_remove_image(struct backend *b, struct image *image)
{
	struct launcher_request q = {.op = LAUNCHER_DROP_IMAGE};

	if (!image->backend_ref)
		return;
	(void)snprintf(q.image, sizeof(q.image), "%s", image->backend_ref);
	launcher_client_call(
	    local_of(b)->launcher, &q, on_dropped, xstrdup(image->backend_ref));
}
