# SPDX-License-Identifier: Apache-2.0
"""Goal: what stands beside instances keeps AWS's rules, not only its shapes: key pairs, security groups, the default network,
elastic addresses, network interfaces, volumes and their changes, snapshots, images, instance types, EC2 Instance Connect, and
the queue that state changes go to. By boto3, over fake machines, without root. Each rule is one that another simulator accepts
wrongly, or that a client of ours stands on."""

import base64
import hashlib
import json
import subprocess
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")
from botocore.exceptions import ClientError  # noqa: E402

from ec2 import REGION  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.2  # of its tests in a sample: see conftest.py

QUICK = {"Delay": 0.05, "MaxAttempts": 400}
NOWHERE = "0123456789abcdef0"

# Long enough to be seen, and ended by nothing but time.
SLOW = """delays:
  volume_create: 3s
  volume_attach: 3s
  volume_detach: 3s
  volume_delete: 3s
  volume_modify: 3s
  snapshot: 3s
  image: 3s
  interface: 3s
"""


def refused(call, **how):
    with pytest.raises(ClientError) as e:
        call(**how)
    return e.value.response["Error"]["Code"]


def ami(c):
    images = c.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])["Images"]
    return max(images, key=lambda i: i["CreationDate"])["ImageId"]


def run(c, n=1, **more):
    arguments = {"ImageId": ami(c), "InstanceType": "t3.micro", "MinCount": n, "MaxCount": n, **more}
    ids = [i["InstanceId"] for i in c.run_instances(**arguments)["Instances"]]
    c.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)
    return ids if n > 1 else ids[0]


def one(c, i):
    return c.describe_instances(InstanceIds=[i])["Reservations"][0]["Instances"][0]


def zone_of(c, i):
    return one(c, i)["Placement"]["AvailabilityZone"]


def terminate(c, i):
    c.terminate_instances(InstanceIds=[i])
    c.get_waiter("instance_terminated").wait(InstanceIds=[i], WaiterConfig=QUICK)


def volume(c, zone=REGION + "a", wait=True, **more):
    made = c.create_volume(AvailabilityZone=zone, **{"Size": 8, **more})["VolumeId"]
    if wait:
        c.get_waiter("volume_available").wait(VolumeIds=[made], WaiterConfig=QUICK)
    return made


def describe_volume(c, v):
    return c.describe_volumes(VolumeIds=[v])["Volumes"][0]


def filters(**by):
    return [{"Name": k.replace("_", "-"), "Values": v if isinstance(v, list) else [v]} for k, v in by.items()]


def tags(resource, **t):
    return [{"ResourceType": resource, "Tags": [{"Key": k, "Value": v} for k, v in t.items()]}]


def ssh_keygen(path, *args):
    return subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "me@home", "-f", path, *args], check=True, capture_output=True)


# --- regions, zones, types


def test_regions_and_zones(endpoint):
    c = endpoint.client(region="us-west-2")
    regions = {r["RegionName"]: r for r in c.describe_regions()["Regions"]}
    assert regions["eu-central-1"]["Endpoint"] == "ec2.eu-central-1.amazonaws.com"
    assert [r["RegionName"] for r in c.describe_regions(RegionNames=["eu-west-1"])["Regions"]] == ["eu-west-1"]
    assert refused(c.describe_regions, RegionNames=["mars-1"]) == "InvalidParameterValue"
    zones = c.describe_availability_zones()["AvailabilityZones"]
    assert [z["ZoneName"] for z in zones] == ["us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d"]
    assert len({z["ZoneId"] for z in zones}) == 4 and all(z["State"] == "available" for z in zones)
    found = c.describe_availability_zones(Filters=filters(zone_id=zones[1]["ZoneId"]))["AvailabilityZones"]
    assert [z["ZoneName"] for z in found] == ["us-west-2b"]
    assert refused(c.describe_availability_zones, ZoneNames=["us-east-1a"]) == "InvalidParameterValue"


def test_instance_types(endpoint):
    c = endpoint.ec2
    pages = c.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 20})
    types = {t["InstanceType"]: t for p in pages for t in p["InstanceTypes"]}
    assert len(types) > 100
    m = types["m7i.large"]
    assert m["VCpuInfo"]["DefaultVCpus"] == 2 and m["MemoryInfo"]["SizeInMiB"] == 8192 and m["HibernationSupported"]
    assert m["ProcessorInfo"]["SupportedArchitectures"] == ["x86_64"] and m["NetworkInfo"]["MaximumNetworkInterfaces"] == 3
    assert types["m7g.large"]["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"]
    assert types["m5.metal"]["BareMetal"] and not types["m5.metal"]["HibernationSupported"]
    assert types["g5.xlarge"]["GpuInfo"]["Gpus"][0]["Name"] == "A10G" and types["t3.micro"]["FreeTierEligible"]
    one = c.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    assert one == [types["t3.micro"]]
    small = c.describe_instance_types(Filters=[{"Name": "vcpu-info.default-vcpus", "Values": ["2"]},
                                               {"Name": "processor-info.supported-architecture", "Values": ["arm64"]}])
    assert {t["InstanceType"] for t in small["InstanceTypes"]} == {
        n for n, t in types.items() if t["VCpuInfo"]["DefaultVCpus"] == 2 and t["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"]}
    assert refused(c.describe_instance_types, InstanceTypes=["t3.gigantic"]) == "InvalidInstanceType"
    assert refused(c.describe_instance_types, InstanceTypes=["t3.micro"], MaxResults=5) == "InvalidParameterCombination"
    offered = c.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters(instance_type="t3.micro"))
    assert len(offered["InstanceTypeOfferings"]) == len(c.describe_availability_zones()["AvailabilityZones"])
    history = c.describe_spot_price_history(InstanceTypes=["m5.large"], ProductDescriptions=["Linux/UNIX"])["SpotPriceHistory"]
    assert len(history) == 6 and all(0 < float(p["SpotPrice"]) < 0.096 for p in history)
    assert not c.describe_spot_price_history(InstanceTypes=["m5.large"], ProductDescriptions=["Windows"])["SpotPriceHistory"]


def test_account(endpoint):
    c = endpoint.ec2
    [vpc] = c.describe_vpcs()["Vpcs"]
    got = {a["AttributeName"]: a["AttributeValues"][0]["AttributeValue"] for a in c.describe_account_attributes()["AccountAttributes"]}
    assert got["default-vpc"] == vpc["VpcId"] and got["supported-platforms"] == "VPC"
    [only] = c.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]
    assert only["AttributeName"] == "default-vpc"


# --- key pairs


def der_fingerprint(path, digest, *options):
    der = subprocess.run(["openssl", "pkey", "-in", path, "-outform", "DER", *options], check=True, capture_output=True).stdout
    return ":".join(f"{b:02x}" for b in hashlib.new(digest, der).digest())


