#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# bench.sh [SECTION...] [--check] [--write]: builds as `make` does, and measures what the README promises; --help says what the
# sections are and how long each takes, docs/bench.md how it is done. As root with real machines, else with fake ones.
. "$(dirname "$0")/lib.sh"

case " $* " in
*' --help '* | *' -h '*) exec /usr/bin/python3 -B tests/bench/bench.py --help ;;
esac
tools/deps.sh build run test
tools/build.sh build-bench -Dtests=true
HEARTH_BUILD=$top/build-bench PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 tests/bench/bench.py "$@"
