# SPDX-License-Identifier: Apache-2.0
"""A user's /shared is the same on all machines of theirs, theirs alone, and outlives them. Real launcher, real machines,
real ssh."""

import os
import stat
import threading
import time

import pytest

import launcher_client as lc
from hearth import wait_for
from launcher_client import Launcher, new_id
from local_lab import Lab

SHARE = 0.6  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes machines")


@pytest.fixture(scope="module")
def launcher():
    with Launcher() as l:
        yield l


@pytest.fixture
def machines(launcher):
    names = [new_id(), new_id()]
    for slot, name in enumerate(names, 1):
        assert launcher.create(name, slot).error == lc.OK
    yield names
    for name in names:
        assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def mount(launcher, name, uid):
    made = launcher.ask(lc.MAKE_HOME, home_uid=uid)[-1]
    assert made.error == lc.OK, made.message
    return launcher.ask(lc.MOUNT_HOME, id=name, home_uid=uid)[-1]


def test_two_machines_share_it_whatever_their_ids_are(launcher, machines):
    a, b = machines
    for name in machines:
        reply = mount(launcher, name, 1001)
        assert reply.error == lc.OK, reply.message
    launcher.ssh(a, "echo hello >/shared/file; mkdir /shared/d; echo s >/shared/d/s; sudo touch /shared/roots")
    out = launcher.ssh(b, "cat /shared/file; stat -c %U:%G /shared /shared/file /shared/roots; echo more >>/shared/file")
    assert out.stdout.split() == ["hello", "dev:dev", "dev:dev", "root:root"]
    assert launcher.ssh(a, "cat /shared/file").stdout == "hello\nmore\n"
    at = os.path.join(launcher.state, "homes/1001/file")
    assert (os.stat(at).st_uid, os.stat(at).st_gid) == (1000, 1000)


def test_set_user_id_and_devices_are_void_and_nobody_else_on_the_host_gets_there(launcher, machines):
    reply = mount(launcher, machines[0], 1001)
    assert reply.error == lc.OK, reply.message
    out = launcher.ssh(machines[0], "cp /usr/bin/id /shared/id; sudo chown root /shared/id; sudo chmod 4755 /shared/id; "
                       "/shared/id -u; grep ' /shared ' /proc/self/mounts")
    assert out.stdout.split()[0] == "1000"
    options = out.stdout.split()[4].split(",")
    assert "nosuid" in options and "nodev" in options
    assert launcher.state not in out.stdout.replace(out.stdout.split()[1], "")
    homes = os.path.join(launcher.state, "homes")
    assert stat.S_IMODE(os.stat(homes).st_mode) == 0o700 and os.stat(homes).st_uid == 0


def test_nobody_elses_is_seen(launcher, machines):
    a, b = machines
    assert mount(launcher, a, 1001).error == mount(launcher, b, 1002).error == lc.OK
    launcher.ssh(a, "echo secret >/shared/mine")
    assert "mine" not in launcher.ssh(b, "ls -a /shared; ls -a /shared/.. /shared/../..").stdout
    # what is there stays: another home is not put over it
    reply = mount(launcher, a, 1002)
    assert reply.error == lc.CONFLICT and b"/shared" in reply.message
    assert launcher.ssh(a, "cat /shared/mine").stdout == "secret\n"


def test_again_is_fine_and_mounts_it_once(launcher, machines):
    for _ in range(3):
        assert mount(launcher, machines[0], 1003).error == lc.OK
    assert launcher.ssh(machines[0], "grep -c ' /shared ' /proc/self/mounts").stdout == "1\n"


def test_at_once_from_many(launcher, machines):
    replies = []

    def one(i):
        replies.append(mount(launcher, machines[i % 2], 1500 + i % 3))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(replies) == 8
    assert {r.error for r in replies} <= {lc.OK, lc.CONFLICT}
    for name in machines:
        assert launcher.ssh(name, "grep -c ' /shared ' /proc/self/mounts").stdout == "1\n"
    assert set(os.listdir(os.path.join(launcher.state, "homes"))) >= {"1500", "1501", "1502"}
    assert "new" not in os.listdir(os.path.join(launcher.state, "homes"))


def test_what_root_inside_has_put_there_is_not_followed(launcher, machines):
    a, b = machines
    launcher.ssh(a, "sudo mkdir /var/elsewhere; sudo ln -s /var/elsewhere /shared")
    reply = mount(launcher, a, 1001)
    assert reply.error != lc.OK and b"/shared" in reply.message
    assert "elsewhere" not in launcher.ssh(a, "cat /proc/self/mounts").stdout
    launcher.ssh(b, "sudo touch /shared")
    assert mount(launcher, b, 1001).error != lc.OK


