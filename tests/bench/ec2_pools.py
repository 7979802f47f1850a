# SPDX-License-Identifier: Apache-2.0
"""hearthd on the ec2 provider, with hearth-ec2 as its EC2: how many calls a burst of launches is and how long it takes, beside the
least that AWS's token buckets and one observation a tick allow; both programs' size and work with 10,000 instances; and, with
real machines behind the endpoint and the delays of the scenario `aws` at true speed, the steps of each way to a machine."""

import collections
import math
import re
import time

from measure import Daemon, cpu_seconds, memory, wait_for

from ec2 import Endpoint, client_environment  # behind measure, which knows where it is

TICK_S = 1.0           # docs/architecture.md: between two observations
PAGE = 1000            # instances in a reply: DescribeInstances, MaxResults
SHARE = 0.7            # of AWS's buckets that hearthd takes
LAUNCHES = (1000, 2)   # RunInstances: instances at once and a second, by AWS's buckets; AWS.md, "Throttling"
ENDS = (1000, 20)      # TerminateInstances


def bucket_seconds(n, bucket, speed):
    """How long hearthd's share of a bucket makes n instances wait."""
    full, per_s = bucket
    return max(0, n - SHARE * full) / (SHARE * per_s * speed)


class Calls:
    """What the endpoint was asked, from its own log: counts of (action, outcome)."""

    def __init__(self, endpoint):
        self.path, self.at = endpoint.log, endpoint.log.stat().st_size

    def take(self):
        """Of the time since the last take()."""
        with open(self.path) as f:
            f.seek(self.at)
            text = f.read()
        text = text[:text.rfind("\n") + 1]
        self.at += len(text.encode())
        return collections.Counter(re.findall(r"(?:debug|info): us-east-1 (\w+): (\w+)", text))


def by_action(counter):
    out = collections.Counter()
    for (action, _), n in counter.items():
        out[action] += n
    return out


def words(counter):
    return ", ".join(f"{n:,} {a}" for a, n in counter.most_common()) or "none"


def own_count(d):
    """hearthd's own count of its calls, by action, and how many were throttled."""
    with d.client() as c:
        text = c.get("/metrics").body.decode()
    calls = {a: int(n) for a, n in re.findall(r'^hearth_provider_calls_total\{provider="aws",action="(\w+)"\} (\d+)$', text, re.M)}
    throttled = sum(int(n) for n in re.findall(r'^hearth_provider_throttled_total\{.*\} (\d+)$', text, re.M))
    return collections.Counter(calls), throttled


def hearthd_on(endpoint, pools, speed=1, **more):
    env = {k: v for k, v in client_environment(endpoint.dir).items() if k.startswith("AWS_")}
    return Daemon(providers={"aws": f'{{kind: ec2, region: us-east-1, endpoint: "{endpoint.url}", speed: {speed}}}'}, pools=pools,
                  env={**env, "HOME": str(endpoint.dir)}, **more)


def wait_pool(d, done, seconds):
    """Seconds until the pool is as wanted."""
    began = time.monotonic()
    wait_for(lambda: done(d.pool()), seconds, 0.01, message=lambda: f"{d.pool()}\n{d.log_text()[-2000:]}")
    return time.monotonic() - began


def complaints(d):
    """What a user or operator would have heard of throttling or of anything that failed."""
    return [line for line in d.log_text().splitlines() if re.search(r"(warn|error): ", line) and "there is no user" not in line]


