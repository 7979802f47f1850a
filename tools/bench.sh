#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# bench.sh [SECTION...] [--check] [--write]: builds, and measures what the README promises; what there is to say is
# in tests/bench/bench.py and docs/bench.md. As root: with real machines, too.
. "$(dirname "$0")/lib.sh"

tools/deps.sh build run test
as_owner mkdir -p build-test
tools/build.sh build-test -Dtests=true
export HEARTH_BUILD="$top/build-test" PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 tests/bench/bench.py "$@"
