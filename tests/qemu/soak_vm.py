#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: hearth as most users have it: Debian 12 with its own kernel and systemd, control groups of version 2 alone,
installed by `make install` and started by its unit. soak/inside.py says what is tried there.

soak_vm.py [--minutes N] [--end-to-end] [--only WORD] [--keep]: as root; a soak. The virtual machine is emulated, on one
processor, and ends with the test. Its Debian is kept in /var/tmp/hearth-test-soak. Without QEMU or mmdebstrap it is skipped.

--end-to-end: nothing but the end-to-end suite. --only WORD: only the end-to-end tests that pytest's -k selects, `none` for
none. --keep: keep disk and logs, and say where."""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(HERE), str(TOP / "tests/e2e")]
import vm  # noqa: E402

CACHE = pathlib.Path("/var/tmp/hearth-test-soak")
DISK_BYTES = 8 << 30
MEMORY_MIB = 2048
DAY = 24 * 3600
# A Debian with systemd and, as the README's first lines need it, what hearth is built, run and tested with; but not what is
# too slow for an emulated processor: tests that need it are skipped there and say so.
PACKAGES = """systemd systemd-sysv udev kmod dbus iproute2 iputils-ping make""".split()
TOO_SLOW = {"qemu-system-x86", "awscli", "python3-boto3", "python3-botocore", "clang-format-14"}
MODULES = ["virtio_pci", "virtio_blk"]
NETWORK = "[Match]\nName=en*\n\n[Network]\nDHCP=ipv4\n"


def packages():
    """Those above, and the sets of tools/deps.sh."""
    sets = dict(re.findall(r"^packages_(\w+)='([^']*)'", (TOP / "tools/deps.sh").read_text(), re.MULTILINE))
    return sorted({*PACKAGES, *" ".join(sets[name] for name in ("build", "run", "test")).split()} - TOO_SLOW)


def build_base(target, kernel):
    """A Debian as it comes, with the kernel's modules. Its time tells sweep() that it is in use."""
    vm.run("mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--dpkgopt=force-unsafe-io",
           "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
           "--dpkgopt=path-exclude=/usr/share/locale/*", "--include=" + ",".join(packages()), "bookworm", str(target),
           timeout=1200)
    (target / "usr/lib/modules").mkdir(exist_ok=True)
    vm.run("cp", "-a", str(next(kernel.glob("lib/modules/*"))), str(target / "usr/lib/modules"))
    vm.run("chroot", str(target), "depmod", version_of(kernel))


def version_of(kernel):
    return next(kernel.glob("lib/modules/*")).name


def base(kernel):
    """The tree of build_base(), made once for each list of packages and kernel. Do not write there."""
    key = hashlib.sha256(" ".join([*packages(), version_of(kernel)]).encode()).hexdigest()[:16]
    target = CACHE / key
    if target.is_dir():
        os.utime(target)  # in use: see sweep()
    else:
        if not shutil.which("mmdebstrap"):
            raise vm.Unavailable("mmdebstrap is missing: apt-get install mmdebstrap")
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            try:
                build_base(pathlib.Path(work) / "root", kernel)
            except subprocess.CalledProcessError as e:
                lines = (e.stderr or e.stdout).strip().splitlines()
                raise vm.Unavailable(f"no Debian for the virtual machine: {lines[-1] if lines else e}") from None
            os.rename(f"{work}/root", target)
    return target


