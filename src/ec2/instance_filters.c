/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/instance_filters.h"

#include "ec2/instance_xml.h"
#include "ec2/resource.h"
#include "ec2/world.h"

static const struct instance *
at(const void *o)
{
	return o;
}

static const struct interface *
primary(const void *o)
{
	return instance_primary(o);
}

static const char *
on_off(bool off, const char *on_name, const char *off_name)
{
	return off ? off_name : on_name;
}

static const struct instance_state_info *
state(const void *o)
{
	return &instance_state_info[instance_shown_state(o)];
}

OFFER(by_id, at(o)->o.id)
OFFER(by_image, at(o)->image)
OFFER(by_type, at(o)->type)
OFFER(by_zone, at(o)->zone)
OFFER(by_architecture, at(o)->architecture)
OFFER(by_reservation, at(o)->reservation_id)
OFFER(by_token, at(o)->reservation->client_token)
OFFER(by_key, at(o)->reservation->key_name)
OFFER(by_root_device, at(o)->root_device)
OFFER(by_reason, at(o)->reason)
OFFER(by_reason_code, at(o)->reason_code)
OFFER(by_reason_message, at(o)->reason_message)
OFFER(by_profile, at(o)->profile)
OFFER(by_spot_request, at(o)->spot_request)
OFFER(by_lifecycle, at(o)->spot_request ? "spot" : NULL)
OFFER(by_owner, at(o)->o.region->world->account)
OFFER(by_address, instance_private_address(o))
OFFER(by_public_address, instance_public_address(o))
OFFER(by_subnet, primary(o) ? primary(o)->subnet_id : NULL)
OFFER(by_vpc, primary(o) ? primary(o)->vpc : NULL)
OFFER(by_state, state(o)->name)
OFFER_INT(by_state_code, state(o)->code)
OFFER_INT(by_index, at(o)->launch_index)
OFFER_INT(by_hop_limit, at(o)->imds_hop_limit)
OFFER_TIME(by_launch_time, at(o)->launched_at)
OFFER_BOOL(by_hibernation, at(o)->hibernation)
OFFER(by_monitoring, on_off(!at(o)->monitoring, "enabled", "disabled"))
OFFER(by_tokens, on_off(!at(o)->imds_token_required, "required", "optional"))
OFFER(by_imds, on_off(at(o)->imds_disabled, "enabled", "disabled"))
OFFER(by_hypervisor, "xen")
OFFER(by_virtualization, "hvm")
OFFER(by_root_type, "ebs")
OFFER(by_tenancy, "default")
OFFER(by_platform, "Linux/UNIX")
OFFER_BOOL(by_source_dest, primary(o) && primary(o)->source_dest_check)

static void
by_private_dns(const void *o, struct offer *v)
{
	char name[INSTANCE_HOSTNAME_MAX];

	if (!primary(o))
		return;
	instance_hostname(o, true, name);
	offer(v, name);
}

static void
by_dns(const void *o, struct offer *v)
{
	char name[INSTANCE_DNS_MAX];

	if (!instance_public_address(o))
		return;
	instance_public_dns(at(o)->o.region, instance_public_address(o), name);
	offer(v, name);
}

/* Over the groups of one interface, or of all. */
static void
offer_groups(const struct interface *n, struct offer *v, bool names)
{
	for (int i = 0; i < n->groups.n; i++) {
		const struct group *g =
		    region_find(n->o.region, &kind_group, n->groups.v[i]);

		offer(v, !names ? n->groups.v[i] : g ? g->name : NULL);
	}
}

static void
by_group(const void *o, struct offer *v)
{
	if (primary(o))
		offer_groups(primary(o), v, false);
}

static void
by_group_name(const void *o, struct offer *v)
{
	if (primary(o))
		offer_groups(primary(o), v, true);
}

#define EACH_INTERFACE(fn, what)                                                         \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		const struct interface *n;                                               \
                                                                                         \
		list_for_each (n, &at(o)->interfaces, on_instance)                       \
			what;                                                            \
	}
EACH_INTERFACE(by_interface, offer(v, n->o.id))
EACH_INTERFACE(by_interface_subnet, offer(v, n->subnet_id))
EACH_INTERFACE(by_interface_vpc, offer(v, n->vpc))
EACH_INTERFACE(by_interface_address, offer(v, n->address))
EACH_INTERFACE(by_interface_public, offer(v, n->public_address))
EACH_INTERFACE(by_interface_mac, offer(v, n->mac))
EACH_INTERFACE(by_interface_description, offer(v, n->description))
EACH_INTERFACE(by_interface_zone, offer(v, n->zone))
EACH_INTERFACE(by_interface_group, offer_groups(n, v, false))
EACH_INTERFACE(by_interface_group_name, offer_groups(n, v, true))
EACH_INTERFACE(by_interface_index, offer_int(v, n->device_index))
EACH_INTERFACE(by_attachment, offer(v, n->attachment_id))
EACH_INTERFACE(by_attachment_status, offer(v, attachment_state_names[n->attachment]))

