/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: volumes, snapshots, images and changes of volumes take exactly the scenario's time, and what a restart cuts off goes
   on: also the saving of an image, which is the backend's. What is stuck stays stuck. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/ec2_world.h"

#define R "eu-west-1"

static const char delays[] = "throttle: false\n"
			     "delays:\n"
			     "  volume_create: 10s\n"
			     "  volume_modify: 30s\n"
			     "  snapshot: 100s\n"
			     "  image: 60s\n";

static struct ec2_world t;
static char id[64], path[64];

static const char *
call(const char *action, const char *form, const char *member)
{
	ec2_world_call(&t, R, action, form);
	return t.code[0] ? t.code : ec2_world_text(&t, member);
}

/* `name`=the object of the last creation. */
static const char *
look(const char *action, const char *name, const char *member)
{
	char form[128];

	(void)snprintf(form, sizeof(form), "%s=%s", name, id);
	return call(action, form, member);
}

static void
create(const char *action, const char *form, const char *member)
{
	(void)snprintf(id, sizeof(id), "%s", call(action, form, member));
	assert_string_equal(t.code, "");
}

static void
open_world(const char *scenario)
{
	ec2_world_open(&t, scenario, 1, path[0] ? path : NULL, EC2_WORLD_WALL);
}

static void
test_a_volume_takes_its_time(void **state)
{
	open_world(delays);
	create("CreateVolume", "AvailabilityZone=" R "a&Size=8", "volumeId");
	ec2_world_pass(&t, 9999);
	assert_string_equal(look("DescribeVolumes", "VolumeId.1", "status"), "creating");
	assert_string_equal(
	    look("CreateSnapshot", "VolumeId", "status"), "IncorrectState");
	ec2_world_pass(&t, 1);
	assert_string_equal(look("DescribeVolumes", "VolumeId.1", "status"), "available");
	ec2_world_close(&t);
}

static void
test_a_snapshot_says_how_far_it_is(void **state)
{
	char form[128];

	open_world(delays);
	create("CreateVolume", "AvailabilityZone=" R "a&Size=8", "volumeId");
	ec2_world_pass(&t, 10000);
	(void)snprintf(form, sizeof(form), "VolumeId=%s", id);
	create("CreateSnapshot", form, "snapshotId");
	assert_string_equal(look("DescribeSnapshots", "SnapshotId.1", "progress"), "0%");
	ec2_world_pass(&t, 50000);
	assert_string_equal(look("DescribeSnapshots", "SnapshotId.1", "progress"), "49%");
	assert_string_equal(
	    look("DescribeSnapshots", "SnapshotId.1", "status"), "pending");
	ec2_world_pass(&t, 50000);
	assert_string_equal(
	    look("DescribeSnapshots", "SnapshotId.1", "progress"), "100%");
	assert_string_equal(
	    look("DescribeSnapshots", "SnapshotId.1", "status"), "completed");
	ec2_world_close(&t);
}

static void
test_a_change_takes_two_steps(void **state)
{
	char form[128];

	open_world(delays);
	create(
	    "CreateVolume", "AvailabilityZone=" R "a&Size=8&VolumeType=gp3", "volumeId");
	ec2_world_pass(&t, 10000);
	(void)snprintf(form, sizeof(form), "VolumeId=%s&Size=9", id);
	assert_string_equal(call("ModifyVolume", form, "modificationState"), "modifying");
	ec2_world_pass(&t, 29999);
	assert_string_equal(look("DescribeVolumes", "VolumeId.1", "size"), "8");
	ec2_world_pass(&t, 1);
	assert_string_equal(look("DescribeVolumes", "VolumeId.1", "size"), "9");
	assert_string_equal(
	    look("DescribeVolumesModifications", "VolumeId.1", "modificationState"),
	    "optimizing");
	ec2_world_pass(&t, 30000);
	assert_string_equal(
	    look("DescribeVolumesModifications", "VolumeId.1", "modificationState"),
	    "completed");
	ec2_world_close(&t);
}

static void
use_path(void)
{
	(void)snprintf(path, sizeof(path), "/tmp/hearth-ec2-resources-%d.db", getpid());
	(void)unlink(path);
}

static void
drop_path(void)
{
	char beside[96];

	(void)unlink(path);
	(void)snprintf(beside, sizeof(beside), "%s-wal", path);
	(void)unlink(beside);
	(void)snprintf(beside, sizeof(beside), "%s-shm", path);
	(void)unlink(beside);
	path[0] = '\0';
}

/* The reply is out, and the backend has not saved anything yet: then everything ends. */
static void
test_saving_an_image_is_begun_again(void **state)
{
	char form[256];

	use_path();
	open_world(delays);
	call("DescribeImages", "Filter.1.Name=name&Filter.1.Value.1=debian-12-amd64-*",
	    "imageId");
	(void)snprintf(form, sizeof(form),
	    "ImageId=%s&InstanceType=m6i.large&MinCount=1&MaxCount=1",
	    ec2_world_text(&t, "imageId"));
	create("RunInstances", form, "instanceId");
	ec2_world_pass(&t, 1000);
	(void)snprintf(form, sizeof(form), "InstanceId=%s&Name=mine", id);
	create("CreateImage", form, "imageId");
	ec2_world_close(&t);
	open_world(delays);
	assert_string_equal(look("DescribeImages", "ImageId.1", "imageState"), "pending");
	ec2_world_pass(&t, 59000);
	assert_string_equal(look("DescribeImages", "ImageId.1", "imageState"), "pending");
	ec2_world_pass(&t, 2000);
	assert_string_equal(
	    look("DescribeImages", "ImageId.1", "imageState"), "available");
	ec2_world_close(&t);
	drop_path();
}

static void
test_what_is_stuck_stays_so_over_a_restart(void **state)
{
	use_path();
	open_world("throttle: false\nfaults:\n  - {fault: volume_stuck, count: 1}\n");
	create("CreateVolume", "AvailabilityZone=" R "a&Size=8", "volumeId");
	ec2_world_pass(&t, 1000000);
	assert_string_equal(look("DescribeVolumes", "VolumeId.1", "status"), "creating");
	ec2_world_close(&t);
	open_world(delays);
	ec2_world_pass(&t, 1000000);
	assert_string_equal(look("DescribeVolumes", "VolumeId.1", "status"), "creating");
	ec2_world_close(&t);
	drop_path();
}

/* Also after a failure. */
static int
clean_up(void **state)
{
	if (path[0])
		drop_path();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_volume_takes_its_time),
	    cmocka_unit_test(test_a_snapshot_says_how_far_it_is),
	    cmocka_unit_test(test_a_change_takes_two_steps),
	    cmocka_unit_test(test_saving_an_image_is_begun_again),
	    cmocka_unit_test(test_what_is_stuck_stays_so_over_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, clean_up);
}
