# SPDX-License-Identifier: Apache-2.0
"""hearth-init as PID 1, with real sshd, real ssh and the real image: every line of control.h, the
deadline to 100 ms, sessions, reaping, and what a hostile or clumsy client can send."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from hearth import wait_for
from init_machine import INIT, Keys, Machine
from patience import PATIENCE

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def keys():
    with tempfile.TemporaryDirectory() as d:
        yield Keys(d)


@pytest.fixture(scope="module")
def shared(keys):
    """For tests that leave the machine as it was."""
    with Machine(keys, lease=3600) as m:
        m.watch().close()
        yield m


def unused_for(connection, seconds):
    return not select.select([connection.sock], [], [], seconds)[0]


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(word) for word in f.read().split()]


def terminal_says(fd, text, timeout):
    """Reads from a pty until `text` came."""
    got = b""
    end = time.monotonic() + timeout * PATIENCE
    while text.encode() not in got:
        left = end - time.monotonic()
        assert left > 0 and select.select([fd], [], [], left)[0], got
        try:
            got += os.read(fd, 4096)
        except OSError:
            pytest.fail("terminal closed; it said %r" % got)
    return got.decode(errors="replace")


class Shell:
    """An interactive `ssh -tt` login on a terminal of its own."""

    def __init__(self, machine):
        master, slave = pty.openpty()
        self.fd = master
        self.process = subprocess.Popen(machine.ssh_argv(options=["-tt"]), stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True)
        os.close(slave)
        terminal_says(self.fd, "$", 10)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


# ---- readiness ----------------------------------------------------------------------------------


def test_ready_means_that_ssh_works(keys):
    with Machine(keys) as m:
        m.watch()
        assert m.ssh("true").returncode == 0
        assert m.ssh("true", tcp=True).returncode == 0


def test_not_ready_until_every_file_is_there(keys):
    def prepare(root):
        os.rename(root + "/etc/hearth/principals", root + "/etc/hearth/principals.later")

    with Machine(keys, prepare=prepare) as m:
        c, other = m.control(), m.control()
        c.send("watch")
        assert unused_for(c, 0.4)
        assert other.ask("status").startswith("status starting ")
        assert other.run("mv /etc/hearth/principals.later /etc/hearth/principals")[0] == 0
        assert c.recv(timeout=1.5) == "ready"
        assert c.recv() == "sessions 0"
        assert other.ask("status").startswith("status ready ")


def test_port_22_shows_a_banner(shared):
    script = ("import socket; s = socket.create_connection(('127.0.0.1', 22), 5);"
              "print(s.recv(100).decode())")
    out = subprocess.run(["nsenter", "-t", str(shared.pid()), "-n", "/usr/bin/python3", "-c", script],
                         capture_output=True, text=True, timeout=10)
    assert out.stdout.startswith("SSH-2.0-OpenSSH"), out


@pytest.mark.parametrize("identity", ["stranger"])
def test_a_key_without_certificate_is_refused(shared, identity):
    out = shared.ssh("true", identity=identity)
    assert out.returncode == 255
    assert "Permission denied (publickey)" in out.stderr


# ---- deadline -----------------------------------------------------------------------------------


SLOW = 2 * PATIENCE  # seconds that a busy host may add; `make bench` has the milliseconds


def gone_after(machine, since, seconds, slack=0.1):
    took = machine.wait_gone(seconds + 5) - since
    # unshare(1) reaps it and exits, which is a few milliseconds of the slack
    assert seconds - 0.01 <= took <= seconds + slack + SLOW, took


def test_lease_ends_the_machine_with_no_client_at_all(keys):
    with Machine(keys, lease=1) as m:
        gone_after(m, m.born, 1, slack=0.15)


def test_deadline_moves_nearer_and_holds_without_the_client(keys):
    with Machine(keys, lease=3600) as m:
        c = m.watch()
        start = time.monotonic()
        assert c.ask("deadline 1") == "ok"
        c.close()
        gone_after(m, start, 1)


def test_deadline_moves_further(keys):
    with Machine(keys, lease=1) as m:
        c = m.watch()
        start = time.monotonic()
        assert c.ask("deadline 2") == "ok"
        gone_after(m, start, 2)
        assert c.recv() == ""


def test_deadline_zero_and_shutdown_end_it_at_once(keys):
    for packet in ("deadline 0", "shutdown"):
        with Machine(keys) as m:
            c = m.watch()
            start = time.monotonic()
            assert c.ask(packet) == "ok"
            gone_after(m, start, 0)


def test_sigterm_ends_it(keys):
    with Machine(keys) as m:
        m.watch()
        start = time.monotonic()
        os.kill(m.pid(), signal.SIGTERM)
        gone_after(m, start, 0)


def test_status_counts_down(shared):
    c = shared.control()
    assert c.ask("deadline 3600") == "ok"
    assert c.ask("status") == "status ready deadline 3600 sessions 0"
    time.sleep(1.1)
    assert c.ask("status") == "status ready deadline 3599 sessions 0"


def test_end_hangs_up_sessions_and_waits_for_them_a_second_at_most(keys):
    with Machine(keys) as m:
        c = m.watch()
        shell = Shell(m)
        assert m.control().run("setsid sh -c 'trap \"\" HUP TERM; while :; do sleep 60; done' "
                               ">/dev/null 2>&1 & sleep 0.2")[0] == 0
        start = time.monotonic()
        assert m.control().ask("deadline 0") == "ok"
        shell.process.wait(0.7)
        gone_after(m, start, 1, slack=0.2)
        assert shell.process.returncode == 255
        shell.close()
        c.close()


def test_end_lets_processes_finish(keys):
    with Machine(keys) as m:
        c = m.control()
        m.watch()
        os.mkdir(m.path("upper") + "/saved")
        assert c.run("setsid sh -c 'trap \"sleep 0.3; touch /root/saved; exit\" TERM HUP; "
                     "while :; do sleep 0.05; done' >/dev/null 2>&1 & sleep 0.2")[0] == 0
        start = time.monotonic()
        assert c.ask("shutdown") == "ok"
        took = m.wait_gone() - start
        assert 0.25 < took < 0.9 + SLOW, took
        assert os.path.exists(m.path("upper") + "/root/saved")


# ---- run ----------------------------------------------------------------------------------------


def test_run_gives_output_and_exit_code(shared):
    c = shared.control()
    assert c.run("echo out; echo err >&2; exit 7")[:2] == (7, "out\nerr\n")
    assert c.run("kill -9 $$")[:2] == (128 + 9, "")
    assert c.run("nosuchcommand 2>/dev/null")[0] == 127
    assert c.run("id -u; pwd; echo $HOME $DEBIAN_FRONTEND; cat")[:2] == (
        0, "0\n/root\n/root noninteractive\n")


def test_run_is_killed_with_its_group_at_the_timeout(shared):
    c = shared.control()
    code, output, took = c.run("echo begun; sleep 77 & sleep 77", timeout_s=1)
    assert (code, output) == (124, "begun\n")
    assert 0.95 < took < 1.2 + SLOW
    assert c.run("pgrep -xc sleep")[1] == "0\n"


def test_run_does_not_wait_for_a_daemon_it_leaves_behind(shared):
    c = shared.control()
    code, output, took = c.run("sleep 78 & echo started")
    assert (code, output) == (0, "started\n")
    assert took < 10
    assert c.run("pkill -xc sleep")[1] == "1\n"


def test_run_output_is_bounded(shared):
    code, output, _ = shared.control().run("head -c 300000 /dev/zero | tr '\\0' x; exit 3")
    assert code == 3
    assert output == "x" * 65536


def test_a_command_that_never_stops_writing_does_not_stop_the_machine(shared):
    c, other = shared.control(), shared.control()
    c.send("run 1 yes & yes & yes & yes")
    start = time.monotonic()
    while time.monotonic() - start < 0.8:
        asked = time.monotonic()
        assert other.ask("status", timeout=1).startswith("status ready")
        assert time.monotonic() - asked < 0.7
    packet = ""
    while not packet.startswith("exit "):
        packet = c.recv()
    assert packet == "exit 124"
    assert time.monotonic() - start < 1.3 + SLOW


def test_run_waits_for_a_slow_reader_and_loses_nothing(shared):
    c = shared.control()
    c.send("run 20 i=0; while [ $i -lt 6000 ]; do echo $i; i=$((i+1)); done; echo end")
    time.sleep(1.0)
    output, packet = "", ""
    while not packet.startswith("exit "):
        packet = c.recv()
        output += packet[4:] if packet.startswith("out ") else ""
    assert packet == "exit 0"
    assert output == "".join("%d\n" % i for i in range(6000)) + "end\n"


def test_run_dies_with_its_connection(shared):
    c, other = shared.control(), shared.control()
    c.send("run 600 exec sleep 79")
    while other.run("pgrep -xc sleep")[1] != "1\n":
        pass
    c.close()
    end = time.monotonic() + 2
    while other.run("pgrep -xc sleep")[1] != "0\n":
        assert time.monotonic() < end


def test_one_command_at_a_time_per_connection(shared):
    c = shared.control()
    c.send("run 5 sleep 0.5")
    assert c.ask("run 5 true").startswith("error run: a command runs already")
    assert c.recv() == "exit 0"
    assert c.run("true")[0] == 0


def test_commands_run_side_by_side_on_several_connections(shared):
    clients = [shared.control() for _ in range(4)]
    start = time.monotonic()
    for n, c in enumerate(clients):
        c.send("run %d sleep %.1f; exit %d" % (5 * PATIENCE, 0.5 * PATIENCE, n))
    assert [c.recv() for c in clients] == ["exit 0", "exit 1", "exit 2", "exit 3"]
    assert time.monotonic() - start < 1.9 * PATIENCE  # one after the other: 2 s


# ---- bad clients --------------------------------------------------------------------------------


@pytest.mark.parametrize("packet", [
    "x", " ", "watch ", "watch now", "WATCH", "deadline", "deadline ", "deadline -1", "deadline 1x",
    "deadline 1 2", "deadline 999999999999999999999", "deadline 315360001", "deadline  5", "status x",
    "message", "run", "run 5", "run 5 ", "run x true", "run 0 true", "run -1 true", "run 5\ttrue",
    "warning " + "x" * 401, "shutdown now", b"deadline 5\0", b"\0", b"\xff" * 100,
    b"message " + b"x" * 4089, b"y" * 60000,
])
def test_garbage_is_answered_with_an_error(shared, packet):
    c = shared.control()
    c.ask("deadline 3600")
    assert c.ask(packet).startswith("error ")
    assert c.ask("status") == "status ready deadline 3600 sessions 0"
    c.close()


def test_an_empty_packet_ends_the_connection(shared):
    c = shared.control()
    c.send(b"")
    assert c.recv() == ""


def test_the_longest_packets_are_taken(shared):
    c = shared.control()
    assert c.ask("message " + "x" * 4088) == "ok"
    assert c.run("true " + "#" * 4080)[0] == 0


def test_one_connection_too_many_is_told_so(keys):
    with Machine(keys) as m:
        clients = [m.control() for _ in range(8)]
        assert all(c.ask("status").startswith("status") for c in clients)
        ninth = m.control()
        assert ninth.recv() == "error too many control connections"
        assert ninth.recv() == ""
        clients[3].close()
        time.sleep(0.05)
        assert m.control().ask("status").startswith("status")


def test_a_stuck_client_is_dropped_and_hurts_nobody(keys):
    with Machine(keys) as m:
        stuck, other = m.control(), m.control()
        stuck.sock.settimeout(0.2)
        with pytest.raises(OSError):
            for _ in range(100000):
                stuck.send("status")
        assert other.ask("status").startswith("status")
        assert other.run("echo fine")[:2] == (0, "fine\n")


# ---- sessions -----------------------------------------------------------------------------------


def test_sessions_are_pushed_at_each_change(keys):
    with Machine(keys) as m:
        c = m.watch()
        one, two = Shell(m), Shell(m)
        assert [c.recv(), c.recv()] == ["sessions 1", "sessions 2"]
        late = m.control()
        late.send("watch")
        assert [late.recv(), late.recv()] == ["ready", "sessions 2"]
        one.close()
        assert c.recv() == "sessions 1"
        two.close()
        assert c.recv() == "sessions 0"


def test_the_shortest_session_counts(keys):
    with Machine(keys) as m:
        c = m.watch()
        for _ in range(3):
            assert m.ssh("true").returncode == 0
            assert [c.recv(), c.recv()] == ["sessions 1", "sessions 0"]


def test_a_session_counts_that_was_over_before_init_looked(keys):
    with Machine(keys) as m:
        c = m.watch()
        ssh = subprocess.Popen(m.ssh_argv("true"), stdin=subprocess.DEVNULL)
        pid = m.pid()
        while not children(pid):
            pass
        os.kill(pid, signal.SIGSTOP)
        assert ssh.wait(10) == 0
        time.sleep(0.1)
        os.kill(pid, signal.SIGCONT)
        assert [c.recv(), c.recv()] == ["sessions 1", "sessions 0"]


def test_a_login_that_fails_or_never_comes_is_not_a_session(keys):
    with Machine(keys) as m:
        c = m.watch()
        probe = socket.socket(socket.AF_UNIX)
        probe.connect(m.path("ssh.sock"))
        assert probe.recv(100).startswith(b"SSH-2.0")
        probe.send(b"SSH-2.0-probe\r\nAccepted publickey for dev\n")
        assert m.ssh("true", identity="stranger").returncode == 255
        assert unused_for(c, 0.3)
        probe.close()


def test_connections_that_do_not_log_in_cannot_lock_others_out(keys):
    with Machine(keys) as m:
        m.watch()
        idle = []
        for _ in range(80):
            s = socket.socket(socket.AF_UNIX)
            s.connect(m.path("ssh.sock"))
            idle.append(s)
        idle[-1].settimeout(20 * PATIENCE)
        assert idle[-1].recv(100).startswith(b"SSH-2.0")
        # one more than its 64 for the moment that the oldest takes to end
        wait_for(lambda: int(m.control().run("pgrep -xc -P 1 sshd")[1]) <= 64)
        assert m.ssh("true").returncode == 0
        for s in idle:
            s.close()


# ---- terminals ----------------------------------------------------------------------------------


def test_message_reaches_every_terminal_and_nothing_dangerous_does(keys):
    with Machine(keys) as m:
        m.watch()
        one, two = Shell(m), Shell(m)
        assert m.control().ask("message hello \033[2J\u00fc all") == "ok"
        for shell in (one, two):
            terminal_says(shell.fd, "hello ?[2J\u00fc all\r", 2)
            shell.close()


def test_a_stopped_terminal_does_not_stop_the_machine(keys):
    with Machine(keys) as m:
        m.watch()
        c = m.control()
        shell = Shell(m)
        assert c.run("pkill -STOP sshd")[0] == 0
        for _ in range(100):  # nobody reads this terminal now; its buffer fills up
            assert c.ask("message " + "x" * 4000, timeout=2) == "ok"
        shell.close()


def test_warning_five_minutes_before_the_deadline(keys):
    with Machine(keys) as m:
        m.watch()
        c = m.control()
        shell = Shell(m)
        assert c.ask("warning extend with: hearth extend blue --hours 1") == "ok"
        start = time.monotonic()
        assert c.ask("deadline 301") == "ok"
        said = terminal_says(shell.fd, "--hours 1", 3)
        assert 0.95 < time.monotonic() - start < 1.2 + SLOW
        assert ("hearth: this machine ends in 5 minutes; extend with: hearth extend blue --hours 1"
                in said)
        assert c.ask("deadline 60") == "ok"
        assert "ends in 60 seconds; extend" in terminal_says(shell.fd, "--hours 1", 1)
        assert c.ask("deadline 3600") == "ok"
        os.write(shell.fd, b"echo qu''iet\n")
        assert "hearth:" not in terminal_says(shell.fd, "quiet", 2)
        shell.close()


# ---- PID 1 --------------------------------------------------------------------------------------


def test_orphans_are_reaped(shared):
    c = shared.control()
    code, output, _ = c.run("for i in $(seq 200); do (setsid sh -c 'sleep 0.1' &) ; done; sleep %d; "
                            "ps -eo stat= | grep -c Z" % PATIENCE, timeout_s=20 * PATIENCE)
    assert output == "0\n"


def test_children_start_clean(shared):
    c = shared.control()
    assert c.run("ls /proc/self/fd | wc -l")[1] == "4\n"  # 0, 1, 2 and ls's own
    assert c.run("grep -E '^Sig(Blk|Ign)' /proc/self/status")[1] == (
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n")
    out = shared.ssh("cat /proc/self/oom_score_adj; env")
    assert out.stdout.startswith("0\n")
    assert "HEARTH" not in out.stdout
    shell = Shell(shared)
    sshd, = children(shared.pid())
    with open("/proc/%d/status" % sshd) as f:  # shells would clear the mask
        assert re.search(r"^SigBlk:\t0{16}$", f.read(), re.M)
    shell.close()


def test_directories_are_set_up(shared):
    out = shared.control().run("stat -c '%a %n' /run/sshd /run/lock /tmp /var/tmp")[1]
    assert out == "755 /run/sshd\n1777 /run/lock\n1777 /tmp\n1777 /var/tmp\n"


def test_root_inside_cannot_trace_it_nor_see_its_files(shared):
    trace = ("import ctypes; l = ctypes.CDLL(None, use_errno=True);"
             "print(l.ptrace(16, %s, 0, 0), ctypes.get_errno())")
    c = shared.control()
    assert c.run('python3 -c "%s"' % (trace % "1"))[1] == "-1 1\n"
    assert c.run('sleep 9 & p=$!; python3 -c "%s"; kill -9 $p' % (trace % "$p"))[1] == "0 0\n"
    assert c.run("readlink /proc/1/fd/3 || readlink /proc/1/exe")[0] != 0
    assert c.run("readlink /proc/$$/fd/0")[0] == 0


def test_it_survives_signals_from_inside(shared):
    c = shared.control()
    assert c.run("for s in HUP INT QUIT KILL STOP USR1 PIPE ALRM SEGV; do kill -$s 1; done")[0] == 0
    assert c.ask("status").startswith("status ready")


def test_an_idle_machine_is_small(shared):
    shared.control().run("true")
    time.sleep(0.1)
    with open("/proc/%d/smaps_rollup" % shared.pid()) as f:
        text = f.read()
    pss = int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1])
    private = int(re.search(r"^Private_Dirty:\s+(\d+) kB", text, re.M)[1])
    print("\nPss %d kB, private dirty %d kB, binary %d bytes" % (pss, private, os.stat(INIT).st_size))
    assert pss <= 150
    assert os.stat(INIT).st_size < 100000


def test_it_refuses_to_be_anything_but_pid_1():
    """It would signal every process of the host."""
    out = subprocess.run([INIT, "--ssh-fd", "3", "--control-fd", "4", "--lease", "0"],
                         capture_output=True, text=True, timeout=5)
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr.startswith("hearth-init: must be PID 1")


@pytest.mark.parametrize("argv", [
    [], ["--lease", "5"], ["--ssh-fd", "3", "--control-fd", "4", "--lease"],
    ["--ssh-fd", "3", "--control-fd", "4", "--lease", "x"],
    ["--ssh-fd", "0", "--control-fd", "4", "--lease", "5"],
    ["--ssh-fd", "3", "--control-fd", "4", "--lease", "5", "--port", "65536"],
    ["--ssh-fd", "3", "--control-fd", "4", "--lease", "5", "--wat", "1"],
])
def test_wrong_arguments(argv):
    out = subprocess.run([INIT, *argv], capture_output=True, text=True, timeout=5)
    assert out.returncode == 2
    assert out.stderr.startswith("hearth-init: usage: ") and out.stderr.count("\n") == 1
