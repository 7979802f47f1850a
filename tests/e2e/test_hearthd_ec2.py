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

FAKE = "readiness: running"  # nobody can log in to the endpoint's fake machines


def calls(endpoint):
    """How often each action was called so far, as the endpoint has logged it."""
    return collections.Counter(re.findall(r"debug: us-east-1 (\w+):", endpoint.log_text()))


def on(daemons, endpoint, pools, provider="speed: 0", **more):
    env = client_environment(endpoint.dir)
    return daemons(providers={"aws": f'{{kind: ec2, region: us-east-1, endpoint: "{endpoint.url}", {provider}}}'}, pools=pools,
                   env={**{k: v for k, v in env.items() if k.startswith("AWS_")}, "HOME": str(endpoint.dir)}, **more)


def alive(endpoint):
    seen = []
    for page in endpoint.ec2.get_paginator("describe_instances").paginate():
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
