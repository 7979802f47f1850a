#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# quickstart.sh [--ec2]: from a fresh clone to a shell in a machine: installs, builds, starts hearthd, waits until the pool
# is full, reserves a machine and logs in. With --ec2 the machines come by EC2's API: a hearth-ec2 is started, too, and a
# hearthd of its own that knows nothing else. Everything is left running; stop.sh ends it. A second run takes seconds.
. "$(dirname "$0")/lib.sh"

ec2=false
target=quickstart
name=hello
if [ "${1:-}" = --ec2 ]; then
	# a name of its own: whoever tries both has one NAME.hearth for each
	ec2=true target=quickstart-ec2 name=hello-ec2 CONFIG=$ON_EC2_CONFIG LOG=$ON_EC2_LOG
fi
need_root $target
hearth=$build/src/cli/hearth

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

# answers: hearthd does; there is no better sign of its health than an answer.
answers()
{
	"$hearth" --socket "$socket" pool list >/dev/null 2>&1
}

# Any reply: an unsigned request is answered with an error.
ec2_answers()
{
	bash -c 'exec 3<>"/dev/tcp/${1%:*}/${1##*:}" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && IFS= read -r -t 5 line <&3' \
	    bash "$listen" 2>/dev/null
}

# start DAEMON CONFIG RUNTIME LOG ANSWERS: in the background, unless it runs as it was just built; ANSWERS says whether
# it serves.
start()
{
	if pid=$(daemon_pid "$1" "$3"); then
		if [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$(realpath "$(binary "$1")")" ] && $5; then
			say "$1 runs already (pid $pid)"
			[ "$1" != hearthd ] || kill -HUP "$pid"
			return 0
		fi
		say "replacing the running $1 (pid $pid); its machines stay"
		end_daemon "$1" "$3" || die "the old $1 (pid $pid) does not end; see $4"
	elif $5; then
		say "another $1 answers there: using that one"
		return 0
	fi
	mkdir -p "$3"
	setsid "$(binary "$1")" --config "$2" </dev/null >>"$4" 2>&1 &
	pid=$!
	echo "$pid" >"$3/$1.pid"
	for _ in $(seq 200); do
		if $5; then
			say "$1 runs (pid $pid), log in $4"
			return 0
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	rm -f "$3/$1.pid"
	die "$1 did not start: $(tail -n 1 "$4")"
}

# The endpoint, and its keys into the environment of the hearthd that is started next: not into a command line.
start_ec2()
{
	make_ec2_config
	"$(binary hearth-ec2)" --config "$EC2_CONFIG" --check >/dev/null || exit 1
	[ "$(setting hearth-ec2 "$EC2_CONFIG" user)" != hearth ] || make_user
	listen=$(setting hearth-ec2 "$EC2_CONFIG" listen)
	start hearth-ec2 "$EC2_CONFIG" "$(setting hearth-ec2 "$EC2_CONFIG" runtime)" "$EC2_LOG" ec2_answers
	AWS_ACCESS_KEY_ID=$(sed -n 's/.*access_key_id: *\([^,} ]*\).*/\1/p' "$EC2_CONFIG" | head -n 1)
	AWS_SECRET_ACCESS_KEY=$(sed -n 's/.*secret_access_key: *\([^,} ]*\).*/\1/p' "$EC2_CONFIG" | head -n 1)
	export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
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
		# to hearthd an EC2 image is there or not; the endpoint's log knows how far this one is
		! $ec2 || percent=$(tail -n 1 "$EC2_LOG" | sed -n 's/.*is being built: \([0-9]*\) %.*/\1/p')
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
if $ec2; then
	start_ec2
	make_config "$CONFIG" hearth-on-ec2.yaml
else
	make_config "$CONFIG" hearth.yaml
fi
"$(binary hearthd)" --config "$CONFIG" --check >/dev/null || exit 1
socket=$(setting hearthd "$CONFIG" socket)
runtime=$(setting hearthd "$CONFIG" runtime)
[ "$(setting hearthd "$CONFIG" user)" != hearth ] || make_user
start hearthd "$CONFIG" "$runtime" "$LOG" answers

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
if $ec2; then
	say "and, with the keys of $EC2_CONFIG in the environment and awscli installed:"
	say "  aws --endpoint-url http://$listen --region us-east-1 ec2 describe-instances"
fi
say "and 'sudo make stop' when you have seen enough."
