# SPDX-License-Identifier: Apache-2.0
"""Goal: the API keeps docs/api.md whatever a client sends: bad input is refused with the right status, code and one
clear line, nothing is half-made, nobody waits forever, and events are neither lost nor doubled."""

import concurrent.futures
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from hearth import PUBLIC_KEY, Client, wait_for

RFC3339_MS = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

RESERVATION = {"id", "name", "user", "pool", "state", "reason", "path", "miss_reason", "machine", "host", "port", "login",
               "certificates", "known_hosts", "disks", "queue_position", "eta", "cost_usd", "created_at", "ready_at",
               "expires_at", "ended_at"}
MACHINE = {"id", "pool", "provider", "provider_ref", "state", "tier", "image", "address", "port", "reservation",
           "created_at", "ready_at", "last_seen_at", "error"}
POOL = {"name", "provider", "image", "running", "stopped", "hibernated", "max", "ready", "claimed", "launching", "queued",
        "usd_per_hour", "backoff_until", "last_error"}
TRACE = {"reservation", "path", "total_ms", "longest_chain_ms", "one_at_a_time_ms", "saved_ms", "steps"}
STEP = {"name", "started_at", "ended_at", "waits_for", "resolution_ms", "resource", "attempt", "error", "critical"}
WHY = {"reservation", "path", "miss_reason", "summary", "critical_path", "slowest_step", "cost_usd"}


def refused(reply, status, code):
    """The reply is an error of exactly the contract's shape; returns its message."""
    assert reply.status == status, reply
    assert reply.headers["Content-Type"] == "application/json"
    assert set(reply.json) == {"error"}, reply
    error = reply.json["error"]
    assert set(error) == {"code", "message", "hint"}, reply
    assert error["code"] == code, reply
    assert error["message"] and "\n" not in error["message"], reply
    return error["message"]


def nothing_made(c):
    assert c.get("/v1/reservations?all=1").json == []


@pytest.fixture
def c(daemon):
    return daemon.client()


# ---- shapes ----


def test_reserve_show_list_end(c):
    r = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "hours": 0.5, "name": "one"})
    assert r.status == 201
    v = r.json
    assert RESERVATION <= set(v)
    assert (v["state"], v["path"], v["name"], v["pool"]) == ("active", "warm", "one", "default")
    assert v["login"] == "dev" and v["port"] and v["host"] and v["machine"].startswith("m-")
    assert v["disks"] == [] and v["queue_position"] is None and v["ended_at"] is None and v["reason"] is None
    assert v["certificates"][0].startswith("ssh-ed25519-cert-v01@openssh.com ")
    assert v["known_hosts"].startswith(f"@cert-authority {v['machine']} ssh-ed25519 ")
    for key in ("created_at", "ready_at", "expires_at"):
        assert RFC3339_MS.match(v[key]), key

    again = c.get(f"/v1/reservations/{v['id']}").json
    assert {k: again[k] for k in RESERVATION - {"certificates"}} == {k: v[k] for k in RESERVATION - {"certificates"}}
    assert len(again["certificates"]) == 1
    assert c.get("/v1/reservations/one").json["id"] == v["id"]
    assert c.get(f"/v1/reservations/{v['id'][:8]}").json["id"] == v["id"]
    assert [x["id"] for x in c.get("/v1/reservations").json] == [v["id"]]

    machine = c.get(f"/v1/machines/{v['machine']}").json
    assert MACHINE <= set(machine) and machine["reservation"] == v["id"] and machine["state"] == "claimed"
    assert all(MACHINE <= set(m) for m in c.get("/v1/machines").json)
    pools = c.get("/v1/pools").json
    assert [p["name"] for p in pools] == ["default"] and POOL <= set(pools[0])

    trace = c.get("/v1/reservations/one/trace").json
    assert TRACE <= set(trace) and trace["reservation"] == v["id"]
    assert trace["steps"] and all(STEP <= set(s) for s in trace["steps"])
    why = c.get("/v1/reservations/one/why").json
    assert WHY <= set(why) and why["path"] == "warm" and "claim" in why["critical_path"]

    assert c.patch("/v1/reservations/one", {"hours": 1}).json["expires_at"] > v["expires_at"]
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8ZJfkHNQ2ROpZJMqY9dPQIEcVFJvvdgRCvB5+6ZxFh other"
    certified = c.post("/v1/reservations/one/certificates", {"public_keys": [PUBLIC_KEY, PUBLIC_KEY]})
    assert certified.status == 200 and len(certified.json["certificates"]) == 2
    assert c.post("/v1/reservations/one/certificates", {"public_keys": [other]}).status in (200, 400)

    ended = c.delete("/v1/reservations/one")
    assert ended.status == 200 and (ended.json["state"], ended.json["reason"]) == ("ended", "cancelled")
    assert RFC3339_MS.match(ended.json["ended_at"])
    assert c.delete(f"/v1/reservations/{v['id']}").status == 200
    assert c.get("/v1/reservations").json == []
    assert [x["id"] for x in c.get("/v1/reservations?all=1").json] == [v["id"]]


