# SPDX-License-Identifier: Apache-2.0
"""Goal: whatever people do over ssh works with a reservation's files and by its name, for root and for everybody
else, with a host that is checked; and nobody gets in whose certificate is not for this machine, now, by our authority."""

import hashlib
import os
import pathlib
import shlex
import socket
import subprocess
import time

import pytest

from local_lab import OPTIONS, connect, free_port, lab, process

pytestmark = pytest.mark.root

FDPASS = """import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.send_fds(socket.socket(fileno=os.dup(1)), [b"\\0"], [s.fileno()])
"""


@pytest.fixture(scope="module")
def house():
    with lab() as made:
        yield made


@pytest.fixture(scope="module")
def alice(house):
    user = house.user("alice")
    user.hearth("ssh-config", check=True)
    return user


@pytest.fixture(scope="module")
def box(alice):
    return alice.reserve("--name", "box", "--hours", "1")


# ---- getting in ----


@pytest.mark.parametrize("name", ["alice", "root"])
def test_reserve_and_log_in(house, name):
    """The whole of it: reserve, ssh_command, `ssh NAME.hearth`, cancel; with no question asked."""
    user = house.root() if name == "root" else house.user(name)
    r = user.reserve("--name", name + "-first")
    assert r["state"] == "active" and r["path"] == "warm" and r["miss_reason"] is None
    assert user.ssh(r, "id -un; hostname", check=True).stdout.split()[0] == "dev"
    user.hearth("ssh-config", check=True)
    by_name = user.run("ssh", *OPTIONS, "-o", "BatchMode=yes", f"{name}-first.hearth", "echo $SSH_CONNECTION; sudo id -u")
    assert by_name.returncode == 0, by_name
    assert r["host"] in by_name.stdout and by_name.stdout.endswith("\n0\n")
    home = user.home
    assert not (home / ".ssh/known_hosts").exists(), "ssh has written down what it must not trust"
    user.hearth("cancel", r["id"], check=True)
    assert user.ssh(r, "true").returncode == 255


def test_files_are_private(alice, box):
    state = alice.home / ".local/state/hearth"
    for p in [state, *state.rglob("*")]:
        mode = p.stat().st_mode & (~0o044 if p.suffix == ".pub" else ~0)
        assert mode & 0o077 == 0 and p.stat().st_uid == alice.uid, (p, oct(mode))


def test_ssh_command_is_strict(alice, box):
    """What the client would do with another host key: it must not even ask."""
    config = alice.run("sh", "-c", box["ssh_command"].replace("ssh ", "ssh -G ", 1), check=True).stdout.lower()
    assert "\nstricthostkeychecking true\n" in config or "\nstricthostkeychecking yes\n" in config
    assert "globalknownhostsfile /dev/null" in config


def test_host_of_another_authority_is_refused(house, alice, box, tmp_path):
    """The machine is right and the authority that the client knows is not, as when somebody took the address."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ca"], check=True)
    known = pathlib.Path(box["known_hosts_file"])
    words = known.read_text().split()
    other = alice.home / "known_hosts_other"
    at = words.index("ssh-ed25519") + 1
    other.write_text(" ".join([*words[:at], (tmp_path / "ca.pub").read_text().split()[1]]) + "\n")
    os.chown(other, alice.uid, alice.uid)
    command = box["ssh_command"].replace(str(known), str(other))
    assert command != box["ssh_command"]
    p = alice.run("sh", "-c", command + " true")
    assert p.returncode == 255 and "Host key verification failed" in p.stderr, p
    assert alice.ssh(box, "true").returncode == 0


# ---- staying out ----


def certificate(house, alice, authority, principal, validity):
    """A key of alice's with a certificate made by hand; its path."""
    d = alice.home / f"made-{time.monotonic_ns()}"
    d.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d / "key"], check=True)
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "by hand", "-n", principal, "-V", validity,
                    d / "key.pub"], check=True)
    for p in [d, *d.iterdir()]:
        os.chown(p, alice.uid, alice.uid)
    return d / "key"


