# SPDX-License-Identifier: Apache-2.0
"""Goal: hearthd on the ec2 provider, with hearth-ec2 as its EC2: what people ask for works on machines that one can log in to; a
claim of a running machine calls AWS for nothing; many launches are few calls; and what EC2 does badly leaves nothing behind."""

import collections
import json
import re
import shlex
import subprocess
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import client_environment  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.12  # of its tests in a sample: see conftest.py

FAKE = "readiness: running"  # nobody can log in to the endpoint's fake machines


def calls(endpoint):
    """How often each action was called so far, as the endpoint has logged it."""
    return collections.Counter(re.findall(r"(?:debug|info): us-east-1 (\w+):", endpoint.log_text()))


def on(daemons, endpoint, pools, provider="speed: 0", region="us-east-1", **more):
    env = client_environment(endpoint.dir)
    return daemons(providers={"aws": f'{{kind: ec2, region: {region}, endpoint: "{endpoint.url}", {provider}}}'}, pools=pools,
                   env={**{k: v for k, v in env.items() if k.startswith("AWS_")}, "HOME": str(endpoint.dir)}, **more)


def alive(endpoint):
    seen = []
    for page in endpoint.client(attempts=8).get_paginator("describe_instances").paginate():
        seen += [i for r in page["Reservations"] for i in r["Instances"] if i["State"]["Name"] not in ("terminated", "shutting-down")]
    return seen


def agree(daemon, endpoint, seconds=30):
    """Ledger and endpoint have the same machines, and nothing is left of others."""
    last = {}

    def equal():
        last["audit"] = daemon.hearth("audit", "--json")
        machines = {m["provider_ref"] for m in json.loads(daemon.hearth("machine", "list", "--json", check=True).stdout)
                    if m["state"] not in ("terminated", "failed")}
        last["machines"], last["alive"] = machines, {i["InstanceId"] for i in alive(endpoint)}
        report = json.loads(last["audit"].stdout) if last["audit"].stdout else {"ok": False}
        return report["ok"] and report["open_steps"] == 0 and machines == last["alive"]

    wait_for(equal, seconds, message=lambda: f"{last}\n{daemon.log_text()}")
    volumes = [v for v in endpoint.ec2.describe_volumes()["Volumes"] if v["State"] == "available"]
    interfaces = [n for n in endpoint.ec2.describe_network_interfaces()["NetworkInterfaces"] if n["Status"] == "available"]
    assert volumes == [] and interfaces == []


@pytest.fixture
def house(endpoints):
    """hearth-ec2 with real machines."""
    from image_cache import image

    return endpoints(machines="local", image=image(),
                     settings={"network": "10.81.0.0/16", "uid_base": 900000000, "log_level": "debug"}).start()


