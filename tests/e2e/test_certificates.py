# SPDX-License-Identifier: Apache-2.0
"""Goal: the certificates that our signer makes are accepted, and refused, by a real sshd and a real
ssh in exactly the cases that a reservation relies on."""

import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import time

import pytest

BUILD = os.environ.get("HEARTH_BUILD")
ROOT = pathlib.Path(__file__).resolve().parents[2]
ME = "m-0123456789ab"  # the machine whose sshd this is
OTHER = "m-zzzzzzzzzzzz"
HOUR = 3600


def find_certtool():
    if BUILD:
        return pathlib.Path(BUILD) / "tests/tools/certtool"
    built = sorted(ROOT.glob("build*/tests/tools/certtool"), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else None


CERTTOOL = find_certtool()
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="needs openssh-server and ssh"),
    pytest.mark.skipif(not CERTTOOL, reason="certtool is not built: set HEARTH_BUILD"),
]


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **kw).stdout


def certtool(*argv):
    return run(CERTTOOL, *argv)


def user_cert(where, name, key, principals, ca="user_ca", after=-HOUR, before=HOUR, *more):
    now = int(time.time())
    line = certtool("sign", where / ca, "user", f"{key}.pub", name, 1, now + after, now + before, principals, *more)
    path = where / f"{name}-cert.pub"
    path.write_text(line)
    return path


