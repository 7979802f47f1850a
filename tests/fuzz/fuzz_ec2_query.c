/* SPDX-License-Identifier: Apache-2.0 */
/* The input's first byte chooses an action, the rest is its form, for a world that has some of everything. Nothing that
   comes in breaks the world, and every reply is XML. */
#include <assert.h>
#include <stdio.h>

#include "../support/ec2_world.h"
#include "aws/xml.h"
#include "ec2/action.h"
#include "fuzz.h"

#define CALLS_MAX 200 /* of one world */

static const char *const actions[] = {"RunInstances", "DescribeInstances",
    "DescribeInstanceStatus", "StartInstances", "StopInstances", "RebootInstances",
    "TerminateInstances", "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions",
    "CreateTags", "DeleteTags", "DescribeTags", "DescribeSpotInstanceRequests",
    "CancelSpotInstanceRequests", "DescribeInstanceAttribute", "DescribeImages",
    "CreateImage", "DeregisterImage", "CreateKeyPair", "ImportKeyPair",
    "DescribeKeyPairs", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress",
    "DescribeSecurityGroups", "CreateVolume", "AttachVolume", "DetachVolume",
    "DeleteVolume", "ModifyVolume", "DescribeVolumes", "CreateSnapshot",
    "DescribeSnapshots", "CreateNetworkInterface", "AttachNetworkInterface",
    "DetachNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces",
    "AllocateAddress", "AssociateAddress", "ReleaseAddress", "DescribeSubnets",
    "DescribeVpcs", "DescribeInstanceTypes", "DescribeInstanceTypeOfferings",
    "DescribeAvailabilityZones", "DescribeSpotPriceHistory"};

static struct ec2_world world;
static int calls;

static void
open_world(void)
{
	char form[256];

	ec2_world_open(&world, "throttle: false\n", 1, NULL, EC2_WORLD_WALL);
	ec2_world_call(&world, "us-east-1", "DescribeImages",
	    "Filter.1.Name=name&Filter.1.Value.1=debian-12-amd64-*");
	(void)snprintf(form, sizeof(form),
	    "InstanceType=t3.micro&MinCount=2&MaxCount=2&ImageId=%s",
	    ec2_world_text(&world, "imageId"));
	ec2_world_call(&world, "us-east-1", "RunInstances", form);
	assert(!world.code[0]);
	ec2_world_pass(&world, 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct xml *reply = NULL;
	struct err err;

	if (n < 1 || n > 65536)
		return 0;
	if (calls++ == 0)
		open_world();
	ec2_world_call_bytes(&world, "us-east-1",
	    actions[data[0] % (sizeof(actions) / sizeof(actions[0]))],
	    (const char *)data + 1, n - 1);
	if (!world.code[0]) {
		assert(xml_parse(world.reply.data, world.reply.len, &reply, &err) == 0);
		xml_free(reply);
	}
	ec2_world_pass(&world, 1000);
	if (calls == CALLS_MAX) {
		ec2_world_close(&world);
		calls = 0;
	}
	return 0;
}