def test_health_metrics_images_audit(c):
    health = c.get("/v1/health").json
    assert health["ok"] is True and health["version"] and health["uptime"] >= 0
    text = c.get("/metrics").body.decode()
    assert c.get("/metrics").headers["Content-Type"].startswith("text/plain")
    for name in ("process_resident_memory_bytes", "process_open_fds", "hearth_http_requests_total",
                 "hearth_http_request_seconds_bucket"):
        assert f"\n{name}" in text or text.startswith(name)
    for line in text.splitlines():
        assert line.startswith("#") or re.match(r'^[a-z_]+(\{([a-z]+="[^"]*",?)*\})? -?[0-9.e+]+$', line), line
    assert c.get("/v1/images").json[0]["name"] == "debian"
    for built in (c.post("/v1/images/debian/builds", {}), c.post("/v1/images", {"name": "debian"})):
        assert built.status == 202 and built.json["name"] == "debian"
    refused(c.post("/v1/images/nope/builds", {}), 404, "not_found")
    refused(c.post("/v1/images", {}), 400, "invalid")
    audit = wait_for(lambda: (a := c.get("/v1/audit").json)["ok"] and a)
    assert {"ok", "provider_only", "ledger_only", "open_steps"} <= set(audit)
    assert audit["provider_only"] == audit["ledger_only"] == [] and isinstance(audit["open_steps"], int)
    assert c.post("/v1/audit", {"repair": True}).json["ok"] is True


