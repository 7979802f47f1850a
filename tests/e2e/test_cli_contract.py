# SPDX-License-Identifier: Apache-2.0
"""Goal: `hearth` keeps the contract of its manual towards those who call it (exit codes, one JSON document on
success and nothing otherwise, one line of error), towards ssh (files, modes, quoting), and towards a daemon
that is missing, broken, slow or hostile."""

import ctypes
import json
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import signal
import stat
import subprocess
import threading
import time

import pytest

from fake_hearthd import CODES, FakeHearthd, Refusal

BUILD = os.environ.get("HEARTH_BUILD")
ROOT = pathlib.Path(__file__).resolve().parents[2]
EXIT = {"invalid": 2, "not_permitted": 6, "not_found": 3, "conflict": 1, "too_large": 2, "no_capacity": 4,
        "rate_limited": 1, "internal": 1, "unavailable": 1}


def find_hearth():
    if BUILD:
        return pathlib.Path(BUILD) / "src/cli/hearth"
    built = sorted(ROOT.glob("build*/src/cli/hearth"), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else None


HEARTH = find_hearth()
pytestmark = pytest.mark.skipif(not HEARTH, reason="hearth is not built: set HEARTH_BUILD")


class Cli:
    """A user: a home of their own, a daemon, and a PATH with a stand-in for ssh where asked for."""

    def __init__(self, home, fake):
        self.home, self.fake = home, fake
        self.env = {"HOME": str(home), "PATH": os.environ["PATH"], "HEARTH_SOCKET": fake.path if fake else "/nowhere"}
        self.state = home / ".local/state/hearth"

    def start(self, *args, before=(), **kw):
        return subprocess.Popen([*before, HEARTH, *map(str, args)], env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=kw.pop("stdin", subprocess.DEVNULL), text=True, **kw)

    def run(self, *args, **kw):
        p = self.start(*args, **kw)
        out, err = p.communicate(timeout=30)
        return subprocess.CompletedProcess(args, p.returncode, out, err)

    def ok(self, *args):
        r = self.run(*args)
        assert r.returncode == 0, r.stderr
        assert r.stderr == ""
        return r.stdout

    def json(self, *args):
        return json.loads(self.ok(*args, "--json"))

    def fails(self, code, *args):
        r = self.run(*args)
        assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
        assert r.stdout == ""
        assert re.fullmatch(r"hearth: [^\n\x00-\x1f\x7f]+\n", r.stderr), r.stderr
        return r.stderr

    def wire(self):
        r = self.run("ssh-config", "--json")
        assert r.returncode == 0 and "ssh does not read" in r.stderr  # HOME is not the password file's
        return json.loads(r.stdout)

    def key(self, name="id_ed25519", where=None):
        where = where or self.home / ".ssh"
        where.mkdir(mode=0o700, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", where / name], check=True)
        return where / f"{name}.pub"

    def stand_in_for_ssh(self, script):
        """An `ssh` that notes its arguments, one file a call, and then does `script`."""
        bin_dir = self.home / "bin"
        bin_dir.mkdir()
        (bin_dir / "ssh").write_text(
            "#!/bin/sh\nn=$(ls \"$HOME\"/ssh-call-* 2>/dev/null | wc -l)\n"
            "printf '%s\\n' \"$@\" > \"$HOME/ssh-call-$n\"\n" + script + "\n")
        (bin_dir / "ssh").chmod(0o755)
        self.env["PATH"] = f"{bin_dir}:{self.env['PATH']}"

    def ssh_calls(self):
        return [p.read_text().splitlines() for p in sorted(self.home.glob("ssh-call-*"))]


@pytest.fixture
def fake(tmp_path):
    # a socket's path has at most 107 bytes, and pytest's names are long
    where = pathlib.Path(subprocess.check_output(["mktemp", "-d", "/tmp/hearth-cli-XXXXXX"], text=True).strip())
    f = FakeHearthd(where / "s")
    yield f
    f.close()
    shutil.rmtree(where)


@pytest.fixture
def cli(tmp_path, fake):
    home = tmp_path / "home"
    home.mkdir()
    return Cli(home, fake)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


# ---- exit codes, one line of error, purity of stdout ----

COMMANDS = [("list",), ("show", "x"), ("cancel", "x"), ("why", "x"), ("trace", "x"), ("cert", "x"),
            ("extend", "x", "--hours", "1"), ("reserve",), ("reserve", "--no-wait"), ("pool", "list"), ("pool", "show", "p"),
            ("pool", "set", "p", "--max", "3"), ("machine", "list"), ("machine", "show", "m"), ("disk", "list"),
            ("disk", "create", "d", "--size", "1G"), ("disk", "show", "d"), ("disk", "snapshot", "d"),
            ("disk", "clone", "d", "e"), ("disk", "delete", "d", "--yes"), ("image", "list"), ("image", "build", "i"),
            ("image", "delete", "i"), ("audit",), ("audit", "--repair"), ("bench", "all"), ("bench", "report")]


@pytest.mark.parametrize("code", CODES)
def test_every_error_code_has_its_exit_code_in_every_command(cli, fake, code):
    cli.key()
    fake.refuse = Refusal(code, "what failed: why\nwith \x1b[2J", "what to do")
    for command in COMMANDS:
        for flag in ((), ("--json",)):
            line = cli.fails(EXIT[code], *command, *flag)
            assert "what failed: why?with ?[2J; what to do" in line
    for command in (("ssh", "x"), ("run", "--", "true")):
        cli.fails(125, *command)


def test_no_daemon_is_5_and_says_what_to_do(cli, fake):
    cli.key()
    for command in COMMANDS:
        line = cli.fails(5, "--socket", "/nowhere/s", *command)
        assert "cannot reach hearthd at /nowhere/s: no such socket; start hearthd" in line
    cli.fails(125, "run", "--socket", "/nowhere/s", "--", "true")
    dead = pathlib.Path(fake.path + "dead")
    s = __import__("socket").socket(__import__("socket").AF_UNIX)
    s.bind(str(dead))
    s.close()
    assert "refused" in cli.fails(5, "list", "--socket", dead)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody who is not")
def test_a_socket_without_permission_is_6(cli, fake):
    os.chmod(fake.path, 0o600)
    os.chmod(os.path.dirname(fake.path), 0o755)
    home = pathlib.Path(os.path.dirname(fake.path)) / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    binary = home / "hearth"
    shutil.copy(HEARTH, binary)
    r = subprocess.run([binary, "list"], env={**cli.env, "HOME": str(home)}, user=65534, group=65534, extra_groups=[],
                       capture_output=True, text=True)
    assert (r.returncode, r.stdout) == (6, "")
    assert "permission denied; use sudo" in r.stderr


@pytest.mark.parametrize("raw, code", [
    (b"", 5),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]", 5),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[]", 5),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]xx\r\n0\r\n\r\n", 1),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 1),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 2),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", 2),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx", 1),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 1),
    (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 1),
    (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000, 1),
    (b"SSH-2.0-OpenSSH_9.2\r\n", 1),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", 1),
    (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 6),
])
def test_a_broken_reply_is_one_line_and_no_crash(cli, fake, raw, code):
    fake.raw = raw
    cli.fails(code, "list")


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]",
                                 b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n[]",
                                 b"HTTP/1.1 200 OK\nContent-Length: 2\n\n[]"])
