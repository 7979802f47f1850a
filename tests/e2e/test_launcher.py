# SPDX-License-Identifier: Apache-2.0
"""The launcher makes machines one can log in to, says the truth about them after any crash, and
removes every trace of them. Real launcher, real hearth-init, real image, real ssh."""

import concurrent.futures
import glob
import os
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

import launcher_client as lc
from launcher_client import Launcher, new_id
from patience import PATIENCE

SHARE = 0.6  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes namespaces, cgroups, mounts")

# Where the creating process can be made to die, in order, and what the machine is then.
CRASHES = [
    ("record", lc.DEAD), ("slot", lc.DEAD), ("cgroups", lc.DEAD), ("process", lc.DEAD),
    ("files", lc.DEAD), ("root", lc.DEAD), ("network", lc.DEAD), ("attached", lc.DEAD),
    ("go", lc.ALIVE),
]


@pytest.fixture(scope="module")
def launcher():
    with Launcher() as l:
        yield l


@pytest.fixture
def machine(launcher):
    name = new_id()
    reply = launcher.create(name, 1)
    assert reply.error == lc.OK, reply.message
    yield name
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def wait_state(launcher, name, state, timeout=5):
    end = time.monotonic() + timeout * PATIENCE
    while launcher.list()[name].state != state:
        assert time.monotonic() < end, "still not in state %d" % state
        time.sleep(0.01)


def test_a_machine_is_what_was_asked_for(launcher, machine):
    (reply,) = launcher.list().values()
    assert (reply.state, reply.slot, reply.address) == (lc.ALIVE, 1, b"10.213.0.3")
    assert (reply.image, reply.image_version) == (b"debian", b"v1")
    assert abs(reply.created_at_ms / 1000 - time.time()) < 60
    out = launcher.ssh(machine, "hostname; id -un; sudo id -u; cat /etc/hearth/principals; ip -o -4 a show eth0")
    assert out.stdout.split("\n")[:4] == ["box", "dev", "0", machine]
    assert "10.213.0.3/31" in out.stdout
    assert "unable to resolve" not in out.stderr


