#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: on a Debian as it comes, hearth installed and run by its unit serves machines, holds them to their limits, and is
restarted and killed under a live ssh session that does not notice; a power cut ends what it must and no more; nothing is
left at the end. Then the end-to-end suite.

Runs as a service of the virtual machine of soak_vm.py, twice: the first boot ends in a power cut. Prints lines of TAP."""

import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import threading
import time
import traceback
import urllib.parse
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parents[3]
STATE = pathlib.Path("/var/lib/hearth")
KEPT = pathlib.Path("/var/lib/hearth-soak.json")  # what the second boot must know
CGROUP = pathlib.Path("/sys/fs/cgroup")
UNIT = CGROUP / "system.slice/hearthd.service"
LAUNCHER = "/usr/local/libexec/hearth/hearth-launcher"
MIB = 1 << 20
CONFIG = """
state: /var/lib/hearth
socket: /run/hearth/hearth.sock
providers:
  here: {kind: local, network: 10.213.0.0/16}
pools:
  default: {provider: here, image: debian, running: 2, max: 6, memory: 192M, cpus: 0.5, pids: 150}
"""
RESTARTS = 5
# What depends on the kernel and its control groups most.
FIRST = {"test_isolation", "test_launcher", "test_local_ssh", "test_network"}
NOTHING_SELECTED = 5  # pytest's exit status
os.environ.update(HOME="/root", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C.UTF-8")


def options():
    words = dict(re.findall(r"hearth\.(\w+)=(\S*)", pathlib.Path("/proc/cmdline").read_text()))
    return int(words["boot"]), urllib.parse.unquote(words.get("only", "")), int(words.get("minutes", 30))


def note(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def check(ok, text, detail=None):
    print(f"{'ok' if ok else 'not ok'} - {text}", flush=True)
    if not ok and detail is not None:
        note(detail() if callable(detail) else detail)
    return ok


def sh(*command, seconds=120, **kwargs):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False, **kwargs)


def must(*command, **kwargs):
    done = sh(*command, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}: {done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}")
    return done.stdout


def hearth(*arguments, **kwargs):
    return json.loads(must("hearth", "--json", *arguments, **kwargs))


def wait(what, seconds, every=0.1):
    """The first true value of what(), or its last one."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value or time.monotonic() > end:
            return value
        time.sleep(every)


def log_of_daemon():
    return sh("journalctl", "-u", "hearthd", "-n", "40", "--no-pager", "-o", "cat").stdout


def answers():
    return sh("hearth", "pool", "list").returncode == 0


def filled():
    done = sh("hearth", "--json", "pool", "show", "default")
    return done.returncode == 0 and json.loads(done.stdout)["ready"] >= 2


def main_pid():
    return int(must("systemctl", "show", "-P", "MainPID", "hearthd"))


def ssh(reservation, command, seconds=300):
    return sh("sh", "-c", f"{reservation['ssh_command']} {shlex.quote(command)}", seconds=seconds)


def group_of(reservation):
    """The machine's group, below whatever name the launcher has chosen for its own."""
    return next(CGROUP.glob(f"hearth*/{reservation['machine']}"))


def number(path, word):
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.split()[0] == word)


class Session:
    """An ssh session that moves data both ways until it is closed: every line that goes in comes back, once, in order."""

    def __init__(self, reservation):
        self.process = subprocess.Popen(["sh", "-c", f"exec {reservation['ssh_command']} cat"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.back = 0
        self.wrong = None
        self.closing = False
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.write, self.read)]
        for t in self.threads:
            t.start()

    def write(self):
        try:
            for n in itertools.count():
                if self.closing:
                    break
                self.process.stdin.write(f"{n} {'x' * 1000}\n")
                self.process.stdin.flush()
                time.sleep(0.02)
            self.process.stdin.close()
        except OSError as e:
            self.wrong = self.wrong or f"cannot write: {e}"

    def read(self):
        for line in self.process.stdout:
            if line != f"{self.back} {'x' * 1000}\n":
                self.wrong = self.wrong or f"line {self.back} came back as {line[:40]!r}"
            self.back += 1

    def moves(self, lines=20, seconds=20):
        """Unbroken, and that many more lines come back."""
        goal = self.back + lines
        wait(lambda: self.back >= goal or self.wrong, seconds)
        return self.back >= goal and self.wrong is None and self.process.poll() is None

    def close(self):
        self.closing = True
        return self.process.wait(30) == 0 and self.wrong is None


