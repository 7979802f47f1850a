# SPDX-License-Identifier: Apache-2.0
"""A hearthd with real machines, and people of this host who use it. Each Lab has addresses and user ids of its own, so
that several run at the same time. Users exist in a private /etc/passwd only: the host's is never touched, nor root's ~/.ssh."""

import base64
import contextlib
import glob
import ipaddress
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import time

from hearth import Client, Daemon, program, wait_for
from image_cache import image
from patience import PATIENCE

SANITIZERS = ("Sanitizer", "runtime error: ", "Assertion `")
OPTIONS = ["-o", "ConnectTimeout=20", "-o", "LogLevel=ERROR"]


class Numbers:
    """A number that no other test process has now."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        for self.number in range(os.getpid() % 61, 61 * 100):
            try:
                self.socket.bind("\0hearth-e2e-network-%d" % (self.number % 61))
            except OSError:
                continue
            self.number %= 61
            return
        raise RuntimeError("all test networks are in use")

    def close(self):
        self.socket.close()


class User:
    """Somebody with a home of their own. run() and popen() are as this user, who has a name and a home for ssh, too."""

    def __init__(self, lab, name, uid, groups=()):
        self.lab, self.name, self.uid, self.groups = lab, name, uid, groups
        self.home = lab.dir / "home" / name
        self.home.mkdir(parents=True)
        os.chown(self.home, uid, uid)
        self.passwd = lab.dir / ("passwd-" + name)
        keep = [line for line in pathlib.Path("/etc/passwd").read_text().splitlines()
                if line.split(":")[2] != str(uid) and line.split(":")[0] != name]
        mine = f"{name}:x:{uid}:{uid}:{name}:{self.home}:/bin/sh"
        self.passwd.write_text("\n".join([mine, *keep]) + "\n")
        self.passwd.chmod(0o644)

    def command(self, argv):
        become = []
        if self.uid:
            groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
            become = ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), *groups, "--"]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                'mount --bind "$0" /etc/passwd && exec "$@"', str(self.passwd), *become, *map(str, argv)]

    def environment(self):
        return {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "PATH": os.environ["PATH"],
                "HEARTH_SOCKET": str(self.lab.socket), "LC_ALL": "C.UTF-8"}

    def popen(self, argv, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(argv), env=self.environment(), cwd=self.home, **kwargs)

    def run(self, *argv, timeout=60, check=False, **kwargs):
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("text", True)
        p = subprocess.run(self.command(argv), env=self.environment(), cwd=self.home, capture_output=True,
                           timeout=timeout * PATIENCE, check=False, **kwargs)
        if check and p.returncode != 0:
            raise AssertionError(f"{argv}: {p.returncode}: {p.stdout}{p.stderr}\n{self.lab.log_text()[-3000:]}")
        return p

    def hearth(self, *args, **kwargs):
        return self.run(program("hearth"), *args, **kwargs)

    def json(self, *args, **kwargs):
        return json.loads(self.hearth("--json", *args, check=True, **kwargs).stdout)

    def reserve(self, *args, **kwargs):
        return self.json("reserve", *args, **kwargs)

    def ssh(self, reservation, command=None, *options, **kwargs):
        """By the reservation's ssh_command, as a script would."""
        line = " ".join([reservation["ssh_command"], *map(shlex.quote, [*OPTIONS, *options])])
        return self.run("sh", "-c", line + (" " + shlex.quote(command) if command is not None else ""), **kwargs)


