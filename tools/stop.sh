#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Ends hearthd and every machine, and leaves no process, mount, namespace, interface, firewall rule or cgroup
# of theirs behind. Image and database stay, so that the next start takes seconds; --purge removes them, too.
. "$(dirname "$0")/lib.sh"

purge=false
[ "${1:-}" != --purge ] || purge=true
if $purge; then need_root purge; else need_root stop; fi

installed()
{
	command -v systemctl >/dev/null && [ -d /run/systemd/system ] && systemctl is-active --quiet hearthd
}

# The pid file may be old: only a hearthd is ended, and only the one that it names.
stop_daemon()
{
	pid=$(cat "$runtime/hearthd.pid" 2>/dev/null) || return 0
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = hearthd ] || return 0
	kill "$pid"
	for i in $(seq 150); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = hearthd ] || break
		grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null && break
		[ "$i" != 100 ] || kill -9 "$pid" 2>/dev/null || true
		sleep 0.1
	done
	say "hearthd (pid $pid) has ended"
}

if [ -x "$build/src/daemon/hearthd" ] && [ -e "$CONFIG" ] && state=$(setting state) && [ -n "$state" ]; then
	runtime=$(setting runtime)
	socket=$(setting socket)
else
	state=/var/lib/hearth runtime=/run/hearth socket=/run/hearth/hearth.sock
fi
launcher=$build/src/launcher/hearth-launcher
[ -x "$launcher" ] || launcher=$(ls /usr/libexec/hearth/hearth-launcher /usr/local/libexec/hearth/hearth-launcher 2>/dev/null |
    head -n 1) || true

! installed || systemctl stop hearthd
stop_daemon
if [ -d "$state" ]; then
	[ -n "$launcher" ] || die "hearth-launcher is neither built nor installed; 'make' builds it"
	"$launcher" --teardown --state "$state" --runtime "$runtime"
	say 'every machine has ended, and the host is as it was'
fi
rm -f "$socket" "$runtime/launcher.sock" "$runtime/hearthd.lock" "$runtime/hearthd.pid"
[ ! -d "$runtime/machines" ] || rmdir "$runtime/machines"
[ ! -d "$runtime" ] || rmdir "$runtime" 2>/dev/null || true
if $purge; then
	rm -rf "$state" "$LOG"
	rm -f "$CONFIG"
	rmdir "$(dirname "$CONFIG")" 2>/dev/null || true
	if getent passwd hearth >/dev/null && [ ! -e /usr/lib/sysusers.d/hearth.conf ] &&
	    [ ! -e /usr/local/lib/sysusers.d/hearth.conf ]; then
		userdel hearth
	fi
	say 'those files are gone, too'
else
	say "kept: $state (image, database), $CONFIG, $LOG; 'sudo make purge' removes them"
fi