def test_pid_1_has_nothing_of_the_launcher(launcher, machine):
    pid = launcher.list()[machine].pid
    fds = {int(fd): os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
    assert {fds[0], fds[1], fds[2]} == {"/dev/null"}
    assert launcher.root not in str(fds.values())
    assert len(fds) <= 10
    with open("/proc/%d/status" % pid) as f:
        status = dict(line.split(":\t", 1) for line in f.read().splitlines())
    assert status["SigBlk"].strip("0") == "" or int(status["SigBlk"], 16) & ~0x14000 == 0
    assert int(status["Uid"].split()[0]) == launcher.uid_base + 65536
    assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == 0x800424fb
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "0"
    with open("/proc/%d/environ" % pid, "rb") as f:
        assert f.read().split(b"\0")[:-1] == [b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    assert os.getsid(pid) == pid
    mounts = launcher.ssh(machine, "cat /proc/mounts /proc/self/mountinfo").stdout
    assert launcher.root not in mounts and "/var/tmp" not in mounts


def test_the_sockets_belong_to_whom_they_should(launcher, machine):
    at = os.path.join(launcher.runtime, "machines", machine)
    ssh, control = os.stat(at + "/ssh.sock"), os.stat(at + "/control.sock")
    assert stat.S_IMODE(ssh.st_mode) == 0o666
    assert (stat.S_IMODE(control.st_mode), control.st_uid) == (0o600, 65534)
    assert stat.S_IMODE(os.stat(at).st_mode) == 0o711
    assert stat.S_IMODE(os.stat(os.path.join(launcher.state, "machines")).st_mode) == 0o711
    key = os.path.join(launcher.state, "machines", machine, "u/etc/hearth/host_key")
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600


def test_no_user_of_the_host_gets_into_an_image(launcher):
    """Its files of uid 1000 are some user's of the host, who could put a program where every machine's user
    runs it, and its set-user-id programs are the host's root's. The directory was open before the launcher came."""
    home = os.path.join(launcher.state, "images/debian/v1/home/dev")
    assert os.stat(home).st_uid == 1000
    for path in (home, home + "/.bashrc", home + "/../../usr/bin/sudo"):
        tried = subprocess.run(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "stat", path],
                               capture_output=True, text=True)
        assert "Permission denied" in tried.stderr, path


def test_create_again_is_the_same_machine(launcher, machine):
    first = launcher.list()[machine]
    again = launcher.create(machine, 1)
    assert (again.error, again.state, again.pid) == (lc.OK, lc.ALIVE, first.pid)
    assert again.created_at_ms == first.created_at_ms and again.address == first.address


def test_a_slot_has_one_machine(launcher, machine):
    second = new_id()
    reply = launcher.create(second, 1)
    assert reply.error == lc.CONFLICT and machine.encode() in reply.message
    assert second not in launcher.list()
    launcher.ssh(machine, "true")  # and the first has kept all it had
    assert len(launcher.traces()["links"]) == 1


def test_kill_of_nothing_is_fine(launcher):
    reply = launcher.kill(new_id())
    assert (reply.error, reply.state) == (lc.OK, lc.ABSENT)


def test_kill_ends_everything_in_it(launcher):
    name = new_id()
    assert launcher.create(name, 3).error == lc.OK
    assert [k for k, v in launcher.traces().items() if not v] == ["trash", "mounts", "loops"]
    launcher.wait_ready(name)
    deep = "d=/home/dev; for i in $(seq 300); do d=$d/x; mkdir $d || exit 1; done"
    launcher.ssh(name, deep + "; sudo touch '/home/dev/a b'; setsid sleep 1000 >/dev/null 2>&1 & sleep 0.1")
    assert len(launcher.processes()) >= 2
    assert launcher.kill(name).error == lc.OK
    assert launcher.processes() == []
    launcher.wait_clean()


def test_many_at_once_and_one_many_times(launcher):
    same, others = new_id(), [new_id() for _ in range(8)]
    jobs = [(same, 9)] * 4 + [(name, 10 + i) for i, name in enumerate(others)]
    requests = [(name, launcher.request(name, slot)) for name, slot in jobs]
    replies = []

    def create(fields):
        replies.append(launcher.ask(lc.CREATE, **fields)[-1])

    threads = [threading.Thread(target=create, args=(fields,)) for _, fields in requests]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r.message for r in replies if r.error] == []
    assert len({r.pid for r in replies}) == 9
    assert len({r.pid for r in replies if r.id.decode() == same}) == 1
    for name in [same] + others:
        assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def test_a_dead_machine_is_listed_as_dead_and_made_again_on_request(launcher):
    name = new_id()
    pid = launcher.create(name, 4).pid
    os.kill(pid, signal.SIGKILL)
    wait_state(launcher, name, lc.DEAD)
    again = launcher.create(name, 4)
    assert (again.error, again.state) == (lc.OK, lc.ALIVE) and again.pid != pid
    launcher.wait_ready(name)
    os.kill(again.pid, signal.SIGKILL)
    wait_state(launcher, name, lc.DEAD)
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def test_a_reused_pid_is_not_the_machine(launcher):
    """The record names a pid that now is somebody else: dead, and the somebody is left alone."""
    name = new_id()
    pid = launcher.create(name, 5).pid
    os.kill(pid, signal.SIGKILL)
    wait_state(launcher, name, lc.DEAD)
    with subprocess.Popen(["sleep", "100"]) as innocent:
        try:
            path = os.path.join(launcher.state, "machines", name, "state")
            with open(path) as f:
                record = f.read()
            with open(path, "w") as f:
                f.write(record.replace("pid %d\n" % pid, "pid %d\n" % innocent.pid))
            assert launcher.list()[name].state == lc.DEAD
            assert launcher.kill(name).error == lc.OK
            assert innocent.poll() is None
        finally:
            innocent.kill()
    launcher.wait_clean()