class Lab(Daemon):
    def __init__(self, pools=None, pool="running: 2, max: 20", settings=None, with_image=True, **kwargs):
        self.numbers = Numbers()
        n = self.numbers.number
        self.network = ipaddress.ip_network("10.%d.%d.0/24" % (214 + n // 16, n % 16 * 16))
        self.uid_base = 1_000_000_000 + n * 10_000_000
        pools = pools or {"default": "{provider: here, image: debian, %s}" % pool}
        super().__init__(
            providers={"here": "{kind: local, network: %s, uid_base: %d}" % (self.network, self.uid_base)},
            pools=pools, settings=settings, image=image() if with_image else None, **kwargs)
        self.users = {}
        self.state.mkdir(mode=0o755)
        self.cgroup = "hearth-%x-%x" % (self.state.stat().st_dev, self.state.stat().st_ino)

    def user(self, name="alice", uid=None, groups=()):
        if name not in self.users:
            self.users[name] = User(self, name, uid if uid is not None else 12345 + len(self.users), groups)
        return self.users[name]

    def root(self):
        return self.user("root", 0)

    # ---- what there is ----

    def get(self, path):
        with Client(self.socket) as c:
            return c.get(path).json

    def machines(self, state=None):
        return [m for m in self.get("/v1/machines") if state in (None, m["state"])]

    def machine(self, ident):
        return self.get("/v1/machines/" + ident)

    def reservation(self, ident):
        return self.get("/v1/reservations/" + ident)

    def ready(self):
        return [m["id"] for m in self.machines("ready")]

    def alive(self):
        """Machines whose PID 1 runs, by id."""
        return {ident: pid for ident in self.machine_directories() if (pid := self.pid_of(ident))}

    def machine_directories(self):
        path = self.state / "machines"
        return sorted(os.listdir(path)) if path.is_dir() else []

    def pid_of(self, ident):
        """Of the machine's PID 1, as the launcher wrote it down; None when it has ended."""
        try:
            text = (self.state / "machines" / ident / "state").read_text()
            fields = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
            pid, start = int(fields["pid"]), fields["start"]
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, KeyError):
            return None
        return pid if stat[19] == start and stat[0] not in "ZX" else None

    def kill_machine(self, ident):
        os.kill(self.pid_of(ident), signal.SIGKILL)

    def inside(self, ident, command, timeout=30):
        """Runs a command as root in the machine, by its control socket. (exit code, output)"""
        out = b""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(timeout * PATIENCE + 5)
            s.connect(str(self.runtime / "machines" / ident / "control.sock"))
            s.send(b"run %d %s" % (timeout * PATIENCE, command.encode()))
            while True:
                packet = s.recv(8192)
                if packet.startswith(b"out "):
                    out += packet[4:]
                elif packet.startswith(b"exit "):
                    return int(packet[5:]), out.decode(errors="replace")
                else:
                    raise AssertionError(packet)

    def ask_init(self, ident, text):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(10 * PATIENCE)
            s.connect(str(self.runtime / "machines" / ident / "control.sock"))
            s.send(text.encode())
            return s.recv(4096).decode()

    def database(self):
        """The ledger; only while hearthd is down."""
        assert self.process is None or self.process.poll() is not None
        return contextlib.closing(sqlite3.connect(self.state / "db/hearth.db"))

    def launcher_pid(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (int(c) for c in children if "launcher" in pathlib.Path(f"/proc/{c}/comm").read_text())
        return pid

    def audit(self, *args):
        return self.hearth("--json", "audit", *args)

    def assert_clean(self, seconds=20):
        """The ledger and the host agree, once what is on its way is through."""
        last = []

        def clean():
            p = self.audit()
            last[:] = [p.stdout + p.stderr]
            live = {m["id"] for m in self.machines() if m["state"] in ("launching", "ready", "claimed", "terminating")}
            return p.returncode == 0 and json.loads(p.stdout)["ok"] and set(self.machine_directories()) <= live

        wait_for(clean, seconds, every=0.2, message=lambda: f"audit: {last}\n{self.machine_directories()}\n{self.machines()}")

    def reload(self):
        """SIGHUP, and its end."""
        before = self.log_text().count("configuration reloaded")
        self.signal(signal.SIGHUP)
        wait_for(lambda: self.log_text().count("configuration reloaded") > before, message=self.log_text)

    # ---- what is left ----

    def leftovers(self):
        """Everything of this hearthd's in the system, by kind."""
        links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
        own = ("hth%08x" % int(self.network.network_address))[:-2]
        routes = subprocess.run(["ip", "route", "show", "table", "all"], check=True, capture_output=True, text=True).stdout
        tables = subprocess.run(["nft", "list", "tables"], check=False, capture_output=True, text=True).stdout
        mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        text = str(self.network.network_address)
        return {
            "machines": self.machine_directories(),
            "links": [line for line in links.splitlines() if own in line],
            "routes": [r for r in routes.splitlines() if text.rpartition(".")[0] + "." in r],
            "tables": [t for t in tables.splitlines() if text in t or "%08x" % int(self.network.network_address) in t],
            "cgroups": glob.glob("/sys/fs/cgroup/**/%s" % self.cgroup, recursive=True),
            "mounts": [m for m in mounts if str(self.dir) in m],
            "processes": self.processes(),
        }

    def processes(self):
        """Pids with a user id of our machines, dead ones aside."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if self.uid_base <= os.stat("/proc/" + pid).st_uid < self.uid_base + 10_000_000:
                    state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                    if state not in "ZX":
                        found.append(int(pid))
        return found

    def close(self):
        """Ends all, and says so when something is left."""
        for c in self.clients:
            c.close()
        self.clients = []
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            done = self.teardown()
            left = {k: v for k, v in self.leftovers().items() if v}
            complaints = [line for line in self.log_text().splitlines() if any(w in line for w in SANITIZERS)]
            self.numbers.close()
            shutil.rmtree(self.dir, ignore_errors=True)
        assert not complaints, complaints
        assert done.returncode == 0, done.stderr
        assert not left, left


@contextlib.contextmanager
def lab(*args, fill=None, **kwargs):
    """A Lab whose pools (or only those named by `fill`) are full."""
    made = Lab(*args, **kwargs)
    try:
        made.start()
        for p in made.pools if fill is None else fill:
            made.fill(p, seconds=60)
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def process(user, argv, **kwargs):
    """A process of the user's that is gone afterwards."""
    p = user.popen(argv, start_new_session=True, **kwargs)
    try:
        yield p
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGTERM)
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
        for stream in (p.stdin, p.stdout, p.stderr):
            if stream:
                stream.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(port, seconds=10):
    """A connection to 127.0.0.1:port, once somebody listens there."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def ssh_string(data):
    return struct.pack(">I", len(data)) + data


def key_blob(path):
    return base64.b64decode(pathlib.Path(path).read_text().split()[1])
