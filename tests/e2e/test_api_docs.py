# SPDX-License-Identifier: Apache-2.0
"""Goal: every example of docs/api.md does what the page shows. Each command is run, in order, against a hearthd with
fake machines; a JSON reply must have the page's shape: the same fields, of the same kinds. `python3 test_api_docs.py`
prints the page with what the commands print now in the place of what they printed."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hearth import TOP, Daemon

PAGE = TOP / "docs/api.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.S | re.M)
FUNCTION = re.compile(r"^```sh\n(api\(\).*?)^```$", re.S | re.M)


def examples(block):
    """The block's commands, each with the text below it."""
    out = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            out.append([line[2:].rstrip(), ""])
        else:
            out[-1][1] += line
    return out


def shape(value):
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def same_shape(shown, got):
    """Fields are the same; what is null or empty on one side may be anything on the other."""
    if isinstance(shown, dict) and isinstance(got, dict):
        return list(shown) == list(got) and all(same_shape(shown[k], got[k]) for k in shown)
    if isinstance(shown, list) and isinstance(got, list):
        return not shown or not got or same_shape(shown[0], got[0])
    numbers = {"int", "float"}
    return shown == got or "NoneType" in (shown, got) or {shown, got} <= numbers


class Shell:
    def __init__(self, page):
        self.daemon = Daemon().start()
        self.daemon.fill()
        self.function = FUNCTION.search(page)[1]
        ssh = self.daemon.dir / ".ssh"
        ssh.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@example", "-f", ssh / "id_ed25519"], check=True)

    def run(self, command):
        env = {**os.environ, "HOME": str(self.daemon.dir), "HEARTH_SOCKET": str(self.daemon.socket)}
        return subprocess.run(["bash", "-c", f"{self.function}\n{command}"], env=env, capture_output=True, text=True, timeout=60,
                              check=False).stdout


def needed():
    return [tool for tool in ("curl", "jq", "ssh-keygen") if not shutil.which(tool)]


@pytest.mark.skipif(bool(needed()), reason=f"needs {', '.join(needed())}")
def test_examples():
    page = PAGE.read_text()
    shell = Shell(page)
    n = 0
    try:
        for block in BLOCK.findall(page):
            for command, shown in examples(block):
                got = shell.run(command)
                n += 1
                if shown.startswith(("{", "[")):
                    assert same_shape(shape(json.loads(shown)), shape(json.loads(got))), f"{command}\n{got}"
                else:
                    assert got and [x.split(":")[0] for x in got.splitlines()][:1] == [x.split(":")[0] for x in shown.splitlines()][:1] \
                        or shown.strip().isdigit() and got.strip().isdigit(), f"{command}\n{got}"
    finally:
        shell.daemon.close()
    assert n > 20


def wrapped(text, width=118):
    """JSON filled into lines: few elements of an array, long strings cut."""

    def cut(v):
        if isinstance(v, dict):
            return {k: cut(x) for k, x in v.items()}
        if isinstance(v, list):
            return [cut(x) for x in (v if all(isinstance(x, str) for x in v) else v[:3 if v and "started_at" in v[0] else 1])]
        return v[:56] + "…" if isinstance(v, str) and len(v) > 80 and " AAAA" in v else v

    # a key and a value that is no object stay together
    words = re.findall(r'(?:"(?:[^"\\]|\\.)*"(?:: (?=[^{\[]))?|[^\s"])+', json.dumps(cut(json.loads(text)), ensure_ascii=False))
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(" ")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines) + "\n"


def filled(page):
    shell = Shell(page)

    def fill(match):
        out = ""
        for command, _ in examples(match[1]):
            got = shell.run(command)
            out += f"$ {command}\n" + (wrapped(got) if got.startswith(("{", "[")) else got)
        return f"```console\n{out}```"

    try:
        return BLOCK.sub(fill, page)
    finally:
        shell.daemon.close()


if __name__ == "__main__":
    sys.stdout.write(filled(PAGE.read_text()))
