# SPDX-License-Identifier: Apache-2.0
"""Goal: no volume and no snapshot that the ledger does not own, and no disk lost that a user was told of, whatever EC2 does badly at
whichever call of a disk's life, and wherever hearthd dies around it."""

import concurrent.futures
import random
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from conftest import SEED, SOAK  # noqa: E402
from ec2 import client_environment  # noqa: E402
from ec2_disk_matrix import AttachCell, DiskCell  # noqa: E402
from ec2_matrix import Plan, Step, Wrong  # noqa: E402
from hearth import PUBLIC_KEY, wait_for  # noqa: E402

ONE = Plan(tier=None)

STEPS = {
    "create": Step("CreateVolume", plan=ONE),
    "created": Step("DescribeVolumes", "CreateVolume", ONE),
    "snapshot": Step("CreateSnapshot", plan=ONE),
    "snapshot made": Step("DescribeSnapshots", "CreateSnapshot", ONE),
    "delete": Step("DeleteVolume", plan=ONE),
    "deleted": Step("DescribeVolumes", "DeleteVolume", ONE),
    "delete snapshot": Step("DeleteSnapshot", plan=ONE),
}
ATTACH_STEPS = {
    "create": Step("CreateVolume", plan=ONE),
    "attach": Step("AttachVolume", plan=ONE),
    "attached": Step("DescribeVolumes", "AttachVolume", ONE),
    "detach": Step("DetachVolume", plan=ONE),
    "detached": Step("DescribeVolumes", "DetachVolume", ONE),
    "terminate": Step("TerminateInstances", "DetachVolume", ONE),
}
CRASHES = ["none", "before", "in", "after"]


def at_call(fault):
    def lines(action):
        often = "probability: 0.4, count: 6" if action.startswith("Describe") else "count: 2"
        return [f"fault: {fault}, action: {action}, {often}"]

    return lines


FAULTS = {
    "none": lambda action: [],
    "throttled": at_call("throttled"),
    "unavailable": at_call("unavailable"),
    "internal": at_call("internal"),
    "reply lost": at_call("reply_lost"),
    "invisible": lambda action: ["fault: invisible, action: CreateVolume, count: 3, for: 2s",
                                 "fault: invisible, action: CreateSnapshot, count: 3, for: 2s"],
    "stale": lambda action: ["fault: stale, probability: 0.5, count: 6, for: 2s"],
}
STUCK = {"stuck": lambda action: ["fault: volume_stuck, action: DetachVolume, count: 1"]}
KINDS = {"alone": (DiskCell, STEPS, FAULTS), "in a machine": (AttachCell, ATTACH_STEPS, {**FAULTS, **STUCK})}
ALL = [(k, f, s, c) for k, (_, steps, faults) in KINDS.items() for f in faults for s in steps for c in CRASHES]


def cell(kind, fault, step, crash):
    make, steps, faults = KINDS[kind]
    at, name = steps[step], f"{kind} x {fault} x {step} x {crash}"
    return make(name, at, crash, faults[fault](at.action), random.Random(f"{SEED}/disk/{name}"))


def attempt(which):
    began = time.monotonic()
    cell(*which).run()
    return time.monotonic() - began


@pytest.mark.seconds(6000 if SOAK else 300)
def test_every_fault_at_every_step_of_a_disk(sample):
    cells, failures = sample(ALL, 10), []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        todo = {pool.submit(attempt, which): which for which in cells}
        for done in concurrent.futures.as_completed(todo):
            try:
                print(f"{' x '.join(todo[done]):45} {done.result():5.1f} s")
            except Wrong as e:
                failures.append(str(e))
                print(f"FAILED {e}")
    print(f"{len(cells)} of {len(ALL)} cells")
    assert not failures, f"HEARTH_TEST_SEED={SEED}: {len(failures)} cells:\n\n" + "\n\n".join(failures)


@pytest.fixture
def hearthd(endpoint, daemons):
    """hearthd with the pools of these settings, on an endpoint."""
    env = {k: v for k, v in client_environment(endpoint.dir).items() if k.startswith("AWS_")}

    def make(**pools):
        return daemons(providers={"aws": f'{{kind: ec2, region: us-east-1, endpoint: "{endpoint.url}", speed: 0}}'},
                       pools={n: f"{{provider: aws, image: debian, readiness: running, max: 2, {p}}}" for n, p in pools.items()},
                       env={**env, "HOME": str(endpoint.dir)}).start()

    return make


def disk_states(d, ident, *states):
    with d.client() as c:
        def there():
            disks = c.get(f"/v1/reservations/{ident}").json["disks"]
            return disks if all(x["state"] in states for x in disks) else None

        return wait_for(there, 30, message=lambda: f"{c.get(f'/v1/reservations/{ident}').json} {d.log_text()}")


def reserved(d, **body):
    with d.client() as c:
        r = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], **body})
    assert r.status in (200, 201, 202), r
    return r.json["id"]


def test_a_disk_is_made_where_its_pool_is(endpoint, hearthd):
    """In the pool's zone also before there is any machine; and a machine of another zone is refused it by an error that says both."""
    d = hearthd(default="running: 0, zones: us-east-1c", far="running: 0, zones: us-east-1b")
    one = reserved(d, pool="default", disks=[{"name": "data", "size": "1500M"}])
    disk_states(d, one, "attached")
    volume, = endpoint.ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["hearth:disk"]}])["Volumes"]
    assert (volume["AvailabilityZone"], volume["Size"], volume["VolumeType"]) == ("us-east-1c", 2, "gp3")
    assert [(a["State"], a["DeleteOnTermination"]) for a in volume["Attachments"]] == [("attached", False)]
    with d.client() as c:
        c.delete(f"/v1/reservations/{one}")
    two = reserved(d, pool="far", disks=["data"], wait_disk=True)
    failed, = disk_states(d, two, "failed")
    assert "us-east-1c" in failed["error"] and "us-east-1b" in failed["error"], failed
    with d.client() as c:
        assert c.get(f"/v1/reservations/{two}").json["state"] == "active"
        wait_for(lambda: c.get("/v1/disks/data").json["state"] == "available", 30)