def test_request_id_is_echoed_or_made(c):
    assert c.request("GET", "/v1/health", headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"
    for bad in ("", "a b", "x" * 65, 'a"b'):
        made = c.request("GET", "/v1/health", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        assert made != bad and re.match(r"^q-[0-9a-z]{12}$", made)
    first, second = (c.get("/nowhere").headers["X-Request-Id"] for _ in range(2))
    assert first != second


def test_pool_set(c):
    assert c.patch("/v1/pools/default", {"running": 1, "max": 5}).json["running"] == 1
    assert c.get("/v1/pools/default").json["max"] == 5
    refused(c.patch("/v1/pools/default", {}), 400, "invalid")
    refused(c.patch("/v1/pools/default", {"running": -1}), 400, "invalid")
    refused(c.patch("/v1/pools/default", {"running": 1.5}), 400, "invalid")
    refused(c.patch("/v1/pools/default", {"min": 1}), 400, "invalid")
    refused(c.patch("/v1/pools/nope", {"running": 1}), 404, "not_found")
    refused(c.get("/v1/pools/nope"), 404, "not_found")


def test_what_there_is_not_yet(c):
    refused(c.delete("/v1/images/debian"), 400, "invalid")
    nothing_made(c)


DISK = {"id", "name", "user", "size_bytes", "state", "attached_to", "from_snapshot", "created_at", "error"}


def disk_state(c, key, state):
    return wait_for(lambda: c.get(f"/v1/disks/{key}").json.get("state") == state)


def test_disks(c):
    assert c.get("/v1/disks").json == []
    r = c.post("/v1/disks", {"name": "data", "size_bytes": 1 << 30})
    assert r.status == 201 and DISK <= set(r.json) and r.json["name"] == "data" and r.json["size_bytes"] == 1 << 30
    disk_state(c, "data", "available")
    refused(c.post("/v1/disks", {"name": "data", "size_bytes": 1 << 30}), 409, "conflict")
    s = c.post("/v1/disks/data/snapshots", {}).json
    assert s["disk"] == r.json["id"] and s["state"] == "creating"
    disk_state(c, s["id"], "available")
    assert c.get("/v1/disks/data").json["snapshots"] == [s["id"]]
    assert c.post("/v1/disks", {"name": "b", "size_bytes": 2 << 30, "from_snapshot": s["id"]}).json["from_snapshot"] == s["id"]
    assert c.post("/v1/disks/data/clone", {"name": "copy"}).status == 201
    disk_state(c, "copy", "available")
    assert sorted(d["name"] for d in c.get("/v1/disks").json) == ["b", "copy", "data"]
    for key in ("data", "copy", "b", s["id"]):
        assert c.delete(f"/v1/disks/{key}").json["state"] == "deleting"
    wait_for(lambda: c.get("/v1/disks").json == [])
    wait_for(lambda: c.get("/v1/audit").json == {"ok": True, "provider_only": [], "ledger_only": [], "open_steps": 0})


def test_a_reservation_with_disks(c):
    body = {"public_keys": [PUBLIC_KEY], "disks": ["data:1G", {"name": "more", "size_bytes": 1 << 30}]}
    r = c.post("/v1/reservations", body)
    assert r.status == 201 and [d["name"] for d in r.json["disks"]] == ["data", "more"]
    assert r.json["disks"][0]["path"] == "/disk/data"
    key = f"/v1/reservations/{r.json['id']}"
    wait_for(lambda: [d["state"] for d in c.get(key).json["disks"]] == ["attached", "attached"])
    assert c.get("/v1/disks/data").json["attached_to"] == r.json["id"]
    message = refused(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "disks": ["data"]}), 409, "conflict")
    assert r.json["name"] in message
    refused(c.delete("/v1/disks/data"), 409, "conflict")
    steps = {s["name"]: s for s in c.get(key + "/trace").json["steps"]}
    assert steps["attach data"]["waits_for"] == ["disk data", "claim"] and "attach more" in steps
    c.delete(key)
    assert [d["state"] for d in c.get(key).json["disks"]] == ["detached", "detached"]
    assert c.get("/v1/disks/data").json["attached_to"] is None
    for key in ("data", "more"):
        c.delete(f"/v1/disks/{key}")
    wait_for(lambda: c.get("/v1/disks").json == [])
    refused(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "disks": ["data"]}), 404, "not_found")


def test_disks_that_cannot_be(c):
    for body in ({}, {"name": "d"}, {"size_bytes": 1 << 30}, {"name": "d", "size_bytes": 1}, {"name": "d", "size_bytes": 0},
                 {"name": "d", "size_bytes": -1}, {"name": "d", "size_bytes": 1.5}, {"name": "d", "size_bytes": 1e30},
                 {"name": "a/b", "size_bytes": 1 << 30}, {"name": "", "size_bytes": 1 << 30}, {"name": "d", "size_bytes": "1G"},
                 {"name": "d", "size_bytes": 1 << 30, "from_snapshot": ""}, {"name": "d", "size_bytes": 1 << 30, "x": 1}):
        refused(c.post("/v1/disks", body), 400, "invalid")
    refused(c.post("/v1/disks", {"name": "d", "size_bytes": 1 << 30, "from_snapshot": "s-nope"}), 404, "not_found")
    for method, path in (("GET", "/v1/disks/d"), ("DELETE", "/v1/disks/d"), ("POST", "/v1/disks/d/snapshots")):
        refused(c.request(method, path), 404, "not_found")
    refused(c.post("/v1/disks/d/clone", {"name": "e"}), 404, "not_found")
    refused(c.post("/v1/disks/d/clone", {}), 400, "invalid")
    assert c.get("/v1/disks").json == []


def test_a_disk_outlives_the_daemon(daemon):
    c = daemon.client()
    c.post("/v1/disks", {"name": "data", "size_bytes": 1 << 30})
    disk_state(c, "data", "available")
    daemon.kill()
    daemon.start()
    c = daemon.client()
    assert c.get("/v1/disks/data").json["state"] == "available"


def test_count_gives_an_array(daemons):
    d = daemons(pools={"default": "{provider: sim, image: debian, running: 3, max: 4}"}).start()
    d.fill()
    c = d.client()
    three = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "count": 3})
    assert three.status == 201 and len({r["machine"] for r in three.json}) == 3
    refused(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "count": 2, "no_wait": True}), 409, "no_capacity")
    assert len(c.get("/v1/reservations").json) == 3
    assert len(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "count": 1}).json) == 1