def the_host():
    note(f"{os.uname().release}, {sh('systemctl', '--version').stdout.splitlines()[0]}, up {time.monotonic():.0f} s")
    types = {line.split()[2] for line in pathlib.Path("/proc/mounts").read_text().splitlines()}
    check("cgroup2" in types and "cgroup" not in types, "control groups of version 2 alone")
    check(pathlib.Path("/proc/1/comm").read_text() == "systemd\n", "systemd is PID 1")


def the_installation():
    """What a package's scripts would do after `make install DESTDIR=`."""
    must("systemd-sysusers")
    must("systemd-tmpfiles", "--create", "/usr/local/lib/tmpfiles.d/hearth.conf")
    check(sh("getent", "passwd", "hearth").returncode == 0, "the user hearth was made")
    cached = next(pathlib.Path("/var/tmp/hearth-test-image").glob("*/root"))
    target = STATE / "images/debian"
    target.mkdir(parents=True)
    must("cp", "-al", str(cached), str(target / "20260101T000000Z"))
    (target / "current").symlink_to("20260101T000000Z")
    config = pathlib.Path("/etc/hearth/hearth.yaml")
    config.parent.mkdir(exist_ok=True)
    config.write_text(CONFIG)
    bad = sh("systemd-analyze", "verify", "--man=no", "hearthd.service")
    check(bad.returncode == 0 and "hearthd" not in bad.stderr, "systemd likes the unit", bad.stderr)


def the_start():
    began = time.monotonic()
    done = sh("systemctl", "enable", "--now", "hearthd")
    check(done.returncode == 0, "systemctl enable --now hearthd", lambda: done.stderr + log_of_daemon())
    check(sh("systemctl", "is-active", "hearthd").stdout == "active\n", "it is active", log_of_daemon)
    check(wait(filled, 180), "the pool fills", lambda: sh("hearth", "pool", "show", "default").stdout + log_of_daemon())
    note(f"from start to two machines: {time.monotonic() - began:.1f} s")


def the_use():
    began = time.monotonic()
    r = hearth("reserve", "--hours", "4", "--name", "soak")
    check(r["state"] == "active" and r["path"] == "warm", "a machine is reserved from the pool", r)
    note(f"reserve: {time.monotonic() - began:.2f} s")
    done = ssh(r, "id -un; sudo -n id -un; hostname; ip -brief address; cat /proc/self/cgroup")
    check(done.stdout.startswith("dev\nroot\n"), "login, and sudo inside", done)
    check("0::/\n" in done.stdout, "its control group is all it sees", done.stdout)
    return r


def the_limits(r):
    group = group_of(r)
    check((group / "memory.max").read_text() == f"{192 * MIB}\n", "memory.max", lambda: (group / "memory.max").read_text())
    done = ssh(r, "tail /dev/zero; echo $?", seconds=180)
    check(done.stdout == "137\n", "a process that takes all memory is killed", done)
    check(number(group / "memory.events", "oom_kill") >= 1, "by the kernel, for the machine's limit")
    check(number(group / "memory.events", "max") >= 1, "at its limit")
    done = ssh(r, "exec sh -c 'while :; do sleep 600 >/dev/null 2>&1 & done'", seconds=180)
    check("fork" in done.stderr and number(group / "pids.events", "max") >= 1, "forks are refused at the limit", done)
    for pid in (group / "cgroup.procs").read_text().split():
        if pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
            os.kill(int(pid), 9)
    check(wait(lambda: int((group / "pids.current").read_text()) < 20, 20), "they end, and PID 1 reaps them")
    before, began = number(group / "cpu.stat", "usage_usec"), time.monotonic()
    done = ssh(r, "timeout 4 sh -c 'while :; do :; done'")
    used, most = (number(group / "cpu.stat", "usage_usec") - before) / 1e6, (time.monotonic() - began) / 2 + 0.1
    check(1 < used < most and number(group / "cpu.stat", "nr_throttled") > 0, f"half a processor: {used:.1f} of {most:.1f} s", done)
    check(ssh(r, "echo alive").stdout == "alive\n", "the machine lives on")


