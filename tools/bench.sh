#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures an optimized build; see tests/bench/bench.py. As root with real machines, else with fake ones.
. "$(dirname "$0")/lib.sh"

tools/deps.sh build run test
tools/build.sh build-bench -Dtests=true --buildtype=release
HEARTH_BUILD=$top/build-bench PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 tests/bench/bench.py "$@"
