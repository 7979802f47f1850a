# SPDX-License-Identifier: Apache-2.0
"""Goal: hearth-ec2's instances are machines of this host with all that EC2 promises of them: memory survives hibernation, metadata
is each one's own, what happens to a machine shows in the API, crashes and restarts lose nothing, and nothing is left at the end.
Real endpoint, launcher, machines, ssh and boto3. As root."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import Endpoint  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.25  # of its tests in a sample: see conftest.py

pytestmark = [pytest.mark.root, pytest.mark.seconds(300)]

SSH = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
       "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10"]
TOKEN = "T=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)"


class Lab(Endpoint):
    """An endpoint with machines in a network and with user ids of its own."""

    def __init__(self, number, **kwargs):
        from image_cache import image

        self.network, self.uid_base = "10.%d.0.0/16" % (60 + number), 500_000_000 + number * 50_000_000
        kwargs.setdefault("image", image())
        super().__init__(machines="local", settings={"network": self.network, "uid_base": self.uid_base}, **kwargs)

    def ready(self):
        """Running, with a key pair."""
        self.start()
        self.key = self.dir / "key"
        if not self.key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
            self.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=(self.dir / "key.pub").read_bytes())
        images = self.ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])
        self.ami = images["Images"][0]["ImageId"]
        return self

    def run(self, up=True, **kwargs):
        wanted = {"ImageId": self.ami, "InstanceType": "t3.micro", "KeyName": "mine", "MinCount": 1, "MaxCount": 1, **kwargs}
        made = [i["InstanceId"] for i in self.ec2.run_instances(**wanted)["Instances"]]
        if up:
            for i in made:
                self.wait(i, "running")
                self.reach(i)
        return made[0] if len(made) == 1 else made

    def instance(self, ident):
        (r,) = self.ec2.describe_instances(InstanceIds=[ident])["Reservations"]
        return r["Instances"][0]

    def state_of(self, ident):
        return self.instance(ident)["State"]["Name"]

    def wait(self, ident, state, seconds=60):
        wait_for(lambda: self.state_of(ident) == state, seconds, every=0.1,
                 message=lambda: f"{self.instance(ident)}\n{self.log_text()[-3000:]}")

    def address(self, ident):
        return self.instance(ident)["PrivateIpAddress"]

    def ssh_process(self, ident, command, user="ec2-user", **kwargs):
        kwargs = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kwargs}
        return subprocess.Popen(["ssh", *SSH, "-i", self.key, f"{user}@{self.address(ident)}", command], **kwargs)

    def ssh(self, ident, command, check=True, user="ec2-user", timeout=60):
        p = self.ssh_process(ident, command, user)
        out, err = p.communicate(timeout=timeout)
        assert not check or p.returncode == 0, (command, p.returncode, out, err)
        return out.strip() if check else subprocess.CompletedProcess(command, p.returncode, out, err)

    def reach(self, ident):
        wait_for(lambda: self.ssh(ident, "true", check=False).returncode == 0, 30, every=0.1,
                 message=lambda: self.log_text()[-3000:] + self.console(ident))

    def console(self, ident):
        return self.ec2.get_console_output(InstanceId=ident, Latest=True).get("Output", "")

    def machine(self, ident):
        """The machine's id and the pid of its PID 1, as the launcher wrote it down."""
        value, digits, text = int(ident[-15:], 16), "0123456789abcdefghijklmnopqrstuvwxyz", ""
        for _ in range(12):
            value, d = divmod(value, 36)
            text = digits[d] + text
        record = (self.state / "machines" / ("m-" + text) / "state").read_text()
        return "m-" + text, int(re.search(r"^pid (\d+)", record, re.M)[1])

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                uid = os.stat("/proc/" + pid).st_uid
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if self.uid_base <= uid < self.uid_base + 50_000_000 and state not in "ZX":
                found.append(int(pid))
        return found

    def leftovers(self):
        st = self.state.stat()
        prefix = self.network.partition(".0.0/")[0]
        first = "%02x%02x" % tuple(map(int, prefix.split(".")))

        def lines(*argv):
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

        return {
            "machines": os.listdir(self.state / "machines"),
            "links": [x for x in lines("ip", "-o", "link") if "hth" + first in x],
            "routes": [x for x in lines("ip", "route", "show", "table", "all") if prefix + "." in x],
            "tables": [x for x in lines("nft", "list", "tables") if "hearth-" + prefix in x],
            "cgroups": lines("find", "/sys/fs/cgroup", "-name", "hearth-%x-%x" % (st.st_dev, st.st_ino)),
            "mounts": [x for x in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if str(self.dir) in x],
            "processes": self.processes(),
        }

    def close(self):
        left = {}
        try:
            if self.process is not None and self.process.poll() is None:
                assert self.stop() == 0, self.log_text()
            done = self.teardown()
            assert done.returncode == 0, done.stderr
            left = {k: v for k, v in self.leftovers().items() if v}
            complaints = [line for line in self.log_text().splitlines() if "Sanitizer" in line or "runtime error" in line]
        finally:
            super().close()
        assert not left, left
        assert not complaints, complaints


