# SPDX-License-Identifier: Apache-2.0
"""Goal: what is written about EC2 is so: each setting of hearth-ec2.yaml(5) is one that the parser takes and the other way round,
examples are accepted, the commands of docs/ec2.md work as they stand, its policy names the calls that are made, and what is to be installed is."""

import json
import os
import re
import shutil
import subprocess

import pytest

from hearth import TOP, build_dir, program

MAN = (TOP / "man/hearth-ec2.yaml.5.scd").read_text()
GUIDE = (TOP / "docs/ec2.md").read_text()
CREDENTIALS = "credentials: [{access_key_id: AKIAEXAMPLE, secret_access_key: secret}]\n"

# a value of each setting that is not its default
VALUES = {
    "listen": '"[::1]:4567"', "state": "/tmp/nowhere", "runtime": "/tmp/nowhere-run", "user": "nobody",
    "credentials": "[{access_key_id: AKIAOTHER, secret_access_key: other}]", "machines": "fake", "scenario": "aws", "speed": "100",
    "network": "10.99.0.0/16", "uid_base": "700000000", "image": "other", "account": '"210987654321"', "events_queue": "changes",
    "log_level": "debug"}
SCENARIO = {"base": "aws", "seed": "7", "throttle": "false", "delays": "{launch: 5s}", "calls": "{RunInstances: 10ms}", "faults": "[{fault: throttled}]"}
FAULT = {"fault": "capacity", "action": "RunInstances", "type": "t3.micro", "zone": "us-east-1a", "reason": "Server.InternalError",
         "probability": "0.5", "count": "3", "after": "1", "for": "4s"}


def section(title):
    return re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", MAN, re.S | re.M)[1]


def entries(title):
    """The settings a section documents, each with its default or ''."""
    out = {}
    for line in re.findall(r"^\*.*", section(title), re.M):
        for name, default in re.findall(r"\*([a-z_]+)\*(?: \(([^)]*)\))?", line):
            out[name] = default
    return out


def in_source(file, table):
    text = (TOP / "src/ec2" / file).read_text()
    return set(re.findall(r'^\t\{ "(\w+)"', re.search(rf"{table}\[\] = \{{(.*?)^\}};", text, re.S | re.M)[1], re.M))


def names_in_source(array):
    return set(re.findall(r'= "(\w+)"', re.search(rf"{array}\[\w+\] = \{{(.*?)^\}};", (TOP / "src/ec2/scenario.c").read_text(), re.S | re.M)[1]))


@pytest.fixture
def check(tmp_path):
    """check(text): what hearth-ec2 --check says to a configuration."""
    def run(text):
        (tmp_path / "ec2.yaml").write_text(text)
        (tmp_path / "ec2.yaml").chmod(0o600)
        return subprocess.run([program("hearth-ec2"), "--config", tmp_path / "ec2.yaml", "--check"], capture_output=True, text=True)

    return run


@pytest.fixture
def check_scenario(check, tmp_path):
    def run(text):
        (tmp_path / "mine.yaml").write_text(text)
        return check(CREDENTIALS + f"machines: fake\nscenario: {tmp_path}/mine.yaml\n")
    return run


def test_every_setting(check):
    documented = entries("SETTINGS")
    assert set(documented) - {"access_key_id", "secret_access_key"} == set(VALUES) == in_source("config.c", "top_fields")
    for name, value in VALUES.items():
        text = f"{name}: {value}\n" + ("" if name == "credentials" else CREDENTIALS)
        done = check(text)
        assert done.returncode == 0, (name, done.stderr)
        assert check(f"{name}: [[], {{}}]\n" + ("" if name == "credentials" else CREDENTIALS)).returncode == 2, name
        assert check(f"{name}s: {value}\n" + CREDENTIALS).returncode == 2, name
        assert (check("machines: fake\n" + text.replace("machines: fake\n", "") if name != "credentials" else "machines: fake\n").returncode == 2) == (
            documented[name] == "needed"), name


def test_defaults_are_the_documented_ones(check):
    said = dict(line.split(": ", 1) for line in check(CREDENTIALS).stdout.splitlines() if ": " in line)
    documented = entries("SETTINGS")
    for name in ("listen", "state", "runtime", "user"):
        assert said[name] == documented[name], (name, said)


def test_every_part_of_a_scenario(check_scenario):
    assert set(entries("SCENARIOS")) == set(SCENARIO) == in_source("scenario_file.c", "top_fields")
    for name, value in SCENARIO.items():
        done = check_scenario(f"{name}: {value}\n")
        assert done.returncode == 0, (name, done.stderr)
        bad = check_scenario(f"{name}s: {value}\n")
        assert bad.returncode == 2 and "mine.yaml:1" in bad.stderr and len(bad.stderr.splitlines()) == 1, bad.stderr


def test_every_delay(check_scenario):
    documented = entries("What takes time")
    assert set(documented) == names_in_source("delay_names")
    for name in documented:
        for value in ("5s", "{uniform: [5s, 30s]}", "{median: 5s, p90: 8s}"):
            done = check_scenario(f"delays: {{{name}: {value}}}\n")
            assert done.returncode == 0, (name, done.stderr)
    for wrong in ("-5s", "5", "{uniform: [5s]}", "{uniform: [9s, 5s]}", "{median: 5s}", "{median: 5s, p90: 1s}", "[]"):
        assert check_scenario(f"delays: {{launch: {wrong}}}\n").returncode == 2, wrong


