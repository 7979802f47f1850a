# SPDX-License-Identifier: Apache-2.0
"""Users' disks by the launcher: what was written is there in the next machine, one machine has it at a time, a snapshot is of
one moment, a damaged disk is read-only, and nothing of a disk is left in the kernel whoever dies. Real launcher, real
machines, real loop devices."""

import os
import re
import subprocess
import threading
import time

import pytest

import launcher_client as lc
from launcher_client import Launcher, new_id
from patience import PATIENCE

SHARE = 0.5  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes machines and mounts disks")

slots = iter(range(1, 10000))


@pytest.fixture(scope="module")
def launcher():
    with Launcher() as l:
        yield l


def make_machine(launcher):
    name = new_id()
    reply = launcher.create(name, next(slots))
    assert reply.error == lc.OK, reply.message
    launcher.wait_ready(name)
    return name


@pytest.fixture
def machines(launcher):
    """machines() makes a machine that is gone afterwards, and with it whatever it had of disks."""
    made = []

    def make():
        made.append(make_machine(launcher))
        return made[-1]

    yield make
    for name in made:
        assert launcher.kill(name).error == lc.OK
    for name in [n for n in launcher.list() if n[0] in "ds"]:
        wait_free(launcher, name)
        assert launcher.remove_disk(name).error == lc.OK
    launcher.wait_clean()


@pytest.fixture
def disk(launcher, machines):
    """A disk of 64 MiB."""
    name = new_id("d")
    ok(launcher.make_disk(name, 64 << 20))
    return name


def ok(reply):
    assert reply.error == lc.OK, reply.message
    return reply


def wait_free(launcher, disk, timeout=10):
    end = time.monotonic() + timeout * PATIENCE
    while launcher.list()[disk].machine:
        assert time.monotonic() < end, "still attached"
        time.sleep(0.01)


def wait_state(launcher, name, state, timeout=10):
    end = time.monotonic() + timeout * PATIENCE
    while launcher.list()[name].state != state:
        assert time.monotonic() < end, "not in state %d" % state
        time.sleep(0.01)


def write(launcher, machine, text, name="data"):
    launcher.ssh(machine, f"echo '{text}' > /disk/{name}/file && sync /disk/{name}/file")


def read(launcher, machine, name="data"):
    return launcher.ssh(machine, f"cat /disk/{name}/file").stdout.strip()


def test_data_moves_from_machine_to_machine(launcher, machines, disk):
    """Whatever ids the machines have: its owner is dev in both."""
    one, two = machines(), machines()
    assert ok(launcher.attach(disk, one)).message == b""
    assert launcher.list()[disk].machine == one.encode()
    write(launcher, one, "from one")
    launcher.ssh(one, "sudo touch /disk/data/roots && mkdir /disk/data/mine")
    ok(launcher.detach(disk, one))
    assert launcher.list()[disk].machine == b"" and launcher.loops() == []
    assert launcher.ssh(one, "ls /disk").stdout == ""
    ok(launcher.attach(disk, two, "other"))
    assert read(launcher, two, "other") == "from one"
    owners = launcher.ssh(two, "stat -c %U:%G /disk/other /disk/other/file /disk/other/roots /disk/other/mine").stdout
    assert owners.split() == ["dev:dev", "dev:dev", "root:root", "dev:dev"]
    options = launcher.ssh(two, "grep /disk/other /proc/mounts").stdout
    assert "nodev" in options and "nosuid" in options and launcher.root not in options
    ok(launcher.detach(disk, two))


def test_a_disk_has_the_size_it_was_asked_for_and_takes_no_room(launcher, machines):
    machine, big = machines(), new_id("d")
    start = time.monotonic()
    ok(launcher.make_disk(big, 20 << 30))
    assert time.monotonic() - start < 5 * PATIENCE
    st = os.stat(launcher.disk_file(big))
    assert st.st_size == 20 << 30 and st.st_blocks * 512 < 32 << 20
    assert st.st_mode & 0o777 == 0o600 and os.stat(launcher.state + "/disks").st_mode & 0o777 == 0o700
    ok(launcher.attach(big, machine))
    size = int(launcher.ssh(machine, "df -B1 --output=size /disk/data | tail -1").stdout)
    assert 0.9 * (20 << 30) < size <= 20 << 30


