/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_TEMPLATE_H
#define EC2_TEMPLATE_H

/* Launch templates: parameters of RunInstances, kept under a name and in versions. */

#include "ec2/world.h"

struct template
{
	struct object o;
	char *name;
	int64_t default_version, latest_version;
};
extern const struct kind kind_template;

struct template_version {
	struct object o;
	char *template_id, *description;
	int64_t number;
	struct texts data; /* "NAME=VALUE" of parameters, without "LaunchTemplateData." */
};
extern const struct kind kind_template_version;

/* Before RunInstances reads anything: the parameters of the template that the request names become the request's, but for what it
   gives itself. With a failure where there is no such template or version. */
void template_apply(struct request *q);

#endif
