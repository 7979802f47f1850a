# SPDX-License-Identifier: Apache-2.0
"""A machine with the real hearth-init as PID 1 and the real image below it, without the launcher:
plain namespaces and a chroot. Everything ends with the object, and with the test process."""

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import image_cache
from patience import PATIENCE

BUILD = os.environ.get("HEARTH_BUILD", os.path.join(image_cache.SOURCE, "build"))
INIT = os.path.join(BUILD, "src/init/hearth-init")
MACHINE_ID = "m-000000000000"

SETUP = """
set -eu
cd "$1"; shift
mount -t overlay -o lowerdir="$1",upperdir=upper,workdir=work overlay root; shift
mount -t tmpfs -o mode=755 none root/run
mount -t tmpfs -o mode=755 none root/dev
for n in null zero full random urandom tty; do
	touch root/dev/$n; mount --bind /dev/$n root/dev/$n
done
mkdir root/dev/pts root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 none root/dev/pts
ln -s pts/ptmx root/dev/ptmx
ln -s /proc/self/fd root/dev/fd
mount -t proc none root/proc
ip link set lo up 2>/dev/null || :
# Without it, as in a machine the launcher makes.
exec setpriv --bounding-set=-sys_ptrace chroot root "$@"
"""

# What ProxyUseFdpass wants of its proxy: the connected socket, passed over stdout.
FDPASS = """
import array, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
socket.socket(fileno=1).sendmsg([b"\\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
    array.array("i", [s.fileno()]))])
"""


class Keys:
    """CAs, a host key with its certificate, and a user key with a certificate for MACHINE_ID."""

    def __init__(self, directory):
        self.dir = directory
        for name in ("user_ca", "host_ca", "host_key", "user", "stranger"):
            self._keygen("-t", "ed25519", "-f", name, "-C", name)
        self._keygen("-s", "host_ca", "-h", "-I", "host", "-n", MACHINE_ID, "host_key.pub")
        self._keygen("-s", "user_ca", "-I", "user", "-n", MACHINE_ID, "user.pub")
        with open(self.path("host_ca.pub")) as f, open(self.path("known_hosts"), "w") as out:
            out.write("@cert-authority %s %s" % (MACHINE_ID, f.read()))
        with open(self.path("fdpass.py"), "w") as f:
            f.write(FDPASS)

    def path(self, name):
        return os.path.join(self.dir, name)

    def _keygen(self, *args):
        subprocess.run(["ssh-keygen", "-q", "-N", "", *args], cwd=self.dir, check=True,
                       stdin=subprocess.DEVNULL)


class Control:
    """One connection to the control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(10 * PATIENCE)
        self.sock.connect(path)

    def send(self, packet):
        self.sock.send(packet if isinstance(packet, bytes) else packet.encode())

    def recv(self, timeout=10):
        """The next packet as text; "" when the machine or the connection is gone."""
        self.sock.settimeout(timeout * PATIENCE)
        try:
            return self.sock.recv(65536).decode(errors="replace")
        except ConnectionResetError:
            return ""

    def ask(self, packet, timeout=10):
        self.send(packet)
        return self.recv(timeout)

    def run(self, command, timeout_s=10):
        """(exit code, output, seconds it took)"""
        start = time.monotonic()
        self.send("run %d %s" % (timeout_s, command))
        output = ""
        while True:
            packet = self.recv(timeout_s + 5)
            word, _, rest = packet.partition(" ")
            if word == "exit":
                return int(rest), output, time.monotonic() - start
            assert word == "out", packet
            output += rest

    def close(self):
        self.sock.close()


class Machine:
    """host_network: see the host's interfaces, and no TCP listener. prepare(root): changes the
    machine's files before it starts."""

    def __init__(self, keys, lease=600, host_network=False, prepare=None, port=None):
        self.keys = keys
        self.dir = tempfile.mkdtemp(prefix="hearth-init-", dir="/var/tmp")
        os.chmod(self.dir, 0o755)
        for name in ("upper", "work", "root"):
            os.mkdir(self.path(name))
        self._write_files()
        if prepare:
            prepare(self.path("upper"))
        ssh = self._listen("ssh.sock", socket.SOCK_STREAM)
        control = self._listen("control.sock", socket.SOCK_SEQPACKET)
        port = 0 if host_network else port
        argv = ["setpriv", "--pdeathsig", "KILL"]
        argv += ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        argv += [] if host_network else ["--net"]
        argv += ["sh", "-c", SETUP, "sh", self.dir, image_cache.image(), "/sbin/hearth-init"]
        argv += ["--ssh-fd", str(ssh.fileno()), "--control-fd", str(control.fileno())]
        argv += ["--lease", str(lease)] + ([] if port is None else ["--port", str(port)])
        self.born = time.monotonic()
        self.process = subprocess.Popen(argv, pass_fds=(ssh.fileno(), control.fileno()),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        ssh.close()
        control.close()

    def path(self, name):
        return os.path.join(self.dir, name)

    def _write_files(self):
        upper = self.path("upper")
        os.makedirs(upper + "/etc/hearth")
        os.makedirs(upper + "/usr/sbin")
        for name in ("host_key", "host_key-cert.pub", "user_ca.pub"):
            shutil.copy(self.keys.path(name), upper + "/etc/hearth/")
        os.chmod(upper + "/etc/hearth/host_key", 0o600)
        shutil.copy(INIT, upper + "/usr/sbin/hearth-init")
        for name, text in (("hearth/principals", MACHINE_ID + "\n"),
                           ("hosts", "127.0.0.1 localhost UNKNOWN %s\n" % socket.gethostname())):
            with open(upper + "/etc/" + name, "w") as f:
                f.write(text)
        shutil.copy("/etc/resolv.conf", upper + "/etc/resolv.conf")

    def _listen(self, name, kind):
        s = socket.socket(socket.AF_UNIX, kind)
        s.bind(self.path(name))
        s.listen(64)
        return s

    def control(self):
        return Control(self.path("control.sock"))

    def watch(self):
        """A connection that has seen the machine become ready, with no sessions."""
        c = self.control()
        assert c.ask("watch") == "ready"
        assert c.recv() == "sessions 0"
        return c

    def pid(self):
        """hearth-init's, as the host counts."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            return int(f.read())

    def ssh_argv(self, *command, tcp=False, identity="user", options=()):
        argv = ["ssh", "-F", "none", "-o", "UserKnownHostsFile=" + self.keys.path("known_hosts"),
                "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
                "-o", "HostKeyAlias=" + MACHINE_ID, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                "-o", "ControlPath=none", "-i", self.keys.path(identity)]
        if tcp:
            argv = ["nsenter", "-t", str(self.pid()), "-n"] + argv
        else:
            argv += ["-o", "ProxyUseFdpass=yes", "-o", "ProxyCommand=%s -S %s %s" % (
                sys.executable, self.keys.path("fdpass.py"), self.path("ssh.sock"))]
        return argv + list(options) + ["dev@127.0.0.1", *command]

    def ssh(self, *command, **how):
        return subprocess.run(self.ssh_argv(*command, **how), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=30 * PATIENCE)

    def wait_gone(self, timeout=10):
        """The moment it was gone."""
        fd = os.pidfd_open(self.process.pid)
        try:
            # Popen.wait() looks every 50 ms only.
            assert select.select([fd], [], [], timeout * PATIENCE)[0], "still there after %s s" % timeout
            return time.monotonic()
        finally:
            os.close(fd)
            self.process.poll()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
