/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/guest.h"

#include <stddef.h>

#include "launcher/guest_text.h" /* made of guest/ by guest/embed */

/* clang-format off */
const char *const guest_directories[] = {
	"opt", "opt/aws", "opt/aws/bin",
	"usr", "usr/local", "usr/local/bin", "usr/local/lib", "usr/local/lib/hearth",
	NULL,
};

const struct guest_file guest_files[] = {
	{"usr/local/lib/hearth/boot",           guest_boot,        0755},
	{"usr/local/lib/hearth/sshd_config",    guest_sshd_config, 0644},
	{"opt/aws/bin/eic_run_authorized_keys", guest_eic_keys,    0755},
	{"usr/local/bin/cloud-init",            guest_cloud_init,  0755},
	{"usr/local/bin/dnf",                   guest_dnf,         0755},
	{"usr/local/bin/yum",                   guest_dnf,         0755},
	{"usr/local/bin/ec2-metadata",          guest_ec2_metadata, 0755},
	{"usr/local/bin/systemctl",             guest_systemctl,   0755},
	{"usr/local/bin/systemd-run",           guest_systemd_run, 0755},
	{"usr/local/bin/shutdown",              guest_shutdown,    0755},
	{"usr/local/bin/poweroff",              guest_shutdown,    0755},
	{"usr/local/bin/halt",                  guest_shutdown,    0755},
	{"usr/local/bin/reboot",                guest_shutdown,    0755},
	{NULL, NULL, 0},
};
/* clang-format on */