@pytest.mark.root
@pytest.mark.seconds(200)
def test_a_reservation_of_a_real_machine(house, daemons):
    d = on(daemons, house, {"default": "{provider: aws, image: amazon-linux-2023, running: 2, max: 6, "
                                       'setup: ["echo set up >/root/was"]}'}).start()
    d.fill(seconds=60)
    before = calls(house)
    got = json.loads(d.hearth("reserve", "--name", "mine", "--hours", "1", "--json", check=True).stdout)
    assert got["path"] == "warm" and got["login"] == "ec2-user" and got["state"] == "active"
    said = d.hearth("ssh", "mine", "--", "whoami; sudo cat /root/was; sudo cat /var/lib/hearth/deadline", check=True).stdout.split("\n")
    assert said[0] == "ec2-user" and said[1] == "set up"
    assert 3500 < int(said[2]) / 1000 - time.time() < 3610, "its deadline is in the machine"
    words = shlex.split(got["ssh_command"])
    words.insert(1, "-tt")
    seen = subprocess.run([*words, "sudo /usr/local/sbin/hearth-deadline 290 'save your work'; sleep 3"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False).stdout
    assert "hearth: this machine ends in 5 minutes; save your work" in seen, seen
    # the claim, its certificate, its deadline and its session: none of them calls AWS; what is counted is the look a second and the refill
    after = calls(house) - before
    assert set(after) <= {"DescribeInstances", "RunInstances"} and after["RunInstances"] <= 1, after
    d.fill(seconds=60)
    agree(d, house)
    d.hearth("cancel", "mine", check=True)
    agree(d, house)


@pytest.mark.root
@pytest.mark.seconds(300)
def test_tiers_of_real_machines(house, daemons):
    d = on(daemons, house, {"default": "{provider: aws, image: debian, running: 0, stopped: 2, max: 6}",
                            "cold": "{provider: aws, image: debian, running: 0, hibernated: 1, max: 6}"}).start()

    def rest(pool, tier, n):
        at = [m for m in json.loads(d.hearth("machine", "list", "--json", check=True).stdout) if m["pool"] == pool and m["state"] == tier]
        return len(at) == n

    wait_for(lambda: rest("default", "stopped", 2) and rest("cold", "hibernated", 1), 60, message=d.log_text)
    wait_for(lambda: sorted(i["State"]["Name"] for i in alive(house)) == ["stopped"] * 3, 30, message=lambda: str(alive(house)))
    wait_for(lambda: d.client().get("/v1/audit").json["open_steps"] == 0, 30)  # hearthd has seen that, too
    for pool, path in (("default", "stopped"), ("cold", "hibernated")):
        got = json.loads(d.hearth("reserve", "--pool", pool, "--name", pool, "--json", check=True).stdout)
        assert got["path"] == path and got["login"] == "admin", got
        assert d.hearth("ssh", pool, "--", "whoami", check=True).stdout.strip() == "admin"
        d.hearth("cancel", pool, check=True)
    agree(d, house, 60)


@pytest.mark.root
@pytest.mark.seconds(200)
def test_a_restart_finds_its_machines(house, daemons):
    d = on(daemons, house, {"default": "{provider: aws, image: debian, running: 2, max: 6}"}).start()
    d.fill(seconds=60)
    d.hearth("reserve", "--name", "mine", check=True)
    d.fill(seconds=60)
    mine = {i["InstanceId"] for i in alive(house)}
    d.kill()
    d.start()
    d.fill(seconds=30)
    assert d.hearth("ssh", "mine", "--", "whoami", check=True).stdout.strip() == "admin"
    assert {i["InstanceId"] for i in alive(house)} == mine
    agree(d, house)


@pytest.mark.root
@pytest.mark.seconds(200)
def test_other_ways_in(house, daemons):
    d = on(daemons, house, {"inject": "{provider: aws, image: debian, access: inject, running: 1, max: 6}",
                            "keys": "{provider: aws, image: amazon-linux-2023, access: keys, running: 0, max: 6}",
                            "eic": "{provider: aws, image: amazon-linux-2023, access: eic, running: 1, max: 6}"}).start()
    for pool, login in (("inject", "admin"), ("keys", "ec2-user"), ("eic", "ec2-user")):
        d.hearth("reserve", "--pool", pool, "--name", pool, check=True)
        got = json.loads(d.hearth("show", pool, "--json", check=True).stdout)
        # without the certificate, so that it is the key that lets in
        words = [re.sub("^CertificateFile=.*", "CertificateFile=none", w) for w in shlex.split(got["ssh_command"])]
        done = subprocess.run([*words, "whoami"], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == login, (pool, words, done)
        d.hearth("cancel", pool, check=True)
    agree(d, house)


def ticks(seconds):
    """How many looks so many seconds have room for."""
    return int(seconds) + 1


@pytest.mark.seconds(300)
def test_a_burst_is_few_calls(endpoints, daemons):
    """1,000 launches: RunInstances names 266 tokens at most, one look a second; of both together at most 1.2 times the least."""
    e = endpoints(scenario="base: instant\ndelays:\n  launch: 4s\n", settings={"log_level": "debug"}).start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 1000, max: 1100}}"})
    start = time.monotonic()
    d.start()
    d.fill(seconds=200)
    took = time.monotonic() - start
    made = calls(e)
    least = 4 + ticks(took)
    print(f"1000 machines in {took:.1f} s: {dict(made)}; the least {least}")
    assert len(alive(e)) == 1000
    assert made["DescribeImages"] == 1 and made["RunInstances"] + made["DescribeInstances"] <= 1.2 * least, made
    assert set(made) <= {"RunInstances", "DescribeInstances", "DescribeImages", "DescribeVolumes", "DescribeSnapshots",
                         "DescribeNetworkInterfaces"}, made
    agree(d, e)


