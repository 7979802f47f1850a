# SPDX-License-Identifier: Apache-2.0
"""Goal: secrets are where they belong and nowhere else: not on a command line, not in a log, not in a file that others
can read; and what faces users has no privilege left."""

import base64
import os
import pathlib
import stat
import threading
import time

import pytest

from local_lab import lab

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def house():
    with lab(pool="running: 2, max: 12", extra="log_level: debug\n") as made:
        yield made


def secret_lines(text):
    """The middle lines of OpenSSH private keys: the last ones are padding and comment, the first the same in all keys."""
    lines = text.decode().split("\n")
    return [line for line in lines if len(line) == 70][2:4] or [line for line in lines if line and "-" not in line][-2:]


def secrets(house):
    """Bytes that nobody must see, by what they are of."""
    found = {}
    for name in ("user_ca", "host_ca"):
        found[name] = (house.state / "db" / name).read_bytes()
    for ident, pid in house.alive().items():
        key = pathlib.Path(f"/proc/{pid}/root/etc/hearth/host_key")
        found["host key of " + ident] = key.read_bytes()
    return {name: [line.encode() for line in secret_lines(text)] for name, text in found.items() if text}


def test_there_are_secrets_to_look_for(house):
    assert len(secrets(house)) >= 4
    for name, lines in secrets(house).items():
        assert lines and all(len(line) >= 40 for line in lines), (name, lines)


def test_modes(house):
    db = house.state / "db"
    assert stat.S_IMODE(db.stat().st_mode) == 0o700
    for name in ("user_ca", "host_ca", "hearth.db"):
        s = (db / name).stat()
        assert stat.S_IMODE(s.st_mode) == 0o600 and s.st_uid == db.stat().st_uid != 0, name
    for path, most in ((house.state, 0o755), (house.state / "machines", 0o755), (house.state / "slots", 0o755),
                       (house.state / "trash", 0o755), (house.runtime, 0o755), (house.runtime / "machines", 0o755)):
        s = path.stat()
        assert s.st_uid == 0 and stat.S_IMODE(s.st_mode) & ~most == 0, (path, oct(s.st_mode))
    for ident in house.alive():
        assert stat.S_IMODE((house.state / "machines" / ident).stat().st_mode) & 0o066 == 0
        control = (house.runtime / "machines" / ident / "control.sock").stat()
        assert stat.S_IMODE(control.st_mode) & 0o077 == 0
        pid = house.pid_of(ident)
        key = pathlib.Path(f"/proc/{pid}/root/etc/hearth/host_key").stat()
        assert stat.S_IMODE(key.st_mode) == 0o600
        assert key.st_uid >= house.uid_base, "root of the machine, not of the host"


def test_a_user_of_the_host_reads_nothing(house):
    """As somebody on the host walks through the state: no secret comes out."""
    alice = house.user()
    listing = alice.run("find", house.state, house.runtime, "-type", "f", "-readable", "-not", "-path", "*/images/*").stdout
    wanted = secrets(house)
    for path in listing.split("\n"):
        if path and os.path.isfile(path):
            data = pathlib.Path(path).read_bytes()
            for name, lines in wanted.items():
                assert not any(line in data for line in lines), (path, name)
    for ident in house.alive():
        p = alice.run("sh", "-c", f"ls {house.state}/machines/{ident} {house.state}/machines/{ident}/u")
        assert p.returncode != 0 and p.stdout == "", p


def test_no_secret_on_a_command_line_or_in_the_environment(house):
    """All processes are looked at the whole time while machines are made and logged into."""
    seen, stop = {}, threading.Event()

    def look():
        while not stop.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for what in ("cmdline", "environ"):
                    try:
                        data = pathlib.Path(f"/proc/{pid}/{what}").read_bytes()
                    except OSError:
                        continue
                    if b"PRIVATE KEY" in data or b"b3BlbnNzaC1rZXk" in data:
                        seen[pid, what] = data
                    looked.add((pid, what))
            time.sleep(0.005)

    looked = set()
    thread = threading.Thread(target=look)
    thread.start()
    try:
        alice = house.user()
        for _ in range(3):
            assert alice.hearth("run", "--no-warm", "--", "true").returncode == 0
    finally:
        stop.set()
        thread.join()
    assert not seen
    assert len(looked) > 20


def test_no_secret_in_the_log(house):
    """At level debug, with a launch that failed and a private key given by mistake."""
    alice = house.user()
    alice.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "mine", check=True)
    private = (alice.home / "mine").read_text()
    p = alice.hearth("reserve", "--key", "mine")
    assert p.returncode == 2 and "private" in p.stderr and private.split("\n")[2] not in p.stderr
    reply = house.reserve(public_keys=[private])
    assert reply.status == 400 and private.split("\n")[2].encode() not in reply.body
    house.fill()
    log = house.log.read_bytes()
    assert len(log) > 100
    for name, lines in secrets(house).items():
        assert not any(line in log for line in lines), name
    assert b"PRIVATE KEY" not in log and private.split("\n")[2].encode() not in log


def test_database_holds_no_private_key(house):
    data = b"".join(p.read_bytes() for p in (house.state / "db").glob("hearth.db*"))
    for name, lines in secrets(house).items():
        assert not any(line in data for line in lines), name
        assert not any(base64.b64decode(line + b"=" * (-len(line) % 4))[:40] in data for line in lines), name


def status(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def test_what_faces_users_has_no_privilege(house):
    s = status(house.process.pid)
    assert "0" not in s["Uid"].split() and "0" not in s["Gid"].split() and s["Groups"].strip() == ""
    assert s["NoNewPrivs"] == "1"
    assert all(int(s[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    launcher = house.launcher_pid()
    assert launcher != house.process.pid and status(launcher)["Uid"].split()[0] == "0"
    libraries = pathlib.Path(f"/proc/{launcher}/maps").read_text()
    assert not any(name in libraries for name in ("microhttpd", "jansson", "sqlite", "crypto", "yaml"))
    p = house.user().run("cat", f"/proc/{house.process.pid}/environ")
    assert p.returncode != 0


def test_machines_share_no_user_with_the_host_or_each_other(house):
    owners = {}
    for ident, pid in house.alive().items():
        maps = pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()
        assert maps[0] == "0" and maps[2] == "65536" and int(maps[1]) >= house.uid_base
        owners[int(maps[1])] = ident
        s = status(pid)
        assert int(s["Uid"].split()[0]) >= house.uid_base
    assert len(owners) == len(house.alive())
