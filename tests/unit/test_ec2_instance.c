/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: instances go through AWS's states in the scenario's time and by AWS's rules; what was answered is still so after the
   process was killed, and what was under way goes on. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/ec2_world.h"
#include "base/clock.h"
#include "ec2/backend.h"
#include "ec2/instance.h"
#include "ec2/scenario.h"

#define R "us-west-2"

static const char delays[] = "throttle: false\n"
			     "delays:\n"
			     "  launch: 16s\n"
			     "  boot: 3s\n"
			     "  stop: 20s\n"
			     "  start: 10s\n"
			     "  start_boot: 2s\n"
			     "  hibernate: 60s\n"
			     "  resume: 9s\n"
			     "  terminate: 30s\n"
			     "  status_check: 90s\n";

static struct ec2_world t;
static char ami[64], id[64];

static void
open_world(const char *scenario, const char *path)
{
	ec2_world_open(&t, scenario, 1, path, EC2_WORLD_WALL);
	ec2_world_call(&t, R, "DescribeImages",
	    "Filter.1.Name=name&Filter.1.Value.1=debian-12-amd64-*");
	(void)snprintf(ami, sizeof(ami), "%s", ec2_world_text(&t, "imageId"));
}

/* `form` holds one %s, for the value. */
static const char *
call(const char *action, const char *form_before, const char *value)
{
	const char *at = strstr(form_before, "%s");
	char form[2048];

	(void)snprintf(form, sizeof(form), "%.*s%s%s", (int)(at - form_before),
	    form_before, value, at + 2);
	return ec2_world_call(&t, R, action, form);
}

static void
run(const char *more)
{
	char form[2048];

	(void)snprintf(form, sizeof(form), "ImageId=%s&InstanceType=m6i.large%s%s%s", ami,
	    strstr(more, "MinCount") ? "" : "&MinCount=1&MaxCount=1", more[0] ? "&" : "",
	    more);
	ec2_world_call(&t, R, "RunInstances", form);
	(void)snprintf(id, sizeof(id), "%s", ec2_world_text(&t, "instanceId"));
}

static const char *
state_of(const char *instance)
{
	call("DescribeInstances", "InstanceId.1=%s", instance);
	return t.code[0] ? t.code : ec2_world_text(&t, "name");
}

static void
expect(const char *action, const char *code)
{
	call(action, "InstanceId.1=%s", id);
	assert_string_equal(t.code, code);
}

static const struct instance *
now(void)
{
	return region_find(world_region(t.world, R), &kind_instance, id);
}

static void
test_states_take_their_time(void **state)
{
	char address[64];

	open_world(delays, NULL);
	run("");
	assert_string_equal(t.code, "");
	(void)snprintf(address, sizeof(address), "%s", ec2_world_text(&t, "ipAddress"));
	ec2_world_pass(&t, 15999);
	assert_string_equal(state_of(id), "pending");
	ec2_world_pass(&t, 1);
	assert_string_equal(state_of(id), "running");
	ec2_world_pass(&t, 2999);
	assert_false(now()->was_up);
	ec2_world_pass(&t, 1);
	assert_true(now()->was_up);
	expect("StopInstances", "");
	assert_string_equal(state_of(id), "stopping");
	assert_non_null(strstr(t.reply.data, "Client.UserInitiatedShutdown"));
	ec2_world_pass(&t, 20000);
	assert_string_equal(state_of(id), "stopped");
	assert_string_equal(ec2_world_text(&t, "ipAddress"), "");
	expect("StartInstances", "");
	assert_string_equal(state_of(id), "pending");
	ec2_world_pass(&t, 12000);
	assert_string_equal(state_of(id), "running");
	assert_true(now()->was_up);
	assert_string_not_equal(ec2_world_text(&t, "ipAddress"), address);
	assert_string_equal(ec2_world_text(&t, "stateReason"), "");
	expect("TerminateInstances", "");
	assert_string_equal(state_of(id), "shutting-down");
	ec2_world_pass(&t, 30000);
	assert_string_equal(state_of(id), "terminated");
	assert_int_equal(ec2_world_count(&t, "volumeId"), 0);
	ec2_world_pass(&t, 3600 * 1000 - 1);
	assert_string_equal(state_of(id), "terminated");
	ec2_world_pass(&t, 1);
	assert_string_equal(state_of(id), "InvalidInstanceID.NotFound");
	ec2_world_close(&t);
}