# ---- bad input ----


def test_routes(c):
    refused(c.get("/"), 404, "not_found")
    refused(c.get("/v1/reservation"), 404, "not_found")
    refused(c.get("/v1/reservations/"), 404, "not_found")
    refused(c.get("/v1/reservations/a/b"), 404, "not_found")
    refused(c.get("//v1/pools"), 404, "not_found")
    for method, path, allow in (("DELETE", "/v1/pools", "GET"), ("PUT", "/v1/pools/default", "GET, PATCH"),
                                ("POST", "/v1/health", "GET"),
                                ("PUT", "/v1/reservations/x", "GET, PATCH, DELETE")):
        r = c.request(method, path)
        refused(r, 405, "invalid")
        assert r.headers["Allow"] == allow
    head = c.request("HEAD", "/v1/health")
    assert head.status == 200 and head.body == b""


@pytest.mark.parametrize("ref", ["a%2Fb", "..%2F..", "%00", "a%00b", "%zz", "%e9", "a%0ab", "x" * 200, "x" * 300, "%ff%fe",
                                 "'%20OR%201=1--", "m-000000000000"])
def test_odd_references(c, ref):
    c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "name": "a"})  # what "a%00b" must not be taken for
    for kind in ("reservations", "machines", "pools"):
        r = c.get(f"/v1/{kind}/{ref}")
        assert r.status in (400, 404), r
        refused(r, r.status, "invalid" if r.status == 400 else "not_found")
    assert c.get("/v1/health").status == 200


def test_queries(c):
    for path in ("/v1/reservations?all=2", "/v1/reservations?al=1", "/v1/reservations?all=1&x", "/v1/pools?all=1",
                 "/v1/reservations/x?wait=-1", "/v1/reservations/x?wait=", "/v1/reservations/x?wait=601",
                 "/v1/reservations/x?wait=1e2", "/v1/reservations/x?wait=99999999999999999999", "/v1/events?since=x"):
        refused(c.get(path), 400, "invalid")
    assert c.get("/v1/reservations?all=0").json == []


MALFORMED = [
    b"{", b"}", b"[]", b"null", b"7", b'"x"', b"{'a':1}", b'{"hours":1,}', b'{"hours":1} x', b"\xff\xfe", b"\x00",
    b'{"name":"\xc3\x28"}', b'{"hours":NaN}', b'{"hours":Infinity}', b'{"hours":01}', b'{"hours":1e999}',
    b'{"count":99999999999999999999}', b'{"hours":1,"hours":2}', b'{"name":"a\\u0000b"}', b'{"name":"\\ud800"}',
    b"[" * 60000, b'{"a":' * 10000, b'{"disks":' + b"[" * 17 + b"]" * 17 + b"}",
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda b: b[:20].decode("latin1").encode("unicode_escape").decode())
def test_malformed_json(c, body):
    refused(c.request("POST", "/v1/reservations", body), 400, "invalid")
    nothing_made(c)
    assert c.get("/v1/health").status == 200


BAD_FIELDS = [("hours", v) for v in (0, -1, -0.5, 1e-9, 1e300, 1e15, 999999, "1", True, [], {})]
BAD_FIELDS += [("count", v) for v in (0, -1, 1.5, 1001, 2**31, 2**63 - 1, "2", False, [1])]
BAD_FIELDS += [("idle", v) for v in ("", "soon", "5", "-5m", "0s", "1ms", "1e3s", "30m ", 0, -1, 1e20, True, [])]
BAD_FIELDS += [("name", v) for v in ("", "a/b", "..", "a..b", ".a", "a.", "-a", "a b", "a\nb", "é", "x" * 64, "x" * 200, 7,
                                     "../../etc", "a\tb", "a;b", "$(x)", [])]
BAD_FIELDS += [("pool", v) for v in ("", "../x", "x" * 64, 7)]
BAD_FIELDS += [("request_id", v) for v in ("", "x" * 129, "a\nb", "é", 7)]
BAD_FIELDS += [(k, v) for k in ("no_wait", "no_warm", "require_disk") for v in (0, 1, "true", [])]
BAD_FIELDS += [("public_keys", v) for v in ([], "", {}, 7, [7], [None], [PUBLIC_KEY] * 17)]
BAD_FIELDS += [("disks", v) for v in ("d", {}, 7)]