def test_the_same_pid_of_an_earlier_boot_is_not_the_machine(launcher, machine):
    path = os.path.join(launcher.state, "machines", machine, "state")
    with open(path) as f:
        record = f.read()
    with open("/proc/sys/kernel/random/boot_id") as f:
        boot = f.read().strip()
    with open(path, "w") as f:
        f.write(record.replace(boot, "0" * len(boot)))
    assert launcher.list()[machine].state == lc.DEAD
    with open(path, "w") as f:
        f.write(record)
    assert launcher.list()[machine].state == lc.ALIVE


@pytest.mark.parametrize("damage", ["", "slot", "slot x\n", "slot 99999999\n", "x" * 600, "\0\0\0"])
def test_a_damaged_record_is_leftovers(launcher, damage):
    name = new_id()
    os.mkdir(os.path.join(launcher.state, "machines", name), 0o700)
    with open(os.path.join(launcher.state, "machines", name, "state"), "w") as f:
        f.write(damage)
    assert launcher.list()[name].state == lc.DEAD
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


WRONG = [
    ("magic", dict(magic=1)), ("version", dict(version=lc.VERSION + 1)), ("op", dict(op=0)), ("op", dict(op=99)),
    ("id", dict(id="")), ("id", dict(id="../../../etc")), ("id", dict(id="m-ABCDEFGHIJKL")),
    ("id", dict(id="r-0123456789ab")), ("id", dict(id="m-0123456789abcd")),
    ("image", dict(image="")), ("image", dict(image="../debian")), ("image", dict(image="a/b")),
    ("image", dict(image="x" * 64)), ("image_version", dict(image_version="..")),
    ("slot", dict(slot=0)), ("slot", dict(slot=32001)), ("slot", dict(slot=0xFFFFFFFF)),
    ("pids_max", dict(pids_max=1)), ("memory_bytes", dict(memory_bytes=4096)),
    ("memory_bytes", dict(memory_bytes=2**63)), ("cpu_milli", dict(cpu_milli=1)),
    ("allow_nesting", dict(allow_nesting=2)), ("lease_s", dict(lease_s=0)),
    ("lease_s", dict(lease_s=2**64 - 1)), ("hostname", dict(hostname="a\nb")),
    ("hostname", dict(hostname="-")), ("host_key", dict(host_key="")),
    ("host_key", dict(host_key="k" * 1024)), ("host_cert", dict(host_cert="a\nb")),
    ("user_ca", dict(user_ca="\x01")),
]


@pytest.mark.parametrize("field,change", WRONG)
def test_a_wrong_field_is_refused_by_name(launcher, field, change):
    fields = dict(launcher.request(new_id(), 6), magic=lc.MAGIC, version=lc.VERSION, op=lc.CREATE)
    fields.update(change)
    q = lc.Request()
    for name, value in fields.items():
        setattr(q, name, value.encode() if isinstance(value, str) else value)
    (reply,), _ = launcher.ask_raw(bytes(q))
    assert (reply.error, reply.message) == (lc.INVALID, b"request: wrong " + field.encode())
    launcher.wait_clean()


@pytest.mark.parametrize("size", [1, 100, -1, 1])
def test_a_request_of_the_wrong_size_is_refused(launcher, size):
    whole = bytes(lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.LIST))
    packet = whole[:size] if size != 1 else whole + b"x"
    (reply,), _ = launcher.ask_raw(packet)
    assert (reply.error, reply.message) == (lc.INVALID, b"request: wrong size")


def test_what_is_not_there_is_not_found(launcher):
    assert launcher.create(new_id(), 7, image="nosuch").error == lc.NOT_FOUND
    assert launcher.create(new_id(), 7, image_version="nosuch").error == lc.NOT_FOUND
    launcher.wait_clean()


