# SPDX-License-Identifier: Apache-2.0
"""Goal: the launcher's instances, which hearth-ec2 stands on: disks are kept, memory is kept when frozen, an image made of one
has what it had and nothing of the host, metadata is each one's own, and hearthd's launcher does none of it. Real launcher,
hearth-init, image and ssh; a small metadata service in the place of hearth-ec2's."""

import contextlib
import os
import socket
import stat
import subprocess
import threading
import time

import pytest

import launcher_client as lc
from launcher_client import Launcher, new_id
from patience import PATIENCE

SHARE = 0.25  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes namespaces, cgroups, mounts")

NEW_OPERATIONS = [lc.START, lc.STOP, lc.FREEZE, lc.THAW, lc.SAVE_IMAGE, lc.DROP_IMAGE, lc.CONSOLE, lc.OPEN_METADATA]


class Metadata:
    """What is served at 169.254.169.254 of one machine, until the listener is closed."""

    def __init__(self, fd, instance_id, key, user_data=None):
        self.socket = socket.socket(fileno=fd)
        self.socket.settimeout(30)
        self.asked = []
        self.pages = {"/latest/api/token": "token", "/latest/meta-data/instance-id": instance_id,
                      "/latest/meta-data/public-keys/0/openssh-key": key, "/latest/user-data": user_data}
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            with c:
                path = c.recv(4096).split()[1].decode()
                self.asked.append(path)
                body = self.pages.get(path)
                status = "404 Not Found" if body is None else "200 OK"
                c.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body or '')}\r\n\r\n{body or ''}".encode())

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


