# SPDX-License-Identifier: Apache-2.0
"""The contract suite that every provider passes (tests/contract/test_provider.c), run against the ec2 provider: over hearth-ec2 with
fake machines, over hearth-ec2 with real ones (as root), and, where it is installed, over a simulator written elsewhere."""

import os
import shutil
import subprocess
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import client_environment, free_port  # noqa: E402
from hearth import build_dir  # noqa: E402

SHARE = 0.5  # of its tests in a sample: see conftest.py


def suite(kind, url, seconds=300, program="test_provider", **more):
    """The contract suite's output, which must have passed whole."""
    env = client_environment("/nonexistent")
    env.update(PROVIDER=kind, HEARTH_TEST_EC2=url, AWS_REGION="us-east-1", **more)
    done = subprocess.run([build_dir() / "tests/contract" / program], env=env, text=True, capture_output=True, timeout=seconds)
    out = done.stdout + done.stderr
    assert done.returncode == 0 and "FAILED" not in out and "PASSED" in out, out
    return out


@pytest.mark.soak
@pytest.mark.seconds(120)
def test_the_contract_over_fake_machines(endpoint):
    suite("ec2-fake", endpoint.url)
    left = endpoint.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}])
    alone = [i["InstanceId"] for r in left["Reservations"] for i in r["Instances"]
             if not any(t["Key"] == "hearth:lease" for t in i["Tags"])]
    assert alone == [], "without a lease"


@pytest.mark.soak
@pytest.mark.seconds(300)
def test_the_contract_of_disks(endpoint):
    suite("ec2-fake", endpoint.url, program="test_disks")
    owned = [{"Name": "tag-key", "Values": ["hearth:disk"]}]
    volumes = endpoint.ec2.describe_volumes(Filters=owned)["Volumes"]  # those that a test leaves are in nobody's hands any more
    assert all(v["VolumeType"] == "gp3" and v["Attachments"] == [] for v in volumes), volumes
    assert endpoint.ec2.describe_snapshots(Filters=owned, OwnerIds=["self"])["Snapshots"] == []


@pytest.mark.soak
@pytest.mark.root
@pytest.mark.seconds(300)
def test_the_contract_over_real_machines(endpoints):
    from image_cache import image

    e = endpoints(machines="local", image=image(), settings={"network": "10.79.0.0/16", "uid_base": 700000000}).start()
    suite("ec2", e.url)


@pytest.mark.soak
@pytest.mark.seconds(300)
def test_the_contract_over_moto(tmp_path):
    """As far as a simulator goes that was written for other programs."""
    moto = shutil.which("moto_server")
    if not moto:
        pytest.skip("moto_server is not installed")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen([moto, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        import boto3

        c = boto3.client("ec2", endpoint_url=url, region_name="us-east-1", aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="secret")
        until = time.monotonic() + 60
        while True:
            try:
                ami = c.describe_images()["Images"][0]["ImageId"]
                break
            except Exception:  # it takes seconds to come up
                assert time.monotonic() < until and server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
        suite("ec2-fake", url, HEARTH_TEST_EC2_IMAGE=ami, HEARTH_TEST_EC2_NO_HIBERNATION="yes", HEARTH_TEST_EC2_LAX_DISKS="yes")
    finally:
        server.terminate()
        server.wait()
