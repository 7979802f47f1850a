# SPDX-License-Identifier: Apache-2.0
"""A hearth-ec2 of a test's own, with Debian's aws-cli and boto3 for it. Everything an Endpoint started is gone after
close()."""

import datetime
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
import xml.etree.ElementTree as ET

import image_cache
from hearth import program, wait_for

KEY, SECRET = "AKIAEXAMPLE", "secret"
REGION = "us-east-1"
RECORD = os.environ.get("HEARTH_AWS_RECORD")  # a directory: what endpoints are asked and answer is kept there (aws_proxy.py)
AWS_CLI = "/usr/bin/aws"  # Debian's, whatever else is on PATH


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Wire:
    """What came back over a bare connection: `status` 0 where the connection was dropped without a reply."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers}, body

    @property
    def code(self):
        """The error's code, of the form that EC2 sends (no namespace), or None."""
        try:
            root = ET.fromstring(self.body)
        except ET.ParseError:
            return None
        return root.findtext("./Errors/Error/Code") if root.tag == "Response" else None

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


class Done:
    """What an aws command did: `code` is AWS's error code where it failed with one."""

    def __init__(self, p):
        self.status, self.out, self.err = p.returncode, p.stdout, p.stderr

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def code(self):
        m = re.search(r"An error occurred \(([\w.]+)\)", self.err)
        return m and m[1]

    def __repr__(self):
        return f"<aws: {self.status} {self.out[-600:]} {self.err[-600:]}>"


