/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_INSTANCE_FILTERS_H
#define EC2_INSTANCE_FILTERS_H

/* The filters of DescribeInstances and DescribeInstanceStatus: EC2 API Reference. */

#include "ec2/describe.h"

extern const struct filter instance_filters[];
extern const struct filter instance_status_filters[];

#endif
