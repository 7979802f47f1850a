# SPDX-License-Identifier: Apache-2.0
"""Goal: hearthd starts, reloads, refuses, stops and comes back as hearthd(8) says, in one line where it refuses,
and serves without the privileges it was started with."""

import os
import pathlib
import signal
import socket
import stat
import subprocess
import time

import pytest

from hearth import build_dir, program, wait_for

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def refused(d, status=None):
    """hearthd must end at once; returns the last line that it said, which must be its only complaint."""
    d.spawn()
    code = d.process.wait(20)
    lines = [line for line in d.log_text().splitlines() if ": warn: " not in line]
    assert code == status if status is not None else code != 0, d.log_text()
    assert len(lines) == 1, d.log_text()
    return lines[0]


def as_uid(uid):
    """Popen arguments to run as that user."""
    return {"user": uid, "group": uid, "extra_groups": []}


# ---- configuration ----


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("stat: /x\n", ":1:1: stat: unknown key: expected one of state, "),
        ("pools:\n  p: {provider: gone, image: i}\n", ":2:17: pools.p.provider: there is no provider 'gone'"),
        ("providers:\n  a: {kind: kubernetes}\n", "not available in this version"),
        ("state: [\n", "not YAML"),
        ("", "expected a mapping"),
    ],
)
def test_wrong_configuration(daemons, text, complaint):
    d = daemons()
    d.write_config(text)
    line = refused(d, 2)
    assert line.startswith(f"hearthd: {d.config}:") and complaint in line
    check = subprocess.run([program("hearthd"), "--config", str(d.config), "--check"], capture_output=True, text=True)
    assert (check.returncode, check.stdout) == (2, "")
    assert check.stderr == line + "\n"


def test_check_says_what_is_in_force(daemons):
    d = daemons()
    out = subprocess.run([program("hearthd"), "--config", str(d.config), "--check"], capture_output=True, text=True)
    assert out.returncode == 0 and out.stderr == ""
    assert f"state: {d.state}\nsocket: {d.socket}\nruntime: {d.runtime}\nuser: hearth\n" in out.stdout


def test_missing_and_unreadable_configuration(daemons):
    d = daemons()
    d.config.unlink()
    assert refused(d, 2) == f"hearthd: {d.config}: cannot be opened: No such file or directory"
    d.config.mkdir()
    d.log.unlink()
    assert refused(d, 2) == f"hearthd: {d.config}: a directory: expected a configuration file"


def test_wrong_usage():
    for args in ([], ["--config"], ["--config", "/x", "more"], ["--bogus"]):
        p = subprocess.run([program("hearthd"), *args], capture_output=True, text=True)
        assert p.returncode == 2 and p.stdout == "" and len(p.stderr.splitlines()) == 1, (args, p)


def test_places_that_cannot_be_used(daemons):
    d = daemons(settings={"state": "/proc/hearth"})
    assert "state directory /proc/hearth: cannot be made" in refused(d, 1)
    d = daemons()
    d.runtime.mkdir()
    d.socket.write_text("precious")
    assert "something that is not a socket is there" in refused(d, 1)
    assert d.socket.read_text() == "precious"
    d = daemons(settings={"socket_group": "no-such-group"})
    assert "there is no group 'no-such-group'" in refused(d, 2)


# ---- one at a time ----


def test_second_daemon_in_the_same_runtime(daemon, daemons):
    other = daemons(settings={"socket": daemon.socket, "runtime": daemon.runtime})
    assert f"another hearthd (pid {daemon.process.pid}) runs in {daemon.runtime}; stop it first" in refused(other, 1)
    assert daemon.pool()["ready"] == 2


def test_second_daemon_on_the_same_state(daemon, daemons):
    other = daemons(settings={"state": daemon.state})
    line = refused(other, 1)
    assert "hearthd" in line and str(daemon.process.pid) in line and "state" in line, line
    assert not other.socket.exists(), "a daemon that cannot start must not have opened its socket"
    assert daemon.pool()["ready"] == 2


def test_stale_socket_is_replaced_and_a_live_one_is_not(daemons):
    d = daemons()
    d.runtime.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(d.socket))
        s.listen()
        assert "somebody answers there already; stop the other hearthd first" in refused(d, 1)
    d.start()
    assert d.pool()["name"] == "default"


# ---- stopping, dying, coming back ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_on_signals(daemon, number):
    daemon.signal(number)
    assert daemon.process.wait(10) == 0
    assert "machines stay" in daemon.log_text()