def test_one_machine_at_a_time(launcher, machines, disk):
    one, two = machines(), machines()
    ok(launcher.attach(disk, one))
    refused = launcher.attach(disk, two)
    assert refused.error == lc.CONFLICT and one.encode() in refused.message
    assert launcher.attach(disk, one, "elsewhere").error == lc.CONFLICT
    ok(launcher.attach(disk, one))  # again is no news
    assert launcher.ssh(one, "grep -c ' /disk/' /proc/mounts").stdout.strip() == "1"
    ok(launcher.detach(disk, two))  # it was not there, so nothing happens
    assert launcher.list()[disk].machine == one.encode()
    assert launcher.remove_disk(disk).error == lc.CONFLICT
    ok(launcher.detach(disk, one))
    ok(launcher.detach(disk, one))
    ok(launcher.attach(disk, two))


def test_two_disks_in_one_machine(launcher, machines, disk):
    machine, second = machines(), new_id("d")
    ok(launcher.make_disk(second))
    ok(launcher.attach(disk, machine, "a"))
    ok(launcher.attach(second, machine, "b"))
    write(launcher, machine, "in a", "a")
    write(launcher, machine, "in b", "b")
    assert launcher.attach(new_id("d"), machine, "c").error == lc.NOT_FOUND
    ok(launcher.detach(disk, machine))
    assert read(launcher, machine, "b") == "in b"


def test_who_uses_it_is_ended(launcher, machines, disk):
    """A shell that stands in it, a program that has a file open and hears no signal, a mapping without a file: all are
    gone, and the machine is not."""
    machine = machines()
    ok(launcher.attach(disk, machine))
    users = [
        "cd /disk/data && exec sleep 1000",
        "exec 5>/disk/data/open; trap '' HUP TERM; while :; do echo x >&5; sleep 0.01; done",
        "cd /; cp /bin/sleep /disk/data/sleep; exec /disk/data/sleep 1000",
    ]
    for command in users:
        launcher.ssh(machine, f"setsid bash -c \"{command}\" >/dev/null 2>&1 </dev/null & sleep 0.3")
    write(launcher, machine, "kept")
    before = len(launcher.processes())
    assert before >= 4
    ok(launcher.detach(disk, machine))
    assert launcher.loops() == []
    assert len(launcher.processes()) <= before - 3
    ok(launcher.attach(disk, machine))
    assert read(launcher, machine) == "kept"
    assert int(launcher.ssh(machine, "wc -c < /disk/data/open").stdout) > 0


def test_a_machine_that_dies_has_let_go_of_its_disk(launcher, machines, disk):
    one, two = machines(), machines()
    ok(launcher.attach(disk, one))
    write(launcher, one, "synced")
    launcher.ssh(one, "dd if=/dev/zero of=/disk/data/much bs=1M count=20 2>/dev/null")
    ok(launcher.kill(one))
    ok(launcher.detach(disk, one))
    assert launcher.loops() == []
    ok(launcher.attach(disk, two))
    assert read(launcher, two) == "synced"
    assert launcher.ssh(two, "stat -c %s /disk/data/much").stdout.strip() == str(20 << 20)


def test_it_is_free_even_where_nobody_detached_it(launcher, machines, disk):
    one, two = machines(), machines()
    ok(launcher.attach(disk, one))
    write(launcher, one, "synced")
    os.kill(launcher.list()[one].pid, 9)
    wait_free(launcher, disk)
    ok(launcher.attach(disk, two))
    assert read(launcher, two) == "synced"


def test_the_launcher_may_die(launcher, machines, disk):
    machine = machines()
    ok(launcher.attach(disk, machine))
    launcher.process.kill()
    launcher.process.wait()
    write(launcher, machine, "meanwhile")
    launcher.start()
    assert launcher.list()[disk].machine == machine.encode()
    ok(launcher.attach(disk, machine))
    assert read(launcher, machine) == "meanwhile"
    ok(launcher.detach(disk, machine))