def test_fingerprints_are_as_aws_computes_them(endpoint, tmp_path):
    """Made RSA: SHA-1 of the PKCS#8 DER; imported RSA: MD5 of the public DER; Ed25519: SHA-256 of the OpenSSH blob."""
    c = endpoint.ec2
    made = c.create_key_pair(KeyName="made", TagSpecifications=tags("key-pair", a="b"))
    assert made["Tags"] == [{"Key": "a", "Value": "b"}] and made["KeyPairId"].startswith("key-")
    pem = tmp_path / "made.pem"
    pem.write_text(made["KeyMaterial"])
    assert made["KeyMaterial"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    pkcs8 = subprocess.run(["openssl", "pkcs8", "-in", pem, "-nocrypt", "-topk8", "-outform", "DER"], check=True, capture_output=True)
    assert made["KeyFingerprint"] == ":".join(f"{b:02x}" for b in hashlib.sha1(pkcs8.stdout).digest())
    rsa = tmp_path / "rsa"
    ssh_keygen(rsa, "-t", "rsa", "-b", "2048", "-m", "PEM")
    got = c.import_key_pair(KeyName="rsa", PublicKeyMaterial=(tmp_path / "rsa.pub").read_bytes())
    assert got["KeyFingerprint"] == der_fingerprint(rsa, "md5", "-pubout")
    ed = tmp_path / "ed"
    ssh_keygen(ed, "-t", "ed25519")
    line = (tmp_path / "ed.pub").read_text()
    got = c.import_key_pair(KeyName="ed", PublicKeyMaterial=line.encode())
    assert got["KeyFingerprint"] == base64.b64encode(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).decode()
    [seen] = c.describe_key_pairs(KeyNames=["ed"], IncludePublicKey=True)["KeyPairs"]
    assert seen["KeyType"] == "ed25519" and seen["PublicKey"].split() == [*line.split()[:2], "ed"]
    rfc4716 = subprocess.run(["ssh-keygen", "-e", "-f", rsa], check=True, capture_output=True).stdout
    assert c.import_key_pair(KeyName="rfc", PublicKeyMaterial=rfc4716)["KeyFingerprint"] == der_fingerprint(rsa, "md5", "-pubout")


def test_what_key_pairs_refuse(endpoint, tmp_path):
    c = endpoint.ec2
    ssh_keygen(tmp_path / "ec", "-t", "ecdsa")
    ssh_keygen(tmp_path / "ed", "-t", "ed25519")
    good = (tmp_path / "ed.pub").read_bytes()
    for bad in (b"", b"junk", b"ssh-rsa AAAA", (tmp_path / "ec.pub").read_bytes(), (tmp_path / "ed").read_bytes(), good * 2):
        assert refused(c.import_key_pair, KeyName="bad", PublicKeyMaterial=bad) in ("InvalidKey.Format", "MissingParameter"), bad
    assert not c.describe_key_pairs()["KeyPairs"]
    c.import_key_pair(KeyName="k", PublicKeyMaterial=good)
    assert refused(c.import_key_pair, KeyName="k", PublicKeyMaterial=good) == "InvalidKeyPair.Duplicate"
    assert refused(c.create_key_pair, KeyName="x" * 256) == "InvalidParameterValue"
    assert refused(c.describe_key_pairs, KeyNames=["k", "nobody"]) == "InvalidKeyPair.NotFound"
    assert [k["KeyName"] for k in c.describe_key_pairs(Filters=filters(key_name="?"))["KeyPairs"]] == ["k"]
    c.delete_key_pair(KeyName="nobody")
    [k] = c.describe_key_pairs()["KeyPairs"]
    c.delete_key_pair(KeyPairId=k["KeyPairId"])
    assert not c.describe_key_pairs()["KeyPairs"]


# --- security groups


def rule(port=22, cidr="0.0.0.0/0", protocol="tcp", **more):
    return {"IpProtocol": protocol, "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}], **more}


def permissions(c, group, egress=False):
    [g] = c.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return g["IpPermissionsEgress" if egress else "IpPermissions"]


def test_the_default_group(endpoint):
    """Its members may reach each other, all may go out, and it stays."""
    c = endpoint.ec2
    [g] = c.describe_security_groups()["SecurityGroups"]
    assert g["GroupName"] == "default" and g["Description"] == "default VPC security group"
    assert g["IpPermissions"][0]["IpProtocol"] == "-1" and g["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == g["GroupId"]
    assert g["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    assert refused(c.delete_security_group, GroupId=g["GroupId"]) == "CannotDelete"
    assert refused(c.create_security_group, GroupName="default", Description="d") == "InvalidParameterValue"


def test_rules_of_a_group(endpoint):
    c = endpoint.ec2
    g = c.create_security_group(GroupName="g", Description="d", TagSpecifications=tags("security-group", a="b"))["GroupId"]
    made = c.authorize_security_group_ingress(GroupId=g, IpPermissions=[
        rule(), rule(80, Ipv6Ranges=[{"CidrIpv6": "2001:DB8::1/32", "Description": "six"}]), rule(-1, "10.1.2.3/8", "icmp")])
    rules = {r["SecurityGroupRuleId"]: r for r in made["SecurityGroupRules"]}
    assert len(rules) == 4 and not any(r["IsEgress"] for r in rules.values())
    got = {p["FromPort"]: p for p in permissions(c, g)}
    assert got[22]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}] and got[80]["Ipv6Ranges"][0]["CidrIpv6"] == "2001:db8::/32"
    assert got[-1]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}], "a block is kept without its host's bits"
    assert refused(c.authorize_security_group_ingress, GroupId=g, IpPermissions=[rule()]) == "InvalidPermission.Duplicate"
    assert refused(c.authorize_security_group_ingress, GroupId=g, IpPermissions=[rule(23), rule()]) == "InvalidPermission.Duplicate"
    assert 23 not in {p["FromPort"] for p in permissions(c, g)}, "all of a call or nothing"
    c.authorize_security_group_ingress(GroupId=g, IpPermissions=[rule(cidr="192.0.2.1/32")])
    [ssh] = [p for p in permissions(c, g) if p["FromPort"] == 22]
    assert [r["CidrIp"] for r in ssh["IpRanges"]] == ["0.0.0.0/0", "192.0.2.1/32"], "rules of the same ports are one item"
    c.revoke_security_group_ingress(GroupId=g, IpPermissions=[rule(cidr="192.0.2.1/32")])
    c.authorize_security_group_egress(GroupId=g, IpPermissions=[rule()])
    assert len(permissions(c, g, egress=True)) == 2
    found = c.describe_security_group_rules(Filters=filters(group_id=g))["SecurityGroupRules"]
    assert len(found) == 6 and set(rules) < {r["SecurityGroupRuleId"] for r in found}
    assert refused(c.revoke_security_group_ingress, GroupId=g, IpPermissions=[rule(24)]) == "InvalidPermission.NotFound"
    c.revoke_security_group_ingress(GroupId=g, IpPermissions=[rule()])
    c.revoke_security_group_ingress(GroupId=g, SecurityGroupRuleIds=[k for k, r in rules.items() if r["FromPort"] == 80])
    assert [p["IpProtocol"] for p in permissions(c, g)] == ["icmp"]
    assert refused(c.revoke_security_group_ingress, GroupId=g, SecurityGroupRuleIds=["sgr-" + NOWHERE]) == (
        "InvalidSecurityGroupRuleId.NotFound")
    c.authorize_security_group_ingress(GroupName="g", CidrIp="192.0.2.0/24", IpProtocol="udp", FromPort=53, ToPort=53)
    assert c.describe_security_groups(Filters=[{"Name": "ip-permission.cidr", "Values": ["192.0.2.*"]}])["SecurityGroups"][0]["GroupId"] == g
    assert not c.describe_security_groups(Filters=[{"Name": "ip-permission.to-port", "Values": ["22"]}])["SecurityGroups"]
    assert c.describe_security_groups(Filters=filters(**{"tag:a": "b"}))["SecurityGroups"][0]["GroupId"] == g


NO_RULES = (
    (rule(22, "0.0.0.0"), "InvalidParameterValue"), (rule(22, "300.0.0.0/8"), "InvalidParameterValue"),
    (rule(22, "0.0.0.0/33"), "InvalidParameterValue"), (rule(protocol="carrier-pigeon"), "InvalidParameterValue"),
    ({**rule(), "FromPort": 30, "ToPort": 20}, "InvalidParameterValue"), (rule(65536), "InvalidParameterValue"),
    ({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "InvalidParameterValue"),
    ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}, "MissingParameter"),
    ({**rule(), "IpRanges": [], "UserIdGroupPairs": [{"GroupId": "sg-" + NOWHERE}]}, "InvalidGroup.NotFound"),
)


def test_rules_that_are_none(endpoint):
    c = endpoint.ec2
    g = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    for bad, want in NO_RULES:
        assert refused(c.authorize_security_group_ingress, GroupId=g, IpPermissions=[bad]) == want, bad
    assert permissions(c, g) == []


def test_what_groups_refuse(endpoint):
    c = endpoint.ec2
    g = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    assert refused(c.create_security_group, GroupName="g", Description="again") == "InvalidGroup.Duplicate"
    for name, description in (("sg-mine", "d"), ("x" * 256, "d"), ("ä", "d"), ("h", "line\nline")):
        assert refused(c.create_security_group, GroupName=name, Description=description) == "InvalidParameterValue"
    assert refused(c.create_security_group, GroupName="h", Description="d", VpcId="vpc-" + NOWHERE) == "InvalidVpcID.NotFound"
    assert refused(c.delete_security_group, GroupId="sg-" + NOWHERE) == "InvalidGroup.NotFound"
    assert refused(c.delete_security_group, GroupId="door") == "InvalidGroupId.Malformed"
    assert refused(c.describe_security_groups, GroupNames=["nobody"]) == "InvalidGroup.NotFound"
    i = run(c, SecurityGroupIds=[g])
    assert refused(c.delete_security_group, GroupId=g) == "DependencyViolation", "an instance's interface bears it"
    terminate(c, i)
    other = c.create_security_group(GroupName="other", Description="d")["GroupId"]
    peer = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": g}]}
    c.authorize_security_group_ingress(GroupId=other, IpPermissions=[peer])
    assert refused(c.delete_security_group, GroupId=g) == "DependencyViolation", "another group's rule names it"
    c.revoke_security_group_ingress(GroupId=other, IpPermissions=[peer])
    c.delete_security_group(GroupId=g)
    assert refused(c.describe_security_groups, GroupIds=[g]) == "InvalidGroup.NotFound"
    many = [rule(p) for p in range(1, 62)]
    assert refused(c.authorize_security_group_ingress, GroupId=other, IpPermissions=many) == "RulesPerSecurityGroupLimitExceeded"
    c.authorize_security_group_ingress(GroupId=other, IpPermissions=many[:60])


