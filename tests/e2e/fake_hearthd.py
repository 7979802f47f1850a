# SPDX-License-Identifier: Apache-2.0
"""The API of docs, small and scripted, on a Unix socket: what the command line is tested against where a
real hearthd could not be made to say what the test needs (each error, a swap, a slow launch, broken HTTP)."""

import http.server
import json
import os
import socketserver
import threading
import time

CODES = {"invalid": 400, "not_permitted": 403, "not_found": 404, "conflict": 409, "too_large": 413,
         "no_capacity": 409, "rate_limited": 429, "internal": 500, "unavailable": 503}
CERT = "ssh-ed25519-cert-v01@openssh.com AAAAfakecertificate fake"
KNOWN = "@cert-authority {} ssh-ed25519 AAAAfakehostca\n"


def stamp(at):
    ms = int(at * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


class Refusal(Exception):
    def __init__(self, code, message, hint=""):
        self.code, self.message, self.hint = code, message, hint


class FakeHearthd:
    """Attributes are the script; `calls` is what came in: (method, path, body)."""

    def __init__(self, path):
        self.path = str(path)
        self.calls = []
        self.reservations = {}
        self.prepare_looks = 0  # GETs that still find a new reservation preparing
        self.end_as = None      # (reason, error) that preparing leads to, instead of active
        self.raw = None         # bytes to send instead of any reply
        self.refuse = None      # Refusal for every call
        self.refuse_on = {}     # (method, path prefix) -> Refusal
        self.chunked = False
        self.machines = 0
        self.replies = {}       # (method, path) -> JSON
        self.host = "127.0.0.1"
        self.port = 22
        self.cert = CERT
        self.known = KNOWN
        self.name = None        # over all checks: what the daemon calls a reservation
        self.hold_get = None    # threading.Event that GETs with wait= wait for
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def address_string(self):
                return "unix"

            def handle_any(self):
                n = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(n)
                fake.calls.append((self.command, self.path, json.loads(body) if body else None))
                if fake.raw is not None:
                    self.wfile.write(fake.raw)
                    self.close_connection = True
                    return
                try:
                    status, reply = fake.answer(*fake.calls[-1])
                except Refusal as r:
                    status = CODES.get(r.code, 500)
                    reply = {"error": {"code": r.code, "message": r.message, "hint": r.hint}}
                self.reply(status, json.dumps(reply).encode())

            def reply(self, status, data):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if fake.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for i in range(0, len(data), 7):
                        part = data[i:i + 7]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                pass

        self.server = Server(self.path, Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def activate(self, r):
        self.machines += 1
        machine = f"m-{self.machines:012d}"
        r.update(state="active", machine=machine, host=self.host, port=self.port, login="dev",
                 certificates=[self.cert], known_hosts=self.known.format(machine),
                 ready_at=stamp(time.time()), expires_at=stamp(time.time() + 4 * 3600 - 30))

    def end(self, r, reason="cancelled", error=None):
        r.update(state="ended", reason=reason, error=error, ended_at=stamp(time.time()), certificates=[])

    def new(self, body):
        n = len(self.reservations) + 1
        r = {"id": f"r-{n:012d}", "name": self.name or body.get("name") or f"brave-otter-{n}", "user": "tester",
             "pool": body.get("pool", "default"), "state": "preparing", "reason": None, "path": "warm",
             "miss_reason": None, "machine": None, "host": None, "port": None, "login": None,
             "certificates": [], "known_hosts": None, "disks": [], "queue_position": None, "eta": None,
             "cost_usd": 0, "created_at": stamp(time.time()), "ready_at": None, "expires_at": None,
             "ended_at": None, "looks": self.prepare_looks}
        if self.prepare_looks:
            r.update(state="queued", queue_position=2, eta=stamp(time.time() + 90), path="cold",
                     miss_reason="pool empty")
        else:
            self.activate(r)
        self.reservations[r["id"]] = r
        return r

    def find(self, ref):
        found = [r for r in self.reservations.values() if ref in (r["id"], r["name"])] or \
            [r for r in self.reservations.values() if r["id"].startswith(ref)]
        if not found:
            raise Refusal("not_found", f"no reservation '{ref}'", "see 'hearth list'")
        if len(found) > 1:
            raise Refusal("invalid", f"'{ref}' fits {len(found)} reservations", "give more of the id")
        return found[0]

    def look(self, r):
        if r["state"] in ("queued", "preparing"):
            r["looks"] -= 1
            if r["looks"] <= 0 and self.end_as:
                self.end(r, *self.end_as)
            elif r["looks"] <= 0:
                self.activate(r)
        return r

    def answer(self, method, target, body):
        if self.refuse:
            raise self.refuse
        path, _, query = target.partition("?")
        for (m, prefix), refusal in self.refuse_on.items():
            if m == method and path.startswith(prefix):
                raise refusal
        if (method, path) in self.replies:
            return 200, self.replies[method, path]
        words = path.split("/")[2:]
        if words == ["reservations"] and method == "POST":
            made = [self.new(body) for _ in range(body.get("count", 1))]
            return 201, made if "count" in body else made[0]
        if words == ["reservations"]:
            every = "all=1" in query
            return 200, [r for r in self.reservations.values() if every or r["state"] != "ended"]
        if words[0] == "reservations":
            return self.one(method, self.find(words[1]), words[2:], body, query)
        raise Refusal("not_found", f"no such path: {path}")

    def one(self, method, r, rest, body, query):
        if rest == ["certificates"]:
            return 200, r
        if rest == ["trace"]:
            return 200, trace_of(r["id"])
        if rest == ["why"]:
            return 200, {"reservation": r["id"], "path": "warm", "miss_reason": None, "summary": "A warm machine.",
                         "critical_path": ["claim", "certificate"], "slowest_step": "claim", "cost_usd": 0}
        if method == "DELETE":
            if r["state"] != "ended":
                self.end(r)
        elif method == "PATCH":
            at = time.time() + 4 * 3600 - 30 + body["hours"] * 3600
            r["expires_at"] = stamp(at)
        elif "wait=" in query:
            if self.hold_get:
                self.hold_get.wait(30)
            self.look(r)
        return 200, r


def trace_of(reservation):
    t = 1763800000.0
    step = {"waits_for": [], "resolution_ms": 0, "resource": None, "attempt": 1, "error": None, "critical": False}
    return {"reservation": reservation, "path": "cold", "total_ms": 100, "longest_chain_ms": 90,
            "one_at_a_time_ms": 140, "saved_ms": 40, "steps": [
                {**step, "name": "claim", "started_at": stamp(t), "ended_at": stamp(t + 0.002), "critical": True},
                {**step, "name": "launch", "started_at": stamp(t + 0.002), "ended_at": stamp(t + 0.09),
                 "waits_for": ["claim"], "critical": True, "resolution_ms": 5, "resource": "m-000000000001"},
                {**step, "name": "certificate", "started_at": stamp(t + 0.002), "ended_at": stamp(t + 0.05),
                 "waits_for": ["claim"], "error": "no\x1b[31mkey"},
                {**step, "name": "deadline", "started_at": stamp(t + 0.09), "ended_at": None,
                 "waits_for": ["launch"]}]}