class Fleet:
    """n fake machines of one pool: made, looked at, and ended."""

    def __init__(self, n, speed):
        self.n, self.speed = n, speed

    def run(self):
        with Endpoint(scenario="aws", speed=self.speed, settings={"log_level": "debug"}) as e:
            e.start()
            pool = f"{{provider: aws, image: debian, readiness: running, running: 0, max: {self.n}}}"
            with hearthd_on(e, {"default": pool}, self.speed) as d:
                d.start()
                wait_for(lambda: d.pool()["image_version"], 30)
                time.sleep(0.5)
                self.measure(e, d)
        return self

    def measure(self, e, d):
        calls, (own, _) = Calls(e), own_count(d)
        cpu = [cpu_seconds(x.process.pid) for x in (d, e)]
        d.hearth("pool", "set", "default", "--running", str(self.n), check=True)
        self.seconds = wait_pool(d, lambda p: p["ready"] >= self.n, 300)
        self.launch_calls = calls.take()
        now, _ = own_count(d)
        self.own_calls = now - own
        self.cpu = [cpu_seconds(x.process.pid) - was for x, was in zip((d, e), cpu)]
        self.pss = [memory(x.process.pid)[1] / 1024 for x in (d, e)]
        d.hearth("pool", "set", "default", "--running", "0", check=True)
        self.end_seconds = wait_pool(d, lambda p: p["ready"] == p["launching"] == 0 and self.all_gone(d), 300)
        self.end_calls = calls.take()
        _, self.throttled = own_count(d)
        self.said = complaints(d)

    @staticmethod
    def all_gone(d):
        with d.client() as c:
            text = c.get("/metrics").body.decode()
        return 'hearth_machines{pool="default",state="terminating"} 0\n' in text

    # The least there can be. All are running when the last bucket has been waited for and the instances it let through have
    # become so; one more look sees it. Of each RunInstances, as many instances as hearthd's share of the bucket holds.

    def ideal_seconds(self):
        return bucket_seconds(self.n, LAUNCHES, self.speed) + 17.8 / self.speed

    def least_calls(self):
        launches = math.ceil(self.n / (SHARE * LAUNCHES[0]))
        looks = math.floor(self.ideal_seconds() / TICK_S) + 1
        return launches + looks * math.ceil(self.n / PAGE)


def burst(results):
    f = Fleet(1000, 10).run()
    calls, least = by_action(f.launch_calls), f.least_calls()
    made = sum(calls.values())
    results.add("1,000 machines of one pool, RunInstances's bucket and pending at 10 times AWS's speed (simulated)",
                f"{f.seconds:.1f} s; by the bucket {f.ideal_seconds():.1f} s")
    results.add("calls for them, counted by the endpoint", f"{made}: {words(calls)}: {made / f.n:.3f} a machine, {made / least:.2f} "
                f"times the least ({least})", "at most 1.2 times", made <= 1.2 * least)
    results.add("the same by hearthd's metrics", f"{sum(f.own_calls.values())}", "as many",
                abs(sum(f.own_calls.values()) - made) <= 1)
    results.add("refused as too many, and what hearthd's log says of it", f"{f.throttled} calls, {len(f.said)} lines", "none",
                not f.said and not f.throttled)


def fleets(results):
    sizes = (2500, 5000, 10000)
    runs = [Fleet(n, 1000).run() for n in sizes]
    for f in runs:
        ended = by_action(f.end_calls)
        results.add(f"{f.n:,} machines launched, time at 1,000 times AWS's (simulated)",
                    f"{f.seconds:.1f} s, by the buckets {f.ideal_seconds():.1f} s; {words(by_action(f.launch_calls))}")
        results.add(f"{f.n:,}: processor time of it", f"hearthd {f.cpu[0]:.1f} s, hearth-ec2 {f.cpu[1]:.1f} s")
        results.add(f"{f.n:,}: memory", f"hearthd Pss {f.pss[0]:.1f} MB, hearth-ec2 Pss {f.pss[1]:.1f} MB")
        results.add(f"{f.n:,} ended, until nothing of them is left", f"{f.end_seconds:.1f} s, by the buckets "
                    f"{bucket_seconds(f.n, ENDS, f.speed) + 35 / f.speed:.1f} s; {words(ended)}")
    least, most = runs[0], runs[-1]
    grows = max((most.pss[i] - least.pss[i]) / (most.n - least.n) / (least.pss[i] / least.n) for i in (0, 1))
    results.add("memory for each further machine, against that for each of the first 2,500", f"{grows:.2f} times", "at most 1.2 times",
                grows <= 1.2)
    grows = max(most.cpu[i] / most.n / (least.cpu[i] / least.n) for i in (0, 1))
    results.add("processor time for each machine, 10,000 against 2,500", f"{grows:.2f} times", "at most 2 times", grows <= 2)
    said = [line for f in runs for line in f.said]
    results.add("refused as too many, and what hearthd's log says of it",
                f"{sum(f.throttled for f in runs)} calls, {len(said)} lines", "none", not said and not sum(f.throttled for f in runs))
