# SPDX-License-Identifier: Apache-2.0
"""Goal: hearth-ec2 speaks EFS as its model in botocore has it; and hearthd's shared homes on the ec2 provider are made once,
whatever reply is lost and wherever the daemon dies. On fake machines: nothing can be mounted, there is no NFS."""

import json
import os
import re
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")
import botocore.session  # noqa: E402
from botocore.exceptions import ClientError, ParamValidationError  # noqa: E402

from hearth import wait_for  # noqa: E402
from test_hearthd_ec2 import FAKE, on  # noqa: E402

SHARE = 0.5  # of its tests in a sample: see conftest.py

MODEL = botocore.session.get_session().get_service_model("efs")


def faults_of(shape, value, path):
    """Where the JSON is not of the shape."""
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        names = {m.serialization.get("name", n): m for n, m in shape.members.items()}
        found = [f"{path}: unknown member {n}" for n in value if n not in names]
        found += [f"{path}: no {n}, which the model requires" for n in shape.required_members if n not in value]
        return found + [f for n, v in value.items() if n in names for f in faults_of(names[n], v, f"{path}.{n}")]
    if kind == "list":
        return [f for i, v in enumerate(value) for f in faults_of(shape.member, v, f"{path}[{i}]")]
    types = {"string": str, "boolean": bool, "integer": int, "long": int, "timestamp": (int, float), "double": (int, float)}
    if not isinstance(value, types[kind]):
        return [f"{path}: {value!r} is no {kind}"]
    if getattr(shape, "enum", None) and value not in shape.enum:
        return [f"{path}: {value!r} is not of the enum"]
    pattern = shape.metadata.get("pattern")
    if pattern and "\\p" not in pattern and not re.search(pattern, value):
        return [f"{path}: {value!r} is not like {pattern}"]
    return []


def efs_of(endpoint, found):
    """A client whose replies are held against the model."""
    c = endpoint.client("efs")

    def check(http_response, model, **_):
        body, status = http_response.content, http_response.status_code
        if status >= 400:
            said = json.loads(body)
            shapes = {s.name: s for s in model.error_shapes}
            code = http_response.headers["x-amzn-ErrorType"]
            assert said["ErrorCode"] == code
            if code in shapes:
                found.extend(faults_of(shapes[code], said, code))
                want = shapes[code].metadata.get("error", {}).get("httpStatusCode")
                if want and want != status:
                    found.append(f"{code} with status {status}, not {want}")
            else:
                found.append(f"{model.name}: {code} is no error of it")
        else:
            if status != model.http.get("responseCode", 200):
                found.append(f"{model.name}: status {status}")
            if model.output_shape is not None and model.output_shape.members:
                found.extend(faults_of(model.output_shape, json.loads(body), model.name))

    c.meta.events.register("after-call.efs", check)
    return c


def code_of(call, *args, **kwargs):
    with pytest.raises(ClientError) as e:
        call(*args, **kwargs)
    return e.value.response["Error"]["Code"]


def a_subnet(endpoint, zone=None):
    return next(s["SubnetId"] for s in endpoint.ec2.describe_subnets()["Subnets"] if zone in (None, s["AvailabilityZone"]))