def put(path, text):
    """Writes a new file: those of the tree are links into the cache."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def copy_sources(target):
    target.mkdir(parents=True)
    names = [p.name for p in TOP.iterdir() if not p.name.startswith(("build", "."))]
    vm.run("cp", "-a", *names, str(target), cwd=TOP)


def copy_build(build, target):
    """The programs of a build, for the tests that run them from there."""
    skip = shutil.ignore_patterns("*.p", "*.a", "meson-logs", "meson-private", "*.ninja", ".ninja*", "compile_commands.json", "results")
    shutil.copytree(build, target, ignore=skip, symlinks=True)


def stage(root, kernel, build):
    """Debian, hearth installed, a machine image, and the tests: a root file system below `root`."""
    import image_cache

    vm.run("cp", "-al", str(base(kernel)), str(root))
    image = pathlib.Path(image_cache.image())
    cached = root / image.relative_to("/")
    cached.parent.mkdir(parents=True)
    vm.run("cp", "-a", str(image), str(cached))
    shutil.copy2(image.parent / "log", cached.parent)
    vm.run("meson", "install", "-C", str(build), "--no-rebuild", "--quiet", "--destdir", str(root))
    copy_sources(root / "opt/hearth")
    copy_build(build, root / "opt/hearth/build-test")
    put(root / "etc/hostname", "soak\n")
    put(root / "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 soak\n")
    put(root / "etc/fstab", "/dev/vda / ext4 defaults 0 1\n")
    put(root / "etc/resolv.conf", "nameserver 10.0.2.3\n")
    put(root / "etc/systemd/network/slirp.network", NETWORK)
    put(root / "etc/systemd/system/hearth-soak.service", (HERE / "soak/hearth-soak.service").read_text())
    units = root / "etc/systemd/system"
    vm.run("systemctl", f"--root={root}", "enable", "systemd-networkd.service", "hearth-soak.service")
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
                 "serial-getty@ttyS0.service", "serial-getty@ttyS1.service"):
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")


def modules(kernel, tree):
    """Paths of MODULES and what they need, in the order to load them."""
    top = tree / "usr/lib/modules" / version_of(kernel)
    needs = dict(line.split(":") for line in (top / "modules.dep").read_text().splitlines())
    found = []

    def add(path):
        for other in needs[path].split():
            add(other)
        if path not in found:
            found.append(path)

    for name in MODULES:
        add(next(path for path in needs if pathlib.Path(path).name.split(".")[0] == name))
    return [top / path for path in found]


def make_disk(work, kernel, build):
    root, disk = work / "root", work / "disk"
    stage(root, kernel, build)
    with open(disk, "wb") as f:
        f.truncate(DISK_BYTES)
    vm.run("/sbin/mke2fs", "-q", "-t", "ext4", "-L", "soak", "-d", str(root), str(disk), timeout=300)
    boot_program = work / "boot"
    vm.run("gcc", "-std=gnu17", "-D_GNU_SOURCE", "-static", "-O1", "-Wall", "-Wextra", "-o", str(boot_program),
           str(HERE / "soak/boot.c"))
    initrd = work / "initrd"
    initrd.write_bytes(vm.initramfs(boot_program, modules(kernel, root)))
    vm.run("rm", "-rf", str(root))
    return disk, initrd


def show(began):
    def line(text):
        if text:
            print(f"[{time.monotonic() - began:6.1f}] {text}", flush=True)

    return line


def boot(number, work, disk, initrd, kernel, minutes, only):
    """Boots once; what is wrong with what it said, or None."""
    console = work / f"console-{number}"
    lines, in_time = vm.boot(
        "-serial", f"file:{console}", "-drive", f"file={disk},format=raw,if=none,id=disk,cache=unsafe", "-device",
        "virtio-blk-pci,drive=disk", "-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile=",
        append=f"rw quiet systemd.show_status=no hearth.boot={number} hearth.only={urllib.parse.quote(only)} hearth.minutes={minutes}",
        console="ttyS1", kernel_path=next(kernel.glob("boot/vmlinuz-*")), initrd=initrd, memory=MEMORY_MIB,
        seconds=minutes * 60, on_line=show(time.monotonic()))
    bad = [line for line in lines if line.startswith(("not ok ", "Bail out!"))]
    if bad:
        return f"boot {number}: {len(bad)} failed"
    if f"# end of boot {number}" not in lines:
        tail = console.read_text(errors="replace").splitlines()[-30:] if console.exists() else []
        return "\n".join([f"boot {number}: it did not get to its end" + ("" if in_time else " in time"), *tail])
    return None if any(re.match("ok ", line) for line in lines) else f"boot {number}: it said nothing"


def soak(work, build, options):
    kernel = vm.unpacked_kernel()
    end = time.monotonic() + options.minutes * 60
    disk, initrd = make_disk(work, kernel, build)
    print(f"# a Debian with kernel {version_of(kernel)} and {build.name} is ready: {disk}", flush=True)
    wrong = []
    for number in (2,) if options.end_to_end else (1, 2):
        minutes = max(1, int((end - time.monotonic()) / 60))
        wrong.append(boot(number, work, disk, initrd, kernel, minutes, options.only))
    return "; ".join(filter(None, wrong))


def sweep():
    """What an older version or a run that was killed has left, unless another one may use it."""
    for path in CACHE.iterdir():
        if time.time() - path.stat().st_mtime > DAY:
            shutil.rmtree(path, ignore_errors=True)


def main():
    vm.end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--only", default="")
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    from hearth import build_dir

    work = None
    try:
        if os.geteuid() != 0:
            raise vm.Unavailable("makes a Debian: needs root")
        vm.qemu()
        CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        sweep()
        work = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
        wrong = soak(work, build_dir(), options)
    except vm.Unavailable as e:
        print(f"SKIP: {e}")
        sys.exit(77)
    except subprocess.CalledProcessError as e:
        wrong = f"{' '.join(map(str, e.cmd))[:200]}: {(e.stderr or '').strip()[-500:]}"
    finally:
        if work and not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    if wrong:
        print(f"Bail out! {wrong}")
        sys.exit(1)
    print("# all passed")


if __name__ == "__main__":
    main()
