# SPDX-License-Identifier: Apache-2.0
"""Goal: Debian's aws-cli and boto3, unmodified, find at hearth-ec2 what AWS documents: calls, errors, states, paging,
filters, client tokens, throttling, regions, waiters. With fake machines, without root. Written from AWS's documentation and the
contract, not from the code."""

import base64
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")
from botocore.exceptions import ClientError  # noqa: E402

from ec2 import AWS_CLI  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.2  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.skipif(not os.path.exists(AWS_CLI), reason="needs awscli")
QUICK = {"Delay": 0.1, "MaxAttempts": 200}
AL2023 = [{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}]
DEBIAN = [{"Name": "name", "Values": ["debian-12-amd64-*"]}]


def image(client):
    """The newest Amazon Linux 2023, looked up as everybody does."""
    images = client.describe_images(Owners=["amazon"], Filters=AL2023)["Images"]
    return max(images, key=lambda i: i["CreationDate"])["ImageId"]


def run(client, n=1, **more):
    """n instances; the reply's."""
    arguments = {"ImageId": None, "InstanceType": "t3.micro", "MinCount": n, "MaxCount": n, **more}
    if arguments["ImageId"] is None:
        arguments["ImageId"] = image(client)
    return client.run_instances(**arguments)["Instances"]


def ids(instances):
    return [i["InstanceId"] for i in instances]


def described(client, **how):
    return [i for page in client.get_paginator("describe_instances").paginate(**how) for r in page["Reservations"] for i in r["Instances"]]


def one(client, instance_id):
    [i] = described(client, InstanceIds=[instance_id])
    return i


def state(client, instance_id):
    return one(client, instance_id)["State"]["Name"]


def running(client, n=1, **more):
    made = ids(run(client, n, **more))
    client.get_waiter("instance_running").wait(InstanceIds=made, WaiterConfig=QUICK)
    return made


def refused(call, *args, **kwargs):
    """The code, and the HTTP status, of the error that the call ends in."""
    with pytest.raises(ClientError) as e:
        call(*args, **kwargs)
    return e.value.response["Error"]["Code"], e.value.response["ResponseMetadata"]["HTTPStatusCode"]


def code(call, *args, **kwargs):
    return refused(call, *args, **kwargs)[0]


def spec(resource, **tags):
    return {"ResourceType": resource, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}


# --- aws-cli from the first command to the last


def test_a_life_by_aws_cli(endpoint):
    """What a person types, in order."""
    aws = endpoint.aws
    assert "us-west-2" in [r["RegionName"] for r in aws("ec2", "describe-regions").json["Regions"]]
    identity = aws("sts", "get-caller-identity").json
    assert len(identity["Account"]) == 12 and identity["Arn"].startswith("arn:aws:")
    ami = aws("ec2", "describe-images", "--owners", "amazon", "--filters", "Name=name,Values=al2023-ami-2023.*-x86_64",
              "Name=state,Values=available", "--query", "sort_by(Images,&CreationDate)[-1].ImageId", "--output", "text").out.strip()
    assert ami.startswith("ami-")
    key = aws("ec2", "create-key-pair", "--key-name", "mine", "--key-type", "ed25519", "--query", "KeyMaterial", "--output",
              "text").out
    assert key.startswith("-----BEGIN")
    group = aws("ec2", "create-security-group", "--group-name", "door", "--description", "ssh").json["GroupId"]
    aws("ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0")
    made = aws("ec2", "run-instances", "--image-id", ami, "--instance-type", "t3.micro", "--key-name", "mine",
               "--security-group-ids", group, "--count", "2", "--tag-specifications",
               "ResourceType=instance,Tags=[{Key=Name,Value=hello}]").json
    both = ids(made["Instances"])
    assert len(set(both)) == 2 and {i["State"]["Name"] for i in made["Instances"]} == {"pending"}
    assert [i["AmiLaunchIndex"] for i in made["Instances"]] == [0, 1]
    aws("ec2", "wait", "instance-running", "--instance-ids", *both)
    aws("ec2", "wait", "instance-status-ok", "--instance-ids", *both)
    seen = aws("ec2", "describe-instances", "--filters", "Name=tag:Name,Values=hello", "--query",
               "Reservations[].Instances[]").json
    assert sorted(ids(seen)) == sorted(both)
    for i in seen:
        assert i["State"] == {"Code": 16, "Name": "running"} and i["KeyName"] == "mine" and i["PrivateIpAddress"] and i["PublicIpAddress"]
        assert [g["GroupId"] for g in i["SecurityGroups"]] == [group]
    aws("ec2", "stop-instances", "--instance-ids", both[0])
    aws("ec2", "wait", "instance-stopped", "--instance-ids", both[0])
    aws("ec2", "start-instances", "--instance-ids", both[0])
    aws("ec2", "wait", "instance-running", "--instance-ids", both[0])
    aws("ec2", "reboot-instances", "--instance-ids", *both)
    aws("ec2", "get-console-output", "--instance-id", both[0])
    gone = aws("ec2", "terminate-instances", "--instance-ids", *both).json["TerminatingInstances"]
    assert {g["CurrentState"]["Name"] for g in gone} <= {"shutting-down", "terminated"} and len(gone) == 2
    aws("ec2", "wait", "instance-terminated", "--instance-ids", *both)
    aws("ec2", "delete-security-group", "--group-id", group)
    aws("ec2", "delete-key-pair", "--key-name", "mine")