def restart(how):
    pid = main_pid()
    if how == "restart":
        must("systemctl", "restart", "hearthd")
    else:
        os.kill(pid, 9)
    return wait(lambda: main_pid() not in (0, pid) and answers(), 30)


def the_restarts(r):
    session = Session(r)
    check(session.moves(), "a session moves data", lambda: session.wrong)
    for n in range(RESTARTS):
        for how in ("restart", "kill -9"):
            if not check(restart(how) and session.moves(), f"{how} number {n + 1}, and the session moves on",
                         lambda: f"{session.wrong}\n{log_of_daemon()}"):
                return
    now = hearth("show", "soak")
    check((now["state"], now["machine"]) == ("active", r["machine"]), "the reservation is as it was", now)
    must("systemctl", "stop", "hearthd")
    check(session.moves(), "with hearthd stopped the session moves on", lambda: session.wrong)
    done = ssh(r, "echo new")
    check(done.stdout == "new\n", "and a new one begins", done)
    # systemd takes controllers from the root's children when no unit of its own needs them any more.
    must("systemctl", "daemon-reload")
    must("systemd-run", "--quiet", "--wait", "-p", "CPUWeight=50", "true")
    group = group_of(r)
    limits = [(group / name).read_text() if (group / name).exists() else None for name in ("memory.max", "pids.max", "cpu.max")]
    check(limits == [f"{192 * MIB}\n", "150\n", "50000 100000\n"], "its limits stand, whatever systemd does", limits)
    left = wait(lambda: not UNIT.exists() or not (UNIT / "cgroup.procs").read_text(), 10)
    check(left, "a stop leaves no process in the unit's group", lambda: sh("systemd-cgls", str(UNIT)).stdout)
    must("systemctl", "start", "hearthd")
    check(wait(filled, 120), "after a start the pool is full", log_of_daemon)
    other = hearth("reserve", "--hours", "1", "--name", "second")
    check(ssh(other, "echo hello").stdout == "hello\n", f"and serves: {other['path']}, {other['miss_reason']}", other)
    check(session.close(), f"{session.back} lines through all of it, and none lost", lambda: session.wrong)
    must("hearth", "cancel", "second")


def the_audit():
    done = sh("hearth", "--json", "audit")
    check(done.returncode == 0 and json.loads(done.stdout)["ok"], "hearth audit finds nothing", done)


def first_boot():
    the_host()
    the_installation()
    the_start()
    r = the_use()
    the_limits(r)
    the_restarts(r)
    the_audit()
    with open(KEPT, "w") as f:
        json.dump({"machine": r["machine"]}, f)
        f.flush()
        os.fsync(f.fileno())


def power_cut():
    time.sleep(1)  # the serial line
    pathlib.Path("/proc/sysrq-trigger").write_text("b")
    time.sleep(60)


