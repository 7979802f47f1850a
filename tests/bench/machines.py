# SPDX-License-Identifier: Apache-2.0
"""Real machines: how long until `ssh ... true` is done, warm, cold, and against this host's own sshd; a hundred in a
row; how soon a ready machine is known to be; and what an idle one costs."""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

from measure import (Daemon, Events, children, cpu_seconds, login, machine_in, median, memory, program, quantile,
                     settle, spread, timed, wait_for)

ROUNDS = 20
NETWORK = "10.86.0.0/16"


def local_daemon(**pools):
    from image_cache import image

    table = {name: f"{{provider: here, image: debian, {text}}}" for name, text in pools.items()}
    return Daemon(providers={"here": f"{{kind: local, network: {NETWORK}, uid_base: 500000000}}"}, pools=table,
                  image=image())


def environment(d):
    return {**os.environ, "XDG_STATE_HOME": str(d.dir / "xdg"), "HOME": str(d.dir)}


class Reserved:
    """`hearth reserve`, timed; the reservation is cancelled at the end of the `with`."""

    def __init__(self, d, *options):
        self.d = d
        self.took, out = timed([program("hearth"), "--socket", str(d.socket), "--json", "reserve", *options],
                               environment(d))
        self.reservation = json.loads(out)
        self.ssh = shlex.split(self.reservation["ssh_command"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        timed([program("hearth"), "--socket", str(self.d.socket), "cancel", self.reservation["id"]],
              environment(self.d))


def ssh_into(ssh, *options):
    return timed([ssh[0], *options, *ssh[1:], "true"])[0]


# ---- this host's own sshd ----


@contextlib.contextmanager
def stock_sshd():
    """Debian's sshd with Debian's configuration on a port of its own, and a home as a new user has it: what this
    host's own start of a shell costs is not sshd's. Yields the command of a stock client."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="hearth-bench-", dir="/run"))
    process = None
    try:
        for kind in ("rsa", "ecdsa", "ed25519"):
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", home / f"host_{kind}"], check=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key"], check=True)
        shutil.copy(home / "key.pub", home / "authorized_keys")
        shutil.copytree("/etc/skel", home / "home")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", "/usr/share/openssh/sshd_config", "-p", str(port),
             "-o", "ListenAddress=127.0.0.1", "-o", f"AuthorizedKeysFile={home}/authorized_keys", "-o", "PidFile=none",
             "-o", f"SetEnv=HOME={home}/home",
             *[o for kind in ("rsa", "ecdsa", "ed25519") for o in ("-h", str(home / f"host_{kind}"))]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        def listens():
            if process.poll() is not None:
                raise RuntimeError("sshd: " + process.stderr.read().decode(errors="replace").strip())
            with socket.socket() as c:
                return c.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens, 10, 0.02)
        scan = subprocess.run(["ssh-keyscan", "-p", str(port), "127.0.0.1"], capture_output=True, text=True, check=True)
        (home / "known_hosts").write_text(scan.stdout.replace("127.0.0.1", "localhost"))
        yield ["ssh", "-4", "-i", str(home / "key"), "-o", f"UserKnownHostsFile={home}/known_hosts", "-p", str(port),
               "localhost"]
    finally:
        if process:
            process.terminate()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


# ---- warm, cold, stock ----


def logins(results):
    with local_daemon(default="running: 3, max: 40") as d, stock_sshd() as stock:
        d.start()
        d.fill(seconds=120)
        warm, bare, cold, local, reserve, ttys, prompts = [], [], [], [], [], [], []
        with Reserved(d, "--name", "stays") as stays:
            for i in range(ROUNDS + 1):
                settle(d)
                with Reserved(d, "--name", f"warm{i}") as r:
                    w = r.took, r.took + ssh_into(r.ssh)
                    if r.reservation["path"] != "warm":
                        raise RuntimeError(f"path {r.reservation['path']}: {r.reservation['miss_reason']}")
                settle(d)
                b = ssh_into(stays.ssh)
                settle(d)
                s = ssh_into(stock)
                settle(d)
                with Reserved(d, "--no-warm", "--name", f"cold{i}") as r:
                    c = r.took + ssh_into(r.ssh)
                settle(d)
                p, t = login([stays.ssh[0], "-tt", *stays.ssh[1:]])
                if i == 0:
                    continue
                reserve.append(w[0])
                for values, took in ((warm, w[1]), (bare, b), (local, s), (cold, c), (prompts, p), (ttys, t)):
                    values.append(took)
    results.add("ssh true to a machine already reserved (the floor)", spread(bare))
    results.add("hearth reserve, warm", spread(reserve))
    ratio = median(warm) / median(bare)
    results.add("warm: hearth reserve + first ssh true", f"{spread(warm)}, {ratio:.2f} times the floor",
                "at most 1.15 times", ratio <= 1.15)
    ratio = median(local) / median(warm)
    results.add("ssh localhost true, Debian's own sshd", f"{spread(local)}, {ratio:.2f} times the warm one",
                "at least 2.5 times", ratio >= 2.5)
    ratio = median(cold) / median(warm)
    results.add("cold: hearth reserve --no-warm + ssh true", f"{spread(cold)}, {ratio:.2f} times the warm one",
                "at most 1.5 times", ratio <= 1.5)
    results.add("ssh -t, to the shell's prompt", spread(prompts), "under 200 ms", median(prompts) < 200)
    results.add("ssh -t, to the end of exit", spread(ttys), "under 200 ms", median(ttys) < 200)


# ---- a hundred ----


def set_running(d, n, pool="default"):
    with d.client() as c:
        reply = c.patch(f"/v1/pools/{pool}", {"running": n})
        if reply.status != 200:
            raise RuntimeError(f"pool set: {reply}")


def drained(d):
    set_running(d, 0)
    wait_for(lambda: not list((d.runtime / "machines").iterdir()), 60, 0.05,
             message="machines do not go away")
    time.sleep(0.5)


def hundred(results):
    took = []
    with local_daemon(default="running: 0, max: 120") as d:
        d.start()
        events = Events(d.socket)
        try:
            wait_for(lambda: d.pool()["image_version"], 60)
            for _ in range(4):
                mark, began = events.mark(), time.time()
                set_running(d, 100)
                took.append(events.wait(machine_in("ready"), 100, mark)[-1][0] - began)
                if len(took) < 4:
                    drained(d)
        finally:
            events.close()
        took = took[1:]
        results.add("100 machines launched, from the order to the last one ready", spread(took, "s", 2), "under 1 s",
                    median(took) < 1)
        time.sleep(2)
        rss, pss = memory(d.process.pid)
        results.add("hearthd with 100 machines", f"Rss {rss / 1024:.1f} MB, Pss {pss / 1024:.1f} MB", "at most 20 MB",
                    rss <= 20 * 1024)
        pids = [d.process.pid, *children(d.process.pid)]
        before, at = [cpu_seconds(p) for p in pids], time.monotonic()
        time.sleep(20)
        used = [100 * (cpu_seconds(p) - b) / (time.monotonic() - at) for p, b in zip(pids, before)]
        results.add("idle CPU of hearthd and its launcher, 100 machines, 20 s",
                    f"{used[0]:.2f} % and {sum(used[1:]):.2f} % of one core", "under 0.5 %", sum(used) < 0.5)


# ---- readiness ----


def watch_birth(d, known):
    """Waits for a new machine and asks its hearth-init, on the control socket, to say when it is ready."""
    machines = d.runtime / "machines"
    while True:
        for name in os.listdir(machines):
            if name in known:
                continue
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                s.connect(str(machines / name / "control.sock"))
            except OSError:
                s.close()
                continue
            s.settimeout(30)
            s.send(b"watch")
            return name, s
        time.sleep(0.0005)


def readiness(results):
    late, banner_late = [], []
    with local_daemon(default="running: 0, max: 60") as d:
        d.start()
        events = Events(d.socket)
        try:
            wait_for(lambda: d.pool()["image_version"], 60)
            for i in range(ROUNDS + 1):
                known = set(os.listdir(d.runtime / "machines"))
                mark = events.mark()
                set_running(d, i + 1)
                name, control = watch_birth(d, known)
                with control, socket.socket(socket.AF_UNIX) as ssh:
                    ssh.connect(str(d.runtime / "machines" / name / "ssh.sock"))
                    while control.recv(4096) != b"ready":
                        pass
                    ready = time.time()
                    ssh.settimeout(30)
                    ssh.recv(8)
                    banner = time.time()
                (seen, _), = events.wait(lambda e: machine_in("ready")(e) and e["id"] == name, 1, mark)  # noqa: B023
                if i > 0:
                    late.append((seen - ready) * 1e3)
                    banner_late.append((seen - banner) * 1e3)
                time.sleep(0.1)
        finally:
            events.close()
    results.add("machine's own word that it is ready, until its event reaches a client",
                f"{spread(late)}, highest {max(late):.1f}", "within 20 ms", quantile(late, 0.9) <= 20)
    results.add("first ssh banner a client could have had, until then (negative: the event was first)",
                spread(banner_late))


# ---- what an idle one costs ----


def kernel_memory():
    """kB: MemAvailable, and what the kernel holds for itself, with nothing in it that it would give up."""
    subprocess.run(["sync"], check=True)
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
    time.sleep(1)
    info = {}
    for line in open("/proc/meminfo"):
        key, rest = line.split(":")
        info[key] = int(rest.split()[0])
    ours = ("SUnreclaim", "SReclaimable", "KernelStack", "PageTables", "Percpu")
    return info["MemAvailable"], {k: info[k] for k in ours}


def processes_of(d):
    """The pids of all processes in machines, by their pid namespaces."""
    inits = [int(line.split()[1]) for p in (d.state / "machines").glob("*/state")
             for line in p.read_text().splitlines() if line.startswith("pid ")]
    spaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in inits}
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(p / "ns/pid") in spaces:
                found.append(int(p.name))
    return len(inits), found


def idle(results):
    n = 50
    with local_daemon(default="running: 1, max: 60") as d:
        d.start()
        d.fill(seconds=120)
        drained(d)
        available, kernel = kernel_memory()
        set_running(d, n)
        d.fill(ready=n, seconds=60)
        time.sleep(2)
        machines, pids = processes_of(d)
        if machines != n:
            raise RuntimeError(f"{machines} machines, {n} expected")
        pss = sum(memory(p)[1] for p in pids) / n
        rss = sum(memory(p)[0] for p in pids) / n
        available2, kernel2 = kernel_memory()
        results.add("an idle warm machine, all its processes",
                    f"Pss {pss:.0f} kB, Rss {rss:.0f} kB, {len(pids) / n:.1f} processes (mean of {n})",
                    "Pss at most 150 kB", pss <= 150)
        held = {k: (kernel2[k] - kernel[k]) / n for k in kernel}
        results.add("kernel memory beside it", f"{sum(held.values()):.0f} kB (" +
                    ", ".join(f"{k} {v:.0f}" for k, v in held.items()) + ")")
        results.add("MemAvailable less for each, caches dropped", f"{(available - available2) / n:.0f} kB")
        rss, pss = memory(d.process.pid)
        launcher = sum(memory(p)[1] for p in children(d.process.pid))
        results.add(f"hearthd with {n} machines", f"Rss {rss / 1024:.1f} MB, Pss {pss / 1024:.1f} MB; its launcher Pss "
                    f"{launcher / 1024:.1f} MB")