def test_aws_cli_says_what_is_wrong(endpoint, sample):
    """Exit status 254 and the documented code, for the mistakes that are made most."""
    made = ids(run(endpoint.ec2))[0]
    for words, want in sample((
            (("run-instances", "--image-id", "ami-0123456789abcdef0", "--instance-type", "t3.micro"), "InvalidAMIID.NotFound"),
            (("describe-instances", "--instance-ids", "i-0123456789abcdef0"), "InvalidInstanceID.NotFound"),
            (("describe-instances", "--instance-ids", "box"), "InvalidInstanceID.Malformed"),
            (("describe-instances", "--filters", "Name=colour,Values=red"), "InvalidParameterValue"),
            (("terminate-instances", "--dry-run", "--instance-ids", made), "DryRunOperation"),
            (("delete-volume", "--volume-id", "vol-0123456789abcdef0"), "InvalidVolume.NotFound"),
            (("describe-key-pairs", "--key-names", "nobody"), "InvalidKeyPair.NotFound"),
            (("describe-launch-templates", "--max-results", "1001"), None)), 3):
        done = endpoint.aws("ec2", *words, check=False)
        assert done.status in (252, 254) and (want is None or done.code == want), (words, done)
    for key, secret in (("AKIAEXAMPLE", "wrong"), ("AKIANOBODY", "secret")):
        done = endpoint.aws("ec2", "describe-instances", key=key, secret=secret, check=False)
        assert done.status == 254 and done.code == "AuthFailure", done


# --- run-instances


def test_what_run_instances_refuses(endpoint):
    c = endpoint.ec2
    ami = image(c)
    good = {"ImageId": ami, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    for change, want in (
            ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
            ({"ImageId": "debian"}, "InvalidAMIID.Malformed"),
            ({"InstanceType": "t3.gigantic"}, "InvalidParameterValue"),
            ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
            ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
            ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
            ({"Placement": {"AvailabilityZone": "us-east-1z"}}, "InvalidParameterValue"),
            ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
            ({"MinCount": 0}, "InvalidParameterValue"),
            ({"MinCount": -1, "MaxCount": -1}, "InvalidParameterValue"),
            ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
            ({"UserData": "x" * 16385}, "InvalidParameterValue"),
            ({"InstanceInitiatedShutdownBehavior": "explode"}, "InvalidParameterValue"),
            ({"TagSpecifications": [spec("instance", **{"aws:mine": "x"})]}, "InvalidParameterValue"),
            ({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}]},
             "InvalidParameterValue"),
            ({"TagSpecifications": [spec("instance", **{f"k{i}": "v" for i in range(51)})]}, "TagLimitExceeded"),
            ({"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": "eni-0123456789abcdef0"}]},
             "InvalidNetworkInterfaceID.NotFound"),
    ):
        got, status = refused(c.run_instances, **{**good, **change})
        assert (got, status) == (want, 400), (change, got)
    assert not described(c), "a call that was refused made an instance"


