/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "provider/local/launcher_client.h"
#include "provider/local/local_internal.h"

#define IMAGE_AGAIN_MS (60 * 1000)

struct limage {
	struct list in_local;
	struct local *l;
	char *name;
	struct timer again;
	bool building;
};

struct build {
	struct local *l;
	struct limage *i;
	provider_done_fn done; /* NULL: nobody asked, the pool needs it */
	void *arg;
};

static void look_up(struct limage *i);

static void
look_again(void *arg)
{
	look_up(arg);
}

static void
built(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct build *b = arg;
	struct limage *i = b->i;
	struct local *l = b->l;

	if (!last) {
		l->env.image(l->env.arg, i->name, NULL, (int)r->percent, NULL);
		return;
	}
	i->building = false;
	if (err->code == ERR_NONE) {
		l->env.image(l->env.arg, i->name, r->image_version, 100, NULL);
	} else if (!l->closing) {
		l->env.image(l->env.arg, i->name, NULL, -1, err->msg);
		timer_set(l->env.clock, &i->again, IMAGE_AGAIN_MS, look_again, i);
	}
	if (b->done)
		b->done(b->arg, err);
	free(b);
}

static void
build(struct limage *i, provider_done_fn done, void *arg)
{
	struct launcher_request q = {.op = LAUNCHER_BUILD_IMAGE};
	struct build *b = xnew(struct build);

	*b = (struct build){i->l, i, done, arg};
	(void)snprintf(q.image, sizeof(q.image), "%s", i->name);
	i->building = true;
	timer_off(&i->again);
	if (!done)
		i->l->env.image(i->l->env.arg, i->name, NULL, 0, NULL);
	launcher_client_call(i->l->launcher, &q, built, b);
}

static void
looked_up(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct limage *i = arg;

	if (err->code == ERR_NONE)
		i->l->env.image(i->l->env.arg, i->name, r->image_version, 100, NULL);
	else if (err->code == ERR_NOT_FOUND)
		build(i, NULL, NULL);
	else if (err->code != ERR_CANCELLED)
		i->l->env.image(i->l->env.arg, i->name, NULL, -1, err->msg);
	if (err->code != ERR_NONE && err->code != ERR_NOT_FOUND &&
	    err->code != ERR_CANCELLED)
		timer_set(i->l->env.clock, &i->again, IMAGE_AGAIN_MS, look_again, i);
}

/* Which version is current; none is: it is built. */
static void
look_up(struct limage *i)
{
	struct launcher_request q = {.op = LAUNCHER_FIND_IMAGE};

	(void)snprintf(q.image, sizeof(q.image), "%s", i->name);
	launcher_client_call(i->l->launcher, &q, looked_up, i);
}

static struct limage *
image_get(struct local *l, const char *name)
{
	struct limage *i;

	list_for_each (i, &l->images, in_local)
		if (strcmp(i->name, name) == 0)
			return i;
	i = xnew(struct limage);
	i->l = l;
	i->name = xstrdup(name);
	list_push_back(&l->images, &i->in_local);
	return i;
}

void
local_image(struct provider *pr, const char *name)
{
	struct limage *i = image_get((struct local *)pr, name);

	if (!i->building)
		look_up(i);
}

void
local_image_build(struct provider *pr, const char *name, provider_done_fn done, void *arg)
{
	build(image_get((struct local *)pr, name), done, arg);
}

static void
image_removed(void *arg, const struct launcher_reply *r, bool last, const struct err *err)
{
	struct pending *p = arg;

	p->err = *err;
	local_answer(p);
}

void
local_image_remove(struct provider *pr, const char *name, const char *version,
    provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct pending *p = local_pending_new(l, "", done, arg);
	struct launcher_request q = {.op = LAUNCHER_REMOVE_IMAGE};

	if (local_copy_field(q.image, sizeof(q.image), name, "image", &p->err) < 0 ||
	    local_copy_field(q.image_version, sizeof(q.image_version), version, "version",
		&p->err) < 0)
		local_answer_later(p);
	else
		launcher_client_call(l->launcher, &q, image_removed, p);
}

void
local_images_close(struct local *l)
{
	struct limage *i, *itmp;

	list_for_each_safe (i, itmp, &l->images, in_local) {
		timer_off(&i->again);
		free(i->name);
		free(i);
	}
}
