#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# test.sh: a seeded sample of everything, at most 15 minutes on two cores; with HEARTH_SOAK=1 everything, as long as it
# takes: the whole lint, ThreadSanitizer, the fuzzers and a Debian in a virtual machine too, with the result in
# docs/soak.txt. HEARTH_TEST_SEED=N repeats a sample. What a step printed stays in build-test/results/. The last line
# adds up what passed, failed and was skipped, over all steps.
. "$(dirname "$0")/lib.sh"

soak=${HEARTH_SOAK:-0}
seed=${HEARTH_TEST_SEED:-$(date +%s)}
export HEARTH_TEST_SEED="$seed" PYTHONDONTWRITEBYTECODE=1
if [ "$soak" = 1 ]; then export HEARTH_SOAK=1; else unset HEARTH_SOAK; fi # tests ask whether it is set
# Debian's, for which the test packages are; a python3 in front of it on PATH need not have them.
python=/usr/bin/python3
passed=0 failed=0 skipped=0
results=build-test/results
began=$(date +%s)

# count NAME PASSED FAILED SKIPPED
count()
{
	passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
	line=$(printf '%-28s %5d passed %3d failed %3d skipped' "$1" "$2" "$3" "$4")
	say "$line   ($(($(date +%s) - began)) s in all)"
	say "$line" >>$results/summary.txt
}

# number FILE WORDS: the number behind "WORDS:" in meson's summary.
number()
{
	n=$(sed -n "s/^$2: *\([0-9]\{1,\}\).*/\1/p" "$1" | tail -n 1)
	say "${n:-0}"
}

# run_meson NAME DIR [SUITE...]
run_meson()
{
	name=$1 dir=$2
	shift 2
	out=$results/$name.txt
	suites=
	for s in "$@"; do suites="$suites --suite $s"; done
	status=0
	# shellcheck disable=SC2086
	meson test -C "$dir" --no-rebuild --print-errorlogs --timeout-multiplier "${multiplier:-3}" $suites >"$out" 2>&1 || status=$?
	bad=$(($(number "$out" Fail) + $(number "$out" Timeout) + $(number "$out" 'Unexpected Pass')))
	good=$(($(number "$out" Ok) + $(number "$out" 'Expected Fail')))
	[ $good -gt 0 ] || bad=$((bad + 1)) # a suite in which nothing passed has not run
	[ $status = 0 ] || [ $bad -gt 0 ] || bad=1
	[ $bad = 0 ] || cat "$out"
	count "$name" $good $bad "$(number "$out" Skipped)"
}

# word FILE WORD: the number in front of WORD in pytest's last line.
word()
{
	n=$(tail -n 1 "$1" | sed -n "s/.*[^0-9]\([0-9]\{1,\}\) $2.*/\1/p; s/^\([0-9]\{1,\}\) $2.*/\1/p" | head -n 1)
	say "${n:-0}"
}

run_pytest()
{
	out=$results/e2e.txt
	status=0
	# every reply of every EC2 endpoint, checked at the end against AWS's own service model; kept where one is wrong
	rm -rf "$results/aws"
	HEARTH_TEST_SAMPLE=1 HEARTH_AWS_RECORD=$top/$results/aws HEARTH_BUILD=$top/build-test "$python" -m pytest \
	    -p no:cacheprovider -q -rfEs --tb=short --color=no tests/e2e >"$out" 2>&1 || status=$?
	bad=$(($(word "$out" failed) + $(word "$out" error)))
	[ "$status" = 0 ] || [ $bad -gt 0 ] || bad=1
	if [ $bad != 0 ]; then
		cat "$out"
	else
		grep '^SKIPPED\|exchanges with EC2' "$out" || true
		rm -rf "$results/aws"
	fi
	count 'end to end' "$(word "$out" passed)" $bad "$(word "$out" skipped)"
}

# A Debian with its own kernel and systemd, in a virtual machine. It has one processor: beside all the rest.
start_vm()
{
	HEARTH_BUILD=$top/build-test "$python" tests/qemu/soak_vm.py >"$results/vm.txt" 2>&1 &
	vm=$!
}

