# SPDX-License-Identifier: Apache-2.0
"""Goal: whichever of our programs is killed, whenever, ssh sessions go on, reservations that were answered are kept,
and afterwards the ledger, the host and the machines agree. HEARTH_SOAK=1 kills a hundred times."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from hearth import PUBLIC_KEY, Client, build_dir, program, wait_for
from local_lab import Lab, lab
from patience import PATIENCE

pytestmark = pytest.mark.root


@pytest.fixture
def house():
    with lab(pool="running: 3, max: 16") as made:
        yield made


class Stream:
    """A session that moves numbered data through the machine and back the whole time, at a few hundred kB a second:
    whatever is lost, doubled or late for more than ten seconds shows."""

    def __init__(self, user, reservation):
        self.process = user.popen(["sh", "-c", reservation["ssh_command"] + " cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.sent, self.received = hashlib.sha256(), hashlib.sha256()
        self.n_sent = self.n_received = 0
        self.last = time.monotonic()
        self.longest = 0.0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=t) for t in (self.send, self.receive)]
        for t in self.threads:
            t.start()

    def send(self):
        n = 0
        with contextlib.suppress(BrokenPipeError):
            while not self.ending.is_set():
                data = b"%015d\n" % n * 512
                n += 1
                self.process.stdin.write(data)
                self.process.stdin.flush()
                self.sent.update(data)
                self.n_sent += len(data)
                time.sleep(0.02)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def receive(self):
        while data := self.process.stdout.read1(65536):
            now = time.monotonic()
            self.longest = max(self.longest, now - self.last)
            self.last = now
            self.received.update(data)
            self.n_received += len(data)

    def end(self):
        """Ends the session in order, and checks what it moved."""
        self.ending.set()
        for t in self.threads:
            t.join(30 * PATIENCE)
        code = self.process.wait(10 * PATIENCE)
        error = self.process.stderr.read()
        assert code == 0, (code, error)
        assert self.n_received == self.n_sent > 50_000 and self.received.digest() == self.sent.digest()
        assert self.longest < 10 * PATIENCE

    def close(self):
        self.ending.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for t in self.threads:
            t.join(30 * PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()


class Load:
    """Reserves and cancels as fast as it goes, through every death, and remembers what it was promised."""

    def __init__(self, house, rng):
        self.house, self.rng = house, rng
        self.held, self.cancelled, self.claims, self.twice = {}, set(), 0, []
        self.owners = {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.stopping.is_set():
            with contextlib.suppress(OSError, ValueError):
                with Client(self.house.socket, timeout=10) as c:
                    while not self.stopping.is_set():
                        self.once(c)
            time.sleep(0.01)

    def once(self, c):
        reply = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "no_wait": True})
        if reply.status == 201:
            r = reply.json
            self.claims += 1
            self.held[r["id"]] = r["machine"]
            if r["machine"] and self.owners.setdefault(r["machine"], r["id"]) != r["id"]:
                self.twice.append(r)
        else:
            time.sleep(0.02)
        while len(self.held) > self.rng.randrange(1, 8):
            ident = self.rng.choice(sorted(self.held))
            if c.delete(f"/v1/reservations/{ident}?wait=0").status in (200, 202):
                self.cancelled.add(ident)
            del self.held[ident]

    def stop(self):
        self.stopping.set()
        self.thread.join(30 * PATIENCE)


def check_promises(house, load):
    """What was answered is so: claimed stays claimed by it, and cancelled is ended."""
    assert not load.twice, load.twice
    all_of_them = {r["id"]: r for r in house.get("/v1/reservations?all=1")}
    for ident, machine in load.held.items():
        r = house.reservation(ident)
        assert r["state"] in ("active", "preparing", "queued"), r
        if machine and r["machine"] != machine:
            raise AssertionError(f"{ident} was promised {machine}: {r}")
    for ident in load.cancelled & set(all_of_them):
        assert all_of_them[ident]["state"] == "ended", all_of_them[ident]


@pytest.mark.seconds(1800)
@pytest.mark.parametrize("victim", ["hearthd", "launcher"])
def test_killed_under_load(house, rng, soak, victim):
    """kill -9 at random moments while others reserve and cancel; one session moves data through all of it."""
    alice = house.user()
    mine = alice.reserve("--name", "stream")
    stream = Stream(alice, mine)
    load = Load(house, rng)
    try:
        for _ in range(100 if soak else 8 if victim == "hearthd" else 4):
            time.sleep(rng.random() * 0.6 * PATIENCE)
            if victim == "hearthd":
                house.kill()
            else:
                os.kill(house.launcher_pid(), signal.SIGKILL)
                assert house.process.wait(10 * PATIENCE) == 1, "hearthd ends with its launcher, to be started again"
            house.start()
        time.sleep(0.5 * PATIENCE)
        load.stop()
        assert stream.process.poll() is None
        stream.end()
        assert load.claims > 5, load.claims
        wait_for(lambda: alice.json("show", "stream")["state"] == "active")
        assert alice.json("show", "stream")["machine"] == mine["machine"]
        check_promises(house, load)
        assert alice.ssh(mine, "true").returncode == 0
        for r in house.get("/v1/reservations"):
            house.hearth("cancel", r["id"], check=True)
        house.fill()
        house.assert_clean()
        assert set(house.alive()) == set(house.ready())
    finally:
        load.stop()
        stream.close()


def dying_launcher(directory):
    """A libexec directory whose launcher can be made to die."""
    source = build_dir() / "src/launcher/hearth-launcher-test"
    if not source.exists():
        pytest.skip("no hearth-launcher-test in this build")
    directory.mkdir()
    shutil.copy2(source, directory / "hearth-launcher")
    shutil.copy2(program("hearth-init"), directory / "hearth-init")
    shutil.copy2(build_dir() / "src/launcher/build-image", directory / "build-image")
    return str(directory)


POINTS = ["record", "slot", "cgroups", "process", "files", "root", "network", "attached", "go", "inside-start", "inside-exec"]


@pytest.mark.seconds(600)
def test_request_process_dies_at_each_side_effect(tmp_path, sample):
    """The process that makes a machine dies at one of its steps, again and again; then it does not any more."""
    tmp_path.chmod(0o755)
    libexec = dying_launcher(tmp_path / "libexec")
    made = Lab(pool="running: 2, max: 6", env={"HEARTH_LIBEXEC": libexec})
    try:
        for point in sample(POINTS, 4):
            made.env["HEARTH_TESTPOINT"] = point
            made.start()
            wait_for(lambda: made.pool()["backoff_until"], 20, message=lambda: point + ": " + made.log_text()[-2000:])
            assert made.pool()["ready"] == 0, point
            made.kill()
            del made.env["HEARTH_TESTPOINT"]
            made.start()
            made.fill()
            made.assert_clean()
            assert set(made.alive()) == set(made.ready()), point
            assert made.user().hearth("run", "--", "true").returncode == 0
            made.kill()
            for ident in made.alive():  # nothing warm for the next point
                made.kill_machine(ident)
    finally:
        made.close()


def test_nothing_is_left_by_a_daemon_that_was_killed(rng):
    """kill -9 in the middle of filling a pool, then only teardown: Lab.close() looks for what is left."""
    made = Lab(pool="running: 6, max: 6")
    try:
        made.start()
        time.sleep(rng.random() * 0.3)
    finally:
        made.close()