#define EACH_VOLUME(fn, what)                                                            \
	static void fn(const void *o, struct offer *v)                                   \
	{                                                                                \
		const struct volume *vol;                                                \
                                                                                         \
		list_for_each (vol, &at(o)->volumes, on_instance)                        \
			what;                                                            \
	}
EACH_VOLUME(by_volume, offer(v, vol->o.id))
EACH_VOLUME(by_device, offer(v, vol->device))
EACH_VOLUME(by_volume_status, offer(v, attachment_state_names[vol->attachment]))
EACH_VOLUME(by_volume_time, offer_time(v, vol->attached_at))
EACH_VOLUME(by_volume_delete, offer_bool(v, vol->delete_on_termination))

const struct filter instance_filters[] = {
    {"instance-id", by_id},
    {"image-id", by_image},
    {"instance-type", by_type},
    {"availability-zone", by_zone},
    {"architecture", by_architecture},
    {"reservation-id", by_reservation},
    {"client-token", by_token},
    {"key-name", by_key},
    {"root-device-name", by_root_device},
    {"root-device-type", by_root_type},
    {"reason", by_reason},
    {"state-reason-code", by_reason_code},
    {"state-reason-message", by_reason_message},
    {"iam-instance-profile.arn", by_profile},
    {"spot-instance-request-id", by_spot_request},
    {"instance-lifecycle", by_lifecycle},
    {"owner-id", by_owner},
    {"private-ip-address", by_address},
    {"ip-address", by_public_address},
    {"private-dns-name", by_private_dns},
    {"dns-name", by_dns},
    {"subnet-id", by_subnet},
    {"vpc-id", by_vpc},
    {"instance-state-name", by_state},
    {"instance-state-code", by_state_code},
    {"launch-index", by_index},
    {"launch-time", by_launch_time},
    {"hibernation-options.configured", by_hibernation},
    {"monitoring-state", by_monitoring},
    {"metadata-options.http-tokens", by_tokens},
    {"metadata-options.http-endpoint", by_imds},
    {"metadata-options.http-put-response-hop-limit", by_hop_limit},
    {"hypervisor", by_hypervisor},
    {"virtualization-type", by_virtualization},
    {"tenancy", by_tenancy},
    {"platform-details", by_platform},
    {"source-dest-check", by_source_dest},
    {"instance.group-id", by_group},
    {"instance.group-name", by_group_name},
    {"group-id", by_group},
    {"group-name", by_group_name},
    {"network-interface.network-interface-id", by_interface},
    {"network-interface.subnet-id", by_interface_subnet},
    {"network-interface.vpc-id", by_interface_vpc},
    {"network-interface.mac-address", by_interface_mac},
    {"network-interface.description", by_interface_description},
    {"network-interface.availability-zone", by_interface_zone},
    {"network-interface.group-id", by_interface_group},
    {"network-interface.group-name", by_interface_group_name},
    {"network-interface.addresses.private-ip-address", by_interface_address},
    {"network-interface.addresses.association.public-ip", by_interface_public},
    {"network-interface.association.public-ip", by_interface_public},
    {"association.public-ip", by_interface_public},
    {"network-interface.attachment.attachment-id", by_attachment},
    {"network-interface.attachment.device-index", by_interface_index},
    {"network-interface.attachment.status", by_attachment_status},
    {"block-device-mapping.volume-id", by_volume},
    {"block-device-mapping.device-name", by_device},
    {"block-device-mapping.status", by_volume_status},
    {"block-device-mapping.attach-time", by_volume_time},
    {"block-device-mapping.delete-on-termination", by_volume_delete},
    {NULL},
};

static void
by_check(const void *o, struct offer *v)
{
	const struct instance *i = at(o);
	bool ok = i->checks_ok_at && i->checks_ok_at <= world_now(i->o.region->world);

	offer(v, instance_shown_state(i) != INSTANCE_RUNNING ? "not-applicable"
		 : ok					     ? "ok"
							     : "initializing");
}

static void
by_reachability(const void *o, struct offer *v)
{
	const struct instance *i = at(o);
	bool ok = i->checks_ok_at && i->checks_ok_at <= world_now(i->o.region->world);

	if (instance_shown_state(i) == INSTANCE_RUNNING)
		offer(v, ok ? "passed" : "initializing");
}

const struct filter instance_status_filters[] = {
    {"availability-zone", by_zone},
    {"instance-state-name", by_state},
    {"instance-state-code", by_state_code},
    {"instance-status.status", by_check},
    {"system-status.status", by_check},
    {"instance-status.reachability", by_reachability},
    {"system-status.reachability", by_reachability},
    {NULL},
};