await_vm()
{
	out=$results/vm.txt
	status=0
	wait "$vm" || status=$?
	vm=
	skip=$(grep -c '^\[[ .0-9]*\] ok - .*# SKIP' "$out") || true
	good=$(($(grep -c '^\[[ .0-9]*\] ok - ' "$out") - skip)) || true
	bad=$(grep -c '^\[[ .0-9]*\] not ok - ' "$out") || true
	[ $status != 77 ] || skip=1
	[ $status = 0 ] || [ $status = 77 ] || [ "$bad" -gt 0 ] || bad=1
	if [ "$bad" != 0 ]; then cat "$out"; else grep '^SKIP' "$out" || true; fi
	count 'virtual Debian' "$good" "$bad" "$skip"
}

run_fuzz()
{
	if tools/fuzz.sh >"$results/fuzz.txt" 2>&1; then
		count fuzz "$(grep -c '^fuzz [a-z_]*: Done' "$results/fuzz.txt")" 0 0
	else
		cat "$results/fuzz.txt"
		count fuzz 0 1 0
	fi
}

# Why: the reasons that end to end and the virtual machine give for what they skip.
reasons()
{
	sed -n 's/^SKIPPED \[\([0-9]*\)\] \(.*\)/end to end: \1: \2/p' "$results/e2e.txt"
	sed -n 's/^\[[ .0-9]*\] # SKIPPED \[\([0-9]*\)\] \(.*\)/virtual Debian: \1: \2/p' "$results/vm.txt"
}

# The result of one soak, which is committed.
write_soak()
{
	{
		say "make soak, $(date -u +%Y-%m-%d), seed $seed, $(uname -sr), $(nproc) cores, commit $(git -c safe.directory="$top" rev-parse --short HEAD)"
		cat "$results/summary.txt"
		say "$passed passed, $failed failed, $skipped skipped in $(($(date +%s) - began)) s"
		say 'skipped, and why:'
		reasons
	} >docs/soak.txt
}

# run_lint NAME [--fast]
run_lint()
{
	name=$1
	shift
	if ! git -c safe.directory="$top" rev-parse --git-dir >/dev/null 2>&1; then
		count "$name" 0 0 1
	elif tools/lint.sh "$@" >"$results/$name.txt" 2>&1; then
		count "$name" 1 0 0
	else
		cat "$results/$name.txt"
		count "$name" 0 1 0
	fi
}

# build NAME DIR [OPTION...]: a failure to build is a failed test, shown with its end.
build()
{
	name=$1
	shift
	if tools/build.sh "$@" >"$results/$name.txt" 2>&1; then
		count "$name" 1 0 0
		return 0
	fi
	tail -n 40 "$results/$name.txt"
	count "$name" 0 1 0
	return 1
}

# What root has written into the build directories is given to their owner, who may want to test without sudo.
total()
{
	if is_root; then
		for dir in build-test build-asan build-tsan; do
			[ ! -d $dir ] || chown -R --reference=. $dir
		done
	fi
	say "$passed passed, $failed failed, $skipped skipped"
}

if is_root; then
	tools/deps.sh build run test
elif ! tools/deps.sh build run test; then
	exit 1
fi
is_root || say "not root: tests with real machines, networks and other users are skipped; 'sudo make test' runs them"
if [ "$soak" = 1 ]; then multiplier=20; fi
as_owner mkdir -p "$results"
: >"$results/summary.txt"
say "HEARTH_TEST_SEED=$seed"
vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null || :; total' EXIT
trap 'exit 130' INT TERM HUP

run_lint lint --fast
if build build-gcc build-test -Dtests=true; then
	[ "$soak" = 0 ] || start_vm
	run_meson unit build-test unit scenario contract layers fuzz qemu
	run_pytest
fi
# Leaks and undefined behaviour: the same code once more, where it can be run fast.
if build build-sanitized build-asan -Dtests=true -Db_sanitize=address,undefined -Db_lundef=false; then
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 run_meson sanitized build-asan unit scenario contract fuzz
fi
if [ "$soak" = 1 ]; then
	if build build-threads build-tsan -Dtests=true -Db_sanitize=thread -Db_lundef=false; then
		# as in a sample: the core has one thread, and a thousand runs at random take hours there
		unset HEARTH_SOAK
		run_meson threads build-tsan unit scenario contract
		export HEARTH_SOAK=1
	fi
	run_lint lint-whole
	run_fuzz
	[ -z "$vm" ] || await_vm
	write_soak
fi
[ $failed = 0 ]
