# SPDX-License-Identifier: Apache-2.0
"""Goal: what hearthd asks of AWS is no more than it needs, and it knows how much that was: its metrics and the endpoint count alike,
and a reservation of a warm machine asks nothing at all."""

import collections
import json
import re
import signal
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import client_environment  # noqa: E402
from hearth import wait_for  # noqa: E402


def on(daemons, endpoint, pool, speed=0):
    env = {k: v for k, v in client_environment(endpoint.dir).items() if k.startswith("AWS_")}
    return daemons(providers={"aws": f'{{kind: ec2, region: us-east-1, endpoint: "{endpoint.url}", speed: {speed}}}'},
                   pools={"default": f"{{provider: aws, image: debian, {pool}}}"}, env={**env, "HOME": str(endpoint.dir)})


def asked(endpoint, outcome=r"\w+"):
    return collections.Counter(re.findall(rf"(?:debug|info): us-east-1 (\w+): {outcome}$", endpoint.log_text(), re.M))


def counted(daemon, what="calls"):
    with daemon.client() as c:
        text = c.get("/metrics").body.decode()
    found = re.findall(rf'^hearth_provider_{what}_total\{{provider="aws",action="(\w+)"\}} (\d+)$', text, re.M)
    assert len(found) == len({action for action, _ in found}), text
    return collections.Counter({action: int(n) for action, n in found})


@pytest.mark.seconds(60)
def test_metrics_count_the_calls(endpoints, daemons):
    """By action, each attempt, with those that were throttled: as the endpoint counts them."""
    e = endpoints(scenario="base: instant\nfaults:\n  - {fault: throttled, action: RunInstances, count: 2}\n",
                  settings={"log_level": "debug"}).start()
    d = on(daemons, e, "readiness: running, running: 3, max: 4").start()
    d.fill(seconds=30)
    d.hearth("pool", "set", "default", "--running", "0", check=True)
    wait_for(lambda: asked(e)["DescribeVolumes"] >= 2 and asked(e)["TerminateInstances"] >= 1, 30, message=e.log_text)
    # one may be under way at any moment: it is looked at until both stand still
    wait_for(lambda: counted(d) == asked(e), 10, every=0.1, message=lambda: f"{counted(d)} {asked(e)}")
    assert counted(d)["RunInstances"] == 3 and counted(d)["TerminateInstances"] >= 1
    assert {a: n for a, n in counted(d, "throttled").items() if n} == {"RunInstances": 2} == asked(e, "RequestLimitExceeded")


@pytest.mark.root
@pytest.mark.seconds(120)
def test_a_warm_reservation_needs_no_aws(endpoints, daemons):
    """EC2 is stopped in mid-breath: a warm machine is reserved, logged in to and given back all the same, each of them with no call."""
    from image_cache import image

    e = endpoints(machines="local", image=image(),
                  settings={"network": "10.83.0.0/16", "uid_base": 920000000, "log_level": "debug"}).start()
    d = on(daemons, e, "running: 2, max: 2").start()
    d.fill(seconds=60)
    time.sleep(0.2)
    before = counted(d)
    e.process.send_signal(signal.SIGSTOP)
    try:
        got = json.loads(d.hearth("reserve", "--name", "mine", "--json", check=True).stdout)
        assert got["path"] == "warm" and got["state"] == "active"
        assert d.hearth("ssh", "mine", "--", "whoami", check=True).stdout.strip() == "admin"
        made = counted(d) - before
        assert set(made) <= {"DescribeInstances"} and made["DescribeInstances"] <= 1, "only the look that finds nobody there"
    finally:
        e.process.send_signal(signal.SIGCONT)


@pytest.mark.seconds(120)
def test_the_end_of_many_is_few_calls(endpoints, daemons):
    """What 500 machines leave is looked for by as many ids as a filter takes, 200, not by so many machines a look."""
    e = endpoints(settings={"log_level": "debug"}).start()
    d = on(daemons, e, "readiness: running, running: 500, max: 500").start()
    d.fill(seconds=60)
    before = asked(e)
    d.hearth("pool", "set", "default", "--running", "0", check=True)
    wait_for(lambda: json.loads(d.hearth("audit", "--json").stdout)["open_steps"] == 0, 60, every=0.5, message=d.log_text)
    made = asked(e) - before
    assert made["TerminateInstances"] <= 4 and made["DescribeVolumes"] <= 8 and made["DescribeNetworkInterfaces"] <= 8, made
    assert [i for r in e.ec2.describe_instances()["Reservations"] for i in r["Instances"] if i["State"]["Name"] != "terminated"] == []
