# SPDX-License-Identifier: Apache-2.0
"""The machine image: what must and must not be in it, and that ssh, scp, rsync, sudo and apt-get do in
it what people expect. Built for real, once per version of the builder."""

import os
import re
import stat
import statistics
import subprocess
import tempfile
import time

import pytest

import image_cache
from init_machine import Keys, Machine
from patience import PATIENCE

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def root():
    return image_cache.image()


@pytest.fixture(scope="module")
def keys():
    with tempfile.TemporaryDirectory() as d:
        yield Keys(d)


@pytest.fixture(scope="module")
def machine(keys):
    with Machine(keys, lease=3600) as m:
        m.watch().close()
        yield m


def text(root, path):
    with open(os.path.join(root, path)) as f:
        return f.read()


def lines(root, path, start):
    return [line for line in text(root, path).splitlines() if line.startswith(start)]


# ---- what is in it ------------------------------------------------------------------------------


def test_progress_rises_to_100(root):
    *progress, seconds = image_cache.build_log()
    percents = [int(re.fullmatch(r"(\d+) (\S.*)", line)[1]) for line in progress]
    assert percents == sorted(set(percents)) and percents[-1] == 100 and len(percents) > 20
    size = int(re.search(r"(\d+) MB$", progress[-1])[1])
    print("\nbuilt in %s s, %d MB" % (seconds, size))
    assert size <= 400


def test_nothing_that_two_machines_must_not_share(root):
    assert not [f for f in os.listdir(root + "/etc/ssh") if f.startswith("ssh_host_")]
    assert text(root, "etc/machine-id") == ""
    assert os.listdir(root + "/etc/hearth") == ["sshd_config"]
    for empty in ("dev", "run", "proc", "sys", "tmp"):
        assert os.listdir(os.path.join(root, empty)) == [], empty


def test_no_file_names_this_host(root):
    for path in ("etc/hostname", "etc/hosts", "etc/resolv.conf"):
        assert text(root, path) == "", path


def test_modes_survived(root):
    def mode(path):
        return stat.S_IMODE(os.stat(os.path.join(root, path)).st_mode)

    assert mode("") == 0o755
    assert mode("usr/bin/sudo") == 0o4755 and mode("usr/bin/su") == 0o4755
    assert mode("tmp") == 0o1777 and mode("var/tmp") == 0o1777
    assert mode("etc/sudoers.d/dev") == 0o440
    assert os.getxattr(root + "/usr/bin/ping", "security.capability")


def test_no_device_node_in_it(root):
    for directory, _, files in os.walk(root):
        for name in files:
            mode = os.lstat(os.path.join(directory, name)).st_mode
            assert not stat.S_ISBLK(mode) and not stat.S_ISCHR(mode), (directory, name)


def test_dev_can_log_in_by_certificate_only(root):
    assert lines(root, "etc/passwd", "dev:")[0].split(":")[2:] == [
        "1000", "1000", "", "/home/dev", "/bin/bash"]
    assert lines(root, "etc/shadow", "dev:")[0].split(":")[1] == "*"  # "!" would be locked
    assert lines(root, "etc/shadow", "root:")[0].split(":")[1] in ("*", "!*")


def test_sshd_accepts_its_configuration(machine):
    c = machine.control()
    assert c.run("/usr/sbin/sshd -t -f /etc/hearth/sshd_config")[:2] == (0, "")
    effective = c.run("/usr/sbin/sshd -T -f /etc/hearth/sshd_config")[1].splitlines()
    for wanted in ("usepam no", "usedns no", "passwordauthentication no", "permitrootlogin no",
                   "kbdinteractiveauthentication no", "authorizedkeysfile none", "allowusers dev",
                   "x11forwarding no", "allowtcpforwarding yes", "strictmodes yes"):
        assert wanted in effective, wanted
    kex = next(line for line in effective if line.startswith("kexalgorithms "))
    assert kex.startswith("kexalgorithms curve25519-sha256,")
    assert c.run("visudo -c")[0] == 0


def test_apt_uses_the_sources_of_this_host(root):
    inside = "".join(text(root, "etc/apt/sources.list.d/" + f)
                     for f in os.listdir(root + "/etc/apt/sources.list.d"))
    assert re.search(r"bookworm(\s|$)", inside)
    for key in re.findall(r"[Ss]igned-[Bb]y:\s*(/\S+)", inside):
        assert os.path.exists(root + key), key


# ---- what people do with it -----------------------------------------------------------------------


def test_sudo_needs_no_password_and_no_dns(machine):
    start = time.monotonic()
    out = machine.ssh("sudo -n id -u && sudo -n -u dev id -un")
    assert (out.returncode, out.stdout, out.stderr) == (0, "0\ndev\n", "")
    assert time.monotonic() - start < 2 * PATIENCE


def test_other_users_are_refused(machine):
    argv = [a.replace("dev@", "root@") for a in machine.ssh_argv("true")]
    out = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20 * PATIENCE)
    assert out.returncode == 255 and "Permission denied" in out.stderr


def test_a_client_with_default_settings_gets_the_fast_key_exchange(machine):
    """The client's order decides: that the server lists it first would not be enough."""
    out = machine.ssh("true", options=["-v"])
    assert "kex: algorithm: curve25519-sha256" in out.stderr


def copy(machine, tmp_path, argv):
    """Runs a tool that takes ssh's options, there and back."""
    options = machine.ssh_argv()[1:-1]
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(3 << 20))
    there = "dev@127.0.0.1:" + tmp_path.name
    for source, target in ((str(sent), there), (there, str(back))):
        out = subprocess.run(argv(options) + [source, target], capture_output=True, text=True,
                             stdin=subprocess.DEVNULL, timeout=30 * PATIENCE)
        assert out.returncode == 0, out.stderr
    assert back.read_bytes() == sent.read_bytes()