def client_environment(home, key=KEY, secret=SECRET, region=REGION):
    """An environment in which nothing of the caller's own AWS configuration is seen."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BOTO"))}
    env.update(HOME=str(home), AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_PAGER="",
               AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1", AWS_DEFAULT_OUTPUT="json")
    if key:
        env.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
    if region:
        env.update(AWS_DEFAULT_REGION=region)
    return env


class Endpoint:
    """hearth-ec2 with a directory of its own on a free port of loopback. `settings` are further keys of the
    configuration, as YAML text; None removes one. `scenario` may be the YAML text of one."""

    def __init__(self, machines="fake", scenario="instant", speed=1, settings=None, directory=None, image=None, recorded=True):
        self.own_directory = directory is None
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="hearth-ec2-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        self.config = self.dir / "ec2.yaml"
        self.log = self.dir / "hearth-ec2.log"
        self.machines, self.image = machines, image
        self.port = free_port()
        self.process = None
        self.clients = {}
        self.settings = {"listen": f"127.0.0.1:{self.port}", "state": self.state,
                         "credentials": f"[{{access_key_id: {KEY}, secret_access_key: {SECRET}}}]",
                         "machines": machines, "speed": speed, **(settings or {})}
        if machines == "local":
            self.settings.setdefault("runtime", self.dir / "run")
        if "\n" in scenario or ":" in scenario:
            (self.dir / "scenario.yaml").write_text(scenario)
            scenario = self.dir / "scenario.yaml"
        self.settings.setdefault("scenario", scenario)
        self.write_config()
        self.proxy = None
        if RECORD and recorded:
            from aws_proxy import Recorder

            self.proxy = Recorder("127.0.0.1", self.port, RECORD)

    @property
    def url(self):
        """What clients are told; the tests' own bare requests go to `port`."""
        return f"http://127.0.0.1:{self.proxy.port if self.proxy else self.port}"

    def write_config(self, text=None):
        if text is None:
            text = "".join(f"{k}: {v}\n" for k, v in self.settings.items() if v is not None)
        self.config.write_text(text)
        self.config.chmod(0o600)

    def place_image(self):
        if self.image is not None:
            image_cache.place(self.image, self.state)

    def spawn(self, *args, **kwargs):
        self.place_image()
        if self.machines == "local":
            (self.dir / "run").mkdir(mode=0o755, exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program("hearth-ec2"), "--config", str(self.config), *args],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, **kwargs)
        return self.process

    def start(self, seconds=20, **kwargs):
        self.spawn(**kwargs)
        wait_for(self.answers_or_ended, seconds, message=lambda: "hearth-ec2 does not answer:\n" + self.log_text())
        assert self.process.poll() is None, "hearth-ec2 has ended:\n" + self.log_text()
        return self

    def answers_or_ended(self):
        """Any reply will do: an unsigned request gets an error."""
        if self.process.poll() is not None:
            return True
        try:
            return self.raw(b"Action=DescribeRegions&Version=2016-11-15", timeout=5).status != 0
        except OSError:
            return False

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check(self, *args):
        """hearth-ec2 --check on the configuration as it stands."""
        return subprocess.run([program("hearth-ec2"), "--config", str(self.config), *(args or ["--check"])],
                              capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)

    # --- clients

    def client(self, service="ec2", region=REGION, key=KEY, secret=SECRET, token=None, attempts=1, **config):
        """A boto3 client that, unless told, tries once only."""
        import boto3
        from botocore.config import Config

        wanted = (service, region, key, secret, token, attempts, json.dumps(config, sort_keys=True))
        if wanted not in self.clients:
            session = boto3.session.Session()
            client = session.client(
                service, region_name=region, endpoint_url=self.url, aws_access_key_id=key, aws_secret_access_key=secret,
                aws_session_token=token, config=Config(retries={"total_max_attempts": attempts, "mode": "standard"},
                                                       connect_timeout=10, read_timeout=60, **config))
            self.clients[wanted] = client
        return self.clients[wanted]

    @property
    def ec2(self):
        return self.client()

    def aws(self, *args, region=REGION, key=KEY, secret=SECRET, check=True, env=None, timeout=120):
        """`aws --endpoint-url … ARGS`; fails unless `check` is False or it worked."""
        p = subprocess.run([AWS_CLI, "--endpoint-url", self.url, *map(str, args)], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=timeout,
                           env={**client_environment(self.dir, key, secret, region), **(env or {})})
        done = Done(p)
        assert not check or done.status == 0, f"aws {' '.join(map(str, args))}: {done}"
        return done

    def raw(self, body=b"", headers=None, method="POST", path="/", timeout=30):
        """A request as it is, unsigned unless `headers` say otherwise."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            c.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                                           **(headers or {})})
            r = c.getresponse()
            return Wire(r.status, r.getheaders(), r.read())
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            return Wire(0, [], b"")
        finally:
            c.close()

    def sign(self, body, region=REGION, key=KEY, secret=SECRET, service="ec2", token=None, at=None, headers=None,
             method="POST", path="/"):
        """The headers of a request signed by botocore, at another time than now where `at` (UTC) is given."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        from unittest import mock

        request = AWSRequest(method, f"http://127.0.0.1:{self.port}{path}", data=body, headers={
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8", **(headers or {})})
        now = at or datetime.datetime.utcnow()
        with mock.patch("botocore.auth.datetime") as clock:
            clock.datetime.utcnow.return_value = now
            SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
        return dict(request.headers.items())

    def query(self, action, params=None, version="2016-11-15", **how):
        """A signed Query call of any parameters, past botocore's own checks."""
        pairs = params.items() if isinstance(params, dict) else params or []
        body = urllib.parse.urlencode([("Action", action), ("Version", version), *pairs]).encode()
        return self.raw(body, self.sign(body, **how))

    # --- the end

    def stop(self, seconds=15):
        """SIGTERM; returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("hearth-ec2 did not end on SIGTERM:\n" + self.log_text()) from None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for c in self.clients.values():  # what they have kept open leads nowhere; a proxy would not tell them
            c._endpoint.http_session.close()

    def teardown(self):
        """Ends every local machine and puts the host back."""
        return subprocess.run([program("hearth-ec2"), "--config", str(self.config), "--teardown"], capture_output=True,
                              text=True, timeout=120, check=False)

    def close(self):
        for c in self.clients.values():
            c.close()
        self.clients.clear()
        done = None
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            if self.proxy is not None:
                self.proxy.close()
            if self.machines == "local" and os.geteuid() == 0 and self.state.exists():
                done = self.teardown()
            if self.own_directory:
                shutil.rmtree(self.dir, ignore_errors=True)
        if done is not None and done.returncode != 0:
            raise AssertionError(f"teardown failed: {done.stderr}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
