# SPDX-License-Identifier: Apache-2.0
"""Samples, rows of results, and the small measuring tools that the sections share."""

import http.client
import json
import os
import pathlib
import pty
import select
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from hearth import PUBLIC_KEY, TOP, Daemon, UnixConnection, build_dir, program, wait_for  # noqa: E402,F401


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def median(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def spread(values, unit="ms", digits=1):
    """The median, and in brackets what else there is to know of the samples."""
    return (f"{median(values):.{digits}f} {unit} (p90 {quantile(values, .9):.{digits}f}, "
            f"min {min(values):.{digits}f}, n {len(values)})")


class Results:
    """Rows as they come: printed at once, kept for the page. `met` is None where there is no bound."""

    def __init__(self):
        self.rows = []
        self.skipped = []

    def add(self, what, measured, bound="", met=None):
        self.rows.append({"what": what, "measured": measured, "bound": bound, "met": met})
        mark = {True: "met", False: "NOT MET", None: ""}[met]
        print(f"  {what}: {measured}" + (f"   [{bound}: {mark}]" if bound else ""), flush=True)

    def skip(self, what, why):
        self.skipped.append({"what": what, "why": why})
        print(f"  SKIPPED {what}: {why}", flush=True)


def timed(argv, env=None, may_fail=False):
    """Milliseconds from start to end of a command, and its stdout."""
    began = time.perf_counter()
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        out, err = p.communicate(timeout=120)
    finally:
        p.kill()  # one that does not end
        p.wait()
    took = (time.perf_counter() - began) * 1e3
    if p.returncode != 0 and not may_fail:
        raise RuntimeError(f"{argv}: exit {p.returncode}: {err.decode(errors='replace').strip()}")
    return took, out.decode(errors="replace")


def login(argv):
    """`ssh -tt` from start to the shell's prompt, then `exit`: milliseconds to the prompt, and to the end."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    seen, prompt = b"", None
    while True:
        if not select.select([terminal], [], [], 30)[0]:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(terminal)
            raise RuntimeError(f"{argv}: no prompt; it printed {seen!r}")
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            data = b""
        if not data:
            break
        seen += data
        if prompt is None and seen.rstrip(b"\x1b[?2004hl").endswith((b"$ ", b"# ")):
            prompt = (time.perf_counter() - began) * 1e3
            os.write(terminal, b"exit 0\n")
    _, status = os.waitpid(pid, 0)
    took = (time.perf_counter() - began) * 1e3
    os.close(terminal)
    if prompt is None or status != 0:
        raise RuntimeError(f"{argv}: status {status}, it printed {seen!r}")
    return prompt, took


class Events:
    """/v1/events, read by a thread: (seconds of time.time() at its arrival, the event)."""

    def __init__(self, socket):
        self.connection = UnixConnection(socket, timeout=None)
        self.connection.request("GET", "/v1/events")
        self.reply = self.connection.getresponse()
        self.seen = []
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            while True:
                line = self.reply.readline()
                now = time.time()
                if not line:
                    return
                if line.startswith(b"data: "):
                    with self.news:
                        self.seen.append((now, json.loads(line[6:])))
                        self.news.notify_all()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # closed

    def wait(self, wanted, n=1, since=0, seconds=60):
        """The first n events from index `since` for which wanted(event) is true."""
        end = time.monotonic() + seconds
        with self.news:
            while True:
                found = [(at, e) for at, e in self.seen[since:] if wanted(e)]
                if len(found) >= n:
                    return found[:n]
                if not self.news.wait(end - time.monotonic()):
                    raise RuntimeError(f"{len(found)} of {n} events after {seconds} s")

    def mark(self):
        with self.news:
            return len(self.seen)

    def close(self):
        try:
            self.connection.sock.shutdown(2)
        except OSError:
            pass
        self.thread.join(5)
        self.connection.close()


def machine_in(state):
    return lambda e: e["kind"] == "machine" and e["state"] == state


def settle(daemon, pool="default", seconds=60):
    """Waits until the pool has all its spares and nothing is on its way; what was measured before is over."""
    def quiet():
        p = daemon.pool(pool)
        return p["ready"] >= p["running"] and p["launching"] == 0

    wait_for(quiet, seconds, 0.02, message=lambda: f"the pool does not fill: {daemon.pool(pool)}")
    time.sleep(0.15)


def memory(pid):
    """Rss and Pss of a process in kB, from smaps_rollup."""
    out = {}
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            key, _, rest = line.partition(":")
            if key in ("Rss", "Pss"):
                out[key] = int(rest.split()[0])
    return out["Rss"], out["Pss"]


def cpu_seconds(pid):
    """Of all its threads, from the scheduler's own nanoseconds."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tool(name):
    return str(build_dir() / "tests" / "bench" / name)
