# SPDX-License-Identifier: Apache-2.0
"""A small internet of network namespaces, so that the real host's firewall is never touched.

    lan 192.0.2.2 --- 192.0.2.1 host 198.51.100.1 --- 198.51.100.2 outside (203.0.113.7, 169.254.169.254)
                                  |  \\
                             machine a  machine b

The host's namespace is where network_driver runs. Outside has no route to the machines' network but
what a test gives it, so whatever comes back from there came through NAT."""

import contextlib
import ctypes
import os
import pathlib
import socket
import subprocess
import tempfile
import threading

from patience import PATIENCE

NETWORK = "10.213.0.0/16"
GATEWAY_A, A = "10.213.0.2", "10.213.0.3"
GATEWAY_B, B = "10.213.0.4", "10.213.0.5"
HOST, HOST_LAN, LAN = "198.51.100.1", "192.0.2.1", "192.0.2.2"
OUTSIDE, FAR, METADATA = "198.51.100.2", "203.0.113.7", "169.254.169.254"
CLONE_NEWNET = 0x40000000
# How long an answer may take, of a busy host; and how long is waited for one that gets lost, where nothing tells of it.
ANSWERED, LOST = 5 * PATIENCE, 0.3

libc = ctypes.CDLL(None, use_errno=True)


def driver_path():
    root = pathlib.Path(__file__).resolve().parents[2]
    builds = [pathlib.Path(os.environ["HEARTH_BUILD"])] if "HEARTH_BUILD" in os.environ else root.glob("build*")
    built = [b.resolve() / "tests/e2e/network_driver" for b in builds]
    built = sorted((p for p in built if p.exists()), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else None


def run(*argv, check=True, **kw):
    out = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **kw)
    if check and out.returncode != 0:
        raise AssertionError(f"{argv}: {out.returncode}: {out.stderr}{out.stdout}")
    return out


