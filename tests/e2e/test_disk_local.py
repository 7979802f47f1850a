# SPDX-License-Identifier: Apache-2.0
"""Goal: a reservation's disk on this host is there when its user needs it, keeps what was written whoever dies, and is never
where it should not be: by hearth's own command line, with real machines."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from hearth import wait_for
from local_lab import lab

SHARE = 0.5  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def house():
    with lab(pool="running: 2, max: 12") as made:
        yield made
        made.assert_clean()
        assert loops(made) == []


@pytest.fixture
def alice(house):
    user = house.user("alice")
    yield user
    for r in user.json("list"):
        user.hearth("cancel", r["id"], check=True)
    for d in disks(user):
        wait_for(lambda d=d: user.json("disk", "show", d["id"])["state"] in ("available", "failed"), 30)
        user.hearth("disk", "delete", d["id"], "--yes", check=True)
    wait_for(lambda: not disks(user), 30)


def disks(user):
    return [d for d in user.json("disk", "list") if d["id"].startswith("d-")]


def loops(house):
    found = []
    for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [path] if str(house.dir) in path.read_text() else []
        except OSError:
            pass
    return found


def with_disk(user, disk, *args):
    r = user.reserve("--disk", disk, "--wait-disk", *args)
    assert [d["state"] for d in r["disks"]] == ["attached"], r["disks"]
    return r


def write(user, r, text):
    user.ssh(r, f"echo {text} > /disk/data/file && sync /disk/data/file", check=True)


def read(user, r):
    return user.ssh(r, "cat /disk/data/file", check=True).stdout.strip()


def end(user, r):
    user.hearth("cancel", r["id"], check=True)


def test_data_outlives_the_reservation(house, alice):
    first = with_disk(alice, "data:64M")
    assert first["path"] == "warm" and first["disks"][0]["path"] == "/disk/data"
    write(alice, first, "kept")
    end(alice, first)
    assert loops(house) == []
    second = with_disk(alice, "data")
    assert second["machine"] != first["machine"]
    assert read(alice, second) == "kept"
    show = alice.json("disk", "show", "data")
    assert (show["state"], show["size_bytes"], show["attached_to"]) == ("attached", 64 << 20, second["id"])


def test_one_reservation_at_a_time(house, alice):
    first = with_disk(alice, "data:64M")
    refused = alice.hearth("reserve", "--disk", "data")
    assert refused.returncode != 0 and (first["id"] in refused.stderr or first["name"] in refused.stderr), refused.stderr
    assert alice.hearth("disk", "delete", "data", "--yes").returncode != 0


@pytest.mark.parametrize("who", ["hearthd", "machine", "both"])
def test_data_outlives_kill_9(house, alice, who):
    r = with_disk(alice, "data:64M")
    write(alice, r, "synced")
    machine = r["machine"]
    if who != "machine":
        house.process.send_signal(signal.SIGKILL)
        house.process.wait()
    if who != "hearthd":
        house.kill_machine(machine)
    if who != "machine":
        house.start()
    if who == "hearthd":
        assert read(alice, r) == "synced"
        end(alice, r)
    wait_for(lambda: alice.json("disk", "show", "data")["state"] == "available", 30)
    again = with_disk(alice, "data")
    assert read(alice, again) == "synced"
    house.fill()


def test_the_login_message_says_where_it_stands(house, alice):
    r = with_disk(alice, "data:64M")
    wait_for(lambda: "disk data: at /disk/data" in alice.ssh(r, "cat /etc/motd").stdout, 10)
    shown = alice.ssh(r, None, "-tt", input="exit\n")
    assert "disk data: at /disk/data" in shown.stdout, shown.stdout + shown.stderr
    other = alice.reserve()
    assert "Debian" not in alice.ssh(other, None, "-tt", input="exit\n").stdout


def test_a_damaged_disk_is_read_only_and_says_so(house, alice):
    r = with_disk(alice, "data:256M")
    write(alice, r, "before")
    ident = alice.json("disk", "show", "data")["id"]
    end(alice, r)
    os.truncate(house.state / "disks" / ident / "image", 40 << 20)
    r = with_disk(alice, "data")
    assert "read-only" in r["disks"][0]["error"] and "cut short" in r["disks"][0]["error"]
    assert "Read-only" in alice.ssh(r, "touch /disk/data/new").stderr
    shown = json.loads(alice.hearth("--json", "show", r["id"], check=True).stdout)
    assert "read-only" in shown["disks"][0]["error"]


def test_a_clone_of_a_disk_in_use(house, alice):
    r = with_disk(alice, "data:64M")
    write(alice, r, "then")
    alice.hearth("disk", "clone", "data", "copy", check=True)
    wait_for(lambda: alice.json("disk", "show", "copy")["state"] == "available", 30)
    write(alice, r, "now")
    other = alice.reserve("--disk", "copy", "--wait-disk")
    assert alice.ssh(other, "cat /disk/copy/file", check=True).stdout.strip() == "then"
    assert read(alice, r) == "now"


def test_an_ended_house_leaves_the_disks(house, alice):
    """A tear-down ends the machines; what is on disks stays."""
    r = with_disk(alice, "data:64M")
    write(alice, r, "kept")
    ident = alice.json("disk", "show", "data")["id"]
    house.stop()
    assert house.teardown().returncode == 0
    assert loops(house) == [] and house.leftovers()["mounts"] == []
    out = subprocess.run(["debugfs", "-R", "cat /file", house.state / "disks" / ident / "image"], capture_output=True, text=True, check=True)
    assert out.stdout == "kept\n"
    house.start()
    wait_for(lambda: alice.json("disk", "show", "data")["state"] == "available", 30)
    house.fill()
    assert read(alice, with_disk(alice, "data")) == "kept"
