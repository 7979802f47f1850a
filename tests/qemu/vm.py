# SPDX-License-Identifier: Apache-2.0
"""What the tests in virtual machines share: Debian's kernel, an initramfs, and a bounded run of QEMU.

Emulated (TCG): a host that is a virtual machine itself often has no KVM, or one that boots nothing."""

import ctypes
import os
import pathlib
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

CACHE = pathlib.Path("/var/tmp/hearth-test-kernel")
QEMU = "qemu-system-x86_64"
PACKAGE = "linux-image-cloud-amd64"


class Unavailable(Exception):
    """What is missing for a test in a virtual machine, and how to get it."""


def end_on_sigterm():
    """Cleaning up, as on an interrupt."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def qemu():
    found = shutil.which(QEMU)
    if not found:
        raise Unavailable(f"{QEMU} is missing: apt-get install --no-install-recommends qemu-system-x86")
    return found


def run(*command, **kwargs):
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs).stdout


def kernel_package():
    """Name of the package with the kernel itself, which the one without a version depends on."""
    for line in run("apt-cache", "depends", PACKAGE, timeout=60).splitlines():
        if line.strip().startswith("Depends: linux-image-"):
            return line.split()[1]
    raise Unavailable(f"apt knows no {PACKAGE}: apt-get update")


def unpacked_kernel():
    """Directory of Debian's kernel package, unpacked: boot/vmlinuz-* and lib/modules/*. Downloaded once, not installed."""
    name = kernel_package()
    target = CACHE / name
    if target.is_dir():
        return target
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        run("apt-get", "-q", "download", name, cwd=work, timeout=300)
        run("dpkg-deb", "-x", str(next(pathlib.Path(work).glob("*.deb"))), f"{work}/x", timeout=120)
        os.chmod(f"{work}/x", 0o755)
        try:
            os.rename(f"{work}/x", target)
        except OSError:  # somebody else was faster
            if not target.is_dir():
                raise
    return target


def kernel():
    """A kernel to boot: $HEARTH_TEST_KERNEL, Debian's, or else this host's own."""
    if os.environ.get("HEARTH_TEST_KERNEL"):
        return pathlib.Path(os.environ["HEARTH_TEST_KERNEL"])
    try:
        return next(unpacked_kernel().glob("boot/vmlinuz-*"))
    except (OSError, subprocess.SubprocessError, StopIteration, Unavailable) as e:
        why = getattr(e, "stderr", None) or str(e)
    own = [p for p in pathlib.Path("/boot").glob("vmlinuz-*") if os.access(p, os.R_OK)]
    if not own:
        raise Unavailable(f"no kernel: {' '.join(why.split())[:200]}; name one by HEARTH_TEST_KERNEL")
    return max(own, key=lambda p: p.stat().st_mtime)


def cpio(entries):
    """An initramfs (newc) of (path, mode, content) and, for a device, (path, mode, (major, minor))."""
    out = bytearray()
    for inode, (path, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        data, device = (b"", content) if isinstance(content, tuple) else (content, (0, 0))
        name = path.encode() + b"\0"
        fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0]
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(init, modules=()):
    """Holds `init` as PID 1, a console, and kernel modules as /modules/NN-name.ko."""
    entries = [(d, stat.S_IFDIR | 0o755, b"") for d in ("dev", "proc", "sys", "modules", "root")]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, (5, 1)))
    entries.append(("init", stat.S_IFREG | 0o755, pathlib.Path(init).read_bytes()))
    for n, path in enumerate(modules):
        entries.append((f"modules/{n:02}-{pathlib.Path(path).name}", stat.S_IFREG | 0o644, pathlib.Path(path).read_bytes()))
    return cpio(entries)


def end_with_parent():
    """However the test ends, no emulator stays behind."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def boot(*options, append, kernel_path, initrd, memory, seconds, console="ttyS0", on_line=lambda line: None):
    """Runs a virtual machine to its end, at most that long; returns the lines of its first serial port and whether it
    ended by itself. Nothing of it is left afterwards."""
    lines, pending = [], b""
    command = [qemu(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-machine", "q35",
               "-accel", "tcg", "-cpu", "max,la57=off", "-m", str(memory), "-kernel", str(kernel_path), "-initrd", str(initrd),
               "-append", f"console={console} panic=-1 tsc=reliable no_timer_check {append}", *options]
    end = time.monotonic() + seconds
    vm = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          preexec_fn=end_with_parent)
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(vm.stdout, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                if not ready.select(left):
                    continue
                data = os.read(vm.stdout.fileno(), 65536)
                *whole, pending = (pending + data).split(b"\n")
                for raw in whole if data else [*whole, pending]:
                    lines.append(raw.decode(errors="replace").rstrip("\r"))
                    on_line(lines[-1])
                if not data:
                    return lines, True
        return lines, False
    finally:
        if vm.poll() is None:
            os.kill(vm.pid, signal.SIGKILL)
        vm.wait()
        vm.stdout.close()
