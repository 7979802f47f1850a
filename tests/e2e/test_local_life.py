# SPDX-License-Identifier: Apache-2.0
"""Goal: a reservation of a real machine begins, goes on and ends as the contract says, whoever dies meanwhile; and
pools keep what they promise when machines, images and launches fail them."""

import datetime
import http.client
import json
import os
import signal
import subprocess
import time

import pytest

from hearth import build_dir, program, wait_for
from local_lab import lab, process
from patience import PATIENCE

SHARE = 0.35  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.root

LATE = 1.5 * PATIENCE  # seconds that an end may come after its deadline


@pytest.fixture(scope="module")
def house():
    pools = {
        "default": "{provider: here, image: debian, running: 3, max: 24}",
        "small": "{provider: here, image: debian, running: 0, max: 1}",
        "slow": '{provider: here, image: debian, running: 0, max: 4, setup: ["sleep 2"]}',
        "prepared": '{provider: here, image: debian, running: 1, max: 4, '
                    'setup: ["echo one > /var/tmp/marker", "cat /var/tmp/marker && echo two >> /var/tmp/marker"]}',
    }
    with lab(pools=pools, fill=["default", "prepared"]) as made:
        yield made
        made.assert_clean()


@pytest.fixture
def alice(house):
    yield house.user("alice")
    for r in house.get("/v1/reservations"):
        house.hearth("cancel", r["id"], check=True)


@pytest.fixture
def bob(house):
    return house.user("bob")


