#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fuzzes every parser for FUZZ_SECONDS each (60), with ASan and UBSan, from its corpus. What crashes stays in
# build-fuzz/ and its name is printed.
. "$(dirname "$0")/lib.sh"

tools/deps.sh build test fuzz
CC=clang tools/build.sh build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
failed=0
for target in build-fuzz/tests/fuzz/fuzz_*; do
	[ -x "$target" ] && [ ! -d "$target" ] || continue
	name=${target##*/fuzz_}
	mkdir -p "build-fuzz/corpus/$name"
	log=build-fuzz/fuzz-$name.txt
	if "$target" -max_total_time="${FUZZ_SECONDS:-60}" -artifact_prefix="build-fuzz/crash-$name-" \
	    "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
		say "fuzz $name: $(tail -n 1 "$log")"
	else
		tail -n 40 "$log"
		failed=1
	fi
done
[ $failed = 0 ] || die 'a parser failed; the input is in build-fuzz/crash-*'
say 'fuzz: nothing found'