static void
test_states_that_forbid(void **state)
{
	open_world(delays, NULL);
	run("");
	expect("StopInstances", "IncorrectInstanceState");
	ec2_world_pass(&t, 60000);
	expect("StartInstances", ""); /* it runs already: no error */
	assert_string_equal(state_of(id), "running");
	expect("StopInstances", "");
	expect("StartInstances", "IncorrectInstanceState"); /* stopping */
	expect("RebootInstances", "IncorrectInstanceState");
	expect("TerminateInstances", "");
	expect("TerminateInstances", "");
	expect("StartInstances", "IncorrectInstanceState");
	expect("StopInstances", "IncorrectInstanceState");
	ec2_world_pass(&t, 30000);
	expect("StartInstances", "IncorrectInstanceState");
	expect("TerminateInstances", "");
	ec2_world_close(&t);
}

static void
test_all_or_nothing(void **state)
{
	char form[256];

	open_world(delays, NULL);
	run("");
	(void)snprintf(
	    form, sizeof(form), "InstanceId.1=%s&InstanceId.2=i-0123456789abcdef0", id);
	ec2_world_call(&t, R, "TerminateInstances", form);
	assert_string_equal(t.code, "InvalidInstanceID.NotFound");
	assert_string_equal(state_of(id), "pending");
	call("TerminateInstances", "InstanceId.1=%s", "i-nonsense");
	assert_string_equal(t.code, "InvalidInstanceID.Malformed");
	(void)snprintf(form, sizeof(form), "InstanceId.1=%s&DryRun=true", id);
	ec2_world_call(&t, R, "TerminateInstances", form);
	assert_string_equal(t.code, "DryRunOperation");
	assert_string_equal(state_of(id), "pending");
	ec2_world_close(&t);
}

static void
test_hibernation(void **state)
{
	static const char root[] = "HibernationOptions.Configured=true&"
				   "BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&"
				   "BlockDeviceMapping.1.Ebs.Encrypted=true&"
				   "BlockDeviceMapping.1.Ebs.VolumeSize=20";

	open_world(delays, NULL);
	run("HibernationOptions.Configured=true");
	assert_string_equal(t.code, "UnsupportedHibernationConfiguration");
	run("");
	ec2_world_pass(&t, 60000);
	call("StopInstances", "Hibernate=true&InstanceId.1=%s", id);
	assert_string_equal(t.code, "UnsupportedHibernationConfiguration");
	run(root);
	assert_string_equal(t.code, "");
	ec2_world_pass(&t, 17000); /* running, but not up */
	call("StopInstances", "Hibernate=true&InstanceId.1=%s", id);
	assert_string_equal(t.code, "UnsupportedOperation");
	ec2_world_pass(&t, 60000);
	call("StopInstances", "Hibernate=true&InstanceId.1=%s", id);
	assert_string_equal(t.code, "");
	ec2_world_pass(&t, 59999);
	assert_string_equal(state_of(id), "stopping");
	assert_non_null(strstr(t.reply.data, "Client.UserInitiatedHibernate"));
	ec2_world_pass(&t, 1);
	assert_string_equal(state_of(id), "stopped");
	assert_true(now()->hibernated);
	expect("StartInstances", "");
	ec2_world_pass(&t, 9000);
	assert_true(now()->was_up); /* no delay of boot is configured for it */
	ec2_world_close(&t);
}

static void
guest(enum backend_event_kind kind, const char *reason)
{
	instance_on_event(t.world, (struct instance *)now(),
	    &(struct backend_event){.kind = kind, .reason = reason});
	ec2_world_pass(&t, 0);
}

static void
test_a_machine_that_shuts_itself_down(void **state)
{
	open_world(delays, NULL);
	run("");
	ec2_world_pass(&t, 60000);
	guest(BACKEND_OFF, NULL);
	assert_string_equal(state_of(id), "stopping");
	assert_non_null(strstr(t.reply.data, "Client.InstanceInitiatedShutdown"));
	ec2_world_pass(&t, 20000);
	assert_string_equal(state_of(id), "stopped");
	run("InstanceInitiatedShutdownBehavior=terminate");
	ec2_world_pass(&t, 60000);
	guest(BACKEND_OFF, NULL);
	assert_string_equal(state_of(id), "shutting-down");
	ec2_world_pass(&t, 30000);
	assert_string_equal(state_of(id), "terminated");
	run("");
	guest(BACKEND_FAILED, "no image");
	assert_string_equal(state_of(id), "shutting-down");
	assert_non_null(strstr(t.reply.data, "Server.InternalError: no image"));
	ec2_world_close(&t);
}

