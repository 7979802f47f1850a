# SPDX-License-Identifier: Apache-2.0
"""hearthd on the ec2 provider, with hearth-ec2 as its EC2: how many calls a burst of launches is and how long it takes, beside the
least that AWS's token buckets and one observation a tick allow; both programs' size and work with 10,000 instances; and, with
real machines behind the endpoint and the delays of the scenario `aws` at true speed, the steps of each way to a machine."""

import collections
import contextlib
import datetime
import math
import pathlib
import re
import socket
import threading
import time

from machines import Reserved, ssh_into
from measure import Daemon, Events, children, cpu_seconds, machine_in, median, memory, spread, wait_for

from ec2 import Endpoint, client_environment  # behind measure, which knows where it is

TICK_S = 1.0           # docs/architecture.md: between two observations
PAGE = 1000            # instances in a reply: DescribeInstances, MaxResults
SHARE = 0.7            # of AWS's buckets that hearthd takes
LAUNCHES = (1000, 2)   # RunInstances: instances at once and a second, by AWS's buckets: EC2 Developer Guide, "Request throttling"
ENDS = (1000, 20)      # TerminateInstances
FLEETS = (2500, 5000, 10000)


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

    def handled(self):
        """Machines launched, and those that looks listed: in each page as many as in one of a look at all of them, on average."""
        pages = by_action(self.launch_calls)["DescribeInstances"]
        return self.n + pages * self.n / math.ceil(self.n / PAGE)

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
    results.add("what users and the log are told of throttling, or of anything that went wrong",
                f"{len(f.said)} lines; {f.throttled} calls were refused", "none", not f.said)


def fleets(results):
    runs = [Fleet(n, 200).run() for n in FLEETS]
    for f in runs:
        ended = by_action(f.end_calls)
        results.add(f"{f.n:,} machines launched, time at 200 times AWS's (simulated)",
                    f"{f.seconds:.1f} s, by the buckets {f.ideal_seconds():.1f} s; {words(by_action(f.launch_calls))}")
        results.add(f"{f.n:,}: processor time of it", f"hearthd {f.cpu[0]:.1f} s, hearth-ec2 {f.cpu[1]:.1f} s")
        results.add(f"{f.n:,}: memory", f"hearthd Pss {f.pss[0]:.1f} MB, hearth-ec2 Pss {f.pss[1]:.1f} MB")
        results.add(f"{f.n:,} ended, until nothing of them is left", f"{f.end_seconds:.1f} s, by the buckets "
                    f"{bucket_seconds(f.n, ENDS, f.speed) + 35 / f.speed:.1f} s; {words(ended)}")
    least, most = runs[0], runs[-1]
    grows = max((most.pss[i] - least.pss[i]) / (most.n - least.n) / (least.pss[i] / least.n) for i in (0, 1))
    results.add(f"memory for each further machine, against that for each of the first {least.n:,}", f"{grows:.2f} times", "at most 1.2 times",
                grows <= 1.2)
    grows = max(most.cpu[i] / most.handled() / (least.cpu[i] / least.handled()) for i in (0, 1))
    results.add(f"processor time for each machine launched or listed, {most.n:,} against {least.n:,}", f"{grows:.2f} times", "at most 1.5 times",
                grows <= 1.5)
    said = [line for f in runs for line in f.said]
    results.add("what users and the log are told of throttling, or of anything that went wrong",
                f"{len(said)} lines; {sum(f.throttled for f in runs)} calls were refused and made again", "none", not said)


# ---- the steps of each way to a machine, on real ones ----

ALL_WARM = 6
PROBED = 3
# what a public project measured of each way on AWS: in all; its calls, from pending to running, from running to ssh
FACTS = {"cold": "25.8 s: calls 4.9 s, pending to running 17.8 s, running to ssh 3.2 s",
         "stopped": "21.2 s: pending to running 16.4 s, running to ssh 3.0 s",
         "hibernated": "20.7 s: pending to running 16.3 s, running to ssh 2.4 s",
         "warm": "1.9 s, or 3.3 s by EC2 Instance Connect"}


class Prober:
    """Asks some machines' ssh ports for their banner, over and over: when was the one that they have now first there? A thread
    each; few of them and not too often, for each question starts a sshd."""

    def __init__(self, endpoint, hearthd, n):
        self.ec2, self.n, self.first, self.ended = endpoint.ec2, n, {}, threading.Event()
        self.hearthd, self.addresses, self.entered = hearthd, {}, {}
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.find, self.watch)]
        for t in self.threads:
            t.start()

    def find(self):
        while len(self.first) < self.n and not self.ended.wait(0.5):
            for r in self.ec2.describe_instances()["Reservations"]:
                for i in r["Instances"]:
                    if len(self.first) < self.n and i["InstanceId"] not in self.first and "PrivateIpAddress" in i:
                        banners = self.first[i["InstanceId"]] = {}
                        self.addresses[i["PrivateIpAddress"]] = i["InstanceId"]
                        t = threading.Thread(target=self.ask, args=(i["PrivateIpAddress"], banners), daemon=True)
                        self.threads.append(t)
                        t.start()

    def watch(self):
        """When hearthd's own ssh to each began: it does once its probe has seen the machine."""
        known = set()
        while not self.ended.wait(0.005):
            for pid in set(children(self.hearthd)) - known:
                with contextlib.suppress(OSError):
                    said = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                    if said.startswith("ssh"):  # else it is still hearthd's own image
                        known.add(pid)
                    for address in (a for a in list(self.addresses) if a in re.split(r"[\0@]", said)):
                        self.entered.setdefault(self.addresses[address], time.time())

    def ask(self, address, banners):
        while not self.ended.wait(0.02):
            try:
                with socket.create_connection((address, 22), 1) as s:
                    s.settimeout(1)
                    banner = s.recv(256)
            except OSError:
                continue
            if banner:
                banners.setdefault(banner, time.time())

    def close(self):
        self.ended.set()
        for t in self.threads:
            t.join(10)