class Lab:
    """Used as a context; everything in it is gone afterwards."""

    names = ("host", "outside", "lan", "a", "b", "c")

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.prefix = f"hearthtest-{os.getpid()}-"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.state = stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-network-"))
            self.resolv = pathlib.Path(self.state) / "resolv.conf"
            self.resolv.write_text("nameserver 203.0.113.7\n")
            for name in self.names:
                stack.callback(run, "ip", "netns", "del", self.ns(name), check=False)
                run("ip", "netns", "add", self.ns(name))
                self.ip(name, "link set lo up")
                # a new namespace copies this host's, which may be a router just now
                run("ip", "netns", "exec", self.ns(name), "sysctl", "-qw", "net.ipv4.ip_forward=0")
            self.fds = {n: os.open(f"/run/netns/{self.ns(n)}", os.O_RDONLY) for n in self.names}
            for fd in self.fds.values():
                stack.callback(os.close, fd)
            self.wire("outside", OUTSIDE, HOST, "up0")
            self.wire("lan", LAN, HOST_LAN, "lan0")
            for address in (FAR, METADATA):
                self.ip("outside", f"addr add {address}/32 dev lo")
            self.ip("host", f"route add default via {OUTSIDE}")
            self.ip("lan", f"route add default via {HOST_LAN}")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def ns(self, name):
        return self.prefix + name

    def wire(self, name, address, host_address, host_interface):
        self.ip("host", f"link add {host_interface} type veth peer name eth0 netns {self.ns(name)}")
        self.ip("host", f"addr add {host_address}/24 dev {host_interface}")
        self.ip("host", f"link set {host_interface} up")
        self.ip(name, f"addr add {address}/24 dev eth0")
        self.ip(name, "link set eth0 up")

    def ip(self, name, words):
        return run("ip", "-n", self.ns(name), *words.split()).stdout

    def sh(self, name, script, check=True, **kw):
        return run("ip", "netns", "exec", self.ns(name), "sh", "-c", script, check=check, **kw).stdout

    def driver(self, *argv, check=True, wrapper=()):
        """network_driver in the host's namespace, with the lab's resolv.conf and without the real
        host's /run (ip netns exec has given it a mount namespace of its own)."""
        script = (f'mount --bind {self.resolv} "$(readlink -f /etc/resolv.conf)" &&'
                  ' mount -t tmpfs none /run && exec "$@"')
        return run("ip", "netns", "exec", self.ns("host"), "sh", "-c", script, "sh",
                   *wrapper, driver_path(), *argv, check=check, pass_fds=list(self.fds.values()))

    def setup(self, **kw):
        return self.driver("setup", NETWORK, self.state, **kw)

    def teardown(self, **kw):
        return self.driver("teardown", self.state, **kw)

    def attach(self, slot, name, **kw):
        return self.driver("attach", NETWORK, slot, f"/proc/self/fd/{self.fds[name]}", **kw)

    def up(self):
        self.setup()
        self.attach(1, "a")
        self.attach(2, "b")
        return self

    @contextlib.contextmanager
    def inside(self, name):
        """The calling thread, and what it opens, is in that network namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            assert libc.setns(self.fds[name], CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0
            os.close(home)

    def open_socket(self, name, *args):
        with self.inside(name):
            return socket.socket(*args)

    @contextlib.contextmanager
    def listen(self, name, address, port, kind=socket.SOCK_STREAM, family=socket.AF_INET):
        """A server that answers with the address it was asked from, and keeps a list of those."""
        seen = []
        with self.open_socket(name, family, kind) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            if kind == socket.SOCK_STREAM:
                s.listen()
            thread = threading.Thread(target=serve, args=(s, kind, seen), daemon=True)
            thread.start()
            try:
                yield seen
            finally:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
                thread.join(5)

    def ask(self, name, address, port, kind=socket.SOCK_STREAM, family=socket.AF_INET, timeout=ANSWERED):
        """What the server says, or None when it cannot be reached."""
        with self.open_socket(name, family, kind) as s:
            s.settimeout(timeout)
            try:
                s.connect((address, port))
                s.send(b"?\n")
                return s.recv(100).decode()
            except OSError:
                return None

    def snapshot(self):
        """All of the host's settings that hearth may touch."""
        forwarding = ("cd /proc/sys/net/ipv4; grep -H . ip_forward conf/*/forwarding"
                      " conf/*/accept_redirects conf/*/route_localnet | grep -v /hth")
        return "\n".join([
            self.sh("host", "nft -s list ruleset"), self.sh("host", forwarding),
            self.ip("host", "route show table all type unicast"),
            self.ip("host", "route show type unreachable"), self.ip("host", "-br link"),
            "\n".join(sorted(os.listdir(self.state)))])

    def delete_rule(self, text):
        """Takes the one rule that holds this text out of our table."""
        table = "inet hearth-10.213.0.0"
        chain = None
        found = []
        for line in self.sh("host", f"nft -a list table {table}").splitlines():
            words = line.split()
            if words[:1] == ["chain"]:
                chain = words[1]
            if text in line and "# handle" in line and words[0] not in ("chain", "table", "set"):
                found.append((chain, words[-1]))
        assert len(found) == 1, (text, found)
        self.sh("host", f"nft delete rule {table} {found[0][0]} handle {found[0][1]}")


def serve(s, kind, seen):
    while True:
        try:
            if kind == socket.SOCK_DGRAM:
                _, peer = s.recvfrom(2000)
                if not peer:  # shut down
                    return
                seen.append(peer[0])
                s.sendto(peer[0].encode(), peer)
                continue
            conn, peer = s.accept()
        except OSError:
            return
        seen.append(peer[0])
        threading.Thread(target=serve_one, args=(conn, peer), daemon=True).start()


def serve_one(conn, peer):
    with conn, contextlib.suppress(OSError):
        while conn.recv(100):
            conn.sendall(peer[0].encode())