FAULTS = {
    "throttled launches": "{fault: throttled, action: RunInstances, count: 3}",
    "throttled looks": "{fault: throttled, action: DescribeInstances, probability: 0.3}",
    "launches answered 503": "{fault: unavailable, action: RunInstances, count: 2}",
    "launches answered 500": "{fault: internal, action: RunInstances, count: 2}",
    "ends answered 500": "{fault: internal, action: TerminateInstances, count: 2}",
    "a launch's reply is lost": "{fault: reply_lost, action: RunInstances, count: 2}",
    "an end's reply is lost": "{fault: reply_lost, action: TerminateInstances, count: 2}",
    "a look's reply is lost": "{fault: reply_lost, action: DescribeInstances, probability: 0.2}",
    "invisible at first": "{fault: invisible, for: 4s}",
    "old news": "{fault: stale, probability: 0.5, for: 3s}",
    "no address at first": "{fault: address_missing, probability: 0.5, for: 3s}",
    "dies while pending": "{fault: dies_pending, reason: Server.InternalError, count: 2}",
    "volumes get stuck": "{fault: volume_stuck, count: 2, for: 5s}",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.seconds(120)
def test_what_ec2_does_badly(endpoints, daemons, fault):
    """Whatever goes wrong: the pool fills, a reservation comes and goes, nobody is told of throttling, and nothing is left."""
    e = endpoints(scenario=f"base: instant\ndelays:\n  launch: 300ms\nseed: 3\nfaults:\n  - {FAULTS[fault]}\n",
                  settings={"log_level": "debug"}).start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 3, max: 8}}"}).start()
    d.fill(seconds=60)
    r = d.reserve(name="mine").json
    assert r["state"] == "active" or d.hearth("show", "mine", check=True), r
    d.fill(seconds=60)
    agree(d, e, 60)
    d.hearth("cancel", "mine", check=True)
    d.hearth("pool", "set", "default", "--running", "1", check=True)
    wait_for(lambda: len(alive(e)) == 1, 60, message=lambda: str(alive(e)) + d.log_text())
    agree(d, e, 60)
    assert "RequestLimitExceeded" not in d.log_text()
    tokens = [t["Value"] for i in alive(e) for t in i["Tags"] if t["Key"] == "hearth:owner"]
    assert len(set(tokens)) == 1


@pytest.mark.seconds(90)
def test_no_capacity_goes_elsewhere(endpoints, daemons):
    """What has none is asked for once; the other type serves."""
    e = endpoints(scenario="base: instant\nfaults:\n  - {fault: capacity, type: t3.medium}\n", settings={"log_level": "debug"}).start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 2, max: 8, instance_types: [t3.medium, m6i.large]}}",
                        "none": f"{{provider: aws, image: debian, {FAKE}, running: 0, max: 2, instance_types: [t3.medium]}}"}).start()
    d.fill(seconds=30)
    assert {i["InstanceType"] for i in alive(e)} == {"m6i.large"}
    failed = e.log_text().count("RunInstances: InsufficientInstanceCapacity")
    assert failed == 1, e.log_text()
    d.reserve(name="one")
    d.fill(seconds=30)
    assert e.log_text().count("RunInstances: InsufficientInstanceCapacity") == failed, "asked again though it was told"
    d.reserve(pool="none")
    wait_for(lambda: d.pool("none")["last_error"], 30, message=lambda: str(d.pool("none")))
    assert "t3.medium" in d.pool("none")["last_error"] and "capacity" in d.pool("none")["last_error"]
    agree(d, e)


@pytest.mark.seconds(90)
def test_interfaces_are_made_before_and_removed_after(endpoints, daemons):
    e = endpoints().start()
    subnet = e.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 2, max: 8, interfaces: true, subnets: {subnet}}}"}).start()
    d.fill(seconds=30)
    made = e.ec2.describe_network_interfaces(Filters=[{"Name": "tag-key", "Values": ["hearth:owner"]}])["NetworkInterfaces"]
    assert len(made) == 2 and all(n["Attachment"]["InstanceId"] for n in made)
    d.hearth("pool", "set", "default", "--running", "0", check=True)
    wait_for(lambda: e.ec2.describe_network_interfaces()["NetworkInterfaces"] == [], 30, message=d.log_text)
    agree(d, e)


