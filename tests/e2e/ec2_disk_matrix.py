# SPDX-License-Identifier: Apache-2.0
"""One cell of the fault matrix of disks (see ec2_matrix.py): a hearthd, a hearth-ec2 and a gate between them; the life of some disks, and a
look at what is left that trusts nobody."""

import time

from ec2_matrix import Cell, Wrong

MIB = 1 << 20
KEPT = "available", "attached"


def tag(resource, key):
    return next((t["Value"] for t in resource.get("Tags", []) if t["Key"] == key), None)


class DiskCell(Cell):
    def open(self):
        super().open()
        self.told = {}  # id → name of each disk that a user was told of

    # --- the parts

    def create(self, path, body, name):
        """A disk that was answered for; one whose answer was lost may be there or not, so its name is asked for."""
        r = self.ask("POST", path, body)
        if r.status == 409:
            r = self.ask("GET", f"/v1/disks/{name}")
        if r.status not in (200, 201):
            raise Wrong(f"{path} {body}: {r}")
        self.told[r.json["id"]] = name
        return r.json["id"]

    def disk(self, ident):
        r = self.ask("GET", f"/v1/disks/{ident}")
        return r.json if r.status == 200 else {"state": "deleted"}

    def until(self, ident, *states):
        def missing():
            d = self.disk(ident)
            return "" if d["state"] in states else f"{ident} is not {states}: {d}"

        self.wait(missing)
        return self.disk(ident)

    def delete(self, ident):
        r = self.ask("DELETE", f"/v1/disks/{ident}")
        if r.status not in (200, 202, 204, 404):
            raise Wrong(f"delete {ident}: {r}")
        self.told.pop(ident, None)

    # --- a life

    def filled(self):
        steps = self.ledger("SELECT subject, name FROM steps WHERE state = 'open'")
        return f"steps are open: {steps}" if steps else ""

    def live(self):
        """A disk, a snapshot of it, a clone, a disk of the snapshot; half of it is deleted, one while it is made."""
        self.wait(lambda: "" if self.ask("GET", "/v1/pools/default").json["ready"] == 1 else "the pool does not fill")
        one = self.create("/v1/disks", {"name": "one", "size_bytes": 64 * MIB}, "one")
        self.until(one, "available", "failed")
        two = self.create("/v1/disks", {"name": "two", "size_bytes": 1 << 30}, "two")
        self.delete(two)
        if self.disk(one)["state"] == "available":
            r = self.ask("POST", f"/v1/disks/{one}/snapshots")
            if r.status not in (200, 201):
                raise Wrong(f"snapshot: {r}")
            self.copy = self.create(f"/v1/disks/{one}/clone", {"name": "copy"}, "copy")
            self.until(self.copy, "available", "failed")
            self.delete(self.copy)
            for ident, in self.ledger("SELECT id FROM disks WHERE id LIKE 's-%' AND transient = 0 AND state NOT IN ('deleted', 'deleting')"):
                self.until(ident, "available", "failed")
                self.delete(ident)
        if self.crash != "none" and not self.dead.is_set():
            self.wait(lambda: "" if self.dead.is_set() else "the call to die at never came", 30)
        self.revive()
        return one, None

    # --- the independent look

    def there(self):
        """Of EC2's volumes and snapshots those that bear a token of ours: {token: id}, and those that bear one twice."""
        c = self.endpoint.client(attempts=8)
        ours = [{"Name": "tag-key", "Values": ["hearth:disk"]}]
        found, twice = {}, []
        for r in (c.describe_volumes(Filters=ours)["Volumes"] + c.describe_snapshots(Filters=ours, OwnerIds=["self"])["Snapshots"]):
            ident, token = r.get("VolumeId") if "Attachments" in r else r["SnapshotId"], tag(r, "hearth:disk")
            if token in found:
                twice.append((token, ident))
            found[token] = ident
        return found, twice

    def differences(self):
        found, twice = self.there()
        rows = {i: (ref, state) for i, ref, state in self.ledger("SELECT id, provider_ref, state FROM disks WHERE state NOT IN ('deleted')")}
        owned = {i: ref for i, (ref, state) in rows.items() if state in KEPT}
        said = f"ledger {rows}, endpoint {found}" if owned != found else ""
        return said + (f" twice {twice}" if twice else "")

    def check(self, one, _):
        for ident, name in self.told.items():
            d = self.disk(ident)
            if d["state"] not in (*KEPT, "failed"):
                raise Wrong(f"{name} was told of and is {d}")
            if d["state"] == "failed" and not self.may_fail:
                raise Wrong(f"{name} has failed: {d}")
        if self.ledger("SELECT provider_ref FROM disks WHERE provider_ref IS NOT NULL GROUP BY provider_ref HAVING count(*) > 1"):
            raise Wrong("two disks are one volume")
        if "RequestLimitExceeded" in self.daemon.log_text():
            raise Wrong("throttling has reached the log")

    may_fail = False

    def resource_seconds(self):
        return {}

    def quiet(self):
        self.wait(lambda: self.filled() or self.audit() or self.differences())
        time.sleep(1.2)
        self.wait(lambda: self.filled() or self.audit() or self.differences(), 30)


