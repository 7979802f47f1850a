# SPDX-License-Identifier: Apache-2.0
"""Goal: what the ec2 provider runs in a machine formats a volume only when it is empty, never touches one that it does not understand, mounts
a damaged one read-only and says so, and lets go of one whoever uses it. Run here on loop devices under an NVMe name, in a mount
namespace of its own."""

import os
import pathlib
import re
import subprocess
import time

import pytest

from hearth import build_dir

pytestmark = [pytest.mark.root, pytest.mark.seconds(60)]

VOLUME = "vol-0123456789abcdef0"
MIB = 1 << 20


class Lab:
    """A mount namespace with a /disk and a /dev/disk/by-id of its own, and a file that is a volume."""

    def __init__(self, directory, size=256 * MIB):
        self.file = directory / "volume"
        with open(self.file, "wb") as f:
            f.truncate(size)
        self.holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "1000"])
        self.pids = [self.holder]
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{self.holder.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            assert time.monotonic() < end
            time.sleep(0.01)
        self.loop = subprocess.check_output(["losetup", "-f", "--show", self.file], text=True).strip()
        self.sh("mkdir -p /disk /dev/disk && mount -t tmpfs none /disk && mount -t tmpfs none /dev/disk && mkdir /dev/disk/by-id && "
                f"ln -s {self.loop} /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{VOLUME.replace('-', '')}")

    def sh(self, command, check=True, **kwargs):
        return subprocess.run(["nsenter", "-m", "-t", str(self.holder.pid), "sh", "-c", command], text=True, capture_output=True, check=check, **kwargs)

    def script(self, *args):
        text = subprocess.check_output([build_dir() / "tests/tools/diskscript", *args], text=True)
        p = subprocess.run(["nsenter", "-m", "-t", str(self.holder.pid), "sh", "-s"], input=text, text=True, capture_output=True, timeout=60)
        said = p.stdout.splitlines()[-1] if p.stdout else p.stderr
        assert (p.returncode == 0) == (not said.startswith("hearth: error")), (p.returncode, p.stdout, p.stderr)
        return said

    def mount(self, name="data", login="nobody"):
        return self.script("mount", VOLUME, "/dev/sdf", name, login)

    def unmount(self, name="data"):
        return self.script("unmount", VOLUME, name)

    def run(self, command):
        """A process in the namespace, ended with the lab."""
        self.pids.append(subprocess.Popen(["nsenter", "-m", "-t", str(self.holder.pid), "sh", "-c", command]))
        return self.pids[-1]

    def poke(self, offset, data):
        with open(self.file, "r+b") as f:
            f.seek(offset)
            f.write(data)
        subprocess.run(["blockdev", "--flushbufs", self.loop], check=True)

    def close(self):
        for p in reversed(self.pids):
            p.kill()
            p.wait()
        subprocess.run(["losetup", "-d", self.loop], check=False)
        pathlib.Path(f"/run/hearth-disk-{VOLUME.replace('-', '')}").unlink(missing_ok=True)


@pytest.fixture
def lab(tmp_path):
    made = []

    def make(**kwargs):
        made.append(Lab(tmp_path, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_an_empty_volume_is_formatted_once(lab):
    v = lab()
    assert v.mount() == "hearth: ok"
    assert v.sh("stat -c '%U %a' /disk/data && awk '$2 == \"/disk/data\" { print $3 }' /proc/mounts").stdout.split() == ["nobody", "755", "ext4"]
    v.sh("echo kept >/disk/data/f && chown root /disk/data")
    assert v.mount() == "hearth: ok"  # again
    assert v.unmount() == "hearth: ok"
    assert v.unmount() == "hearth: ok"
    assert v.sh("ls -d /disk/data", check=False).returncode != 0
    assert v.mount("other.name") == "hearth: ok"
    assert v.sh("cat /disk/other.name/f; stat -c %U /disk/other.name").stdout == "kept\nroot\n", "what is there already is nobody's to own anew"
    options = v.sh("awk '$2 == \"/disk/other.name\" { print $4 }' /proc/mounts").stdout
    assert "nodev" in options and "rw" in options.split(",")


@pytest.mark.parametrize("what", ["garbage at its begin", "garbage further on", "a copy of a superblock", "a partition table"])
def test_what_is_not_understood_is_left_alone(lab, what):
    v = lab()
    if what == "a partition table":
        v.poke(510, b"\x55\xaa")
        v.poke(446, bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (8192).to_bytes(4, "little"))
    else:
        v.poke({"garbage at its begin": 0, "garbage further on": 9 * MIB, "a copy of a superblock": 128 * MIB}[what], b"what was here " * 20)
    before = v.file.read_bytes()
    said = v.mount()
    assert said.startswith("hearth: error: there is"), said
    assert v.file.read_bytes() == before
    assert v.sh("ls /disk/data; mount | grep -c /disk/data", check=False).stdout == "0\n"


def test_a_damaged_one_is_read_only(lab):
    v = lab()
    assert v.mount() == "hearth: ok"
    v.sh("echo kept >/disk/data/f && for i in $(seq 300); do echo $i >/disk/data/$i; done")
    assert v.unmount() == "hearth: ok"
    group = subprocess.check_output(["dumpe2fs", v.loop], text=True, stderr=subprocess.DEVNULL)
    inodes = int(re.search(r"Inode table at (\d+)", group)[1]) * int(re.search(r"Block size:\s+(\d+)", group)[1])
    v.poke(inodes + 256 * 40, b"\xa5" * 256 * 100)
    said = v.mount()
    assert said.startswith("hearth: warning: its file system is damaged and mounted read-only"), said
    assert "ro" in v.sh("awk '$2 == \"/disk/data\" { print $4 }' /proc/mounts").stdout.split(",")
    assert v.mount().startswith("hearth: warning: it is mounted read-only")
    assert v.unmount() == "hearth: ok"


def test_a_dirty_one_is_made_whole(lab):
    """As a machine leaves it that lost its power."""
    v = lab()
    assert v.mount() == "hearth: ok"
    v.sh("echo kept >/disk/data/f && sync && echo lost >/disk/data/g && mkdir /disk/data/d")
    copy = v.file.with_name("copy")
    subprocess.run(["cp", "--sparse=always", v.file, copy], check=True)
    assert v.unmount() == "hearth: ok"
    subprocess.run(["losetup", "-d", v.loop], check=True)
    copy.rename(v.file)
    subprocess.run(["losetup", v.loop, v.file], check=True)
    assert v.mount() == "hearth: ok"
    assert v.sh("cat /disk/data/f").stdout == "kept\n"


def test_a_larger_volume_gets_a_larger_file_system(lab):
    v = lab()
    assert v.mount() == "hearth: ok"
    small = int(v.sh("stat -f -c %b /disk/data").stdout)
    assert v.unmount() == "hearth: ok"
    os.truncate(v.file, 512 * MIB)
    subprocess.run(["losetup", "-c", v.loop], check=True)
    assert v.mount() == "hearth: ok"
    assert int(v.sh("stat -f -c %b /disk/data").stdout) > 1.8 * small


@pytest.mark.parametrize("how", ["cd /disk/data && exec sleep 1000", "exec sleep 1000 >/disk/data/open",
                                 "trap '' TERM; cd /disk/data; while :; do sleep 1; done", "cp /bin/sleep /disk/data/ && exec /disk/data/sleep 1000"])
def test_users_are_ended(lab, how):
    v = lab()
    assert v.mount() == "hearth: ok"
    user = v.run(how)
    v.sh("echo kept >/disk/data/f")
    end = time.monotonic() + 10
    while v.sh("umount /disk/data", check=False).returncode == 0:  # it is not there yet
        assert v.mount() == "hearth: ok" and time.monotonic() < end
        time.sleep(0.1)
    assert v.unmount() == "hearth: ok"
    user.wait(10)
    assert v.mount() == "hearth: ok"
    assert v.sh("cat /disk/data/f").stdout == "kept\n"


def test_none_appears(lab):
    """Its device is not there, and nobody waits for ever. (The wait of 30 s is cut here.)"""
    v = lab()
    v.sh("rm /dev/disk/by-id/*")
    text = subprocess.check_output([build_dir() / "tests/tools/diskscript", "mount", VOLUME, "/dev/sdf", "data", "nobody"], text=True)
    p = subprocess.run(["nsenter", "-m", "-t", str(v.holder.pid), "sh", "-s"], input=text.replace("-lt 300", "-lt 3"), text=True,
                       capture_output=True, timeout=60)
    assert p.returncode == 1 and "hearth: error: no device" in p.stdout, p


@pytest.mark.parametrize("args", [("mount", "vol-1;reboot", "/dev/sdf", "data", "dev"), ("mount", VOLUME, "/dev/sdf", "..", "dev"),
                                  ("mount", VOLUME, "/dev/sdf", "a b", "dev"), ("mount", VOLUME, "/dev/sdf", "data", "dev;reboot"),
                                  ("mount", "snap-1", "/dev/sdf", "data", "dev"), ("unmount", VOLUME, "a/../b"), ("unmount", "vol-$(x)", "data")])
def test_nothing_breaks_out(args):
    assert subprocess.run([build_dir() / "tests/tools/diskscript", *args], capture_output=True).returncode == 1
