#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what the README promises, each against a floor of the same run. `make bench` runs it.

    bench.py [SECTION...] [--check] [--write] [--json FILE]

Sections: start, claims, refill, syscalls, burst, fleet (fake machines); machines, hundred, ready, idle, ways, peers (real ones, as root).
--check exits with 1 where a bound is not met; --write puts the tables into docs/bench.md and README.md. Samples that
are compared take turns, and the first of each is thrown away."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import claims
import ec2_pools
import machines
import peers
from measure import TOP, Results, build_dir

SECTIONS = {
    "start": ("The program `hearth`", claims.start_up, False),
    "claims": ("Claims, durable, on fake machines", claims.steady, False),
    "refill": ("Claims while the pool refills", claims.refilling, False),
    "syscalls": ("What hearthd does for one claim", claims.one_claim, False),
    "burst": ("EC2: a burst of 1,000 machines", ec2_pools.burst, False),
    "fleet": ("EC2: ten thousand machines", ec2_pools.fleets, False),
    "machines": ("Real machines: to the end of `ssh ... true`", machines.logins, True),
    "hundred": ("A hundred machines", machines.hundred, True),
    "ready": ("Readiness", machines.readiness, True),
    "idle": ("An idle machine", machines.idle, True),
    "ways": ("EC2: the ways to a machine, at the true speed of the scenario `aws`", ec2_pools.ways, True),
    "peers": ("Others on this host, cold, to the end of `ssh true`", peers.all_of_them, True),
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


def table(rows):
    lines = ["| what | measured | bound | |", "|---|---|---|---|"]
    for r in rows:
        mark = {True: "met", False: "**not met**", None: ""}[r["met"]]
        lines.append(f"| {r['what']} | {r['measured']} | {r['bound']} | {mark} |")
    return "\n".join(lines)


def between(path, text):
    """Replaces what stands between the markers in a page."""
    page = path.read_text()
    begin, end = "<!-- results of make bench -->\n", "<!-- end of results -->"
    if begin not in page or end not in page:
        raise SystemExit(f"{path}: there is no place for results, a line {begin.strip()} and one {end}")
    head, rest = page.split(begin, 1)
    path.write_text(head + begin + text + "\n" + end + rest.split(end, 1)[1])


def for_readme(title, rows):
    """What has a bound; of EC2 the first of the burst alone."""
    bounded = [r for r in rows if r["bound"]]
    return bounded if not title.startswith("EC2: ") else bounded[:1] if "burst" in title else []


def write(done, skipped, when, noise):
    text = f"Measured {when} at commit {commit()} by `sudo make bench`, on {host()}; {noise}.\n"
    for title, rows in done:
        text += f"\n### {title}\n\n{table(rows)}\n"
    if skipped:
        text += "\nSkipped: " + "; ".join(f"{s['what']} ({s['why']})" for s in skipped) + ".\n"
    between(TOP / "docs" / "bench.md", text)
    bounded = [r for title, rows in done for r in for_readme(title, rows)]
    between(TOP / "README.md", f"{when}, {host()}:\n\n{table(bounded)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("section", nargs="*", help="; ".join(SECTIONS))
    p.add_argument("--check", action="store_true")
    p.add_argument("--write", action="store_true")
    p.add_argument("--json", metavar="FILE")
    args = p.parse_args()
    for s in args.section:
        if s not in SECTIONS:
            p.error(f"there is no section '{s}'; there are {', '.join(SECTIONS)}")
    results, done, began = Results(), [], time.monotonic()
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC"
    noise = busy()
    print(f"{host()}; {noise}\nbuild: {build_dir()}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that everything is cleaned up
    for name in args.section or SECTIONS:
        title, run, root = SECTIONS[name]
        print(f"\n{title}", flush=True)
        if root and os.geteuid() != 0:
            results.skip(title, "real machines need root")
            continue
        first = len(results.rows)
        run(results)
        done.append((title, results.rows[first:]))
    missed = [r for r in results.rows if r["met"] is False]
    bounds = [r for r in results.rows if r["met"] is not None]
    print(f"\n{len(bounds) - len(missed)} of {len(bounds)} bounds met, {len(results.skipped)} skipped, "
          f"in {time.monotonic() - began:.0f} s")
    for r in missed:
        print(f"  NOT MET: {r['what']}: {r['measured']}   [{r['bound']}]")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({
            "when": when, "host": host(), "noise": noise, "commit": commit(), "sections": done,
            "skipped": results.skipped}, indent=1))
    if args.write:
        write(done, results.skipped, when, noise)
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