def test_answers_before_pools_are_full(daemons):
    d = daemons(providers={"slow": "{kind: fake, image: 1h}"}, pools={"default": "{provider: slow, image: i}"}).start()
    assert d.pool()["ready"] == 0


def test_reservations_survive_kill_9(daemon):
    made = [daemon.reserve(name=f"r{i}").json for i in range(2)]
    assert [r["state"] for r in made] == ["active", "active"]
    daemon.kill()
    daemon.start()
    with daemon.client() as c:
        for r in made:
            again = c.get(f"/v1/reservations/{r['id']}").json
            for key in ("id", "name", "state", "machine", "host", "port", "expires_at", "known_hosts"):
                assert again[key] == r[key], key
    daemon.fill()
    audit = daemon.hearth("--json", "audit")
    assert audit.returncode == 0, audit


def test_killed_while_stopping_and_starting(daemons, rng):
    """kill -9 at random moments of the first half second: the next start must always succeed."""
    d = daemons(providers={"sim": "{kind: fake, launch: 20ms}"})
    for _ in range(5):
        d.spawn()
        time.sleep(rng.random() * 0.5)
        d.kill()
    d.start()
    d.fill()
    audit = d.hearth("--json", "audit")
    assert audit.returncode == 0, audit


def test_notifies_its_service_manager(daemons):
    d = daemons()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        path = d.dir / "notify"
        s.bind(str(path))
        path.chmod(0o666)
        s.settimeout(10)
        d.env["NOTIFY_SOCKET"] = str(path)
        d.start()
        assert s.recv(100) == b"READY=1"
        d.signal(signal.SIGHUP)
        assert s.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert s.recv(100) == b"READY=1"
        d.stop()
        assert s.recv(100) == b"STOPPING=1"


# ---- reload ----


def reload(d, expected):
    before = d.log_text().count("configuration ")
    d.signal(signal.SIGHUP)
    wait_for(lambda: d.log_text().count("configuration ") > before, message="no word about the reload")
    assert expected in d.log_text(), d.log_text()


def test_reload_takes_pools_and_limits(daemon):
    daemon.pools["default"] = "{provider: sim, image: debian, running: 4, max: 20}"
    daemon.pools["second"] = "{provider: sim, image: debian, running: 1, max: 3}"
    daemon.settings["max_hours"] = 9
    daemon.write_config()
    reload(daemon, "configuration reloaded")
    assert daemon.fill()["ready"] == 4
    assert daemon.fill("second")["ready"] == 1
    too_long = daemon.reserve(hours=10)
    assert too_long.status == 400 and too_long.json["error"]["code"] == "invalid"
    del daemon.pools["second"]
    daemon.write_config()
    reload(daemon, "configuration reloaded")
    assert daemon.reserve(pool="second").status == 404


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"state": "/elsewhere"}, "'state' was changed, which needs a restart; restart hearthd"),
        ({"user": "daemon"}, "'user' was changed"),
        ({"bogus": 1}, "unknown key"),
        ({"max_hours": -1}, "expected a number of hours"),
    ],
)
def test_reload_is_refused_whole(daemon, change, complaint):
    daemon.settings.update(change)
    daemon.pools["default"] = "{provider: sim, image: debian, running: 5, max: 20}"
    daemon.write_config()
    reload(daemon, "configuration not reloaded, the old one stays: ")
    assert complaint in daemon.log_text()
    assert daemon.pool()["running"] == 2


def test_reload_of_a_missing_file(daemon):
    daemon.config.unlink()
    reload(daemon, "configuration not reloaded")
    assert daemon.pool()["ready"] == 2


@root_only
def test_reload_of_a_file_that_only_root_can_read(daemon):
    daemon.pools["default"] = "{provider: sim, image: debian, running: 3, max: 20}"
    daemon.write_config()
    daemon.config.chmod(0o600)
    reload(daemon, "configuration reloaded")
    assert daemon.fill()["ready"] == 3


# ---- who may do what ----


def test_socket_mode_keeps_others_out(daemons):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    d = daemons(settings={"socket_mode": "0600"}).start()
    assert stat.S_IMODE(d.socket.stat().st_mode) == 0o600
    home = d.dir / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    p = subprocess.run([d.public("hearth"), "--socket", str(d.socket), "list"], capture_output=True, text=True,
                       env={"HOME": str(home), "PATH": os.environ["PATH"]}, cwd="/", **as_uid(12345))
    assert p.returncode == 6, p
    assert len(p.stderr.splitlines()) == 1 and p.stdout == ""