def test_only_root_and_the_daemon_may_ask(launcher):
    def ask_as(uid):
        script = "import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(%r); " \
                 "s.send(sys.stdin.buffer.read()); sys.stdout.buffer.write(s.recv(9999))" % launcher.path
        packet = bytes(lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.LIST))
        return subprocess.run(["/usr/bin/python3", "-c", script], input=packet, user=uid, group=uid,
                              extra_groups=[], capture_output=True)

    assert len(ask_as(65534).stdout) > 0
    refused = ask_as(65533)
    assert refused.stdout == b""
    with open(launcher.log) as f:
        assert "refused a connection" in f.read()


def test_the_configuration_comes_as_a_descriptor(launcher):
    q = lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.OPEN_CONFIG)
    (reply,), fds = launcher.ask_raw(bytes(q))
    assert reply.error == lc.OK, reply.message
    (fd,) = fds
    with os.fdopen(fd, "rb", buffering=0) as f:
        assert f.read() == b"the configuration\n"
        with pytest.raises(OSError):
            f.write(b"x")


def test_ended_by_several_at_once_and_made_again_while_it_is_deleted(launcher):
    """A thousand directories take a while to delete; nobody waits, and what is of the same name may end meanwhile."""
    name = new_id()
    for _ in range(4):
        reply = launcher.create(name, 1)
        assert reply.error == lc.OK, reply.message
        launcher.wait_ready(name)
        launcher.ssh(name, "cd /tmp && mkdir -p $(seq -f %g/a/b/c 1000)")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for reply in pool.map(launcher.kill, [name] * 4):
                assert reply.error == lc.OK, reply.message
    launcher.wait_clean(60)


def test_connections_beyond_the_bound_wait(launcher):
    idle = [launcher.connect() for _ in range(64)]
    try:
        answered = threading.Event()

        def ask():
            launcher.ask(lc.LIST)
            answered.set()

        t = threading.Thread(target=ask)
        t.start()
        assert not answered.wait(0.5)
        idle.pop().close()
        assert answered.wait(5)
        t.join()
    finally:
        for s in idle:
            s.close()


def test_the_launcher_may_die_and_come_back(launcher, machine):
    """An ssh session runs through it; a new one works with no launcher at all."""
    launcher.wait_ready(machine)
    ticks = subprocess.Popen(
        launcher.keys.ssh_command(launcher, machine) + ["for i in $(seq 10); do echo $i; sleep 0.1; done"],
        stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert ticks.stdout.readline() == "1\n"
    pid = launcher.list()[machine].pid
    assert launcher.stop(signal.SIGKILL) == -signal.SIGKILL
    launcher.ssh(machine, "true")
    launcher.start()
    after = launcher.list()[machine]
    assert (after.state, after.pid) == (lc.ALIVE, pid)
    assert ticks.communicate(timeout=10)[0].split() == [str(i) for i in range(2, 11)]
    assert ticks.returncode == 0


def test_the_end_of_the_lifeline_ends_it_after_what_is_running(launcher):
    with open(launcher.builder, "w") as f:
        f.write("#!/bin/sh\necho '10 begun'\nread x < %s/go\nexit 1\n" % launcher.root)
    os.chmod(launcher.builder, 0o755)
    os.mkfifo(launcher.root + "/go")
    with launcher.connect() as s:
        s.send(bytes(lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.BUILD_IMAGE, image=b"slow")))
        s.recv(9999)
        process = launcher.process
        os.close(launcher.lifeline)
        time.sleep(0.3)
        assert process.poll() is None
        with pytest.raises(OSError):  # accepted by nobody: no answer
            late = launcher.connect()
            late.settimeout(0.3)
            late.send(bytes(lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.LIST)))
            late.recv(9999)
        with open(launcher.root + "/go", "w") as f:
            f.write("\n")
        assert lc.Reply.from_buffer_copy(s.recv(9999)).error == lc.UNAVAILABLE
        assert process.wait(5) == 0
    launcher.start()