def test_every_fault(check_scenario):
    text = section("What goes wrong")
    assert set(entries("What goes wrong")) == set(FAULT) == in_source("scenario_file.c", "fault_fields")
    kinds = set(re.findall(r"_([a-z_]+)_", text.split("*action*")[0]))
    assert kinds == names_in_source("fault_names")
    for kind in kinds:
        assert check_scenario(f"faults: [{{fault: {kind}}}]\n").returncode == 0, kind
    for name, value in FAULT.items():
        entry = f"{{fault: capacity, {name}: {value}}}" if name != "fault" else f"{{fault: {value}}}"
        done = check_scenario(f"faults: [{entry}]\n")
        assert done.returncode == 0, (name, done.stderr)
    for wrong in ("fault: sabotage", "fault: capacity, probability: 2", "fault: capacity, count: -1", "count: 1", "fault: stale, for: ever"):
        assert check_scenario(f"faults: [{{{wrong}}}]\n").returncode == 2, wrong


def test_examples_are_accepted(check, check_scenario):
    config, scenario = re.findall(r"^```\n(.*?)^```", MAN, re.S | re.M)
    assert check(config).returncode == 0
    assert check_scenario(scenario).returncode == 0
    shown = [b for b in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.S | re.M) if b.startswith("base:")]
    assert shown and all(check_scenario(b).returncode == 0 for b in shown)
    assert check((TOP / "contrib/hearth-ec2.yaml").read_text()).returncode == 0


def test_hearthd_takes_its_examples(tmp_path):
    """The pool of docs/ec2.md, and the sample of quickstart-ec2."""
    for text in (*(b for b in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.S | re.M) if b.startswith("providers:")),
                 (TOP / "contrib/hearth-on-ec2.yaml").read_text()):
        (tmp_path / "hearth.yaml").write_text(text)
        done = subprocess.run([program("hearthd"), "--config", tmp_path / "hearth.yaml", "--check"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_policy_allows_what_is_called():
    """Each action that src/provider/ec2 sends is in docs/ec2.md, and nothing else is."""
    sent = set()
    for f in (TOP / "src/provider/ec2").glob("*.c"):
        sent |= set(re.findall(r'"(?:\w+\.)?((?:Describe|Run|Create|Delete|Terminate|Start|Stop|Cancel|Modify|Receive|Send|Attach|Detach|Request|Get|Authorize)[A-Z]\w+)"', f.read_text()))
    policy = json.loads(re.search(r"```json\n(.*?)```", GUIDE, re.S)[1])
    allowed = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    also = set(re.findall(r"`((?:ec2|sqs|ec2-instance-connect|elasticfilesystem):\w+)`", GUIDE))
    named = {a.split(":")[1] for a in allowed | also}
    assert len(sent) > 5 and {s for s in sent if not s.endswith("Result")} <= named
    assert named - sent <= {"CreateTags", "TagResource"}, "tags are made by the call that makes what bears them"


@pytest.mark.root
@pytest.mark.seconds(300)
@pytest.mark.skipif(not os.path.exists("/usr/bin/aws"), reason="needs awscli")
def test_the_commands_of_the_guide(endpoints):
    from ec2 import KEY, SECRET, client_environment
    from image_cache import image

    e = endpoints(machines="local", image=image(), settings={"network": "10.73.0.0/16", "uid_base": 800000000}).start()
    block = next(b for b in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.S | re.M) if "alias ec2" in b)
    commands = block.replace("http://127.0.0.1:4566", e.url).replace("'aws ", "'/usr/bin/aws ")
    commands = commands.replace("ssh -i", f"ssh -F none -o BatchMode=yes -o UserKnownHostsFile={e.dir}/known -o ConnectionAttempts=30 -i")
    env = client_environment(e.dir, KEY, SECRET)
    p = subprocess.run(["bash", "-O", "expand_aliases", "-euc", commands], cwd=e.dir, env=env, capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, timeout=200)
    assert p.returncode == 0 and re.search(r"^ip-10-73-", p.stdout, re.M), p.stdout + p.stderr


@pytest.mark.skipif(not shutil.which("meson"), reason="needs meson")
def test_what_is_installed():
    """Program, pages, unit, samples and scenarios are put in place by `make install`."""
    placed = json.loads((build_dir() / "meson-info/intro-installed.json").read_text()).values()
    for want in ("sbin/hearth-ec2", "man8/hearth-ec2.8", "man5/hearth-ec2.yaml.5", "systemd/system/hearth-ec2.service",
                 "doc/hearth/examples/hearth-ec2.yaml", "doc/hearth/examples/hearth-on-ec2.yaml", "hearth-ec2/scenarios/instant.yaml",
                 "hearth-ec2/scenarios/aws.yaml", "hearth-ec2/scenarios/aws-fine.yaml"):
        assert any(p.endswith(want) for p in placed), want
