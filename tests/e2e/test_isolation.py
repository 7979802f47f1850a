# SPDX-License-Identifier: Apache-2.0
"""Root in a machine tries to get out, and must fail: the host's processes, files, devices, kernel and
control groups, another machine, and its own limits. What the network must not let through is in
test_network.py."""

import glob
import os
import subprocess
import tempfile
import time

import pytest

import launcher_client as lc
from launcher_client import Launcher, new_id

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes namespaces, cgroups, mounts")

# What each try must end in. EPERM and ENOSYS come from the filter, the rest from namespaces and masks.
REFUSED = {
    "mknod-block": "EPERM", "mknod-mem": "EPERM", "open-mem": "ENOENT", "open-kmsg": "ENOENT",
    "open-disk": "ENOENT", "open-loop": "ENOENT", "open-fuse": "ENOENT",
    "unshare-user": "EPERM", "unshare-mount": "EPERM", "unshare-net": "EPERM",
    "unshare-cgroup": "EPERM", "setns": "EPERM", "clone-user": "ENOSYS", "clone3": "ENOSYS",
    "mount-tmpfs": "EPERM", "mount-proc": "EPERM", "remount-proc-sys": "EPERM",
    "umount-mask": "EPERM", "fsopen": "EPERM", "open_tree": "EPERM", "pivot_root": "EPERM",
    "open_by_handle_at": "EPERM", "bpf": "EPERM", "perf_event_open": "EPERM", "keyctl": "EPERM",
    "add_key": "EPERM", "userfaultfd": "EPERM", "io_uring": "EPERM", "init_module": "EPERM",
    "finit_module": "EPERM", "kexec_load": "EPERM", "settimeofday": "EPERM",
    "clock_settime": "EPERM", "sethostname": "EPERM", "swapon": "EPERM", "reboot": "EPERM",
    "syslog": "EPERM", "socket-vsock": "ENOSYS", "socket-alg": "ENOSYS", "iopl": "EPERM",
    "call-32bit": "ENOSYS", "call-x32": "ENOSYS", "kill-host": "ESRCH", "ptrace-host": "ESRCH",
    "pidfd-host": "ESRCH", "init-exe-write": "ETXTBSY",     "uevent-helper": "ENOENT", "sys-net": "EROFS", "raise-rlimit": "EPERM", "nice": "EACCES",
    "oom_score_adj": "EACCES",
}
READ_ONLY = {"EROFS", "EACCES", "ENOENT"}
# Depends on the host: any of these is a refusal.
REFUSED_SOMEHOW = {
    "sysrq": READ_ONLY, "core_pattern": READ_ONLY, "modprobe": READ_ONLY, "swappiness": READ_ONLY,
    "ip_forward": READ_ONLY, "cgroup-mkdir": READ_ONLY, "cgroup-move": READ_ONLY,
    "init-exe-write": {"ETXTBSY", "EACCES", "EPERM"},
    "kcore": {"EACCES", "ENOENT", "ok"},  # ok: that was /dev/null, which covers it
}
MIB = 1 << 20


@pytest.fixture(scope="module")
def probe():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "probe")
        source = os.path.join(os.path.dirname(__file__), "escape_probe.c")
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-static", "-O1", "-o", path, source], check=True)
        yield path


@pytest.fixture(scope="module")
def victim():
    """A process of the host to reach for."""
    with subprocess.Popen(["sleep", "1000"]) as p:
        yield p.pid
        p.kill()


@pytest.fixture(scope="module")
def launcher():
    with Launcher() as l:
        yield l


def start(launcher, probe, slot, **limits):
    name = new_id()
    reply = launcher.create(name, slot, **limits)
    assert reply.error == lc.OK, reply.message
    launcher.wait_ready(name)
    with open(probe, "rb") as f:
        subprocess.run(launcher.keys.ssh_command(launcher, name) + ["cat >/home/dev/probe; chmod +x /home/dev/probe"],
                       stdin=f, check=True, timeout=30)
    return name


@pytest.fixture(scope="module")
def machine(launcher, probe):
    name = start(launcher, probe, 1, memory_bytes=128 * MIB, pids_max=40, cpu_milli=200)
    yield name
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def results(text):
    return dict(line.split() for line in text.splitlines())


def test_every_way_out_is_refused(launcher, machine, victim):
    out = launcher.ssh(machine, "sudo -n ./probe %d" % victim)
    seen = results(out.stdout)
    assert len(seen) >= 50, out.stderr
    wrong = {name: got for name, got in seen.items()
             if got not in REFUSED_SOMEHOW.get(name, {REFUSED.get(name)})}
    assert wrong == {}