@pytest.fixture(scope="module")
def endpoint():
    with Lab(1) as made:
        yield made.ready()


@pytest.fixture
def lab(endpoint):
    """The module's, without instances before and after."""
    yield endpoint
    for r in endpoint.ec2.describe_instances()["Reservations"]:
        for i in r["Instances"]:
            if i["State"]["Name"] != "terminated":
                endpoint.ec2.terminate_instances(InstanceIds=[i["InstanceId"]])
    wait_for(lambda: not endpoint.processes(), 30, every=0.1, message=endpoint.log_text)


@pytest.fixture
def instance(lab):
    ident = lab.run()
    yield ident
    lab.ec2.terminate_instances(InstanceIds=[ident])
    lab.wait(ident, "terminated")


def test_debians_image_has_debians_user(lab):
    debian = lab.ec2.describe_images(Owners=["136693071363"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]
    ident = lab.run(ImageId=debian["ImageId"], up=False)
    lab.wait(ident, "running")
    wait_for(lambda: lab.ssh(ident, "sudo id -un", check=False, user="admin").stdout == "root\n", 30, every=0.2,
             message=lambda: lab.console(ident))
    assert lab.ssh(ident, "true", check=False).returncode == 255
    made = lab.ec2.create_image(InstanceId=ident, Name="of-debian")["ImageId"]
    wait_for(lambda: lab.ec2.describe_images(ImageIds=[made])["Images"][0]["State"] == "available", 60, every=0.2)
    again = lab.run(ImageId=made, up=False)
    lab.wait(again, "running")
    wait_for(lambda: lab.ssh(again, "id -un", check=False, user="admin").stdout == "admin\n", 30, every=0.2,
             message=lambda: lab.console(again))


def test_hibernation_keeps_a_process_and_a_stop_does_not(lab):
    ident = lab.run(HibernationOptions={"Configured": True}, InstanceType="t3.micro",
                    BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "VolumeSize": 16}}])
    lab.ssh(ident, "echo kept >file; (setsid sleep 4711 >/dev/null 2>&1 &)")
    pid = lab.ssh(ident, "pgrep -f '[s]leep 4711'").split()[0]
    lab.ec2.stop_instances(InstanceIds=[ident], Hibernate=True)
    lab.wait(ident, "stopped")
    assert lab.processes(), "its memory is gone"
    assert lab.ssh(ident, "true", check=False).returncode == 255
    lab.kill()
    lab.start()  # and it outlives the endpoint
    assert lab.state_of(ident) == "stopped"
    lab.ec2.start_instances(InstanceIds=[ident])
    lab.wait(ident, "running")
    lab.reach(ident)
    assert lab.ssh(ident, "cat file; pgrep -f '[s]leep 4711'").split()[:2] == ["kept", pid]
    lab.ec2.stop_instances(InstanceIds=[ident])
    lab.wait(ident, "stopped")
    assert not lab.processes()
    lab.ec2.start_instances(InstanceIds=[ident])
    lab.wait(ident, "running")
    lab.reach(ident)
    assert lab.ssh(ident, "cat file; pgrep -f '[s]leep 4711'; true") == "kept"
    lab.ec2.terminate_instances(InstanceIds=[ident])
    lab.wait(ident, "terminated")
    assert not (lab.state / "machines" / lab_machine_id(lab, ident)).exists()


