#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# lint.sh [--fast]: what STYLE.md asks and a machine can check. --fast (in every `make test`) leaves clang-tidy out.
# Says every finding before it fails.
. "$(dirname "$0")/lib.sh"

fast=false
[ "${1:-}" != --fast ] || fast=true
$fast || tools/deps.sh build lint
failed=0
list()
{
	git -c safe.directory="$top" ls-files "$@"
}

fail()
{
	printf 'lint: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/    /' >&2
	failed=1
}

# expect_none WHAT FOUND
expect_none()
{
	[ -z "$2" ] || fail "$1" "$2"
}

c_files=$(list '*.c' '*.h')
[ "$(say "$c_files" | wc -l)" -gt 20 ] || die 'lint: hardly any file was found: not a git work tree?'

# shellcheck disable=SC2086
banned()
{
	grep -nwE '(atoi|atol|atoll|atof|sscanf|strtok|strtok_r|strncpy|sprintf|vsprintf|gets|system|popen|alloca|tmpnam|mktemp) *\(' \
	    $(say "$c_files" | grep '^src/') | grep -vE ':[[:space:]]*(\*|/\*|//)' || true
}

without_spdx()
{
	for f in $c_files $(list '*.sh' '*.py' 'Makefile' '.ci/*' 'src/launcher/build-image'); do
		[ ! -s "$f" ] || head -n 3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || say "$f"
	done
}

headers_without_purpose()
{
	for f in $(list 'src/*.h'); do
		sed -n '2,12p' "$f" | grep -q '/\*' || say "$f"
	done
}

too_long()
{
	for f in $(list 'src/*.c' 'src/*.h'); do
		n=$(wc -l <"$f")
		[ "$n" -le 800 ] || say "$f: $n lines"
	done
}

guards()
{
	for f in $(list 'src/*.h'); do
		guard=$(say "${f#src/}" | tr 'a-z/.-' 'A-Z___')
		grep -q "^#ifndef $guard\$" "$f" || say "$f: expected the guard $guard"
	done
}

expect_none 'functions that STYLE.md bans' "$(banned)"
expect_none 'files without an SPDX line' "$(without_spdx)"
expect_none 'headers that do not say what they are for' "$(headers_without_purpose)"
expect_none 'files over 800 lines' "$(too_long)"
expect_none 'include guards' "$(guards)"
# shellcheck disable=SC2046
expect_none 'blanks at the end of a line' \
    "$(grep -nIE '[[:blank:]]+$' $(list | grep -vE '^(tests/(fuzz/corpus|vectors)/|LICENSE)') || true)"
expect_none 'notes to self' "$(grep -nwE 'TODO|FIXME|XXX' $c_files || true)"
if command -v clang-format-14 >/dev/null; then
	out=$(tools/fmt.sh --check 2>&1) || fail "clang-format: 'make fmt' mends it" \
	    "$(say "$out" | grep 'clang-format-violations' | cut -d: -f1 | sort | uniq -c)"
else
	say 'lint: skipped: clang-format-14 is not installed'
fi
for f in $(list '*.sh') .ci/run; do
	case $f in
	.ci/run) bash -n "$f" || fail "$f" ;;
	*) sh -n "$f" || fail "$f" ;;
	esac
done

if ! $fast; then
	tools/build.sh build-test -Dtests=true -Dwerror=true
	# shellcheck disable=SC2046
	clang-tidy-14 -p build-test --quiet --warnings-as-errors='*' $(list 'src/*.c' | grep -v '^src/init/') \
	    >/tmp/hearth-tidy.$$ 2>/dev/null || fail clang-tidy "$(grep -E 'error|warning' /tmp/hearth-tidy.$$ || true)"
	rm -f /tmp/hearth-tidy.$$
fi
[ $failed = 0 ] || exit 1
say 'lint: in order'
