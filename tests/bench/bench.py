#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what the README promises, each against a floor of the same run. `make bench` runs it.

    bench.py [SECTION...] [--check] [--write] [--json FILE]

--check exits with 1 where a bound is not met; --write puts the tables of the sections that were measured into docs/bench.md and
what has a bound into README.md. Samples that are compared take turns, and the first of each is thrown away."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

import claims
import ec2_disks
import ec2_pools
import machines
import pages
import peers
from measure import TOP, Results, build_dir

SECTIONS = {  # name: title, function, root, about how many seconds on two quiet cores
    "start": ("The program `hearth`", claims.start_up, False, 5),
    "claims": ("Claims, durable, on fake machines", claims.steady, False, 25),
    "refill": ("Claims while the pool refills", claims.refilling, False, 12),
    "syscalls": ("What hearthd does for one claim", claims.one_claim, False, 2),
    "burst": ("EC2: a burst of 1,000 machines", ec2_pools.burst, False, 35),
    "fleet": ("EC2: ten thousand machines", ec2_pools.fleets, False, 100),
    "disks": ("EC2: 500 reservations with disks in one burst", ec2_disks.burst, False, 90),
    "machines": ("Real machines: to the end of `ssh ... true`", machines.logins, True, 35),
    "hundred": ("A hundred machines", machines.hundred, True, 15),
    "ready": ("Readiness", machines.readiness, True, 12),
    "idle": ("An idle machine", machines.idle, True, 45),
    "ways": ("EC2: the ways to a machine, at the true speed of the scenario `aws`", ec2_pools.ways, True, 200),
    "peers": ("Others on this host, cold, to the end of `ssh true`", peers.all_of_them, True, 20),
}


def host():
    """What it ran on, in a line."""
    model = "unknown CPU"
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(open("/proc/meminfo").readline().split()[1]) / 1024 / 1024
    release = pathlib.Path("/etc/debian_version").read_text().strip() if os.path.exists("/etc/debian_version") else "?"
    fs = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", "/tmp"], capture_output=True, text=True,
                        check=False).stdout.strip()
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.split(",")[0].strip()
    return (f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, Linux {os.uname().release}, Debian {release}, {fs}, "
            f"{ssh}")


def busy():
    """How much of the host's time others took in the second before: a busy host measures itself."""
    def read():
        n = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
        return sum(n), n[3] + n[4]

    total, idle = read()
    time.sleep(1)
    total2, idle2 = read()
    return f"{100 * (1 - (idle2 - idle) / max(1, total2 - total)):.0f} % busy before the start"


def commit():
    out = subprocess.run(["git", "-c", f"safe.directory={TOP}", "-C", str(TOP), "rev-parse", "--short", "HEAD"],
                         capture_output=True, text=True, check=False)
    return out.stdout.strip() or "not a git tree"


def write(done, when, noise):
    """Puts the sections that were measured into the pages; the others stay as they are."""
    how = f"Measured {when} at commit {commit()} on {host()}; {noise}."
    texts = {title: pages.section(rows, skipped, how) for title, rows, skipped in done if rows}
    results, readme = TOP / "docs" / "bench.md", TOP / "README.md"
    results.write_text(pages.merge(results.read_text(), texts, [title for title, *_ in SECTIONS.values()]))
    readme.write_text(pages.readme(readme.read_text(), results.read_text()))


def main():
    each = [f"  {name:10}{s:4} s  {title}{', as root' if root else ''}" for name, (title, _, root, s) in SECTIONS.items()]
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["sections, and about how long each takes on two quiet cores:", *each,
                          f"  all of them: {sum(s for *_, s in SECTIONS.values()) / 60:.0f} minutes"]))
    p.add_argument("section", nargs="*", metavar="SECTION", help="all, where none is named")
    p.add_argument("--check", action="store_true", help="exit with 1 where a bound is not met")
    p.add_argument("--write", action="store_true", help="put the tables into docs/bench.md and README.md")
    p.add_argument("--json", metavar="FILE", help="write all results there")
    args = p.parse_args()
    for s in args.section:
        if s not in SECTIONS:
            p.error(f"there is no section '{s}'; there are {', '.join(SECTIONS)}")
    results, done, failed, began = Results(), [], [], time.monotonic()
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC"
    noise = busy()
    print(f"{host()}; {noise}\nbuild: {build_dir()}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that everything is cleaned up
    for name in args.section or SECTIONS:
        title, run, root, _ = SECTIONS[name]
        print(f"\n{title}", flush=True)
        if root and os.geteuid() != 0:
            results.skip(title, "real machines need root")
            continue
        first, left_out, start = len(results.rows), len(results.skipped), time.monotonic()
        try:
            run(results)
        except Exception:  # the others are measured, and what they cost is not lost
            failed.append(title)
            traceback.print_exc()
            del results.rows[first:]
            continue
        done.append((title, results.rows[first:], results.skipped[left_out:]))
        print(f"  ({time.monotonic() - start:.0f} s)", flush=True)
    missed = [r for r in results.rows if r["met"] is False]
    bounds = [r for r in results.rows if r["met"] is not None]
    print(f"\n{len(bounds) - len(missed)} of {len(bounds)} bounds met, {len(results.skipped)} skipped, "
          f"in {time.monotonic() - began:.0f} s")
    for r in missed:
        print(f"  NOT MET: {r['what']}: {r['measured']}   [{r['bound']}]")
    for title in failed:
        print(f"  FAILED, and left out: {title}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({
            "when": when, "host": host(), "noise": noise, "commit": commit(), "sections": [d[:2] for d in done],
            "skipped": results.skipped}, indent=1))
    if args.write:
        write(done, when, noise)
    return 1 if failed or (args.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