def test_the_probe_itself_works(probe, victim):
    """The same tries, by root of the host in namespaces of its own, do get through: so a refusal above is
    the machine's doing."""
    out = subprocess.run(["unshare", "-m", "-u", "--propagation", "private", probe, str(victim)],
                         capture_output=True, text=True, timeout=30)
    seen = results(out.stdout)
    expected = ["mknod-mem", "unshare-user", "unshare-mount", "unshare-net", "clone-user", "mount-tmpfs",
                "fsopen", "bpf", "keyctl", "add_key", "sethostname", "kill-host", "core_pattern",
                "swappiness", "nice"]
    assert {name: seen[name] for name in expected} == {name: "ok" for name in expected}


def test_nothing_of_the_host_is_seen(launcher, machine):
    marker = "hearth-secret-" + machine[2:]
    with tempfile.NamedTemporaryFile(prefix=marker):
        out = launcher.ssh(machine, "sudo find / -xdev -name '%s*' 2>/dev/null; sudo ls /var/tmp"
                           % marker)
        assert out.stdout.strip() == ""
    ps = launcher.ssh(machine, "ps -eo pid,comm --no-headers").stdout
    assert len(ps.splitlines()) < 10 and "hearth-launcher" not in ps
    mounts = {line.split()[1]: line.split()[3].split(",")
              for line in launcher.ssh(machine, "cat /proc/mounts").stdout.splitlines()}
    for path in ("/sys", "/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"):
        assert "ro" in mounts[path], path
    # The kernel's lists of devices, symbols and keys are empty.
    out = launcher.ssh(machine, "sudo cat /proc/kallsyms /proc/keys /proc/timer_list; sudo dmesg", check=False)
    assert out.stdout == "" and "Operation not permitted" in out.stderr
    assert launcher.ssh(machine, "ls /sys/firmware /sys/kernel /sys/module").stdout.split() == [
        "/sys/firmware:", "/sys/kernel:", "/sys/module:"]


def test_another_machine_is_out_of_reach(launcher, machine, probe):
    other = start(launcher, probe, 2)
    try:
        launcher.ssh(other, "echo treasure >/home/dev/treasure; setsid sleep 999 >/dev/null 2>&1 &")
        out = launcher.ssh(machine, "sudo find / -xdev -name treasure; pgrep -x sleep; true")
        assert out.stdout == ""
        pid = launcher.list()[other].pid
        assert results(launcher.ssh(machine, "sudo ./probe %d" % pid).stdout)["kill-host"] == "ESRCH"
        # On disk, too: another's root is another user.
        root = os.stat(os.path.join(launcher.state, "machines", other, "u/home/dev/treasure"))
        assert root.st_uid == launcher.uid_base + 2 * 65536 + 1000
    finally:
        launcher.kill(other)


def test_memory_has_its_limit_and_the_machine_survives(launcher, machine):
    assert "ate it all" in launcher.ssh(machine, "./probe memory 40").stdout
    out = launcher.ssh(machine, "sudo ./probe memory 300", check=False)
    assert out.returncode != 0 and "ate it all" not in out.stdout
    # Files in memory count as well.
    launcher.ssh(machine, "dd if=/dev/zero of=/dev/shm/x bs=1M count=300 2>/dev/null", check=False)
    size = launcher.ssh(machine, "stat -c %s /dev/shm/x; rm -f /dev/shm/x", check=False).stdout.strip()
    assert int(size) == 32 * MIB
    launcher.ssh(machine, "true")


def test_processes_have_their_limit(launcher, machine):
    made = int(launcher.ssh(machine, "./probe forks 300").stdout)
    assert 10 < made < 40
    launcher.ssh(machine, "true")


def limited_periods(launcher, name):
    """The kernel's count of periods that the machine has run in under a limit, of whatever height. Without one it stays 0,
    however busy the host is."""
    counts = []
    for group in (launcher.cgroup, f"{launcher.cgroup}/{name}/**"):
        for path in glob.glob(f"/sys/fs/cgroup/**/{group}/cpu.stat", recursive=True):
            with open(path) as f:
                counts += [int(line.split()[1]) for line in f if line.startswith("nr_periods ")]
    assert len(counts) >= 2
    return sum(counts)


def test_the_processor_has_its_limit(launcher, machine):
    used = float(launcher.ssh(machine, "./probe burn 1.5").stdout)
    assert used < 1.5 * 0.2 * 1.5
    assert limited_periods(launcher, machine) > 0


