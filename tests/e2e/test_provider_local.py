# SPDX-License-Identifier: Apache-2.0
"""The contract suite that every provider passes (tests/contract/test_provider.c), run against the local one: a real
launcher and real machines."""

import os
import subprocess
import tempfile

import pytest

import image_cache
from launcher_client import BUILD
from patience import PATIENCE


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes machines")
def test_the_local_provider_keeps_the_contract():
    with tempfile.TemporaryDirectory(prefix="hearth-contract-", dir="/var/tmp") as state:
        os.chmod(state, 0o755)
        os.makedirs(state + "/images/debian")
        subprocess.run(["cp", "-al", image_cache.image(), state + "/images/debian/v1"], check=True)
        os.symlink("v1", state + "/images/debian/current")
        env = dict(os.environ, PROVIDER="local", HEARTH_TEST_STATE=state,
                   HEARTH_LAUNCHER=os.path.join(BUILD, "src/launcher/hearth-launcher"),
                   HEARTH_INIT=os.path.join(BUILD, "src/init/hearth-init"))
        out = subprocess.run([os.path.join(BUILD, "tests/contract/test_provider")], env=env, text=True,
                             capture_output=True, timeout=200 * PATIENCE)
        assert out.returncode == 0, out.stdout + out.stderr
        assert "PASSED" in out.stdout + out.stderr
        assert os.listdir(state + "/machines") == os.listdir(state + "/slots") == []
