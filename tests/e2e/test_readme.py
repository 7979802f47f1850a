# SPDX-License-Identifier: Apache-2.0
"""Goal: what README.md says works as it says: `make quickstart`, `make quickstart-ec2` and `make stop`, then each line of its
session, as a newcomer would type them; and nothing of it is left behind."""

import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

import pytest

import image_cache
from ec2 import free_port
from hearth import TOP, build_dir, program, wait_for
from patience import PATIENCE

README = (TOP / "README.md").read_text()


def session():
    block = re.search(r"```sh\n(.*?)```", README, re.S)[1]
    return [line.split("  #")[0].rstrip() for line in block.splitlines() if line.strip()]


def ip(*args):
    return subprocess.run(["ip", *args], capture_output=True, text=True).stdout.splitlines()


def processes():
    """pid and arguments; a zombie that the host's process 1 has not reaped yet has ended."""
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and "\nState:\tZ" not in (p / "status").read_text():
                yield f"{p.name} {(p / 'comm').read_text().strip()} {(p / 'cmdline').read_text()}"
        except (FileNotFoundError, ProcessLookupError):
            pass


def host():
    """What `make stop` must put back, as lines."""
    return {
        "process": {p for p in processes() if "hearth" in p},
        "mount": {m for m in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if "hearth" in m},
        "interface": {line.split(":")[1].split("@")[0].strip() for line in ip("-o", "link")},
        "route": set(ip("route", "show", "table", "all")),
        "namespace": set(ip("netns")),
        "cgroup": {d for d, _, _ in os.walk("/sys/fs/cgroup") if re.search(r"hearth|m-[0-9a-z]{12}", d)},
        "firewall": set(subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines()),
        "setting": {pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text()},
    }


def left_behind(before, ours):
    """What was not there before. Where another hearth was about, then only what bears a mark of this one."""
    now = host()
    alone = not before["process"] and not any("hearthd" in p for p in now["process"])
    more = {k: now[k] - before[k] for k in now}
    return [f"{k}: {line}" for k in more for line in more[k] if alone or any(mark in line for mark in ours)]


def place_image(state):
    """The tests' cached one, as in a second quickstart."""
    image_cache.place(image_cache.image(), state)


def write_config(path, sample, *changes):
    """The sample as it is shipped, but in the test's directory, on its network, and for a user that is there:
    quickstart would make the default one, on the host."""
    text = (TOP / "contrib" / sample).read_text()
    for old, new in changes:
        assert old in text, (sample, old)
        text = text.replace(old, new)
    path.write_text(text + "user: nobody\n")
    path.chmod(0o600)