def test_bad_fields_are_named(c):
    for field, value in BAD_FIELDS:
        message = refused(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], field: value}), 400, "invalid")
        if not (field == "hours" and value == 999999):  # core's bound, not the table's
            assert f"field '{field}" in message, (field, value, message)
    assert "hourz" in refused(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "hourz": 1}), 400, "invalid")
    assert "public_keys" in refused(c.post("/v1/reservations", {}), 400, "invalid")
    refused(c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "pool": "nope"}), 404, "not_found")
    nothing_made(c)
    v = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "name": "kept"}).json
    for body in ({}, {"hours": 0}, {"hours": -3}, {"hours": "1"}, {"hours": 1e12}, {"hours": 1, "x": 1}):
        refused(c.patch(f"/v1/reservations/{v['id']}", body), 400, "invalid")
    for body in ({"public_keys": "x"}, {"public_keys": ["x"]}, {"keys": []}):
        refused(c.post(f"/v1/reservations/{v['id']}/certificates", body), 400, "invalid")
    assert c.get("/v1/reservations/kept").json["expires_at"] == v["expires_at"]


def keygen(tmp_path, *args):
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "t", "-f", str(path), *args], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text()


def test_bad_keys(c, tmp_path):
    private, public = keygen(tmp_path, "-t", "ed25519")
    (tmp_path / "key").unlink()
    _, short_rsa = keygen(tmp_path, "-t", "rsa", "-b", "1024")
    kind, blob, _ = public.split()
    dss = struct.pack(">I7s", 7, b"ssh-dss") + b"".join(struct.pack(">I", 20) + b"\x01" * 20 for _ in range(4))
    import base64
    bad = ["", " ", "x", private, short_rsa, kind, f"{kind} {blob[:-8]}", f"{kind} {blob}A", f"ssh-rsa {blob}",
           f'command="id" {public}', f"{public.strip()} \n{public}", f"{public.strip()}{public}"[:0] + public + public,
           f"ssh-dss {base64.b64encode(dss).decode()} dsa", f"{kind} !!!!", "ssh-ed25519 " + "A" * 20000, f"{kind}\t", "\x00" + public]
    for key in bad:
        message = refused(c.post("/v1/reservations", {"public_keys": [key]}), 400, "invalid")
        assert "public_keys[0]" in message or "malformed JSON" in message, (key[:60], message)
        assert "PRIVATE" not in message
    assert "public_keys[1]" in refused(c.post("/v1/reservations", {"public_keys": [public, "x"]}), 400, "invalid")
    nothing_made(c)
    _, rsa = (os.remove(tmp_path / "key"), keygen(tmp_path, "-t", "rsa", "-b", "2048"))[1]
    assert c.post("/v1/reservations", {"public_keys": [rsa]}).status == 201


def raw(daemon, timeout=20):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(str(daemon.socket))
    return s


def read_reply(s):
    r = http.client.HTTPResponse(s)
    r.begin()
    return r.status, r.read()