# --- the default network


def test_the_default_network(endpoint):
    c = endpoint.ec2
    [vpc] = c.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    subnets = c.describe_subnets(Filters=filters(vpc_id=vpc["VpcId"]))["Subnets"]
    zones = [z["ZoneName"] for z in c.describe_availability_zones()["AvailabilityZones"]]
    assert sorted(s["AvailabilityZone"] for s in subnets) == sorted(zones) and all(s["DefaultForAz"] for s in subnets)
    assert all(s["MapPublicIpOnLaunch"] and s["State"] == "available" for s in subnets)
    before = subnets[0]["AvailableIpAddressCount"]
    assert before == 2 ** (32 - int(subnets[0]["CidrBlock"].split("/")[1])) - 5
    c.create_network_interface(SubnetId=subnets[0]["SubnetId"])
    assert c.describe_subnets(SubnetIds=[subnets[0]["SubnetId"]])["Subnets"][0]["AvailableIpAddressCount"] == before - 1
    [table] = c.describe_route_tables(Filters=filters(vpc_id=vpc["VpcId"]))["RouteTables"]
    [gateway] = c.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc["VpcId"]]}])["InternetGateways"]
    assert {r["DestinationCidrBlock"]: r["GatewayId"] for r in table["Routes"]} == {
        vpc["CidrBlock"]: "local", "0.0.0.0/0": gateway["InternetGatewayId"]}
    [acl] = c.describe_network_acls()["NetworkAcls"]
    assert acl["IsDefault"] and len(acl["Associations"]) == len(subnets)
    assert c.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsSupport")["EnableDnsSupport"] == {"Value": True}
    assert refused(c.describe_route_tables, RouteTableIds=["rtb-" + NOWHERE]) == "InvalidRouteTableID.NotFound"
    c.modify_subnet_attribute(SubnetId=subnets[1]["SubnetId"], MapPublicIpOnLaunch={"Value": False})
    assert "PublicIpAddress" not in one(c, run(c, SubnetId=subnets[1]["SubnetId"]))


# --- network interfaces


