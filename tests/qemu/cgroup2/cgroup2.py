#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: the launcher's control groups work where there is version 2 alone. Boots init.c in a virtual machine and passes
on its TAP. cgroup2.py INIT [SECONDS]. Without QEMU or a kernel it says so, and is a skipped test."""

import os
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import vm  # noqa: E402


def judge(lines, in_time):
    """What is wrong with a run; None when it is a complete and good one."""
    plan = [int(m[1]) for line in lines if (m := re.match(r"1\.\.(\d+)$", line))]
    good = [line for line in lines if line.startswith("ok ")]
    bad = [line for line in lines if line.startswith(("not ok ", "Bail out!"))]
    if bad:
        return f"{len(bad)} failed"
    if not in_time:
        return "it did not end in time"
    if len(plan) != 1 or plan[0] != len(good) or "# all passed" not in lines:
        return "it did not get to its end"
    return None


def main():
    init, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60
    vm.end_on_sigterm()
    try:
        vm.qemu()
        kernel = vm.kernel()
    except vm.Unavailable as e:
        print(f"1..0 # SKIP {e}")
        return
    with tempfile.TemporaryDirectory(prefix="hearth-cgroup2-") as work:
        initrd = os.path.join(work, "initrd")
        pathlib.Path(initrd).write_bytes(vm.initramfs(init))
        lines, in_time = vm.boot(append="quiet cgroup_no_v1=all", kernel_path=kernel, initrd=initrd, memory=256, seconds=seconds)
    wrong = judge(lines, in_time)
    print("\n".join(line for line in lines if re.match(r"(not )?ok |1\.\.\d|# |Bail out!", line)))
    if wrong:
        print(f"Bail out! {wrong} with {kernel.name}; the last it said:")
        print("\n".join("# " + line for line in lines[-20:]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
