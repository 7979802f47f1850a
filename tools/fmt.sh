#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fmt.sh [--check]: clang-format 14 over all C, as .clang-format says; --check changes nothing.
. "$(dirname "$0")/lib.sh"

format=$(command -v clang-format-14) || die "clang-format-14 is missing; apt-get install clang-format-14"
[ "${1:-}" = --check ] && set -- --dry-run --Werror || set -- -i
files=$(git -c safe.directory="$top" ls-files '*.c' '*.h')
[ -n "$files" ] || die 'there is no C here to format'
# shellcheck disable=SC2086
"$format" "$@" $files
