/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_FAMILIES_H
#define EC2_FAMILIES_H

/* The tables that act_*.c end in: each ends with a NULL name, and stands in actions.c. */

#include "ec2/action.h"

extern const struct action run_actions[];
extern const struct action instance_actions[];
extern const struct action attribute_actions[];
extern const struct action tag_actions[];
extern const struct action spot_actions[];
extern const struct action sts_actions[];
extern const struct action address_actions[];
extern const struct action group_actions[];
extern const struct action image_actions[];
extern const struct action interface_actions[];
extern const struct action key_actions[];
extern const struct action modify_actions[];
extern const struct action network_actions[];
extern const struct action rule_actions[];
extern const struct action snapshot_actions[];
extern const struct action type_actions[];
extern const struct action volume_actions[];
extern const struct action zone_actions[];
extern const struct action eic_actions[];
extern const struct action sqs_actions[];
extern const struct action efs_actions[];
extern const struct action efs_target_actions[];
extern const struct action template_actions[];

#endif
