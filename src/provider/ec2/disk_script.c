/* SPDX-License-Identifier: Apache-2.0 */

/* What is run as root in a machine, over ssh, to mount a volume and to unmount it. All of it is one function that is called in the last line,
   so that nothing it runs can eat the rest of the script, and a script that was cut off does nothing. */

#include "provider/ec2/disk.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* One at a time for a volume: an attach that was given up may still run. */
static const char head[] =
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C\n"
    "export PATH LC_ALL\n"
    "ok() { echo 'hearth: ok'; exit 0; }\n"
    "warning() { echo \"hearth: warning: $1\"; exit 0; }\n"
    "error() { echo \"hearth: error: $1\"; exit 1; }\n"
    "last() { printf %s \"$1\" | tail -n 1; }\n"
    "mounted() { awk -v at=\"$1\" '$2 == at { s = $1 \" \" $4 } END { print s }' "
    "/proc/self/mounts; }\n"
    "one_at_a_time() {\n"
    "	exec 9>/run/hearth-disk-$volume\n"
    "	flock -w $1 9 || error 'an earlier attach or detach of it does not end'\n"
    "}\n";

/* The serial of an EBS volume is its id without the dash (EC2 User Guide, "Map EBS volumes to NVMe device names"); on Xen there is none, and
   /dev/sdf is /dev/xvdf. A volume is empty if blkid knows nothing on it and there is nothing where a file system of any block size keeps
   its superblock and the first copy of that. */
static const char mount_body[] =
    "find_device() {\n"
    "	device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$volume\n"
    "	[ -b $device ] && device=$(readlink -f $device) && return\n"
    "	for b in /sys/block/*; do\n"
    "		serial=$(cat $b/device/serial 2>/dev/null || cat $b/serial 2>/dev/null)\n"
    "		device=/dev/${b##*/}\n"
    "		[ \"$(printf %s \"$serial\" | tr -d ' -')\" = $volume ] && "
    "[ -b $device ] && return\n"
    "	done\n"
    "	grep -qs xen /sys/hypervisor/type || return 1\n"
    "	for device in /dev/xvd$letter /dev/sd$letter; do\n"
    "		[ -b $device ] && return\n"
    "	done\n"
    "	return 1\n"
    "}\n"
    "is_zero() {\n"
    "	[ $(dd if=$device bs=1M skip=$1 count=$2 2>/dev/null | tr -d '\\0' | head -c 1 | "
    "wc -c) = 0 ]\n"
    "}\n"
    "format() {\n"
    "	is_zero 0 16 && is_zero 128 1 || error 'there is no file system on it, but it is "
    "not empty: it is left as it is'\n"
    "	owner=$(id -u $login):$(id -g $login) || error \"no account $login\"\n"
    "	said=$(mkfs.ext4 -q -F -m 0 -E nodiscard,root_owner=$owner $device 2>&1) || "
    "error \"mkfs.ext4: $(last \"$said\")\"\n"
    "	type=ext4\n"
    "}\n"
    "damaged() {\n"
    "	case $type in\n"
    "	ext?) how=ro,noload,nodev ;;\n"
    "	xfs) how=ro,norecovery,nodev ;;\n"
    "	*) how=ro,nodev ;;\n"
    "	esac\n"
    "	said=$(mount -t $type -o $how $device $at 2>&1) || error \"its file system "
    "cannot "
    "be mounted: $(last \"$said\")\"\n"
    "	warning \"its file system is damaged and mounted read-only: $1\"\n"
    "}\n"
    "mount_it() {\n"
    "	said=$(mount -t $type -o $how $device $at 2>&1) || damaged \"$(last "
    "\"$said\")\"\n"
    "}\n"
    "grow() {\n"
    "	size=$(dumpe2fs -h $device 2>/dev/null | awk '/^Block count:/ { n = $3 } /^Block "
    "size:/ { s = $3 } END { printf \"%.0f\", n * s }')\n"
    "	[ $(($(blockdev --getsize64 $device) - size)) -ge 134217728 ] || return\n"
    "	resize2fs $device >/dev/null 2>&1 && return\n"
    "	umount $at || return\n"
    "	e2fsck -f -p $device >/dev/null 2>&1 && resize2fs $device >/dev/null 2>&1\n"
    "	mount_it\n"
    "}\n"
    "attach() {\n"
    "	one_at_a_time 120\n"
    "	i=0\n"
    "	until find_device; do\n"
    "		i=$((i + 1))\n"
    "		[ $i -lt 300 ] || error 'no device of it has appeared within 30 s'\n"
    "		sleep 0.1\n"
    "	done\n"
    "	set -- $(mounted $at)\n"
    "	if [ $# -gt 0 ]; then\n"
    "		[ \"$(readlink -f $1)\" = $device ] || error \"$1 is mounted at $at\"\n"
    "		case ,$2, in *,ro,*) warning 'it is mounted read-only' ;; esac\n"
    "		ok\n"
    "	fi\n"
    "	mkdir -p $at || error \"$at cannot be made\"\n"
    "	chmod 755 /disk $at\n"
    "	type=$(blkid -p -o value -s TYPE $device 2>/dev/null)\n"
    "	case $? in\n"
    "	0) [ -n \"$type\" ] || error 'there is a partition table on it, and no file "
    "system' ;;\n"
    "	2) format ;;\n"
    "	*) error 'blkid cannot tell what is on it' ;;\n"
    "	esac\n"
    "	how=nodev\n"
    "	case $type in\n"
    "	ext?)\n"
    "		how=nodev,errors=remount-ro\n"
    "		said=$(e2fsck -p $device 2>&1)\n"
    "		rc=$?\n"
    "		[ $rc -lt 4 ] || [ $rc -eq 127 ] || damaged 'e2fsck can repair it'\n"
    "		timeout 5 e2fsck -f -n $device >/dev/null 2>&1\n"
    "		case $? in 4 | 12) damaged 'e2fsck can repair it' ;; esac ;;\n"
    "	esac\n"
    "	mount_it\n"
    "	case $type in\n"
    "	ext?) grow ;;\n"
    "	xfs) xfs_growfs $at >/dev/null 2>&1 ;;\n"
    "	esac\n"
    "	ok\n"
    "}\n"
    "attach </dev/null\n";

