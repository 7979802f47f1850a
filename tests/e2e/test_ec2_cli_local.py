# SPDX-License-Identifier: Apache-2.0
"""Goal: what a person does on AWS on the first day works against machines of this host, typed as on AWS: aws-cli makes a key and
an instance and waits, plain ssh logs in; user data, metadata, console, stop and start, an image of one's own, Instance Connect. As root."""

import base64
import os
import re
import subprocess

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import AWS_CLI  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.25  # of its tests in a sample: see conftest.py

pytestmark = [pytest.mark.root, pytest.mark.seconds(400),
              pytest.mark.skipif(not os.path.exists(AWS_CLI), reason="needs awscli")]

USER_DATA = """#!/bin/bash
dnf install -y nothing-of-that-name && exit 1
echo "by $(whoami)" >/root/by-user-data
cat >/etc/ssh/sshd_config.d/10-mine.conf <<EOF
PrintMotd no
ClientAliveInterval 77
EOF
systemctl restart sshd
echo user-data-has-run
"""


@pytest.fixture
def local(endpoints):
    """A running hearth-ec2 with real machines, beside whatever else runs on this host."""
    from image_cache import image

    return endpoints(machines="local", image=image(), settings={"network": "10.76.0.0/16", "uid_base": 500000000}).start()