def status_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@root_only
def test_privileges_are_gone(daemon):
    uid, gid = daemon.state.joinpath("db").stat().st_uid, daemon.state.joinpath("db").stat().st_gid
    assert uid != 0
    for task in os.listdir(f"/proc/{daemon.process.pid}/task"):
        s = status_of(f"{daemon.process.pid}/task/{task}")
        assert s["Uid"].split() == [str(uid)] * 4
        assert s["Gid"].split() == [str(gid)] * 4
        assert s["Groups"].strip() == ""
        assert s["NoNewPrivs"] == "1"
        for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(s[caps], 16) == 0, caps
    soft, hard = pathlib.Path(f"/proc/{daemon.process.pid}/limits").read_text().split("Max open files")[1].split()[:2]
    assert soft == hard


@root_only
def test_only_the_launcher_is_root(daemon):
    children = pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    assert len(children) == 1
    s = status_of(children[0])
    assert s["Name"].startswith("hearth-launc") and s["Uid"].split()[0] == "0"
    assert s["NoNewPrivs"] == "0", "sudo in the machines needs that"


@root_only
def test_ends_when_the_launcher_does(daemon):
    pid = daemon.process.pid
    child = int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(child, signal.SIGKILL)
    assert daemon.process.wait(10) == 1
    assert "hearth-launcher has ended (signal 9)" in daemon.log_text()
    daemon.start()
    assert daemon.fill()["ready"] == 2


@root_only
def test_a_host_that_cannot_have_machines(daemons):
    """The launcher finds out; hearthd must not have served anybody by then."""
    d = daemons(providers={"here": "{kind: local, network: 10.78.0.0/16}"},
                pools={"default": "{provider: here, image: debian}"})
    subprocess.run("ip link add hearthtest0 type veth peer name hearthtest1".split(), check=True)
    try:
        subprocess.run("ip address add 10.78.3.1/24 dev hearthtest0".split(), check=True)
        subprocess.run("ip link set hearthtest0 up".split(), check=True)
        d.spawn()
        assert d.process.wait(20) == 1
    finally:
        subprocess.run("ip link del hearthtest0".split(), check=True)
    errors = [line.split(": error: ")[1] for line in d.log_text().splitlines() if ": error: " in line]
    assert len(errors) == 2, d.log_text()
    assert "10.78.0.0/16 overlaps the host's" in errors[0] and "hearthtest0" in errors[0]
    assert errors[1] == "hearth-launcher did not start (exit status 1); its own line above says why"
    assert "answers at" not in d.log_text()


@root_only
@pytest.mark.parametrize("name", ["subuid", "subgid"])
def test_ids_that_a_user_of_the_host_may_have_are_not_for_machines(daemons, tmp_path, name):
    d = daemons(providers={"here": "{kind: local, network: 10.78.0.0/24, uid_base: 1500000000}"},
                pools={"default": "{provider: here, image: debian}"})
    ids = tmp_path / name
    wrapper = tmp_path / "hearthd"
    wrapper.write_text(f"#!/bin/sh\ntouch /etc/{name}\nmount --bind {ids} /etc/{name}\nexec {program('hearthd')} \"$@\"\n")
    wrapper.chmod(0o755)
    in_private = tmp_path / "in-private"
    in_private.write_text(f"#!/bin/sh\nexec unshare --mount --propagation private {wrapper} \"$@\"\n")
    in_private.chmod(0o755)
    d.program = str(in_private)
    last = 1500000000 + 128 * 65536 - 1  # a /24 has 127 machines
    ids.write_text(f"bob:{last}:65536\n")
    line = refused(d, 1)
    assert f"uid_base: machines have the ids 1500065536 to {last}, of which 'bob' may use {last} to {last + 65535} by /etc/{name}" in line
    ids.write_text(f"bob:{last + 1}:65536\nroot:1:4000000000\n")
    d.start()
    assert f"by /etc/{name} root's own containers may use ids of machines" in d.log_text()


@root_only
def test_launcher_ends_with_its_daemon(daemon):
    pid = daemon.process.pid
    child = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    daemon.kill()
    # a zombie that nobody has reaped yet has ended, too
    wait_for(lambda: not os.path.exists(f"/proc/{child}") or status_of(child)["State"].startswith("Z"))