def test_what_http_allows_is_understood(cli, fake, raw):
    fake.raw = raw
    assert cli.json("list") == []


def test_chunked_replies(cli, fake):
    cli.key()
    fake.chunked = True
    cli.json("reserve")
    assert len(cli.json("list")) == 1


def test_a_reply_over_16_mib_is_refused(cli, fake):
    fake.replies["GET", "/v1/pools"] = ["x" * (17 << 20)]
    assert "16 MiB" in cli.fails(2, "pool", "list")


def test_usage(cli):
    for args in ([], ["nonsense"], ["--nonsense"], ["pool"], ["pool", "nonsense"], ["list", "--nonsense"], ["list", "-x"],
                 ["list", "extra"], ["show"], ["show", "a", "b"], ["list", "--al"], ["list", "--all=1"], ["list", "--socket"],
                 ["list", "--socket="], ["list", "--socket", "/" + "x" * 200], ["pool", "set", "p"], ["extend", "x"],
                 ["pool", "set", "p", "--max", "-1"], ["pool", "set", "p", "--max", "1.5"], ["pool", "set", "p", "--max", "1x"],
                 ["trace", "x", "--format", "svg"], ["disk", "create", "d"], ["disk", "create", "d", "--size", "0"],
                 ["disk", "create", "d", "--size", "20Q"], ["disk", "delete", "d"], ["bench"], ["cancel"], ["help", "nonsense"]):
        assert "see 'hearth" in cli.fails(2, *args) or args == ["disk", "delete", "d"]
    for args in (["run"], ["run", "--"], ["run", "true"], ["run", "--count", "2", "--", "true"], ["ssh"], ["ssh", "x", "-l"]):
        cli.fails(125, *args)
    assert cli.fake.calls == []


def test_help_and_version(cli):
    assert re.fullmatch(r"hearth \d+\.\d+\.\d+\n", cli.ok("--version"))
    assert cli.ok("list", "--version") == cli.ok("--version")
    overview = cli.ok("help")
    assert cli.ok("--help") == overview
    names = re.findall(r"^  ([a-z-]+(?: [a-z]+)?)  +\S", overview.split("\nR, M")[0], re.M)
    assert len(names) == 27
    for name in names:
        assert cli.ok(*name.split(), "--help").startswith(f"usage: hearth {name}")
        assert cli.ok("help", *name.split()) == cli.ok(*name.split(), "-h")
    assert "pool set P" in cli.ok("pool", "--help")
    r = cli.run("ssh", "x", "--", "--help")
    assert r.returncode == 125  # what is behind -- is the command's


