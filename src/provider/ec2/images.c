/* SPDX-License-Identifier: Apache-2.0 */

/* Image names. `ami-…` is taken as it is; any other name stands for the newest image of an owner whose own name matches a
   pattern, looked up again now and then, so that machines move on to a new one as it appears. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/xml.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"

#define ASK_DEADLINE_MS 30000
#define LOOK_AGAIN_MS 600000
#define FAILED_AGAIN_MS 10000

struct image {
	struct list in_ec2;
	struct ec2 *e;
	char *name;	   /* owned, as the next two */
	char *id;	   /* NULL: not known yet */
	char *root_device; /* NULL: not known */
	struct timer again;
	bool asking;
};

static struct image *
find(const struct ec2 *e, const char *name)
{
	struct image *i;

	list_for_each (i, &e->images, in_ec2)
		if (strcmp(i->name, name) == 0)
			return i;
	return NULL;
}

const char *
ec2_image_root_device(const struct ec2 *e, const char *image_id)
{
	const struct image *i;

	list_for_each (i, &e->images, in_ec2)
		if (i->id && strcmp(i->id, image_id) == 0)
			return i->root_device;
	return NULL;
}

static void ask(struct image *i);

static void
ask_due(void *arg)
{
	ask(arg);
}

/* An image that was found once stays usable: the failure is for the log. */
static void
failed(struct image *i, const struct err *err)
{
	struct ec2 *e = i->e;

	timer_set(e->env.clock, &i->again, FAILED_AGAIN_MS, ask_due, i);
	if (i->id)
		log_warn(
		    "ec2: image '%s': %s; going on with %s", i->name, err->msg, i->id);
	else
		e->env.image(e->env.arg, i->name, NULL, 0, err->msg);
}

static void
found(struct image *i, const char *id, const char *root_device)
{
	struct ec2 *e = i->e;

	timer_set(e->env.clock, &i->again, LOOK_AGAIN_MS, ask_due, i);
	if (i->id && strcmp(i->id, id) != 0)
		log_info("ec2: image '%s' is now %s", i->name, id);
	xstrset(&i->id, id);
	xstrset(&i->root_device, *root_device ? root_device : NULL);
	e->env.image(e->env.arg, i->name, i->id, 100, NULL);
}

/* Creation dates are RFC 3339 in UTC, so they sort as text. */
static void
answered(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct image *i = arg;
	const struct xml *best = NULL;
	struct err why = *err;

	if (i->e->closing)
		return;
	i->asking = false;
	for (const struct xml *x = ec2_items(reply, "imagesSet"); x; x = ec2_item_next(x))
		if (strncmp(xml_text(x, "imageId"), "ami-", 4) == 0 &&
		    (!best || strcmp(xml_text(x, "creationDate"),
				  xml_text(best, "creationDate")) > 0))
			best = x;
	if (best) {
		found(i, xml_text(best, "imageId"), xml_text(best, "rootDeviceName"));
		return;
	}
	if (why.code == ERR_NONE)
		err_set(&why, ERR_NOT_FOUND,
		    "image '%s': EC2 has none of that name and owner in this region",
		    i->name);
	else
		err_wrap(&why, "image '%s'", i->name);
	ec2_say_hint(&why);
	failed(i, &why);
}

static void
ask(struct image *i)
{
	const struct ec2_image_source *s = ec2_image_source(&i->e->settings, i->name);
	struct aws_call_options opt = {
	    .repeatable = true, .filtered = true, .deadline_ms = ASK_DEADLINE_MS};
	struct aws_form f = {0};
	struct err err;

	if (strncmp(i->name, "ami-", 4) == 0) {
		aws_form_add(&f, i->name, "ImageId.1");
	} else if (s) {
		aws_form_add(&f, s->owner, "Owner.1");
		aws_form_add(&f, "name", "Filter.1.Name");
		aws_form_add(&f, s->name, "Filter.1.Value.1");
		aws_form_add(&f, "architecture", "Filter.2.Name");
		aws_form_add(
		    &f, s->architecture ? s->architecture : "x86_64", "Filter.2.Value.1");
		aws_form_add(&f, "state", "Filter.3.Name");
		aws_form_add(&f, "available", "Filter.3.Value.1");
	} else {
		err_set(&err, ERR_NOT_FOUND,
		    "image '%s': not known: expected ami-…, amazon-linux-2023, debian, "
		    "or a "
		    "name under the provider's 'images'",
		    i->name);
		failed(i, &err);
		return;
	}
	i->asking = true;
	ec2_query(i->e, "DescribeImages", &f, &opt, answered, i);
}

void
ec2_image(struct provider *p, const char *name)
{
	struct ec2 *e = ec2_of(p);
	struct image *i = find(e, name);

	if (!i) {
		i = xnew(struct image);
		i->e = e;
		i->name = xstrdup(name);
		list_push_back(&e->images, &i->in_ec2);
	}
	if (!i->asking)
		timer_set(e->env.clock, &i->again, 0, ask_due, i);
}

void
ec2_image_build(struct provider *p, const char *image, provider_done_fn done, void *arg)
{
	struct ec2_answer *a = ec2_answer_new(ec2_of(p), ANSWER_DONE, arg);
	struct err err;

	a->fn.done = done;
	err_set(
	    &err, ERR_INVALID, "images of EC2 are not built by hearth in this version");
	err_hint(&err,
	    "make an AMI and name it in the pool, as in image: ami-0123456789abcdef0");
	ec2_answer_later(a, NULL, &err);
}

void
ec2_images_close(struct ec2 *e)
{
	while (!list_empty(&e->images)) {
		struct image *i = list_entry(e->images.next, struct image, in_ec2);

		timer_off(&i->again);
		list_remove(&i->in_ec2);
		free(i->name);
		free(i->id);
		free(i->root_device);
		free(i);
	}
}