class AttachCell(DiskCell):
    """A disk in a reservation's machine, and after that in another's."""

    delays = "{volume_create: 100ms, volume_attach: 100ms, volume_detach: 100ms, terminate: 150ms}"

    def disks_of(self, ident):
        return {d["name"]: d for d in self.look(ident)["disks"]}

    def begin(self, name, *disks):
        body = {"public_keys": [self.public_key], "name": name, "request_id": f"request-{name}",
                "disks": [{"name": d, "size": "1G"} for d in disks]}
        r = self.ask("POST", "/v1/reservations", body)
        if r.status not in (200, 201, 202):
            raise Wrong(f"reserve {name}: {r}")
        self.note(r.json)
        return r.json["id"]

    def settled(self, ident):
        def missing():
            r = self.look(ident)
            ok = r["state"] == "active" and all(d["state"] in ("attached", "failed") for d in r["disks"])
            return "" if ok else f"{ident} and its disks are not there: {r}"

        self.wait(missing)
        for name, d in self.disks_of(ident).items():
            if d["state"] == "failed":
                raise Wrong(f"{name} of {ident}: {d}")
            self.told[d["id"] if "id" in d else d["disk"]] = name

    def live(self):
        """Two disks in one machine; it ends; one of them in the next, another one beside it."""
        self.wait(lambda: "" if self.ask("GET", "/v1/pools/default").json["ready"] == 1 else "the pool does not fill")
        first = self.begin("first", "data", "more")
        self.settled(first)
        self.cancelled.add(first)
        self.ask("DELETE", f"/v1/reservations/{first}?wait=0")
        self.wait(lambda: "" if self.look(first)["state"] == "ended" else f"{first} does not end")
        self.wait(lambda: "" if self.disk("data")["state"] == "available" else f"data is not free: {self.disk('data')}")
        second = self.begin("second", "data", "other")
        self.settled(second)
        if self.crash != "none" and not self.dead.is_set():
            self.wait(lambda: "" if self.dead.is_set() else "the call to die at never came", 30)
        self.revive()
        self.settled(second)
        return first, second

    def filled(self):
        return super().filled() or ("" if self.ask("GET", "/v1/pools/default").json["ready"] == 1 else "the pool does not fill")

    def differences(self):
        """Also: each disk is in its holder's machine, and nowhere else."""
        attached = {d: ref for d, ref in self.ledger(
            "SELECT d.id, m.provider_ref FROM disks d JOIN machines m ON m.id = d.machine WHERE d.state = 'attached'")}
        c = self.endpoint.client(attempts=8)
        found = {tag(v, "hearth:disk"): a["InstanceId"]
                 for v in c.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["hearth:disk"]}])["Volumes"] for a in v["Attachments"]}
        said = f"attached by the ledger {attached}, by the endpoint {found}" if attached != found else ""
        return super().differences() + said

    def check(self, first, second):
        super().check(first, None)
        states = {n: d["state"] for n, d in self.disks_of(second).items()}
        if self.look(second)["state"] != "active" or states != {"data": "attached", "other": "attached"}:
            raise Wrong(f"the second has {states}")