def test_root_inside_cannot_lead_it_astray(launcher, machines, disk):
    machine = machines()
    launcher.ssh(machine, "sudo mkdir -p /disk && sudo ln -s /etc /disk/data")
    assert launcher.attach(disk, machine).error != lc.OK
    launcher.ssh(machine, "sudo rm /disk/data; sudo rmdir /disk; sudo ln -s /etc /disk")
    assert launcher.attach(disk, machine).error != lc.OK
    launcher.ssh(machine, "sudo rm /disk; sudo touch /disk")
    assert launcher.attach(disk, machine).error != lc.OK
    assert launcher.loops() == [] and launcher.list()[disk].machine == b""
    assert launcher.ssh(machine, "grep -c loop /proc/mounts", check=False).stdout.strip() == "0"
    launcher.ssh(machine, "sudo rm /disk")
    ok(launcher.attach(disk, machine))
    refused = "sudo umount /disk/data; sudo mount -o remount,dev /disk/data; sudo mknod /disk/data/x b 7 0; sudo debugfs /dev/loop0"
    launcher.ssh(machine, refused, check=False)
    assert launcher.list()[disk].machine == machine.encode()
    assert "nodev" in launcher.ssh(machine, "grep /disk/data /proc/mounts").stdout


@pytest.mark.parametrize("field, value", [
    ("disk_name", "../x"), ("disk_name", ".."), ("disk_name", ""), ("disk_name", "a/b"), ("disk_name", "x" * 64),
    ("disk_name", "a\nb"), ("disk", "d-../../../../"), ("disk", "m-0123456789ab"), ("disk", "s-0123456789ab"), ("id", "d-0123456789ab"),
])
def test_what_it_is_asked_is_checked(launcher, field, value):
    fields = {"id": new_id(), "disk": new_id("d"), "disk_name": "data", field: value}
    reply = launcher.ask(lc.DISK_ATTACH, **fields)[-1]
    assert (reply.error, reply.message.decode()) == (lc.INVALID, "request: wrong " + field)


def test_a_full_disk_says_so_and_is_none_the_worse(launcher, machines, disk):
    machine = machines()
    ok(launcher.attach(disk, machine))
    write(launcher, machine, "first")
    out = launcher.ssh(machine, "dd if=/dev/zero of=/disk/data/fill bs=1M", check=False)
    assert "No space left" in out.stderr
    ok(launcher.detach(disk, machine))
    assert ok(launcher.attach(disk, machine)).message == b""
    assert read(launcher, machine) == "first"
    launcher.ssh(machine, "rm /disk/data/fill; sync -f /disk/data")
    write(launcher, machine, "second")


# ---- damage ----

def damage(path, at, length):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(os.urandom(length))


def block_of(path, what):
    out = subprocess.run(["dumpe2fs", path], check=True, capture_output=True, text=True).stdout
    return int(re.search(what + r" at (\d+)", out).group(1))


DAMAGES = [
    ("a bitmap", lambda f: damage(f, 4096 * block_of(f, "Block bitmap"), 4096)),
    ("the inode of a file", lambda f: damage(f, 4096 * block_of(f, "Inode table") + 11 * 256, 256)),
    ("the superblock", lambda f: damage(f, 0, 4096)),
    ("the group descriptors", lambda f: damage(f, 4096, 4096)),
    ("its end", lambda f: os.truncate(f, 40 << 20)),
    ("almost all", lambda f: os.truncate(f, 3 << 20)),
]


@pytest.mark.parametrize("what, how", DAMAGES, ids=[d[0] for d in DAMAGES])
def test_a_damaged_disk_is_read_only_and_says_so(launcher, machines, disk, what, how):
    machine, big = machines(), new_id("d")
    ok(launcher.make_disk(big, 256 << 20))  # one with a second superblock
    ok(launcher.attach(big, machine))
    write(launcher, machine, "before")
    ok(launcher.detach(big, machine))
    how(launcher.disk_file(big))
    before = open(launcher.disk_file(big), "rb").read()
    for _ in range(2):  # the second time, too
        reply = ok(launcher.attach(big, machine))
        assert b"damaged" in reply.message and b"read-only" in reply.message
        assert ok(launcher.attach(big, machine)).message != b""
        assert launcher.ssh(machine, "touch /disk/data/new", check=False).returncode == 1
        assert launcher.ssh(machine, "grep ' /disk/data ' /proc/mounts").stdout.split()[3].startswith("ro")
        ok(launcher.detach(big, machine))
        assert launcher.loops() == []
    after = open(launcher.disk_file(big), "rb").read()
    assert after[:len(before)] == before  # nothing was written to it