def after_the_cut():
    kept = json.loads(KEPT.read_text())
    check(wait(lambda: sh("systemctl", "is-active", "hearthd").stdout == "active\n" and answers(), 60),
          "hearthd starts with the host", log_of_daemon)
    wait(lambda: hearth("show", "soak")["state"] == "ended", 20)
    r = hearth("show", "soak")
    check((r["state"], r["reason"]) == ("ended", "failed"), "the reservation of before has ended", r)
    check("host restarted" in must("hearth", "show", "soak") + must("hearth", "why", "soak"), "and says why", r)
    check(wait(filled, 180), "the pool is full again", log_of_daemon)
    ids = {m["id"] for m in hearth("machine", "list") if m["state"] == "ready"}
    check(kept["machine"] not in ids, "with other machines", ids)
    r = hearth("reserve", "--hours", "1", "--name", "after")
    check(ssh(r, "echo hello").stdout == "hello\n", "it serves", r)
    the_audit()


def footprint():
    """What a host has of hearth, besides files."""
    return {
        "groups": sorted(str(p) for p in CGROUP.glob("hearth*")),
        "mounts": [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if "hearth" in line.split()[1]],
        "interfaces": sorted(set(os.listdir("/sys/class/net")) - {"lo"} - {p.name for p in pathlib.Path("/sys/class/net").glob("en*")}),
        "firewall": sorted(line for line in sh("nft", "list", "tables").stdout.splitlines() if "hearth" in line),
        "forward": pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "processes": sh("pgrep", "-l", "hearth").stdout.splitlines(),
    }


def the_end(before):
    must("systemctl", "disable", "--now", "hearthd")
    done = sh(LAUNCHER, "--teardown", "--state", str(STATE), "--runtime", "/run/hearth")
    check(done.returncode == 0, "everything is taken down", done.stderr)
    # dead machines' network namespaces go in the background
    same = wait(lambda: footprint() == before, 20)
    check(same, "the host is as it was before", lambda: f"{footprint()}\n{before}")


def run_tests(path, only, seconds):
    """One file of the suite; prints each case as a line of its own."""
    report = pathlib.Path("/var/tmp/e2e.xml")
    report.unlink(missing_ok=True)
    environment = {**os.environ, "HEARTH_BUILD": str(TOP / "build-test"), "HEARTH_TEST_PATIENCE": "8"}
    command = ["timeout", "--kill-after=20", str(int(seconds)), "/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-v",
               "-rfEs", "--tb=short", "--color=no", f"--junitxml={report}",
               *(["-k", only] if only else []), str(path.relative_to(TOP))]
    with subprocess.Popen(command, cwd=TOP, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as done:
        for line in done.stdout:
            note(line)
    for case in xml.etree.ElementTree.parse(report).iter("testcase") if report.exists() else ():
        bad = case.find("failure") is not None or case.find("error") is not None
        skip = " # SKIP" if case.find("skipped") is not None else ""
        check(not bad, f"{path.stem}: {case.get('name')} ({float(case.get('time', 0)):.1f} s){skip}")
    if done.returncode not in (0, 1, NOTHING_SELECTED):
        check(False, f"{path.stem} ran to its end: {done.returncode}")


def end_to_end(only, minutes):
    files = sorted((TOP / "tests/e2e").glob("test_*.py"), key=lambda p: (p.stem not in FIRST, p.stem))
    for path in files:
        left = minutes * 60 - time.monotonic() - 60
        if left < 60:
            check(True, f"{path.stem}: no time left # SKIP")
        else:
            run_tests(path, only, left)


def second_boot(only, minutes):
    the_host()
    if KEPT.exists():
        after_the_cut()
        the_end(json.loads(KEPT.with_suffix(".footprint").read_text()))
    if only != "none":
        end_to_end(only, minutes)


def main():
    boot, only, minutes = options()
    try:
        if boot == 1:
            KEPT.with_suffix(".footprint").write_text(json.dumps(footprint()))
            first_boot()
        else:
            second_boot(only, minutes)
    except Exception:
        check(False, f"boot {boot} went to its end", lambda: traceback.format_exc() + log_of_daemon())
    print(f"# end of boot {boot}", flush=True)
    if boot == 1:
        power_cut()
    sh("systemctl", "poweroff", "--no-block")


if __name__ == "__main__":
    main()
