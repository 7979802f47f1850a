# SPDX-License-Identifier: Apache-2.0
"""Claims through the API on fake machines, beside bare SQLite commits in the same run; what hearthd does for one
claim; and hearthd's size with 20,000 machines."""

import collections
import json
import re
import shutil
import subprocess
import tempfile
import time

from measure import PUBLIC_KEY, Daemon, cpu_seconds, median, memory, program, spread, tool, wait_for

MACHINES = 20000
ROUNDS = 4
CLAIMS = 4000
BODY = json.dumps({"public_keys": [PUBLIC_KEY]})


def load(daemon, clients, n, body=BODY):
    out = subprocess.run([tool("http_load"), "-s", str(daemon.socket), "-c", str(clients), "-n", str(n), "-m", "POST",
                          "-p", "/v1/reservations", "-b", body, "-e", "201", "-j"], capture_output=True, text=True,
                         check=False)
    if out.returncode != 0:
        raise RuntimeError(out.stderr.strip() or out.stdout)
    return json.loads(out.stdout)


def bare_sqlite(directory):
    """Of store_bench, each with (per second, p50, p99): one-row commits; claims one at a time; 16 in flight."""
    out = subprocess.run([tool("store_bench"), str(directory), "1"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in out.splitlines():
        m = re.match(r"(.*?)\s+(\d+) /s\s+p50 ([\d.]+)\s+p99 ([\d.]+)", line)
        if m:
            found[m[1].strip()] = (float(m[2]), float(m[3]), float(m[4]))
    return found


def all_active(daemon, n):
    """No reply was anything but a machine: as many claimed ones as there were replies."""
    pool = daemon.pool()
    if pool["claimed"] != n:
        raise RuntimeError(f"{n} replies, {pool['claimed']} machines claimed")


def steady(results):
    with Daemon(pools={"default": f"{{provider: sim, image: debian, running: {MACHINES}, max: {MACHINES}, "
                                  f"max_age: 30d}}"}) as d:
        began = time.monotonic()
        d.start()
        d.fill(seconds=120)
        results.add(f"filling a fake pool of {MACHINES}", f"{time.monotonic() - began:.1f} s")
        time.sleep(1)
        rss, pss = memory(d.process.pid)
        results.add(f"hearthd with {MACHINES} fake machines", f"Rss {rss / 1024:.1f} MB, Pss {pss / 1024:.1f} MB",
                    "at most 64 MB", rss <= 64 * 1024)
        cpu, at = cpu_seconds(d.process.pid), time.monotonic()
        time.sleep(5)
        idle = 100 * (cpu_seconds(d.process.pid) - cpu) / (time.monotonic() - at)
        results.add(f"idle CPU of hearthd with {MACHINES} fake machines", f"{idle:.2f} % of one core over 5 s")
        rates, p50, p99, alone, sqlite = [], [], [], [], collections.defaultdict(list)
        claims = 0
        for i in range(ROUNDS):
            bare = bare_sqlite(d.dir)
            many = load(d, 16, CLAIMS)
            one = load(d, 1, CLAIMS // 8)
            claims += CLAIMS + CLAIMS // 8
            all_active(d, claims)
            if i == 0:
                continue
            rates.append(many["per_second"])
            p50.append(many["p50_ms"])
            p99.append(many["p99_ms"])
            alone.append(one["p50_ms"])
            for what, numbers in bare.items():
                sqlite[what].append(numbers)
        n = f"{len(rates)} rounds of {CLAIMS}"
        results.add("claims, 16 clients, pool at its max",
                    f"{median(rates):.0f}/s (lowest {min(rates):.0f}, {n})", "at least 3,500/s", median(rates) >= 3500)
        results.add("the same, how long each took", f"p50 {median(p50):.2f} ms, p99 {median(p99):.2f} ms "
                    f"(highest p99 {max(p99):.2f})", "p99 under 20 ms", median(p99) < 20)
        results.add("claims, one client", f"p50 {median(alone):.3f} ms (highest {max(alone):.3f}, "
                    f"{len(alone)} rounds of {CLAIMS // 8})", "p50 under 0.6 ms", median(alone) < 0.6)
        for what, numbers in sqlite.items():
            results.add(f"beside it, {what}", f"{median([x[0] for x in numbers]):.0f}/s, p50 "
                        f"{median([x[1] for x in numbers]):.3f} ms, p99 {median([x[2] for x in numbers]):.3f} ms")
        rss, _ = memory(d.process.pid)
        results.add(f"hearthd after {claims} of them were claimed", f"Rss {rss / 1024:.1f} MB")


def refilling(results):
    """The pool has room, so each claim starts a launch."""
    with Daemon(pools={"default": "{provider: sim, image: debian, running: 3000, max: 30000}"}) as d:
        d.start()
        d.fill(seconds=60)
        rates, p99, one = [], [], []
        for i in range(3):
            many = load(d, 16, 3000)
            d.fill(seconds=60)
            single = load(d, 1, 300)
            d.fill(seconds=60)
            if i > 0:
                rates.append(many["per_second"])
                p99.append(many["p99_ms"])
                one.append(single["p50_ms"])
        results.add("claims with refill going on, 16 clients", f"{median(rates):.0f}/s, p99 {median(p99):.2f} ms "
                    f"(lowest {min(rates):.0f}, {len(rates)} rounds of 3000)")
        results.add("claims with refill going on, one client", f"p50 {median(one):.3f} ms")


def calls_of(trace, socket_reply):
    """System calls of an strace -f output, up to the reply and in all."""
    before, after, seen = collections.Counter(), collections.Counter(), False
    for line in trace.splitlines():
        m = re.match(r"\d+ +(?:<\.\.\. (\w+) resumed|(\w+)\()", line)
        if not m or m[1]:
            continue
        (after if seen else before)[m[2]] += 1
        seen = seen or socket_reply in line
    return before, after


def one_claim(results):
    if not shutil.which("strace"):
        results.skip("system calls of one claim", "strace is not installed")
        return
    with Daemon(pools={"default": "{provider: sim, image: debian, running: 8, max: 8}"}) as d:
        d.start()
        d.fill()
        client = d.client()
        for _ in range(3):
            d.reserve(client=_Kept(client))
        time.sleep(0.5)
        with tempfile.TemporaryDirectory() as tmp:
            path = f"{tmp}/trace"
            s = subprocess.Popen(["strace", "-f", "-qq", "-s", "64", "-o", path, "-p", str(d.process.pid)],
                                 stderr=subprocess.PIPE)
            try:
                wait_for(lambda: f"TracerPid:\t{s.pid}" in open(f"/proc/{d.process.pid}/status").read() or
                         s.poll() is not None, 5)
                if s.poll() is not None:
                    why = s.stderr.read().decode().strip()
                    results.skip("system calls of one claim", f"strace cannot attach: {why}")
                    return
                time.sleep(0.1)
                reply = d.reserve(client=_Kept(client))
                time.sleep(0.1)
            finally:
                s.terminate()
                s.wait()
            with open(path) as f:
                text = f.read()
        if reply.status != 201:
            raise RuntimeError(f"reserve: {reply}")
        text = text[text.find("POST /v1/reservations"):]
        before, after = calls_of(text, "HTTP/1.1 201")
        syncs = sum(before[x] for x in ("fsync", "fdatasync"))
        results.add("one claim, from its request to its reply",
                    f"{sum(before.values())} system calls, {syncs} of them syncs: " +
                    ", ".join(f"{v} {k}" for k, v in before.most_common(8)))
        late = sum(after[x] for x in ("fsync", "fdatasync"))
        results.add("its work after the reply (deadline, first contact)",
                    f"{sum(after.values())} system calls within 0.1 s, {late} of them syncs")


class _Kept:
    """A client that `with` does not close."""

    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        pass


def start_up(results):
    """`hearth`'s own start, beside that of a program that does nothing."""
    with Daemon() as d:
        d.start()
        d.fill()
        hearth = program("hearth")
        out = subprocess.run([tool("spawn_times"), "300", "--", "/bin/true", "--", hearth, "--version", "--", hearth,
                              "--socket", str(d.socket), "list"], capture_output=True, text=True, check=True).stdout
        true, version, listing = json.loads(out)
        results.add("starting /bin/true", spread(true, digits=2))
        results.add("starting hearth --version", spread(version, digits=2), "under 3 ms", median(version) < 3)
        results.add("hearth list, with its answer", spread(listing, digits=2), "under 3 ms", median(listing) < 3)
