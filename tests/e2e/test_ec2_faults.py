# SPDX-License-Identifier: Apache-2.0
"""Goal: what a scenario says goes wrong, goes wrong on the wire as AWS's clients see it, as often as it says and again the same way
for the same seed; what was answered outlives a kill at any moment; and time and memory grow no faster than the number of instances."""

import pathlib
import random
import resource
import threading
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError  # noqa: E402

from hearth import wait_for  # noqa: E402

SHARE = 0.2  # of its tests in a sample: see conftest.py

DEBIAN = [{"Name": "name", "Values": ["debian-12-amd64-*"]}]
QUICK = {"Delay": 0.1, "MaxAttempts": 200}
LOST = (ConnectionClosedError, EndpointConnectionError, HTTPClientError)


def image(client):
    return client.describe_images(Filters=DEBIAN)["Images"][0]["ImageId"]


def run(client, n=1, **more):
    more.setdefault("ImageId", image(client))
    return [i["InstanceId"] for i in
            client.run_instances(InstanceType="t3.micro", MinCount=more.pop("MinCount", n), MaxCount=n, **more)["Instances"]]


def described(client, **how):
    pages = client.get_paginator("describe_instances").paginate(**how)
    return [i for page in pages for r in page["Reservations"] for i in r["Instances"]]


def one(client, instance):
    [i] = described(client, InstanceIds=[instance])
    return i


def error(call, *args, **kwargs):
    with pytest.raises(ClientError) as e:
        call(*args, **kwargs)
    return e.value.response["Error"]["Code"], e.value.response["ResponseMetadata"]["HTTPStatusCode"]


def faults(endpoints, *lines, more=""):
    text = "throttle: false\n" + more + "faults:\n" + "".join(f"  - {{{line}}}\n" for line in lines)
    return endpoints(scenario=text).start()


@pytest.mark.parametrize("fault, code, status", [
    ("throttled", "RequestLimitExceeded", 503), ("unavailable", "Unavailable", 503), ("internal", "InternalError", 500)])
def test_aws_s_own_troubles_do_nothing(endpoints, fault, code, status):
    c = faults(endpoints, f"fault: {fault}, action: RunInstances, count: 1").ec2
    ami = image(c)
    assert error(run, c, ImageId=ami) == (code, status)
    assert described(c) == []
    run(c, ImageId=ami)


def test_a_lost_reply_was_done(endpoints):
    """The connection is dropped; the same token finds the instance, and makes no second one."""
    c = faults(endpoints, "fault: reply_lost, action: RunInstances, count: 1").ec2
    ami = image(c)
    with pytest.raises(LOST):
        run(c, 2, ImageId=ami, ClientToken="t")
    made = [i["InstanceId"] for i in described(c)]
    assert len(made) == 2
    assert run(c, 2, ImageId=ami, ClientToken="t") == made
    assert len(described(c)) == 2


def test_no_capacity_is_of_a_type_and_a_zone(endpoints):
    c = faults(endpoints, "fault: capacity, type: t3.micro, zone: us-east-1a").ec2
    ami = image(c)

    def at(zone, **how):
        return run(c, ImageId=ami, Placement={"AvailabilityZone": zone}, **how)

    assert error(at, "us-east-1a") == ("InsufficientInstanceCapacity", 500)
    assert at("us-east-1b")
    assert c.run_instances(ImageId=ami, InstanceType="t3.small", MinCount=1, MaxCount=1,
                           Placement={"AvailabilityZone": "us-east-1a"})["Instances"]


def test_a_stopped_one_may_find_no_capacity(endpoints):
    c = faults(endpoints, "fault: capacity, action: StartInstances, count: 1").ec2
    [i] = run(c)
    c.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)
    c.stop_instances(InstanceIds=[i])
    c.get_waiter("instance_stopped").wait(InstanceIds=[i], WaiterConfig=QUICK)
    assert error(c.start_instances, InstanceIds=[i]) == ("InsufficientInstanceCapacity", 500)
    assert one(c, i)["State"]["Name"] == "stopped"
    c.start_instances(InstanceIds=[i])
    c.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)


def test_what_was_made_is_not_seen_at_once(endpoints):
    e = faults(endpoints, "fault: invisible, action: RunInstances, for: 30s, count: 1",
               "fault: invisible, action: CreateVolume, for: 1s, count: 1")
    c = e.ec2
    [hidden] = run(c)
    assert error(c.describe_instances, InstanceIds=[hidden])[0] == "InvalidInstanceID.NotFound"
    assert error(c.terminate_instances, InstanceIds=[hidden])[0] == "InvalidInstanceID.NotFound"
    assert described(c) == []
    [seen] = run(c)
    assert [i["InstanceId"] for i in described(c)] == [seen]
    v = c.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    wait_for(lambda: any(x["VolumeId"] == v for x in c.describe_volumes()["Volumes"]), 10)