def lab_machine_id(lab, ident):
    try:
        return lab.machine(ident)[0]
    except OSError:
        return "gone"


def test_reboot_runs_no_user_data_again(lab):
    ident = lab.run(UserData="#!/bin/sh\necho ran >>/root/runs\n")
    lab.ssh(ident, "cloud-init status --wait; sudo touch /run/before; echo kept >file")
    pid = lab.machine(ident)[1]
    lab.ec2.reboot_instances(InstanceIds=[ident])
    wait_for(lambda: lab.ssh(ident, "test ! -e /run/before && cat file && sudo cat /root/runs", check=False).stdout == "kept\nran\n", 30, every=0.2,
             message=lambda: lab.log_text()[-2000:] + lab.console(ident) + repr(lab.ssh(ident, "ls -la /run /run/before file; sudo cat /root/runs", check=False)))
    assert lab.machine(ident)[1] == pid and lab.state_of(ident) == "running"
    lab.ec2.terminate_instances(InstanceIds=[ident])


def test_shutdown_inside_is_a_stop_or_the_end(lab):
    stops, ends = lab.run(), lab.run(InstanceInitiatedShutdownBehavior="terminate")
    lab.ssh(stops, "sudo shutdown -h now", check=False)
    lab.ssh(ends, "sudo poweroff", check=False)
    lab.wait(stops, "stopped")
    lab.wait(ends, "terminated")
    for ident in (stops, ends):
        assert lab.instance(ident)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    lab.ec2.start_instances(InstanceIds=[stops])
    lab.wait(stops, "running")
    lab.ec2.terminate_instances(InstanceIds=[stops])


def test_a_machine_that_is_killed_shows(lab, instance):
    os.kill(lab.machine(instance)[1], signal.SIGKILL)
    lab.wait(instance, "stopped")
    assert lab.instance(instance)["StateReason"]["Code"] == "Server.InternalError"
    lab.ec2.start_instances(InstanceIds=[instance])
    lab.wait(instance, "running")
    lab.reach(instance)


def metadata(lab, ident, path, how="-sf"):
    return lab.ssh(ident, f"{TOKEN}; curl {how} -H \"X-aws-ec2-metadata-token: $T\" http://169.254.169.254/latest/{path}")


def test_metadata_is_what_the_api_says(lab, instance):
    told = lab.instance(instance)
    nic = told["NetworkInterfaces"][0]
    macs = f"meta-data/network/interfaces/macs/{nic['MacAddress']}/"
    for path, want in [
        ("meta-data/instance-id", instance), ("meta-data/ami-id", lab.ami), ("meta-data/instance-type", "t3.micro"),
        ("meta-data/ami-launch-index", "0"), ("meta-data/placement/availability-zone", told["Placement"]["AvailabilityZone"]),
        ("meta-data/placement/region", told["Placement"]["AvailabilityZone"][:-1]), ("meta-data/local-ipv4", told["PrivateIpAddress"]),
        ("meta-data/public-ipv4", told["PublicIpAddress"]), ("meta-data/hostname", told["PrivateDnsName"]), ("meta-data/mac", nic["MacAddress"]),
        ("meta-data/security-groups", "default"), ("meta-data/public-keys/", "0=mine"), ("meta-data/public-keys/0/", "openssh-key"),
        (macs + "subnet-id", told["SubnetId"]), (macs + "vpc-id", told["VpcId"]), (macs + "interface-id", nic["NetworkInterfaceId"]),
        (macs + "device-number", "0"), (macs + "security-group-ids", told["SecurityGroups"][0]["GroupId"]),
    ]:
        assert metadata(lab, instance, path) == want, path
    document = json.loads(metadata(lab, instance, "dynamic/instance-identity/document"))
    assert (document["instanceId"], document["privateIp"], document["imageId"]) == (instance, told["PrivateIpAddress"], lab.ami)
    listing = metadata(lab, instance, "meta-data/").split()
    assert {"ami-id", "network/", "placement/", "public-keys/"} <= set(listing) and "iam/" not in listing and listing == sorted(listing)
    for path in ("meta-data/iam/security-credentials/", "user-data", "meta-data/spot/instance-action", "meta-data/tags/instance", "nonsense"):
        assert metadata(lab, instance, path, "-s -o /dev/null -w '%{http_code}'") == "404", path
    assert lab.ssh(instance, "ec2-metadata -i") == f"instance-id: {instance}"


