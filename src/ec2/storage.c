/* SPDX-License-Identifier: Apache-2.0 */
/* Images, keys and volumes: what they are; what can be done with them is in their act_*.c. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/instance.h"
#include "ec2/objects.h"

/* clang-format off */
static const struct attr keypair_attrs[] = {
	ATTR(keypair, ATTR_TEXT, name),
	ATTR(keypair, ATTR_TEXT, type),
	ATTR(keypair, ATTR_TEXT, fingerprint),
	ATTR(keypair, ATTR_TEXT, public_key),
	{ NULL },
};

static const struct attr image_attrs[] = {
	ATTR(image, ATTR_TEXT, name),
	ATTR(image, ATTR_TEXT, description),
	ATTR(image, ATTR_TEXT, state),
	ATTR(image, ATTR_TEXT, reason),
	ATTR(image, ATTR_TEXT, owner),
	ATTR(image, ATTR_TEXT, owner_alias),
	ATTR(image, ATTR_TEXT, architecture),
	ATTR(image, ATTR_TEXT, root_device),
	ATTR(image, ATTR_TEXT, snapshot),
	ATTR(image, ATTR_INT,  root_gib),
	ATTR(image, ATTR_TEXT, creation_date),
	ATTR(image, ATTR_BOOL, is_public),
	ATTR(image, ATTR_TEXT, source_instance),
	ATTR(image, ATTR_TEXT, user),
	ATTR(image, ATTR_TEXT, backend_ref),
	ATTR(image, ATTR_JSON, mappings),
	ATTR(image, ATTR_BOOL, saved),
	{ NULL },
};

static const struct attr volume_attrs[] = {
	ATTR(volume, ATTR_TEXT, zone),
	ATTR(volume, ATTR_TEXT, type),
	ATTR(volume, ATTR_TEXT, snapshot),
	ATTR(volume, ATTR_TEXT, client_token),
	ATTR(volume, ATTR_INT,  size_gib),
	ATTR(volume, ATTR_INT,  iops),
	ATTR(volume, ATTR_INT,  throughput),
	ATTR(volume, ATTR_INT,  rate),
	ATTR(volume, ATTR_BOOL, encrypted),
	ATTR(volume, ATTR_INT,  state),
	ATTR(volume, ATTR_INT,  attachment),
	ATTR(volume, ATTR_TEXT, instance_id),
	ATTR(volume, ATTR_TEXT, device),
	ATTR(volume, ATTR_INT,  attached_at),
	ATTR(volume, ATTR_BOOL, delete_on_termination),
	{ NULL },
};
/* clang-format on */

const char *const volume_state_names[VOLUME_STATE_MAX] = {
    [VOLUME_CREATING] = "creating",
    [VOLUME_AVAILABLE] = "available",
    [VOLUME_IN_USE] = "in-use",
    [VOLUME_DELETING] = "deleting",
    [VOLUME_ERROR] = "error",
};

const struct kind kind_keypair = {
    .name = "keypair",
    .resource = "key-pair",
    .prefix = "key-",
    .error = "InvalidKeyPair",
    .what = "key pair",
    .size = sizeof(struct keypair),
    .attrs = keypair_attrs,
};

struct keypair *
keypair_by_name(struct region *r, const char *name)
{
	struct keypair *k;

	region_for_each (k, r, &kind_keypair)
		if (strcmp(k->name, name) == 0)
			return k;
	return NULL;
}

const struct kind kind_image = {
    .name = "image",
    .resource = "image",
    .prefix = "ami-",
    .error = "InvalidAMIID",
    .what = "image id",
    .size = sizeof(struct image),
    .attrs = image_attrs,
    .due = image_on_due,
    .resumed = image_resumed,
};

/* ---- volumes ---- */

static void
volume_init(struct object *o)
{
	list_init(&((struct volume *)o)->on_instance);
}

static void
volume_fini(struct object *o)
{
	list_remove(&((struct volume *)o)->on_instance);
}

static void
volume_loaded(struct object *o)
{
	struct volume *v = (struct volume *)o;

	if (v->instance_id)
		v->instance = region_find(o->region, &kind_instance, v->instance_id);
	if (v->instance)
		list_push_back(&v->instance->volumes, &v->on_instance);
}

const struct kind kind_volume = {
    .name = "volume",
    .resource = "volume",
    .prefix = "vol-",
    .error = "InvalidVolume",
    .malformed = "InvalidVolumeID.Malformed",
    .what = "volume",
    .size = sizeof(struct volume),
    .attrs = volume_attrs,
    .init = volume_init,
    .due = volume_on_due,
    .loaded = volume_loaded,
    .fini = volume_fini,
};

void
volume_tie(
    struct volume *v, struct instance *i, const char *device, enum attachment_state state)
{
	list_remove(&v->on_instance);
	list_push_back(&i->volumes, &v->on_instance);
	v->instance = i;
	v->attachment = state;
	v->state = VOLUME_IN_USE;
	v->attached_at = world_now(v->o.region->world);
	xstrset(&v->instance_id, i->o.id);
	xstrset(&v->device, device);
	object_changed(&v->o);
}

void
volume_untie(struct volume *v)
{
	list_remove(&v->on_instance);
	v->instance = NULL;
	v->attachment = ATTACHMENT_NONE;
	v->state = VOLUME_AVAILABLE;
	v->delete_on_termination = false;
	xstrset(&v->instance_id, NULL);
	xstrset(&v->device, NULL);
	object_changed(&v->o);
}