def test_json_is_one_document_and_global_options_go_anywhere(cli, fake):
    cli.key()
    first = json.loads(cli.ok("--json", "--socket", fake.path, "reserve"))
    assert isinstance(first, dict)
    assert isinstance(cli.json("reserve", "--count", "1"), list)
    assert len(cli.json("reserve", "--count", "3")) == 3
    assert len(cli.json("list")) == 5
    assert cli.json("show", first["id"])["id"] == first["id"]
    assert isinstance(cli.json("cancel", first["id"]), dict)
    assert [r["state"] for r in cli.json("cancel", "r-000000000002", "r-000000000003")] == ["ended", "ended"]
    assert len(cli.json("list")) == 2 and len(cli.json("list", "--all")) == 5
    for args in (("why", first["id"]), ("trace", first["id"]), ("trace", first["id"], "--format", "chrome"),
                 ("trace", first["id"], "--format", "otlp")):
        assert isinstance(cli.json(*args), dict)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_a_failure(cli):
    with open("/dev/full", "w") as full:
        r = subprocess.run([HEARTH, "list"], env=cli.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 1 and r.stderr.startswith("hearth: list: cannot write")


# ---- what is sent ----

def test_reserve_sends_the_contracts_fields(cli, fake):
    pub = cli.key()
    cli.ok("reserve", "--pool", "build", "--hours=0.5", "--name", "n", "--count", "2", "--idle", "30m", "--request-id", "q",
           "--no-wait", "--no-warm", "--disk", "d", "--disk", "e:20G", "--require-disk")
    method, path, body = fake.calls[0]
    assert (method, path) == ("POST", "/v1/reservations")
    assert body == {"pool": "build", "hours": 0.5, "name": "n", "count": 2, "idle": "30m", "request_id": "q",
                    "no_wait": True, "no_warm": True, "require_disk": True,
                    "disks": [{"name": "d"}, {"name": "e", "size_bytes": 20 << 30}],
                    "public_keys": [pub.read_text().strip()]}
    fake.calls.clear()
    cli.ok("reserve")
    assert set(fake.calls[0][2]) == {"public_keys"}
    fake.calls.clear()
    cli.ok("reserve", "--github", "octocat")
    assert fake.calls[0][2] == {"github": "octocat"}


def test_other_commands_send_what_the_contract_says(cli, fake):
    fake.refuse = Refusal("internal", "x")
    for args, want in (
            (("pool", "set", "p", "--running", "0", "--max", "9"), ("PATCH", "/v1/pools/p", {"running": 0, "max": 9})),
            (("extend", "a", "--hours", "1.5"), ("PATCH", "/v1/reservations/a", {"hours": 1.5})),
            (("cancel", "a"), ("DELETE", "/v1/reservations/a", None)),
            (("audit", "--repair"), ("POST", "/v1/audit", {"repair": True})),
            (("disk", "create", "d", "--size", "1G", "--from", "s"),
             ("POST", "/v1/disks", {"name": "d", "size_bytes": 1 << 30, "from_snapshot": "s"})),
            (("disk", "clone", "d", "e"), ("POST", "/v1/disks/d/clone", {"name": "e"})),
            (("list", "--all"), ("GET", "/v1/reservations?all=1", None))):
        fake.calls.clear()
        cli.fails(1, *args)
        assert fake.calls == [want]


# ---- input that is wrong ----

@pytest.mark.parametrize("name", ["a/b", "..", "a..b", "../../etc/passwd", "a\nb", "a b", "ä", "", "x" * 200, "%2e%2e", "a?b", "a#b"])
def test_a_name_that_cannot_be_is_wrong_usage_and_never_sent(cli, fake, name):
    for args in (("show", name), ("cancel", name), ("why", name), ("trace", name), ("cert", name),
                 ("extend", name, "--hours", "1"), ("pool", "show", name), ("machine", "show", name)):
        cli.fails(2, *args)
    cli.fails(125, "ssh", "--", name)
    assert fake.calls == []


@pytest.mark.parametrize("args", [
    ("--hours", "0"), ("--hours", "-1"), ("--hours", "1e3"), ("--hours", "nan"), ("--hours", "inf"), ("--hours", ""),
    ("--hours", "1,5"), ("--hours", "9" * 40), ("--hours", "1000001"), ("--hours", " 1"), ("--hours", "0x1"), ("--hours", "."),
    ("--count", "0"), ("--count", "-1"), ("--count", "1.5"), ("--count", "9" * 30), ("--count", "1x"),
    ("--idle", "30"), ("--idle", "0m"), ("--idle", "-5m"), ("--idle", "30min"), ("--idle", "9" * 19 + "h"),
    ("--disk", "d:0"), ("--disk", "d:20Q"), ("--key", "a", "--github", "b"), ("--name", b"\xff"), ("--hours",)])
def test_wrong_values_are_refused_before_anything_is_sent(cli, fake, args):
    cli.key()
    if isinstance(args[-1], bytes):
        r = subprocess.run([HEARTH, "reserve", *args], env=cli.env, capture_output=True, text=True)
        assert (r.returncode, r.stdout) == (2, "") and "UTF-8" in r.stderr
    else:
        cli.fails(2, "reserve", *args)
    assert fake.calls == []


def test_keys(cli, fake, tmp_path):
    pub = cli.key("other", tmp_path)
    private = tmp_path / "other"
    assert "is a private key, and was not sent" in cli.fails(2, "reserve", "--key", private)
    putty = tmp_path / "x.ppk"
    putty.write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    assert "private key" in cli.fails(2, "reserve", "--key", putty)
    cli.fails(2, "reserve", "--key", tmp_path / "missing.pub")
    assert "directory" in cli.fails(2, "reserve", "--key", tmp_path)
    for text in (b"", b"\n\n", b"a\nb\n", b"ssh-ed25519 A\0B\n", b"x" * 16385, b"ssh-ed25519 AAAA \xff\n"):
        (tmp_path / "bad.pub").write_bytes(text)
        cli.fails(2, "reserve", "--key", tmp_path / "bad.pub")
    assert fake.calls == []
    assert not (cli.state / "reservations").exists()
    r = cli.json("reserve", "--key", pub)
    assert fake.calls[0][2]["public_keys"] == [pub.read_text().strip()]
    assert f"IdentityFile={private}" in r["ssh_command"]


def test_a_key_is_found_else_made_once(cli, fake):
    cli.ok("reserve")
    made = cli.state / "id_ed25519"
    assert mode(made) == 0o600 and mode(cli.state) == 0o700
    text = made.read_text()
    cli.ok("reserve")
    assert made.read_text() == text
    pub = cli.key("id_rsa_is_not_looked_at")
    lonely = cli.home / ".ssh/id_ed25519.pub"
    lonely.write_text(pub.read_text())  # no private half, and no agent that could hold it
    cli.ok("reserve")
    assert fake.calls[-1][2]["public_keys"] == [(cli.state / "id_ed25519.pub").read_text().strip()]
    cli.env["SSH_AUTH_SOCK"] = "/agent"
    cli.ok("reserve")
    assert fake.calls[-1][2]["public_keys"] == [lonely.read_text().strip()]
    better = cli.key("id_ecdsa")
    cli.ok("reserve")
    assert fake.calls[-1][2]["public_keys"] == [better.read_text().strip()]


def test_two_at_once_make_one_key(cli, fake):
    both = [cli.start("reserve", "--json") for _ in range(8)]
    for p in both:
        assert p.communicate(timeout=30)[1] == "" and p.returncode == 0
    keys = {tuple(body["public_keys"]) for method, _, body in fake.calls if method == "POST"}
    assert keys == {((cli.state / "id_ed25519.pub").read_text().strip(),)}
    assert [p.name for p in cli.state.iterdir() if "key-" in p.name] == []


# ---- files and ssh ----

def ssh_g(*args, **kw):
    return dict(line.split(" ", 1) for line in
                subprocess.check_output(["ssh", "-G", *args], text=True, **kw).splitlines() if " " in line)


HOMES = ["plain", "with space", "it's", 'say "hi"', "back\\slash", "per%cent", "star*", "br[a]ck", "$dollar", "semi;colon", "ünï", "#hash"]


@pytest.mark.parametrize("name", HOMES)
def test_files_modes_and_quoting_for_sh_and_ssh(tmp_path, fake, name):
    home = tmp_path / name
    home.mkdir()
    cli = Cli(home, fake)
    cli.key()
    r = cli.json("reserve", "--name", "box")
    where = cli.state / "reservations" / r["id"]
    assert r["certificate_file"] == str(where / "key-cert.pub")
    assert r["known_hosts_file"] == str(where / "known_hosts")
    assert (where / "known_hosts").read_text() == fake.known.format(r["machine"])
    assert (where / "key-cert.pub").read_text() == fake.cert + "\n"
    for d in (cli.state, where.parent, where):
        assert mode(d) == 0o700
    for f in where.iterdir():
        assert mode(f) == 0o600
    assert {f.name for f in where.iterdir()} == {"key-cert.pub", "known_hosts", "ssh_config", "reservation.json"}
    assert "\n" not in r["ssh_command"]
    words = shlex.split(r["ssh_command"])
    assert words[0] == "ssh" and words[-1] == "dev@127.0.0.1" and "BatchMode" not in r["ssh_command"]
    cli.wire()
    want = {"hostname": "127.0.0.1", "user": "dev", "port": "22", "identityfile": str(home / ".ssh/id_ed25519"),
            "identitiesonly": "yes", "certificatefile": r["certificate_file"], "userknownhostsfile": r["known_hosts_file"],
            "globalknownhostsfile": "/dev/null", "stricthostkeychecking": "true", "hostkeyalias": r["machine"],
            "hostkeyalgorithms": "ssh-ed25519-cert-v01@openssh.com", "batchmode": "no"}
    # ssh -G prints these as they were given: it expands their % tokens later
    want.update({k: want[k].replace("%", "%%") for k in ("identityfile", "certificatefile")})
    got = ssh_g("-F", "/dev/null", *words[1:])
    assert {k: got[k] for k in want} == want
    for alias in ("box.hearth", f"{r['id']}.hearth"):
        got = ssh_g("-F", str(home / ".ssh/config"), alias)
        assert {k: got[k] for k in want} == want
    # the line is for sh: the shell must come to the same words
    by_sh = subprocess.check_output(["sh", "-c", "printf '%s\\0' " + r["ssh_command"][4:]]).decode().split("\0")[:-1]
    assert by_sh == words[1:]


def test_a_path_ssh_cannot_be_told_gives_the_machine_back(tmp_path, fake):
    home = tmp_path / "a${b}"
    home.mkdir()
    cli = Cli(home, fake)
    cli.key()
    cli.fails(2, "reserve")
    assert [r["state"] for r in fake.reservations.values()] == ["ended"]
    assert list((cli.state / "reservations").iterdir()) == []


def test_xdg_state_home(cli, tmp_path):
    cli.key()
    cli.env["XDG_STATE_HOME"] = str(tmp_path / "deep/er/state")
    assert cli.json("reserve")["certificate_file"].startswith(str(tmp_path / "deep/er/state/hearth/"))
    assert mode(tmp_path / "deep/er/state/hearth") == 0o700
    cli.env["XDG_STATE_HOME"] = "relative"
    assert cli.json("reserve")["certificate_file"].startswith(str(cli.state))


def test_a_too_open_state_directory_is_closed(cli):
    cli.key()
    cli.state.mkdir(parents=True)
    cli.state.chmod(0o777)
    cli.ok("reserve")
    assert mode(cli.state) == 0o700


def test_the_newer_of_two_with_one_name_wins(cli):
    cli.key()
    cli.wire()
    first, second = cli.json("reserve", "--name", "box"), cli.json("reserve", "--name", "box")
    config = str(cli.home / ".ssh/config")
    assert ssh_g("-F", config, "box.hearth")["hostkeyalias"] == second["machine"] != first["machine"]
    assert cli.json("show", first["id"])["ssh_command"]


def test_what_has_ended_is_forgotten(cli, fake):
    cli.key()
    saved = lambda: sorted(p.name for p in (cli.state / "reservations").iterdir())
    ids = [cli.json("reserve")["id"] for _ in range(4)]
    assert saved() == ids
    cli.ok("cancel", ids[0])
    assert saved() == ids[1:]
    fake.end(fake.reservations[ids[1]])
    shown = cli.json("show", ids[1])
    assert shown["state"] == "ended" and shown["ssh_command"] is None
    assert saved() == ids[2:]
    fake.end(fake.reservations[ids[2]])
    cli.ok("list")
    assert saved() == ids[3:]
    other = FakeHearthd(fake.path + "2")  # another daemon's list says nothing of ours
    try:
        assert cli.json("list", "--socket", other.path) == []
    finally:
        other.close()
    assert saved() == ids[3:]


@pytest.mark.parametrize("field, value", [("id", "../../../x"), ("name", "a\nProxyCommand touch /tmp/pwned"), ("host", "-oProxyCommand=x"),
                                          ("host", "a b"), ("login", "-x"), ("port", 70000), ("machine", "m\nx"),
                                          ("certificates", ["a\nb"]), ("known_hosts", "x\x00y\x1b")])
def test_a_hostile_daemon_writes_nothing_into_ssh_configuration(cli, fake, field, value):
    cli.key()
    make = fake.activate
    fake.activate = lambda r: (make(r), r.update({field: value}))
    cli.fails(1, "reserve")
    assert not list(cli.state.glob("reservations/*/*")) and not list(cli.home.glob("x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_a_full_disk_leaves_nothing_half_made(cli, fake, left):
    """`left` is how many pages the disk has room for when the reservation's files are written."""
    cli.key()
    cli.state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", cli.state], check=True)
    try:
        before = cli.json("reserve")
        kept = {p: p.read_bytes() for p in cli.state.rglob("*") if p.is_file()}
        free = os.statvfs(cli.state).f_bavail - left
        with open(cli.state / "filler", "wb") as f:
            f.write(b"x" * (free * os.statvfs(cli.state).f_frsize))
        line = cli.fails(1, "reserve")
        assert "No space left" in line
        assert [r["state"] for r in fake.reservations.values()] == ["active", "ended"]
        assert {p: p.read_bytes() for p in kept} == kept
        assert not list(cli.state.rglob("*.tmp"))
        assert [p.name for p in (cli.state / "reservations").iterdir()] == [before["id"]]
    finally:
        subprocess.run(["umount", cli.state], check=True)


# ---- ssh-config ----

def test_ssh_config_is_wired_once_at_the_top(cli):
    config = cli.home / ".ssh/config"
    assert cli.wire()["changed"] is True and mode(config) == 0o600 and mode(config.parent) == 0o700
    text = config.read_text()
    assert cli.wire()["changed"] is False
    assert config.read_text() == text
    include = text.splitlines()[1]
    # one that stands below a Host is only that host's
    config.write_text(f"Host a\n{include}\n")
    config.chmod(0o640)
    assert cli.wire()["changed"] is True
    assert config.read_text().splitlines()[1] == include and config.read_text().endswith(f"Host a\n{include}\n")
    assert mode(config) == 0o640


def test_ssh_config_follows_a_link_and_refuses_a_dead_one(cli, tmp_path):
    (cli.home / ".ssh").mkdir()
    real = tmp_path / "dotfiles"
    real.write_text("Host x\n  User y\n")
    link = cli.home / ".ssh/config"
    link.symlink_to(real)
    assert cli.run("ssh-config").returncode == 0
    assert link.is_symlink() and real.read_text().splitlines()[1].startswith("Include ")
    real.unlink()
    assert cli.run("ssh-config").returncode == 2


# ---- waiting ----

def test_a_cold_one_is_waited_for_in_silence_on_a_pipe(cli, fake):
    cli.key()
    fake.prepare_looks = 3
    r = cli.json("reserve")  # ok() checks that stderr is empty
    assert r["state"] == "active" and r["ssh_command"]
    assert [path for _, path, _ in fake.calls[1:]] == [f"/v1/reservations/{r['id']}?wait=30"] * 3


def test_one_that_fails_is_an_error(cli, fake):
    cli.key()
    fake.prepare_looks, fake.end_as = 2, ("failed", "launch: no\nspace")
    assert "failed: launch: no?space; see 'hearth why r-" in cli.fails(1, "reserve", "--json")
    assert "failed" in cli.fails(125, "run", "--", "true")


def test_a_group_is_all_or_none(cli, fake):
    cli.key()
    activate, fake.prepare_looks = fake.activate, 1
    fake.activate = lambda r: activate(r) if r["id"] != "r-000000000002" else fake.end(r, "failed", "no luck")
    cli.fails(1, "reserve", "--count", "3")
    assert {r["state"] for r in fake.reservations.values()} == {"ended"}
    assert list((cli.state / "reservations").iterdir()) == []


# As a terminal's shell starts it, and as nohup does, whichever of both the tests run under.
WITH_HANGUP, WITHOUT_HANGUP = ["env", "--default-signal=HUP"], ["env", "--ignore-signal=HUP"]


def wait_for(what, seconds=10):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_reservation_back(cli, fake, sig):
    cli.key()
    fake.prepare_looks, fake.hold_get = 1, threading.Event()
    p = cli.start("reserve", "--json", "--count", "2", before=WITH_HANGUP)
    wait_for(lambda: any("wait=" in path for _, path, _ in fake.calls))
    p.send_signal(sig)
    out, err = p.communicate(timeout=10)
    fake.hold_get.set()
    assert p.returncode == 128 + sig and out == ""
    assert err == "hearth: reserve: interrupted; nothing is reserved\n"
    assert {r["state"] for r in fake.reservations.values()} == {"ended"}


def test_under_nohup_a_hangup_changes_nothing(cli, fake):
    cli.key()
    fake.prepare_looks, fake.hold_get = 1, threading.Event()
    p = cli.start("reserve", "--json", before=WITHOUT_HANGUP)
    wait_for(lambda: any("wait=" in path for _, path, _ in fake.calls))
    p.send_signal(signal.SIGHUP)
    fake.hold_get.set()
    out, err = p.communicate(timeout=10)
    assert (p.returncode, err) == (0, "") and json.loads(out)["state"] == "active"


def test_a_daemon_that_restarts_is_waited_for(cli, fake):
    cli.key()
    fake.prepare_looks = 2
    looks = []
    look = fake.look

    def drop_first(r):
        looks.append(1)
        if len(looks) == 1:
            raise ConnectionError  # the handler dies, and its connection with it
        return look(r)
    fake.look = drop_first
    assert cli.json("reserve")["state"] == "active"
    assert len(looks) == 3


def test_progress_on_a_terminal(cli, fake):
    cli.key()
    fake.prepare_looks = 3
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(HEARTH, ["hearth", "reserve"], {**cli.env, "TERM": "xterm"})
    text = b""
    while True:
        assert select.select([fd], [], [], 10)[0]
        try:
            part = os.read(fd, 4096)
        except OSError:
            break
        if not part:
            break
        text += part
    assert os.waitpid(pid, 0)[1] == 0
    os.close(fd)
    assert "brave-otter-1: queued, number 2 in the queue, ready in about 1m" in text.decode()
    assert "ssh brave-otter-1.hearth" in text.decode()


# ---- ssh and run ----

@pytest.mark.parametrize("code", [0, 1, 7, 126, 254])
def test_ssh_and_run_exit_as_the_command_did(cli, fake, code):
    cli.key()
    cli.stand_in_for_ssh(f"exit {code}")
    cli.ok("reserve", "--name", "box")
    assert cli.run("ssh", "box", "--", "x").returncode == code
    r = cli.run("run", "--name", "once", "--", "x")
    assert (r.returncode, r.stderr) == (code, "")
    assert [r["state"] for r in fake.reservations.values()] == ["active", "ended"]
    assert [p.name for p in (cli.state / "reservations").iterdir()] == ["r-000000000001"]


def test_words_of_a_command_arrive_as_they_are(cli):
    cli.key()
    cli.stand_in_for_ssh('for last; do :; done; exec sh -c "$last"')
    cli.ok("reserve", "--name", "box")
    hard = ["printf", "%s|", "a b", "it's", "$HOME", "*", "", "`x`"]
    assert cli.run("ssh", "box", "--", *hard).stdout == "a b|it's|$HOME|*||`x`|"
    assert cli.run("run", "--", *hard).stdout == "a b|it's|$HOME|*||`x`|"
    assert cli.run("run", "--", "sh", "-c", "exit 3").returncode == 3
    assert cli.run("ssh", "box", "--", "cd / && pwd").stdout == "/\n"
    assert cli.run("run", "--", "cat", stdin=open("/dev/null")).stdout == ""


def test_ssh_arguments(cli, fake):
    cli.key()
    cli.stand_in_for_ssh("exit 0")
    r = cli.json("reserve", "--name", "box")
    assert cli.run("ssh", "box").returncode == 0
    assert cli.ssh_calls()[0] == shlex.split(r["ssh_command"])[1:]
    assert cli.run("ssh", "r-0").returncode == 0  # a prefix; ssh's files are of the id


def test_ssh_on_another_computer_gets_its_own_certificate(cli, fake, tmp_path):
    cli.key()
    cli.ok("reserve", "--name", "box")
    (tmp_path / "laptop").mkdir()
    laptop = Cli(tmp_path / "laptop", fake)
    pub = laptop.key()
    laptop.stand_in_for_ssh("exit 0")
    fake.calls.clear()
    assert laptop.run("ssh", "box").returncode == 0
    assert ("POST", "/v1/reservations/r-000000000001/certificates", {"public_keys": [pub.read_text().strip()]}) in fake.calls
    fake.calls.clear()
    assert laptop.run("ssh", "box").returncode == 0
    assert [m for m, _, _ in fake.calls] == ["GET"]


def test_a_swapped_machine_is_followed(cli, fake):
    cli.key()
    fake.port = 1  # nobody answers there
    cli.stand_in_for_ssh('[ -e "$HOME/ssh-call-1" ] && exit 5; exit 255')
    cli.ok("reserve", "--name", "box")
    calls = fake.calls
    find = fake.find

    def swap_on_second_look(ref):
        r = find(ref)
        if len([c for c in calls if c[0] == "GET"]) == 3 and fake.machines == 1:
            fake.activate(r)
        return r
    fake.find = swap_on_second_look
    r = cli.run("ssh", "box", "--", "x")
    assert (r.returncode, r.stderr) == (5, "")
    first, second = cli.ssh_calls()
    assert "HostKeyAlias=m-000000000001" in first and "HostKeyAlias=m-000000000002" in second
    assert cli.json("show", "box")["ssh_command"].count("m-000000000002") == 1


def test_255_without_a_swap_is_255(cli, fake):
    cli.key()
    s = __import__("socket").create_server(("127.0.0.1", 0))
    fake.port = s.getsockname()[1]
    threading.Thread(target=lambda: s.accept()[0].send(b"SSH-2.0-x\r\n"), daemon=True).start()
    cli.stand_in_for_ssh("exit 255")
    cli.ok("reserve", "--name", "box")
    assert cli.run("ssh", "box").returncode == 255
    assert len(cli.ssh_calls()) == 1
    s.close()


@pytest.mark.parametrize("sig, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_run_passes_a_signal_on_and_still_ends(cli, fake, sig, code):
    cli.key()
    cli.stand_in_for_ssh('exec sleep 30')
    p = cli.start("run", "--", "x", before=WITH_HANGUP)
    wait_for(lambda: cli.ssh_calls())
    time.sleep(0.1)  # from noting its arguments to exec
    p.send_signal(sig)
    assert p.communicate(timeout=10)[1] == "" and p.returncode == code
    assert [r["state"] for r in fake.reservations.values()] == ["ended"]


def test_under_nohup_run_outlives_a_hangup(cli, fake):
    cli.key()
    cli.stand_in_for_ssh('exec sleep 0.5')
    p = cli.start("run", "--", "x", before=WITHOUT_HANGUP)
    wait_for(lambda: cli.ssh_calls())
    p.send_signal(signal.SIGHUP)
    assert p.communicate(timeout=10)[1] == "" and p.returncode == 0
    assert [r["state"] for r in fake.reservations.values()] == ["ended"]


def test_run_that_is_interrupted_while_it_waits_ends_too(cli, fake):
    cli.key()
    fake.prepare_looks, fake.hold_get = 1, threading.Event()
    p = cli.start("run", "--", "x")
    wait_for(lambda: any("wait=" in path for _, path, _ in fake.calls))
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=10)
    fake.hold_get.set()
    assert p.returncode == 143
    assert [r["state"] for r in fake.reservations.values()] == ["ended"]


def test_run_tells_when_it_could_not_end(cli, fake):
    cli.key()
    cli.stand_in_for_ssh("exit 4")
    fake.refuse_on["DELETE", "/v1/reservations"] = Refusal("internal", "no")
    r = cli.run("run", "--", "x")
    assert r.returncode == 4 and "end reservation r-000000000001: no; use 'hearth cancel r-" in r.stderr


def test_no_ssh_is_125(cli, fake, tmp_path):
    cli.key()
    cli.env["PATH"] = str(tmp_path)
    assert "not installed" in cli.fails(125, "run", "--", "x")
    assert [r["state"] for r in fake.reservations.values()] == ["ended"]


# ---- what is printed ----

def test_control_characters_never_reach_the_terminal(cli, fake):
    evil = "x\x1b]0;t\x07\x9b31m\n\r\u202ey\x7f"
    r = fake.new({"name": "box"})
    r.update(miss_reason=evil, user=evil, pool=evil, path=evil, reason=evil)
    fake.replies["GET", "/v1/pools"] = [{"name": evil, "last_error": evil, "ready": 1}]
    fake.replies["GET", "/v1/machines/m"] = {"id": evil, "error": evil, "output": "a" + evil + "\nb"}
    fake.replies["GET", "/v1/audit"] = {"ok": True, "provider_only": [{"ref": evil}], "ledger_only": [evil], "open_steps": 1}
    for args in (("list",), ("list", "--all"), ("show", "box"), ("pool", "list"), ("machine", "show", "m"), ("audit",),
                 ("trace", "box"), ("why", "box")):
        out = cli.ok(*args)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out), (args, out)
    assert json.loads(cli.ok("pool", "list", "--json"))[0]["name"] == evil


def test_columns_line_up(cli, fake):
    fake.new({"name": "ö"})
    fake.new({"name": "a-much-longer-name"})
    lines = cli.ok("list").splitlines()
    at = lines[0].index("STATE")
    assert [line[at:at + 6] for line in lines[1:]] == ["active"] * 2
    assert re.search(r"\s3h59m\s", lines[1])
    fake.reservations.clear()
    assert cli.ok("list").startswith("NAME")


def test_audit_exits_1_when_differences_remain_and_still_prints_them(cli, fake):
    fake.replies["GET", "/v1/audit"] = {"ok": False, "provider_only": [{"ref": "c1"}], "ledger_only": [], "open_steps": 2}
    fake.replies["POST", "/v1/audit"] = {"ok": True, "provider_only": [], "ledger_only": [], "open_steps": 2}
    r = cli.run("audit", "--json")
    assert r.returncode == 1 and json.loads(r.stdout)["ok"] is False and r.stderr == ""
    r = cli.run("audit")
    assert r.returncode == 1 and "only at the provider: ref c1" in r.stdout
    assert cli.json("audit", "--repair")["ok"] is True


def test_trace_goes_to_stderr_beside_json(cli):
    cli.key()
    r = cli.run("reserve", "--trace", "--json")
    assert json.loads(r.stdout)["state"] == "active" and "STEP" in r.stderr
    assert "STEP" in cli.ok("reserve", "--trace")


def test_extend_renews_the_certificate_file(cli, fake):
    cli.key()
    r = cli.json("reserve", "--name", "box")
    fake.cert = fake.cert.replace("fakecert", "newerone")
    fake.reservations[r["id"]]["certificates"] = [fake.cert]
    out = cli.ok("extend", "box", "--hours", "2")
    assert out == "box expires in 5h59m\n"
    assert pathlib.Path(r["certificate_file"]).read_text() == fake.cert + "\n"
    assert cli.json("cert", "box")["certificate_file"] == r["certificate_file"]


def test_a_daemon_that_goes_down_while_it_undoes_is_asked_again(cli, fake):
    cli.key()
    r = cli.json("reserve")
    answers = []
    one = fake.one

    def going_down(method, r, *rest):
        answers.append(method)
        if method == "DELETE" and answers.count("DELETE") == 1:
            raise Refusal("unavailable", "hearthd is stopping")
        if method == "DELETE" and answers.count("DELETE") == 2:
            raise ConnectionError
        return one(method, r, *rest)
    fake.one = going_down
    assert cli.json("cancel", r["id"])["state"] == "ended"
    assert answers == ["DELETE"] * 3


def test_no_wait_is_asked_for_and_not_waited_for(cli, fake):
    cli.key()
    r = cli.json("reserve")
    fake.end = lambda r: None  # takes the order, and is not done
    assert cli.json("cancel", r["id"], "--no-wait")["state"] == "active"
    assert [c[:2] for c in fake.calls[1:]] == [("DELETE", f"/v1/reservations/{r['id']}?wait=0")]


@pytest.mark.parametrize("last, code", [({"version": "2"}, 0), ({"version": "1", "error": "no mirror"}, 1)])
def test_image_build_waits(cli, fake, last, code):
    steps = [{"name": "debian", "version": "1", "percent": p, "error": None} for p in (0, 60)]
    steps.append({"name": "debian", "percent": None, "error": None, **last})
    fake.replies["POST", "/v1/images"] = {"name": "debian", "version": "1", "percent": None, "error": None}
    answer = fake.answer

    def next_step(method, target, body):
        if (method, target) == ("GET", "/v1/images"):
            return 200, [steps.pop(0) if len(steps) > 1 else steps[0]]
        return answer(method, target, body)
    fake.answer = next_step
    r = cli.run("image", "build", "debian", "--json")
    assert r.returncode == code, r.stderr
    if code == 0:
        assert json.loads(r.stdout)["version"] == "2" and r.stderr == ""
    else:
        assert r.stderr == "hearth: image build: build 'debian': no mirror\n" and r.stdout == ""


# ---- what ships beside it ----

@pytest.mark.parametrize("name", ["contrib/completions/hearth.bash", "contrib/completions/_hearth",
                                  "contrib/completions/hearth.fish", "man/hearth.1.scd"])
def test_completions_and_manual_know_every_command_and_option(cli, name):
    text = (ROOT / name).read_text()
    overview = cli.ok("help").split("\nR, M")[0]
    for command in re.findall(r"^  ([a-z-]+(?: [a-z]+)?)  +\S", overview, re.M):
        words = set(command.split())
        words |= {o if not name.endswith(".fish") else "-l " + o[2:]
                  for o in re.findall(r"^  (--[a-z-]+)", cli.ok(*command.split(), "--help"), re.M)}
        missing = [w for w in words if not re.search(rf"(?<![a-z-]){re.escape(w)}(?![a-z-])", text)]
        assert not missing, command


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("line, want", [(["hearth", "rese"], {"reserve"}), (["hearth", "pool", "s"], {"show", "set"}),
                                        (["hearth", "trace", "x", "--format", "c"], {"chrome"}), (["hearth", "show", "bo"], {"box"}),
                                        (["hearth", "--socket", "/x", "au"], {"audit"}), (["hearth", "run", "--", "x"], set())])
def test_bash_completes(cli, fake, line, want):
    fake.new({"name": "box"})
    script = (f"source {ROOT}/contrib/completions/hearth.bash; COMP_WORDS=({shlex.join(line)}); "
              "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _hearth; printf '%s\\n' \"${COMPREPLY[@]}\"")
    env = {**cli.env, "PATH": f"{pathlib.Path(HEARTH).parent}:{cli.env['PATH']}"}
    out = subprocess.run(["bash", "--norc", "-c", script], env=env, capture_output=True, text=True).stdout
    assert set(out.split()) == want


def test_files_that_cannot_all_be_made_leave_none(cli, fake, tmp_path):
    """A reservation made elsewhere: it stays, and there is nothing of it here."""
    cli.key()
    fake.new({"name": "box"})
    fake.reservations["r-000000000001"]["known_hosts"] = "x\x1by"  # checked after the certificate is written
    cli.fails(1, "cert", "box")
    assert list((cli.state / "reservations").iterdir()) == []
    assert fake.reservations["r-000000000001"]["state"] == "active"
