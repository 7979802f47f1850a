# SPDX-License-Identifier: Apache-2.0
"""One cell of the fault matrix: a hearthd of its own on a hearth-ec2 of its own, between them a gate that lets hearthd die at a chosen
call, a short life of a pool, and an independent look at what is left. Steps that are no call of EC2's but a command over ssh are
struck by what the journal says of them: those need machines that one can log in to, ec2_matrix_local.py."""

import contextlib
import http.client
import http.server
import json
import re
import sqlite3
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ET

from ec2 import Endpoint, client_environment
from hearth import Client, Daemon, PUBLIC_KEY, build_dir
from patience import PATIENCE

QUIET_SECONDS = 90  # a stuck launch is sought for 10 s after a crash, an end is asked for again after 5
LOST = (OSError, http.client.HTTPException)
OVER = ("terminated", "shutting-down")
INTERRUPTED = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")


class Plan:
    """What a pool is told to do: its spares, and further settings as YAML text."""

    def __init__(self, running=1, tier="stopped", settings=""):
        self.running, self.tier, self.settings = running, tier, settings

    @property
    def pool(self):
        return f"running: {self.running}" + (f", {self.tier}: 1" if self.tier else "") + self.settings


class Step:
    """Where hearthd is struck: at the first call of `action` after one of `behind` was answered; or, with `journal`, at the first step of
    that name in the journal, whose subject has had one of the name `behind`. Neither: at a claim."""

    def __init__(self, action=None, behind=None, plan=None, journal=None):
        self.action, self.behind, self.plan, self.journal = action, behind, plan or Plan(), journal


class Gate:
    """Passes hearthd's calls on. At the first call of `action` after one of `behind` was answered it strikes, once: `before` (the call
    goes nowhere), `in` (its work is done, the reply is held back) or `after` (it is answered, a moment passes). Then kill() is called."""

    def __init__(self, port, action=None, behind=None, crash="none", moment=0.0, kill=None):
        self.port, self.action, self.behind, self.crash, self.moment, self.kill = port, action, behind, crash, moment, kill
        self.lock = threading.Lock()
        self.armed, self.struck = behind is None, False
        self.calls = []
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                gate.serve(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass  # hearthd has died: its connection is broken

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def strikes(self, action):
        with self.lock:
            if self.struck or not self.armed or action != self.action or self.crash == "none":
                return False
            self.struck = True
            return True

    def serve(self, h):
        body = h.rfile.read(int(h.headers["Content-Length"]))
        action = urllib.parse.parse_qs(body.decode()).get("Action", [""])[0]
        strikes = self.strikes(action)
        if strikes and self.crash == "before":
            self.kill()
            h.close_connection = True
            return
        status, headers, reply = self.forward(h, body)
        self.calls.append((time.time(), action, body.decode(), status, reply.decode(errors="replace")))
        if strikes and self.crash == "in":
            self.kill()
        if status == 0 or (strikes and self.crash == "in"):
            h.close_connection = True
            self.after(strikes and self.crash == "after")
            return
        h.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                h.send_header(name, value)
        h.send_header("Content-Length", str(len(reply)))
        h.end_headers()
        h.wfile.write(reply)
        h.wfile.flush()
        with self.lock:
            self.armed = self.armed or action == self.behind
        self.after(strikes)

    def after(self, strikes):
        if strikes:
            time.sleep(self.moment)
            self.kill()

    def forward(self, h, body):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60 * PATIENCE)
        try:
            c.putrequest("POST", h.path, skip_host=True, skip_accept_encoding=True)
            for name, value in h.headers.items():  # as they were: they are signed
                c.putheader(name, value)
            c.endheaders(body)
            r = c.getresponse()
            return r.status, r.getheaders(), r.read()
        except LOST:
            return 0, [], b""
        finally:
            c.close()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def token_of(instance):
    """Which machine it is by its tags: the launch index-th token of hearth:tokens-0, -1, ..., nineteen in each."""
    index = instance["AmiLaunchIndex"]
    for tag in instance.get("Tags", []):
        if tag["Key"] == f"hearth:tokens-{index // 19}":
            return "m-" + tag["Value"].split(" ")[index % 19]
    return None


