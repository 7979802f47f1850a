# SPDX-License-Identifier: Apache-2.0
# What the other scripts share; to be sourced, with the current directory anywhere.
# shellcheck shell=sh

set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

# For the tests, which must not touch an installation: $HEARTH_BUILD, $HEARTH_CONFIG, $HEARTH_LOG, and the same of
# what quickstart-ec2 starts.
build=${HEARTH_BUILD:-build}
CONFIG=${HEARTH_CONFIG:-/etc/hearth/hearth.yaml}
LOG=${HEARTH_LOG:-/var/log/hearth.log}
EC2_CONFIG=${HEARTH_EC2_CONFIG:-/etc/hearth/ec2.yaml}
EC2_LOG=${HEARTH_EC2_LOG:-/var/log/hearth-ec2.log}
ON_EC2_CONFIG=${HEARTH_ON_EC2_CONFIG:-/etc/hearth/hearth-on-ec2.yaml}
ON_EC2_LOG=${HEARTH_ON_EC2_LOG:-/var/log/hearth-on-ec2.log}

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

# binary DAEMON: hearthd or hearth-ec2, as built.
binary()
{
	case $1 in
	hearthd) say "$build/src/daemon/hearthd" ;;
	*) say "$build/src/ec2/$1" ;;
	esac
}

# setting DAEMON CONFIG KEY: a setting in force, as the daemon itself reads the configuration.
setting()
{
	"$(binary "$1")" --config "$2" --check | sed -n "s/^$3: //p"
}

# daemon_pid DAEMON RUNTIME: the process that was started there, or nothing. The file may be old: only a process of
# that name counts, and a zombie has ended.
daemon_pid()
{
	pid=$(cat "$2/$1.pid" 2>/dev/null) || return 1
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] || return 1
	! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null || return 1
	say "$pid"
}

# end_daemon DAEMON RUNTIME: asks it to end, and makes it end after ten seconds.
end_daemon()
{
	pid=$(daemon_pid "$1" "$2") || return 0
	kill "$pid"
	for i in $(seq 150); do
		daemon_pid "$1" "$2" >/dev/null || return 0
		[ "$i" != 100 ] || kill -9 "$pid" 2>/dev/null || true
		sleep 0.1
	done
	return 1
}

make_user()
{
	! getent passwd hearth >/dev/null || return 0
	useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin \
	    --comment 'hearth daemon' hearth
	say 'made the system user hearth, whom hearthd serves as'
}

# make_config FILE SAMPLE: writes FILE unless it is there.
make_config()
{
	[ ! -e "$1" ] || return 0
	mkdir -p "$(dirname "$1")"
	cp "contrib/$2" "$1"
	say "wrote $1"
}

# The endpoint's, readable by root alone, with a key pair that no other host has.
make_ec2_config()
{
	[ ! -e "$EC2_CONFIG" ] || return 0
	mkdir -p "$(dirname "$EC2_CONFIG")"
	(
		umask 077
		sed -e "s/AKIAEXAMPLE/AKIA$(random_hex 8 | tr a-f A-F)/" -e "s/: secret}/: $(random_hex 20)}/" \
		    contrib/hearth-ec2.yaml >"$EC2_CONFIG"
	)
	say "wrote $EC2_CONFIG, with a new key pair"
}

# random_hex N: N random bytes.
random_hex()
{
	od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}