def at(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def hours(seconds):
    return "%.6f" % (seconds / 3600)


def steps(house, ident):
    return {s["name"]: s for s in house.get(f"/v1/reservations/{ident}/trace")["steps"]}


def settled(house, ident):
    """Until what follows a claim is done: the machine knows its deadline and first contact was made."""
    wait_for(lambda: all((s := steps(house, ident).get(name)) and s["ended_at"] for name in ("deadline", "contact")))


def machine_ends(house, machine, deadline):
    """Waits for the machine's end; how long after `deadline` (wall clock) that was."""
    wait_for(lambda: house.pid_of(machine) is None, deadline - time.time() + 10, every=0.01)
    return time.time() - deadline


# ---- run ----


@pytest.mark.parametrize("command, code", [(["true"], 0), (["exit 7"], 7), (["exit 255"], 255), (["sh", "-c", "exit 125"], 125)])
def test_run_exits_as_the_command(house, alice, command, code):
    p = alice.hearth("run", "--", *command)
    assert (p.returncode, p.stdout, p.stderr) == (code, "", "")
    assert house.get("/v1/reservations") == []


def test_run_passes_words_and_data(alice):
    assert alice.hearth("run", "--", "printf", "%s\\n", "a  b", "$HOME").stdout == "a  b\n$HOME\n"
    p = alice.hearth("run", "--", "cat; echo err >&2", input="through\n")
    assert (p.returncode, p.stdout, p.stderr) == (0, "through\n", "err\n")


def test_run_that_cannot_begin(house, alice):
    for args in (["run", "--pool", "nowhere", "--", "true"], ["--socket", "/nowhere", "run", "--", "true"]):
        p = alice.hearth(*args)
        assert p.returncode == 125 and p.stdout == "", p
        assert p.stderr.startswith("hearth: ") and p.stderr.count("\n") == 1


def test_run_interrupted_ends_its_reservation(house, alice):
    with process(alice, [program("hearth"), "run", "--", "echo in; sleep 60"], stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"in\n"
        (r,) = house.get("/v1/reservations")
        os.kill(p.pid, signal.SIGTERM)
        assert p.wait(20 * PATIENCE) != 0
    assert house.reservation(r["id"])["state"] == "ended"
    wait_for(lambda: house.pid_of(r["machine"]) is None)


# ---- several at once ----


def says(house, machine, name, address=None):
    """What answers at port 22 of `name`, from inside a machine."""
    return house.inside(machine, f"timeout 5 bash -c 'head -c 4 </dev/tcp/{name}/22' 2>/dev/null")[1]


def test_those_of_one_count_know_and_reach_each_other(house, alice, bob):
    duo = alice.json("reserve", "--count", "2", "--name", "duo")
    other = bob.reserve()
    a, b = (r["machine"] for r in duo)
    knows = "getent hosts duo-1 duo-2 | wc -l"
    for m in (a, b):
        wait_for(lambda m=m: house.inside(m, knows)[1] == "2\n")
    assert says(house, a, "duo-2") == "SSH-" and says(house, b, "duo-1") == "SSH-"
    assert house.inside(a, "grep -c localhost /etc/hosts; test -e /etc/hosts.hearth") == (1, "2\n")
    for m, to in ((other["machine"], duo[0]["host"]), (a, other["host"])):
        assert says(house, m, to) == "", "only those of one count reach each other"
    house.kill()
    house.start()
    wait_for(lambda: says(house, a, "duo-2") == "SSH-")
    p = alice.json("cancel", "duo")
    assert [(r["name"], r["state"]) for r in p] == [("duo-1", "ended"), ("duo-2", "ended")]
    assert house.pid_of(a) is None and house.pid_of(b) is None
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    for r in duo:
        assert f"{r['host']} :" not in rules and f"{r['host']} ." not in rules, "its address is free of it"
    bob.hearth("cancel", other["id"], check=True)
    p = alice.hearth("cancel", "duo", check=True)
    assert p.stdout == "duo-1 has ended\nduo-2 has ended\n"
    p = bob.hearth("cancel", "duo")
    assert p.returncode == 3, p


# ---- the ways to a machine ----


def test_cold(house, alice):
    before = set(house.ready())
    r = alice.reserve("--no-warm")
    assert r["path"] == "cold" and r["miss_reason"], r
    assert r["machine"] not in before and before <= set(house.ready())
    assert alice.ssh(r, "true").returncode == 0


def test_setup_before_ready(house, alice):
    house.fill("prepared")
    (m,) = [m for m in house.machines("ready") if m["pool"] == "prepared"]
    assert house.inside(m["id"], "cat /var/tmp/marker") == (0, "one\ntwo\n")
    r = alice.reserve("--pool", "slow")
    s = steps(house, r["id"])
    assert at(r["ready_at"]) - at(r["created_at"]) >= 2, "it was handed out before its setup was over"
    assert r["path"] == "cold" and s["setup"]["ended_at"], s


def test_failing_setup_shows_its_output(house):
    text = house.config.read_text()
    try:
        house.write_config(text + '  broken: {provider: here, image: debian, running: 1, max: 3, '
                                  'setup: ["echo so far so good", "echo why not >&2; exit 3"]}\n')
        house.reload()
        failed = wait_for(lambda: [m for m in house.machines("failed") if m["pool"] == "broken"])[0]
        shown = house.hearth("machine", "show", failed["id"], check=True).stdout
        assert "  | why not" in shown, shown
        assert "setup command 2 exited 3" in failed["error"], failed
        pool = house.pool("broken")
        assert pool["ready"] == 0 and pool["last_error"] and pool["backoff_until"], pool
        wait_for(lambda: len([m for m in house.machines("failed") if m["pool"] == "broken"]) >= 2, 20)
        assert at(house.pool("broken")["backoff_until"]) - time.time() > 1, "pauses must grow"
    finally:
        house.write_config(text)
        house.reload()


def test_line_with_positions(house, alice, bob):
    """At max: in order, with a position, and exit 4 for who will not wait; nothing on a pipe while waiting."""
    first = alice.reserve("--pool", "small")
    with process(bob, [program("hearth"), "--json", "reserve", "--pool", "small", "--name", "second"],
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        wait_for(lambda: house.pool("small")["queued"] == 1)
        third = house.reserve(pool="small", name="third").json
        assert (third["state"], third["queue_position"]) == ("queued", 2)
        p = alice.hearth("reserve", "--pool", "small", "--no-wait")
        assert p.returncode == 4 and p.stdout == "" and p.stderr.count("\n") == 1, p
        house.hearth("cancel", "third", check=True)
        alice.hearth("cancel", first["id"], check=True)
        out, err = waiting.communicate(timeout=30 * PATIENCE)
        second = json.loads(out)
        assert second["state"] == "active" and err == b"", err
    assert second["machine"] != first["machine"]
    assert bob.ssh(second, "true").returncode == 0


def test_never_reused(house, alice, bob):
    """In a pool of one machine, the next user's is another one, and nothing of the first is left."""
    first = alice.reserve("--pool", "small")
    alice.ssh(first, "echo secret > ~/marker; sudo cp marker /var/tmp/; sudo cp marker /dev/shm/", check=True)
    alice.hearth("cancel", first["id"], check=True)
    assert house.pid_of(first["machine"]) is None, "cancel returns when everything is undone"
    second = bob.reserve("--pool", "small")
    assert second["machine"] != first["machine"]
    p = bob.ssh(second, "ls ~/marker /var/tmp/marker /dev/shm/marker 2>/dev/null; sudo grep -rl secret /home /var/tmp /dev/shm")
    assert p.stdout == "", p
    assert first["machine"] not in house.machine_directories()


def test_request_id(house, alice, bob):
    one = alice.reserve("--request-id", "job 17")
    again = alice.reserve("--request-id", "job 17")
    assert again["id"] == one["id"] and again["machine"] == one["machine"]
    assert alice.ssh(again, "true").returncode == 0
    assert bob.reserve("--request-id", "job 17")["id"] != one["id"]
    alice.hearth("cancel", one["id"], check=True)
    assert house.reserve(client=None, request_id="other").status == 201


def test_count_is_all_or_none(house, alice):
    several = alice.reserve("--count", "4")
    assert len({r["machine"] for r in several}) == 4 and {r["state"] for r in several} == {"active"}
    for r in several:
        assert alice.ssh(r, "true").returncode == 0
    before = len(house.get("/v1/reservations"))
    p = alice.hearth("reserve", "--count", "30", "--no-wait")
    assert p.returncode == 4 and len(house.get("/v1/reservations")) == before, p


# ---- the end ----


def test_cancel_in_every_state(house, alice):
    holder = alice.reserve("--pool", "small")
    queued = house.reserve(pool="small").json
    preparing = house.reserve(pool="slow").json
    active = alice.reserve()
    assert (queued["state"], preparing["state"], active["state"]) == ("queued", "preparing", "active")
    with process(alice, ["sh", "-c", active["ssh_command"] + " 'echo in; sleep 60'"], stdout=subprocess.PIPE) as session:
        assert session.stdout.readline() == b"in\n"
        for r in (queued, preparing, active, holder):
            for _ in range(2):  # what has ended can be cancelled, too
                house.hearth("cancel", r["id"], check=True)
                now = house.reservation(r["id"])
                assert (now["state"], now["reason"]) == ("ended", "cancelled")
        assert session.wait(10 * PATIENCE) == 255
    for r in (holder, active):
        assert house.pid_of(r["machine"]) is None and r["machine"] not in house.machine_directories()


def test_expiry_is_punctual(house, alice):
    """An open session ends with the machine at the deadline, neither before nor more than LATE after."""
    r = alice.reserve("--hours", hours(4))
    deadline = at(r["expires_at"])
    assert abs(deadline - at(r["created_at"]) - 4) < 0.5
    with process(alice, ["sh", "-c", r["ssh_command"] + " 'echo in; sleep 60'"], stdout=subprocess.PIPE) as session:
        assert session.stdout.readline() == b"in\n"
        late = machine_ends(house, r["machine"], deadline)
        assert -0.05 <= late <= LATE, late
        assert session.wait(10 * PATIENCE) == 255
    ended = wait_for(lambda: (e := house.reservation(r["id"]))["state"] == "ended" and e)
    assert ended["reason"] == "expired" and -0.05 <= at(ended["ended_at"]) - deadline <= LATE, ended


def test_idle(house, alice):
    """Without a session it ends soon; with one it stays, and ends after the session's end."""
    idle = 2 * PATIENCE  # longer than a login takes
    quiet = alice.reserve("--idle", f"{idle}s", "--name", "quiet")
    busy = alice.reserve("--idle", f"{idle}s", "--name", "busy")
    with process(alice, ["sh", "-c", busy["ssh_command"] + " 'echo in; cat'"], stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE) as session:
        assert session.stdout.readline() == b"in\n"
        ended = wait_for(lambda: (e := house.reservation(quiet["id"]))["state"] == "ended" and e)
        assert ended["reason"] == "expired", ended
        assert idle - 0.1 <= at(ended["ended_at"]) - at(quiet["ready_at"]) <= idle + LATE
        time.sleep(0.75 * idle)
        assert house.reservation(busy["id"])["state"] == "active"
        start = time.time()
    ended = wait_for(lambda: (e := house.reservation(busy["id"]))["state"] == "ended" and e)
    assert ended["reason"] == "expired" and idle - 0.5 <= at(ended["ended_at"]) - start <= idle + LATE, ended


def test_extend(house, alice):
    r = alice.reserve("--hours", hours(3))
    more = alice.json("extend", r["id"], "--hours", "1")
    assert abs(at(more["expires_at"]) - at(r["expires_at"]) - 3600) < 0.01
    wait_for(lambda: int(house.ask_init(r["machine"], "status").split()[3]) > 3500)
    wait_for(lambda: time.time() > at(r["expires_at"]) + 0.5)
    assert alice.ssh(more, "true").returncode == 0, "the certificate must have been renewed"
    p = alice.hearth("extend", r["id"], "--hours", "100000")
    assert p.returncode == 2 and p.stderr.count("\n") == 1, p


def test_warning_on_the_terminal(house, alice):
    """Five minutes before the end: the reservation is made so that this is in three seconds, or when one is logged in."""
    r = alice.reserve("--hours", hours(300 + 3 * PATIENCE), "--name", "short-lived")
    with process(alice, ["sh", "-c", r["ssh_command"].replace("ssh ", "ssh -tt ", 1) + f" 'echo in; sleep {60 * PATIENCE}'"],
                 stdout=subprocess.PIPE) as session:
        lines = []
        while not any("this machine ends" in line for line in lines):
            line = session.stdout.readline().decode()
            assert line, lines
            lines.append(line)
        assert abs(at(r["expires_at"]) - time.time() - 300) < 2 * PATIENCE
        warning = [line for line in lines if "this machine ends in 5 minutes" in line][0]
        assert "hearth extend" in warning, warning


# ---- machines that fail ----


def test_ready_machine_that_dies(house, alice):
    """It is out within a second and never handed out, and another one takes its place."""
    house.fill()
    victim = [m for m in house.machines("ready") if m["pool"] == "default"][0]["id"]
    start = time.monotonic()
    house.kill_machine(victim)
    r = alice.reserve()
    assert r["machine"] != victim
    wait_for(lambda: victim not in house.ready(), 5, every=0.01)
    assert time.monotonic() - start < PATIENCE
    assert alice.ssh(r, "true").returncode == 0
    house.fill()
    wait_for(lambda: victim not in house.machine_directories())


def test_claimed_machine_that_dies(house, alice):
    r = alice.reserve()
    settled(house, r["id"])
    house.kill_machine(r["machine"])
    ended = wait_for(lambda: (e := house.reservation(r["id"]))["state"] == "ended" and e, 3)
    assert ended["reason"] == "failed", ended
    p = alice.hearth("ssh", r["id"], "--", "true")
    assert p.returncode == 125 and p.stderr.count("\n") == 1, p


@pytest.mark.parametrize("how", ["chmod -x /usr/sbin/sshd", "mv /etc/hearth/host_key /etc/hearth/away"])
def test_failure_at_first_contact(house, alice, how):
    """No spare has a working sshd, and nobody has noticed: the user does not, either, but for the time it takes."""
    house.fill()
    broken = {m["id"] for m in house.machines("ready") if m["pool"] == "default"}
    for ident in broken:
        assert house.inside(ident, how)[0] == 0
    p = alice.hearth("run", "--name", "contact", "--", "hostname; echo done")
    assert p.returncode == 0 and p.stdout.endswith("done\n"), p
    (r,) = [r for r in house.get("/v1/reservations?all=1") if r["name"] == "contact"][-1:]
    assert r["machine"] not in broken
    tried = [ident for ident in broken if (m := house.machine(ident)).get("error") or m.get("state") != "ready"]
    assert tried, "the broken ones were not even tried: this proves nothing"
    for ident in tried:
        wait_for(lambda: house.pid_of(ident) is None)
    for ident in broken & set(house.alive()):
        house.kill_machine(ident)
    house.fill()


# ---- the daemon's absence ----


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_first_request_of_a_new_daemon_is_served_warm(house, how):
    """However soon after a restart somebody asks: the machines there are known by then."""
    for _ in range(3):
        house.fill()
        getattr(house, how)()
        house.spawn()
        reply = wait_for(lambda: with_errors_as_none(lambda: house.reserve(no_wait=True)), every=0.0005)
        assert reply.status == 201, reply
        r = reply.json
        assert (r["state"], r["path"], r["miss_reason"]) == ("active", "warm", None), r
        house.hearth("cancel", r["id"], check=True)


def with_errors_as_none(call):
    try:
        return call()
    except OSError:
        return None


def test_deadline_holds_with_the_daemon_dead(house, alice):
    r = alice.reserve("--hours", hours(5))
    settled(house, r["id"])
    house.kill()
    try:
        late = machine_ends(house, r["machine"], at(r["expires_at"]))
        assert -0.05 <= late <= LATE, late
    finally:
        house.start()
    ended = wait_for(lambda: (e := house.reservation(r["id"]))["state"] == "ended" and e)
    assert ended["reason"] == "expired", ended
    wait_for(lambda: r["machine"] not in house.machine_directories())
    house.fill()


@pytest.fixture
def dying(house):
    """The house with a hearthd that dies when a claim is durable, before anybody hears of it."""
    house.stop()
    house.program = str(build_dir() / "src/daemon/hearthd-test")
    house.env["HEARTH_TESTPOINT"] = "claimed"
    house.start()
    yield house
    house.program = None
    del house.env["HEARTH_TESTPOINT"]
    house.stop()
    house.start()


def test_death_between_claim_and_deadline(dying):
    """The daemon dies with a claim made and the machine not told when it ends: the next start tells it, and it does."""
    dying.fill()
    with pytest.raises((OSError, http.client.HTTPException)):
        dying.reserve(name="short", hours=8 / 3600)
    assert dying.process.wait(10 * PATIENCE) == -signal.SIGKILL
    with dying.database() as db:
        machine, deadline = db.execute("SELECT machine, expires_at FROM reservations WHERE name = 'short' AND state = 'active'").fetchone()
    assert int(dying.ask_init(machine, "status").split()[3]) > 1000, "it knows of its lease alone"
    dying.start()
    wait_for(lambda: int(dying.ask_init(machine, "status").split()[3]) <= 8, 5)
    late = machine_ends(dying, machine, deadline / 1000)
    assert -0.05 <= late <= LATE, late
    ended = wait_for(lambda: (e := dying.reservation("short"))["state"] == "ended" and e)
    assert ended["reason"] == "expired", ended


# ---- images and the host: a hearthd of their own ----


@pytest.fixture(scope="module")
def other():
    with lab(pool="running: 2, max: 4") as made:
        yield made
        made.assert_clean()


def version_of(house):
    return os.readlink(house.state / "images/debian/current")


def publish(house, version):
    """As build-image publishes: a new tree, then the link."""
    images = house.state / "images/debian"
    subprocess.run(["cp", "-al", images / version_of(house), images / version], check=True)
    (images / "next").symlink_to(version)
    os.rename(images / "next", images / "current")


def test_new_image_version_rotates_spares(other):
    """All spares become of the new version, and at no moment are there fewer than the pool promises."""
    before = set(other.ready())
    held = other.user().reserve()
    other.fill()
    before = set(other.ready())
    publish(other, "20270101T000000Z")
    fewest = [9]
    other.reload()

    def rotated():
        fewest.append(other.pool()["ready"])
        return other.pool()["ready"] == 2 and not before & set(other.ready())

    wait_for(rotated, 20, every=0.01)
    assert min(fewest) >= 2, fewest
    images = {m["image_version"] if "image_version" in m else m["image"] for m in other.machines("ready")}
    assert len(images) == 1
    for ident in other.ready():
        assert "20270101T000000Z" in (other.state / "machines" / ident / "state").read_text()
    assert other.user().ssh(held, "true").returncode == 0, "what is claimed stays"
    other.user().hearth("cancel", held["id"], check=True)


def test_launches_that_fail_back_off_and_recover(other):
    """The image is gone: few attempts, with a reason; and ready again when it is back."""
    images = other.state / "images/debian"
    version = version_of(other)
    os.rename(images / version, images / "away")
    try:
        other.user().hearth("reserve", "--name", "last", "--no-wait", check=True)
        pool = wait_for(lambda: (p := other.pool())["backoff_until"] and p)
        assert pool["last_error"], pool
        time.sleep(2.5)
        failed = [m for m in other.machines("failed")]
        assert 1 <= len(failed) <= 6, "launching goes on and on"
        assert any(m["error"] for m in failed)
        p = other.user().hearth("pool", "show", "default", check=True)
        assert pool["last_error"][:20] in p.stdout
    finally:
        os.rename(images / "away", images / version)
    other.fill(seconds=20)
    pool = other.pool()
    assert not pool["last_error"] and not pool["backoff_until"], pool
    other.user().hearth("cancel", "last", check=True)


def test_reboot_of_the_host(other):
    """As after a reboot: all machines are gone and the boot id is another one. It says so, and refills."""
    other.fill()
    user = other.user()
    r = user.reserve("--name", "lost")
    settled(other, r["id"])
    line = other.reserve(name="by-api").json
    other.kill()
    for ident in list(other.alive()):
        other.kill_machine(ident)
    wait_for(lambda: not other.alive())
    with other.database() as db:
        assert db.execute("UPDATE meta SET value = 'another-boot' WHERE key = 'boot_id'").rowcount == 1
        db.commit()
    other.start()
    for ident in (r["id"], line["id"]):
        ended = wait_for(lambda: (e := other.reservation(ident))["state"] == "ended" and e)
        assert ended["reason"] == "failed"
    p = user.hearth("show", "lost", check=True)
    assert "host restarted" in p.stdout and "expires in" not in p.stdout, p
    p = user.hearth("ssh", "lost", "--", "true")
    assert p.returncode == 125 and "has ended: failed: host restarted; " in p.stderr, p
    other.fill()
    assert other.user().ssh(user.reserve("--name", "after"), "true").returncode == 0
    user.hearth("cancel", "after", check=True)


@pytest.mark.soak
@pytest.mark.seconds(600)
def test_image_build_rotates(other):
    before = set(other.ready())
    other.hearth("image", "build", "debian", check=True, timeout=500)
    wait_for(lambda: other.pool()["ready"] == 2 and not before & set(other.ready()), 60)
