# SPDX-License-Identifier: Apache-2.0
"""Goal: a machine reaches the outside and nothing else, the host reaches the machine fast, and the
host is afterwards as it was before, whatever happened in between.

Each refusal is shown twice: with the rule, nobody answers; with that one rule deleted, somebody
does. So every rule is needed, and every probe can fail."""

import contextlib
import os
import re
import shutil
import socket
import struct
import time

import pytest

from hearth import wait_for
from network_lab import (A, ANSWERED, B, FAR, GATEWAY_A, GATEWAY_B, HOST, HOST_LAN, LAN, LOST, METADATA, NETWORK,
                         OUTSIDE, Lab, driver_path)
from patience import PATIENCE

SHARE = 0.35  # of its tests in a sample: see conftest.py

UDP = socket.SOCK_DGRAM

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not driver_path(), reason="network_driver is not built: set HEARTH_BUILD"),
    pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed"),
]


@pytest.fixture
def lab():
    with Lab() as lab:
        yield lab


@pytest.fixture
def net(lab):
    return lab.up()


def spoof(lab, name, source, target, port):
    """One UDP packet with a source address of the sender's choosing."""
    udp = struct.pack("!HHHH", 4321, port, 8 + 2, 0) + b"?\n"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    with lab.open_socket(name, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        with contextlib.suppress(OSError):
            s.sendto(head + udp, (target, port))


def heard(seen, seconds=ANSWERED):
    """Packets are in a listener's queue when send returns, but its thread may be behind."""
    end = time.monotonic() + seconds
    while not seen and time.monotonic() < end:
        time.sleep(0.01)
    return bool(seen)


# What works


def test_outside_through_nat(net):
    with net.listen("outside", FAR, 80):
        assert net.ask("a", FAR, 80) == HOST


def test_lan_of_the_host_through_nat(net):
    with net.listen("lan", LAN, 80):
        assert net.ask("a", LAN, 80) == HOST_LAN


def test_host_reaches_machine_but_not_a_free_address(net):
    with net.listen("a", "0.0.0.0", 22):
        assert net.ask("host", A, 22) == GATEWAY_A
    start = time.monotonic()
    assert net.ask("host", "10.213.200.1", 22, timeout=5 * PATIENCE) is None
    assert time.monotonic() - start < PATIENCE, "not refused at once"


def test_quickack_on_both_ends(net):
    host, machine = net.ip("host", "route show"), net.ip("a", "route show")
    assert re.search(r"10\.213\.0\.2/31 dev hth0ad50003 .*quickack 1", host)
    assert re.search(r"10\.213\.0\.2/31 dev eth0 .*quickack 1", machine)
    assert re.search(r"default via 10\.213\.0\.2 dev eth0 .*quickack 1", machine)


def test_machine_has_loopback_and_no_ipv6(net):
    with net.listen("a", "127.0.0.1", 80):
        assert net.ask("a", "127.0.0.1", 80) == "127.0.0.1"
    with net.listen("a", "::1", 80, family=socket.AF_INET6):
        assert net.ask("a", "::1", 80, family=socket.AF_INET6) == "::1"
    assert "inet6" not in net.ip("a", "addr show dev eth0")
    assert "inet6" not in net.ip("host", "addr show dev hth0ad50003")


def test_attach_takes_milliseconds(net):
    times = []

    def is_quick():
        times.append(int(net.attach(3, "c").stdout))
        net.driver("detach", NETWORK, 3)
        return times[-1] < 5000 * PATIENCE

    wait_for(is_quick, seconds=30, message=lambda: f"microseconds: {sorted(times)}")  # a busy host lets it be so in the end


# DNS


def test_dns_outside(net):
    net.resolv.write_text("search corp.example\nnameserver 203.0.113.7\noptions ndots:2\n")
    assert net.driver("resolv", NETWORK, 1).stdout == (
        "nameserver 203.0.113.7\nsearch corp.example\noptions ndots:2\n")
    for kind in (socket.SOCK_STREAM, UDP):
        with net.listen("outside", FAR, 53, kind):
            assert net.ask("a", FAR, 53, kind) == HOST


@pytest.mark.parametrize("text", ["nameserver 127.0.0.53\n", "nameserver ::1\nnameserver fd00::1\n",
                                  "", "nameserver 127.0.0.53 # stub"])
def test_dns_on_the_hosts_loopback(lab, text):
    """A resolver that only listens on loopback, and answers only what comes from there."""
    lab.resolv.write_text(text)
    lab.up()
    server = "127.0.0.53" if "127" in text else "127.0.0.1"
    assert lab.driver("resolv", NETWORK, 1).stdout == f"nameserver {GATEWAY_A}\n"
    for kind in (socket.SOCK_STREAM, UDP):
        with lab.listen("host", server, 53, kind), lab.listen("host", server, 54, kind) as other:
            assert lab.ask("a", GATEWAY_A, 53, kind) == "127.0.0.1"
            assert lab.ask("a", GATEWAY_A, 54, kind) is None
            assert lab.ask("a", HOST, 53, kind) is None
            spoof(lab, "a", A, server, 54)
            assert not other
        with lab.listen("b", "0.0.0.0", 53, kind):
            assert lab.ask("a", B, 53, kind) is None


@pytest.mark.parametrize("server", [HOST, METADATA])
def test_dns_where_only_dns_is_let_through(lab, server):
    lab.resolv.write_text(f"nameserver {server}\n")
    lab.up()
    where = "host" if server == HOST else "outside"
    for kind in (socket.SOCK_STREAM, UDP):
        with lab.listen(where, server, 53, kind), lab.listen(where, server, 80, kind):
            assert lab.ask("a", server, 53, kind)
            assert lab.ask("a", server, 80, kind) is None


@pytest.mark.parametrize("text, expected", [
    ("nameserver 0.0.0.0\n", f"nameserver {GATEWAY_A}\n"),
    ("nameserver 8.8.8.8x\nnameserver 8.8\nnameserver 224.0.0.1\n", f"nameserver {GATEWAY_A}\n"),
    ("nameserver 127.0.0.1\nnameserver 9.9.9.9\nnameserver\t9.9.9.9 \r\n", "nameserver 9.9.9.9\n"),
    ("".join(f"nameserver 9.9.9.{i}\n" for i in range(9)),
     "nameserver 9.9.9.0\nnameserver 9.9.9.1\nnameserver 9.9.9.2\n"),
    ("nameserver 9.9.9.9\nsearch a\x1b[2J.example\nsearch " + "x" * 300 + "\n",
     "nameserver 9.9.9.9\n"),
    ("domain old.example\nnameserver 9.9.9.9\nsearch a.example b.example\n",
     "nameserver 9.9.9.9\nsearch a.example b.example\n"),
    ("#" * 70000 + "\nnameserver 9.9.9.9\n", f"nameserver {GATEWAY_A}\n"),
])
def test_resolv_conf_is_read_with_care(lab, text, expected):
    lab.resolv.write_text(text)
    assert lab.driver("resolv", NETWORK, 1).stdout == expected


# What a machine cannot do


def probe(lab, where, target, kind):
    """Whether anything gets through; an answer may come from another address and be lost."""
    with lab.listen(where, "0.0.0.0", 8080, kind) as seen:
        return lab.ask("a", target, 8080, kind, timeout=LOST) or heard(seen, LOST)


TO_HOST = "fib daddr type local reject"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, UDP])
@pytest.mark.parametrize("where, target, rule", [
    ("host", GATEWAY_A, TO_HOST),
    ("host", GATEWAY_B, TO_HOST),
    ("host", HOST, TO_HOST),
    ("host", HOST_LAN, TO_HOST),
    ("b", B, "oifgroup 181731328 reject"),
    ("outside", METADATA, "ip daddr 169.254.0.0/16 reject"),
])
def test_refused(net, where, target, rule, kind):
    assert not probe(net, where, target, kind)
    net.delete_rule(rule)
    wait_for(lambda: probe(net, where, target, kind), message=f"without {rule!r} it must work")