def test_a_describe_may_be_old(endpoints):
    c = faults(endpoints, "fault: stale, for: 2s, count: 1").ec2
    [i] = run(c)
    assert one(c, i)["State"]["Name"] == "pending"
    wait_for(lambda: one(c, i)["State"]["Name"] == "running", 10)


def test_addresses_may_come_later(endpoints):
    c = faults(endpoints, "fault: address_missing, for: 1s, count: 1").ec2
    [i] = run(c)
    seen = one(c, i)
    assert "PrivateIpAddress" not in seen and seen["NetworkInterfaces"] == []
    wait_for(lambda: "PrivateIpAddress" in one(c, i), 10)


def test_one_may_die_while_it_is_pending(endpoints):
    c = faults(endpoints, "fault: dies_pending, count: 1, reason: 'Client.VolumeLimitExceeded: Volume limit exceeded'").ec2
    dead, alive = run(c, 2)
    wait_for(lambda: one(c, dead)["State"]["Name"] == "terminated", 10)
    assert "Client.VolumeLimitExceeded" in one(c, dead)["StateReason"]["Message"]
    c.get_waiter("instance_running").wait(InstanceIds=[alive], WaiterConfig=QUICK)


def test_sshd_may_never_come(endpoints):
    """It runs, but its status checks do not pass."""
    c = faults(endpoints, "fault: no_sshd, count: 1").ec2
    bad, good = run(c, 2)
    c.get_waiter("instance_running").wait(InstanceIds=[bad, good], WaiterConfig=QUICK)
    c.get_waiter("instance_status_ok").wait(InstanceIds=[good], WaiterConfig=QUICK)
    [status] = c.describe_instance_status(InstanceIds=[bad])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "initializing"


def test_volumes_may_be_stuck(endpoints):
    c = faults(endpoints, "fault: volume_stuck, action: CreateVolume, count: 1").ec2
    stuck = c.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    fine = c.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    c.get_waiter("volume_available").wait(VolumeIds=[fine], WaiterConfig=QUICK)
    assert c.describe_volumes(VolumeIds=[stuck])["Volumes"][0]["State"] == "creating"


def test_spot_is_interrupted_with_notice(endpoints):
    c = faults(endpoints, "fault: spot_interrupted, for: 100ms, count: 1", more="delays: {spot_notice: 2s}\n").ec2
    [i] = run(c, InstanceMarketOptions={"MarketType": "spot"})

    def request():
        return c.describe_spot_instance_requests()["SpotInstanceRequests"][0]

    wait_for(lambda: request()["Status"]["Code"] == "marked-for-termination", 10)
    assert one(c, i)["State"]["Name"] == "running"
    wait_for(lambda: one(c, i)["State"]["Name"] == "terminated", 10)
    assert one(c, i)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert request()["State"] == "closed"


def outcomes(endpoint, n=30):
    c = endpoint.ec2
    out = ""
    for _ in range(n):
        try:
            c.describe_key_pairs()
            out += "."
        except ClientError as e:
            out += e.response["Error"]["Code"][0]
    return out


def test_a_seed_repeats_itself(endpoints):
    lines = ("fault: throttled, probability: 0.3", "fault: internal, probability: 0.2")
    a, b, c = (outcomes(faults(endpoints, *lines, more=f"seed: {seed}\n")) for seed in (5, 5, 6))
    assert a == b != c
    assert {".", "R", "I"} == set(a + c)


def test_a_call_may_take_its_time(endpoints):
    """Others are not held up by it."""
    c = endpoints(scenario="throttle: false\ncalls: {RunInstances: 2s}\n").start().ec2
    ami = image(c)
    began, ended = time.monotonic(), []
    t = threading.Thread(target=lambda: (run(c, ImageId=ami), ended.append(time.monotonic())))
    t.start()
    wait_for(lambda: described(c), 10)
    seen = time.monotonic()
    t.join()
    assert ended[0] - began >= 2
    assert seen < ended[0], "a call that waits for its delay kept another one waiting"


def test_the_speed_divides(endpoints):
    c = endpoints(scenario="throttle: false\ndelays: {launch: 1000s, terminated_shown: 1000s}\n", speed=2000).start().ec2
    [i] = run(c)
    c.get_waiter("instance_running").wait(InstanceIds=[i], WaiterConfig=QUICK)
    c.terminate_instances(InstanceIds=[i])
    wait_for(lambda: described(c) == [], 10)


@pytest.mark.parametrize("text, expected", [
    ("faults: [{fault: fire}]\n", "scenario.yaml:1:18: faults"), ("delays: {launch: fast}\n", "delays.launch: expected a duration"),
    ("base: nowhere\n", "there is no scenario 'nowhere'")])
def test_a_scenario_that_is_wrong_is_refused(endpoints, text, expected):
    done = endpoints(scenario=text).check()
    assert done.returncode == 2
    assert expected in done.stderr and done.stderr.count("\n") == 1


