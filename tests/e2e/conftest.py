# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all end-to-end tests. HEARTH_TEST_SEED chooses the sample (random unless given; it is printed), and
HEARTH_SOAK=1 runs everything instead of a sample. With HEARTH_TEST_SAMPLE=1, as `make test` has it, modules that
take minutes run a share of their tests: SHARE says which."""

import os
import random
import signal
import time

import pytest

from patience import PATIENCE

SEED = int(os.environ.get("HEARTH_TEST_SEED") or time.time_ns() % 1000000)
SOAK = os.environ.get("HEARTH_SOAK") == "1"
TEST_SECONDS = 3600 if SOAK else 180


def pytest_configure(config):
    # A shell's background jobs ignore it, and so would every program that is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "soak: only where HEARTH_SOAK=1")
    config.addinivalue_line("markers", "root: needs root")
    config.addinivalue_line("markers", "seconds(n): may take that long")


def pytest_report_header(config):
    return f"HEARTH_TEST_SEED={SEED}" + (", soak" if SOAK else ", a sample: HEARTH_SOAK=1 runs all")


def sampled_out(items):
    """Of each module that names its SHARE: all but a seeded choice of that share, one at least."""
    modules = {}
    for item in items:
        if getattr(item.module, "SHARE", 1) < 1:
            modules.setdefault(item.module, []).append(item)
    out = set()
    for module, of in sorted(modules.items(), key=lambda pair: pair[0].__name__):
        keep = max(1, round(module.SHARE * len(of)))
        out |= set(of) - set(random.Random(f"{SEED}/{module.__name__}").sample(of, min(keep, len(of))))
    return out


def pytest_collection_modifyitems(config, items):
    if os.environ.get("HEARTH_TEST_SAMPLE") == "1" and not SOAK:
        out = sampled_out(items)
        config.hook.pytest_deselected(items=[i for i in items if i in out])
        items[:] = [i for i in items if i not in out]
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("soak") and not SOAK:
            item.add_marker(pytest.mark.skip(reason="soak only"))


def pytest_sessionfinish(session, exitstatus):
    """HEARTH_AWS_RECORD=DIR: all that EC2 endpoints were asked and answered is held against AWS's own service model."""
    directory = os.environ.get("HEARTH_AWS_RECORD")
    if not directory or exitstatus not in (0, 1):
        return
    import aws_model

    n, faults = aws_model.check_directory(directory)
    print(f"\n{n} exchanges with EC2 endpoints, {len(faults)} kinds of faults against AWS's service model")
    for fault, (times, first) in sorted(faults.items()):
        print(f"  {times} times, first in {first}: {fault}")
    if faults:
        session.exitstatus = 1


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test that hangs fails, and its fixtures clean up."""
    marker = item.get_closest_marker("seconds")
    seconds = (marker.args[0] if marker else TEST_SECONDS) * PATIENCE

    def expired(*_):
        raise TimeoutError(f"the test took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def soak():
    return SOAK


@pytest.fixture
def rng(request):
    """Random numbers of this test's own: the same for the same seed, whatever other tests run."""
    return random.Random(f"{SEED}/{request.node.nodeid}")


@pytest.fixture
def sample(rng):
    """sample(cases, n): n of them in their order, or all of them in a soak."""

    def choose(cases, n):
        cases = list(cases)
        return cases if SOAK or n >= len(cases) else [cases[i] for i in sorted(rng.sample(range(len(cases)), n))]

    return choose


@pytest.fixture
def daemons():
    """daemons(...) makes a Daemon (see hearth.py) that is closed at the test's end, whatever happens."""
    from hearth import Daemon

    made = []

    def make(*args, **kwargs):
        made.append(Daemon(*args, **kwargs))
        return made[-1]

    yield make
    errors = []
    for d in reversed(made):
        try:
            d.close()
        except Exception as e:  # close the others, too
            errors.append(e)
    if errors:
        raise errors[0]


@pytest.fixture
def daemon(daemons):
    """A running hearthd with one pool `default` of two fake machines, filled."""
    d = daemons().start()
    d.fill()
    return d


@pytest.fixture
def local_daemon(daemons):
    """A running hearthd with one pool `default` of two real machines, filled; as root only."""
    if os.geteuid() != 0:
        pytest.skip("real machines need root")
    from image_cache import image

    d = daemons(providers={"here": "{kind: local, network: 10.77.0.0/16, uid_base: 300000000}"},
                pools={"default": "{provider: here, image: debian, running: 2, max: 20}"}, image=image()).start()
    d.fill(seconds=60)
    return d


@pytest.fixture
def endpoints():
    """endpoints(...) makes an Endpoint (see ec2.py) that is closed at the test's end, whatever happens."""
    pytest.importorskip("boto3", reason="needs python3-boto3")
    from ec2 import Endpoint

    made = []

    def make(*args, **kwargs):
        made.append(Endpoint(*args, **kwargs))
        return made[-1]

    yield make
    errors = []
    for e in reversed(made):
        try:
            e.close()
        except Exception as error:  # close the others, too
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def endpoint(endpoints):
    """A running hearth-ec2 with fake machines that take no time."""
    return endpoints().start()