def test_user_data_comes_back(endpoint):
    c = endpoint.ec2
    text = "#!/bin/sh\necho 'ä & <b>'\n" + "#" * 16000
    [i] = ids(run(c, UserData=text))
    value = c.describe_instance_attribute(InstanceId=i, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(value).decode() == text
    assert c.describe_instance_attribute(InstanceId=ids(run(c))[0], Attribute="userData")["UserData"].get("Value") in (None, "")


def test_everything_is_tagged_in_the_call(endpoint):
    """Instance, volume and interface bear their tags as soon as they can be seen."""
    c = endpoint.ec2
    [i] = run(c, TagSpecifications=[spec("instance", a="1"), spec("volume", b="2"), spec("network-interface", c="3")])
    assert i["Tags"] == [{"Key": "a", "Value": "1"}]
    c.get_waiter("instance_running").wait(InstanceIds=ids([i]), WaiterConfig=QUICK)
    i = one(c, i["InstanceId"])
    [volume] = c.describe_volumes(Filters=[{"Name": "tag:b", "Values": ["2"]}])["Volumes"]
    [interface] = c.describe_network_interfaces(Filters=[{"Name": "tag:c", "Values": ["3"]}])["NetworkInterfaces"]
    assert volume["Attachments"][0]["InstanceId"] == interface["Attachment"]["InstanceId"] == i["InstanceId"]
    assert i["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] == volume["VolumeId"]
    assert i["NetworkInterfaces"][0]["NetworkInterfaceId"] == interface["NetworkInterfaceId"]
    found = c.describe_tags(Filters=[{"Name": "key", "Values": ["a", "b", "c"]}])["Tags"]
    assert sorted((t["Key"], t["ResourceType"]) for t in found) == [("a", "instance"), ("b", "volume"), ("c", "network-interface")]


def test_tags_are_what_was_written(endpoint):
    c = endpoint.ec2
    [i] = ids(run(c))
    odd = {"<k&'\">": "]]> 𝄞 ä", "empty": "", "x" * 128: "y" * 256, "a b": "1+1=2/%3D"}
    c.create_tags(Resources=[i], Tags=[{"Key": k, "Value": v} for k, v in odd.items()])
    assert {t["Key"]: t["Value"] for t in one(c, i)["Tags"]} == odd
    c.create_tags(Resources=[i], Tags=[{"Key": "empty", "Value": "no longer"}])
    c.delete_tags(Resources=[i], Tags=[{"Key": "a b", "Value": "not this value"}, {"Key": "x" * 128}])
    tags = {t["Key"]: t["Value"] for t in one(c, i)["Tags"]}
    assert set(tags) == {"<k&'\">", "empty", "a b"} and tags["empty"] == "no longer"
    assert code(c.create_tags, Resources=["i-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}]) == "InvalidInstanceID.NotFound"
    assert code(c.create_tags, Resources=[i, "i-0123456789abcdef0"], Tags=[{"Key": "half", "Value": "b"}]) == "InvalidInstanceID.NotFound"
    assert "half" not in {t["Key"] for t in one(c, i)["Tags"]}
    assert code(c.create_tags, Resources=[i], Tags=[{"Key": f"n{k}", "Value": ""} for k in range(50)]) == "TagLimitExceeded"
    assert code(c.create_tags, Resources=[i], Tags=[{"Key": "x" * 129, "Value": ""}]) == "InvalidParameterValue"


def test_an_interface_made_before_gives_its_address(endpoint):
    """The address is known before the instance runs; one that is in use is given to nobody else."""
    c = endpoint.ec2
    subnet = c.describe_subnets()["Subnets"][0]
    eni = c.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]
    with_eni = {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": eni["NetworkInterfaceId"]}]}
    [i] = running(c, **with_eni)
    got = one(c, i)
    assert got["PrivateIpAddress"] == eni["PrivateIpAddress"] and got["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    assert code(c.run_instances, ImageId=image(c), InstanceType="t3.micro", MinCount=1, MaxCount=1, **with_eni) == "InvalidNetworkInterface.InUse"
    assert code(c.delete_network_interface, NetworkInterfaceId=eni["NetworkInterfaceId"]) in (
        "InvalidNetworkInterface.InUse", "InvalidParameterValue", "OperationNotPermitted")
    c.terminate_instances(InstanceIds=[i])
    c.get_waiter("instance_terminated").wait(InstanceIds=[i], WaiterConfig=QUICK)
    assert c.describe_network_interfaces(NetworkInterfaceIds=[eni["NetworkInterfaceId"]])["NetworkInterfaces"][0]["Status"] == "available"
    c.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])


# --- client tokens


def test_client_tokens(endpoint):
    """The same token: the same instance. With other parameters, or after its end: an error. Regions have their own."""
    c = endpoint.ec2
    ami = image(c)
    first = ids(run(c, 2, ImageId=ami, ClientToken="once"))
    assert ids(run(c, 2, ImageId=ami, ClientToken="once")) == first
    assert code(run, c, 1, ImageId=ami, ClientToken="once") == "IdempotentParameterMismatch"
    assert code(run, c, 2, ImageId=ami, InstanceType="t3.large", ClientToken="once") == "IdempotentParameterMismatch"
    assert ids(run(c, 2, ImageId=ami, ClientToken="twice")) != first
    west = endpoint.client(region="us-west-2")
    assert ids(run(west, 2, ClientToken="once")) != first
    assert {i["ClientToken"] for i in described(c, InstanceIds=first)} == {"once"}
    c.terminate_instances(InstanceIds=first)
    c.get_waiter("instance_terminated").wait(InstanceIds=first, WaiterConfig=QUICK)
    assert code(run, c, 2, ImageId=ami, ClientToken="once") == "IdempotentInstanceTerminated"
    assert len(described(c)) == 4


def test_one_token_at_the_same_time(endpoint):
    ami = image(endpoint.ec2)
    barrier = threading.Barrier(8)

    def launch(_):
        barrier.wait()
        return ids(run(endpoint.ec2, ImageId=ami, ClientToken="together"))[0]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(launch, range(8)))) == 1
    assert len(described(endpoint.ec2)) == 1


def test_tokens_of_volumes_and_interfaces(endpoint):
    c = endpoint.ec2
    subnet = c.describe_subnets()["Subnets"][0]
    volume = {"AvailabilityZone": subnet["AvailabilityZone"], "ClientToken": "v"}
    assert c.create_volume(Size=4, **volume)["VolumeId"] == c.create_volume(Size=4, **volume)["VolumeId"]
    assert code(c.create_volume, Size=5, **volume) == "IdempotentParameterMismatch"
    eni = [c.create_network_interface(SubnetId=subnet["SubnetId"], ClientToken="e")["NetworkInterface"]["NetworkInterfaceId"]
           for _ in range(2)]
    assert eni[0] == eni[1]


def test_a_token_outlives_a_crash(endpoints):
    e = endpoints().start()
    ami = image(e.ec2)
    first = ids(run(e.ec2, ImageId=ami, ClientToken="durable"))
    e.kill()
    e.start()
    assert ids(run(e.ec2, ImageId=ami, ClientToken="durable")) == first


# --- dry run


def test_dry_run_does_nothing(endpoint):
    c = endpoint.ec2
    [i] = running(c)
    subnet = c.describe_subnets()["Subnets"][0]
    for call, how in ((c.run_instances, {"ImageId": image(c), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}),
                      (c.terminate_instances, {"InstanceIds": [i]}), (c.stop_instances, {"InstanceIds": [i]}),
                      (c.reboot_instances, {"InstanceIds": [i]}), (c.describe_instances, {}),
                      (c.create_tags, {"Resources": [i], "Tags": [{"Key": "a", "Value": "b"}]}),
                      (c.create_key_pair, {"KeyName": "k"}), (c.create_image, {"InstanceId": i, "Name": "name"}),
                      (c.create_volume, {"AvailabilityZone": subnet["AvailabilityZone"], "Size": 1}),
                      (c.create_security_group, {"GroupName": "g", "Description": "d"})):
        assert refused(call, DryRun=True, **how) == ("DryRunOperation", 412), call
    assert state(c, i) == "running" and len(described(c)) == 1 and not one(c, i).get("Tags")
    assert not c.describe_key_pairs()["KeyPairs"] and len(c.describe_volumes()["Volumes"]) == 1
    assert [g["GroupName"] for g in c.describe_security_groups()["SecurityGroups"]] == ["default"]


# --- states


def test_states_and_what_they_refuse(endpoint):
    c = endpoint.ec2
    [i] = running(c)
    assert c.start_instances(InstanceIds=[i])["StartingInstances"][0]["CurrentState"]["Name"] == "running"
    stopping = c.stop_instances(InstanceIds=[i])["StoppingInstances"][0]
    assert stopping["PreviousState"]["Name"] == "running" and stopping["CurrentState"]["Name"] in ("stopping", "stopped")
    c.get_waiter("instance_stopped").wait(InstanceIds=[i], WaiterConfig=QUICK)
    assert c.stop_instances(InstanceIds=[i])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopped"
    assert code(c.reboot_instances, InstanceIds=[i]) in ("IncorrectState", "IncorrectInstanceState")
    starting = c.start_instances(InstanceIds=[i])["StartingInstances"][0]
    assert starting["PreviousState"]["Name"] == "stopped" and starting["CurrentState"]["Name"] == "pending"
    c.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)
    c.terminate_instances(InstanceIds=[i])
    c.get_waiter("instance_terminated").wait(InstanceIds=[i], WaiterConfig=QUICK)
    gone = one(c, i)
    assert gone["State"] == {"Code": 48, "Name": "terminated"} and gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "PublicIpAddress" not in gone or not gone["PublicIpAddress"]
    for call in (c.start_instances, c.stop_instances, c.reboot_instances):
        assert refused(call, InstanceIds=[i]) == ("IncorrectInstanceState", 400), call
    assert c.terminate_instances(InstanceIds=[i])["TerminatingInstances"][0]["CurrentState"]["Name"] == "terminated"