def test_sizes(daemon):
    with daemon.client() as c:
        fits = json.dumps({"public_keys": [PUBLIC_KEY]}).ljust(65536)
        assert c.request("POST", "/v1/reservations", fits).status == 201
    for size in (65537, 200000, 5 << 20):
        with Client(daemon.socket) as c:
            r = c.request("POST", "/v1/reservations", b" " * size)
            refused(r, 413, "too_large")
            assert r.headers["Connection"].lower() == "close"
    with raw(daemon) as s:
        s.sendall(b"POST /v1/reservations HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n")
        assert read_reply(s)[0] == 413
        assert s.recv(1) == b""
    with raw(daemon) as s:
        s.sendall(b"POST /v1/reservations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            s.sendall(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        s.sendall(b"0\r\n\r\n")
        assert read_reply(s)[0] == 413
    with raw(daemon) as s:
        s.sendall(b"GET /v1/health HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 40000 + b"\r\n\r\n")
        assert read_reply(s)[0] == 431
    with raw(daemon) as s:
        s.sendall(b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        assert read_reply(s)[0] in (414, 431)
    for junk in (b"\x00" * 100, b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n\r\n"):
        with raw(daemon, timeout=2) as s:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except (TimeoutError, ConnectionResetError):
                pass
    with Client(daemon.socket) as c:
        assert c.get("/v1/health").status == 200


# ---- clients of every kind ----


def test_pipelined_and_slow(daemon):
    with raw(daemon) as s:
        s.sendall(b"GET /v1/pools HTTP/1.1\r\nHost: h\r\n\r\n" * 50)
        reader = s.makefile("rb")
        for _ in range(50):
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert json.loads(reader.read(length))[0]["name"] == "default"
    body = json.dumps({"public_keys": [PUBLIC_KEY], "name": "slow"}).encode()
    with raw(daemon) as s:
        request = b"POST /v1/reservations HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for i in range(0, len(request), 16):
            s.sendall(request[i:i + 16])
            time.sleep(0.005)
        status, reply = read_reply(s)
        assert status == 201 and json.loads(reply)["name"] == "slow"


def test_two_hundred_connections_stay_open(daemon):
    clients = [daemon.client() for _ in range(200)]
    for _ in range(3):
        for c in clients:
            assert c.get("/v1/health").status == 200
        assert len({c.connection.sock.fileno() for c in clients}) == 200


def test_a_client_that_goes_away_while_it_waits(daemons):
    d = daemons(pools={"default": "{provider: sim, image: debian, running: 1, max: 1}"}).start()
    d.fill()
    c = d.client()
    holder = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY]}).json
    queued = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "name": "queued"}).json
    assert (queued["state"], queued["queue_position"], queued["machine"]) == ("queued", 1, None)
    fds = open_fds(d)
    gone = [raw(d) for _ in range(20)]
    for s in gone:
        s.sendall(b"GET /v1/reservations/queued?wait=600 HTTP/1.1\r\nHost: h\r\n\r\n")
    wait_for(lambda: open_fds(d) >= fds + 20)
    for s in gone:
        s.close()
    wait_for(lambda: open_fds(d) <= fds, message=lambda: f"{open_fds(d)} descriptors open, {fds} before")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with d.client() as waiter:
            waiting = pool.submit(waiter.get, "/v1/reservations/queued?wait=30")
            time.sleep(0.1)
            started = time.monotonic()
            c.delete(f"/v1/reservations/{holder['id']}")  # the answers to those who left come now, too
            r = waiting.result(20)
    assert r.json["state"] == "active" and r.json["certificates"]
    assert time.monotonic() - started < 10


def open_fds(daemon):
    with Client(daemon.socket) as c:
        text = c.get("/metrics").body.decode()
    return int(re.search(r"^process_open_fds (\d+)$", text, re.M)[1])


def test_a_wait_ends_on_time_and_with_the_daemon(daemons):
    d = daemons(pools={"default": "{provider: sim, image: debian, running: 1, max: 1}"}).start()
    d.fill()
    c = d.client()
    c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY]})
    c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "name": "queued"})
    started = time.monotonic()
    assert c.get("/v1/reservations/queued?wait=1").json["state"] == "queued"
    assert 0.9 < time.monotonic() - started < 3
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(d.client().get, "/v1/reservations/queued?wait=600")
        time.sleep(0.2)
        assert d.stop() == 0
        refused(waiting.result(5), 503, "unavailable")


# ---- who may do what ----


AS_ANOTHER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from hearth import Client
os.setgroups([]); os.setresgid(12345, 12345, 12345); os.setresuid(12345, 12345, 12345)
with Client(sys.argv[2]) as c:
    out = []
    for method, path, body in json.load(sys.stdin):
        r = c.request(method, path, body)
        out.append([r.status, r.json])
