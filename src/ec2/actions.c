/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ec2/action.h"
#include "ec2/families.h"

/* AWS General Reference, "Service endpoints"; namespaces and target prefixes as in the services' models. */
const struct service_info service_info[SERVICE_MAX] = {
    [SERVICE_EC2] = {"ec2", "http://ec2.amazonaws.com/doc/2016-11-15/", NULL},
    [SERVICE_STS] = {"sts", "https://sts.amazonaws.com/doc/2011-06-15/", NULL},
    [SERVICE_EIC] = {"ec2-instance-connect", NULL, "AWSEC2InstanceConnectService."},
    [SERVICE_SQS] = {"sqs", "http://queue.amazonaws.com/doc/2012-11-05/", "AmazonSQS."},
    [SERVICE_EFS] = {"elasticfilesystem", NULL, NULL},
};

/* One for each act_*.c. */
static const struct action_table families[] = {
    {SERVICE_EC2, run_actions},
    {SERVICE_EC2, instance_actions},
    {SERVICE_EC2, attribute_actions},
    {SERVICE_EC2, tag_actions},
    {SERVICE_EC2, spot_actions},
    {SERVICE_EC2, address_actions},
    {SERVICE_EC2, group_actions},
    {SERVICE_EC2, image_actions},
    {SERVICE_EC2, interface_actions},
    {SERVICE_EC2, key_actions},
    {SERVICE_EC2, modify_actions},
    {SERVICE_EC2, network_actions},
    {SERVICE_EC2, rule_actions},
    {SERVICE_EC2, snapshot_actions},
    {SERVICE_EC2, template_actions},
    {SERVICE_EC2, type_actions},
    {SERVICE_EC2, volume_actions},
    {SERVICE_EC2, zone_actions},
    {SERVICE_EFS, efs_actions},
    {SERVICE_EFS, efs_target_actions},
    {SERVICE_EIC, eic_actions},
    {SERVICE_SQS, sqs_actions},
    {SERVICE_STS, sts_actions},
};

const struct action *
action_find(enum service service, const char *name)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (families[i].service != service)
			continue;
		for (const struct action *a = families[i].rows; a->name; a++)
			if (strcmp(a->name, name) == 0)
				return a;
	}
	return NULL;
}