def test_scp(machine, tmp_path):
    copy(machine, tmp_path, lambda o: ["scp", "-q", *o])


def test_scp_the_old_protocol(machine, tmp_path):
    copy(machine, tmp_path, lambda o: ["scp", "-q", "-O", *o])


@pytest.mark.skipif(subprocess.run(["which", "rsync"], capture_output=True).returncode != 0,
                    reason="no rsync on this host")
def test_rsync(machine, tmp_path):
    def rsh(options):
        return " ".join("'%s'" % o if " " in o else o for o in ["ssh", *options])

    copy(machine, tmp_path, lambda o: ["rsync", "-e", rsh(o)])


def test_tools_a_developer_reaches_for(machine):
    out = machine.ssh("command -v git python3 curl rsync vi nano less ps ip ping unzip file sftp | wc -l;"
                      "python3 -c 'import json, ssl, sqlite3, venv'; echo $LANG")
    assert out.stdout == "13\nC.UTF-8\n", out
    assert out.stderr == ""


def test_a_login_is_quick(machine):
    """`ssh -tt` with the login shell's start-up files costs little more than `ssh true`: no name is looked
    up (6 s), no program is started. `make bench` has the milliseconds."""
    def took(*command, options=()):
        start = time.monotonic()
        out = machine.ssh(*command, options=options)
        assert out.returncode == 0, out.stderr
        return (time.monotonic() - start) * 1000

    plain = sorted(took("true") for _ in range(10))
    login = sorted(took("exec bash -lic true", options=["-tt"]) for _ in range(10))
    print("\nssh true %.0f ms, ssh -tt with a login shell %.0f ms (medians of 10)" % (
        statistics.median(plain), statistics.median(login)))
    assert login[0] < 3 * plain[0] + 200 * PATIENCE


def test_login_shell_starts_no_process_of_its_own(machine):
    """What the shell's start-up files fork is paid by each login. Pids are handed out in order."""
    out = machine.ssh("bash -lic 'sh -c \"echo \\$\\$\"; echo $$'", options=["-tt"])
    child, shell = map(int, out.stdout.split())
    assert child == shell + 1


def test_apt_get_install_works_at_once(keys):
    """Without apt-get update before it, and for a package that wants to start a daemon."""
    with Machine(keys, host_network=True) as m:
        m.watch()
        out = m.ssh("sudo apt-get install -y tree cron && tree --version && ls /usr/sbin/cron")
        assert out.returncode == 0, out.stdout + out.stderr
        assert "Setting up cron" in out.stdout
        assert not re.search(r"^[WE]: ", out.stderr, re.M), out.stderr
        assert "debconf:" not in out.stderr


# ---- the builder's manners --------------------------------------------------------------------------


def build(directory, *args, sources=None):
    """With the host's apt sources replaced by `sources` for this process only."""
    argv = [image_cache.BUILDER, *args]
    if sources is not None:
        os.mkdir(directory + "/sources")
        with open(directory + "/sources/test.list", "w") as f:
            f.write(sources)
        argv = ["unshare", "-m", "sh", "-c", "mount --bind %s/sources /etc/apt/sources.list.d && "
                "exec \"$@\"" % directory, "sh", *argv]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300 * PATIENCE)


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        yield d


@pytest.mark.parametrize("args, message", [
    ([], "usage: "), (["/var/tmp/x"], "usage: "), (["relative", "debian"], "not an absolute path"),
    (["/var/tmp/x", "windows"], "knows how to build 'debian' only"),
])
def test_builder_called_wrongly(directory, args, message):
    out = build(directory, *args)
    assert (out.returncode, out.stdout) == (2, "")
    assert message in out.stderr and out.stderr.count("\n") == 1


def test_a_build_that_fails_says_why_in_one_line_and_cleans_up(directory):
    out = build(directory, directory + "/new", "debian",
                sources="deb [trusted=yes] http://127.0.0.1:9/debian bookworm main\n")
    assert out.returncode == 1
    assert out.stderr.count("\n") == 1 and out.stderr.startswith("build-image: "), out.stderr
    assert "127.0.0.1:9" in out.stderr or "127.0.0.1" in out.stderr
    assert set(os.listdir(directory)) <= {"sources", "new"}
    with open("/proc/self/mountinfo") as f:
        assert directory not in f.read()


def test_builder_refuses_a_directory_that_is_not_empty(directory):
    os.makedirs(directory + "/new/etc")
    out = build(directory, directory + "/new", "debian")
    assert out.returncode == 1
    assert out.stderr.count("\n") == 1 and "empty" in out.stderr, out.stderr


@pytest.mark.soak  # builds a second image
def test_a_private_mirror_with_a_keyring_of_its_own(directory):
    """One-line sources, a keyring at an unusual place, and foreign sources beside them."""
    with open("/etc/apt/sources.list.d/debian.sources") as f:
        uri = re.search(r"^URIs:\s*(\S+)", f.read(), re.M)[1]
    key = directory + "/mirror.gpg"
    with open("/usr/share/keyrings/debian-archive-keyring.gpg", "rb") as f, open(key, "wb") as out:
        out.write(f.read())
    made = build(directory, directory + "/new", "debian", sources=(
        "deb [signed-by=%s] %s bookworm main\n"
        "deb http://127.0.0.1:9/foreign stable main\n" % (key, uri)))
    assert made.returncode == 0, made.stderr
    assert os.path.exists(directory + "/new" + key)
    assert text(directory + "/new", "etc/apt/sources.list.d/test.list").count("\n") == 1