def test_interfaces(endpoint):
    c = endpoint.ec2
    i = run(c)
    subnet = one(c, i)["SubnetId"]
    made = c.create_network_interface(SubnetId=subnet, Description="second", TagSpecifications=tags("network-interface", a="b"))
    eni = made["NetworkInterface"]
    n = eni["NetworkInterfaceId"]
    assert eni["Status"] == "available" and eni["TagSet"] == [{"Key": "a", "Value": "b"}] and eni["Groups"][0]["GroupName"] == "default"
    wanted = eni["PrivateIpAddress"]
    assert refused(c.create_network_interface, SubnetId=subnet, PrivateIpAddress=wanted) == "InvalidIPAddress.InUse"
    assert refused(c.create_network_interface, SubnetId=subnet, PrivateIpAddress="192.0.2.1") == "InvalidParameterValue"
    attach = {"NetworkInterfaceId": n, "InstanceId": i}
    assert refused(c.attach_network_interface, **attach, DeviceIndex=0) == "InvalidParameterValue", "the index is taken"
    attachment = c.attach_network_interface(**attach, DeviceIndex=1)["AttachmentId"]
    wait_for(lambda: c.describe_network_interfaces(NetworkInterfaceIds=[n])["NetworkInterfaces"][0]["Status"] == "in-use")
    assert refused(c.attach_network_interface, **attach, DeviceIndex=2) == "InvalidNetworkInterface.InUse"
    assert refused(c.delete_network_interface, NetworkInterfaceId=n) == "InvalidParameterValue"
    assert [x["NetworkInterfaceId"] for x in one(c, i)["NetworkInterfaces"]][1] == n
    third = c.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    assert refused(c.attach_network_interface, NetworkInterfaceId=third, InstanceId=i, DeviceIndex=2) == (
        "AttachmentLimitExceeded"), "a t3.micro takes two"
    first = one(c, i)["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
    assert refused(c.detach_network_interface, AttachmentId=first) == "OperationNotPermitted"
    c.detach_network_interface(AttachmentId=attachment)
    wait_for(lambda: c.describe_network_interfaces(NetworkInterfaceIds=[n])["NetworkInterfaces"][0]["Status"] == "available")
    assert refused(c.detach_network_interface, AttachmentId=attachment) == "InvalidAttachmentID.NotFound"
    c.delete_network_interface(NetworkInterfaceId=n)
    assert refused(c.describe_network_interfaces, NetworkInterfaceIds=[n]) == "InvalidNetworkInterfaceID.NotFound"
    again = c.create_network_interface(SubnetId=subnet, PrivateIpAddress=wanted)["NetworkInterface"]
    assert again["PrivateIpAddress"] == wanted, "a deleted interface's address is free again"


def test_an_interface_stays_in_its_zone(endpoint):
    c = endpoint.ec2
    i = run(c)
    away = next(s for s in c.describe_subnets()["Subnets"] if s["AvailabilityZone"] != zone_of(c, i))
    n = c.create_network_interface(SubnetId=away["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    assert refused(c.attach_network_interface, NetworkInterfaceId=n, InstanceId=i, DeviceIndex=1) == "InvalidParameterCombination"
    assert refused(c.create_network_interface, SubnetId="subnet-" + NOWHERE) == "InvalidSubnetID.NotFound"
    assert refused(c.describe_network_interfaces, NetworkInterfaceIds=["eni"]) == "InvalidNetworkInterfaceId.Malformed"


def test_an_interface_s_token(endpoint):
    c = endpoint.ec2
    subnet = c.describe_subnets()["Subnets"][0]["SubnetId"]
    how = {"SubnetId": subnet, "ClientToken": "once", "TagSpecifications": tags("network-interface", a="b")}
    first = c.create_network_interface(**how)["NetworkInterface"]["NetworkInterfaceId"]
    assert c.create_network_interface(**how)["NetworkInterface"]["NetworkInterfaceId"] == first
    assert refused(c.create_network_interface, **{**how, "Description": "other"}) == "IdempotentParameterMismatch"
    assert len(c.describe_network_interfaces()["NetworkInterfaces"]) == 1


def test_attributes_of_an_interface(endpoint):
    c = endpoint.ec2
    i = run(c)
    g = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    [eni] = one(c, i)["NetworkInterfaces"]
    n, attachment = eni["NetworkInterfaceId"], eni["Attachment"]["AttachmentId"]
    assert eni["Attachment"]["DeleteOnTermination"] is True
    c.modify_network_interface_attribute(NetworkInterfaceId=n, Groups=[g])
    assert [x["GroupId"] for x in one(c, i)["SecurityGroups"]] == [g]
    c.modify_network_interface_attribute(NetworkInterfaceId=n, SourceDestCheck={"Value": False})
    assert c.describe_network_interface_attribute(NetworkInterfaceId=n, Attribute="sourceDestCheck")["SourceDestCheck"] == {"Value": False}
    c.modify_network_interface_attribute(NetworkInterfaceId=n, Description={"Value": "mine"})
    assert c.describe_network_interface_attribute(NetworkInterfaceId=n, Attribute="description")["Description"] == {"Value": "mine"}
    assert refused(c.modify_network_interface_attribute, NetworkInterfaceId=n, Description={"Value": "a"},
                   SourceDestCheck={"Value": True}) == "InvalidParameterCombination"
    assert refused(c.modify_network_interface_attribute, NetworkInterfaceId=n, Groups=["sg-" + NOWHERE]) == "InvalidGroup.NotFound"
    c.modify_network_interface_attribute(NetworkInterfaceId=n, Attachment={"AttachmentId": attachment, "DeleteOnTermination": False})
    terminate(c, i)
    assert c.describe_network_interfaces(NetworkInterfaceIds=[n])["NetworkInterfaces"][0]["Status"] == "available"


# --- elastic addresses


def test_elastic_addresses(endpoint):
    c = endpoint.ec2
    a, b = run(c, 2)
    before = one(c, a)["PublicIpAddress"]
    got = c.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", a="b"))
    ip, allocation = got["PublicIp"], got["AllocationId"]
    association = c.associate_address(InstanceId=a, AllocationId=allocation)["AssociationId"]
    assert one(c, a)["PublicIpAddress"] == ip != before
    [seen] = c.describe_addresses(Filters=filters(instance_id=a))["Addresses"]
    assert seen["AssociationId"] == association and seen["PrivateIpAddress"] == one(c, a)["PrivateIpAddress"]
    assert seen["Tags"] == [{"Key": "a", "Value": "b"}]
    assert refused(c.release_address, AllocationId=allocation) == "InvalidIPAddress.InUse"
    assert refused(c.associate_address, InstanceId=b, AllocationId=allocation, AllowReassociation=False) == "Resource.AlreadyAssociated"
    c.stop_instances(InstanceIds=[a])
    c.get_waiter("instance_stopped").wait(InstanceIds=[a], WaiterConfig=QUICK)
    assert one(c, a)["PublicIpAddress"] == ip, "an elastic address stays over a stop"
    c.start_instances(InstanceIds=[a])
    c.get_waiter("instance_running").wait(InstanceIds=[a], WaiterConfig=QUICK)
    assert one(c, a)["PublicIpAddress"] == ip
    second = c.associate_address(InstanceId=b, AllocationId=allocation)["AssociationId"]
    assert one(c, b)["PublicIpAddress"] == ip != one(c, a)["PublicIpAddress"]
    assert refused(c.disassociate_address, AssociationId=association) == "InvalidAssociationID.NotFound"
    c.disassociate_address(AssociationId=second)
    assert one(c, b)["PublicIpAddress"] not in (ip, None)
    c.associate_address(InstanceId=b, AllocationId=allocation)
    other = c.allocate_address(Domain="vpc")
    c.associate_address(InstanceId=b, AllocationId=other["AllocationId"])
    assert one(c, b)["PublicIpAddress"] == other["PublicIp"]
    c.release_address(AllocationId=c.allocate_address(Domain="vpc")["AllocationId"])
    assert "AssociationId" not in c.describe_addresses(AllocationIds=[allocation])["Addresses"][0], "an interface bears one"
    c.associate_address(InstanceId=b, AllocationId=allocation)
    terminate(c, b)
    [seen] = c.describe_addresses(AllocationIds=[allocation])["Addresses"]
    assert "AssociationId" not in seen and "InstanceId" not in seen
    c.release_address(AllocationId=allocation)
    assert refused(c.release_address, AllocationId=allocation) == "InvalidAllocationID.NotFound"


def test_what_addresses_refuse(endpoint):
    c = endpoint.ec2
    made = [c.allocate_address(Domain="vpc") for _ in range(5)]
    assert refused(c.allocate_address, Domain="vpc") == "AddressLimitExceeded"
    assert refused(c.associate_address, AllocationId=made[0]["AllocationId"], InstanceId="i-" + NOWHERE) == "InvalidInstanceID.NotFound"
    i = run(c)
    terminate(c, i)
    assert refused(c.associate_address, AllocationId=made[0]["AllocationId"], InstanceId=i) == "InvalidInstanceID"
    assert refused(c.describe_addresses, PublicIps=["192.0.2.77"]) == "InvalidAddress.NotFound"
    assert refused(c.release_address, PublicIp=made[0]["PublicIp"]) == "InvalidParameterValue"
    assert len({a["PublicIp"] for a in c.describe_addresses()["Addresses"]}) == 5


# --- volumes


NO_VOLUMES = (
    ({"Size": None}, "MissingParameter"), ({"Size": 0}, "InvalidParameterValue"), ({"Size": 70000, "VolumeType": "gp3"}, "InvalidParameterValue"),
    ({"Size": 20000, "VolumeType": "gp2"}, "InvalidParameterValue"), ({"Size": 1, "VolumeType": "io1", "Iops": 100}, "InvalidParameterValue"),
    ({"Size": 100, "VolumeType": "st1"}, "InvalidParameterValue"), ({"VolumeType": "floppy"}, "InvalidParameterValue"),
    ({"VolumeType": "io1"}, "MissingParameter"), ({"VolumeType": "io1", "Iops": 500}, "InvalidParameterValue"),
    ({"VolumeType": "gp2", "Iops": 100}, "InvalidParameterCombination"), ({"VolumeType": "gp2", "Throughput": 125}, "InvalidParameterCombination"),
    ({"VolumeType": "gp3", "Iops": 2999}, "InvalidParameterValue"), ({"VolumeType": "gp3", "Iops": 80001}, "InvalidParameterValue"),
    ({"VolumeType": "gp3", "Iops": 5000}, "InvalidParameterValue"), ({"VolumeType": "gp3", "Throughput": 124}, "InvalidParameterValue"),
    ({"VolumeType": "gp3", "Throughput": 2001}, "InvalidParameterValue"), ({"VolumeType": "gp3", "Throughput": 800}, "InvalidParameterValue"),
    ({"AvailabilityZone": "us-east-1z"}, "InvalidZone.NotFound"), ({"AvailabilityZone": "us-west-2a"}, "InvalidZone.NotFound"),
    ({"SnapshotId": "snap-" + NOWHERE}, "InvalidSnapshot.NotFound"), ({"KmsKeyId": "alias/mine"}, "InvalidParameterDependency"),
    ({"TagSpecifications": tags("instance", a="b")}, "InvalidParameterValue"),
)


def test_volumes_that_are_none(endpoint):
    c = endpoint.ec2
    for how, want in NO_VOLUMES:
        arguments = {k: v for k, v in {"AvailabilityZone": "us-east-1a", "Size": 8, **how}.items() if v is not None}
        assert refused(c.create_volume, **arguments) == want, how
    assert not c.describe_volumes()["Volumes"]


def test_volumes_have_what_their_type_gives(endpoint):
    c = endpoint.ec2

    def made(**how):
        v = describe_volume(c, volume(c, **how))
        return v["VolumeType"], v.get("Iops"), v.get("Throughput"), v["Encrypted"]

    assert made() == ("gp2", 100, None, False) and made(Size=1000) == ("gp2", 3000, None, False)
    assert made(Size=8000) == ("gp2", 16000, None, False)
    assert made(VolumeType="gp3") == ("gp3", 3000, 125, False)
    assert made(VolumeType="gp3", Iops=4000, Throughput=1000, Encrypted=True) == ("gp3", 4000, 1000, True)
    assert made(Size=200, VolumeType="io2", Iops=20000) == ("io2", 20000, None, False)
    assert made(Size=125, VolumeType="st1") == ("st1", None, None, False)


def test_attaching(endpoint):
    c = endpoint.ec2
    i, j = run(c, 2)
    zone = zone_of(c, i)
    v, w = volume(c, zone), volume(c, zone)
    for device, want in (("/dev/sdf1x", "InvalidParameterValue"), ("sd", "InvalidParameterValue"), ("/dev/nvme1n1", "InvalidParameterValue"),
                         (one(c, i)["RootDeviceName"], "InvalidParameterValue")):
        assert refused(c.attach_volume, VolumeId=v, InstanceId=i, Device=device) == want, device
    assert refused(c.attach_volume, VolumeId=v, InstanceId="i-" + NOWHERE, Device="/dev/sdf") == "InvalidInstanceID.NotFound"
    assert refused(c.attach_volume, VolumeId="vol-" + NOWHERE, InstanceId=i, Device="/dev/sdf") == "InvalidVolume.NotFound"
    assert refused(c.attach_volume, VolumeId="disk", InstanceId=i, Device="/dev/sdf") == "InvalidVolumeID.Malformed"
    assert c.attach_volume(VolumeId=v, InstanceId=i, Device="/dev/sdf")["State"] == "attaching"
    assert refused(c.attach_volume, VolumeId=v, InstanceId=j, Device="/dev/sdg") == "VolumeInUse"
    assert refused(c.attach_volume, VolumeId=w, InstanceId=i, Device="/dev/sdf") == "InvalidParameterValue"
    wait_for(lambda: describe_volume(c, v)["Attachments"][0]["State"] == "attached")
    assert "/dev/sdf" in {m["DeviceName"] for m in one(c, i)["BlockDeviceMappings"]}
    assert refused(c.delete_volume, VolumeId=v) == "VolumeInUse"
    assert refused(c.detach_volume, VolumeId=v, InstanceId=j) == "InvalidAttachment.NotFound"
    assert refused(c.detach_volume, VolumeId=w) == "IncorrectState"
    root = one(c, i)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert refused(c.detach_volume, VolumeId=root) == "OperationNotPermitted"
    assert c.detach_volume(VolumeId=v)["State"] == "detaching", "without the instance's id"
    c.get_waiter("volume_available").wait(VolumeIds=[v], WaiterConfig=QUICK)
    c.attach_volume(VolumeId=v, InstanceId=i, Device="/dev/sdf")
    terminate(c, i)
    assert describe_volume(c, v)["State"] == "available", "an attached volume outlives its instance"
    assert refused(c.attach_volume, VolumeId=v, InstanceId=i, Device="/dev/sdf") == "IncorrectState"
    c.delete_volume(VolumeId=v)
    c.get_waiter("volume_deleted").wait(VolumeIds=[v], WaiterConfig=QUICK)
    assert refused(c.delete_volume, VolumeId=v) == "InvalidVolume.NotFound"


def test_an_instance_takes_so_many_volumes(endpoint):
    c = endpoint.ec2
    i = run(c, InstanceType="t3.small")
    zone = zone_of(c, i)
    second = c.create_network_interface(SubnetId=one(c, i)["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    names = [f"/dev/sd{x}" for x in "bcdefghijklmnopqrstuvwxyz"] + [f"/dev/xvdb{x}" for x in "abcdef"]
    for device in names[:25]:
        c.attach_volume(VolumeId=volume(c, zone), InstanceId=i, Device=device)
    c.attach_network_interface(NetworkInterfaceId=second, InstanceId=i, DeviceIndex=1)
    assert refused(c.attach_volume, VolumeId=volume(c, zone), InstanceId=i, Device=names[25]) == (
        "AttachmentLimitExceeded"), "a t3 takes 28: here two interfaces, the root, and 25"
    j = run(c, InstanceType="m7i.large")
    for device in names:
        c.attach_volume(VolumeId=volume(c, zone_of(c, j)), InstanceId=j, Device=device)
    assert refused(c.attach_volume, VolumeId=volume(c, zone_of(c, j)), InstanceId=j, Device="/dev/xvdcc") == (
        "AttachmentLimitExceeded"), "an m7i takes 32, whatever its interfaces"


def test_volumes_take_their_time(endpoints):
    """Every state is seen, and what it refuses."""
    e = endpoints(scenario=SLOW).start()
    c = e.ec2
    i = run(c)
    zone = zone_of(c, i)
    v = c.create_volume(AvailabilityZone=zone, Size=8)
    assert v["State"] == "creating"
    v = v["VolumeId"]
    for call, how in ((c.attach_volume, {"InstanceId": i, "Device": "/dev/sdf"}), (c.delete_volume, {}), (c.create_snapshot, {}),
                      (c.modify_volume, {"Size": 9})):
        assert refused(call, VolumeId=v, **how) == "IncorrectState", call
    assert c.describe_volume_status(VolumeIds=[v])["VolumeStatuses"][0]["VolumeStatus"]["Status"] == "insufficient-data"
    c.get_waiter("volume_available").wait(VolumeIds=[v], WaiterConfig=QUICK)
    c.attach_volume(VolumeId=v, InstanceId=i, Device="/dev/sdf")
    assert describe_volume(c, v)["Attachments"][0]["State"] == "attaching" and describe_volume(c, v)["State"] == "in-use"
    assert refused(c.detach_volume, VolumeId=v) == "IncorrectState"
    snapshot = c.create_snapshot(VolumeId=v, Description="d")
    assert snapshot["State"] == "pending" and snapshot["Progress"].endswith("%")
    assert refused(c.create_volume, AvailabilityZone=zone, SnapshotId=snapshot["SnapshotId"]) == "IncorrectState"
    wait_for(lambda: describe_volume(c, v)["Attachments"][0]["State"] == "attached")
    c.detach_volume(VolumeId=v)
    assert describe_volume(c, v)["Attachments"][0]["State"] == "detaching"
    assert refused(c.detach_volume, VolumeId=v) == "IncorrectState"
    e.kill()
    e.start()
    assert describe_volume(c, v)["State"] in ("in-use", "available")
    c.get_waiter("volume_available").wait(VolumeIds=[v], WaiterConfig=QUICK)
    c.delete_volume(VolumeId=v)
    assert describe_volume(c, v)["State"] == "deleting"
    c.get_waiter("volume_deleted").wait(VolumeIds=[v], WaiterConfig=QUICK)
    c.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot["SnapshotId"]], WaiterConfig=QUICK)
    assert c.describe_snapshots(OwnerIds=["self"])["Snapshots"][0]["Progress"] == "100%"


def test_a_stuck_volume(endpoints):
    """Stays where it is for ever; a detach by force ends it. Others are not struck."""
    e = endpoints(scenario="faults:\n  - {fault: volume_stuck, action: CreateVolume, count: 1}\n"
                           "  - {fault: volume_stuck, action: DetachVolume, count: 2}\n").start()
    c = e.ec2
    i = run(c)
    zone = zone_of(c, i)
    stuck = volume(c, zone, wait=False)
    v = volume(c, zone)
    assert describe_volume(c, stuck)["State"] == "creating"
    c.attach_volume(VolumeId=v, InstanceId=i, Device="/dev/sdf")
    wait_for(lambda: describe_volume(c, v)["Attachments"][0]["State"] == "attached")
    c.detach_volume(VolumeId=v)
    w = volume(c, zone)  # has come and become available meanwhile
    assert describe_volume(c, v)["Attachments"][0]["State"] == "detaching" and describe_volume(c, w)["State"] == "available"
    c.detach_volume(VolumeId=v, Force=True)
    c.get_waiter("volume_available").wait(VolumeIds=[v], WaiterConfig=QUICK)
    assert describe_volume(c, stuck)["State"] == "creating"


def test_changing_a_volume(endpoint):
    c = endpoint.ec2
    v = volume(c, VolumeType="gp3")
    got = c.modify_volume(VolumeId=v, Size=16, Iops=4000)["VolumeModification"]
    assert (got["OriginalSize"], got["TargetSize"], got["OriginalIops"], got["TargetIops"]) == (8, 16, 3000, 4000)
    wait_for(lambda: c.describe_volumes_modifications(VolumeIds=[v])["VolumesModifications"][0]["ModificationState"] == "completed")
    after = describe_volume(c, v)
    assert (after["Size"], after["Iops"], after["Throughput"]) == (16, 4000, 125)
    assert refused(c.modify_volume, VolumeId=v, Size=8) == "InvalidParameterValue", "volumes do not shrink"
    assert refused(c.modify_volume, VolumeId=v, Iops=100) == "InvalidParameterValue"
    c.modify_volume(VolumeId=v, VolumeType="gp2")
    wait_for(lambda: describe_volume(c, v)["VolumeType"] == "gp2")
    assert describe_volume(c, v)["Iops"] == 100 and "Throughput" not in describe_volume(c, v)
    assert refused(c.describe_volumes_modifications, VolumeIds=[volume(c)]) == "InvalidVolumeModification.NotFound"


def test_a_change_under_way(endpoints):
    c = endpoints(scenario=SLOW.replace("volume_create: 3s", "volume_create: 0s")).start().ec2
    v = volume(c, VolumeType="gp3")
    c.modify_volume(VolumeId=v, Size=9)
    assert describe_volume(c, v)["Size"] == 8, "the new size is there when it is optimizing, not before"
    assert refused(c.modify_volume, VolumeId=v, Size=10) == "IncorrectModificationState"


# --- snapshots


def test_snapshots(endpoint):
    c = endpoint.ec2
    v = volume(c, Size=10, Encrypted=True)
    s = c.create_snapshot(VolumeId=v, Description="mine", TagSpecifications=tags("snapshot", a="b"))["SnapshotId"]
    c.get_waiter("snapshot_completed").wait(SnapshotIds=[s], WaiterConfig=QUICK)
    c.delete_volume(VolumeId=v)
    c.get_waiter("volume_deleted").wait(VolumeIds=[v], WaiterConfig=QUICK)
    [seen] = c.describe_snapshots(OwnerIds=["self"], Filters=filters(**{"tag:a": "b"}))["Snapshots"]
    assert seen["SnapshotId"] == s and seen["VolumeId"] == v and seen["VolumeSize"] == 10 and seen["Encrypted"]
    copy = describe_volume(c, c.create_volume(AvailabilityZone="us-east-1b", SnapshotId=s)["VolumeId"])
    assert copy["Size"] == 10 and copy["SnapshotId"] == s and copy["Encrypted"] and copy["AvailabilityZone"] == "us-east-1b"
    assert describe_volume(c, volume(c, SnapshotId=s, Size=20))["Size"] == 20
    assert refused(c.create_volume, AvailabilityZone="us-east-1a", SnapshotId=s, Size=9) == "InvalidParameterValue"
    assert refused(c.create_snapshot, VolumeId=v) == "InvalidVolume.NotFound"
    c.delete_snapshot(SnapshotId=s)
    assert refused(c.delete_snapshot, SnapshotId=s) == "InvalidSnapshot.NotFound"
    assert refused(c.describe_snapshots, SnapshotIds=["snap"]) == "InvalidSnapshotID.Malformed"
    i = run(c)
    extra = volume(c, zone_of(c, i))
    c.attach_volume(VolumeId=extra, InstanceId=i, Device="/dev/sdf")
    many = c.create_snapshots(InstanceSpecification={"InstanceId": i})["Snapshots"]
    assert len(many) == 2 and extra in {m["VolumeId"] for m in many}
    few = c.create_snapshots(InstanceSpecification={"InstanceId": i, "ExcludeBootVolume": True})["Snapshots"]
    assert [m["VolumeId"] for m in few] == [extra]


# --- images


def test_looking_images_up(endpoint):
    c = endpoint.ec2

    def names(**how):
        return {i["Name"] for i in c.describe_images(**how)["Images"]}

    amazon = names(Owners=["amazon"])
    assert amazon and all(n.startswith("al2023-") for n in amazon) and names(Owners=["137112412989"]) == amazon
    debian = names(Owners=["136693071363"])
    assert any(n.startswith("debian-12-amd64-") for n in debian)
    arm = names(Filters=filters(architecture="arm64", **{"root-device-type": "ebs", "virtualization-type": "hvm"}))
    assert arm and arm < amazon | debian
    i = c.describe_images(ImageIds=[ami(c)])["Images"][0]
    assert i["Public"] and i["State"] == "available" and i["BlockDeviceMappings"][0]["DeviceName"] == i["RootDeviceName"]
    assert i["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"].startswith("snap-") and i["OwnerId"] == "137112412989"
    assert refused(c.describe_images, ImageIds=["ami-" + NOWHERE]) == "InvalidAMIID.NotFound"
    assert refused(c.describe_images, ImageIds=["debian"]) == "InvalidAMIID.Malformed"
    assert refused(c.deregister_image, ImageId=ami(c)) == "AuthFailure", "it is Amazon's"
    assert names(Filters=filters(name="no-such-*")) == set()


def test_images_of_instances(endpoint):
    c = endpoint.ec2
    i = run(c)
    extra = volume(c, zone_of(c, i), Size=5)
    c.attach_volume(VolumeId=extra, InstanceId=i, Device="/dev/sdf")
    made = c.create_image(InstanceId=i, Name="mine", Description="d", NoReboot=True,
                          TagSpecifications=tags("image", a="i") + tags("snapshot", a="s"))["ImageId"]
    c.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=QUICK)
    [m] = c.describe_images(Owners=["self"])["Images"]
    assert m["ImageId"] == made and not m["Public"] and m["Tags"] == [{"Key": "a", "Value": "i"}] and m["Description"] == "d"
    disks = {d["DeviceName"]: d["Ebs"] for d in m["BlockDeviceMappings"]}
    assert set(disks) == {m["RootDeviceName"], "/dev/sdf"} and disks["/dev/sdf"]["VolumeSize"] == 5
    snapshots = {s["SnapshotId"] for s in c.describe_snapshots(Filters=filters(**{"tag:a": "s"}))["Snapshots"]}
    assert snapshots == {d["SnapshotId"] for d in disks.values()}
    assert refused(c.delete_snapshot, SnapshotId=disks["/dev/sdf"]["SnapshotId"]) == "InvalidSnapshot.InUse"
    assert refused(c.create_image, InstanceId=i, Name="mine") == "InvalidAMIName.Duplicate"
    for bad in ("ab", "x" * 129, "semi;colon"):
        assert refused(c.create_image, InstanceId=i, Name=bad) == "InvalidAMIName.Malformed", bad
    assert refused(c.create_image, InstanceId="i-" + NOWHERE, Name="other") == "InvalidInstanceID.NotFound"
    [amazon] = {d["Ebs"]["SnapshotId"] for d in c.describe_images(ImageIds=[ami(c)])["Images"][0]["BlockDeviceMappings"]}
    assert c.describe_snapshots(SnapshotIds=[amazon], OwnerIds=["amazon"])["Snapshots"][0]["OwnerId"] == "137112412989"
    assert describe_volume(c, volume(c, SnapshotId=amazon, Size=9))["SnapshotId"] == amazon
    assert refused(c.delete_snapshot, SnapshotId=amazon) == "UnauthorizedOperation"
    again = run(c, ImageId=made)
    c.modify_image_attribute(ImageId=made, LaunchPermission={"Add": [{"Group": "all"}]})
    assert c.describe_image_attribute(ImageId=made, Attribute="launchPermission")["LaunchPermissions"] == [{"Group": "all"}]
    c.deregister_image(ImageId=made)
    assert refused(c.describe_images, ImageIds=[made]) == "InvalidAMIID.NotFound" and not c.describe_images(Owners=["self"])["Images"]
    assert refused(c.deregister_image, ImageId=made) == "InvalidAMIID.Unavailable"
    assert one(c, again)["State"]["Name"] == "running"
    for s in snapshots:
        c.delete_snapshot(SnapshotId=s)
    assert c.create_image(InstanceId=i, Name="mine")["ImageId"] != made, "the name is free again"
    terminate(c, i)
    assert refused(c.create_image, InstanceId=i, Name="late") == "IncorrectInstanceState"


def test_an_image_takes_its_time_and_outlives_a_crash(endpoints):
    e = endpoints(scenario=SLOW).start()
    c = e.ec2
    i = run(c)
    made = c.create_image(InstanceId=i, Name="slow")["ImageId"]
    assert c.describe_images(ImageIds=[made])["Images"][0]["State"] == "pending"
    assert refused(c.run_instances, ImageId=made, InstanceType="t3.micro", MinCount=1, MaxCount=1) == "InvalidAMIID.Unavailable"
    e.kill()
    e.start()
    c.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=QUICK)
    run(c, ImageId=made)


# --- launch templates


def test_launch_templates(endpoint):
    c = endpoint.ec2
    g = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    data = {"ImageId": ami(c), "InstanceType": "t3.small", "MetadataOptions": {"HttpTokens": "required"},
            "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
            "BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 3, "DeleteOnTermination": True}}],
            "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [g], "AssociatePublicIpAddress": False}],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1=2"}]}]}
    made = c.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data, ClientToken="once")["LaunchTemplate"]
    t = made["LaunchTemplateId"]
    assert (made["DefaultVersionNumber"], made["LatestVersionNumber"]) == (1, 1)
    assert c.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data, ClientToken="once")["LaunchTemplate"] == made
    [v] = c.describe_launch_template_versions(LaunchTemplateId=t)["LaunchTemplateVersions"]
    assert v["LaunchTemplateData"] == data and v["DefaultVersion"]
    i = one(c, run_template(c, LaunchTemplateName="web"))
    assert i["InstanceType"] == "t3.small" and i["MetadataOptions"]["HttpTokens"] == "required" and "PublicIpAddress" not in i
    assert [x["GroupId"] for x in i["SecurityGroups"]] == [g] and {"Key": "a", "Value": "1=2"} in i["Tags"]
    assert "/dev/sdf" in {m["DeviceName"] for m in i["BlockDeviceMappings"]}
    second = c.create_launch_template_version(LaunchTemplateId=t, SourceVersion="1", LaunchTemplateData={"InstanceType": "m5.large"})
    assert second["LaunchTemplateVersion"]["VersionNumber"] == 2
    assert second["LaunchTemplateVersion"]["LaunchTemplateData"] == {**data, "InstanceType": "m5.large"}
    types = [one(c, run_template(c, LaunchTemplateId=t, **v))["InstanceType"]
             for v in ({}, {"Version": "2"}, {"Version": "$Latest"}, {"Version": "$Default"})]
    assert types == ["t3.small", "m5.large", "m5.large", "t3.small"]
    over = c.run_instances(LaunchTemplate={"LaunchTemplateId": t}, InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"][0]
    assert over["InstanceType"] == "t3.nano" and over["ImageId"] == data["ImageId"], "what the call says goes first"
    assert c.modify_launch_template(LaunchTemplateId=t, DefaultVersion="2")["LaunchTemplate"]["DefaultVersionNumber"] == 2
    assert one(c, run_template(c, LaunchTemplateId=t))["InstanceType"] == "m5.large"
    for how, want in (({"LaunchTemplateId": "lt-" + NOWHERE}, "InvalidLaunchTemplateId.NotFound"),
                      ({"LaunchTemplateName": "nobody"}, "InvalidLaunchTemplateName.NotFoundException"),
                      ({"LaunchTemplateId": t, "Version": "9"}, "InvalidLaunchTemplateId.VersionNotFound"),
                      ({"LaunchTemplateId": t, "LaunchTemplateName": "web"}, "InvalidParameterCombination")):
        assert refused(c.run_instances, LaunchTemplate=how, MinCount=1, MaxCount=1) == want, how
    assert refused(c.create_launch_template, LaunchTemplateName="web", LaunchTemplateData=data) == (
        "InvalidLaunchTemplateName.AlreadyExistsException")
    assert refused(c.create_launch_template, LaunchTemplateName="w b", LaunchTemplateData=data) == (
        "InvalidLaunchTemplateName.MalformedException")
    assert [x["LaunchTemplateName"] for x in c.describe_launch_templates()["LaunchTemplates"]] == ["web"]
    c.delete_launch_template(LaunchTemplateName="web")
    assert not c.describe_launch_templates()["LaunchTemplates"]
    assert refused(c.describe_launch_template_versions, LaunchTemplateId=t) == "InvalidLaunchTemplateId.NotFound"


def run_template(c, **template):
    i = c.run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    c.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)
    return i


