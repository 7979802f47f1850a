# SPDX-License-Identifier: Apache-2.0
"""Goal: users see, use and end what is theirs and nothing else, operators everything, and who may not open the socket is
told so."""

import json
import os
import stat

import pytest

from local_lab import lab

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def house():
    with lab(pool="running: 2, max: 8") as made:
        yield made


@pytest.fixture(scope="module")
def alice(house):
    return house.user("alice")


@pytest.fixture(scope="module")
def bob(house):
    return house.user("bob")


@pytest.fixture(scope="module")
def box(alice):
    return alice.reserve("--name", "box")


COMMANDS = [["show"], ["ssh"], ["cert"], ["extend", "--hours", "1"], ["cancel"], ["why"], ["trace"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
@pytest.mark.parametrize("by", ["id", "name"])
def test_anothers_reservation(house, alice, bob, box, command, by):
    """Exit 6 by id; by name it is theirs alone, so it does not exist for others, or it is not permitted: never 0."""
    args = [command[0], box[by], *command[1:], *(["--", "true"] if command[0] == "ssh" else [])]
    p = bob.hearth(*args)
    expected = 125 if command[0] == "ssh" else 6
    assert p.returncode == expected and p.stdout == "", p
    assert p.stderr.startswith("hearth: ") and p.stderr.count("\n") == 1
    assert house.reservation(box["id"])["state"] == "active"
    assert house.reservation(box["id"])["expires_at"] == box["expires_at"]


def test_lists_are_ones_own(house, alice, bob, box):
    mine = bob.reserve("--name", "bobs")
    assert {r["id"] for r in bob.json("list")} == {mine["id"]}
    assert {r["id"] for r in bob.json("list", "--all")} == {mine["id"]}
    assert {r["id"] for r in alice.json("list")} == {box["id"]}
    assert {mine["id"], box["id"]} <= {r["id"] for r in house.root().json("list")}
    seen = {m["reservation"] for m in bob.json("machine", "list")}
    assert box["id"] not in seen
    bob.hearth("cancel", "bobs", check=True)


def test_same_name_for_two_users(alice, bob, box):
    """A name is its owner's: two may have the same, and each means their own."""
    p = bob.hearth("--json", "reserve", "--name", "box")
    if p.returncode == 0:
        assert bob.json("show", "box")["id"] == json.loads(p.stdout)["id"] != box["id"]
        assert alice.json("show", "box")["id"] == box["id"]
        bob.hearth("cancel", "box", check=True)
        assert alice.json("show", "box")["state"] == "active"
    else:
        assert p.stderr.count("\n") == 1 and "box" in p.stderr


def test_operators_only(bob, house):
    for args in (["pool", "set", "default", "--running", "1"], ["image", "build", "debian"], ["audit"]):
        p = bob.hearth(*args)
        assert p.returncode == 6 and p.stdout == "" and p.stderr.count("\n") == 1, p
    assert house.pool()["running"] == 2


def test_root_may_do_it_all(house, bob):
    mine = bob.reserve("--name", "roots-too")
    assert house.root().json("show", mine["id"])["state"] == "active"
    house.root().hearth("cancel", mine["id"], check=True)
    assert bob.json("show", mine["id"])["state"] == "ended"


def test_closed_socket(house, alice, bob):
    """socket_mode 0660 and a group: its members may, others are told what to do."""
    os.chown(house.socket, 0, bob.uid)
    mode = stat.S_IMODE(house.socket.stat().st_mode)
    house.socket.chmod(0o660)
    try:
        p = alice.hearth("list")
        assert p.returncode == 6 and p.stdout == "" and p.stderr.count("\n") == 1, p
        assert p.stderr.startswith("hearth: ") and "; " in p.stderr, "what to do?"
        assert bob.hearth("list").returncode == 0
    finally:
        house.socket.chmod(mode)


def test_no_way_to_the_launcher(house, alice):
    """Its socket is hearthd's alone."""
    connect = "import socket, sys\ns = socket.socket(1, 5)\ns.connect(sys.argv[1])\ns.send(b'x')\nprint(s.recv(1))"
    p = alice.run("/usr/bin/python3", "-c", connect, house.runtime / "launcher.sock")
    assert p.returncode != 0 and ("PermissionError" in p.stderr or "Connection" in p.stderr), p
    assert p.stdout in ("", "b''\n")