def attempt(alice, box, key, cert=True):
    known = ["-o", f"UserKnownHostsFile={box['known_hosts_file']}", "-o", "GlobalKnownHostsFile=/dev/null",
             "-o", f"HostKeyAlias={box['machine']}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
             "-o", "IdentitiesOnly=yes", "-o", "HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com"]
    files = ["-o", f"CertificateFile={key}-cert.pub"] if cert else []
    return alice.run("ssh", "-F", "none", *known, "-i", key, *files, "-p", str(box["port"]),
                     f"{box['login']}@{box['host']}", "true")


def test_certificates_that_are_refused(house, alice, box, tmp_path):
    ca = house.state / "db/user_ca"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ca"], check=True)
    good = certificate(house, alice, ca, box["machine"], "-1h:+1h")
    assert attempt(alice, box, good).returncode == 0, "the authority's own certificate must do, or this test proves nothing"
    refused = {
        "for another machine": certificate(house, alice, ca, "m-000000000000", "-1h:+1h"),
        "for the login's name": certificate(house, alice, ca, "dev", "-1h:+1h"),
        "expired": certificate(house, alice, ca, box["machine"], "-2h:-1m"),
        "of the future": certificate(house, alice, ca, box["machine"], "+1h:+2h"),
        "of another authority": certificate(house, alice, tmp_path / "ca", box["machine"], "-1h:+1h"),
        "of the host authority": certificate(house, alice, house.state / "db/host_ca", box["machine"], "-1h:+1h"),
    }
    for what, key in refused.items():
        p = attempt(alice, box, key)
        assert p.returncode == 255 and "Permission denied (publickey)" in p.stderr, (what, p)
    p = attempt(alice, box, good, cert=False)
    os.rename(f"{good}-cert.pub", f"{good}-cert.away")  # ssh takes KEY-cert.pub by itself
    p = attempt(alice, box, good, cert=False)
    assert p.returncode == 255 and "Permission denied (publickey)" in p.stderr, p


def test_certificate_of_one_reservation_does_not_open_another(house, alice, box):
    bob = house.user("bob")
    other = bob.reserve("--name", "bobs")
    assert bob.ssh(other, "true").returncode == 0
    stolen = bob.home / "stolen"
    stolen.mkdir()
    for p in (alice.home / ".local/state/hearth/id_ed25519", pathlib.Path(box["certificate_file"])):
        (stolen / p.name).write_bytes(p.read_bytes())
        (stolen / p.name).chmod(0o600)
        os.chown(stolen / p.name, bob.uid, bob.uid)
    p = bob.run("sh", "-c", other["ssh_command"] + " -F none true", check=True)
    line = other["ssh_command"].replace(other["certificate_file"], str(stolen / "key-cert.pub")).replace(
        str(bob.home / ".local/state/hearth/id_ed25519"), str(stolen / "id_ed25519"))
    p = bob.run("sh", "-c", line + " -o BatchMode=yes true")
    assert p.returncode == 255 and "Permission denied" in p.stderr, p
    bob.hearth("cancel", "bobs", check=True)


