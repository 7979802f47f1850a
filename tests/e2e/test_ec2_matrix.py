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
from ec2_matrix import Cell, Plan, Step, Wrong  # noqa: E402
from ec2_matrix_local import HOUSES, SET_UP, LocalCell, NeverCell  # noqa: E402

INTERFACES = Plan(settings=", interfaces: true")
HIBERNATED = Plan(tier="hibernated")
SPOT = Plan(settings=", spot: true")  # of the stopped tier: by a persistent request, which makes another instance unless it is cancelled
HEDGE = Plan(running=0, tier=None, settings=", hedge: true")

STEPS = {
    "launch": Step("RunInstances"),
    "ready": Step("DescribeInstances", "RunInstances"),
    "stop": Step("StopInstances"),
    "stopped": Step("DescribeInstances", "StopInstances"),
    "start": Step("StartInstances"),
    "started": Step("DescribeInstances", "StartInstances"),
    "claim": Step(),
    "terminate": Step("TerminateInstances"),
    "gone": Step("DescribeInstances", "TerminateInstances"),
    "interface": Step("CreateNetworkInterface", None, INTERFACES),
    "launch on it": Step("RunInstances", "CreateNetworkInterface", INTERFACES),
    "interface removed": Step("DeleteNetworkInterface", None, INTERFACES),
    "hibernate": Step("StopInstances", None, HIBERNATED),
    "hibernated": Step("DescribeInstances", "StopInstances", HIBERNATED),
    "resume": Step("StartInstances", None, HIBERNATED),
    "resumed": Step("DescribeInstances", "StartInstances", HIBERNATED),
    "spot launch": Step("RunInstances", None, SPOT),
    "spot stop": Step("StopInstances", None, SPOT),
    "spot request ended": Step("CancelSpotInstanceRequests", None, SPOT),
    "hedge": Step("RunInstances", None, HEDGE),
    "hedge ended": Step("TerminateInstances", None, HEDGE),
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
    "interrupted": lambda action: ["fault: spot_interrupted, for: 20ms, count: 2"],
}


def cell(fault, step, crash):
    at = STEPS[step]
    name = f"{fault} x {step} x {crash}"
    return Cell(name, at, crash, FAULTS[fault](at.action or "RunInstances"), random.Random(f"{SEED}/{name}"))


ALL = [(f, s, c) for f in FAULTS for s in STEPS for c in CRASHES if f != "interrupted" or STEPS[s].plan is SPOT]


# --- over ssh

SSH = Plan(settings=f", ready_timeout: 25s, {SET_UP}")
INJECT = Plan(settings=f", ready_timeout: 25s, access: inject, {SET_UP}")
RESUMED = Plan(tier="hibernated", settings=f", ready_timeout: 25s, {SET_UP}")
LOCAL_STEPS = {
    "launch of a machine": Step("RunInstances", None, SSH),
    "ready by ssh": Step(journal="ready", plan=SSH),
    "set up": Step(journal="setup", plan=SSH),
    "stop of a machine": Step("StopInstances", None, SSH),
    "started, by ssh": Step(behind="start", journal="ready", plan=SSH),
    "resumed, by ssh": Step(behind="start", journal="ready", plan=RESUMED),
    "deadline": Step(journal="deadline", plan=SSH),
    "access": Step(journal="access", plan=INJECT),
    "end of a machine": Step("TerminateInstances", None, SSH),
}
LOCAL_FAULTS = {**{f: lines for f, lines in FAULTS.items() if f != "interrupted"},
                "no sshd": lambda action: ["fault: no_sshd, count: 2"]}
NEVER = {
    "never ready": Step("DescribeInstances", "RunInstances"),
    "launched in vain": Step("RunInstances"),
    "ended in vain": Step("TerminateInstances"),
    "gone in vain": Step("DescribeInstances", "TerminateInstances"),
}
LOCAL = [(f, s, c) for f in LOCAL_FAULTS for s in LOCAL_STEPS for c in CRASHES]
NOBODY = [("no sshd", s, c) for s in NEVER for c in CRASHES]


def local_cell(fault, step, crash):
    at, name = LOCAL_STEPS[step], f"{fault} x {step} x {crash}"
    return LocalCell(name, at, crash, LOCAL_FAULTS[fault](at.action or "RunInstances"), random.Random(f"{SEED}/{name}"))


def never_cell(fault, step, crash):
    at, name = NEVER[step], f"{fault} x {step} x {crash}"
    at = Step(at.action, at.behind, Plan(tier=None, settings=", ready_timeout: 2s"))
    return NeverCell(name, at, crash, [], random.Random(f"{SEED}/{name}"))


class MotoCell(Cell):
    """The same on a simulator that others wrote, with authentication on. It ignores client tokens, knows no faults, has no images of ours,
    and goes on describing the interfaces of instances that ended."""

    interfaces_end = False

    def __init__(self, name, step, crash, rng):
        super().__init__(name, step, crash, [], rng)

    def make_endpoint(self, scenario):
        from test_ec2_moto import Moto

        return Moto(machines="none", recorded=False)  # its replies are not ours to answer for

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.endpoint.key, "AWS_SECRET_ACCESS_KEY": self.endpoint.secret}

    def image(self):
        import test_ec2_cli

        return test_ec2_cli.image(self.endpoint.client(region="us-east-1"))


MOTO = [("moto", s, c) for s in ("launch", "stop", "start", "claim", "terminate", "gone") for c in CRASHES]


def moto_cell(name, step, crash):
    name = f"{name} x {step} x {crash}"
    return MotoCell(name, STEPS[step], crash, random.Random(f"{SEED}/{name}"))


# --- all of them


def attempt(make, which):
    began = time.monotonic()
    unowned = make(*which).run()
    return unowned, time.monotonic() - began


def run_all(make, cells, of, at_once):
    """Cells beside each other, for they mostly wait. All are run, and then it fails."""
    failures, sums = [], {}
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        todo = {pool.submit(attempt, make, which): which for which in cells}
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
    print(f"{len(cells)} of {len(of)} cells, {len(failures)} failures; unowned resource-seconds in all: "
          f"{({k: round(v, 2) for k, v in sums.items()})}")
    assert not failures, f"HEARTH_TEST_SEED={SEED}: {len(failures)} cells:\n\n" + "\n\n".join(failures)


@pytest.mark.seconds(4000 if SOAK else 300)
def test_every_fault_at_every_step(sample):
    run_all(cell, sample(ALL, 14), ALL, 12)


@pytest.mark.seconds(1000 if SOAK else 200)
def test_machines_on_which_nobody_ever_answers(sample):
    run_all(never_cell, sample(NOBODY, 1), NOBODY, 8)


@pytest.mark.root
@pytest.mark.seconds(7000 if SOAK else 200)
def test_every_step_over_ssh(rng):
    """One of these takes twelve seconds of a host's time: in a soak it is two faults at each step and crash, by the seed."""
    sparse = [(f, s, c) for s in LOCAL_STEPS for c in CRASHES for f in rng.sample(list(LOCAL_FAULTS), 2)]
    run_all(local_cell, sparse if SOAK else rng.sample(sparse, 1), LOCAL, HOUSES)


@pytest.mark.skipif(not shutil.which("moto_server"), reason="moto_server is not installed")
@pytest.mark.seconds(3000 if SOAK else 200)
def test_every_step_on_moto(sample):
    run_all(moto_cell, sample(MOTO, 1), MOTO, 3)
