# SPDX-License-Identifier: Apache-2.0
# What the other scripts share; to be sourced, with the current directory anywhere.
# shellcheck shell=sh

set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

# For the tests, which must not touch an installation: $HEARTH_BUILD, $HEARTH_CONFIG, $HEARTH_LOG.
build=${HEARTH_BUILD:-build}
CONFIG=${HEARTH_CONFIG:-/etc/hearth/hearth.yaml}
LOG=${HEARTH_LOG:-/var/log/hearth.log}

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf 'make: %s\n' "$*" >&2
	exit 1
}

is_root()
{
	[ "$(id -u)" = 0 ]
}

need_root()
{
	is_root || die "$1 needs root; run 'sudo make $1'"
}

# Runs a command as the user who owns the source tree, so that a build under sudo leaves nothing there
# that its owner could not remove.
as_owner()
{
	owner=$(stat -c %u .)
	group=$(stat -c %g .)
	if is_root && [ "$owner" != 0 ]; then
		home=$(getent passwd "$owner" | cut -d: -f6)
		setpriv --reuid="$owner" --regid="$group" --clear-groups env HOME="${home:-/}" "$@"
	else
		"$@"
	fi
}

# as_invoker COMMAND...: as the user who typed sudo, in their own home.
as_invoker()
{
	if is_root && [ "${SUDO_UID:-0}" != 0 ]; then
		home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
		invoker=$(getent passwd "$SUDO_UID" | cut -d: -f1)
		setpriv --reuid="$SUDO_UID" --regid="${SUDO_GID:-$SUDO_UID}" --init-groups \
		    env HOME="${home:-/}" USER="$invoker" LOGNAME="$invoker" "$@"
	else
		"$@"
	fi
}

# setting KEY: a setting in force, as hearthd itself reads the configuration.
setting()
{
	"$build"/src/daemon/hearthd --config "$CONFIG" --check | sed -n "s/^$1: //p"
}