def test_a_gang_reaches_its_own(net):
    """Who joined under one number reach each other, until they leave; another number, or none, reaches nobody."""
    def gang(verb, slot, number):
        net.driver(verb, NETWORK, slot, number)

    c = "10.213.0.7"
    net.attach(3, "c")
    with net.listen("a", A, 80), net.listen("b", B, 80), net.listen("b", B, 80, UDP) as heard_by_b, \
            net.listen("c", c, 80):
        gang("join", 1, 7)
        assert net.ask("a", B, 80) is None, "alone in its gang"
        gang("join", 2, 7)
        gang("join", 2, 7)
        gang("join", 3, 8)
        assert net.ask("a", B, 80) == A and net.ask("b", A, 80) == B
        assert net.ask("a", B, 80, UDP) == A
        for frm, to in (("c", A), ("c", B), ("a", c), ("b", c)):
            assert net.ask(frm, to, 80) is None, (frm, to)
        heard_by_b.clear()
        spoof(net, "c", A, B, 80)
        assert not heard(heard_by_b), "an address is nobody's but its machine's"
        net.setup()
        assert net.ask("a", B, 80) is None, "the table is new"
        gang("join", 1, 7)
        gang("join", 2, 7)
        assert net.ask("a", B, 80) == A
        gang("leave", 2, 7)
        gang("leave", 2, 7)
        assert net.ask("a", B, 80) is None and net.ask("b", A, 80) is None
        gang("leave", 3, 8)
    net.teardown()
    gang("leave", 1, 7)  # from a table that is not there


