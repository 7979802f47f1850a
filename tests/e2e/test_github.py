# SPDX-License-Identifier: Apache-2.0
"""Goal: `--github USER` takes that user's keys as they are there now, and says plainly what is wrong when it cannot."""

import http.server
import json
import pathlib
import subprocess
import threading

import pytest
from hearth import PUBLIC_KEY, program, wait_for

ED25519 = " ".join(PUBLIC_KEY.split()[:2])


class Hub:
    """A GitHub: what it answers, and what it was asked."""

    def __init__(self):
        self.users = {"octocat": [ED25519]}
        self.status = None
        self.body = None
        self.hang = threading.Event()
        self.hang.set()
        self.asked = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.asked.append((self.path, self.headers.get("If-None-Match")))
                hub.hang.wait(20)
                name = self.path[1:].removesuffix(".keys")
                keys = hub.users.get(name)
                body = hub.body if hub.body is not None else "".join(k + "\n" for k in keys or []).encode()
                etag = f'W/"{hash(body):x}"'
                status = hub.status or (404 if keys is None else 304 if etag == self.headers.get("If-None-Match") else 200)
                self.send_response(status)
                self.send_header("ETag", etag)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", "0" if status == 304 else str(len(body)))
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub():
    h = Hub()
    yield h
    h.close()


@pytest.fixture
def start(daemons, hub):
    def go(when="fail", url=None):
        d = daemons(pools={"default": "{provider: sim, image: debian, running: 4, max: 8}"},
                    extra=f"github: {{url: '{url or hub.url}', when_unreachable: {when}}}\n").start()
        d.fill()
        return d
    return go


def reserve(d, user="octocat", **more):
    return d.client().post("/v1/reservations", {"github": user, **more})


def refused(reply, status, code):
    assert reply.status == status and reply.json["error"]["code"] == code, reply
    assert "\n" not in reply.json["error"]["message"]
    return reply.json["error"]["message"]


def new_key(directory, name):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    return (directory / f"{name}.pub").read_text().strip()


def holders(certificates, directory):
    """Fingerprints of the keys that the certificates are for."""
    out = set()
    for i, line in enumerate(certificates):
        file = directory / f"cert-{i}.pub"
        file.write_text(line + "\n")
        text = subprocess.run(["ssh-keygen", "-L", "-f", file], check=True, capture_output=True, text=True).stdout
        out.add(next(x.split()[3] for x in text.splitlines() if "Public key:" in x))
    return out


def fingerprint(public, directory):
    file = directory / "one.pub"
    file.write_text(public + "\n")
    return subprocess.run(["ssh-keygen", "-l", "-f", file], check=True, capture_output=True, text=True).stdout.split()[1]


def test_every_key_gets_a_certificate(start, hub, tmp_path):
    hub.users["octocat"] = [new_key(tmp_path, "a"), new_key(tmp_path, "b")]
    d = start()
    r = reserve(d).json
    assert (r["state"], r["path"], r["notice"]) == ("active", "warm", None), r
    assert len(r["certificates"]) == 2
    assert holders(r["certificates"], tmp_path) == {fingerprint(k, tmp_path) for k in hub.users["octocat"]}
    steps = {s["name"]: s for s in d.client().get(f"/v1/reservations/{r['id']}/trace").json["steps"]}
    assert steps["keys"]["ended_at"] and steps["keys"]["resource"] == "octocat" and "keys" in steps["certificate"]["waits_for"]


def test_a_key_that_was_removed_there_gets_none(start, hub, tmp_path):
    keep, lost = new_key(tmp_path, "keep"), new_key(tmp_path, "lost")
    hub.users["octocat"] = [keep, lost]
    d = start(when="cache")
    assert len(reserve(d).json["certificates"]) == 2
    hub.users["octocat"] = [keep]
    r = reserve(d).json
    assert holders(r["certificates"], tmp_path) == {fingerprint(keep, tmp_path)}
    assert len(reserve(d).json["certificates"]) == 1
    assert [etag is None for _, etag in hub.asked] == [True, False, False]  # revalidated every time


