#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# bench.sh [SECTION...] [--check] [--write]: builds as `make` does, and measures what the README promises; see
# tests/bench/bench.py and docs/bench.md. As root with real machines, else with fake ones.
. "$(dirname "$0")/lib.sh"

tools/deps.sh build run test
tools/build.sh build-bench -Dtests=true
HEARTH_BUILD=$top/build-bench PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 tests/bench/bench.py "$@"
