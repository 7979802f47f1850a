/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/efs.h"
#include "ec2/idempotent.h"
#include "ec2/instance.h"
#include "ec2/objects.h"
#include "ec2/queue.h"
#include "ec2/resource.h"
#include "ec2/spot.h"
#include "ec2/template.h"

/* What stands on others comes after them: they are linked up in this order. */
const struct kind *const kinds[] = {
    &kind_marker,
    &kind_token,
    &kind_vpc,
    &kind_subnet,
    &kind_group,
    &kind_keypair,
    &kind_image,
    &kind_reservation,
    &kind_spot_request,
    &kind_instance,
    &kind_volume,
    &kind_interface,
    &kind_rule,
    &kind_snapshot,
    &kind_modification,
    &kind_address,
    &kind_queue,
    &kind_message,
    &kind_template,
    &kind_template_version,
    &kind_file_system,
    &kind_access_point,
    &kind_mount_target,
    NULL,
};