@pytest.mark.parametrize("point,state", CRASHES)
def test_a_crash_while_creating_leaves_what_kill_removes(point, state):
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": point}) as l:
        name = new_id()
        with pytest.raises(ConnectionError):
            l.create(name, 8)
        l.stop(signal.SIGTERM)
        l.start()
        wait_state(l, name, state)
        if state == lc.ALIVE:
            l.wait_ready(name)
            assert l.create(name, 8).error == lc.OK
        assert l.kill(name).error == lc.OK
        l.wait_clean()
        reply = l.create(name, 8)
        assert reply.error == lc.OK, reply.message
        l.wait_ready(name)
        assert l.kill(name).error == lc.OK
        l.wait_clean()


def test_a_machine_that_is_about_to_notice_its_end_is_not_listed_as_alive():
    env = {"HEARTH_TESTPOINT": "files,inside-slow"}
    with Launcher(program="hearth-launcher-test", env=env) as l:
        name = new_id()
        with pytest.raises(ConnectionError):
            l.create(name, 8)
        assert l.list()[name].state == lc.DEAD
        assert l.kill(name).error == lc.OK
        l.wait_clean()


@pytest.mark.parametrize("point", ["inside-start", "inside-exec", "old-overlay,inside-exec"])
def test_a_first_process_that_dies_is_an_error_and_leaves_nothing(point):
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": point}) as l:
        reply = l.create(new_id(), 8)
        assert reply.error != lc.OK and b"machine's" in reply.message
        l.wait_clean()


def test_crashes_at_any_moment(launcher):
    """SIGKILL of whatever serves the request, 30 times, spread over the time a creation takes."""
    for i in range(30):
        name = new_id()
        packet = lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.CREATE)
        for key, value in launcher.request(name, 20 + i).items():
            setattr(packet, key, value.encode() if isinstance(value, str) else value)
        with launcher.connect() as s:
            s.send(bytes(packet))
            time.sleep(i * 0.001)
            for pid in children(launcher.process.pid):
                os.kill(pid, signal.SIGKILL)
            try:
                s.recv(9999)
            except ConnectionResetError:
                pass  # it died before it read the request
        seen = launcher.list().get(name)
        if seen and seen.state == lc.ALIVE:
            launcher.wait_ready(name)
        assert launcher.kill(name).error == lc.OK
    # The SIGKILLs also hit who was still deleting; a start sweeps up after those.
    launcher.stop()
    launcher.start()
    launcher.wait_clean()


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def test_an_empty_control_group_that_somebody_removed_is_made_again(launcher):
    groups = glob.glob("/sys/fs/cgroup/**/" + launcher.cgroup, recursive=True)
    assert groups
    for path in groups:
        os.rmdir(path)
    name = new_id()
    reply = launcher.create(name, 1, memory_bytes=64 << 20)
    assert reply.error == lc.OK, reply.message
    assert launcher.traces()["cgroups"]
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def test_before_linux_6_8_the_overlay_takes_another_road():
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": "old-overlay"}) as l:
        name = new_id()
        reply = l.create(name, 1)
        assert reply.error == lc.OK, reply.message
        l.wait_ready(name)
        out = l.ssh(name, "cat /proc/mounts; sudo touch /etc/x; ls -l /etc/x /bin/sudo")
        assert "lowerdir=l," in out.stdout and l.root not in out.stdout
        assert l.kill(name).error == lc.OK
        l.wait_clean()


def builder(launcher, body):
    with open(launcher.builder, "w") as f:
        f.write("#!/bin/sh\nset -eu\n" + body)
    os.chmod(launcher.builder, 0o755)