@pytest.mark.seconds(90)
def test_leftovers_are_found_and_repaired(endpoints, daemons):
    """What bears our tag and is in no ledger: audit says so, and ends it when asked to."""
    e = endpoints().start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 1, max: 8}}"}).start()
    d.fill(seconds=30)
    owner = [{"Key": "hearth:owner", "Value": next(t["Value"] for t in alive(e)[0]["Tags"] if t["Key"] == "hearth:owner")}]
    zone = alive(e)[0]["Placement"]["AvailabilityZone"]
    subnet = e.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    volume = e.ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": owner}])["VolumeId"]
    eni = e.ec2.create_network_interface(
        SubnetId=subnet, TagSpecifications=[{"ResourceType": "network-interface", "Tags": owner}])["NetworkInterface"]["NetworkInterfaceId"]
    ami = e.ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    stray = e.ec2.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1, TagSpecifications=[
        {"ResourceType": "instance", "Tags": owner}])["Instances"][0]["InstanceId"]
    others = e.ec2.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    found = json.loads(d.hearth("audit", "--json").stdout)
    assert not found["ok"] and {i["provider_ref"] for i in found["provider_only"]} == {volume, eni, stray}, found
    done = d.hearth("audit", "--repair", "--json")
    assert done.returncode == 0, done
    wait_for(lambda: {i["InstanceId"] for i in alive(e)} - {others} and stray not in {i["InstanceId"] for i in alive(e)}, 30,
             message=lambda: str(alive(e)))
    assert json.loads(d.hearth("audit", "--json", check=True).stdout)["ok"]
    assert others in {i["InstanceId"] for i in alive(e)}, "it was nobody's of ours"
    assert [v for v in e.ec2.describe_volumes()["Volumes"] if v["VolumeId"] == volume] == []
    assert [n for n in e.ec2.describe_network_interfaces()["NetworkInterfaces"] if n["NetworkInterfaceId"] == eni] == []


BAD = {
    "nobody listens": ("http://127.0.0.1:9", {}, "127.0.0.1:9"),
    "no keys": (None, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "credentials"),
    "a wrong secret": (None, {"AWS_SECRET_ACCESS_KEY": "no"}, "AuthFailure"),
    "an unknown image": (None, {}, "image 'ami-0123456789abcdef0'"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.seconds(60)
def test_bad_input_is_one_line(endpoints, daemons, bad):
    """The pool says why, once in a line with what to do, and backs off; hearthd goes on answering."""
    e = endpoints().start()
    url, env, want = BAD[bad]
    image = "ami-0123456789abcdef0" if bad == "an unknown image" else "debian"
    d = on(daemons, e, {"default": f"{{provider: aws, image: {image}, {FAKE}, running: 1, max: 8}}"})
    d.env.update(env)
    if url:
        d.write_config(d.config.read_text().replace(e.url, url))
    d.start()
    wait_for(lambda: d.pool()["last_error"], 30, message=lambda: str(d.pool()) + d.log_text())
    said = d.pool()["last_error"]
    assert want in said and "\n" not in said, said
    assert "secret" not in d.log_text().replace("AWS_SECRET_ACCESS_KEY", "").lower() or bad == "no keys"


@pytest.mark.root
@pytest.mark.seconds(200)
def test_idle_is_without_sessions(house, daemons):
    """A reservation that ends when it is idle stays while somebody is logged in, and ends after."""
    d = on(daemons, house, {"default": "{provider: aws, image: debian, running: 1, max: 6}"}).start()
    d.fill(seconds=60)
    d.hearth("reserve", "--name", "mine", "--idle", "20s", check=True)
    words = shlex.split(json.loads(d.hearth("show", "mine", "--json", check=True).stdout)["ssh_command"])
    inside = subprocess.Popen([*words, "echo in; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert inside.stdout.readline() == "in\n"
        time.sleep(45)
        assert json.loads(d.hearth("show", "mine", "--json", check=True).stdout)["state"] == "active"
    finally:
        inside.communicate("\n", timeout=30)
    wait_for(lambda: json.loads(d.hearth("show", "mine", "--json", check=True).stdout)["state"] == "ended", 90, message=d.log_text)
    agree(d, house)


@pytest.mark.seconds(90)
def test_events_are_a_hint(endpoints, daemons):
    """What the queue tells is taken from it, and makes for a look; a queue that is not there is one line."""
    e = endpoints(settings={"log_level": "debug", "events_queue": "changes"}).start()
    queue = e.client("sqs").get_queue_url(QueueName="changes")["QueueUrl"]
    pools = {"default": f"{{provider: aws, image: debian, {FAKE}, running: 2, max: 8}}"}
    d = on(daemons, e, pools, provider=f'speed: 0, events_queue: "{queue}"').start()
    d.fill(seconds=30)
    wait_for(lambda: calls(e)["DeleteMessage"] >= 2, 30, message=e.log_text)
    ami = e.ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    before, start = calls(e), time.monotonic()
    for _ in range(12):
        e.ec2.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1)
        time.sleep(0.3)
    looks = (calls(e) - before)["DescribeInstances"]
    assert looks > ticks(time.monotonic() - start) + 3, looks
    other = on(daemons, e, pools, provider=f'speed: 0, events_queue: "{queue}-not"').start()
    other.fill(seconds=30)
    said = [line for line in other.log_text().splitlines() if "events" in line]
    assert len(said) == 1 and "going on without" in said[0], said


@pytest.mark.seconds(90)
def test_spot_requests_end_with_their_machines(endpoints, daemons):
    """One that is stopped is a persistent request, which would launch another when its instance ends."""
    e = endpoints(settings={"log_level": "debug"}).start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 1, stopped: 1, max: 4, spot: true}}"}).start()
    d.fill(seconds=30)
    wait_for(lambda: sorted(i["State"]["Name"] for i in alive(e)) == ["running", "stopped"], 30, message=lambda: str(alive(e)))
    assert all(i["InstanceLifecycle"] == "spot" for i in alive(e))
    kinds = {r["Type"] for r in e.ec2.describe_spot_instance_requests()["SpotInstanceRequests"]}
    assert kinds == {"one-time", "persistent"}
    d.hearth("pool", "set", "default", "--running", "0", "--stopped", "0", check=True)
    wait_for(lambda: alive(e) == [], 30, message=lambda: str(alive(e)))
    left = [r for r in e.ec2.describe_spot_instance_requests()["SpotInstanceRequests"] if r["State"] in ("open", "active")]
    assert left == [] and calls(e)["CancelSpotInstanceRequests"] >= 1
    agree(d, e)


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])  # by the list of the first, wherever it is
@pytest.mark.seconds(60)
def test_prices_are_shown(endpoints, daemons, region):
    e = endpoints().start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 2, max: 4, instance_types: [m7i.large], volume_size: 30G}}"},
           region=region)
    d.start()
    d.fill(seconds=30)
    each = 0.1008 + 0.005 + 30 * 0.08 / 730
    assert abs(d.pool()["usd_per_hour"] - 2 * each) < 1e-6, d.pool()


