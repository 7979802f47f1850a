# SPDX-License-Identifier: Apache-2.0
"""Other container tools that are installed, as a yardstick: a new container of the same image with sshd in it, from
the command to the end of `ssh true`, with the key exchange that our machines use and the host's network. Nothing is
installed for this, and nothing of it stays."""

import contextlib
import glob
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from measure import median, settle, spread, timed
from machines import Reserved, local_daemon, ssh_into

ROUNDS = 6
KEX = "curve25519-sha256"


def run(*argv, **kwargs):
    out = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                         timeout=120, **kwargs)
    if out.returncode != 0:
        last = [line for line in out.stderr.strip().splitlines() if line] or ["no message"]
        raise RuntimeError(f"{argv[0]}: exit {out.returncode}: {last[-1]}")
    return out.stdout


def empty_groups():
    """Control groups that the others make for themselves and leave behind."""
    found = set()
    for name in ("libpod_parent", "lxc.pivot", "payload"):
        for top in glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}"):
            found.update(path for path, _, _ in os.walk(top, topdown=False))
    return found


class Lab:
    """What all of them need: a key pair, sshd's settings, an overlay over the image for those without one."""

    def __init__(self, image):
        self.image = pathlib.Path(image)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-bench-", dir="/var/tmp"))
        self.dir.chmod(0o755)
        self.keys = self.dir / "keys"
        self.keys.mkdir(mode=0o755)
        for name in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.keys / name)
        shutil.copy(self.keys / "user.pub", self.keys / "authorized")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        host = (self.keys / "host.pub").read_text().split()
        (self.keys / "known").write_text(f"peer {host[0]} {host[1]}\n")
        self.ssh = ["ssh", "-i", str(self.keys / "user"), "-o", f"UserKnownHostsFile={self.keys}/known", "-o",
                    "HostKeyAlias=peer", "-o", f"KexAlgorithms={KEX}", "-p", str(self.port), "dev@127.0.0.1"]
        # Debian's default start for a container's sshd; the image has no host keys and /run is empty.
        self.command = ["/bin/sh", "-c", "mkdir -p /run/sshd; exec /usr/sbin/sshd -D -f /dev/null "
                        f"-p {self.port} -o ListenAddress=127.0.0.1 -o UsePAM=no -o StrictModes=no -o PidFile=none "
                        "-h /keys/host -o AuthorizedKeysFile=/keys/authorized"]
        self.root = self.dir / "root"

    def mount(self):
        upper, work = self.dir / "upper", self.dir / "work"
        for d in (upper, work, self.root):
            d.mkdir()
        run("mount", "-t", "overlay", "-o", f"lowerdir={self.image},upperdir={upper},workdir={work}", "overlay",
            self.root)
        shutil.copytree(self.keys, self.root / "keys")

    def unmount(self):
        if os.path.ismount(self.root):
            run("umount", self.root)
        for d in ("upper", "work", "root"):
            shutil.rmtree(self.dir / d, ignore_errors=True)

    def wait_ssh(self, process=None):
        """Until something says SSH on the port."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as s:
                if s.recv(4) == b"SSH-":
                    return
            if process is not None and process.poll() is not None:
                raise RuntimeError("it has ended: " + process.stderr.read().decode(errors="replace").strip()[-200:])
            time.sleep(0.002)
        raise RuntimeError("no ssh after 20 s")

    def close(self):
        self.unmount()
        shutil.rmtree(self.dir, ignore_errors=True)


class Engine:
    """podman and docker: `engine` is the program with its own options, `options` are those of run."""

    def __init__(self, lab, engine, *options):
        self.lab, self.engine, self.options = lab, engine, options
        run(*engine, "info")
        tar = subprocess.Popen(["tar", "-C", lab.image, "-c", "."], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            subprocess.run([*engine, "import", "-", "hearth-bench"], stdin=tar.stdout, capture_output=True, check=True)
        finally:
            tar.stdout.close()
            tar.wait()

    def start(self):
        run(*self.engine, "run", "-d", "--name", "hearth-bench", "--network", "host", "-v", f"{self.lab.keys}:/keys:ro",
            *self.options, "hearth-bench", *self.lab.command)

    def stop(self):
        run(*self.engine, "rm", "-f", "hearth-bench")

    def close(self):
        subprocess.run([*self.engine, "rmi", "-f", "hearth-bench"], capture_output=True, check=False)


def podman(lab):
    # Its own defaults for these two cannot be set without CAP_SYS_RESOURCE, and crun refuses a hybrid host.
    engine = ["podman", "--runtime", "runc"] if shutil.which("runc") else ["podman"]
    return Engine(lab, engine, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")


class Lxc:
    def __init__(self, lab):
        self.lab = lab
        self.config = lab.dir / "lxc.conf"
        self.config.write_text(f"lxc.rootfs.path = dir:{lab.root}\nlxc.net.0.type = none\nlxc.uts.name = peer\n"
                               "lxc.apparmor.profile = unconfined\nlxc.mount.auto = proc:mixed sys:ro\n")

    def start(self):
        self.lab.mount()
        run("lxc-start", "-P", self.lab.dir, "-n", "hearth-bench", "-f", self.config, "--", *self.lab.command)

    def stop(self):
        subprocess.run(["lxc-stop", "-P", self.lab.dir, "-n", "hearth-bench", "-k"], capture_output=True, check=False)
        self.lab.unmount()

    def close(self):
        pass


class Nspawn:
    def __init__(self, lab):
        self.lab, self.process = lab, None

    def start(self):
        self.lab.mount()
        self.process = subprocess.Popen(["systemd-nspawn", "-q", "--keep-unit", "--register=no", "-D", self.lab.root,
                                         *self.lab.command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)

    def stop(self):
        if self.process:
            self.process.terminate()  # nspawn ends what is in it
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        self.lab.unmount()

    def close(self):
        pass


PEERS = {"podman": podman, "docker": lambda lab: Engine(lab, ["docker"]), "lxc-start": Lxc, "systemd-nspawn": Nspawn}


def one_start(lab, peer):
    try:
        began = time.perf_counter()
        peer.start()
        lab.wait_ssh(getattr(peer, "process", None))
        took = (time.perf_counter() - began) * 1e3
        return took + timed([*lab.ssh, "true"])[0]
    finally:
        peer.stop()


def set_up(lab, results):
    peers = {}
    for name, make in PEERS.items():
        if not shutil.which(name):
            results.skip(name, "not installed")
            continue
        try:
            peers[name] = make(lab)
            one_start(lab, peers[name])
        except (RuntimeError, subprocess.SubprocessError, OSError) as e:
            results.skip(name, f"does not work here: {e}")
            if name in peers:
                peers.pop(name).close()
    return peers


def all_of_them(results):
    from image_cache import image

    lab, peers, before = Lab(image()), {}, empty_groups()
    try:
        peers = set_up(lab, results)
        if not peers:
            return
        took = {name: [] for name in peers}
        ours = []
        with local_daemon(default="running: 0, max: 20") as d:
            d.start()
            for i in range(ROUNDS + 1):
                settle(d)
                with Reserved(d, "--no-warm") as r:
                    cold = r.took + ssh_into(r.ssh)
                if i > 0:
                    ours.append(cold)
                for name, peer in peers.items():
                    ms = one_start(lab, peer)
                    if i > 0:
                        took[name].append(ms)
        results.add("hearth reserve --no-warm + ssh true", spread(ours))
        for name, ms in took.items():
            results.add(f"{name} + ssh true", f"{spread(ms)}, {median(ms) / median(ours):.1f} times ours")
    finally:
        for peer in peers.values():
            peer.close()
        lab.close()
        for group in sorted(empty_groups() - before, reverse=True):  # the deepest first
            with contextlib.suppress(OSError):
                os.rmdir(group)
