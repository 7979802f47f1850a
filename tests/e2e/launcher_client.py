# SPDX-License-Identifier: Apache-2.0
"""The real hearth-launcher on a state directory and in a network namespace of its own, driven as
hearthd drives it: fixed structures over its socket (src/launcher/protocol.h)."""

import array
import ctypes
import glob
import os
import random
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time

import image_cache
from patience import PATIENCE

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("HEARTH_BUILD", os.path.join(SOURCE, "build"))
MAGIC, VERSION = 0x68727468, 2
(CREATE, KILL, LIST, BUILD_IMAGE, REMOVE_IMAGE, FIND_IMAGE, OPEN_CONFIG, JOIN, START, STOP, FREEZE, THAW, SAVE_IMAGE,
 DROP_IMAGE, CONSOLE, OPEN_METADATA, MAKE_HOME, MOUNT_HOME, DISK_MAKE, DISK_SNAPSHOT, DISK_REMOVE, DISK_ATTACH,
 DISK_DETACH) = range(1, 24)
ALIVE, DEAD, ABSENT, STOPPED, FROZEN, MAKING = range(1, 7)
OK, INVALID, NOT_PERMITTED, NOT_FOUND, CONFLICT = range(5)
NO_CAPACITY, UNAVAILABLE = 6, 8
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Request(ctypes.Structure):
    _fields_ = [
        ("magic", ctypes.c_uint32), ("version", ctypes.c_uint32), ("op", ctypes.c_uint32),
        ("id", ctypes.c_char * 16), ("image", ctypes.c_char * 64),
        ("image_version", ctypes.c_char * 64), ("slot", ctypes.c_uint32),
        ("pids_max", ctypes.c_uint32), ("memory_bytes", ctypes.c_uint64),
        ("cpu_milli", ctypes.c_uint32), ("allow_nesting", ctypes.c_uint32),
        ("lease_s", ctypes.c_uint64), ("hostname", ctypes.c_char * 64),
        ("host_key", ctypes.c_char * 1024), ("host_cert", ctypes.c_char * 2048),
        ("user_ca", ctypes.c_char * 512), ("gang", ctypes.c_char * 16), ("gang_number", ctypes.c_uint32),
        ("needs_disk", ctypes.c_uint32),
        ("home_uid", ctypes.c_uint32),
        ("disk", ctypes.c_char * 16), ("source", ctypes.c_char * 16), ("disk_name", ctypes.c_char * 64),
        ("size_bytes", ctypes.c_uint64),
    ]


class Reply(ctypes.Structure):
    _fields_ = [
        ("magic", ctypes.c_uint32), ("version", ctypes.c_uint32), ("last", ctypes.c_uint32),
        ("error", ctypes.c_int32), ("message", ctypes.c_char * 384), ("state", ctypes.c_uint32),
        ("slot", ctypes.c_uint32), ("gang", ctypes.c_char * 16), ("gang_number", ctypes.c_uint32),
        ("percent", ctypes.c_uint32), ("pid", ctypes.c_uint32),
        ("id", ctypes.c_char * 16), ("image", ctypes.c_char * 64),
        ("image_version", ctypes.c_char * 64), ("address", ctypes.c_char * 16),
        ("created_at_ms", ctypes.c_uint64), ("machine", ctypes.c_char * 16), ("size_bytes", ctypes.c_uint64),
    ]


def _read(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def new_id(kind="m"):
    return kind + "-" + "".join(random.choice(string.ascii_lowercase + string.digits) for _ in range(12))


class Keys:
    """A user CA, a host CA, and a user's key, by ssh-keygen."""

    def __init__(self, directory):
        self.dir = directory
        for name in ("user_ca", "host_ca", "user", "host"):
            self._keygen("-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.path(name))
        self.user_ca = self.read("user_ca.pub")

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name)) as f:
            return f.read().strip()

    def _keygen(self, *args):
        subprocess.run(["ssh-keygen", *args], check=True, capture_output=True)

    def host_certificate(self, machine):
        """The host's private key and a certificate for it. One key for all test machines."""
        copy = self.path("host-" + machine + ".pub")
        shutil.copy(self.path("host.pub"), copy)
        self._keygen("-q", "-s", self.path("host_ca"), "-h", "-I", machine, "-n", machine, "-z", "1", copy)
        return self.read("host") + "\n", self.read("host-" + machine + "-cert.pub")

    def ssh_command(self, launcher, machine, *options):
        """ssh to the machine over its Unix socket, as a user's configuration would do it."""
        cert = self.path("user-" + machine)
        if not os.path.exists(cert + "-cert.pub"):
            shutil.copy(self.path("user.pub"), cert + ".pub")
            self._keygen("-q", "-s", self.path("user_ca"), "-I", "u", "-n", machine, "-z", "1", cert + ".pub")
            with open(self.path("known-" + machine), "w") as f:
                f.write("@cert-authority %s %s\n" % (machine, self.read("host_ca.pub")))
        connect = self.path("connect")
        if not os.path.exists(connect):
            with open(connect, "w") as f:
                f.write(FDPASS)
        sock = os.path.join(launcher.runtime, "machines", machine, "ssh.sock")
        return [
            "ssh", "-F", "none", "-i", self.path("user"), "-o", "CertificateFile=" + cert + "-cert.pub",
            "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + self.path("known-" + machine),
            "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
            "-o", "HostKeyAlias=" + machine, "-o", "ProxyUseFdpass=yes",
            "-o", "ProxyCommand=/usr/bin/python3 -S -E %s %s" % (connect, sock), *options, "dev@machine",
        ]