class Wrong(AssertionError):
    pass


class Cell:
    """`crash`: none, before, in, after; `faults`: lines of a scenario."""

    interfaces_end = True  # with their instances
    public_key = PUBLIC_KEY
    quiet_seconds = QUIET_SECONDS
    readiness = "running"
    delays = "{launch: 250ms, stop: 150ms, start: 150ms, hibernate: 150ms, resume: 150ms, terminate: 150ms, spot_notice: 100ms}"

    def __init__(self, name, step, crash, faults, rng):
        self.name, self.step, self.crash = name, step, crash
        self.moment = rng.uniform(0, 0.03)
        self.dead, self.revived = threading.Event(), crash == "none"
        self.seen = {}  # reservation → machine, as hearthd has said
        self.unowned = {}
        lines = "".join(f"  - {{{f}}}\n" for f in faults)
        scenario = f"base: instant\nseed: {rng.randrange(1000000)}\ndelays: {self.delays}\n" + (f"faults:\n{lines}" if lines else "")
        self.faults = faults
        self.endpoint = self.make_endpoint(scenario)
        self.gate = self.daemon = None
        self.plan = step.plan
        self.claims = not step.action and not step.journal
        self.cancelled = set()

    # --- the parts

    def make_endpoint(self, scenario):
        return Endpoint(scenario=scenario, settings={"log_level": "debug"})

    def open(self):
        self.endpoint.start(seconds=60)
        self.gate = Gate(self.endpoint.proxy.port if self.endpoint.proxy else self.endpoint.port, self.step.action,
                         self.step.behind, self.crash if self.step.action else "none", self.moment, self.kill)
        pool = self.plan.pool
        if "interfaces" in pool:
            subnet = self.endpoint.client(attempts=8).describe_subnets()["Subnets"][0]["SubnetId"]
            pool += f", subnets: {subnet}"
        env = {k: v for k, v in client_environment(self.endpoint.dir).items() if k.startswith("AWS_")}
        self.daemon = Daemon(
            providers={"aws": f'{{kind: ec2, region: us-east-1, endpoint: "{self.gate.url}", speed: 0}}'},
            pools={"default": f"{{provider: aws, image: {self.image()}, readiness: {self.readiness}, max: 8, "
                              f"instance_types: [t3.medium, m6i.large], {pool}}}"},
            env={**env, **self.environment(), "HOME": str(self.endpoint.dir)})
        if self.claims and self.crash == "in":
            self.daemon.program = str(build_dir() / "src/daemon/hearthd-test")
            self.daemon.env["HEARTH_TESTPOINT"] = "claimed"
        self.daemon.spawn()

    def environment(self):
        return {}

    def image(self):
        return "debian"

    def close(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.endpoint.close)
            if self.gate:
                stack.callback(self.gate.close)
            if self.daemon:
                stack.callback(self.daemon.close)

    def kill(self):
        self.daemon.kill()
        self.dead.set()

    def revive(self):
        """Starts hearthd again where it was killed."""
        status = self.daemon.process.poll()
        if status is None:
            return
        if not self.dead.is_set() and self.daemon.env.pop("HEARTH_TESTPOINT", None):
            self.daemon.program = None
            self.dead.set()
        if status != -9 or self.revived:
            raise Wrong(f"hearthd has ended by itself: {status}")
        if self.dead.wait(10 * PATIENCE):
            self.revived = True
            self.daemon.spawn()

    def ask(self, method, path, body=None, seconds=60):
        """The reply, whatever becomes of hearthd meanwhile."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            try:
                with Client(self.daemon.socket, timeout=30) as c:
                    r = c.request(method, path, body)
                if r.status != 503:
                    return r
                last = r
            except LOST as e:
                last = e
            self.revive()
            if time.monotonic() > end:
                raise Wrong(f"{method} {path}: {last}")
            time.sleep(0.05)

    def wait(self, what, seconds=None):
        """Until what() is empty; it says what is missing else."""
        end = time.monotonic() + (seconds or self.quiet_seconds) * PATIENCE
        while True:
            missing = what()
            if not missing:
                return
            if time.monotonic() > end:
                raise Wrong(missing)
            time.sleep(0.2)

    # --- a life

    def reserve(self, name):
        body = {"public_keys": [self.public_key], "name": name, "request_id": f"request-{name}"}
        if self.claims and self.crash == "before" and not self.dead.is_set():
            with contextlib.suppress(*LOST), Client(self.daemon.socket) as c:
                c.connection.request("POST", "/v1/reservations", json.dumps(body))
                self.kill()
        r = self.ask("POST", "/v1/reservations", body)
        if r.status not in (200, 201, 202):
            raise Wrong(f"reserve {name}: {r}")
        self.note(r.json)
        if self.claims and self.crash == "after" and not self.dead.is_set():
            time.sleep(self.moment)
            self.kill()
        return r.json["id"]

    def note(self, r):
        """What was said once stays so: active is active on the same machine, and no machine is in two hands."""
        ident, machine = r["id"], r.get("machine")
        was = self.seen.get(ident)
        if r["state"] == "active":
            if was not in (None, machine):
                raise Wrong(f"{ident} had {was} and now {machine}")
            if any(m == machine and i != ident for i, m in self.seen.items()):
                raise Wrong(f"{machine} is given to {ident} and to another: {self.seen}")
            self.seen[ident] = machine
        elif was and ident not in self.cancelled:
            raise Wrong(f"{ident} was active on {was} and is lost: {r}")

    def look(self, ident):
        r = self.ask("GET", f"/v1/reservations/{ident}").json
        self.note(r)
        return r

    def active(self, *idents):
        def missing():
            states = {i: self.look(i) for i in idents}
            return "" if all(r["state"] == "active" for r in states.values()) else f"reservations wait: {states}"

        self.wait(missing)

    def filled(self):
        p = self.ask("GET", "/v1/pools/default").json
        at_rest = self.ledger(f"SELECT count(*) FROM machines WHERE state = '{self.plan.tier}'")[0][0]
        steps = self.ledger("SELECT subject, name FROM steps WHERE state = 'open'")
        full = p["ready"] == self.plan.running and at_rest == bool(self.plan.tier) and p["launching"] == 0 and not steps
        return "" if full else f"the pool does not fill: {p}, {self.plan.tier} {at_rest}, {steps}"

    def struck(self):
        """An interruption is not to strike what somebody has been given by then: that ends a reservation rightly."""
        if not any("spot_interrupted" in f for f in self.faults):
            return ""
        codes = [i.get("StateReason", {}).get("Code") for i in self.instances()]
        return "" if any(c in INTERRUPTED for c in codes) else f"nothing was interrupted: {codes}"

    def live(self):
        """Spares; one taken warm, one started or launched; the first one ends; spares again."""
        self.wait(lambda: self.struck() or self.filled())
        first = self.reserve("first")
        if not self.plan.running:  # else the second one takes over what the first has too many
            self.active(first)
            self.wait(self.filled)
        second = self.reserve("second")
        self.active(first, second)
        self.cancelled.add(first)
        self.ask("DELETE", f"/v1/reservations/{first}?wait=0")
        self.wait(lambda: "" if self.look(first)["state"] == "ended" else f"{first} does not end")
        self.wait(self.filled)
        if self.crash != "none" and not self.dead.is_set():
            self.wait(lambda: "" if self.dead.is_set() else "the call to die at never came", 30)
        self.revive()
        self.active(second)
        return first, second

    # --- the independent look

    def ledger(self, sql):
        with contextlib.closing(sqlite3.connect(f"file:{self.daemon.state}/db/hearth.db?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql).fetchall()

    def instances(self):
        pages = self.endpoint.client(attempts=8).get_paginator("describe_instances").paginate()
        return [i for page in pages for r in page["Reservations"] for i in r["Instances"]]

    def requests_left(self, c, alive):
        """Spot requests that are open, or whose instance is gone; and instances whose request is cancelled would be no difference."""
        return [r["SpotInstanceRequestId"] for r in c.describe_spot_instance_requests()["SpotInstanceRequests"]
                if r["State"] in ("open", "active", "disabled") and r.get("InstanceId") not in alive]

    def differences(self):
        """Between ledger and endpoint, by boto3 and sqlite, in words; empty: none."""
        c = self.endpoint.client(attempts=8)
        owned = {ref: (token, state) for token, ref, state in self.ledger(
            "SELECT id, provider_ref, state FROM machines WHERE state NOT IN ('terminated', 'failed')")}
        alive = {i["InstanceId"]: (token_of(i), i["State"]["Name"]) for i in self.instances() if i["State"]["Name"] not in OVER}
        shown = {"ready": "running", "claimed": "running", "stopped": "stopped", "hibernated": "stopped"}
        expected = {ref: (token, shown.get(state, state)) for ref, (token, state) in owned.items()}
        volumes = [v["VolumeId"] for v in c.describe_volumes()["Volumes"] if not {a["InstanceId"] for a in v["Attachments"]} & set(alive)]
        interfaces = [n["NetworkInterfaceId"] for n in c.describe_network_interfaces()["NetworkInterfaces"]
                      if self.interfaces_end and n.get("Attachment", {}).get("InstanceId") not in alive]
        said = f"ledger {expected}, endpoint {alive}" if expected != alive else ""
        requests = self.requests_left(c, alive) if "spot" in self.plan.settings else []
        found = {"volumes": volumes, "interfaces": interfaces, "spot requests": requests}
        return said + "".join(f" {kind} {ids}" for kind, ids in found.items() if ids)

    def audit(self):
        r = self.ask("GET", "/v1/audit")
        return "" if r.status == 200 and r.json["ok"] and r.json["open_steps"] == 0 else f"audit: {r}"

    def quiet(self):
        """Until all is at rest, and has stayed so for two looks."""
        self.wait(lambda: self.filled() or self.audit() or self.differences())
        time.sleep(1.2)
        self.wait(lambda: self.filled() or self.audit() or self.differences(), 30)

    def undone(self):
        """What failed is ended by its own plan, not by the look for strays that comes later; who died is not there to do it."""
        left = self.ledger("SELECT id FROM machines m WHERE state = 'failed' AND provider_ref != '' AND NOT EXISTS "
                           "(SELECT 1 FROM steps s WHERE s.subject = m.id AND s.name = 'terminate')")
        if left and self.crash == "none":
            raise Wrong(f"they failed, and nothing was undone: {left}")

    def check(self, first, second):
        self.undone()
        twice = self.ledger("SELECT provider_ref FROM machines WHERE provider_ref IS NOT NULL GROUP BY provider_ref HAVING count(*) > 1")
        hands = self.ledger("SELECT machine FROM reservations WHERE machine != '' GROUP BY machine HAVING count(*) > 1")
        if twice or hands:
            raise Wrong(f"in the ledger twice: {twice} {hands}")
        if self.look(second)["state"] != "active" or self.look(first)["state"] != "ended":
            raise Wrong("a reservation has changed since")
        if "RequestLimitExceeded" in self.daemon.log_text():
            raise Wrong("throttling has reached the log")
        stops = [body for _, action, body, status, _ in self.gate.calls if action == "StopInstances" and status == 200]
        if self.plan.tier == "hibernated" and any("Hibernate=true" not in body for body in stops):
            raise Wrong(f"stopped, and its memory lost: {stops}")
        launched = self.ledger("SELECT count(*) FROM machines")[0][0]
        if "hedge" in self.plan.settings and launched < 4:
            raise Wrong(f"two misses, and {launched} launches")

    # --- what nobody owned, for how long

    def resource_seconds(self):
        """Seconds for which something was alive at the endpoint and no live row of the ledger was its machine's, by kind."""
        now = time.time()
        rows = {token: (ref, made / 1000, (ended or now * 1000) / 1000) for token, ref, made, ended in self.ledger(
            "SELECT id, provider_ref, created_at, max(ended_at, coalesce((SELECT max(coalesce(nullif(s.ended_at, 0), 1e15)) FROM steps s "
            "WHERE s.subject = m.id), 0)) * (ended_at > 0) FROM machines m")}  # one that failed is ours until its end plan is through
        lost = {"instance": 0.0, "interface": 0.0}
        ends = self.ends()
        for i in self.instances():
            token, ident = token_of(i), i["InstanceId"]
            begin = self.begins.get(ident, i["LaunchTime"].timestamp())
            if i.get("StateReason", {}).get("Code") == "Server.InternalError":
                continue  # it has never run
            lost["instance"] += unowned(begin, ends.get(ident, now), rows.get(token), ident)
        for ident, (begin, token) in self.made_interfaces.items():
            lost["interface"] += unowned(begin, ends.get(ident, now), rows.get(token), None)
        return lost

    def ends(self):
        """When each was gone, or on its way: by the replies that went by, else by the endpoint's log."""
        ends, self.begins, self.made_interfaces = {}, {}, {}
        for at, action, body, status, reply in self.gate.calls:
            ids = []
            if action == "RunInstances":
                for ident in re.findall(r"<instanceId>(i-\w+)<", reply):
                    self.begins.setdefault(ident, at)
            elif action == "CreateNetworkInterface" and status == 200:
                ident = ET.fromstring(reply).findtext(".//{*}networkInterfaceId")
                tokens = re.search(r"hearth%3Atokens-0.*?Value=(\w+)", body) or re.search(r"Value=(\w{12,})", body)
                self.made_interfaces.setdefault(ident, (at, "m-" + tokens[1] if tokens else None))
            elif action == "TerminateInstances" and status in (0, 200):
                ids = re.findall(r"i-\w{17}", body)
            elif action == "DescribeInstances" and status == 200:
                for item in ET.fromstring(reply).iterfind(".//{*}instancesSet/{*}item"):
                    if item.findtext("{*}instanceState/{*}name") in OVER:
                        ids.append(item.findtext("{*}instanceId"))
            elif action == "DeleteNetworkInterface" and status in (0, 200):
                ids = re.findall(r"eni-\w{17}", body)
            for ident in ids:
                ends.setdefault(ident, at)
        return ends

    def run(self):
        """All of it; Wrong says what was."""
        try:
            self.open()
            first, second = self.live()
            self.quiet()
            self.check(first, second)
            self.unowned = self.resource_seconds()
        except (Wrong, AssertionError) as e:
            raise Wrong(f"{self.name}: {e}\n{self.tail()}") from None
        finally:
            self.close()
        return self.unowned

    def tail(self):
        calls = [f"{at % 1000:.2f} {action} {status}" for at, action, _, status, _ in self.gate.calls] if self.gate else []
        log = self.daemon.log_text().splitlines() if self.daemon else []
        return "\n".join(["calls: " + ", ".join(calls[-40:]), *log[-25:]])


def unowned(begin, end, row, ref):
    """Of [begin, end) the seconds outside of the ledger's row; `ref`: what the row must name, if it names anything."""
    if row is None or (ref and row[0] and row[0] != ref):
        return max(0.0, end - begin)
    return max(0.0, min(end, row[1]) - begin) + max(0.0, end - max(begin, row[2]))