def test_what_the_kernel_counts_by_user_is_not_taken_from_the_hosts_root(launcher, machine):
    """A user has 128 inotify instances, whatever user namespace they are in; the host's services need theirs."""
    take = ("import ctypes, sys, time\nn = 0\nwhile n < 1000 and ctypes.CDLL(None).inotify_init() >= 0: n += 1\n"
            "print(n, flush=True)\nif len(sys.argv) > 1: time.sleep(60)")
    command = launcher.keys.ssh_command(launcher, machine) + ["sudo python3 -c '%s' hold" % take]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as p:
        try:
            with open("/proc/sys/fs/inotify/max_user_instances") as f:
                assert int(p.stdout.readline()) == int(f.read())
            left = subprocess.run(["/usr/bin/python3", "-c", take], capture_output=True, text=True, check=True)
            assert int(left.stdout) > 0
        finally:
            p.kill()


STOP_ALL = """
import os, signal, socket
held = []
for i in range(300):
    s = socket.socket(); s.setblocking(False); s.connect_ex(("127.0.0.1", 22)); held = held[-5:] + [s]
    for j in range(60): os.kill(-1, signal.SIGSTOP)
"""


def test_stopping_what_pid_1_starts_does_not_stop_its_clock(launcher):
    """Root inside stops each sshd at birth: the machine ends at its deadline all the same."""
    name = new_id()
    assert launcher.create(name, 6, lease_s=8).error == lc.OK
    end = time.monotonic() + 8
    try:
        launcher.wait_ready(name)
        attack = launcher.keys.ssh_command(launcher, name) + ["cat >/tmp/stop; sudo setsid -f python3 /tmp/stop; sleep 99"]
        with subprocess.Popen(attack, stdin=subprocess.PIPE, text=True) as p:
            p.stdin.write(STOP_ALL)
            p.stdin.close()
            while time.monotonic() < end + 10 and launcher.list()[name].state == lc.ALIVE:
                time.sleep(0.2)
            p.kill()
        assert launcher.list()[name].state == lc.DEAD
        assert end - 1 < time.monotonic() < end + 5
    finally:
        launcher.kill(name)


def test_without_a_limit_the_processor_is_free(launcher, probe):
    name = start(launcher, probe, 3)
    try:
        assert float(launcher.ssh(name, "./probe burn 0.5").stdout) > 0
        assert limited_periods(launcher, name) == 0
        assert int(launcher.ssh(name, "./probe forks 100").stdout) == 100
    finally:
        launcher.kill(name)


def test_nesting_gives_namespaces_and_no_more(launcher, probe, victim):
    name = start(launcher, probe, 4, allow_nesting=1)
    try:
        seen = results(launcher.ssh(name, "sudo ./probe %d" % victim).stdout)
        assert seen["unshare-user"] == "ok"
        for still in ("mknod-block", "mount-tmpfs", "remount-proc-sys", "umount-mask", "setns", "bpf",
                      "keyctl", "init_module", "kill-host", "core_pattern", "call-32bit"):
            assert seen[still] != "ok", still
        # Root of a namespace made inside cannot lift a mask or reach a host's file.
        out = launcher.ssh(name, "unshare -Urm sh -c 'umount /proc/timer_list; mount -o remount,rw /proc/sys;"
                                 " mount -t proc x /mnt; cat /proc/timer_list'", check=False)
        assert out.stdout == ""
    finally:
        launcher.kill(name)


def test_what_people_need_still_works(launcher, probe):
    """The filter and the dropped capabilities do not break ordinary work."""
    name = start(launcher, probe, 5)
    try:
        work = ["sudo -n id -u", "su --version", "sudo su dev -c id", "ping -c1 -W2 127.0.0.1",
                "sudo chown dev /etc/hostname", "sudo mv /etc/apt /etc/apt2", "sudo apt-get --version",
                "sudo useradd someone", "sudo dpkg --configure -a", "echo hi | sudo tee /etc/motd",
                "python3 -c 'import threading; t=threading.Thread(); t.start(); t.join()' || ! command -v python3",
                "sudo chroot / true", "mkfifo /tmp/f", "sudo mknod /tmp/p p", "flock /tmp/l true",
                "sudo sysctl -n kernel.ostype", "setsid true", "nice true", "timeout 5 true"]
        for command in work:
            launcher.ssh(name, command)
    finally:
        launcher.kill(name)
