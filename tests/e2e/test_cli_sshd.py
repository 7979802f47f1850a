# SPDX-License-Identifier: Apache-2.0
"""Goal: what `hearth` writes is enough for a real ssh, scp, sftp, rsync and ControlMaster to reach a real sshd by
certificate, and so strict that a host which is not the machine is refused even where the user's own configuration is lax."""

import getpass
import pathlib
import shutil
import subprocess

import pytest

from fake_hearthd import FakeHearthd
from test_certificates import CERTTOOL, ME, OTHER, SSHD, Server, certtool, host_cert, user_cert, where  # noqa: F401
from test_cli_contract import HEARTH, Cli

pytestmark = [
    pytest.mark.skipif(not HEARTH or not CERTTOOL, reason="hearth or certtool is not built: set HEARTH_BUILD"),
    pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="needs openssh-server and ssh"),
]
LAX = """Host *
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  HostKeyAlgorithms ssh-ed25519
  IdentityFile /nowhere
  CheckHostIP yes
"""


class Lab:
    """A daemon that hands out the sshd of `server`, and a user whose home has a space in its name."""

    def __init__(self, where, socket_dir):  # noqa: F811
        self.where = where
        home = where / "my home"
        home.mkdir()
        self.fake = FakeHearthd(socket_dir / "s")
        self.cli = Cli(home, self.fake)
        self.key = home / ".ssh/id_ed25519"
        self.cli.key()
        self.principal = ME
        self.fake.activate = self.activate
        self.server = Server(where)

    def activate(self, r):
        FakeHearthd.activate(self.fake, r)
        cert = user_cert(self.where, "user", self.key, self.principal)
        r.update(machine=ME, login=getpass.getuser(), port=self.server.port,
                 certificates=[cert.read_text().strip()], known_hosts=certtool("known-hosts", self.where / "host_ca", ME))

    def sh(self, line):
        return subprocess.run(["sh", "-c", line], env=self.cli.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)

    def config(self, text=""):
        """ssh looks for ~ in the password file: the tests name the file."""
        self.cli.wire()
        config = self.cli.home / ".ssh/config"
        config.write_text(config.read_text() + text)
        return config


@pytest.fixture
def lab(where):  # noqa: F811
    socket_dir = pathlib.Path(subprocess.check_output(["mktemp", "-d", "/tmp/hearth-cli-XXXXXX"], text=True).strip())
    lab = Lab(where, socket_dir)
    yield lab
    lab.server.stop()
    lab.fake.close()
    shutil.rmtree(socket_dir)


def test_in_by_every_way(lab):
    r = lab.cli.json("reserve", "--name", "box")
    got = lab.cli.run("ssh", "box", "--", "echo", "in  side")
    assert (got.returncode, got.stdout, got.stderr) == (0, "in  side\n", "")
    got = lab.sh(r["ssh_command"] + " -o LogLevel=ERROR 'echo in; exit 7'")
    assert (got.returncode, got.stdout) == (7, "in\n"), got.stderr
    got = lab.cli.run("run", "--", "sh", "-c", "echo out; exit 3")
    assert (got.returncode, got.stdout, got.stderr) == (3, "out\n", "")
    got = lab.sh(f"ssh -F '{lab.config()}' box.hearth echo in")
    assert (got.returncode, got.stdout) == (0, "in\n"), got.stderr


def test_other_tools_by_name(lab, tmp_path):
    lab.cli.ok("reserve", "--name", "box")
    config = lab.config()
    (tmp_path / "a").write_text("text")
    assert lab.sh(f"scp -q -F '{config}' {tmp_path}/a box.hearth:{tmp_path}/b").returncode == 0
    assert (tmp_path / "b").read_text() == "text"
    assert lab.sh(f"echo 'get {tmp_path}/a {tmp_path}/c' | sftp -q -b - -F '{config}' box.hearth").returncode == 0
    assert (tmp_path / "c").read_text() == "text"
    if shutil.which("rsync"):
        wrapper = tmp_path / "ssh-f"
        wrapper.write_text(f"#!/bin/sh\nexec ssh -F '{config}' \"$@\"\n")
        wrapper.chmod(0o755)
        assert lab.sh(f"rsync -e {wrapper} {tmp_path}/a box.hearth:{tmp_path}/d").returncode == 0
        assert (tmp_path / "d").read_text() == "text"
    control = f"-F '{config}' -o ControlPath={lab.fake.path}c"
    assert lab.sh(f"ssh {control} -o ControlMaster=yes -o ControlPersist=30 box.hearth true >/dev/null 2>&1").returncode == 0
    try:
        assert lab.sh(f"ssh {control} -O check box.hearth").returncode == 0
        assert lab.sh(f"ssh {control} box.hearth echo in").stdout == "in\n"
    finally:
        lab.sh(f"ssh {control} -O exit box.hearth")


@pytest.mark.parametrize("what", ["other machine", "other CA", "plain key"])
def test_a_host_that_is_not_the_machine_is_refused(lab, what):
    r = lab.cli.json("reserve", "--name", "box")
    lab.server.stop()
    if what == "other machine":
        host_cert(lab.where, OTHER)
    elif what == "other CA":
        host_cert(lab.where, ME, ca="other_ca")
    else:
        (lab.where / "hostkey-cert.pub").unlink()
    lab.server = Server(lab.where)
    lab.fake.reservations[r["id"]]["port"] = lab.server.port
    lax = lab.config(LAX)
    got = lab.cli.run("ssh", "box", "--", "echo", "in")
    assert (got.returncode, got.stdout) == (255, ""), got.stderr
    line = lab.cli.json("show", "box")["ssh_command"]
    for command in (line + " echo in", line + f" -F '{lax}' echo in", f"ssh -F '{lax}' box.hearth echo in"):
        got = lab.sh(command)
        assert (got.returncode, got.stdout) == (255, ""), (command, got.stderr)
        assert "verification failed" in got.stderr or "no matching host key type" in got.stderr


def test_a_lax_configuration_of_the_users_does_not_get_in_the_way(lab):
    r = lab.cli.json("reserve", "--name", "box")
    lax = lab.config(LAX)
    assert lab.sh(r["ssh_command"] + f" -F '{lax}' echo in").stdout == "in\n"
    assert lab.sh(f"ssh -F '{lax}' box.hearth echo in").stdout == "in\n"


def test_a_certificate_for_another_machine_is_refused(lab):
    lab.principal = OTHER
    lab.cli.ok("reserve", "--name", "box")
    got = lab.cli.run("ssh", "box", "--", "echo", "in")
    assert (got.returncode, got.stdout) == (255, "") and "Permission denied" in got.stderr