@pytest.fixture
def place():
    """A quickstart's files in a directory of their own, so that an installation is not touched."""
    d = pathlib.Path(tempfile.mkdtemp(prefix="hearth-readme-", dir="/tmp"))
    d.chmod(0o755)
    (d / "home").mkdir(mode=0o700)
    (d / "home/.ssh").mkdir(mode=0o700)
    (d / "home/.ssh/config").touch(mode=0o600)
    state = d / "state"
    write_config(d / "hearth.yaml", "hearth.yaml", ("/var/lib/hearth ", f"{state} "), ("/run/hearth/", f"{d}/run/"),
                 ("10.213.0.0/16", "10.79.0.0/16"))
    port = free_port()
    write_config(d / "ec2.yaml", "hearth-ec2.yaml", ("/var/lib/hearth-ec2", f"{d}/ec2-state\nruntime: {d}/ec2-run"), (":4566", f":{port}"),
                 ("10.214.0.0/16", "10.78.0.0/16\nuid_base: 400000000"), (": secret}", ": secret-of-the-test}"))
    write_config(d / "on-ec2.yaml", "hearth-on-ec2.yaml", ("/var/lib/hearth-on-ec2", f"{d}/on-state"), ("/run/hearth-on-ec2/", f"{d}/run/"),
                 (":4566", f":{port}"))
    path = f"{d}/bin:{os.environ['PATH']}"
    env = {**os.environ, "HEARTH_BUILD": str(build_dir()), "HEARTH_CONFIG": f"{d}/hearth.yaml", "PATH": path,
           "HEARTH_LOG": f"{d}/log", "HEARTH_SOCKET": f"{d}/run/hearth.sock", "HOME": f"{d}/home",
           "HEARTH_EC2_CONFIG": f"{d}/ec2.yaml", "HEARTH_EC2_LOG": f"{d}/ec2.log",
           "HEARTH_ON_EC2_CONFIG": f"{d}/on-ec2.yaml", "HEARTH_ON_EC2_LOG": f"{d}/on-ec2.log"}
    for name in [n for n in env if n.startswith("AWS_") or n in ("SUDO_UID", "SUDO_GID", "SUDO_USER", "XDG_STATE_HOME")]:
        env.pop(name)
    (d / "bin").mkdir()
    (d / "bin/hearth").symlink_to(build_dir() / "src/cli/hearth")
    # ssh finds its configuration by the account's home, not by $HOME
    (d / "bin/ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{d}/home/.ssh/config" "$@"\n')
    (d / "bin/ssh").chmod(0o755)
    try:
        yield d, env
    finally:
        if (d / "hearth.yaml").exists():  # else stop.sh would look for an installation's daemons
            subprocess.run(["tools/stop.sh"], cwd=TOP, env=env, capture_output=True, timeout=120 * PATIENCE)
        # where that is what does not work
        for s, r in (("state", "run"), ("ec2-state", "ec2-run")):
            subprocess.run([program("hearth-launcher"), "--teardown", "--state", f"{d}/{s}", "--runtime", f"{d}/{r}"],
                           capture_output=True, timeout=120 * PATIENCE)
        shutil.rmtree(d, ignore_errors=True)


def make(target, env):
    p = subprocess.run(["make", "--no-print-directory", target], cwd=TOP, env=env, capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, timeout=300 * PATIENCE)
    assert p.returncode == 0, p.stdout + p.stderr
    return p.stdout


@pytest.mark.root
@pytest.mark.seconds(600)
def test_quickstart_session_and_stop(place):
    d, env = place
    place_image(d / "state")
    before = host()

    out = make("quickstart", env)
    assert "I am dev on " in out and "Debian GNU/Linux" in out, out
    assert "StrictHostKeyChecking=yes" in out or "StrictHostKeyChecking yes" in out, out
    assert "2 machines are ready" in out, out
    assert len(re.findall(r"hearth.* (ssh|run|list)\b", out.split("Try next:")[1])) == 3, out

    again = make("quickstart", env)
    assert "hearthd runs already" in again and "I am dev on " in again, again
    assert "reserved 'hello' (" in out and "reserved 'hello' (" in again, again

    commands = session()
    assert len(commands) == 8, commands
    for command in commands:
        p = subprocess.run(["sh", "-c", command], env=env, cwd=d, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=120 * PATIENCE)
        assert p.returncode == 0, f"{command}\n{p.stdout}{p.stderr}"
        assert p.stdout.strip(), f"{command} printed nothing"

    # its directory, its network (as routes and rules, and as interfaces name it), its machines
    ours = [str(d), "10.79.", "hth0a4f", *(p.name for p in (d / "state/machines").iterdir())]
    assert any("hth0a4f" in i for i in host()["interface"]) and len(ours) >= 5, "nothing was there to leave behind"
    out = make("stop", env)
    assert "every machine has ended" in out
    wait_for(lambda: not left_behind(before, ours), 10, message=lambda: "\n".join(left_behind(before, ours)))
    assert not (d / "run").exists()
    make("stop", env)
    if "hearth" not in {u.pw_name for u in pwd.getpwall()}:  # the user is the host's: a purge removes it, too
        assert (d / "state/images").exists() and (d / "log").exists(), "what was kept"
        assert "their files are gone" in make("purge", env)
        assert sorted(p.name for p in d.iterdir()) == ["bin", "home"], list(d.iterdir())


@pytest.mark.root
@pytest.mark.seconds(600)
def test_quickstart_ec2_and_stop(place):
    """The endpoint, hearthd on it, a pool of two, a reservation, a login with strict host keys, the trace; once more, quick; then
    nothing is left."""
    d, env = place
    place_image(d / "ec2-state")
    before = host()

    out = make("quickstart-ec2", env)
    assert "I am ec2-user on " in out and "and root if I want" in out, out
    assert "reserved 'hello-ec2' (" in out, "a name that the other quickstart does not use"
    assert "StrictHostKeyChecking=yes" in out or "StrictHostKeyChecking yes" in out, out
    assert "2 machines are ready" in out and "warm" in out.split("6. What happened")[1], out

    again = make("quickstart-ec2", env)
    assert "hearthd runs already" in again and "hearth-ec2 runs already" in again and "I am ec2-user on " in again, again

    secrets = "secret-of-the-test"
    assert not [p for p in processes() if secrets in p], "a secret in a command line"
    for log in ("ec2.log", "on-ec2.log"):
        assert secrets not in (d / log).read_text(), log
    listed = subprocess.run(["hearth", "--json", "machine", "list"], env=env, capture_output=True, text=True, timeout=60)
    machines = json.loads(listed.stdout)
    assert machines and all(m["provider_ref"].startswith("i-") for m in machines), machines
    audit = subprocess.run(["hearth", "audit"], env=env, capture_output=True, text=True, timeout=60)
    assert audit.returncode == 0, audit.stdout + audit.stderr

    ours = [str(d), "10.78.", "hth0a4e", *(p.name for p in (d / "ec2-state/machines").iterdir())]
    assert any("hth0a4e" in i for i in host()["interface"]), "nothing was there to leave behind"
    out = make("stop", env)
    assert "every machine has ended" in out
    wait_for(lambda: not left_behind(before, ours), 10, message=lambda: "\n".join(left_behind(before, ours)))
    assert not (d / "run").exists() and not (d / "ec2-run").exists()

    # what is kept must not be in the way of the next one
    after = make("quickstart-ec2", env)
    assert "2 machines are ready" in after and "I am ec2-user on " in after, after
    make("stop", env)
    wait_for(lambda: not left_behind(before, ours), 10, message=lambda: "\n".join(left_behind(before, ours)))
    make("stop", env)


def test_every_target_that_is_documented_exists():
    text = README + (TOP / "CONTRIBUTING.md").read_text()
    known = set(re.search(r"\.PHONY: (.*)", (TOP / "Makefile").read_text())[1].split())
    words = {w for t in re.findall(r"^    (?:sudo )?make ([a-z0-9 -]*[a-z0-9])", text, re.M) for w in t.split()}
    assert words and words <= known, words - known
    for script in re.findall(r"@(?:HEARTH_SOAK=1 )?(tools/\S+)", (TOP / "Makefile").read_text()):
        assert os.access(TOP / script, os.X_OK), script


def test_code_layout_names_every_folder():
    block = README.split("## Code layout")[1].split("## More")[0]
    for folder in (p.name for p in (TOP / "src").iterdir() if p.is_dir()):
        assert f"src/{folder}/" in block, folder


def test_links_lead_somewhere():
    for page in ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(TOP)) for p in (TOP / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#:]+)\)", (TOP / page).read_text()):
            assert (TOP / page).parent.joinpath(link).exists(), f"{page}: {link}"