class Person:
    """Types aws and ssh, in a directory of their own."""

    def __init__(self, endpoint, tmp_path):
        self.aws, self.dir = endpoint.aws, tmp_path
        self.endpoint = endpoint

    def text(self, *args):
        return self.aws(*args, "--output", "text").out.strip()

    def key(self, name):
        path = self.dir / name
        path.write_text(self.text("ec2", "create-key-pair", "--key-name", name, "--key-type", "ed25519", "--query", "KeyMaterial") + "\n")
        path.chmod(0o600)
        return path

    def image(self):
        return self.text("ec2", "describe-images", "--owners", "amazon", "--filters", "Name=name,Values=al2023-ami-2023.*-x86_64",
                         "--query", "sort_by(Images,&CreationDate)[-1].ImageId")

    def run(self, *args, image=None):
        made = self.text("ec2", "run-instances", "--image-id", image or self.image(), "--instance-type", "t3.micro", "--query",
                         "Instances[0].InstanceId", *args)
        self.aws("ec2", "wait", "instance-running", "--instance-ids", made)
        return made

    def address(self, instance):
        return self.text("ec2", "describe-instances", "--instance-ids", instance, "--query", "Reservations[0].Instances[0].PublicIpAddress")

    def ssh(self, key, where, *command, user="ec2-user", check=True):
        """As typed, but for the question about a new host key, which nobody is there to answer."""
        p = subprocess.run(["ssh", "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.dir}/known_hosts",
                            "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10", "-i", key, f"{user}@{where}", *command],
                           capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert not check or p.returncode == 0, p.stdout + p.stderr
        return p.stdout.strip() if check else p

    def reach(self, key, where, **how):
        """sshd may come a moment after `running`, as on AWS."""
        wait_for(lambda: self.ssh(key, where, "true", check=False, **how).returncode == 0, 60, every=0.2,
                 message=lambda: repr(self.ssh(key, where, "true", check=False, **how)))

    def metadata(self, key, where, path):
        """By IMDSv2, from inside."""
        ask = ('T=$(curl -s -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token); '
               f'curl -s -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/{path}')
        return self.ssh(key, where, ask)


@pytest.fixture
def person(local, tmp_path):
    return Person(local, tmp_path)


def host_key(where):
    """The line of known_hosts that a connection would leave."""
    return subprocess.run(["ssh-keyscan", "-t", "ed25519", where], capture_output=True, text=True, timeout=30).stdout


def test_the_first_day(person):
    key, other = person.key("mine"), person.key("not-mine")
    script = person.dir / "user-data.sh"
    script.write_text(USER_DATA)
    box = person.run("--key-name", "mine", "--user-data", f"file://{script}", "--tag-specifications",
                     "ResourceType=instance,Tags=[{Key=Name,Value=box}]")
    where = person.address(box)
    person.reach(key, where)
    assert person.ssh(key, where, "whoami; sudo whoami").split() == ["ec2-user", "root"]
    private = person.text("ec2", "describe-instances", "--instance-ids", box, "--query", "Reservations[0].Instances[0].PrivateIpAddress")
    assert person.ssh(key, where, "hostname -s") == "ip-" + private.replace(".", "-")
    for user, with_key in (("ec2-user", other), ("root", key), ("dev", key)):
        refused = person.ssh(with_key, where, "whoami", user=user, check=False)
        assert refused.returncode != 0 and user not in refused.stdout.split(), (user, refused)

    wait_for(lambda: person.ssh(key, where, "sudo cat /root/by-user-data", check=False).stdout == "by root\n", 60, every=0.2,
             message=lambda: person.ssh(key, where, "sudo cat /var/log/cloud-init-output.log; true"))
    wait_for(lambda: "user-data-has-run" in person.ssh(key, where, "sudo cat /var/log/cloud-init-output.log"), 20, every=0.2)
    assert "77" in person.ssh(key, where, "sudo /usr/sbin/sshd -T | grep -i clientaliveinterval")
    for path, want in (("meta-data/instance-id", box), ("meta-data/local-ipv4", private), ("user-data", USER_DATA.strip())):
        assert person.metadata(key, where, path) == want, path

    # the host key that the console shows is the one that ssh sees
    finger = subprocess.run(["ssh-keygen", "-lf", "-"], input=host_key(where), capture_output=True, text=True).stdout.split()[1]
    wait_for(lambda: finger in person.text("ec2", "get-console-output", "--instance-id", box, "--latest"), 20, message=finger)

    person.ssh(key, where, "echo kept >~/file; sync")
    person.aws("ec2", "stop-instances", "--instance-ids", box)
    person.aws("ec2", "wait", "instance-stopped", "--instance-ids", box)
    person.aws("ec2", "start-instances", "--instance-ids", box)
    person.aws("ec2", "wait", "instance-running", "--instance-ids", box)
    where = person.address(box)
    person.reach(key, where)
    assert person.ssh(key, where, "cat ~/file") == "kept"

    # from inside, it ends itself: stopped, since nothing else was said
    person.ssh(key, where, "sudo shutdown -h now", check=False)
    person.aws("ec2", "wait", "instance-stopped", "--instance-ids", box)
    person.aws("ec2", "terminate-instances", "--instance-ids", box)
    person.aws("ec2", "wait", "instance-terminated", "--instance-ids", box)


def test_an_image_of_ones_own_and_instance_connect(person):
    key = person.key("mine")
    box = person.run("--key-name", "mine")
    where = person.address(box)
    person.reach(key, where)
    person.ssh(key, where, "echo baked | sudo tee /opt/file; sync")
    made = person.text("ec2", "create-image", "--instance-id", box, "--name", "baked", "--query", "ImageId")
    person.aws("ec2", "wait", "image-available", "--image-ids", made)
    again = person.run("--key-name", "mine", image=made)
    there = person.address(again)
    person.reach(key, there)
    assert person.ssh(key, there, "cat /opt/file") == "baked"
    keys = [re.findall(r"ssh-ed25519 (\S+)", host_key(w)) for w in (where, there)]
    assert keys[0] and keys[1] and keys[0] != keys[1], "two machines with one host key"

    fresh = person.dir / "fresh"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", fresh], check=True)
    assert person.ssh(fresh, there, "true", check=False).returncode == 255
    person.aws("ec2-instance-connect", "send-ssh-public-key", "--instance-id", again, "--instance-os-user", "ec2-user",
               "--ssh-public-key", f"file://{fresh}.pub")
    assert person.ssh(fresh, there, "whoami") == "ec2-user"


def test_sessions_outlive_a_restart_of_the_endpoint(person):
    """kill -9, a new start: the session goes on, the instance is the same, its metadata answers again."""
    key = person.key("mine")
    box = person.run("--key-name", "mine")
    where = person.address(box)
    person.reach(key, where)
    session = subprocess.Popen(["ssh", "-F", "none", "-o", f"UserKnownHostsFile={person.dir}/known_hosts", "-o", "BatchMode=yes", "-i", key,
                                f"ec2-user@{where}", "echo begun; read line; echo got $line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert session.stdout.readline() == "begun\n"
        person.endpoint.kill()
        person.endpoint.start()
        assert person.text("ec2", "describe-instances", "--instance-ids", box, "--query", "Reservations[0].Instances[0].State.Name") == "running"
        out, _ = session.communicate("through\n", timeout=30)
        assert out == "got through\n"
    finally:
        session.kill()
        session.wait()
    wait_for(lambda: person.metadata(key, where, "meta-data/instance-id") == box, 20, every=0.2)


def test_the_api_answers_while_there_is_no_image_yet(endpoints):
    """An instance made before the image is there stays pending; nothing else waits for it."""
    e = endpoints(machines="local", settings={"network": "10.75.0.0/16", "uid_base": 600000000}).start()
    c = e.ec2
    ami = c.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])["Images"][0]["ImageId"]
    made = c.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1, UserData="x")["Instances"][0]
    assert made["State"]["Name"] == "pending"
    value = c.describe_instance_attribute(InstanceId=made["InstanceId"], Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(value) == b"x"
    c.terminate_instances(InstanceIds=[made["InstanceId"]])