def test_refused_at_once(net):
    for target in (GATEWAY_A, B, METADATA):
        start = time.monotonic()
        assert net.ask("a", target, 80, timeout=5 * PATIENCE) is None
        assert time.monotonic() - start < PATIENCE


def test_dns_ports_of_others_are_refused(net):
    for where, target in (("host", GATEWAY_A), ("host", HOST), ("outside", METADATA)):
        with net.listen(where, "0.0.0.0", 53):
            assert net.ask("a", target, 53) is None


def test_port_published_by_nat_is_refused(net):
    """As Docker publishes ports: destination NAT for whatever is addressed to the host."""
    net.sh("host", f"""nft 'table ip published {{ chain pre {{ type nat hook prerouting priority dstnat;
        fib daddr type local tcp dport 8080 dnat to {LAN}:80; }}; }}'""")
    with net.listen("lan", LAN, 80):
        assert net.ask("outside", HOST, 8080)
        assert net.ask("a", HOST, 8080) is None
        net.delete_rule(TO_HOST)
        assert net.ask("a", HOST, 8080)


@pytest.mark.parametrize("is_uplink", [False, True])
def test_behind_a_bridge_of_the_host(lab, is_uplink):
    """The host's own containers are out of reach, also where iptables is told to let us through; a
    bridge that is the way out is not."""
    lab.ip("host", "link add br0 type bridge")
    lab.ip("host", "link set lan0 master br0")
    lab.ip("host", f"addr del {HOST_LAN}/24 dev lan0")
    lab.ip("host", f"addr add {HOST_LAN}/24 dev br0")
    lab.ip("host", "link set br0 up")
    if is_uplink:
        for metric in (50, 60):
            lab.ip("host", f"route add default via {LAN} dev br0 metric {metric}")
    lab.up()
    with lab.listen("lan", LAN, 80):
        assert lab.ask("host", LAN, 80)
        assert lab.ask("a", LAN, 80) == (HOST_LAN if is_uplink else None)
        if not is_uplink:
            lab.delete_rule("meta oifkind")
            assert lab.ask("a", LAN, 80)