def test_one_bad_id_and_nothing_is_done(endpoint):
    c = endpoint.ec2
    [i] = running(c)
    for call in (c.terminate_instances, c.stop_instances, c.reboot_instances, c.start_instances):
        assert code(call, InstanceIds=[i, "i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
        assert code(call, InstanceIds=["i-0123456789abcdefg", i]) == "InvalidInstanceID.Malformed"
        assert state(c, i) == "running"


def test_addresses_over_stop_and_start(endpoint):
    """The private address stays, the public one goes with the stop and is another after the start."""
    c = endpoint.ec2
    [i] = running(c)
    before = one(c, i)
    c.stop_instances(InstanceIds=[i])
    c.get_waiter("instance_stopped").wait(InstanceIds=[i], WaiterConfig=QUICK)
    stopped = one(c, i)
    assert not stopped.get("PublicIpAddress") and stopped["PrivateIpAddress"] == before["PrivateIpAddress"]
    c.start_instances(InstanceIds=[i])
    c.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)
    after = one(c, i)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] and after["PublicIpAddress"] != before["PublicIpAddress"]
    assert after["LaunchTime"] >= before["LaunchTime"]


def test_hibernation_is_for_those_that_were_made_for_it(endpoint):
    c = endpoint.ec2
    [plain] = running(c)
    assert code(c.stop_instances, InstanceIds=[plain], Hibernate=True) == "UnsupportedHibernationConfiguration"
    assert state(c, plain) == "running"
    root = image(c)
    device = c.describe_images(ImageIds=[root])["Images"][0]["RootDeviceName"]
    [able] = running(c, ImageId=root, InstanceType="m5.large", HibernationOptions={"Configured": True},
                     BlockDeviceMappings=[{"DeviceName": device, "Ebs": {"VolumeSize": 30, "Encrypted": True}}])
    assert one(c, able)["HibernationOptions"] == {"Configured": True}
    c.stop_instances(InstanceIds=[able], Hibernate=True)
    c.get_waiter("instance_stopped").wait(InstanceIds=[able], WaiterConfig=QUICK)
    assert one(c, able)["StateReason"]["Code"] == "Client.UserInitiatedHibernate"
    c.start_instances(InstanceIds=[able])
    c.get_waiter("instance_running").wait(InstanceIds=[able], WaiterConfig=QUICK)