def test_no_way_in_but_dev_by_certificate(alice, box):
    for login in ("root", "nobody", "sshd"):
        p = alice.run("ssh", *OPTIONS, "-o", "BatchMode=yes", f"{login}@box.hearth", "true")
        assert p.returncode == 255 and "Permission denied (publickey)" in p.stderr, (login, p)
    p = alice.run("ssh", *OPTIONS, "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "box.hearth", "true")
    assert p.returncode == 255 and "Permission denied (publickey)" in p.stderr


# ---- what people do ----


def test_copies(alice, box, rng):
    """scp, sftp and rsync, both ways, with a file larger than any buffer."""
    data = rng.randbytes(3_000_000)
    source = alice.home / "data"
    source.write_bytes(data)
    os.chown(source, alice.uid, alice.uid)
    alice.run("scp", "-q", *OPTIONS, source, "box.hearth:there", check=True)
    alice.run("scp", "-q", *OPTIONS, "-r", "box.hearth:there", "back", check=True)
    assert (alice.home / "back").read_bytes() == data
    alice.run("sftp", "-q", *OPTIONS, "-b", "-", "box.hearth", input="rename there moved\nget moved got\n", check=True)
    assert (alice.home / "got").read_bytes() == data
    tree = alice.home / "tree/deep"
    tree.mkdir(parents=True)
    (tree / "a file").write_bytes(data[:1000])
    subprocess.run(["chown", "-R", str(alice.uid), alice.home / "tree"], check=True)
    alice.run("rsync", "-a", "-e", "ssh " + " ".join(OPTIONS), "tree/", "box.hearth:tree/", check=True)
    alice.run("rsync", "-a", "-e", "ssh " + " ".join(OPTIONS), "box.hearth:tree/", "again/", check=True)
    assert (alice.home / "again/deep/a file").read_bytes() == data[:1000]


def test_forwarding(house, alice, box):
    """-L, -R and -D at once: -R opens a port inside that leads to a server here; -L and -D reach it from here."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    here, local, dynamic = server.getsockname()[1], free_port(), free_port()
    argv = ["ssh", *OPTIONS, "-o", "ExitOnForwardFailure=yes", "-N", "-R", f"2222:127.0.0.1:{here}",
            "-L", f"{local}:127.0.0.1:2222", "-D", str(dynamic), "box.hearth"]
    with server, process(alice, argv):
        for how in ("-L", "-D"):
            client = connect(local if how == "-L" else dynamic)
            if how == "-D":
                client.sendall(b"\x05\x01\x00")
                assert client.recv(2) == b"\x05\x00"
                client.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + (2222).to_bytes(2, "big"))
                assert client.recv(10)[:2] == b"\x05\x00"
            peer = server.accept()[0]
            client.sendall(b"through " + how.encode())
            assert peer.recv(100) == b"through " + how.encode()
            peer.sendall(b"and back")
            assert client.recv(100) == b"and back"
            client.close()
            peer.close()


def test_agent_and_environment_of_a_login(alice, box):
    p = alice.run("ssh", *OPTIONS, "box.hearth", "echo $HOME $USER $SHELL; pwd; umask; test -w /tmp && echo tmp", check=True)
    lines = p.stdout.split()
    assert lines[0] == "/home/dev" and lines[1] == "dev" and "/home/dev" in lines[3:] and lines[-1] == "tmp"


def test_control_master(alice, box):
    """One connection, many sessions, and its end."""
    path = alice.home / "cm"
    shared = ["-o", f"ControlPath={path}", *OPTIONS]
    try:
        quoted = " ".join(map(shlex.quote, shared))  # the master would hold a pipe of ours open
        alice.run("sh", "-c", f"ssh {quoted} -o ControlMaster=yes -o ControlPersist=60 -fN box.hearth >/dev/null 2>&1",
                  check=True)
        ports = {alice.run("ssh", *shared, "box.hearth", "echo $SSH_CONNECTION", check=True).stdout for _ in range(3)}
        assert len(ports) == 1
    finally:
        alice.run("ssh", *shared, "-O", "exit", "box.hearth")
    assert not path.exists()


def test_terminal(alice, box):
    p = alice.run("ssh", *OPTIONS, "-tt", "box.hearth", "tty; stty size; test -t 0 && echo terminal", check=True)
    assert "/dev/pts/" in p.stdout and "terminal" in p.stdout
    p = alice.run("ssh", *OPTIONS, "-tt", "box.hearth", input="echo $((6*7)); exit 3\n")
    assert "42" in p.stdout and p.returncode == 3


def test_login_shell_takes_a_script(alice, box):
    p = alice.run("ssh", *OPTIONS, "-T", "box.hearth", input="echo one\nfalse\nexit 5\n")
    assert p.returncode == 5 and p.stdout.endswith("one\n")


def test_as_an_editor_does_it(alice, box):
    """An editor's remote mode: -T -D PORT, a server unpacked from a tar stream through sh, then talked to by a port."""
    port = free_port()
    payload = alice.home / "server"
    payload.mkdir()
    (payload / "run.sh").write_text("#!/bin/sh\necho started as $(id -un) in $(pwd); sleep 60\n")
    (payload / "run.sh").chmod(0o755)
    subprocess.run(["chown", "-R", str(alice.uid), payload], check=True)
    unpack = "tar -C server -cf - . | ssh -T %s box.hearth 'mkdir -p ~/.editor && tar -xf - -C ~/.editor'" % " ".join(OPTIONS)
    alice.run("sh", "-c", unpack, check=True)
    with process(alice, ["ssh", "-T", *OPTIONS, "-D", str(port), "box.hearth", "sh"], stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE, text=True) as p:
        p.stdin.write("cd ~/.editor && exec ./run.sh\n")
        p.stdin.flush()
        assert p.stdout.readline() == "started as dev in /home/dev/.editor\n"
        with connect(port) as c:
            c.sendall(b"\x05\x01\x00")
            assert c.recv(2) == b"\x05\x00"
            c.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16")
            assert c.recv(10)[:2] == b"\x05\x00"
            assert c.recv(8).startswith(b"SSH-2.0-")


def test_stream(alice, box, rng):
    data = rng.randbytes(8_000_000)
    p = alice.run("ssh", *OPTIONS, "box.hearth", "cat", input=data, text=False, check=True)
    assert hashlib.sha256(p.stdout).digest() == hashlib.sha256(data).digest()


def test_many_sessions_at_once(house, alice, box):
    """Ten logins at once, and the count that --idle goes by."""
    argv = ["ssh", *OPTIONS, "box.hearth", "echo in; cat"]
    running = [alice.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) for _ in range(10)]
    try:
        for p in running:
            assert p.stdout.readline() == b"in\n"
        assert int(house.ask_init(box["machine"], "status").split()[-1]) >= 10
    finally:
        for p in running:
            p.stdin.close()
            p.stdout.close()
            p.wait(20)
    end = time.monotonic() + 10
    while house.ask_init(box["machine"], "status").split()[-1] != "0" and time.monotonic() < end:
        time.sleep(0.02)
    assert house.ask_init(box["machine"], "status").endswith("sessions 0")