/* What uses it is told to end, then ended; what is still in its way keeps it mounted where nobody sees it until it has ended, too. */
static const char unmount_body[] =
    "users() {\n"
    "	find /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd "
    "/proc/[0-9]*/map_files \\\n"
    "	    -maxdepth 1 \\( -lname $at -o -lname \"$at/*\" \\) 2>/dev/null | cut -d/ "
    "-f3 | sort -u\n"
    "}\n"
    "try() {\n"
    "	sync -f $at\n"
    "	umount $at 2>/dev/null || return\n"
    "	rmdir $at 2>/dev/null\n"
    "	ok\n"
    "}\n"
    "detach() {\n"
    "	one_at_a_time 5\n"
    "	set -- $(mounted $at)\n"
    "	[ $# -gt 0 ] || ok\n"
    "	try\n"
    "	for signal in TERM KILL; do\n"
    "		kill -$signal $(users) 2>/dev/null\n"
    "		for i in 1 2 3 4 5 6 7 8 9 10; do\n"
    "			[ -n \"$(users)\" ] || break\n"
    "			sleep 0.1\n"
    "		done\n"
    "		try\n"
    "	done\n"
    "	sync -f $at\n"
    "	umount -l $at || error 'it cannot be unmounted'\n"
    "	sync\n"
    "	warning 'it was in use to the last'\n"
    "}\n"
    "detach </dev/null\n";

/* What may stand in the script as it is. */
static bool
is_word(const char *s, size_t max)
{
	static const char fine[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strlen(s);

	return n > 0 && n <= max && strspn(s, fine) == n;
}

static int
begin(const char *ref, const char *name, struct buf *out, struct err *err)
{
	if (strncmp(ref, "vol-", 4) != 0 || !is_word(ref + 4, 32))
		return err_set(err, ERR_INVALID, "'%.64s' is no volume's id", ref);
	if (!name_valid(name))
		return err_set(err, ERR_INVALID, "'%.64s' is no disk's name", name);
	buf_fmt(out, "volume=vol%s\nat=/disk/%s\n%s", ref + 4, name, head);
	return 0;
}

static int
finish(const char *body, struct buf *out, struct err *err)
{
	buf_str(out, body);
	return out->overflow ? err_set(err, ERR_TOO_LARGE, "the script is too long") : 0;
}

int
ec2_script_mount(const char *ref, const char *device, const char *name, const char *login,
    struct buf *out, struct err *err)
{
	size_t n = strlen(device);

	if (begin(ref, name, out, err) < 0)
		return -1;
	if (!login || !is_word(login, 32))
		return err_set(
		    err, ERR_INVALID, "the machine has no account to log in to");
	/* of "/dev/sdf"; only Xen's names follow from it */
	buf_fmt(out, "login=%s\nletter=%c\n", login,
	    n > 0 && device[n - 1] >= 'a' && device[n - 1] <= 'z' ? device[n - 1] : 'f');
	return finish(mount_body, out, err);
}

int
ec2_script_unmount(const char *ref, const char *name, struct buf *out, struct err *err)
{
	if (begin(ref, name, out, err) < 0)
		return -1;
	return finish(unmount_body, out, err);
}

/* The last line that is ours; NULL: there is none. */
static const char *
verdict_line(const char *output)
{
	const char *found = NULL;

	for (const char *s = output; s && *s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (strncmp(s, "hearth: ", 8) == 0)
			found = s + 8;
	}
	return found;
}

/* What a machine says is its users' to forge: bounded, and without what a terminal would take for a command. */
static void
copy_line(char out[256], const char *s)
{
	size_t n = 0;

	for (; *s && *s != '\n' && n < 255; s++)
		out[n++] = (char)(*s >= ' ' && *s <= '~' ? *s : '?');
	out[n] = '\0';
}

void
ec2_script_verdict(int exit_code, const char *output, const struct err *why,
    char ret_warning[256], struct err *err)
{
	const char *line = verdict_line(output);
	char text[256];

	*err = *why;
	ret_warning[0] = '\0';
	if (why->code != ERR_NONE)
		return;
	if (line && exit_code == 0 && strncmp(line, "ok", 2) == 0)
		return;
	if (line && exit_code == 0 && strncmp(line, "warning: ", 9) == 0) {
		copy_line(ret_warning, line + 9);
		return;
	}
	if (line && strncmp(line, "error: ", 7) == 0) {
		copy_line(text, line + 7);
		err_set(err, ERR_UNAVAILABLE, "%s", text);
		return;
	}
	copy_line(text, output);
	err_set(err, ERR_UNAVAILABLE, "the script exited %d: %s", exit_code, text);
}