def test_files_are_for_their_owner_alone(daemon):
    db = daemon.state / "db"
    assert stat.S_IMODE(db.stat().st_mode) == 0o700
    names = {p.name for p in db.iterdir()}
    assert {"user_ca", "host_ca", "hearth.db"} <= names
    for p in db.iterdir():
        assert stat.S_IMODE(p.stat().st_mode) == 0o600, p
        assert p.stat().st_uid == db.stat().st_uid, p


def test_refuses_a_ca_that_others_can_read(daemon):
    daemon.stop()
    (daemon.state / "db/user_ca").chmod(0o644)
    daemon.log.unlink()
    line = refused(daemon, 1)
    assert "user_ca" in line


@root_only
def test_state_of_another_user_is_taken_over(daemons):
    d = daemons(settings={"user": "daemon"}).start()
    r = d.reserve(name="kept").json
    d.stop()
    d.settings["user"] = "nobody"
    d.write_config()
    d.start()
    assert d.state.joinpath("db").stat().st_uid == 65534
    assert d.client().get("/v1/reservations/kept").json["id"] == r["id"]


@root_only
@pytest.mark.parametrize("name", ["hearth.db", "hearth.db-wal", "hearth.db-shm", "hearth.db.lock", "fake-sim.world"])
def test_planted_links_lead_nowhere(daemon, name):
    """The serving user can write in db/; what it plants there must not make the next start, as root, write
    to root's files. An empty file is the worst case: it could be taken for a new database."""
    daemon.stop()
    victim = daemon.dir / "victim"
    victim.touch(mode=0o600)
    planted = daemon.state / "db" / name
    planted.unlink(missing_ok=True)
    planted.symlink_to(victim)
    daemon.spawn()
    wait_for(daemon.answers_or_ended)
    assert victim.read_bytes() == b"" and victim.stat().st_uid == 0


@root_only
def test_runtime_that_others_can_write_in_is_refused(daemons):
    d = daemons()
    d.runtime.mkdir()
    d.runtime.chmod(0o777)
    assert "others than root can write in it" in refused(d, 1)


@root_only
def test_state_below_a_closed_directory(daemons):
    """/root/x as the state: the serving user cannot walk there, and need not."""
    d = daemons()
    closed = d.dir / "closed"
    closed.mkdir(mode=0o700)
    d.settings["state"] = closed / "state"
    d.write_config()
    d.start()
    d.fill()
    assert d.reserve().status == 201
    d.kill()
    d.start()
    d.fill()


@root_only
def test_missing_user_and_root_as_user_are_refused(daemons):
    d = daemons(settings={"user": "no-such-user"})
    assert "there is no user 'no-such-user'" in refused(d, 2)
    d = daemons(settings={"user": "root"})
    assert "'root' is root" in refused(d, 2)


def test_needs_no_root_for_fakes_and_refuses_local(daemons, request):
    if os.geteuid() != 0:
        d = daemons()
        d.start()
        assert status_of(d.process.pid)["Uid"].split()[0] == str(os.geteuid())
        local = daemons(providers={"sim": "{kind: local}"})
    else:
        d = daemons()
        d.dir.chmod(0o777)
        d.spawn_as = as_uid(12345)
        d.program = d.public("hearthd")
        os.chown(d.dir, 12345, 12345)
        d.runtime.mkdir(mode=0o755)
        os.chown(d.runtime, 12345, 12345)
        os.chmod(d.config, 0o644)
        d.start(**d.spawn_as)
        assert status_of(d.process.pid)["Uid"].split()[0] == "12345"
        assert d.fill()["ready"] == 2
        local = daemons(providers={"sim": "{kind: local}"})
        local.program = d.program
        os.chown(local.dir, 12345, 12345)
        local.runtime.mkdir(mode=0o755)
        os.chown(local.runtime, 12345, 12345)
        local.spawn(**as_uid(12345))
        assert local.process.wait(10) == 1
        assert "a provider of kind local needs root; start hearthd as root" in local.log_text()
        return
    assert "needs root" in refused(local, 1)


def test_only_test_programs_can_be_made_to_die():
    """What is installed holds no fault points; those of hearthd-test and hearth-launcher-test show that this would be seen."""
    for name in ("hearthd", "hearth", "hearth-launcher", "hearth-init"):
        assert b"HEARTH_TESTPOINT" not in pathlib.Path(program(name)).read_bytes(), name
    for name in ("daemon/hearthd-test", "launcher/hearth-launcher-test"):
        assert b"HEARTH_TESTPOINT" in (build_dir() / "src" / name).read_bytes(), name