def test_what_it_answers_is_what_the_model_says(endpoints):
    e = endpoints().start()
    found = []
    c = efs_of(e, found)
    fs = c.create_file_system(CreationToken="t", Encrypted=True, Tags=[{"Key": "Name", "Value": "homes"}])
    assert fs["LifeCycleState"] == "creating" and fs["Name"] == "homes" and fs["Encrypted"] is True
    ident = fs["FileSystemId"]
    with pytest.raises(ClientError) as again:
        c.create_file_system(CreationToken="t")
    assert again.value.response["FileSystemId"] == ident
    wait_for(lambda: c.describe_file_systems(CreationToken="t")["FileSystems"][0]["LifeCycleState"] == "available")
    ap = c.create_access_point(ClientToken="u", FileSystemId=ident, PosixUser={"Uid": 1000, "Gid": 1000, "SecondaryGids": [4]},
                               RootDirectory={"Path": "/1001", "CreationInfo": {"OwnerUid": 1000, "OwnerGid": 1000,
                                                                                "Permissions": "0755"}})
    assert ap["RootDirectory"]["Path"] == "/1001" and ap["PosixUser"]["SecondaryGids"] == [4]
    assert code_of(c.create_access_point, ClientToken="u", FileSystemId=ident) == "AccessPointAlreadyExists"
    subnet = a_subnet(e)
    mt = c.create_mount_target(FileSystemId=ident, SubnetId=subnet)
    assert code_of(c.create_mount_target, FileSystemId=ident, SubnetId=subnet) == "MountTargetConflict"
    assert code_of(c.create_mount_target, FileSystemId=ident, SubnetId="subnet-0123456789abcdef0") == "SubnetNotFound"
    wait_for(lambda: c.describe_mount_targets(FileSystemId=ident)["MountTargets"][0]["LifeCycleState"] == "available")
    assert [n["NetworkInterfaceId"] for n in e.ec2.describe_network_interfaces()["NetworkInterfaces"]] == [mt["NetworkInterfaceId"]]
    assert len(c.describe_mount_target_security_groups(MountTargetId=mt["MountTargetId"])["SecurityGroups"]) == 1
    c.tag_resource(ResourceId=ap["AccessPointId"], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    c.untag_resource(ResourceId=ap["AccessPointId"], TagKeys=["b"])
    assert c.list_tags_for_resource(ResourceId=ap["AccessPointId"])["Tags"] == [{"Key": "a", "Value": "1"}]
    e.kill()  # what was answered is there
    e.start()
    assert c.describe_access_points(FileSystemId=ident)["AccessPoints"][0]["AccessPointId"] == ap["AccessPointId"]
    assert code_of(c.delete_file_system, FileSystemId=ident) == "FileSystemInUse"
    c.delete_mount_target(MountTargetId=mt["MountTargetId"])
    wait_for(lambda: c.describe_mount_targets(FileSystemId=ident)["MountTargets"] == [])
    assert e.ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    c.delete_access_point(AccessPointId=ap["AccessPointId"])
    c.delete_file_system(FileSystemId=ident)
    wait_for(lambda: c.describe_file_systems()["FileSystems"] == [])
    assert code_of(c.describe_file_systems, FileSystemId=ident) == "FileSystemNotFound"
    assert found == []


def test_bad_requests(endpoints):
    e = endpoints(scenario="throttle: false\ndelays:\n  file_system: 10s\n").start()
    found = []
    c = efs_of(e, found)
    ident = c.create_file_system(CreationToken="t")["FileSystemId"]
    assert code_of(c.create_access_point, ClientToken="u", FileSystemId=ident) == "IncorrectFileSystemLifeCycleState"
    assert code_of(c.create_access_point, ClientToken="u", FileSystemId="fs-0123456789abcdef0") == "FileSystemNotFound"
    assert code_of(c.create_file_system, CreationToken="x", AvailabilityZoneName="nowhere") == "BadRequest"
    assert code_of(c.describe_mount_targets) == "BadRequest"
    assert code_of(c.delete_mount_target, MountTargetId="fsmt-0123456789abcdef0") == "MountTargetNotFound"
    for path in ("/2015-02-01/nothing", "/2015-02-01/file-systems/../x", "/2015-02-01/file-systems/fs-1/x/y"):
        c.meta.events.register("before-sign.efs.DescribeFileSystems", lambda request, path=path, **_:
                               setattr(request, "url", e.url + path), unique_id="elsewhere")
        assert code_of(c.describe_file_systems) in ("UnknownOperationException", "BadRequest", "InvalidSignatureException")
        c.meta.events.unregister("before-sign.efs.DescribeFileSystems", unique_id="elsewhere")
    assert [f for f in found if "is no error of it" not in f] == []


# ---- hearthd's homes ----

POOL = {"default": f"{{provider: aws, image: debian, {FAKE}, running: 1, max: 6, shared_home: true}}"}


def there(endpoint):
    c = endpoint.client("efs")
    systems = c.describe_file_systems()["FileSystems"]
    points = c.describe_access_points()["AccessPoints"]
    targets = [t for f in systems for t in c.describe_mount_targets(FileSystemId=f["FileSystemId"])["MountTargets"]]
    groups = [g for g in endpoint.ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"].startswith("hearth-efs-")]
    return systems, points, targets, groups


def mounted(daemon, name, seconds=60):
    """The step is over, and without an error."""
    def done():
        steps = {s["name"]: s for s in json.loads(daemon.hearth("trace", name, "--json", check=True).stdout)["steps"]}
        return "mount" in steps and steps["mount"]["ended_at"] and not steps["mount"]["error"]

    wait_for(done, seconds, every=0.1, message=lambda: daemon.hearth("trace", name).stdout + daemon.log_text())


def one_of_each(endpoint):
    systems, points, targets, groups = there(endpoint)
    assert [len(x) for x in (systems, points, targets, groups)] == [1, 1, 1, 1]
    [rule] = groups[0]["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 2049, 2049)
    assert targets[0]["LifeCycleState"] == "available"
    return systems[0], points[0]


@pytest.mark.seconds(200)
def test_a_home_is_made_once(endpoints, daemons):
    e = endpoints(scenario="throttle: false\ndelays:\n  file_system: 1s\n  access_point: 1s\n  mount_target: 2s\n").start()
    d = on(daemons, e, POOL).start()
    d.fill(seconds=60)
    begun = time.monotonic()
    got = json.loads(d.hearth("reserve", "--name", "one", "--json", check=True).stdout)
    assert got["state"] == "active" and got["path"] == "warm"
    mounted(d, "one")
    assert time.monotonic() - begun > 2
    system, point = one_of_each(e)
    assert system["Encrypted"] and point["FileSystemId"] == system["FileSystemId"]
    assert re.fullmatch(r"/\d+", point["RootDirectory"]["Path"]) and point["PosixUser"]["Uid"] == 1000
    before = len(re.findall("Create", e.log_text()))
    d.hearth("reserve", "--name", "two", check=True)
    mounted(d, "two")
    assert len(re.findall("Create", e.log_text())) == before
    d.kill()
    d.start()
    d.hearth("reserve", "--name", "three", check=True)
    mounted(d, "three")
    one_of_each(e)
    assert json.loads(d.hearth("show", "three", "--json", check=True).stdout)["notice"] is None


@pytest.mark.seconds(200)
def test_lost_replies_make_nothing_twice(endpoints, daemons):
    actions = ("CreateFileSystem", "CreateAccessPoint", "CreateMountTarget", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress")
    e = endpoints(scenario="throttle: false\nfaults:\n" + "".join(
        f"  - {{fault: reply_lost, action: {a}, count: 1}}\n" for a in actions)).start()
    d = on(daemons, e, POOL).start()
    d.hearth("reserve", "--name", "one", check=True)
    mounted(d, "one")
    one_of_each(e)
    for a in actions:
        assert len(re.findall(a + ":", e.log_text())) >= 2, a


@pytest.mark.seconds(300)
@pytest.mark.parametrize("action", ["CreateFileSystem", "CreateAccessPoint", "CreateMountTarget"])
def test_a_daemon_that_dies_makes_up_for_it(endpoints, daemons, action):
    e = endpoints(scenario="throttle: false\ndelays:\n  file_system: 1s\n  access_point: 1s\n  mount_target: 1s\n").start()
    d = on(daemons, e, POOL).start()
    d.fill(seconds=60)
    d.hearth("reserve", "--name", "one", check=True)
    wait_for(lambda: re.search(action + ": done", e.log_text()), 60, message=d.log_text)
    d.kill()
    d.start()
    mounted(d, "one")
    one_of_each(e)


@pytest.mark.seconds(200)
def test_without_efs_the_reservation_goes_on_and_says_so(endpoints, daemons):
    e = endpoints(scenario="throttle: false\nfaults:\n  - {fault: internal, action: CreateFileSystem}\n").start()
    d = on(daemons, e, POOL).start()
    d.fill(seconds=60)
    assert json.loads(d.hearth("reserve", "--name", "one", "--json", check=True).stdout)["state"] == "active"

    def notice():
        return json.loads(d.hearth("show", "one", "--json", check=True).stdout)["notice"] or ""

    wait_for(lambda: notice().startswith("no shared home: CreateFileSystem"), 100, every=0.5, message=notice)
    assert json.loads(d.hearth("show", "one", "--json", check=True).stdout)["state"] == "active"


def test_a_file_system_that_is_given(endpoints, daemons):
    e = endpoints().start()
    mine = e.client("efs").create_file_system(CreationToken="mine")["FileSystemId"]
    group = e.ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    d = on(daemons, e, POOL, provider=f"speed: 0, efs: {{file_system: {mine}, security_groups: [{group}]}}").start()
    d.hearth("reserve", "--name", "one", check=True)
    mounted(d, "one")
    systems, points, targets, groups = there(e)
    assert [s["FileSystemId"] for s in systems] == [mine] and len(points) == len(targets) == 1 and groups == []


@pytest.mark.root
@pytest.mark.seconds(200)
def test_a_real_machine_that_cannot_mount_says_why(endpoints, daemons):
    from image_cache import image

    house = endpoints(machines="local", image=image(),
                      settings={"network": "10.82.0.0/16", "uid_base": 910000000, "log_level": "debug"}).start()
    d = on(daemons, house, {"default": "{provider: aws, image: debian, running: 1, max: 2, shared_home: true}"}).start()
    d.fill(seconds=60)
    d.hearth("reserve", "--name", "one", check=True)

    def notice():
        return json.loads(d.hearth("show", "one", "--json", check=True).stdout)["notice"]

    wait_for(notice, 60, every=0.2, message=d.log_text)
    assert notice() == "no shared home: mount: amazon-efs-utils or an NFS client is needed in the image"


# What stands in for the NFS client of an image: it writes down what it was asked for.
CLIENT = (r"""printf '#!/bin/sh\necho "$@" >>/var/asked\n' >/usr/sbin/mount.nfs4; """
          r"""printf '#!/bin/sh\nexec mount.nfs4 "$@"\n' >/usr/local/sbin/mount; """
          r"""printf '#!/bin/sh\nrm -rf "$1"/*\n' >/usr/local/sbin/umount; """
          "chmod 755 /usr/sbin/mount.nfs4 /usr/local/sbin/mount /usr/local/sbin/umount")


@pytest.mark.root
@pytest.mark.seconds(200)
def test_what_a_real_machine_is_asked_to_mount(endpoints, daemons):
    from image_cache import image

    house = endpoints(machines="local", image=image(),
                      settings={"network": "10.82.0.0/16", "uid_base": 910000000, "log_level": "debug"}).start()
    d = on(daemons, house, {"default": "{provider: aws, image: debian, running: 1, max: 2, shared_home: true, "
                                       f"setup: [{json.dumps(CLIENT)}]}}"}).start()
    d.fill(seconds=60)
    d.hearth("reserve", "--name", "one", check=True)
    mounted(d, "one")
    [target] = there(house)[2]
    asked = d.hearth("ssh", "one", "--", "cat /var/asked", check=True).stdout.splitlines()
    assert [a.split()[-2] for a in asked] == [target["IpAddress"] + ":/", f"{target['IpAddress']}:/{os.getuid()}"]
    assert asked[1].split()[-1] == "/shared"
    assert all({"nosuid", "nodev", "nfsvers=4.1", "hard", "noresvport"} <= set(a.split()[3].split(",")) for a in asked)
