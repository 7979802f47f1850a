#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# From a fresh clone to a shell in a machine: installs, builds, starts hearthd, waits until the pool is full,
# reserves a machine and logs in. Everything is left running; stop.sh ends it. A second run takes seconds.
. "$(dirname "$0")/lib.sh"

need_root quickstart
hearth=$build/src/cli/hearth
name=hello

step()
{
	printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi
}

# value KEY: the first string or number under "KEY" of a JSON document on stdin. There is no JSON parser on a
# fresh Debian; this one is good for what hearth prints and nothing else.
value()
{
	tr -d '\n' | sed 's/[,{] *"/\n"/g' |
	    sed -n 's/^"'"$1"'": *\("\(\([^"\\]\|\\.\)*\)"\|\(-\{0,1\}[0-9.]\{1,\}\)\).*/\2\4/p' |
	    head -n 1 | sed 's/\\"/"/g; s/\\\\/\\/g'
}

make_user()
{
	[ "$(setting user)" = hearth ] && ! getent passwd hearth >/dev/null || return 0
	useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin \
	    --comment 'hearth daemon' hearth
	say 'made the system user hearth, whom hearthd serves as'
}

make_config()
{
	[ -e "$CONFIG" ] && return 0
	mkdir -p "$(dirname "$CONFIG")"
	cp contrib/hearth.yaml "$CONFIG"
	say "wrote $CONFIG"
}

# Runs and is the program that was just built.
is_current()
{
	pid=$(cat "$runtime/hearthd.pid" 2>/dev/null) || return 1
	[ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$(realpath "$build/src/daemon/hearthd")" ]
}

is_ours()
{
	pid=$(cat "$runtime/hearthd.pid" 2>/dev/null) || return 1
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = hearthd ]
}

answers()
{
	"$hearth" --socket "$socket" pool list >/dev/null 2>&1
}

start()
{
	if is_current && answers; then
		say "hearthd runs already (pid $pid)"
		kill -HUP "$pid"
		return 0
	fi
	if is_ours; then
		say "replacing the running hearthd (pid $pid); its machines stay"
		kill "$pid"
		gone "$pid" || die "the old hearthd (pid $pid) does not end; see $LOG"
	elif answers; then
		say "another hearthd answers at $socket: using that one"
		return 0
	fi
	mkdir -p "$runtime"
	setsid "$build"/src/daemon/hearthd --config "$CONFIG" </dev/null >>"$LOG" 2>&1 &
	pid=$!
	echo "$pid" >"$runtime/hearthd.pid"
	for _ in $(seq 200); do
		if answers; then
			say "hearthd runs (pid $pid), log in $LOG"
			return 0
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	rm -f "$runtime/hearthd.pid"
	die "hearthd did not start: $(tail -n 1 "$LOG")"
}

gone()
{
	for _ in $(seq 100); do
		[ "$(cat "/proc/$1/comm" 2>/dev/null)" = hearthd ] || return 0
		grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null && return 0
		sleep 0.1
	done
	return 1
}

# bar PERCENT TEXT
bar()
{
	[ -t 1 ] || return 0
	full=$(($1 * 40 / 100))
	printf '\r  [%-40s] %3d%% %-24.24s' "$(printf '%*s' "$full" '' | tr ' ' '#')" "$1" "$2"
}

# Waits for a ready machine, showing the image's progress where one is being built.
fill()
{
	began=$(date +%s)
	for _ in $(seq 3000); do
		pool=$("$hearth" --socket "$socket" --json pool show default) ||
		    die "the pool 'default' cannot be seen; the log ends: $(tail -n 2 "$LOG")"
		ready=$(say "$pool" | value ready)
		percent=$(say "$pool" | value image_percent)
		error=$(say "$pool" | value last_error)
		wanted=$(say "$pool" | value running)
		if [ "${ready:-0}" -ge "${wanted:-1}" ]; then
			if [ -t 1 ]; then printf '\r%-78s\r' ''; fi
			say "$ready machines are ready after $(($(date +%s) - began)) s"
			return 0
		fi
		[ -z "$error" ] || die "the pool does not fill: $error; see $LOG"
		case $percent in
		'' | -*) bar 100 "image ready, booting" ;;
		*) bar "$percent" "building the image" ;;
		esac
		sleep 0.2
	done
	die "the pool is not full after ten minutes; see $LOG"
}

reserve()
{
	r=$(as_invoker "$hearth" --socket "$socket" --json show $name 2>/dev/null) || r=
	if [ "$(say "$r" | value state)" != active ]; then
		r=$(as_invoker "$hearth" --socket "$socket" --json reserve --name $name --hours 1) ||
		    die 'no machine could be reserved'
	fi
	id=$(say "$r" | value id)
	ssh=$(as_invoker "$hearth" --socket "$socket" --json show "$id" | value ssh_command)
	[ -n "$ssh" ] || die 'hearth did not say how to log in'
}

step '1. What is needed'
tools/deps.sh build run
say 'all there'

step '2. Build'
tools/build.sh "$build"
say "built: $build/src/daemon/hearthd, $hearth"

step '3. Start'
make_config
"$build"/src/daemon/hearthd --config "$CONFIG" --check >/dev/null || exit 1
socket=$(setting socket)
runtime=$(setting runtime)
make_user
start

step '4. Fill the pool'
fill

step '5. Reserve a machine, log in over plain ssh'
reserve
say "reserved '$name' ($id)"
say "\$ $ssh 'whoami; hostname; ...'"
# shellcheck disable=SC2016 # for the machine's shell
as_invoker sh -c "$ssh \"\$1\"" sh \
    '. /etc/os-release; echo "I am $(whoami) on $(hostname), $PRETTY_NAME, and $(sudo whoami) if I want"'

step '6. What happened'
as_invoker "$hearth" --socket "$socket" trace "$id"

step 'hearthd is left running. Try next:'
flag=
[ "$socket" = /run/hearth/hearth.sock ] || flag=" --socket $socket"
say "  $hearth$flag ssh $name"
say "  $hearth$flag run -- sh -c 'sudo apt-get install -y cowsay && /usr/games/cowsay hearth'"
say "  $hearth$flag list"
say "and 'sudo make stop' when you have seen enough."