def test_attributes(endpoint):
    c = endpoint.ec2
    [i] = running(c, InstanceInitiatedShutdownBehavior="terminate", MetadataOptions={"HttpTokens": "required"})
    assert one(c, i)["MetadataOptions"]["HttpTokens"] == "required"
    behaviour = c.describe_instance_attribute(InstanceId=i, Attribute="instanceInitiatedShutdownBehavior")
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    c.modify_instance_attribute(InstanceId=i, DisableApiTermination={"Value": True})
    assert code(c.terminate_instances, InstanceIds=[i]) == "OperationNotPermitted"
    c.modify_instance_attribute(InstanceId=i, DisableApiTermination={"Value": False})
    assert code(c.modify_instance_attribute, InstanceId=i, InstanceType={"Value": "t3.large"}) == "IncorrectInstanceState"
    c.stop_instances(InstanceIds=[i])
    c.get_waiter("instance_stopped").wait(InstanceIds=[i], WaiterConfig=QUICK)
    c.modify_instance_attribute(InstanceId=i, InstanceType={"Value": "t3.large"})
    assert one(c, i)["InstanceType"] == "t3.large"
    c.modify_instance_metadata_options(InstanceId=i, HttpTokens="optional")
    assert one(c, i)["MetadataOptions"]["HttpTokens"] == "optional"