print(json.dumps(out))
"""


def as_another(daemon, *requests):
    done = subprocess.run([sys.executable, "-c", AS_ANOTHER, os.path.dirname(__file__), str(daemon.socket)],
                          input=json.dumps(requests), capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.mark.root
def test_another_users_reservation(daemon):
    c = daemon.client()
    mine = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY], "name": "mine"}).json
    ref = f"/v1/reservations/{mine['id']}"
    answers = as_another(
        daemon, ["GET", ref, None], ["DELETE", ref, None], ["PATCH", ref, {"hours": 1}], ["GET", ref + "/trace", None],
        ["GET", ref + "/why", None], ["POST", ref + "/certificates", {"public_keys": [PUBLIC_KEY]}],
        ["GET", "/v1/reservations/mine", None],
        ["PATCH", "/v1/pools/default", {"running": 0}], ["GET", "/v1/audit", None], ["POST", "/v1/audit", {}],
        ["POST", "/v1/images/debian/builds", {}])
    for status, reply in answers[:6] + answers[7:]:
        assert (status, reply["error"]["code"]) == (403, "not_permitted"), reply
    for _, reply in answers[7:]:  # by the table of routes, before anything else looks at it
        assert reply["error"]["message"].endswith("is for operators")
    assert answers[6][0] in (403, 404)
    listed, machines, theirs = (a[1] for a in as_another(
        daemon, ["GET", "/v1/reservations?all=1", None], ["GET", "/v1/machines", None],
        ["POST", "/v1/reservations", {"public_keys": [PUBLIC_KEY], "name": "mine"}]))
    assert listed == []
    assert mine["machine"] not in [m["id"] for m in machines] and machines
    assert theirs["user"] == "12345" and theirs["name"] == "mine"
    assert c.get(f"/v1/reservations/{theirs['id']}").status == 200  # root is an operator
    assert c.get(ref).json["state"] == "active"


def test_the_same_request_id(daemon):
    c = daemon.client()
    body = {"public_keys": [PUBLIC_KEY], "request_id": "job 1/α".replace("α", "a")}
    first = c.post("/v1/reservations", body)
    second = c.post("/v1/reservations", body)
    assert (first.status, second.status) == (201, 200) and first.json["id"] == second.json["id"]
    c.delete(f"/v1/reservations/{first.json['id']}")
    third = c.post("/v1/reservations", body)
    assert third.status == 200 and (third.json["id"], third.json["state"]) == (first.json["id"], "ended")
    if os.geteuid() == 0:  # another user's request ids are their own
        assert as_another(daemon, ["POST", "/v1/reservations", body])[0][0] == 201


def test_the_same_request_id_at_once(daemon):
    body = {"public_keys": [PUBLIC_KEY], "request_id": "all at once"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda c: c.post("/v1/reservations", body), [daemon.client() for _ in range(8)]))
    assert sorted(r.status for r in replies) == [200] * 7 + [201]
    assert len({r.json["id"] for r in replies}) == 1


# ---- events ----


class Events:
    """Reads a stream in a thread."""

    def __init__(self, daemon, path="/v1/events", last=None):
        self.seen, self.comments = [], 0
        self.socket = raw(daemon, timeout=60)
        header = f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n".encode())
        self.response = http.client.HTTPResponse(self.socket)
        self.response.begin()
        assert self.response.status == 200 and self.response.headers["Content-Type"] == "text/event-stream"
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        event = {}
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    data = json.loads(event["data"])
                    assert str(data["seq"]) == event["id"] and data["kind"] == event["event"]
                    self.seen.append(data)
                    event = {}
        except (OSError, ValueError, http.client.HTTPException):
            pass

    def wait(self, condition, seconds=10):
        wait_for(lambda: any(map(condition, self.seen)), seconds, message=lambda: f"not among {self.seen[-5:]}")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.response.close()
        self.socket.close()


def test_events_resume_without_gap_or_double(daemon, rng):
    c = daemon.client()
    full = Events(daemon, "/v1/events?since=0")
    live = Events(daemon)
    ids = []
    stop = threading.Event()

    def churn():
        with Client(daemon.socket) as own:
            while not stop.is_set():
                r = own.post("/v1/reservations", {"public_keys": [PUBLIC_KEY]}).json
                ids.append(r["id"])
                own.delete(f"/v1/reservations/{r['id']}?wait=0")

    thread = threading.Thread(target=churn)
    thread.start()
    resumed, last = [], 0
    try:
        for _ in range(15):  # a client that is cut off again and again
            e = Events(daemon, last=last)
            time.sleep(rng.uniform(0, 0.15))
            e.close()
            resumed += e.seen
            last = resumed[-1]["seq"] if resumed else 0
    finally:
        stop.set()
        thread.join()
    final = c.post("/v1/reservations", {"public_keys": [PUBLIC_KEY]}).json["id"]

    def is_final(e):
        return e["id"] == final and e["state"] == "active"

    tail = Events(daemon, last=last)
    for e in (full, live, tail):
        e.wait(is_final)
    upto = next(e["seq"] for e in full.seen if is_final(e))
    want = [e["seq"] for e in full.seen if e["seq"] <= upto]
    got = [e["seq"] for e in resumed + tail.seen if e["seq"] <= upto]
    assert want == sorted(set(want)) and want[0] == 1
    assert got == want
    first = live.seen[0]["seq"]
    assert [e["seq"] for e in live.seen if e["seq"] <= upto] == [s for s in want if s >= first]
    assert {i for i in ids} <= {e["id"] for e in full.seen if e["kind"] == "reservation"}
    for e in full.seen:
        assert RFC3339_MS.match(e["at"]) and {"seq", "at", "kind", "id", "name", "state", "detail"} <= set(e)
    for e in (full, live, tail):
        e.close()
    refused(c.request("GET", "/v1/events", headers={"Last-Event-ID": "x"}), 400, "invalid")


def test_events_of_a_state_that_is_gone(daemon):
    """A client whose last event was of another state, with higher numbers, gets what happens from now on."""
    e = Events(daemon, last=10**12)
    r = daemon.reserve().json
    e.wait(lambda event: event["id"] == r["id"])
    e.close()


def test_event_streams_end_with_their_client_and_with_the_daemon(daemon):
    fds = open_fds(daemon)
    streams = [Events(daemon) for _ in range(10)]
    for e in streams[1:]:
        e.close()
    wait_for(lambda: open_fds(daemon) <= fds + 1)
    assert daemon.stop() == 0
    streams[0].thread.join(5)
    assert not streams[0].thread.is_alive()


@pytest.mark.root
def test_events_of_others_are_not_seen(daemon):
    code = AS_ANOTHER.split("with Client")[0] + """
