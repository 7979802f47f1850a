# SPDX-License-Identifier: Apache-2.0
"""Many reservations with disks at once on the ec2 provider, with hearth-ec2 as its EC2: how long it is until each disk is in its machine,
beside the least that AWS's token buckets and the volumes' own delays allow, and whether any step was done twice."""

import concurrent.futures
import contextlib
import sqlite3
import time

from ec2_pools import Calls, by_action, complaints, hearthd_on, own_count, wait_pool, words
from measure import wait_for

from ec2 import Endpoint  # behind measure, which knows where it is
from hearth import Client

N, SPEED = 500, 10
SHARE = 0.7
BUCKETS = {"CreateVolume": (100, 5), "AttachVolume": (50, 5), "DetachVolume": (50, 5)}  # EC2 Developer Guide, "Request throttling"
CREATE_S, ATTACH_S, LOOK_S = (5, 30), 3, 0.5  # of the scenario `aws`; a look while somebody waits
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl bench"


def through(action, n=N):
    """How long hearthd's share of the action's bucket makes n calls take."""
    full, per_s = BUCKETS[action]
    return max(0, n - SHARE * full) / (SHARE * per_s * SPEED)


def ideal():
    """The first volumes are there after 5 s; from then on AttachVolume's bucket is what everybody waits for, unless it is the last
    volume's turn and its 30 s."""
    by_attach = CREATE_S[0] / SPEED + through("AttachVolume")
    by_create = through("CreateVolume") + CREATE_S[1] / SPEED
    return max(by_attach, by_create) + ATTACH_S / SPEED


def ledger(d, sql):
    with contextlib.closing(sqlite3.connect(f"file:{d.state}/db/hearth.db?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(sql).fetchall()


def reserve(d, i):
    with Client(d.socket, timeout=120) as c:
        r = c.post("/v1/reservations", {"public_keys": [KEY], "name": f"r{i}", "disks": [{"name": f"disk-{i}", "size": "8G"}]})
    if r.status not in (200, 201, 202):
        raise RuntimeError(f"{r}")
    return r.json["id"]


def attached(d):
    return ledger(d, "SELECT count(*) FROM disks WHERE state = 'attached' AND machine != ''")[0][0]


def all_attached(d, idents):
    """Whether the API says so of each reservation; asked once the ledger has them all."""
    with Client(d.socket, timeout=120) as c:
        states = [x["state"] for i in idents for x in c.get(f"/v1/reservations/{i}").json["disks"]]
    return {s: states.count(s) for s in set(states)}


def burst(results):
    with Endpoint(scenario="aws", speed=SPEED, settings={"log_level": "debug"}) as e:
        e.start()
        pool = f"{{provider: aws, image: debian, readiness: running, running: {N}, max: {N}, zones: us-east-1a}}"
        with hearthd_on(e, {"default": pool}, SPEED) as d:
            d.start()
            wait_pool(d, lambda p: p["ready"] >= N, 300)
            measure(results, d, e)


def measure(results, d, e):
    calls, began = Calls(e), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        idents = list(pool.map(lambda i: reserve(d, i), range(N)))
    active = time.monotonic() - began

    def steps(name):
        return ledger(d, f"SELECT count(*) FROM steps WHERE name = '{name}' AND state = 'done'")[0][0]

    wait_for(lambda: steps("attach") >= N, 300, 0.05, message=lambda: f"{steps('attach')} attached\n{d.log_text()[-3000:]}")
    took = time.monotonic() - began
    made = calls.take()
    states = all_attached(d, idents)
    results.add(f"{N} reservations with a new disk each, warm machines, at {SPEED} times AWS's speed (simulated): until all are active",
                f"{active:.1f} s")
    results.add("the same, until every disk is in its machine",
                f"{took:.1f} s, {took / ideal():.2f} times the ideal by AWS's buckets ({ideal():.1f} s: CreateVolume "
                f"{through('CreateVolume'):.1f} s, AttachVolume {through('AttachVolume'):.1f} s); {states}",
                "all attached, at most 1.3 times", states == {"attached": N} and took <= 1.3 * ideal())
    refused = sum(n for (_, outcome), n in made.items() if outcome == "RequestLimitExceeded")
    results.add("calls for it, counted by the endpoint", f"{words(by_action(made))}; {refused} refused by a bucket", "none refused", refused == 0)
    twice = ledger(d, "SELECT subject, name FROM steps WHERE name IN ('create', 'disk', 'attach') GROUP BY subject, name HAVING count(*) > 1")
    volumes = e.ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["hearth:disk"]}])["Volumes"]
    once = {a: by_action(made)[a] for a in ("CreateVolume", "AttachVolume")}
    results.add("steps that ran twice", f"{len(twice)}; {len(volumes)} volumes by {once}", "none", not twice and len(volumes) == N
                and set(once.values()) == {N})
    release(results, d, calls, idents)


def release(results, d, calls, idents):
    """All ended at once: written back, detached, and their machines ended."""
    began = time.monotonic()

    def end(ident):
        with Client(d.socket, timeout=120) as c:
            c.delete(f"/v1/reservations/{ident}?wait=0")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(end, idents))

    def there():
        return ledger(d, "SELECT count(*) FROM disks WHERE state = 'available'")[0][0]

    wait_for(lambda: there() >= N, 300, 0.05, message=lambda: f"{there()} available\n{d.log_text()[-3000:]}")
    took, (_, throttled) = time.monotonic() - began, own_count(d)
    results.add("all cancelled at once, until every disk is free", f"{took:.1f} s; by DetachVolume's bucket {through('DetachVolume'):.1f} s; "
                f"{words(by_action(calls.take()))}")
    said = [line for line in complaints(d) if "not detached yet" not in line]
    results.add("what users and the log are told of throttling, or of anything that went wrong", f"{len(said)} lines; {throttled} calls were "
                "refused", "none", not said)