def test_spot(endpoint):
    c = endpoint.ec2
    [i] = run(c, InstanceMarketOptions={"MarketType": "spot"})
    assert i["InstanceLifecycle"] == "spot" and i["SpotInstanceRequestId"].startswith("sir-")
    [request] = c.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert request["SpotInstanceRequestId"] == i["SpotInstanceRequestId"] and request["InstanceId"] == i["InstanceId"]
    assert code(c.stop_instances, InstanceIds=[i["InstanceId"]]) == "UnsupportedOperation", "a one-time request cannot be stopped"
    [kept] = running(c, InstanceMarketOptions={"MarketType": "spot", "SpotOptions": {
        "SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}})
    c.stop_instances(InstanceIds=[kept])
    c.get_waiter("instance_stopped").wait(InstanceIds=[kept], WaiterConfig=QUICK)
    c.cancel_spot_instance_requests(SpotInstanceRequestIds=[request["SpotInstanceRequestId"]])


# --- describe


def test_paging(endpoint):
    c = endpoint.ec2
    ami = image(c)
    made = [ids(run(c, ImageId=ami))[0] for _ in range(12)]
    pages, token = [], {}
    while True:
        reply = c.describe_instances(MaxResults=5, **token)
        pages.append([i["InstanceId"] for r in reply["Reservations"] for i in r["Instances"]])
        if not reply.get("NextToken"):
            break
        token = {"NextToken": reply["NextToken"]}
    assert [len(p) for p in pages] == [5, 5, 2] and sorted(sum(pages, [])) == sorted(made)
    listed = endpoint.aws("ec2", "describe-instances", "--page-size", "5", "--query", "Reservations[].Instances[].InstanceId").json
    assert sorted(listed) == sorted(made)
    few = endpoint.aws("ec2", "describe-instances", "--max-items", "7").json
    assert sum(len(r["Instances"]) for r in few["Reservations"]) == 7 and few["NextToken"]


def test_what_paging_refuses(endpoint):
    c = endpoint.ec2
    made = ids(run(c, 7))
    for wrong in (4, 0, -1, 1001):
        assert code(c.describe_instances, MaxResults=wrong) == "InvalidParameterValue", wrong
    assert code(c.describe_instances, MaxResults=5, InstanceIds=made) == "InvalidParameterCombination"
    bad = ("InvalidNextToken", "InvalidPaginationToken", "InvalidParameterValue")
    for token in ("x", "", "%00", "A" * 4000):
        if token:
            assert code(c.describe_instances, NextToken=token) in bad, token
    token = c.describe_instances(MaxResults=5).get("NextToken")
    if token:
        other = [{"Name": "instance-state-name", "Values": ["stopped"]}]
        assert code(c.describe_instances, MaxResults=5, NextToken=token, Filters=other) in bad, "a token is good for its own query"


def test_a_page_is_of_one_moment_or_at_least_loses_nothing(endpoint):
    """Who ends instances between two pages still sees each of the others, once."""
    c = endpoint.ec2
    ami = image(c)
    made = [ids(run(c, ImageId=ami))[0] for _ in range(12)]
    first = c.describe_instances(MaxResults=5)
    seen = [i["InstanceId"] for r in first["Reservations"] for i in r["Instances"]]
    c.terminate_instances(InstanceIds=seen[:3])
    late = ids(run(c, ImageId=ami))
    rest, token = [], first["NextToken"]
    while token:
        reply = c.describe_instances(MaxResults=5, NextToken=token)
        rest += [i["InstanceId"] for r in reply["Reservations"] for i in r["Instances"]]
        token = reply.get("NextToken")
    assert len(rest) == len(set(rest)) and set(made) <= set(seen) | set(rest) <= set(made) | set(late)


def test_filters(endpoint):
    """Each documented filter finds what it should and nothing else."""
    c = endpoint.ec2
    subnets = c.describe_subnets()["Subnets"]
    c.create_key_pair(KeyName="k")
    group = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    other = ids(run(c, InstanceType="m5.large", SubnetId=subnets[1]["SubnetId"], TagSpecifications=[spec("instance", Name="other*")]))
    made = run(c, KeyName="k", SecurityGroupIds=[group], SubnetId=subnets[0]["SubnetId"], ClientToken="tok",
               InstanceMarketOptions={"MarketType": "spot"}, TagSpecifications=[spec("instance", Name="web-1", env="prod")])[0]
    everybody = other + ids([made])
    c.get_waiter("instance_running").wait(InstanceIds=everybody, WaiterConfig=QUICK)
    me = made["InstanceId"]
    i = one(c, me)
    reservation = c.describe_instances(InstanceIds=[me])["Reservations"][0]

    def find(*filters):
        return set(ids(described(c, Filters=[{"Name": n, "Values": v if isinstance(v, list) else [v]} for n, v in filters])))

    for name, value in (
            ("tag:Name", "web-1"), ("tag:Name", "web-*"), ("tag:Name", "w?b-1"), ("tag-key", "env"), ("tag:env", ["test", "prod"]),
            ("instance-type", "t3.micro"), ("instance-type", "t3.*"), ("availability-zone", subnets[0]["AvailabilityZone"]),
            ("subnet-id", subnets[0]["SubnetId"]), ("private-ip-address", i["PrivateIpAddress"]), ("ip-address", i["PublicIpAddress"]),
            ("client-token", "tok"), ("reservation-id", reservation["ReservationId"]), ("key-name", "k"), ("instance-lifecycle", "spot"),
            ("network-interface.network-interface-id", i["NetworkInterfaces"][0]["NetworkInterfaceId"]),
            ("block-device-mapping.volume-id", i["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]), ("instance.group-id", group),
            ("instance.group-name", "g"), ("instance-id", me), ("private-dns-name", i["PrivateDnsName"]), ("dns-name", i["PublicDnsName"]),
            ("spot-instance-request-id", i["SpotInstanceRequestId"])):
        assert find((name, value)) == {me}, name
    for name, value in (
            ("instance-state-name", "running"), ("instance-state-code", "16"), ("vpc-id", i["VpcId"]), ("image-id", i["ImageId"]),
            ("owner-id", reservation["OwnerId"]), ("architecture", "x86_64"), ("root-device-type", "ebs"), ("virtualization-type", "hvm"),
            ("hibernation-options.configured", "false"), ("launch-time", "20*"), ("metadata-options.http-tokens", ["optional", "required"]),
            ("tag:Name", ["web-1", "other*"]), ("tag:Name", "*")):
        assert find((name, value)) == set(everybody), name
    assert find(("tag:Name", "web-1"), ("instance-state-name", "stopped")) == set()
    assert find(("tag:Name", ["web-1", "nothing"]), ("instance-type", ["t3.micro", "m5.large"])) == {me}
    assert find(("tag:Name", "web")) == set() and find(("tag:name", "web-1")) == set() and find(("tag:Name", "WEB-1")) == set()
    assert find(("tag:Name", "other\\*")) == set(other) and find(("tag:Name", "web-\\*")) == set()
    assert find(("instance-state-name", "no-such-state")) == set()
    assert code(c.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"
    assert code(c.describe_instances, Filters=[{"Name": "tag:Name", "Values": [str(n) for n in range(201)]}]) in (
        "FilterLimitExceeded", "InvalidParameterValue")


# --- regions


def test_regions_share_nothing(endpoint):
    east, west = endpoint.client(), endpoint.client(region="us-west-2")
    [i] = ids(run(east))
    assert not described(west) and code(west.describe_instances, InstanceIds=[i]) == "InvalidInstanceID.NotFound"
    assert code(west.terminate_instances, InstanceIds=[i]) == "InvalidInstanceID.NotFound"
    for c in (east, west):
        c.create_key_pair(KeyName="same")
    east.delete_key_pair(KeyName="same")
    assert [k["KeyName"] for k in west.describe_key_pairs()["KeyPairs"]] == ["same"]
    vpcs = [c.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"] for c in (east, west)]
    assert [len(v) for v in vpcs] == [1, 1] and vpcs[0][0]["VpcId"] != vpcs[1][0]["VpcId"]
    assert image(east) != image(west)
    assert code(run, west, ImageId=image(east)) == "InvalidAMIID.NotFound"
    for region, client in (("us-east-1", east), ("us-west-2", west)):
        zones = {z["ZoneName"] for z in client.describe_availability_zones()["AvailabilityZones"]}
        assert zones and all(z.startswith(region) for z in zones)
        assert {s["AvailabilityZone"] for s in client.describe_subnets()["Subnets"]} <= zones
    listed = endpoint.aws("ec2", "describe-key-pairs", "--region", "us-west-2", "--query", "KeyPairs[].KeyName").json
    assert listed == ["same"]


def test_the_usual_images_are_found(endpoint):
    for region in ("us-east-1", "eu-central-1"):
        c = endpoint.client(region=region)
        for owner, filters in (("amazon", AL2023), ("137112412989", AL2023), ("136693071363", DEBIAN)):
            found = c.describe_images(Owners=[owner], Filters=filters)["Images"]
            assert found and all(i["State"] == "available" and i["RootDeviceName"] for i in found), (region, owner)
        assert not c.describe_images(Owners=["self"])["Images"]
        assert not c.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2022-*"]}])["Images"]


# --- images, volumes, key pairs: one path through each


def test_an_image_of_an_instance(endpoint):
    c = endpoint.ec2
    [i] = running(c)
    made = c.create_image(InstanceId=i, Name="mine", TagSpecifications=[spec("image", a="b")])["ImageId"]
    c.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=QUICK)
    assert code(c.create_image, InstanceId=i, Name="mine") == "InvalidAMIName.Duplicate"
    [seen] = c.describe_images(Owners=["self"])["Images"]
    assert seen["ImageId"] == made and seen["Name"] == "mine" and seen["Tags"] == [{"Key": "a", "Value": "b"}]
    [again] = running(c, ImageId=made)
    assert one(c, again)["ImageId"] == made
    c.deregister_image(ImageId=made)
    assert code(run, c, ImageId=made) in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")
    assert state(c, again) == "running"


def test_a_volume(endpoint):
    """From its making to its end, and what is refused on the way."""
    c = endpoint.ec2
    [i] = running(c)
    zones = [z["ZoneName"] for z in c.describe_availability_zones()["AvailabilityZones"]]
    zone = one(c, i)["Placement"]["AvailabilityZone"]

    def create(size, where=zone):
        return c.create_volume(Size=size, AvailabilityZone=where, VolumeType="gp3")["VolumeId"]

    def wait(what, *volumes):
        c.get_waiter(f"volume_{what}").wait(VolumeIds=list(volumes), WaiterConfig=QUICK)

    first, second, away = create(8), create(8), create(1, next(z for z in zones if z != zone))
    wait("available", first, second, away)
    c.attach_volume(VolumeId=first, InstanceId=i, Device="/dev/sdf")
    wait("in_use", first)
    assert code(c.attach_volume, VolumeId=second, InstanceId=i, Device="/dev/sdf") == "InvalidParameterValue", "the device is taken"
    assert code(c.attach_volume, VolumeId=first, InstanceId=i, Device="/dev/sdg") == "VolumeInUse"
    assert code(c.delete_volume, VolumeId=first) == "VolumeInUse"
    assert code(c.attach_volume, VolumeId=away, InstanceId=i, Device="/dev/sdh") == "InvalidVolume.ZoneMismatch"
    snapshot = endpoint.aws("ec2", "create-snapshot", "--volume-id", first).json["SnapshotId"]
    endpoint.aws("ec2", "wait", "snapshot-completed", "--snapshot-ids", snapshot)
    c.detach_volume(VolumeId=first)
    wait("available", first)
    for v in (first, second, away):
        c.delete_volume(VolumeId=v)
    wait("deleted", first, second)


def test_key_pairs(endpoint, tmp_path):
    """What create-key-pair hands out is a private key that ssh can read, and the same key as describe's fingerprint."""
    import subprocess
    c = endpoint.ec2
    for kind in ("ed25519", "rsa"):
        made = c.create_key_pair(KeyName=kind, KeyType=kind)
        path = tmp_path / kind
        path.write_text(made["KeyMaterial"] + "\n")
        path.chmod(0o600)
        public = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", path], capture_output=True, text=True)
        assert public.returncode == 0, public.stderr
        [seen] = c.describe_key_pairs(KeyNames=[kind], IncludePublicKey=True)["KeyPairs"]
        assert seen["PublicKey"].split()[:2] == public.stdout.split()[:2] and seen["KeyFingerprint"] == made["KeyFingerprint"]
    assert code(c.create_key_pair, KeyName="rsa") == "InvalidKeyPair.Duplicate"
    c.import_key_pair(KeyName="imported", PublicKeyMaterial=public.stdout.encode())
    assert code(c.import_key_pair, KeyName="junk", PublicKeyMaterial=b"not a key") == "InvalidKey.Format"


def test_instance_connect_with_an_unknown_instance(endpoint):
    eic = endpoint.client("ec2-instance-connect")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVMQXWSoJvgyNbuFwDAF/rXI/Uz1DfH9ktZExhBSyvi"
    assert code(eic.send_ssh_public_key, InstanceId="i-0123456789abcdef0", InstanceOSUser="ec2-user", SSHPublicKey=key) == (
        "EC2InstanceNotFoundException")
    [i] = running(endpoint.ec2)
    assert code(eic.send_ssh_public_key, InstanceId=i, InstanceOSUser="ec2-user", SSHPublicKey="x" * 90) == "InvalidArgsException"


# --- throttling and time


def test_buckets_at_true_speed(endpoints):
    """RunInstances has room for five requests; the sixth at once is told so, by its documented code. Other calls and other regions
    have buckets of their own."""
    e = endpoints(scenario="aws").start()
    c = e.ec2
    ami = image(c)
    west = e.client(region="us-west-2")
    west_ami = image(west)
    outcomes = []
    for _ in range(15):
        try:
            run(c, ImageId=ami)
            outcomes.append(200)
        except ClientError as error:
            outcomes.append((error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]))
    assert outcomes[:5] == [200] * 5 and ("RequestLimitExceeded", 503) in outcomes, outcomes
    assert set(outcomes) == {200, ("RequestLimitExceeded", 503)}
    run(west, ImageId=west_ami)
    assert len(described(c)) == outcomes.count(200)


def test_a_client_that_retries_is_not_troubled(endpoints):
    e = endpoints(scenario="aws", speed=20).start()
    patient = e.client(attempts=10)
    ami = image(patient)
    made = [ids(run(patient, ImageId=ami))[0] for _ in range(20)]
    patient.get_waiter("instance_running").wait(InstanceIds=made, WaiterConfig=QUICK)


def test_instant_has_no_buckets(endpoint):
    c = endpoint.ec2
    ami = image(c)
    for _ in range(60):
        run(c, ImageId=ami)
    assert len(described(c)) == 60


def test_time_is_aws_s(endpoints):
    """With the scenario `aws` an instance is pending at first, in the reply and after it, until its time has come."""
    e = endpoints(scenario="aws", speed=5).start()
    [i] = run(e.ec2)
    assert i["State"] == {"Code": 0, "Name": "pending"}
    assert state(e.ec2, i["InstanceId"]) == "pending"
    e.ec2.get_waiter("instance_running").wait(InstanceIds=[i["InstanceId"]], WaiterConfig=QUICK)


# --- restart


def test_everything_outlives_kill_9(endpoints):
    """What a reply has said is there after the next start, at once."""
    e = endpoints().start()
    c = e.ec2
    [i] = running(c, TagSpecifications=[spec("instance", a="b")])
    [stopped] = running(c)
    c.stop_instances(InstanceIds=[stopped])
    c.get_waiter("instance_stopped").wait(InstanceIds=[stopped], WaiterConfig=QUICK)
    c.create_key_pair(KeyName="kept")
    group = c.create_security_group(GroupName="kept", Description="d")["GroupId"]
    zone = one(c, i)["Placement"]["AvailabilityZone"]
    volume = c.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    before = {x["InstanceId"]: x for x in described(c)}
    last = ids(run(c))[0]
    e.kill()
    e.start()
    after = {x["InstanceId"]: x for x in described(c)}
    assert last in after
    for x in (i, stopped):
        assert json.dumps(after[x], default=str, sort_keys=True) == json.dumps(before[x], default=str, sort_keys=True)
    assert [k["KeyName"] for k in c.describe_key_pairs()["KeyPairs"]] == ["kept"]
    assert group in [g["GroupId"] for g in c.describe_security_groups()["SecurityGroups"]]
    assert volume in [v["VolumeId"] for v in c.describe_volumes()["Volumes"]]
    c.get_waiter("instance_running").wait(InstanceIds=[last], WaiterConfig=QUICK)
    c.start_instances(InstanceIds=[stopped])
    c.get_waiter("instance_running").wait(InstanceIds=[stopped], WaiterConfig=QUICK)


def test_what_was_under_way_goes_on_after_a_restart(endpoints):
    e = endpoints(scenario="aws", speed=5).start()
    [i] = ids(run(e.ec2))
    e.kill()
    e.start()
    assert state(e.ec2, i) in ("pending", "running")
    e.ec2.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)


def test_two_do_not_share_a_state(endpoints):
    e = endpoints().start()
    other = endpoints(directory=None, settings={"state": e.state})
    other.spawn()
    wait_for(lambda: other.process.poll() is not None, 20, message="a second hearth-ec2 runs on the same state")
    assert other.process.returncode != 0 and str(e.state) in other.log_text(), other.log_text()
    assert described(e.ec2) == []


# --- the waiters that the SDKs ship


def test_waiters(endpoint):
    c = endpoint.ec2
    [i] = ids(run(c))
    c.create_key_pair(KeyName="k")
    group = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    zone = c.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    volume = c.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    snapshot = c.create_snapshot(VolumeId=volume)["SnapshotId"]
    ours = [("instance_exists", {"InstanceIds": [i]}), ("instance_running", {"InstanceIds": [i]}),
            ("instance_status_ok", {"InstanceIds": [i]}), ("system_status_ok", {"InstanceIds": [i]}),
            ("key_pair_exists", {"KeyNames": ["k"]}), ("security_group_exists", {"GroupIds": [group]}),
            ("volume_available", {"VolumeIds": [volume]}), ("snapshot_completed", {"SnapshotIds": [snapshot]}),
            ("subnet_available", {}), ("vpc_available", {}), ("vpc_exists", {}), ("image_exists", {"ImageIds": [image(c)]}),
            ("image_available", {"ImageIds": [image(c)]})]
    for name, what in ours:
        c.get_waiter(name).wait(**what, WaiterConfig=QUICK)