static void
test_client_tokens(void **state)
{
	char first[64];

	open_world(delays, NULL);
	run("ClientToken=a&MinCount=2&MaxCount=2");
	(void)snprintf(first, sizeof(first), "%s", id);
	run("ClientToken=a&MinCount=2&MaxCount=2");
	assert_string_equal(id, first);
	assert_int_equal(ec2_world_count(&t, "amiLaunchIndex"), 2);
	run("ClientToken=a&MinCount=1&MaxCount=2");
	assert_string_equal(t.code, "IdempotentParameterMismatch");
	ec2_world_call(&t, R, "DescribeInstances", "");
	assert_int_equal(ec2_world_count(&t, "amiLaunchIndex"), 2);
	call("TerminateInstances", "InstanceId.1=%s", first);
	run("ClientToken=a&MinCount=2&MaxCount=2");
	assert_string_equal(t.code, "IdempotentInstanceTerminated");
	ec2_world_pass(&t, 24 * 3600 * 1000);
	run("ClientToken=a&MinCount=2&MaxCount=2");
	assert_string_equal(t.code, "");
	assert_string_not_equal(id, first);
	ec2_world_close(&t);
}

static void
test_throttling(void **state)
{
	open_world("{}\n", NULL);
	for (int i = 0; i < 5; i++) {
		run("");
		assert_string_equal(t.code, "");
	}
	run("");
	assert_string_equal(t.code, "RequestLimitExceeded");
	ec2_world_call(
	    &t, "eu-west-1", "DescribeInstances", ""); /* a bucket of its own */
	assert_string_equal(t.code, "");
	ec2_world_pass(&t, 500);
	run("");
	assert_string_equal(t.code, "");
	run("");
	assert_string_equal(t.code, "RequestLimitExceeded");
	ec2_world_pass(&t, 60000);
	run("MinCount=995&MaxCount=995"); /* instances: 1000 and 2 a second; six are gone */
	assert_string_equal(t.code, "");
	run("MinCount=200&MaxCount=200");
	assert_string_equal(t.code, "RequestLimitExceeded");
	ec2_world_close(&t);
}

static void
test_capacity(void **state)
{
	open_world("throttle: false\nfaults: [{fault: capacity, type: m6i.large, zone: "
		   "us-west-2a, after: 3, count: 2}]\n",
	    NULL);
	run("MinCount=1&MaxCount=10");
	assert_int_equal(ec2_world_count(&t, "amiLaunchIndex"), 3);
	run("MinCount=1&MaxCount=10");
	assert_string_equal(t.code, "InsufficientInstanceCapacity");
	run("MinCount=10&MaxCount=10");
	assert_int_equal(ec2_world_count(&t, "amiLaunchIndex"), 10);
	ec2_world_close(&t);
}

static void
test_faults_of_instances(void **state)
{
	open_world("throttle: false\ndelays: {launch: 5s}\nfaults:\n"
		   "- {fault: invisible, for: 10s, count: 1}\n"
		   "- {fault: dies_pending, after: 1, count: 1, reason: "
		   "Client.VolumeLimitExceeded}\n"
		   "- {fault: no_sshd, after: 2, count: 1}\n"
		   "- {fault: address_missing, after: 3, for: 4s, count: 1}\n",
	    NULL);
	run("");
	assert_string_equal(t.code, "");
	assert_string_equal(state_of(id), "InvalidInstanceID.NotFound");
	expect("TerminateInstances", "InvalidInstanceID.NotFound");
	ec2_world_pass(&t, 10000);
	assert_string_equal(state_of(id), "running");
	run("");
	ec2_world_pass(&t, 5000);
	assert_string_equal(state_of(id), "terminated");
	assert_non_null(strstr(t.reply.data, "Client.VolumeLimitExceeded"));
	run("");
	ec2_world_pass(&t, 5000);
	assert_string_equal(state_of(id), "running");
	ec2_world_pass(&t, 3600 * 1000);
	assert_false(now()->was_up);
	run("");
	state_of(id);
	assert_string_equal(ec2_world_text(&t, "privateIpAddress"), "");
	ec2_world_pass(&t, 4000);
	state_of(id);
	assert_string_not_equal(ec2_world_text(&t, "privateIpAddress"), "");
	ec2_world_close(&t);
}