def test_keys_that_cannot_be_used_are_left_out_and_said(start, hub):
    hub.users["octocat"] = ["ssh-dss AAAAB3NzaC1kc3MAAACBAJ", ED25519, "rubbish"]
    r = reserve(start()).json
    assert len(r["certificates"]) == 1 and r["notice"] == "2 of the keys of octocat on GitHub cannot be used"


def test_what_is_wrong_is_said(start, hub):
    d = start()
    assert refused(reserve(d, "nobody"), 404, "not_found") == "GitHub: there is no user 'nobody'"
    hub.users["empty"] = []
    assert refused(reserve(d, "empty"), 404, "not_found") == "GitHub: the user has no public keys"
    hub.users["dsa"] = ["ssh-dss AAAAB3NzaC1kc3MAAACBAJ"]
    assert "cannot be used" in refused(reserve(d, "dsa"), 404, "not_found")
    for bad in ("../x", "a/b", "-a", "a b", "a" * 40, "a\u00e9"):
        refused(reserve(d, bad), 400, "invalid")
    hub.status, hub.body = 500, b"<html>oops</html>"
    assert refused(reserve(d), 503, "unavailable") == "GitHub: it answers HTTP 500"
    hub.status = 429
    refused(reserve(d), 429, "rate_limited")
    hub.status, hub.body = 200, b"x" * (1 << 20)
    refused(reserve(d), 413, "too_large")
    hub.status, hub.body = 301, b""
    refused(reserve(d), 503, "unavailable")
    wait_for(lambda: all(m["state"] == "ready" for m in d.client().get("/v1/machines").json))
    assert d.client().get("/v1/audit").json["ok"]


def test_unreachable_fails_unless_the_cache_may_serve(start, hub):
    d = start(url="http://127.0.0.1:9")
    message = refused(reserve(d), 503, "unavailable")
    assert message.startswith("GitHub: ") and "127.0.0.1" in message


def test_what_is_remembered_does_not_serve_unless_it_may(start, hub):
    d = start()
    assert len(reserve(d).json["certificates"]) == 1
    hub.status = 503
    refused(reserve(d), 503, "unavailable")


def test_the_cache_serves_and_says_so(start, hub):
    d = start(when="cache")
    assert reserve(d).json["notice"] is None
    hub.status = 503
    r = reserve(d).json
    assert len(r["certificates"]) == 1
    assert r["notice"].startswith("keys as they were ") and "HTTP 503" in r["notice"], r
    refused(reserve(d, "somebody"), 503, "unavailable")  # who was never asked for


def test_many_at_once_ask_once_or_twice(start, hub):
    d = start()
    r = reserve(d, count=4).json
    assert [x["state"] for x in r] == ["active"] * 4 and len(hub.asked) <= 2


def test_cancelled_while_github_is_asked(start, hub):
    d = start()
    hub.hang.clear()
    box = []
    t = threading.Thread(target=lambda: box.append(reserve(d, name="slow")))
    t.start()
    wait_for(lambda: hub.asked)
    assert d.client().get("/v1/reservations/slow").json["state"] == "preparing"
    d.client().delete("/v1/reservations/slow")
    t.join(10)
    assert box[0].json["state"] == "ended"
    hub.hang.set()


def test_by_the_command_line(start, hub, tmp_path):
    d = start()
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    hub.users["octocat"] = [new_key(ssh, "id_ed25519"), new_key(tmp_path, "laptop")]
    env = {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state"), "HEARTH_SOCKET": str(d.socket),
           "PATH": "/usr/bin:/bin"}
    done = subprocess.run([program("hearth"), "--json", "reserve", "--github", "octocat"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    r = json.loads(done.stdout)
    directory = pathlib.Path(r["certificate_file"]).parent
    assert len(list(directory.glob("*-cert*.pub"))) == 2
    assert "StrictHostKeyChecking=yes" in r["ssh_command"]
    bad = subprocess.run([program("hearth"), "reserve", "--github", "nobody"], env=env, capture_output=True, text=True, check=False)
    assert bad.returncode == 3 and bad.stderr.startswith("hearth: ") and bad.stderr.count("\n") == 1, bad.stderr