def test_tokens_are_required_where_it_was_asked(lab, instance):
    url = "http://169.254.169.254/latest"

    def status(*args):
        return lab.ssh(instance, "curl -s -o /dev/null -w '%{http_code}' " + " ".join(args))

    lab.ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="optional")
    assert status(url + "/meta-data/instance-id") == "200"
    lab.ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    assert status(url + "/meta-data/instance-id") == "401"
    assert status("-H 'X-aws-ec2-metadata-token: nonsense'", url + "/meta-data/instance-id") == "401"
    assert status("-X PUT", url + "/api/token") == "400"
    assert status("-X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21601'", url + "/api/token") == "400"
    assert status("-X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' -H 'X-Forwarded-For: 1.2.3.4'", url + "/api/token") == "403"
    assert status("-X DELETE", url + "/meta-data/") == "405"
    short = lab.ssh(instance, "curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 1' " + url + "/api/token")
    wait_for(lambda: status(f"-H 'X-aws-ec2-metadata-token: {short}'", url + "/meta-data/mac") == "401", 10, every=0.3)
    lab.ec2.modify_instance_metadata_options(InstanceId=instance, HttpEndpoint="disabled")
    assert status(url + "/meta-data/instance-id") == "403"
    lab.ec2.modify_instance_metadata_options(InstanceId=instance, HttpEndpoint="enabled", InstanceMetadataTags="enabled")
    lab.ec2.create_tags(Resources=[instance], Tags=[{"Key": "Name", "Value": "box"}, {"Key": "a.b", "Value": "c d"}])
    assert sorted(metadata(lab, instance, "meta-data/tags/instance").split()) == ["Name", "a.b"]
    assert metadata(lab, instance, "meta-data/tags/instance/a.b") == "c d"