def host_cert(where, principals, ca="host_ca", after=-HOUR, before=HOUR):
    now = int(time.time())
    (where / "hostkey-cert.pub").write_text(
        certtool("sign", where / ca, "host", where / "hostkey.pub", ME, 2, now + after, now + before, principals))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_banner(proc, port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert proc.poll() is None, proc.stderr.read()
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                if s.recv(4).startswith(b"SSH-"):
                    return
        except OSError:
            time.sleep(0.01)
    raise AssertionError("sshd does not answer")


class Server:
    def __init__(self, where):
        self.where = where
        self.port = free_port()
        config = where / "sshd_config"
        config.write_text(
            f"""
            Port {self.port}
            ListenAddress 127.0.0.1
            PidFile none
            HostKey {where}/hostkey
            HostCertificate {where}/hostkey-cert.pub
            TrustedUserCAKeys {where}/user_ca.pub
            AuthorizedPrincipalsFile {where}/principals
            AuthorizedKeysFile none
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            UsePAM no
            UseDNS no
            StrictModes no
            Subsystem sftp internal-sftp
            LogLevel VERBOSE
            """)
        # Debian's sshd wants its empty directory; a fresh /run has none.
        if os.geteuid() == 0:
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.proc = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            wait_for_banner(self.proc, self.port)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.proc.terminate()
        return self.proc.communicate(timeout=10)[1]

    def ssh(self, key, cert=None, command="echo in", known_hosts="known_hosts", alias=ME, options=()):
        argv = ["ssh", "-F", "none", "-i", key, "-p", self.port, "-l", getpass.getuser()]
        settings = ["IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "StrictHostKeyChecking=yes",
                    f"UserKnownHostsFile={self.where}/{known_hosts}", "GlobalKnownHostsFile=/dev/null",
                    f"HostKeyAlias={alias}", "UpdateHostKeys=no", *options]
        if cert:
            settings.append(f"CertificateFile={cert}")
        for s in settings:
            argv += ["-o", s]
        return subprocess.run([str(a) for a in argv] + ["127.0.0.1", command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=30)


@pytest.fixture
def where(tmp_path):
    for ca in ("user_ca", "host_ca", "other_ca"):
        (tmp_path / f"{ca}.pub").write_text(certtool("ca", tmp_path / ca))
    certtool("hostkey", tmp_path / "hostkey")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id")
    (tmp_path / "principals").write_text(ME + "\n")
    (tmp_path / "known_hosts").write_text(certtool("known-hosts", tmp_path / "host_ca", ME))
    host_cert(tmp_path, ME)
    return tmp_path


@pytest.fixture
def server(where):
    s = Server(where)
    yield s
    s.stop()


def accepted(result):
    assert result.returncode == 0, result.stderr
    assert result.stdout == "in\n"


def refused(result):
    assert result.returncode == 255, result.stdout
    assert "Permission denied (publickey)" in result.stderr
    assert result.stdout == ""


def host_refused(result):
    assert result.returncode == 255, result.stdout
    assert "Host key verification failed" in result.stderr or "REMOTE HOST IDENTIFICATION" in result.stderr
    assert result.stdout == ""


def test_user_certificates(where, server):
    key = where / "id"
    accepted(server.ssh(key, user_cert(where, "right", key, ME)))
    accepted(server.ssh(key, user_cert(where, "among", key, f"{OTHER},{ME}")))
    refused(server.ssh(key, user_cert(where, "elsewhere", key, OTHER)))
    refused(server.ssh(key, user_cert(where, "login", key, getpass.getuser())))
    refused(server.ssh(key, user_cert(where, "expired", key, ME, after=-2 * HOUR, before=-1)))
    refused(server.ssh(key, user_cert(where, "early", key, ME, after=HOUR, before=2 * HOUR)))
    refused(server.ssh(key, user_cert(where, "stranger", key, ME, ca="other_ca")))
    refused(server.ssh(key, user_cert(where, "hostca", key, ME, ca="host_ca")))
    refused(server.ssh(key))


def test_somebody_elses_certificate(where, server):
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", where / "thief")
    refused(server.ssh(where / "thief", user_cert(where, "stolen", where / "id", ME)))


def test_a_host_certificate_is_no_user_certificate(where, server):
    now = int(time.time())
    cert = where / "host-as-user-cert.pub"
    cert.write_text(certtool("sign", where / "user_ca", "host", where / "id.pub", "x", 3, now - 60, now + 60, ME))
    refused(server.ssh(where / "id", cert))


def test_a_changed_certificate(where, server):
    text = user_cert(where, "right", where / "id", OTHER).read_text()
    kind, body, comment = text.split(" ", 2)
    import base64
    blob = base64.b64decode(body).replace(OTHER.encode(), ME.encode())
    forged = where / "forged-cert.pub"
    forged.write_text(f"{kind} {base64.b64encode(blob).decode()} {comment}")
    refused(server.ssh(where / "id", forged))


def test_force_command_holds(where, server):
    cert = user_cert(where, "forced", where / "id", ME, "user_ca", -HOUR, HOUR, "echo forced \"$SSH_ORIGINAL_COMMAND\"")
    result = server.ssh(where / "id", cert, command="echo 'a b'")
    assert (result.returncode, result.stdout) == (0, "forced echo 'a b'\n"), result.stderr


@pytest.mark.parametrize("kind,bits", [("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048), ("rsa", 4096)])
def test_other_key_types(where, server, kind, bits):
    key = where / f"{kind}{bits}"
    run("ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-f", key)
    accepted(server.ssh(key, user_cert(where, "right", key, ME)))
    refused(server.ssh(key, user_cert(where, "wrong", key, OTHER)))


def test_serials_can_be_revoked(where):
    key = where / "id"
    cert = user_cert(where, "right", key, ME)
    (where / "revoke").write_text("serial: 1\n")
    run("ssh-keygen", "-q", "-k", "-f", where / "krl", "-s", where / "user_ca.pub", where / "revoke")
    result = subprocess.run(["ssh-keygen", "-Q", "-f", where / "krl", cert], capture_output=True, text=True)
    assert result.returncode == 1 and "REVOKED" in result.stdout, result.stdout + result.stderr


def test_host_certificates(where, server):
    key = where / "id"
    cert = user_cert(where, "right", key, ME)
    accepted(server.ssh(key, cert))
    (where / "known_other").write_text(certtool("known-hosts", where / "other_ca", ME))
    host_refused(server.ssh(key, cert, known_hosts="known_other"))
    (where / "known_pattern").write_text(certtool("known-hosts", where / "host_ca", OTHER))
    host_refused(server.ssh(key, cert, known_hosts="known_pattern"))
    (where / "known_any").write_text(certtool("known-hosts", where / "host_ca", "*"))
    accepted(server.ssh(key, cert, known_hosts="known_any"))
    host_refused(server.ssh(key, cert, known_hosts="known_any", alias=OTHER))
    (where / "known_none").write_text("")
    host_refused(server.ssh(key, cert, known_hosts="known_none"))


@pytest.mark.parametrize("principals,after,before,ca", [
    (OTHER, -HOUR, HOUR, "host_ca"),
    (ME, -2 * HOUR, -1, "host_ca"),
    (ME, HOUR, 2 * HOUR, "host_ca"),
    (ME, -HOUR, HOUR, "user_ca"),
])
def test_wrong_host_certificates(where, principals, after, before, ca):
    host_cert(where, principals, ca, after, before)
    server = Server(where)
    try:
        host_refused(server.ssh(where / "id", user_cert(where, "right", where / "id", ME)))
    finally:
        server.stop()


def test_we_read_back_what_openssh_reads(where):
    cert = user_cert(where, "back", where / "id", f"{ME},{OTHER}")
    shown = certtool("show", cert)
    assert f"key_id back\n" in shown and f"principal {ME}\nprincipal {OTHER}\n" in shown
    theirs = run("ssh-keygen", "-L", "-f", cert)
    assert 'Key ID: "back"' in theirs and "Serial: 1\n" in theirs
