# SPDX-License-Identifier: Apache-2.0
"""Goal: whatever EC2 does badly, and wherever hearthd dies around a call, ledger and EC2 agree when it is quiet again: every fault
that the endpoint knows, at every call of every plan, with hearthd killed before that call, in it, after it, or not at all. No reservation
that was acknowledged is lost, no machine is in two hands, and how long something was alive that nobody owned is printed."""

import concurrent.futures
import random
import shutil
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from conftest import SEED, SOAK  # noqa: E402
from ec2_matrix import Cell, Wrong  # noqa: E402

INTERFACES = ", interfaces: true"

# step: (call, the call that is answered before it, options of the pool)
STEPS = {
    "launch": ("RunInstances", None, ""),
    "ready": ("DescribeInstances", "RunInstances", ""),
    "stop": ("StopInstances", None, ""),
    "stopped": ("DescribeInstances", "StopInstances", ""),
    "start": ("StartInstances", None, ""),
    "started": ("DescribeInstances", "StartInstances", ""),
    "claim": None,
    "terminate": ("TerminateInstances", None, ""),
    "gone": ("DescribeInstances", "TerminateInstances", ""),
    "interface": ("CreateNetworkInterface", None, INTERFACES),
    "launch on it": ("RunInstances", "CreateNetworkInterface", INTERFACES),
    "interface removed": ("DeleteNetworkInterface", None, INTERFACES),
}
CRASHES = ["none", "before", "in", "after"]


def at_call(fault):
    """Strikes the step's own call; looks, of which there are many, now and then."""

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
    "no capacity": lambda action: [f"fault: capacity, action: {'StartInstances' if action == 'StartInstances' else 'RunInstances'}, count: 1"],
    "invisible": lambda action: ["fault: invisible, action: RunInstances, count: 2, for: 2s",
                                 "fault: invisible, action: CreateNetworkInterface, count: 2, for: 2s"],
    "stale": lambda action: ["fault: stale, probability: 0.5, count: 6, for: 2s"],
    "no address": lambda action: ["fault: address_missing, probability: 0.5, count: 6, for: 2s"],
    "dies pending": lambda action: ["fault: dies_pending, reason: Server.InternalError, count: 2"],
    "volume stuck": lambda action: ["fault: volume_stuck, count: 2"],
}


def cell(fault, step, crash):
    at = STEPS[step]
    name = f"{fault} x {step} x {crash}"
    rng = random.Random(f"{SEED}/{name}")
    action, behind, pool = at or ("RunInstances", None, "")
    return Cell(name, (action, behind) if at else None, crash, FAULTS[fault](action), rng, pool)


ALL = [(f, s, c) for f in FAULTS for s in STEPS for c in CRASHES]


def attempt(which):
    began = time.monotonic()
    unowned = cell(*which).run()
    return unowned, time.monotonic() - began


def run_all(cells, at_once):
    """Cells beside each other, for they mostly wait. Returns the failures."""
    failures, sums = [], {}
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        todo = {pool.submit(attempt, which): which for which in cells}
        for done in concurrent.futures.as_completed(todo):
            which = todo[done]
            try:
                unowned, took = done.result()
            except Wrong as e:
                failures.append(str(e))
                print(f"FAILED {e}")
                continue
            for kind, seconds in unowned.items():
                sums[kind] = sums.get(kind, 0) + seconds
            print(f"{' x '.join(which):45} {took:5.1f} s, unowned: "
                  + ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in unowned.items()))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    print(f"{len(cells)} of {len(ALL)} cells; unowned resource-seconds in all: {({k: round(v, 2) for k, v in sums.items()})}")
    return failures


@pytest.mark.seconds(3000 if SOAK else 300)
def test_every_fault_at_every_step(sample):
    failures = run_all(sample(ALL, 36), 12)
    assert not failures, f"HEARTH_TEST_SEED={SEED}: {len(failures)} cells:\n\n" + "\n\n".join(failures)


class MotoCell(Cell):
    """The same on a simulator that others wrote, with authentication on. It ignores client tokens, knows no faults, has no images of ours,
    and goes on describing the interfaces of instances that ended."""

    interfaces_end = False

    def __init__(self, name, step, crash, rng):
        from test_ec2_moto import Moto

        super().__init__(name, step, crash, [], rng)
        self.endpoint.close()
        self.endpoint = Moto(machines="none", recorded=False)  # its replies are not ours to answer for

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.endpoint.key, "AWS_SECRET_ACCESS_KEY": self.endpoint.secret}

    def image(self):
        import test_ec2_cli

        return test_ec2_cli.image(self.endpoint.client(region="us-east-1"))


MOTO = ["launch", "stop", "start", "claim", "terminate", "gone"]


@pytest.mark.skipif(not shutil.which("moto_server"), reason="moto_server is not installed")
@pytest.mark.seconds(3000 if SOAK else 200)
def test_every_step_on_moto():
    def run(which):
        step, crash = which
        at = STEPS[step]
        name = f"moto x {step} x {crash}"
        return MotoCell(name, at[:2] if at else None, crash, random.Random(f"{SEED}/{name}")).run()

    cells = [(s, c) for s in MOTO for c in CRASHES] if SOAK else [("launch", "none"), ("launch", "before")]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for which, unowned in zip(cells, pool.map(run, cells)):
            print(" x ".join(which), unowned)