def test_what_is_no_file_system_any_more_is_an_error(launcher, machines, disk):
    machine = machines()
    os.truncate(launcher.disk_file(disk), 0)
    reply = launcher.attach(disk, machine)
    assert reply.error != lc.OK and b"cannot be mounted" in reply.message
    assert launcher.loops() == []
    ok(launcher.detach(disk, machine))


def test_what_the_administrator_mended_is_writable(launcher, machines):
    machine, disk = machines(), new_id("d")
    ok(launcher.make_disk(disk, 256 << 20))
    damage(launcher.disk_file(disk), 0, 4096)
    assert ok(launcher.attach(disk, machine)).message != b""
    ok(launcher.detach(disk, machine))
    subprocess.run(["e2fsck", "-fy", launcher.disk_file(disk)], capture_output=True)
    assert ok(launcher.attach(disk, machine)).message == b""
    launcher.ssh(machine, "sudo touch /disk/data/new")


# ---- snapshots and copies ----

def test_a_snapshot_holds_what_the_disk_had(launcher, machines, disk):
    machine, snapshot, copy = machines(), new_id("s"), new_id("d")
    ok(launcher.attach(disk, machine))
    write(launcher, machine, "then")
    ok(launcher.snapshot(snapshot, disk))
    write(launcher, machine, "now")
    ok(launcher.make_disk(copy, 512 << 20, source=snapshot))
    ok(launcher.attach(copy, machine, "copy"))
    assert read(launcher, machine, "copy") == "then" and read(launcher, machine) == "now"
    assert int(launcher.ssh(machine, "df -BM --output=size /disk/copy | tail -1").stdout.strip(" M\n")) > 400
    write(launcher, machine, "apart", "copy")
    assert read(launcher, machine) == "now"
    assert launcher.make_disk(new_id("d"), 32 << 20, source=snapshot).error == lc.INVALID
    assert launcher.make_disk(new_id("d"), source=new_id("s")).error == lc.NOT_FOUND
    assert launcher.snapshot(new_id("s"), new_id("d")).error == lc.NOT_FOUND


def test_a_snapshot_under_load_is_of_one_moment():
    """A writer counts in a file's last block and its first, each number synced in the one before the other. In a snapshot the two
    are one apart at most, though a copy takes a second from the one to the other, and no less than when it was asked for."""
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": "slow-copy,no-reflink"}) as l:
        machine, other, disk, snapshot, copy = make_machine(l), make_machine(l), new_id("d"), new_id("s"), new_id("d")
        ok(l.make_disk(disk, 128 << 20))
        ok(l.attach(disk, machine))
        counting = ("import os\n"
                    "f = os.open('/disk/data/file', os.O_WRONLY)\n"
                    "for i in range(10 ** 9):\n"
                    "    for at in (20 << 20, 0):\n"
                    "        os.pwrite(f, b'%09d' % i, at); os.fsync(f)\n")
        look = "head -c 9 /disk/data/file; echo; tail -c +$((20 * 1024 * 1024 + 1)) /disk/data/file | head -c 9"

        def count(of):
            return [int(n) for n in l.ssh(of, look).stdout.split()]

        l.ssh(machine, "dd if=/dev/urandom of=/disk/data/file bs=1M count=21 2>/dev/null; sync -f /disk/data\n"
              f"cat > /tmp/count.py <<'END'\n{counting}END\n"
              "setsid python3 /tmp/count.py >/dev/null 2>&1 </dev/null & sleep 0.5")
        before = count(machine)[0]
        ok(l.snapshot(snapshot, disk))
        ok(l.make_disk(copy, 128 << 20, source=snapshot))
        assert ok(l.attach(copy, other)).message == b""
        first, last = count(other)
        assert before <= first <= last <= first + 1
        assert count(machine)[0] > last  # it was let go on
        ok(l.kill(machine))
        ok(l.kill(other))