class Instance:
    def __init__(self, launcher, slot, image="debian", ec2_id="i-0123456789abcdef0", user_data=None):
        self.launcher, self.slot, self.image, self.ec2_id, self.user_data = launcher, slot, image, ec2_id, user_data
        self.id = new_id()
        self.address = "10.213.0.%d" % (2 * slot + 1)
        self.metadata = None

    def ask(self, op, **fields):
        return self.launcher.ask(op, id=self.id, **fields)[-1]

    def ask_fd(self, op):
        replies, fds = self.launcher.ask_raw(bytes(lc.Request(magic=lc.MAGIC, version=lc.VERSION, op=op, id=self.id.encode())))
        assert replies[-1].error == lc.OK, replies[-1].message
        (fd,) = fds
        return fd

    def start(self, needs_disk=0):
        reply = self.ask(lc.START, image=self.image, slot=self.slot, hostname="box-%d" % self.slot, needs_disk=needs_disk)
        assert (reply.error, reply.state) == (lc.OK, lc.ALIVE), reply.message
        assert reply.address.decode() == self.address
        self.serve()
        self.launcher.wait_ready(self.id, 30)
        return self

    def serve(self):
        self.close_metadata()
        self.metadata = Metadata(self.ask_fd(lc.OPEN_METADATA), self.ec2_id, self.launcher.keys.read("user.pub"), self.user_data)

    def close_metadata(self):
        if self.metadata:
            self.metadata.close()
        self.metadata = None

    def ssh(self, command, user="ec2-user", check=True):
        out = subprocess.run(
            ["ssh", "-F", "none", "-i", self.launcher.keys.path("user"), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", f"{user}@{self.address}", command],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * PATIENCE, preexec_fn=self.launcher.enter_netns)
        assert not check or out.returncode == 0, (command, out)
        return out.stdout.strip() if check else out

    def control(self, text):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(20)
        s.connect(os.path.join(self.launcher.runtime, "machines", self.id, "control.sock"))
        s.send(text.encode())
        return s

    def console(self):
        fd = self.ask_fd(lc.CONSOLE)
        try:
            return os.pread(fd, 1 << 20, 0).decode(errors="replace")
        finally:
            os.close(fd)

    def state(self):
        return self.launcher.list()[self.id].state

    def wait_state(self, wanted, seconds=10):
        end = time.monotonic() + seconds
        while self.state() != wanted:
            assert time.monotonic() < end, (self.state(), wanted)
            time.sleep(0.02)

    def close(self):
        self.close_metadata()
        assert self.launcher.kill(self.id).error == lc.OK


@pytest.fixture(scope="module")
def launcher():
    with Launcher(instances=True) as made:
        yield made


@pytest.fixture
def instances(launcher):
    """instances(slot, ...) starts one; all are gone afterwards, and nothing of them is left."""
    made = []

    def make(slot, **kwargs):
        made.append(Instance(launcher, slot, **kwargs))
        return made[-1].start()

    yield make
    for i in made:
        i.close()
    launcher.wait_clean()


def image_root(launcher, name):
    at = os.path.join(launcher.state, "images", name)
    return os.path.join(at, os.readlink(os.path.join(at, "current")))


def test_boots_as_amazon_linux_does(instances):
    i = instances(1, user_data="#!/bin/bash\necho by $(id -un)\ntouch /root/once\nsystemctl restart sshd\n")
    assert i.ssh("id -un; sudo -n id -un; hostname").split() == ["ec2-user", "root", "box-1"]
    assert i.ssh("true", user="dev", check=False).returncode == 255
    assert "ec2-user" in i.ssh("id", user="root", check=False).stdout, "root is told whom to log in as"
    end = time.monotonic() + 20
    while "cloud-init: finished" not in i.console():
        assert time.monotonic() < end, i.console()
        time.sleep(0.05)
    said = i.console()
    assert "by root" in said and i.ssh("sudo ls /root/once; cat /var/log/cloud-init-output.log") == "/root/once\nby root"
    shown = said.partition("BEGIN SSH HOST KEY KEYS-----\n")[2].partition("-----END")[0]
    assert i.ssh("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1] in shown
    assert i.ssh("cloud-init status --wait") == "status: done"


def test_a_change_of_sshd_holds_from_the_next_connection(instances):
    i = instances(1)
    i.ssh("echo 'Banner /etc/hostname' | sudo tee /etc/ssh/sshd_config.d/1.conf; sudo systemctl restart sshd")
    assert "box-1" in subprocess.run(["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                                      "-o", "BatchMode=yes", "nobody@" + i.address], capture_output=True, text=True,
                                     preexec_fn=i.launcher.enter_netns).stderr
    wrong = i.ssh("echo Nonsense | sudo tee /etc/ssh/sshd_config.d/2.conf; sudo systemctl restart sshd", check=False)
    assert wrong.returncode == 1 and "configuration is wrong" in wrong.stderr


UNIT = """[Unit]
Description=counts
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "$WHO by $(id -un)" >>/var/tmp/boots'
Environment=WHO=unit
User=ec2-user
[Install]
WantedBy=multi-user.target
"""


def test_units_that_somebody_wrote_run_at_each_boot(instances):
    """As far as set-up scripts need it; hearth's own user data sets its deadline so."""
    i = instances(1)
    i.ssh(f"sudo tee /etc/systemd/system/counts.service <<'END'\n{UNIT}\nEND\n" "test -d /run/systemd/system && sudo systemctl daemon-reload")
    i.ssh("sudo systemctl enable --now counts.service && systemctl is-enabled counts")
    assert i.ssh("cat /var/tmp/boots") == "unit by ec2-user"
    i.ssh("printf '[Service]\\nExecStart=/bin/sleep 4713\\n' | sudo tee /etc/systemd/system/stays.service; sudo systemctl start stays")
    assert i.ssh("systemctl is-active stays; pgrep -x sleep >/dev/null && echo there").split() == ["active", "there"]
    assert i.ssh("sudo systemctl stop stays; systemctl is-active stays; pgrep -x sleep; true") == "inactive"
    i.close_metadata()
    assert i.ask(lc.STOP).error == lc.OK
    i.start(needs_disk=1)
    assert i.ssh("cloud-init status --wait >/dev/null; cat /var/tmp/boots").split("\n") == ["unit by ec2-user"] * 2
    missing = i.ssh("sudo systemctl start nonsense", check=False)
    assert (missing.returncode, missing.stderr) == (5, "Failed to start nonsense.service: Unit nonsense.service not found.\n")


def test_stop_keeps_the_disk_and_the_address(launcher, instances):
    i = instances(1, user_data="#!/bin/sh\necho ran >>/root/runs\n")
    key = i.ssh("echo kept >file; cat /etc/ssh/ssh_host_ed25519_key.pub")
    i.close_metadata()
    assert (i.ask(lc.STOP).error, i.state()) == (lc.OK, lc.STOPPED)
    left = {kind for kind, what in launcher.traces().items() if what}
    assert left == {"machines", "slots"}
    assert i.ask(lc.STOP).error == lc.OK, "twice is as once"
    other = Instance(launcher, 1)
    assert other.ask(lc.START, image="debian", slot=1).error == lc.CONFLICT, "its address is kept for it"
    assert i.ask(lc.START, image="debian", slot=2).error == lc.CONFLICT, "and it for its address"
    i.start(needs_disk=1)
    assert i.ssh("cat file; cat /etc/ssh/ssh_host_ed25519_key.pub; sudo cat /root/runs") == f"kept\n{key}\nran"


def test_a_start_writes_resolvers_to_a_plain_file_alone(launcher, instances):
    """What root inside has made of it must not lead the launcher elsewhere."""
    i = instances(1)
    wanted = i.ssh("cat /etc/resolv.conf")
    victim = os.path.join(launcher.root, "victim")
    with open(victim, "w") as f:
        f.write("untouched")
    for change, after in [("echo wrong | sudo tee /etc/resolv.conf", wanted), (f"sudo ln -sf {victim} /etc/resolv.conf", None),
                          ("sudo sh -c 'rm /etc/resolv.conf; mkdir /etc/resolv.conf'", None),
                          ("sudo sh -c 'rmdir /etc/resolv.conf; mkfifo /etc/resolv.conf'", None)]:
        i.ssh(change)
        i.close_metadata()
        assert i.ask(lc.STOP).error == lc.OK
        i.start(needs_disk=1)
        assert after is None or i.ssh("cat /etc/resolv.conf") == after
        assert open(victim).read() == "untouched", change


def test_a_disk_that_is_needed_must_be_there(launcher):
    i = Instance(launcher, 1)
    reply = i.ask(lc.START, image="debian", slot=1, needs_disk=1)
    assert (reply.error, reply.state) == (lc.NOT_FOUND, lc.ABSENT)
    assert i.id not in launcher.list()


@pytest.mark.parametrize("command", [
    "sudo shutdown -h now", "sudo systemd-run --on-active=1s /sbin/poweroff",
    *(pytest.param(c, marks=pytest.mark.soak) for c in ("sudo poweroff", "sudo halt", "sudo systemctl poweroff")),
])
def test_ends_itself(instances, command):
    i = instances(1)
    watch = i.control("watch")
    i.ssh(command, check=False)
    heard = []
    while packet := watch.recv(4096):
        heard.append(packet)
    assert heard[-1] == b"ending"
    i.wait_state(lc.STOPPED)
    i.close_metadata()
    assert i.ask(lc.STOP).error == lc.OK


def test_only_root_ends_it(instances):
    i = instances(1)
    for command in ("shutdown now", "poweroff", "reboot", "kill -38 1", "kill -TERM 1"):
        assert i.ssh(command, check=False).returncode != 0, command
    assert i.state() == lc.ALIVE


def test_reboots_in_place(instances):
    i = instances(1, user_data="#!/bin/sh\necho ran >>/root/runs\n")
    i.ssh("sudo mkdir -p /run/mine; (setsid sleep 1000 >/dev/null 2>&1 &)")
    pid = i.launcher.list()[i.id].pid
    watch = i.control("watch")
    i.ssh("sudo reboot", check=False)
    heard = []
    while not heard or heard[-1] != b"ready" or b"rebooting" not in heard:
        heard.append(watch.recv(4096))
    watch.close()
    assert i.launcher.list()[i.id].pid == pid
    assert i.ssh("sudo cat /root/runs; ls -d /run/mine 2>/dev/null; pgrep -x sleep; true") == "ran"
    watch = i.control("watch")
    with i.control("reboot") as s:  # with nothing in it that could end
        assert s.recv(100) == b"ok"
    heard = []
    while heard[-1:] != [b"ready"] or b"rebooting" not in heard:
        heard.append(watch.recv(4096))
    watch.close()


def test_frozen_keeps_memory_and_is_unreachable(instances):
    i = instances(1)
    i.ssh("(setsid sh -c 'n=0; while sleep 0.05; do n=$((n+1)); echo $n >count; done' >/dev/null 2>&1 &)")
    pid = i.ssh("pgrep -f 'while sleep'").split()[0]
    reply = i.ask(lc.FREEZE)
    assert (reply.error, reply.state, i.state()) == (lc.OK, lc.FROZEN, lc.FROZEN), reply.message
    path = os.path.join(i.launcher.state, "machines", i.id, "u/home/ec2-user/count")
    seen = open(path).read()
    time.sleep(0.3)
    assert open(path).read() == seen, "it goes on"
    assert "No route to host" in i.ssh("true", check=False).stderr
    assert i.ask(lc.FREEZE).error == lc.OK and i.ask(lc.THAW).error == lc.OK and i.ask(lc.THAW).error == lc.OK
    assert i.state() == lc.ALIVE
    assert pid in i.ssh("pgrep -f 'while sleep'").split()
    assert i.ask(lc.FREEZE).error == lc.OK
    i.close_metadata()
    assert (i.ask(lc.STOP).error, i.state()) == (lc.OK, lc.STOPPED), "a frozen one can be stopped"


def test_an_image_has_all_that_it_had_and_nothing_of_the_host(launcher, instances):
    i = instances(1, user_data="#!/bin/sh\necho first >/opt/by-user-data\n")
    with open(os.path.join(launcher.root, "host-secret"), "w") as f:
        f.write("of the host\n")
    i.ssh("""set -e; cd; echo kept >file; ln file hard; mkfifo fifo; ln -s %s/host-secret evil
        sudo ln -s / /evil-root; sudo rm -rf /usr/share/nano /usr/share/misc; sudo mkdir /usr/share/misc; sudo touch /usr/share/misc/new
        sudo rm /usr/bin/nano; sudo python3 -c 'import os; os.setxattr("/opt/by-user-data", "user.a", b"1")'
        sudo python3 -c 'import os, struct; os.setxattr("/usr/bin/less", "security.capability", struct.pack("<5I", 0x2000001, 1 << 13, 0, 0, 0))'
        """ % launcher.root)
    i.ssh("(setsid sleep 1000 >/dev/null 2>&1 &)")
    reply = i.ask(lc.SAVE_IMAGE, image="ami-1")
    assert reply.error == lc.OK, reply.message
    assert i.state() == lc.ALIVE and i.ssh("pgrep -x sleep"), "it goes on"
    assert i.ask(lc.SAVE_IMAGE, image="ami-1").image_version == reply.image_version, "twice is as once"
    root = image_root(launcher, "ami-1")
    home = root + "/home/ec2-user"
    assert os.readlink(home + "/evil") == launcher.root + "/host-secret" and os.path.islink(root + "/evil-root")
    assert os.stat(home + "/file").st_nlink == 2 and os.stat(home + "/file").st_uid == 1000
    assert stat.S_ISFIFO(os.lstat(home + "/fifo").st_mode)
    assert not os.path.exists(root + "/usr/share/nano") and not os.path.exists(root + "/usr/bin/nano")
    assert os.listdir(root + "/usr/share/misc") == ["new"]
    assert os.getxattr(root + "/opt/by-user-data", "user.a") == b"1"
    assert len(os.getxattr(root + "/usr/bin/less", "security.capability")) == 20, "a capability of one machine's ids"
    assert os.stat(root + "/usr/bin/sudo").st_mode & stat.S_ISUID
    owners = subprocess.run(["find", root, "-uid", "+65535"], capture_output=True, text=True, check=True).stdout
    assert owners == ""
    left = os.listdir(os.path.join(launcher.state, "machines", i.id))
    assert sorted(left) == ["console", "state", "u", "w"], left

    second = instances(2, image="ami-1", ec2_id="i-0fedcba9876543210", user_data="#!/bin/sh\necho second >/opt/by-user-data\n")
    assert second.ssh("cat file; cat /etc/hostname; while [ ! -e /run/cloud-init/result.json ]; do sleep 0.1; done; cat /opt/by-user-data") \
        == "kept\nbox-2\nsecond"
    keys = [x.ssh("cat /etc/ssh/ssh_host_ed25519_key.pub") for x in (i, second)]
    assert keys[0] != keys[1]

    assert launcher.ask(lc.DROP_IMAGE, image="ami-1")[-1].error == lc.OK
    assert Instance(launcher, 3).ask(lc.START, image="ami-1", slot=3).error == lc.NOT_FOUND
    second.close_metadata()
    second.ask(lc.STOP)
    second.start(needs_disk=1)  # from what it was made of, which is kept for it
    second.close()
    assert launcher.ask(lc.DROP_IMAGE, image="ami-1")[-1].error == lc.OK
    assert os.listdir(os.path.join(launcher.state, "images")) == ["debian"]


def test_metadata_is_each_ones_own(launcher, instances):
    one, two = instances(1, ec2_id="i-1"), instances(2, ec2_id="i-2")
    ask = "curl -s -m 5 http://169.254.169.254/latest/meta-data/instance-id"
    assert (one.ssh(ask), two.ssh(ask)) == ("i-1", "i-2")
    two.close_metadata()
    assert two.ssh(ask, check=False).returncode == 7, "nobody else answers for it"
    seen = subprocess.run(["ip", "-4", "addr"], capture_output=True, text=True, preexec_fn=launcher.enter_netns).stdout
    assert "169.254" not in seen, "and the host has no such address"


def test_port_80_is_free_and_the_services_own_can_be_taken(launcher, instances):
    """Web servers listen at all addresses; the metadata service must not be in their way, nor they in its."""
    i = instances(1)

    def serve(port):
        i.ssh(f"(setsid sudo python3 -m http.server --bind 0.0.0.0 {port} >/dev/null 2>&1 &);"
              f" for n in $(seq {100 * PATIENCE}); do ss -Htln src 0.0.0.0:{port} | grep -q . && exit; sleep 0.1; done; exit 1")

    own = i.ssh("ss -tln src 169.254.169.254 | awk 'NR == 2 { print $4 }'").rpartition(":")[2]
    assert own not in ("", "80")
    serve(80)
    assert "Directory listing" in i.ssh("curl -s http://127.0.0.1/")
    ask = "curl -s -m 5 http://169.254.169.254/latest/meta-data/instance-id"
    assert i.ssh(ask) == i.ec2_id
    i.close_metadata()
    serve(own)
    i.serve()
    assert i.ssh(ask) == i.ec2_id


def test_an_upgrade_of_the_launcher_disturbs_none(launcher, instances):
    i = instances(1)
    launcher.stop()
    launcher.start()
    assert i.state() == lc.ALIVE
    i.serve()
    assert i.ssh("curl -s http://169.254.169.254/latest/meta-data/instance-id") == i.ec2_id


def test_hearthds_launcher_does_none_of_it():
    with Launcher() as plain:
        name = new_id()
        assert plain.create(name, 1).error == lc.OK
        for op in NEW_OPERATIONS:
            reply = plain.ask(op, id=name, image="debian", slot=1)[-1]
            assert reply.error == lc.NOT_PERMITTED, op
        assert plain.kill(name).error == lc.OK


def test_this_launcher_makes_no_machine_of_hearthds(launcher):
    assert launcher.create(new_id(), 1).error == lc.NOT_PERMITTED