def test_an_image_is_built_published_and_removed(launcher):
    builder(launcher, "echo '5 fetching'\nmkdir -p $1/etc\necho noise\necho '80 set up'\necho hi >$1/etc/$2\n")
    replies = launcher.ask(lc.BUILD_IMAGE, image="mine")
    assert [(r.percent, r.message) for r in replies[:-1]] == [(5, b"fetching"), (80, b"set up")]
    first = replies[-1].image_version.decode()
    at = os.path.join(launcher.state, "images/mine")
    assert replies[-1].error == lc.OK and os.readlink(at + "/current") == first
    assert os.path.exists(at + "/current/etc/mine")
    time.sleep(1.1)  # a version is a time stamp of seconds
    second = launcher.ask(lc.BUILD_IMAGE, image="mine")[-1].image_version.decode()
    assert second != first and os.readlink(at + "/current") == second
    refused = launcher.ask(lc.REMOVE_IMAGE, image="mine", image_version=second)[-1]
    assert refused.error == lc.CONFLICT and b"current" in refused.message
    assert launcher.ask(lc.REMOVE_IMAGE, image="mine", image_version=first)[-1].error == lc.OK
    assert launcher.ask(lc.REMOVE_IMAGE, image="mine", image_version=first)[-1].error == lc.OK
    assert sorted(os.listdir(at)) == [second, "current"]
    found = launcher.ask(lc.FIND_IMAGE, image="mine")[-1]
    assert (found.error, found.image_version.decode()) == (lc.OK, second)
    assert launcher.ask(lc.FIND_IMAGE, image="nosuch")[-1].error == lc.NOT_FOUND


def test_a_failed_build_says_why_and_changes_nothing(launcher):
    builder(launcher, "mkdir -p $1/etc\necho 'no such mirror' >&2\nexit 3\n")
    reply = launcher.ask(lc.BUILD_IMAGE, image="broken")[-1]
    assert (reply.error, reply.message) == (lc.UNAVAILABLE, b"build image 'broken': no such mirror")
    assert os.listdir(os.path.join(launcher.state, "images/broken")) == []


def test_an_image_in_use_stays(launcher):
    launcher.add_image("debian", "v0", current=False)
    name = new_id()
    reply = launcher.create(name, 1, image_version="v0")
    assert reply.error == lc.OK, reply.message
    refused = launcher.ask(lc.REMOVE_IMAGE, image="debian", image_version="v0")[-1]
    assert refused.error == lc.CONFLICT and name.encode() in refused.message
    launcher.kill(name)
    assert launcher.ask(lc.REMOVE_IMAGE, image="debian", image_version="v0")[-1].error == lc.OK
    launcher.wait_clean()


def test_without_a_network_only_the_configuration():
    with Launcher(network=None, image=False) as l:
        q = lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=lc.OPEN_CONFIG)
        (reply,), fds = l.ask_raw(bytes(q))
        assert reply.error == lc.OK and len(fds) == 1
        os.close(fds[0])
        reply = l.ask(lc.LIST)[-1]
        assert reply.error == lc.UNAVAILABLE and b"local" in reply.message


def test_a_network_that_is_taken_is_one_line():
    with pytest.raises(RuntimeError) as e:
        Launcher(network="127.0.0.0/8", image=False)
    assert len(str(e.value).split("did not start: ")[1].splitlines()) == 1


def test_teardown_removes_every_trace():
    with Launcher() as l:
        names = [new_id() for _ in range(3)]
        for i, name in enumerate(names):
            assert l.create(name, i + 1).error == lc.OK
        os.kill(l.list()[names[0]].pid, signal.SIGKILL)
        l.stop(signal.SIGKILL)
        for _ in range(2):  # and again, when there is nothing left
            out = l.teardown()
            assert (out.returncode, out.stderr) == (0, "")
        l.wait_clean()
        rules = subprocess.run(["nft", "list", "ruleset"], preexec_fn=l.enter_netns, capture_output=True, text=True)
        assert rules.stdout == ""
        l.start()


def test_an_unprivileged_state_directory_is_refused():
    l = Launcher(image=False)
    try:
        l.stop()
        os.chmod(l.state, 0o777)
        with pytest.raises(RuntimeError, match="root's alone"):
            l.start()
    finally:
        os.chmod(l.state, 0o755)
        l.close()
