# SPDX-License-Identifier: Apache-2.0
"""A hearthd of a test's own, and a client for its socket. Everything a Daemon started is gone after close()."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import image_cache
from patience import PATIENCE

TOP = pathlib.Path(__file__).resolve().parents[2]


def build_dir():
    """The build under test: $HEARTH_BUILD, else the newest one that has a hearthd."""
    if os.environ.get("HEARTH_BUILD"):
        return pathlib.Path(os.environ["HEARTH_BUILD"]).resolve()
    found = [p.parents[2] for p in TOP.glob("build*/src/daemon/hearthd")]
    if not found:
        raise RuntimeError("nothing is built: run 'make', or name a build by HEARTH_BUILD")
    return max(found, key=lambda p: (p / "src/daemon/hearthd").stat().st_mtime)


def program(name):
    folder = {"hearthd": "daemon", "hearth": "cli", "hearth-launcher": "launcher", "hearth-init": "init",
              "hearth-ec2": "ec2"}[name]
    return str(build_dir() / "src" / folder / name)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout and timeout * PATIENCE)  # None: for ever
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """One kept-alive connection."""

    def __init__(self, path, timeout=60):
        self.connection = UnixConnection(path, timeout)

    def request(self, method, path, body=None, headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        self.connection.request(method, path, body, headers or {})
        r = self.connection.getresponse()
        return Reply(r.status, dict(r.getheaders()), r.read())

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        return self.request("POST", path, body)

    def patch(self, path, body):
        return self.request("PATCH", path, body)

    def delete(self, path):
        return self.request("DELETE", path)

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_for(what, seconds=10, every=0.02, message="it did not happen"):
    """The first true value of what(), or an AssertionError after `seconds`, times the host's slowness."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(message() if callable(message) else message)
        time.sleep(every)


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVMQXWSoJvgyNbuFwDAF/rXI/Uz1DfH9ktZExhBSyvi test@hearth"


class Daemon:
    """hearthd with a directory of its own, world-traversable as the real ones are. `providers` and `pools` are
    YAML flow text by name; `extra` is appended to the file."""

    def __init__(self, pools=None, providers=None, extra="", directory=None, settings=None, image=None, env=None):
        self.own_directory = directory is None
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="hearth-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        self.runtime = self.dir / "run"
        self.socket = self.runtime / "hearth.sock"
        self.config = self.dir / "hearth.yaml"
        self.log = self.dir / "hearthd.log"
        self.process = None
        self.env = env or {}
        self.image = image
        self.local = False
        self.program = None  # another hearthd than the one that is installed
        self.clients = []
        self.settings = {"state": self.state, "socket": self.socket, **(settings or {})}
        self.extra = extra
        self.providers = {"sim": "{kind: fake}"} if providers is None else providers
        self.pools = {"default": "{provider: sim, image: debian, running: 2, max: 20}"} if pools is None else pools
        self.write_config()

    def write_config(self, text=None):
        if text is None:
            text = "".join(f"{k}: {v}\n" for k, v in self.settings.items())
            for title, table in (("providers", self.providers), ("pools", self.pools)):
                if table:
                    text += f"{title}:\n" + "".join(f"  {k}: {v}\n" for k, v in table.items())
            text += self.extra
        self.config.write_text(text)
        self.local = self.local or "kind: local" in text

    def place_image(self):
        if self.image is not None:
            image_cache.place(self.image, self.state)

    def spawn(self, *args, **kwargs):
        self.runtime.mkdir(mode=0o755, exist_ok=True)
        self.place_image()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program or program("hearthd"), "--config", str(self.config), *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env}, **kwargs)
        return self.process

    def start(self, seconds=20, **kwargs):
        self.spawn(**kwargs)
        wait_for(self.answers_or_ended, seconds, message=lambda: "hearthd does not answer:\n" + self.log_text())
        assert self.process.poll() is None, "hearthd has ended:\n" + self.log_text()
        return self

    def answers_or_ended(self):
        if self.process.poll() is not None:
            return True
        try:
            with Client(self.socket, timeout=5) as c:
                return c.get("/v1/health").status == 200
        except OSError:
            return False

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def client(self, timeout=60):
        c = Client(self.socket, timeout)
        self.clients.append(c)
        return c

    def pool(self, name="default"):
        with Client(self.socket) as c:
            return c.get(f"/v1/pools/{name}").json

    def fill(self, name="default", ready=None, seconds=30):
        """Waits until the pool has `ready` (else all) of its spare machines."""
        last = {}

        def full():
            last.update(self.pool(name))
            return last["ready"] >= (last["running"] if ready is None else ready)

        wait_for(full, seconds, message=lambda: f"the pool does not fill: {last}\n{self.log_text()}")
        return last

    def reserve(self, client=None, **body):
        body.setdefault("public_keys", [PUBLIC_KEY])
        with client or Client(self.socket) as c:
            return c.post("/v1/reservations", body)

    def hearth(self, *args, check=False, **kwargs):
        """The command line against this daemon."""
        env = {**os.environ, "XDG_STATE_HOME": str(self.dir / "xdg"), "HOME": str(self.dir), **kwargs.pop("env", {})}
        return subprocess.run([program("hearth"), "--socket", str(self.socket), *args], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, env=env, timeout=kwargs.pop("timeout", 120) * PATIENCE, check=check,
                              **kwargs)

    def public(self, name):
        """A copy of a program that every user of the host can reach, wherever the build is."""
        return shutil.copy2(program(name), self.dir / name)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=15):
        """SIGTERM; returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("hearthd did not end on SIGTERM:\n" + self.log_text()) from None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def teardown(self):
        """Ends every machine and puts the host back."""
        return subprocess.run([program("hearth-launcher"), "--teardown", "--state", str(self.state), "--runtime",
                               str(self.runtime)], capture_output=True, text=True, timeout=120 * PATIENCE, check=False)

    def close(self):
        for c in self.clients:
            c.close()
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            done = self.teardown() if self.local and os.geteuid() == 0 and self.state.exists() else None
            if self.own_directory:
                shutil.rmtree(self.dir, ignore_errors=True)
        if done is not None and done.returncode != 0:
            raise AssertionError(f"teardown failed: {done.stderr}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