MOMENTS = {"before": 0.0, "in": 0.5, "after": 1.2}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.seconds(120)
def test_a_kill_around_a_launch_leaves_nothing(endpoints, daemons, moment):
    """RunInstances takes 800 ms; hearthd dies before, in and after it. What was made is found by its tags and ended, or kept."""
    e = endpoints(scenario="base: instant\ncalls: {RunInstances: 800ms}\n", settings={"log_level": "debug"}).start()
    d = on(daemons, e, {"default": f"{{provider: aws, image: debian, {FAKE}, running: 4, max: 12}}"}).start()
    if MOMENTS[moment]:
        wait_for(lambda: d.pool()["launching"] > 0, 20, every=0.01)
        time.sleep(MOMENTS[moment])
    d.kill()
    d.start()
    d.fill(seconds=60)
    agree(d, e, 60)
    assert len(alive(e)) == 4


@pytest.mark.root
@pytest.mark.seconds(120)
def test_the_first_host_key_is_checked(endpoints, daemons):
    """A machine that shows another host key than the one its launch was given gets nothing, and is not ready."""
    from image_cache import image

    e = endpoints(machines="local", image=image(), scenario="base: instant\ndelays:\n  launch: 1s\n",
                  settings={"network": "10.81.0.0/16", "uid_base": 900000000}).start()
    d = on(daemons, e, {"default": "{provider: aws, image: debian, running: 1, max: 4}"}, settings={"log_level": "debug"}).start()
    first = d.state / "db/providers/aws/first"
    wait_for(lambda: first.is_dir() and list(first.iterdir()), 30, message=d.log_text, every=0.02)
    [known] = first.iterdir()
    line = known.read_text()
    other = "hearth-first ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVMQXWSoJvgyNbuFwDAF/rXI/Uz1DfH9ktZExhBSyvi other\n"
    known.write_text(other)
    wait_for(lambda: "Host key verification failed" in d.log_text(), 30, message=d.log_text)
    assert d.pool()["ready"] == 0
    known.write_text(line)
    d.fill(seconds=30)
    assert list(first.iterdir()) == [], "it is worth nothing now"
    agree(d, e)