def test_without_the_network(house, alice, box):
    """Over the machine's Unix socket by ProxyUseFdpass: the descriptor is handed to ssh, nothing stands between."""
    helper = alice.home / "fdpass.py"
    helper.write_text(FDPASS)
    path = house.runtime / "machines" / box["machine"] / "ssh.sock"
    line = box["ssh_command"] + " -o " + shlex.quote(f"ProxyCommand=/usr/bin/python3 {helper} {path}")
    p = alice.run("sh", "-c", line + " -o ProxyUseFdpass=yes 'echo \"$SSH_CONNECTION\"'", check=True)
    assert box["host"] not in p.stdout
    control = path.with_name("control.sock")
    p = alice.run("/usr/bin/python3", "-c", "import socket, sys\nsocket.socket(1, 5).connect(sys.argv[1])", control)
    assert p.returncode != 0 and "PermissionError" in p.stderr, "users must not command hearth-init"


# ---- in the machine ----


def test_sudo_and_names(house, alice, box):
    assert alice.ssh(box, "sudo id -un", check=True).stdout == "root\n"
    p = alice.ssh(box, "getent hosts localhost && getent hosts $(hostname)", check=True)
    assert p.stdout


def test_packages_and_dns(alice, box):
    """apt-get install from inside, which needs NAT and names."""
    p = alice.ssh(box, "sudo timeout 60 apt-get -qq -o Acquire::Retries=0 update 2>&1 && sudo DEBIAN_FRONTEND=noninteractive "
                       "timeout 80 apt-get -qq install -y --no-install-recommends tree 2>&1; tree --version", timeout=150)
    if p.returncode != 0:
        lists = alice.home / "lists"
        (lists / "partial").mkdir(parents=True)
        q = subprocess.run(["apt-get", "-qq", "-o", "Acquire::Retries=0", "-o", f"Dir::State::lists={lists}", "-o",
                            "APT::Sandbox::User=root", "update"], capture_output=True, text=True, timeout=90, check=False)
        if not any(lists.glob("*Release")):
            pytest.skip("the host itself reaches no mirror: " + q.stderr[:100])
    assert p.returncode == 0 and "tree v" in p.stdout, p
