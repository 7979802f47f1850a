# SPDX-License-Identifier: Apache-2.0
"""Goal: hearthd with an EC2 that cannot be used as it is configured, or that answers nonsense: the pool says so in one line that names what
to do, backs off, and leaves nothing; hearthd goes on answering and stays small."""

import http.server
import os
import pathlib
import re
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import client_environment  # noqa: E402
from ec2_matrix import Gate  # noqa: E402
from hearth import Client, wait_for  # noqa: E402

SHARE = 0.3  # of its tests in a sample: see conftest.py
MIB = 1 << 20
XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>' \
      "<RequestID>00000000-0000-4000-8000-000000000000</RequestID></Response>"


class Odd(http.server.ThreadingHTTPServer):
    """An endpoint that answers everything in one way, and counts."""

    daemon_threads = True

    def __init__(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.server.calls += 1
                answer(self)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.calls, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    def handle_error(self, *_):
        pass  # it hung up

    def close(self):
        self.over.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


def reply(h, status, body, kind="text/xml;charset=UTF-8"):
    h.send_response(status)
    h.send_header("Content-Type", kind)
    h.send_header("Content-Length", str(len(body)))
    h.end_headers()
    h.wfile.write(body)


def error(status, code, message):
    return lambda h: reply(h, status, XML.format(code, message).encode())


def html(h):
    reply(h, 200, b"<!DOCTYPE html><html><body><h1>It works!</h1><br></body></html>", "text/html")


def endless(h):
    h.send_response(200)
    h.send_header("Content-Type", "text/xml")
    h.send_header("Content-Length", str(100 * MIB))
    h.end_headers()
    h.wfile.write(b"<DescribeInstancesResponse><reservationSet>")
    for _ in range(100):
        h.wfile.write(b"<item/>" * (MIB // 7))


def never(h):
    h.server.over.wait(120)


ODD = {
    "an expired token": (error(400, "ExpiredToken", "The security token included in the request is expired"), "ExpiredToken", "renew"),
    "a request that is refused for its age": (error(400, "RequestExpired", "Request has expired."), "RequestExpired", "clock"),
    "a permission that lacks": (error(403, "UnauthorizedOperation", "You are not authorized to perform this operation."),
                                "UnauthorizedOperation", "allow"),
    "HTML": (html, "", "endpoint"),
    "100 MB": (endless, "", "endpoint"),
    "no answer": (never, "did not answer", "network"),
}


def mostly(cases, *rare):
    return [pytest.param(c, marks=pytest.mark.soak) if c in rare else c for c in cases]


@pytest.fixture
def odd():
    made = []

    def make(answer):
        made.append(Odd(answer))
        return made[-1]

    yield make
    for s in made:
        s.close()


def start(daemons, directory, url, env=None, provider="", pool=""):
    seen = {k: v for k, v in client_environment(directory).items() if k.startswith("AWS_")}
    seen.update(env or {})
    at = f'endpoint: "{url}", ' if url else ""
    d = daemons(providers={"aws": f"{{kind: ec2, {at}speed: 0{provider or ', region: us-east-1'}}}"},
                pools={"default": f"{{provider: aws, {'' if 'image:' in pool else 'image: debian, '}readiness: running, running: 2, max: 8{pool}}}"},
                env={**seen, "HOME": str(directory)})
    return d.start(seconds=30)


def said(d, *words, seconds=60):
    """The pool's last error, once there is one: one line with all of these words, in the log as well; nothing of a secret is there."""
    text = wait_for(lambda: d.pool()["last_error"], seconds, message=lambda: str(d.pool()) + d.log_text())
    print(text)
    for word in words:
        assert word.lower() in text.lower(), (word, text)
    assert "\n" not in text and len(text) < 500, text
    lines = [line for line in d.log_text().splitlines() if re.search(" (warn|error): ", line)]
    assert [line for line in lines if text[:50] in line and re.search("; |expected", line)], lines
    assert "wJalr" not in d.log_text()
    return text


def is_small(d):
    status = pathlib.Path(f"/proc/{d.process.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    assert peak < 96, f"{peak:.0f} MiB at its peak"
    with Client(d.socket) as c:
        assert c.get("/v1/health").status == 200


def backs_off(calls, seconds=5):
    """Looks go on, once a second; nothing grows faster than they do, each with the client's own retries."""
    before = calls()
    time.sleep(seconds)
    made = calls() - before
    print(f"{made} calls in {seconds} s")
    assert made <= 6 * seconds


@pytest.mark.parametrize("case", mostly(ODD, "no answer", "a request that is refused for its age", "a permission that lacks"))
@pytest.mark.seconds(150)
def test_an_endpoint_that_answers_nonsense(odd, daemons, tmp_path, case):
    answer, code, hint = ODD[case]
    server = odd(answer)
    d = start(daemons, tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
    said(d, code, hint, seconds=100)
    backs_off(lambda: server.calls)
    is_small(d)


def moved(region):
    """As hearth-ec2 and AWS answer who signs for another region than the endpoint's."""
    return error(401, "SignatureDoesNotMatch", f"Credential should be scoped to a valid region, not '{region}'. ")


# name: (environment, provider's settings, pool's settings, what is said)
WRONG = {
    "no keys": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "", "", ["credentials", "AWS_ACCESS_KEY_ID"]),
    "a wrong secret": ({"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}, "", "", ["SignatureDoesNotMatch|AuthFailure", "environment"]),
    "an unknown key": ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "", "", ["AuthFailure", "environment"]),
    "a profile that is not there": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ", region: us-east-1, profile: nobody", "", ["nobody", "list-profiles"]),
    "an unknown image": ({}, "", ", image: ami-0123456789abcdef0", ["ami-0123456789abcdef0", "region"]),
    "an image name that nobody has": ({}, "", ", image: solaris", ["solaris", "images"]),
    "an unknown type": ({}, "", ", instance_types: t9.planet", ["t9.planet", "settings"]),
    "an unknown subnet": ({}, "", ", subnets: subnet-0123456789abcdef0", ["subnet-0123456789abcdef0", "region"]),
    "an unknown group": ({}, "", ", security_groups: sg-0123456789abcdef0", ["sg-0123456789abcdef0", "region"]),
    "a region that there is not": ({}, ", region: us-east-9", "", ["us-east-9", "right one"]),
}


@pytest.fixture
def gates():
    made = []

    def make(endpoint):
        made.append(Gate(endpoint.port))
        return made[-1]

    yield make
    for g in made:
        g.close()


@pytest.mark.parametrize("case", mostly(WRONG, "an unknown key", "an image name that nobody has", "an unknown type", "an unknown subnet", "an unknown group"))
@pytest.mark.seconds(90)
def test_a_configuration_that_is_wrong(endpoints, gates, daemons, tmp_path, case):
    env, provider, pool, words = WRONG[case]
    e = endpoints().start()
    gate = gates(e)
    d = start(daemons, tmp_path, gate.url, env, provider, pool)
    text = said(d, seconds=30)
    for word in words:
        assert re.search(word, text, re.IGNORECASE), (word, text)
    backs_off(lambda: len(gate.calls))
    is_small(d)
    assert case in ("no keys", "a profile that is not there") or gate.calls
    assert e.ec2.describe_instances()["Reservations"] == [] and e.ec2.describe_volumes()["Volumes"] == []
    assert e.ec2.describe_network_interfaces()["NetworkInterfaces"] == []


@pytest.mark.seconds(90)
def test_nobody_listens_and_then_does(endpoints, daemons, tmp_path):
    """The endpoint is down, comes, goes and comes again: the pool fills as soon as it can, and a reservation outlives it."""
    e = endpoints()
    d = start(daemons, tmp_path, e.url)
    said(d, f"127.0.0.1:{e.port}" if not e.proxy else "", "up?", seconds=30)
    is_small(d)
    e.start()
    d.fill(seconds=60)
    r = d.reserve().json
    assert r["state"] == "active"
    e.kill()
    time.sleep(3)
    with Client(d.socket) as c:
        assert c.get(f"/v1/reservations/{r['id']}").json["state"] == "active"
    e.start()
    d.fill(seconds=60)
    assert wait_for(lambda: d.hearth("audit").returncode == 0, 30)
    with Client(d.socket) as c:
        assert c.get(f"/v1/reservations/{r['id']}").json["state"] == "active"


@pytest.mark.seconds(60)
def test_a_signature_for_another_region(odd, daemons, tmp_path):
    server = odd(moved("us-east-1"))
    said(start(daemons, tmp_path, f"http://127.0.0.1:{server.server_address[1]}"), "region", seconds=30)


@pytest.mark.seconds(60)
def test_an_authority_of_ones_own(odd, daemons, tmp_path):
    """Behind a proxy that breaks TLS open, or at an endpoint of one's own: hearthd's calls are answered once AWS_CA_BUNDLE names its
    authority, and what it says until then names that."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out",
                    tmp_path / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = odd(html)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    url = f"https://127.0.0.1:{server.server_address[1]}"
    d = start(daemons, tmp_path, url, {"AWS_CA_BUNDLE": ""})
    said(d, "certificate", "AWS_CA_BUNDLE", seconds=30)
    assert server.calls == 0
    d.stop()
    bundle = tempfile.NamedTemporaryFile(prefix="hearth-ca-", dir="/tmp")  # pytest's own directory is root's alone
    with bundle:
        bundle.write((tmp_path / "cert").read_bytes())
        bundle.flush()
        os.chmod(bundle.name, 0o644)
        d = start(daemons, tmp_path, url, {"AWS_CA_BUNDLE": bundle.name})
        said(d, "HTML", seconds=30)
        assert server.calls > 0