static void
test_stale_describes(void **state)
{
	open_world("throttle: false\nfaults: [{fault: stale, for: 3s}]\n", NULL);
	run("");
	ec2_world_pass(&t, 1);
	assert_string_equal(state_of(id), "pending");
	assert_int_equal(now()->state, INSTANCE_RUNNING);
	ec2_world_pass(&t, 3000);
	assert_string_equal(state_of(id), "running");
	ec2_world_close(&t);
}

static void
test_spot(void **state)
{
	static const char persistent[] =
	    "InstanceMarketOptions.MarketType=spot&"
	    "InstanceMarketOptions.SpotOptions.SpotInstanceType=persistent&"
	    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior=stop";

	open_world(
	    "throttle: false\nfaults: [{fault: spot_interrupted, after: 1, for: 60s, "
	    "count: 1}]\n",
	    NULL);
	run("InstanceMarketOptions.MarketType=spot");
	ec2_world_pass(&t, 1);
	expect("StopInstances", "UnsupportedOperation"); /* one-time */
	run(persistent);
	ec2_world_pass(&t, 60001);
	assert_true(now()->spot_notice_at > 0);
	assert_string_equal(state_of(id), "running");
	ec2_world_pass(&t, 119000);
	assert_string_equal(state_of(id), "running");
	ec2_world_pass(&t, 1001);
	assert_string_equal(state_of(id), "stopped");
	assert_non_null(strstr(t.reply.data, "Server.SpotInstanceShutdown"));
	expect("StartInstances", "");
	ec2_world_pass(&t, 1);
	ec2_world_call(&t, R, "DescribeSpotInstanceRequests",
	    "Filter.1.Name=type&Filter.1.Value.1=persistent");
	assert_int_equal(ec2_world_count(&t, "spotInstanceRequestId"), 1);
	call("CancelSpotInstanceRequests", "SpotInstanceRequestId.1=%s",
	    ec2_world_text(&t, "spotInstanceRequestId"));
	assert_string_equal(ec2_world_text(&t, "state"), "cancelled");
	assert_string_equal(state_of(id), "running");
	ec2_world_close(&t);
}

static int
running(void)
{
	ec2_world_call(&t, R, "DescribeInstances",
	    "Filter.1.Name=instance-state-name&Filter.1.Value.1=running");
	return ec2_world_count(&t, "amiLaunchIndex");
}

/* Until it is cancelled, which must come first. */
static void
test_a_persistent_request_makes_the_next_one(void **state)
{
	static const char persistent[] =
	    "InstanceMarketOptions.MarketType=spot&"
	    "InstanceMarketOptions.SpotOptions.SpotInstanceType=persistent";
	char first[64], request[64];

	open_world("throttle: false\n", NULL);
	run(persistent);
	(void)snprintf(first, sizeof(first), "%s", id);
	(void)snprintf(
	    request, sizeof(request), "%s", ec2_world_text(&t, "spotInstanceRequestId"));
	ec2_world_pass(&t, 1);
	expect("TerminateInstances", "");
	ec2_world_pass(&t, 10);
	assert_string_equal(state_of(first), "terminated");
	assert_int_equal(running(), 1);
	assert_string_equal(ec2_world_text(&t, "spotInstanceRequestId"), request);
	assert_int_equal(ec2_world_count(&t, "volumeId"), 1);
	(void)snprintf(id, sizeof(id), "%s", ec2_world_text(&t, "instanceId"));
	assert_string_not_equal(id, first);
	call("CancelSpotInstanceRequests", "SpotInstanceRequestId.1=%s", request);
	assert_string_equal(t.code, "");
	expect("TerminateInstances", "");
	ec2_world_pass(&t, 10);
	assert_int_equal(running(), 0);
	run("InstanceMarketOptions.MarketType=spot"); /* one-time: none follows */
	ec2_world_pass(&t, 1);
	expect("TerminateInstances", "");
	ec2_world_pass(&t, 10);
	assert_int_equal(running(), 0);
	ec2_world_close(&t);
}

