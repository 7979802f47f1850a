#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh SET...: installs the Debian packages of the sets build, run, test, fuzz. Does nothing, in a few
# milliseconds, where they are all there.
. "$(dirname "$0")/lib.sh"

packages_build='gcc libc6-dev meson ninja-build pkg-config musl-tools scdoc libuv1-dev libmicrohttpd-dev
	libjansson-dev libyaml-dev libssl-dev libsqlite3-dev libseccomp-dev libcap-dev libmnl-dev
	libcurl4-openssl-dev libexpat1-dev'
packages_run='mmdebstrap nftables iproute2 openssh-client util-linux ca-certificates e2fsprogs'
packages_test='libcmocka-dev python3 python3-pytest openssh-server openssh-client clang-format-14 rsync
	nftables iproute2 mmdebstrap sudo procps git sqlite3 qemu-system-x86
	python3-botocore python3-boto3 awscli curl jq iptables strace'
packages_fuzz='clang libclang-rt-14-dev'
packages_lint='clang-format-14 clang-tidy git'

# The packages among the arguments that are not installed. pkg-config may be there as pkgconf.
missing()
{
	# shellcheck disable=SC2016 # dpkg's own variables
	have=$(dpkg-query -W -f='${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
	    sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr -s ', ' '\n\n' | sort -u)
	printf '%s\n' "$@" | sort -u | while read -r p; do
		printf '%s\n' "$have" | grep -qxF "$p" || printf '%s\n' "$p"
	done
}

# A package's service must not begin to run on a host that only wants to test or to build with it.
quiet_services()
{
	[ ! -e /usr/sbin/policy-rc.d ] || return 0
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	trap 'exit 1' INT TERM HUP
}

apt()
{
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

install()
{
	quiet_services
	log=$(mktemp)
	if apt install --no-install-recommends "$@" >"$log" 2>&1; then
		rm -f "$log"
		return 0
	fi
	# Most often the lists are old or not there at all.
	if apt update >"$log" 2>&1 && apt install --no-install-recommends "$@" >>"$log" 2>&1; then
		rm -f "$log"
		return 0
	fi
	tail -n 15 "$log" >&2
	die "apt-get could not install: $*; the whole output is in $log"
}

sets=
for s in "$@"; do
	case $s in
	build) sets="$sets $packages_build" ;;
	run) sets="$sets $packages_run" ;;
	test) sets="$sets $packages_test" ;;
	fuzz) sets="$sets $packages_fuzz" ;;
	lint) sets="$sets $packages_lint" ;;
	*) die "there is no set of packages '$s'" ;;
	esac
done
command -v dpkg-query >/dev/null || {
	say "this is not Debian: packages are not installed for you; what is used here: $(echo $sets)"
	exit 0
}
# shellcheck disable=SC2086 # words are meant
wanted=$(missing $sets)
[ -n "$wanted" ] || exit 0
is_root || die "these packages are missing: $(echo $wanted); 'sudo make deps' installs them"
say "installing $(echo "$wanted" | wc -l) packages: $(echo $wanted)"
# shellcheck disable=SC2086
install $wanted
