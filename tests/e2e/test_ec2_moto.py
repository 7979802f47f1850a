# SPDX-License-Identifier: Apache-2.0
"""Goal: what we expect of EC2 holds against a simulator that others wrote, moto, with authentication on: as many of the checks of
test_ec2_cli.py as it can serve, so that these test EC2's rules and not our own reading of them; and hearthd with a pool on it. Needs moto_server
on PATH (Debian has none)."""

import json
import os
import shutil
import subprocess

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

import test_ec2_cli as cli  # noqa: E402
from ec2 import Endpoint  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.3  # of its tests in a sample: see conftest.py

pytestmark = pytest.mark.skipif(not shutil.which("moto_server"), reason="moto_server is not installed")

EVERYTHING = ('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["ec2:*", "sts:*"], "Resource": "*"}]}')


class Moto(Endpoint):
    """moto_server in the place of hearth-ec2, with a user that it knows."""

    def start(self, seconds=60, **_):
        # the calls that make the user are free, all others are not
        env = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3", "AWS_EC2_METADATA_DISABLED": "true"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(self.port)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=env)
        wait_for(self.listens, seconds, every=0.1, message=self.log_text)
        iam = super().client("iam", key="AKIAANYBODY", secret="any")
        iam.create_user(UserName="hearth")
        key = iam.create_access_key(UserName="hearth")["AccessKey"]
        iam.put_user_policy(UserName="hearth", PolicyName="all", PolicyDocument=EVERYTHING)
        self.key, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        return self

    def listens(self):
        import socket
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def client(self, service="ec2", **how):
        return super().client(service, **{"key": self.key, "secret": self.secret, **how})

    def aws(self, *args, **how):
        return super().aws(*args, **{"key": self.key, "secret": self.secret, **how})

    def stop(self, seconds=15):
        """It keeps nothing, and on SIGTERM it waits for every connection that is still open."""
        self.process.kill()
        return self.process.wait(seconds)


@pytest.fixture
def moto():
    m = Moto(machines="none", recorded=False)  # its replies are not ours to answer for
    try:
        yield m.start()
    finally:
        m.close()


def test_authentication_is_on(moto):
    assert cli.code(moto.client(secret="wrong").describe_instances) == "AuthFailure"
    assert cli.code(moto.client(key="AKIANOBODY").describe_instances) == "AuthFailure"


# Not among them, and why (moto 5.2): client tokens are ignored, states change at once, faults and throttling are unknown, most filters
# answer 500, interfaces and devices in use are given away again, hibernation is taken without its conditions, tags of what does not exist and
# images of other regions are taken, interfaces are not tagged by RunInstances, and a key that is none is answered with 500.
@pytest.mark.parametrize("check", [
    cli.test_user_data_comes_back, cli.test_paging, cli.test_waiters, cli.test_addresses_over_stop_and_start, cli.test_a_life_by_aws_cli],
    ids=lambda f: f.__name__)
def test_the_same_checks(moto, check, request, tmp_path):
    wanted = check.__code__.co_varnames[:check.__code__.co_argcount]
    check(*[{"endpoint": moto, "tmp_path": tmp_path}[name] for name in wanted])


def test_hearthd_on_it(moto, daemons):
    """A pool, a reservation, its end, an audit: all by our own client. A pool of one: whatever MaxCount says, moto makes MinCount."""
    ami = cli.image(moto.client(region="us-east-1"))
    d = daemons(providers={"aws": f'{{kind: ec2, region: us-east-1, endpoint: "{moto.url}"}}'},
                pools={"default": f"{{provider: aws, image: {ami}, running: 1, max: 5, readiness: running}}"},
                env={"AWS_ACCESS_KEY_ID": moto.key, "AWS_SECRET_ACCESS_KEY": moto.secret, "AWS_EC2_METADATA_DISABLED": "true"}).start()
    d.fill(seconds=60)
    made = d.reserve().json
    assert made["path"] == "warm" and made["host"]
    ref = json.loads(d.hearth("--json", "machine", "show", made["machine"], check=True).stdout)["provider_ref"]
    d.hearth("cancel", made["id"], check=True)
    wait_for(lambda: d.hearth("audit").returncode == 0, 30, every=0.5, message=lambda: repr(d.hearth("audit")))
    assert cli.state(moto.client(), ref) == "terminated"
    assert moto.secret not in d.log_text()