def wall(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def steps_of(d, e, reservation, began, ended):
    """The way's parts in a line, all of one clock: the call, as the trace has it; when the instance was running, by the endpoint's log;
    when hearthd knew that its users can log in; the end of their first login."""
    with d.client() as c:
        trace = {s["name"]: s for s in c.get(f"/v1/reservations/{reservation}/trace").json["steps"] if s["ended_at"]}
        machine = c.get(f"/v1/reservations/{reservation}").json["machine"]
        ref = c.get(f"/v1/machines/{machine}").json["provider_ref"]
    asked = trace.get("launch") or trace["start"]
    running = wall(re.findall(rf"^(\S+) hearth-ec2: debug: {ref} is running$", e.log_text(), re.M)[-1])
    called, ready = wall(asked["ended_at"]), wall(trace["ready"]["ended_at"])
    return (f"{ended - began:.2f} s: call {called - wall(asked['started_at']):.2f} s, pending to running {running - called:.2f} s, "
            f"running to ssh {ready - running:.2f} s, the rest {ended - ready + wall(asked['started_at']) - began:.2f} s")


def machines_of(d, pool):
    with d.client() as c:
        return [m for m in c.get("/v1/machines").json if m["pool"] == pool]


def one_way(results, d, e, way):
    """The pool's name is the way."""
    began = time.time()
    try:
        r = Reserved(d, "--pool", way)
        ssh_into(r.ssh)
    except Exception as why:
        raise RuntimeError(f"{way}: {why}; {machines_of(d, way)}\n{d.log_text()[-5000:]}\n{e.log_text()[-5000:]}") from why
    ended = time.time()
    with r:
        if r.reservation["path"] != way:
            raise RuntimeError(f"served by the path {r.reservation['path']}, not {way}")
        results.add(f"{way}: hearth reserve + first ssh true, once (simulated)",
                    f"{steps_of(d, e, r.reservation['id'], began, ended)}; on AWS, by others: {FACTS[way]}")


def seen_late(results, prober, events, machines):
    """Banners with hearthd's word in them: the first is that of a machine that has run its user data, the last the users' own."""
    late, told = [], []
    for m in machines:
        ref = m["provider_ref"]
        ours = [at for banner, at in prober.first.get(ref, {}).items() if b"hearth-" in banner]
        if not ours or ref not in prober.entered:
            continue
        (seen, _), = events.wait(lambda e: machine_in("ready")(e) and e["id"] == m["id"])  # noqa: B023
        late.append((prober.entered[ref] - min(ours)) * 1e3)
        told.append((seen - max(ours)) * 1e3)
    results.add("ssh answers (by a probe every 20 ms), until hearthd's probe has seen it and its own ssh begins",
                f"{spread(late)}, highest {max(late):.0f}", "within 50 ms", median(late) <= 50)
    results.add("users' own sshd answers, until a client of /v1/events reads `ready`: hearthd's ssh ends between", spread(told))


def warm_ones(results, d, e):
    """One after another; the pool has its max, so nothing refills it meanwhile."""
    both, calls, looks = [], Calls(e), 0
    began = time.monotonic()
    for _ in range(ALL_WARM - 1):
        start = time.perf_counter()
        r = Reserved(d, "--pool", "warm")
        if r.reservation["path"] != "warm":
            raise RuntimeError(f"not warm: {r.reservation}")
        ssh_into(r.ssh)
        both.append((time.perf_counter() - start) * 1e3)
    took = time.monotonic() - began
    made = by_action(calls.take())
    looks = made.pop("DescribeInstances", 0)
    results.add("warm: hearth reserve + first ssh true", f"{spread(both)}; on AWS, by others: {FACTS['warm']}")
    results.add(f"calls of AWS during these {len(both)}, the look a second aside", f"{words(made)}; {looks} looks in {took:.1f} s",
                "none, and no more looks than seconds", not made and looks <= took / TICK_S + 1)


def ways(results):
    from image_cache import image

    pool = "{provider: aws, image: debian, "
    # with a max of 1 none is launched for the one that is started: it could be there first
    pools = {"cold": f"{pool} running: 0, max: 1}}", "warm": f"{pool} running: {ALL_WARM}, max: {ALL_WARM}}}",
             "stopped": f"{pool} running: 0, max: 1}}", "hibernated": f"{pool} running: 0, max: 1}}"}
    with Endpoint(machines="local", image=image(), scenario="aws",
                  settings={"network": "10.87.0.0/16", "uid_base": 940000000, "log_level": "debug"}) as e:
        e.start()
        with hearthd_on(e, pools, settings={"log_level": "debug"}) as d:
            d.start()
            events = Events(d.socket)
            prober = Prober(e, d.process.pid, PROBED)
            try:
                d.fill("warm", seconds=90)
                seen_late(results, prober, events, machines_of(d, "warm"))
            finally:
                prober.close()
                events.close()
            warm_ones(results, d, e)
            for tier in ("stopped", "hibernated"):  # not before: they call AWS, too
                d.hearth("pool", "set", tier, f"--{tier}", "1", check=True)
            one_way(results, d, e, "cold")
            for way in ("stopped", "hibernated"):
                wait_for(lambda: any(m["state"] == way for m in machines_of(d, way)), 240, 0.1, message=d.log_text)  # noqa: B023
                one_way(results, d, e, way)