@pytest.mark.parametrize("source", [B, GATEWAY_A, HOST, "192.0.2.99", "10.213.7.7", "8.8.8.8"])
def test_spoofed_source(net, source):
    with net.listen("outside", FAR, 9, UDP) as seen:
        spoof(net, "a", A, FAR, 9)
        assert heard(seen), "its own address must work"
        seen.clear()
        spoof(net, "a", source, FAR, 9)
        spoof(net, "a", A, FAR, 9)
        assert heard(seen) and len(seen) == 1
        if source == "192.0.2.99":  # one that nothing else stops
            net.delete_rule("fib saddr . iif oif")
            seen.clear()
            net.sh("host", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done")
            spoof(net, "a", source, FAR, 9)
            assert heard(seen)


def who_has(lab, sources):
    """Asks the host's end by ARP, once as each of `sources`."""
    mac = bytes.fromhex(lab.sh("a", "cat /sys/class/net/eth0/address").strip().replace(":", ""))
    with lab.open_socket("a", socket.AF_PACKET, socket.SOCK_RAW, 0) as s:
        s.bind(("eth0", 0))
        for source in sources:
            s.send(b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac +
                   socket.inet_aton(source) + bytes(6) + socket.inet_aton(GATEWAY_A))


def test_arp_fills_no_table_of_the_host(net):
    """The table is one for all namespaces: full, the host finds no new neighbour in its own network."""
    strangers = ["10.99.0.%d" % i for i in range(1, 100)]

    def known():
        return set(net.ip("host", "neigh show dev hth0ad50003").split()) & {A, *strangers}

    who_has(net, [*strangers, A])
    wait_for(lambda: A in known())
    assert known() == {A}
    net.sh("host", "echo 1 >/proc/sys/net/ipv4/conf/hth0ad50003/arp_ignore")
    who_has(net, strangers)
    wait_for(lambda: len(known()) == 100)


def test_ipv6_that_a_machine_brought_up_itself(net):
    for name, interface, address in (("host", "hth0ad50003", "fd00:1::1"), ("a", "eth0", "fd00:1::2")):
        net.sh(name, f"echo 0 >/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
        net.ip(name, f"addr add {address}/64 dev {interface} nodad")
    # The rules stop neighbour discovery too, which would hide the one that is tested.
    for name, interface, address, peer, there in (("host", "hth0ad50003", "fd00:1::2", "a", "eth0"),
                                                  ("a", "eth0", "fd00:1::1", "host", "hth0ad50003")):
        mac = net.sh(peer, f"cat /sys/class/net/{there}/address").strip()
        net.ip(name, f"neigh add {address} lladdr {mac} dev {interface}")
    v6 = dict(family=socket.AF_INET6)
    with net.listen("host", "::", 8080, **v6):
        assert net.ask("a", "fd00:1::1", 8080, timeout=LOST, **v6) is None
        net.delete_rule("meta nfproto ipv6 drop")
        net.delete_rule("fib saddr . iif oif")
        assert net.ask("a", "fd00:1::1", 8080, **v6)


@pytest.mark.parametrize("frm", ["outside", "lan"])
def test_nobody_reaches_a_machine_through_the_host(net, frm):
    net.ip("outside", f"route add {NETWORK} via {HOST}")
    with net.listen("a", "0.0.0.0", 22):
        assert net.ask(frm, A, 22, timeout=LOST) is None
        net.delete_rule("oifgroup 181731328 drop")
        net.delete_rule("iifname @closed")
        assert net.ask(frm, A, 22)


def test_host_becomes_no_router(net):
    net.ip("outside", f"route add 192.0.2.0/24 via {HOST}")
    with net.listen("lan", LAN, 80):
        assert net.ask("outside", LAN, 80, timeout=LOST) is None
        net.delete_rule("iifname @closed")
        assert net.ask("outside", LAN, 80)


def test_host_that_was_a_router_stays_one(lab):
    lab.sh("host", "sysctl -q net.ipv4.ip_forward=1")
    before = lab.snapshot()
    lab.up()
    lab.ip("outside", f"route add 192.0.2.0/24 via {HOST}")
    with lab.listen("lan", LAN, 80):
        assert lab.ask("outside", LAN, 80)
    lab.teardown()
    assert lab.snapshot() == before


# The host's settings


def odd_settings(lab):
    """A host that has ideas of its own: all of this must still be there afterwards."""
    lab.sh("host", """
        echo 1 >/proc/sys/net/ipv4/conf/lan0/forwarding
        echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects
        nft 'table inet mine { chain c { type filter hook forward priority 0; policy accept; }; }'
        nft 'table ip nat { chain p { type nat hook postrouting priority 100; }; }'""")


def test_teardown_restores(lab):
    odd_settings(lab)
    before = lab.snapshot()
    lab.up()
    assert lab.sh("host", "cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert os.stat(f"{lab.state}/network.state").st_mode & 0o777 == 0o600
    assert lab.snapshot() != before
    lab.teardown()
    assert lab.snapshot() == before
    lab.teardown()
    assert lab.snapshot() == before


# Every system call of ours by which something changes outside this process, or that lies between.
KILL_AT = ["openat", "write", "fsync", "rename", "unlink", "sendto", "memfd_create", "clone", "wait4",
           "exit_group"]


def killed_runs(prepare, action):
    """Runs `action` again and again, each time prepared and then killed at the first, second, … call
    of each kind, until it gets through."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    kills = 0
    for call in KILL_AT:
        at = 0
        while True:
            at += 1
            prepare()
            out = action(check=False, wrapper=[
                "strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                "-e", f"inject={call}:signal=SIGKILL:when={at}"])
            if out.returncode == 0:
                break
            assert out.returncode == -9, out.stderr
            kills += 1
            yield f"{call} {at}"
    print("killed", kills, "times")
    assert kills > 20, "strace killed nothing"


def test_setup_killed_anywhere(lab):
    odd_settings(lab)
    before = lab.snapshot()
    for at in killed_runs(lab.teardown, lab.setup):
        lab.teardown()
        assert lab.snapshot() == before, f"killed at {at}"
    lab.teardown()


def test_setup_killed_anywhere_and_done_again(lab):
    odd_settings(lab)
    before = lab.snapshot()
    for at in killed_runs(lab.teardown, lab.setup):
        lab.setup()
        lab.teardown()
        assert lab.snapshot() == before, f"killed at {at}"
    lab.teardown()


def test_teardown_killed_anywhere(lab):
    odd_settings(lab)
    before = lab.snapshot()
    for at in killed_runs(lab.up, lab.teardown):
        lab.teardown()
        assert lab.snapshot() == before, f"killed at {at}"
    assert lab.snapshot() == before


def test_connections_survive_another_setup(net):
    with net.listen("outside", FAR, 80), net.listen("a", "0.0.0.0", 22), \
            net.open_socket("a", socket.AF_INET, socket.SOCK_STREAM) as out, \
            net.open_socket("host", socket.AF_INET, socket.SOCK_STREAM) as into:
        for s, address in ((out, (FAR, 80)), (into, (A, 22))):
            s.settimeout(5)
            s.connect(address)
        for _ in range(3):
            net.setup()
            for s, peer in ((out, HOST), (into, GATEWAY_A)):
                s.send(b"?\n")
                assert s.recv(100).decode() == peer


def test_state_of_another_boot_is_not_believed(lab):
    lab.setup()
    path = f"{lab.state}/network.state"
    text = open(path).read()
    lab.sh("host", "sysctl -q net.ipv4.ip_forward=1")
    open(path, "w").write(re.sub("boot .*", "boot 00000000-0000-0000-0000-000000000000", text))
    lab.setup()
    lab.teardown()
    assert lab.sh("host", "cat /proc/sys/net/ipv4/ip_forward") == "1\n"


def test_teardown_after_a_reboot_leaves_settings_alone(lab):
    lab.setup()
    path = f"{lab.state}/network.state"
    text = open(path).read()
    open(path, "w").write(re.sub("boot .*", "boot 00000000-0000-0000-0000-000000000000", text))
    lab.teardown()
    assert lab.sh("host", "cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert os.listdir(lab.state) == ["resolv.conf"]


@pytest.mark.parametrize("text", ["", "x", "hearth network 1\n", "hearth network 1\nboot b\nnetwork 1/2\n",
                                  "hearth network 1\nboot b\nnetwork 10.213.0.0/16",
                                  "hearth network 1\nboot b\nnetwork 10.213.0.0/16\nsysctl ../../x 1\n"])
def test_a_state_file_that_is_not_ours_is_refused(lab, text):
    path = f"{lab.state}/network.state"
    open(path, "w").write(text)
    for out in (lab.setup(check=False), lab.teardown(check=False)):
        assert out.returncode == 1 and f"{path}: line" in out.stderr
    assert lab.sh("host", "nft list ruleset") == ""


def test_two_networks_on_one_host(lab):
    """Neither disturbs the other; forwarding goes off with the one that turned it on."""
    before = lab.snapshot()
    lab.up()
    other = f"{lab.state}/other"
    os.mkdir(other)
    lab.driver("setup", "10.214.0.0/24", other)
    lab.driver("attach", "10.214.0.0/24", 1, f"/proc/self/fd/{lab.fds['c']}")
    with lab.listen("outside", FAR, 80), lab.listen("c", "0.0.0.0", 80):
        assert lab.ask("a", FAR, 80) == HOST and lab.ask("c", FAR, 80) == HOST
        assert lab.ask("a", "10.214.0.3", 80, timeout=LOST) is None
        lab.driver("teardown", other)
        assert lab.ask("a", FAR, 80) == HOST
    lab.teardown()
    os.rmdir(other)
    assert lab.snapshot() == before


def test_forwarding_outlives_the_network_that_turned_it_on(lab):
    lab.up()
    other = f"{lab.state}/other"
    os.mkdir(other)
    lab.driver("setup", "10.214.0.0/24", other)
    assert "it stays on" in lab.teardown().stderr
    lab.driver("attach", "10.214.0.0/24", 1, f"/proc/self/fd/{lab.fds['c']}")
    with lab.listen("outside", FAR, 80):
        assert lab.ask("c", FAR, 80) == HOST
    lab.driver("teardown", other)


def test_network_changes_only_without_machines(lab):
    before = lab.snapshot()
    lab.up()
    out = lab.driver("setup", "10.214.0.0/16", lab.state, check=False)
    assert out.returncode == 1 and "still running in 10.213.0.0/16" in out.stderr
    for slot in (1, 2):
        lab.driver("detach", NETWORK, slot)
    lab.driver("setup", "10.214.0.0/16", lab.state)
    assert "hearth-10.213" not in lab.sh("host", "nft list tables")
    lab.teardown()
    assert lab.snapshot() == before


@pytest.mark.skipif(not shutil.which("iptables"), reason="iptables is not installed")
@pytest.mark.parametrize("chain", ["FORWARD", "DOCKER-USER"])
def test_iptables_that_drops_what_is_forwarded(lab, chain):
    lab.sh("host", "iptables -P FORWARD DROP")
    if chain == "DOCKER-USER":
        lab.sh("host", "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER")
    before = lab.snapshot()
    lab.up()
    lab.setup()
    assert lab.sh("host", f"iptables -S {chain}").count("--comment hearth") == 2
    with lab.listen("outside", FAR, 80), lab.listen("b", "0.0.0.0", 80):
        assert lab.ask("a", FAR, 80) == HOST
        assert lab.ask("a", B, 80) is None
        lab.sh("host", f"iptables -D {chain} 1; iptables -D {chain} 1")
        assert lab.ask("a", FAR, 80, timeout=LOST) is None
    lab.setup()
    lab.teardown()
    assert lab.snapshot() == before


def test_another_firewall_that_drops_is_named(lab):
    lab.sh("host", "nft 'table inet fw { chain f { type filter hook forward priority 5; policy drop; }; }'")
    assert "table inet fw chain f drops" in lab.setup().stderr


# Interfaces


def test_attach_replaces_what_was_left_over(net):
    net.attach(1, "c")
    assert "eth0" not in net.ip("a", "link show")
    with net.listen("c", "0.0.0.0", 22):
        assert net.ask("host", A, 22)


def test_attach_that_fails_leaves_nothing(net):
    out = net.attach(3, "a", check=False)  # has an eth0 already
    assert out.returncode == 1
    net.ip("c", "link set lo up")
    net.ip("c", "route add blackhole default")  # fails late, when both ends are there
    out = net.attach(3, "c", check=False)
    assert out.returncode == 1 and "eth0: File exists" in out.stderr
    assert "hth0ad50007" not in net.ip("host", "link show")


def test_detach_is_idempotent(net):
    net.driver("detach", NETWORK, 1)
    net.driver("detach", NETWORK, 1)
    assert "hth0ad50003" not in net.ip("host", "link show")
    assert "hth0ad50005" in net.ip("host", "link show")


# Which networks


@pytest.mark.parametrize("what, named", [
    ("route add 10.213.9.0/24 via 198.51.100.2", "route 10.213.9.0/24 on up0"),
    ("route add 10.0.0.0/8 via 198.51.100.2", "route 10.0.0.0/8 on up0"),
    ("route add 10.213.0.0/16 via 198.51.100.2 table 77", "route 10.213.0.0/16 on up0"),
    ("route add blackhole 10.213.1.0/24", "route 10.213.1.0/24"),
    ("addr add 10.213.4.4/32 dev lo", "route 10.213.4.4/32 on lo"),
    ("addr add 10.213.4.4/24 dev down0", "route 10.213.4.4/32 on down0"),
])
def test_overlap_is_refused(lab, what, named):
    lab.ip("host", "link add down0 type veth peer name down1")
    lab.driver("check", NETWORK)
    lab.ip("host", what)
    before = lab.snapshot()
    out = lab.setup(check=False)
    assert out.returncode == 1 and f"overlaps the host's {named}" in out.stderr
    assert lab.snapshot() == before


@pytest.mark.parametrize("what", ["route add 0.0.0.0/1 via 198.51.100.2", "route add 10.212.0.0/16 via 198.51.100.2",
                                  "addr add 10.214.0.1/16 dev up0"])
def test_no_overlap(lab, what):
    lab.ip("host", what)
    lab.driver("check", NETWORK)


@pytest.mark.parametrize("text", [
    "", "x", "10.213.0.0", "10.213.0.0/", "10.213.0.0/016", "10.213.0.0/16 ", " 10.213.0.0/16",
    "10.213.0.0/16/1", "10.213.0/16", "010.213.0.0/16", "10.213.0.1/16", "10.213.0.0/8", "10.213.0.0/25",
    "8.0.0.0/7", "10.213.0.0/-8", "fd00::/16", "127.0.0.0/8", "127.5.0.0/16", "169.254.0.0/16",
    "169.254.9.0/24", "169.0.0.0/8", "224.0.0.0/8", "240.0.0.0/8", "0.0.0.0/8", "10.213.0.0/99999999999",
    "1" * 500 + "/16"])
def test_wrong_network(lab, text):
    out = lab.driver("show", text, check=False)
    assert out.returncode == 1 and out.stderr.startswith("invalid: network ") and out.stderr.count("\n") == 1


@pytest.mark.parametrize("text, slot, expected", [
    ("10.213.0.0/16", 1, "32000 10.213.0.3 10.213.0.2 hth0ad50003"),
    ("10.213.0.0/24", 127, "127 10.213.0.255 10.213.0.254 hth0ad500ff"),
    ("172.16.0.0/12", 32000, "32000 172.16.250.1 172.16.250.0 hthac10fa01"),
])
def test_addresses(lab, text, slot, expected):
    assert lab.driver("show", text, slot).stdout.strip() == expected