# --- tags on all of them


def test_tags_on_everything(endpoint):
    c = endpoint.ec2
    i = run(c)
    v = volume(c)
    subnet = c.describe_subnets()["Subnets"][0]
    made = {
        "volume": v, "snapshot": c.create_snapshot(VolumeId=v)["SnapshotId"], "image": c.create_image(InstanceId=i, Name="img")["ImageId"],
        "network-interface": c.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"],
        "security-group": c.create_security_group(GroupName="g", Description="d")["GroupId"],
        "key-pair": c.create_key_pair(KeyName="k", KeyType="ed25519")["KeyPairId"], "elastic-ip": c.allocate_address()["AllocationId"],
        "subnet": subnet["SubnetId"], "vpc": subnet["VpcId"], "instance": i}
    c.create_tags(Resources=list(made.values()), Tags=[{"Key": "all", "Value": "yes"}])
    found = c.describe_tags(Filters=filters(key="all"))["Tags"]
    assert {t["ResourceType"]: t["ResourceId"] for t in found} == made
    calls = {"volume": c.describe_volumes, "snapshot": c.describe_snapshots, "image": c.describe_images,
             "network-interface": c.describe_network_interfaces, "security-group": c.describe_security_groups,
             "key-pair": c.describe_key_pairs, "elastic-ip": c.describe_addresses, "subnet": c.describe_subnets, "vpc": c.describe_vpcs}
    for kind, call in calls.items():
        reply = call(Filters=filters(**{"tag:all": "yes"}))
        [items] = [x for k, x in reply.items() if isinstance(x, list)]
        assert len(items) == 1 and made[kind] in items[0].values(), kind
        assert [x for k, x in call(Filters=filters(**{"tag:all": "no"})).items() if isinstance(x, list)] == [[]], kind


