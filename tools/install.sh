#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs under PREFIX (/usr/local), within DESTDIR: programs, man pages, systemd unit, user, completions, and the
# configuration where there is none yet. Starts nothing.
. "$(dirname "$0")/lib.sh"

prefix=${PREFIX:-/usr/local}
[ -n "${DESTDIR:-}" ] || need_root install
tools/deps.sh build
[ -n "${DESTDIR:-}" ] || tools/deps.sh run
rm -rf build-install
tools/build.sh build-install -Dtests=false --prefix="$prefix" --sysconfdir=/etc --buildtype=release
DESTDIR=${DESTDIR:-} meson install -C build-install --no-rebuild --quiet
[ -z "${DESTDIR:-}" ] || exit 0
make_config "$CONFIG" hearth.yaml
make_ec2_config
make_user
getent group hearth-admin >/dev/null || groupadd --system hearth-admin
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	say "installed; 'systemctl enable --now hearthd' starts it, 'systemctl enable --now hearth-ec2' an EC2 endpoint"
else
	say "installed; 'hearthd --config /etc/hearth/hearth.yaml' starts it"
fi
