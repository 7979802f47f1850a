# SPDX-License-Identifier: Apache-2.0
"""Goal: what somebody deleted or left by hand is found by `hearth audit`, mended by `--repair`, and nobody but an
operator may ask. With real machines: the differences are made in the ledger while hearthd is down, or on the host."""

import json
import pathlib
import shutil

import pytest

from hearth import wait_for
from local_lab import lab

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def house():
    with lab(pool="running: 2, max: 8") as made:
        yield made
        made.assert_clean()


def test_nothing_to_find(house):
    p = house.audit()
    assert p.returncode == 0
    assert json.loads(p.stdout) == {"ok": True, "provider_only": [], "ledger_only": [], "open_steps": 0}
    assert house.hearth("audit").returncode == 0


def forget(house, machine):
    """The ledger loses a machine."""
    house.kill()
    with house.database() as db:
        assert db.execute("DELETE FROM machines WHERE id = ?", (machine,)).rowcount == 1
        db.execute("DELETE FROM steps WHERE subject = ?", (machine,))
        db.commit()
    house.start()
    house.fill()


def test_machine_that_the_ledger_lost(house):
    house.fill()
    stray = house.ready()[0]
    forget(house, stray)
    assert stray in house.alive(), "it must not be ended without being asked: it may be somebody's"
    p = wait_for(lambda: (q := house.audit()).returncode == 1 and q)
    (item,) = json.loads(p.stdout)["provider_only"]
    assert item["machine"] == stray and not item["repaired"]
    text = house.hearth("audit")
    assert text.returncode == 1 and stray in text.stdout
    p = house.audit("--repair")
    assert p.returncode == 0, p
    assert json.loads(p.stdout)["provider_only"][0]["repaired"]
    wait_for(lambda: stray not in house.alive())
    house.assert_clean()
    assert house.pool()["ready"] == 2, "the others must not have been touched"


def test_machine_that_the_host_lost(house):
    """All of a claimed machine's traces are gone, down to its record, as after an rm -rf by hand: the ledger has it still."""
    house.fill()
    alice = house.user()
    kept, lost = alice.reserve("--name", "kept"), alice.reserve("--name", "lost")
    house.kill()
    directory = house.state / "machines" / lost["machine"]
    record = (directory / "state").read_text()
    slot = dict(line.split(" ", 1) for line in record.splitlines())["slot"]
    house.kill_machine(lost["machine"])
    wait_for(lambda: not house.pid_of(lost["machine"]))
    shutil.rmtree(directory)
    (house.state / "slots" / slot).unlink()
    shutil.rmtree(house.runtime / "machines" / lost["machine"])
    house.start()
    ended = wait_for(lambda: (r := house.reservation("lost"))["state"] == "ended" and r)
    assert ended["reason"] == "failed", ended
    house.assert_clean()
    assert alice.ssh(kept, "true").returncode == 0
    alice.hearth("cancel", "kept", check=True)


def test_row_of_a_machine_that_never_was(house):
    """The ledger says a machine is there which nobody has: the start finds out by itself."""
    house.fill()
    house.kill()
    with house.database() as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(machines)")]
        values = dict(zip(columns, db.execute("SELECT * FROM machines WHERE state = 'ready' LIMIT 1").fetchone()))
        values.update(n=db.execute("SELECT max(n) FROM machines").fetchone()[0] + 1, id="m-0000000000aa",
                      provider_ref="m-0000000000aa")
        names, marks = ", ".join(f'"{c}"' for c in values), ", ".join("?" * len(values))
        db.execute(f"INSERT INTO machines ({names}) VALUES ({marks})", tuple(values.values()))
        db.commit()
    house.start()
    house.fill()
    wait_for(lambda: house.audit().returncode == 0)
    assert "m-0000000000aa" not in house.ready()


def test_leftovers_of_a_machine(house):
    """A directory and a slot that nobody owns any more."""
    house.fill()
    left = house.state / "machines" / "m-000000000zzz"
    (left / "u").mkdir(parents=True)
    assert house.audit().returncode == 1
    assert house.audit("--repair").returncode == 0
    wait_for(lambda: not left.exists())
    house.assert_clean()


def test_only_operators(house):
    for args in (["audit"], ["audit", "--repair"]):
        p = house.user("bob").hearth(*args)
        assert p.returncode == 6 and p.stdout == "" and p.stderr.count("\n") == 1, p
    with pathlib.Path("/etc/group").open() as f:
        group = [line.split(":") for line in f if line.startswith("hearth-admin:")]
    if group:
        p = house.user("carol", groups=[int(group[0][2])]).hearth("audit")
        assert p.returncode == 0, p