def test_dry_run_on_everything(endpoint):
    c = endpoint.ec2
    i = run(c)
    v = volume(c)
    subnet = c.describe_subnets()["Subnets"][0]["SubnetId"]
    for call, how in (
            (c.attach_volume, {"VolumeId": v, "InstanceId": i, "Device": "/dev/sdf"}), (c.delete_volume, {"VolumeId": v}),
            (c.create_snapshot, {"VolumeId": v}), (c.allocate_address, {}), (c.create_network_interface, {"SubnetId": subnet}),
            (c.modify_volume, {"VolumeId": v, "Size": 9}), (c.describe_images, {}), (c.describe_subnets, {}), (c.describe_regions, {}),
            (c.describe_instance_types, {}), (c.describe_volumes, {}), (c.delete_key_pair, {"KeyName": "k"})):
        assert refused(call, DryRun=True, **how) == "DryRunOperation", call
    assert describe_volume(c, v)["State"] == "available" and describe_volume(c, v)["Size"] == 8
    assert not c.describe_snapshots(OwnerIds=["self"])["Snapshots"] and not c.describe_addresses()["Addresses"]
    assert len(c.describe_network_interfaces()["NetworkInterfaces"]) == 1


def test_pages_of_volumes(endpoint):
    c = endpoint.ec2
    made = {volume(c, wait=False) for _ in range(12)}
    pages = list(c.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(p["Volumes"]) for p in pages] == [5, 5, 2] and {v["VolumeId"] for p in pages for v in p["Volumes"]} == made


