#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Ends hearthd, hearth-ec2 and every machine, and leaves no process, mount, namespace, interface, firewall rule or
# cgroup of theirs behind. Images and databases stay, so that the next start takes seconds; --purge removes them, too.
. "$(dirname "$0")/lib.sh"

purge=false
[ "${1:-}" != --purge ] || purge=true
if $purge; then need_root purge; else need_root stop; fi

launcher=$build/src/launcher/hearth-launcher
[ -x "$launcher" ] || launcher=$(ls /usr/libexec/hearth/hearth-launcher /usr/local/libexec/hearth/hearth-launcher 2>/dev/null |
    head -n 1) || true

# stop DAEMON CONFIG LOG STATE RUNTIME: the last two are what an installed one uses, and are taken where the
# configuration cannot be asked.
stop()
{
	state=$4 runtime=$5
	if [ -x "$(binary "$1")" ] && [ -e "$2" ] && asked=$(setting "$1" "$2" state) && [ -n "$asked" ]; then
		state=$asked
		runtime=$(setting "$1" "$2" runtime)
	fi
	if [ -d /run/systemd/system ] && [ "$state" = "$4" ] && systemctl is-active --quiet "$1"; then
		systemctl stop "$1"
	fi
	if pid=$(daemon_pid "$1" "$runtime"); then
		end_daemon "$1" "$runtime" || die "$1 (pid $pid) does not end; see $3"
		say "$1 (pid $pid) has ended"
	fi
	if [ -d "$state" ]; then
		[ -n "$launcher" ] || die "hearth-launcher is neither built nor installed; 'make' builds it"
		"$launcher" --teardown --state "$state" --runtime "$runtime"
		stopped="$stopped $state"
	fi
	rm -f "$runtime"/*.sock "$runtime"/*.lock "$runtime/$1.pid"
	[ ! -d "$runtime/machines" ] || rmdir "$runtime/machines"
	[ ! -d "$runtime" ] || rmdir "$runtime" 2>/dev/null || true
	if $purge; then
		rm -rf "$state" "$3"
		rm -f "$2"
		rmdir "$(dirname "$2")" 2>/dev/null || true
	elif [ -e "$2" ]; then
		kept="$kept $state (images, database), $2, $3;"
	fi
}

stopped=
kept=
stop hearthd "$CONFIG" "$LOG" /var/lib/hearth /run/hearth
stop hearthd "$ON_EC2_CONFIG" "$ON_EC2_LOG" /var/lib/hearth-on-ec2 /run/hearth-on-ec2
stop hearth-ec2 "$EC2_CONFIG" "$EC2_LOG" /var/lib/hearth-ec2 /run/hearth-ec2
[ -z "$stopped" ] || say 'every machine has ended, and the host is as it was'
if $purge; then
	if getent passwd hearth >/dev/null && [ ! -e /usr/lib/sysusers.d/hearth.conf ] &&
	    [ ! -e /usr/local/lib/sysusers.d/hearth.conf ]; then
		userdel hearth
	fi
	say 'their files are gone, too'
elif [ -n "$kept" ]; then
	say "kept:$kept 'sudo make purge' removes them"
fi