def test_nothing_of_it_stays_but_the_files(launcher):
    name = new_id()
    assert launcher.create(name, 1).error == lc.OK
    assert mount(launcher, name, 1004).error == lc.OK
    launcher.ssh(name, "echo kept >/shared/f; sleep 300 </shared/f >/dev/null 2>&1 &")
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()
    with open(os.path.join(launcher.state, "homes/1004/f")) as f:
        assert f.read() == "kept\n"


def test_a_machine_that_is_not_there_or_dead(launcher):
    assert mount(launcher, new_id(), 1001).error == lc.NOT_FOUND
    name = new_id()
    assert launcher.create(name, 1).error == lc.OK
    os.kill(launcher.list()[name].pid, 9)
    end = time.monotonic() + 10
    while mount(launcher, name, 1001).error != lc.CONFLICT:
        assert time.monotonic() < end
    assert launcher.kill(name).error == lc.OK
    launcher.wait_clean()


def test_bad_requests(launcher, machines):
    assert launcher.ask(lc.MAKE_HOME, home_uid=2**32 - 1)[-1].error == lc.INVALID
    assert launcher.ask(lc.MOUNT_HOME, id="../" + machines[0][:8], home_uid=1001)[-1].error == lc.INVALID
    assert launcher.ask(lc.MOUNT_HOME, id=machines[0], home_uid=77)[-1].error == lc.NOT_FOUND
    assert "77" not in os.listdir(os.path.join(launcher.state, "homes"))


def test_a_crash_while_it_is_made_leaves_none_by_half():
    with Launcher(program="hearth-launcher-test", env={"HEARTH_TESTPOINT": "home"}, image=False) as l:
        with pytest.raises(ConnectionError):
            l.ask(lc.MAKE_HOME, home_uid=1001)
        assert os.listdir(l.state + "/homes") == ["new"]
        l.stop()
        l.start()
        assert l.ask(lc.MAKE_HOME, home_uid=1001)[-1].error == lc.OK
        assert os.listdir(l.state + "/homes") == ["1001"]
        assert os.stat(l.state + "/homes/1001").st_uid == 1000


# ---- through hearthd ----


@pytest.fixture(scope="module")
def lab():
    pools = {"default": "{provider: here, image: debian, running: 2, max: 6}",
             "without": "{provider: here, image: debian, running: 0, max: 2, shared_home: false}"}
    with Lab(pools=pools) as l:
        l.start()
        l.fill()
        yield l


def shared(user, name, command):
    return user.ssh(user.json("show", name), command)


def mounted(user, name):
    wait_for(lambda: "/shared" in shared(user, name, "grep ' /shared ' /proc/self/mounts").stdout,
             message="no shared home in " + name)


def test_it_follows_its_user_and_nobody_else(lab):
    alice, bob = lab.user("alice"), lab.user("bob")
    for user, name in ((alice, "one"), (alice, "two"), (bob, "bobs")):
        user.reserve("--name", name)
        mounted(user, name)
    shared(alice, "one", "echo from one >/shared/f")
    assert shared(alice, "two", "cat /shared/f").stdout == "from one\n"
    assert shared(bob, "bobs", "ls /shared; cat /shared/f").stdout == ""
    trace = alice.json("trace", "one")
    steps = {s["name"]: s for s in trace["steps"]}
    assert all(steps[s]["ended_at"] and not steps[s]["error"] for s in ("home", "mount"))
    assert set(steps["mount"]["waits_for"]) == {"home", "claim"}
    lab.kill()  # and it is there for whoever comes after
    lab.start()
    lab.fill(ready=1)
    alice.hearth("cancel", "one", check=True)
    alice.hearth("cancel", "two", check=True)
    alice.reserve("--name", "three")
    mounted(alice, "three")
    assert shared(alice, "three", "cat /shared/f").stdout == "from one\n"
    assert sorted(os.listdir(lab.state / "homes")) == sorted(str(u.uid) for u in (alice, bob))
    for user, name in ((alice, "three"), (bob, "bobs")):
        user.hearth("cancel", name, check=True)


def test_a_pool_may_go_without(lab):
    carol = lab.user("carol")
    carol.reserve("--pool", "without", "--name", "bare")
    assert shared(carol, "bare", "test -e /shared || echo none").stdout == "none\n"
    assert str(carol.uid) not in os.listdir(lab.state / "homes")
    carol.hearth("cancel", "bare", check=True)