# --- a restart


def test_all_of_it_outlives_kill_9(endpoints):
    e = endpoints().start()
    c = e.ec2
    i = run(c)
    v = volume(c, zone_of(c, i), VolumeType="gp3", TagSpecifications=tags("volume", a="b"))
    c.attach_volume(VolumeId=v, InstanceId=i, Device="/dev/sdf")
    wait_for(lambda: describe_volume(c, v)["Attachments"][0]["State"] == "attached")
    c.create_snapshot(VolumeId=v)
    g = c.create_security_group(GroupName="g", Description="d")["GroupId"]
    c.authorize_security_group_ingress(GroupId=g, IpPermissions=[rule()])
    c.create_key_pair(KeyName="k", KeyType="ed25519")
    allocation = c.allocate_address()["AllocationId"]
    c.associate_address(InstanceId=i, AllocationId=allocation)
    made = c.create_image(InstanceId=i, Name="img")["ImageId"]
    c.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=QUICK)
    wait_for(lambda: all(s["State"] == "completed" for s in c.describe_snapshots(OwnerIds=["self"])["Snapshots"]))

    def all_of_it():
        replies = [c.describe_volumes(), c.describe_snapshots(), c.describe_security_groups(), c.describe_security_group_rules(),
                   c.describe_key_pairs(IncludePublicKey=True), c.describe_addresses(), c.describe_images(), c.describe_subnets(),
                   c.describe_vpcs(), c.describe_network_interfaces()]
        for r in replies:
            del r["ResponseMetadata"]
        return replies

    before = all_of_it()
    e.kill()
    e.start()
    assert all_of_it() == before
    more = [c.allocate_address()["PublicIp"] for _ in range(4)]
    assert len({*more, before[5]["Addresses"][0]["PublicIp"]}) == 5, "nobody else gets an address that is taken"


# --- EC2 Instance Connect