import socket
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2])
s.sendall(b"GET /v1/events?since=0 HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
s.settimeout(2)
out = b""
try:
    while True: out += s.recv(65536)
except TimeoutError: pass
print(out.decode())
"""
    r = daemon.reserve(name="secret-name").json
    text = subprocess.run([sys.executable, "-c", code, os.path.dirname(__file__), str(daemon.socket)],
                          capture_output=True, text=True, check=True, timeout=60).stdout
    assert "event: machine" in text
    assert r["id"] not in text and "secret-name" not in text


@pytest.mark.root
def test_event_streams_of_one_user_are_bounded(daemon):
    """Each may keep a megabyte of the daemon's; another user has theirs all the same."""
    code = AS_ANOTHER.split("with Client")[0] + """
import socket
held = []
for i in range(65):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2])
    s.sendall(b"GET /v1/events HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
    held.append(s)
    print(s.recv(100).decode().split()[1], flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code, os.path.dirname(__file__), str(daemon.socket)], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        statuses = [p.stdout.readline().strip() for _ in range(65)]
        assert statuses == ["200"] * 64 + ["429"]
        Events(daemon).close()
        p.stdin.close()


@pytest.mark.root
def test_users_together_cannot_lock_root_out(daemon):
    """All connections that two users may have, idle; as it is without the part that is root's, they had them all."""
    code = """
import os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
uid = int(sys.argv[1])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
held = []
for i in range(2048):
    s = socket.socket(socket.AF_UNIX); s.settimeout(10)
    while s.connect_ex(sys.argv[2]) != 0:
        time.sleep(0.001)
    held.append(s)
held[-1].sendall(b"GET /v1/health HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
print(held[-1].recv(100).decode().split()[1], flush=True)
sys.stdin.read()
"""
    users = [subprocess.Popen([sys.executable, "-c", code, str(uid), str(daemon.socket)], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) for uid in (12345, 12346)]
    try:
        assert "429" in [p.stdout.readline().strip() for p in users]
        assert daemon.client().get("/v1/health").status == 200
    finally:
        for p in users:
            p.communicate("", timeout=30)


@pytest.mark.soak
@pytest.mark.seconds(60)
def test_events_heartbeat(daemon):
    e = Events(daemon)
    time.sleep(17)
    assert e.comments >= 2
    e.close()


def test_no_capacity_at_the_provider_is_its_own_exit_code(daemons):
    d = daemons(providers={"sim": "{kind: fake, capacity: 1}"},
                pools={"default": "{provider: sim, image: debian, running: 0, max: 4}"}).start()
    assert d.hearth("reserve").returncode == 0
    done = d.hearth("reserve")
    assert done.returncode == 4, done.stderr
    assert "no capacity" in done.stderr and done.stderr.count("\n") == 1