FDPASS = """import array, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.socket(fileno=1).sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
"""


class Launcher:
    def __init__(self, network="10.213.0.0/16", program="hearth-launcher", env=None, image=True, instances=False):
        self.root = tempfile.mkdtemp(prefix="hearth-test-", dir=os.environ.get("HEARTH_TEST_DIR", "/var/tmp"))
        os.chmod(self.root, 0o755)
        self.state = os.path.join(self.root, "state")
        self.runtime = os.path.join(self.root, "run")
        self.config = os.path.join(self.root, "config")
        self.builder = os.path.join(self.root, "builder")
        self.network = network
        self.uid_base = 10_000_000 * (1 + os.getpid() % 100)  # so that stray processes are ours alone
        self.program = os.path.join(BUILD, "src/launcher", program)
        self.options = ["--instances"] if instances else []
        self.process = None
        self.netns = _new_netns()
        try:
            os.makedirs(os.path.join(self.root, "keys"))
            self.keys = Keys(os.path.join(self.root, "keys"))
            with open(self.config, "w") as f:
                f.write("the configuration\n")
            if image:
                self.add_image("debian", "v1")
            self.start(env)
        except BaseException:
            self.close()
            raise

    def add_image(self, name, version, current=True):
        """A version that shares its files with the cache: images are never written to."""
        os.makedirs(os.path.join(self.state, "images", name), exist_ok=True)
        at = os.path.join(self.state, "images", name, version)
        share = os.stat(self.root).st_dev == os.stat(image_cache.image()).st_dev
        subprocess.run(["cp", "-al" if share else "-a", image_cache.image(), at], check=True)
        if current:
            link = os.path.join(self.state, "images", name, "current")
            if os.path.islink(link):
                os.unlink(link)
            os.symlink(version, link)

    def enter_netns(self):
        if libc.setns(self.netns, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def start(self, env=None):
        path = os.path.join(self.root, "launcher.sock")
        if os.path.exists(path):
            os.unlink(path)
        self.path = path
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen(64)
        dead_end, self.lifeline = os.pipe()
        os.makedirs(self.state, mode=0o755, exist_ok=True)
        self.cgroup = "hearth-%x-%x" % (os.stat(self.state).st_dev, os.stat(self.state).st_ino)
        args = [self.program, "--socket-fd", str(listener.fileno()), "--lifeline-fd", str(dead_end),
                "--state", self.state, "--runtime", self.runtime, "--uid", "65534", "--gid", "65534",
                "--config", self.config, "--image-builder", self.builder, "--uid-base", str(self.uid_base)]
        args += self.options
        if self.network:
            args += ["--network", self.network, "--init", os.path.join(BUILD, "src/init/hearth-init")]
        self.log = os.path.join(self.root, "log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                args, pass_fds=[listener.fileno(), dead_end], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=self.enter_netns, env=dict(os.environ, **(env or {})))
        os.close(dead_end)
        listener.close()
        self._wait_serving()

    def _wait_serving(self):
        """A request that is answered, or the reason why none will be."""
        try:
            for fd in self.ask_raw(bytes(Request(magic=MAGIC, version=VERSION, op=OPEN_CONFIG)))[1]:
                os.close(fd)
        except OSError:
            self.process.wait(10)
            self.process = None
            with open(self.log) as f:
                raise RuntimeError("hearth-launcher did not start: " + f.read()) from None

    def stop(self, how=None):
        """As hearthd's end stops it, or by a signal."""
        if how is not None:
            self.process.send_signal(how)
        os.close(self.lifeline)
        code = self.process.wait(30)
        self.process = None
        return code

    def teardown(self):
        return subprocess.run(
            [self.program, "--teardown", "--state", self.state, "--runtime", self.runtime],
            preexec_fn=self.enter_netns, capture_output=True, text=True)

    def close(self):
        if self.process:
            self.stop(signal.SIGKILL)
        out = self.teardown()
        os.close(self.netns)
        shutil.rmtree(self.root, ignore_errors=True)
        assert out.returncode == 0, out.stderr

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(60 * PATIENCE)
        s.connect(self.path)
        return s

    def ask_raw(self, packet):
        """All replies to one packet, and the descriptors that came with them."""
        replies, fds = [], []
        with self.connect() as s:
            s.send(packet)
            while not replies or not replies[-1].last:
                data, control, _, _ = s.recvmsg(ctypes.sizeof(Reply), 64)
                if not data:
                    raise ConnectionError("the request's process died")
                replies.append(Reply.from_buffer_copy(data))
                for _, _, raw in control:
                    fds += array.array("i", raw).tolist()
        return replies, fds

    def ask(self, op, **fields):
        q = Request(magic=MAGIC, version=VERSION, op=op)
        for name, value in fields.items():
            setattr(q, name, value.encode() if isinstance(value, str) else value)
        return self.ask_raw(bytes(q))[0]

    def request(self, machine, slot, **fields):
        key, cert = self.keys.host_certificate(machine)
        values = dict(id=machine, image="debian", slot=slot, lease_s=3600, hostname="box",
                      host_key=key, host_cert=cert, user_ca=self.keys.user_ca)
        values.update(fields)
        return values

    def create(self, machine, slot, **fields):
        return self.ask(CREATE, **self.request(machine, slot, **fields))[-1]

    def make_disk(self, disk, size=32 << 20, **fields):
        return self.ask(DISK_MAKE, disk=disk, size_bytes=size, **fields)[-1]

    def snapshot(self, snapshot, disk):
        return self.ask(DISK_SNAPSHOT, disk=snapshot, source=disk)[-1]

    def remove_disk(self, disk):
        return self.ask(DISK_REMOVE, disk=disk)[-1]

    def attach(self, disk, machine, name="data"):
        return self.ask(DISK_ATTACH, id=machine, disk=disk, disk_name=name)[-1]

    def detach(self, disk, machine):
        return self.ask(DISK_DETACH, id=machine, disk=disk)[-1]

    def disk_file(self, disk):
        return os.path.join(self.state, "disks", disk, "image")

    def loops(self):
        """Loop devices of our disks."""
        return [f for f in glob.glob("/sys/block/loop*/loop/backing_file") if self.root in _read(f)]

    def kill(self, machine):
        return self.ask(KILL, id=machine)[-1]

    def list(self):
        return {r.id.decode(): r for r in self.ask(LIST)[:-1]}

    def wait_ready(self, machine, timeout=10):
        """Until hearth-init says so."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(timeout * PATIENCE)
        with s:
            s.connect(os.path.join(self.runtime, "machines", machine, "control.sock"))
            s.send(b"watch")
            while s.recv(4096) != b"ready":
                pass

    def traces(self):
        """Everything that machines leave in the system, by kind; all empty when none was there."""
        def entries(path):
            return sorted(os.listdir(path)) if os.path.isdir(path) else []

        machines = entries(os.path.join(self.state, "machines"))
        links = subprocess.run(["ip", "-o", "link"], preexec_fn=self.enter_netns, check=True,
                               capture_output=True, text=True).stdout
        with open("/proc/self/mountinfo") as f:
            mounts = [line for line in f if self.root in line]
        return {
            "machines": machines,
            "slots": entries(os.path.join(self.state, "slots")),
            "sockets": entries(os.path.join(self.runtime, "machines")),
            "trash": entries(os.path.join(self.state, "trash")),
            "cgroups": glob.glob("/sys/fs/cgroup/**/%s/m-*" % self.cgroup, recursive=True),
            "links": [line for line in links.splitlines() if ": hth" in line],
            "mounts": mounts,
            "loops": self.loops(),
            "processes": self.processes(),
        }

    def processes(self):
        """Pids with a user of one of our machines, dead ones aside."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.uid_base <= os.stat("/proc/" + pid).st_uid < self.uid_base + 10_000_000:
                    with open("/proc/%s/stat" % pid) as f:
                        if f.read().rpartition(")")[2].split()[0] not in "ZX":
                            found.append(int(pid))
            except OSError:
                pass
        return found

    def wait_clean(self, timeout=10):
        """Deleting goes on after the reply; and so may the kernel."""
        end = time.monotonic() + timeout * PATIENCE
        while True:
            left = {kind: what for kind, what in self.traces().items() if what}
            if not left or time.monotonic() > end:
                assert not left, left
                return
            time.sleep(0.02)

    def ssh(self, machine, command, *options, timeout=60, check=True):
        out = subprocess.run(
            self.keys.ssh_command(self, machine, *options) + [command], capture_output=True, text=True,
            timeout=timeout * PATIENCE, stdin=subprocess.DEVNULL)
        if check and out.returncode != 0:
            raise AssertionError("%r: %d: %s%s" % (command, out.returncode, out.stdout, out.stderr))
        return out


def _new_netns():
    """Descriptor of a fresh network namespace with its loopback up; nothing else holds it."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            ok = libc.unshare(CLONE_NEWNET) == 0
            ok = ok and os.system("ip link set lo up") == 0
            os.write(w, b"1" if ok else b"0")
            time.sleep(30)
        finally:
            os._exit(0)
    os.close(w)
    try:
        if os.read(r, 1) != b"1":
            raise OSError("make a network namespace")
        return os.open("/proc/%d/ns/net" % pid, os.O_RDONLY)
    finally:
        os.close(r)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