def test_a_disk_that_cannot_be_copied_in_time_is_not_copied_at_all():
    """Its writers are halted for no longer, and go on."""
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": "slow-copy,no-reflink,short-halt"}) as l:
        machine, disk, snapshot = make_machine(l), new_id("d"), new_id("s")
        ok(l.make_disk(disk, 128 << 20))
        ok(l.attach(disk, machine))
        l.ssh(machine, "dd if=/dev/urandom of=/disk/data/much bs=1M count=40 2>/dev/null; sync -f /disk/data")
        refused = l.snapshot(snapshot, disk)
        assert refused.error == lc.UNAVAILABLE and b"in use" in refused.message and b"xfs" in refused.message
        assert snapshot not in l.list()
        write(l, machine, "goes on")
        ok(l.detach(disk, machine))
        ok(l.snapshot(snapshot, disk))
        ok(l.kill(machine))


def test_the_limit_of_all_disks():
    with Launcher(image=False) as l:
        l.stop()
        l.options = ["--disks-max", str(100 << 20)]
        l.start()
        one, two, three = (new_id("d") for _ in range(3))
        ok(l.make_disk(one, 60 << 20))
        refused = l.make_disk(two, 60 << 20)
        assert refused.error == lc.NO_CAPACITY and b"disks_max" in refused.message
        assert two not in l.list() and not os.path.exists(l.state + "/disks/" + two)
        ok(l.make_disk(one, 60 << 20))  # again is no more
        ok(l.make_disk(three, 40 << 20))
        ok(l.remove_disk(one))
        ok(l.make_disk(two, 60 << 20))


# ---- crashes and races ----

def test_a_making_that_was_cut_short_is_made_again(launcher):
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": "disk-made"}, image=False) as l:
        disk = new_id("d")
        with pytest.raises(OSError):
            l.make_disk(disk)
        wait_state(l, disk, lc.DEAD)  # when the lock of the dead process is gone
        l.stop()
        l.start()
        ok(l.make_disk(disk))
        assert l.list()[disk].state == lc.ALIVE
        ok(l.remove_disk(disk))
        ok(l.remove_disk(disk))
        assert disk not in l.list()


@pytest.mark.parametrize("point", ["disk-mounted", "disk-noted", "disk-halted"])
def test_a_crash_leaves_no_device_and_no_halted_disk(point):
    with Launcher(program="hearth-launcher-test") as l:
        machine, disk, snapshot = make_machine(l), new_id("d"), new_id("s")
        ok(l.make_disk(disk))
        if point == "disk-halted":
            ok(l.attach(disk, machine))
        l.stop()
        l.start({"HEARTH_TESTPOINT": point})
        with pytest.raises(OSError):
            l.snapshot(snapshot, disk) if point == "disk-halted" else l.attach(disk, machine)
        l.stop()
        l.start()
        if point == "disk-halted":
            write(l, machine, "goes on")
            wait_state(l, snapshot, lc.DEAD)
            ok(l.snapshot(snapshot, disk))
            ok(l.detach(disk, machine))
        wait_free(l, disk)
        assert l.loops() == []
        ok(l.attach(disk, machine))
        write(l, machine, "well")
        ok(l.kill(machine))


def test_removing_ends_a_copy():
    """A slow copy is not waited for, and nobody else waits for it."""
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": "slow-copy,no-reflink"}) as l:
        disk, snapshot = new_id("d"), new_id("s")
        ok(l.make_disk(disk, 512 << 20))
        with open(l.disk_file(disk), "r+b") as f:
            for i in range(10):  # a copy of 300 chunks takes half a minute
                f.seek((100 + 30 * i) << 20)
                f.write(b"x" * (30 << 20))
        answers = []
        thread = threading.Thread(target=lambda: answers.append(l.snapshot(snapshot, disk)))
        thread.start()
        end = time.monotonic() + 5 * PATIENCE
        while snapshot not in l.list() or l.list()[snapshot].state != lc.MAKING:
            assert time.monotonic() < end
            time.sleep(0.02)
        machine = make_machine(l)  # launches go on
        start = time.monotonic()
        ok(l.remove_disk(snapshot))
        assert time.monotonic() - start < 5 * PATIENCE
        thread.join()
        assert answers[0].error != lc.OK
        assert snapshot not in l.list()
        ok(l.kill(machine))