def test_instance_connect(endpoint, tmp_path):
    c, eic = endpoint.ec2, endpoint.client("ec2-instance-connect")
    ssh_keygen(tmp_path / "ed", "-t", "ed25519")
    ssh_keygen(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    ssh_keygen(tmp_path / "ec", "-t", "ecdsa")
    key = (tmp_path / "ed.pub").read_text()
    i = run(c)
    good = {"InstanceId": i, "InstanceOSUser": "ec2-user", "SSHPublicKey": key}
    assert eic.send_ssh_public_key(**good)["Success"] is True
    assert eic.send_ssh_public_key(**{**good, "SSHPublicKey": (tmp_path / "rsa.pub").read_text()}, AvailabilityZone=zone_of(c, i))["Success"]
    other = next(z["ZoneName"] for z in c.describe_availability_zones()["AvailabilityZones"] if z["ZoneName"] != zone_of(c, i))
    for change, want in (
            ({"InstanceId": "i-" + NOWHERE}, "EC2InstanceNotFoundException"), ({"AvailabilityZone": other}, "EC2InstanceNotFoundException"),
            ({"SSHPublicKey": "x" * 100}, "InvalidArgsException"), ({"SSHPublicKey": (tmp_path / "ec.pub").read_text()}, "InvalidArgsException"),
            ({"InstanceOSUser": "not a user"}, "InvalidArgsException"), ({"InstanceId": "i-notahexnumber"}, "InvalidArgsException")):
        assert refused(eic.send_ssh_public_key, **{**good, **change}) == want, change
    c.stop_instances(InstanceIds=[i])
    c.get_waiter("instance_stopped").wait(InstanceIds=[i], WaiterConfig=QUICK)
    assert refused(eic.send_ssh_public_key, **good) == "EC2InstanceStateInvalidException"
    terminate(c, i)
    assert refused(eic.send_ssh_public_key, **good) == "EC2InstanceNotFoundException"


def test_instance_connect_before_sshd_is_there(endpoints, tmp_path):
    e = endpoints(scenario="faults:\n  - {fault: no_sshd}\n").start()
    ssh_keygen(tmp_path / "ed", "-t", "ed25519")
    i = run(e.ec2)
    assert refused(e.client("ec2-instance-connect").send_ssh_public_key, InstanceId=i, InstanceOSUser="ec2-user",
                   SSHPublicKey=(tmp_path / "ed.pub").read_text()) == "EC2InstanceUnavailableException"


def test_instance_connect_is_throttled_in_its_own_words(endpoints, tmp_path):
    """Its transient errors end in "Exception", unlike EC2's."""
    e = endpoints(scenario="faults:\n  - {fault: throttled, action: SendSSHPublicKey, count: 1}\n"
                           "  - {fault: unavailable, action: SendSSHPublicKey, count: 1}\n").start()
    ssh_keygen(tmp_path / "ed", "-t", "ed25519")
    how = {"InstanceId": run(e.ec2), "InstanceOSUser": "ec2-user", "SSHPublicKey": (tmp_path / "ed.pub").read_text()}
    eic = e.client("ec2-instance-connect")
    assert [refused(eic.send_ssh_public_key, **how) for _ in range(2)] == ["ThrottlingException", "ServiceException"]
    assert eic.send_ssh_public_key(**how)["Success"]


# --- SQS


def states(sqs, url, n, wait=5):
    """The next n (instance, state) that the queue gives, each message deleted."""
    got = []
    end = time.monotonic() + 60
    while len(got) < n and time.monotonic() < end:
        reply = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
        for m in reply.get("Messages", []):
            event = json.loads(m["Body"])
            got.append((event["detail"]["instance-id"], event["detail"]["state"], event))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    return got


def test_events_of_instances(endpoints):
    """A queue of the configured name in each region gets what EventBridge would send of every change of state."""
    e = endpoints(settings={"events_queue": "changes"}).start()
    sqs = e.client("sqs")
    url = sqs.get_queue_url(QueueName="changes")["QueueUrl"]
    i = run(e.ec2)
    got = states(sqs, url, 2)
    assert {g[:2] for g in got} == {(i, "pending"), (i, "running")}
    event = got[0][2]
    assert event["source"] == "aws.ec2" and event["detail-type"] == "EC2 Instance State-change Notification"
    assert event["region"] == REGION and event["resources"] == [f"arn:aws:ec2:{REGION}:{event['account']}:instance/{i}"]
    terminate(e.ec2, i)
    assert {g[:2] for g in states(sqs, url, 2)} == {(i, "shutting-down"), (i, "terminated")}
    west = e.client("sqs", region="us-west-2")
    assert not west.receive_message(QueueUrl=west.get_queue_url(QueueName="changes")["QueueUrl"]).get("Messages")


def test_a_long_poll_ends_with_the_event(endpoints):
    """Who waits is answered by the change, well before its patience ends; and by nothing at its end."""
    e = endpoints(settings={"events_queue": "changes"}).start()
    sqs = e.client("sqs")
    url = sqs.get_queue_url(QueueName="changes")["QueueUrl"]
    import threading
    got = []
    t = threading.Thread(target=lambda: got.append(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)))
    t.start()
    attributes = lambda: e.client("sqs", attempts=2).get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]  # noqa: E731
    assert attributes()["ApproximateNumberOfMessages"] == "0"
    begun = time.monotonic()
    run(e.ec2)
    t.join()
    assert got[0]["Messages"] and time.monotonic() - begun < 19
    states(sqs, url, 1)
    assert not sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages")


def test_the_end_does_not_wait_for_those_who_wait(endpoints):
    """SIGTERM while somebody polls: the endpoint ends at once, and well."""
    import threading
    e = endpoints().start()
    url = e.client("sqs").create_queue(QueueName="quiet")["QueueUrl"]

    def poll():
        with pytest.raises(Exception):
            e.client("sqs", attempts=2).receive_message(QueueUrl=url, WaitTimeSeconds=20)

    e.client("sqs", attempts=2)  # made here: boto3 does not like it in a thread
    t = threading.Thread(target=poll)
    t.start()
    time.sleep(0.5)  # the poll is there by now, or the test is one that proves nothing
    begun = time.monotonic()
    assert e.stop() == 0 and time.monotonic() - begun < 15, e.log_text()
    t.join()


def test_queues(endpoints):
    e = endpoints().start()
    sqs = e.client("sqs")
    assert refused(sqs.get_queue_url, QueueName="mine") == "AWS.SimpleQueueService.NonExistentQueue"
    url = sqs.create_queue(QueueName="mine", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    assert url.startswith(e.url) and sqs.get_queue_url(QueueName="mine")["QueueUrl"] == url
    assert sqs.create_queue(QueueName="mine", Attributes={"VisibilityTimeout": "1"})["QueueUrl"] == url
    assert refused(sqs.create_queue, QueueName="mine", Attributes={"VisibilityTimeout": "2"}) == "QueueAlreadyExists"
    assert refused(sqs.create_queue, QueueName="no blanks") == "InvalidParameterValue"
    assert refused(sqs.create_queue, QueueName="x", Attributes={"Colour": "red"}) == "InvalidAttributeName"
    body = "<ä & \"x\">\n" * 3
    sent = sqs.send_message(QueueUrl=url, MessageBody=body)
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    [m] = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    assert m["Body"] == body and m["MessageId"] == sent["MessageId"] and m["Attributes"]["ApproximateReceiveCount"] == "1"
    assert not sqs.receive_message(QueueUrl=url).get("Messages"), "in flight"
    [again] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    assert again["MessageId"] == m["MessageId"], "given again when nobody has deleted it in time"
    assert refused(sqs.delete_message, QueueUrl=url, ReceiptHandle="junk") == "ReceiptHandleIsInvalid"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=100)
    e.kill()
    e.start()
    assert not sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2).get("Messages")
    done = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": again["ReceiptHandle"]}, {"Id": "b", "ReceiptHandle": "x"}])
    assert [x["Id"] for x in done["Successful"]] == ["a"] and [x["Id"] for x in done["Failed"]] == ["b"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"])
    assert set(counts["Attributes"].values()) == {"0"}
    assert sqs.list_queues()["QueueUrls"] == [url]
    sqs.delete_queue(QueueUrl=url)
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x") == "AWS.SimpleQueueService.NonExistentQueue"


def json_call(e, action, body):
    data = json.dumps(body).encode() if not isinstance(body, bytes) else body
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS." + action}
    r = e.raw(data, e.sign(data, service="sqs", headers=headers))
    return r.status, json.loads(r.body)


def test_queues_in_the_newer_protocol(endpoint):
    """JSON 1.0, as botocore speaks it since 1.31.81."""
    status, reply = json_call(endpoint, "CreateQueue", {"QueueName": "q", "Attributes": {"VisibilityTimeout": "5"}, "tags": {"a": "b"}})
    assert status == 200
    url = reply["QueueUrl"]
    assert json_call(endpoint, "SendMessage", {"QueueUrl": url, "MessageBody": "{\"a\": [1]}", "DelaySeconds": 0})[0] == 200
    status, reply = json_call(endpoint, "ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 5, "AttributeNames": ["All"]})
    [m] = reply["Messages"]
    assert m["Body"] == "{\"a\": [1]}" and m["Attributes"]["ApproximateReceiveCount"] == "1"
    assert json_call(endpoint, "DeleteMessage", {"QueueUrl": url, "ReceiptHandle": m["ReceiptHandle"]}) == (200, {})
    assert json_call(endpoint, "ReceiveMessage", {"QueueUrl": url}) == (200, {})
    status, reply = json_call(endpoint, "GetQueueUrl", {"QueueName": "nobody"})
    assert (status, reply["__type"]) == (400, "com.amazonaws.sqs#QueueDoesNotExist")
    for junk in (b"", b"[]", b"{", b"nul", b'{"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}', b'{"QueueName": 1.5}'):
        assert json_call(endpoint, "CreateQueue", junk)[0] == 400, junk
