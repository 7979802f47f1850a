#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# build.sh DIR [MESON-OPTION...]: sets the build directory up where it is not there, and builds. Without
# tests unless told otherwise: a newcomer waits for nothing that is not used.
. "$(dirname "$0")/lib.sh"

dir=${1:-build}
[ $# -eq 0 ] || shift
tools/deps.sh build
[ $# -gt 0 ] || set -- -Dtests=false
if [ ! -f "$dir/build.ninja" ]; then
	log=$(mktemp)
	as_owner meson setup "$dir" "$@" >"$log" 2>&1 || {
		cat "$log" >&2
		rm -f "$log"
		die "meson could not set up $dir"
	}
	rm -f "$log"
fi
if [ -t 1 ]; then
	as_owner ninja -C "$dir"
else
	as_owner ninja --quiet -C "$dir"
fi
