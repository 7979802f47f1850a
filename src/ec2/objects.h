/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_OBJECTS_H
#define EC2_OBJECTS_H

/*
 * What instances stand on: networks, images, keys, disks. Strings that name another object are its id; pointers
 * are made again from them when the world is loaded.
 */

#include "ec2/world.h"

struct instance;
struct json_t;

/* That the region has got its defaults: they are made once. */
struct marker {
	struct object o;
};
extern const struct kind kind_marker;

struct vpc {
	struct object o;
	char *cidr;
	bool is_default;
};
extern const struct kind kind_vpc;

struct subnet {
	struct object o;
	char *vpc, *zone, *cidr;
	bool is_default;
	bool public_addresses; /* MapPublicIpOnLaunch */
	int64_t n_taken;       /* addresses in use; counted, not stored */
	uint32_t cursor;       /* of the fake backend */
};
extern const struct kind kind_subnet;

/* Addresses that it can still give. */
int64_t subnet_free(const struct subnet *s);

struct group {
	struct object o;
	char *vpc, *name, *description;
};
extern const struct kind kind_group;

struct keypair {
	struct object o; /* its id: "key-..." */
	char *name;
	char *type; /* rsa or ed25519 */
	char *fingerprint;
	char *public_key; /* as in authorized_keys */
};
extern const struct kind kind_keypair;
struct keypair *keypair_by_name(struct region *r, const char *name);

/* Keys that are being made in threads are answered to nobody: before the endpoint closes, and with it the requests. */
void keypairs_forget(struct world *w);

struct image {
	struct object o;
	char *name, *description;
	char *state; /* pending, available, failed, deregistered */
	char *reason;
	char *owner, *owner_alias;
	char *architecture;
	char *root_device; /* "/dev/xvda" */
	char *snapshot;	   /* of its root */
	int64_t root_gib;
	char *creation_date;
	bool is_public;
	char *source_instance; /* it was made from */
	char *user;	       /* login of the first user */
	char *backend_ref;     /* of one that was made here; NULL: from the catalogue */
	struct json_t
	    *mappings; /* other block devices: [{device, snapshot, size, type, delete}] */
	bool saved;    /* of one that is pending: the backend has it */
	bool saving;   /* the backend will answer */
};
extern const struct kind kind_image;

/* act_images.c */
void image_on_due(struct object *o);
void image_resumed(struct object *o);

enum volume_state {
	VOLUME_CREATING,
	VOLUME_AVAILABLE,
	VOLUME_IN_USE,
	VOLUME_DELETING,
	VOLUME_ERROR,
	VOLUME_STATE_MAX,
};
enum attachment_state {
	ATTACHMENT_NONE,
	ATTACHMENT_ATTACHING,
	ATTACHMENT_ATTACHED,
	ATTACHMENT_DETACHING,
	ATTACHMENT_BUSY,
	ATTACHMENT_STATE_MAX,
};
extern const char *const volume_state_names[VOLUME_STATE_MAX];
extern const char *const attachment_state_names[ATTACHMENT_STATE_MAX];

struct volume {
	struct object o;
	char *zone, *type, *snapshot;
	char *client_token;
	int64_t size_gib, iops, throughput;
	int64_t rate; /* MiB/s at which its snapshot is loaded; 0: as it is read */
	bool encrypted;
	int64_t state;	    /* enum volume_state */
	int64_t attachment; /* enum attachment_state */
	char *instance_id, *device;
	int64_t attached_at;
	bool delete_on_termination;
	struct instance *instance; /* of instance_id; NULL: none */
	struct list on_instance;   /* its `volumes` */
};
extern const struct kind kind_volume;

/* Ties it to an instance, as attached or as attaching; or unties it. */
void volume_tie(struct volume *v, struct instance *i, const char *device,
    enum attachment_state state);
void volume_untie(struct volume *v);

/* What its states say is under way is done: act_volumes.c. */
void volume_on_due(struct object *o);

struct interface {
	struct object o;
	char *subnet_id, *vpc, *zone;
	char *description;
	char *address; /* private, IPv4 */
	char *mac;
	char *public_address;
	char *allocation;    /* id of the elastic address it bears; NULL: none */
	char *association;   /* of an elastic address */
	struct texts groups; /* ids */
	char *client_token;
	bool source_dest_check;
	int64_t attachment; /* enum attachment_state */
	char *attachment_id, *instance_id;
	int64_t device_index, attached_at;
	bool delete_on_termination;
	bool requester_managed;
	bool wants_public_address; /* a temporary one, whenever its instance starts */
	struct instance *instance;
	struct list on_instance; /* its `interfaces` */
	struct subnet *subnet;
};
extern const struct kind kind_interface;

/* A new one with an address of the subnet: `wanted`, or any when NULL. NULL with q's failure set
   (InsufficientFreeAddressesInSubnet, InvalidIPAddress.InUse, InvalidParameterValue). `groups` may be empty: the
   VPC's default one. Not attached. */
struct interface *interface_new(
    struct request *q, struct subnet *s, const char *wanted, const struct texts *groups);
void interface_tie(struct interface *n, struct instance *i, int64_t index,
    bool delete_on_termination, enum attachment_state state);
void interface_untie(struct interface *n);

/* Attaching or detaching is done: act_interfaces.c. */
void interface_on_due(struct object *o);

/* Gives its addresses back and removes it. Not attached. */
void interface_delete(struct interface *n);

/* Gives it a public address, or takes a temporary one back. */
void interface_public_take(struct interface *n);
void interface_public_drop(struct interface *n);

/* What every region begins with. Each family adds its own: see defaults.c. */
void region_make_defaults(struct region *r);
struct vpc *region_default_vpc(struct region *r); /* NULL: was deleted */
struct group *vpc_default_group(struct region *r, const char *vpc);

#endif