static void
test_interfaces_made_before(void **state)
{
	char eni[64], address[64], form[512], subnet[64];

	open_world(delays, NULL);
	ec2_world_call(&t, R, "DescribeSubnets", "");
	(void)snprintf(subnet, sizeof(subnet), "%s", ec2_world_text(&t, "subnetId"));
	call("CreateNetworkInterface", "SubnetId=%s", subnet);
	(void)snprintf(eni, sizeof(eni), "%s", ec2_world_text(&t, "networkInterfaceId"));
	(void)snprintf(
	    address, sizeof(address), "%s", ec2_world_text(&t, "privateIpAddress"));
	(void)snprintf(form, sizeof(form),
	    "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.NetworkInterfaceId=%s",
	    eni);
	run(form);
	assert_string_equal(t.code, "");
	assert_string_equal(ec2_world_text(&t, "privateIpAddress"), address);
	run(form);
	assert_string_equal(t.code, "InvalidNetworkInterface.InUse");
	state_of(id);
	ec2_world_call(&t, R, "DescribeInstances", "");
	(void)snprintf(id, sizeof(id), "%s", ec2_world_text(&t, "instanceId"));
	expect("TerminateInstances", "");
	ec2_world_pass(&t, 60000);
	call("DescribeNetworkInterfaces", "NetworkInterfaceId.1=%s", eni);
	assert_string_equal(t.code, ""); /* it is ours to delete */
	assert_string_equal(ec2_world_text(&t, "status"), "available");
	ec2_world_close(&t);
}

/* Twice: between the two openings the process is gone, and some time goes by. */
static void
test_a_restart_goes_on(void **state)
{
	char inside[64];
	char path[] = "/tmp/hearth-ec2-unit-XXXXXX", pending[64], running[64],
	     address[64];
	int fd = mkstemp(path);

	close(fd);
	open_world(delays, path);
	run("TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k&"
	    "TagSpecification.1.Tag.1.Value=v&UserData=IyEvYmluL3No&ClientToken=before");
	(void)snprintf(running, sizeof(running), "%s", id);
	ec2_world_pass(&t, 30000);
	state_of(running);
	(void)snprintf(address, sizeof(address), "%s", ec2_world_text(&t, "ipAddress"));
	(void)snprintf(
	    inside, sizeof(inside), "%s", ec2_world_text(&t, "privateIpAddress"));
	run("");
	(void)snprintf(pending, sizeof(pending), "%s", id);
	ec2_world_pass(&t, 6000);
	ec2_world_close(&t);

	ec2_world_open(&t, delays, 1, path, EC2_WORLD_WALL + 36000 + 4000);
	assert_string_equal(state_of(running), "running");
	assert_string_equal(ec2_world_text(&t, "ipAddress"), address);
	assert_string_equal(ec2_world_text(&t, "key"), "k");
	assert_string_equal(state_of(pending), "pending");
	ec2_world_pass(&t, 5999);
	assert_string_equal(state_of(pending), "pending");
	ec2_world_pass(&t, 1);
	assert_string_equal(state_of(pending), "running");
	run("TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k&"
	    "TagSpecification.1.Tag.1.Value=v&UserData=IyEvYmluL3No&ClientToken=before");
	assert_string_equal(id, running);
	run(""); /* gets addresses that nobody has */
	assert_string_equal(t.code, "");
	assert_string_not_equal(ec2_world_text(&t, "privateIpAddress"), inside);
	assert_string_not_equal(ec2_world_text(&t, "ipAddress"), address);
	ec2_world_call(&t, R, "DescribeVpcs", "");
	assert_int_equal(ec2_world_count(&t, "vpcId"), 1);
	ec2_world_close(&t);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_states_take_their_time),
	    cmocka_unit_test(test_states_that_forbid),
	    cmocka_unit_test(test_all_or_nothing),
	    cmocka_unit_test(test_hibernation),
	    cmocka_unit_test(test_a_machine_that_shuts_itself_down),
	    cmocka_unit_test(test_client_tokens),
	    cmocka_unit_test(test_throttling),
	    cmocka_unit_test(test_capacity),
	    cmocka_unit_test(test_faults_of_instances),
	    cmocka_unit_test(test_stale_describes),
	    cmocka_unit_test(test_spot),
	    cmocka_unit_test(test_a_persistent_request_makes_the_next_one),
	    cmocka_unit_test(test_interfaces_made_before),
	    cmocka_unit_test(test_a_restart_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