def test_botocore_finds_its_way_in_the_metadata(lab, instance):
    """Its own fetchers, in the machine's network as a process there would be."""
    code = ("import sys; sys.path.insert(0, '/usr/lib/python3/dist-packages')\n"
            "from botocore.utils import IMDSFetcher, InstanceMetadataRegionFetcher, InstanceMetadataFetcher\n"
            "print(InstanceMetadataRegionFetcher().retrieve_region(), InstanceMetadataFetcher(num_attempts=1).retrieve_iam_role_credentials())\n")
    pid = str(lab.machine(instance)[1])
    out = subprocess.run(["nsenter", "--net", "--target", pid, "/usr/bin/python3", "-c", code], capture_output=True, text=True,
                         env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")}, timeout=60)
    assert out.stdout.split() == ["us-east-1", "{}"], out


def test_none_sees_anothers_metadata_nor_the_endpoint(lab, instance):
    other = lab.run(UserData="#!/bin/sh\necho secret-of-the-other\n")
    assert metadata(lab, other, "meta-data/instance-id") == other
    assert metadata(lab, instance, "meta-data/instance-id") == instance
    assert metadata(lab, instance, "user-data", "-s -o /dev/null -w '%{http_code}'") == "404"
    theirs = lab.ssh(other, TOKEN + "; echo $T")
    status = lab.ssh(instance, f"curl -s -o /dev/null -w '%{{http_code}}' -H 'X-aws-ec2-metadata-token: {theirs}' "
                               "http://169.254.169.254/latest/meta-data/")
    assert status == "401", "a token of another's is none"
    for where in (lab.address(other) + ":22", "127.0.0.1:%d" % lab.port, lab.network.replace(".0.0/16", ".%s:%d" % (
            ".".join(lab.address(instance).split(".")[2:3] + [str(int(lab.address(instance).split(".")[3]) - 1)]), lab.port))):
        assert lab.ssh(instance, f"curl -s -m 3 telnet://{where} </dev/null", check=False).returncode in (7, 28), where
    lab.ec2.terminate_instances(InstanceIds=[other])


def test_many_at_once_and_gone_at_once(lab):
    made = lab.run(MinCount=8, MaxCount=8, up=False)
    for ident in made:
        lab.wait(ident, "running")
    assert len({lab.address(i) for i in made}) == 8
    lab.ec2.terminate_instances(InstanceIds=made)
    for ident in made:
        lab.wait(ident, "terminated")


@pytest.mark.parametrize("when", [0.02, 0.2, *(pytest.param(w, marks=pytest.mark.soak) for w in (0, 0.05, 0.1, 0.4))])
def test_a_crash_in_mid_launch_loses_nothing(lab, when):
    """kill -9 at some moment of a launch and of an end: both are finished after it."""
    made = lab.run(MinCount=3, MaxCount=3, up=False)
    time.sleep(when)
    lab.kill()
    lab.start()
    for ident in made:
        lab.wait(ident, "running")
        lab.reach(ident)
    lab.ec2.terminate_instances(InstanceIds=made)
    time.sleep(when)
    lab.kill()
    lab.start()
    for ident in made:
        lab.wait(ident, "terminated")
    wait_for(lambda: not lab.processes(), 20, every=0.1)


def test_what_happened_while_it_was_down(lab):
    """Machines that ended meanwhile are stopped, those that nobody knows are ended, the others go on."""
    lives, dies = lab.run(), lab.run()
    lab.ssh(lives, "(setsid sleep 4712 >/dev/null 2>&1 &)")
    lab.stop()
    os.kill(lab.machine(dies)[1], signal.SIGKILL)
    lab.start()
    lab.wait(dies, "stopped")
    wait_for(lambda: "SSH HOST KEY" in lab.console(dies), 10)
    assert lab.state_of(lives) == "running" and lab.ssh(lives, "pgrep -f '[s]leep 4712'")
    assert metadata(lab, lives, "meta-data/instance-id") == lives
    lab.stop()
    (lab.state / "db/ec2.db").unlink()
    for more in ("-wal", "-shm"):
        (lab.state / ("db/ec2.db" + more)).unlink(missing_ok=True)
    (lab.dir / "key").unlink()
    (lab.dir / "key.pub").unlink()
    lab.ready()
    wait_for(lambda: not lab.processes(), 20, every=0.1, message=lab.log_text)
    assert "belongs to no instance" in lab.log_text()


def test_beside_a_hearthd(lab):
    """Both on one host, each with machines; the end of the one is not the other's."""
    from local_lab import Lab as Hearth

    hearth = Hearth(pool="running: 1, max: 4")
    try:
        hearth.start()
        hearth.fill("default", seconds=60)
        ident = lab.run()
        assert lab.ssh(ident, "id -un") == "ec2-user"
        reserved = hearth.user().reserve()
        assert hearth.user().ssh(reserved, "id -un").stdout == "dev\n"
    finally:
        hearth.close()
    assert lab.ssh(ident, "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/") in ("200", "401")
    assert lab.ssh(ident, "id -un") == "ec2-user"
    lab.ec2.terminate_instances(InstanceIds=[ident])


def test_nobody_tears_down_what_is_served(lab):
    refused = lab.teardown()
    assert refused.returncode != 0 and "runs in" in refused.stderr, refused

