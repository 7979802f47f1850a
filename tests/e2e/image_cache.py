# SPDX-License-Identifier: Apache-2.0
"""The machine image, built once per version of src/launcher/build-image and kept between runs."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import time

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILDER = os.path.join(SOURCE, "src/launcher/build-image")
CACHE = "/var/tmp/hearth-test-image"
DAY = 24 * 3600


def image():
    """Path of the image's root. Takes half a minute the first time; needs root. Do not write there."""
    with open(BUILDER, "rb") as f:
        version = hashlib.sha256(f.read()).hexdigest()[:16]
    root = os.path.join(CACHE, version, "root")
    os.makedirs(CACHE, mode=0o755, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(root):
            _sweep()
            _build(root)
    return root


def place(root, state):
    """An image built before, where a daemon with that state finds it: a tree of hard links where that is possible. None where there
    is one."""
    target = pathlib.Path(state) / "images" / "debian"
    if target.exists():
        return
    target.mkdir(parents=True)
    pathlib.Path(state).chmod(0o755)
    version = target / "20260101T000000Z"
    if subprocess.run(["cp", "-al", str(root), str(version)], capture_output=True, check=False).returncode != 0:
        shutil.rmtree(version, ignore_errors=True)
        subprocess.run(["cp", "-a", str(root), str(version)], check=True)
    (target / "current").symlink_to(version.name)


def build_log():
    """What the builder printed when it made image(), and the seconds it took as the last line."""
    with open(os.path.join(os.path.dirname(image()), "log")) as f:
        return f.read().splitlines()


def _build(root):
    made = root + ".new"
    shutil.rmtree(os.path.dirname(root), ignore_errors=True)
    os.makedirs(os.path.dirname(root))
    start = time.monotonic()
    out = subprocess.run([BUILDER, made, "debian"], capture_output=True, text=True)
    if out.returncode != 0:
        shutil.rmtree(made, ignore_errors=True)
        raise RuntimeError("build-image: " + out.stderr)
    with open(os.path.join(os.path.dirname(root), "log"), "w") as f:
        f.write(out.stdout + "%.1f\n" % (time.monotonic() - start))
    os.rename(made, root)


def _sweep():
    """Old versions, unless somebody else may be running tests of another checkout with them."""
    for name in os.listdir(CACHE):
        path = os.path.join(CACHE, name)
        if os.path.isdir(path) and time.time() - os.stat(path).st_mtime > DAY:
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    print(image())