# --- crashes, and many


def test_what_was_answered_outlives_a_kill_at_any_moment(endpoints):
    """Four clients launch and terminate all the time; the endpoint is killed at moments that it does not choose. What a reply
    has said is so after each restart, and no token has made two of anything."""
    e = endpoints().start()
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    ami = image(e.ec2)
    made, gone, tokens = set(), set(), {}
    lock, stop = threading.Lock(), threading.Event()

    clients = [e.client(user_agent_extra=f"worker{k}") for k in range(4)]

    def work(k):
        c, n = clients[k], 0
        while not stop.is_set():
            token, n = f"w{k}-{n}", n + 1
            try:
                new = run(c, 2, ImageId=ami, ClientToken=token)
                with lock:
                    made.update(new)
                    tokens[token] = new
                c.terminate_instances(InstanceIds=new[:1])
                with lock:
                    gone.add(new[0])
            except LOST:
                time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(4):
            time.sleep(dice.uniform(0.2, 0.8))
            e.kill()
            with lock:
                answered, ended = set(made), set(gone)
            e.start()
            there = {i["InstanceId"]: i["State"]["Name"] for i in described(e.ec2)}
            assert answered <= set(there), f"seed {seed}: answered and lost: {sorted(answered - set(there))[:5]}"
            assert all(there[i] in ("shutting-down", "terminated") for i in ended), f"seed {seed}"
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert len(made) > 20
    by_token = {}
    for i in described(e.ec2):
        by_token.setdefault(i["ClientToken"], []).append(i["InstanceId"])
    assert all(len(v) == 2 for v in by_token.values()), "a token has made more than its own"
    assert all(sorted(by_token[t]) == sorted(v) for t, v in tokens.items())


def test_a_state_that_cannot_be_written(endpoints):
    """Calls fail while there is no room, with one line in the log; then it goes on, and nothing that was answered is lost."""
    e = endpoints().start(restore_signals=False)  # Python ignores SIGXFSZ: a file too long is an error and no death
    c = e.ec2
    ami = image(c)
    [before] = run(c, ImageId=ami)
    c.get_waiter("instance_running").wait(InstanceIds=[before], WaiterConfig=QUICK)
    limit = resource.prlimit(e.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(e.process.pid, resource.RLIMIT_FSIZE, (4096, limit[1]))
    for _ in range(3):
        assert error(run, c, ImageId=ami) == ("InternalError", 500)
    resource.prlimit(e.process.pid, resource.RLIMIT_FSIZE, limit)
    [after] = run(c, ImageId=ami)
    assert e.log_text().count("calls fail until it works") == 1
    assert "can be written again" in e.log_text()
    e.kill()
    e.start()
    assert {before, after} <= {i["InstanceId"] for i in described(c)}


def usage(pid):
    """Seconds of CPU, MiB of memory."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    rss = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return (int(stat[11]) + int(stat[12])) / 100, int(rss.split()[1]) / 1024


def test_ten_thousand_grow_linearly(endpoints, record_property):
    """Launch, describe and end in batches: the last thousands cost what the first ones did, in CPU and in memory."""
    e = endpoints().start()
    c = e.ec2
    ami = image(c)
    run(c, 1000, ImageId=ami)  # what is made once is made
    points = [usage(e.process.pid)]
    for _ in range(2):
        for _ in range(5):
            run(c, 1000, ImageId=ami)
        points.append(usage(e.process.pid))
    first, second = (points[k + 1][0] - points[k][0] for k in (0, 1))
    memory = [points[k + 1][1] - points[k][1] for k in (0, 1)]
    record_property("launch_cpu_s", (first, second))
    record_property("memory_mib", memory)
    assert second < 2 * first + 0.3, f"5,000 launches took {first:.2f} s of CPU, the next 5,000 {second:.2f}"
    assert memory[1] < 1.5 * memory[0] + 8, f"5,000 instances took {memory[0]:.0f} MiB, the next 5,000 {memory[1]:.0f}"

    before = usage(e.process.pid)[0]
    everything = described(c, PaginationConfig={"PageSize": 1000})
    pages = usage(e.process.pid)[0] - before
    assert len({i["InstanceId"] for i in everything}) == 11000
    ids = [i["InstanceId"] for i in everything]
    before = usage(e.process.pid)[0]
    for k in range(0, len(ids), 1000):
        c.terminate_instances(InstanceIds=ids[k:k + 1000])
    ended = usage(e.process.pid)[0] - before
    print(f"CPU of the endpoint: launch {first:.2f} + {second:.2f} s for 5,000 each, describe 11,000 {pages:.2f} s, end {ended:.2f} s; "
          f"memory {memory[0]:.0f} + {memory[1]:.0f} MiB")
    assert pages < 3 and ended < 3 * (first + second) + 0.5
