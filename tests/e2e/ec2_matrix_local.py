# SPDX-License-Identifier: Apache-2.0
"""Cells of the fault matrix whose machines are looked at through port 22: real ones of this host behind hearth-ec2, struck also at what
hearthd does over ssh; and fake ones, where nobody ever answers."""

import contextlib
import queue
import sqlite3
import subprocess
import threading
import time

from ec2 import Endpoint
from ec2_matrix import Cell, Wrong
from patience import PATIENCE

HOUSES = 3  # of real machines, at once
NETWORKS = queue.Queue()
for n in range(HOUSES):
    NETWORKS.put(n)

BEGUN = "u/root/begun"  # in a machine's directory: its set-up command is under way
SET_UP = 'setup: ["touch /root/begun; sleep 0.4; echo done >>/root/was"]'


class Watch(threading.Thread):
    """Reads the journal until it shows the step, and kills: `before` (its intent is durable), `in` (inside() says so, or a moment later) or
    `after` (its end is durable)."""

    FIRST = ("SELECT s.state FROM steps s WHERE s.name = ? AND (? IS NULL OR EXISTS "
             "(SELECT 1 FROM steps b WHERE b.subject = s.subject AND b.name = ? AND b.id < s.id)) ORDER BY s.id LIMIT 1")

    def __init__(self, cell, inside=None):
        super().__init__()
        self.cell, self.inside = cell, inside
        self.closing = threading.Event()

    def state(self, db):
        step = self.cell.step
        row = db.execute(self.FIRST, (step.journal, step.behind, step.behind)).fetchone()
        return row and row[0]

    def reached(self, state):
        if state is None:
            return False
        if self.cell.crash == "before":
            return True
        if self.cell.crash == "in" and state == "open" and self.inside:
            return self.inside()
        if self.cell.crash == "after":
            return state != "open"
        return True

    def run(self):
        db = None
        while not self.closing.wait(0.003):
            try:
                db = db or sqlite3.connect(f"file:{self.cell.daemon.state}/db/hearth.db?mode=ro", uri=True, timeout=10,
                                           check_same_thread=False)
                if self.reached(self.state(db)):
                    break
            except sqlite3.OperationalError:  # it is being made
                continue
        if db is not None:
            db.close()
        if not self.closing.is_set():
            if self.cell.crash != "before":
                time.sleep(self.cell.moment)
            self.cell.kill()

    def close(self):
        self.closing.set()
        self.join()


class LocalCell(Cell):
    """On real machines: what is given out lets its user in, and was set up once."""

    readiness = "ssh"
    quiet_seconds = 180
    # a life of real machines takes several seconds: what EC2 adds to it is kept short
    delays = "{launch: 100ms, stop: 50ms, start: 50ms, terminate: 50ms}"

    def make_endpoint(self, scenario):
        from image_cache import image

        self.network = NETWORKS.get()
        return Endpoint(machines="local", image=image(), scenario=scenario,
                        settings={"network": f"10.{88 + self.network}.0.0/16", "uid_base": 1200000000 + self.network * 100000000,
                                  "log_level": "debug"})

    def open(self):
        self.watch = None
        self.key = self.endpoint.dir / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.public_key = self.key.with_suffix(".pub").read_text().strip()
        super().open()
        if self.step.journal and self.crash != "none":
            self.watch = Watch(self, self.begun if self.step.journal == "setup" else None)
            self.watch.start()

    def begun(self):
        return any(self.endpoint.state.glob(f"machines/*/{BEGUN}"))

    def close(self):
        with contextlib.ExitStack() as stack:
            stack.callback(NETWORKS.put, self.network)
            stack.callback(super().close)
            if getattr(self, "watch", None):
                stack.callback(self.watch.close)

    def enter(self, ident, command):
        """As its user: what the machine answers."""
        r = self.look(ident)
        known, cert = self.endpoint.dir / "known", self.endpoint.dir / "cert"
        known.write_text(r["known_hosts"])
        cert.write_text("\n".join(r["certificates"]))
        options = {"IdentitiesOnly": "yes", "BatchMode": "yes", "StrictHostKeyChecking": "yes", "UserKnownHostsFile": known,
                   "GlobalKnownHostsFile": "/dev/null", "HostKeyAlias": r["machine"], "ConnectTimeout": 20, "LogLevel": "ERROR",
                   "CertificateFile": cert if r["certificates"] else "none"}
        p = subprocess.run(["ssh", "-F", "none", "-i", str(self.key), "-p", str(r["port"]), *[f"-o{k}={v}" for k, v in options.items()],
                            f"{r['login']}@{r['host']}", command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=60 * PATIENCE, check=False)
        if p.returncode != 0:
            raise Wrong(f"{ident} does not let its user in: {p.stderr.strip()} {r}")
        return p.stdout

    def check(self, first, second):
        super().check(first, second)
        was = self.enter(second, "sudo cat /root/was")
        if was != "done\n":
            raise Wrong(f"{second} was not set up once: {was!r}")


class NeverCell(Cell):
    """Nothing answers on any machine's port 22: its launches fail and say why, the pool backs off, whoever waits is told, nothing is left.
    The machines' addresses are loopback's, so that nobody else is asked."""

    readiness = "ssh"

    def make_endpoint(self, scenario):
        return Endpoint(scenario=scenario, settings={"log_level": "debug", "network": "127.112.0.0/16"})

    def live(self):
        first = self.reserve("first")
        self.wait(self.failing)
        self.wait(lambda: "" if self.look(first)["state"] == "ended" else "who waits is not told")
        r = self.look(first)
        if r["reason"] != "failed" or "no ssh within 2 s" not in r["error"]:
            raise Wrong(f"it does not say why: {r}")
        if self.crash != "none" and not self.dead.is_set():
            self.wait(lambda: "" if self.dead.is_set() else "the call to die at never came", 30)
        self.revive()
        self.ask("PATCH", "/v1/pools/default", {"running": 0})
        self.plan.running = 0
        return first, None

    def failing(self):
        p = self.ask("GET", "/v1/pools/default").json
        said = p["last_error"] or ""
        if p["ready"]:
            raise Wrong(f"nobody can log in there: {p}")
        return "" if "no ssh within 2 s" in said and "\n" not in said and p["backoff_until"] else f"the pool does not back off: {p}"

    def check(self, first, second):
        self.undone()
        if alive := [i for i in self.instances() if i["State"]["Name"] not in ("terminated", "shutting-down")]:
            raise Wrong(f"left: {alive}")
        given = self.ledger("SELECT id FROM reservations WHERE machine != ''")
        if given:
            raise Wrong(f"nobody can log in to what was given out: {given}")
